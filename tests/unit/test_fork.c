/* The scheduler step by step: drafts that are wrong at a chosen place, generations continued from any
 * of their prefixes, and candidates that share a prompt. Compared are tokens, log-probabilities bit by
 * bit, and the keys and values in the pages; what was computed is counted exactly. */
#include "base/memory.h"
#include "base/random.h"
#include "inference/kv_pages.h"
#include "inference/scheduler.h"
#include "kernels/pages.h"

#include "tests/unit/model_dir.h"

enum { SEQS = 4, PAGES = 512, TOKENS_MAX = 240, N_PROMPT = 41, N_OUTPUT = 60, DRAFT = 48 };

struct request {
    struct sequence sequence;                          /* first: one is the other */
    int32_t tokens[TOKENS_MAX], pages[2 * TOKENS_MAX]; /* more than enough */
    float logprobs[TOKENS_MAX];                        /* of the tokens sampled, at their places */
    enum finish_reason finish;
    int n_ends;
    const struct request *truth; /* guesses come from here; NULL: none */
    int32_t wrong_at;            /* number of the output whose guess is wrong; -1: none */
    unsigned char *kv;           /* what the pages held below the last n_computed */
    int32_t n_score;             /* the ids behind the output are those of its prompt */
    int32_t score_tokens[2 * TOKENS_MAX];
};

struct fixture {
    model *m;
    device *d;
    kv_pool *kv;
    sampler masks;
    tokenizer *t;
    scheduler *s;
};

static size_t position_bytes(const kv_pool *kv, const struct model_shape *s)
{
    return kv->head_bytes / KV_PAGE_TOKENS * (size_t)(2 * s->n_layers * s->kv_n_heads);
}

/* Keys and values of one position, all layers and heads. */
static void position_copy(const struct fixture *f, const struct sequence *q, int32_t at,
                          unsigned char *out)
{
    const struct model_shape *s = &f->m->config.shape;
    size_t bytes = f->kv->head_bytes / KV_PAGE_TOKENS, place = (size_t)(at % KV_PAGE_TOKENS);
    for (int32_t layer = 0; layer < s->n_layers; layer++)
        for (int which = 0; which < 2; which++)
            for (int32_t head = 0; head < s->kv_n_heads; head++, out += bytes)
                memcpy(out,
                       pages_head(f->kv, q->pages[at / KV_PAGE_TOKENS], layer, which, head) +
                           place * bytes,
                       bytes);
}

/* What lies below n_computed is kept, or compared with what the truth kept. */
static void kv_look(const struct fixture *f, struct request *r)
{
    size_t size = position_bytes(f->kv, &f->m->config.shape);
    unsigned char *now = memory_take(TOKENS_MAX, size);
    for (int32_t at = 0; at < r->sequence.n_computed; at++)
        position_copy(f, &r->sequence, at, now + (size_t)at * size);
    if (r->truth) assert_memory_equal(now, r->truth->kv, (size_t)r->sequence.n_computed * size);
    memory_free(r->kv);
    r->kv = now;
}

/* Time stands still: no step is dear, so every step goes through in one launch. */
static int64_t on_clock(void *context)
{
    (void)context;
    return 1;
}

static void on_admitted(void *context, struct sequence *q) { (void)context, (void)q; }

static int32_t on_draft(void *context, struct sequence *q, int32_t n_max, double *agreement)
{
    const struct request *r = (const struct request *)q;
    int32_t n = 0;
    (void)context;
    *agreement = 0.5;
    for (; r->truth && n < n_max; n++) {
        int32_t at = q->n_tokens + n, id = r->truth->tokens[at];
        q->tokens[at] = at - q->n_prompt == r->wrong_at ? (id + 1) % MODEL_RANKS : id;
    }
    return n;
}

static enum finish_reason on_token(void *context, struct sequence *q,
                                   const struct sample_result *result, const char **why)
{
    struct request *r = (struct request *)q;
    (void)why;
    assert_int_equal(q->tokens[q->n_tokens - 1], result->id);
    r->logprobs[q->n_tokens - 1] = result->logprob;
    kv_look(context, r);
    return FINISH_NONE;
}

static bool on_complete(void *context, struct sequence *q, struct score_run *run)
{
    struct request *r = (struct request *)q;
    (void)context;
    if (r->n_score == 0) return false;
    memcpy(r->score_tokens, q->tokens, (size_t)q->n_tokens * sizeof *q->tokens);
    memcpy(r->score_tokens + q->n_tokens, q->tokens, (size_t)r->n_score * sizeof *q->tokens);
    *run = (struct score_run){r->score_tokens, q->n_tokens, q->n_tokens + r->n_score};
    return true;
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

static void fixture_open(struct fixture *f, int32_t rows)
{
    error err;
    const struct kernels *k = &kernels_cpu;
    memset(f, 0, sizeof *f);
    check(model_open(&f->m, model_path("fork"), &err), &err);
    struct device_options o = {.shape = f->m->config.shape,
                               .n_threads = 1,
                               .rows_max = rows,
                               .seqs_max = SEQS,
                               .outs_max = SEQS + DRAFT,
                               .slices_max = SLICES_MAX};
    check(k->open(&f->d, &o, &err), &err);
    check(model_load(f->m, k, f->d, NULL, NULL, &err), &err);
    check(k->kv_open(&f->kv, f->d, KV_BF16, PAGES, &err), &err);
    check(tokenizer_open(&f->t, model_path("fork"), &err), &err);
    check(sampler_open(&f->masks, f->t, MODEL_VOCAB, &err), &err);
    struct scheduler_options so = {.model = f->m,
                                   .device = f->d,
                                   .kv = f->kv,
                                   .n_pages = PAGES,
                                   .rows_max = rows,
                                   .seqs_max = SEQS,
                                   .outs_max = SEQS + DRAFT,
                                   .draft_always = true,
                                   .sampler = &f->masks,
                                   .events = {.context = f,
                                              .admitted = on_admitted,
                                              .draft = on_draft,
                                              .token = on_token,
                                              .complete = on_complete,
                                              .finished = on_finished},
                                   .now_us = on_clock,
                                   .slice_rows_min = rows};
    check(scheduler_open(&f->s, &so, &err), &err);
}

static void fixture_close(struct fixture *f)
{
    struct engine_stats stats = {0};
    scheduler_stats(f->s, &stats);
    assert_int_equal(stats.n_running + stats.n_queued, 0);
    assert_int_equal(stats.kv_pages_free + stats.kv_pages_cached, PAGES);
    scheduler_close(f->s);
    sampler_close(&f->masks);
    tokenizer_close(f->t);
    kernels_cpu.kv_close(f->kv);
    model_close(f->m);
    kernels_cpu.close(f->d);
}

static void request_make(struct request *r, const int32_t *prompt, int32_t n_prompt,
                         int32_t n_output, uint64_t owner)
{
    memory_free(r->kv);
    memset(r, 0, sizeof *r);
    memcpy(r->tokens, prompt, (size_t)n_prompt * sizeof *prompt);
    r->sequence.tokens = r->tokens;
    r->sequence.pages = r->pages;
    r->sequence.n_prompt = n_prompt;
    r->sequence.n_tokens_max = n_prompt + n_output;
    r->sequence.owner = owner;
    r->sequence.sample = (struct sample_row){.top_p = 1, .repetition_penalty = 1};
    r->wrong_at = -1;
}

static bool step(struct fixture *f)
{
    error err = {0};
    bool worked = scheduler_step(f->s);
    if (!scheduler_check(f->s, &err)) fail_msg("%s", err.message);
    return worked;
}

static int run_to_end(struct fixture *f, struct request *r)
{
    int n = 0;
    scheduler_add(f->s, &r->sequence);
    for (; r->n_ends == 0 && n < 10000; n++) assert_true(step(f));
    assert_int_equal(r->n_ends, 1);
    return n;
}

static void prompt_fill(int32_t *ids, int32_t n, uint64_t seed)
{
    for (int32_t i = 0; i < n; i++) ids[i] = (int32_t)(random_at(seed, (uint64_t)i) % MODEL_RANKS);
}

static void request_equal(const struct request *r, const struct request *truth)
{
    size_t n = (size_t)r->sequence.n_tokens;
    assert_int_equal(r->sequence.n_tokens, truth->sequence.n_tokens);
    assert_memory_equal(r->tokens, truth->tokens, n * sizeof *r->tokens);
    assert_memory_equal(r->logprobs + r->sequence.n_prompt, truth->logprobs + r->sequence.n_prompt,
                        (n - (size_t)r->sequence.n_prompt) * sizeof *r->logprobs);
}

/* Steps and accepted tokens of N_OUTPUT outputs whose guess number `wrong` fails. */
static int steps_expected(int32_t wrong, int64_t *accepted)
{
    int n_steps = 0;
    *accepted = 0;
    for (int32_t out = 0; out < N_OUTPUT; n_steps++) {
        int32_t n = N_OUTPUT - out - 1 < DRAFT ? N_OUTPUT - out - 1 : DRAFT;
        int32_t right = out <= wrong && wrong < out + n ? wrong - out : n;
        *accepted += right;
        out += right + 1;
    }
    return n_steps;
}

/* The prompt is one step, which carries the first draft. */
static void wrong_drafts_leave_nothing(void **state)
{
    (void)state;
    static struct request truth, r;
    struct fixture f;
    int32_t prompt[N_PROMPT];
    fixture_open(&f, 128);
    prompt_fill(prompt, N_PROMPT, 1);
    for (int sampled = 0; sampled < 2; sampled++) {
        request_make(&truth, prompt, N_PROMPT, N_OUTPUT, 1000 + (uint64_t)sampled);
        truth.sequence.sample.temperature = sampled ? 1.2f : 0;
        truth.sequence.sample.repetition_penalty = sampled ? 1.3f : 1;
        assert_int_equal(run_to_end(&f, &truth), N_OUTPUT);
        for (int32_t wrong = -1; wrong <= DRAFT; wrong++) {
            int64_t accepted;
            int n_steps = steps_expected(wrong, &accepted);
            request_make(&r, prompt, N_PROMPT, N_OUTPUT, (uint64_t)(2 + wrong));
            r.sequence.sample = truth.sequence.sample;
            r.sequence.owner += 100 * (uint64_t)sampled;
            r.truth = &truth;
            r.wrong_at = wrong;
            assert_int_equal(run_to_end(&f, &r), n_steps);
            assert_int_equal(r.sequence.n_accepted, accepted);
            request_equal(&r, &truth);
        }
    }
    memory_free(truth.kv);
    memory_free(r.kv);
    truth.kv = r.kv = NULL;
    fixture_close(&f);
}

/* Several draft at once, in less room than they would like, and one is cancelled. */
static void drafts_share_a_step(void **state)
{
    (void)state;
    static struct request truth[SEQS], r[SEQS];
    int32_t prompt[N_PROMPT];
    for (int32_t rows = 8; rows <= 72; rows += 16) {
        struct fixture f;
        fixture_open(&f, rows);
        for (int i = 0; i < SEQS; i++) {
            prompt_fill(prompt, N_PROMPT, 10 + (uint64_t)i);
            request_make(&truth[i], prompt, N_PROMPT, N_OUTPUT - 5 * i, 1);
            run_to_end(&f, &truth[i]);
            request_make(&r[i], prompt, N_PROMPT, N_OUTPUT - 5 * i, 2);
            r[i].truth = &truth[i];
            r[i].wrong_at = 3 * i;
        }
        for (int i = 0; i < SEQS; i++) scheduler_add(f.s, &r[i].sequence);
        int n = 0;
        for (; step(&f); n++)
            if (n == 3) atomic_store(&r[2].sequence.cancelled, true);
        for (int i = 0; i < SEQS; i++) {
            assert_int_equal(r[i].n_ends, 1);
            assert_true(r[i].sequence.n_accepted > 0 || i == 2);
            if (i != 2) request_equal(&r[i], &truth[i]);
        }
        assert_true(n < N_OUTPUT);
        fixture_close(&f);
    }
    for (int i = 0; i < SEQS; i++) {
        memory_free(truth[i].kv);
        memory_free(r[i].kv);
        truth[i].kv = r[i].kv = NULL;
    }
}

/* B continues from the first `keep` tokens of A with tokens of its own. */
static void branch_make(struct request *b, const struct request *a, int32_t keep, uint64_t owner)
{
    int32_t prompt[TOKENS_MAX];
    memcpy(prompt, a->tokens, (size_t)keep * sizeof *prompt);
    for (int32_t i = keep; i < keep + 5; i++) prompt[i] = (a->tokens[i] + 1 + i) % MODEL_RANKS;
    request_make(b, prompt, keep + 5, 6, owner);
}

static void branch_check(struct fixture *f, const struct request *b, uint64_t owner)
{
    static struct request fresh;
    request_make(&fresh, b->tokens, b->sequence.n_prompt, 6, owner);
    run_to_end(f, &fresh);
    assert_int_equal(fresh.sequence.n_cached, 0);
    request_equal(b, &fresh);
    memory_free(fresh.kv);
    fresh.kv = NULL;
}

/* From every prefix of prompt and output, whole pages or not, while it runs: everything that agrees
 * is found but the last token, which was sampled and not computed yet. */
static void running_generations_are_forked(void **state)
{
    (void)state;
    static struct request a, b, alone;
    struct fixture f;
    int32_t prompt[N_PROMPT];
    uint64_t other = 5000;
    fixture_open(&f, 128);
    prompt_fill(prompt, N_PROMPT, 20);
    request_make(&alone, prompt, N_PROMPT, N_OUTPUT, 1);
    run_to_end(&f, &alone);
    for (int32_t m = 0; m < 50; m += 7) {
        for (int32_t keep = 1; keep <= N_PROMPT + m; keep += 1 + keep % 3) {
            uint64_t owner = ++other;
            request_make(&a, prompt, N_PROMPT, N_OUTPUT, owner);
            scheduler_add(f.s, &a.sequence);
            for (int i = 0; i <= m; i++) step(&f);
            assert_int_equal(a.sequence.n_tokens, N_PROMPT + m + 1);
            branch_make(&b, &alone, keep, owner);
            scheduler_add(f.s, &b.sequence);
            while (step(&f)) {}
            assert_int_equal(b.sequence.n_cached, keep);
            request_equal(&a, &alone);
            branch_check(&f, &b, ++other);
        }
    }
    memory_free(a.kv);
    memory_free(b.kv);
    memory_free(alone.kv);
    a.kv = b.kv = alone.kv = NULL;
    fixture_close(&f);
}

/* Pages that a draft has filled are found at once. */
static void drafted_pages_are_found(void **state)
{
    (void)state;
    static struct request a, b, alone;
    struct fixture f;
    int32_t prompt[N_PROMPT];
    fixture_open(&f, 128);
    prompt_fill(prompt, N_PROMPT, 22);
    request_make(&alone, prompt, N_PROMPT, N_OUTPUT, 1);
    run_to_end(&f, &alone);
    for (int32_t keep = N_PROMPT; keep < N_PROMPT + DRAFT; keep += 3) {
        request_make(&a, prompt, N_PROMPT, N_OUTPUT, 2 + (uint64_t)keep);
        a.truth = &alone;
        scheduler_add(f.s, &a.sequence);
        step(&f);
        assert_int_equal(a.sequence.n_computed, N_PROMPT + DRAFT);
        branch_make(&b, &alone, keep, a.sequence.owner);
        scheduler_add(f.s, &b.sequence);
        step(&f);
        assert_int_equal(b.sequence.n_cached, keep);
        while (step(&f)) {}
        request_equal(&a, &alone);
    }
    memory_free(a.kv);
    memory_free(b.kv);
    memory_free(alone.kv);
    fixture_close(&f);
}

/* The same when it has ended: by itself or cancelled, with drafts or without. */
static void ended_generations_are_continued(void **state)
{
    (void)state;
    static struct request a, b, truth;
    struct fixture f;
    int32_t prompt[N_PROMPT];
    fixture_open(&f, 128);
    prompt_fill(prompt, N_PROMPT, 21);
    request_make(&truth, prompt, N_PROMPT, N_OUTPUT, 1);
    run_to_end(&f, &truth);
    for (int kind = 0; kind < 3; kind++) {
        uint64_t owner = 2 + (uint64_t)kind;
        request_make(&a, prompt, N_PROMPT, N_OUTPUT, owner);
        a.truth = kind == 1 ? &truth : NULL;
        a.wrong_at = 30;
        scheduler_add(f.s, &a.sequence);
        for (int i = 0; kind == 2 && i < 40; i++) step(&f);
        if (kind == 2) atomic_store(&a.sequence.cancelled, true);
        while (step(&f)) {}
        int32_t n_computed = N_PROMPT + (kind == 2 ? 40 : N_OUTPUT) - 1;
        for (int32_t keep = n_computed + 1; keep > 0; keep -= 1 + keep % 4) {
            branch_make(&b, &truth, keep, owner);
            run_to_end(&f, &b);
            assert_int_equal(b.sequence.n_cached, keep < n_computed ? keep : n_computed);
            if (keep % 5 == 0) branch_check(&f, &b, 9000 + (uint64_t)(100 * kind + keep));
        }
    }
    memory_free(a.kv);
    memory_free(b.kv);
    memory_free(truth.kv);
    a.kv = b.kv = truth.kv = NULL;
    fixture_close(&f);
}

/* Candidates of one prompt that arrive together, cold: the prompt is computed once, and each but the
 * first computes one row to sample behind. */
static void candidates_share_the_prompt(void **state)
{
    (void)state;
    static const int32_t lengths[] = {1, 2, 5, 16, 17, 32, 33, 100};
    static struct request c[SEQS], alone;
    int32_t prompt[100];
    int n_different = 0;
    for (int32_t rows = 16; rows <= 128; rows *= 8)
        for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) {
            struct fixture f;
            struct engine_stats stats = {0};
            int32_t n = lengths[k];
            fixture_open(&f, rows);
            prompt_fill(prompt, n, 30 + k);
            for (int i = 0; i < SEQS; i++) {
                request_make(&c[i], prompt, n, 20, 1);
                c[i].sequence.sample.temperature = 2;
                c[i].sequence.sample.seed = (uint64_t)i;
                scheduler_add(f.s, &c[i].sequence);
            }
            while (step(&f)) {}
            scheduler_stats(f.s, &stats);
            assert_int_equal(stats.tokens_prompt, SEQS * n);
            assert_int_equal(stats.tokens_cached, (SEQS - 1) * (n - 1));
            for (int i = 0; i < SEQS; i++) {
                assert_int_equal(c[i].sequence.n_cached, i ? n - 1 : 0);
                request_make(&alone, prompt, n, 20, 100 + (uint64_t)i);
                alone.sequence.sample = c[i].sequence.sample;
                run_to_end(&f, &alone);
                request_equal(&c[i], &alone);
                n_different += memcmp(c[i].tokens + n, c[0].tokens + n, sizeof(int32_t)) != 0;
            }
            fixture_close(&f);
        }
    assert_true(n_different > 20);
    for (int i = 0; i < SEQS; i++) {
        memory_free(c[i].kv);
        c[i].kv = NULL;
    }
    memory_free(alone.kv);
    alone.kv = NULL;
}

/* The first one is cancelled at every step of its prefill: the second takes over what it has. */
static void candidates_survive_the_first(void **state)
{
    (void)state;
    static struct request c[SEQS], alone;
    int32_t prompt[100];
    struct fixture f;
    fixture_open(&f, 8);
    prompt_fill(prompt, 100, 40);
    request_make(&alone, prompt, 100, 10, 1);
    run_to_end(&f, &alone);
    for (int at = 0; at < 14; at++) {
        for (int i = 0; i < SEQS; i++) {
            request_make(&c[i], prompt, 100, 10, 2 + (uint64_t)at);
            scheduler_add(f.s, &c[i].sequence);
        }
        for (int n = 0; step(&f); n++)
            if (n + 1 == at) atomic_store(&c[0].sequence.cancelled, true);
        /* Slices of 8: what the first had is found; of the rest nothing is computed twice. */
        for (int i = 1; i < SEQS; i++) request_equal(&c[i], &alone);
        int32_t had = 8 * at < 100 ? 8 * at : 99;
        if (at > 0) assert_int_equal(c[1].sequence.n_cached, had);
        assert_int_equal(c[2].sequence.n_cached, 99);
        assert_int_equal(c[3].sequence.n_cached, 99);
    }
    for (int i = 0; i < SEQS; i++) {
        memory_free(c[i].kv);
        c[i].kv = NULL;
    }
    memory_free(alone.kv);
    alone.kv = NULL;
    fixture_close(&f);
}

/* Cancelled before every step of it: no page is left behind, and the next one finds the same sum. */
static void scoring_is_cancelled_anywhere(void **state)
{
    (void)state;
    static struct request truth, plain, r, beside;
    int32_t prompt[N_PROMPT];
    struct fixture f;
    int n_cancelled = 0, n_steps = 0;
    fixture_open(&f, 8);
    prompt_fill(prompt, N_PROMPT, 50);
    request_make(&plain, prompt, N_PROMPT, 12, 1000);
    run_to_end(&f, &plain);
    request_make(&truth, prompt, N_PROMPT, 12, 1);
    truth.n_score = truth.sequence.n_extra = 40;
    n_steps = run_to_end(&f, &truth);
    assert_true(truth.sequence.scored && truth.sequence.score_logprob < -40);
    for (int at = 0; at < n_steps + 1; at++) {
        for (int again = 0; again < 2; again++) {
            request_make(&r, prompt, N_PROMPT, 12, 2 + (uint64_t)at);
            r.n_score = r.sequence.n_extra = 40;
            scheduler_add(f.s, &r.sequence);
            for (int n = 0; r.n_ends == 0; n++) {
                if (n == at && !again) atomic_store(&r.sequence.cancelled, true);
                step(&f);
            }
            n_cancelled += r.finish == FINISH_CANCELLED && r.sequence.score_from > 0;
            if (r.finish == FINISH_CANCELLED) assert_false(r.sequence.scored);
        }
        assert_int_equal(r.finish, FINISH_LENGTH);
        assert_memory_equal(&r.sequence.score_logprob, &truth.sequence.score_logprob, 8);
        request_make(&beside, prompt, N_PROMPT, 12, 2 + (uint64_t)at);
        run_to_end(&f, &beside);
        request_equal(&beside, &plain);
    }
    assert_true(n_cancelled > 3);
    memory_free(plain.kv);
    memory_free(truth.kv);
    memory_free(r.kv);
    memory_free(beside.kv);
    fixture_close(&f);
}

/* Put back for stricter work at every step, also in the middle of its ids: they are summed once. */
static void scoring_is_put_back(void **state)
{
    (void)state;
    static struct request truth, r, strict[SEQS];
    int32_t prompt[N_PROMPT];
    struct fixture f;
    int n_put_back = 0;
    fixture_open(&f, 8);
    prompt_fill(prompt, N_PROMPT, 60);
    request_make(&truth, prompt, N_PROMPT, 12, 1);
    truth.n_score = truth.sequence.n_extra = 40;
    int n_steps = run_to_end(&f, &truth);
    for (int at = 0; at < n_steps; at++) {
        request_make(&r, prompt, N_PROMPT, 12, 2 + (uint64_t)at);
        r.n_score = r.sequence.n_extra = 40;
        r.sequence.priority = PRIORITY_BATCH;
        scheduler_add(f.s, &r.sequence);
        for (int n = 0; n < at; n++) step(&f);
        int32_t scoring = r.n_ends == 0 ? r.sequence.score_from : 0;
        for (int i = 0; i < SEQS; i++) {
            prompt_fill(prompt, N_PROMPT, 61 + (uint64_t)i);
            request_make(&strict[i], prompt, N_PROMPT, 4, 500 + (uint64_t)at);
            scheduler_add(f.s, &strict[i].sequence);
        }
        step(&f);
        n_put_back += scoring > 0 && r.sequence.n_pages == 0;
        while (step(&f)) {}
        assert_int_equal(r.finish, FINISH_LENGTH);
        assert_memory_equal(&r.sequence.score_logprob, &truth.sequence.score_logprob, 8);
        prompt_fill(prompt, N_PROMPT, 60);
    }
    assert_true(n_put_back > 2);
    memory_free(truth.kv);
    memory_free(r.kv);
    for (int i = 0; i < SEQS; i++) memory_free(strict[i].kv);
    fixture_close(&f);
}

static int model_setup(void **state)
{
    (void)state;
    model_make("fork", "--max-seq-len 1024");
    tokenizer_make("fork");
    return 0;
}

/* An argument such as "wrong_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_drafts_leave_nothing),
        cmocka_unit_test(drafts_share_a_step),
        cmocka_unit_test(running_generations_are_forked),
        cmocka_unit_test(drafted_pages_are_found),
        cmocka_unit_test(ended_generations_are_continued),
        cmocka_unit_test(candidates_share_the_prompt),
        cmocka_unit_test(candidates_survive_the_first),
        cmocka_unit_test(scoring_is_cancelled_anywhere),
        cmocka_unit_test(scoring_is_put_back),
    };
    return cmocka_run_group_tests(tests, model_setup, model_root_remove);
}
