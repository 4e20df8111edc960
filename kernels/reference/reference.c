/* The reference: every formula of the transformer written once, in double, one row at a time.
 *
 * Slow on purpose. The residual, norms, products, softmax and combine are double; only what is
 * stored is rounded: weights and K and V to their formats, activations to the checkpoint's type.
 * Sources: the DBRX model card and configuration; Su et al. 2021 (RoPE); Ainslie et al. 2023 (GQA);
 * Shazeer 2020 (gated units). */
#include "kernels/reference/reference.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "kernels/format.h"
#include "kernels/pages.h"

static double *residual(const device *d, int32_t row)
{
    return d->x +
           ((size_t)d->step->slice * (size_t)d->o.rows_max + (size_t)row) * (size_t)d->s.d_model;
}

static bool is_row(const device *d, int32_t row) { return d->step->seq[row] >= 0; }

/* out = w[first .. first + n) x */
static void product(double *out, const weight *w, int64_t first, int64_t n, const double *x)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = w->values + (first + i) * w->spec.n_columns;
        out[i] = 0;
        for (int64_t k = 0; k < w->spec.n_columns; k++) out[i] += (double)row[k] * x[k];
    }
}

static void narrow(device *d, double *v, int32_t n, enum activation_type type)
{
    if (type == ACTIVATION_F32) return;
    for (int i = 0; i < n; i++) d->narrow[i] = (float)v[i];
    activation_round(d->narrow, type, n);
    for (int i = 0; i < n; i++) v[i] = (double)d->narrow[i];
}

/* y = (x - mean) / sqrt(var + 1e-5) * g, then rounded as the checkpoint's activations are. */
static void layer_norm(device *d, double *y, const double *x, const weight *g)
{
    int32_t n = d->s.d_model;
    double mean = 0, variance = 0;
    for (int i = 0; i < n; i++) mean += x[i] / n;
    for (int i = 0; i < n; i++) variance += (x[i] - mean) * (x[i] - mean) / n;
    for (int i = 0; i < n; i++) y[i] = (x[i] - mean) / sqrt(variance + 1e-5) * (double)g->values[i];
    narrow(d, y, n, d->s.activations);
}

void reference_embed(device *d, const weight *wte)
{
    int32_t n = d->s.d_model;
    for (int32_t r = 0; d->step && r < d->step->n_rows; r++) {
        int32_t token = d->step->token[r];
        if (token < 0 && is_row(d, r)) token = d->out[~token].id < 0 ? 0 : d->out[~token].id;
        for (int32_t i = 0; i < n; i++)
            residual(d, r)[i] = is_row(d, r) ? (double)wte->values[(int64_t)token * n + i] : 0;
    }
}

/* Rotates pairs (i, i + n/2) of one head by position * theta^(-2i/n). */
static void rotate(double *head, int32_t n, double position, double theta)
{
    for (int32_t i = 0; i < n / 2; i++) {
        double angle = position * pow(theta, -2.0 * i / n), c = cos(angle), s = sin(angle);
        double a = head[i], b = head[i + n / 2];
        head[i] = a * c - b * s;
        head[i + n / 2] = b * c + a * s;
    }
}

/* One head's vector of position p in the pages of row r's sequence; which: 0 for K, 1 for V. */
static void *kv_at(const device *d, int32_t r, int32_t p, int32_t layer, int which, int32_t head)
{
    const struct step *s = d->step;
    int32_t page = s->page_table[(int64_t)s->seq[r] * s->pages_max + p / KV_PAGE_TOKENS];
    size_t vector = (size_t)d->s.head_dim * kv_element_bytes(s->kv->type);
    return pages_head(s->kv, page, layer, which, head) + (size_t)(p % KV_PAGE_TOKENS) * vector;
}

void reference_attn_in(device *d, int32_t layer, const struct layer_weights *w)
{
    int32_t n = d->s.head_dim, heads = d->s.n_heads, kv_heads = d->s.kv_n_heads;
    int32_t n_qkv = (heads + 2 * kv_heads) * n;
    double *qkv = d->buffer, clip = d->s.clip_qkv;
    float stored[128];
    for (int32_t r = 0; d->step && r < d->step->n_rows; r++) {
        if (!is_row(d, r)) continue;
        layer_norm(d, d->y, residual(d, r), w->norm_1);
        product(qkv, w->qkv, 0, n_qkv, d->y);
        for (int32_t i = 0; clip > 0 && i < n_qkv; i++) qkv[i] = fmin(fmax(qkv[i], -clip), clip);
        int32_t p = d->step->position[r];
        for (int32_t h = 0; h < heads + kv_heads; h++) rotate(qkv + h * n, n, p, d->s.rope_theta);
        memcpy(d->q + (int64_t)r * heads * n, qkv, (size_t)(heads * n) * sizeof *qkv);
        for (int32_t h = 0; h < 2 * kv_heads; h++) {
            for (int32_t i = 0; i < n; i++) stored[i] = (float)qkv[(heads + h) * n + i];
            void *to = kv_at(d, r, p, layer, h / kv_heads, h % kv_heads);
            kv_encode(to, d->step->kv->type, stored, n);
        }
    }
}

/* a = softmax(q K / sqrt(n)) V over positions 0..p of one row and head. */
static void attend(device *d, int32_t r, int32_t h, int32_t layer)
{
    int32_t n = d->s.head_dim, kv_head = h / (d->s.n_heads / d->s.kv_n_heads);
    const double *q = d->q + ((int64_t)r * d->s.n_heads + h) * n;
    double *a = d->a + ((int64_t)r * d->s.n_heads + h) * n;
    double *score = d->buffer, largest = -INFINITY, sum = 0;
    float v[128];
    for (int32_t p = 0; p <= d->step->position[r]; p++) {
        kv_decode(v, d->step->kv->type, kv_at(d, r, p, layer, 0, kv_head), n);
        score[p] = 0;
        for (int32_t i = 0; i < n; i++) score[p] += q[i] * (double)v[i] / sqrt(n);
        largest = fmax(largest, score[p]);
    }
    for (int32_t i = 0; i < n; i++) a[i] = 0;
    for (int32_t p = 0; p <= d->step->position[r]; p++) sum += exp(score[p] - largest);
    for (int32_t p = 0; p <= d->step->position[r]; p++) {
        kv_decode(v, d->step->kv->type, kv_at(d, r, p, layer, 1, kv_head), n);
        for (int32_t i = 0; i < n; i++) a[i] += exp(score[p] - largest) / sum * (double)v[i];
    }
}

void reference_attention(device *d, int32_t layer)
{
    for (int32_t r = 0; d->step && r < d->step->n_rows; r++)
        for (int32_t h = 0; is_row(d, r) && h < d->s.n_heads; h++) attend(d, r, h, layer);
}

/* The k largest logits, largest first, ties to the lower expert (or the forced ones), and a softmax
 * over just these: what renormalising the softmax over all to sum 1 gives. */
static void choose(device *d, int32_t r, const double *logit, const int32_t *forced)
{
    int32_t k = d->s.moe_top_k, *route = d->route + (int64_t)r * k;
    double *gate = d->gate + (int64_t)r * k, sum = 0, largest = -INFINITY;
    bool taken[EXPERTS_MAX] = {false};
    for (int32_t j = 0; j < k; j++) {
        route[j] = -1;
        for (int32_t e = 0; e < d->s.moe_num_experts; e++)
            if (!taken[e] && (route[j] < 0 || logit[e] > logit[route[j]])) route[j] = e;
        if (forced) route[j] = forced[j];
        taken[route[j]] = true;
        largest = fmax(largest, logit[route[j]]);
    }
    for (int32_t j = 0; j < k; j++) sum += gate[j] = exp(logit[route[j]] - largest);
    for (int32_t j = 0; j < k; j++) gate[j] /= sum;
}

void reference_attn_out(device *d, int32_t layer, const struct layer_weights *w)
{
    int32_t n = d->s.d_model, k = d->s.moe_top_k;
    double logit[EXPERTS_MAX];
    for (int32_t r = 0; d->step && r < d->step->n_rows; r++) {
        int64_t at = ((int64_t)layer * d->step->n_rows + r) * k;
        double *y = d->y + (int64_t)r * n;
        for (int32_t j = 0; j < k; j++) d->routes[at + j] = -1;
        if (!is_row(d, r)) continue;
        double *a = d->a + (int64_t)r * d->s.n_heads * d->s.head_dim;
        narrow(d, a, d->s.n_heads * d->s.head_dim, attention_activations(d->s.activations));
        product(y, w->out_proj, 0, n, a);
        for (int32_t i = 0; i < n; i++) residual(d, r)[i] += y[i];
        layer_norm(d, y, residual(d, r), w->norm_2);
        product(logit, w->router, 0, d->s.moe_num_experts, y);
        choose(d, r, logit, d->step->routes_forced ? d->step->routes_forced + at : NULL);
        memcpy(d->routes + at, d->route + (int64_t)r * k, (size_t)k * sizeof *d->routes);
    }
}

/* x += gate * w2^T (silu(w1 y) * (v1 y)) for one row and one expert. */
static void expert_add(device *d, double *x, const double *y, int32_t e, double gate,
                       const struct layer_weights *w)
{
    int32_t n = d->s.d_model, ffn = d->s.ffn_hidden_size;
    double *h = d->buffer, *up = h + ffn;
    product(h, w->w1, (int64_t)e * ffn, ffn, y);
    product(up, w->v1, (int64_t)e * ffn, ffn, y);
    for (int32_t f = 0; f < ffn; f++) h[f] *= up[f] / (1 + exp(-h[f]));
    narrow(d, h, ffn, d->s.activations);
    for (int32_t i = 0; i < n; i++) {
        double sum = 0;
        for (int32_t f = 0; f < ffn; f++) {
            int64_t at = w->w2->spec.transposed ? ((int64_t)e * ffn + f) * n + i
                                                : ((int64_t)e * n + i) * ffn + f;
            sum += h[f] * (double)w->w2->values[at];
        }
        x[i] += gate * sum;
    }
}

void reference_experts(device *d, int32_t layer, const struct layer_weights *w)
{
    (void)layer;
    int32_t k = d->s.moe_top_k;
    for (int32_t r = 0; d->step && r < d->step->n_rows; r++)
        for (int32_t j = 0; is_row(d, r) && j < k; j++)
            expert_add(d, residual(d, r), d->y + (int64_t)r * d->s.d_model,
                       d->route[(int64_t)r * k + j], d->gate[(int64_t)r * k + j], w);
}

void reference_head(device *d, const weight *norm_f, const weight *lm_head)
{
    int64_t n = d->s.vocab_size;
    for (int32_t i = 0; d->step && i < d->step->n_outs; i++) {
        layer_norm(d, d->y, residual(d, d->step->out_row[i]), norm_f);
        for (int64_t id = 0; id < n; id++) {
            double logit;
            product(&logit, lm_head, id, 1, d->y);
            d->logits[i * n + id] = (float)logit;
        }
    }
}

void reference_sample(device *d)
{
    int64_t n = d->s.vocab_size;
    if (!d->step || !d->step->sample) return;
    for (int32_t i = 0; i < d->step->n_outs; i++) {
        const struct sample_row *row = &d->step->sample[i];
        const uint32_t *mask = row->mask < 0 ? NULL : d->step->mask + row->mask * ((n + 31) / 32);
        sample_logits(&d->out[i], d->logits + i * n, d->s.vocab_size, row, mask, &d->scratch);
    }
    d->n_slots = d->step->n_outs;
}
