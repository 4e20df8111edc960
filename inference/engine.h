/* The engine: a model on a backend that serves many requests at once.
 *
 * An opaque engine and opaque generations. The caller always passes the whole token prefix; what of
 * it need not be computed again is the engine's business. One worker thread owns device, KV pages,
 * prefix cache and scheduler; every function here may be called from any thread and only posts to
 * it. The engine knows token ids and the tokenizer's bytes; no HTTP, no editor, no repository. */
#ifndef INFERENCE_ENGINE_H
#define INFERENCE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "kernels/kernels.h"
#include "kernels/watch.h"
#include "tokenizer/tokenizer.h"

typedef struct engine engine;
typedef struct generation generation; /* one request and its stream of tokens */

enum priority { PRIORITY_INTERACTIVE, PRIORITY_ACTION, PRIORITY_BATCH, PRIORITY_WARM };

enum { N_PRIORITIES = PRIORITY_WARM + 1 };

struct engine_options {
    const char *model_dir;
    const char *backend; /* "auto", "cpu", "reference", "cuda" */
    int32_t n_threads;   /* 0: all cores */
    enum kv_type kv_type;
    bool kv_served; /* instead: what the backend serves with, e4m3 on a GPU, else bf16 */
    /* Capacity of the KV pool; 0: what memory_bytes leave, or 4 x max_seq_len of the model, less (1 x
     * at least) where memory is short. What does not fit is refused with the numbers. */
    int64_t kv_tokens;
    int64_t memory_bytes; /* the most the engine may take, mapped weights apart; 0: what is free */
    double
        memory_fraction; /* of what is free, the most to take; 0: 0.98 on a GPU, else all of it */
    int32_t gpu;         /* which one, from 0 */
    bool deterministic;  /* on a GPU: the same bits whatever shares a step; slower */
    struct device_watch *watch; /* kernels/watch.h; NULL: nobody looks */
    int32_t seqs_max;           /* that share a step; 0: ENGINE_SEQUENCES_MAX */
    /* KV that is kept behind the pool when the pool has no more room for it, in tokens or in bytes;
     * both 0: none. In a nameless file in this directory, which must have room for all of it, or,
     * where host_directory is NULL or a GPU computes, in memory. */
    int64_t host_tokens, host_bytes;
    const char *host_directory;
    int32_t rows_max;  /* rows of one step; 0: 512, on a GPU 2048 */
    bool draft_always; /* verify every draft, whatever it costs: tests and benchmarks */
    /* WEIGHT_FP8_ROW, WEIGHT_INT8_ROW or WEIGHT_INT4_G128: weights of 16 bits or more are quantised
     * on the way; 0: they stay as they are stored. With save_dir the result is kept in that
     * directory, or found there. */
    enum weight_format weights;
    const char *save_dir;
    /* Called from the loading thread with 0..1; may be NULL. */
    void (*progress)(void *context, double fraction);
    void *progress_context;
};

/* Loads the model; minutes for a large one. ERR_* name file, field, value and expectation. */
status engine_open(engine **out, const struct engine_options *options, error *err);

/* What an engine would have, without loading weights. */
struct engine_plan {
    struct model_shape shape;
    enum kv_type kv_type;
    bool demo;
    int64_t n_parameters;
    size_t stored_bytes;            /* weights as stored */
    int64_t kv_tokens, host_tokens; /* of the KV pool, and behind it */
    size_t kv_bytes, host_bytes;
    size_t work_bytes, free_bytes; /* free_bytes 0: the machine does not say */
};

/* Makes the checks of engine_open up to the loading, with the same errors. */
status engine_plan(struct engine_plan *out, const struct engine_options *options, error *err);

/* What a GPU of a named memory would hold: arithmetic from config.json alone, no device is asked.
 * ERR_MEMORY with the numbers when the weights and one context do not fit. */
struct engine_fit {
    struct model_shape shape;
    size_t weight_bytes, work_bytes, kv_bytes_per_token;
    int64_t kv_tokens;
};
status engine_fit(struct engine_fit *out, const struct engine_options *options, size_t memory_bytes,
                  error *err);

/* Cancels everything, waits for the worker, frees. Generations must have been freed before. */
void engine_close(engine *e);

const struct model_shape *engine_shape(const engine *e);
const tokenizer *engine_tokenizer(const engine *e);
const char *engine_model_name(const engine *e);   /* the model directory's last component */
const char *engine_backend_name(const engine *e); /* "cpu avx2", ... */
bool engine_is_demo(const engine *e);             /* config.json: "dbrx_ls": {"demo": true} */

struct generation_spec {
    const int32_t *prompt; /* [n_prompt] copied; 1 <= n_prompt < max_seq_len */
    size_t n_prompt;
    int32_t max_tokens; /* 0 only to warm or to score; cut so that all of it fits max_seq_len */
    enum priority priority;
    uint64_t owner;    /* namespace: KV is never shared across owners */
    float temperature; /* 0: greedy */
    int32_t top_k;     /* 0: off */
    float top_p;       /* 1 (or 0): off */
    float min_p;
    float repetition_penalty; /* 1 (or 0): off */
    uint64_t seed;
    int32_t n_logprobs; /* 0..20 */
    const text *stops;  /* [n_stops] byte strings that end the output and are not in it */
    size_t n_stops;
    text must_start_with; /* copied; the output begins with these bytes, whatever the tokens */
    bool ignore_stop_ids; /* benchmarks: go on behind endoftext and im_end */
    /* What the output is expected to be, or be like; [n_predicted] copied. It is verified, never
     * believed: the output is the same without it. */
    const int32_t *predicted;
    size_t n_predicted;
    int32_t
        draft_max; /* tokens verified ahead of one step at most; 0: DRAFT_TOKENS_MAX, -1: none */
    const int32_t *forbid_first; /* [n_forbid_first] copied: none of them is the first output id */
    size_t n_forbid_first;
    /* Closing brackets, of )]}>, that the output may contain only after their opener, each kind
     * counted by itself over the output's bytes (output_rules.h). */
    text forbid_unopened;
    /* Ids whose log-probability behind the output is wanted, [n_score] copied; behind the prompt
     * with max_tokens 0. The output is what was released: without a stop id, a stop string and what
     * follows it. Where a stop string begins inside a token, the bytes before it are encoded anew. */
    const int32_t *score;
    size_t n_score;
};

enum finish_reason {
    FINISH_NONE,   /* still running */
    FINISH_STOP,   /* a stop id or stop string */
    FINISH_LENGTH, /* max_tokens or the context is full */
    FINISH_CANCELLED,
    FINISH_ERROR /* see generation_error */
};

/* Queues a request. ERR_USAGE for ids outside the vocabulary and for lengths that can never fit
 * (with the numbers); ERR_BUSY when ENGINE_QUEUE_MAX requests wait already, or this owner's
 * ENGINE_QUEUE_OWNER_MAX. A warm request that waits never keeps others out: the oldest is cancelled. */
status engine_submit(engine *e, const struct generation_spec *spec, generation **out, error *err);

/* One piece of output. `bytes` are whole as far as stop strings are concerned (what might become
 * one is held back) but may end inside a UTF-8 character; they live until the next call. */
struct generation_piece {
    text bytes;
    const int32_t *ids;                  /* [n_ids] the tokens behind these bytes */
    const float *logprobs;               /* [n_ids] */
    const struct sample_result *details; /* [n_ids] with the best n_logprobs ids, or NULL when 0 */
    size_t n_ids;
    enum finish_reason finish; /* FINISH_NONE: more will come */
};

/* Waits up to timeout_ms for output. True: *piece is filled (perhaps empty but for finish). False:
 * nothing came in time. After a piece with a finish reason there is nothing more to read. */
bool generation_next(generation *g, struct generation_piece *piece, int timeout_ms);

/* Stops the work at the next step boundary; generation_next then gives FINISH_CANCELLED. */
void generation_cancel(generation *g);

/* Cancels if need be and frees. */
void generation_free(generation *g);

/* One line that says why a generation finished with FINISH_ERROR. */
const char *generation_error(const generation *g);

struct generation_stats {
    int64_t queue_us, prefill_us, decode_us; /* waiting; first step to first token; from there on */
    int64_t n_prompt, n_cached, n_output;    /* tokens; cached: KV found, not computed */
    int64_t drafted, accepted;               /* tokens verified ahead, and those that were right */
    double
        score_logprob; /* natural, of all ids of spec.score; NAN: not asked for, or not reached */
};

/* Final after the finish; before it a snapshot. */
void generation_stats(const generation *g, struct generation_stats *out);

/* Steps by the time they took: at most 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000 ms, and
 * above. engine_step_bucket_ms are the bounds, without the last. */
enum { ENGINE_STEP_BUCKETS = 13, ENGINE_EXPERTS_MAX = 64 };
extern const int32_t engine_step_bucket_ms[ENGINE_STEP_BUCKETS - 1];

struct engine_stats {
    int64_t n_running, n_queued;
    int64_t n_running_by[N_PRIORITIES], n_queued_by[N_PRIORITIES];
    int64_t refused_busy;               /* not taken: the queue was full */
    int64_t device_us_by[N_PRIORITIES]; /* of steps; what several share is divided by cost */
    int64_t tokens_prompt, tokens_cached, tokens_output, requests, cancelled, failed;
    int64_t kv_pages, kv_pages_free, kv_pages_cached;
    /* Tokens computed by warm requests; of those, found by a real request; of those, evicted or
     * superseded unused. */
    int64_t warm_tokens, warm_useful, warm_wasted;
    int64_t steps, step_us_total, step_us_bucket[ENGINE_STEP_BUCKETS]; /* each step in one bucket */
    int64_t expert_rows[ENGINE_EXPERTS_MAX]; /* rows by expert, all layers, of sampled steps */
    int64_t host_pages, host_pages_free;     /* KV kept in host memory, behind the device */
    int64_t pages_spilled, pages_restored, host_evicted; /* pages, since the start */
    int64_t drafted, accepted;                           /* tokens proposed, and kept */
    double tokens_per_s;  /* decode rate over the last second of decoding */
    bool device_failed;   /* the process must end with exit code 3 */
    char device_why[160]; /* then: what failed */
};

void engine_stats(engine *e, struct engine_stats *out);

/* One request that waits or runs. */
struct engine_request_info {
    uint64_t id;                  /* by arrival, from 1 */
    const generation *generation; /* to be compared only: it may be freed by now */
    enum priority priority;
    uint64_t owner;
    const char *state;     /* "queued", "prefill", "decode" */
    const char *waits_for; /* "a place", "pages", "stricter work", "its turn", "a shared prefix",
                            * "its next step", or "" when it is being computed */
    int64_t age_us, n_prompt, n_cached, n_computed, n_output;
};

/* Who waits for what, as of the next step boundary: up to n_max, returns how many. Waits for the
 * worker to get there; after two seconds without it, 0. */
size_t engine_requests(engine *e, struct engine_request_info *out, size_t n_max);

/* All logits rows of one pass over `tokens`, fp32 activations and KV: the oracle behind
 * `dbrx-ls logits`. *out is [n_tokens][vocab_size], freed by memory_free. Needs no tokenizer, and
 * no engine: it opens model and backend itself. */
struct logits_options {
    const char *model_dir, *backend;
    int32_t n_threads;
    enum kv_type kv_type;
    enum weight_format weights;   /* as in engine_options */
    const int32_t *routes_forced; /* [layers][n_tokens][top_k] or NULL */
};
status logits_compute(float **out, struct model_shape *shape, const struct logits_options *options,
                      const int32_t *tokens, size_t n_tokens, error *err);

#endif
