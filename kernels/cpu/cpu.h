/* The CPU backend's insides, shared by its files. One owner thread; the pool's threads see a device
 * only inside pool_run. */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "base/arena.h"
#include "base/limits.h"
#include "kernels/cpu/math.h"
#include "kernels/cpu/pool.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"
#include "kernels/sampling.h"

enum {
    WEIGHT_TILE = 32,     /* weight rows per task: a divisor of every d_model and ffn */
    WEIGHT_RUN_MAX = 256, /* the same, at most, for few rows of activations */
    COLUMN_TILE = 64,     /* columns per task where outputs run along the columns, at most */
    ROW_TILE = 32,        /* activation rows that share one pass over terms widened in cache */
    ROW_BLOCK = 96,       /* activation rows that share one pass over a weight tile in cache */
    COLUMN_BLOCK = 512,   /* columns of it that are widened at a time */
    TERM_BLOCK = 256,     /* terms of the down product summed alone, then added up in order */
    ROWS_DIRECT_MAX = 4,  /* up to here weights are used as they are, above widened first */
    CODES_DIRECT_MAX = 6, /* the same for integer products: above packed first */
    PARTIAL_ROWS_MAX = 8, /* steps up to here keep the down product's blocks apart: the weights are
                             then read in the order they lie in */
    ATTENTION_ROWS = 48 /* query vectors (rows x heads of a group) that share a chunk of K and V */
};

struct weight {
    struct weight_spec spec;
    const unsigned char *bytes; /* the mapping when borrowed, else `own` */
    unsigned char *own, *scales;
    float *vector; /* a norm's gains in fp32, whatever the file holds; else NULL */
    size_t row_bytes, scale_bytes;
    int64_t n_put;
};

/* Rows of one sequence that attend together. */
struct attention_block {
    int32_t row, n_rows;
};

/* What a thread needs for itself. */
struct cpu_scratch {
    float *panel;         /* widened weights: 4 x COLUMN_BLOCK, or TERM_BLOCK x COLUMN_TILE */
    float *lanes;         /* [WEIGHT_TILE / 4][ROW_BLOCK][4][8] sums between blocks of columns */
    float *tile;          /* [ROW_TILE][COLUMN_TILE], or [rows_max][WEIGHT_TILE] */
    void *pack;           /* PACK_BYTES per column */
    float *keys, *values; /* [ATTENTION_CHUNK][head_dim] */
    float *query, *part, *score;    /* [vectors][head_dim] twice, [vectors][ATTENTION_CHUNK] */
    float *largest, *total, *chunk; /* [vectors]: running maximum and sum, and the chunk's sum */
    struct sample_scratch sampling;
};

/* Measured rates, and how steps really took beside what these predict. */
struct cpu_cost {
    double bytes_per_us, multiply_adds_per_us;
    double ratio[16]; /* by log2 of the rows; 0: no such step yet */
    double weight_bytes_per_element;
    int64_t begun_us;
    bool whole; /* the running step goes through all layers */
};

struct device {
    struct device_options o;
    struct model_shape s;
    const struct cpu_math *math;
    pool *threads;
    const struct step *step; /* NULL: the step is not computed */
    int32_t heads_width, qkv_width, slices;
    int32_t n_slots; /* outputs of the last step that sampled */
    error failure;
    arena memory;

    float *x, *y;          /* residual [slices][rows][d_model]; a norm of it [rows][d_model] */
    float *qkv, *attended; /* [rows][qkv_width], [rows][heads_width] */
    float *projected;      /* [rows][d_model] */
    float *turn;           /* [rows][head_dim / 2][2] cos and sin of RoPE's angles */
    double *inverse_wave;  /* [head_dim / 2] theta^(-2i / head_dim) */
    struct attention_block *blocks;
    int32_t n_blocks, vectors_max;

    int32_t *route; /* [rows][top_k] experts chosen; -1 for padding */
    float *gate;    /* [rows][top_k] */
    int32_t *slot;  /* [rows][top_k] entry of (row, rank) among the rows sorted by expert */
    int32_t expert_first[EXPERTS_MAX + 1]; /* entries of expert e: [first[e], first[e + 1]) */
    float *entry_y, *hidden, *down; /* [entries][d_model], [entries][ffn], [entries][d_model] */
    /* Codes of y, attended, entry_y and hidden where activations are int8; else empty. */
    struct codes y_codes, attended_codes, entry_codes, hidden_codes;
    float *partial; /* [PARTIAL_ROWS_MAX * top_k][ffn blocks][d_model] */

    int32_t *routes; /* [n_layers][n_rows][top_k] for collect */
    float *logits;   /* [outs][vocab] */
    struct sample_result *out;
    struct cpu_scratch *scratch; /* [threads] */
    struct cpu_cost cost;
    char description[32];
};

/* A product with rows of a weight: out[r][i] = w[first + i] x[r]. */
struct cpu_product {
    const weight *w;
    int64_t first, n;
    struct rows x, out;
    const struct codes *codes; /* of x, row for row, from row `code_row`; or NULL */
    size_t code_row;
};

static inline float *cpu_residual(const device *d, int32_t row)
{
    size_t at = (size_t)d->step->slice * (size_t)d->o.rows_max + (size_t)row;
    return d->x + at * (size_t)d->s.d_model;
}

static inline void cpu_observe(const device *d, enum observed what, int32_t layer, int32_t expert,
                               struct rows x)
{
    const struct step_observer *o = d->step->observer;
    if (o && x.n > 0) o->seen(o->context, what, layer, expert, x.values, x.stride, x.n);
}

static inline bool cpu_is_row(const device *d, int32_t row) { return d->step->seq[row] >= 0; }

/* cpu_product.c: on one thread; over all threads; rows of w as they are. */
void cpu_product_part(const device *d, int thread, struct cpu_product p);
void cpu_product_run(const device *d, struct cpu_product p);
struct panel cpu_panel(const weight *w, int64_t row, int n_rows);
/* The form in which products with w want their activations' codes. */
enum code_form cpu_code_form(const device *d, const weight *w);
/* Weight rows per task of n, a multiple of WEIGHT_TILE: long runs where reading weights is all that
 * counts, as long as every thread gets several. */
int32_t cpu_task_rows(const device *d, int64_t n, int n_x);
/* Rounds row `row` of activations, n values, to `type` and stores its codes. */
void cpu_round(const device *d, enum activation_type type, float *values, int32_t n,
               const struct codes *codes, size_t row);

/* cpu_weight.c */
status cpu_weight_begin(weight **out, device *d, const struct weight_spec *spec, error *err);
status cpu_weight_put(weight *w, int64_t row, int64_t n_rows, const void *bytes, const void *scales,
                      error *err);
status cpu_weight_seal(weight *w, error *err);
void cpu_weight_free(weight *w);
void cpu_weight_row(float *out, const weight *w, int64_t row); /* widened; any thread */

/* cpu_dense.c */
void cpu_embed(device *d, const weight *wte);
void cpu_attn_in(device *d, int32_t layer, const struct layer_weights *w);
void cpu_attn_out(device *d, int32_t layer, const struct layer_weights *w);
void cpu_head(device *d, const weight *norm_f, const weight *lm_head);
void cpu_sample(device *d);

/* cpu_attention.c */
void cpu_attention_plan(device *d); /* blocks of the step that has just begun */
void cpu_attention(device *d, int32_t layer);

/* cpu_experts.c */
void cpu_experts_sort(device *d); /* rows by expert, once routes are known */
void cpu_experts(device *d, int32_t layer, const struct layer_weights *w);

/* cpu_cost.c */
void cpu_cost_measure(device *d);
void cpu_cost_begin(device *d, const struct step *s, bool whole);
void cpu_cost_end(device *d);
double cpu_step_cost(const device *d, const struct step_shape *shape);

#endif
