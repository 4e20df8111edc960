/* The last word on where an answer of several lines ends: the grammar's, where there is one.
 * Internal to trim; any thread. */
#ifndef CONTEXT_TRIM_SYNTAX_H
#define CONTEXT_TRIM_SYNTAX_H

#include "context/syntax.h"

/* The last of the ascending `ends` (sizes of `insert`) with which before + insert + below parses no
 * worse than before + below does; 0 when none does; the very last one when there is no grammar or no
 * time. */
size_t trim_syntax_end(const struct language *language, text before, text insert, text below,
                       const size_t *ends, size_t n_ends);

#endif
