/* The list of cells in the order of their worth, and what one cell is: fill, warm up, repeat, divide.
 * Time is the host's, from the first launch to the results, which is what a request waits for. */
#include "inference/bench/synthetic.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "inference/bench/samples.h"
#include "inference/bench/synthetic_world.h"
#include "kernels/cuda/launch.h"

enum {
    WARMUPS_DEFAULT = 3,
    REPEATS_DEFAULT = 20,
    WARMUPS_QUICK = 1,
    REPEATS_QUICK = 5,
    READ_PASSES = 5,
    MATRIX_PASSES = 10,
    CELL_SHARE = 8 /* of the budget: the most that one cell takes once it has a figure */
};

struct run {
    const struct synthetic_options *o;
    struct synthetic_machine machine;
    struct synthetic_world world;
    int64_t begun_us;
    double prefill_us_per_row; /* of the last prompt measured; 0: none yet */
    int n_faults;
    char fault[160]; /* the first share above 1 */
};

static double left_us(const struct run *r)
{
    if (r->o->budget_s <= 0) return (double)INFINITY;
    return r->o->budget_s * 1e6 - (double)(clock_us() - r->begun_us);
}

static bool stopped(const struct run *r) { return r->o->stopped && r->o->stopped(); }

static void progress(const struct run *r, const char *what)
{
    if (r->o->on_progress) r->o->on_progress(what);
}

/* Bytes and operations of the step that is filled, added to those of a cell. */
static void step_add(const struct synthetic_world *w, struct synthetic_cell *c)
{
    const struct model_shape *m = &w->model->shape;
    const struct synthetic_sizes *s = &w->sizes;
    const struct step *step = &w->step;
    double rows = step->n_rows, keys = 0, pairs = 0;
    for (int32_t q = 0; q < step->n_seqs; q++) keys += step->kv_len[q];
    for (int32_t i = 0; i < step->n_rows; i++) pairs += step->position[i] + 1;
    c->weight_bytes += s->dense + w->n_experts * s->expert + rows * s->row;
    c->kv_bytes += keys * s->kv_token;
    c->flop += rows * (s->dense_flop + (double)m->n_layers * m->moe_top_k * s->expert_flop);
    c->flop += pairs * 4 * m->n_layers * m->n_heads * m->head_dim;
    c->experts_per_layer += w->n_experts / m->n_layers;
    if (step->n_outs == 0) return;
    c->weight_bytes += s->head;
    c->flop += step->n_outs * s->head_flop;
}

/* A prompt in slices, or one step; the time of all. */
static status work_run(struct run *r, struct synthetic_cell *c, double *us, error *err)
{
    struct synthetic_world *w = &r->world;
    int32_t at = 0, n = c->kind == SYNTHETIC_PREFILL ? c->n_rows : 1, n_slices = 0;
    double took;
    status s = OK;
    *us = 0;
    c->weight_bytes = c->kv_bytes = c->flop = c->experts_per_layer = 0;
    for (; at < n && s == OK; n_slices++) {
        int32_t rows = c->n_rows / c->n_seqs, context = c->context;
        if (c->kind == SYNTHETIC_PREFILL) {
            rows = n - at < SYNTHETIC_ROWS_MAX ? n - at : SYNTHETIC_ROWS_MAX;
            context = at + rows;
        }
        at += c->kind == SYNTHETIC_PREFILL ? rows : 1;
        if (!bench_world_step_fill(w, c->n_seqs, rows, context, at == n))
            return fail(err, ERR_LIMIT, "KV for %d x %d tokens, %lld fit", c->n_seqs, c->context,
                        (long long)r->machine.kv_tokens);
        step_add(w, c);
        s = bench_world_step_run(w, WORLD_ALL, false, &took, err);
        *us += took;
    }
    c->experts_per_layer /= n_slices;
    return s;
}

static enum world_operation operation_of(const char *name)
{
    if (strcmp(name, "attn_in") == 0) return WORLD_ATTN_IN;
    if (strcmp(name, "attention") == 0) return WORLD_ATTENTION;
    return strcmp(name, "attn_out") == 0 ? WORLD_ATTN_OUT : WORLD_EXPERTS;
}

/* One operation of every layer: the time with them less the time without. */
static status operation_run(struct run *r, struct synthetic_cell *c, double *us, error *err)
{
    struct synthetic_world *w = &r->world;
    enum world_operation op = operation_of(c->operation);
    double with, without;
    if (!bench_world_step_fill(w, c->n_seqs, c->n_rows / c->n_seqs, c->context, false))
        return fail(err, ERR_LIMIT, "KV for %d x %d tokens does not fit", c->n_seqs, c->context);
    status s = bench_world_step_run(w, op, false, &without, err);
    if (s == OK) s = bench_world_step_run(w, op, true, &with, err);
    if (s == OK) *us = (with - without) / w->model->shape.n_layers;
    c->experts_per_layer = w->n_experts / w->model->shape.n_layers;
    return s;
}

static status once(struct run *r, struct synthetic_cell *c, double *us, error *err)
{
    return c->kind == SYNTHETIC_OPERATION ? operation_run(r, c, us, err) : work_run(r, c, us, err);
}

/* The ceiling and the share of it; a share above 1 is kept as a fault. */
static void share_set(struct run *r, struct synthetic_cell *c)
{
    char what[96];
    error why;
    double bytes = c->weight_bytes + c->kv_bytes;
    double read_us = bytes / r->machine.read.bytes_per_s * 1e6;
    double matrix_us = c->flop / r->machine.matrix_flop_per_s * 1e6;
    c->bytes_per_s = rate_per_s(bytes, c->median_us);
    c->flop_per_s = rate_per_s(c->flop, c->median_us);
    c->ceiling_us = matrix_us > read_us ? matrix_us : read_us;
    c->bound = matrix_us > read_us ? "matrix" : "read";
    snprintf(what, sizeof what, "%d x %d rows, context %d", c->n_seqs, c->n_rows / c->n_seqs,
             c->context);
    if (c->kind == SYNTHETIC_PREFILL && !isfinite(matrix_us)) return; /* nothing to compare with */
    if (share_of(&c->share, c->ceiling_us, c->median_us, what, &why) == OK) return;
    if (r->n_faults++ == 0) snprintf(r->fault, sizeof r->fault, "%.159s", why.message);
}

static void cell_figures(struct run *r, struct synthetic_cell *c, struct samples *us)
{
    double tokens = c->kind == SYNTHETIC_PREFILL ? c->n_rows : c->n_seqs;
    c->measured = true;
    c->n_repeats = (int32_t)us->n;
    c->median_us = samples_median(us);
    c->low_us = samples_percentile(us, 0);
    c->high_us = samples_percentile(us, 100);
    if (c->kind == SYNTHETIC_OPERATION) return;
    c->tokens_per_s = rate_per_s(tokens, c->median_us);
    if (c->kind == SYNTHETIC_PREFILL) r->prefill_us_per_row = c->median_us / c->n_rows;
    share_set(r, c);
}

/* Warm-ups and repeats, fewer of both where the time is short; at least one of each. */
static status cell_measure(struct run *r, struct synthetic_cell *c, error *err)
{
    const struct synthetic_options *o = r->o;
    int32_t warm = o->n_warmups ? o->n_warmups : o->quick ? WARMUPS_QUICK : WARMUPS_DEFAULT;
    int32_t repeats = o->n_repeats ? o->n_repeats : o->quick ? REPEATS_QUICK : REPEATS_DEFAULT;
    double most_us = o->budget_s * 1e6 / CELL_SHARE, us = 0;
    struct samples all = {0};
    int64_t begun_us = clock_us();
    status s = OK;
    for (int32_t i = 0; i < warm + repeats && s == OK && !stopped(r); i++) {
        bool late =
            o->budget_s > 0 && ((double)(clock_us() - begun_us) > most_us || left_us(r) < 0);
        if (late && all.n > 0) break;
        if (late && i > 0 && i < warm) i = warm; /* what is left is one repeat */
        s = once(r, c, &us, err);
        if (s == OK && i >= warm) samples_put(&all, us);
        if (s == OK && i < warm) c->n_warmups++;
    }
    if (s == OK && all.failed) s = fail(err, ERR_MEMORY, "out of memory for the figures");
    if (s == OK && all.n > 0) cell_figures(r, c, &all);
    samples_free(&all);
    return s;
}

/* Why a cell is not begun; "" when it is. */
static void obstacle(const struct run *r, const struct synthetic_cell *c, char *out, size_t size)
{
    int64_t pages = (c->context + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    double rows_us = c->kind == SYNTHETIC_PREFILL ? 2 * r->prefill_us_per_row * c->n_rows : 0;
    out[0] = 0;
    if (pages * c->n_seqs > r->world.n_pages)
        snprintf(out, size, "KV for %d x %d tokens, room for %lld", c->n_seqs, c->context,
                 (long long)r->machine.kv_tokens);
    else if (c->n_rows > r->machine.shape.max_seq_len * c->n_seqs)
        snprintf(out, size, "the model has %d positions", r->machine.shape.max_seq_len);
    else if (left_us(r) < rows_us || left_us(r) <= 0)
        snprintf(out, size, "no time left");
}

/* Only a fault of the device, or being stopped, ends the run. */
static status cell_do(struct run *r, struct synthetic_cell cell, error *err)
{
    struct synthetic_cell *c = &cell;
    char what[96];
    status s = OK;
    c->median_us = c->low_us = c->high_us = c->tokens_per_s = c->share = (double)NAN;
    c->bytes_per_s = c->flop_per_s = c->ceiling_us = (double)NAN;
    c->bound = "";
    obstacle(r, c, c->without, sizeof c->without);
    snprintf(what, sizeof what, "%d rows, context %d", c->n_rows, c->context);
    progress(r, what);
    if (!c->without[0]) s = cell_measure(r, c, err);
    if (s == OK && stopped(r)) s = fail(err, ERR_CANCELLED, "stopped");
    if (s == OK) r->o->on_cell(r->o->context, c);
    return s;
}

static status decode_do(struct run *r, int32_t n_seqs, int context, error *err)
{
    return cell_do(r,
                   (struct synthetic_cell){.kind = SYNTHETIC_DECODE,
                                           .n_rows = n_seqs,
                                           .n_seqs = n_seqs,
                                           .context = r->world.model->contexts[context]},
                   err);
}

static status prefill_do(struct run *r, int prompt, error *err)
{
    int32_t n = r->world.model->prompts[prompt];
    return cell_do(
        r,
        (struct synthetic_cell){.kind = SYNTHETIC_PREFILL, .n_rows = n, .n_seqs = 1, .context = n},
        err);
}

static status first_token_do(struct run *r, error *err)
{
    const struct synthetic_model *m = r->world.model;
    return cell_do(r,
                   (struct synthetic_cell){.kind = SYNTHETIC_FIRST_TOKEN,
                                           .n_rows = m->behind,
                                           .n_seqs = 1,
                                           .context = m->warm + m->behind},
                   err);
}

/* Every operation at this number of rows: of as many sequences up to a step's, else of one prompt. */
static status operations_do(struct run *r, int32_t n_rows, error *err)
{
    static const char *const names[] = {"experts", "attn_in", "attn_out", "attention"};
    const struct synthetic_model *m = r->world.model;
    bool alone = n_rows > SYNTHETIC_SEQS_MAX;
    int32_t context = alone ? n_rows : m->contexts[0];
    status s = OK;
    if (n_rows > m->shape.max_seq_len && alone) return OK; /* the tiny model has no such step */
    for (size_t i = 0; i < sizeof names / sizeof *names && s == OK; i++)
        s = cell_do(r,
                    (struct synthetic_cell){.kind = SYNTHETIC_OPERATION,
                                            .operation = names[i],
                                            .n_rows = n_rows,
                                            .n_seqs = alone ? 1 : n_rows,
                                            .context = context},
                    err);
    return s;
}

/* A row of the list: which cell, and whether a quick run has it. */
struct entry {
    enum synthetic_kind kind;
    int32_t a; /* sequences, number of the prompt, or rows */
    int32_t b; /* number of the context */
    bool quick;
};

static const struct entry entries[] = {
    {SYNTHETIC_DECODE, 1, 0, true},       {SYNTHETIC_PREFILL, 1, 0, true},
    {SYNTHETIC_FIRST_TOKEN, 0, 0, true},  {SYNTHETIC_DECODE, 1, 2, true},
    {SYNTHETIC_DECODE, 16, 0, true},      {SYNTHETIC_OPERATION, 1, 0, true},
    {SYNTHETIC_OPERATION, 16, 0, true},   {SYNTHETIC_OPERATION, 2048, 0, true},
    {SYNTHETIC_DECODE, 4, 1, true},       {SYNTHETIC_DECODE, 64, 0, true},
    {SYNTHETIC_PREFILL, 0, 0, true},      {SYNTHETIC_DECODE, 1, 1, false},
    {SYNTHETIC_OPERATION, 64, 0, true},   {SYNTHETIC_OPERATION, 256, 0, false},
    {SYNTHETIC_DECODE, 16, 1, false},     {SYNTHETIC_PREFILL, 2, 0, false},
    {SYNTHETIC_DECODE, 4, 0, false},      {SYNTHETIC_DECODE, 4, 2, false},
    {SYNTHETIC_DECODE, 64, 1, false},     {SYNTHETIC_OPERATION, 4, 0, false},
    {SYNTHETIC_OPERATION, 128, 0, false}, {SYNTHETIC_OPERATION, 512, 0, false},
    {SYNTHETIC_DECODE, 16, 2, false},     {SYNTHETIC_PREFILL, 3, 0, false},
    {SYNTHETIC_DECODE, 64, 2, false},
};

static status entry_do(struct run *r, const struct entry *e, error *err)
{
    switch (e->kind) {
    case SYNTHETIC_DECODE: return decode_do(r, e->a, e->b, err);
    case SYNTHETIC_PREFILL: return prefill_do(r, e->a, err);
    case SYNTHETIC_FIRST_TOKEN: return first_token_do(r, err);
    case SYNTHETIC_OPERATION: break;
    }
    return operations_do(r, e->a, err);
}

/* The denominators, before the weights take the memory. */
static status limits_measure(struct run *r, error *err)
{
    struct synthetic_machine *m = &r->machine;
    const struct synthetic_model *sized = r->world.model;
    const struct cuda_device_info *info = cuda_info(r->world.d);
    snprintf(m->device, sizeof m->device, "%s", info->name);
    m->n_processors = info->n_processors;
    m->capability = info->capability;
    m->total_bytes = info->total_bytes;
    status s = cuda_free_bytes(r->world.d, &m->free_bytes, err);
    size_t bytes = sized->read_bytes;
    if (bytes > m->free_bytes / 2) bytes = m->free_bytes / 2;
    progress(r, "read rate");
    if (s == OK) s = cuda_read_measure(r->world.d, bytes, READ_PASSES, &m->read, err);
    progress(r, "matrix rate");
    if (s == OK)
        s = cuda_matrix_measure(r->world.d, sized->matrix_n, MATRIX_PASSES, &m->matrix, err);
    m->matrix_flop_per_s =
        m->matrix.e4m3_flop_per_s > 0 ? m->matrix.e4m3_flop_per_s : m->matrix.bf16_flop_per_s;
    return s;
}

/* The most that any cell holds. */
static int64_t tokens_wanted(const struct synthetic_model *m)
{
    return (int64_t)SYNTHETIC_SEQS_MAX * m->contexts[SYNTHETIC_CONTEXTS - 1];
}

static status run_open(struct run *r, error *err)
{
    const struct synthetic_options *o = r->o;
    const struct synthetic_model *sized = synthetic_model_find(o->model);
    struct memory_plan plan;
    size_t left;
    if (!sized) return fail(err, ERR_USAGE, "--synthetic: found \"%s\", expected dbrx", o->model);
    if (o->format != WEIGHT_FP8_ROW && o->format != WEIGHT_INT4_G128)
        return fail(err, ERR_USAGE, "--format: expected fp8 or int4");
    enum activation_type activations = ACTIVATION_E4M3; /* both formats are exact in it */
    status s = bench_world_open(&r->world, sized, activations, err);
    if (s == OK) s = limits_measure(r, err);
    progress(r, "weights");
    int64_t begun_us = clock_us();
    if (s == OK) s = bench_world_weights_make(&r->world, o->format, err);
    r->machine.weights_s = (double)(clock_us() - begun_us) * 1e-6;
    r->machine.shape = sized->shape;
    r->machine.shape.activations = activations;
    r->machine.format = o->format;
    r->machine.kv_type = KV_E4M3;
    if (s == OK) s = r->world.k->plan(r->world.d, KV_E4M3, &plan, err);
    if (s == OK) s = cuda_free_bytes(r->world.d, &left, err);
    if (s != OK) return s;
    r->machine.workspace_bytes = plan.workspace_bytes;
    r->machine.weight_bytes = r->machine.free_bytes - left;
    s = bench_world_pages_open(&r->world, KV_E4M3, tokens_wanted(sized), err);
    r->machine.kv_tokens = (int64_t)r->world.n_pages * KV_PAGE_TOKENS;
    return s;
}

status synthetic_run(const struct synthetic_options *options, error *err)
{
    struct run r = {.o = options, .begun_us = clock_us()};
    status s = run_open(&r, err);
    if (s == OK) options->on_machine(options->context, &r.machine);
    for (size_t i = 0; i < sizeof entries / sizeof *entries && s == OK; i++)
        if (!options->quick || entries[i].quick) s = entry_do(&r, &entries[i], err);
    bench_world_close(&r.world);
    if (s == OK && r.n_faults > 0)
        s = fail(err, ERR_FORMAT, "%d shares cannot be true, the first: %s", r.n_faults, r.fault);
    return s;
}
