/* forward() over a checkpoint, as the scheduler calls it: one slice of rows, then row after row. */
#include <stdlib.h>

#include "base/memory.h"
#include "inference/batch.h"
#include "inference/forward.h"
#include "inference/kv_pages.h"
#include "inference/tensor_table.h"
#include "tests/bench/peer.h"

struct peer_ours {
    model *m;
    const struct kernels *kernels;
    device *d;
    kv_pool *kv;
    batch b;
    int32_t *pages, *tokens; /* tokens of the whole sequence */
    int n_prompt, n_threads;
};

static status parts_open(struct peer_ours *p, int n_threads, int n_tokens, error *err)
{
    const struct model_shape *shape = &p->m->config.shape;
    struct device_options options = {.shape = *shape,
                                     .n_threads = n_threads,
                                     .rows_max = p->n_prompt,
                                     .seqs_max = 1,
                                     .outs_max = 1};
    int32_t n_pages = kv_pages_for_tokens(n_tokens);
    status s = kernels_find(&p->kernels, "cpu", err);
    if (s == OK) s = p->kernels->open(&p->d, &options, err);
    if (s == OK) s = model_load(p->m, p->kernels, p->d, NULL, NULL, err);
    if (s == OK) s = p->kernels->kv_open(&p->kv, p->d, KV_BF16, n_pages, err);
    if (s == OK)
        s = batch_open(
            &p->b, (struct batch_room){.rows = p->n_prompt, .seqs = 1, .outs = 1, .pages = n_pages},
            err);
    if (s != OK) return s;
    p->pages = memory_take((size_t)n_pages, sizeof *p->pages);
    p->tokens = memory_take((size_t)n_tokens, sizeof *p->tokens);
    if (!p->pages || !p->tokens) return fail(err, ERR_MEMORY, "out of memory");
    for (int32_t i = 0; i < n_pages; i++) p->pages[i] = i;
    return OK;
}

status peer_ours_open(struct peer_ours **out, const char *model_dir, int n_threads, int n_prompt,
                      int n_decode, error *err)
{
    struct peer_ours *p = memory_take(1, sizeof *p);
    *out = NULL;
    if (!p) return fail(err, ERR_MEMORY, "out of memory");
    p->n_prompt = n_prompt;
    p->n_threads = n_threads;
    status s = model_open(&p->m, model_dir, err);
    if (s == OK) s = parts_open(p, n_threads, n_prompt + n_decode, err);
    if (s == OK)
        *out = p;
    else
        peer_ours_close(p);
    return s;
}

void peer_ours_close(struct peer_ours *p)
{
    if (!p) return;
    memory_free(p->pages);
    memory_free(p->tokens);
    batch_close(&p->b);
    if (p->kv) p->kernels->kv_close(p->kv);
    model_close(p->m);
    if (p->d) p->kernels->close(p->d);
    memory_free(p);
}

const char *peer_ours_name(const struct peer_ours *p) { return p->kernels->describe(p->d); }

int32_t peer_ours_vocabulary(const struct peer_ours *p) { return p->m->config.shape.vocab_size; }

/* Weights the last step read: of stacked experts those chosen by some row, of the embedding rows. */
static double step_bytes(const struct peer_ours *p, const struct step_result *result)
{
    const struct model_shape *shape = &p->m->config.shape;
    double bytes = 0;
    for (int32_t i = 0; i < p->m->n_weights; i++) {
        struct model_tensor t = model_tensor_at(shape, p->m->config.weights, i);
        double size = (double)safetensors_find(p->m->files, t.name)->size_bytes;
        if (model_tensor_quantized(&t)) size += (double)model_tensor_scales(&t).size_bytes;
        if (i == 0) size *= (double)p->b.step.n_rows / (double)t.n_rows;
        if (t.n_experts > 1) {
            int32_t n = p->b.step.n_rows * shape->moe_top_k, n_read = 0;
            const int32_t *routes = result->routes + (i - OUTER_TENSORS) / LAYER_TENSORS * n;
            for (int32_t e = 0; e < shape->moe_num_experts; e++) {
                int32_t r = 0;
                while (r < n && routes[r] != e) r++;
                n_read += r < n;
            }
            size *= (double)n_read / shape->moe_num_experts;
        }
        bytes += size;
    }
    return bytes;
}

static status step_run(struct peer_ours *p, int from, int to, struct step_result *result,
                       error *err)
{
    batch_begin(&p->b, p->kv, NULL, 0);
    batch_add(&p->b, p->tokens, from, to, p->pages);
    batch_add_out(&p->b, p->b.step.n_rows - 1,
                  (struct sample_row){.top_p = 1, .repetition_penalty = 1, .mask = -1});
    p->b.step.want_routes = p->b.step.want_logits = true;
    forward(p->m, p->d, &p->b.step);
    return p->kernels->collect(p->d, result, err);
}

status peer_ours_prefill(struct peer_ours *p, const int32_t *tokens, int n, double *seconds,
                         const float **logits, error *err)
{
    struct step_result result;
    for (int i = 0; i < n; i++) p->tokens[i] = tokens[i];
    double begun = peer_clock_s(p->n_threads);
    status s = step_run(p, 0, n, &result, err);
    *seconds = peer_clock_s(p->n_threads) - begun;
    *logits = s == OK ? result.logits : NULL;
    return s;
}

status peer_ours_decode(struct peer_ours *p, const int32_t *tokens, int n, double *seconds,
                        double *bytes, error *err)
{
    status s = OK;
    double took = 0;
    *bytes = 0;
    for (int i = 0; s == OK && i < n; i++) {
        struct step_result result;
        p->tokens[p->n_prompt + i] = tokens[i];
        double begun = peer_clock_s(p->n_threads);
        s = step_run(p, p->n_prompt + i, p->n_prompt + i + 1, &result, err);
        took += peer_clock_s(p->n_threads) - begun;
        if (s == OK) *bytes += step_bytes(p, &result);
    }
    *seconds = took;
    return s;
}
