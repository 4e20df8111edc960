/* Three lanes go through each layer together: the source, the candidate by its own routes, and the
 * candidate by the source's. A lane has its KV and, for each slice of the window, a residual that
 * waits in the device while the other slices and lanes pass the same layer (kernels.h, step.slice). */
#include "inference/comparison.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "inference/batch.h"
#include "inference/forward.h"
#include "inference/kv_pages.h"
#include "inference/quantize_load.h"

enum { SLICE_ROWS = 256 };
enum lane_name { LANE_SOURCE, LANE_FREE, LANE_FORCED, N_LANES };

struct side {
    const struct comparison_side *options;
    const char *name; /* for messages */
    model *m;
    device *d;
};

struct lane {
    struct side *side;
    kv_pool *kv;
    int32_t slice_first; /* of the device's residuals */
    int32_t *routes; /* [window][top_k] of the layer all lanes are at; NULL for the forced one */
};

struct run {
    const struct comparison_options *options;
    const int32_t *tokens;
    size_t n_tokens;
    const struct kernels *kernels;
    const struct model_shape *shape; /* the source's */
    int32_t window;
    struct side sides[2];
    struct lane lanes[N_LANES];
    batch b;
    int32_t *pages;              /* 0, 1, 2, ... */
    int32_t *forced;             /* [layers][slice rows][top_k], filled for one layer at a time */
    double *divergence[N_LANES]; /* [n_tokens], none for the source */
    uint8_t *same_best[N_LANES]; /* [n_tokens] */
    size_t *same_experts;        /* [layers] choices of the free lane */
    size_t same_order, n_followed;
    double loss[2];
    double done; /* rows x layers */
};

static status field_compare(const char *name, int32_t source, int32_t candidate, error *err)
{
    if (source == candidate) return OK;
    return fail(err, ERR_USAGE, "%s: the candidate has %d, the source %d", name, candidate, source);
}

static status shapes_compare(const struct model_shape *a, const struct model_shape *b, error *err)
{
    status s = field_compare("vocab_size", a->vocab_size, b->vocab_size, err);
    if (s == OK) s = field_compare("n_layers", a->n_layers, b->n_layers, err);
    if (s == OK) s = field_compare("d_model", a->d_model, b->d_model, err);
    if (s == OK) s = field_compare("moe_num_experts", a->moe_num_experts, b->moe_num_experts, err);
    if (s == OK) s = field_compare("moe_top_k", a->moe_top_k, b->moe_top_k, err);
    return s;
}

static status tokens_check(const struct run *r, error *err)
{
    if (r->n_tokens < 1) return fail(err, ERR_USAGE, "no tokens to compare on");
    for (size_t i = 0; i < r->n_tokens; i++)
        if (r->tokens[i] < 0 || r->tokens[i] >= r->shape->vocab_size)
            return fail(err, ERR_USAGE, "token %zu is %d, expected 0 to %d", i, r->tokens[i],
                        r->shape->vocab_size - 1);
    return OK;
}

static status window_choose(struct run *r, error *err)
{
    int32_t most = r->shape->max_seq_len, window = r->options->window_tokens;
    const struct model_shape *candidate = &r->sides[1].m->config.shape;
    if (candidate->max_seq_len < most) most = candidate->max_seq_len;
    if (window < 0 || window > most)
        return fail(err, ERR_USAGE, "window of %d tokens, expected 1 to max_seq_len %d", window,
                    most);
    if (window == 0) window = most < COMPARISON_WINDOW_TOKENS ? most : COMPARISON_WINDOW_TOKENS;
    if ((size_t)window > r->n_tokens) window = (int32_t)r->n_tokens;
    r->window = window;
    return OK;
}

static int32_t n_slices(const struct run *r) { return (r->window + SLICE_ROWS - 1) / SLICE_ROWS; }

static status side_load(struct run *r, struct side *side, int32_t slices, error *err)
{
    struct device_options o = {.shape = side->m->config.shape,
                               .n_threads = r->options->n_threads,
                               .rows_max = SLICE_ROWS,
                               .seqs_max = 1,
                               .outs_max = SLICE_ROWS,
                               .slices_max = slices};
    status s = OK;
    if (side->options->activations)
        s = activation_parse(&o.shape.activations, side->options->activations, err);
    if (s == OK) s = r->kernels->open(&side->d, &o, err);
    if (s == OK)
        s = quantize_load(side->m, side->options->weights, o.n_threads, r->kernels, side->d, NULL,
                          NULL, err);
    return s == OK ? OK : fail_in(err, s, "%s", side->name);
}

static status lane_open(struct run *r, enum lane_name name, error *err)
{
    struct lane *lane = &r->lanes[name];
    size_t routes = (size_t)r->window * (size_t)r->shape->moe_top_k;
    lane->side = &r->sides[name != LANE_SOURCE];
    lane->slice_first = name == LANE_FORCED ? n_slices(r) : 0;
    status s = r->kernels->kv_open(&lane->kv, lane->side->d, lane->side->options->kv_type,
                                   kv_pages_for_tokens(r->window), err);
    if (s != OK) return s;
    if (name != LANE_FORCED) lane->routes = memory_take(routes, sizeof *lane->routes);
    if (name != LANE_SOURCE) {
        r->divergence[name] = memory_take(r->n_tokens, sizeof(double));
        r->same_best[name] = memory_take(r->n_tokens, 1);
        if (!r->divergence[name] || !r->same_best[name])
            return fail(err, ERR_MEMORY, "out of memory for %zu tokens", r->n_tokens);
    }
    if (name != LANE_FORCED && !lane->routes)
        return fail(err, ERR_MEMORY, "out of memory for the routes of %d tokens", r->window);
    return OK;
}

static status arrays_open(struct run *r, error *err)
{
    int32_t n_pages = kv_pages_for_tokens(r->window);
    size_t routes = (size_t)r->shape->n_layers * SLICE_ROWS * (size_t)r->shape->moe_top_k;
    status s = batch_open(
        &r->b,
        (struct batch_room){.rows = SLICE_ROWS, .seqs = 1, .outs = SLICE_ROWS, .pages = n_pages},
        err);
    if (s != OK) return s;
    r->pages = memory_take((size_t)n_pages, sizeof *r->pages);
    r->forced = memory_take(routes, sizeof *r->forced);
    r->same_experts = memory_take((size_t)r->shape->n_layers, sizeof *r->same_experts);
    if (!r->pages || !r->forced || !r->same_experts)
        return fail(err, ERR_MEMORY, "out of memory for a window of %d tokens", r->window);
    for (int32_t i = 0; i < n_pages; i++) r->pages[i] = i;
    return OK;
}

static status run_open(struct run *r, error *err)
{
    const struct comparison_options *o = r->options;
    r->sides[0] = (struct side){.options = &o->source, .name = "source"};
    r->sides[1] = (struct side){.options = &o->candidate, .name = "candidate"};
    status s = kernels_find(&r->kernels, o->backend ? o->backend : "auto", err);
    for (int i = 0; s == OK && i < 2; i++)
        s = model_open(&r->sides[i].m, r->sides[i].options->model_dir, err);
    if (s != OK) return s;
    r->shape = &r->sides[0].m->config.shape;
    s = shapes_compare(r->shape, &r->sides[1].m->config.shape, err);
    if (s == OK) s = tokens_check(r, err);
    if (s == OK) s = window_choose(r, err);
    if (s == OK) s = side_load(r, &r->sides[0], n_slices(r), err);
    if (s == OK) s = side_load(r, &r->sides[1], 2 * n_slices(r), err);
    for (int i = 0; s == OK && i < N_LANES; i++) s = lane_open(r, (enum lane_name)i, err);
    return s == OK ? arrays_open(r, err) : s;
}

static void run_close(struct run *r)
{
    for (int i = 0; i < N_LANES; i++) {
        if (r->lanes[i].kv) r->kernels->kv_close(r->lanes[i].kv);
        memory_free(r->lanes[i].routes);
        memory_free(r->divergence[i]);
        memory_free(r->same_best[i]);
    }
    for (int i = 0; i < 2; i++) {
        model_close(r->sides[i].m);
        if (r->sides[i].d) r->kernels->close(r->sides[i].d);
    }
    batch_close(&r->b);
    memory_free(r->pages);
    memory_free(r->forced);
    memory_free(r->same_experts);
}

/* One layer of one slice in one lane: rows [from, to) of the window that begins at `tokens`. */
static status slice_run(struct run *r, enum lane_name name, const int32_t *tokens, int32_t layer,
                        int32_t from, int32_t to, struct step_result *result, error *err)
{
    struct lane *lane = &r->lanes[name];
    const struct step *step = &r->b.step;
    size_t k = (size_t)r->shape->moe_top_k, n = (size_t)(to - from) * k;
    size_t at = (size_t)layer * n;
    batch_begin(&r->b, lane->kv, NULL, 0);
    batch_add(&r->b, tokens, from, to, r->pages);
    for (int32_t row = 0; layer == r->shape->n_layers - 1 && row < step->n_rows; row++)
        batch_add_out(&r->b, row, (struct sample_row){0});
    r->b.step.sample = NULL; /* logits alone are wanted */
    r->b.step.slice = lane->slice_first + from / SLICE_ROWS;
    r->b.step.want_logits = r->b.step.want_routes = true;
    if (name == LANE_FORCED) {
        memcpy(r->forced + at, r->lanes[LANE_SOURCE].routes + (size_t)from * k,
               n * sizeof *r->forced);
        r->b.step.routes_forced = r->forced;
    }
    forward_layers(lane->side->m, lane->side->d, step, layer, layer + 1);
    status s = r->kernels->collect(lane->side->d, result, err);
    if (s == OK && lane->routes)
        memcpy(lane->routes + (size_t)from * k, result->routes + at, n * sizeof *lane->routes);
    return s == OK ? OK : fail_in(err, s, "%s", lane->side->name);
}

static void routes_count(struct run *r, int32_t layer, int32_t n_rows)
{
    int32_t k = r->shape->moe_top_k;
    for (int32_t row = 0; row < n_rows; row++) {
        const int32_t *a = r->lanes[LANE_SOURCE].routes + row * k;
        const int32_t *b = r->lanes[LANE_FREE].routes + row * k;
        uint64_t chosen_a = 0, chosen_b = 0;
        for (int32_t j = 0; j < k; j++) {
            chosen_a |= UINT64_C(1) << a[j];
            chosen_b |= UINT64_C(1) << b[j];
        }
        r->same_experts[layer] += chosen_a == chosen_b;
        r->same_order += memcmp(a, b, (size_t)k * sizeof *a) == 0;
    }
}

static double loss_of(const struct distribution *d, int32_t next)
{
    return d->log_total - (double)d->logits[next];
}

/* Rows of one slice in a lane of the candidate, against the source's, whose logits are still there. */
static status rows_compare(struct run *r, enum lane_name name, const float *source,
                           const float *candidate, size_t first, int32_t n, error *err)
{
    size_t vocab = (size_t)r->shape->vocab_size;
    for (int32_t i = 0; i < n; i++) {
        size_t token = first + (size_t)i;
        struct distribution p = distribution_of(source + (size_t)i * vocab, r->shape->vocab_size);
        struct distribution q =
            distribution_of(candidate + (size_t)i * vocab, r->shape->vocab_size);
        double value = divergence_between(&p, &q);
        if (!isfinite(value))
            return fail(err, ERR_FORMAT, "%s: a logit behind token %zu is not a finite number",
                        isfinite(p.log_total) ? "candidate" : "source", token);
        r->divergence[name][token] = value;
        r->same_best[name][token] = p.best == q.best;
        if (name != LANE_FREE || token + 1 == r->n_tokens) continue;
        r->loss[0] += loss_of(&p, r->tokens[token + 1]);
        r->loss[1] += loss_of(&q, r->tokens[token + 1]);
        r->n_followed++;
    }
    return OK;
}

/* The last layer needs the logits of two lanes at once: it goes slice by slice. */
static status last_layer_run(struct run *r, size_t begin, int32_t n_rows, error *err)
{
    int32_t layer = r->shape->n_layers - 1;
    const int32_t *tokens = r->tokens + begin;
    for (int32_t from = 0; from < n_rows; from += SLICE_ROWS) {
        struct step_result source, candidate;
        int32_t to = n_rows - from < SLICE_ROWS ? n_rows : from + SLICE_ROWS;
        status s = slice_run(r, LANE_SOURCE, tokens, layer, from, to, &source, err);
        for (int i = LANE_FREE; s == OK && i <= LANE_FORCED; i++) {
            s = slice_run(r, (enum lane_name)i, tokens, layer, from, to, &candidate, err);
            if (s == OK)
                s = rows_compare(r, (enum lane_name)i, source.logits, candidate.logits,
                                 begin + (size_t)from, to - from, err);
        }
        if (s != OK) return s;
    }
    return OK;
}

static status layer_run(struct run *r, size_t begin, int32_t n_rows, int32_t layer, error *err)
{
    for (int i = 0; i < N_LANES; i++)
        for (int32_t from = 0; from < n_rows; from += SLICE_ROWS) {
            struct step_result result;
            int32_t to = n_rows - from < SLICE_ROWS ? n_rows : from + SLICE_ROWS;
            status s =
                slice_run(r, (enum lane_name)i, r->tokens + begin, layer, from, to, &result, err);
            if (s != OK) return s;
        }
    return OK;
}

static status files_check(const struct run *r, error *err)
{
    status s = safetensors_check_files(r->sides[0].m->files, err);
    return s == OK ? safetensors_check_files(r->sides[1].m->files, err) : s;
}

static status window_run(struct run *r, size_t begin, int32_t n_rows, error *err)
{
    int32_t n_layers = r->shape->n_layers;
    for (int32_t layer = 0; layer < n_layers; layer++) {
        status s = files_check(r, err);
        if (s == OK)
            s = layer < n_layers - 1 ? layer_run(r, begin, n_rows, layer, err)
                                     : last_layer_run(r, begin, n_rows, err);
        if (s != OK) return s;
        routes_count(r, layer, n_rows);
        r->done += n_rows;
        struct comparison_progress p = {r->n_tokens, r->done / ((double)r->n_tokens * n_layers),
                                        layer + 1, n_layers};
        if (r->options->progress) r->options->progress(r->options->context, &p);
    }
    return OK;
}

/* The rows of a span, gathered over all windows. */
static status span_sum(struct comparison_span *span, const struct run *r, enum lane_name lane,
                       struct divergence *out, error *err)
{
    size_t n = 0;
    double *values = memory_take(r->n_tokens, sizeof *values);
    uint8_t *same = memory_take(r->n_tokens, 1);
    status s = OK;
    for (size_t i = 0; values && same && i < r->n_tokens; i++) {
        int32_t context = (int32_t)(i % (size_t)r->window) + 1;
        if (context < span->from || context > span->to) continue;
        values[n] = r->divergence[lane][i];
        same[n++] = r->same_best[lane][i];
    }
    span->n_tokens = n;
    s = values && same ? divergence_sum(out, values, same, n, err)
                       : fail(err, ERR_MEMORY, "out of memory for the report");
    memory_free(values);
    memory_free(same);
    return s;
}

static status spans_sum(struct comparison *out, const struct run *r, error *err)
{
    status s = OK;
    for (int32_t from = 1, to = 256; s == OK && from <= r->window; from = to + 1, to *= 4) {
        struct comparison_span *span = &out->spans[out->n_spans++];
        *span = (struct comparison_span){.from = from, .to = to < r->window ? to : r->window};
        s = span_sum(span, r, LANE_FREE, &span->free, err);
        if (s == OK) s = span_sum(span, r, LANE_FORCED, &span->forced, err);
    }
    return s;
}

static status report_fill(struct comparison *out, const struct run *r, error *err)
{
    size_t same = 0, window = (size_t)r->window, least = SIZE_MAX;
    int32_t n_layers = r->shape->n_layers;
    *out = (struct comparison){.n_tokens = r->n_tokens,
                               .n_windows = (r->n_tokens + window - 1) / window};
    for (int32_t i = 0; i < n_layers; i++) {
        same += r->same_experts[i];
        if (r->same_experts[i] >= least) continue;
        least = r->same_experts[i];
        out->worst_layer = i;
    }
    double choices = (double)r->n_tokens * n_layers, followed = (double)r->n_followed;
    out->same_experts = (double)same / choices;
    out->same_order = (double)r->same_order / choices;
    out->worst_layer_same_experts = (double)least / (double)r->n_tokens;
    out->source_loss = r->n_followed ? r->loss[0] / followed : NAN;
    out->candidate_loss = r->n_followed ? r->loss[1] / followed : NAN;
    status s = divergence_sum(&out->free, r->divergence[LANE_FREE], r->same_best[LANE_FREE],
                              r->n_tokens, err);
    if (s == OK)
        s = divergence_sum(&out->forced, r->divergence[LANE_FORCED], r->same_best[LANE_FORCED],
                           r->n_tokens, err);
    return s == OK ? spans_sum(out, r, err) : s;
}

status comparison_make(struct comparison *out, const struct comparison_options *options,
                       const int32_t *tokens, size_t n_tokens, error *err)
{
    struct run r = {.options = options, .tokens = tokens, .n_tokens = n_tokens};
    status s = run_open(&r, err);
    for (size_t at = 0; s == OK && at < n_tokens; at += (size_t)r.window) {
        size_t left = n_tokens - at;
        s = window_run(&r, at, left < (size_t)r.window ? (int32_t)left : r.window, err);
    }
    if (s == OK) s = report_fill(out, &r, err);
    run_close(&r);
    return s;
}
