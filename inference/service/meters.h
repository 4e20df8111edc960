/* What the service counts: requests by status, and how long first tokens took. Written by every
 * connection's thread without a lock, read by metrics.c. Counts only grow. */
#ifndef INFERENCE_SERVICE_METERS_H
#define INFERENCE_SERVICE_METERS_H

#include <stdatomic.h>
#include <stdint.h>

#include "inference/engine.h"

enum {
    METER_BUCKETS = 16, /* bounds in meter_bounds_us, then above */
    METER_ROUTES_MAX = 15,
    METER_CODES = 13
};

/* 1 ms to 60 s in steps of 2 to 2.5: time to first token is promised at 250 and 500 ms. */
extern const int64_t meter_bounds_us[METER_BUCKETS - 1];

/* The status codes this service uses; the last slot, 0, is for all others. */
extern const unsigned meter_codes[METER_CODES];

struct histogram {
    atomic_uint_fast64_t bucket[METER_BUCKETS];
    atomic_uint_fast64_t sum_us;
};

struct meters {
    atomic_uint_fast64_t replies[METER_ROUTES_MAX + 1][METER_CODES]; /* [route]; last: no route */
    struct histogram first_token[N_PRIORITIES], queue[N_PRIORITIES];
    atomic_uint_fast64_t wrong_keys;  /* attempts with a key that is none */
    atomic_uint_fast64_t superseded;  /* answers cancelled by a newer request of their session */
    atomic_uint_fast64_t connections; /* taken since the start */
};

void histogram_add(struct histogram *h, int64_t us);
void meter_reply(struct meters *m, size_t route, unsigned http_status);

/* A generation that ended: its wait, and its time to the first token if it had one. */
void meter_generation(struct meters *m, enum priority priority, const struct generation_stats *g);

#endif
