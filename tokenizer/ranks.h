/* tiktoken's text form of a rank list: "BASE64 RANK" by lines, in any order. Any thread. */
#ifndef TOKENIZER_RANKS_H
#define TOKENIZER_RANKS_H

#include "tokenizer/vocabulary.h"

/* Puts the list into v and seals its ranks. ERR_FORMAT names the line. */
status ranks_parse(struct vocabulary *v, text list, error *err);

/* Appends the list in the order of ranks. */
void ranks_write(const struct rank_table *table, buffer *out);

/* The rank list the program carries: cl100k, with DBRX's specials. *sha256 points at the 32 bytes
 * of its text form's digest. */
status ranks_open_embedded(struct vocabulary *v, const unsigned char **sha256, error *err);

#endif
