/* The pre-tokenizer: cuts text into the pieces that BPE then works on alone.
 *
 * The same cuts as cl100k's pattern, whose alternatives are tried in this order:
 *
 *   (?i:'s|'t|'re|'ve|'m|'ll|'d)     [^\r\n\p{L}\p{N}]?\p{L}+     \p{N}{1,3}
 *    ?[^\s\p{L}\p{N}]+[\r\n]*        \s*[\r\n]+     \s+(?!\S)     \s+
 *
 * A piece depends on nothing before it, so cutting is one forward scan. A byte that begins no
 * well-formed UTF-8 sequence is a character of its own, neither letter, number nor space. It knows
 * no tokens. Any thread. Source: tiktoken's cl100k_base; Unicode classes as in generated/. */
#ifndef TOKENIZER_SCANNER_H
#define TOKENIZER_SCANNER_H

#include "base/text.h"

/* End of the piece that begins at bytes[at], at < size; at least one byte further. */
size_t scanner_piece_end(text bytes, size_t at);

/* Largest offset where `bytes` may be cut so that both parts have the pieces of the whole, whatever
 * is appended. A sequence cut off at the end counts as not there yet. 0 at worst. */
size_t scanner_stable_boundary(text bytes);

#endif
