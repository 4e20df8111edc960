/* How far one distribution over the vocabulary is from another, and what many such distances are
 * together. Plain arithmetic in double over fp32 logits. Any thread. */
#ifndef INFERENCE_DIVERGENCE_H
#define INFERENCE_DIVERGENCE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A row of logits as a distribution: log p_i = logits[i] - log_total. */
struct distribution {
    const float *logits; /* [n] */
    int32_t n, best;     /* the largest logit, the lowest id of equals */
    double log_total;    /* natural log of the sum of exp(logits); NaN when a logit is not finite */
};

struct distribution distribution_of(const float *logits, int32_t n);

/* Kullback-Leibler divergence sum p (log p - log q) in nats, at least 0 (Kullback and Leibler 1951). */
double divergence_between(const struct distribution *p, const struct distribution *q);

/* Of many divergences; p99 is the smallest that 99 % do not exceed (nearest rank). All 0 for n = 0. */
struct divergence {
    double mean, p99, max;
    double same_best; /* share of rows with the same largest logit, 0..1 */
};

/* ERR_MEMORY: it sorts a copy. `same_best` [n] holds 0 or 1. */
status divergence_sum(struct divergence *out, const double *values, const uint8_t *same_best,
                      size_t n, error *err);

#endif
