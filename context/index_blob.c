/* The rows of one content: found, written, deleted. */
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/index_private.h"

static text language_key(const struct language *language)
{
    return text_of(language ? language->name : "");
}

static text id_bytes(const struct blob_id *id)
{
    return (text){(const char *)id->bytes, sizeof id->bytes};
}

status blob_find(struct blob_row *out, code_index *x, const struct blob_id *id,
                 const struct language *language, error *err)
{
    bool found;
    *out = (struct blob_row){0};
    sqlite3_stmt *s = SQL(x, SQL_BLOB_FIND);
    bind_bytes(s, 1, id_bytes(id));
    bind_text(s, 2, language_key(language));
    status code = index_step(x, s, &found, err);
    if (code == OK && found)
        *out = (struct blob_row){.id = sqlite3_column_int64(s, 0),
                                 .size_bytes = sqlite3_column_int64(s, 1),
                                 .state = (enum blob_state)sqlite3_column_int64(s, 2)};
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

static status tags_of(struct tags *tags, enum blob_state *state, tagger *t,
                      const struct language *language, text path, text content, error *err)
{
    status code = OK;
    *tags = (struct tags){0};
    if (!language) language = language_find_shebang(content);
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

/* The id of a name, made when it is new. */
static status name_id(int64_t *id, code_index *x, text name, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL(x, SQL_NAME_FIND);
    bind_text(s, 1, name);
    status code = index_step(x, s, &found, err);
    if (code == OK && found) *id = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    if (code != OK || found) return code;
    s = SQL(x, SQL_NAME_ADD);
    bind_text(s, 1, name);
    code = index_run(x, s, err);
    *id = sqlite3_last_insert_rowid(x->db);
    return code;
}

static status symbol_put(code_index *x, int64_t blob, const struct tag *tag, error *err)
{
    int64_t name;
    status code = name_id(&name, x, tag->name, err);
    if (code != OK) return code;
    sqlite3_stmt *s = SQL_WITH(x, SQL_SYMBOL_ADD, blob, tag->from, name, tag->to, tag->line);
    bind_text(s, 6, text_of(tag->kind));
    bind_text(s, 7, tag->signature);
    return index_run(x, s, err);
}

static status import_put(code_index *x, int64_t blob, const struct tag_import *import, error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, SQL_IMPORT_ADD, blob);
    bind_text(s, 2, import->module);
    bind_text(s, 3, import->name);
    return index_run(x, s, err);
}

/* The names of a blob as one text: what FTS5 is told when the row comes, and again when it goes. */
static status words_of(buffer *out, code_index *x, int64_t blob, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(x, SQL_WORDS_OF, blob);
    status code = index_step(x, s, &found, err);
    while (code == OK && found) {
        int size = sqlite3_column_bytes(s, 0);
        buffer_put(out, sqlite3_column_text(s, 0), (size_t)size);
        buffer_put_char(out, ' ');
        code = index_step(x, s, &found, err);
    }
    sqlite3_reset(s);
    return code == OK && out->failed ? fail(err, ERR_MEMORY, "no memory for words") : code;
}

static status words_run(code_index *x, enum index_sql which, int64_t blob, error *err)
{
    buffer words = {0};
    status code = words_of(&words, x, blob, err);
    if (code == OK && words.size) {
        sqlite3_stmt *s = SQL_WITH(x, which, blob);
        bind_text(s, 2, buffer_text(&words));
        code = index_run(x, s, err);
    }
    buffer_free(&words);
    return code;
}

static status tags_put(code_index *x, int64_t blob, const struct tags *tags, error *err)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < tags->n_definitions; i++)
        code = symbol_put(x, blob, &tags->definitions[i], err);
    for (size_t i = 0; code == OK && i < tags->n_references; i++) {
        int64_t name = 0;
        code = name_id(&name, x, tags->references[i].name, err);
        if (code == OK)
            code = index_run(
                x, SQL_WITH(x, SQL_REFERENCE_ADD, blob, name, tags->references[i].count), err);
    }
    for (size_t i = 0; code == OK && i < tags->n_imports; i++)
        code = import_put(x, blob, &tags->imports[i], err);
    return code == OK ? words_run(x, SQL_WORDS_ADD, blob, err) : code;
}

/* Parsed before the transaction begins, so that a slow file keeps no one else from writing. */
status blob_add(struct blob_row *out, code_index *x, tagger *t, const struct blob_id *id,
                const struct language *language, text path, text content, error *err)
{
    struct tags tags;
    *out = (struct blob_row){.size_bytes = (int64_t)content.size};
    status code = tags_of(&tags, &out->state, t, language, path, content, err);
    if (code == OK) code = index_begin(x, err);
    if (code == OK) {
        sqlite3_stmt *s =
            SQL_WITH(x, SQL_BLOB_ADD, out->size_bytes, out->state, (int64_t)time(NULL));
        bind_bytes(s, 4, id_bytes(id));
        bind_text(s, 5, language_key(language));
        code = index_run(x, s, err);
        out->id = sqlite3_last_insert_rowid(x->db);
    }
    if (code == OK) code = tags_put(x, out->id, &tags, err);
    tags_free(&tags);
    return code;
}

static status blob_drop(code_index *x, int64_t blob, error *err)
{
    static const enum index_sql drops[] = {SQL_SYMBOLS_DROP, SQL_REFERENCES_DROP, SQL_IMPORTS_DROP,
                                           SQL_BLOB_DROP};
    status code = words_run(x, SQL_WORDS_DROP, blob, err);
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

/* At most as large as the source it speaks of. */
static status is_over(bool *over, code_index *x, error *err)
{
    uint64_t bytes = 0;
    int64_t source = 0;
    status code = index_size(x, &bytes, err);
    if (code == OK) code = first_number(&source, x, SQL(x, SQL_SOURCE_BYTES), err);
    uint64_t bound =
        (uint64_t)source > INDEX_DATABASE_FLOOR ? (uint64_t)source : INDEX_DATABASE_FLOOR;
    *over = bytes > (bound < INDEX_DATABASE_MAX ? bound : INDEX_DATABASE_MAX);
    return code;
}

/* The n contents that have been unused for the longest, in short transactions. */
static status drop_unused(code_index *x, int64_t n, error *err)
{
    status code = OK;
    int64_t blob = 1;
    for (int64_t i = 0; code == OK && blob && i < n; i++) {
        code = index_begin(x, err);
        if (code == OK) code = first_number(&blob, x, SQL(x, SQL_BLOB_UNUSED), err);
        if (code == OK && blob) code = blob_drop(x, blob, err);
        if (code == OK) code = index_share(x, err);
    }
    return code == OK ? index_commit(x, err) : code;
}

/* FTS5 only marks what is deleted until its segments are merged, and names are shared: so both are
 * cleaned per round, and a round drops a quarter of what can be dropped. */
static status evict_round(int64_t *n_unused, code_index *x, error *err)
{
    static const enum index_sql cleaning[] = {SQL_NAMES_PRUNE, SQL_WORDS_MERGE, SQL_SHRINK};
    status code = first_number(n_unused, x, SQL(x, SQL_BLOBS_UNUSED), err);
    if (code != OK || *n_unused == 0) return code;
    code = drop_unused(x, *n_unused / 4 + 1, err);
    for (size_t i = 0; code == OK && i < sizeof cleaning / sizeof *cleaning; i++)
        code = index_run(x, SQL(x, cleaning[i]), err);
    return code;
}

status blobs_evict(code_index *x, error *err)
{
    bool over = true;
    int64_t n_unused = 1;
    status code = is_over(&over, x, err);
    while (code == OK && over && n_unused) {
        code = evict_round(&n_unused, x, err);
        if (code == OK) code = is_over(&over, x, err);
    }
    return code;
}
