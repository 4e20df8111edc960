/* The repository map: the definitions that the rest of a repository uses most, file by file.
 *
 * Files that use a name vote for the files that define it; PageRank (Brin and Page 1998) over these
 * votes tells which files matter, and what flows through each name which of their definitions. It is
 * made by whoever updates the index, stands in the database, and stays as it is until HEAD moves:
 * prompts begin with it, so a map that changed would empty every cache. */
#ifndef CONTEXT_MAP_H
#define CONTEXT_MAP_H

#include "context/index.h"
#include "tokenizer/tokenizer.h"

struct map_line {
    text path, signature;
};

struct repository_map {
    struct map_line *lines; /* the most used definition first; at most MAP_LINES_MAX */
    size_t n;
    text head;    /* the commit it was made for, "-" where there is none */
    uint64_t key; /* of all lines: another map has another key */
};

/* Reads the map of a tree into the arena; none was made yet: zero lines. */
status repository_map_read(struct repository_map *out, arena *a, code_index *x, int64_t tree,
                           error *err);

/* The same for whoever has no index open: `root` names the tree. */
status repository_map_open(struct repository_map *out, arena *a, const char *database, text root,
                           error *err);

/* Appends as much of the map as fits into budget_tokens: "PATH:" and below it its signatures, one a
 * line; files in the order of their best line. Every line begins with a visible character, so that
 * counting them one by one is exact. Without a tokenizer: all of it. */
status repository_map_text(buffer *out, const struct repository_map *m, const tokenizer *t,
                           size_t budget_tokens, error *err);

#endif
