/* An engine on the emulated GPU: its memory plan, its host tier in pinned slabs, and every call of the
 * runtime failing, while it opens and while it answers. */
#include <time.h>

#include "base/limits.h"
#include "inference/engine.h"
#include "inference/host_pages.h"
#include "kernels/cuda/cuda.h"
#include "tests/cuda/host_runtime.h"

#include "tests/unit/model_dir.h"

enum { MEMORY = 1 << 30, WAIT_MS = 60000 };

static struct engine_options options_of(const char *model)
{
    return (struct engine_options){.model_dir = model_path(model),
                                   .backend = "cuda",
                                   .n_threads = 1,
                                   .kv_type = KV_BF16,
                                   .kv_tokens = 128,
                                   .rows_max = 16};
}

static struct engine_plan plan_of(const struct engine_options *options)
{
    struct engine_plan plan;
    error err;
    if (engine_plan(&plan, options, &err) != OK) fail_msg("%s", err.message);
    return plan;
}

static void refused(const struct engine_options *options, status expected, const char *words)
{
    engine *e = NULL;
    error err = {0};
    assert_int_equal(engine_open(&e, options, &err), expected);
    if (!strstr(err.message, words)) fail_msg("\"%s\", expected \"%s\"", err.message, words);
    assert_null(e);
    assert_int_equal(host_runtime_held(), 0);
}

/* make_checkpoint's defaults: see model_dir.h. Weights on the device are those of the file, each row
 * padded to 128 values, vectors as fp32. */
static void memory_is_planned(void **state)
{
    (void)state;
    struct engine_options o = options_of("bf16");
    struct engine_plan plan = plan_of(&o);
    assert_int_equal(plan.kv_tokens, 128);
    assert_true(plan.work_bytes > plan.stored_bytes); /* with all weights, copied */
    assert_true(plan.free_bytes > MEMORY / 2 && plan.free_bytes <= MEMORY);
    size_t free_bytes = plan.free_bytes, per_token = plan.kv_bytes / 128, fixed = plan.work_bytes;

    assert_int_equal(plan.kv_type, KV_BF16);
    o.kv_served = true; /* half the bytes on a GPU, and what a CPU computes with best */
    plan = plan_of(&o);
    assert_int_equal(plan.kv_type, KV_E4M3);
    assert_int_equal(plan.kv_bytes, 128 * per_token / 2);
    o.backend = "cpu";
    assert_int_equal(plan_of(&o).kv_type, KV_BF16);
    o = options_of("bf16");

    o.kv_tokens = 0; /* all that is left of the share, to the page */
    o.memory_fraction = 0.01;
    plan = plan_of(&o);
    size_t room = (size_t)(0.01 * (double)free_bytes) - fixed;
    assert_int_equal(plan.kv_tokens, room / (16 * per_token) * 16);
    o.memory_fraction = 0; /* 0.98 */
    assert_true(plan_of(&o).kv_tokens > plan.kv_tokens * 50);

    o.memory_fraction = 1e-5;
    refused(&o, ERR_MEMORY, "0.001 % of free memory is 0 MiB, expected");
    o.memory_fraction = 1.5;
    refused(&o, ERR_USAGE, "--memory-fraction: found 1.5");
    o = options_of("bf16");
    o.kv_tokens = 1 << 24;
    refused(&o, ERR_MEMORY, "98 % of free memory is");
    o = options_of("bf16");
    o.kv_type = KV_F32;
    refused(&o, ERR_UNSUPPORTED, "KV as f32");
    o = options_of("bf16");
    o.gpu = 1;
    refused(&o, ERR_UNSUPPORTED, "GPU 1 does not answer");
    o = options_of("bf16");
    o.seqs_max = 65;
    refused(&o, ERR_USAGE, "--max-seqs: found 65");
    host_runtime_memory(1 << 20);
    o = options_of("bf16");
    refused(&o, ERR_MEMORY, "MiB are free");
    host_runtime_memory(MEMORY);
}

/* Weights quantised on the way take what the same plan says. */
static void weights_take_what_was_planned(void **state)
{
    (void)state;
    static const enum weight_format formats[] = {WEIGHT_F32, WEIGHT_FP8_ROW, WEIGHT_INT8_ROW,
                                                 WEIGHT_INT4_G128};
    for (int i = 0; i < 4; i++) {
        struct engine_options o = options_of("bf16");
        engine *e = NULL;
        error err;
        size_t free_bytes;
        o.weights = formats[i];
        struct engine_plan plan = plan_of(&o);
        if (engine_open(&e, &o, &err) != OK) fail_msg("%s", err.message);
        host_backend.runtime->memory(&free_bytes);
        size_t taken = MEMORY - free_bytes, planned = plan.work_bytes + plan.kv_bytes;
        size_t pinned = MEMORY - plan.free_bytes;       /* of staging and results, and no more */
        size_t graphs = cuda_graphs_bytes(&plan.shape); /* which come with the first steps */
        assert_true(taken >= planned - graphs && taken <= planned - graphs + pinned);
        engine_close(e);
        assert_int_equal(host_runtime_held(), 0);
    }
}

static enum finish_reason answer(engine *e, int32_t *ids, const char **why)
{
    int32_t prompt[] = {1, 2, 3, 4, 5};
    struct generation_spec spec = {
        .prompt = prompt, .n_prompt = 5, .max_tokens = 4, .owner = 1, .ignore_stop_ids = true};
    struct generation_piece piece;
    static char words[512];
    generation *g;
    error err;
    size_t n = 0;
    if (engine_submit(e, &spec, &g, &err) != OK) {
        *why = strcpy(words, err.message);
        return FINISH_ERROR;
    }
    do {
        if (!generation_next(g, &piece, WAIT_MS)) fail_msg("nothing came for a minute");
        for (size_t i = 0; i < piece.n_ids && n < 4; i++) ids[n++] = piece.ids[i];
    } while (piece.finish == FINISH_NONE);
    if (piece.finish == FINISH_ERROR) *why = strcpy(words, generation_error(g));
    generation_free(g);
    return piece.finish;
}

/* An engine that opens at all answers rightly, or fails for good and says so. While it answers, every
 * third call; with EVERY_CALL each. */
static void every_call_fails_once(void **state)
{
    (void)state;
    struct engine_options o = options_of("bf16");
    const char *why = "";
    int32_t truth[4], ids[4];
    engine *e = NULL;
    error err;
    host_runtime_fail_at(0, false);
    assert_int_equal(engine_open(&e, &o, &err), OK);
    int64_t n_open = host_runtime_fail_at(0, false);
    assert_int_equal(answer(e, truth, &why), FINISH_LENGTH);
    int64_t n_all = n_open + host_runtime_fail_at(0, false);
    engine_close(e);
    int n_refused = 0, n_failed = 0, step = getenv("EVERY_CALL") ? 1 : 3;
    for (int64_t n = 1; n <= n_all; n += n < n_open ? 1 : step) {
        host_runtime_fail_at(n, n % 2);
        if (engine_open(&e, &o, &err) != OK) {
            assert_true(err.code == ERR_MEMORY || err.code == ERR_DEVICE ||
                        err.code == ERR_UNSUPPORTED);
            n_refused++;
        } else if (answer(e, ids, &why) == FINISH_LENGTH) {
            assert_memory_equal(ids, truth, sizeof ids);
            engine_close(e);
        } else {
            struct engine_stats stats;
            host_runtime_fail_at(0, false); /* as if it were well again: it stays failed */
            for (int i = 0; i < WAIT_MS; i++) {
                engine_stats(e, &stats);
                if (stats.device_failed) break;
                nanosleep(&(struct timespec){0, 1000000}, NULL);
            }
            assert_true(stats.device_failed);
            assert_non_null(strstr(stats.device_why, "cuda"));
            assert_int_equal(answer(e, ids, &why), FINISH_ERROR);
            engine_close(e);
            n_failed++;
        }
        host_runtime_fail_at(0, false);
        assert_int_equal(host_runtime_held(), 0);
    }
    assert_true(n_refused > 30);
    assert_true(n_failed > 10);
}

/* 300,000 pages of 1 KiB are two slabs; neighbours across their border come back as they were. */
static void host_pages_are_pinned_in_slabs(void **state)
{
    enum { SLOTS = 300000, BORDER = 262144 };
    (void)state;
    const struct kernels *k = &kernels_cuda;
    struct model_shape shape = {.d_model = 32,
                                .n_heads = 1,
                                .kv_n_heads = 1,
                                .head_dim = 16,
                                .n_layers = 1,
                                .ffn_hidden_size = 32,
                                .moe_num_experts = 1,
                                .moe_top_k = 1,
                                .vocab_size = 16,
                                .max_seq_len = 64,
                                .rope_theta = 1e4};
    struct device_options options = {.shape = shape, .rows_max = 1, .seqs_max = 1};
    const int32_t pages[] = {3, 0, 2}, back[] = {1, 3, 0},
                  slots[] = {BORDER - 1, BORDER, BORDER + 1};
    unsigned char before[3][1024], after[3][1024];
    device *d;
    kv_pool *kv;
    host_pages *h;
    error err;
    assert_int_equal(k->open(&d, &options, &err), OK);
    assert_int_equal(k->kv_open(&kv, d, KV_BF16, 4, &err), OK);
    int64_t held = host_runtime_held();
    const struct host_pages_options of = {
        .kernels = k, .kv = kv, .device = d, .page_bytes = 1024, .n_slots = SLOTS};
    if (host_pages_open(&h, &of, &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(host_runtime_held() - held, 2);
    for (int i = 0; i < 3; i++) memset(before[i], i + 1, sizeof before[i]);
    k->pages_load(kv, pages, before, 3);
    host_pages_save(h, slots, pages, 3);
    for (int i = 0; i < 3; i++) host_pages_load(h, back + i, slots + i, 1);
    k->pages_save(kv, after, back, 3);
    assert_memory_equal(before, after, sizeof before);
    host_pages_close(h);
    assert_int_equal(host_runtime_held(), held);
    host_runtime_fail_at(4, false); /* the second slab, for each of which the GPU is entered */
    assert_int_equal(host_pages_open(&h, &of, &err), ERR_MEMORY);
    assert_non_null(strstr(err.message, "256 of 292 MiB there"));
    host_runtime_fail_at(0, false);
    assert_int_equal(host_runtime_held(), held);
    k->kv_close(kv);
    k->close(d);
}

static void auto_takes_the_gpu_or_says_why(void **state)
{
    (void)state;
    struct engine_options o = options_of("bf16");
    engine *e = NULL;
    error err;
    o.backend = "auto";
    if (engine_open(&e, &o, &err) != OK) fail_msg("%s", err.message);
    assert_string_equal(engine_backend_name(e), "cuda emulated");
    engine_close(e);
    host_runtime_memory(1 << 20); /* too small: an error with the numbers, not the CPU */
    refused(&o, ERR_MEMORY, "MiB are free");
    host_runtime_memory(MEMORY);
    host_runtime_capability(0);
    if (engine_open(&e, &o, &err) != OK) fail_msg("%s", err.message);
    assert_non_null(strstr(engine_backend_name(e), "cpu"));
    engine_close(e);
    o.backend = "cuda";
    refused(&o, ERR_UNSUPPORTED, "no GPU answers");
    host_runtime_capability(80);
}

static int model_prepare(void **state)
{
    (void)state;
    cuda_backend_use(&host_backend);
    model_make("bf16", "--max-seq-len 64");
    tokenizer_make("bf16");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_planned),
        cmocka_unit_test(weights_take_what_was_planned),
        cmocka_unit_test(every_call_fails_once),
        cmocka_unit_test(host_pages_are_pinned_in_slabs),
        cmocka_unit_test(auto_takes_the_gpu_or_says_why),
    };
    return cmocka_run_group_tests(tests, model_prepare, model_root_remove);
}
