/* Determinism level (a): the logits of an output are the same bits whatever shares its batch, was
 * cached, evicted, cancelled, guessed ahead or cut into slices. Random mixes of requests run on schedulers of
 * several shapes; compared are hashes of whole fp32 rows of logits, caught between scheduler and
 * device, with those of the same request computed alone, cold, on one thread.
 *
 * DETERMINISM_MIXES sets how many mixes; the long run has 1,000. Random tiny models soon repeat
 * themselves under greedy decoding: a greedy request with less than 30 % distinct tokens is no
 * evidence and is not drawn. */
#include "base/random.h"
#include "inference/kv_pages.h"
#include "inference/quantize.h"
#include "inference/scheduler.h"

#include "tests/unit/model_dir.h"

enum {
    POOL = 48, /* different requests */
    PROMPT_MAX = 120,
    OUTPUT_MAX = 24,
    TOKENS_MAX = PROMPT_MAX + OUTPUT_MAX,
    MIX_MAX = 7,
    CHANNELS = 3,
    STEPS_MAX = 100000
};

struct request {
    struct sequence sequence; /* first: one is the other */
    int32_t tokens[TOKENS_MAX], pages[2 * TOKENS_MAX];
    uint64_t
        hashes[OUTPUT_MAX]; /* of the logits behind each output, the last time it was computed */
    enum finish_reason finish;
    int n_ends;
};

/* One shape of scheduler and device: each cuts and batches in its own way. */
struct shape {
    int32_t n_threads, rows, seqs, pages;
    int64_t slice_target_us, group_target_us;
};

static const struct shape alone = {1, 256, 1, 64, 0, 0};
static const struct shape shapes[CHANNELS] = {
    {1, 8, 3, 40, 1, 1},    /* small slices, every layer a group; pages are short: evictions */
    {2, 64, 4, 200, 0, 0},  /* two threads, much stays cached */
    {2, 256, 7, 90, 300, 1} /* whole prompts in a step beside decoding rows */
};

struct channel {
    struct shape shape;
    model *m;
    device *d;
    kv_pool *kv;
    sampler masks;
    tokenizer *t;
    scheduler *s;
};

static struct request truths[POOL];       /* each alone; n_ends 0: not yet */
static struct request *by_seed[POOL + 1]; /* who runs now, by the seed of its draws */
static size_t n_guesses;
static struct step watched; /* the step under way, with its logits wanted */

static bool watch_begin(device *d, const struct step *s, int32_t from, int32_t to)
{
    watched = *s;
    watched.want_logits = true;
    return kernels_cpu.step_begin(d, &watched, from, to);
}

static uint64_t hash_of(const float *row)
{
    uint64_t h = 0;
    for (int i = 0; i < MODEL_VOCAB; i++) {
        uint32_t bits;
        memcpy(&bits, row + i, sizeof bits);
        h = random_mix(h ^ bits);
    }
    return h;
}

static status watch_collect(device *d, struct step_result *out, error *err)
{
    status rc = kernels_cpu.collect(d, out, err);
    if (rc != OK || !out->logits) return rc;
    for (int i = 0; i < watched.n_outs; i++) {
        const struct sample_row *row = &watched.sample[i];
        assert_in_range(row->seed, 1, POOL);
        struct request *r = by_seed[row->seed];
        assert_non_null(r);
        assert_in_range(row->index, 0, OUTPUT_MAX - 1);
        r->hashes[row->index] = hash_of(out->logits + (size_t)i * MODEL_VOCAB);
    }
    return rc;
}

static void on_admitted(void *context, struct sequence *q) { (void)context, (void)q; }

static enum finish_reason on_token(void *context, struct sequence *q,
                                   const struct sample_result *result, const char **why)
{
    (void)context, (void)q, (void)result, (void)why;
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

/* Guesses of every kind: none, right ones, and right ones that go wrong somewhere. */
static int32_t on_draft(void *context, struct sequence *q, int32_t n_max, double *agreement)
{
    const struct request *right = &truths[q->sample.seed - 1];
    uint64_t seed = 1000 + q->sample.seed, at = (uint64_t)q->n_tokens;
    int32_t n = (int32_t)(random_at(seed, at) % 9), wrong = (int32_t)(random_at(seed, at + 1) % 12);
    (void)context;
    if (!right->n_ends || random_at(seed, 5) % 3 == 0) return 0;
    if (n > n_max) n = n_max;
    if (n > right->sequence.n_tokens - q->n_tokens) n = right->sequence.n_tokens - q->n_tokens;
    for (int32_t i = 0; i < n; i++) {
        q->tokens[q->n_tokens + i] =
            i == wrong ? (int32_t)at % MODEL_RANKS : right->tokens[q->n_tokens + i];
    }
    *agreement = 0.9;
    n_guesses += (size_t)n;
    return n > 0 ? n : 0;
}

static void check(status s, const error *err)
{
    if (s != OK) fail_msg("%s", err->message);
}

static struct kernels watching;

static void channel_open(struct channel *c, const char *name, struct shape shape)
{
    error err;
    *c = (struct channel){.shape = shape};
    check(model_open(&c->m, model_path(name), &err), &err);
    struct device_options o = {.shape = c->m->config.shape,
                               .n_threads = shape.n_threads,
                               .rows_max = shape.rows,
                               .seqs_max = shape.seqs,
                               .outs_max = shape.rows,
                               .slices_max = SLICES_MAX};
    check(watching.open(&c->d, &o, &err), &err);
    check(model_load(c->m, &watching, c->d, NULL, NULL, &err), &err);
    check(watching.kv_open(&c->kv, c->d, KV_BF16, shape.pages, &err), &err);
    check(tokenizer_open(&c->t, model_path(name), &err), &err);
    check(sampler_open(&c->masks, c->t, MODEL_VOCAB, &err), &err);
    struct scheduler_options so = {.model = c->m,
                                   .device = c->d,
                                   .kv = c->kv,
                                   .n_pages = shape.pages,
                                   .rows_max = shape.rows,
                                   .seqs_max = shape.seqs,
                                   .outs_max = shape.rows,
                                   .draft_always = true,
                                   .sampler = &c->masks,
                                   .events = {.admitted = on_admitted,
                                              .draft = on_draft,
                                              .token = on_token,
                                              .finished = on_finished},
                                   .slice_rows_min = shape.rows < 16 ? shape.rows : 16,
                                   .slice_target_us = shape.slice_target_us,
                                   .group_target_us = shape.group_target_us};
    check(scheduler_open(&c->s, &so, &err), &err);
}

static void channel_close(struct channel *c)
{
    scheduler_close(c->s);
    sampler_close(&c->masks);
    tokenizer_close(c->t);
    watching.kv_close(c->kv);
    model_close(c->m);
    watching.close(c->d);
}

/* Request `i` of the pool, the same whenever it is made. Every fourth begins like the one before it. */
static void request_make(struct request *r, int i)
{
    uint64_t seed = (uint64_t)i + 1, like = i % 4 == 3 ? seed - 1 : seed;
    int32_t n_like = (int32_t)(random_at(seed, 1) % 70);
    memset(r, 0, sizeof *r);
    int32_t n_prompt = 3 + (int32_t)(random_at(seed, 2) % (PROMPT_MAX - 3));
    int32_t n_output = 4 + (int32_t)(random_at(seed, 3) % (OUTPUT_MAX - 4));
    for (int32_t j = 0; j < n_prompt; j++)
        r->tokens[j] =
            (int32_t)(random_at(j < n_like ? like : seed, 100 + (uint64_t)j) % MODEL_RANKS);
    r->sequence.tokens = r->tokens;
    r->sequence.pages = r->pages;
    r->sequence.n_prompt = n_prompt;
    r->sequence.n_tokens_max = n_prompt + n_output;
    r->sequence.priority = (enum priority)(random_at(seed, 4) % PRIORITY_WARM);
    r->sequence.sample = (struct sample_row){.temperature = i % 2 ? 0.9f : 0,
                                             .top_p = i % 3 ? 1 : 0.95f,
                                             .repetition_penalty = i % 5 ? 1 : 1.2f,
                                             .seed = seed};
}

static bool is_evidence(const struct request *r)
{
    int32_t n = r->sequence.n_tokens - r->sequence.n_prompt, n_distinct = 0;
    const int32_t *out = r->tokens + r->sequence.n_prompt;
    for (int32_t i = 0; i < n; i++) {
        bool seen = false;
        for (int32_t j = 0; j < i; j++) seen |= out[j] == out[i];
        n_distinct += !seen;
    }
    return r->sequence.sample.temperature > 0 || 10 * n_distinct >= 3 * n;
}

static void run_steps(struct channel *c)
{
    error err = {0};
    int n = 0;
    while (scheduler_step(c->s) && ++n < STEPS_MAX)
        if (!scheduler_check(c->s, &err)) fail_msg("%s", err.message);
    assert_true(n < STEPS_MAX);
}

/* Every request of the pool alone on a scheduler that saw nothing before. Returns how many count. */
static int truth_find(const char *name, struct request *truth)
{
    int n = 0;
    for (int i = 0; i < POOL; i++) {
        struct channel c;
        channel_open(&c, name, alone);
        request_make(&truth[i], i);
        by_seed[i + 1] = &truth[i];
        scheduler_add(c.s, &truth[i].sequence);
        run_steps(&c);
        assert_int_equal(truth[i].finish, FINISH_LENGTH);
        channel_close(&c);
        n += is_evidence(&truth[i]);
    }
    return n;
}

/* Tokens and logits as far as `r` came; a cancelled one may have come anywhere. */
static size_t request_compare(const struct request *r, const struct request *truth)
{
    size_t n = (size_t)(r->sequence.n_tokens - r->sequence.n_prompt);
    assert_int_equal(r->n_ends, 1);
    assert_in_range(r->sequence.n_cached, 0, r->sequence.n_prompt - 1);
    if (r->finish != FINISH_CANCELLED)
        assert_int_equal(r->sequence.n_tokens, truth->sequence.n_tokens);
    assert_memory_equal(r->hashes, truth->hashes, n * sizeof *r->hashes);
    assert_memory_equal(r->tokens, truth->tokens, (size_t)r->sequence.n_tokens * sizeof *r->tokens);
    return n;
}

/* A mix: up to MIX_MAX different requests and a warm one arrive at random steps, some are cancelled.
 * Owners are few, so most of a mix finds what earlier ones left in the cache. */
static size_t mix_run(struct channel *c, const struct request *truth, uint64_t seed)
{
    static struct request r[MIX_MAX];
    error err = {0};
    int n = 2 + (int)(random_at(seed, 0) % (MIX_MAX - 1)), order[POOL], arrives[MIX_MAX];
    int cancels[MIX_MAX];
    size_t n_rows = 0;
    for (int i = 0; i < POOL; i++) order[i] = i;
    for (int i = 0; i < n; i++) { /* the first n of a random permutation */
        int j = i + (int)(random_at(seed, 10 + (uint64_t)i) % (uint64_t)(POOL - i)), k = order[j];
        order[j] = order[i];
        order[i] = k;
        if (!is_evidence(&truth[k])) return 0; /* tried with another seed */
        arrives[i] = (int)(random_at(seed, 30 + (uint64_t)i) % 12);
        cancels[i] = random_at(seed, 50 + (uint64_t)i) % 5 ? -1 : arrives[i] + (int)(seed % 25);
        request_make(&r[i], k);
        r[i].sequence.owner = random_at(seed, 70 + (uint64_t)i) % 3;
        by_seed[k + 1] = &r[i];
    }
    if (random_at(seed, 1) % 2) { /* the first one is only a warm-up of its prompt */
        r[0].sequence.n_tokens_max = r[0].sequence.n_prompt;
        r[0].sequence.priority = PRIORITY_WARM;
    }
    for (int at = 0; at < 40; at++) {
        for (int i = 0; i < n; i++) {
            if (arrives[i] == at) scheduler_add(c->s, &r[i].sequence);
            if (cancels[i] == at) atomic_store(&r[i].sequence.cancelled, true);
        }
        scheduler_step(c->s);
        if (!scheduler_check(c->s, &err)) fail_msg("%s", err.message);
    }
    run_steps(c);
    for (int i = 0; i < n; i++) {
        bool warm = r[i].sequence.priority == PRIORITY_WARM;
        if (warm) assert_int_equal(r[i].n_ends, 1);
        n_rows += warm ? 0 : request_compare(&r[i], &truth[order[i]]);
    }
    return n_rows;
}

static void mixes_equal_alone(const char *name)
{
    struct request *truth = truths;
    const char *asked = getenv("DETERMINISM_MIXES");
    int n_wanted = asked ? atoi(asked) : 60, n_counted = 0;
    size_t n_rows = 0;
    struct channel channels[CHANNELS];
    memset(truths, 0, sizeof truths);
    n_guesses = 0;
    int n_evidence = truth_find(name, truth);
    assert_in_range(n_evidence, POOL / 2, POOL);
    for (int i = 0; i < CHANNELS; i++) channel_open(&channels[i], name, shapes[i]);
    for (uint64_t seed = 1; n_counted < n_wanted && seed < 100 * (uint64_t)n_wanted; seed++) {
        size_t n = mix_run(&channels[seed % CHANNELS], truth, seed);
        n_counted += n > 0;
        n_rows += n;
    }
    for (int i = 0; i < CHANNELS; i++) channel_close(&channels[i]);
    print_message(
        "%s: %d mixes, %zu rows of logits compared, %zu tokens guessed, %d of %d requests "
        "count\n",
        name, n_counted, n_rows, n_guesses, n_evidence, POOL);
    assert_true(n_guesses > n_rows / 10);
    assert_int_equal(n_counted, n_wanted);
}

static void bf16_mixes_equal_alone(void **state)
{
    (void)state;
    mixes_equal_alone("bf16");
}

static void int8_mixes_equal_alone(void **state)
{
    (void)state;
    mixes_equal_alone("int8");
}

static void int4_mixes_equal_alone(void **state)
{
    (void)state;
    mixes_equal_alone("int4");
}

static void quantised_make(const char *name, enum weight_format format, const char *activations)
{
    char source[512];
    error err;
    snprintf(source, sizeof source, "%s", model_path("bf16"));
    struct quantize_options o = {.source_dir = source,
                                 .destination_dir = model_path(name),
                                 .format = format,
                                 .activations = activations,
                                 .n_threads = 1};
    check(quantize(NULL, &o, &err), &err);
}

static int models_make(void **state)
{
    (void)state;
    watching = kernels_cpu;
    watching.step_begin = watch_begin;
    watching.collect = watch_collect;
    /* 160 and 288 are no multiples of the 128 of INT4's groups; 288 is more than one block of terms. */
    model_make("bf16", "--d-model 160 --n-heads 10 --ffn 288 --n-layers 3");
    tokenizer_make("bf16");
    quantised_make("int8", WEIGHT_INT8_ROW, "int8");
    quantised_make("int4", WEIGHT_INT4_G128, "bf16");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bf16_mixes_equal_alone),
        cmocka_unit_test(int8_mixes_equal_alone),
        cmocka_unit_test(int4_mixes_equal_alone),
    };
    return cmocka_run_group_tests(tests, models_make, model_root_remove);
}
