/* The must-start-with constraint: the output begins with given bytes, wherever tokens begin and end.
 *
 * While bytes are left to say, a token may be sampled if it says the next of them, or says all of
 * them and goes on. In the vocabulary sorted by bytes these are few binary searches: every prefix
 * of the rest (single tokens), and one run of tokens that begin with all of it. Healing over several
 * tokens, partly typed words and halves of UTF-8 characters need nothing more. Immutable after
 * open: any thread. */
#ifndef INFERENCE_CONSTRAINT_H
#define INFERENCE_CONSTRAINT_H

#include "base/error.h"
#include "tokenizer/tokenizer.h"

typedef struct token_order {
    const tokenizer *tokenizer;
    int32_t *ids; /* [n] ids with bytes, neither dead nor special, sorted by their bytes */
    size_t n, bytes_max;
} token_order;

status token_order_open(token_order *out, const tokenizer *t, int32_t vocab_size, error *err);
void token_order_close(token_order *o);

/* Sets in `mask` ([ceil(vocab / 32)], cleared here) the ids that may come next while `rest` (not
 * empty) is still to be said. Their number; 0: the vocabulary cannot say it. */
size_t token_order_allow(const token_order *o, text rest, uint32_t *mask, size_t n_words);

#endif
