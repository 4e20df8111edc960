/* The database file: where it stands, its schema, its statements, its lock, its damage.
 *
 *   trees   a working tree: root, HEAD                 files    path in a tree -> blob, stamp
 *           (and its name without folder and ending, and its folder's name, to find imports by)
 *   blobs   a content in a language -> state           uses     blob -> its names, and how often
 *   symbols blob, name, where, signature               words    FTS5 over a blob's names
 *   imports blob, module, name                         map      tree -> its most used definitions
 *   commits, paths, touched: which paths a commit changed, of any branch that was looked at
 *
 * `words` is contentless: SQLite keeps no copy of the text, and a row is deleted by telling it the
 * same text again, which stands in `uses`. All but the index of names grows at its end, so that a
 * large repository costs no more per file than a small one. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/paths.h"
#include "base/sha256.h"
#include "context/index_private.h"
#include "context/index_query.h"

/* Part of the database's name: another schema is another file. */
#define SCHEMA_VERSION 10
/* "dbrx" as a number: a file of another program is not ours to read. */
#define APPLICATION_ID 0x64627278
/* Above it, damage is found when it is met. */
#define CHECKED_MAX (64 * MIB)
/* A reader has 20 ms in all; in WAL mode it waits for nobody but a rebuild. */
#define READING_BUSY_MS 5

static const char schema[] =
    "CREATE TABLE trees(id INTEGER PRIMARY KEY, root BLOB NOT NULL UNIQUE, head TEXT NOT NULL,"
    " branch TEXT NOT NULL, updated INTEGER NOT NULL, past TEXT NOT NULL DEFAULT '',"
    " map_head TEXT NOT NULL DEFAULT '', map_files INTEGER NOT NULL DEFAULT 0,"
    " map_changes INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE blobs(id INTEGER PRIMARY KEY, oid BLOB NOT NULL, language TEXT NOT NULL,"
    " size INTEGER NOT NULL, state INTEGER NOT NULL, used INTEGER NOT NULL,"
    " n_symbols INTEGER NOT NULL, n_references INTEGER NOT NULL, UNIQUE(oid, language));"
    "CREATE TABLE symbols(blob INTEGER NOT NULL, from_byte INTEGER NOT NULL, hash INTEGER NOT NULL,"
    " name TEXT NOT NULL, to_byte INTEGER NOT NULL, line INTEGER NOT NULL, kind TEXT NOT NULL,"
    " signature TEXT NOT NULL, PRIMARY KEY(blob, from_byte, hash)) WITHOUT ROWID;"
    "CREATE INDEX symbols_hash ON symbols(hash);"
    "CREATE TABLE uses(blob INTEGER PRIMARY KEY, names TEXT NOT NULL, counts BLOB NOT NULL);"
    "CREATE TABLE imports(blob INTEGER NOT NULL, module TEXT NOT NULL, name TEXT NOT NULL,"
    " onward INTEGER NOT NULL, PRIMARY KEY(blob, module, name)) WITHOUT ROWID;"
    "CREATE TABLE files(tree INTEGER NOT NULL, path BLOB NOT NULL, blob INTEGER NOT NULL,"
    " mode INTEGER NOT NULL, size INTEGER NOT NULL, inode INTEGER NOT NULL, mtime INTEGER NOT NULL,"
    " ctime INTEGER NOT NULL, seen INTEGER NOT NULL, stem BLOB NOT NULL, folder BLOB NOT NULL,"
    " PRIMARY KEY(tree, path)) WITHOUT ROWID;"
    "CREATE INDEX files_blob ON files(blob);"
    "CREATE INDEX files_stem ON files(tree, stem);"
    "CREATE INDEX files_folder ON files(tree, folder);"
    "CREATE TABLE commits(id INTEGER PRIMARY KEY, oid BLOB NOT NULL UNIQUE, time INTEGER NOT NULL);"
    "CREATE TABLE paths(id INTEGER PRIMARY KEY, path BLOB NOT NULL UNIQUE);"
    "CREATE TABLE touched(path INTEGER NOT NULL, commit_id INTEGER NOT NULL,"
    " PRIMARY KEY(path, commit_id)) WITHOUT ROWID;"
    "CREATE INDEX touched_commit ON touched(commit_id);"
    "CREATE TABLE map(tree INTEGER NOT NULL, position INTEGER NOT NULL, path BLOB NOT NULL,"
    " name TEXT NOT NULL, kind TEXT NOT NULL, signature TEXT NOT NULL,"
    " PRIMARY KEY(tree, position)) WITHOUT ROWID;"
    "CREATE VIRTUAL TABLE words USING fts5(names, content='', detail=none,"
    " tokenize=\"unicode61 remove_diacritics 0 tokenchars '_$'\");";

/* How many contents hold a word; of this connection alone. */
static const char terms[] = "CREATE VIRTUAL TABLE temp.terms USING fts5vocab(main, words, row)";

static const char *const statements[N_INDEX_SQL] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_TREE_ADD] = "INSERT OR IGNORE INTO trees(root, head, branch, updated)"
                     " VALUES(?1, '', '', 0)",
    [SQL_TREE_FIND] = "SELECT id FROM trees WHERE root = ?1",
    [SQL_TREE_SEEN] = "UPDATE trees SET updated = ?2, head = ?3, branch = ?4 WHERE id = ?1",
    [SQL_TREE_LIST] = "SELECT id, root FROM trees",
    [SQL_TREE_DROP_FILES] = "DELETE FROM files WHERE tree = ?1",
    [SQL_TREE_DROP] = "DELETE FROM trees WHERE id = ?1",
    [SQL_FILE_LIST] = "SELECT f.path, f.blob, b.state, b.size, f.size, f.inode, f.mtime, f.ctime,"
                      " f.seen, b.language FROM files f JOIN blobs b ON b.id = f.blob"
                      " WHERE f.tree = ?1 ORDER BY f.path",
    [SQL_FILE_KNOWN] = "SELECT f.path, f.blob, b.state, b.size, f.size, f.inode, f.mtime, f.ctime,"
                       " f.seen, b.language FROM files f JOIN blobs b ON b.id = f.blob"
                       " WHERE f.tree = ?1 AND f.path = ?2",
    [SQL_FILE_PUT] = "INSERT OR REPLACE INTO files(tree, blob, mode, size, inode, mtime, ctime,"
                     " seen, path, stem, folder)"
                     " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [SQL_FILE_DROP] = "DELETE FROM files WHERE tree = ?1 AND path = ?2",
    [SQL_BLOB_FIND] = "SELECT id, size, state FROM blobs WHERE oid = ?1 AND language = ?2",
    [SQL_BLOB_ADD] = "INSERT INTO blobs(size, state, used, n_symbols, n_references, oid, language)"
                     " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [SQL_BLOB_FILL] = "UPDATE blobs SET state = ?2, n_symbols = ?3, n_references = ?4"
                      " WHERE id = ?1",
    [SQL_BLOB_LEFT] = "UPDATE blobs SET used = ?2 WHERE id = ?1",
    [SQL_BLOB_DROP] = "DELETE FROM blobs WHERE id = ?1",
    [SQL_BLOB_FILES] = "SELECT count(*) FROM files WHERE blob = ?1",
    [SQL_BLOBS_UNUSED] = "SELECT count(*) FROM blobs b WHERE NOT EXISTS"
                         " (SELECT 1 FROM files f WHERE f.blob = b.id)",
    [SQL_BLOBS_LONGEST_UNUSED] = "SELECT id FROM blobs b WHERE NOT EXISTS"
                                 " (SELECT 1 FROM files f WHERE f.blob = b.id)"
                                 " ORDER BY used, id LIMIT ?1",
    [SQL_SYMBOL_ADD] = "INSERT OR IGNORE INTO symbols(blob, from_byte, hash, to_byte, line, kind,"
                       " signature, name) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [SQL_SYMBOLS_DROP] = "DELETE FROM symbols WHERE blob = ?1",
    [SQL_USES_ADD] = "INSERT INTO uses(blob, names, counts) VALUES(?1, ?2, ?3)",
    [SQL_USES_OF] = "SELECT names, counts FROM uses WHERE blob = ?1",
    [SQL_USES_DROP] = "DELETE FROM uses WHERE blob = ?1",
    [SQL_IMPORT_ADD] = "INSERT INTO imports(blob, onward, module, name) VALUES(?1, ?2, ?3, ?4)"
                       " ON CONFLICT DO UPDATE SET onward = max(onward, excluded.onward)",
    [SQL_IMPORTS_DROP] = "DELETE FROM imports WHERE blob = ?1",
    [SQL_WORDS_ADD] = "INSERT INTO words(rowid, names) VALUES(?1, ?2)",
    [SQL_WORDS_DROP] = "INSERT INTO words(words, rowid, names) VALUES('delete', ?1, ?2)",
    [SQL_WORDS_MERGE] = "INSERT INTO words(words, rank) VALUES('merge', ?1)",
    [SQL_SUMS] = "SELECT total(n_symbols), total(n_references) FROM blobs"
                 " WHERE id IN (SELECT blob FROM files WHERE tree = ?1)",
    [SQL_SOURCE_BYTES] = "SELECT total(max(size, ?1)) FROM blobs"
                         " WHERE id IN (SELECT blob FROM files)",
    [SQL_PAGES] = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count,"
                  " pragma_freelist_count, pragma_page_size",
    [SQL_FREE_PAGES] = "SELECT freelist_count FROM pragma_freelist_count",
    [SQL_SHRINK] = "PRAGMA incremental_vacuum(1000)",
    [SQL_FIND] = "SELECT f.path, s.kind, s.signature, s.line, s.from_byte, s.to_byte"
                 " FROM symbols s CROSS JOIN files f ON f.blob = s.blob JOIN trees t"
                 " ON t.id = f.tree WHERE s.hash = ?2 AND s.name = ?3 AND t.root = ?4 LIMIT ?1",
    [SQL_FILE_FIND] = "SELECT path, blob FROM files WHERE tree = ?1 AND path = ?2",
    [SQL_FILES_AT] = "SELECT path, blob FROM files WHERE tree = ?1 AND path >= ?2 AND path < ?3"
                     " LIMIT 200",
    /* Paths stand in these indices, so that of the many with one name only those asked for are read. */
    [SQL_FILES_BY_STEM] = "SELECT path, blob FROM files WHERE tree = ?1 AND path IN"
                          " (SELECT path FROM files INDEXED BY files_stem"
                          " WHERE tree = ?1 AND stem = ?2 AND instr(path, ?3)) LIMIT 200",
    [SQL_FILES_BY_FOLDER] = "SELECT path, blob FROM files WHERE tree = ?1 AND path IN"
                            " (SELECT path FROM files INDEXED BY files_folder"
                            " WHERE tree = ?1 AND folder = ?2 AND instr(path, ?3)) LIMIT 200",
    [SQL_BLOB_SYMBOLS] = "SELECT name, kind, signature, line, from_byte, to_byte"
                         " FROM symbols WHERE blob = ?1 ORDER BY from_byte LIMIT ?2",
    [SQL_BLOB_SYMBOLS_COUNT] = "SELECT n_symbols, oid FROM blobs WHERE id = ?1",
    [SQL_BLOB_IMPORTS] = "SELECT module, name FROM imports WHERE blob = ?1 LIMIT 100",
    [SQL_BLOB_MODULES] = "SELECT module, max(onward) FROM imports WHERE blob = ?1 GROUP BY module"
                         " LIMIT 100",
    [SQL_BLOB_NAMES] = "SELECT module, onward, name FROM imports WHERE blob = ?1 LIMIT 1000",
    [SQL_BLOB_IS] = "SELECT 1 FROM blobs WHERE id = ?1 AND state = ?2 AND oid = ?3",
    [SQL_TERM] = "SELECT doc FROM temp.terms WHERE term = lower(?1)",
    [SQL_FILES_LIKE] = "SELECT f.path, f.blob, w.rank FROM words w CROSS JOIN files f"
                       " ON f.blob = w.rowid WHERE w.words MATCH ?2 AND f.tree = ?1"
                       " ORDER BY w.rank LIMIT ?3",
    [SQL_VERSION] = "SELECT data_version FROM pragma_data_version",
    [SQL_PAST_HEAD] = "SELECT past FROM trees WHERE id = ?1",
    [SQL_PAST_SEEN] = "UPDATE trees SET past = ?2 WHERE id = ?1",
    [SQL_COMMIT_FIND] = "SELECT 1 FROM commits WHERE oid = ?1",
    [SQL_COMMIT_ADD] = "INSERT INTO commits(time, oid) VALUES(?1, ?2)",
    [SQL_COMMITS_PRUNE] = "DELETE FROM commits WHERE id IN"
                          " (SELECT id FROM commits ORDER BY time DESC LIMIT -1 OFFSET ?1)",
    [SQL_TOUCHED_PRUNE] = "DELETE FROM touched WHERE commit_id NOT IN (SELECT id FROM commits)",
    [SQL_PATHS_PRUNE] = "DELETE FROM paths WHERE id NOT IN (SELECT path FROM touched)",
    [SQL_PATH_FIND] = "SELECT id FROM paths WHERE path = ?1",
    [SQL_PATH_ADD] = "INSERT INTO paths(path) VALUES(?1)",
    [SQL_TOUCHED_ADD] = "INSERT OR IGNORE INTO touched(path, commit_id) VALUES(?1, ?2)",
    [SQL_TOGETHER] =
        "WITH mine AS (SELECT t.commit_id AS id FROM paths p JOIN touched t ON t.path = p.id"
        " WHERE p.path = ?3 ORDER BY t.commit_id DESC LIMIT 200)"
        " SELECT f.path, f.blob, -shared * shared * 1.0 / (n * (SELECT count(*) FROM mine)) AS rank"
        " FROM (SELECT o.path AS path, count(*) AS shared,"
        " (SELECT count(*) FROM touched a WHERE a.path = o.path) AS n"
        " FROM mine CROSS JOIN touched o ON o.commit_id = mine.id GROUP BY o.path"
        " HAVING shared > 1) q JOIN paths p ON p.id = q.path JOIN files f ON f.tree = ?1"
        " AND f.path = p.path WHERE p.path <> ?3 ORDER BY rank, f.path LIMIT ?2",
    [SQL_MAP_MARK] = "SELECT map_head, map_files, map_changes FROM trees WHERE id = ?1",
    [SQL_MAP_MARK_SET] = "UPDATE trees SET map_files = ?2, map_changes = ?3, map_head = ?4"
                         " WHERE id = ?1",
    [SQL_MAP_CHANGES_ADD] = "UPDATE trees SET map_changes = map_changes + ?2 WHERE id = ?1",
    [SQL_MAP_NODES] = "SELECT f.blob, b.language, min(f.path) FROM files f JOIN blobs b"
                      " ON b.id = f.blob WHERE f.tree = ?1 AND b.state = 0 GROUP BY f.blob",
    [SQL_MAP_SYMBOLS] = "SELECT name, kind FROM symbols WHERE blob = ?1",
    [SQL_MAP_PUT] = "INSERT OR REPLACE INTO map(tree, position, path, name, kind, signature)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [SQL_MAP_DROP] = "DELETE FROM map WHERE tree = ?1",
    [SQL_MAP_LIST] = "SELECT path, name, kind, signature FROM map WHERE tree = ?1"
                     " ORDER BY position",
    [SQL_MAP_REFRESH] = "SELECT s.signature FROM files f JOIN symbols s ON s.blob = f.blob"
                        " WHERE f.tree = ?1 AND f.path = ?2 AND s.name = ?3 AND s.kind = ?4"
                        " ORDER BY s.from_byte LIMIT 1",
};

status index_fail(code_index *x, const char *what, error *err)
{
    int code = sqlite3_errcode(x->db);
    const char *why = sqlite3_errmsg(x->db);
    switch (code & 0xFF) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table or column is missing */
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
        x->damaged = true;
        return fail(err, ERR_FORMAT, "%s: %s: %s", x->path, what, why);
    case SQLITE_NOMEM: return fail(err, ERR_MEMORY, "%s: %s: out of memory", x->path, what);
    case SQLITE_BUSY:
    case SQLITE_LOCKED: return fail(err, ERR_BUSY, "%s: %s: %s", x->path, what, why);
    case SQLITE_FULL:
        return fail(err, ERR_LIMIT, "%s: %s: the disk or the index is full (at most %zu MiB)",
                    x->path, what, INDEX_DATABASE_MAX / MIB);
    default: return fail(err, ERR_IO, "%s: %s: %s", x->path, what, why);
    }
}

sqlite3_stmt *index_sql(code_index *x, enum index_sql which, size_t n, const int64_t *values)
{
    sqlite3_stmt *s = x->sql[which];
    sqlite3_reset(s);
    for (size_t i = 0; i < n; i++) sqlite3_bind_int64(s, (int)i + 1, values[i]);
    return s;
}

/* An empty text is no NULL. */
void bind_text(sqlite3_stmt *s, int at, text t)
{
    sqlite3_bind_text64(s, at, t.bytes ? t.bytes : "", t.size, SQLITE_TRANSIENT, SQLITE_UTF8);
}

void bind_bytes(sqlite3_stmt *s, int at, text t)
{
    sqlite3_bind_blob64(s, at, t.bytes ? t.bytes : "", t.size, SQLITE_TRANSIENT);
}

text column_view(sqlite3_stmt *s, int at)
{
    const char *bytes = sqlite3_column_blob(s, at);
    return (text){bytes ? bytes : "", bytes ? (size_t)sqlite3_column_bytes(s, at) : 0};
}

text column_bytes(arena *a, sqlite3_stmt *s, int at)
{
    text t = column_view(s, at);
    char *copy = arena_copy(a, t.bytes, t.size);
    return (text){copy, copy ? t.size : 0};
}

status index_step(code_index *x, sqlite3_stmt *s, bool *found, error *err)
{
    int code = sqlite3_step(s);
    *found = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? OK : index_fail(x, "query", err);
}

status index_run(code_index *x, sqlite3_stmt *s, error *err)
{
    bool more = true;
    status code = OK;
    while (code == OK && more) code = index_step(x, s, &more, err);
    sqlite3_reset(s);
    return code;
}

status index_begin(code_index *x, error *err)
{
    if (x->begun_us) return OK;
    status code = index_run(x, SQL(x, SQL_BEGIN), err);
    if (code == OK) x->begun_us = clock_us();
    x->n_batch = 0;
    return code;
}

status index_commit(code_index *x, error *err)
{
    if (!x->begun_us) return OK;
    status code = index_run(x, SQL(x, SQL_COMMIT), err);
    if (code == OK) x->begun_us = 0;
    return code;
}

status index_share(code_index *x, error *err)
{
    bool due = x->begun_us &&
               (++x->n_batch >= INDEX_BATCH_FILES || clock_us() - x->begun_us >= INDEX_BATCH_US);
    return due ? index_commit(x, err) : OK;
}

void index_rollback(code_index *x)
{
    if (!x->begun_us) return;
    for (size_t i = 0; i < N_INDEX_SQL; i++) sqlite3_reset(x->sql[i]);
    if (!sqlite3_get_autocommit(x->db)) index_run(x, SQL(x, SQL_ROLLBACK), NULL);
    x->begun_us = 0;
}

static status execute(code_index *x, const char *sql, error *err)
{
    return sqlite3_exec(x->db, sql, NULL, NULL, NULL) == SQLITE_OK ? OK : index_fail(x, "sql", err);
}

/* The first integer that `sql` gives. */
static status number_of(int64_t *out, code_index *x, const char *sql, error *err)
{
    sqlite3_stmt *s = NULL;
    status code = OK;
    *out = 0;
    if (sqlite3_prepare_v2(x->db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        code = index_fail(x, sql, err);
    else
        *out = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return code;
}

static status is_empty(bool *empty, code_index *x, error *err)
{
    int64_t application = 0, n_tables = 0;
    status code = number_of(&application, x, "PRAGMA application_id", err);
    if (code == OK) code = number_of(&n_tables, x, "SELECT count(*) FROM sqlite_master", err);
    *empty = application == 0 && n_tables == 0;
    return code;
}

/* Makes the schema in an empty file; anything else must be what we once made, and is opened without
 * waiting for whoever writes. Two that open a new file at once are told apart by the transaction. */
static status schema_make(code_index *x, error *err)
{
    char marks[128];
    bool empty;
    status code = is_empty(&empty, x, err);
    if (code != OK || !empty) return code;
    snprintf(marks, sizeof marks, "PRAGMA application_id=%d; PRAGMA user_version=%d;",
             APPLICATION_ID, SCHEMA_VERSION);
    code = execute(x, "BEGIN IMMEDIATE", err);
    if (code == OK) code = is_empty(&empty, x, err);
    if (code == OK && empty) {
        code = execute(x, schema, err);
        if (code == OK) code = execute(x, marks, err);
    }
    if (code == OK) return execute(x, "COMMIT", err);
    if (!sqlite3_get_autocommit(x->db)) sqlite3_exec(x->db, "ROLLBACK", NULL, NULL, NULL);
    return code;
}

static status schema_verify(code_index *x, error *err)
{
    int64_t application, version;
    status code = number_of(&application, x, "PRAGMA application_id", err);
    if (code == OK) code = number_of(&version, x, "PRAGMA user_version", err);
    if (code != OK || (application == APPLICATION_ID && version == SCHEMA_VERSION)) return code;
    x->damaged = true;
    return fail(err, ERR_FORMAT, "%s: version %lld of %llx, expected %d of %x", x->path,
                (long long)version, (unsigned long long)application, SCHEMA_VERSION,
                APPLICATION_ID);
}

static status statements_prepare(code_index *x, error *err)
{
    for (size_t i = 0; i < N_INDEX_SQL; i++)
        if (sqlite3_prepare_v3(x->db, statements[i], -1, SQLITE_PREPARE_PERSISTENT, &x->sql[i],
                               NULL) != SQLITE_OK)
            return index_fail(x, statements[i], err);
    return OK;
}

static void database_close(code_index *x)
{
    for (size_t i = 0; i < N_INDEX_SQL; i++) {
        sqlite3_finalize(x->sql[i]);
        x->sql[i] = NULL;
    }
    sqlite3_close(x->db);
    x->db = NULL;
    x->begun_us = 0;
}

static status database_open(code_index *x, error *err)
{
    char pragmas[320];
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
             "PRAGMA cell_size_check=ON; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-%zu;"
             "PRAGMA wal_autocheckpoint=%zu; PRAGMA journal_size_limit=16777216;"
             "PRAGMA max_page_count=%zu;",
             INDEX_CACHE_BYTES / KIB, INDEX_JOURNAL_BYTES / 4096, INDEX_DATABASE_MAX / 4096);
    x->damaged = false;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW;
    if (sqlite3_open_v2(x->path, &x->db, flags, NULL) != SQLITE_OK)
        return index_fail(x, "open", err);
    sqlite3_busy_timeout(x->db, INDEX_BUSY_MS);
    sqlite3_db_config(x->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    bool empty = false;
    status code = is_empty(&empty, x, err);
    /* of a database there is this would be a write, which waits for others */
    if (code == OK && empty) code = execute(x, "PRAGMA auto_vacuum=INCREMENTAL", err);
    if (code == OK) code = execute(x, pragmas, err);
    if (code == OK) code = schema_make(x, err);
    if (code == OK) code = schema_verify(x, err);
    if (code == OK) code = execute(x, terms, err);
    if (code == OK) code = statements_prepare(x, err);
    return code;
}

/* Nothing is made, mended or written: whoever reads finds what is there, or an error. */
static status database_open_reading(code_index *x, error *err)
{
    int flags = SQLITE_OPEN_READONLY | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(x->path, &x->db, flags, NULL) != SQLITE_OK)
        return index_fail(x, "open", err);
    sqlite3_busy_timeout(x->db, READING_BUSY_MS);
    status code = execute(x, "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON;", err);
    if (code == OK) code = schema_verify(x, err);
    if (code == OK) code = execute(x, terms, err);
    if (code == OK) code = statements_prepare(x, err);
    return code;
}

status index_open_reading(code_index **out, const char *database, error *err)
{
    *out = NULL;
    code_index *x = memory_take(1, sizeof *x);
    if (!x) return fail(err, ERR_MEMORY, "no memory for an index");
    x->lock_fd = -1;
    x->path = memory_copy(database, strlen(database));
    status code =
        x->path ? database_open_reading(x, err) : fail(err, ERR_MEMORY, "no memory for a path");
    if (code == OK)
        *out = x;
    else
        index_close(x);
    return code;
}

status index_lock(code_index *x, index_progress *progress, void *payload, error *err)
{
    if (x->lock_fd >= 0) return OK;
    int fd = open(x->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return fail(err, ERR_IO, "%s: %s", x->lock_path, strerror(errno));
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        bool go_on = errno == EWOULDBLOCK || errno == EINTR;
        if (!go_on || (progress && !progress(payload, 0, 0))) {
            int reason = errno;
            close(fd);
            return go_on ? fail(err, ERR_CANCELLED, "cancelled while another index is made")
                         : fail(err, ERR_IO, "%s: %s", x->lock_path, strerror(reason));
        }
        clock_sleep_us(50000);
    }
    x->lock_fd = fd;
    return OK;
}

void index_settle(code_index *x)
{
    sqlite3_wal_checkpoint_v2(x->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
}

void index_unlock(code_index *x)
{
    if (x->lock_fd >= 0) close(x->lock_fd);
    x->lock_fd = -1;
}

/* The journal goes first: a new database must never meet an old journal. */
status index_rebuild(code_index *x, error *err)
{
    static const char *const endings[] = {"-wal", "-shm", ""};
    buffer name = {0};
    database_close(x);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        buffer_clear(&name);
        buffer_print(&name, "%s%s", x->path, endings[i]);
        if (!name.failed) unlink(name.bytes);
    }
    buffer_free(&name);
    x->rebuilt = true;
    return database_open(x, err);
}

status index_size(code_index *x, uint64_t *bytes, error *err)
{
    bool found;
    sqlite3_stmt *s = SQL(x, SQL_PAGES);
    status code = index_step(x, s, &found, err);
    *bytes = code == OK && found ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    sqlite3_reset(s);
    return code;
}

status index_check(code_index *x, error *err)
{
    uint64_t bytes;
    sqlite3_stmt *s = NULL;
    status code = index_size(x, &bytes, err);
    if (code != OK || bytes > CHECKED_MAX) return code;
    if (sqlite3_prepare_v2(x->db, "PRAGMA quick_check(1)", -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW) {
        code = index_fail(x, "check", err);
    } else if (!text_is(column_view(s, 0), "ok")) {
        x->damaged = true;
        code = fail(err, ERR_FORMAT, "%s: damaged", x->path);
    }
    sqlite3_finalize(s);
    return code;
}

/* One database for all working trees of one repository and one user. */
static status paths_make(code_index *x, const repository *r, error *err)
{
    char hex[65];
    buffer key = {0}, folder = {0}, file = {0};
    buffer_print(&key, "%s%c%ld%c%d", repository_common(r), 0, (long)geteuid(), 0, SCHEMA_VERSION);
    if (!key.failed) sha256_hex(key.bytes, key.size, hex);
    status code = key.failed ? fail(err, ERR_MEMORY, "no memory for a path")
                             : path_cache(&folder, "index", err);
    if (code == OK) code = directory_make_private(folder.bytes, err);
    if (code == OK) {
        buffer_print(&file, "%s/%.32s.db", folder.bytes, hex);
        x->path = memory_copy(file.bytes, file.size);
        buffer_clear(&file);
        buffer_print(&file, "%s/%.32s.lock", folder.bytes, hex);
        x->lock_path = memory_copy(file.bytes, file.size);
        if (file.failed || !x->path || !x->lock_path)
            code = fail(err, ERR_MEMORY, "no memory for a path");
    }
    buffer_free(&key);
    buffer_free(&folder);
    buffer_free(&file);
    return code;
}

/* Whoever finds the file broken looks again under the lock: another process may have mended it. */
static status open_or_rebuild(code_index *x, error *err)
{
    status code = database_open(x, err);
    if (code == OK || !x->damaged) return code;
    database_close(x);
    if ((code = index_lock(x, NULL, NULL, err)) != OK) return code;
    code = database_open(x, err);
    if (code != OK && x->damaged) code = index_rebuild(x, err);
    index_unlock(x);
    return code;
}

status index_open(code_index **out, const repository *r, error *err)
{
    *out = NULL;
    code_index *x = memory_take(1, sizeof *x);
    if (!x) return fail(err, ERR_MEMORY, "no memory for an index");
    x->lock_fd = -1;
    x->floor_bytes = INDEX_DATABASE_FLOOR;
    x->max_bytes = INDEX_DATABASE_MAX;
    status code = paths_make(x, r, err);
    if (code == OK) code = open_or_rebuild(x, err);
    if (code == OK)
        *out = x;
    else
        index_close(x);
    return code;
}

void index_close(code_index *x)
{
    if (!x) return;
    index_rollback(x);
    database_close(x);
    index_unlock(x);
    memory_free(x->path);
    memory_free(x->lock_path);
    memory_free(x);
}

const char *index_database_path(const code_index *x) { return x->path; }
