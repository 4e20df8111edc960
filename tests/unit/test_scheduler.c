/* The scheduler step by step, without threads: cancelling before every single step of a prefill and a
 * decode, with others running beside it, must leave no page behind and change nobody's tokens. All
 * accounts of pages are checked after every step. */
#include "base/memory.h"
#include "base/random.h"
#include "inference/kv_pages.h"
#include "inference/scheduler.h"

#include "tests/unit/model_dir.h"

enum { ROWS = 8, SEQS = 3, PAGES = 24, TOKENS_MAX = 160, REQUESTS = 4 };

struct request {
    struct sequence sequence; /* first: one is the other */
    int32_t tokens[TOKENS_MAX], pages[2 * TOKENS_MAX];
    enum finish_reason finish;
    int n_ends;
};

struct fixture {
    model *m;
    device *d;
    kv_pool *kv;
    sampler masks;
    tokenizer *t;
    scheduler *s;
};

static void on_admitted(void *context, struct sequence *q) { (void)context, (void)q; }

static enum finish_reason on_token(void *context, struct sequence *q,
                                   const struct sample_result *result, const char **why)
{
    (void)context, (void)why;
    assert_int_equal(q->tokens[q->n_tokens - 1], result->id);
    return FINISH_NONE;
}

static void on_finished(void *context, struct sequence *q, enum finish_reason reason,
                        const char *why)
{
    struct request *r = (struct request *)q;
    (void)context;
    if (reason == FINISH_ERROR) fail_msg("%s", why);
    r->finish = reason;
    r->n_ends++;
}

static void check(status s, const error *err)
{
    if (s != OK) fail_msg("%s", err->message);
}

static void fixture_open(struct fixture *f)
{
    error err;
    const struct kernels *k = &kernels_cpu;
    memset(f, 0, sizeof *f);
    check(model_open(&f->m, model_path("scheduler"), &err), &err);
    struct device_options o = {.shape = f->m->config.shape,
                               .n_threads = 1,
                               .rows_max = ROWS,
                               .seqs_max = SEQS,
                               .outs_max = SEQS};
    check(k->open(&f->d, &o, &err), &err);
    check(model_load(f->m, k, f->d, NULL, NULL, &err), &err);
    check(k->kv_open(&f->kv, f->d, KV_BF16, PAGES, &err), &err);
    check(tokenizer_open(&f->t, model_path("scheduler"), &err), &err);
    check(sampler_open(&f->masks, f->t, MODEL_VOCAB, &err), &err);
    struct scheduler_options so = {
        .model = f->m,
        .device = f->d,
        .kv = f->kv,
        .n_pages = PAGES,
        .rows_max = ROWS,
        .seqs_max = SEQS,
        .sampler = &f->masks,
        .events = {.admitted = on_admitted, .token = on_token, .finished = on_finished}};
    check(scheduler_open(&f->s, &so, &err), &err);
}

static void fixture_close(struct fixture *f)
{
    scheduler_close(f->s);
    sampler_close(&f->masks);
    tokenizer_close(f->t);
    kernels_cpu.kv_close(f->kv);
    model_close(f->m);
    kernels_cpu.close(f->d);
}

/* Prompts 0 and 1 begin alike; 3 is warm. */
static void request_fill(struct request *r, int i, uint64_t owner)
{
    static const int32_t n_prompt[REQUESTS] = {70, 60, 9, 100},
                         n_output[REQUESTS] = {20, 30, 40, 0};
    memset(r, 0, sizeof *r);
    for (int32_t j = 0; j < n_prompt[i]; j++)
        r->tokens[j] =
            (int32_t)(random_at(i == 1 && j < 45 ? 0 : (uint64_t)i, (uint64_t)j) % MODEL_RANKS);
    r->sequence.tokens = r->tokens;
    r->sequence.pages = r->pages;
    r->sequence.n_prompt = n_prompt[i];
    r->sequence.n_tokens_max = n_prompt[i] + n_output[i];
    r->sequence.priority = i == 3 ? PRIORITY_WARM : (enum priority)i;
    r->sequence.owner = owner;
    r->sequence.sample = (struct sample_row){.top_p = 1, .repetition_penalty = 1};
}

static bool step(struct fixture *f)
{
    error err = {0};
    bool worked = scheduler_step(f->s);
    if (!scheduler_check(f->s, &err)) fail_msg("%s", err.message);
    return worked;
}

/* Runs all requests; `victim` is cancelled before step `at`. Returns the number of steps. */
static int run_all(struct fixture *f, struct request *r, int victim, int at, uint64_t owner)
{
    int n = 0;
    for (int i = 0; i < REQUESTS; i++) {
        request_fill(&r[i], i, owner);
        scheduler_add(f->s, &r[i].sequence);
    }
    do {
        if (n == at) atomic_store(&r[victim].sequence.cancelled, true);
    } while (step(f) && ++n < 10000);
    for (int i = 0; i < REQUESTS; i++) assert_int_equal(r[i].n_ends, 1);
    struct engine_stats stats = {0};
    scheduler_stats(f->s, &stats);
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    assert_int_equal(stats.kv_pages_free + stats.kv_pages_cached, PAGES);
    return n;
}

static void cancelled_at_every_step(void **state)
{
    (void)state;
    static struct request truth[REQUESTS], r[REQUESTS];
    struct fixture f;
    fixture_open(&f);
    int n_steps = run_all(&f, truth, 0, -1, 0), n_cancelled = 0;
    assert_true(n_steps > 40);
    for (int victim = 0; victim < REQUESTS; victim++)
        for (int at = 0; at < n_steps; at++) {
            /* A new owner every third time: cold, and then with what was left behind. */
            run_all(&f, r, victim, at, (uint64_t)(1 + at / 3));
            n_cancelled += r[victim].finish == FINISH_CANCELLED;
            for (int i = 0; i < REQUESTS; i++) {
                int32_t n = r[i].sequence.n_tokens;
                if (i != victim) assert_int_equal(n, truth[i].sequence.n_tokens);
                assert_memory_equal(r[i].tokens, truth[i].tokens, (size_t)n * sizeof(int32_t));
            }
        }
    assert_true(n_cancelled > n_steps);
    fixture_close(&f);
}

/* Warm work runs alone, makes room for real work, and is found by it. */
static void warm_work_waits(void **state)
{
    (void)state;
    static struct request warm, real[2];
    struct fixture f;
    fixture_open(&f);
    request_fill(&warm, 3, 1);
    scheduler_add(f.s, &warm.sequence);
    for (int i = 0; i < 5; i++) assert_true(step(&f)); /* 40 of 100 tokens */
    assert_int_equal(warm.sequence.n_computed, 40);
    for (int i = 0; i < 2; i++) {
        request_fill(&real[i], i, 1);
        scheduler_add(f.s, &real[i].sequence);
    }
    while (real[0].n_ends == 0 || real[1].n_ends == 0) {
        assert_true(step(&f));
        if (warm.n_ends == 0 && real[0].n_ends == 0)
            assert_int_equal(warm.sequence.n_computed <= 40, true);
    }
    while (step(&f)) {}
    assert_int_equal(warm.finish, FINISH_LENGTH);
    request_fill(&real[0], 3, 1);
    real[0].sequence.n_tokens_max += 4;
    scheduler_add(f.s, &real[0].sequence);
    while (step(&f)) {}
    assert_int_equal(real[0].sequence.n_cached, 99);
    fixture_close(&f);
}

/* Requests that begin alike and arrive together compute the common part once. */
static void equal_prompts_are_computed_once(void **state)
{
    (void)state;
    static struct request r[3];
    struct fixture f;
    int n = 0;
    fixture_open(&f);
    for (int i = 0; i < 3; i++) {
        request_fill(&r[i], 3, 1);
        r[i].sequence.priority = PRIORITY_INTERACTIVE;
        r[i].sequence.n_tokens_max = 101;
        scheduler_add(f.s, &r[i].sequence);
    }
    while (step(&f)) n++;
    /* 100 tokens in slices of 8 rows are 13 steps; the others have 4 tokens left behind 96. */
    assert_in_range(n, 13, 16);
    for (int i = 1; i < 3; i++) assert_int_equal(r[i].tokens[100], r[0].tokens[100]);
    fixture_close(&f);
}

static int model_setup(void **state)
{
    (void)state;
    model_make("scheduler", "");
    tokenizer_make("scheduler");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_at_every_step),
        cmocka_unit_test(warm_work_waits),
        cmocka_unit_test(equal_prompts_are_computed_once),
    };
    return cmocka_run_group_tests(tests, model_setup, model_root_remove);
}
