/* Every number goes through one of two readers that know its name, its range and the file. */
#include "inference/model_config.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "inference/json_text.h"

/* An object of the file, and the words that stand before its keys in messages. */
struct config_object {
    const char *path;   /* of the file */
    const char *prefix; /* "", "attn_config." */
    const json_t *json; /* NULL: absent, then every key is */
};

/* The file may write 6144 or 6144.0. */
static status number_read(double *out, const struct config_object *o, const char *key, double low,
                          double high, error *err)
{
    const json_t *value = json_object_get(o->json, key);
    *out = 0;
    if (!value) return fail(err, ERR_FORMAT, "%s: %s%s is missing", o->path, o->prefix, key);
    if (!json_is_number(value))
        return fail(err, ERR_FORMAT, "%s: %s%s is no number", o->path, o->prefix, key);
    *out = json_number_value(value);
    if (!(*out >= low && *out <= high))
        return fail(err, ERR_FORMAT, "%s: %s%s is %.17g, expected %.17g to %.17g", o->path,
                    o->prefix, key, *out, low, high);
    return OK;
}

static status count_read(int32_t *out, const struct config_object *o, const char *key, int32_t high,
                         error *err)
{
    double value;
    status s = number_read(&value, o, key, 1, high, err);
    *out = (int32_t)value;
    if (s == OK && value != floor(value))
        return fail(err, ERR_FORMAT, "%s: %s%s is %.17g, expected a whole number", o->path,
                    o->prefix, key, value);
    return s;
}

/* The object `key` of the file; absent is fine, another type is not. */
static status object_read(struct config_object *out, const struct config_object *root,
                          const char *key, const char *prefix, error *err)
{
    const json_t *value = json_object_get(root->json, key);
    bool absent = !value || json_is_null(value);
    *out = (struct config_object){root->path, prefix, absent ? NULL : value};
    if (!absent && !json_is_object(value))
        return fail(err, ERR_FORMAT, "%s: %s is no object", root->path, key);
    return OK;
}

static status architecture_check(const struct config_object *root, error *err)
{
    const json_t *names = json_object_get(root->json, "architectures");
    const char *type = json_string_value(json_object_get(root->json, "model_type"));
    const char *name = json_string_value(json_array_get(names, 0));
    if (!type || strcmp(type, "dbrx") != 0)
        return fail(err, ERR_UNSUPPORTED, "%s: model_type is \"%s\", expected \"dbrx\"", root->path,
                    type ? type : "(none)");
    if (names && (!name || strcmp(name, "DbrxForCausalLM") != 0))
        return fail(err, ERR_UNSUPPORTED,
                    "%s: architectures[0] is \"%s\", expected \"DbrxForCausalLM\"", root->path,
                    name ? name : "(none)");
    if (json_is_true(json_object_get(root->json, "tie_word_embeddings")))
        return fail(err, ERR_UNSUPPORTED, "%s: tie_word_embeddings is true, expected false",
                    root->path);
    return OK;
}

/* Either attn_config.rope_theta, or rope_parameters.rope_theta as newer files have it. */
static status rope_read(double *out, const struct config_object *root,
                        const struct config_object *attn, error *err)
{
    struct config_object rope;
    status s = object_read(&rope, root, "rope_parameters", "rope_parameters.", err);
    if (s != OK) return s;
    const char *type = json_string_value(json_object_get(rope.json, "rope_type"));
    if (type && strcmp(type, "default") != 0)
        return fail(err, ERR_UNSUPPORTED,
                    "%s: rope_parameters.rope_type is \"%s\", expected "
                    "\"default\"",
                    root->path, type);
    bool newer = json_object_get(rope.json, "rope_theta") != NULL;
    return number_read(out, newer ? &rope : attn, "rope_theta", 1, 1e12, err);
}

static status attention_read(struct model_shape *shape, const struct config_object *root,
                             error *err)
{
    struct config_object attn;
    status s = object_read(&attn, root, "attn_config", "attn_config.", err);
    if (s == OK) s = count_read(&shape->kv_n_heads, &attn, "kv_n_heads", D_MODEL_MAX, err);
    if (s == OK) s = rope_read(&shape->rope_theta, root, &attn, err);
    const json_t *clip = json_object_get(attn.json, "clip_qkv");
    if (s == OK && clip && !json_is_null(clip))
        s = number_read(&shape->clip_qkv, &attn, "clip_qkv", 1e-6, 1e6, err);
    return s;
}

static status activation_function_check(const struct config_object *ffn, error *err)
{
    const json_t *function = json_object_get(ffn->json, "ffn_act_fn");
    const char *name = json_string_value(json_object_get(function, "name"));
    if (!function || json_is_null(function) || (name && strcmp(name, "silu") == 0)) return OK;
    return fail(err, ERR_UNSUPPORTED, "%s: ffn_config.ffn_act_fn.name is \"%s\", expected \"silu\"",
                ffn->path, name ? name : "(none)");
}

static status experts_read(struct model_shape *shape, const struct config_object *root, error *err)
{
    struct config_object ffn;
    double power;
    status s = object_read(&ffn, root, "ffn_config", "ffn_config.", err);
    if (s == OK)
        s = count_read(&shape->ffn_hidden_size, &ffn, "ffn_hidden_size", 16 * D_MODEL_MAX, err);
    if (s == OK) s = count_read(&shape->moe_num_experts, &ffn, "moe_num_experts", EXPERTS_MAX, err);
    if (s == OK) s = count_read(&shape->moe_top_k, &ffn, "moe_top_k", TOP_K_MAX, err);
    if (s == OK && json_object_get(ffn.json, "moe_normalize_expert_weights"))
        s = number_read(&power, &ffn, "moe_normalize_expert_weights", 1, 1, err);
    return s == OK ? activation_function_check(&ffn, err) : s;
}

static status weights_read(struct model_config *out, const struct config_object *own, error *err)
{
    static const struct {
        const char *name;
        enum weight_format format;
    } formats[] = {{"bf16", WEIGHT_BF16},   {"f16", WEIGHT_BF16},      {"f32", WEIGHT_BF16},
                   {"fp8", WEIGHT_FP8_ROW}, {"int8", WEIGHT_INT8_ROW}, {"int4", WEIGHT_INT4_G128}};
    const char *name = json_string_value(json_object_get(own->json, "weights"));
    out->weights = WEIGHT_BF16;
    for (size_t i = 0; name && i < sizeof formats / sizeof *formats; i++) {
        double group;
        if (strcmp(formats[i].name, name) != 0) continue;
        out->weights = formats[i].format;
        if (!json_object_get(own->json, "group_size") || out->weights != WEIGHT_INT4_G128)
            return OK;
        return number_read(&group, own, "group_size", INT4_GROUP, INT4_GROUP, err);
    }
    if (!name) return OK;
    return fail(err, ERR_UNSUPPORTED,
                "%s: dbrx_ls.weights is \"%s\", expected bf16, f16, f32, fp8, int8 or int4",
                own->path, name);
}

static const char *const activation_names[] = {[ACTIVATION_F32] = "f32",
                                               [ACTIVATION_BF16] = "bf16",
                                               [ACTIVATION_E4M3] = "e4m3",
                                               [ACTIVATION_INT8] = "int8"};

status activation_parse(enum activation_type *out, const char *name, error *err)
{
    for (size_t i = 0; i < sizeof activation_names / sizeof *activation_names; i++) {
        if (strcmp(activation_names[i], name) != 0) continue;
        *out = (enum activation_type)i;
        return OK;
    }
    return fail(err, ERR_UNSUPPORTED, "activations is \"%s\", expected bf16, f32, e4m3 or int8",
                name);
}

const char *activation_name(enum activation_type type) { return activation_names[type]; }

/* Our own object: what the weights and activations are stored as. */
static status own_read(struct model_config *out, const struct config_object *root, error *err)
{
    struct config_object own;
    status s = object_read(&own, root, "dbrx_ls", "dbrx_ls.", err);
    if (s == OK) s = weights_read(out, &own, err);
    if (s != OK) return s;
    out->demo = json_is_true(json_object_get(own.json, "demo"));
    const char *name = json_string_value(json_object_get(own.json, "activations"));
    out->shape.activations = ACTIVATION_BF16;
    if (name) s = activation_parse(&out->shape.activations, name, err);
    return s == OK ? OK : fail_in(err, s, "%s: dbrx_ls", root->path);
}

static status shape_read(struct model_shape *shape, const struct config_object *root, error *err)
{
    status s = count_read(&shape->d_model, root, "d_model", D_MODEL_MAX, err);
    if (s == OK) s = count_read(&shape->n_heads, root, "n_heads", D_MODEL_MAX, err);
    if (s == OK) s = count_read(&shape->n_layers, root, "n_layers", LAYERS_MAX, err);
    if (s == OK) s = count_read(&shape->max_seq_len, root, "max_seq_len", SEQUENCE_TOKENS_MAX, err);
    if (s == OK) s = count_read(&shape->vocab_size, root, "vocab_size", VOCABULARY_MAX, err);
    if (s == OK) s = attention_read(shape, root, err);
    if (s == OK) s = experts_read(shape, root, err);
    if (s != OK) return s;
    if (shape->d_model % shape->n_heads != 0)
        return fail(err, ERR_FORMAT, "%s: d_model is %d, expected a multiple of n_heads %d",
                    root->path, shape->d_model, shape->n_heads);
    shape->head_dim = shape->d_model / shape->n_heads;
    s = shape_check(shape, err);
    return s == OK ? OK : fail_in(err, s, "%s", root->path);
}

status model_config_read(struct model_config *out, const char *model_dir, error *err)
{
    buffer path = {0};
    json_t *json = NULL;
    status s;
    *out = (struct model_config){0};
    if (!directory_exists(model_dir)) return fail(err, ERR_IO, "%s: no such directory", model_dir);
    buffer_print(&path, "%s/config.json", model_dir);
    if (path.failed) return fail(err, ERR_MEMORY, "%s: out of memory", model_dir);
    s = json_file_parse(&json, path.bytes, err);
    struct config_object root = {path.bytes, "", json};
    if (s == OK) s = architecture_check(&root, err);
    if (s == OK) s = shape_read(&out->shape, &root, err);
    if (s == OK) s = own_read(out, &root, err);
    json_decref(json);
    buffer_free(&path);
    return s;
}
