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

/* The kernels that multiply; README.md has their regimes. */
enum family { FAMILY_VECTOR, FAMILY_MMA, FAMILY_TILE, FAMILY_WIDE };

static enum family family_of(const device *d, const struct cuda_product *p)
{
    if (!d->narrow || p->w.format == WEIGHT_F32) return FAMILY_VECTOR;
    if (p->rows_bound <= CUDA_TILE_ROWS || d->o.deterministic) return FAMILY_MMA;
    return cuda_wide_can(d, p) ? FAMILY_WIDE : FAMILY_TILE;
}

/* out = w x for the product's entries, by the kernel of its regime. */
static void product(device *d, struct cuda_product p, const char *what)
{
    switch (family_of(d, &p)) {
    case FAMILY_VECTOR: d->launch->product_vector(&p, d->stream); break;
    case FAMILY_MMA: d->launch->product_mma(&p, d->stream); break;
    case FAMILY_TILE: d->launch->product_tile(&p, d->stream); break;
    case FAMILY_WIDE: cuda_product_wide(d, &p); break;
    }
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
                                  .rows_bound = n_bound,
                                  .groups_bound = 1},
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
    enum { BLOCKS_A_PROCESSOR = 2 }; /* that have their place at once, beside kernels that wait */
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
    else if (d->n_tiles > 0 && cuda_wide_attends(d))
        d->launch->attention_wide(&a, d->stream);
    else if (d->n_tiles > 0)
        d->launch->attention_tiles(&a, d->stream);
    cuda_launched(d, "attention");
}

static struct cuda_sort sort_of(const device *d)
{
    return (struct cuda_sort){.live = d->live,
                              .route = d->route,
                              .slot = d->slot,
                              .entry_row = d->entry_row,
                              .first = d->first,
                              .n_experts = d->s.moe_num_experts,
                              .top_k = d->s.moe_top_k};
}

void cuda_attn_out(device *d, int32_t layer, const struct layer_weights *w)
{
    if (!runs(d)) return;
    gemm_dense(d, w->out_proj, d->attended, d->projected, d->s.d_model, &d->live->n_rows,
               d->rows_bound, "out_proj");
    struct cuda_route r = {.norm = norm_of(d, w->norm_2, d->projected),
                           .router = w->router->matrix,
                           .sort = sort_of(d),
                           .route = d->route,
                           .routes = d->routes,
                           .gate = d->gate,
                           .layer = layer,
                           .n_experts = d->s.moe_num_experts,
                           .top_k = d->s.moe_top_k};
    d->launch->norm_route(&r, d->stream);
    cuda_launched(d, "router");
    if (d->rows_bound == 1) return; /* which that kernel has sorted */
    d->launch->sort(&r.sort, d->stream);
    cuda_launched(d, "sort");
}

/* Hidden units in the one form that w2's kernel reads. */
static struct cuda_operand hidden_read(const device *d, struct cuda_product down)
{
    struct cuda_operand x = d->hidden, one = {.scale = x.scale, .stride = x.stride};
    down.x = x;
    enum family family = family_of(d, &down);
    if (family == FAMILY_VECTOR)
        one.f32 = x.f32;
    else if (family == FAMILY_WIDE && cuda_wide_e4m3(d, down.w.format))
        one.e4m3 = x.e4m3;
    else
        one.bf16 = x.bf16;
    return one;
}

/* What gated units gave in fp32 becomes E4M3 when all of a row is known. */
static void hidden_round(device *d, const weight *w2, struct cuda_operand to, int32_t entries)
{
    struct cuda_round a = {.x = d->hidden.f32,
                           .to = to,
                           .first = d->first,
                           .next = w2->matrix,
                           .n_groups = d->s.moe_num_experts,
                           .n = d->s.ffn_hidden_size,
                           .next_n = d->s.d_model,
                           .entries_bound = entries};
    d->launch->round(&a, d->stream);
    cuda_launched(d, "hidden units");
}

void cuda_experts(device *d, int32_t layer, const struct layer_weights *w)
{
    if (!runs(d)) return;
    int32_t entries = d->rows_bound * d->s.moe_top_k, experts = d->s.moe_num_experts;
    bool e4m3 = d->s.activations == ACTIVATION_E4M3;
    struct cuda_product p = {.w = w->w2->matrix,
                             .first = d->first,
                             .n_groups = experts,
                             .rows_bound = d->rows_bound,
                             .groups_bound = entries < experts ? entries : experts};
    struct cuda_operand hidden = hidden_read(d, p);
    struct cuda_product down = p;
    p.w = w->w1->matrix;
    p.up = w->v1->matrix;
    p.x = d->y;
    p.x_row = d->entry_row;
    p.n = d->s.ffn_hidden_size;
    p.out = hidden;
    if (e4m3) p.out = (struct cuda_operand){.f32 = d->hidden.f32, .stride = hidden.stride};
    if (hidden.f32 && !e4m3) p.out.bf16 = d->hidden.bf16; /* what is rounded, f32 as well */
    product(d, p, "w1, v1");
    if (e4m3) hidden_round(d, w->w2, hidden, entries);
    down.x = hidden;
    down.n = d->s.d_model;
    down.out = (struct cuda_operand){.f32 = d->down, .stride = d->s.d_model};
    product(d, down, "w2");
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
