/* Repository context for the assistant, without ever waiting for it.
 *
 * For each folder of the workspace an indexer runs (`dbrx-ls index --follow`), a process of its own
 * that may be killed; this room reads the database it makes. Questions are asked on a thread of the
 * loop's pool, one at a time, the newest first; an answer that comes too late for one completion
 * serves the next. The loop's thread alone calls these functions. */
#ifndef LSP_ASSISTANT_GATHERER_H
#define LSP_ASSISTANT_GATHERER_H

#include <uv.h>

#include "base/error.h"
#include "context/map.h"
#include "context/retrieve.h"

typedef struct gatherer gatherer;

status gatherer_open(gatherer **out, uv_loop_t *loop, error *err);
/* Called from the loop, also for folders added later: when something else than before is staged for the
 * next commit of a folder's repository (`id` names it, "" when nothing is); when its git attributes are
 * others than they were. */
struct gatherer_watcher {
    void (*staged)(void *context, const char *folder, const char *id);
    void (*rules)(void *context);
    void *context;
};
void gatherer_watch(gatherer *g, const struct gatherer_watcher *watcher);
/* Ends the indexers and forgets what runs; freed by the loop. */
void gatherer_close(gatherer *g);

/* Folders of the workspace, absolute. One that is there already is not added again. */
void gatherer_add(gatherer *g, text folder);
void gatherer_remove(gatherer *g, text folder);

/* A file was saved: its folder's indexer looks at it. */
void gatherer_saved(gatherer *g, text path);
/* Anything may have changed: the user came back to the editor. */
void gatherer_refresh(gatherer *g);

/* Other patterns of the user's may exclude files now (exclude.h): their rows leave the indexes. */
void gatherer_exclude(gatherer *g);

/* What the client reports now of these lines of a document (from 1), and nothing else: the next
 * questions look for what it names. Paths are absolute; all is copied. */
void gatherer_report(gatherer *g, uint64_t key, uint32_t from_line, uint32_t to_line,
                     const struct reported *said, size_t n);

struct gather_query {
    uint64_t key;                  /* of the document */
    text path;                     /* absolute */
    struct document_view document; /* copied */
    size_t cursor_byte;
};

/* The cursor is there now. Asks for what belongs there, and remembers the place as visited. */
void gatherer_note(gatherer *g, const struct gather_query *q);

/* The newest answer for this document that was not taken yet, or NULL. Lives until the next call of
 * any of these functions, or the next turn of the loop. */
const struct excerpts *gatherer_take(gatherer *g, uint64_t key);
/* Whether there is one to take. */
bool gatherer_has(const gatherer *g, uint64_t key);
/* The map of the repository that the file lies in, or NULL while none is known. Lives as above. */
const struct repository_map *gatherer_map(gatherer *g, text path);
/* The newest answer for this document, taken or not, for who does not complete. Lives as long. */
const struct excerpts *gatherer_peek(const gatherer *g, uint64_t key);
void gatherer_forget(gatherer *g, uint64_t key);

#endif
