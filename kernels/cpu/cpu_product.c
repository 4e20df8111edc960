/* Products with weights stored [out, in]: one pass over the weights per block of rows.
 *
 * A task is 32 weight rows. For few activation rows weights go straight into the inner loop. For
 * many, four rows of COLUMN_BLOCK columns are widened to fp32 in cache and used for ROW_BLOCK
 * activation rows, whose lanes wait in memory between blocks of columns. What is widened is exact,
 * and each lane adds the same terms in the same order, so both ways give the same bits. INT8 and INT4
 * weights meet INT8 activations as integers. */
#include "kernels/cpu/cpu.h"

struct panel cpu_panel(const weight *w, int64_t row, int n_rows)
{
    struct panel p = {.bytes = w->bytes + (size_t)row * w->row_bytes,
                      .format = w->spec.format,
                      .stride = (size_t)w->spec.n_columns,
                      .n_rows = n_rows};
    size_t tile = (size_t)row / INT4_TILE * (w->scale_bytes / 2) * INT4_TILE;
    if (p.format == WEIGHT_INT4_G128)
        p.tiled = (const uint16_t *)(const void *)w->scales + tile + (size_t)row % INT4_TILE;
    return p;
}

enum code_form cpu_code_form(const device *d, const weight *w)
{
    return d->math->forms[d->s.activations][w->spec.format];
}

/* Codes from row `row` on, n of them. */
static struct codes codes_from(const struct codes *c, size_t row, int n)
{
    struct codes part = *c;
    part.bytes += row * c->stride * code_bytes(c->form);
    part.scales += row * c->n_groups;
    part.sums += row * c->n_groups;
    part.n = n;
    return part;
}

void cpu_round(const device *d, enum activation_type type, float *values, int32_t n,
               const struct codes *codes, size_t row)
{
    struct codes none = {.form = CODES_NONE};
    bool wanted = codes && codes->form != CODES_NONE;
    d->math->round(values, type, n, wanted ? codes_from(codes, row, 1) : none);
}

/* Whether these codes are what w multiplies: then the integers are used, whatever the rows. */
static bool codes_fit(const device *d, const struct codes *c, const weight *w)
{
    return c && c->form != CODES_NONE && c->form == cpu_code_form(d, w);
}

static void product_codes(const device *d, int thread, const struct cpu_product *p)
{
    struct panel w = cpu_panel(p->w, p->first, (int)p->n);
    struct codes x = codes_from(p->codes, p->code_row, p->x.n);
    const float *scales = (const float *)(const void *)p->w->scales;
    scales = p->w->spec.format == WEIGHT_INT8_ROW || p->w->spec.format == WEIGHT_FP8_ROW
                 ? scales + p->first
                 : NULL;
    size_t k = (size_t)p->w->spec.n_columns;
    if (x.n > CODES_DIRECT_MAX)
        d->math->codes_many(p->out, w, scales, x, k, d->scratch[thread].pack);
    else
        d->math->codes_few(p->out, w, scales, x, k);
}

/* At most WEIGHT_TILE weight rows by ROW_BLOCK rows. */
static void product_block(const device *d, int thread, const struct cpu_product *p)
{
    const struct cpu_scratch *c = &d->scratch[thread];
    size_t k = (size_t)p->w->spec.n_columns, quad = (size_t)p->x.n * 4 * (size_t)d->math->lanes;
    for (size_t from = 0; from < k; from += COLUMN_BLOCK) {
        size_t n = k - from < COLUMN_BLOCK ? k - from : COLUMN_BLOCK;
        struct rows x = {p->x.values + from, p->x.stride, p->x.n};
        for (int64_t i = 0; i < p->n; i += 4) {
            for (int64_t t = i; t < i + 4 && t < p->n; t++)
                d->math->widen(c->panel + (size_t)(t - i) * COLUMN_BLOCK,
                               cpu_panel(p->w, p->first + t, 1), from, n);
            d->math->dot_lanes(c->lanes + (size_t)(i / 4) * quad, c->panel, COLUMN_BLOCK, x, n,
                               from == 0);
        }
    }
    for (int64_t i = 0; i < p->n; i += 4)
        d->math->lanes_fold((struct rows){p->out.values + i, p->out.stride, p->x.n},
                            c->lanes + (size_t)(i / 4) * quad, p->n - i < 4 ? (int)(p->n - i) : 4);
}

static void product_wide(const device *d, int thread, const struct cpu_product *p)
{
    size_t k = (size_t)p->w->spec.n_columns;
    if (d->math->reads[p->w->spec.format] && p->x.n <= ROWS_DIRECT_MAX) {
        d->math->dot(p->out, cpu_panel(p->w, p->first, (int)p->n), p->x, k);
        return;
    }
    for (int j = 0; j < p->x.n; j += ROW_BLOCK)
        for (int64_t i = 0; i < p->n; i += WEIGHT_TILE) {
            struct cpu_product part = *p;
            part.first += i;
            part.n = p->n - i < WEIGHT_TILE ? p->n - i : WEIGHT_TILE;
            part.x.values += (size_t)j * p->x.stride;
            part.x.n = p->x.n - j < ROW_BLOCK ? p->x.n - j : ROW_BLOCK;
            part.out.values += (size_t)j * p->out.stride + (size_t)i;
            product_block(d, thread, &part);
        }
}

/* The scale of each weight row. */
static void rows_scale(const struct cpu_product *p)
{
    const float *scales = (const float *)(const void *)p->w->scales + p->first;
    float unit = p->w->spec.format == WEIGHT_FP8_ROW ? FP8_UNIT : 1.0f;
    for (int j = 0; j < p->x.n; j++) {
        float *out = p->out.values + (size_t)j * p->out.stride;
        for (int64_t i = 0; i < p->n; i++) out[i] = out[i] * unit * scales[i];
    }
}

void cpu_product_part(const device *d, int thread, struct cpu_product p)
{
    enum weight_format format = p.w->spec.format;
    if (codes_fit(d, p.codes, p.w)) {
        product_codes(d, thread, &p);
        return;
    }
    product_wide(d, thread, &p);
    if (format == WEIGHT_FP8_ROW || format == WEIGHT_INT8_ROW) rows_scale(&p);
}

int32_t cpu_task_rows(const device *d, int64_t n, int n_x)
{
    int64_t rows = n / (8 * (int64_t)pool_threads(d->threads)) / WEIGHT_TILE * WEIGHT_TILE;
    if (n_x > ROWS_DIRECT_MAX || rows < WEIGHT_TILE) return WEIGHT_TILE;
    return rows < WEIGHT_RUN_MAX ? (int32_t)rows : WEIGHT_RUN_MAX;
}

struct product_job {
    const device *d;
    struct cpu_product p;
    int32_t task_rows;
};

static void product_task(void *context, int64_t task, int thread)
{
    const struct product_job *job = context;
    struct cpu_product p = job->p;
    int64_t from = task * job->task_rows;
    p.first += from;
    p.n = p.n - from < job->task_rows ? p.n - from : job->task_rows;
    p.out.values += from;
    cpu_product_part(job->d, thread, p);
}

void cpu_product_run(const device *d, struct cpu_product p)
{
    struct product_job job = {d, p, cpu_task_rows(d, p.n, p.x.n)};
    double work = (double)p.n * (double)p.w->spec.n_columns * p.x.n;
    pool_run(d->threads, product_task, &job, (p.n + job.task_rows - 1) / job.task_rows, work);
}
