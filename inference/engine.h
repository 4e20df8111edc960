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
#include "tokenizer/tokenizer.h"

typedef struct engine engine;
typedef struct generation generation; /* one request and its stream of tokens */

enum priority { PRIORITY_INTERACTIVE, PRIORITY_ACTION, PRIORITY_BATCH, PRIORITY_WARM };

struct engine_options {
    const char *model_dir;
    const char *backend; /* "auto", "cpu", "reference", "cuda" */
    int32_t n_threads;   /* 0: all cores */
    enum kv_type kv_type;
    /* Capacity of the KV pool; 0: 4 x max_seq_len of the model, less (1 x at least) where memory is
     * short. What does not fit is refused with the numbers. */
    int64_t kv_tokens;
    int32_t rows_max; /* rows of one step; 0: 512 */
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
    bool demo;
    int64_t n_parameters;
    size_t stored_bytes;                     /* weights as stored */
    int64_t kv_tokens;                       /* of the KV pool */
    size_t kv_bytes, work_bytes, free_bytes; /* free_bytes 0: the machine does not say */
};

/* Makes the checks of engine_open up to the loading, with the same errors. */
status engine_plan(struct engine_plan *out, const struct engine_options *options, error *err);

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
    int32_t max_tokens; /* 0 only with PRIORITY_WARM; cut so that prompt + output fit max_seq_len */
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
};

enum finish_reason {
    FINISH_NONE,   /* still running */
    FINISH_STOP,   /* a stop id or stop string */
    FINISH_LENGTH, /* max_tokens or the context is full */
    FINISH_CANCELLED,
    FINISH_ERROR /* see generation_error */
};

/* Queues a request. ERR_USAGE for ids outside the vocabulary and for lengths that can never fit
 * (with the numbers), ERR_BUSY when ENGINE_QUEUE_MAX wait already. */
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
};

/* Final after the finish; before it a snapshot. */
void generation_stats(const generation *g, struct generation_stats *out);

struct engine_stats {
    int64_t n_running, n_queued;
    int64_t tokens_prompt, tokens_cached, tokens_output, requests, cancelled, failed;
    int64_t kv_pages, kv_pages_free, kv_pages_cached;
    double tokens_per_s; /* decode rate over the last second of decoding */
    bool device_failed;  /* the process must end with exit code 3 */
};

void engine_stats(engine *e, struct engine_stats *out);

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
