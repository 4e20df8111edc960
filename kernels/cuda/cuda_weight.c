/* Weights in the backend's own layout: every row begins on 16 bytes and is padded with zeros to whole
 * stretches of k, and what is stored [in][out] is turned once, so that all products run along k.
 * Norms and other vectors are kept in fp32. */
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"
#include "kernels/format.h"
#include "kernels/host.h"

static int64_t padded(int64_t n)
{
    return (n + CUDA_K_MULTIPLE - 1) / CUDA_K_MULTIPLE * CUDA_K_MULTIPLE;
}

/* How the tensor lies on the device. */
static void layout(weight *w)
{
    const struct weight_spec *s = &w->spec;
    w->vector = s->n_rows == 1 || s->n_columns == 1;
    w->turned = s->transposed && !w->vector;
    w->n_rows = w->turned ? s->n_experts * s->n_columns : s->n_rows;
    w->n_columns = w->turned ? s->n_rows / s->n_experts : s->n_columns;
    if (w->vector) {
        w->n_columns = s->n_rows * s->n_columns;
        w->n_rows = 1;
    }
    w->matrix.format = w->vector ? WEIGHT_F32 : s->format;
    w->matrix.k = (int32_t)padded(w->n_columns);
    w->matrix.row_bytes = (int64_t)format_row_bytes(w->matrix.format, w->matrix.k);
    w->scale_bytes = format_row_scale_bytes(w->matrix.format, w->n_columns);
}

static status memory_open(weight *w, device *d, error *err)
{
    size_t codes, scales;
    const char *name = w->spec.name;
    if (w->n_columns > INT32_MAX - CUDA_K_MULTIPLE ||
        !size_mul((size_t)w->n_rows, (size_t)w->matrix.row_bytes, &codes) ||
        !size_mul((size_t)w->n_rows, w->scale_bytes, &scales))
        return fail(err, ERR_FORMAT, "%s: %lld rows of %lld are too many", name,
                    (long long)w->spec.n_rows, (long long)w->spec.n_columns);
    w->codes = cuda_take(d, codes, name, err);
    if (w->codes && scales) w->scales = cuda_take(d, scales, name, err);
    if (!w->codes || (scales && !w->scales)) return ERR_MEMORY;
    w->matrix.codes = w->codes;
    w->matrix.scales = w->scales;
    if (w->matrix.k != w->n_columns)
        cuda_ok(d, d->run->fill(w->codes, 0, codes, d->stream), "clearing a weight");
    return d->failure.code == OK ? OK : fail(err, d->failure.code, "%s", d->failure.message);
}

size_t cuda_weight_bytes(const struct weight_spec *spec)
{
    weight w = {.spec = *spec};
    size_t codes, scales, all;
    layout(&w);
    bool fits = size_mul((size_t)w.n_rows, (size_t)w.matrix.row_bytes, &codes) &&
                size_mul((size_t)w.n_rows, w.scale_bytes, &scales) && size_add(codes, scales, &all);
    return fits ? all : SIZE_MAX;
}

status cuda_weight_begin(weight **out, device *d, const struct weight_spec *spec, error *err)
{
    *out = NULL;
    status rc = weight_spec_check(spec, err);
    if (rc != OK) return rc;
    weight *w = memory_take(1, sizeof *w);
    if (!w) return fail(err, ERR_MEMORY, "%s: out of memory", spec->name);
    w->spec = *spec;
    w->d = d;
    w->spec.name = memory_copy(spec->name, strlen(spec->name));
    layout(w);
    rc = w->spec.name ? memory_open(w, d, err) : fail(err, ERR_MEMORY, "%s: no memory", spec->name);
    if (rc == OK) {
        *out = w;
        return OK;
    }
    cuda_weight_free(w);
    return rc;
}

/* Rows as the file has them, decoded into the one row of fp32. */
static size_t stage_vector(weight *w, unsigned char *host, int64_t n, const unsigned char *bytes,
                           const unsigned char *scales)
{
    const struct weight_spec *s = &w->spec;
    size_t row = format_row_bytes(s->format, s->n_columns);
    size_t scale = format_row_scale_bytes(s->format, s->n_columns);
    for (int64_t i = 0; i < n; i++)
        format_decode((float *)(void *)host + i * s->n_columns, s->format, bytes + (size_t)i * row,
                      scale ? scales + (size_t)i * scale : NULL, s->n_columns);
    return (size_t)(n * s->n_columns) * sizeof(float);
}

/* Rows one behind the other as they lie on the device, with their padding. */
static size_t stage_rows(const weight *w, unsigned char *host, int64_t n,
                         const unsigned char *bytes)
{
    size_t from = format_row_bytes(w->spec.format, w->spec.n_columns);
    size_t to = w->turned ? from : (size_t)w->matrix.row_bytes;
    for (int64_t i = 0; i < n; i++) {
        memcpy(host + (size_t)i * to, bytes + (size_t)i * from, from);
        memset(host + (size_t)i * to + from, 0, to - from);
    }
    return (size_t)n * to;
}

/* Rows [row, row + n) to their place, as many as one stage holds. */
static bool rows_send(weight *w, int64_t row, int64_t n, const unsigned char *bytes,
                      const unsigned char *scales)
{
    device *d = w->d;
    struct cuda_stage *stage = cuda_stage_next(d);
    if (!stage) return false;
    size_t size = w->vector ? stage_vector(w, stage->host, n, bytes, scales)
                            : stage_rows(w, stage->host, n, bytes);
    unsigned char *to = (unsigned char *)w->codes + (size_t)row * (size_t)w->matrix.row_bytes;
    if (w->vector) to = (unsigned char *)w->codes + (size_t)(row * w->spec.n_columns) * 4;
    if (w->turned) to = d->stage_device;
    bool ok = cuda_ok(d, d->run->copy(to, stage->host, size, d->stream), w->spec.name);
    if (ok && w->turned) {
        struct cuda_transpose t = {.from = d->stage_device,
                                   .to = w->codes,
                                   .row = row,
                                   .to_row_bytes = w->matrix.row_bytes,
                                   .n = (int32_t)n,
                                   .n_columns = (int32_t)w->spec.n_columns,
                                   .rows_per_expert = (int32_t)w->n_columns,
                                   .element_bytes = w->spec.format == WEIGHT_F32 ? 4 : 2};
        d->launch->transpose(&t, d->stream);
        cuda_launched(d, w->spec.name);
    }
    cuda_stage_sent(d, stage);
    return d->failure.code == OK;
}

static bool scales_send(weight *w, int64_t row, int64_t n, const unsigned char *scales)
{
    device *d = w->d;
    struct cuda_stage *stage = cuda_stage_next(d);
    if (!stage) return false;
    size_t bytes = (size_t)n * w->scale_bytes;
    memcpy(stage->host, scales, bytes);
    unsigned char *to = (unsigned char *)w->scales + (size_t)row * w->scale_bytes;
    bool ok = cuda_ok(d, d->run->copy(to, stage->host, bytes, d->stream), w->spec.name);
    cuda_stage_sent(d, stage);
    return ok && d->failure.code == OK;
}

status cuda_weight_put(weight *w, int64_t row, int64_t n_rows, const void *bytes,
                       const void *scales, error *err)
{
    const struct weight_spec *s = &w->spec;
    size_t from = format_row_bytes(s->format, s->n_columns);
    size_t scale = format_row_scale_bytes(s->format, s->n_columns);
    size_t staged = w->vector ? (size_t)s->n_columns * sizeof(float) : (size_t)w->matrix.row_bytes;
    if (w->turned || staged < from) staged = from;
    if (row != w->n_put || n_rows < 0 || n_rows > s->n_rows - row)
        return fail(err, ERR_USAGE, "%s: rows %lld + %lld of %lld, expected from row %lld", s->name,
                    (long long)row, (long long)n_rows, (long long)s->n_rows, (long long)w->n_put);
    if (scale && !scales) return fail(err, ERR_USAGE, "%s: rows without scales", s->name);
    if (staged > CUDA_STAGE_BYTES || w->scale_bytes > CUDA_STAGE_BYTES)
        return fail(err, ERR_UNSUPPORTED, "%s: a row of %zu bytes, at most %d", s->name, staged,
                    CUDA_STAGE_BYTES);
    int64_t at_once = CUDA_STAGE_BYTES / (int64_t)staged;
    for (int64_t i = 0, n = 0; i < n_rows; i += n) {
        n = n_rows - i < at_once ? n_rows - i : at_once;
        const unsigned char *b = (const unsigned char *)bytes + (size_t)i * from;
        const unsigned char *c = scale ? (const unsigned char *)scales + (size_t)i * scale : NULL;
        if (!rows_send(w, row + i, n, b, c) ||
            (c && w->scale_bytes && !scales_send(w, row + i, n, c)))
            return fail(err, w->d->failure.code, "%s", w->d->failure.message);
    }
    w->n_put += n_rows;
    return OK;
}

/* E4M3 has NaN, and no quantiser writes it; tensor cores would take its code for a number. */
static status nan_check(weight *w, error *err)
{
    device *d = w->d;
    struct cuda_stage *stage = cuda_stage_next(d);
    if (!stage) return fail(err, d->failure.code, "%s", d->failure.message);
    struct cuda_nan_scan scan = {
        .codes = w->codes, .n_bytes = w->n_rows * w->matrix.row_bytes, .found = d->nan_found};
    int32_t found = 0;
    cuda_ok(d, d->run->fill(d->nan_found, 0, sizeof found, d->stream), "scan");
    d->launch->nan_scan(&scan, d->stream);
    cuda_launched(d, "scan");
    cuda_ok(d, d->run->copy(stage->host, d->nan_found, sizeof found, d->stream), "scan");
    cuda_enter(d, "looking at weights");
    cuda_ok(d, d->run->wait(d->stream), w->spec.name);
    cuda_leave(d);
    if (d->failure.code != OK) return fail(err, d->failure.code, "%s", d->failure.message);
    memcpy(&found, stage->host, sizeof found);
    return found ? fail(err, ERR_FORMAT, "%s: holds E4M3 codes that are NaN", w->spec.name) : OK;
}

status cuda_weight_seal(weight *w, error *err)
{
    if (w->n_put != w->spec.n_rows)
        return fail(err, ERR_FORMAT, "%s: %lld of %lld rows were given", w->spec.name,
                    (long long)w->n_put, (long long)w->spec.n_rows);
    return w->matrix.format == WEIGHT_FP8_ROW ? nan_check(w, err) : OK;
}

void cuda_weight_free(weight *w)
{
    if (!w) return;
    char *name;
    memcpy(&name, &w->spec.name, sizeof name); /* ours, copied at begin */
    memory_free(name);
    cuda_graphs_drop(w->d); /* they hold the address */
    if (w->codes) w->d->run->give(w->codes);
    if (w->scales) w->d->run->give(w->scales);
    memory_free(w);
}
