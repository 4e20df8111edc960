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

/* The last of the ascending `ends` (sizes of `insert`) with which the document parses no worse than
 * without; 0 when none does; the very last one when there is no grammar or no time. */
size_t trim_syntax_end(const struct trim_around *around, text insert, const size_t *ends,
                       size_t n_ends);

#endif
