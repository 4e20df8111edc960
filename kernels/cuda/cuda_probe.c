/* Rates are the best of several kernels, passes enqueued together and waited for once, so that a
 * launch costs nothing beside them. What is read is random: zeros are faster. */
#include "kernels/cuda/probe.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/cuda_blas.h"
#include "kernels/cuda/probe_launch.h"
#include "kernels/format.h"

/* Where codes end, in deviations: the largest of a few thousand, and of a group of 128. */
#define ROW_REACH   4.5
#define GROUP_REACH 2.8

static status probe_get(const device *d, const struct cuda_probe **out, error *err)
{
    *out = cuda_backend_get()->probe;
    if (d->failure.code != OK) return fail(err, d->failure.code, "%s", d->failure.message);
    return *out ? OK : fail(err, ERR_UNSUPPORTED, "cuda: this backend has no probes");
}

static status settle(device *d, const char *what, error *err)
{
    cuda_launched(d, what);
    if (d->failure.code == OK) cuda_ok(d, d->run->wait(d->stream), what);
    return d->failure.code == OK ? OK : fail(err, d->failure.code, "%s", d->failure.message);
}

/* How a format's codes and scales are made; `factor` makes codes of values of deviation 1. */
struct making {
    enum cuda_random_kind codes, scales;
    double factor;
};

static const struct making makings[] = {
    [WEIGHT_F32] = {CUDA_RANDOM_F32, CUDA_SCALES_F32, 0},
    [WEIGHT_BF16] = {CUDA_RANDOM_BF16, CUDA_SCALES_F32, 0},
    [WEIGHT_FP8_ROW] = {CUDA_RANDOM_E4M3, CUDA_SCALES_F32, 448 / ROW_REACH},
    [WEIGHT_INT8_ROW] = {CUDA_RANDOM_INT8, CUDA_SCALES_F32, 127 / ROW_REACH},
    [WEIGHT_INT4_G128] = {CUDA_RANDOM_INT4, CUDA_SCALES_BF16, 7 / GROUP_REACH},
};

status cuda_weight_random(weight *w, uint64_t seed, double deviation, error *err)
{
    device *d = w->d;
    const struct cuda_probe *probe;
    const struct making *m = &makings[w->matrix.format];
    status s = probe_get(d, &probe, err);
    if (s != OK) return s;
    struct cuda_random codes = {.to = w->codes,
                                .n_rows = w->n_rows,
                                .row_bytes = w->matrix.row_bytes,
                                .n_columns = w->n_columns,
                                .seed = seed,
                                .factor = (float)(m->factor > 0 ? m->factor : deviation),
                                .kind = m->codes};
    probe->random(&codes, d->stream);
    if (w->scales) { /* one row of all of them, its end cut to whole 16 bytes */
        size_t bytes = (size_t)w->n_rows * w->scale_bytes;
        size_t one = m->scales == CUDA_SCALES_BF16 ? sizeof(uint16_t) : sizeof(float);
        struct cuda_random scales = {.to = w->scales,
                                     .n_rows = 1,
                                     .row_bytes = (int64_t)(bytes / 16 * 16),
                                     .n_columns = (int64_t)(bytes / one),
                                     .seed = ~seed,
                                     .factor = (float)(deviation / m->factor),
                                     .kind = m->scales};
        /* The few behind it are those at the front. */
        probe->random(&scales, d->stream);
        if (bytes % 16)
            cuda_ok(
                d,
                d->run->copy((char *)w->scales + bytes / 16 * 16, w->scales, bytes % 16, d->stream),
                w->spec.name);
    }
    w->n_put = w->spec.n_rows;
    return settle(d, w->spec.name, err);
}

status cuda_pages_random(kv_pool *kv, uint64_t seed, error *err)
{
    device *d = ((struct cuda_kv *)(void *)kv)->d;
    const struct cuda_probe *probe;
    status s = probe_get(d, &probe, err);
    if (s != OK) return s;
    bool narrow = kv->type == KV_E4M3;
    struct cuda_random pages = {.to = kv->bytes,
                                .n_rows = kv->n_pages,
                                .row_bytes = (int64_t)kv->page_bytes,
                                .n_columns = (int64_t)(kv->page_bytes / kv_element_bytes(kv->type)),
                                .seed = seed,
                                .factor = narrow ? KV_E4M3_SCALE : 1,
                                .kind = narrow ? CUDA_RANDOM_E4M3 : CUDA_RANDOM_BF16};
    probe->random(&pages, d->stream);
    return settle(d, "random pages", err);
}

status cuda_free_bytes(device *d, size_t *out, error *err)
{
    int code = d->run->memory(out);
    return code == 0 ? OK
                     : fail(err, ERR_DEVICE, "cuda: free memory: %s", d->run->error_text(code));
}

const struct cuda_device_info *cuda_info(const device *d) { return &d->info; }

void cuda_launch_singly(device *d, bool singly) { d->graphs.off = singly; }

/* Seconds of one of `passes`, enqueued together. */
static double seconds_each(int64_t begun_us, int32_t passes)
{
    int64_t took_us = clock_us() - begun_us;
    return (double)(took_us > 0 ? took_us : 1) * 1e-6 / passes;
}

static status read_passes(device *d, const struct cuda_probe *probe, const struct cuda_read *a,
                          int32_t passes, double *seconds, error *err)
{
    probe->read(a, d->stream);
    status s = settle(d, "reading", err);
    int64_t begun_us = clock_us();
    for (int32_t i = 0; i < passes && s == OK; i++) probe->read(a, d->stream);
    if (s == OK) s = settle(d, "reading", err);
    *seconds = seconds_each(begun_us, passes);
    return s;
}

static status read_best(device *d, const struct cuda_probe *probe, struct cuda_read a,
                        int32_t passes, struct cuda_read_rate *out, error *err)
{
    static const int32_t loads[] = {4, 8, 16}, blocks[] = {2, 4, 8, 16, 32};
    double seconds;
    for (size_t i = 0; i < sizeof loads / sizeof *loads; i++)
        for (size_t j = 0; j < sizeof blocks / sizeof *blocks; j++) {
            a.loads = loads[i];
            a.blocks = blocks[j] * d->info.n_processors;
            status s = read_passes(d, probe, &a, passes, &seconds, err);
            if (s != OK) return s;
            double rate = (double)a.n_bytes / seconds;
            if (!(out->bytes_per_s > rate))
                *out = (struct cuda_read_rate){rate, (size_t)a.n_bytes, loads[i], blocks[j]};
        }
    return OK;
}

status cuda_read_measure(device *d, size_t bytes, int32_t passes, struct cuda_read_rate *out,
                         error *err)
{
    const struct cuda_probe *probe;
    *out = (struct cuda_read_rate){.bytes_per_s = (double)NAN};
    status s = probe_get(d, &probe, err);
    bytes = bytes / 16 * 16;
    void *from = s == OK ? cuda_take(d, bytes + 16, "the read loop", err) : NULL;
    if (!from) return s == OK ? ERR_MEMORY : s;
    struct cuda_random random = {.to = from,
                                 .n_rows = 1,
                                 .row_bytes = (int64_t)bytes + 16,
                                 .n_columns = (int64_t)bytes + 16,
                                 .seed = 1,
                                 .factor = (float)(127 / ROW_REACH),
                                 .kind = CUDA_RANDOM_INT8};
    probe->random(&random, d->stream);
    s = settle(d, "random bytes", err);
    struct cuda_read a = {
        .from = from, .n_bytes = (int64_t)bytes, .sum = (int32_t *)(void *)((char *)from + bytes)};
    if (s == OK) s = read_best(d, probe, a, passes, out, err);
    d->run->give(from);
    return s;
}

static status mma_measure(device *d, const struct cuda_probe *probe, int32_t rounds, void *memory,
                          double *rate, error *err)
{
    struct cuda_multiply a = {memory, rounds, 2 * d->info.n_processors};
    double each = 2.0 * 16 * 8 * 16 * CUDA_MULTIPLY_CHAINS * CUDA_MULTIPLY_WARPS;
    status s = OK;
    *rate = 0;
    for (int i = 0; i < 4 && s == OK; i++) {
        int64_t begun_us = clock_us();
        probe->multiply(&a, d->stream);
        s = settle(d, "multiplying", err);
        double now = each * rounds * a.blocks / seconds_each(begun_us, 1);
        if (i > 0 && now > *rate) *rate = now; /* the first warms up */
    }
    return s;
}

static status blas_measure(device *d, cuda_blas *blas, const struct cuda_blas_product *p,
                           int32_t passes, double *rate, error *err)
{
    double flop = 2.0 * p->n * p->k * p->rows;
    status s = OK;
    for (int round = 0; round < 2 && s == OK; round++) { /* the first warms up */
        int64_t begun_us = clock_us();
        for (int32_t i = 0; i < passes && s == OK; i++)
            s = cuda_blas_multiply(blas, p, d->stream, err);
        if (s == OK) s = settle(d, "cuBLASLt", err);
        if (s == OK) *rate = flop / seconds_each(begun_us, passes);
    }
    return s;
}

/* Operands, result and workspace in one piece: random bf16, read as E4M3 they hold some NaN, which
 * costs a multiplier nothing, so they are made anew in between. */
static void blas_both(device *d, cuda_blas *blas, const struct cuda_probe *probe, char *memory,
                      int32_t n, int32_t passes, struct cuda_matrix_rates *out)
{
    const size_t matrix = (size_t)n * (size_t)n * sizeof(uint16_t);
    struct cuda_blas_product p = {.w = memory,
                                  .x = memory + matrix,
                                  .out = memory + 2 * matrix,
                                  .w_stride = n,
                                  .x_stride = n,
                                  .out_stride = n,
                                  .workspace = memory + 3 * matrix,
                                  .workspace_bytes = matrix,
                                  .n = n,
                                  .k = n,
                                  .rows = n,
                                  .out_bf16 = true};
    for (int e4m3 = 0; e4m3 < 2; e4m3++) {
        error why = {0};
        struct cuda_random random = {.to = (unsigned char *)memory,
                                     .n_rows = 1,
                                     .row_bytes = (int64_t)(2 * matrix),
                                     .n_columns = (int64_t)(2 * matrix) / (e4m3 ? 1 : 2),
                                     .seed = 2,
                                     .factor = 1,
                                     .kind = e4m3 ? CUDA_RANDOM_E4M3 : CUDA_RANDOM_BF16};
        probe->random(&random, d->stream);
        p.e4m3 = e4m3;
        double *rate = e4m3 ? &out->e4m3_flop_per_s : &out->bf16_flop_per_s;
        if (settle(d, "random operands", &why) != OK ||
            blas_measure(d, blas, &p, passes, rate, &why) != OK)
            snprintf(out->without, sizeof out->without, "%.127s", why.message);
    }
}

status cuda_matrix_measure(device *d, int32_t n, int32_t passes, struct cuda_matrix_rates *out,
                           error *err)
{
    enum { ROUNDS_PER_N = 2 };
    const struct cuda_probe *probe;
    cuda_blas *blas = NULL;
    error why = {0};
    size_t bytes = 4 * (size_t)n * (size_t)n * sizeof(uint16_t) +
                   (size_t)d->info.n_processors * 2 * sizeof(float);
    *out = (struct cuda_matrix_rates){(double)NAN, (double)NAN, (double)NAN, ""};
    status s = probe_get(d, &probe, err);
    char *memory = s == OK ? cuda_take(d, bytes, "large matrices", err) : NULL;
    if (!memory) return s == OK ? ERR_MEMORY : s;
    s = mma_measure(d, probe, ROUNDS_PER_N * n, memory, &out->mma_flop_per_s, err);
    if (s == OK && cuda_blas_open(&blas, cuda_backend_get()->blas, &why) != OK)
        snprintf(out->without, sizeof out->without, "%.127s", why.message);
    else if (s == OK)
        blas_both(d, blas, probe, memory, n, passes, out);
    if (d->failure.code != OK) s = fail(err, d->failure.code, "%s", d->failure.message);
    cuda_blas_close(blas);
    d->run->give(memory);
    return s;
}
