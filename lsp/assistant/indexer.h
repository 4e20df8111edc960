/* One folder's indexer: the process, what it says, and that it is started again when it dies. */
#ifndef LSP_ASSISTANT_INDEXER_H
#define LSP_ASSISTANT_INDEXER_H

#include <uv.h>

#include "base/error.h"
#include "base/text.h"

typedef struct indexer indexer;

/* Starts the program's own `index --follow` for the folder. */
status indexer_open(indexer **out, uv_loop_t *loop, text folder, error *err);
/* The process ends with its input; freed by the loop. */
void indexer_close(indexer *x);

/* A command; lost while no process runs, because a new one looks at everything. */
void indexer_tell(indexer *x, const char *command, text argument);

/* The process learns which files the user excludes now (exclude.h), when that is another list than it
 * was started with or told. */
void indexer_exclude(indexer *x);

const char *indexer_folder(const indexer *x);
/* As the indexer said, or NULL while it has not yet: the folder with links resolved, the root of the
 * repository it lies in, the database. */
const char *indexer_path(const indexer *x);
const char *indexer_root(const indexer *x);
const char *indexer_database(const indexer *x);
/* Names what is staged for the next commit: another word for another stage, "" for none. */
const char *indexer_staged(const indexer *x);
/* Called from the loop when something else is staged, or when git attributes have changed. */
struct indexer_watcher {
    void (*staged)(void *context, const indexer *x);
    void (*rules)(void *context);
    void *context;
};
void indexer_watch(indexer *x, const struct indexer_watcher *watcher);
/* Counts the times that something was found changed. */
unsigned indexer_version(const indexer *x);

#endif
