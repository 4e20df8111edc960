/* The tier behind the KV pool, from outside the engine: a pool that holds three prompts serves eight,
 * over and over; what comes back from the host gives the same tokens with bit-equal log-probabilities
 * as computing anew. And how the sizes of both tiers follow from what was asked for. */
#include <time.h>

#include "base/limits.h"
#include "base/random.h"
#include "inference/engine.h"
#include "inference/kv_plan.h"

#include "tests/unit/model_dir.h"

enum { N_PROMPTS = 8, PROMPT = 330, OUTPUT = 12, POOL_TOKENS = 1024, WAIT_MS = 60000 };

struct output {
    int32_t ids[OUTPUT];
    float logprobs[OUTPUT];
    size_t n;
    struct generation_stats stats;
};

static engine *engine_make(enum kv_type type, int64_t kv_tokens, int64_t host_tokens,
                           const char *host_directory)
{
    engine *e = NULL;
    error err;
    const char *backend = getenv("TEST_BACKEND");
    struct engine_options options = {.model_dir = model_path("bf16"),
                                     .backend = backend ? backend : "cpu",
                                     .n_threads = 1,
                                     .kv_type = type,
                                     .kv_tokens = kv_tokens,
                                     .host_tokens = host_tokens,
                                     .host_directory = host_directory};
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    return e;
}

static generation *submit(engine *e, const int32_t *prompt, uint64_t owner)
{
    generation *g = NULL;
    error err;
    struct generation_spec spec = {.prompt = prompt,
                                   .n_prompt = PROMPT,
                                   .max_tokens = OUTPUT,
                                   .owner = owner,
                                   .ignore_stop_ids = true};
    if (engine_submit(e, &spec, &g, &err) != OK) fail_msg("%s", err.message);
    return g;
}

static struct output output_finish(generation *g)
{
    struct output out = {.n = 0};
    struct generation_piece piece;
    do {
        if (!generation_next(g, &piece, WAIT_MS)) fail_msg("nothing came for a minute");
        assert_true(out.n + piece.n_ids <= OUTPUT);
        for (size_t i = 0; i < piece.n_ids; i++) {
            out.ids[out.n] = piece.ids[i];
            out.logprobs[out.n++] = piece.logprobs[i];
        }
    } while (piece.finish == FINISH_NONE);
    assert_int_equal(piece.finish, FINISH_LENGTH);
    generation_stats(g, &out.stats);
    generation_free(g);
    return out;
}

static void output_equal(const struct output *a, const struct output *b)
{
    assert_int_equal(a->n, OUTPUT);
    assert_memory_equal(a->ids, b->ids, sizeof a->ids);
    assert_memory_equal(a->logprobs, b->logprobs, sizeof a->logprobs);
}

/* Prompts of one owner that begin alike in pairs. */
static void prompts_fill(int32_t prompts[N_PROMPTS][PROMPT])
{
    for (int i = 0; i < N_PROMPTS; i++)
        for (int j = 0; j < PROMPT; j++)
            prompts[i][j] = (int32_t)(random_at((uint64_t)(j < 100 ? i / 2 : 10 + i), (uint64_t)j) %
                                      MODEL_RANKS);
}

/* When nothing runs any more, every page is free or in the cache. */
static struct engine_stats stats_at_rest(engine *e)
{
    struct engine_stats stats;
    for (int i = 0; i < 10000; i++) {
        engine_stats(e, &stats);
        if (stats.n_running + stats.n_queued == 0) break;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    assert_int_equal(stats.kv_pages, stats.kv_pages_free + stats.kv_pages_cached);
    return stats;
}

/* Two rounds one by one, a third with all at once. Returns the tokens found in the second. */
static int64_t rounds_run(engine *e, int32_t prompts[N_PROMPTS][PROMPT], const struct output *truth)
{
    generation *g[N_PROMPTS];
    int64_t n_cached = 0;
    for (int i = 0; i < 2 * N_PROMPTS; i++) {
        struct output out = output_finish(submit(e, prompts[i % N_PROMPTS], 1));
        output_equal(&out, &truth[i % N_PROMPTS]);
        if (i >= N_PROMPTS) n_cached += out.stats.n_cached;
    }
    for (int i = 0; i < N_PROMPTS; i++) g[i] = submit(e, prompts[i], 1);
    for (int i = 0; i < N_PROMPTS; i++) {
        struct output out = output_finish(g[i]);
        output_equal(&out, &truth[i]);
    }
    return n_cached;
}

static void restored_is_as_computed(enum kv_type type, const char *directory)
{
    static int32_t prompts[N_PROMPTS][PROMPT];
    struct output truth[N_PROMPTS];
    prompts_fill(prompts);
    engine *e = engine_make(type, 8192, 0, NULL);
    for (int i = 0; i < N_PROMPTS; i++) /* every time an owner that nobody knows */
        truth[i] = output_finish(submit(e, prompts[i], 100 + (uint64_t)i));
    engine_close(e);

    e = engine_make(type, POOL_TOKENS, 0, NULL);
    int64_t without = rounds_run(e, prompts, truth);
    struct engine_stats stats = stats_at_rest(e);
    assert_int_equal(stats.host_pages + stats.pages_spilled + stats.pages_restored, 0);
    engine_close(e);

    e = engine_make(type, POOL_TOKENS, 4096, directory);
    int64_t with = rounds_run(e, prompts, truth);
    stats = stats_at_rest(e);
    assert_int_equal(stats.host_pages, 256);
    assert_in_range(stats.host_pages_free, 1, 255);
    assert_true(stats.pages_spilled > 64 && stats.pages_restored > 64);
    assert_int_equal(stats.host_evicted, 0);
    assert_int_equal(with, N_PROMPTS * (PROMPT - 1)); /* all that can be found */
    assert_true(without < with / 2);
    engine_close(e);

    e = engine_make(type, POOL_TOKENS, 700, directory); /* three prompts more */
    rounds_run(e, prompts, truth);
    assert_true(stats_at_rest(e).host_evicted > 20);
    engine_close(e);
}

static void restored_is_as_computed_in_f32(void **state)
{
    (void)state;
    restored_is_as_computed(KV_F32, NULL);
}

static void restored_is_as_computed_in_bf16(void **state)
{
    (void)state;
    restored_is_as_computed(KV_BF16, model_path("bf16"));
}

static void restored_is_as_computed_in_e4m3(void **state)
{
    (void)state;
    restored_is_as_computed(KV_E4M3, NULL);
}

/* A page of 1 MiB, 10 MiB for weights and work, contexts of 64 tokens: four pages. */
static void sizes_follow_from_what_is_asked(void **state)
{
    (void)state;
    static const int64_t mib = (int64_t)MIB;
    const struct {
        int64_t free, kv_tokens, memory, host_tokens, host_bytes;
        bool in_file;
        int32_t n_pages, n_host;
        const char *refusal;
    } cases[] = {
        {0, 0, 0, 0, 0, false, 16, 0, NULL}, /* four contexts, nothing known */
        {100 * mib, 0, 0, 0, 0, false, 16, 0, NULL},
        {22 * mib, 0, 0, 0, 0, false, 12, 0, NULL}, /* what fits */
        {13 * mib, 0, 0, 0, 0, false, 0, 0,
         "free are 13 MiB, expected 10 MiB for weights and "
         "work, 4 MiB for 64 KV tokens"},
        {100 * mib, 17, 0, 0, 0, false, 2, 0, NULL}, /* asked for: also less than a context */
        {100 * mib, 1600, 0, 0, 0, false, 0, 0, "100 MiB for 1600 KV tokens"},
        {100 * mib, 0, 90 * mib, 0, 0, false, 80, 0, NULL},
        {100 * mib, 0, 13 * mib, 0, 0, false, 0, 0, "--memory is 13 MiB, expected 10 MiB for"},
        {80 * mib, 0, 90 * mib, 0, 0, false, 0, 0, "free are 80 MiB"},
        {100 * mib, 32, 13 * mib, 0, 0, false, 2, 0, NULL}, /* both: one decides, one bounds */
        {100 * mib, 64, 13 * mib, 0, 0, false, 0, 0, "--memory is 13 MiB"},
        {100 * mib, 0, 0, 33, 0, true, 16, 3, NULL},
        {100 * mib, 0, 0, 0, 5 * mib + 7, true, 16, 5, NULL},
        {22 * mib, 0, 0, 0, 5 * mib, true, 12, 5, NULL}, /* on a disk: no memory */
        {22 * mib, 0, 0, 0, 5 * mib, false, 7, 5, NULL},
        {22 * mib, 0, 0, 0, 9 * mib, false, 0, 0, "and 9 MiB for 144 in host memory"},
        {100 * mib, 0, 30 * mib, 0, 5 * mib, false, 15, 5, NULL},
        {100 * mib, 0, 0, 0, mib - 1, true, 0, 0, "--host-memory: found 1048575 bytes"},
        {100 * mib, 0, 0, 16, mib, true, 0, 0, "exclude each other"},
        {0, -1, 0, 0, 0, false, 0, 0, "--kv-tokens: found -1"},
        {0, INT64_MAX, 0, 0, 0, false, 0, 0, "--kv-tokens: found 9223372036854775807"},
        {0, 0, 0, INT64_MAX, 0, false, 0, 0, "--host-tokens: found 9223372036854775807"},
        {0, 0, INT64_MAX, 0, INT64_MAX, true, INT32_MAX / 2, INT32_MAX / 2, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        error err = {0};
        struct kv_plan plan;
        const struct kv_need need = {.context_tokens = 64,
                                     .page_bytes = MIB,
                                     .fixed_bytes = 10 * MIB,
                                     .free_bytes = (size_t)cases[i].free,
                                     .kv_tokens = cases[i].kv_tokens,
                                     .memory_bytes = cases[i].memory,
                                     .host_tokens = cases[i].host_tokens,
                                     .host_bytes = cases[i].host_bytes,
                                     .host_elsewhere = cases[i].in_file};
        status s = kv_plan_make(&plan, &need, &err);
        if (cases[i].refusal) {
            if (s == OK || !strstr(err.message, cases[i].refusal))
                fail_msg("case %zu: \"%s\", expected \"%s\"", i, err.message, cases[i].refusal);
            continue;
        }
        if (s != OK) fail_msg("case %zu: %s", i, err.message);
        if (plan.n_pages != cases[i].n_pages || plan.n_host_pages != cases[i].n_host)
            fail_msg("case %zu: %d and %d pages", i, plan.n_pages, plan.n_host_pages);
    }
}

static void plan_and_refusals_of_an_engine(void **state)
{
    (void)state;
    error err;
    engine *e;
    struct engine_plan plan;
    struct engine_options options = {.model_dir = model_path("bf16"),
                                     .backend = "cpu",
                                     .kv_type = KV_E4M3,
                                     .kv_tokens = 160,
                                     .host_tokens = 320};
    assert_int_equal(engine_plan(&plan, &options, &err), OK);
    assert_int_equal(plan.kv_bytes, 160 * 2 * 2 * 32); /* tokens, K and V, layers, 2 heads of 16 */
    assert_int_equal(plan.host_bytes, 2 * plan.kv_bytes);
    assert_int_equal(plan.host_tokens, 320);
    options.host_directory = "/nowhere/at/all";
    assert_int_equal(engine_open(&e, &options, &err), ERR_IO);
    if (!strstr(err.message, "/nowhere/at/all: no file of 0 MiB")) fail_msg("%s", err.message);
    options.memory_bytes = 4096;
    assert_int_equal(engine_open(&e, &options, &err), ERR_MEMORY);
    if (!strstr(err.message, "--memory is 0 MiB")) fail_msg("%s", err.message);
}

static int models_make(void **state)
{
    (void)state;
    model_make("bf16", "");
    tokenizer_make("bf16");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(restored_is_as_computed_in_f32),
        cmocka_unit_test(restored_is_as_computed_in_bf16),
        cmocka_unit_test(restored_is_as_computed_in_e4m3),
        cmocka_unit_test(sizes_follow_from_what_is_asked),
        cmocka_unit_test(plan_and_refusals_of_an_engine),
    };
    return cmocka_run_group_tests(tests, models_make, model_root_remove);
}
