/* All buffers are taken at open for the largest step, so a step cannot run out of memory. Rows are
 * padded to CUDA_K_MULTIPLE columns; the padding is cleared here and never written again. */
#include <math.h>
#include <stdint.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"

static size_t at_least_1(int32_t n) { return n > 1 ? (size_t)n : 1; }

/* What becomes of a buffer: NaN before each step, under test; cleared once, where rows have padding
 * or the content outlives a step; or nothing. */
enum use { POISONED, CLEARED, PLAIN };

/* n * width elements of `size` bytes. */
static void *take(device *d, size_t n, size_t width, size_t size, enum use use)
{
    size_t bytes;
    void *out = NULL;
    if (d->failure.code != OK) return NULL;
    if (d->n_buffers == CUDA_BUFFERS_MAX || !size_mul(n, width, &bytes) ||
        !size_mul(bytes, size, &bytes)) {
        fail(&d->failure, ERR_MEMORY, "cuda: a workspace of %zu x %zu values is too large", n,
             width);
        return NULL;
    }
    if (bytes == 0) bytes = size;
    if (d->counting) {
        d->workspace_bytes += bytes;
        return NULL;
    }
    out = cuda_take(d, bytes, "the workspace", &d->failure);
    if (!out) return NULL;
    d->buffers[d->n_buffers++] = (struct cuda_buffer){out, bytes, use == POISONED};
    d->workspace_bytes += bytes;
    if (use == CLEARED) cuda_ok(d, d->run->fill(out, 0, bytes, d->stream), "workspace");
    return out;
}

/* `scaled`: in E4M3 checkpoints these are codes with a scale for each row. */
static struct cuda_operand operand_take(device *d, size_t rows, int32_t width, int32_t stride,
                                        bool scaled)
{
    size_t columns = (size_t)stride;
    enum use use = width == stride ? POISONED : CLEARED;
    struct cuda_operand out = {.stride = stride};
    out.f32 = take(d, rows, columns, sizeof(float), use);
    if (d->narrow) out.bf16 = take(d, rows, columns, sizeof(uint16_t), use);
    if (!scaled || d->s.activations != ACTIVATION_E4M3) return out;
    out.scale = take(d, rows, 1, sizeof(float), POISONED);
    if (d->many) out.e4m3 = take(d, rows, columns, 1, use);
    return out;
}

/* What cuBLASLt works in, and the larger of a layer's two dense matrices widened, or a part of it. */
static void dense_take(device *d)
{
    size_t qkv = (size_t)d->qkv_width * (size_t)d->model_stride * sizeof(uint16_t);
    size_t out = (size_t)d->s.d_model * (size_t)d->heads_stride * sizeof(uint16_t);
    size_t larger = qkv > out ? qkv : out;
    d->dense.widened_bytes = larger < CUDA_DENSE_WIDENED ? larger : CUDA_DENSE_WIDENED;
    d->dense.widened = take(d, d->dense.widened_bytes, 1, 1, POISONED);
    d->dense.workspace = take(d, CUDA_DENSE_WORKSPACE, 1, 1, PLAIN);
}

static void activations_take(device *d)
{
    const struct model_shape *s = &d->s;
    size_t rows = (size_t)d->o.rows_max, outs = at_least_1(d->o.outs_max);
    size_t entries = rows * (size_t)s->moe_top_k, heads = (size_t)d->heads_width;
    d->x = take(d, (size_t)d->slices * rows, (size_t)s->d_model, sizeof(float), CLEARED);
    d->y = operand_take(d, rows, s->d_model, d->model_stride, true);
    d->head_y = operand_take(d, outs, s->d_model, d->model_stride, true);
    d->attended = operand_take(d, rows, d->heads_width, d->heads_stride, false);
    d->hidden = operand_take(d, entries, s->ffn_hidden_size, d->ffn_stride, true);
    d->qkv = take(d, rows, (size_t)d->qkv_width, sizeof(float), POISONED);
    d->q = take(d, rows, heads, sizeof(float), POISONED);
    size_t split = rows < CUDA_GRAPH_ROWS ? rows : CUDA_GRAPH_ROWS;
    if (d->narrow)
        d->part = take(d, split * (size_t)s->n_heads * (size_t)d->chunks_max,
                       (size_t)s->head_dim + 2, sizeof(float), POISONED);
    d->turn = take(d, rows, (size_t)s->head_dim, sizeof(float), POISONED);
    d->projected = take(d, rows, (size_t)s->d_model, sizeof(float), POISONED);
    d->down = take(d, entries, (size_t)s->d_model, sizeof(float), POISONED);
    if (d->dense.wanted) dense_take(d);
}

static void choices_take(device *d)
{
    const struct model_shape *s = &d->s;
    size_t rows = (size_t)d->o.rows_max, outs = at_least_1(d->o.outs_max);
    size_t entries = rows * (size_t)s->moe_top_k, vocab = (size_t)s->vocab_size;
    d->inverse_wave = take(d, (size_t)s->head_dim / 2, 1, sizeof(double), CLEARED);
    d->route = take(d, entries, 1, sizeof(int32_t), POISONED);
    d->slot = take(d, entries, 1, sizeof(int32_t), POISONED);
    d->entry_row = take(d, entries, 1, sizeof(int32_t), POISONED);
    d->first = take(d, (size_t)s->moe_num_experts + 1, 1, sizeof(int32_t), POISONED);
    d->routes = take(d, entries, (size_t)s->n_layers, sizeof(int32_t), CLEARED);
    d->gate = take(d, entries, 1, sizeof(float), POISONED);
    d->logits = take(d, outs, vocab, sizeof(float), CLEARED);
    d->weights = take(d, outs, vocab, sizeof(float), POISONED);
    d->sampled = take(d, outs, 1, sizeof *d->sampled, CLEARED);
    d->nan_found = take(d, 1, 1, sizeof(int32_t), CLEARED);
    d->stage_device = take(d, CUDA_STAGE_BYTES, 1, 1, PLAIN);
}

static void *pinned_take(device *d, size_t n, size_t size)
{
    void *out = NULL;
    size_t bytes;
    if (d->failure.code != OK) return NULL;
    if (!size_mul(n, size, &bytes)) {
        fail(&d->failure, ERR_MEMORY, "cuda: %zu results of %zu bytes are too many", n, size);
        return NULL;
    }
    int code = d->run->host_take(&out, bytes ? bytes : 1);
    if (code == 0) return out;
    fail(&d->failure, ERR_MEMORY, "cuda: no pinned memory for %zu MiB (%s)", bytes >> 20,
         d->run->error_text(code));
    return NULL;
}

static void pinned_open(device *d)
{
    size_t outs = at_least_1(d->o.outs_max), rows = (size_t)d->o.rows_max;
    d->host_sampled = pinned_take(d, outs, sizeof *d->host_sampled);
    d->host_logits = pinned_take(d, outs * (size_t)d->s.vocab_size, sizeof(float));
    d->host_routes =
        pinned_take(d, (size_t)d->s.n_layers * rows * (size_t)d->s.moe_top_k, sizeof(int32_t));
    for (int i = 0; i < CUDA_STAGES; i++) {
        d->stage[i].host = pinned_take(d, CUDA_STAGE_BYTES, 1);
        if (d->failure.code == OK) cuda_ok(d, d->run->mark_open(&d->stage[i].mark), "an event");
    }
}

/* theta^(-2i / head_dim), in double as the CPU's table is. */
static void waves_open(device *d)
{
    struct cuda_stage *stage = cuda_stage_next(d);
    size_t n = (size_t)d->s.head_dim / 2;
    if (!stage) return;
    double *wave = (double *)(void *)stage->host;
    for (size_t i = 0; i < n; i++) wave[i] = pow(d->s.rope_theta, -2.0 * (double)i / d->s.head_dim);
    cuda_ok(d, d->run->copy(d->inverse_wave, wave, n * sizeof *wave, d->stream), "a table");
    cuda_stage_sent(d, stage);
}

void cuda_memory_count(device *d)
{
    activations_take(d);
    choices_take(d);
}

bool cuda_memory_open(device *d)
{
    activations_take(d);
    choices_take(d);
    pinned_open(d);
    if (d->failure.code == OK) waves_open(d);
    return d->failure.code == OK;
}

void cuda_memory_close(device *d)
{
    void *pinned[] = {d->host_sampled, d->host_logits, d->host_routes};
    for (int i = 0; i < d->n_buffers; i++) d->run->give(d->buffers[i].at);
    for (size_t i = 0; i < sizeof pinned / sizeof *pinned; i++)
        if (pinned[i]) d->run->host_give(pinned[i]);
    for (int i = 0; i < CUDA_STAGES; i++) {
        if (d->stage[i].mark) d->run->mark_close(d->stage[i].mark);
        if (d->stage[i].host) d->run->host_give(d->stage[i].host);
    }
}

/* For tests: what no kernel of this step writes is NaN when another reads it. */
void cuda_memory_poison(device *d)
{
    for (int i = 0; i < d->n_buffers && d->run->poisons; i++)
        if (d->buffers[i].poisoned)
            cuda_ok(d, d->run->fill(d->buffers[i].at, 0xFF, d->buffers[i].bytes, d->stream),
                    "poison");
}
