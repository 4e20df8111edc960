/* Drafts in the engine: the output of a request is the same whatever was guessed, and on a model that
 * copies most guesses are right. */
#include "base/limits.h"
#include "inference/engine.h"
#include "inference/kv_pages.h"
#include "inference/scheduler.h"
#include "kernels/pages.h"

#include "tests/unit/copying_model.h"

enum { OUTPUT_MAX = 400, WAIT_MS = 60000 };

struct output {
    int32_t ids[OUTPUT_MAX];
    float logprobs[OUTPUT_MAX];
    size_t n;
    buffer bytes;
    enum finish_reason finish;
    struct generation_stats stats;
};

static engine *engine_make(const char *name, bool always)
{
    engine *e = NULL;
    error err;
    struct engine_options options = {.model_dir = model_path(name),
                                     .backend = "cpu",
                                     .n_threads = 2,
                                     .kv_type = KV_BF16,
                                     .kv_tokens = 8192,
                                     .rows_max = 128,
                                     .draft_always = always};
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    return e;
}

static generation *submit(engine *e, const struct generation_spec *spec)
{
    generation *g = NULL;
    error err;
    if (engine_submit(e, spec, &g, &err) != OK) fail_msg("%s", err.message);
    return g;
}

static struct output output_finish(generation *g)
{
    struct output out = {0};
    struct generation_piece piece;
    do {
        if (!generation_next(g, &piece, WAIT_MS)) fail_msg("nothing came for a minute");
        assert_true(out.n + piece.n_ids <= OUTPUT_MAX);
        for (size_t i = 0; i < piece.n_ids; i++) {
            out.ids[out.n] = piece.ids[i];
            out.logprobs[out.n++] = piece.logprobs[i];
        }
        buffer_put_text(&out.bytes, piece.bytes);
    } while (piece.finish == FINISH_NONE);
    out.finish = piece.finish;
    /* All that may begin the output may be what must not come first. */
    if (out.finish == FINISH_ERROR) assert_non_null(strstr(generation_error(g), "no token is"));
    generation_stats(g, &out.stats);
    generation_free(g);
    return out;
}

static struct output generate(engine *e, const struct generation_spec *spec)
{
    return output_finish(submit(e, spec));
}

static void output_equal(const struct output *a, const struct output *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->ids, b->ids, a->n * sizeof *a->ids);
    assert_memory_equal(a->logprobs, b->logprobs, a->n * sizeof *a->logprobs);
    assert_int_equal(a->bytes.size, b->bytes.size);
    if (a->bytes.size) assert_memory_equal(a->bytes.bytes, b->bytes.bytes, a->bytes.size);
    assert_int_equal(a->finish, b->finish);
}

/* Different ids in an order of their own, and again from the beginning. */
static void circle_fill(int32_t *ids, size_t n, int32_t n_different, uint64_t seed)
{
    int32_t order[MODEL_RANKS];
    for (int32_t i = 0; i < MODEL_RANKS; i++) order[i] = i;
    for (int32_t i = MODEL_RANKS - 1; i > 0; i--) {
        int32_t j = (int32_t)(random_at(seed, (uint64_t)i) % (uint64_t)(i + 1)), kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
    for (size_t i = 0; i < n; i++) ids[i] = order[i % (size_t)n_different];
}

static void model_copies(void **state)
{
    (void)state;
    int32_t ids[400];
    engine *e = engine_make("copy", false);
    circle_fill(ids, 400, 200, 1);
    struct generation_spec spec = {
        .prompt = ids, .n_prompt = 210, .max_tokens = 190, .draft_max = -1};
    struct output out = generate(e, &spec);
    assert_memory_equal(out.ids, ids + 210, 190 * sizeof *ids);
    for (int i = 0; i < 190; i++) assert_true(out.logprobs[i] > -0.1f);
    assert_int_equal(out.stats.drafted, 0);
    buffer_free(&out.bytes);
    engine_close(e);
}

static void copies_are_accepted(void **state)
{
    (void)state;
    int32_t ids[400];
    struct engine_stats stats;
    engine *e = engine_make("copy", true);
    circle_fill(ids, 400, 200, 2);
    struct generation_spec spec = {.prompt = ids, .n_prompt = 210, .max_tokens = 190};
    struct output out = generate(e, &spec);
    assert_memory_equal(out.ids, ids + 210, 190 * sizeof *ids);
    assert_true(2 * out.stats.accepted > out.stats.drafted);
    assert_true(out.stats.accepted > 150); /* four steps of 48 */
    do engine_stats(e, &stats);
    while (stats.n_running > 0 || stats.tokens_output < 190); /* published at the step's end */
    assert_true(stats.steps < 20);
    assert_int_equal(stats.drafted, out.stats.drafted);
    assert_int_equal(stats.accepted, out.stats.accepted);
    buffer_free(&out.bytes);
    engine_close(e);
}

enum { MIX = 150, PROMPT_MAX = 160 };

/* One of many kinds of request; what it points to is overwritten by the next. */
static struct generation_spec mix_spec(const tokenizer *t, uint64_t i)
{
    static int32_t prompt[PROMPT_MAX], predicted[PROMPT_MAX], first[3], score[5] = {1, 2, 3, 4, 5};
    static char start[8];
    static text stops[2];
    static buffer said;
    uint64_t r[21];
    for (uint64_t k = 0; k < 21; k++) r[k] = random_at(900 + i, k) >> 16;
    int32_t n_different = (int32_t)(5 + r[0] % 60);
    size_t n_prompt = 1 + r[1] % (PROMPT_MAX - 60);
    circle_fill(prompt, PROMPT_MAX, n_different, r[2] % 3);
    circle_fill(predicted, PROMPT_MAX, n_different, r[2] % 3);
    for (size_t k = 0; k < 5; k++) predicted[random_at(r[3], k) % PROMPT_MAX] = 7;
    for (size_t k = 0; k < 3; k++) first[k] = predicted[n_prompt + k];
    for (size_t k = 0; k < sizeof start; k++) start[k] = "ab)(\xe4 \n0"[random_at(r[4], k) % 9];
    /* What it must begin with is what is guessed, over several tokens, or something else. */
    buffer_clear(&said);
    for (size_t k = 0; k < 4; k++)
        buffer_put_text(&said, tokenizer_token_bytes(t, prompt[n_prompt + k]));
    stops[0] = tokenizer_token_bytes(t, prompt[r[12] % 7]);
    stops[1] = TEXT(") ");
    return (struct generation_spec){
        .prompt = prompt,
        .n_prompt = n_prompt,
        .max_tokens = (int32_t)(1 + r[5] % 60),
        .temperature = r[6] % 3 ? 0.5f * (float)(r[6] % 4) : 0,
        .top_k = r[7] % 4 ? 0 : 20,
        .top_p = r[8] % 4 ? 1 : 0.9f,
        .min_p = r[9] % 4 ? 0 : 0.05f,
        .repetition_penalty = r[10] % 3 ? 1 : 1.05f,
        .seed = i,
        .n_logprobs = r[11] % 4 ? 0 : 5,
        .stops = stops,
        .n_stops = r[12] % 3,
        .must_start_with = r[13] % 3 == 0   ? (text){start, r[14] % sizeof start}
                           : r[13] % 3 == 1 ? buffer_text(&said)
                                            : (text){NULL, 0},
        .ignore_stop_ids = r[15] % 2,
        .predicted = predicted + n_prompt,
        .n_predicted = r[16] % 2 ? 0 : PROMPT_MAX - n_prompt,
        .draft_max = (int32_t)(r[17] % 2 ? 0 : 1 + r[17] % 9),
        .forbid_first = first,
        .n_forbid_first = r[18] % 3 ? 0 : 3,
        .forbid_unopened = {")]}", r[19] % 4},
        .score = score,
        .n_score = r[20] % 3 ? 0 : 5,
    };
}

static void mix_is_the_same(const char *name, double accepted_least)
{
    engine *e = engine_make(name, true);
    int64_t drafted = 0, accepted = 0;
    int n_cut = 0;
    for (uint64_t i = 0; i < MIX; i++) {
        struct generation_spec spec = mix_spec(engine_tokenizer(e), i), plain = spec;
        plain.draft_max = -1;
        plain.owner = 1 + i;
        struct output without = generate(e, &plain), with = generate(e, &spec);
        output_equal(&without, &with);
        assert_int_equal(without.stats.drafted, 0);
        if (spec.n_score && with.finish != FINISH_ERROR) {
            assert_true(with.stats.score_logprob < 0);
            assert_memory_equal(&with.stats.score_logprob, &without.stats.score_logprob, 8);
        }
        assert_true(with.stats.accepted <= with.stats.drafted);
        drafted += with.stats.drafted;
        accepted += with.stats.accepted;
        n_cut += with.finish == FINISH_STOP;
        buffer_free(&without.bytes);
        buffer_free(&with.bytes);
    }
    assert_true(n_cut > 10);
    assert_true((double)accepted > accepted_least * (double)drafted);
    assert_true(drafted > accepted + 500); /* and many were wrong */
    engine_close(e);
}

/* Sampled or not, with masks, penalties, stop strings and details: the text, its log-probabilities
 * and its end are those of the request without drafts. */
static void drafts_change_nothing(void **state)
{
    (void)state;
    mix_is_the_same("copy", 0.4);
    mix_is_the_same("blurred", 0.3);
}

/* Side by side, over and over, with drafts where they pay: every request gets what it gets alone. */
static void company_changes_nothing(void **state)
{
    enum { TOGETHER = 12, ROUNDS = 4 };
    (void)state;
    engine *e = engine_make("blurred", false);
    struct engine_stats stats;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        static int32_t prompts[TOGETHER][PROMPT_MAX];
        struct output alone[TOGETHER], together;
        generation *g[TOGETHER];
        struct generation_spec specs[TOGETHER];
        for (uint64_t i = 0; i < TOGETHER; i++) {
            struct generation_spec s = mix_spec(engine_tokenizer(e), 5000 + TOGETHER * round + i);
            memcpy(prompts[i], s.prompt, sizeof prompts[i]);
            /* Its lists are overwritten by the next one's; what stays is its own. */
            s.prompt = prompts[i];
            s.n_predicted = s.n_forbid_first = s.n_stops = s.must_start_with.size = 0;
            specs[i] = s;
            s.draft_max = -1;
            s.owner = 1 + i + 100 * round;
            alone[i] = generate(e, &s);
        }
        for (int i = 0; i < TOGETHER; i++) g[i] = submit(e, &specs[i]);
        for (int i = 0; i < TOGETHER; i++) {
            together = output_finish(g[i]);
            output_equal(&alone[i], &together);
            buffer_free(&alone[i].bytes);
            buffer_free(&together.bytes);
        }
    }
    engine_stats(e, &stats);
    printf("%ld of %ld drafted tokens accepted, where they paid\n", (long)stats.accepted,
           (long)stats.drafted);
    engine_close(e);
}

static int models_make(void **state)
{
    (void)state;
    copying_model_make("copy", 19);
    copying_model_make("blurred", 7);
    return 0;
}

/* An argument such as "copies_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(model_copies),
        cmocka_unit_test(copies_are_accepted),
        cmocka_unit_test(drafts_change_nothing),
        cmocka_unit_test(company_changes_nothing),
    };
    return cmocka_run_group_tests(tests, models_make, model_root_remove);
}
