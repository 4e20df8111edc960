/* The reference's memory, weights and table: everything but the formulas. Weights are decoded to
 * fp32 as they come, so the formulas see one type only. */
#include "base/memory.h"
#include "kernels/format.h"
#include "kernels/host.h"
#include "kernels/pages.h"
#include "kernels/reference/reference.h"

static void reference_close(device *d)
{
    if (d) arena_reset(&d->memory);
    memory_free(d);
}

static status reference_open(device **out, const struct device_options *o, error *err)
{
    *out = NULL;
    status rc = device_options_check(o, err);
    if (rc != OK) return rc;
    device *d = memory_take(1, sizeof *d);
    if (!d) return fail(err, ERR_MEMORY, "reference: out of memory");
    const struct model_shape *s = &o->shape;
    d->o = *o;
    d->s = *s;
    arena *m = &d->memory;
    size_t rows = (size_t)o->rows_max, model = (size_t)s->d_model, k = (size_t)s->moe_top_k;
    size_t heads = (size_t)s->n_heads * (size_t)s->head_dim, outs = (size_t)o->outs_max;
    size_t slices = o->slices_max > 0 ? (size_t)o->slices_max : 1, vocab = (size_t)s->vocab_size;
    d->x = arena_take(m, slices * rows * model, sizeof *d->x);
    d->y = arena_take(m, rows * model, sizeof *d->y);
    d->q = arena_take(m, rows * heads, sizeof *d->q);
    d->a = arena_take(m, rows * heads, sizeof *d->a);
    d->gate = arena_take(m, rows * k, sizeof *d->gate);
    d->route = arena_take(m, rows * k, sizeof *d->route);
    d->buffer = arena_take(m, heads * 3 + (size_t)s->max_seq_len + 2 * (size_t)s->ffn_hidden_size,
                           sizeof *d->buffer);
    d->narrow = arena_take(m, model + heads + (size_t)s->ffn_hidden_size, sizeof *d->narrow);
    d->routes = arena_take(m, (size_t)s->n_layers * rows * k, sizeof *d->routes);
    d->logits = arena_take(m, outs * vocab, sizeof *d->logits);
    d->out = arena_take(m, outs, sizeof *d->out);
    d->scratch.weight = arena_take(m, vocab, sizeof *d->scratch.weight);
    d->scratch.id = arena_take(m, vocab, sizeof *d->scratch.id);
    if (!m->failed) *out = d;
    if (*out) return OK;
    reference_close(d);
    return fail(err, ERR_MEMORY, "reference: out of memory for %d rows", o->rows_max);
}

static status reference_plan(device *d, enum kv_type kv, struct memory_plan *out, error *err)
{
    (void)err;
    *out = (struct memory_plan){.kv_bytes_per_page = pages_bytes(&d->s, kv)};
    return OK;
}

static void reference_weight_free(weight *w)
{
    if (w) memory_free(w->values);
    memory_free(w);
}

static status reference_weight_begin(weight **out, device *d, const struct weight_spec *spec,
                                     error *err)
{
    (void)d;
    *out = NULL;
    status rc = weight_spec_check(spec, err);
    if (rc != OK) return rc;
    weight *w = memory_take(1, sizeof *w);
    size_t n = 0;
    if (w && size_mul((size_t)spec->n_rows, (size_t)spec->n_columns, &n))
        w->values = memory_take(n, sizeof *w->values);
    if (!w || !w->values) {
        reference_weight_free(w);
        return fail(err, ERR_MEMORY, "%s: out of memory", spec->name);
    }
    w->spec = *spec;
    *out = w;
    return OK;
}

static status reference_weight_put(weight *w, int64_t row, int64_t n_rows, const void *bytes,
                                   const void *scales, error *err)
{
    const struct weight_spec *s = &w->spec;
    size_t row_bytes = format_row_bytes(s->format, s->n_columns);
    size_t scale_bytes = format_row_scale_bytes(s->format, s->n_columns);
    if (row < 0 || n_rows < 0 || row > s->n_rows - n_rows)
        return fail(err, ERR_USAGE, "rows %lld + %lld of %lld", (long long)row, (long long)n_rows,
                    (long long)s->n_rows);
    for (int64_t i = 0; i < n_rows; i++)
        format_decode(w->values + (row + i) * s->n_columns, s->format,
                      (const char *)bytes + (size_t)i * row_bytes,
                      scale_bytes ? (const char *)scales + (size_t)i * scale_bytes : NULL,
                      s->n_columns);
    return OK;
}

static status reference_weight_seal(weight *w, error *err)
{
    (void)w, (void)err;
    return OK;
}

static status reference_kv_open(kv_pool **out, device *d, enum kv_type type, int32_t n, error *err)
{
    return pages_open(out, &d->s, type, n, err);
}

static bool reference_step_begin(device *d, const struct step *s, int32_t from, int32_t to)
{
    (void)from, (void)to;
    d->step =
        d->failure.code == OK && step_check(s, &d->o, d->n_slots, &d->failure) == OK ? s : NULL;
    return d->step != NULL;
}

static void reference_step_end(device *d) { (void)d; }

static status reference_collect(device *d, struct step_result *out, error *err)
{
    *out = (struct step_result){0};
    if (d->failure.code != OK) return fail(err, d->failure.code, "%s", d->failure.message);
    *out = (struct step_result){.sampled = d->out,
                                .logits = d->step && d->step->want_logits ? d->logits : NULL,
                                .routes = d->step && d->step->want_routes ? d->routes : NULL};
    return OK;
}

static double reference_step_cost(const device *d, const struct step_shape *shape)
{
    double per_row = 4.0 * d->s.d_model * d->s.d_model +
                     3.0 * d->s.moe_top_k * d->s.ffn_hidden_size * d->s.d_model;
    return 1e-3 * (per_row * d->s.n_layers * shape->n_rows +
                   (double)d->s.vocab_size * d->s.d_model * shape->n_outs);
}

static const char *reference_describe(const device *d)
{
    (void)d;
    return "reference";
}

const struct kernels kernels_reference = {
    .name = "reference",
    .open = reference_open,
    .close = reference_close,
    .plan = reference_plan,
    .weight_begin = reference_weight_begin,
    .weight_put = reference_weight_put,
    .weight_seal = reference_weight_seal,
    .weight_free = reference_weight_free,
    .kv_open = reference_kv_open,
    .kv_close = pages_close,
    .pages_copy = pages_copy,
    .pages_save = pages_save,
    .pages_load = pages_load,
    .step_begin = reference_step_begin,
    .embed = reference_embed,
    .attn_in = reference_attn_in,
    .attention = reference_attention,
    .attn_out = reference_attn_out,
    .experts = reference_experts,
    .head = reference_head,
    .sample = reference_sample,
    .step_end = reference_step_end,
    .collect = reference_collect,
    .step_cost = reference_step_cost,
    .describe = reference_describe,
};
