/* The engine among clients that never read, and without memory: one request ends with an error, its
 * pages come back, and the others never notice. */
#include <time.h>

#include "base/base64.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "inference/engine.h"

#include "tests/unit/model_dir.h"

enum { WAIT_MS = 60000 };

static engine *engine_make(const char *name, status *result)
{
    engine *e = NULL;
    error err = {0};
    struct engine_options options = {.model_dir = model_path(name),
                                     .backend = "cpu",
                                     .n_threads = 1,
                                     .kv_type = KV_BF16,
                                     .rows_max = 32};
    status s = engine_open(&e, &options, &err);
    if (s != OK && s != ERR_MEMORY) fail_msg("%s", err.message);
    if (result) *result = s;
    if (!result && s != OK) fail_msg("%s", err.message);
    return e;
}

static struct generation_spec spec_of(const int32_t *prompt, size_t n, int32_t max_tokens)
{
    return (struct generation_spec){.prompt = prompt,
                                    .n_prompt = n,
                                    .max_tokens = max_tokens,
                                    .owner = 1,
                                    .ignore_stop_ids = true};
}

static struct engine_stats stats_when_idle(engine *e)
{
    struct engine_stats stats;
    for (int i = 0; i < WAIT_MS; i++) {
        engine_stats(e, &stats);
        if (stats.n_running == 0 && stats.n_queued == 0) break;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    assert_int_equal(stats.kv_pages, stats.kv_pages_free + stats.kv_pages_cached);
    return stats;
}

enum { WIDE_BYTES = 256, WIDE_RANKS = 956, WIDE_TOKEN = 1000, WIDE_OUTPUT = 7000 };

/* A model whose words are long: 256 bytes, 700 words of 1000 bytes, three specials. */
static void wide_model_make(void)
{
    static const char config[] =
        "{\"added_tokens_decoder\": {\"956\": {\"content\": \"<|endoftext|>\"}, "
        "\"957\": {\"content\": \"<|im_start|>\"}, \"958\": {\"content\": \"<|im_end|>\"}}}";
    buffer ranks = {0};
    char word[WIDE_TOKEN + 1];
    model_make("wide", "--vocab 1024 --max-seq-len 8192");
    for (int rank = 0; rank < WIDE_RANKS; rank++) {
        size_t n = rank < WIDE_BYTES ? 1 : WIDE_TOKEN;
        memset(word, 'a', n);
        if (n == 1) word[0] = (char)rank;
        if (n > 1) snprintf(word, sizeof word, "%03d%0*d", rank, WIDE_TOKEN - 3, 0);
        base64_encode(&ranks, (text){word, n});
        buffer_print(&ranks, " %d\n", rank);
    }
    file_put(model_path("wide"), "wide.tiktoken", buffer_text(&ranks));
    file_put(model_path("wide"), "tokenizer_config.json", text_of(config));
    buffer_free(&ranks);
}

static void reader_that_never_reads(void **state)
{
    (void)state;
    int32_t prompt[3] = {300, 301, 302};
    struct generation_piece piece;
    generation *deaf, *reader;
    size_t n_read = 0, n_unread = 0;
    error err;
    wide_model_make();
    engine *e = engine_make("wide", NULL);
    struct generation_spec spec = spec_of(prompt, 3, WIDE_OUTPUT);
    spec.temperature = 100; /* all words alike: 730 bytes a token */
    assert_int_equal(engine_submit(e, &spec, &deaf, &err), OK);
    assert_int_equal(engine_submit(e, &spec, &reader, &err), OK);
    do {
        assert_true(generation_next(reader, &piece, WAIT_MS));
        n_read += piece.bytes.size;
    } while (piece.finish == FINISH_NONE);
    assert_int_equal(piece.finish, FINISH_LENGTH);
    assert_true(n_read > ENGINE_UNREAD_MAX);
    struct engine_stats stats = stats_when_idle(e);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.kv_pages_free + stats.kv_pages_cached, stats.kv_pages);
    /* What there was is still to be had, and then the reason. */
    do {
        assert_true(generation_next(deaf, &piece, 0));
        n_unread += piece.bytes.size;
    } while (piece.finish == FINISH_NONE);
    assert_int_equal(piece.finish, FINISH_ERROR);
    assert_non_null(strstr(generation_error(deaf), "unread"));
    assert_in_range(n_unread, ENGINE_UNREAD_MAX + 1, ENGINE_UNREAD_MAX + WIDE_TOKEN);
    generation_free(deaf);
    generation_free(reader);
    engine_close(e);
}

enum { LIFE_REQUESTS = 3, LIFE_OUTPUT = 12 };

struct answer {
    status submitted;
    enum finish_reason finish;
    int32_t ids[LIFE_OUTPUT];
    size_t n;
};

/* Three requests at once: one with stop strings, one with details and a beginning to say, one that is
 * cancelled. They begin alike, and owners make the cache grow. */
static void requests_live(engine *e, struct answer *answers, uint64_t owner)
{
    int32_t prompt[40];
    text stops[2] = {TEXT("never said"), TEXT("neither")};
    generation *g[LIFE_REQUESTS];
    error err;
    for (int i = 0; i < 40; i++) prompt[i] = (int32_t)(random_at(3, (uint64_t)i) % MODEL_RANKS);
    for (int i = 0; i < LIFE_REQUESTS; i++) {
        struct generation_spec spec = spec_of(prompt, 40 - 5 * (size_t)i, LIFE_OUTPUT);
        spec.owner = owner;
        if (i == 0) spec.stops = stops, spec.n_stops = 2;
        if (i == 1) spec.n_logprobs = 3, spec.must_start_with = TEXT("ab");
        answers[i] = (struct answer){.submitted = engine_submit(e, &spec, &g[i], &err)};
        if (answers[i].submitted != OK) {
            assert_int_equal(answers[i].submitted, ERR_MEMORY);
            assert_null(g[i]);
        }
    }
    if (g[2]) generation_cancel(g[2]);
    for (int i = 0; i < LIFE_REQUESTS; i++) {
        struct generation_piece piece = {0};
        struct answer *a = &answers[i];
        while (g[i] && piece.finish == FINISH_NONE) {
            assert_true(generation_next(g[i], &piece, WAIT_MS));
            assert_true(a->n + piece.n_ids <= LIFE_OUTPUT);
            if (piece.n_ids) memcpy(a->ids + a->n, piece.ids, piece.n_ids * sizeof *piece.ids);
            a->n += piece.n_ids;
        }
        a->finish = piece.finish;
        if (a->finish == FINISH_ERROR) assert_non_null(strstr(generation_error(g[i]), "memory"));
        generation_free(g[i]);
    }
}

/* Requests that were served whole are served right; the rest ended for want of memory. */
static void answers_check(const struct answer *a, const struct answer *truth)
{
    for (int i = 0; i < LIFE_REQUESTS; i++) {
        assert_memory_equal(a[i].ids, truth[i].ids, a[i].n * sizeof *a[i].ids);
        if (a[i].submitted != OK || a[i].finish == FINISH_ERROR) continue;
        if (i < 2) assert_int_equal(a[i].finish, FINISH_LENGTH);
        if (i < 2) assert_int_equal(a[i].n, LIFE_OUTPUT);
    }
}

/* The n-th allocation and all behind it fail while requests run, for every n. */
static void requests_without_memory(void **state)
{
    (void)state;
    struct answer truth[LIFE_REQUESTS], answers[LIFE_REQUESTS];
    engine *e = engine_make("small", NULL);
    int n = 0, n_failed = 0;
    requests_live(e, truth, 1);
    /* The third was cancelled somewhere: what it would have said is what it says alone. */
    for (int i = 0; i < 2; i++) assert_int_equal(truth[i].finish, FINISH_LENGTH);
    do {
        memory_fail_at(++n);
        requests_live(e, answers, (uint64_t)n + 1);
        bool failed = memory_fail_at(0);
        n_failed += failed;
        stats_when_idle(e);
        struct answer third = truth[2];
        if (answers[2].n > truth[2].n) truth[2] = answers[2];
        answers_check(answers, truth);
        if (answers[2].n <= third.n) truth[2] = third;
        if (!failed) break;
    } while (n < 1000);
    assert_in_range(n_failed, 20, 999);
    requests_live(e, answers, 1);
    answers_check(answers, truth);
    engine_close(e);
}

/* The same from load to unload, with some allocation failing first and none succeeding behind it. */
static void life_without_memory(void **state)
{
    (void)state;
    struct answer answers[LIFE_REQUESTS];
    int n = 0, n_opened = 0;
    bool failed;
    do {
        status s;
        n += n_opened ? 1 : 7; /* loading alone is tested call by call elsewhere */
        memory_fail_at(n);
        engine *e = engine_make("small", &s);
        if (s == OK) {
            requests_live(e, answers, 1);
            engine_close(e);
            n_opened++;
        } else {
            assert_null(e);
        }
        failed = memory_fail_at(0);
    } while (failed && n < 20000);
    assert_false(failed);
    assert_true(n_opened > 20);
}

static int models_make(void **state)
{
    (void)state;
    model_make("small", "");
    tokenizer_make("small");
    return 0;
}

/* An argument such as "warm_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_that_never_reads),
        cmocka_unit_test(requests_without_memory),
        cmocka_unit_test(life_without_memory),
    };
    return cmocka_run_group_tests(tests, models_make, model_root_remove);
}
