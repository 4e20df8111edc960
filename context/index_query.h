/* Questions to the index: what is defined, imported and used where, as of the last update.
 *
 * Reading never waits for an updater and never writes. Answers live in the caller's arena. A
 * code_index belongs to one thread. */
#ifndef CONTEXT_INDEX_QUERY_H
#define CONTEXT_INDEX_QUERY_H

#include "context/index.h"
#include "context/tags.h"

/* Opens a database that an updater has made, for questions alone: ERR_IO when it is not there,
 * ERR_FORMAT when it is none of this version. Closed by index_close. */
status index_open_reading(code_index **out, const char *database, error *err);

/* The number of the tree whose root this is; ERR_IO when the index does not know it. */
status index_tree(int64_t *out, code_index *x, text root, error *err);

/* Between the two all questions are about one state, and each costs less. */
status index_read_begin(code_index *x, error *err);
void index_read_end(code_index *x);

/* A number that changes whenever another connection has written. */
status index_version(int64_t *out, code_index *x, error *err);

struct index_symbol {
    text path, name, kind, signature; /* path is empty where the file is known from the question */
    uint32_t line, from, to;          /* line from 1; bytes of the whole definition */
};

struct index_symbols {
    struct index_symbol *symbols;
    size_t n;
};

/* Where `name` is defined in the tree of `root`, by path and line: at most n_max. */
status index_definitions(struct index_symbols *out, arena *a, code_index *x, text root, text name,
                         size_t n_max, error *err);

struct index_file {
    text path;
    int64_t blob; /* its content */
    double score; /* of index_files_like: larger is nearer */
};

struct index_files {
    struct index_file *files;
    size_t n;
};

/* Files by their exact path, by their path without endings ("a/b" finds a/b.c and a/b.x.c), by their
 * stem (path_text.h) and the folder before it, by the last two parts of their folder. */
status index_file_at(struct index_file *out, bool *found, arena *a, code_index *x, int64_t tree,
                     text path, error *err);
status index_files_at(struct index_files *out, arena *a, code_index *x, int64_t tree, text path,
                      error *err);
status index_files_by_stem(struct index_files *out, arena *a, code_index *x, int64_t tree,
                           text path, error *err);
status index_files_by_folder(struct index_files *out, arena *a, code_index *x, int64_t tree,
                             text folder, error *err);

/* What one content defines, in its order: at most n_max. */
status index_symbols_of(struct index_symbols *out, arena *a, code_index *x, int64_t blob,
                        size_t n_max, error *err);

/* A number of the content itself: another one may have the same blob later. 0: there is none. */
status index_blob_mark(uint64_t *out, code_index *x, int64_t blob, error *err);

/* The modules that one content imports, each once and without names: at most 100. */
status index_imports_of(struct tag_import **out, size_t *n, arena *a, code_index *x, int64_t blob,
                        error *err);

/* All that one content imports, as tags_read said it, by module and name: at most 1,000. */
status index_imports_named(struct tag_import **out, size_t *n, arena *a, code_index *x,
                           int64_t blob, error *err);

/* Whether the blob is this content, and its tags are known. */
status index_blob_is(bool *out, code_index *x, int64_t blob, text content, error *err);

/* The names that one content uses, by lines. */
status index_names_used(text *out, arena *a, code_index *x, int64_t blob, error *err);

/* How many contents use or define the word. */
status index_word_count(int64_t *out, code_index *x, text word, error *err);

/* Files that share the most, and the rarest, of these words (BM25 over whole contents): at most
 * n_max files. */
status index_files_like(struct index_files *out, arena *a, code_index *x, int64_t tree,
                        const text *words, size_t n_words, size_t n_max, error *err);

/* Files of the tree that changed in the same commits as `path`, at least twice: score is the share of
 * commits, the cosine of the two files' commits, squared. At most n_max, best first. */
status index_files_together(struct index_files *out, arena *a, code_index *x, int64_t tree,
                            text path, size_t n_max, error *err);

#endif
