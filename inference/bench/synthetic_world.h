/* The model of a synthetic bench and one step over it: weights from a seed, pages in any order, routes
 * drawn anew for every step and counted. Used by synthetic.c only. */
#ifndef INFERENCE_BENCH_SYNTHETIC_WORLD_H
#define INFERENCE_BENCH_SYNTHETIC_WORLD_H

#include "inference/bench/synthetic.h"
#include "inference/model.h"

enum { SYNTHETIC_ROWS_MAX = 2048, SYNTHETIC_SEQS_MAX = 64, SYNTHETIC_CONTEXTS = 3 };

/* A model by name: its shape and the lengths that are measured on it. */
struct synthetic_model {
    const char *name;
    struct model_shape shape;
    int32_t contexts[SYNTHETIC_CONTEXTS]; /* of decoding */
    int32_t prompts[4];                   /* of prefill */
    int32_t warm, behind;                 /* first token: rows there, rows new */
    size_t read_bytes;                    /* of the read loop */
    int32_t matrix_n;                     /* of the matrix rate */
};
const struct synthetic_model *synthetic_model_find(const char *name);

/* What a step reads and computes, by the parts that depend on it differently. */
struct synthetic_sizes {
    double dense, expert, head,
        row; /* bytes: attention, norms, routers of all layers; of one expert
                                      * of one layer; of the head; of the embedding per row */
    double dense_flop, expert_flop,
        head_flop;   /* per row; per row and expert of a layer; per output */
    double kv_token; /* bytes of one position, all layers */
};

struct synthetic_world {
    const struct synthetic_model *model;
    const struct kernels *k;
    device *d;
    kv_pool *kv;
    struct layer_weights *layers; /* [n_layers] */
    const weight *wte, *norm_f, *lm_head;
    weight **all; /* [n_all] */
    int32_t n_all;
    struct synthetic_sizes sizes;
    int32_t *pages; /* [n_pages] every page once, in no order */
    int32_t n_pages;
    uint64_t n_drawn; /* of the routes' generator */

    /* The step: filled by step_rows. */
    struct step step;
    int32_t *token, *position, *seq, *seq_row, *kv_len, *out_row, *routes, *table;
    struct sample_row *sample;
    double n_experts; /* distinct in this step, over all layers */
};

/* Device and arrays; then the weights, then the pool in what is left. All are to be closed by
 * bench_world_close, also after a failure. */
status bench_world_open(struct synthetic_world *w, const struct synthetic_model *sized,
                        enum activation_type activations, error *err);
status bench_world_weights_make(struct synthetic_world *w, enum weight_format format, error *err);
status bench_world_pages_open(struct synthetic_world *w, enum kv_type type, int64_t tokens_wanted,
                              error *err);
void bench_world_close(struct synthetic_world *w);

/* A step of n_seqs sequences of n_rows rows each, whose last row sees `context` keys; the last
 * n_outs_each (0 or 1) rows give logits and a token. False: the pool has not so many pages. */
bool bench_world_step_fill(struct synthetic_world *w, int32_t n_seqs, int32_t n_rows,
                           int32_t context, bool with_outs);

/* Runs it: the whole of it; or, with an operation, the first layer whole and then, where `repeat`,
 * that operation of every layer. */
enum world_operation { WORLD_ALL, WORLD_ATTN_IN, WORLD_ATTENTION, WORLD_ATTN_OUT, WORLD_EXPERTS };
status bench_world_step_run(struct synthetic_world *w, enum world_operation only, bool repeat,
                            double *took_us, error *err);

#endif
