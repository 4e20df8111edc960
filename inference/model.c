/* Everything here walks the tensor table: checking, loading, and giving names to the loaded weights.
 * A quantised weight is two tensors, its numbers and their scales. */
#include "inference/model.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "inference/tensor_table.h"

static struct model_tensor tensor_at(const model *m, int32_t i)
{
    return model_tensor_at(&m->config.shape, m->config.weights, i);
}

static const char *shape_print(char *out, size_t size, const int64_t *shape, int32_t n)
{
    size_t at = 0;
    out[0] = 0;
    for (int32_t i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%" PRId64, i ? ", " : "", shape[i]);
    return out;
}

static bool dtype_wide(enum tensor_dtype dtype)
{
    return dtype == DTYPE_BF16 || dtype == DTYPE_F16 || dtype == DTYPE_F32;
}

/* Looks for one tensor of the files. `wide`: any of three dtypes will do. */
static status stored_check(const model *m, const char *model_dir, const struct stored_tensor *e,
                           bool wide, error *err)
{
    char found[192], expected[64];
    const struct tensor *t = safetensors_find(m->files, e->name);
    if (!t)
        return fail(err, ERR_FORMAT, "%s: tensor %s is missing (found %zu tensors, expected %zu)",
                    model_dir, e->name, safetensors_count(m->files), m->n_stored);
    if (wide ? !dtype_wide(t->dtype) : t->dtype != e->dtype)
        return fail(err, ERR_UNSUPPORTED, "%s: tensor %s: dtype %s, expected %s", t->file, t->name,
                    tensor_dtype_name(t->dtype),
                    wide ? "BF16, F16 or F32" : tensor_dtype_name(e->dtype));
    bool same = t->n_dimensions == e->n_dimensions;
    for (int32_t i = 0; same && i < e->n_dimensions; i++) same = t->shape[i] == e->shape[i];
    if (same) return OK;
    return fail(err, ERR_FORMAT, "%s: tensor %s: shape [%s], expected [%s]", t->file, t->name,
                shape_print(found, sizeof found, t->shape, t->n_dimensions),
                shape_print(expected, sizeof expected, e->shape, e->n_dimensions));
}

static bool tensor_known(const model *m, const char *name)
{
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor e = tensor_at(m, i);
        if (strcmp(e.name, name) == 0) return true;
        if (model_tensor_quantized(&e) && strcmp(model_tensor_scales(&e).name, name) == 0)
            return true;
    }
    return false;
}

/* Names the first tensor that no row of the table asks for. */
static status extra_fail(const model *m, error *err)
{
    for (size_t i = 0; i < safetensors_count(m->files); i++) {
        const struct tensor *t = safetensors_at(m->files, i);
        if (!tensor_known(m, t->name))
            return fail(err, ERR_FORMAT, "%s: tensor %s: not part of a DBRX model of %d layers%s",
                        t->file, t->name, m->config.shape.n_layers,
                        m->config.weights == WEIGHT_BF16 ? "" : " in its format");
    }
    return OK;
}

static status tensors_check(model *m, const char *model_dir, error *err)
{
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor e = tensor_at(m, i);
        m->n_stored += model_tensor_quantized(&e) ? 2 : 1;
    }
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor e = tensor_at(m, i);
        struct stored_tensor data = model_tensor_data(&e, DTYPE_BF16);
        bool quantized = model_tensor_quantized(&e);
        status s = stored_check(m, model_dir, &data, !quantized, err);
        if (s == OK && quantized) {
            struct stored_tensor scales = model_tensor_scales(&e);
            s = stored_check(m, model_dir, &scales, false, err);
        }
        if (s != OK) return s;
    }
    return safetensors_count(m->files) == m->n_stored ? OK : extra_fail(m, err);
}

status model_open(model **out, const char *model_dir, error *err)
{
    model *m = memory_take(1, sizeof *m);
    *out = NULL;
    if (!m) return fail(err, ERR_MEMORY, "%s: out of memory", model_dir);
    status s = model_config_read(&m->config, model_dir, err);
    if (s == OK) s = safetensors_open(&m->files, model_dir, err);
    if (s == OK) {
        m->n_weights = model_tensor_count(&m->config.shape);
        m->weights = memory_take((size_t)m->n_weights, sizeof *m->weights);
        m->layers = memory_take((size_t)m->config.shape.n_layers, sizeof *m->layers);
        s = m->weights && m->layers ? tensors_check(m, model_dir, err)
                                    : fail(err, ERR_MEMORY, "%s: out of memory", model_dir);
    }
    if (s != OK) {
        model_close(m);
        return s;
    }
    *out = m;
    return OK;
}

int64_t model_parameters(const model *m)
{
    int64_t n = 0;
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor t = tensor_at(m, i);
        n += t.n_rows * t.n_columns;
    }
    return n;
}

size_t model_stored_bytes(const model *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < safetensors_count(m->files); i++)
        bytes += safetensors_at(m->files, i)->size_bytes;
    return bytes;
}

size_t model_copied_bytes(const model *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < safetensors_count(m->files); i++)
        if (safetensors_at(m->files, i)->dtype == DTYPE_F16)
            bytes += 2 * safetensors_at(m->files, i)->size_bytes;
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor t = tensor_at(m, i);
        if (model_tensor_quantized(&t)) bytes += model_tensor_scales(&t).size_bytes;
    }
    return bytes;
}

size_t model_device_bytes(const model *m, enum weight_format weights, const struct kernels *k)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct model_tensor e = tensor_at(m, i);
        const struct tensor *t = safetensors_find(m->files, e.name);
        if (weights != WEIGHT_F32) e = model_tensor_at(&m->config.shape, weights, i);
        struct weight_spec spec = model_tensor_spec(&e);
        if (!model_tensor_quantized(&e) && t->dtype != DTYPE_BF16) spec.format = WEIGHT_F32;
        if (!size_add(bytes, k->weight_bytes(&spec), &bytes)) return SIZE_MAX;
    }
    return bytes;
}

/* Some rows at a time, so that widening needs little memory of its own. */
static status halves_put(const struct kernels *k, weight *w, const struct tensor *t,
                         const struct model_tensor *e, error *err)
{
    size_t columns = (size_t)e->n_columns;
    int64_t rows = e->n_rows < 64 ? e->n_rows : 64;
    float *wide = memory_take((size_t)rows * columns, sizeof *wide);
    status s = wide ? OK : fail(err, ERR_MEMORY, "%s: out of memory", t->name);
    for (int64_t row = 0; s == OK && row < e->n_rows; row += rows) {
        int64_t n = e->n_rows - row < rows ? e->n_rows - row : rows;
        tensor_widen(wide, t, (size_t)row * columns, (size_t)n * columns);
        s = k->weight_put(w, row, n, wide, NULL, err);
    }
    memory_free(wide);
    return s;
}

/* A tensor at an odd address cannot be borrowed: the format aligns nothing. */
static bool tensor_aligned(const struct tensor *t)
{
    return (uintptr_t)t->bytes % tensor_dtype_bytes(t->dtype) == 0;
}

static status aligned_copy_put(const struct kernels *k, weight *w, const struct tensor *t,
                               const struct model_tensor *e, error *err)
{
    void *copy = memory_take(t->size_bytes, 1);
    if (!copy) return fail(err, ERR_MEMORY, "%s: out of memory", t->name);
    memcpy(copy, t->bytes, t->size_bytes);
    status s = k->weight_put(w, 0, e->n_rows, copy, NULL, err);
    memory_free(copy);
    return s;
}

/* One bad scale spoils a row of every answer: they are few, so all are looked at. */
static status scales_put(const struct kernels *k, weight *w, const struct tensor *t,
                         const struct tensor *scales, const struct model_tensor *e, error *err)
{
    size_t n = scales->size_bytes / tensor_dtype_bytes(scales->dtype);
    for (size_t i = 0; i < n; i++) {
        float scale;
        tensor_widen(&scale, scales, i, 1);
        if (!(scale >= 0 && scale <= FLT_MAX))
            return fail(err, ERR_FORMAT, "%s: scale %zu is %g, expected a finite one of at least 0",
                        scales->name, i, (double)scale);
    }
    return k->weight_put(w, 0, e->n_rows, t->bytes, scales->bytes, err);
}

static enum weight_format format_loaded(const struct model_tensor *e, const struct tensor *t)
{
    if (model_tensor_quantized(e)) return e->format;
    return t->dtype == DTYPE_BF16 ? WEIGHT_BF16 : WEIGHT_F32;
}

status model_weight_load(model *m, int32_t i, device *d, size_t *bytes, error *err)
{
    const struct kernels *k = m->kernels;
    struct model_tensor e = tensor_at(m, i);
    const struct tensor *t = safetensors_find(m->files, e.name), *scales = NULL;
    bool half = t->dtype == DTYPE_F16, aligned = tensor_aligned(t);
    struct weight_spec spec = model_tensor_spec(&e);
    spec.format = format_loaded(&e, t);
    spec.borrowed = !half && aligned;
    if (model_tensor_quantized(&e))
        scales = safetensors_find(m->files, model_tensor_scales(&e).name);
    status s = k->weight_begin(&m->weights[i], d, &spec, err);
    if (s == OK && scales)
        s = scales_put(k, m->weights[i], t, scales, &e, err);
    else if (s == OK && half)
        s = halves_put(k, m->weights[i], t, &e, err);
    else if (s == OK && !aligned)
        s = aligned_copy_put(k, m->weights[i], t, &e, err);
    else if (s == OK)
        s = k->weight_put(m->weights[i], 0, e.n_rows, t->bytes, NULL, err);
    if (s == OK) s = k->weight_seal(m->weights[i], err);
    *bytes += t->size_bytes + (scales ? scales->size_bytes : 0);
    return s == OK ? OK : fail_in(err, s, "%s: tensor %s", t->file, t->name);
}

void model_weights_name(model *m)
{
    weight **w = m->weights;
    m->wte = w[0];
    m->norm_f = w[1];
    m->lm_head = w[2];
    w += OUTER_TENSORS;
    for (int32_t i = 0; i < m->config.shape.n_layers; i++, w += LAYER_TENSORS)
        m->layers[i] = (struct layer_weights){.norm_1 = w[0],
                                              .qkv = w[1],
                                              .out_proj = w[2],
                                              .norm_2 = w[3],
                                              .router = w[4],
                                              .w1 = w[5],
                                              .v1 = w[6],
                                              .w2 = w[7]};
}

status model_load(model *m, const struct kernels *kernels, device *d,
                  void (*progress)(void *context, double fraction), void *context, error *err)
{
    size_t done = 0, all = model_stored_bytes(m);
    m->kernels = kernels;
    for (int32_t i = 0; i < m->n_weights; i++) {
        status s = model_weight_load(m, i, d, &done, err);
        if (s != OK) return s;
        if (progress) progress(context, (double)done / (double)all);
    }
    model_weights_name(m);
    return OK;
}

void model_close(model *m)
{
    if (!m) return;
    for (int32_t i = 0; m->weights && i < m->n_weights; i++)
        if (m->weights[i]) m->kernels->weight_free(m->weights[i]);
    memory_free(m->weights);
    memory_free(m->layers);
    safetensors_close(m->files);
    memory_free(m);
}
