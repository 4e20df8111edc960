/* Products with weights stored [out, in]: one pass over the weights per block of rows.
 *
 * A task is 32 weight rows. For few activation rows bf16 weights go straight into the inner loop.
 * For many, or for quantised weights, four rows at a time are widened to fp32 in cache and used for
 * ROW_TILE activation rows. Widening is exact, so both ways give the same bits. */
#include "kernels/cpu/cpu.h"

struct panel cpu_panel(const weight *w, int64_t row, int n_rows)
{
    return (struct panel){.bytes = w->bytes + (size_t)row * w->row_bytes,
                          .is_bf16 = w->spec.format == WEIGHT_BF16,
                          .stride = (size_t)w->spec.n_columns,
                          .n_rows = n_rows};
}

void cpu_weight_row(const device *d, float *out, const weight *w, int64_t row)
{
    d->math->decode(out, w->spec.format, w->bytes + (size_t)row * w->row_bytes,
                    w->scales ? w->scales + (size_t)row * w->scale_bytes : NULL, w->spec.n_columns);
}

/* Rows from `j` of both, at most ROW_TILE. */
static struct rows rows_from(struct rows r, int j, int64_t column)
{
    int n = r.n - j < ROW_TILE ? r.n - j : ROW_TILE;
    return (struct rows){r.values + (size_t)j * r.stride + column, r.stride, n};
}

void cpu_product_part(const device *d, int thread, struct cpu_product p)
{
    enum weight_format format = p.w->spec.format;
    size_t k = (size_t)p.w->spec.n_columns;
    bool as_is = format == WEIGHT_F32 ||
                 (format == WEIGHT_BF16 && d->math->reads_bf16 && p.x.n <= ROWS_DIRECT_MAX);
    float *panel = d->scratch[thread].panel;
    for (int j = 0; j < p.x.n; j += ROW_TILE) {
        struct rows x = rows_from(p.x, j, 0);
        if (as_is) {
            d->math->dot(rows_from(p.out, j, 0), cpu_panel(p.w, p.first, (int)p.n), x, k);
            continue;
        }
        for (int64_t i = 0; i < p.n; i += 4) {
            int n = p.n - i < 4 ? (int)(p.n - i) : 4;
            for (int t = 0; t < n; t++)
                cpu_weight_row(d, panel + (size_t)t * k, p.w, p.first + i + t);
            d->math->dot(rows_from(p.out, j, i), (struct panel){panel, false, k, n}, x, k);
        }
    }
}

struct product_job {
    const device *d;
    struct cpu_product p;
};

static void product_task(void *context, int64_t task, int thread)
{
    const struct product_job *job = context;
    struct cpu_product p = job->p;
    int64_t from = task * WEIGHT_TILE;
    p.first += from;
    p.n = p.n - from < WEIGHT_TILE ? p.n - from : WEIGHT_TILE;
    p.out.values += from;
    cpu_product_part(job->d, thread, p);
}

void cpu_product_run(const device *d, struct cpu_product p)
{
    struct product_job job = {d, p};
    double work = (double)p.n * (double)p.w->spec.n_columns * p.x.n;
    pool_run(d->threads, product_task, &job, (p.n + WEIGHT_TILE - 1) / WEIGHT_TILE, work);
}
