/* What of the repository belongs into a prompt: excerpts of other files, each with a reason.
 *
 * Sources propose candidates in an order of their own; ranks are fused (reciprocal rank fusion,
 * Cormack et al. 2009) with the weights of retrieve_source_weight. Nothing here waits: the index is
 * read as it is, files are read beneath the root only, and a clock bounds the whole. A retriever
 * belongs to one tree and to one thread at a time; knows no model, no tokens, no LSP. */
#ifndef CONTEXT_RETRIEVE_H
#define CONTEXT_RETRIEVE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/error.h"
#include "context/document.h"

typedef struct retriever retriever;

/* Opens the index that `dbrx-ls index` made of the tree at `root`. ERR_IO: there is none yet. */
status retriever_open(retriever **out, const char *database, const char *root, error *err);
void retriever_close(retriever *r); /* NULL is fine */

enum retrieve_source {
    SOURCE_DEFINITION, /* of a name that stands in the document, the nearer to the cursor the better */
    SOURCE_IMPORT,     /* what an imported file offers, by what is used here and how it is called */
    SOURCE_KIN,        /* what the files beside the document use */
    SOURCE_USAGE,      /* what the most similar lines and the places visited use */
    SOURCE_REPORTED, /* what a diagnostic near the cursor names, and where it points */
    SOURCE_RECENT,   /* where the user edited or looked, elsewhere, and what is defined there */
    SOURCE_SIMILAR,  /* lines that use the same rare words */
    N_RETRIEVE_SOURCES
};

const char *retrieve_source_name(enum retrieve_source source); /* "definition", ... */

/* A place the user edited or visited, newest first. */
struct recent_place {
    text path; /* relative to the root */
    uint32_t line;
};

/* What the client has reported of the document: a diagnostic. */
struct reported {
    text message;
    uint32_t line;      /* of the document, from 1 */
    text path;          /* another file that it points to, relative to the root; empty: none */
    uint32_t path_line; /* from 1 */
};

/* An open document as the editor has it, which may differ from the disk. */
struct open_text {
    text path;
    text content;
};

struct retrieve_request {
    struct document_view document; /* its path relative to the root */
    size_t cursor_byte;
    const struct open_text *open; /* [n_open] other documents */
    size_t n_open;
    const struct recent_place *recent; /* [n_recent] */
    size_t n_recent;
    const struct reported *reported; /* [n_reported] */
    size_t n_reported;
    unsigned without;          /* bit i: source i is left out, for ablation */
    int64_t time_us;           /* sources that come later than that are left out; 0: no bound */
    const atomic_bool *cancel; /* may be NULL */
};

/* Whole lines of one file, or the signature of one of its definitions. */
struct excerpt {
    text path, content;
    text head;              /* of a definition shown whole: its signature, where that must do */
    uint32_t line, n_lines; /* from 1; line 0: a signature */
    uint32_t from;          /* of the definition, in bytes: the order of signatures in their file */
    enum retrieve_source source;
    const char *reason; /* why it is there, in words */
    double score;
};

struct excerpts {
    struct excerpt *items; /* best first; they do not overlap */
    size_t n;
    int64_t source_us[N_RETRIEVE_SOURCES]; /* processor time of each */
    bool cut;                              /* the time was over, or it was cancelled */
    arena memory;
};

/* Freed by excerpts_free also after an error. Excluded files (exclude.h) are never in it. */
status retrieve(struct excerpts *out, retriever *r, const struct retrieve_request *request,
                error *err);
void excerpts_free(struct excerpts *e);

#endif
