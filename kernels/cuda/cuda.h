/* The CUDA backend's host side: plain C over the table of launchers and the runtime's seam of
 * launch.h. It knows no CUDA header, so it is compiled and tested on every machine.
 *
 * One thread owns a device. Everything of a step is ordered on one stream; the host waits in
 * collect, in life operations, and when it needs a staging buffer that is still on its way. */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "base/arena.h"
#include "base/limits.h"
#include "kernels/cuda/launch.h"
#include "kernels/kernels.h"
#include "kernels/pages.h"

/* Rows of a step, when one family of kernels takes all, are attended to in parts of so many. */
enum { CUDA_PARTS = ENGINE_ROWS_MAX / CUDA_GRAPH_ROWS };

enum { CUDA_BUFFERS_MAX = 64, CUDA_STAGES = 2, CUDA_BUCKETS = 16, CUDA_GRAPHS_MAX = 32 };

/* The backend in use: the GPU's where this build has it, else NULL; a test may put another. */
const struct cuda_backend *cuda_backend_get(void);
void cuda_backend_use(const struct cuda_backend *backend);

/* Whether a driver and this GPU answer; ERR_UNSUPPORTED says in one line what is missing. */
status cuda_available(int32_t index, struct cuda_device_info *out, error *err);

struct weight {
    struct weight_spec spec;
    device *d;
    struct cuda_matrix matrix;
    int64_t n_rows, n_columns; /* as laid down: outputs and k */
    void *codes, *scales;      /* device memory */
    size_t scale_bytes;        /* of one row */
    bool turned;               /* stored [in][out] */
    bool vector;               /* one row or column: kept in fp32 */
    int64_t n_put;
};

/* A pool as kernels/pages.h knows it, with `bytes` on the device. */
struct cuda_kv {
    struct kv_pool base;
    device *d;
};

/* Pinned memory on its way to the device, and where in the stream it is free again. */
struct cuda_stage {
    unsigned char *host;
    void *mark;
    bool used;
};

/* The arrays of one step: packed in pinned memory, uploaded by one copy. */
struct cuda_upload {
    unsigned char *host, *device;
    size_t size, room;
    bool failed;
};

/* cuBLASLt for dense products of more than CUDA_TILE_ROWS rows; see cuda_dense.c. */
enum {
    CUDA_DENSE_WORKSPACE = 32 * 1024 * 1024, /* as its manual advises for Hopper */
    CUDA_DENSE_WIDENED = 64 * 1024 * 1024
};
struct cuda_dense {
    struct cuda_blas *blas; /* NULL: our own kernels multiply */
    void *workspace;
    uint16_t *widened; /* weights of 8 bits as bf16, as many rows at once as there is room for */
    size_t widened_bytes;
    bool wanted;  /* the shape and the options have use for it */
    bool no_e4m3; /* it has refused to multiply E4M3 */
};

/* What a step costs: a roof from a measured rate, and how steps went beside it. */
struct cuda_cost {
    double bytes_per_us, weight_bytes_per_element;
    double ratio[CUDA_BUCKETS];
    int64_t begun_us;
    bool whole;
};

/* Launches captured once and made again for every step with the same key. */
struct cuda_graph {
    struct cuda_graph_key {
        int32_t rows, outs; /* buckets; outs 0: no head */
        int32_t layer_from, layer_to, slice;
        const void *kv; /* the pool's bytes */
        bool samples;
    } key;
    void *graph;
    size_t bytes;     /* of device memory that went with it */
    uint64_t used_at; /* the one used longest ago makes room */
};

/* What is kept free for them: so much for each launch of so many whole steps. An estimate: what they
 * take is measured as they are made, and they keep to it. */
enum { CUDA_LAUNCH_BYTES = 4096, CUDA_GRAPHS_PLANNED = 16 };

struct cuda_graphs {
    struct cuda_graph all[CUDA_GRAPHS_MAX];
    int n;
    uint64_t clock;
    struct cuda_graph *capturing;
    size_t bytes, bytes_max, free_before;
    bool full; /* one alone takes more than there is for all: none are made */
    bool off;  /* for tests that look between two operations */
};

/* A buffer that steps write, for poisoning. */
struct cuda_buffer {
    void *at;
    size_t bytes;
    bool poisoned;
};

struct device {
    const struct cuda_runtime *run;
    const struct cuda_launch *launch;
    struct device_options o;
    struct model_shape s;
    struct cuda_device_info info;
    void *stream;
    error failure; /* the first; nothing is enqueued after it */
    int n_entered; /* calls of ours within each other that wait for the driver */
    bool in_step;  /* from its begin to collect is one of them */

    int32_t slices, heads_width, qkv_width;
    int32_t model_stride, heads_stride, ffn_stride; /* padded to CUDA_K_MULTIPLE */
    int32_t words;                                  /* of a bitmap over the vocabulary */
    int32_t chunks_max;
    bool tiles_only; /* for benches and tests: many rows by mma.sync on every card */
    bool serial;     /* for benches: no kernel begins before the one before it has ended */
    bool narrow;     /* activations are exact in bf16: tensor cores may read them */
    bool many;       /* steps of more than CUDA_TILE_ROWS rows have kernels of their own */

    struct cuda_buffer buffers[CUDA_BUFFERS_MAX];
    int n_buffers;
    size_t workspace_bytes;
    bool counting; /* nothing is taken: only workspace_bytes grows */

    float *x; /* [slices][rows][d_model] */
    struct cuda_operand y, head_y, attended, hidden;
    float *qkv, *q, *turn, *part, *projected, *down;
    double *inverse_wave;
    int32_t *route, *slot, *entry_row, *first, *routes;
    float *gate, *logits, *weights;
    struct sample_result *sampled;

    struct sample_result *host_sampled; /* pinned: what collect hands out */
    float *host_logits;
    int32_t *host_routes;

    struct cuda_stage stage[CUDA_STAGES];
    int next_stage;
    void *stage_device; /* rows on their way to be turned */
    int32_t *nan_found;
    struct cuda_upload upload;
    struct cuda_graphs graphs;
    struct cuda_dense dense;
    struct cuda_cost cost;

    /* the step that runs */
    const struct step *step;         /* NULL: nothing is computed */
    const struct cuda_live *live;    /* on the device: kernels alone read it */
    int32_t rows_bound, outs_bound;  /* of its launches: the counts, or a captured graph's bucket */
    int32_t n_tiles;                 /* of attention; only of steps that are not captured */
    int32_t tile_at[CUDA_PARTS + 1]; /* deterministic: first tile of each CUDA_GRAPH_ROWS rows */
    int32_t layer_from, layer_to, n_slots;
    bool enqueued;
    char description[96];
};

/* cuda_device.c. A code of the runtime that is not 0 becomes the device's failure. */
bool cuda_ok(device *d, int code, const char *what);
void cuda_launched(device *d, const char *what);
/* Around what may wait for the GPU: whoever watches is told. */
void cuda_enter(device *d, const char *what);
void cuda_leave(device *d);
/* Device memory; NULL with ERR_MEMORY in `err` and the numbers. Not a failure of the device. */
void *cuda_take(device *d, size_t bytes, const char *what, error *err);
float *cuda_residual(const device *d);

/* cuda_memory.c: workspace, in one go for the largest step; false when memory is short. */
bool cuda_memory_open(device *d);
void cuda_memory_count(device *d); /* workspace_bytes of a device that is none but for its shape */
void cuda_memory_close(device *d);
void cuda_memory_poison(device *d);

/* cuda_upload.c: the step's arrays to the device; false on a fault. */
bool cuda_upload_step(device *d, const struct step *s);
void cuda_upload_close(device *d);

/* cuda_graph.c. begin sets the bounds of the step's launches; false: a graph made them all, and no
 * operation is to be enqueued. end, after the last operation, launches what was captured. drop when
 * memory that graphs point to goes. */
bool cuda_graph_begin(device *d);
void cuda_graph_end(device *d);
void cuda_graphs_drop(device *d);
size_t cuda_graphs_bytes(const struct model_shape *s);

/* cuda_weight.c */
status cuda_weight_begin(weight **out, device *d, const struct weight_spec *spec, error *err);
status cuda_weight_put(weight *w, int64_t row, int64_t n_rows, const void *bytes,
                       const void *scales, error *err);
status cuda_weight_seal(weight *w, error *err);
void cuda_weight_free(weight *w);
size_t cuda_weight_bytes(const struct weight_spec *spec);

/* cuda_pages.c */
status cuda_kv_check(enum kv_type type, error *err);
status cuda_kv_open(kv_pool **out, device *d, enum kv_type type, int32_t n_pages, error *err);
void cuda_kv_close(kv_pool *kv);
void cuda_pages_copy(kv_pool *kv, const int32_t *to, const int32_t *from, int32_t n);
void cuda_pages_save(kv_pool *kv, void *host, const int32_t *pages, int32_t n);
void cuda_pages_load(kv_pool *kv, const int32_t *pages, const void *host, int32_t n);

/* cuda_stage.c: the next pinned buffer, once it is free, and its hand-over to the stream. */
enum { CUDA_STAGE_BYTES = 4 * 1024 * 1024 };
struct cuda_stage *cuda_stage_next(device *d);
void cuda_stage_sent(device *d, struct cuda_stage *stage);

/* cuda_dense.c. open: without the library nothing is wanted of it from then on. multiply: true when the
 * library's kernels will have made out[rows][stride] of all rows; else `out` is anybody's. */
void cuda_dense_open(device *d);
void cuda_dense_close(device *d);
bool cuda_dense_multiply(device *d, const weight *w, struct cuda_operand x, float *out,
                         int64_t out_stride, int32_t rows);

/* cuda_step.c: the operations */
void cuda_embed(device *d, const weight *wte);
void cuda_attn_in(device *d, int32_t layer, const struct layer_weights *w);
void cuda_attention(device *d, int32_t layer);
void cuda_attn_out(device *d, int32_t layer, const struct layer_weights *w);
void cuda_experts(device *d, int32_t layer, const struct layer_weights *w);
void cuda_head(device *d, const weight *norm_f, const weight *lm_head);
void cuda_sample(device *d);

/* cuda_wide.c: whether warpgroups would multiply weights of a format by E4M3's codes, whether they multiply a
 * product of many rows, and the launches; whether they attend. */
bool cuda_wide_e4m3(const device *d, enum weight_format format);
bool cuda_wide_attends(const device *d);
bool cuda_wide_can(const device *d, const struct cuda_product *p);
void cuda_product_wide(device *d, const struct cuda_product *p);

/* cuda_cost.c */
void cuda_cost_measure(device *d);
void cuda_cost_begin(device *d, bool whole);
void cuda_cost_end(device *d);
double cuda_step_cost(const device *d, const struct step_shape *shape);

#endif
