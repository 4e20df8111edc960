/* Each question is one prepared statement; rows are copied into the caller's arena. */
#include "context/index_query.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "context/index_private.h"
#include "context/path_text.h"

status index_tree(int64_t *out, code_index *x, text root, error *err)
{
    bool found = false;
    sqlite3_stmt *s = SQL(x, SQL_TREE_FIND);
    bind_bytes(s, 1, root);
    status code = index_step(x, s, &found, err);
    if (found) *out = sqlite3_column_int64(s, 0);
    sqlite3_reset(s);
    if (code == OK && !found)
        code = fail(err, ERR_IO, "%s: this folder was not indexed yet", x->path);
    return code;
}

status index_read_begin(code_index *x, error *err)
{
    return sqlite3_exec(x->db, "BEGIN", NULL, NULL, NULL) == SQLITE_OK
               ? OK
               : index_fail(x, "begin to read", err);
}

void index_read_end(code_index *x) { sqlite3_exec(x->db, "COMMIT", NULL, NULL, NULL); }

status index_version(int64_t *out, code_index *x, error *err)
{
    bool found = false;
    sqlite3_stmt *s = SQL(x, SQL_VERSION);
    status code = index_step(x, s, &found, err);
    *out = found ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return code;
}

/* Columns from `first` on: kind, signature, line, from, to. */
static void symbol_read(struct index_symbol *out, arena *a, sqlite3_stmt *s, int first)
{
    out->kind = column_bytes(a, s, first);
    out->signature = column_bytes(a, s, first + 1);
    out->line = (uint32_t)sqlite3_column_int64(s, first + 2);
    out->from = (uint32_t)sqlite3_column_int64(s, first + 3);
    out->to = (uint32_t)sqlite3_column_int64(s, first + 4);
}

static int compare_places(const void *a, const void *b)
{
    const struct index_symbol *x = a, *y = b;
    int order = text_compare(x->path, y->path);
    if (order) return order;
    if (x->line != y->line) return x->line > y->line ? 1 : -1;
    return (x->from > y->from) - (x->from < y->from);
}

/* Sorted here: SQLite makes ready to sort also what has no row, which most names do not. */
status index_definitions(struct index_symbols *out, arena *a, code_index *x, text root, text name,
                         size_t n_max, error *err)
{
    bool found = true;
    *out = (struct index_symbols){arena_take(a, n_max, sizeof *out->symbols), 0};
    if (!out->symbols) return fail(err, ERR_MEMORY, "no memory for %zu places", n_max);
    sqlite3_stmt *s = SQL_WITH(x, SQL_FIND, (int64_t)n_max, name_hash(name));
    bind_text(s, 3, name);
    bind_bytes(s, 4, root);
    status code = OK;
    while (code == OK && out->n < n_max) {
        code = index_step(x, s, &found, err);
        if (code != OK || !found) break;
        struct index_symbol *symbol = &out->symbols[out->n++];
        symbol->name = name;
        symbol->path = column_bytes(a, s, 0);
        symbol_read(symbol, a, s, 1);
    }
    sqlite3_reset(s);
    if (code == OK && a->failed) code = fail(err, ERR_MEMORY, "no memory for places");
    if (code == OK) qsort(out->symbols, out->n, sizeof *out->symbols, compare_places);
    return code;
}

static status symbols_count(size_t *n, code_index *x, int64_t blob, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(x, SQL_BLOB_SYMBOLS_COUNT, blob);
    status code = index_step(x, s, &found, err);
    *n = code == OK && found ? (size_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return code;
}

status index_blob_mark(uint64_t *out, code_index *x, int64_t blob, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL_WITH(x, SQL_BLOB_SYMBOLS_COUNT, blob);
    status code = index_step(x, s, &found, err);
    *out = code == OK && found ? text_hash(column_view(s, 1)) : 0;
    sqlite3_reset(s);
    return code;
}

status index_symbols_of(struct index_symbols *out, arena *a, code_index *x, int64_t blob,
                        size_t n_max, error *err)
{
    bool found = true;
    size_t n;
    status code = symbols_count(&n, x, blob, err);
    if (code != OK) return code;
    if (n < n_max) n_max = n;
    *out = (struct index_symbols){arena_take(a, n_max, sizeof *out->symbols), 0};
    if (!out->symbols) return fail(err, ERR_MEMORY, "no memory for %zu symbols", n_max);
    sqlite3_stmt *s = SQL_WITH(x, SQL_BLOB_SYMBOLS, blob, (int64_t)n_max);
    while (code == OK && out->n < n_max) {
        code = index_step(x, s, &found, err);
        if (code != OK || !found) break;
        struct index_symbol *symbol = &out->symbols[out->n++];
        symbol->name = column_bytes(a, s, 0);
        symbol_read(symbol, a, s, 1);
    }
    sqlite3_reset(s);
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for symbols") : code;
}

enum { FILES_MAX = 200, IMPORTS_MAX = 100, NAMED_MAX = 1000 }; /* the statements' own limits */

/* Rows of module, onward and, where it is asked for, name. */
static status imports_read(struct tag_import **out, size_t *n, arena *a, code_index *x,
                           sqlite3_stmt *s, size_t n_max, error *err)
{
    bool found = true, named = sqlite3_column_count(s) > 2;
    status code = OK;
    *n = 0;
    *out = arena_take(a, n_max, sizeof **out);
    if (!*out) code = fail(err, ERR_MEMORY, "no memory for imports");
    while (code == OK && *n < n_max) {
        code = index_step(x, s, &found, err);
        if (code != OK || !found) break;
        (*out)[(*n)++] = (struct tag_import){.module = column_bytes(a, s, 0),
                                             .onward = sqlite3_column_int64(s, 1) != 0,
                                             .name = named ? column_bytes(a, s, 2) : TEXT("")};
    }
    sqlite3_reset(s);
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for imports") : code;
}

status index_imports_of(struct tag_import **out, size_t *n, arena *a, code_index *x, int64_t blob,
                        error *err)
{
    return imports_read(out, n, a, x, SQL_WITH(x, SQL_BLOB_MODULES, blob), IMPORTS_MAX, err);
}

status index_imports_named(struct tag_import **out, size_t *n, arena *a, code_index *x,
                           int64_t blob, error *err)
{
    return imports_read(out, n, a, x, SQL_WITH(x, SQL_BLOB_NAMES, blob), NAMED_MAX, err);
}

status index_blob_is(bool *out, code_index *x, int64_t blob, text content, error *err)
{
    struct blob_id id = blob_id_of(content);
    sqlite3_stmt *s = SQL_WITH(x, SQL_BLOB_IS, blob, BLOB_TAGS);
    bind_bytes(s, 3, (text){(const char *)id.bytes, sizeof id.bytes});
    status code = index_step(x, s, out, err);
    sqlite3_reset(s);
    return code;
}

status index_names_used(text *out, arena *a, code_index *x, int64_t blob, error *err)
{
    struct blob_uses uses;
    status code = blob_uses(&uses, x, blob, err);
    text rest = uses.names, name;
    size_t n = 0;
    while (n < uses.counts.size && uses.counts.bytes[n] && text_next_line(&rest, &name)) n++;
    size_t size = uses.names.size - rest.size; /* behind them: what is only defined */
    const char *copy = arena_copy(a, size ? uses.names.bytes : "", size);
    sqlite3_reset(x->sql[SQL_USES_OF]);
    *out = (text){copy, copy ? size : 0};
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for names") : code;
}

/* Rows of path, blob and, where `ranked`, SQLite's rank, which is better the smaller it is. */
static status files_read(struct index_files *out, arena *a, code_index *x, sqlite3_stmt *s,
                         bool ranked, error *err)
{
    bool found = true;
    status code = OK;
    *out = (struct index_files){arena_take(a, FILES_MAX, sizeof *out->files), 0};
    if (!out->files) code = fail(err, ERR_MEMORY, "no memory for files");
    while (code == OK && out->n < FILES_MAX) {
        code = index_step(x, s, &found, err);
        if (code != OK || !found) break;
        out->files[out->n++] =
            (struct index_file){.path = column_bytes(a, s, 0),
                                .blob = sqlite3_column_int64(s, 1),
                                .score = ranked ? -sqlite3_column_double(s, 2) : 0};
    }
    sqlite3_reset(s);
    return code == OK && a->failed ? fail(err, ERR_MEMORY, "no memory for files") : code;
}

static status files_by(struct index_files *out, arena *a, code_index *x, enum index_sql which,
                       int64_t tree, text key, text within, error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, which, tree);
    bind_bytes(s, 2, key);
    bind_bytes(s, 3, within);
    return files_read(out, a, x, s, false, err);
}

/* "x/a/b" -> "a/b" */
static text last_two_parts(text path)
{
    text before = path_folder(path_folder(path));
    size_t from = before.size ? before.size + 1 : 0;
    if (from < path.size && path.bytes[from] == '/') from++;
    return text_slice(path, from, path.size);
}

status index_file_at(struct index_file *out, bool *found, arena *a, code_index *x, int64_t tree,
                     text path, error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, SQL_FILE_FIND, tree);
    bind_bytes(s, 2, path);
    status code = index_step(x, s, found, err);
    if (code == OK && *found)
        *out = (struct index_file){column_bytes(a, s, 0), sqlite3_column_int64(s, 1), 0};
    sqlite3_reset(s);
    return code;
}

/* Paths that begin with `path` and a dot: "/" is the character behind the dot. */
status index_files_at(struct index_files *out, arena *a, code_index *x, int64_t tree, text path,
                      error *err)
{
    char *from = arena_print(a, "%.*s.", (int)path.size, path.bytes),
         *to = arena_print(a, "%.*s/", (int)path.size, path.bytes);
    if (!from || !to) return fail(err, ERR_MEMORY, "no memory for a path");
    sqlite3_stmt *s = SQL_WITH(x, SQL_FILES_AT, tree);
    bind_bytes(s, 2, text_of(from));
    bind_bytes(s, 3, text_of(to));
    return files_read(out, a, x, s, false, err);
}

status index_files_by_stem(struct index_files *out, arena *a, code_index *x, int64_t tree,
                           text path, error *err)
{
    text stem = path_stem(path), last = last_two_parts(path);
    text within = text_slice(last, 0, last.size - path_name(path).size + stem.size);
    return files_by(out, a, x, SQL_FILES_BY_STEM, tree, stem, within, err);
}

status index_files_by_folder(struct index_files *out, arena *a, code_index *x, int64_t tree,
                             text folder, error *err)
{
    text last = last_two_parts(folder);
    char *within = arena_print(a, "%.*s%s", (int)last.size, last.bytes, last.size ? "/" : "");
    if (!within) return fail(err, ERR_MEMORY, "no memory for a folder");
    return files_by(out, a, x, SQL_FILES_BY_FOLDER, tree, path_name(folder), text_of(within), err);
}

status index_word_count(int64_t *out, code_index *x, text word, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL(x, SQL_TERM);
    bind_text(s, 1, word);
    status code = index_step(x, s, &found, err);
    *out = code == OK && found ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return code;
}

status index_files_like(struct index_files *out, arena *a, code_index *x, int64_t tree,
                        const text *words, size_t n_words, size_t n_max, error *err)
{
    buffer match = {0};
    *out = (struct index_files){0};
    for (size_t i = 0; i < n_words; i++)
        if (!memchr(words[i].bytes, '"', words[i].size))
            buffer_print(&match, "%s\"%.*s\"", match.size ? " OR " : "", (int)words[i].size,
                         words[i].bytes);
    status code = match.failed ? fail(err, ERR_MEMORY, "no memory for a question") : OK;
    if (code == OK && match.size) {
        sqlite3_stmt *s = SQL_WITH(x, SQL_FILES_LIKE, tree, 0, (int64_t)n_max);
        bind_text(s, 2, buffer_text(&match));
        code = files_read(out, a, x, s, true, err);
    }
    buffer_free(&match);
    return code;
}

status index_files_together(struct index_files *out, arena *a, code_index *x, int64_t tree,
                            text path, size_t n_max, error *err)
{
    sqlite3_stmt *s = SQL_WITH(x, SQL_TOGETHER, tree, (int64_t)n_max);
    bind_bytes(s, 3, path);
    return files_read(out, a, x, s, true, err);
}
