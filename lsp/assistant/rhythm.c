#include "lsp/assistant/rhythm.h"

enum {
    PAUSE_US = 1000000, /* longer ones are no rhythm */
    WAIT_MAX_US = 250000
};

static const double weight = 0.25; /* of the newest, in a running mean */

static void mean_add(double *mean, double value)
{
    *mean = *mean > 0 ? *mean + weight * (value - *mean) : value;
}

void rhythm_key(struct rhythm *r, int64_t now_us)
{
    int64_t since_us = now_us - r->key_us;
    if (r->key_us && since_us >= 0 && since_us < PAUSE_US)
        mean_add(&r->interval_ms, (double)since_us / 1e3);
    r->key_us = now_us;
}

void rhythm_answer(struct rhythm *r, double ttft_ms) { mean_add(&r->ttft_ms, ttft_ms); }

int64_t rhythm_wait_us(const struct rhythm *r, int64_t now_us)
{
    if (!r->key_us || r->interval_ms <= 0 || r->ttft_ms <= r->interval_ms) return 0;
    /* A key and a half: then the next one did not come when it was due. */
    int64_t pause_us = (int64_t)(r->interval_ms * 1.5e3);
    if (pause_us > WAIT_MAX_US) pause_us = WAIT_MAX_US;
    int64_t left_us = r->key_us + pause_us - now_us;
    return left_us > 0 ? left_us : 0;
}
