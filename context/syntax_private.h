/* What the files of syntax share: the parse, and how kinds of nodes are told. Internal to syntax*.c. */
#ifndef CONTEXT_SYNTAX_PRIVATE_H
#define CONTEXT_SYNTAX_PRIVATE_H

#include <tree_sitter/api.h>

#include "context/syntax.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

struct syntax {
    const struct language *language;
    TSTree *tree;
    text content; /* where a comment ends depends on how it is written */
    char *owned;  /* its bytes, unless they are somebody else's */
};

/* A text in up to three pieces, none of them cut inside a character, and how long it may be read. */
struct reading {
    text pieces[3];
    int64_t deadline_us; /* of clock_thread_us */
};

/* The tree of that text; `known` is the tree of the text before, edited, or NULL. NULL when the time is up:
 * then the parser goes on where it stopped, if it is given the same text again. */
TSTree *syntax_read(TSParser *parser, const TSTree *known, struct reading *r);

/* Row and column (in bytes) behind `t`, which begins at `at`. */
TSPoint syntax_point_behind(TSPoint at, text t);
/* Bytes [from, to) of `before` become `with`; `start` is the place of `from`. */
TSInputEdit syntax_input_edit(text before, size_t from, size_t to, text with, TSPoint start);

/* Next node in document order that is no child of the cursor's; false at the end. */
bool syntax_step_over(TSTreeCursor *c);

/* Whether the type ends with one of the words. */
bool syntax_type_ends(const char *type, const char *const *ends, size_t n);

bool syntax_is_block(TSNode node);
bool syntax_is_comment(TSNode node);

#endif
