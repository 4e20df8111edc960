/* Embedding, norms and router are never quantised: of DBRX they are half a percent of the bytes, and
 * the router decides which experts run. INT4 is for experts; attention and head then are FP8. */
#include "inference/tensor_table.h"

#include <stdio.h>

#include "kernels/format.h"

enum kind { KIND_PLAIN, KIND_DENSE, KIND_EXPERTS };

struct table_row {
    const char *name;
    int64_t n_rows, n_columns;
    enum kind kind;
    bool vector, transposed;
};

int32_t model_tensor_count(const struct model_shape *s)
{
    return OUTER_TENSORS + LAYER_TENSORS * s->n_layers;
}

static struct table_row row_outer(const struct model_shape *s, int32_t i)
{
    int64_t vocabulary = s->vocab_size, d = s->d_model;
    const struct table_row rows[OUTER_TENSORS] = {
        {"transformer.wte.weight", vocabulary, d, KIND_PLAIN, false, false},
        {"transformer.norm_f.weight", 1, d, KIND_PLAIN, true, false},
        {"lm_head.weight", vocabulary, d, KIND_DENSE, false, false},
    };
    return rows[i];
}

static struct table_row row_in_layer(const struct model_shape *s, int32_t part)
{
    int64_t d = s->d_model, attention = (int64_t)s->n_heads * s->head_dim;
    int64_t qkv = attention + 2 * (int64_t)s->kv_n_heads * s->head_dim;
    int64_t all_ffn = (int64_t)s->moe_num_experts * s->ffn_hidden_size;
    const struct table_row rows[LAYER_TENSORS] = {
        {"norm_attn_norm.norm_1.weight", 1, d, KIND_PLAIN, true, false},
        {"norm_attn_norm.attn.Wqkv.weight", qkv, d, KIND_DENSE, false, false},
        {"norm_attn_norm.attn.out_proj.weight", d, attention, KIND_DENSE, false, false},
        {"norm_attn_norm.norm_2.weight", 1, d, KIND_PLAIN, true, false},
        {"ffn.router.layer.weight", s->moe_num_experts, d, KIND_PLAIN, false, false},
        {"ffn.experts.mlp.w1", all_ffn, d, KIND_EXPERTS, false, false},
        {"ffn.experts.mlp.v1", all_ffn, d, KIND_EXPERTS, false, false},
        {"ffn.experts.mlp.w2", all_ffn, d, KIND_EXPERTS, false, true},
    };
    return rows[part];
}

static enum weight_format format_of(enum kind kind, enum weight_format weights)
{
    if (kind == KIND_PLAIN) return WEIGHT_BF16;
    return kind == KIND_DENSE && weights == WEIGHT_INT4_G128 ? WEIGHT_FP8_ROW : weights;
}

struct model_tensor model_tensor_at(const struct model_shape *s, enum weight_format weights,
                                    int32_t i)
{
    int32_t layer = (i - OUTER_TENSORS) / LAYER_TENSORS;
    struct table_row row =
        i < OUTER_TENSORS ? row_outer(s, i) : row_in_layer(s, (i - OUTER_TENSORS) % LAYER_TENSORS);
    struct model_tensor t = {.vector = row.vector,
                             .n_rows = row.n_rows,
                             .n_columns = row.n_columns,
                             .n_experts = row.kind == KIND_EXPERTS ? s->moe_num_experts : 1,
                             .transposed = row.transposed,
                             .format = format_of(row.kind, weights)};
    if (i < OUTER_TENSORS)
        snprintf(t.name, sizeof t.name, "%s", row.name);
    else
        snprintf(t.name, sizeof t.name, "transformer.blocks.%d.%s", layer, row.name);
    if (row.transposed && t.format != WEIGHT_BF16) {
        /* Scales run along the product's inner dimension, so each expert lies [d_model, ffn]. */
        t.transposed = false;
        t.n_rows = (int64_t)s->moe_num_experts * s->d_model;
        t.n_columns = s->ffn_hidden_size;
    }
    return t;
}

struct weight_spec model_tensor_spec(const struct model_tensor *t)
{
    return (struct weight_spec){.name = t->name,
                                .format = t->format,
                                .n_rows = t->n_rows,
                                .n_columns = t->n_columns,
                                .n_experts = t->n_experts,
                                .transposed = t->transposed};
}

bool model_tensor_quantized(const struct model_tensor *t) { return t->format != WEIGHT_BF16; }

struct stored_tensor model_tensor_data(const struct model_tensor *t, enum tensor_dtype dtype)
{
    struct stored_tensor out = {.n_dimensions = t->vector ? 1 : 2,
                                .shape = {t->n_rows, t->n_columns}};
    snprintf(out.name, sizeof out.name, "%s", t->name);
    out.dtype = t->format == WEIGHT_FP8_ROW     ? DTYPE_F8_E4M3
                : t->format == WEIGHT_INT8_ROW  ? DTYPE_I8
                : t->format == WEIGHT_INT4_G128 ? DTYPE_U8
                                                : dtype;
    if (t->vector) out.shape[0] = t->n_columns;
    if (model_tensor_quantized(t))
        out.shape[1] = (int64_t)format_row_bytes(t->format, t->n_columns);
    out.size_bytes = (size_t)out.shape[0] * tensor_dtype_bytes(out.dtype);
    if (!t->vector) out.size_bytes *= (size_t)out.shape[1];
    return out;
}

struct stored_tensor model_tensor_scales(const struct model_tensor *t)
{
    bool grouped = t->format == WEIGHT_INT4_G128;
    struct stored_tensor out = {.dtype = grouped ? DTYPE_BF16 : DTYPE_F32,
                                .n_dimensions = grouped ? 2 : 1,
                                .shape = {t->n_rows, (t->n_columns + INT4_GROUP - 1) / INT4_GROUP},
                                .size_bytes = (size_t)t->n_rows *
                                              format_row_scale_bytes(t->format, t->n_columns)};
    snprintf(out.name, sizeof out.name, "%.*s.scales", TENSOR_NAME_MAX - 8, t->name);
    return out;
}
