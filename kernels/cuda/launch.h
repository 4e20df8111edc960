/* What the host side and the kernels of the CUDA backend agree on: the arguments of every launch, the
 * table of launchers, and the seam through which the CUDA runtime is reached.
 *
 * The host side (*.c) is plain C and is always compiled; the kernels (*.cu) are compiled by nvcc for
 * a GPU, and by the C++ compiler for the layer in tests/cuda that executes them without one. Both
 * give a `struct cuda_backend`. All pointers in arguments are device memory. One thread, the one
 * that owns the device, launches. */
#ifndef KERNELS_CUDA_LAUNCH_H
#define KERNELS_CUDA_LAUNCH_H

#include "kernels/kernels.h"

enum {
    CUDA_K_MULTIPLE = 128, /* rows of weights and activations are padded to this many values */
    CUDA_VECTOR_ROWS = 2,  /* that a warp of the vector kernel takes at once, for steps of as few */
    CUDA_TILE_ROWS = 64,   /* products of more rows than this run in tiles through shared memory */
    CUDA_WIDE_M = 64,      /* weight rows of a warpgroup's product, and entries */
    CUDA_WIDE_N = 128,
    CUDA_WIDE_BYTES = 128, /* of an entry per step of k: one swizzled row */
    CUDA_GRAPH_ROWS = 64,  /* steps up to here are captured once per bucket and replayed */
    CUDA_HEADS_PACKED = 8, /* query heads of a KV head that share one pass over K and V */
    CUDA_COLUMNS = 24,     /* heads times rows of one sequence that share it: few rows ... */
    CUDA_QUERIES = 128,    /* ... and many */
    CUDA_PREFETCH_BYTES = 24 * 1024 * 1024 /* of weights, asked for ahead: half of Hopper's cache */
};

/* What differs from step to step: counts, and where the step's arrays lie on the device. Kernels read
 * it there, so that a captured graph serves every step of its bucket; the arguments of launches hold
 * only what is the same in all of them. The host never reads it back. */
struct cuda_live {
    int32_t n_rows, n_seqs, n_outs;
    int32_t pages_max;                     /* columns of page_table */
    int32_t n_tiles, chunks;               /* chunks: of 256 positions, of the longest sequence */
    const int32_t *token, *position, *seq; /* [rows] */
    const int32_t *page_table;             /* [seqs][pages_max] */
    const int32_t *out_row;                /* [outs] */
    const int32_t *tile;                   /* [n_tiles][2] first row and rows, of one sequence */
    const int32_t *forced;                 /* [layers][rows][top_k] or NULL */
    const struct cuda_sample_row *sample;  /* [outs] */
    const uint32_t *mask, *penalised;      /* [n][words]: bitmaps of ids */
};

/* Rows [row][k] in the backend's own layout: codes padded with zeros to CUDA_K_MULTIPLE columns, so
 * that every row begins on 16 bytes; scales fp32 per row, or bf16 per 128 columns. */
struct cuda_matrix {
    const unsigned char *codes;
    const void *scales;
    int64_t row_bytes;
    int32_t k; /* padded */
    enum weight_format format;
};

/* Rows of activations with one stride for all forms; NULL: not wanted. A row's value is f32, or bf16 *
 * scale, or E4M3's code * scale. */
struct cuda_operand {
    float *f32;
    uint16_t *bf16;
    unsigned char *e4m3;
    float *scale;   /* [rows]; NULL: 1 */
    int64_t stride; /* elements */
};

/* How the copy engine of compute capability 9.0 finds tiles of a matrix: made by the runtime, read by
 * the device alone, handed to kernels by value. */
struct cuda_map {
    unsigned char words[128];
} __attribute__((aligned(128)));

struct cuda_embed {
    const struct cuda_live *live;
    const struct sample_result *slot;
    struct cuda_matrix wte;
    float *x; /* [rows][d] */
    int32_t d, rows_bound;
};

struct cuda_turns {
    const struct cuda_live *live;
    const double *inverse_wave; /* [half] */
    float *turn;                /* [rows][half][2] cos and sin */
    int32_t half, rows_bound;
};

/* Adds the experts' outputs to the residual, in the order of ranks. */
struct cuda_combine {
    const struct cuda_live *live;
    const int32_t *slot;
    const float *gate, *down; /* down: [entries][stride]; NULL: nothing to add */
    float *x;
    int64_t stride;
    int32_t d, top_k, rows_bound;
};

/* x += add, or what the experts of the layer before gave, then y = LN(x) * gain rounded to the checkpoint's
 * activations. */
struct cuda_norm {
    const struct cuda_live *live;
    float *x;          /* [rows][d] */
    const float *add;  /* [rows][d] or NULL */
    const float *gain; /* [d] */
    struct cuda_operand y;
    int32_t d, rows_bound;
    enum activation_type activations;
    bool of_outs; /* y's rows are the step's outputs, else its rows */
    struct cuda_combine experts;
};

/* K and V of one pool. A page: [layer][K|V][kv_head][16][head_dim]. */
struct cuda_pool {
    unsigned char *bytes;
    int64_t page_bytes;
    enum kv_type type;
    int32_t kv_heads, head_dim;
};

struct cuda_rope {
    const struct cuda_live *live;
    const float *qkv, *turn; /* [rows][qkv_width], [rows][head_dim / 2][2] */
    float *q;                /* [rows][heads * head_dim] */
    struct cuda_pool pool;
    int32_t layer, heads, rows_bound;
    float clip; /* <= 0: none */
};

struct cuda_attention {
    const struct cuda_live *live;
    const float *q;
    struct cuda_pool pool;
    struct cuda_operand out; /* [rows][heads * head_dim] */
    float *part;             /* [rows][heads][chunks_max][head_dim + 2]: sums, largest, total */
    int32_t layer, heads, rows_bound, tiles_bound;
    int32_t blocks;     /* that keep the device busy */
    int32_t chunks_max; /* stride of part */
    int32_t first_tile,
        n_tiles;       /* of a step cut into parts; n_tiles 0: the step's, from the first */
    int32_t first_row; /* of these tiles; `part` begins with it */
    float factor;      /* 1 / sqrt(head_dim) */
};

/* out[entry][i] = w[group * n + i] . x[x_row[entry]] for the entries of each group; with `up` the
 * gated unit silu(w x) * (up x). */
struct cuda_product {
    struct cuda_matrix w, up; /* up.codes NULL: one product */
    struct cuda_operand x, out;
    const int32_t *x_row;  /* [entries] or NULL: entry e reads row e */
    const int32_t *first;  /* [n_groups + 1] entries of group g: [first[g], first[g + 1]) */
    const int32_t *n_live; /* without `first`: the one group's entries are [0, *n_live) */
    int32_t n_groups, n;   /* n: outputs per group */
    int32_t rows_bound;    /* most entries of one group, and most groups that have any */
    int32_t groups_bound;
};

/* Rows of activations, E4M3's codes or bf16, laid down in the order of a product's entries, so that the
 * copy engine finds them: to[entry] = from[x_row[entry]]. */
struct cuda_pack {
    const unsigned char *from;
    unsigned char *to;            /* both [entries or rows][row_bytes] */
    const int32_t *x_row, *first; /* as in cuda_product */
    int32_t n_groups, row_bytes, entries_bound;
};

/* What gated units gave, [entries][stride] in fp32, rounded to E4M3 with a scale for each entry, into the
 * forms of `to` that are wanted; f32 may be x itself. */
struct cuda_round {
    const float *x;
    struct cuda_operand to;
    const int32_t *first;    /* as in cuda_product */
    struct cuda_matrix next; /* what is multiplied next, [n_groups * next_n] rows */
    int32_t n_groups, n, next_n, entries_bound;
};

/* A product by warpgroups: p, and where the copy engine finds its operands. `x` holds the entries in
 * their order, in E4M3 or in bf16; x_row of p serves its scales alone. */
struct cuda_wide {
    struct cuda_product p;
    struct cuda_map w, up, x;
    int32_t x_bytes; /* of an element: 1 E4M3, 2 bf16 */
    int32_t blocks;  /* that take tiles by turns */
};

struct cuda_sort {
    const struct cuda_live *live;
    const int32_t *route;
    int32_t *slot;      /* [rows][top_k] entry of (row, rank) */
    int32_t *entry_row; /* [entries] */
    int32_t *first;     /* [n_experts + 1] */
    int32_t n_experts, top_k;
};

/* The norm before the experts and the choice of them; of a single row their sort as well. */
struct cuda_route {
    struct cuda_norm norm;
    struct cuda_matrix router;
    struct cuda_sort sort;
    int32_t *route, *routes; /* [rows][top_k]; [layers][rows][top_k], the same for collect */
    float *gate;             /* [rows][top_k] */
    int32_t layer, n_experts, top_k;
};

/* A sample_row with addresses of the device: bitmaps of ids that stand in for host pointers. */
struct cuda_sample_row {
    float temperature, top_p, min_p, repetition_penalty;
    int32_t top_k, n_logprobs;
    int32_t mask, penalised; /* rows of the bitmaps, or -1 */
    uint64_t seed, index;
};

struct cuda_sample {
    const struct cuda_live *live;
    const float *logits; /* [outs][stride] */
    float *weight;       /* [outs][stride] scratch */
    struct sample_result *out;
    int64_t stride;
    int32_t n_vocab, words, outs_bound;
};

/* Rows of a matrix stored [in][out] laid down as [out][in]: `from` is [n][n_columns] and holds rows
 * [row, row + n) of all; expert e has rows_per_expert of them. */
struct cuda_transpose {
    const unsigned char *from;
    unsigned char *to;
    int64_t row, to_row_bytes;
    int32_t n, n_columns, rows_per_expert, element_bytes;
};

/* *found becomes 1 when a row holds E4M3's NaN, which tensor cores would read as 480. */
struct cuda_nan_scan {
    const unsigned char *codes;
    int64_t n_bytes;
    int32_t *found;
};

/* Rows [row, row + n) of a matrix as bf16, without their scales, [n][k]. */
struct cuda_widen {
    struct cuda_matrix from;
    int64_t row;
    uint16_t *to;
    int32_t n;
};

/* out[row][i] *= w_scale[i] * x_scale[row], where there are such. */
struct cuda_scale {
    float *out; /* [rows][stride] */
    const float *w_scale, *x_scale;
    int64_t stride;
    int32_t n, rows;
};

struct cuda_launch {
    void (*embed)(const struct cuda_embed *, void *stream);
    void (*turns)(const struct cuda_turns *, void *stream);
    void (*norm)(const struct cuda_norm *, void *stream);
    void (*rope)(const struct cuda_rope *, void *stream);
    void (*attention)(const struct cuda_attention *, void *stream);
    void (*attention_rows)(const struct cuda_attention *, void *stream);
    void (*attention_tiles)(const struct cuda_attention *, void *stream);
    void (*attention_wide)(const struct cuda_attention *, void *stream);
    void (*product_vector)(const struct cuda_product *, void *stream);
    void (*product_mma)(const struct cuda_product *, void *stream);
    void (*product_tile)(const struct cuda_product *, void *stream);
    void (*pack)(const struct cuda_pack *, void *stream);
    void (*product_wide)(const struct cuda_wide *, void *stream);
    void (*round)(const struct cuda_round *, void *stream);
    void (*norm_route)(const struct cuda_route *, void *stream);
    void (*sort)(const struct cuda_sort *, void *stream);
    void (*combine)(const struct cuda_combine *, void *stream);
    void (*sample)(const struct cuda_sample *, void *stream);
    void (*transpose)(const struct cuda_transpose *, void *stream);
    void (*nan_scan)(const struct cuda_nan_scan *, void *stream);
    void (*widen)(const struct cuda_widen *, void *stream);
    void (*scale)(const struct cuda_scale *, void *stream);
};

struct cuda_device_info {
    char name[64];
    int32_t n_processors, capability; /* 90 for 9.0 */
    size_t total_bytes;
};

/* The runtime: every call of CUDA that the backend makes. Each returns 0 or a code that error_text
 * explains. Copies and launches are ordered on one stream; host memory of an asynchronous copy is
 * pinned. */
struct cuda_runtime {
    int (*open)(int32_t index, struct cuda_device_info *out);
    int (*enter)(
        int32_t
            index); /* the calling thread works on this one from now on, as the opening thread does */
    int (*memory)(size_t *free_bytes);
    int (*take)(void **out, size_t bytes);
    int (*give)(void *memory);
    int (*host_take)(void **out, size_t bytes);
    int (*host_give)(void *pinned);
    int (*stream_open)(void **out);
    int (*stream_close)(void *stream);
    int (*copy)(void *to, const void *from, size_t bytes, void *stream);
    int (*fill)(void *memory, int byte, size_t bytes, void *stream);
    /* A map of [n_rows][row_bytes] for boxes of box_rows by box_bytes (32, 64 or 128), which lie in shared
     * memory with the swizzle of their width. Compute capability 9.0 alone. */
    int (*map)(struct cuda_map *out, const void *at, int64_t row_bytes, int64_t n_rows,
               int32_t box_bytes, int32_t box_rows);
    int (*launched)(void); /* the launch just made */
    int (*mark_open)(void **out);
    int (*mark_close)(void *mark);
    int (*mark)(void *mark, void *stream); /* marks a place in the stream ... */
    int (*mark_wait)(void *mark);          /* ... and waits until it is reached */
    int (*wait)(void *stream);
    /* Launches between the two are kept with their arguments and not made; nothing else may be asked
     * for meanwhile. A graph makes them all. */
    int (*capture_begin)(void *stream);
    int (*capture_end)(void *stream, void **graph); /* *graph NULL on failure */
    int (*graph_launch)(void *graph, void *stream);
    int (*graph_close)(void *graph);
    /* Whether kernels that are made for it begin while the one before still runs; on 9.0 they can. */
    void (*overlap)(bool on);
    const char *(*error_text)(int code);
    bool poisons; /* buffers that a step writes are filled with NaN before it */
};

struct cuda_probe;          /* probe_launch.h */
struct cuda_blas_functions; /* cuda_blas.h */

struct cuda_backend {
    const struct cuda_runtime *runtime;
    const struct cuda_launch *launch;
    const struct cuda_probe *probe;         /* for benches, or NULL */
    const struct cuda_blas_functions *blas; /* NULL: of the library, where it is found */
};

#endif
