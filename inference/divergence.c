#include "inference/divergence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

struct distribution distribution_of(const float *logits, int32_t n)
{
    struct distribution d = {.logits = logits, .n = n};
    double sum = 0;
    for (int32_t i = 1; i < n; i++)
        if (logits[i] > logits[d.best]) d.best = i;
    double largest = (double)logits[d.best];
    for (int32_t i = 0; i < n; i++) sum += exp((double)logits[i] - largest);
    d.log_total = isfinite(largest) ? largest + log(sum) : NAN;
    return d;
}

double divergence_between(const struct distribution *p, const struct distribution *q)
{
    double sum = 0;
    for (int32_t i = 0; i < p->n; i++) {
        double log_p = (double)p->logits[i] - p->log_total;
        sum += exp(log_p) * (log_p - ((double)q->logits[i] - q->log_total));
    }
    return sum < 0 ? 0 : sum; /* rounding of equal rows; NaN stays NaN */
}

static int double_compare(const void *a, const void *b)
{
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

status divergence_sum(struct divergence *out, const double *values, const uint8_t *same_best,
                      size_t n, error *err)
{
    double sum = 0, same = 0;
    *out = (struct divergence){0};
    if (n == 0) return OK;
    double *sorted = memory_take(n, sizeof *sorted);
    if (!sorted) return fail(err, ERR_MEMORY, "out of memory for %zu divergences", n);
    memcpy(sorted, values, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, double_compare);
    for (size_t i = 0; i < n; i++) {
        sum += sorted[i];
        same += same_best[i];
    }
    out->mean = sum / (double)n;
    out->p99 = sorted[(n * 99 + 99) / 100 - 1];
    out->max = sorted[n - 1];
    out->same_best = same / (double)n;
    memory_free(sorted);
    return OK;
}
