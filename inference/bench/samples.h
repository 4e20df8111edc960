/* Figures from repeated measurements: a list of values, its percentiles, rates and shares.
 *
 * Plain arithmetic that knows nothing of what was measured. What cannot be said is NAN, never 0: a
 * figure that was not measured must not look like one that was. One thread per list. */
#ifndef INFERENCE_BENCH_SAMPLES_H
#define INFERENCE_BENCH_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* A zeroed struct is an empty list. A failed allocation is sticky: a list that lost a value has no
 * figures. */
struct samples {
    double *values; /* [n]; samples_percentile sorts them */
    size_t n, room;
    bool failed;
};

void samples_put(struct samples *s, double value);
void samples_put_all(struct samples *to, const struct samples *from);
void samples_free(struct samples *s);

/* Nearest rank: the smallest value that at least `percent` of 100 are not above; percent 0 is the
 * lowest. NAN of an empty list. */
double samples_percentile(struct samples *s, double percent);

/* The mean of the two middle ones where their number is even. NAN of an empty list. */
double samples_median(struct samples *s);
double samples_mean(const struct samples *s);

/* Amount per second; NAN when nothing was done or no time went by. */
double rate_per_s(double amount, double us);

/* part / whole. ERR_FORMAT, with *out NAN, when it is no number from 0 (exclusive) to 1: then one of
 * the two was measured wrongly, and `what` says which share it was. */
status share_of(double *out, double part, double whole, const char *what, error *err);

#endif
