/* One sequence, prefilled in slices with an output behind every row. Activations are fp32 whatever
 * the checkpoint says: this is what everything else is compared with. */
#include "inference/logits.h"

#include <string.h>

#include "base/memory.h"
#include "inference/batch.h"
#include "inference/forward.h"
#include "inference/kv_pages.h"
#include "inference/quantize_load.h"

enum { SLICE_ROWS = 64 };

struct logits_run {
    const struct logits_options *options;
    const struct kernels *kernels;
    model *m;
    device *d;
    kv_pool *kv;
    batch b;
    int32_t *pages;  /* [n_pages] 0, 1, 2, ... */
    int32_t *routes; /* [layers][slice rows][top_k], when forced */
};

static status tokens_check(const struct model_shape *shape, const int32_t *tokens, size_t n,
                           error *err)
{
    if (n < 1 || n > (size_t)shape->max_seq_len)
        return fail(err, ERR_USAGE, "%zu tokens, expected 1 to max_seq_len %d", n,
                    shape->max_seq_len);
    for (size_t i = 0; i < n; i++)
        if (tokens[i] < 0 || tokens[i] >= shape->vocab_size)
            return fail(err, ERR_USAGE, "token %zu is %d, expected 0 to %d", i, tokens[i],
                        shape->vocab_size - 1);
    return OK;
}

static status arrays_open(struct logits_run *r, int32_t n_pages, error *err)
{
    const struct model_shape *shape = &r->m->config.shape;
    size_t routes = (size_t)shape->n_layers * SLICE_ROWS * (size_t)shape->moe_top_k;
    status s = batch_open(
        &r->b,
        (struct batch_room){.rows = SLICE_ROWS, .seqs = 1, .outs = SLICE_ROWS, .pages = n_pages},
        err);
    if (s != OK) return s;
    r->pages = memory_take((size_t)n_pages, sizeof *r->pages);
    r->routes = memory_take(routes, sizeof *r->routes);
    if (!r->pages || !r->routes) return fail(err, ERR_MEMORY, "out of memory for a step");
    for (int32_t i = 0; i < n_pages; i++) r->pages[i] = i;
    return OK;
}

static status run_open(struct logits_run *r, size_t n_tokens, error *err)
{
    const struct logits_options *o = r->options;
    struct device_options device_options = {.shape = r->m->config.shape,
                                            .n_threads = o->n_threads,
                                            .rows_max = SLICE_ROWS,
                                            .seqs_max = 1,
                                            .outs_max = SLICE_ROWS};
    int32_t n_pages = kv_pages_for_tokens((int64_t)n_tokens);
    device_options.shape.activations = ACTIVATION_F32;
    status s = kernels_find(&r->kernels, o->backend ? o->backend : "auto", err);
    if (s == OK) s = r->kernels->open(&r->d, &device_options, err);
    if (s == OK)
        s = quantize_load(r->m, o->weights, o->n_threads, r->kernels, r->d, NULL, NULL, err);
    if (s == OK) s = r->kernels->kv_open(&r->kv, r->d, o->kv_type, n_pages, err);
    return s == OK ? arrays_open(r, n_pages, err) : s;
}

static void run_close(struct logits_run *r)
{
    memory_free(r->pages);
    memory_free(r->routes);
    batch_close(&r->b);
    if (r->kv) r->kernels->kv_close(r->kv);
    model_close(r->m);
    if (r->d) r->kernels->close(r->d);
}

/* The routes of rows [from, to) of all n_tokens, layer by layer. */
static const int32_t *routes_slice(struct logits_run *r, size_t from, size_t to, size_t n_tokens)
{
    const struct model_shape *shape = &r->m->config.shape;
    size_t top_k = (size_t)shape->moe_top_k, n = (to - from) * top_k;
    if (!r->options->routes_forced) return NULL;
    for (size_t layer = 0; layer < (size_t)shape->n_layers; layer++)
        memcpy(r->routes + layer * n, r->options->routes_forced + (layer * n_tokens + from) * top_k,
               n * sizeof *r->routes);
    return r->routes;
}

static status slice_run(struct logits_run *r, const int32_t *tokens, size_t n_tokens, size_t from,
                        struct step_result *result, error *err)
{
    size_t to = n_tokens - from < SLICE_ROWS ? n_tokens : from + SLICE_ROWS;
    batch_begin(&r->b, r->kv, NULL, 0);
    batch_add(&r->b, tokens, (int32_t)from, (int32_t)to, r->pages);
    for (int32_t row = 0; row < r->b.step.n_rows; row++)
        batch_add_out(&r->b, row,
                      (struct sample_row){.top_p = 1, .repetition_penalty = 1, .mask = -1});
    r->b.step.routes_forced = routes_slice(r, from, to, n_tokens);
    r->b.step.want_logits = true;
    forward(r->m, r->d, &r->b.step);
    return r->kernels->collect(r->d, result, err);
}

static status run_all(struct logits_run *r, const int32_t *tokens, size_t n_tokens, logits_row row,
                      void *context, error *err)
{
    const struct model_shape *shape = &r->m->config.shape;
    for (size_t from = 0; from < n_tokens; from += SLICE_ROWS) {
        struct step_result result;
        status s = slice_run(r, tokens, n_tokens, from, &result, err);
        for (int32_t i = 0; s == OK && i < r->b.step.n_outs; i++)
            s = row(context, from + (size_t)i,
                    result.logits + (size_t)i * (size_t)shape->vocab_size, shape, err);
        if (s != OK) return s;
    }
    return OK;
}

status logits_each(const struct logits_options *options, const int32_t *tokens, size_t n_tokens,
                   logits_row row, void *context, error *err)
{
    struct logits_run r = {.options = options};
    status s = model_open(&r.m, options->model_dir, err);
    if (s == OK) s = tokens_check(&r.m->config.shape, tokens, n_tokens, err);
    if (s == OK) s = run_open(&r, n_tokens, err);
    if (s == OK) s = run_all(&r, tokens, n_tokens, row, context, err);
    run_close(&r);
    return s;
}

struct logits_sink {
    float *rows;
    size_t n_rows;
    struct model_shape *shape;
};

static status sink_row(void *context, size_t i, const float *row, const struct model_shape *shape,
                       error *err)
{
    struct logits_sink *sink = context;
    size_t vocab = (size_t)shape->vocab_size, n;
    if (i == 0) {
        *sink->shape = *shape;
        sink->rows = size_mul(sink->n_rows, vocab, &n) ? memory_take(n, sizeof(float)) : NULL;
    }
    if (!sink->rows)
        return fail(err, ERR_MEMORY, "out of memory for %zu rows of %zu logits", sink->n_rows,
                    vocab);
    memcpy(sink->rows + i * vocab, row, vocab * sizeof(float));
    return OK;
}

status logits_compute(float **out, struct model_shape *shape, const struct logits_options *options,
                      const int32_t *tokens, size_t n_tokens, error *err)
{
    struct logits_sink sink = {NULL, n_tokens, shape};
    status s = logits_each(options, tokens, n_tokens, sink_row, &sink, err);
    *out = s == OK ? sink.rows : NULL;
    if (s != OK) memory_free(sink.rows);
    return s;
}
