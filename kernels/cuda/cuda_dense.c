/* Dense products of many rows by cuBLASLt, where its numbers are ours: codes are multiplied as they are,
 * sums are fp32, and scales are applied to sums.
 *
 * E4M3 by E4M3 goes to the library as it lies, with a scale for each row of both (Hopper has that). What
 * has 16 bits on either side is multiplied in bf16: weights of 8 bits, exact there, are widened first,
 * some rows at a time, and one kernel scales what came out.
 * INT4's scales change along k, so it stays with our own kernels; so does everything that the library
 * refuses, which is said once, and E4M3 that it refuses on Hopper. */
#include "base/log.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cuda_blas.h"

void cuda_dense_open(device *d)
{
    error why = {0};
    if (cuda_blas_open(&d->dense.blas, cuda_backend_get()->blas, &why) == OK) return;
    d->dense.wanted = false;
    log_line(LOG_INFO, "cuda: our own kernels multiply many rows: %s", why.message);
}

void cuda_dense_close(device *d)
{
    cuda_blas_close(d->dense.blas);
    d->dense.blas = NULL;
}

static bool multiplied(device *d, struct cuda_blas_product p)
{
    error why = {0};
    p.workspace = d->dense.workspace;
    p.workspace_bytes = CUDA_DENSE_WORKSPACE;
    if (cuda_blas_multiply(d->dense.blas, &p, d->stream, &why) == OK) {
        cuda_launched(d, "cuBLASLt");
        return true;
    }
    log_line(LOG_WARN, "cuda: %s; another kernel does it from now on", why.message);
    if (p.e4m3)
        d->dense.no_e4m3 = true;
    else
        cuda_dense_close(d);
    return false;
}

static bool both_e4m3(device *d, const weight *w, const struct cuda_operand *x, float *out,
                      int64_t out_stride, int32_t rows)
{
    if (!x->e4m3 || w->matrix.format != WEIGHT_FP8_ROW || d->dense.no_e4m3 || w->n_rows % 16 != 0)
        return false;
    return multiplied(d, (struct cuda_blas_product){.w = w->codes,
                                                    .x = x->e4m3,
                                                    .out = out,
                                                    .w_stride = w->matrix.k,
                                                    .x_stride = x->stride,
                                                    .out_stride = out_stride,
                                                    .w_scale = w->scales,
                                                    .x_scale = x->scale,
                                                    .n = (int32_t)w->n_rows,
                                                    .k = w->matrix.k,
                                                    .rows = rows,
                                                    .e4m3 = true});
}

/* Weight rows [from, from + n) in bf16, times x. */
static bool some_rows(device *d, const weight *w, const struct cuda_operand *x, float *out,
                      int64_t out_stride, int32_t rows, int32_t from, int32_t n)
{
    struct cuda_blas_product p = {.w = d->dense.widened,
                                  .x = x->bf16,
                                  .out = out + from,
                                  .w_stride = w->matrix.k,
                                  .x_stride = x->stride,
                                  .out_stride = out_stride,
                                  .n = n,
                                  .k = w->matrix.k,
                                  .rows = rows};
    if (w->matrix.format == WEIGHT_BF16) {
        p.w = (const unsigned char *)w->codes + from * w->matrix.row_bytes;
    } else {
        struct cuda_widen widen = {.from = w->matrix, .row = from, .to = d->dense.widened, .n = n};
        d->launch->widen(&widen, d->stream);
        cuda_launched(d, "widening weights");
    }
    return multiplied(d, p);
}

bool cuda_dense_multiply(device *d, const weight *w, struct cuda_operand x, float *out,
                         int64_t out_stride, int32_t rows)
{
    enum weight_format format = w->matrix.format;
    bool by_row = format == WEIGHT_FP8_ROW || format == WEIGHT_INT8_ROW;
    if (!d->dense.blas || d->failure.code != OK || (format != WEIGHT_BF16 && !by_row)) return false;
    if (both_e4m3(d, w, &x, out, out_stride, rows)) return true;
    if (x.e4m3 && cuda_wide_e4m3(d, format))
        return false; /* our own are faster than the library in bf16 */
    int32_t n = (int32_t)w->n_rows, at_once = n;
    if (by_row) at_once = (int32_t)(d->dense.widened_bytes / ((size_t)w->matrix.k * 2)) / 16 * 16;
    if (at_once < 1) return false;
    for (int32_t from = 0; from < n; from += at_once)
        if (!some_rows(d, w, &x, out, out_stride, rows, from,
                       n - from < at_once ? n - from : at_once))
            return false;
    struct cuda_scale a = {.out = out,
                           .w_scale = by_row ? w->scales : NULL,
                           .x_scale = x.scale,
                           .stride = out_stride,
                           .n = n,
                           .rows = rows};
    if (!a.w_scale && !a.x_scale) return true;
    d->launch->scale(&a, d->stream);
    cuda_launched(d, "scales");
    return true;
}
