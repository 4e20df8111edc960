/* The repository index: which file defines, uses and imports what, in one SQLite database.
 *
 * Everything known about a file is known about its content: rows hang on blob ids, and a tree is a
 * list of paths with their blobs. So a rename, a branch switch and back, and a second working tree
 * parse nothing. The database stands in the user's cache directory, one for all working trees of a
 * repository, and may be deleted at any time; a damaged one is built anew. The only files that see
 * SQLite are index*.c.
 *
 * Work is committed in short transactions: a process killed at any moment loses at most the last one,
 * and the next update goes on from there. Updates of one repository happen one after the other, in
 * whichever process; reading goes on meanwhile. A code_index belongs to one thread. */
#ifndef CONTEXT_INDEX_H
#define CONTEXT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "context/repository.h"

typedef struct code_index code_index;

/* Opens the database of r's repository, made when it is not there or cannot be used. */
status index_open(code_index **out, const repository *r, error *err);
void index_close(code_index *x); /* NULL is fine */
const char *index_database_path(const code_index *x);

enum index_skip {
    SKIP_EXCLUDED,   /* context/exclude.h: its text reaches nobody, and no row either */
    SKIP_LARGE,      /* over INDEX_FILE_MAX */
    SKIP_BINARY,     /* holds a NUL */
    SKIP_MINIFIED,   /* lines no person wrote */
    SKIP_SLOW,       /* over TAGS_MAX_US */
    SKIP_UNREADABLE, /* gone meanwhile, or no permission */
    SKIP_FULL,       /* the database is as large as it may be: known by its path alone */
    N_INDEX_SKIPS,
};

const char *index_skip_name(enum index_skip reason); /* "excluded", ...: for people and JSON */

/* n_files is the sum of parsed, reused and skipped ones. */
struct index_report {
    size_t n_files, n_parsed, n_reused, n_skipped[N_INDEX_SKIPS];
    size_t n_removed;                 /* paths the tree no longer has */
    uint64_t n_symbols, n_references; /* of all files of this tree, by distinct content */
    uint64_t source_bytes;            /* of the files that are not skipped */
    uint64_t parsed_bytes, database_bytes;
    int64_t elapsed_us;
    uint64_t rules; /* repository_list's */
    bool rebuilt;   /* the database was damaged and was built anew */
    bool truncated; /* repository_list's: there are more files than it takes */
};

/* Called about ten times a second, and more often before the first file is done (0 of 1); false ends the
 * update with ERR_CANCELLED, keeping what is done. n_files is 0 while another process holds the update and
 * we wait for it. */
typedef bool index_progress(void *payload, size_t n_done, size_t n_files);

/* Makes the database agree with r's files. Waits while another process does the same, and then finds
 * the work done. `progress` may be NULL. A database that would grow over its bound leaves out what
 * contents say, until there is room again (SKIP_FULL). ERR_LIMIT when not even paths fit: what is in it
 * is right, but not all. */
status index_update(struct index_report *out, code_index *x, repository *r,
                    index_progress *progress, void *payload, error *err);

/* Of tests: bounds other than INDEX_DATABASE_FLOOR and INDEX_DATABASE_MAX. */
void index_set_bounds(code_index *x, uint64_t floor_bytes, uint64_t max_bytes);

/* Asked by an update between files: which file the user has opened since, by its path from the root.
 * What it imports and its neighbours are looked at next, and committed. False: none. The path is copied. */
typedef bool index_opened(void *payload, buffer *path);
void index_ask_opened(code_index *x, index_opened *opened, void *payload);

/* Makes the database agree with one file, which may be new, changed or gone. Waits for nobody;
 * may be called with the same x from the progress of an update. */
status index_update_file(bool *changed, code_index *x, repository *r, text path, error *err);

#endif
