/* The rows of one content: found, written, deleted. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/index_private.h"
#include "context/module_parts.h"

/* Of words in one step: some 50 ms. */
#define MERGE_PAGES ((int64_t)1000)

static text language_key(const struct language *language)
{
    return text_of(language ? language->name : "");
}

static text id_bytes(const struct blob_id *id)
{
    return (text){(const char *)id->bytes, sizeof id->bytes};
}

status blob_read(struct blob_row *out, code_index *x, sqlite3_stmt *s, const int columns[3],
                 error *err)
{
    int64_t state = sqlite3_column_int64(s, columns[2]);
    *out = (struct blob_row){sqlite3_column_int64(s, columns[0]),
                             sqlite3_column_int64(s, columns[1]), (enum blob_state)state};
    if (state >= 0 && state < N_BLOB_STATES) return OK;
    x->damaged = true;
    return fail(err, ERR_FORMAT, "%s: a content of no known state", x->path);
}

status blob_find(struct blob_row *out, code_index *x, const struct blob_id *id,
                 const struct language *language, error *err)
{
    static const int columns[] = {0, 1, 2};
    bool found;
    *out = (struct blob_row){0};
    sqlite3_stmt *s = SQL(x, SQL_BLOB_FIND);
    bind_bytes(s, 1, id_bytes(id));
    bind_text(s, 2, language_key(language));
    status code = index_step(x, s, &found, err);
    if (code == OK && found) code = blob_read(out, x, s, columns, err);
    sqlite3_reset(s);
    return code;
}

/* Lines no person wrote. Prose may have long lines; a line of data is longer still. */
static bool is_minified(text path, text content, bool is_source)
{
    size_t n_lines = 1, longest = 0, from = 0;
    if (text_find(path, TEXT(".min."), 0) != SIZE_MAX) return true;
    for (size_t at; (at = text_find(content, TEXT("\n"), from)) != SIZE_MAX; from = at + 1) {
        if (at - from > longest) longest = at - from;
        n_lines++;
    }
    if (content.size - from > longest) longest = content.size - from;
    return longest > INDEX_LINE_MAX ||
           (is_source && content.size > 4 * KIB && content.size / n_lines > INDEX_LINE_MEAN_MAX);
}

status blob_parse(struct tags *tags, enum blob_state *state, tagger *t,
                  const struct language *language, text path, text content, error *err)
{
    status code = OK;
    *tags = (struct tags){0};
    language = language_of_content(language, path, content);
    if (content.size && memchr(content.bytes, 0, content.size)) {
        *state = BLOB_BINARY;
    } else if (is_minified(path, content, tagger_knows(language))) {
        *state = BLOB_MINIFIED;
    } else if (!tagger_knows(language)) {
        *state = BLOB_WORDS;
        code = tags_read_words(tags, content, err);
    } else {
        code = tags_read(tags, t, language, content, err);
        *state = code == ERR_LIMIT ? BLOB_SLOW : BLOB_TAGS;
        if (code == ERR_LIMIT) {
            tags_free(tags); /* half of it depends on the machine */
            code = OK;
        }
    }
    return code;
}

uint64_t source_bytes_of(uint64_t size_bytes)
{
    return size_bytes > INDEX_SOURCE_MIN ? size_bytes : INDEX_SOURCE_MIN;
}

int64_t name_hash(text name) { return module_part_hash(name); }

static status symbol_put(code_index *x, int64_t blob, const struct tag *tag, error *err)
{
    sqlite3_stmt *s =
        SQL_WITH(x, SQL_SYMBOL_ADD, blob, tag->from, name_hash(tag->name), tag->to, tag->line);
    bind_text(s, 6, text_of(tag->kind));
    bind_text(s, 7, tag->signature);
    bind_text(s, 8, tag->name);
    return index_run(x, s, err);
}

static status import_put(code_index *x, int64_t blob, const struct tag_import *import, error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, SQL_IMPORT_ADD, blob, import->onward);
    bind_text(s, 3, import->module);
    bind_text(s, 4, import->name);
    return index_run(x, s, err);
}

struct uses {
    buffer names, counts;
};

static void use_put(struct uses *u, text name, uint32_t count)
{
    buffer_put_text(&u->names, name);
    buffer_put_char(&u->names, '\n');
    buffer_put_char(&u->counts, (char)(count > 255 ? 255 : count));
}

static int compare_names(const void *key, const void *item)
{
    text a = *(const text *)key, b = ((const struct tag_reference *)item)->name;
    int order = memcmp(a.bytes, b.bytes, a.size < b.size ? a.size : b.size);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* References are sorted and each there once; definitions that nobody uses here stand behind them. */
static void uses_fill(struct uses *u, const struct tags *tags)
{
    for (size_t i = 0; i < tags->n_references; i++)
        use_put(u, tags->references[i].name, tags->references[i].count);
    for (size_t i = 0; i < tags->n_definitions; i++)
        if (!tags->n_references ||
            !bsearch(&tags->definitions[i].name, tags->references, tags->n_references,
                     sizeof *tags->references, compare_names))
            use_put(u, tags->definitions[i].name, 0);
}

static status uses_put(code_index *x, int64_t blob, const struct tags *tags, error *err)
{
    struct uses u = {0};
    uses_fill(&u, tags);
    status code =
        u.names.failed || u.counts.failed ? fail(err, ERR_MEMORY, "no memory for words") : OK;
    if (code == OK && u.counts.size) {
        sqlite3_stmt *s = SQL_WITH(x, SQL_USES_ADD, blob);
        bind_text(s, 2, buffer_text(&u.names));
        bind_bytes(s, 3, buffer_text(&u.counts));
        code = index_run(x, s, err);
        s = SQL_WITH(x, SQL_WORDS_ADD, blob);
        bind_text(s, 2, buffer_text(&u.names));
        if (code == OK) code = index_run(x, s, err);
    }
    buffer_free(&u.names);
    buffer_free(&u.counts);
    return code;
}

status blob_uses(struct blob_uses *out, code_index *x, int64_t blob, error *err)
{
    bool found;
    *out = (struct blob_uses){0};
    sqlite3_stmt *s = SQL_WITH(x, SQL_USES_OF, blob);
    status code = index_step(x, s, &found, err);
    if (code == OK && found) *out = (struct blob_uses){column_view(s, 0), column_view(s, 1)};
    return code;
}

static status tags_put(code_index *x, int64_t blob, const struct tags *tags, error *err)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < tags->n_definitions; i++)
        code = symbol_put(x, blob, &tags->definitions[i], err);
    for (size_t i = 0; code == OK && i < tags->n_imports; i++)
        code = import_put(x, blob, &tags->imports[i], err);
    return code == OK ? uses_put(x, blob, tags, err) : code;
}

static int64_t sum_references(const struct tags *tags)
{
    int64_t n = 0;
    for (size_t i = 0; i < tags->n_references; i++) n += tags->references[i].count;
    return n;
}

static status blob_put(struct blob_row *blob, code_index *x, const struct blob_id *id,
                       const struct language *language, int64_t n_symbols, int64_t n_references,
                       error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, SQL_BLOB_ADD, blob->size_bytes, blob->state, (int64_t)time(NULL),
                               n_symbols, n_references);
    bind_bytes(s, 6, id_bytes(id));
    bind_text(s, 7, language_key(language));
    status code = index_run(x, s, err);
    blob->id = sqlite3_last_insert_rowid(x->db);
    return code;
}

status blob_add(struct blob_row *out, code_index *x, const struct blob_id *id,
                const struct language *language, size_t size_bytes, enum blob_state state,
                const struct tags *tags, error *err)
{
    static const struct tags none;
    struct blob_row known; /* another process may have added it while we parsed */
    bool room = true;
    status code = index_begin(x, err);
    if (code == OK && state <= BLOB_WORDS) code = blobs_room(&room, x, false, err);
    if (code == OK) code = index_begin(x, err); /* that may have committed */
    if (code == OK) code = blob_find(&known, x, id, language, err);
    if (code != OK) return code;
    if (known.id && known.state != BLOB_FULL) {
        *out = known;
        return OK;
    }
    if (!room) {
        state = BLOB_FULL;
        tags = &none;
    }
    *out = (struct blob_row){known.id, (int64_t)size_bytes, state};
    int64_t n_symbols = (int64_t)tags->n_definitions, n_references = sum_references(tags);
    if (known.id) {
        sqlite3_stmt *s = SQL_WITH(x, SQL_BLOB_FILL, known.id, state, n_symbols, n_references);
        code = index_run(x, s, err);
    } else {
        code = blob_put(out, x, id, language, n_symbols, n_references, err);
    }
    return code == OK ? tags_put(x, out->id, tags, err) : code;
}

/* FTS5 is told the very text it was given. */
static status words_drop(code_index *x, int64_t blob, error *err)
{
    struct blob_uses uses;
    status code = blob_uses(&uses, x, blob, err);
    if (code != OK || !uses.counts.size) return code;
    sqlite3_stmt *s = SQL_WITH(x, SQL_WORDS_DROP, blob);
    bind_text(s, 2, uses.names);
    sqlite3_reset(x->sql[SQL_USES_OF]);
    return index_run(x, s, err);
}

static status blob_drop(code_index *x, int64_t blob, error *err)
{
    static const enum index_sql drops[] = {SQL_SYMBOLS_DROP, SQL_USES_DROP, SQL_IMPORTS_DROP,
                                           SQL_BLOB_DROP};
    status code = words_drop(x, blob, err);
    for (size_t i = 0; code == OK && i < sizeof drops / sizeof *drops; i++)
        code = index_run(x, SQL_WITH(x, drops[i], blob), err);
    return code;
}

static status first_number(int64_t *out, code_index *x, sqlite3_stmt *s, error *err)
{
    bool found;
    status code = index_step(x, s, &found, err);
    *out = code == OK && found ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return code;
}

status blob_forget(code_index *x, int64_t blob, error *err)
{
    int64_t n_files = 0;
    status code = first_number(&n_files, x, SQL_WITH(x, SQL_BLOB_FILES, blob), err);
    return code == OK && n_files == 0 ? blob_drop(x, blob, err) : code;
}

/* How far the database has filled what it may take. */
enum fill { FILL_SPARE, FILL_NEAR, FILL_OVER };

/* At most as large as the source it speaks of; an eighth is for what the list of files adds, and the map.
 * `floor`: what it may take in any case. */
static enum fill fill_by(const code_index *x, uint64_t bytes, uint64_t floor)
{
    if (floor > x->floor_bytes) floor = x->floor_bytes;
    uint64_t bound = x->source_bytes > floor ? x->source_bytes : floor;
    if (bound > x->max_bytes || x->unbounded) bound = x->max_bytes;
    return bytes > bound - bound / 8   ? FILL_OVER
           : bytes > bound - bound / 4 ? FILL_NEAR
                                       : FILL_SPARE;
}

/* All that the database speaks of is counted only when the tree at hand is not enough: that passes over
 * every content there is. */
static status fill_of(enum fill *out, code_index *x, uint64_t floor, error *err)
{
    uint64_t bytes = 0;
    int64_t source = 0;
    status code = index_size(x, &bytes, err);
    if (code == OK && fill_by(x, bytes, floor) != FILL_SPARE && !x->measured) {
        sqlite3_stmt *s = SQL_WITH(x, SQL_SOURCE_BYTES, (int64_t)INDEX_SOURCE_MIN);
        code = first_number(&source, x, s, err);
        if ((uint64_t)source > x->source_bytes) x->source_bytes = (uint64_t)source;
        x->measured = true;
    }
    *out = fill_by(x, bytes, floor);
    return code;
}

/* The n contents that have been unused for the longest, in short transactions. All are looked for at
 * once: each look passes over every content there is. */
static status drop_unused(code_index *x, size_t n, error *err)
{
    size_t n_found = 0;
    bool found = true;
    int64_t *blobs = memory_take(n, sizeof *blobs);
    if (!blobs) return fail(err, ERR_MEMORY, "no memory for %zu contents", n);
    status code = index_begin(x, err);
    sqlite3_stmt *s = SQL_WITH(x, SQL_BLOBS_LONGEST_UNUSED, (int64_t)n);
    while (code == OK && n_found < n && (code = index_step(x, s, &found, err)) == OK && found)
        blobs[n_found++] = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    for (size_t i = 0; code == OK && i < n_found; i++) {
        code = index_begin(x, err);
        if (code == OK) code = blob_forget(x, blobs[i], err);
        if (code == OK) code = index_share(x, err);
    }
    memory_free(blobs);
    return code == OK ? index_commit(x, err) : code;
}

/* FTS5 only marks what is deleted, until its segments are merged: step by step, so that others can
 * write between. -N begins a merge of all into one, N goes on with it; no change means it is done. */
static status words_merge(code_index *x, error *err)
{
    status code = OK;
    int n_changes = 2;
    for (int64_t pages = -MERGE_PAGES; code == OK && n_changes > 1; pages = MERGE_PAGES) {
        int before = sqlite3_total_changes(x->db);
        code = index_run(x, SQL_WITH(x, SQL_WORDS_MERGE, pages), err);
        n_changes = sqlite3_total_changes(x->db) - before;
    }
    return code;
}

/* Gives free pages back to the disk, likewise. */
static status shrink(code_index *x, error *err)
{
    int64_t n_free = 0, before = INT64_MAX;
    status code = first_number(&n_free, x, SQL(x, SQL_FREE_PAGES), err);
    while (code == OK && n_free > 0 && n_free < before) {
        before = n_free;
        code = index_run(x, SQL(x, SQL_SHRINK), err);
        if (code == OK) code = first_number(&n_free, x, SQL(x, SQL_FREE_PAGES), err);
    }
    return code;
}

/* A round drops a quarter of what can be dropped, and looks again. */
static status evict_round(int64_t *n_unused, code_index *x, error *err)
{
    status code = first_number(n_unused, x, SQL(x, SQL_BLOBS_UNUSED), err);
    if (code != OK || *n_unused == 0) return code;
    code = drop_unused(x, (size_t)*n_unused / 4 + 1, err);
    if (code == OK) code = words_merge(x, err);
    return code == OK ? shrink(x, err) : code;
}

status blobs_evict(code_index *x, bool wanted, error *err)
{
    enum fill fill;
    int64_t n_unused = 1;
    status code = fill_of(&fill, x, INDEX_UNUSED_FLOOR, err);
    bool due = fill == FILL_OVER || wanted;
    while (code == OK && due && fill != FILL_SPARE && n_unused) {
        code = evict_round(&n_unused, x, err);
        if (code == OK) code = fill_of(&fill, x, INDEX_UNUSED_FLOOR, err);
    }
    x->n_left = 0;
    return code;
}

status blobs_room(bool *room, code_index *x, bool spare, error *err)
{
    enum fill fill;
    status code = fill_of(&fill, x, INDEX_DATABASE_FLOOR, err);
    if (code == OK && fill == FILL_OVER && x->n_left >= INDEX_LEFT_MIN) {
        code = index_commit(x, err);
        if (code == OK) code = blobs_evict(x, true, err);
        if (code == OK) code = fill_of(&fill, x, INDEX_DATABASE_FLOOR, err);
    }
    *room = fill == FILL_SPARE || (fill == FILL_NEAR && !spare);
    return code;
}
