/* The table of semantic operations: the walls between the model and the machines that compute it.
 *
 * Operations are the transformer's own steps, coarse enough that data types, buffers between them,
 * fusion, row regimes, grouped experts and weight layout stay a backend's business. Only the fp32
 * residual is shared, and it lives in the device. Nothing here knows DBRX's files, tokens' text,
 * HTTP or an editor: a shape and numbers go in, ids come out.
 *
 * Three tables exist: kernels_reference (double, one thread, plain loops: the formulas themselves),
 * kernels_cpu, kernels_cuda. One thread, the engine's worker, owns a device and makes all calls.
 *
 * Life operations can fail. Step operations only enqueue and cannot fail: a device remembers its
 * first failure and `collect` reports it. Shapes: x is the fp32 residual [rows][d_model]. */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct device_watch;
typedef struct device device;   /* opaque, one per backend instance: workspace, residual, streams */
typedef struct weight weight;   /* opaque: one tensor in the backend's own layout */
typedef struct kv_pool kv_pool; /* opaque: pages of keys and values */

enum { KV_PAGE_TOKENS = 16, ATTENTION_CHUNK = 256, INT4_GROUP = 128 };

enum weight_format {
    WEIGHT_F32,      /* oracles and norms */
    WEIGHT_BF16,     /* uint16_t, the high half of an fp32 */
    WEIGHT_FP8_ROW,  /* E4M3, one fp32 scale per row */
    WEIGHT_INT8_ROW, /* one fp32 scale per row */
    WEIGHT_INT4_G128 /* -8..7, two per byte, low nibble first; bf16 scale per 128 along k */
};

enum kv_type {
    KV_F32,  /* oracles and tests; CPU and reference only */
    KV_BF16, /* round to nearest even */
    KV_E4M3  /* fixed scale x32: |k| <= 8 sqrt 2 and |v| <= 8 after the clip */
};

/* What products read, a property of the checkpoint, the same in decode, prefill, drafts and warm-up.
 * Rounded (activation_round, format.h) is all that products read: what norms and gated units hand on, and
 * attention's result as attention_activations says. */
enum activation_type { ACTIVATION_F32, ACTIVATION_BF16, ACTIVATION_E4M3, ACTIVATION_INT8 };

/* Model dimensions by the names of the model's own config. Contract, checked by shape_check:
 * head_dim 16, 32, 64 or 128; d_model and ffn_hidden_size multiples of 32; n_heads a multiple of
 * kv_n_heads; moe_num_experts <= 64; moe_top_k <= 8 and <= moe_num_experts. */
struct model_shape {
    int32_t d_model, n_heads, kv_n_heads, head_dim, n_layers;
    int32_t ffn_hidden_size, moe_num_experts, moe_top_k;
    int32_t vocab_size, max_seq_len;
    double rope_theta;
    double clip_qkv; /* clips q, k and v to [-clip, clip]; <= 0: no clip */
    enum activation_type activations;
};

/* ERR_UNSUPPORTED with field name, value and what is allowed. */
status shape_check(const struct model_shape *shape, error *err);

/* One tensor as the model file has it: row-major [n_rows][n_columns], columns contiguous. */
struct weight_spec {
    const char *name; /* for messages; copied */
    enum weight_format format;
    int64_t n_rows, n_columns;
    int32_t n_experts; /* 1, or: n_rows = n_experts * rows per expert */
    bool transposed; /* as stored the product runs along rows (DBRX's w2): out = sum_f h_f w[f,:] */
    bool borrowed;   /* bytes given to weight_put outlive the weight: a backend may keep pointers */
};

struct layer_weights {
    const weight *norm_1;   /* [d_model], as one row or one column */
    const weight *qkv;      /* [(n_heads + 2 kv_n_heads) * head_dim][d_model] */
    const weight *out_proj; /* [d_model][n_heads * head_dim] */
    const weight *norm_2;   /* [d_model] */
    const weight *router;   /* [moe_num_experts][d_model] */
    const weight *w1, *v1;  /* [experts * ffn][d_model]: gate, up */
    const weight *w2;       /* [experts * ffn][d_model], transposed: down */
};

/* How one output row is sampled. Randomness is counter-based: Gumbel noise from (seed, index), so
 * the same request gives the same text whatever shares its batch. */
/* Order: penalty, mask, temperature, min-p, top-k, top-p, then the draw. */
struct sample_row {
    float temperature;        /* 0: greedy, ties to the lowest id */
    int32_t top_k;            /* 0: off */
    float top_p;              /* 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off; over the ids in `history` */
    const int32_t *history;   /* [n_history] ids already in the sequence, or NULL */
    int32_t n_history;
    int32_t mask;         /* row of step.mask, or -1: everything allowed */
    uint64_t seed, index; /* generator key */
    int32_t n_logprobs;   /* best ids to report besides the chosen one, at most 20 */
};

/* What products read, shown to whoever calibrates: called by the owner within the step's operations,
 * with the rows of a layer (of one expert: OBSERVED_EXPERT_IN and _HIDDEN) in ascending order. The
 * CPU backend only; its values are those of the products, fp32. */
enum observed {
    OBSERVED_QKV,       /* [d_model] the norm before attention */
    OBSERVED_OUT_PROJ,  /* [n_heads * head_dim] what attention gives */
    OBSERVED_EXPERT_IN, /* [d_model] the norm before the experts, read by w1 and v1 */
    OBSERVED_HIDDEN,    /* [ffn_hidden_size] read by w2 */
    OBSERVED_HEAD       /* [d_model] the final norm, of output rows */
};
struct step_observer {
    void *context;
    void (*seen)(void *context, enum observed what, int32_t layer, int32_t expert,
                 const float *rows, size_t stride, int32_t n_rows);
};

/* One step, filled by the host. Rows of a sequence are contiguous and ascending in position. */
struct step {
    int32_t n_rows, n_seqs, n_outs;
    const int32_t *token; /* [rows] id, or ~slot: what the step before sampled as output `slot` */
    const int32_t *position; /* [rows] from 0 */
    const int32_t *seq;      /* [rows] index into the arrays by sequence; -1: padding */
    const int32_t *seq_row;  /* [seqs + 1] first row of each sequence, then n_rows */
    const int32_t *kv_len;   /* [seqs] keys visible to the last row: its position + 1 */
    const int32_t
        *page_table; /* [seqs][pages_max] page numbers; page i holds positions 16i..16i+15 */
    int32_t pages_max;
    const int32_t *out_row;          /* [outs] rows whose logits are wanted; none for warm work */
    const struct sample_row *sample; /* [outs] */
    const uint32_t *mask;            /* [masks][ceil(vocab / 32)], bit set: id allowed */
    int32_t n_masks;
    const int32_t *routes_forced; /* [layers][rows][top_k] or NULL: tests, synthetic benchmarks */
    const struct step_observer *observer; /* or NULL */
    kv_pool *kv;
    /* Which residual the rows use, below slices_max. A step from layer 0 overwrites it at `embed`; a
     * step from a later layer goes on where the last step of this slice stopped and must bring the
     * same rows. Steps of other slices may run in between: so a prefill is suspended and resumed. */
    int32_t slice;
    bool want_logits; /* collect also gives the fp32 logits of every output row */
    bool want_routes; /* collect also gives the experts chosen */
};

enum { LOGPROBS_MAX = 20 };

struct sample_result {
    int32_t id;
    bool nan;      /* a logit of this row was NaN or infinite: id is meaningless */
                   /* id is -1 when the mask allows nothing */
    float logprob; /* natural log, of the unmasked distribution at temperature 1 */
    int32_t top_id[LOGPROBS_MAX];
    float top_logprob[LOGPROBS_MAX];
};

/* What collect hands out; pointers live in the device until its next step_begin. */
struct step_result {
    const struct sample_result *sampled; /* [outs] */
    const float *logits;                 /* [outs][vocab] when want_logits, else NULL */
    const int32_t *routes;               /* [layers][rows][top_k] when want_routes, else NULL */
};

struct device_options {
    struct model_shape shape;
    int32_t n_threads; /* CPU: 0 = all cores; a GPU ignores it */
    int32_t rows_max;  /* largest n_rows of a step */
    int32_t seqs_max, outs_max;
    int32_t slices_max; /* residuals of rows_max rows kept apart; 0 means 1 */
    int32_t gpu;        /* which one, from 0; a CPU ignores it */
    bool
        deterministic; /* GPU: the same bits for any number of rows, at the price of speed; a CPU's are */
    struct device_watch
        *watch; /* watch.h: told of calls that may never return, or NULL; a CPU's do */
    const char
        *variant; /* CPU: NULL = best of this machine, or "portable", "avx2", "avx512", "neon" */
};

struct memory_plan {
    size_t workspace_bytes, kv_bytes_per_page;
    size_t free_bytes; /* with the workspace, which on a GPU is taken already; 0: not known */
};

struct step_shape {
    int32_t n_rows, n_seqs, n_outs;
    int64_t n_kv_tokens;
};

struct kernels {
    const char *name;

    /* life: fallible */
    status (*open)(device **out, const struct device_options *options, error *err);
    void (*close)(device *d);
    /* What the device will need besides weights, and what is free. ERR_UNSUPPORTED: no such KV. */
    status (*plan)(device *d, enum kv_type kv, struct memory_plan *out, error *err);
    status (*weight_begin)(weight **out, device *d, const struct weight_spec *spec, error *err);
    /* Rows [row, row + n_rows) as stored in the model file. `scales`: per row (fp32), or per group
     * (bf16) for INT4; NULL for F32 and BF16. */
    status (*weight_put)(weight *w, int64_t row, int64_t n_rows, const void *bytes,
                         const void *scales, error *err);
    status (*weight_seal)(weight *w, error *err); /* all rows are there; the weight may be used */
    void (*weight_free)(weight *w);
    status (*kv_open)(kv_pool **out, device *d, enum kv_type type, int32_t n_pages, error *err);
    void (*kv_close)(kv_pool *kv);
    /* Copies whole pages inside the pool (copy-on-write), or between pool and host memory of
     * kv_bytes_per_page each. Done, or ordered before the next step, on return. */
    void (*pages_copy)(kv_pool *kv, const int32_t *to, const int32_t *from, int32_t n);
    void (*pages_save)(kv_pool *kv, void *host, const int32_t *pages, int32_t n);
    void (*pages_load)(kv_pool *kv, const int32_t *pages, const void *host, int32_t n);

    /* Of backends with a memory of their own; NULL where weights stay in the mapping of their file and
     * any host memory does. Bytes that such a weight takes, and a workspace for these options; no
     * device is needed. Host memory that the device copies from and to at full speed. */
    size_t (*weight_bytes)(const struct weight_spec *spec);
    size_t (*workspace_bytes)(const struct device_options *options);
    status (*host_take)(void **out, device *d, size_t bytes, error *err);
    void (*host_give)(device *d, void *memory);

    /* one step: enqueue only. step_begin returns false when a captured graph was replayed and the
     * calls up to step_end are to be skipped. Layers [layer_from, layer_to): a slice of prefill may
     * be run in groups; the residual of the rows stays in the device between them (step.slice).
     * The step and its arrays must live until collect. Calls come in order: embed when layer_from
     * is 0, the four of each layer, head and sample when layer_to is the last. A step that breaks a
     * bound of device_options, or brings ids outside the vocabulary, computes nothing and makes
     * collect fail. */
    bool (*step_begin)(device *d, const struct step *s, int32_t layer_from, int32_t layer_to);
    void (*embed)(device *d, const weight *wte); /* x = wte[token] */
    void (*attn_in)(device *d, int32_t layer, const struct layer_weights *w);
    /* a = LN(x); qkv = Wqkv a; clip; RoPE; K and V into their pages */
    void (*attention)(device *d, int32_t layer); /* reads K and V from pages only */
    void (*attn_out)(device *d, int32_t layer, const struct layer_weights *w);
    /* x += Wo a; y = LN(x); router, top-k, rows sorted by expert */
    void (*experts)(device *d, int32_t layer, const struct layer_weights *w);
    /* x += sum over ranks of p_e w2_e^T (silu(w1_e y) * (v1_e y)) */
    void (*head)(device *d, const weight *norm_f, const weight *lm_head);
    void (*sample)(device *d);
    void (*step_end)(device *d);
    /* The one wait: ids, log-probabilities, NaN flags, and the device's first failure (ERR_DEVICE). */
    status (*collect)(device *d, struct step_result *out, error *err);
    /* Microseconds such a step takes, from a table measured at start. */
    double (*step_cost)(const device *d, const struct step_shape *shape);
    /* "cpu avx2": backend and variant, for people. */
    const char *(*describe)(const device *d);
};

extern const struct kernels kernels_reference;
extern const struct kernels kernels_cpu;
extern const struct kernels kernels_cuda; /* opens only where the build and the machine have it */

/* "auto", "cpu", "reference", "cuda"; ERR_UNSUPPORTED names what this build and machine have. */
status kernels_find(const struct kernels **out, const char *name, error *err);

#endif
