/* Repository context for commands that work without an editor: brings the index of the repository a
 * file lies in up to date, and asks it. One thread. */
#ifndef LSP_CLI_GATHER_H
#define LSP_CLI_GATHER_H

#include "context/map.h"
#include "context/retrieve.h"

struct gather {
    retriever *retriever;
    char *root; /* with a "/" behind it */
    struct repository_map map;
    arena memory; /* of the map */
    bool
        partial; /* the index is not whole: another process makes it, or it takes longer than one waits */
};

/* For files beneath the repository (or folder) that `file` lies in. ERR_* say why there is no
 * context; gather_close frees also then. */
status gather_open(struct gather *out, const char *file, error *err);
void gather_close(struct gather *g);

/* Says on stderr, once, that the index is not whole. */
void gather_say(struct gather *g, const char *command);

/* True when `file` lies beneath the root: *out is its path from there, in `memory`. */
bool gather_path(text *out, arena *memory, const struct gather *g, const char *file);

/* The excerpts for a place of a document, whose path is relative to the root. */
status gather_run(struct excerpts *out, const struct gather *g,
                  const struct document_view *document, size_t cursor_byte, error *err);

/* Both in turn for a file: opens `g` when it is not open, or open for another root, and makes the
 * document's path one from there, in `memory`. */
status gather_place(struct excerpts *out, struct gather *g, arena *memory, const char *path,
                    struct document_view *document, size_t cursor_byte, error *err);

#endif
