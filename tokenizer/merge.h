/* Byte-pair merging of one piece that is no token itself.
 *
 * Starts from single bytes and, as long as two neighbours together are a token, joins the pair of
 * lowest rank, the leftmost among equals. It knows no pieces' origin. Any thread; state lives in the
 * call. Source: Sennrich, Haddow, Birch 2016 (arXiv:1508.07909) over bytes, as tiktoken does it. */
#ifndef TOKENIZER_MERGE_H
#define TOKENIZER_MERGE_H

#include "tokenizer/rank_table.h"
#include "tokenizer/tokenizer.h"

/* Appends the ids of `piece` (size > 0). out->failed when memory is short; then nothing of this
 * piece is in the list. */
void merge_piece(const struct rank_table *table, token_list *out, text piece);

#endif
