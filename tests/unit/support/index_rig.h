/* The index of a repository in the tests' workspace: brought up to date, asked for a name, and looked at
 * and changed behind its back. */
#ifndef TESTS_UNIT_SUPPORT_INDEX_RIG_H
#define TESTS_UNIT_SUPPORT_INDEX_RIG_H

#include "tests/unit/workspace.h"

#include <sqlite3.h>

#include "context/index_query.h"

/* Updates the index of `name` and gives the report. */
static inline struct index_report update(const char *name)
{
    repository *r;
    code_index *x;
    struct index_report report;
    error err = {0};
    assert_int_equal(repository_open(&r, workspace_path(name), &err), OK);
    assert_int_equal(index_open(&x, r, &err), OK);
    status code = index_update(&report, x, r, NULL, NULL, &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    size_t sum = report.n_parsed + report.n_reused;
    for (size_t i = 0; i < N_INDEX_SKIPS; i++) sum += report.n_skipped[i];
    assert_int_equal(sum, report.n_files);
    index_close(x);
    repository_close(r);
    return report;
}

static inline void check_update(const char *name, size_t n_parsed, size_t n_reused,
                                size_t n_removed)
{
    struct index_report n = update(name);
    assert_int_equal(n.n_parsed, n_parsed);
    assert_int_equal(n.n_reused, n_reused);
    assert_int_equal(n.n_removed, n_removed);
}

/* The definitions of a word as "PATH:LINE: SIGNATURE" lines. */
static inline void check_find(const char *name, const char *word, const char *expected)
{
    repository *r;
    code_index *x;
    struct index_symbols places;
    arena memory = {0};
    buffer found = {0};
    buffer_put(&found, "", 0);
    assert_int_equal(repository_open(&r, workspace_path(name), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    text root = text_of(repository_root(r));
    assert_int_equal(index_definitions(&places, &memory, x, root, text_of(word), 10, NULL), OK);
    for (size_t i = 0; i < places.n; i++) {
        buffer_put_text(&found, places.symbols[i].path);
        buffer_print(&found, ":%u: ", places.symbols[i].line);
        buffer_put_text(&found, places.symbols[i].signature);
        buffer_put_char(&found, '\n');
    }
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    arena_reset(&memory);
    index_close(x);
    repository_close(r);
}

static inline void database_of(char out[512], const char *name)
{
    repository *r;
    code_index *x;
    assert_int_equal(repository_open(&r, workspace_path(name), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    snprintf(out, 512, "%s", index_database_path(x));
    index_close(x);
    repository_close(r);
}

/* One number out of a database. */
static inline int64_t ask(const char *database, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static inline void change(const char *database, const char *sql)
{
    sqlite3 *db;
    char *why = NULL;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK) fail_msg("%s", why);
    sqlite3_close(db);
}

#endif
