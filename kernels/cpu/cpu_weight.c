/* Weights stay where the model file is mapped whenever they may: the file's own layout is the one
 * the inner loops read, so nothing is repacked and nothing is held twice. */
#include <string.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/format.h"
#include "kernels/host.h"

/* Whole tiles of INT4's scales, and one more that is read and not used. */
static size_t scale_rows(const struct weight_spec *spec)
{
    size_t n = (size_t)spec->n_rows;
    return spec->format == WEIGHT_INT4_G128 ? (n / INT4_TILE + 2) * INT4_TILE : n;
}

status cpu_weight_begin(weight **out, device *d, const struct weight_spec *spec, error *err)
{
    (void)d;
    *out = NULL;
    status rc = weight_spec_check(spec, err);
    if (rc != OK) return rc;
    weight *w = memory_take(1, sizeof *w);
    if (!w) return fail(err, ERR_MEMORY, "%s: out of memory", spec->name);
    w->spec = *spec;
    w->row_bytes = format_row_bytes(spec->format, spec->n_columns);
    w->scale_bytes = format_row_scale_bytes(spec->format, spec->n_columns);
    w->spec.name = memory_copy(spec->name, strlen(spec->name));
    if (w->scale_bytes) w->scales = memory_take(scale_rows(spec), w->scale_bytes);
    if (!w->spec.name || (w->scale_bytes && !w->scales)) {
        cpu_weight_free(w);
        return fail(err, ERR_MEMORY, "%s: out of memory", spec->name);
    }
    *out = w;
    return OK;
}

static bool is_aligned(const void *bytes, enum weight_format format)
{
    size_t size = format == WEIGHT_F32 ? 4 : format == WEIGHT_BF16 ? 2 : 1;
    return (uintptr_t)bytes % size == 0;
}

/* Memory of our own, with the rows that were borrowed so far. */
static status weight_own(weight *w, error *err)
{
    if (w->own) return OK;
    w->own = memory_take((size_t)w->spec.n_rows, w->row_bytes);
    if (!w->own)
        return fail(err, ERR_MEMORY, "%s: no memory for %lld rows of %zu bytes", w->spec.name,
                    (long long)w->spec.n_rows, w->row_bytes);
    if (w->bytes) memcpy(w->own, w->bytes, (size_t)w->n_put * w->row_bytes);
    w->bytes = w->own;
    return OK;
}

/* Rows of scales, [group] in the file, to [tile][group][row of the tile]. */
static void scales_tile(weight *w, int64_t first, int64_t n_rows, const unsigned char *scales)
{
    size_t n_groups = w->scale_bytes / 2;
    for (size_t i = 0; i < (size_t)n_rows; i++) {
        size_t row = (size_t)first + i;
        unsigned char *to =
            w->scales + (row / INT4_TILE * n_groups * INT4_TILE + row % INT4_TILE) * 2;
        for (size_t g = 0; g < n_groups; g++)
            memcpy(to + g * INT4_TILE * 2, scales + (i * n_groups + g) * 2, 2);
    }
}

status cpu_weight_put(weight *w, int64_t row, int64_t n_rows, const void *bytes, const void *scales,
                      error *err)
{
    if (row != w->n_put || n_rows < 0 || n_rows > w->spec.n_rows - row)
        return fail(err, ERR_USAGE, "%s: rows %lld + %lld of %lld, expected from row %lld",
                    w->spec.name, (long long)row, (long long)n_rows, (long long)w->spec.n_rows,
                    (long long)w->n_put);
    const unsigned char *from = bytes;
    bool follows = w->n_put == 0 || from == w->bytes + (size_t)row * w->row_bytes;
    if (w->spec.borrowed && !w->own && follows && is_aligned(bytes, w->spec.format)) {
        if (row == 0) w->bytes = from;
    } else {
        status rc = weight_own(w, err);
        if (rc != OK) return rc;
        memcpy(w->own + (size_t)row * w->row_bytes, from, (size_t)n_rows * w->row_bytes);
    }
    if (w->spec.format == WEIGHT_INT4_G128)
        scales_tile(w, row, n_rows, scales);
    else if (w->scale_bytes)
        memcpy(w->scales + (size_t)row * w->scale_bytes, scales, (size_t)n_rows * w->scale_bytes);
    w->n_put += n_rows;
    return OK;
}

status cpu_weight_seal(weight *w, error *err)
{
    if (w->n_put != w->spec.n_rows)
        return fail(err, ERR_FORMAT, "%s: %lld of %lld rows were given", w->spec.name,
                    (long long)w->n_put, (long long)w->spec.n_rows);
    if (w->spec.n_rows > 1 && w->spec.n_columns > 1) return OK;
    w->vector = memory_take((size_t)(w->spec.n_rows * w->spec.n_columns), sizeof *w->vector);
    if (!w->vector) return fail(err, ERR_MEMORY, "%s: out of memory", w->spec.name);
    for (int64_t r = 0; r < w->spec.n_rows; r++)
        cpu_weight_row(w->vector + r * w->spec.n_columns, w, r);
    return OK;
}

void cpu_weight_row(float *out, const weight *w, int64_t row)
{
    const unsigned char *from = w->bytes + (size_t)row * w->row_bytes;
    int64_t n = w->spec.n_columns, step = w->spec.format == WEIGHT_INT4_G128 ? INT4_GROUP : n;
    const unsigned char *scales = w->scales;
    if (w->spec.format == WEIGHT_INT4_G128)
        scales = (const unsigned char *)cpu_panel(w, row, 1).tiled;
    else if (scales)
        scales += (size_t)row * w->scale_bytes;
    for (int64_t i = 0; i < n; i += step) {
        format_decode(out + i, w->spec.format, from + format_row_bytes(w->spec.format, i), scales,
                      n - i < step ? n - i : step);
        if (scales) scales += sizeof(uint16_t) * INT4_TILE;
    }
}

void cpu_weight_free(weight *w)
{
    if (!w) return;
    char *name;
    memcpy(&name, &w->spec.name, sizeof name); /* ours, copied at begin */
    memory_free(name);
    memory_free(w->own);
    memory_free(w->scales);
    memory_free(w->vector);
    memory_free(w);
}
