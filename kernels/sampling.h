/* Sampling one row of logits on the host: the same choice for every backend that computes there.
 *
 * Stateless: noise comes from (seed, index, id), so a choice depends on its row alone. Any thread
 * that has its own scratch. */
#ifndef KERNELS_SAMPLING_H
#define KERNELS_SAMPLING_H

#include "kernels/kernels.h"

struct sample_scratch {
    float *weight; /* [vocab] */
    int32_t *id;   /* [vocab] */
};

/* `mask` is the row's own bit set or NULL. The distribution: logits with the repetition penalty of
 * Keskar et al. 2019 (CTRL), without what the mask forbids, divided by the temperature; then ids
 * under min_p times the best one's probability go (min-p), all but the top_k best, and of those all
 * behind the first whose running share reaches top_p (Holtzman et al. 2019). The draw is Gumbel-max
 * in its exponential form: the smallest E(id) / p(id), E = -log of a uniform number. */
void sample_logits(struct sample_result *out, const float *logits, int32_t n_vocab,
                   const struct sample_row *row, const uint32_t *mask,
                   const struct sample_scratch *scratch);

/* log of the sum of exp, in double around the largest: what every log-probability is taken from. False
 * when a logit is NaN or infinite. */
bool sample_normaliser(double *out, const float *logits, int32_t n_vocab);

/* The same with the normaliser of the row as a backend knows it; NaN: some logit is not finite. */
void sample_normalised(struct sample_result *out, const float *logits, double normaliser,
                       int32_t n_vocab, const struct sample_row *row, const uint32_t *mask,
                       const struct sample_scratch *scratch);

#endif
