/* What the device is told about sampling: one row per output, and the masks of allowed ids.
 *
 * The draw itself is the backend's. Mask 0 forbids the dead ids, always; masks of constraints follow
 * it. Immutable after open. It knows no device and no queue. */
#ifndef INFERENCE_SAMPLER_H
#define INFERENCE_SAMPLER_H

#include "base/error.h"
#include "inference/engine.h"

typedef struct sampler {
    uint32_t *mask; /* [n_masks][n_words] */
    int32_t n_masks, n_words;
} sampler;

/* Ids of a vocabulary of vocab_size rows that the tokenizer calls dead are never sampled. */
status sampler_open(sampler *out, const tokenizer *t, int32_t vocab_size, error *err);
void sampler_close(sampler *s);

/* ERR_USAGE by field, value and range for what no row can be made of. */
status sampler_check(const struct generation_spec *spec, error *err);

/* The part of a sample row that stays the same for a whole request. */
struct sample_row sampler_row(const struct generation_spec *spec);

/* The row for output number `index` behind tokens[0, n_tokens). The tokens must live until collect. */
struct sample_row sampler_row_at(const struct sample_row *request, const int32_t *tokens,
                                 int32_t n_tokens, int32_t index);

#endif
