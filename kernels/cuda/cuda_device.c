/* The life of a device, the frame of a step, and the table. Nothing is asked of the GPU after its
 * first failure; collect reports it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "kernels/cuda/cuda.h"
#include "kernels/host.h"
#include "kernels/watch.h"

bool cuda_ok(device *d, int code, const char *what)
{
    if (code == 0) return true;
    if (d->failure.code == OK)
        fail(&d->failure, ERR_DEVICE, "cuda: %s: %s", what, d->run->error_text(code));
    return false;
}

void cuda_enter(device *d, const char *what)
{
    if (d->n_entered++ > 0) return;
    device_watch_enter(d->o.watch, what);
    cuda_ok(d, d->run->enter(d->o.gpu), "the thread's GPU"); /* it was opened by another thread */
}

void cuda_leave(device *d)
{
    if (--d->n_entered == 0) device_watch_leave(d->o.watch);
}

void cuda_launched(device *d, const char *what) { cuda_ok(d, d->run->launched(), what); }

void *cuda_take(device *d, size_t bytes, const char *what, error *err)
{
    void *out = NULL;
    size_t available = 0;
    cuda_enter(d, "taking memory");
    int code = d->run->take(&out, bytes);
    cuda_leave(d);
    if (code == 0) return out;
    if (d->run->memory(&available) != 0) available = 0;
    fail(err, ERR_MEMORY, "cuda: %s: no memory for %zu MiB, %zu MiB are free (%s)", what,
         bytes >> 20, available >> 20, d->run->error_text(code));
    return NULL;
}

float *cuda_residual(const device *d)
{
    return d->x + (size_t)d->step->slice * (size_t)d->o.rows_max * (size_t)d->s.d_model;
}

static void cuda_close(device *d)
{
    if (!d) return;
    cuda_enter(d, "closing");
    if (d->stream) d->run->wait(d->stream);
    cuda_graphs_drop(d);
    cuda_upload_close(d);
    cuda_memory_close(d);
    cuda_dense_close(d);
    if (d->stream) d->run->stream_close(d->stream);
    cuda_leave(d);
    memory_free(d);
}

static int32_t padded(int32_t n)
{
    return (n + CUDA_K_MULTIPLE - 1) / CUDA_K_MULTIPLE * CUDA_K_MULTIPLE;
}

static void shape_take(device *d, const struct device_options *o)
{
    d->o = *o;
    d->s = o->shape;
    d->slices = o->slices_max > 0 ? o->slices_max : 1;
    d->heads_width = d->s.n_heads * d->s.head_dim;
    d->qkv_width = d->heads_width + 2 * d->s.kv_n_heads * d->s.head_dim;
    d->model_stride = padded(d->s.d_model);
    d->heads_stride = padded(d->heads_width);
    d->ffn_stride = padded(d->s.ffn_hidden_size);
    d->words = (d->s.vocab_size + 31) / 32;
    d->chunks_max = (d->s.max_seq_len + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK;
    d->graphs.bytes_max = cuda_graphs_bytes(&d->s);
    d->narrow = d->s.activations != ACTIVATION_F32;
    const char *variant = o->variant ? o->variant : getenv("DBRX_CUDA");
    d->tiles_only = variant && strcmp(variant, "tiles") == 0;
    d->serial = variant && strcmp(variant, "serial") == 0;
    d->many = d->narrow && !o->deterministic && o->rows_max > CUDA_TILE_ROWS;
    d->dense.wanted = d->many;
}

static status cuda_open(device **out, const struct device_options *o, error *err)
{
    *out = NULL;
    struct cuda_device_info info;
    status rc = device_options_check(o, err);
    /* Their scales stand by 128 values, as integer products of a CPU read them. */
    if (rc == OK && o->shape.activations == ACTIVATION_INT8)
        rc = fail(err, ERR_UNSUPPORTED,
                  "activations: found int8, which only a CPU computes with; a GPU takes bf16, e4m3 "
                  "and f32");
    device_watch_enter(o->watch, "opening the GPU");
    if (rc == OK) rc = cuda_available(o->gpu, &info, err);
    device_watch_leave(o->watch);
    if (rc != OK) return rc;
    if (o->rows_max > ENGINE_ROWS_MAX)
        return fail(err, ERR_USAGE, "rows_max %d, at most %d", o->rows_max, ENGINE_ROWS_MAX);
    device *d = memory_take(1, sizeof *d);
    if (!d) return fail(err, ERR_MEMORY, "cuda: out of memory");
    d->run = cuda_backend_get()->runtime;
    d->launch = cuda_backend_get()->launch;
    d->info = info;
    shape_take(d, o);
    d->run->overlap(info.capability == 90 && !d->serial);
    cuda_enter(d, "opening the GPU");
    bool wanted = d->dense.wanted;
    if (wanted) cuda_dense_open(d);
    snprintf(d->description, sizeof d->description, "cuda %s%s", info.name,
             wanted && !d->dense.blas ? ", without cuBLASLt" : "");
    bool opened = cuda_ok(d, d->run->stream_open(&d->stream), "a stream") && cuda_memory_open(d) &&
                  cuda_ok(d, d->run->wait(d->stream), "open");
    if (opened) cuda_cost_measure(d);
    cuda_leave(d);
    *out = opened ? d : NULL;
    if (opened) return OK;
    rc = fail(err, d->failure.code, "%s", d->failure.message);
    cuda_close(d);
    return rc;
}

static size_t cuda_workspace(const struct device_options *o)
{
    device counted = {.counting = true};
    shape_take(&counted, o);
    cuda_memory_count(&counted);
    return counted.workspace_bytes + counted.graphs.bytes_max;
}

static status cuda_host_take(void **out, device *d, size_t bytes, error *err)
{
    *out = NULL;
    cuda_enter(d, "pinning memory");
    int code = d->run->host_take(out, bytes);
    cuda_leave(d);
    if (code == 0) return OK;
    return fail(err, ERR_MEMORY, "cuda: no pinned memory for %zu MiB (%s)", bytes >> 20,
                d->run->error_text(code));
}

static void cuda_host_give(device *d, void *memory) { d->run->host_give(memory); }

static status cuda_plan(device *d, enum kv_type kv, struct memory_plan *out, error *err)
{
    *out = (struct memory_plan){.workspace_bytes = d->workspace_bytes + d->graphs.bytes_max,
                                .kv_bytes_per_page = pages_bytes(&d->s, kv)};
    status rc = cuda_kv_check(kv, err);
    if (rc != OK) return rc;
    int code = d->run->memory(&out->free_bytes);
    out->free_bytes += d->workspace_bytes;
    if (code == 0) return OK;
    return fail(err, ERR_DEVICE, "cuda: free memory: %s", d->run->error_text(code));
}

static bool cuda_step_begin(device *d, const struct step *s, int32_t from, int32_t to)
{
    d->step = NULL;
    if (!d->in_step) cuda_enter(d, "a step");
    d->in_step = true;
    if (d->failure.code != OK || step_check(s, &d->o, d->n_slots, &d->failure) != OK) return false;
    cuda_cost_begin(d, from == 0 && to == d->s.n_layers);
    if (!cuda_upload_step(d, s)) return false;
    cuda_memory_poison(d);
    d->step = s;
    d->layer_from = from;
    d->layer_to = to;
    d->enqueued = true;
    if (!cuda_graph_begin(d)) return false;
    if (s->n_rows == 0) return true;
    struct cuda_turns a = {.live = d->live,
                           .inverse_wave = d->inverse_wave,
                           .turn = d->turn,
                           .half = d->s.head_dim / 2,
                           .rows_bound = d->rows_bound};
    d->launch->turns(&a, d->stream);
    cuda_launched(d, "angles");
    return true;
}

static void fetch(device *d, void *to, const void *from, size_t bytes)
{
    if (d->failure.code == OK && bytes > 0)
        cuda_ok(d, d->run->copy(to, from, bytes, d->stream), "results of a step");
}

static void cuda_step_end(device *d)
{
    const struct step *s = d->step;
    cuda_graph_end(d);
    if (!s || d->failure.code != OK) return;
    size_t outs = (size_t)s->n_outs, rows = (size_t)s->n_rows;
    bool last = d->layer_to == d->s.n_layers;
    if (last && s->sample && outs > 0) d->n_slots = s->n_outs;
    if (last && s->sample) fetch(d, d->host_sampled, d->sampled, outs * sizeof *d->sampled);
    if (last && s->want_logits)
        fetch(d, d->host_logits, d->logits, outs * (size_t)d->s.vocab_size * sizeof(float));
    if (s->want_routes)
        fetch(d, d->host_routes, d->routes,
              (size_t)d->s.n_layers * rows * (size_t)d->s.moe_top_k * sizeof(int32_t));
}

static status cuda_collect(device *d, struct step_result *out, error *err)
{
    *out = (struct step_result){0};
    if (d->enqueued && d->failure.code == OK) cuda_ok(d, d->run->wait(d->stream), "a step");
    d->enqueued = false;
    if (d->in_step) cuda_leave(d);
    d->in_step = false;
    if (d->failure.code != OK) return fail(err, d->failure.code, "%s", d->failure.message);
    device_watch_warm(d->o.watch);
    cuda_cost_end(d);
    out->sampled = d->host_sampled;
    if (d->step && d->step->want_logits) out->logits = d->host_logits;
    if (d->step && d->step->want_routes) out->routes = d->host_routes;
    return OK;
}

static const char *cuda_describe(const device *d) { return d->description; }

const struct kernels kernels_cuda = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .plan = cuda_plan,
    .weight_begin = cuda_weight_begin,
    .weight_put = cuda_weight_put,
    .weight_seal = cuda_weight_seal,
    .weight_free = cuda_weight_free,
    .weight_bytes = cuda_weight_bytes,
    .workspace_bytes = cuda_workspace,
    .host_take = cuda_host_take,
    .host_give = cuda_host_give,
    .kv_open = cuda_kv_open,
    .kv_close = cuda_kv_close,
    .pages_copy = cuda_pages_copy,
    .pages_save = cuda_pages_save,
    .pages_load = cuda_pages_load,
    .step_begin = cuda_step_begin,
    .embed = cuda_embed,
    .attn_in = cuda_attn_in,
    .attention = cuda_attention,
    .attn_out = cuda_attn_out,
    .experts = cuda_experts,
    .head = cuda_head,
    .sample = cuda_sample,
    .step_end = cuda_step_end,
    .collect = cuda_collect,
    .step_cost = cuda_step_cost,
    .describe = cuda_describe,
};
