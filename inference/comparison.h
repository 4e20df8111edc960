/* Compares two numerics on a text: two checkpoints of one model, or one with two types of KV.
 *
 * A source and a candidate read the same tokens. For every token the divergence of the candidate's
 * distribution from the source's is taken twice: with the candidate's own routes, which is what
 * users get, and with the source's routes forced on it, which leaves numerics alone. How often the
 * routes agree is told apart. All of it runs through the kernel table, layer by layer over a whole
 * window of tokens, so that the weights of a layer are read once per window however much larger
 * than memory the model is.
 *
 * Memory besides mapped weights: per token of a window three residual rows and three KV entries,
 * two slices of logits, and 18 bytes per token of the text. It knows token ids, no text. Any
 * thread; it opens models and devices itself. */
#ifndef INFERENCE_COMPARISON_H
#define INFERENCE_COMPARISON_H

#include "inference/divergence.h"
#include "kernels/kernels.h"

struct comparison_side {
    const char *model_dir;
    const char *activations; /* as activation_parse reads it; NULL: as config.json says */
    enum kv_type kv_type;
    enum weight_format weights; /* as in engine_options; 0: as stored */
};

struct comparison_progress {
    size_t n_tokens; /* of the text */
    double done;     /* 0..1 of the work */
    int32_t layer;   /* of n_layers, in the window that is being computed */
    int32_t n_layers;
};

struct comparison_options {
    struct comparison_side source, candidate;
    const char *backend;   /* as in engine_options; NULL: auto */
    int32_t n_threads;     /* 0: all cores */
    int32_t window_tokens; /* the text is cut into windows of that, each read from an empty context;
                              0: COMPARISON_WINDOW_TOKENS or max_seq_len, whatever is less */
    /* Called by the calling thread behind every layer of a window; may be NULL. */
    void (*progress)(void *context, const struct comparison_progress *p);
    void *context;
};

enum { COMPARISON_WINDOW_TOKENS = 2048, COMPARISON_SPANS_MAX = 8 };

/* Rows whose context (tokens up to and with their own) has from..to tokens. */
struct comparison_span {
    int32_t from, to;
    size_t n_tokens;
    struct divergence forced, free;
};

struct comparison {
    size_t n_tokens, n_windows;
    struct divergence forced, free; /* routes of the source; routes of its own */
    /* Shares, 0..1, of the candidate's choices (rows x layers) that agree with the source's: the same
     * experts, and the same in the same order. In the free run. */
    double same_experts, same_order;
    double worst_layer_same_experts;
    int32_t worst_layer;
    /* Mean of -log p of the token that follows in the text, in nats; NaN when none does. */
    double source_loss, candidate_loss;
    struct comparison_span spans[COMPARISON_SPANS_MAX]; /* [n_spans] up to 256, 1024, 4096, ... */
    int32_t n_spans;
};

/* ERR_USAGE: ids outside the vocabulary, a window outside 1..max_seq_len, models of another shape
 * (by field). ERR_FORMAT: a logit that is not finite, by side and token. */
status comparison_make(struct comparison *out, const struct comparison_options *options,
                       const int32_t *tokens, size_t n_tokens, error *err);

#endif
