/* What the files of the index share: the database with its statements, and rows of one content. */
#ifndef CONTEXT_INDEX_PRIVATE_H
#define CONTEXT_INDEX_PRIVATE_H

#include <sqlite3.h>

#include "context/index.h"
#include "context/tags.h"

/* Every statement of the index, prepared once (index_database.c has their text). */
enum index_sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_TREE_ADD,
    SQL_TREE_FIND,
    SQL_TREE_SEEN,
    SQL_TREE_LIST,
    SQL_TREE_DROP_FILES,
    SQL_TREE_DROP,
    SQL_FILE_LIST,
    SQL_FILE_KNOWN,
    SQL_FILE_PUT,
    SQL_FILE_DROP,
    SQL_BLOB_FIND,
    SQL_BLOB_ADD,
    SQL_BLOB_FILL,
    SQL_BLOB_LEFT,
    SQL_BLOB_DROP,
    SQL_BLOB_FILES,
    SQL_BLOBS_UNUSED,
    SQL_BLOBS_LONGEST_UNUSED,
    SQL_SYMBOL_ADD,
    SQL_SYMBOLS_DROP,
    SQL_USES_ADD,
    SQL_USES_OF,
    SQL_USES_DROP,
    SQL_IMPORT_ADD,
    SQL_IMPORTS_DROP,
    SQL_WORDS_ADD,
    SQL_WORDS_DROP,
    SQL_WORDS_MERGE,
    SQL_SUMS,
    SQL_SOURCE_BYTES,
    SQL_PAGES,
    SQL_FREE_PAGES,
    SQL_SHRINK,
    SQL_FIND,
    SQL_FILE_FIND,
    SQL_FILES_AT,
    SQL_FILES_BY_STEM,
    SQL_FILES_BY_FOLDER,
    SQL_BLOB_SYMBOLS,
    SQL_BLOB_SYMBOLS_COUNT,
    SQL_BLOB_IMPORTS,
    SQL_BLOB_MODULES,
    SQL_BLOB_NAMES,
    SQL_BLOB_IS,
    SQL_TERM,
    SQL_FILES_LIKE,
    SQL_VERSION,
    SQL_PAST_HEAD,
    SQL_PAST_SEEN,
    SQL_COMMIT_FIND,
    SQL_COMMIT_ADD,
    SQL_COMMITS_PRUNE,
    SQL_TOUCHED_PRUNE,
    SQL_PATHS_PRUNE,
    SQL_PATH_FIND,
    SQL_PATH_ADD,
    SQL_TOUCHED_ADD,
    SQL_TOGETHER,
    SQL_MAP_MARK,
    SQL_MAP_MARK_SET,
    SQL_MAP_CHANGES_ADD,
    SQL_MAP_NODES,
    SQL_MAP_SYMBOLS,
    SQL_MAP_PUT,
    SQL_MAP_DROP,
    SQL_MAP_LIST,
    SQL_MAP_REFRESH,
    N_INDEX_SQL,
};

struct code_index {
    sqlite3 *db;
    sqlite3_stmt *sql[N_INDEX_SQL];
    char *path, *lock_path;
    int lock_fd;  /* -1, or the lock that updates hold */
    bool damaged; /* SQLite found the file broken, or it is another program's or version's */
    bool rebuilt;
    uint64_t floor_bytes, max_bytes; /* its bounds */
    uint64_t source_bytes;           /* what they stand for, as far as it has been counted */
    bool measured;                   /* of all trees */
    bool unbounded;       /* for one file that somebody has saved: only max_bytes counts */
    size_t n_left;        /* files that have lost their content since contents were last evicted */
    int64_t begun_us;     /* 0, or when the open transaction began */
    size_t n_batch;       /* files in it */
    index_opened *opened; /* index_ask_opened's */
    void *opened_payload;
};

/* A failed call of SQLite as our status: ERR_FORMAT sets x->damaged. */
status index_fail(code_index *x, const char *what, error *err);

/* The statement, reset, with integers bound to ?1, ?2, ... (texts and blobs are bound by hand). */
sqlite3_stmt *index_sql(code_index *x, enum index_sql which, size_t n, const int64_t *values);
#define SQL(x, which) index_sql((x), (which), 0, NULL)
#define SQL_WITH(x, which, ...)                                                                    \
    index_sql((x), (which), sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                    \
              (int64_t[]){__VA_ARGS__})

/* Runs a statement that gives no row, and resets it. */
status index_run(code_index *x, sqlite3_stmt *s, error *err);
/* Steps once: *found tells whether there is a row; the caller resets. */
status index_step(code_index *x, sqlite3_stmt *s, bool *found, error *err);
void bind_text(sqlite3_stmt *s, int at, text t);
void bind_bytes(sqlite3_stmt *s, int at, text t);
/* A column as it lies in the statement, until that is stepped or reset. What must not be NULL may be,
 * in a damaged file: that is empty. */
text column_view(sqlite3_stmt *s, int at);
/* A column copied into the arena. */
text column_bytes(arena *a, sqlite3_stmt *s, int at);

/* Transactions. begin does nothing when one is open; share commits when it is due. */
status index_begin(code_index *x, error *err);
status index_share(code_index *x, error *err);
status index_commit(code_index *x, error *err);
void index_rollback(code_index *x);

/* Takes x's lock, trying every 50 ms as long as `progress` agrees. */
status index_lock(code_index *x, index_progress *progress, void *payload, error *err);
void index_unlock(code_index *x);
/* Deletes the database and makes an empty one. The lock must be held. */
status index_rebuild(code_index *x, error *err);
/* Reads through a database small enough for it: ERR_FORMAT and x->damaged when it is broken. */
status index_check(code_index *x, error *err);
status index_size(code_index *x, uint64_t *bytes, error *err);
/* Moves what the journal holds into the file, as far as no reader needs it. */
void index_settle(code_index *x);

/* What is known of a content. */
enum blob_state {
    BLOB_TAGS,
    BLOB_WORDS,
    BLOB_BINARY,
    BLOB_MINIFIED,
    BLOB_SLOW,
    BLOB_FULL, /* there was no room for what it says */
    N_BLOB_STATES
};

struct blob_row {
    int64_t id; /* 0: not in the index */
    int64_t size_bytes;
    enum blob_state state;
};

/* What index_blob.c stores of `names` and `counts` (table uses): names by lines, and for each a byte
 * that tells how often it is used, 255 meaning that often or more. */
struct blob_uses {
    text names, counts;
};

/* From three columns: id, size, state. ERR_FORMAT and x->damaged for a state there is not. */
status blob_read(struct blob_row *out, code_index *x, sqlite3_stmt *s, const int columns[3],
                 error *err);
status blob_find(struct blob_row *out, code_index *x, const struct blob_id *id,
                 const struct language *language, error *err);
/* What a content says, read without the database; freed by tags_free also after an error. */
status blob_parse(struct tags *tags, enum blob_state *state, tagger *t,
                  const struct language *language, text path, text content, error *err);
/* Stores it, if nobody else has meanwhile: `out` gets its id. Without room, as BLOB_FULL. */
status blob_add(struct blob_row *out, code_index *x, const struct blob_id *id,
                const struct language *language, size_t size_bytes, enum blob_state state,
                const struct tags *tags, error *err);
/* Of one content; the texts live until the statement is asked again. */
status blob_uses(struct blob_uses *out, code_index *x, int64_t blob, error *err);
/* What HEAD's past adds (index_history.c), and the map of the tree (index_map.c), made when it is
 * due. n_changes: files whose content is new, or gone, since the last update. */
status index_update_past(code_index *x, repository *r, int64_t tree, index_progress *progress,
                         void *payload, error *err);
status index_update_map(code_index *x, repository *r, int64_t tree, size_t n_files,
                        size_t n_changes, index_progress *progress, void *payload, error *err);
/* Whatever finds a name among symbols: stored with it, so that the index of names is one of numbers. */
int64_t name_hash(text name);
/* Drops what was known of a content that no file has any more. Inside a transaction. */
status blob_forget(code_index *x, int64_t blob, error *err);
/* What a file counts as. */
uint64_t source_bytes_of(uint64_t size_bytes);
/* *room: what one more content says may be stored; before it says no, unused ones are evicted.
 * `spare`: for more than one. */
status blobs_room(bool *room, code_index *x, bool spare, error *err);
/* Deletes contents no tree has, the longest unused first, when the database is over its bound or others
 * want their room. */
status blobs_evict(code_index *x, bool wanted, error *err);
/* Files that must have lost their content before contents that no file has are looked for: that passes
 * over all there are. */
#define INDEX_LEFT_MIN 64
/* The files that the one at `path` is likely about: what it imports, then the others of its folder and
 * those nearest in the tree, those changed last first. Positions in the list; the caller frees *out. */
status index_near(size_t **out, size_t *n, const struct repository_files *list, repository *r,
                  text path, error *err);

#endif
