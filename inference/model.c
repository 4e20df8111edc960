/* One table lists what a checkpoint holds: three tensors, and eight per layer. Everything else here
 * walks that table: checking, loading, and giving names to the loaded weights. */
#include "inference/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { OUTER_TENSORS = 3, LAYER_TENSORS = 8, TENSOR_NAME_MAX = 96 };

/* What one tensor of the checkpoint must look like. */
struct expected {
    char name[TENSOR_NAME_MAX];
    bool vector; /* shape [n_columns], else [n_rows, n_columns] */
    int64_t n_rows, n_columns;
    int32_t n_experts;
    bool transposed;
};

static int32_t tensor_count(const struct model_shape *s)
{
    return OUTER_TENSORS + LAYER_TENSORS * s->n_layers;
}

static struct expected expected_outer(const struct model_shape *s, int32_t i)
{
    switch (i) {
    case 0:
        return (struct expected){
            "transformer.wte.weight", false, s->vocab_size, s->d_model, 1, false};
    case 1: return (struct expected){"transformer.norm_f.weight", true, 1, s->d_model, 1, false};
    default: return (struct expected){"lm_head.weight", false, s->vocab_size, s->d_model, 1, false};
    }
}

static struct expected expected_in_layer(const struct model_shape *s, int32_t layer, int32_t part)
{
    int64_t d = s->d_model, attention = (int64_t)s->n_heads * s->head_dim;
    int64_t qkv = attention + 2 * (int64_t)s->kv_n_heads * s->head_dim;
    int64_t all_ffn = (int64_t)s->moe_num_experts * s->ffn_hidden_size;
    int32_t n_experts = s->moe_num_experts;
    const struct expected parts[LAYER_TENSORS] = {
        {"norm_attn_norm.norm_1.weight", true, 1, d, 1, false},
        {"norm_attn_norm.attn.Wqkv.weight", false, qkv, d, 1, false},
        {"norm_attn_norm.attn.out_proj.weight", false, d, attention, 1, false},
        {"norm_attn_norm.norm_2.weight", true, 1, d, 1, false},
        {"ffn.router.layer.weight", false, n_experts, d, 1, false},
        {"ffn.experts.mlp.w1", false, all_ffn, d, n_experts, false},
        {"ffn.experts.mlp.v1", false, all_ffn, d, n_experts, false},
        {"ffn.experts.mlp.w2", false, all_ffn, d, n_experts, true},
    };
    struct expected e = parts[part];
    snprintf(e.name, sizeof e.name, "transformer.blocks.%d.%s", layer, parts[part].name);
    return e;
}

static struct expected expected_at(const struct model_shape *s, int32_t i)
{
    if (i < OUTER_TENSORS) return expected_outer(s, i);
    i -= OUTER_TENSORS;
    return expected_in_layer(s, i / LAYER_TENSORS, i % LAYER_TENSORS);
}

static const char *shape_print(char *out, size_t size, const struct tensor *t)
{
    size_t at = 0;
    out[0] = 0;
    for (int32_t i = 0; i < t->n_dimensions && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    return out;
}

static bool shape_right(const struct tensor *t, const struct expected *e)
{
    if (e->vector) return t->n_dimensions == 1 && t->shape[0] == e->n_columns;
    return t->n_dimensions == 2 && t->shape[0] == e->n_rows && t->shape[1] == e->n_columns;
}

static status tensor_check(const struct tensor *t, const struct expected *e, error *err)
{
    char found[192];
    if (t->dtype != DTYPE_BF16 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_F32)
        return fail(err, ERR_UNSUPPORTED, "%s: tensor %s: dtype %s, expected BF16, F16 or F32",
                    t->file, t->name, tensor_dtype_name(t->dtype));
    if (shape_right(t, e)) return OK;
    shape_print(found, sizeof found, t);
    if (e->vector)
        return fail(err, ERR_FORMAT, "%s: tensor %s: shape [%s], expected [%" PRId64 "]", t->file,
                    t->name, found, e->n_columns);
    return fail(err, ERR_FORMAT, "%s: tensor %s: shape [%s], expected [%" PRId64 ", %" PRId64 "]",
                t->file, t->name, found, e->n_rows, e->n_columns);
}

/* Names the first tensor that no row of the table asks for. */
static status extra_fail(const model *m, error *err)
{
    for (size_t i = 0; i < safetensors_count(m->files); i++) {
        const struct tensor *t = safetensors_at(m->files, i);
        bool known = false;
        for (int32_t j = 0; j < m->n_weights && !known; j++) {
            struct expected e = expected_at(&m->config.shape, j);
            known = strcmp(e.name, t->name) == 0;
        }
        if (!known)
            return fail(err, ERR_FORMAT, "%s: tensor %s: not part of a DBRX model of %d layers",
                        t->file, t->name, m->config.shape.n_layers);
    }
    return OK;
}

static status tensors_check(const model *m, const char *model_dir, error *err)
{
    for (int32_t i = 0; i < m->n_weights; i++) {
        struct expected e = expected_at(&m->config.shape, i);
        const struct tensor *t = safetensors_find(m->files, e.name);
        if (!t)
            return fail(err, ERR_FORMAT,
                        "%s: tensor %s is missing (found %zu tensors, expected %d)", model_dir,
                        e.name, safetensors_count(m->files), m->n_weights);
        status s = tensor_check(t, &e, err);
        if (s != OK) return s;
    }
    return safetensors_count(m->files) == (size_t)m->n_weights ? OK : extra_fail(m, err);
}

status model_open(model **out, const char *model_dir, error *err)
{
    model *m = memory_take(1, sizeof *m);
    *out = NULL;
    if (!m) return fail(err, ERR_MEMORY, "%s: out of memory", model_dir);
    status s = model_config_read(&m->config, model_dir, err);
    if (s == OK) s = safetensors_open(&m->files, model_dir, err);
    if (s == OK) {
        m->n_weights = tensor_count(&m->config.shape);
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
    for (size_t i = 0; i < safetensors_count(m->files); i++) {
        const struct tensor *t = safetensors_at(m->files, i);
        n += (int64_t)(t->size_bytes / tensor_dtype_bytes(t->dtype));
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
    return bytes;
}

/* IEEE 754 binary16 to binary32, exact. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    uint32_t mantissa = half & 0x3ffu;
    union {
        uint32_t bits;
        float value;
    } out;
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 */
        out.value = (float)mantissa * 0x1p-24f;
        out.bits |= sign;
    } else {
        out.bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | mantissa << 13;
    }
    return out.value;
}

/* Some rows at a time, so that widening needs little memory of its own. */
static status halves_put(const struct kernels *k, weight *w, const struct tensor *t,
                         const struct expected *e, error *err)
{
    size_t columns = (size_t)e->n_columns;
    int64_t rows = e->n_rows < 64 ? e->n_rows : 64;
    float *wide = memory_take((size_t)rows * columns, sizeof *wide);
    status s = wide ? OK : fail(err, ERR_MEMORY, "%s: out of memory", t->name);
    for (int64_t row = 0; s == OK && row < e->n_rows; row += rows) {
        int64_t n = e->n_rows - row < rows ? e->n_rows - row : rows;
        const unsigned char *from = t->bytes + (size_t)row * columns * 2;
        for (size_t i = 0; i < (size_t)n * columns; i++) {
            uint16_t half;
            memcpy(&half, from + 2 * i, sizeof half);
            wide[i] = half_to_float(half);
        }
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
                               const struct expected *e, error *err)
{
    void *copy = memory_take(t->size_bytes, 1);
    if (!copy) return fail(err, ERR_MEMORY, "%s: out of memory", t->name);
    memcpy(copy, t->bytes, t->size_bytes);
    status s = k->weight_put(w, 0, e->n_rows, copy, NULL, err);
    memory_free(copy);
    return s;
}

static status weight_load(model *m, int32_t i, device *d, error *err)
{
    const struct kernels *k = m->kernels;
    struct expected e = expected_at(&m->config.shape, i);
    const struct tensor *t = safetensors_find(m->files, e.name);
    bool half = t->dtype == DTYPE_F16, aligned = tensor_aligned(t);
    struct weight_spec spec = {.name = e.name,
                               .format = t->dtype == DTYPE_BF16 ? WEIGHT_BF16 : WEIGHT_F32,
                               .n_rows = e.n_rows,
                               .n_columns = e.n_columns,
                               .n_experts = e.n_experts,
                               .transposed = e.transposed,
                               .borrowed = !half && aligned};
    status s = k->weight_begin(&m->weights[i], d, &spec, err);
    if (s == OK && half)
        s = halves_put(k, m->weights[i], t, &e, err);
    else if (s == OK && !aligned)
        s = aligned_copy_put(k, m->weights[i], t, &e, err);
    else if (s == OK)
        s = k->weight_put(m->weights[i], 0, e.n_rows, t->bytes, NULL, err);
    if (s == OK) s = k->weight_seal(m->weights[i], err);
    return s == OK ? OK : fail_in(err, s, "%s: tensor %s", t->file, t->name);
}

static void weights_name(model *m)
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
        status s = weight_load(m, i, d, err);
        if (s != OK) return s;
        struct expected e = expected_at(&m->config.shape, i);
        done += safetensors_find(m->files, e.name)->size_bytes;
        if (progress) progress(context, (double)done / (double)all);
    }
    weights_name(m);
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
