/* What the files of syntax share: the parse, and how kinds of nodes are told. Internal to syntax*.c. */
#ifndef CONTEXT_SYNTAX_PRIVATE_H
#define CONTEXT_SYNTAX_PRIVATE_H

#include <tree_sitter/api.h>

#include "context/syntax.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

struct syntax {
    const struct language *language;
    TSTree *tree;
    char *content; /* a copy: where a comment ends depends on how it is written */
    size_t size;
};

/* Next node in document order that is no child of the cursor's; false at the end. */
bool syntax_step_over(TSTreeCursor *c);

/* Whether the type ends with one of the words. */
bool syntax_type_ends(const char *type, const char *const *ends, size_t n);

bool syntax_is_block(TSNode node);
bool syntax_is_comment(TSNode node);

#endif
