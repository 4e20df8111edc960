/* Sixteen clients at once, each with its own habits: some read, some cancel in the middle, some go
 * away without reading, some only warm. Whoever reads to the end gets the very tokens and bits of
 * log-probability that the request gets alone; no page and no place is lost. Meant for
 * ThreadSanitizer as well. LOAD_REQUESTS sets how many requests each client makes. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/random.h"
#include "inference/engine.h"

#include "tests/unit/model_dir.h"

enum { CLIENTS = 16, POOL = 24, PROMPT_MAX = 90, OUTPUT_MAX = 20, OWNERS = 3, WAIT_MS = 60000 };

struct answer {
    int32_t ids[OUTPUT_MAX];
    float logprobs[OUTPUT_MAX];
    size_t n;
    enum finish_reason finish;
};

struct client {
    pthread_t thread;
    engine *e;
    const struct answer *truth;
    uint64_t seed;
    int n_requests;
    int n_compared, n_cancelled, n_busy; /* what happened */
    const char *wrong;                   /* cmocka's assertions belong to the main thread */
};

static struct generation_spec spec_make(int32_t *prompt, int i)
{
    uint64_t seed = (uint64_t)i + 1;
    size_t n = 2 + random_at(seed, 1) % (PROMPT_MAX - 2), n_like = random_at(seed, 2) % 50;
    for (size_t j = 0; j < n; j++)
        prompt[j] = (int32_t)(random_at(j < n_like ? seed / 4 : 90 + seed, 10 + j) % MODEL_RANKS);
    return (struct generation_spec){.prompt = prompt,
                                    .n_prompt = n,
                                    .max_tokens = 3 + (int32_t)(random_at(seed, 3) % 17),
                                    .priority = (enum priority)(random_at(seed, 4) % PRIORITY_WARM),
                                    .temperature = i % 2 ? 1.0f : 0,
                                    .repetition_penalty = i % 3 ? 1 : 1.1f,
                                    .seed = seed,
                                    .n_logprobs = i % 4 ? 0 : 2,
                                    .ignore_stop_ids = true};
}

/* Reads at most n_read tokens; false when nothing came in time. */
static bool answer_read(struct answer *a, generation *g, size_t n_read)
{
    struct generation_piece piece = {0};
    while (piece.finish == FINISH_NONE && a->n < n_read) {
        if (!generation_next(g, &piece, WAIT_MS)) return false;
        if (piece.n_ids > OUTPUT_MAX - a->n) return false;
        if (piece.n_ids > 0) {
            memcpy(a->ids + a->n, piece.ids, piece.n_ids * sizeof *piece.ids);
            memcpy(a->logprobs + a->n, piece.logprobs, piece.n_ids * sizeof *piece.logprobs);
        }
        a->n += piece.n_ids;
    }
    a->finish = piece.finish;
    return true;
}

static bool answer_equal(const struct answer *a, const struct answer *truth)
{
    return a->n <= truth->n && memcmp(a->ids, truth->ids, a->n * sizeof *a->ids) == 0 &&
           memcmp(a->logprobs, truth->logprobs, a->n * sizeof *a->logprobs) == 0;
}

/* One request by the client's habit of the moment. */
static void request_live(struct client *c, uint64_t key)
{
    int32_t prompt[PROMPT_MAX];
    int i = (int)(random_at(c->seed, key) % POOL), habit = (int)(random_at(c->seed, key + 1) % 5);
    struct generation_spec spec = spec_make(prompt, i);
    struct answer a = {0};
    generation *g;
    error err;
    spec.owner = random_at(c->seed, key + 2) % OWNERS;
    if (habit == 0) spec.priority = PRIORITY_WARM, spec.max_tokens = 0;
    status s = engine_submit(c->e, &spec, &g, &err);
    if (s == ERR_BUSY) {
        c->n_busy++;
        return;
    }
    if (s != OK) {
        c->wrong = "a request was refused";
        return;
    }
    size_t n_read = habit == 1 ? 2 : habit == 2 ? 0 : OUTPUT_MAX + 1;
    if (habit == 3) generation_cancel(g);
    if (!answer_read(&a, g, n_read)) c->wrong = "no answer in time";
    if (habit == 1 || habit == 2 || habit == 3) c->n_cancelled++;
    if (habit != 0 && !answer_equal(&a, &c->truth[i])) c->wrong = "another answer than alone";
    if (habit == 4 && (a.finish != FINISH_LENGTH || a.n != c->truth[i].n))
        c->wrong = "an answer cut short";
    c->n_compared += habit == 4;
    struct generation_stats stats;
    generation_stats(g, &stats);
    if (stats.n_cached > stats.n_prompt) c->wrong = "more cached than asked";
    generation_free(g);
}

static void *client_run(void *context)
{
    struct client *c = context;
    struct engine_stats stats;
    for (int n = 0; n < c->n_requests && !c->wrong; n++) {
        request_live(c, 10 * (uint64_t)n);
        engine_stats(c->e, &stats);
        if (stats.kv_pages_free > stats.kv_pages) c->wrong = "more free pages than pages";
    }
    return NULL;
}

static engine *engine_make(int64_t kv_tokens)
{
    engine *e = NULL;
    error err = {0};
    struct engine_options options = {.model_dir = model_path("small"),
                                     .backend = "cpu",
                                     .n_threads = 2,
                                     .kv_type = KV_BF16,
                                     .kv_tokens = kv_tokens,
                                     .rows_max = 48};
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    return e;
}

static void truth_find(struct answer *truth)
{
    engine *e = engine_make(0);
    for (int i = 0; i < POOL; i++) {
        int32_t prompt[PROMPT_MAX];
        struct generation_spec spec = spec_make(prompt, i);
        generation *g;
        error err;
        spec.owner = 1000 + (uint64_t)i; /* nothing in common with the others */
        assert_int_equal(engine_submit(e, &spec, &g, &err), OK);
        assert_true(answer_read(&truth[i], g, OUTPUT_MAX + 1));
        assert_int_equal(truth[i].finish, FINISH_LENGTH);
        assert_int_equal(truth[i].n, spec.max_tokens);
        generation_free(g);
    }
    engine_close(e);
}

static void idle_check(engine *e)
{
    struct engine_stats stats;
    for (int i = 0; i < WAIT_MS; i++) {
        engine_stats(e, &stats);
        if (stats.n_running + stats.n_queued == 0) break;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    assert_int_equal(stats.kv_pages, stats.kv_pages_free + stats.kv_pages_cached);
    assert_int_equal(stats.failed, 0);
    assert_true(stats.tokens_cached > 0);
}

static void sixteen_clients_at_once(void **state)
{
    (void)state;
    static struct answer truth[POOL];
    static struct client clients[CLIENTS];
    const char *asked = getenv("LOAD_REQUESTS");
    int n_compared = 0, n_cancelled = 0;
    truth_find(truth);
    engine *e = engine_make(512); /* pages for four or five of them */
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.e = e,
                                     .truth = truth,
                                     .seed = 77 + (uint64_t)i,
                                     .n_requests = asked ? atoi(asked) : 40};
        assert_int_equal(pthread_create(&clients[i].thread, NULL, client_run, &clients[i]), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(clients[i].thread, NULL);
        n_compared += clients[i].n_compared;
        n_cancelled += clients[i].n_cancelled;
    }
    for (int i = 0; i < CLIENTS; i++)
        if (clients[i].wrong) fail_msg("client %d: %s", i, clients[i].wrong);
    idle_check(e);
    engine_close(e);
    print_message("%d answers compared, %d requests cancelled or left\n", n_compared, n_cancelled);
    assert_true(n_compared > CLIENTS);
    assert_true(n_cancelled > CLIENTS);
}

/* The engine goes while clients still hold requests: each of them reads an end. */
static void engine_closes_under_load(void **state)
{
    (void)state;
    enum { HELD = 24 };
    generation *g[HELD];
    int32_t prompt[PROMPT_MAX];
    error err;
    for (int round = 0; round < 8; round++) {
        engine *e = engine_make(512);
        for (int i = 0; i < HELD; i++) {
            struct generation_spec spec = spec_make(prompt, i);
            assert_int_equal(engine_submit(e, &spec, &g[i], &err), OK);
        }
        nanosleep(&(struct timespec){0, 1000000L * round}, NULL);
        for (int i = 0; i < HELD; i++) generation_cancel(g[i]);
        for (int i = 0; i < HELD; i++) {
            struct answer a = {0};
            assert_true(answer_read(&a, g[i], OUTPUT_MAX + 1));
            assert_true(a.finish == FINISH_CANCELLED || a.finish == FINISH_LENGTH);
            generation_free(g[i]);
        }
        engine_close(e);
    }
}

static int model_setup(void **state)
{
    (void)state;
    model_make("small", "");
    tokenizer_make("small");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sixteen_clients_at_once),
        cmocka_unit_test(engine_closes_under_load),
    };
    return cmocka_run_group_tests(tests, model_setup, model_root_remove);
}
