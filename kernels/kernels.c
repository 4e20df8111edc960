/* Which backends there are, and the contract on shapes that all of them keep. */
#include "kernels/kernels.h"

#include <string.h>

#include "base/limits.h"
#include "kernels/cuda/cuda.h"

struct bound {
    const char *field;
    int32_t value, least, most, multiple;
};

static status bound_check(const struct bound *b, error *err)
{
    if (b->value < b->least || b->value > b->most)
        return fail(err, ERR_UNSUPPORTED, "%s is %d, expected %d to %d", b->field, b->value,
                    b->least, b->most);
    if (b->value % b->multiple != 0)
        return fail(err, ERR_UNSUPPORTED, "%s is %d, expected a multiple of %d", b->field, b->value,
                    b->multiple);
    return OK;
}

static status ratios_check(const struct model_shape *s, error *err)
{
    if (s->head_dim != 16 && s->head_dim != 32 && s->head_dim != 64 && s->head_dim != 128)
        return fail(err, ERR_UNSUPPORTED, "head_dim is %d, expected 16, 32, 64 or 128",
                    s->head_dim);
    if (s->n_heads % s->kv_n_heads != 0)
        return fail(err, ERR_UNSUPPORTED, "n_heads is %d, expected a multiple of kv_n_heads %d",
                    s->n_heads, s->kv_n_heads);
    if (s->moe_top_k > s->moe_num_experts)
        return fail(err, ERR_UNSUPPORTED, "moe_top_k is %d, expected at most moe_num_experts %d",
                    s->moe_top_k, s->moe_num_experts);
    if (!(s->rope_theta > 1 && s->rope_theta <= 1e12))
        return fail(err, ERR_UNSUPPORTED, "rope_theta is %g, expected above 1 and at most 1e12",
                    s->rope_theta);
    if (s->clip_qkv != s->clip_qkv) return fail(err, ERR_UNSUPPORTED, "clip_qkv is not a number");
    if ((unsigned)s->activations > ACTIVATION_INT8)
        return fail(err, ERR_UNSUPPORTED, "activations %d are not known", (int)s->activations);
    return OK;
}

status shape_check(const struct model_shape *s, error *err)
{
    const struct bound bounds[] = {
        {"d_model", s->d_model, 32, D_MODEL_MAX, 32},
        {"n_heads", s->n_heads, 1, D_MODEL_MAX / 16, 1},
        {"kv_n_heads", s->kv_n_heads, 1, D_MODEL_MAX / 16, 1},
        {"n_layers", s->n_layers, 1, LAYERS_MAX, 1},
        {"ffn_hidden_size", s->ffn_hidden_size, 32, D_MODEL_MAX * 8, 32},
        {"moe_num_experts", s->moe_num_experts, 1, EXPERTS_MAX, 1},
        {"moe_top_k", s->moe_top_k, 1, TOP_K_MAX, 1},
        {"vocab_size", s->vocab_size, 1, VOCABULARY_MAX, 1},
        {"max_seq_len", s->max_seq_len, 1, SEQUENCE_TOKENS_MAX, 1},
    };
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        status rc = bound_check(&bounds[i], err);
        if (rc != OK) return rc;
    }
    return ratios_check(s, err);
}

status kernels_find(const struct kernels **out, const char *name, error *err)
{
    struct cuda_device_info info;
    *out = NULL;
    if (strcmp(name, "auto") == 0)
        *out = cuda_available(0, &info, NULL) == OK ? &kernels_cuda : &kernels_cpu;
    else if (strcmp(name, "cpu") == 0)
        *out = &kernels_cpu;
    else if (strcmp(name, "reference") == 0)
        *out = &kernels_reference;
    else if (strcmp(name, "cuda") != 0)
        return fail(err, ERR_UNSUPPORTED,
                    "backend \"%s\" does not exist: auto, cpu, cuda and reference do", name);
    if (*out) return OK;
    status rc = cuda_available(0, &info, err);
    if (rc == OK) *out = &kernels_cuda;
    return rc;
}
