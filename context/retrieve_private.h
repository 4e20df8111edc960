/* What the files of retrieval share: one request under way. */
#ifndef CONTEXT_RETRIEVE_PRIVATE_H
#define CONTEXT_RETRIEVE_PRIVATE_H

#include "context/imports.h"
#include "context/retrieve.h"
#include "context/tags.h"

enum {
    NEAR_LINES_ABOVE = 30,
    NEAR_LINES_BELOW = 8,
    NEAR_NAMES_MAX = 40,
    CANDIDATES_EACH_MAX = 48 /* of one source */
};

/* A name that stands near the cursor; the nearer and the oftener, the heavier. */
struct near_name {
    text name;
    double weight;
};

/* A part of a near name, with the weight of the heaviest name that has it. */
struct near_part {
    uint64_t hash;
    double weight;
};

/* A file the document sees, and what it defines. */
struct imported_file {
    text path;
    double score; /* 1, or less for what an import hands on */
    struct index_symbols symbols;
    const uint64_t **parts; /* [symbols.n] the parts of each name (name_parts), 0 behind the last */
};

/* The document's own tags and what it imports; kept while it changes little and the index not at all,
 * because finding them takes longer than everything else. Tags point into `content`. */
struct document_tags {
    buffer path, content;
    struct tags tags;
    bool there, imports_there;
    int n_used;
    int64_t index_version;
    struct imported_file *imported;
    size_t n_imported;
    arena memory; /* of what is imported */
};

struct retriever {
    code_index *index;
    tagger *tagger;
    char *root;
    int64_t tree;
    struct document_tags document;
};

struct candidates {
    struct excerpt items[CANDIDATES_EACH_MAX]; /* score: the source's own, larger is better */
    size_t n;
};

struct retrieval {
    retriever *r;
    const struct retrieve_request *q;
    struct near_name names[NEAR_NAMES_MAX]; /* heaviest first */
    size_t n_names;
    struct near_part *parts; /* of these names, by hash */
    size_t n_parts;
    const struct language *language; /* of the document; NULL: unknown */
    struct candidates found[N_RETRIEVE_SOURCES];
    arena *memory;
    int64_t deadline_us; /* 0: none */
    bool cut;
    error *err;
};

/* The names around the cursor, with those of the document's own definitions left out. */
status near_names_find(struct retrieval *t);

/* Hashes of the parts of a name, as in prompt_cut and promptCut, without regard to case; 0 ends
 * them. NULL: no memory. */
const uint64_t *name_parts(arena *a, text name);

/* How much a name has to do with what stands near the cursor: the whole and its parts. 0: nothing. */
double name_nearness(const struct retrieval *t, text name, const uint64_t *parts);

/* Fills r->document's list of imported files, unless it still holds. */
status imported_find(struct retrieval *t);

/* A function of another C file that its author keeps to himself. */
bool is_private(const struct index_symbol *s);

/* The document's own language, or one whose definitions it can use. */
bool is_kindred(const struct retrieval *t, text path);

/* The sources. Each fills found[itself], in any order. */
status definitions_find(struct retrieval *t);
status imports_find(struct retrieval *t);
status recent_find(struct retrieval *t);
status similar_find(struct retrieval *t);

/* The text of a file: as the editor has it, else from the disk (then in the retrieval's memory);
 * empty when it cannot be read or is no text. */
text retrieval_content(struct retrieval *t, text path);
bool retrieval_late(struct retrieval *t);
bool is_document(const struct retrieval *t, text path);

/* Lines [line, line + n) of content, line from 1, without the blank ones at the ends. */
text lines_of(text content, uint32_t *line, uint32_t *n_lines);

void candidate_put(struct retrieval *t, enum retrieve_source source, const struct excerpt *e);

#endif
