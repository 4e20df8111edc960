/* Experts: rows sorted by the expert they chose, so that each expert's weights are read once.
 *
 * An entry is one (row, rank). Gate and up of 32 hidden units are one task. The down product of a
 * transposed w2 runs along its rows: sums of TERM_BLOCK hidden units, added up in ascending order.
 * Few rows: a task is one such block, so weights are read in the order they lie in, and the sums
 * meet afterwards. Many rows: a task is a strip of columns that goes through all blocks. The order
 * of additions is the same. The combine gathers: no row is written by two tasks. */
#include <string.h>

#include "kernels/cpu/cpu.h"

struct experts_job {
    device *d;
    const struct layer_weights *w;
    int32_t n_tiles; /* tasks per expert */
    int32_t task_rows;
    int32_t n_active;
    int32_t active[EXPERTS_MAX];
};

/* How far ahead a strip of columns is asked for: its pieces lie a row apart. */
enum { TERMS_AHEAD = 16 };

void cpu_experts_sort(device *d)
{
    int32_t k = d->s.moe_top_k, n = d->step->n_rows * k, count[EXPERTS_MAX] = {0};
    for (int32_t i = 0; i < n; i++)
        if (d->route[i] >= 0) count[d->route[i]]++;
    d->expert_first[0] = 0;
    for (int32_t e = 0; e < d->s.moe_num_experts; e++) {
        d->expert_first[e + 1] = d->expert_first[e] + count[e];
        count[e] = d->expert_first[e];
    }
    for (int32_t i = 0; i < n; i++) d->slot[i] = d->route[i] < 0 ? -1 : count[d->route[i]]++;
}

static int32_t n_entries(const device *d, int32_t expert)
{
    return d->expert_first[expert + 1] - d->expert_first[expert];
}

static void codes_copy(const struct codes *to, size_t i, const struct codes *from, size_t j)
{
    size_t bytes = from->stride * code_bytes(from->form), n = from->n_groups;
    memcpy(to->bytes + i * bytes, from->bytes + j * bytes, bytes);
    memcpy(to->scales + i * n, from->scales + j * n, n * sizeof *to->scales);
    memcpy(to->sums + i * n, from->sums + j * n, n * sizeof *to->sums);
}

static void gather_task(void *context, int64_t row, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    size_t n = (size_t)d->s.d_model;
    (void)thread;
    for (int32_t j = 0; j < d->s.moe_top_k; j++) {
        int32_t slot = d->slot[row * d->s.moe_top_k + j];
        if (slot < 0) continue;
        if (d->y_codes.form == CODES_NONE || d->step->observer)
            memcpy(d->entry_y + (size_t)slot * n, d->y + (size_t)row * n, n * sizeof(float));
        if (d->y_codes.form != CODES_NONE)
            codes_copy(&d->entry_codes, (size_t)slot, &d->y_codes, (size_t)row);
    }
}

/* Some hidden units of one expert for all of its rows. */
static void hidden_task(void *context, int64_t task, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    int32_t expert = job->active[task / job->n_tiles], ffn = d->s.ffn_hidden_size;
    int32_t unit = (int32_t)(task % job->n_tiles) * job->task_rows, left = ffn - unit;
    int32_t units = left < job->task_rows ? left : job->task_rows;
    int64_t first = (int64_t)expert * ffn + unit;
    size_t model = (size_t)d->s.d_model;
    float *up = d->scratch[thread].tile;
    int32_t at = d->expert_first[expert], n = n_entries(d, expert);
    float *gate = d->hidden + (size_t)at * (size_t)ffn + unit;
    struct cpu_product p = {.w = job->w->w1,
                            .first = first,
                            .n = units,
                            .x = {d->entry_y + (size_t)at * model, model, n},
                            .out = {gate, (size_t)ffn, n},
                            .codes = &d->entry_codes,
                            .code_row = (size_t)at};
    cpu_product_part(d, thread, p);
    p.w = job->w->v1;
    p.out = (struct rows){up, (size_t)units, n};
    cpu_product_part(d, thread, p);
    for (int i = 0; i < n; i++)
        d->math->silu_product(gate + (size_t)i * (size_t)ffn, up + i * units, units);
}

static void hidden_round_task(void *context, int64_t entry, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    (void)thread;
    cpu_round(d, d->s.activations, d->hidden + (size_t)entry * (size_t)d->s.ffn_hidden_size,
              d->s.ffn_hidden_size, &d->hidden_codes, (size_t)entry);
}

static int32_t n_term_blocks(const device *d)
{
    return (d->s.ffn_hidden_size + TERM_BLOCK - 1) / TERM_BLOCK;
}

static int terms_in(const device *d, int64_t block)
{
    int64_t left = d->s.ffn_hidden_size - block * TERM_BLOCK;
    return left < TERM_BLOCK ? (int)left : TERM_BLOCK;
}

static struct rows hidden_rows(const device *d, int32_t entry, int64_t block, int n)
{
    size_t ffn = (size_t)d->s.ffn_hidden_size;
    return (struct rows){d->hidden + (size_t)entry * ffn + block * TERM_BLOCK, ffn, n};
}

/* Widens (or hands on as it is) a block of terms by columns of a transposed w2. */
static struct panel down_panel(const device *d, int thread, const weight *w2, int64_t row,
                               int n_terms, int32_t column, int32_t n_columns, bool as_is)
{
    struct panel p = cpu_panel(w2, row, n_terms);
    size_t element = p.format == WEIGHT_BF16 ? 2 : 4;
    p.bytes = (const unsigned char *)p.bytes + (size_t)column * element;
    if (p.format != WEIGHT_BF16 || as_is) return p;
    float *to = d->scratch[thread].panel;
    for (int f = 0; f < n_terms; f++) {
        __builtin_prefetch((const uint16_t *)p.bytes + (size_t)(f + TERMS_AHEAD) * p.stride);
        d->math->decode(to + f * n_columns, WEIGHT_BF16,
                        (const uint16_t *)p.bytes + (size_t)f * p.stride, NULL, n_columns);
    }
    return (struct panel){.bytes = to, .stride = (size_t)n_columns, .n_rows = n_terms};
}

/* Few rows: one block of terms of one expert, over all columns. */
static void down_block_task(void *context, int64_t task, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    int32_t expert = job->active[task / job->n_tiles], model = d->s.d_model;
    int32_t first = d->expert_first[expert], n = n_entries(d, expert);
    int64_t block = task % job->n_tiles;
    int64_t row = (int64_t)expert * d->s.ffn_hidden_size + block * TERM_BLOCK;
    size_t stride = (size_t)job->n_tiles * (size_t)model;
    float *to = d->partial + (size_t)first * stride + (size_t)block * (size_t)model;
    for (int32_t i = 0; i < n; i++)
        memset(to + (size_t)i * stride, 0, (size_t)model * sizeof(float));
    bool as_is = d->math->reads[WEIGHT_BF16];
    int32_t width = as_is ? model : COLUMN_TILE;
    for (int32_t c = 0; c < model; c += width) {
        int32_t columns = model - c < width ? model - c : width;
        struct panel w =
            down_panel(d, thread, job->w->w2, row, terms_in(d, block), c, columns, as_is);
        d->math->accumulate((struct rows){to + c, stride, n}, w, hidden_rows(d, first, block, n),
                            columns);
    }
}

/* Adds up an entry's blocks in ascending order. */
static void down_join_task(void *context, int64_t entry, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    size_t model = (size_t)d->s.d_model;
    float *to = d->down + (size_t)entry * model;
    (void)thread;
    const float *from = d->partial + (size_t)entry * (size_t)job->n_tiles * model;
    memcpy(to, from, model * sizeof *to);
    for (int32_t b = 1; b < job->n_tiles; b++) {
        from += model;
        for (size_t i = 0; i < model; i++) to[i] += from[i];
    }
}

/* Many rows: COLUMN_TILE columns of one expert, through all blocks of terms. */
static void down_strip_task(void *context, int64_t task, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    int32_t expert = job->active[task / job->n_tiles], model = d->s.d_model;
    int32_t c = (int32_t)(task % job->n_tiles) * COLUMN_TILE;
    int32_t columns = model - c < COLUMN_TILE ? model - c : COLUMN_TILE;
    float *tile = d->scratch[thread].tile;
    for (int64_t block = 0; block < n_term_blocks(d); block++) {
        int64_t row = (int64_t)expert * d->s.ffn_hidden_size + block * TERM_BLOCK;
        struct panel w =
            down_panel(d, thread, job->w->w2, row, terms_in(d, block), c, columns, false);
        for (int32_t at = d->expert_first[expert]; at < d->expert_first[expert + 1];
             at += ROW_TILE) {
            int left = d->expert_first[expert + 1] - at, n = left < ROW_TILE ? left : ROW_TILE;
            memset(tile, 0, (size_t)n * COLUMN_TILE * sizeof *tile);
            d->math->accumulate((struct rows){tile, COLUMN_TILE, n}, w,
                                hidden_rows(d, at, block, n), columns);
            for (int i = 0; i < n; i++) {
                float *to = d->down + (size_t)(at + i) * (size_t)model + c;
                const float *from = tile + i * COLUMN_TILE;
                for (int32_t t = 0; t < columns; t++) to[t] = block ? to[t] + from[t] : from[t];
            }
        }
    }
}

/* w2 stored [d_model, ffn] for each expert, as quantised files have it: a plain product. */
static void down_rows_task(void *context, int64_t task, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    int32_t expert = job->active[task / job->n_tiles];
    int64_t c = task % job->n_tiles * job->task_rows;
    int64_t left = d->s.d_model - c;
    size_t model = (size_t)d->s.d_model;
    int32_t first = d->expert_first[expert], n = n_entries(d, expert);
    cpu_product_part(d, thread,
                     (struct cpu_product){.w = job->w->w2,
                                          .first = (int64_t)expert * d->s.d_model + c,
                                          .n = left < job->task_rows ? left : job->task_rows,
                                          .x = hidden_rows(d, first, 0, n),
                                          .out = {d->down + (size_t)first * model + c, model, n},
                                          .codes = &d->hidden_codes,
                                          .code_row = (size_t)first});
}

/* x += sum over ranks, in rank order. */
static void combine_task(void *context, int64_t row, int thread)
{
    const struct experts_job *job = context;
    const device *d = job->d;
    int32_t k = d->s.moe_top_k, n = d->s.d_model;
    const int32_t *slot = d->slot + row * k;
    const float *gate = d->gate + row * k;
    float *x = cpu_residual(d, (int32_t)row);
    (void)thread;
    for (int32_t i = 0; slot[0] >= 0 && i < n; i++) {
        float sum = 0;
        for (int32_t j = 0; j < k; j++)
            sum += gate[j] * d->down[(size_t)slot[j] * (size_t)n + (size_t)i];
        x[i] += sum;
    }
}

static void experts_down(device *d, struct experts_job *job, double work)
{
    int32_t entries = d->expert_first[d->s.moe_num_experts], n = job->n_active;
    if (!job->w->w2->spec.transposed) {
        job->task_rows = cpu_task_rows(d, (int64_t)n * d->s.d_model, d->step->n_rows);
        job->n_tiles = (d->s.d_model + job->task_rows - 1) / job->task_rows;
        pool_run(d->threads, down_rows_task, job, (int64_t)n * job->n_tiles, work);
    } else if (d->step->n_rows <= PARTIAL_ROWS_MAX) {
        job->n_tiles = n_term_blocks(d);
        pool_run(d->threads, down_block_task, job, (int64_t)n * job->n_tiles, work);
        pool_run(d->threads, down_join_task, job, entries,
                 (double)entries * job->n_tiles * d->s.d_model);
    } else {
        job->n_tiles = (d->s.d_model + COLUMN_TILE - 1) / COLUMN_TILE;
        pool_run(d->threads, down_strip_task, job, (int64_t)n * job->n_tiles, work);
    }
}

/* `values` [entries][width], sorted by expert. */
static void entries_observe(device *d, enum observed what, int32_t layer, float *values,
                            int32_t width)
{
    for (int32_t e = 0; d->step->observer && e < d->s.moe_num_experts; e++)
        cpu_observe(d, what, layer, e,
                    (struct rows){values + (size_t)d->expert_first[e] * (size_t)width,
                                  (size_t)width, n_entries(d, e)});
}

void cpu_experts(device *d, int32_t layer, const struct layer_weights *w)
{
    struct experts_job job = {.d = d, .w = w};
    if (!d->step) return;
    for (int32_t e = 0; e < d->s.moe_num_experts; e++)
        if (n_entries(d, e) > 0) job.active[job.n_active++] = e;
    double rows = (double)d->step->n_rows * d->s.d_model * d->s.moe_top_k;
    double work = rows * d->s.ffn_hidden_size;
    d->entry_codes.form = d->y_codes.form;
    d->hidden_codes.form = w->w2->spec.transposed ? CODES_NONE : cpu_code_form(d, w->w2);
    pool_run(d->threads, gather_task, &job, d->step->n_rows, rows);
    entries_observe(d, OBSERVED_EXPERT_IN, layer, d->entry_y, d->s.d_model);
    job.task_rows = cpu_task_rows(d, (int64_t)job.n_active * d->s.ffn_hidden_size, d->step->n_rows);
    job.n_tiles = (d->s.ffn_hidden_size + job.task_rows - 1) / job.task_rows;
    pool_run(d->threads, hidden_task, &job, (int64_t)job.n_active * job.n_tiles, 2 * work);
    if (d->s.activations != ACTIVATION_F32) {
        int32_t entries = d->expert_first[d->s.moe_num_experts];
        pool_run(d->threads, hidden_round_task, &job, entries,
                 8.0 * entries * d->s.ffn_hidden_size);
    }
    entries_observe(d, OBSERVED_HIDDEN, layer, d->hidden, d->s.ffn_hidden_size);
    experts_down(d, &job, work);
    pool_run(d->threads, combine_task, &job, d->step->n_rows, rows);
}
