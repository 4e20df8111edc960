/* The index is brought up to date first: without an editor nobody else does. */
#include "lsp/cli/gather.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "context/index.h"

/* WAIT_US: while another process makes the index, which does not help to wait for. */
enum { REFRESH_US = 2000000, WAIT_US = 500000 };

struct refresh {
    int64_t began_us;
    const char *file; /* NULL: its surroundings were asked for */
    repository *r;
};

/* Longer than that nobody waits for one answer: the rest is done by the next call, or by an editor. */
static bool in_time(void *payload, size_t n_done, size_t n_files)
{
    const struct refresh *f = payload;
    (void)n_done;
    return clock_us() < f->began_us + (n_files ? REFRESH_US : WAIT_US);
}

static bool the_file(void *payload, buffer *path)
{
    struct refresh *f = payload;
    text root = text_of(repository_root(f->r)), file = text_of(f->file);
    bool below = f->file && text_starts(file, root) && file.size > root.size + 1;
    if (below) buffer_put_text(path, text_slice(file, root.size + 1, file.size));
    f->file = NULL;
    return below;
}

static status index_refresh(struct gather *g, const char *folder, const char *file, error *err)
{
    repository *r = NULL;
    code_index *x = NULL;
    struct index_report report;
    struct refresh f = {.began_us = clock_us(), .file = file};
    status code = repository_open(&r, folder, err);
    f.r = r;
    if (code == OK) code = index_open(&x, r, err);
    if (code == OK) index_ask_opened(x, the_file, &f);
    if (code == OK) code = index_update(&report, x, r, in_time, &f, err);
    g->partial = code == ERR_CANCELLED;
    if (code == ERR_CANCELLED) code = OK;
    if (code == OK)
        code = retriever_open(&g->retriever, index_database_path(x), repository_root(r), err);
    if (code == OK)
        code = repository_map_open(&g->map, &g->memory, index_database_path(x),
                                   text_of(repository_root(r)), err);
    if (code == OK) {
        buffer root = {0};
        const char *path = repository_root(r);
        buffer_print(&root, "%s%s", path, path[0] && path[strlen(path) - 1] == '/' ? "" : "/");
        g->root = root.failed ? NULL : memory_copy(root.bytes, root.size);
        if (!g->root) code = fail(err, ERR_MEMORY, "no memory for a path");
        buffer_free(&root);
    }
    index_close(x);
    repository_close(r);
    return code;
}

status gather_open(struct gather *out, const char *file, error *err)
{
    char real[PATH_MAX], folder[PATH_MAX];
    *out = (struct gather){0};
    if (!realpath(file, real)) return fail(err, ERR_IO, "%s: no such file", file);
    memcpy(folder, real, sizeof folder);
    char *slash = strrchr(folder, '/');
    if (slash && slash != folder) *slash = 0;
    status code = index_refresh(out, folder, real, err);
    if (code != OK) gather_close(out);
    return code;
}

void gather_say(struct gather *g, const char *command)
{
    if (g->partial)
        fprintf(stderr, "dbrx-ls %s: the index is still being made: what there is of it is used\n",
                command);
    g->partial = false;
}

void gather_close(struct gather *g)
{
    retriever_close(g->retriever);
    memory_free(g->root);
    arena_reset(&g->memory);
    *g = (struct gather){0};
}

bool gather_path(text *out, arena *memory, const struct gather *g, const char *file)
{
    char real[PATH_MAX];
    if (!g->root || !realpath(file, real)) return false;
    text path = text_of(real), root = text_of(g->root);
    if (!text_starts(path, root)) return false;
    path = text_slice(path, root.size, path.size);
    const char *copy = arena_copy(memory, path.bytes, path.size);
    *out = (text){copy, copy ? path.size : 0};
    return copy != NULL;
}

status gather_run(struct excerpts *out, const struct gather *g,
                  const struct document_view *document, size_t cursor_byte, error *err)
{
    struct retrieve_request q = {.document = *document, .cursor_byte = cursor_byte};
    return retrieve(out, g->retriever, &q, err);
}

status gather_place(struct excerpts *out, struct gather *g, arena *memory, const char *path,
                    struct document_view *document, size_t cursor_byte, error *err)
{
    if (g->retriever && !gather_path(&document->path, memory, g, path)) gather_close(g);
    status code = g->retriever ? OK : gather_open(g, path, err);
    if (code == OK) gather_path(&document->path, memory, g, path);
    return code == OK ? gather_run(out, g, document, cursor_byte, err) : code;
}
