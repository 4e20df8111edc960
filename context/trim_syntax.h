/* The last word on where an answer of several lines ends: the grammar's, where there is one.
 * Internal to trim; any thread. */
#ifndef CONTEXT_TRIM_SYNTAX_H
#define CONTEXT_TRIM_SYNTAX_H

#include "context/syntax.h"

struct trim_around {
    const struct language *language;
    const syntax *tree; /* of content; NULL: it is parsed here */
    text content;       /* the document */
    size_t cursor_byte;
    text before, below; /* a few kilobytes of it */
};

/* Of the ascending `ends` (sizes of `insert`) keeps the first ones and the last one, at most n_max,
 * with which the document parses no worse than without; how many those are. Without a grammar or time
 * all do. */
size_t trim_syntax_ends(const struct trim_around *around, text insert, size_t *ends, size_t n_ends,
                        size_t n_max);

/* Whether the document parses better with `b` than with `a`. */
bool trim_syntax_prefers(const struct trim_around *around, text a, text b);

#endif
