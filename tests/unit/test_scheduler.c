/* The scheduler step by step, without threads: cancelling before every single step of a prefill and a
 * decode, or between the layers of one, with others running beside it, must leave no page behind and
 * change nobody's tokens. All accounts of pages are checked after every step. */
#include "base/memory.h"
#include "base/random.h"
#include "inference/kv_pages.h"
#include "inference/scheduler.h"

#include "tests/unit/model_dir.h"

enum { ROWS = 8, SEQS = 3, PAGES = 24, TOKENS_MAX = 640, REQUESTS = 4 };

struct request {
    struct sequence sequence; /* first: one is the other */
    int32_t tokens[TOKENS_MAX], pages[2 * TOKENS_MAX];
    float logprobs[TOKENS_MAX]; /* of the tokens sampled, at their places */
    enum finish_reason finish;
    int n_ends, n_sampled;
};

struct setup {
    const char *model;
    int32_t rows, seqs, pages;
    bool grouped; /* every layer is a group of its own, from the first slice on */
};

static const struct setup small = {"scheduler", ROWS, SEQS, PAGES, false};
static const struct setup tiers = {"scheduler", ROWS, SEQS, 10, false};
enum { TIERS_SLOTS = 60 };

struct fixture {
    struct setup setup;
    model *m;
    device *d;
    kv_pool *kv;
    host_pages *host;
    sampler masks;
    tokenizer *t;
    scheduler *s;
    int64_t us;
};

/* A launch takes a millisecond: what is due to whom depends on no machine. */
static int64_t on_clock(void *context) { return ((struct fixture *)context)->us += 1000; }

static void on_admitted(void *context, struct sequence *q) { (void)context, (void)q; }

static enum finish_reason on_token(void *context, struct sequence *q,
                                   const struct sample_result *result, const char **why)
{
    struct request *r = (struct request *)q;
    (void)context, (void)why;
    r->n_sampled++;
    assert_int_equal(q->tokens[q->n_tokens - 1], result->id);
    r->logprobs[q->n_tokens - 1] = result->logprob;
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

static void host_open(struct fixture *f, int32_t n_slots)
{
    error err;
    struct memory_plan plan;
    check(kernels_cpu.plan(f->d, KV_BF16, &plan, &err), &err);
    struct host_pages_options o = {.kernels = &kernels_cpu,
                                   .kv = f->kv,
                                   .page_bytes = plan.kv_bytes_per_page,
                                   .n_slots = n_slots};
    if (o.n_slots) check(host_pages_open(&f->host, &o, &err), &err);
}

/* With a host tier of so many slots, to which all pages are spilled; 0: none. */
static void fixture_open_tiers(struct fixture *f, struct setup setup, int32_t n_slots)
{
    error err;
    const struct kernels *k = &kernels_cpu;
    memset(f, 0, sizeof *f);
    f->setup = setup;
    check(model_open(&f->m, model_path(setup.model), &err), &err);
    struct device_options o = {.shape = f->m->config.shape,
                               .n_threads = 1,
                               .rows_max = setup.rows,
                               .seqs_max = setup.seqs,
                               .outs_max = setup.seqs,
                               .slices_max = SLICES_MAX};
    check(k->open(&f->d, &o, &err), &err);
    check(model_load(f->m, k, f->d, NULL, NULL, &err), &err);
    check(k->kv_open(&f->kv, f->d, KV_BF16, setup.pages, &err), &err);
    host_open(f, n_slots);
    check(tokenizer_open(&f->t, model_path(setup.model), &err), &err);
    check(sampler_open(&f->masks, f->t, MODEL_VOCAB, &err), &err);
    struct scheduler_options so = {.model = f->m,
                                   .device = f->d,
                                   .kv = f->kv,
                                   .n_pages = setup.pages,
                                   .host = f->host,
                                   .spill_tokens_min = 1,
                                   .rows_max = setup.rows,
                                   .seqs_max = setup.seqs,
                                   .sampler = &f->masks,
                                   .events = {.context = f,
                                              .admitted = on_admitted,
                                              .token = on_token,
                                              .finished = on_finished},
                                   .now_us = on_clock,
                                   .slice_rows_min = setup.rows,
                                   /* the device's own costs follow wall time */
                                   .group_target_us = setup.grouped ? 1 : INT64_MAX / 4};
    check(scheduler_open(&f->s, &so, &err), &err);
}

static void fixture_open(struct fixture *f, struct setup setup) { fixture_open_tiers(f, setup, 0); }

static void fixture_close(struct fixture *f)
{
    scheduler_close(f->s);
    host_pages_close(f->host);
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

static void pages_returned(const struct fixture *f)
{
    struct engine_stats stats = {0};
    scheduler_stats(f->s, &stats);
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    assert_int_equal(stats.kv_pages_free + stats.kv_pages_cached, f->setup.pages);
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
    pages_returned(f);
    return n;
}

/* `stride`: how many steps lie between two moments that are tried. */
static struct engine_stats cancel_everywhere(struct setup setup, int32_t n_slots, int stride)
{
    static struct request truth[REQUESTS], r[REQUESTS];
    struct engine_stats stats = {0};
    struct fixture f;
    fixture_open_tiers(&f, setup, n_slots);
    int n_steps = run_all(&f, truth, 0, -1, 0), n_cancelled = 0;
    assert_true(n_steps > 40);
    for (int victim = 0; victim < REQUESTS; victim++)
        for (int at = 0; at < n_steps; at += stride) {
            /* A new owner every third time: cold, and then with what was left behind. */
            run_all(&f, r, victim, at, (uint64_t)(1 + at / stride / 3));
            n_cancelled += r[victim].finish == FINISH_CANCELLED;
            for (int i = 0; i < REQUESTS; i++) {
                int32_t n = r[i].sequence.n_tokens;
                if (i != victim) assert_int_equal(n, truth[i].sequence.n_tokens);
                assert_memory_equal(r[i].tokens, truth[i].tokens, (size_t)n * sizeof(int32_t));
            }
        }
    assert_true(n_cancelled > n_steps / stride);
    scheduler_stats(f.s, &stats);
    fixture_close(&f);
    return stats;
}

static void cancelled_at_every_step(void **state)
{
    (void)state;
    struct engine_stats stats = cancel_everywhere(small, 0, 1);
    assert_int_equal(stats.pages_spilled + stats.host_pages, 0);
}

/* In a pool of ten pages every request lives on what came back from the host. */
static void cancelled_with_a_host_tier(void **state)
{
    (void)state;
    struct engine_stats stats = cancel_everywhere(tiers, TIERS_SLOTS, 5);
    assert_true(stats.pages_spilled > 300);
    assert_true(stats.pages_restored > 100);
    assert_true(stats.host_evicted > 30);
}

/* Runs `first`, and from its second step on `second`, if there is one, to their ends. */
static void run_all_of(struct fixture *f, struct request *first, struct request *second)
{
    scheduler_add(f->s, &first->sequence);
    assert_true(step(f));
    if (second) scheduler_add(f->s, &second->sequence);
    while (step(f)) {}
    assert_int_equal(first->n_ends, 1);
    if (second) assert_int_equal(second->n_ends, 1);
}

/* A prompt whose first n_alike tokens are those of all such prompts of its owner. */
static void request_begin_alike(struct request *r, int32_t n_prompt, uint64_t owner,
                                int32_t n_alike)
{
    request_fill(r, 2, owner);
    r->sequence.n_prompt = n_prompt;
    r->sequence.n_tokens_max = n_prompt + 1;
    for (int32_t i = 0; i < n_prompt; i++) {
        uint64_t seed = i < n_alike ? owner : owner + 1000 * (uint64_t)n_prompt;
        r->tokens[i] = (int32_t)(random_at(seed, (uint64_t)i) % MODEL_RANKS);
    }
}

/* The host knows 5 tokens of a prompt, a running sequence 8 or more, in the same page: one of both is
 * used, and no page is lost. Then the other way round. */
static void host_and_running_sequence_know_the_same(void **state)
{
    (void)state;
    static const int32_t n_alike[] = {12, 3};
    static struct request known, filler, first, second;
    for (int c = 0; c < 2; c++) {
        struct engine_stats stats = {0};
        struct fixture f;
        fixture_open_tiers(&f, tiers, TIERS_SLOTS);
        request_begin_alike(&known, 5, 1, 5);
        request_begin_alike(&filler, 150, 2, 0); /* all ten pages */
        run_all_of(&f, &known, NULL);
        run_all_of(&f, &filler, NULL);
        request_begin_alike(&first, 60, 1, n_alike[c]);
        request_begin_alike(&second, 40, 1, 12);
        run_all_of(&f, &first, &second);
        scheduler_stats(f.s, &stats);
        assert_true(stats.pages_spilled > 0);
        assert_true(stats.pages_restored > 0);
        pages_returned(&f);
        fixture_close(&f);
    }
}

/* Warm work runs alone, waits while interactive prompts are computed and then has its turns, and is
 * found by real work. */
static void warm_work_waits(void **state)
{
    (void)state;
    static struct request warm, real[2];
    struct fixture f;
    fixture_open(&f, small);
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
        if (real[0].sequence.first_token_us == 0) assert_int_equal(warm.sequence.n_computed, 40);
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
    fixture_open(&f, small);
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

/* A request of its own kind; those of one owner begin with the same 40 tokens. */
static void request_make(struct request *r, int32_t n_prompt, int32_t n_output,
                         enum priority priority, uint64_t owner)
{
    memset(r, 0, sizeof *r);
    for (int32_t i = 0; i < n_prompt; i++) {
        uint64_t seed = i < 40 ? 50 : 51 + (uint64_t)n_prompt;
        r->tokens[i] = (int32_t)(random_at(seed, (uint64_t)i) % MODEL_RANKS);
    }
    r->sequence.tokens = r->tokens;
    r->sequence.pages = r->pages;
    r->sequence.n_prompt = n_prompt;
    r->sequence.n_tokens_max = n_prompt + n_output;
    r->sequence.priority = priority;
    r->sequence.owner = owner;
    r->sequence.sample = (struct sample_row){.top_p = 1, .repetition_penalty = 1};
}

/* The same tokens with bit-equal log-probabilities, as far as `r` came. */
static void request_equal(const struct request *r, const struct request *truth)
{
    size_t n = (size_t)r->sequence.n_tokens;
    assert_memory_equal(r->tokens, truth->tokens, n * sizeof *r->tokens);
    assert_memory_equal(r->logprobs, truth->logprobs, n * sizeof *r->logprobs);
}

static void run_to_end(struct fixture *f, struct request *r)
{
    scheduler_add(f->s, &r->sequence);
    for (int n = 0; r->n_ends == 0 && n < 10000; n++) assert_true(step(f));
    assert_int_equal(r->n_ends, 1);
}

/* Whoever runs when all places or pages are wanted is put back, keeps what it computed while that
 * is not evicted, and goes on there. */
static void warm_work_is_put_back(void **state)
{
    (void)state;
    static const struct {
        int32_t pages, n_real, n_prompt, n_output, kept;
    } cases[] = {
        {PAGES, SEQS, 20, 5, 40}, /* no place: three requests of 2 pages beside 3 kept ones */
        {10, 1, 70, 20, 40},      /* no page: 7 + 6 of 10, and 6 + 3 kept ones fit */
        {10, 1, 110, 20, 16},     /* 9 + 3 kept ones do not: the two deepest of them go */
    };
    static struct request warm, real[SEQS];
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct fixture f;
        struct setup setup = small;
        setup.pages = cases[c].pages;
        fixture_open(&f, setup);
        request_make(&warm, 100, 0, PRIORITY_WARM, 1);
        scheduler_add(f.s, &warm.sequence);
        for (int i = 0; i < 5; i++) assert_true(step(&f)); /* 40 of 100 tokens */
        for (int i = 0; i < cases[c].n_real; i++) {
            request_make(&real[i], cases[c].n_prompt, cases[c].n_output, PRIORITY_INTERACTIVE, 1);
            real[i].tokens[0] = 7 + i; /* nothing in common */
            scheduler_add(f.s, &real[i].sequence);
        }
        assert_true(step(&f));
        assert_int_equal(warm.sequence.n_pages, 0); /* queued again */
        assert_int_equal(warm.n_ends, 0);
        int n = 0;
        for (int i = 0; i < cases[c].n_real; i++)
            while (real[i].n_ends == 0) assert_true(step(&f));
        assert_true(step(&f));
        assert_int_equal(warm.sequence.n_computed, cases[c].kept + ROWS);
        for (; warm.n_ends == 0; n++) assert_true(step(&f));
        assert_int_equal(n, (100 - cases[c].kept - 1) / ROWS);
        assert_int_equal(warm.finish, FINISH_LENGTH);
        pages_returned(&f);
        fixture_close(&f);
    }
}

/* How many launches a request takes by itself. */
static int launches_alone(struct fixture *f, struct request *r)
{
    int n = 0;
    scheduler_add(f->s, &r->sequence);
    while (step(f)) n++;
    assert_int_equal(r->n_ends, 1);
    return n;
}

/* `second` comes before launch `at` of `first`, which stands wherever it is: among 6 layers, every one
 * a launch of its own. Returns the launches of both together. */
static int run_interrupted(struct fixture *f, struct request *first, struct request *second, int at,
                           bool stricter)
{
    int n = 0;
    scheduler_add(f->s, &first->sequence);
    for (; n < at; n++) assert_true(step(f));
    scheduler_add(f->s, &second->sequence);
    for (; second->sequence.first_token_us == 0; n++) assert_true(step(f));
    /* 2 slices of 6 layers, and the share of the class that waits: about 10 %, warm work 30 % */
    bool warm = first->sequence.priority == PRIORITY_WARM;
    if (stricter) assert_in_range(n - at, 12, warm ? 20 : 16);
    while (step(f)) n++;
    assert_int_equal(first->n_ends + second->n_ends, 2);
    pages_returned(f);
    return n;
}

/* Wherever a slice is interrupted, it goes on there: nothing is computed twice, and the numbers are
 * bit by bit those of a run that nobody disturbed. */
static void slices_stand_between_layers(void **state)
{
    (void)state;
    static const enum priority pairs[][2] = {
        {PRIORITY_WARM, PRIORITY_INTERACTIVE},  {PRIORITY_WARM, PRIORITY_BATCH},
        {PRIORITY_BATCH, PRIORITY_INTERACTIVE}, {PRIORITY_BATCH, PRIORITY_ACTION},
        {PRIORITY_BATCH, PRIORITY_BATCH},       {PRIORITY_ACTION, PRIORITY_INTERACTIVE},
    };
    static struct request truth[3], first, second;
    struct fixture f;
    uint64_t owner = 10;
    int alone[3];
    fixture_open(&f, (struct setup){"layers", 64, 3, 64, true});
    request_make(&truth[0], 200, 6, PRIORITY_BATCH, 1);
    request_make(&truth[1], 100, 8, PRIORITY_INTERACTIVE, 2);
    request_make(&truth[2], 200, 0, PRIORITY_WARM, 3);
    truth[1].tokens[0] = truth[0].tokens[0] ^ 1; /* nothing in common with the others */
    for (int i = 0; i < 3; i++) alone[i] = launches_alone(&f, &truth[i]);
    /* 4 slices of 200 rows and a row for each of 5 tokens; 2 slices and 7 rows; 4 slices */
    assert_int_equal(alone[0], 6 * 9);
    assert_int_equal(alone[1], 6 * 9);
    assert_int_equal(alone[2], 6 * 4);
    for (size_t p = 0; p < sizeof pairs / sizeof *pairs; p++) {
        bool warm = pairs[p][0] == PRIORITY_WARM, stricter = pairs[p][1] < pairs[p][0];
        for (int at = 1; at < alone[warm ? 2 : 0]; at++) {
            owner++;
            request_make(&first, 200, warm ? 0 : 6, pairs[p][0], owner);
            request_make(&second, 100, 8, pairs[p][1], owner);
            second.tokens[0] = first.tokens[0] ^ 1;
            int n = run_interrupted(&f, &first, &second, at, stricter);
            assert_in_range(n, 1, alone[warm ? 2 : 0] + alone[1]);
            request_equal(&first, &truth[warm ? 2 : 0]);
            request_equal(&second, &truth[1]);
        }
    }
    fixture_close(&f);
}

/* Wherever a warm request stands, the real one goes on there: as many launches in all as if it had
 * come first, and the same numbers, also for the output of a row that was begun without one. */
static void warm_work_is_promoted(void **state)
{
    (void)state;
    static struct request truth, warm, real;
    struct fixture f;
    fixture_open(&f, (struct setup){"layers", 64, 3, 64, true});
    request_make(&truth, 200, 6, PRIORITY_INTERACTIVE, 1);
    int alone = launches_alone(&f, &truth);
    for (int at = 1; at < 4 * 6; at++) { /* 4 slices of 6 layers */
        int n = 0;
        bool cancelled = at % 3 == 0; /* as editors do, with the request that comes next */
        request_make(&warm, 200, 0, PRIORITY_WARM, 1 + (uint64_t)at);
        request_make(&real, 200, 6, PRIORITY_INTERACTIVE, 1 + (uint64_t)at);
        scheduler_add(f.s, &warm.sequence);
        for (; n < at; n++) assert_true(step(&f));
        scheduler_add(f.s, &real.sequence);
        atomic_store(&warm.sequence.cancelled, cancelled);
        while (step(&f)) n++;
        assert_int_equal(n, alone);
        assert_int_equal(warm.finish, cancelled ? FINISH_CANCELLED : FINISH_LENGTH);
        request_equal(&real, &truth);
        pages_returned(&f);
    }
    fixture_close(&f);
}

/* Two prompts share a slice; one is cancelled while it stands. The other's numbers do not change, and
 * the pages that the rows of nobody still write to are nobody else's. */
static void slices_outlive_one_of_theirs(void **state)
{
    (void)state;
    static struct request truth[3], r[3];
    struct fixture f;
    fixture_open(&f, (struct setup){"layers", 64, 3, 24, true});
    for (int i = 0; i < 3; i++) {
        request_make(&truth[i], 28 + i, 6, PRIORITY_INTERACTIVE, 1 + (uint64_t)i);
        run_to_end(&f, &truth[i]);
    }
    for (int at = 1; at < 6; at++)
        for (int victim = 0; victim < 2; victim++) {
            for (int i = 0; i < 3; i++)
                request_make(&r[i], 28 + i, 6, PRIORITY_INTERACTIVE,
                             10 + (uint64_t)(at * 10 + victim * 5 + i));
            scheduler_add(f.s, &r[0].sequence);
            scheduler_add(f.s, &r[1].sequence);
            for (int n = 0; n < at; n++) assert_true(step(&f));
            assert_int_equal(r[0].sequence.slice, r[1].sequence.slice);
            atomic_store(&r[victim].sequence.cancelled, true);
            scheduler_add(f.s, &r[2].sequence);
            while (step(&f)) {}
            assert_int_equal(r[victim].finish, FINISH_CANCELLED);
            request_equal(&r[1 - victim], &truth[1 - victim]);
            assert_int_equal(r[1 - victim].sequence.n_tokens, 34 + 1 - victim);
            request_equal(&r[2], &truth[2]);
            pages_returned(&f);
        }
    fixture_close(&f);
}

/* A decoding sequence gives its place to another owner's, and goes on with the same numbers. */
static void streams_are_put_back(void **state)
{
    (void)state;
    static struct request truth, first[3], other;
    struct fixture f;
    fixture_open(&f, small);
    request_make(&truth, 60, 40, PRIORITY_BATCH, 9);
    run_to_end(&f, &truth);
    for (int i = 0; i < 3; i++) {
        request_make(&first[i], 60, 40, PRIORITY_BATCH, 1);
        scheduler_add(f.s, &first[i].sequence);
    }
    while (first[0].sequence.n_tokens < 70) assert_true(step(&f));
    request_make(&other, 20, 5, PRIORITY_INTERACTIVE, 2);
    scheduler_add(f.s, &other.sequence);
    assert_true(step(&f));
    int n_put_back = 0;
    for (int i = 0; i < 3; i++) n_put_back += first[i].n_ends == 0 && !first[i].sequence.n_pages;
    assert_in_range(n_put_back, 1, 2); /* with the prompts that wait for one of theirs */
    while (step(&f)) {}
    for (int i = 0; i < 3; i++) {
        assert_int_equal(first[i].sequence.n_tokens, 100);
        assert_int_equal(first[i].n_sampled, 40); /* each token once */
        request_equal(&first[i], &truth);
    }
    pages_returned(&f);
    fixture_close(&f);
}

/* A prompt of 512 tokens and 64 tokens of output, cancelled before each step, and between the layers
 * of every third. What is left in the cache serves the same request, bit by bit. */
static void long_work_is_cancelled_anywhere(void **state)
{
    (void)state;
    enum { N_PROMPT = 512, N_OUTPUT = 64, SLICE = 16, N_STEPS = N_PROMPT / SLICE + N_OUTPUT - 1 };
    static struct request truth, r, again;
    struct fixture f;
    fixture_open(&f, (struct setup){"scheduler", SLICE, 2, 80, true});
    request_make(&truth, N_PROMPT, N_OUTPUT, PRIORITY_INTERACTIVE, 1);
    assert_int_equal(launches_alone(&f, &truth), 2 * N_STEPS); /* of two layers */
    for (int at = 0; at < 2 * N_STEPS; at++) {
        int step_at = at / 2;
        if (at % 2 && step_at % 3) continue;
        request_make(&r, N_PROMPT, N_OUTPUT, PRIORITY_INTERACTIVE, (uint64_t)at + 2);
        scheduler_add(f.s, &r.sequence);
        for (int n = 0; n < at; n++) assert_true(step(&f));
        int32_t computed = r.sequence.n_computed;
        atomic_store(&r.sequence.cancelled, true);
        assert_int_equal(r.n_ends, 0);
        assert_false(step(&f));
        assert_int_equal(r.finish, FINISH_CANCELLED);
        assert_int_equal(computed, step_at <= N_PROMPT / SLICE
                                       ? step_at * SLICE
                                       : N_PROMPT + step_at - N_PROMPT / SLICE);
        request_equal(&r, &truth);
        pages_returned(&f);
        request_make(&again, N_PROMPT, N_OUTPUT, PRIORITY_INTERACTIVE, (uint64_t)at + 2);
        run_to_end(&f, &again);
        assert_int_equal(again.sequence.n_cached, computed < N_PROMPT ? computed : N_PROMPT - 1);
        assert_int_equal(again.sequence.n_tokens, N_PROMPT + N_OUTPUT);
        request_equal(&again, &truth);
        pages_returned(&f);
    }
    fixture_close(&f);
}

static int model_setup(void **state)
{
    (void)state;
    model_make("scheduler", "--max-seq-len 1024");
    tokenizer_make("scheduler");
    model_make("layers", "--n-layers 6");
    tokenizer_make("layers");
    return 0;
}

/* An argument such as "warm_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancelled_at_every_step),
        cmocka_unit_test(cancelled_with_a_host_tier),
        cmocka_unit_test(host_and_running_sequence_know_the_same),
        cmocka_unit_test(warm_work_waits),
        cmocka_unit_test(equal_prompts_are_computed_once),
        cmocka_unit_test(warm_work_is_put_back),
        cmocka_unit_test(slices_stand_between_layers),
        cmocka_unit_test(warm_work_is_promoted),
        cmocka_unit_test(slices_outlive_one_of_theirs),
        cmocka_unit_test(streams_are_put_back),
        cmocka_unit_test(long_work_is_cancelled_anywhere),
    };
    return cmocka_run_group_tests(tests, model_setup, model_root_remove);
}
