/* What the files of retrieval share: one request under way. */
#ifndef CONTEXT_RETRIEVE_PRIVATE_H
#define CONTEXT_RETRIEVE_PRIVATE_H

#include "context/imports.h"
#include "context/retrieve.h"
#include "context/tags.h"

enum {
    NEAR_NAMES_MAX = 40,
    NAMES_MAX = 320, /* of the document, looked up in the index */
    NAME_SLOTS = 2048,
    DEFINITIONS_CACHED_MAX = 4096,
    SYMBOLS_CACHED_MAX = 512,  /* files */
    CANDIDATES_EACH_MAX = 160, /* of one source */
    WINDOWS_MAX = 64,
    PATHS_KNOWN_MAX = 1024,
    PATHS_TRIED_MAX = 16,
    IMPORT_FILES_MAX = 3 /* of one import */
};

/* A name and how much it counts: the nearer to the cursor and the oftener, the heavier. */
struct near_name {
    text name;
    double weight;
    uint32_t count; /* how often it stands there */
    bool is_imported;
};

/* Names with the sums of their weights. */
struct name_table {
    struct near_name slots[NAME_SLOTS];
    size_t n;
};

/* A part of a near name, with the weight of the heaviest name that has it. */
struct near_part {
    uint64_t hash;
    double weight;
};

/* A file the document sees, and what it defines. */
struct imported_file {
    text path;
    double score; /* 1, or less for what an import hands on ... */
    int n_steps;  /* ... so many files away */
    struct index_symbols symbols;
    const uint64_t **parts; /* [symbols.n] the parts of each name (name_parts), 0 behind the last */
};

/* What files define, as read for an earlier question: most imports are the same in every version of the
 * index, and in every document of a folder. */
struct symbol_cache {
    struct known_symbols {
        text path;
        int64_t blob;
        uint64_t mark;                   /* index_blob_mark */
        const struct language *language; /* of the document */
        struct index_symbols symbols;
        const uint64_t **parts;
    } slots[2 * SYMBOLS_CACHED_MAX];
    size_t n;
    arena memory;
};

/* A package that this repository makes. */
struct package {
    text name, path; /* of its package.json */
    text *entries;   /* [n_entries] files where it begins, as it says */
    size_t n_entries;
};

/* Names of modules that begin so mean files below `target`, in files below `folder`. */
struct alias {
    text folder, prefix, target;
    bool open; /* more may follow */
};

/* Of all projects of the tree (retrieve_packages.c). */
struct projects {
    struct package *packages;
    struct alias *aliases;
    size_t n_packages, n_aliases;
    buffer marks; /* which files said so, in which contents */
    arena memory;
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
    struct index_files together; /* those that change in the same commits, where together_there */
    bool together_there;
    struct near_name *kin; /* [n_kin] what the files beside this one use, the commonest first */
    size_t n_kin;
    arena memory; /* of what is imported, and of kin */
};

/* Where names are defined, as the index said: most questions ask for the same ones again. */
struct definition_cache {
    struct known_name {
        text name;
        struct index_symbols found;
    } slots[2 * DEFINITIONS_CACHED_MAX];
    size_t n;
    int64_t index_version;
    arena memory;
};

struct retriever {
    code_index *index;
    tagger *tagger;
    char *root;
    int64_t tree;
    struct document_tags document;
    struct definition_cache definitions;
    struct symbol_cache symbols;
    struct projects projects;
};

/* A definition, or lines of a file. */
struct candidate {
    const struct index_symbol *symbol; /* NULL: lines */
    text path, content;                /* of lines */
    uint32_t line, n_lines;
    const char *reason;
    double score; /* the source's own, larger is better */
};

struct candidates {
    struct candidate items[CANDIDATES_EACH_MAX];
    size_t n, worst;
};

/* What is found out once about a path (retrieve_paths.c). */
struct known_path {
    text path;
    enum { NOT_ASKED, EXCLUDED, ALLOWED } excluded;
    bool kindred, is_read;
    text content;  /* where is_read */
    double weight; /* 0: nobody asked */
};

struct retrieval {
    retriever *r;
    const struct retrieve_request *q;
    struct near_name names[NAMES_MAX]; /* heaviest first */
    size_t n_near, n_names;            /* those near the cursor, and all */
    struct near_part *parts;           /* of those near, by hash */
    size_t n_parts;
    const struct language *language; /* of the document; NULL: unknown */
    struct candidates found[N_RETRIEVE_SOURCES];
    struct candidate windows[WINDOWS_MAX]; /* similar lines, best first */
    size_t n_windows;
    bool windows_there;
    struct known_path paths[PATHS_KNOWN_MAX];
    arena *memory;
    int64_t deadline_us; /* 0: none */
    bool cut;
    error *err;
};

/* Fills r->document.tags, unless they still hold. */
status document_tags_refresh(struct retrieval *t);
void document_tags_free(struct document_tags *d);

/* The names of the document, by weight. */
status names_find(struct retrieval *t);

/* Adds the names of a line; the heaviest n_max of a table, heaviest first, no words of the language. */
void line_names_put(struct name_table *f, text line, double weight);
size_t names_take(struct near_name *out, size_t n_max, struct name_table *f,
                  const struct language *language);

/* Hashes of the parts of a name, as in prompt_cut and promptCut, without regard to case; 0 ends
 * them. NULL: no memory. */
const uint64_t *name_parts(arena *a, text name);

/* How much a name has to do with what stands near the cursor: the whole and its parts. 0: nothing. */
double name_nearness(const struct retrieval *t, text name, const uint64_t *parts);

/* Fills r->projects, and finds what they call so: no files when it is none of theirs. */
status projects_find(struct retrieval *t);
status project_import(struct index_files *out, struct retrieval *t, text from, text module);
status built_import(struct index_files *out, struct retrieval *t, text from, text module);
void projects_free(struct projects *p);

/* Fills r->document's list of imported files, and what its neighbours use, unless it still holds. */
status imported_find(struct retrieval *t);
status kin_names_find(struct retrieval *t);

/* Where a name is defined; none when the time is over. They live until the next retrieval. */
status definitions_of(struct index_symbols *out, struct retrieval *t, text name);

/* The definitions of a name that the document may mean, each put for the source with `weight`. */
status name_put(struct retrieval *t, enum retrieve_source source, const struct near_name *name,
                const char *reason);

/* What nobody uses from another file: static functions of C, private members, what a function keeps
 * inside itself, tests. */
bool is_private(const struct index_symbol *s);

/* The document's own language, or one whose definitions it can use. */
bool is_kindred(struct retrieval *t, text path);
bool is_type(text kind);
bool is_wanted(struct retrieval *t, const struct index_symbol *s);

/* No text of it may reach a model (exclude.h). */
bool is_excluded(struct retrieval *t, text path);

/* The table's entry of a path, or, when it is full, `spare`. */
struct known_path *path_known(struct retrieval *t, text path, struct known_path *spare);

/* How likely a name of the document means what this file defines; asked when imports are known. */
double place_weight(struct retrieval *t, text path);

/* How much a definition of this kind helps whoever does not see it. */
double kind_weight(text kind);

/* Lines that use the same rare words, found once: t->windows. */
status windows_find(struct retrieval *t);

/* The sources. Each fills found[itself], in any order; later ones may read earlier ones. */
status definitions_find(struct retrieval *t);
status imports_find(struct retrieval *t);
status kin_find(struct retrieval *t);
status usage_find(struct retrieval *t);
status reported_find(struct retrieval *t);
status recent_find(struct retrieval *t);
status similar_find(struct retrieval *t);

/* The text of a file: as the editor has it, else from the disk (then in the retrieval's memory);
 * empty when it cannot be read or is no text. */
text retrieval_content(struct retrieval *t, text path);
bool retrieval_late(struct retrieval *t);
bool is_document(const struct retrieval *t, text path);

/* Lines [line, line + n) of content, line from 1, without the blank ones at the ends. */
text lines_of(text content, uint32_t *line, uint32_t *n_lines);

void candidate_put(struct retrieval *t, enum retrieve_source source, const struct candidate *c);
void symbol_put(struct retrieval *t, enum retrieve_source source, const struct index_symbol *s,
                double score, const char *reason);

#endif
