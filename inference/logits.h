/* All logits rows of a text, one slice of rows at a time: what does not fit in memory at once.
 * engine.h has the form that keeps all rows. Any thread; it opens model and backend itself. */
#ifndef INFERENCE_LOGITS_H
#define INFERENCE_LOGITS_H

#include "inference/engine.h"

/* Gets row `i` of n_tokens: [vocab_size] fp32, valid during the call. Another status than OK ends
 * the computation with it; then the callback has filled err. */
typedef status (*logits_row)(void *context, size_t i, const float *row,
                             const struct model_shape *shape, error *err);

/* Calls `row` for every token in order. ERR_USAGE for ids outside the vocabulary and for more tokens
 * than max_seq_len. */
status logits_each(const struct logits_options *options, const int32_t *tokens, size_t n_tokens,
                   logits_row row, void *context, error *err);

#endif
