/* The operations of a step as launches. Which kernel multiplies is decided by the rows of the step
 * and the formats alone; see product.cuh for the regimes. */
#include <math.h>

#include "kernels/cuda/cuda.h"

/* The step's pool as kernels take it. */
static struct cuda_pool pool_of(const device *d)
{
    const struct kv_pool *kv = d->step->kv;
    return (struct cuda_pool){.bytes = kv->bytes,
                              .page_bytes = (int64_t)kv->page_bytes,
                              .type = kv->type,
                              .kv_heads = kv->kv_n_heads,
                              .head_dim = kv->head_dim};
}

static bool runs(const device *d)
{
    return d->step && d->failure.code == OK && d->step->n_rows > 0;
}

/* out = w x for the product's entries, by the kernel of its regime. */
static void product(device *d, struct cuda_product p, const char *what)
{
    bool vector = !d->narrow || p.w.format == WEIGHT_F32;
    if (vector)
        d->launch->product_vector(&p, d->stream);
    else if (p.rows_bound <= CUDA_TILE_ROWS || d->o.deterministic)
        d->launch->product_mma(&p, d->stream);
    else if (cuda_wide_can(d, &p))
        cuda_product_wide(d, &p);
    else
        d->launch->product_tile(&p, d->stream);
    cuda_launched(d, what);
}

/* The product of a whole matrix with n_bound rows, of many by the library where there is one. */
static void gemm_dense(device *d, const weight *w, struct cuda_operand x, float *out,
                       int64_t out_stride, const int32_t *n_live, int32_t n_bound, const char *what)
{
    if (n_bound > CUDA_TILE_ROWS && cuda_dense_multiply(d, w, x, out, out_stride, n_bound)) return;
    product(d,
            (struct cuda_product){.w = w->matrix,
                                  .x = x,
                                  .out = {.f32 = out, .stride = out_stride},
                                  .n_live = n_live,
                                  .n_groups = 1,
                                  .n = (int32_t)w->n_rows,
                                  .rows_bound = n_bound},
            what);
}

void cuda_embed(device *d, const weight *wte)
{
    if (!runs(d)) return;
    struct cuda_embed a = {.live = d->live,
                           .slot = d->sampled,
                           .wte = wte->matrix,
                           .x = cuda_residual(d),
                           .d = d->s.d_model,
                           .rows_bound = d->rows_bound};
    d->launch->embed(&a, d->stream);
    cuda_launched(d, "embed");
}

static struct cuda_norm norm_of(const device *d, const weight *gain, const float *add)
{
    return (struct cuda_norm){.live = d->live,
                              .x = cuda_residual(d),
                              .add = add,
                              .gain = (const float *)(const void *)gain->matrix.codes,
                              .y = d->y,
                              .d = d->s.d_model,
                              .rows_bound = d->rows_bound,
                              .activations = d->s.activations};
}

/* What the experts of a layer add to the residual. */
static struct cuda_combine combine_of(const device *d)
{
    return (struct cuda_combine){.live = d->live,
                                 .slot = d->slot,
                                 .gate = d->gate,
                                 .down = d->down,
                                 .x = cuda_residual(d),
                                 .stride = d->s.d_model,
                                 .d = d->s.d_model,
                                 .top_k = d->s.moe_top_k,
                                 .rows_bound = d->rows_bound};
}

void cuda_attn_in(device *d, int32_t layer, const struct layer_weights *w)
{
    if (!runs(d)) return;
    struct cuda_norm n = norm_of(d, w->norm_1, NULL);
    if (layer > d->layer_from) n.experts = combine_of(d);
    d->launch->norm(&n, d->stream);
    cuda_launched(d, "norm");
    gemm_dense(d, w->qkv, d->y, d->qkv, d->qkv_width, &d->live->n_rows, d->rows_bound, "qkv");
    struct cuda_rope a = {.live = d->live,
                          .qkv = d->qkv,
                          .turn = d->turn,
                          .q = d->q,
                          .pool = pool_of(d),
                          .layer = layer,
                          .heads = d->s.n_heads,
                          .rows_bound = d->rows_bound,
                          .clip = (float)d->s.clip_qkv};
    d->launch->rope(&a, d->stream);
    cuda_launched(d, "rope");
}

/* All rows by the kernels of few: a part at a time, for a part's sums fill their buffer. */
static void attention_by_parts(device *d, struct cuda_attention a)
{
    for (int32_t i = 0; i * CUDA_GRAPH_ROWS < d->rows_bound; i++) {
        int32_t left = d->rows_bound - i * CUDA_GRAPH_ROWS;
        a.first_row = i * CUDA_GRAPH_ROWS;
        a.rows_bound = left < CUDA_GRAPH_ROWS ? left : CUDA_GRAPH_ROWS;
        a.first_tile = d->tile_at[i];
        a.n_tiles = d->tile_at[i + 1] - d->tile_at[i];
        if (a.n_tiles > 0) d->launch->attention_rows(&a, d->stream);
    }
}

void cuda_attention(device *d, int32_t layer)
{
    enum { BLOCKS_A_PROCESSOR = 4 };
    if (!runs(d)) return;
    struct cuda_attention a = {.live = d->live,
                               .q = d->q,
                               .pool = pool_of(d),
                               .out = d->attended,
                               .part = d->part,
                               .layer = layer,
                               .heads = d->s.n_heads,
                               .rows_bound = d->rows_bound,
                               .tiles_bound = d->n_tiles,
                               .blocks = BLOCKS_A_PROCESSOR * d->info.n_processors,
                               .chunks_max = d->chunks_max,
                               .factor = 1 / sqrtf((float)d->s.head_dim)};
    if (!d->narrow)
        d->launch->attention(&a, d->stream);
    else if (d->rows_bound <= CUDA_GRAPH_ROWS)
        d->launch->attention_rows(&a, d->stream);
    else if (d->o.deterministic)
        attention_by_parts(d, a);
    else if (d->n_tiles > 0)
        d->launch->attention_tiles(&a, d->stream);
    cuda_launched(d, "attention");
}

static void sort(device *d)
{
    struct cuda_sort s = {.live = d->live,
                          .route = d->route,
                          .slot = d->slot,
                          .entry_row = d->entry_row,
                          .first = d->first,
                          .n_experts = d->s.moe_num_experts,
                          .top_k = d->s.moe_top_k};
    d->launch->sort(&s, d->stream);
    cuda_launched(d, "sort");
}

void cuda_attn_out(device *d, int32_t layer, const struct layer_weights *w)
{
    if (!runs(d)) return;
    gemm_dense(d, w->out_proj, d->attended, d->projected, d->s.d_model, &d->live->n_rows,
               d->rows_bound, "out_proj");
    struct cuda_route r = {.norm = norm_of(d, w->norm_2, d->projected),
                           .router = w->router->matrix,
                           .route = d->route,
                           .routes = d->routes,
                           .gate = d->gate,
                           .layer = layer,
                           .n_experts = d->s.moe_num_experts,
                           .top_k = d->s.moe_top_k};
    d->launch->norm_route(&r, d->stream);
    cuda_launched(d, "router");
    sort(d);
}

void cuda_experts(device *d, int32_t layer, const struct layer_weights *w)
{
    if (!runs(d)) return;
    struct cuda_product p = {.w = w->w1->matrix,
                             .up = w->v1->matrix,
                             .x = d->y,
                             .out = d->hidden,
                             .x_row = d->entry_row,
                             .first = d->first,
                             .n_groups = d->s.moe_num_experts,
                             .n = d->s.ffn_hidden_size,
                             .rows_bound = d->rows_bound};
    product(d, p, "w1, v1");
    p.w = w->w2->matrix;
    p.up = (struct cuda_matrix){0};
    p.x = d->hidden;
    p.out = (struct cuda_operand){.f32 = d->down, .stride = d->s.d_model};
    p.x_row = NULL;
    p.n = d->s.d_model;
    product(d, p, "w2");
    if (layer + 1 < d->layer_to) return; /* the next norm adds them up */
    struct cuda_combine c = combine_of(d);
    d->launch->combine(&c, d->stream);
    cuda_launched(d, "combine");
}

void cuda_head(device *d, const weight *norm_f, const weight *lm_head)
{
    if (!runs(d) || d->step->n_outs == 0) return;
    struct cuda_norm a = {.live = d->live,
                          .x = cuda_residual(d),
                          .gain = (const float *)(const void *)norm_f->matrix.codes,
                          .y = d->head_y,
                          .d = d->s.d_model,
                          .rows_bound = d->outs_bound,
                          .activations = d->s.activations,
                          .of_outs = true};
    d->launch->norm(&a, d->stream);
    cuda_launched(d, "norm_f");
    gemm_dense(d, lm_head, d->head_y, d->logits, d->s.vocab_size, &d->live->n_outs, d->outs_bound,
               "lm_head");
}

void cuda_sample(device *d)
{
    if (!runs(d) || !d->step->sample || d->step->n_outs == 0) return;
    struct cuda_sample a = {.live = d->live,
                            .logits = d->logits,
                            .weight = d->weights,
                            .out = d->sampled,
                            .stride = d->s.vocab_size,
                            .n_vocab = d->s.vocab_size,
                            .words = d->words,
                            .outs_bound = d->outs_bound};
    d->launch->sample(&a, d->stream);
    cuda_launched(d, "sample");
}
