/* The steps around attention and experts: embedding, norms, projections, RoPE, router, head.
 *
 * What is done row by row is a task per row; what reads weights is a product over all rows. */
#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "kernels/cpu/cpu.h"
#include "kernels/format.h"

enum { NORMALISE_BLOCK = 1024 };

struct dense_job {
    device *d;
    int32_t layer;
    const struct layer_weights *w;
    const weight *one; /* wte, or the final norm */
};

static double row_work(const device *d, int32_t width) { return (double)d->step->n_rows * width; }

static void embed_task(void *context, int64_t row, int thread)
{
    const struct dense_job *job = context;
    const device *d = job->d;
    int32_t r = (int32_t)row, token = d->step->token[r];
    (void)thread;
    if (!cpu_is_row(d, r)) {
        memset(cpu_residual(d, r), 0, (size_t)d->s.d_model * sizeof(float));
        return;
    }
    if (token < 0) token = d->out[~token].id < 0 ? 0 : d->out[~token].id;
    cpu_weight_row(cpu_residual(d, r), job->one, token);
}

void cpu_embed(device *d, const weight *wte)
{
    struct dense_job job = {.d = d, .one = wte};
    if (d->step) pool_run(d->threads, embed_task, &job, d->step->n_rows, row_work(d, d->s.d_model));
}

/* Row `row` of y = LN(x), rounded as the checkpoint's activations are. */
static float *norm_row(const device *d, size_t row, const float *x, const weight *g)
{
    float *y = d->y + row * (size_t)d->s.d_model;
    d->math->norm(y, x, g->vector, d->s.d_model);
    cpu_round(d, d->s.activations, y, d->s.d_model, &d->y_codes, row);
    return y;
}

static void norm_1_task(void *context, int64_t row, int thread)
{
    const struct dense_job *job = context;
    const device *d = job->d;
    (void)thread;
    norm_row(d, (size_t)row, cpu_residual(d, (int32_t)row), job->w->norm_1);
}

/* Pairs (i, i + n / 2) of one head; turn holds cos and sin of each pair's angle. */
static void rotate(float *head, const float *turn, int32_t n)
{
    for (int32_t i = 0; i < n / 2; i++) {
        float a = head[i], b = head[i + n / 2], c = turn[2 * i], s = turn[2 * i + 1];
        head[i] = a * c - b * s;
        head[i + n / 2] = b * c + a * s;
    }
}

static void kv_store(const device *d, int32_t r, int32_t layer, const float *kv)
{
    const struct step *s = d->step;
    int32_t p = s->position[r], n = d->s.head_dim, heads = d->s.kv_n_heads;
    size_t at = (size_t)s->seq[r] * (size_t)s->pages_max + (size_t)(p / KV_PAGE_TOKENS);
    size_t vector = s->kv->head_bytes / KV_PAGE_TOKENS;
    for (int32_t h = 0; h < 2 * heads; h++) {
        unsigned char *to = pages_head(s->kv, s->page_table[at], layer, h / heads, h % heads);
        kv_encode(to + (size_t)(p % KV_PAGE_TOKENS) * vector, s->kv->type, kv + h * n, n);
    }
}

/* Clip, then RoPE, then K and V rounded into their page; the queries stay in qkv. */
static void qkv_task(void *context, int64_t row, int thread)
{
    const struct dense_job *job = context;
    const device *d = job->d;
    int32_t r = (int32_t)row, n = d->s.head_dim, rotated = d->s.n_heads + d->s.kv_n_heads;
    float *qkv = d->qkv + (size_t)row * (size_t)d->qkv_width, clip = (float)d->s.clip_qkv;
    (void)thread;
    if (!cpu_is_row(d, r)) return;
    for (int32_t i = 0; clip > 0 && i < d->qkv_width; i++) {
        float v = qkv[i] < -clip ? -clip : qkv[i];
        qkv[i] = v > clip ? clip : v;
    }
    for (int32_t h = 0; h < rotated; h++) rotate(qkv + h * n, d->turn + (size_t)row * (size_t)n, n);
    kv_store(d, r, job->layer, qkv + (size_t)d->heads_width);
}

void cpu_attn_in(device *d, int32_t layer, const struct layer_weights *w)
{
    struct dense_job job = {.d = d, .layer = layer, .w = w};
    if (!d->step) return;
    int32_t n = d->step->n_rows;
    d->cost.weight_bytes_per_element = (double)w->qkv->row_bytes / d->s.d_model;
    d->y_codes.form = cpu_code_form(d, w->qkv);
    pool_run(d->threads, norm_1_task, &job, n, 8 * row_work(d, d->s.d_model));
    cpu_observe(d, OBSERVED_QKV, layer, 0, (struct rows){d->y, (size_t)d->s.d_model, n});
    cpu_product_run(d, (struct cpu_product){.w = w->qkv,
                                            .n = d->qkv_width,
                                            .x = {d->y, (size_t)d->s.d_model, n},
                                            .out = {d->qkv, (size_t)d->qkv_width, n},
                                            .codes = &d->y_codes});
    pool_run(d->threads, qkv_task, &job, n, 8 * row_work(d, d->qkv_width));
}

/* The k largest logits, largest first, ties to the lower expert; and a softmax over just these. */
static void route_choose(int32_t *route, float *gate, const float *logit, int32_t n, int32_t k,
                         const int32_t *forced)
{
    bool taken[EXPERTS_MAX] = {false};
    float largest = -INFINITY, sum = 0;
    for (int32_t j = 0; j < k; j++) {
        route[j] = -1;
        for (int32_t e = 0; e < n; e++)
            if (!taken[e] && (route[j] < 0 || logit[e] > logit[route[j]])) route[j] = e;
        if (forced) route[j] = forced[j];
        taken[route[j]] = true;
        if (logit[route[j]] > largest) largest = logit[route[j]];
    }
    for (int32_t j = 0; j < k; j++) sum += gate[j] = expf(logit[route[j]] - largest);
    for (int32_t j = 0; j < k; j++) gate[j] /= sum;
}

/* r = x + projected; y = LN(r); the router's choice. */
static void route_task(void *context, int64_t row, int thread)
{
    const struct dense_job *job = context;
    device *d = job->d;
    int32_t r = (int32_t)row, n = d->s.d_model, k = d->s.moe_top_k;
    size_t at = ((size_t)job->layer * (size_t)d->step->n_rows + (size_t)row) * (size_t)k;
    int32_t *route = d->route + (size_t)row * (size_t)k;
    float *x = cpu_residual(d, r), logit[EXPERTS_MAX];
    const float *projected = d->projected + (size_t)row * (size_t)n;
    for (int32_t j = 0; j < k; j++) route[j] = d->routes[at + (size_t)j] = -1;
    if (!cpu_is_row(d, r)) return;
    for (int32_t i = 0; i < n; i++) x[i] += projected[i];
    float *y = norm_row(d, (size_t)row, x, job->w->norm_2);
    cpu_product_part(d, thread,
                     (struct cpu_product){.w = job->w->router,
                                          .n = d->s.moe_num_experts,
                                          .x = {y, (size_t)n, 1},
                                          .out = {logit, EXPERTS_MAX, 1}});
    route_choose(route, d->gate + (size_t)row * (size_t)k, logit, d->s.moe_num_experts, k,
                 d->step->routes_forced ? d->step->routes_forced + at : NULL);
    memcpy(d->routes + at, route, (size_t)k * sizeof *route);
}

static void attended_task(void *context, int64_t row, int thread)
{
    const struct dense_job *job = context;
    const device *d = job->d;
    (void)thread;
    cpu_round(d, attention_activations(d->s.activations),
              d->attended + (size_t)row * (size_t)d->heads_width, d->heads_width,
              &d->attended_codes, (size_t)row);
}

void cpu_attn_out(device *d, int32_t layer, const struct layer_weights *w)
{
    struct dense_job job = {.d = d, .layer = layer, .w = w};
    if (!d->step) return;
    int32_t n = d->step->n_rows;
    d->attended_codes.form = cpu_code_form(d, w->out_proj);
    if (d->s.activations != ACTIVATION_F32)
        pool_run(d->threads, attended_task, &job, n, 8 * row_work(d, d->heads_width));
    cpu_observe(d, OBSERVED_OUT_PROJ, layer, 0,
                (struct rows){d->attended, (size_t)d->heads_width, n});
    cpu_product_run(d, (struct cpu_product){.w = w->out_proj,
                                            .n = d->s.d_model,
                                            .x = {d->attended, (size_t)d->heads_width, n},
                                            .out = {d->projected, (size_t)d->s.d_model, n},
                                            .codes = &d->attended_codes});
    d->y_codes.form = cpu_code_form(d, w->w1);
    pool_run(d->threads, route_task, &job, n,
             (10 + d->s.moe_num_experts) * row_work(d, d->s.d_model));
    cpu_experts_sort(d);
}

static void norm_f_task(void *context, int64_t i, int thread)
{
    const struct dense_job *job = context;
    const device *d = job->d;
    (void)thread;
    norm_row(d, (size_t)i, cpu_residual(d, d->step->out_row[i]), job->one);
}

void cpu_head(device *d, const weight *norm_f, const weight *lm_head)
{
    struct dense_job job = {.d = d, .one = norm_f};
    if (!d->step || d->step->n_outs == 0) return;
    int32_t n = d->step->n_outs;
    d->y_codes.form = cpu_code_form(d, lm_head);
    pool_run(d->threads, norm_f_task, &job, n, 8.0 * n * d->s.d_model);
    cpu_observe(d, OBSERVED_HEAD, 0, 0, (struct rows){d->y, (size_t)d->s.d_model, n});
    cpu_product_run(d, (struct cpu_product){.w = lm_head,
                                            .n = d->s.vocab_size,
                                            .x = {d->y, (size_t)d->s.d_model, n},
                                            .out = {d->logits, (size_t)d->s.vocab_size, n},
                                            .codes = &d->y_codes});
}

/* As sample_normaliser, with the table's exponentials: sums of NORMALISE_BLOCK, added up in double.
 * `space` is [n + LANES_MAX]. NaN when a logit is not finite. */
static double normalise(const struct cpu_math *math, const float *logits, int32_t n, float *space)
{
    int32_t unlike = 0;
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, logits + i, sizeof bits);
        unlike |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    if (unlike) return NAN;
    memcpy(space, logits, (size_t)n * sizeof *space);
    float largest = math->scale_largest(space, 1, n);
    for (int32_t from = 0; from < n; from += NORMALISE_BLOCK) {
        int32_t left = n - from;
        sum += (double)math->exp_sum(space + from, largest,
                                     left < NORMALISE_BLOCK ? left : NORMALISE_BLOCK);
    }
    return (double)largest + log(sum);
}

static void sample_task(void *context, int64_t i, int thread)
{
    const struct dense_job *job = context;
    const device *d = job->d;
    int32_t n = d->s.vocab_size;
    const struct sample_row *row = &d->step->sample[i];
    const uint32_t *mask = row->mask < 0 ? NULL : d->step->mask + row->mask * ((n + 31) / 32);
    const float *logits = d->logits + (size_t)i * (size_t)n;
    const struct sample_scratch *scratch = &d->scratch[thread].sampling;
    double normaliser = normalise(d->math, logits, n, scratch->weight);
    sample_normalised(&d->out[i], logits, normaliser, n, row, mask, scratch);
}

void cpu_sample(device *d)
{
    struct dense_job job = {.d = d};
    if (!d->step || !d->step->sample) return;
    pool_run(d->threads, sample_task, &job, d->step->n_outs,
             50.0 * d->step->n_outs * d->s.vocab_size);
    d->n_slots = d->step->n_outs;
}
