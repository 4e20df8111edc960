#include "inference/service/meters.h"

const int64_t meter_bounds_us[METER_BUCKETS - 1] = {1000,    2500,    5000,     10000,    25000,
                                                    50000,   100000,  250000,   500000,   1000000,
                                                    2500000, 5000000, 10000000, 30000000, 60000000};
const unsigned meter_codes[METER_CODES] = {200, 400, 401, 403, 404, 405, 409,
                                           413, 415, 429, 500, 503, 0};

void histogram_add(struct histogram *h, int64_t us)
{
    int i = 0;
    if (us < 0) us = 0;
    while (i < METER_BUCKETS - 1 && us > meter_bounds_us[i]) i++;
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, (uint64_t)us, memory_order_relaxed);
}

void meter_reply(struct meters *m, size_t route, unsigned http_status)
{
    int i = 0;
    if (route > METER_ROUTES_MAX) route = METER_ROUTES_MAX;
    while (i < METER_CODES - 1 && meter_codes[i] != http_status) i++;
    atomic_fetch_add_explicit(&m->replies[route][i], 1, memory_order_relaxed);
}

void meter_generation(struct meters *m, enum priority priority, const struct generation_stats *g)
{
    histogram_add(&m->queue[priority], g->queue_us);
    if (g->n_output > 0) histogram_add(&m->first_token[priority], g->queue_us + g->prefill_us);
}
