/* One request between two threads: the worker writes tokens, the client reads pieces.
 *
 * Private to the engine. A generation has two holders, the client and, until its end was reported,
 * the engine; the last one frees it. */
#ifndef INFERENCE_GENERATION_H
#define INFERENCE_GENERATION_H

#include <pthread.h>

#include "inference/draft.h"
#include "inference/engine.h"
#include "inference/output_rules.h"
#include "inference/scheduler.h"
#include "inference/stop.h"

struct generation {
    struct sequence sequence; /* the scheduler's view; first, so that one is the other */
    engine *engine;
    const tokenizer *tokenizer;
    struct generation *next; /* in the list of those the worker has not seen */
    bool ignore_stop_ids;
    bool drafts; /* `draft` is open */
    _Atomic int holders;

    /* Worker only. Output bytes are counted from the first one: token i ends at ends[i]. */
    struct stop_matcher stops;
    size_t n_bytes, n_bytes_released, n_ids;
    size_t *ends;
    struct output_rules rules; /* owned */
    struct output_state said;
    draft draft;
    int32_t draft_max;
    int32_t *score_tokens; /* the output's context, a rest of a token, the ids to score */
    int32_t *score;        /* [n_score] */
    int32_t n_score;

    /* Written by the worker behind what `lock` says is released; read up to there. */
    int32_t *tokens; /* the prompt and, from `ids` on, the output; sequence.tokens is */
    int32_t *ids;    /* another array while ids are scored */
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

/* Tokens that may have to be computed behind an output to score spec->score. token_bytes_max: of the
 * vocabulary. */
int32_t generation_extra(const struct generation_spec *spec, size_t token_bytes_max);

/* Copies the spec, already checked, for output of at most spec->max_tokens and `extra` tokens behind
 * it. Held by the caller and, in its name, by the engine. ERR_MEMORY. */
status generation_open(generation **out, engine *e, const tokenizer *t, int32_t max_seq_len,
                       const struct generation_spec *spec, int32_t n_extra, error *err);

void generation_release(generation *g);

/* The scheduler's events, on the worker. */
void generation_admitted(generation *g);

/* What may come behind the output so far and the n_ahead tokens behind it; as output_rules_mask. */
bool generation_mask(const generation *g, const rule_book *book, int32_t n_ahead, uint32_t *mask);
int32_t generation_draft(generation *g, int32_t n_max, double *agreement);
bool generation_complete(generation *g, struct score_run *run);
enum finish_reason generation_put_token(generation *g, const struct sample_result *result,
                                        const char **why);
void generation_end(generation *g, enum finish_reason reason, const char *why);

#endif
