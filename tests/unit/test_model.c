/* Loading a model: good checkpoints of every dtype and of many shards give the same numbers; each
 * fault is refused with file, tensor or field, value found and value expected. */
#include <math.h>

#include "base/memory.h"
#include "inference/engine.h"
#include "inference/model.h"

#include "tests/unit/model_dir.h"

static const int32_t tokens[] = {1, 2, 3, 500, 7, 7, 7, 42, 0, 511, 13, 14, 15, 16, 17, 18, 19, 20};
enum { N_TOKENS = sizeof tokens / sizeof *tokens };

static float *logits_of(const char *name, const char *backend, struct model_shape *shape)
{
    struct logits_options options = {.model_dir = model_path(name), .backend = backend};
    float *rows = NULL;
    error err;
    if (logits_compute(&rows, shape, &options, tokens, N_TOKENS, &err) != OK)
        fail_msg("%s: %s", name, err.message);
    return rows;
}

static double logits_distance(const char *a, const char *b)
{
    struct model_shape shape;
    float *x = logits_of(a, "reference", &shape), *y = logits_of(b, "reference", &shape);
    double most = 0;
    for (int i = 0; i < N_TOKENS * shape.vocab_size; i++)
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    memory_free(x);
    memory_free(y);
    return most;
}

static void shards_are_one_model(void **state)
{
    (void)state;
    model_make("whole", "");
    model_make("sharded", "--shards 7");
    assert_true(logits_distance("whole", "sharded") == 0);
}

/* Against the same values widened by Python. */
static void half_precision_is_widened_exactly(void **state)
{
    (void)state;
    model *m = NULL;
    error err;
    model_make("half", "--dtype f16");
    shell("python3 tests/tools/f16_to_f32.py %s %s", model_path("half"), model_path("single"));
    assert_true(logits_distance("half", "single") == 0);
    assert_int_equal(model_open(&m, model_path("half"), &err), OK);
    assert_int_equal(model_copied_bytes(m), 2 * model_stored_bytes(m));
    model_close(m);
}

static void shape_is_read(void **state)
{
    (void)state;
    struct model_config c;
    error err;
    const char *dir = model_path("config");
    model_make("config", "--demo");
    if (model_config_read(&c, dir, &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(c.shape.d_model, 64);
    assert_int_equal(c.shape.n_heads, 4);
    assert_int_equal(c.shape.kv_n_heads, 2);
    assert_int_equal(c.shape.head_dim, 16);
    assert_int_equal(c.shape.n_layers, 2);
    assert_int_equal(c.shape.ffn_hidden_size, 64);
    assert_int_equal(c.shape.moe_num_experts, 4);
    assert_int_equal(c.shape.moe_top_k, 2);
    assert_int_equal(c.shape.vocab_size, 512);
    assert_int_equal(c.shape.max_seq_len, 512);
    assert_true(c.shape.rope_theta == 500000 && c.shape.clip_qkv == 8);
    assert_true(c.demo);
    assert_int_equal(c.shape.activations, ACTIVATION_BF16);
}

struct change {
    const char *from, *to; /* in config.json */
    const char *fragments[3];
};

static const struct change changes[] = {
    {"\"d_model\": 64", "\"d_model\": 64.0", {NULL}},
    {"\"rope_theta\": 500000", "\"rope_theta\": 5e5", {NULL}},
    {"\"n_layers\": 2", "\"unknown\": {\"key\": [1]}, \"n_layers\": 2", {NULL}},
    {", \"rope_theta\": 500000}", "}, \"rope_parameters\": {\"rope_theta\": 500000.0}", {NULL}},
    {"\"ffn_hidden_size\"", "\"ffn_act_fn\": {\"name\": \"silu\"}, \"ffn_hidden_size\"", {NULL}},
    {"\"ffn_hidden_size\"", "\"moe_normalize_expert_weights\": 1.0, \"ffn_hidden_size\"", {NULL}},

    {"\"dbrx\"", "\"llama\"", {"model_type", "\"llama\"", "\"dbrx\""}},
    {"DbrxForCausalLM", "MixtralForCausalLM", {"architectures[0]", "MixtralForCausalLM"}},
    {"\"d_model\": 64", "\"d_model\": 64.5", {"d_model is 64.5", "whole number"}},
    {"\"d_model\": 64", "\"d_model\": -64", {"d_model is -64", "expected 1 to"}},
    {"\"d_model\": 64", "\"d_model\": 1e300", {"d_model is", "expected 1 to"}},
    {"\"d_model\": 64", "\"d_model\": \"64\"", {"d_model is no number"}},
    {"\"d_model\": 64,", "", {"d_model is missing"}},
    {"\"n_layers\": 2", "\"n_layers\": 0", {"n_layers is 0"}},
    {"\"n_layers\": 2", "\"n_layers\": 300", {"n_layers is 300", "256"}},
    {"\"n_heads\": 4", "\"n_heads\": 3", {"d_model is 64", "multiple of n_heads 3"}},
    {"\"n_heads\": 4", "\"n_heads\": 8", {"head_dim is 8"}},
    {"\"kv_n_heads\": 2", "\"kv_n_heads\": 3", {"kv_n_heads 3"}},
    {"\"kv_n_heads\": 2", "\"kv_n_heads\": null", {"attn_config.kv_n_heads is no number"}},
    {"\"clip_qkv\": 8", "\"clip_qkv\": -8", {"attn_config.clip_qkv is -8"}},
    {"\"rope_theta\": 500000", "\"rope_theta\": 0", {"attn_config.rope_theta is 0"}},
    {"\"ffn_hidden_size\": 64", "\"ffn_hidden_size\": 65", {"ffn_hidden_size is 65", "32"}},
    {"\"moe_num_experts\": 4", "\"moe_num_experts\": 65", {"moe_num_experts is 65", "64"}},
    {"\"moe_top_k\": 2", "\"moe_top_k\": 5", {"moe_top_k is 5"}},
    {"\"moe_top_k\": 2", "\"moe_top_k\": 9", {"ffn_config.moe_top_k is 9", "1 to 8"}},
    {"\"vocab_size\": 512", "\"vocab_size\": 2000000", {"vocab_size is 2000000", "1048576"}},
    {"\"vocab_size\": 512", "\"vocab_size\": 512, \"vocab_size\": 512", {"duplicate"}},
    {"\"max_seq_len\": 512", "\"max_seq_len\": 1e9", {"max_seq_len is 1000000000"}},
    {"\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", {"tie_word_embeddings"}},
    {"\"ffn_hidden_size\"",
     "\"ffn_act_fn\": {\"name\": \"gelu\"}, \"ffn_hidden_size\"",
     {"ffn_act_fn.name is \"gelu\"", "\"silu\""}},
    {"\"ffn_hidden_size\"",
     "\"moe_normalize_expert_weights\": 2, \"ffn_hidden_size\"",
     {"moe_normalize_expert_weights is 2"}},
    {"\"attn_config\": {", "\"attn_config\": 1, \"x\": {", {"attn_config is no object"}},
    {"\"n_heads\": 4",
     "\"rope_parameters\": {\"rope_type\": \"yarn\"}, \"n_heads\": 4",
     {"rope_parameters.rope_type is \"yarn\""}},
    {"\"n_heads\": 4",
     "\"dbrx_ls\": {\"weights\": \"fp4\"}, \"n_heads\": 4",
     {"dbrx_ls.weights is \"fp4\""}},
    {"\"n_heads\": 4",
     "\"dbrx_ls\": {\"activations\": \"fp4\"}, \"n_heads\": 4",
     {"dbrx_ls: activations is \"fp4\""}},
    {"}\n", "", {"line"}},
};

static void config_is_checked(void **state)
{
    (void)state;
    model_make("changed", "");
    const char *dir = model_path("changed");
    buffer good = {0}, path = {0};
    error err;
    buffer_print(&path, "%s/config.json", dir);
    assert_int_equal(file_read(&good, path.bytes, 100000, &err), OK);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const struct change *c = &changes[i];
        struct model_config out;
        file_put(dir, "config.json", buffer_text(&good));
        file_replace(dir, "config.json", c->from, c->to);
        err.message[0] = 0;
        status s = model_config_read(&out, dir, &err);
        if ((s == OK) != (c->fragments[0] == NULL)) fail_msg("%s: \"%s\"", c->to, err.message);
        if (s != OK) assert_non_null(strstr(err.message, path.bytes));
        for (int j = 0; j < 3 && c->fragments[j]; j++)
            if (!strstr(err.message, c->fragments[j]))
                fail_msg("%s: found \"%s\", expected \"%s\"", c->to, err.message, c->fragments[j]);
    }
    buffer_free(&good);
    buffer_free(&path);
}

static void model_refused(const char *name, const char *a, const char *b, const char *c)
{
    model *m;
    error err = {0};
    if (model_open(&m, model_path(name), &err) == OK) fail_msg("%s: opened", name);
    if (!strstr(err.message, a) || !strstr(err.message, b) || !strstr(err.message, c))
        fail_msg("%s: found \"%s\", expected \"%s\", \"%s\", \"%s\"", name, err.message, a, b, c);
    struct logits_options options = {.model_dir = model_path(name), .backend = "reference"};
    struct model_shape shape;
    float *rows;
    assert_int_not_equal(logits_compute(&rows, &shape, &options, tokens, N_TOKENS, &err), OK);
}

/* Another number of layers, experts or columns in config.json than in the files. */
static void tensors_are_checked(void **state)
{
    (void)state;
    model_make("missing", "");
    file_replace(model_path("missing"), "config.json", "\"n_layers\": 2", "\"n_layers\": 3");
    model_refused("missing", "transformer.blocks.2.norm_attn_norm.norm_1.weight is missing",
                  "found 19 tensors", "expected 27");
    model_make("extra", "");
    file_replace(model_path("extra"), "config.json", "\"n_layers\": 2", "\"n_layers\": 1");
    model_refused("extra", "model.safetensors: tensor transformer.blocks.1.", "not part of",
                  "1 layers");
    model_make("rows", "");
    file_replace(model_path("rows"), "config.json", "\"moe_num_experts\": 4",
                 "\"moe_num_experts\": 3");
    model_refused("rows", "blocks.0.ffn.router.layer.weight", "[4, 64]", "expected [3, 64]");
    model_make("vocab", "");
    file_replace(model_path("vocab"), "config.json", "\"vocab_size\": 512", "\"vocab_size\": 544");
    model_refused("vocab", "transformer.wte.weight", "[512, 64]", "expected [544, 64]");
    model_make("heads", "");
    file_replace(model_path("heads"), "config.json", "\"kv_n_heads\": 2", "\"kv_n_heads\": 4");
    model_refused("heads", "attn.Wqkv.weight", "[128, 64]", "expected [192, 64]");
    model_make("renamed", "");
    file_replace(model_path("renamed"), "model.safetensors", "experts.mlp.w1", "experts.mlp.x1");
    model_refused("renamed", "blocks.", "ffn.experts.mlp.w1 is missing", "19");
    model_make("typed", "");
    file_replace(model_path("typed"), "model.safetensors", "\"BF16\"", "\"U16\" ");
    model_refused("typed", "tensor ", "dtype U16", "expected BF16, F16 or F32");
}

static void cut_shards_are_refused(void **state)
{
    (void)state;
    model_make("short", "--shards 5");
    shell("cd %s && f=$(ls *-00003-*.safetensors) && truncate -s -1 $f", model_path("short"));
    model_refused("short", "00003", "file cut short", "bytes follow the header");
    model_make("empty", "--shards 5");
    shell("cd %s && f=$(ls *-00003-*.safetensors) && : > $f", model_path("empty"));
    model_refused("empty", "00003", "0 bytes", "too short");
    model_make("gone", "--shards 5");
    shell("cd %s && rm *-00003-*.safetensors", model_path("gone"));
    model_refused("gone", "00003", "No such file", "");
    model_refused("never", "never", "no such directory", "");
    model_make("configless", "");
    shell("rm %s/config.json", model_path("configless"));
    model_refused("configless", "config.json", "No such file", "");
}

static void tokens_are_checked(void **state)
{
    (void)state;
    static const struct {
        int32_t token;
        size_t n;
        const char *fragment;
    } bad[] = {{512, 1, "token 0 is 512, expected 0 to 511"},
               {-1, 1, "token 0 is -1"},
               {0, 0, "0 tokens, expected 1 to max_seq_len 512"},
               {0, 513, "513 tokens"}};
    model_make("tokens", "");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct logits_options options = {.model_dir = model_path("tokens"), .backend = "reference"};
        struct model_shape shape;
        float *rows;
        error err;
        int32_t ids[513] = {bad[i].token};
        assert_int_equal(logits_compute(&rows, &shape, &options, ids, bad[i].n, &err), ERR_USAGE);
        if (!strstr(err.message, bad[i].fragment)) fail_msg("%s", err.message);
    }
}

static size_t progress_calls;
static double progress_last;

static void progress_note(void *context, double fraction)
{
    (void)context;
    assert_true(fraction >= progress_last && fraction <= 1);
    progress_last = fraction;
    progress_calls++;
}

static void progress_is_told(void **state)
{
    (void)state;
    engine *e;
    error err;
    model_make("progress", "");
    struct engine_options options = {
        .model_dir = model_path("progress"), .backend = "cpu", .progress = progress_note};
    assert_int_equal(engine_open(&e, &options, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "no tokenizer"));
    tokenizer_make("progress");
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(progress_calls, 19);
    assert_true(progress_last == 1);
    assert_string_equal(engine_model_name(e), "progress");
    assert_false(engine_is_demo(e));
    engine_close(e);
    options.kv_tokens = 1000000000;
    progress_last = 0;
    status s = engine_open(&e, &options, &err); /* 512 bytes each */
    assert_int_equal(s, ERR_MEMORY);
    if (!strstr(err.message, "not enough memory")) fail_msg("%s", err.message);
}

/* 264 GB of DBRX's true shapes, as holes: opened by its headers alone. */
static void sparse_dbrx_opens(void **state)
{
    (void)state;
    model *m = NULL;
    error err;
    shell("python3 tests/tools/sparse_dbrx.py %s", model_path("dbrx"));
    if (model_open(&m, model_path("dbrx"), &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(m->n_weights, 323);
    assert_true(model_stored_bytes(m) == 2 * UINT64_C(131596523520));
    model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_are_one_model), cmocka_unit_test(half_precision_is_widened_exactly),
        cmocka_unit_test(shape_is_read),        cmocka_unit_test(config_is_checked),
        cmocka_unit_test(tensors_are_checked),  cmocka_unit_test(cut_shards_are_refused),
        cmocka_unit_test(tokens_are_checked),   cmocka_unit_test(progress_is_told),
        cmocka_unit_test(sparse_dbrx_opens),
    };
    return cmocka_run_group_tests(tests, NULL, model_root_remove);
}
