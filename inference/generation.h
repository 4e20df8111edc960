/* One request between two threads: the worker writes tokens, the client reads pieces.
 *
 * Private to the engine. A generation has two holders, the client and, until its end was reported,
 * the engine; the last one frees it. */
#ifndef INFERENCE_GENERATION_H
#define INFERENCE_GENERATION_H

#include <pthread.h>

#include "inference/engine.h"
#include "inference/scheduler.h"
#include "inference/stop.h"

struct generation {
    struct sequence sequence; /* the scheduler's view; first, so that one is the other */
    engine *engine;
    const tokenizer *tokenizer;
    struct generation *next; /* in the list of those the worker has not seen */
    bool ignore_stop_ids;
    _Atomic int holders;

    /* Worker only. Output bytes are counted from the first one: token i ends at ends[i]. */
    struct stop_matcher stops;
    size_t n_bytes, n_bytes_released, n_ids;
    size_t *ends;
    text must_start; /* owned */

    /* Written by the worker behind what `lock` says is released; read up to there. */
    float *logprobs;
    struct sample_result *details; /* NULL unless asked for */

    pthread_mutex_t lock; /* guards what follows, and the signal */
    pthread_cond_t changed;
    buffer ready;   /* bytes released, not yet read */
    size_t n_ready; /* ids released */
    enum finish_reason finish;
    struct generation_stats stats;
    char error[256];

    /* Client only. */
    buffer reading;
    size_t n_read;
    bool finish_read;
};

/* Copies the spec, already checked, for output of at most spec->max_tokens. Held by the caller and,
 * in its name, by the engine. ERR_MEMORY. */
status generation_open(generation **out, engine *e, const tokenizer *t, int32_t max_seq_len,
                       const struct generation_spec *spec, error *err);

void generation_release(generation *g);

/* The scheduler's events, on the worker. */
void generation_admitted(generation *g);

/* What of must_start is still to be said; empty: the output is free. */
text generation_must_say(const generation *g);
enum finish_reason generation_put_token(generation *g, const struct sample_result *result,
                                        const char **why);
void generation_end(generation *g, enum finish_reason reason, const char *why);

#endif
