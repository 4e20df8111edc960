/* One batch, pages numbered through, and tokens that nobody reads. The read loop is timed before and
 * after the steps of each cell of decoding, and its better pass counts: so a machine whose speed
 * drifts makes the share smaller rather than larger. */
#include "inference/bench/step_bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "inference/batch.h"
#include "inference/bench/read_loop.h"
#include "inference/forward.h"
#include "inference/kv_pages.h"
#include "inference/tensor_table.h"

enum {
    WARMUPS_DEFAULT = 3,
    REPEATS_DEFAULT = 20,
    REPEATS_MIN = 3,
    CELL_US_DEFAULT = 10000000,
    SLICE_ROWS = 512, /* the engine's default of rows in a step */
    SEQS_MAX = 16,
    POOL_PAGES = 1024, /* one prompt of 16k tokens, or sixteen sequences of 1k */
    SEED = 1
};
#define LOOP_BYTES_MAX (512 * MIB) /* far larger than any cache: beyond it nothing changes */

/* Stored bytes by what a step reads of them. */
struct weight_sizes {
    double always;    /* every step, whatever its rows: attention, norms, routers, head */
    double row;       /* of the embedding, per row */
    double expert;    /* of one expert in one layer */
    double row_flop;  /* of products, per row, without the head's */
    double head_flop; /* per output */
};

struct step_bench {
    struct step_bench_options o;
    const struct kernels *kernels;
    model *m;
    device *d;
    kv_pool *kv;
    batch b;
    read_loop *loop;    /* NULL where the host does not compute */
    int32_t pages_max;  /* of one sequence */
    int32_t pages_each; /* of each sequence in this cell */
    int32_t *pages;     /* [POOL_PAGES] 0, 1, 2, ... */
    int32_t *tokens;    /* [SEQS_MAX][max_seq_len] */
    struct weight_sizes sizes;
    double kv_token_bytes, read_bytes_per_s;
};

/* Sums of the steps of one cell. */
struct cell_sums {
    struct samples us;
    double experts, kv_tokens; /* over all timed steps */
};

static bool stopped(const step_bench *b) { return b->o.stop && atomic_load(b->o.stop); }

/* F16 is widened to F32 when it is loaded, so that is what a step reads. */
static double tensor_read_bytes(const model *m, const struct model_tensor *t)
{
    const struct tensor *stored = safetensors_find(m->files, t->name);
    double bytes = (double)stored->size_bytes * (stored->dtype == DTYPE_F16 ? 2 : 1);
    if (model_tensor_quantized(t)) bytes += (double)model_tensor_scales(t).size_bytes;
    return bytes;
}

static void sizes_count(struct weight_sizes *out, const model *m)
{
    const struct model_shape *s = &m->config.shape;
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor t = model_tensor_at(s, m->config.weights, i);
        double bytes = tensor_read_bytes(m, &t),
               flop = 2.0 * (double)t.n_rows * (double)t.n_columns;
        if (i == 0) {
            out->row = bytes / (double)t.n_rows;
        } else if (t.n_experts > 1) {
            out->expert += bytes / t.n_experts / s->n_layers;
            out->row_flop += flop * s->moe_top_k / t.n_experts;
        } else {
            out->always += bytes;
            *(i < OUTER_TENSORS ? &out->head_flop : &out->row_flop) += t.vector ? 0 : flop;
        }
    }
}

static status arrays_open(step_bench *b, error *err)
{
    int32_t length = b->m->config.shape.max_seq_len;
    status s = batch_open(
        &b->b,
        (struct batch_room){
            .rows = SLICE_ROWS, .seqs = SEQS_MAX, .outs = SEQS_MAX, .pages = b->pages_max},
        err);
    if (s != OK) return s;
    b->pages = memory_take(POOL_PAGES, sizeof *b->pages);
    b->tokens = memory_take((size_t)SEQS_MAX * (size_t)length, sizeof *b->tokens);
    if (!b->pages || !b->tokens) return fail(err, ERR_MEMORY, "out of memory for a step");
    for (int32_t i = 0; i < POOL_PAGES; i++) b->pages[i] = i;
    for (size_t i = 0; i < (size_t)SEQS_MAX * (size_t)length; i++)
        b->tokens[i] = (int32_t)(random_at(SEED, i) % (uint64_t)b->m->config.shape.vocab_size);
    return OK;
}

static status device_open(step_bench *b, error *err)
{
    const struct model_shape *shape = &b->m->config.shape;
    struct device_options options = {.shape = *shape,
                                     .n_threads = b->o.n_threads,
                                     .rows_max = SLICE_ROWS,
                                     .seqs_max = SEQS_MAX,
                                     .outs_max = SEQS_MAX};
    struct memory_plan plan;
    status s = kernels_find(&b->kernels, b->o.backend ? b->o.backend : "auto", err);
    if (s == OK) s = b->kernels->open(&b->d, &options, err);
    if (s == OK) s = b->kernels->plan(b->d, b->o.kv_type, &plan, err);
    if (s == OK) s = model_load(b->m, b->kernels, b->d, b->o.progress, b->o.progress_context, err);
    if (s != OK) return s;
    b->kv_token_bytes = (double)plan.kv_bytes_per_page / KV_PAGE_TOKENS;
    b->pages_max = kv_pages_for_tokens(shape->max_seq_len);
    if (b->pages_max > POOL_PAGES) b->pages_max = POOL_PAGES;
    return b->kernels->kv_open(&b->kv, b->d, b->o.kv_type, POOL_PAGES, err);
}

/* A device that is not the host reads another memory. */
static status loop_open(step_bench *b, error *err)
{
    b->read_bytes_per_s = (double)NAN;
    if (strcmp(b->kernels->name, "cpu") != 0 && strcmp(b->kernels->name, "reference") != 0)
        return OK;
    status s = read_loop_open(&b->loop, LOOP_BYTES_MAX, b->o.n_threads, err);
    if (s == OK) b->read_bytes_per_s = read_loop_measure(b->loop, LOOP_BYTES_MAX);
    return s;
}

status step_bench_open(step_bench **out, const struct step_bench_options *options, error *err)
{
    step_bench *b = memory_take(1, sizeof *b);
    *out = NULL;
    if (!b) return fail(err, ERR_MEMORY, "out of memory for the bench");
    b->o = *options;
    if (b->o.n_warmups == 0) b->o.n_warmups = WARMUPS_DEFAULT;
    if (b->o.n_repeats == 0) b->o.n_repeats = REPEATS_DEFAULT;
    if (b->o.cell_us_max == 0) b->o.cell_us_max = CELL_US_DEFAULT;
    status s = model_open(&b->m, options->model_dir, err);
    if (s == OK) sizes_count(&b->sizes, b->m);
    if (s == OK) s = device_open(b, err);
    if (s == OK) s = arrays_open(b, err);
    if (s == OK) s = loop_open(b, err);
    if (s != OK) {
        step_bench_close(b);
        return s;
    }
    *out = b;
    return OK;
}

void step_bench_close(step_bench *b)
{
    if (!b) return;
    read_loop_close(b->loop);
    memory_free(b->pages);
    memory_free(b->tokens);
    batch_close(&b->b);
    if (b->kv) b->kernels->kv_close(b->kv);
    model_close(b->m);
    if (b->d) b->kernels->close(b->d);
    memory_free(b);
}

void step_bench_model(const step_bench *b, struct step_bench_model *out)
{
    *out = (struct step_bench_model){.shape = b->m->config.shape,
                                     .demo = b->m->config.demo,
                                     .weights = b->m->config.weights,
                                     .n_parameters = model_parameters(b->m),
                                     .stored_bytes = model_stored_bytes(b->m),
                                     .read_bytes_per_s = b->read_bytes_per_s};
    snprintf(out->backend, sizeof out->backend, "%s", b->kernels->describe(b->d));
}

static int32_t *tokens_of(step_bench *b, int32_t seq)
{
    return b->tokens + (size_t)seq * (size_t)b->m->config.shape.max_seq_len;
}

static const struct sample_row greedy = {.top_p = 1, .repetition_penalty = 1, .mask = -1};

/* Rows [from, to) of sequences 0 to n_seqs - 1, each with an output if `sampled`. */
static status step_run(step_bench *b, int32_t n_seqs, int32_t from, int32_t to, bool sampled,
                       struct step_result *result, error *err)
{
    batch_begin(&b->b, b->kv, NULL, 0);
    for (int32_t i = 0; i < n_seqs; i++) {
        batch_add(&b->b, tokens_of(b, i), from, to, b->pages + (size_t)i * (size_t)b->pages_each);
        if (sampled) batch_add_out(&b->b, b->b.step.n_rows - 1, greedy);
    }
    b->b.step.want_routes = true;
    forward(b->m, b->d, &b->b.step);
    return b->kernels->collect(b->d, result, err);
}

/* The context of each sequence, slice by slice. */
static status context_fill(step_bench *b, int32_t n_seqs, int32_t n_tokens, error *err)
{
    struct step_result result;
    int32_t slice = SLICE_ROWS / n_seqs;
    status s = OK;
    for (int32_t from = 0; s == OK && from < n_tokens; from += slice) {
        int32_t to = n_tokens - from < slice ? n_tokens : from + slice;
        if (stopped(b)) return fail(err, ERR_CANCELLED, "stopped");
        s = step_run(b, n_seqs, from, to, to == n_tokens, &result, err);
    }
    return s;
}

/* Distinct experts of a step, summed over its layers. */
static int32_t experts_count(const step_bench *b, const struct step_result *result)
{
    const struct model_shape *shape = &b->m->config.shape;
    int32_t each = b->b.step.n_rows * shape->moe_top_k, n = 0;
    for (int32_t layer = 0; layer < shape->n_layers; layer++) {
        uint64_t seen = 0; /* EXPERTS_MAX is 64 */
        for (int32_t i = 0; i < each; i++) seen |= UINT64_C(1) << result->routes[layer * each + i];
        n += __builtin_popcountll(seen);
    }
    return n;
}

static bool cell_ends(const step_bench *b, const struct cell_sums *sums, int64_t begun_us)
{
    if (sums->us.n >= (size_t)b->o.n_repeats) return true;
    return sums->us.n >= REPEATS_MIN && clock_us() - begun_us > b->o.cell_us_max;
}

static void cell_times(struct step_cell *out, struct cell_sums *sums, double tokens)
{
    out->n_repeats = sums->us.n;
    out->median_us = samples_median(&sums->us);
    out->low_us = samples_percentile(&sums->us, 0);
    out->high_us = samples_percentile(&sums->us, 100);
    out->tokens_per_s = rate_per_s(tokens, out->median_us);
}

/* Products of n rows with on average `context` keys before each. */
static double flop_of(const step_bench *b, double n_rows, double context, double n_outs)
{
    const struct model_shape *s = &b->m->config.shape;
    double attention = 4.0 * s->n_layers * s->n_heads * s->head_dim * context;
    return n_rows * (b->sizes.row_flop + attention) + n_outs * b->sizes.head_flop;
}

static struct step_cell cell_empty(int32_t n_rows, int32_t n_seqs, int32_t context)
{
    const double none = (double)NAN;
    return (struct step_cell){.n_rows = n_rows,
                              .n_seqs = n_seqs,
                              .context = context,
                              .median_us = none,
                              .low_us = none,
                              .high_us = none,
                              .tokens_per_s = none,
                              .flop = none,
                              .experts_per_layer = none,
                              .weight_bytes = none,
                              .kv_bytes = none,
                              .bytes_per_s = none,
                              .loop_bytes_per_s = none,
                              .share = none};
}

status step_bench_prefill(step_bench *b, int32_t n_tokens, struct step_cell *out, error *err)
{
    struct cell_sums sums = {0};
    status s = OK;
    *out = cell_empty(n_tokens, 1, 0);
    out->fits =
        n_tokens < b->m->config.shape.max_seq_len && kv_pages_for_tokens(n_tokens) <= b->pages_max;
    if (!out->fits) return OK;
    b->pages_each = b->pages_max;
    for (int32_t i = 0; s == OK && i < b->o.n_warmups; i++) s = context_fill(b, 1, n_tokens, err);
    for (int64_t begun = clock_us(); s == OK && !cell_ends(b, &sums, begun);) {
        int64_t from = clock_us();
        s = context_fill(b, 1, n_tokens, err);
        samples_put(&sums.us, (double)(clock_us() - from));
    }
    if (s == OK && sums.us.failed) s = fail(err, ERR_MEMORY, "out of memory for the bench");
    cell_times(out, &sums, n_tokens);
    out->flop = flop_of(b, n_tokens, n_tokens / 2.0, 1);
    samples_free(&sums.us);
    return s;
}

/* One step at position `at`. What it samples is not the next step's token: a model may repeat itself,
 * and would then ask for the same experts for ever. */
static status decode_step(step_bench *b, int32_t n_seqs, int32_t at, struct cell_sums *sums,
                          error *err)
{
    struct step_result result;
    int64_t from = clock_us();
    if (stopped(b)) return fail(err, ERR_CANCELLED, "stopped");
    status s = step_run(b, n_seqs, at, at + 1, true, &result, err);
    if (s != OK) return s;
    samples_put(&sums->us, (double)(clock_us() - from));
    sums->experts += experts_count(b, &result);
    sums->kv_tokens += (double)n_seqs * (at + 1);
    return OK;
}

static void decode_bytes(const step_bench *b, struct step_cell *out, const struct cell_sums *sums)
{
    double n = (double)sums->us.n, experts = sums->experts / n;
    out->experts_per_layer = experts / b->m->config.shape.n_layers;
    out->weight_bytes = b->sizes.always + experts * b->sizes.expert + out->n_seqs * b->sizes.row;
    out->kv_bytes = sums->kv_tokens / n * b->kv_token_bytes;
    if (out->median_us > 0)
        out->bytes_per_s = rate_per_s(out->weight_bytes + out->kv_bytes, out->median_us);
    out->flop = flop_of(b, out->n_seqs, sums->kv_tokens / n / out->n_seqs, out->n_seqs);
}

static double loop_rate(step_bench *b, const struct step_cell *cell)
{
    if (!b->loop) return (double)NAN;
    return read_loop_measure(b->loop, (size_t)(cell->weight_bytes + cell->kv_bytes));
}

static void decode_share(step_bench *b, struct step_cell *out, double before)
{
    char what[64];
    double after = loop_rate(b, out);
    if (!b->loop) return;
    out->loop_bytes_per_s = after > before ? after : before;
    snprintf(what, sizeof what, "decoding with batch %d", out->n_seqs);
    share_of(&out->share, out->bytes_per_s, out->loop_bytes_per_s, what, &out->fault);
}

/* The steps before the timed ones say how many bytes a step reads. */
static status decode_measure(step_bench *b, struct cell_sums *sums, struct step_cell *out,
                             error *err)
{
    int32_t n_seqs = out->n_seqs, at = out->context;
    status s = context_fill(b, n_seqs, at, err);
    for (int32_t i = 0; s == OK && i < b->o.n_warmups; i++)
        s = decode_step(b, n_seqs, at++, sums, err);
    if (s != OK) return s;
    decode_bytes(b, out, sums);
    double before = loop_rate(b, out);
    samples_free(&sums->us);
    *sums = (struct cell_sums){0};
    for (int64_t begun = clock_us(); s == OK && !cell_ends(b, sums, begun);)
        s = decode_step(b, n_seqs, at++, sums, err);
    if (s != OK) return s;
    if (sums->us.failed) return fail(err, ERR_MEMORY, "out of memory for the bench");
    cell_times(out, sums, n_seqs);
    decode_bytes(b, out, sums);
    decode_share(b, out, before);
    return OK;
}

status step_bench_decode(step_bench *b, int32_t n_seqs, int32_t context, struct step_cell *out,
                         error *err)
{
    struct cell_sums sums = {0};
    int32_t n_steps = b->o.n_warmups + b->o.n_repeats;
    *out = cell_empty(n_seqs, n_seqs, context);
    b->pages_each = kv_pages_for_tokens((int64_t)context + n_steps + 1);
    out->fits = n_seqs <= SEQS_MAX && context + n_steps < b->m->config.shape.max_seq_len &&
                n_seqs * b->pages_each <= POOL_PAGES && b->pages_each <= b->pages_max;
    if (!out->fits) return OK;
    status s = decode_measure(b, &sums, out, err);
    samples_free(&sums.us);
    return s;
}
