/* The engine from outside: what a request gets must depend on the request alone, whatever runs
 * beside it, whatever is cached, and however it is cut into steps. Expected tokens are the argmax of
 * `logits_compute`, which knows no scheduler and no cache. */
#include <math.h>
#include <time.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "inference/engine.h"
#include "inference/safetensors.h"

#include "tests/unit/model_dir.h"

enum { OUTPUT_MAX = 600, WAIT_MS = 60000 };

struct output {
    int32_t ids[OUTPUT_MAX];
    float logprobs[OUTPUT_MAX];
    size_t n;
    buffer bytes;
    enum finish_reason finish;
    char error[256];
    struct generation_stats stats;
};

static engine *engine_make(const char *name, int64_t kv_tokens, int32_t rows_max)
{
    engine *e = NULL;
    error err;
    const char *backend = getenv("TEST_BACKEND");
    struct engine_options options = {.model_dir = model_path(name),
                                     .backend = backend ? backend : "cpu",
                                     .n_threads = 2,
                                     .kv_type = KV_F32,
                                     .kv_tokens = kv_tokens,
                                     .rows_max = rows_max};
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    return e;
}

/* Ids that look random and are the same in every run; none is a special. */
static void prompt_fill(int32_t *ids, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(random_at(seed, i) % MODEL_RANKS);
}

static struct generation_spec spec_of(const int32_t *prompt, size_t n, int32_t max_tokens)
{
    return (struct generation_spec){.prompt = prompt,
                                    .n_prompt = n,
                                    .max_tokens = max_tokens,
                                    .owner = 1,
                                    .ignore_stop_ids = true};
}

static generation *submit(engine *e, const struct generation_spec *spec)
{
    generation *g = NULL;
    error err;
    if (engine_submit(e, spec, &g, &err) != OK) fail_msg("%s", err.message);
    return g;
}

/* Reads one piece into the output; false after the last. */
static bool output_read(struct output *out, generation *g)
{
    struct generation_piece piece;
    if (!generation_next(g, &piece, WAIT_MS)) fail_msg("nothing came for a minute");
    assert_true(out->n + piece.n_ids <= OUTPUT_MAX);
    for (size_t i = 0; i < piece.n_ids; i++) {
        out->ids[out->n] = piece.ids[i];
        out->logprobs[out->n++] = piece.logprobs[i];
    }
    buffer_put_text(&out->bytes, piece.bytes);
    out->finish = piece.finish;
    return piece.finish == FINISH_NONE;
}

static void output_finish(struct output *out, generation *g)
{
    while (output_read(out, g)) {}
    generation_stats(g, &out->stats);
    snprintf(out->error, sizeof out->error, "%s", generation_error(g));
    generation_free(g);
}

static struct output generate(engine *e, const struct generation_spec *spec)
{
    struct output out = {0};
    output_finish(&out, submit(e, spec));
    return out;
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

static void output_free(struct output *out) { buffer_free(&out->bytes); }

/* All pages are free or in the cache once nothing runs. */
static void pages_returned(engine *e)
{
    struct engine_stats stats;
    for (int i = 0; i < 1000; i++) {
        engine_stats(e, &stats);
        if (stats.n_running == 0 && stats.n_queued == 0) break;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_int_equal(stats.n_running, 0);
    assert_int_equal(stats.kv_pages, stats.kv_pages_free + stats.kv_pages_cached);
}

static void greedy_is_argmax_of_logits(void **state)
{
    (void)state;
    int32_t ids[60];
    engine *e = engine_make("f32", 0, 16);
    prompt_fill(ids, 40, 3);
    struct generation_spec spec = spec_of(ids, 40, 20);
    struct output out = generate(e, &spec);
    assert_int_equal(out.n, 20);
    assert_int_equal(out.finish, FINISH_LENGTH);
    memcpy(ids + 40, out.ids, 20 * sizeof *ids);
    struct logits_options options = {.model_dir = model_path("f32"), .backend = "reference"};
    struct model_shape shape;
    float *rows;
    error err;
    assert_int_equal(logits_compute(&rows, &shape, &options, ids, 60, &err), OK);
    for (int i = 0; i < 20; i++) {
        const float *row = rows + (size_t)(39 + i) * MODEL_VOCAB;
        int best = 0;
        double sum = 0;
        for (int id = 1; id < MODEL_IM_END + 1; id++)
            if (row[id] > row[best]) best = id;
        for (int id = 0; id < MODEL_VOCAB; id++) sum += exp((double)row[id] - (double)row[best]);
        assert_int_equal(out.ids[i], best);
        assert_float_equal(out.logprobs[i], -log(sum), 1e-4);
    }
    memory_free(rows);
    output_free(&out);
    engine_close(e);
}

/* The best allowed id of a row, ids of the history counted down by `penalty`. */
static int best_penalised(const float *row, const int32_t *history, int n, float penalty)
{
    float adjusted[MODEL_IM_END + 1];
    int best = 0;
    memcpy(adjusted, row, sizeof adjusted);
    for (int i = 0; i < n; i++) {
        int32_t id = history[i];
        adjusted[id] = row[id] > 0 ? row[id] / penalty : row[id] * penalty;
    }
    for (int id = 1; id <= MODEL_IM_END; id++)
        if (adjusted[id] > adjusted[best]) best = id;
    return best;
}

static void penalty_counts_prompt_and_output(void **state)
{
    (void)state;
    enum { N_PROMPT = 150, N_OUTPUT = 40 };
    int32_t ids[N_PROMPT + N_OUTPUT];
    int n_by_prompt = 0, n_by_output = 0;
    engine *e = engine_make("f32", 0, 16);
    prompt_fill(ids, N_PROMPT, 4);
    struct generation_spec spec = spec_of(ids, N_PROMPT, N_OUTPUT);
    spec.repetition_penalty = 1.5f;
    struct output out = generate(e, &spec);
    assert_int_equal(out.n, N_OUTPUT);
    memcpy(ids + N_PROMPT, out.ids, N_OUTPUT * sizeof *ids);
    struct logits_options options = {.model_dir = model_path("f32"), .backend = "reference"};
    struct model_shape shape;
    float *rows;
    error err;
    assert_int_equal(logits_compute(&rows, &shape, &options, ids, N_PROMPT + N_OUTPUT, &err), OK);
    for (int i = 0; i < N_OUTPUT; i++) {
        const float *row = rows + (size_t)(N_PROMPT - 1 + i) * MODEL_VOCAB;
        int best = best_penalised(row, ids, N_PROMPT + i, 1.5f);
        assert_int_equal(out.ids[i], best);
        n_by_prompt += best != best_penalised(row, ids + N_PROMPT, i, 1.5f);
        n_by_output += best != best_penalised(row, ids, N_PROMPT, 1.5f);
    }
    assert_true(n_by_prompt > 0 && n_by_output > 0);
    memory_free(rows);
    output_free(&out);
    engine_close(e);
}

enum { MIX = 24 };

/* Different lengths, seeds and temperatures; some begin alike. */
static void mix_fill(struct generation_spec *specs, int32_t (*prompts)[300])
{
    for (int i = 0; i < MIX; i++) {
        size_t n = 1 + random_at(5, (uint64_t)i) % 299;
        prompt_fill(prompts[i], n, i % 3 ? (uint64_t)i : 99);
        specs[i] = spec_of(prompts[i], n, 8 + i);
        specs[i].temperature = i % 2 ? 0.8f : 0;
        specs[i].repetition_penalty = i % 5 == 0 ? 1.3f : 0;
        specs[i].top_k = i % 7 == 0 ? 20 : 0;
        specs[i].seed = (uint64_t)i;
        specs[i].priority = (enum priority)(i % 3);
    }
}

static void batch_changes_nothing(void **state)
{
    (void)state;
    static int32_t prompts[MIX][300];
    static struct output alone[MIX], together[MIX];
    struct generation_spec specs[MIX];
    generation *running[MIX];
    mix_fill(specs, prompts);
    for (int i = 0; i < MIX; i++) {
        struct generation_spec fresh = specs[i];
        fresh.owner = 1000 + (uint64_t)i;
        if (i == 0) *state = engine_make("bf16", 8192, 64);
        alone[i] = generate(*state, &fresh);
        assert_int_equal(alone[i].stats.n_cached, 0);
    }
    engine_close(*state);
    /* More than one round: the second finds everything in the cache. */
    engine *e = engine_make("bf16", 8192, 48);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MIX; i++) running[i] = submit(e, &specs[i]);
        for (int i = 0; i < MIX; i++) {
            together[i] = (struct output){0};
            output_finish(&together[i], running[i]);
            output_equal(&alone[i], &together[i]);
            if (round == 1)
                assert_int_equal(together[i].stats.n_cached, (int64_t)specs[i].n_prompt - 1);
            output_free(&together[i]);
        }
        pages_returned(e);
    }
    for (int i = 0; i < MIX; i++) output_free(&alone[i]);
    engine_close(e);
}

static void small_pool_evicts_and_serves_all(void **state)
{
    (void)state;
    static int32_t prompts[MIX][300];
    static struct output large[MIX], small;
    struct generation_spec specs[MIX];
    generation *running[MIX];
    mix_fill(specs, prompts);
    engine *e = engine_make("bf16", 8192, 64);
    for (int i = 0; i < MIX; i++) large[i] = generate(e, &specs[i]);
    engine_close(e);
    e = engine_make("bf16", 336, 64); /* the longest request needs 20 pages of these 21 */
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < MIX; i++) running[i] = submit(e, &specs[i]);
        for (int i = 0; i < MIX; i++) {
            small = (struct output){0};
            output_finish(&small, running[i]);
            output_equal(&large[i], &small);
            output_free(&small);
        }
    }
    pages_returned(e);
    for (int i = 0; i < MIX; i++) output_free(&large[i]);
    engine_close(e);
}

static void warm_request_is_found(void **state)
{
    (void)state;
    int32_t prompt[120];
    engine *e = engine_make("bf16", 0, 64);
    prompt_fill(prompt, 120, 11);
    struct generation_spec spec = spec_of(prompt, 120, 10);
    spec.owner = 5;
    struct output fresh = generate(e, &spec);
    spec.owner = 6;
    spec.n_prompt = 100;
    spec.max_tokens = 0;
    spec.priority = PRIORITY_WARM;
    struct output warm = generate(e, &spec), again = generate(e, &spec);
    assert_int_equal(warm.finish, FINISH_LENGTH);
    assert_int_equal(warm.n, 0);
    assert_int_equal(warm.stats.n_cached, 0);
    assert_int_equal(again.stats.n_cached, 100);
    spec = spec_of(prompt, 120, 10);
    spec.owner = 6;
    struct output real = generate(e, &spec);
    assert_int_equal(real.stats.n_cached, 100);
    output_equal(&fresh, &real);
    /* Another owner's KV is never found. */
    spec.owner = 7;
    struct output other = generate(e, &spec);
    assert_int_equal(other.stats.n_cached, 0);
    output_equal(&fresh, &other);
    output_free(&fresh);
    output_free(&warm);
    output_free(&again);
    output_free(&real);
    output_free(&other);
    pages_returned(e);
    engine_close(e);
}

/* What was generated is found again by the next turn, and a prompt that leaves the path in the
 * middle of a page takes the part before it. */
static void partial_pages_are_copied_on_write(void **state)
{
    (void)state;
    int32_t prompt[100];
    engine *e = engine_make("bf16", 8192, 64);
    prompt_fill(prompt, 100, 12);
    struct generation_spec spec = spec_of(prompt, 50, 10);
    struct output first = generate(e, &spec);
    for (size_t keep = 33; keep < 50; keep++) {
        int32_t other[100];
        memcpy(other, prompt, sizeof other);
        other[keep] = (other[keep] + 1) % MODEL_RANKS;
        struct generation_spec changed = spec_of(other, 60, 6), fresh = changed;
        fresh.owner = 100 + keep;
        struct output hit = generate(e, &changed), miss = generate(e, &fresh);
        assert_int_equal(hit.stats.n_cached, (int64_t)keep);
        assert_int_equal(miss.stats.n_cached, 0);
        output_equal(&hit, &miss);
        output_free(&hit);
        output_free(&miss);
    }
    struct output again = generate(e, &spec);
    output_equal(&first, &again);
    assert_int_equal(again.stats.n_cached, 49);
    memcpy(prompt + 50, first.ids, 10 * sizeof *prompt);
    spec = spec_of(prompt, 70, 4);
    struct output next = generate(e, &spec);
    assert_int_equal(next.stats.n_cached, 59); /* the tenth output token was never computed */
    output_free(&first);
    output_free(&again);
    output_free(&next);
    engine_close(e);
}

static void cancel_after_every_token(void **state)
{
    (void)state;
    int32_t prompt[100];
    engine *e = engine_make("bf16", 1024, 16);
    prompt_fill(prompt, 100, 13);
    struct generation_spec spec = spec_of(prompt, 100, 60);
    struct output whole = generate(e, &spec);
    for (size_t stop = 0; stop < 60; stop += 3) {
        struct output cut = {0};
        spec.owner = 100 + stop;
        generation *g = submit(e, &spec);
        while (cut.n < stop && output_read(&cut, g)) {}
        if (stop % 2) {
            generation_free(g);
        } else {
            generation_cancel(g);
            if (cut.finish == FINISH_NONE)
                output_finish(&cut, g);
            else
                generation_free(g);
            assert_true(cut.finish == FINISH_CANCELLED || cut.n == 60);
        }
        assert_memory_equal(cut.ids, whole.ids, cut.n * sizeof *cut.ids);
        struct output next = generate(e, &spec);
        output_equal(&whole, &next);
        output_free(&next);
        output_free(&cut);
        pages_returned(e);
    }
    output_free(&whole);
    engine_close(e);
}

static void stop_strings_cut_the_output(void **state)
{
    (void)state;
    int32_t prompt[10];
    engine *e = engine_make("bf16", 0, 64);
    prompt_fill(prompt, 10, 14);
    struct generation_spec spec = spec_of(prompt, 10, 40);
    struct output whole = generate(e, &spec);
    text all = buffer_text(&whole.bytes);
    assert_true(all.size > 40);
    for (size_t at = 1; at + 5 < all.size && at < 30; at++) {
        text stops[2] = {text_slice(all, at, at + 5), TEXT("never there")};
        spec.stops = stops;
        spec.n_stops = 2;
        struct output cut = generate(e, &spec);
        size_t first = text_find(all, stops[0], 0);
        assert_int_equal(cut.finish, FINISH_STOP);
        assert_int_equal(cut.bytes.size, first);
        if (first) assert_memory_equal(cut.bytes.bytes, all.bytes, first);
        output_free(&cut);
    }
    text absent = TEXT("\x01\x02\x03");
    spec.stops = &absent;
    spec.n_stops = 1;
    struct output same = generate(e, &spec);
    output_equal(&whole, &same);
    output_free(&same);
    output_free(&whole);
    engine_close(e);
}

static void stop_ids_end_the_output(void **state)
{
    (void)state;
    int32_t prompt[10];
    int n_stopped = 0;
    engine *e = engine_make("bf16", 0, 64);
    prompt_fill(prompt, 10, 15);
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct generation_spec spec = spec_of(prompt, 10, 100);
        spec.temperature = 100; /* every id that may be drawn comes up */
        spec.seed = seed;
        struct output whole = generate(e, &spec);
        spec.ignore_stop_ids = false;
        struct output cut = generate(e, &spec);
        size_t n = 0;
        for (size_t i = 0; i < whole.n; i++) assert_in_range(whole.ids[i], 0, MODEL_IM_END);
        while (n < whole.n && whole.ids[n] != MODEL_ENDOFTEXT && whole.ids[n] != MODEL_IM_END) n++;
        assert_int_equal(cut.finish, n < whole.n ? FINISH_STOP : FINISH_LENGTH);
        assert_int_equal(cut.n, n < whole.n ? n + 1 : n);
        assert_memory_equal(cut.ids, whole.ids, cut.n * sizeof *cut.ids);
        n_stopped += cut.finish == FINISH_STOP;
        output_free(&whole);
        output_free(&cut);
    }
    assert_in_range(n_stopped, 5, 35); /* 2 of 403 ids in 100 draws: 39 % */
    engine_close(e);
}

static void check(status s, const error *err)
{
    if (s != OK) fail_msg("%s", err->message);
}

static void full_queue_is_busy(void **state)
{
    (void)state;
    static generation *g[2 * ENGINE_QUEUE_MAX];
    int32_t prompt[500];
    error err;
    size_t n = 0;
    struct engine_stats stats;
    engine *e = engine_make("bf16", 512, 32);
    prompt_fill(prompt, 500, 16);
    struct generation_spec spec = spec_of(prompt, 100, 400);
    /* One request fits the pool and runs; everybody may let half of the queue wait. */
    for (uint64_t owner = 1; owner <= 3; owner++) {
        status s = OK;
        spec.owner = owner;
        size_t first = n;
        while (s == OK && n < sizeof g / sizeof *g) s = engine_submit(e, &spec, &g[n++], &err);
        n--;
        assert_int_equal(s, ERR_BUSY);
        if (owner < 3)
            assert_in_range(n - first, ENGINE_QUEUE_OWNER_MAX, ENGINE_QUEUE_OWNER_MAX + 20);
        assert_non_null(strstr(err.message, owner < 3 ? "128 requests of yours are waiting"
                                                      : "256 requests are waiting"));
    }
    engine_stats(e, &stats);
    assert_int_equal(stats.refused_busy, 3);
    for (size_t i = 0; i < n; i++) generation_free(g[i]);
    pages_returned(e);
    struct output out = generate(e, &spec);
    assert_int_equal(out.n, 400);
    output_free(&out);
    engine_close(e);
}

static enum finish_reason finish_of(generation *g)
{
    struct generation_piece piece = {0};
    for (int i = 0; i < 1000 && piece.finish == FINISH_NONE; i++) generation_next(g, &piece, 100);
    return piece.finish;
}

/* Warm requests fill the queue to the brim; real ones come in all the same. Returns how many warm ones were
 * cancelled for them: the oldest. */
static size_t brim_overflow(engine *e)
{
    static generation *warm[ENGINE_QUEUE_MAX], *real[20], *long_one;
    int32_t prompt[500];
    size_t n_cancelled = 0;
    error err;
    prompt_fill(prompt, 500, 17);
    struct generation_spec spec = spec_of(prompt, 100, 400);
    check(engine_submit(e, &spec, &long_one, &err), &err);
    struct generation_spec hint = spec_of(prompt, 200, 0);
    hint.priority = PRIORITY_WARM;
    for (size_t i = 0; i < ENGINE_QUEUE_MAX; i++) {
        hint.owner = 100 + i;
        check(engine_submit(e, &hint, &warm[i], &err), &err);
    }
    spec.owner = 7;
    for (size_t i = 0; i < 20; i++) check(engine_submit(e, &spec, &real[i], &err), &err);
    for (size_t i = 0; i < 20; i++) generation_free(real[i]);
    generation_free(long_one);
    for (size_t i = 0; i < ENGINE_QUEUE_MAX; i++) {
        enum finish_reason finish = finish_of(warm[i]);
        n_cancelled += finish == FINISH_CANCELLED;
        if (finish == FINISH_CANCELLED) assert_in_range(i, 0, 40); /* the oldest */
        generation_free(warm[i]);
    }
    return n_cancelled;
}

static void warm_requests_keep_nobody_out(void **state)
{
    (void)state;
    engine *e = engine_make("bf16", 512, 32);
    size_t n_cancelled = 0;
    /* who is kept from the processor while it fills the queue finds room in it: then once more */
    for (int i = 0; i < 10 && n_cancelled == 0; i++) n_cancelled = brim_overflow(e);
    assert_in_range(n_cancelled, 1, 21); /* and one for the long one, until that was seen */
    pages_returned(e);
    engine_close(e);
}

static void requests_are_listed(void **state)
{
    (void)state;
    struct engine_request_info list[4];
    generation *g[3];
    int32_t prompt[500];
    error err;
    engine *e = engine_make("bf16", 512, 32);
    assert_int_equal(engine_requests(e, list, 4), 0);
    prompt_fill(prompt, 500, 18);
    struct generation_spec spec = spec_of(prompt, 100, 400);
    for (size_t i = 0; i < 3; i++) {
        spec.owner = 5 + i;
        spec.priority = i == 2 ? PRIORITY_BATCH : PRIORITY_INTERACTIVE;
        check(engine_submit(e, &spec, &g[i], &err), &err);
    }
    do { /* all that were posted are in it at once; the first one runs a step later */
        assert_int_equal(engine_requests(e, list, 4), 3);
    } while (strcmp(list[0].state, "queued") == 0);
    assert_string_not_equal(list[0].state, "queued");
    assert_int_equal(list[0].owner, 5);
    assert_int_equal(list[0].n_prompt, 100);
    assert_string_equal(list[1].state, "queued");
    assert_string_equal(list[1].waits_for, "pages");
    assert_int_equal(list[2].owner, 7);
    assert_int_equal(list[2].priority, PRIORITY_BATCH);
    assert_true(list[0].id < list[1].id && list[1].id < list[2].id);
    assert_int_equal(engine_requests(e, list, 2), 2);
    for (size_t i = 0; i < 3; i++) generation_free(g[i]);
    pages_returned(e);
    engine_close(e);
}

static void lengths_end_at_the_context(void **state)
{
    (void)state;
    int32_t prompt[512];
    generation *g;
    error err;
    engine *e = engine_make("bf16", 0, 64);
    prompt_fill(prompt, 512, 17);
    struct generation_spec spec = spec_of(prompt, 511, 50);
    struct output one = generate(e, &spec);
    assert_int_equal(one.n, 1);
    assert_int_equal(one.finish, FINISH_LENGTH);
    spec.n_prompt = 500;
    struct output twelve = generate(e, &spec);
    assert_int_equal(twelve.n, 12);
    output_free(&one);
    output_free(&twelve);
    engine_close(e);

    e = engine_make("bf16", 64, 64);
    const struct {
        size_t n_prompt;
        int32_t max_tokens, first, n_logprobs;
        float temperature;
        const char *fragment;
    } bad[] = {
        {512, 1, 1, 0, 0, "512 tokens, expected 1 to 511"},
        {0, 1, 1, 0, 0, "0 tokens"},
        {10, 0, 1, 0, 0, "max_tokens is 0"},
        {10, -1, 1, 0, 0, "max_tokens is -1"},
        {60, 100, 1, 0, 0, "KV pool of 64 tokens"},
        {10, 1, MODEL_VOCAB, 0, 0, "prompt[0] is 512, expected a token id from 0 to 511"},
        {10, 1, -1, 0, 0, "prompt[0] is -1"},
        {10, 1, 1, 21, 0, "logprobs is 21"},
        {10, 1, 1, 0, -1, "temperature is -1"},
        {10, 1, 1, 0, NAN, "temperature is"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spec = spec_of(prompt, bad[i].n_prompt, bad[i].max_tokens);
        prompt[0] = bad[i].first;
        spec.n_logprobs = bad[i].n_logprobs;
        spec.temperature = bad[i].temperature;
        assert_int_equal(engine_submit(e, &spec, &g, &err), ERR_USAGE);
        if (!strstr(err.message, bad[i].fragment)) fail_msg("%zu: %s", i, err.message);
    }
    engine_close(e);
}

static void logprobs_come_with_details(void **state)
{
    (void)state;
    int32_t prompt[10];
    struct generation_piece piece;
    engine *e = engine_make("bf16", 0, 64);
    prompt_fill(prompt, 10, 18);
    struct generation_spec spec = spec_of(prompt, 10, 5);
    spec.n_logprobs = 3;
    generation *g = submit(e, &spec);
    do {
        assert_true(generation_next(g, &piece, WAIT_MS));
        for (size_t i = 0; i < piece.n_ids; i++) {
            assert_int_equal(piece.details[i].id, piece.ids[i]);
            assert_true(piece.details[i].top_logprob[0] >= piece.details[i].top_logprob[1]);
            assert_true(piece.details[i].top_logprob[1] >= piece.details[i].top_logprob[2]);
        }
    } while (piece.finish == FINISH_NONE);
    assert_false(generation_next(g, &piece, 0));
    generation_free(g);
    engine_close(e);
}

/* Overwrites the start of one tensor with a bfloat16 NaN. */
static void tensor_poison(const char *name, const char *tensor_name)
{
    safetensors *s;
    error err;
    assert_int_equal(safetensors_open(&s, model_path(name), &err), OK);
    const struct tensor *t = safetensors_find(s, tensor_name);
    struct stat st;
    assert_int_equal(stat(t->file, &st), 0);
    const unsigned char *end = NULL; /* the last tensor ends with the file */
    for (size_t i = 0; i < safetensors_count(s); i++) {
        const struct tensor *u = safetensors_at(s, i);
        if (!end || u->bytes + u->size_bytes > end) end = u->bytes + u->size_bytes;
    }
    FILE *f = fopen(t->file, "r+");
    assert_int_equal(fseek(f, st.st_size - (end - t->bytes), SEEK_SET), 0);
    assert_int_equal(fwrite("\xff\x7f", 1, 2, f), 2);
    fclose(f);
    safetensors_close(s);
}

static void nan_logits_end_the_request(void **state)
{
    (void)state;
    int32_t prompt[40];
    model_make("nan", "");
    tokenizer_make("nan");
    tensor_poison("nan", "transformer.norm_f.weight");
    engine *e = engine_make("nan", 0, 64);
    prompt_fill(prompt, 40, 19);
    struct generation_spec spec = spec_of(prompt, 40, 5);
    struct output out = generate(e, &spec);
    assert_int_equal(out.finish, FINISH_ERROR);
    assert_int_equal(out.n, 0);
    assert_non_null(strstr(out.error, "no number"));
    struct engine_stats stats = {0};
    for (int i = 0; i < 1000 && stats.failed == 0; i++) { /* published at the step's end */
        engine_stats(e, &stats);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_false(stats.device_failed);
    assert_int_equal(stats.failed, 1);
    pages_returned(e);
    output_free(&out);
    engine_close(e);
}

static void file_cut_while_in_use_is_an_error(void **state)
{
    (void)state;
    int32_t prompt[40];
    error err;
    generation *g;
    model_make("cut", "");
    tokenizer_make("cut");
    engine *e = engine_make("cut", 0, 64);
    prompt_fill(prompt, 40, 20);
    struct generation_spec spec = spec_of(prompt, 40, 5);
    struct output good = generate(e, &spec);
    assert_int_equal(good.finish, FINISH_LENGTH);
    shell("truncate -s 4096 %s/model.safetensors", model_path("cut"));
    struct output bad = generate(e, &spec);
    assert_int_equal(bad.finish, FINISH_ERROR);
    assert_non_null(strstr(bad.error, "cut to 4096 bytes"));
    struct engine_stats stats = {0};
    for (int i = 0; i < 1000 && !stats.device_failed; i++) {
        engine_stats(e, &stats);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    assert_true(stats.device_failed);
    assert_int_equal(engine_submit(e, &spec, &g, &err), ERR_DEVICE);
    output_free(&good);
    output_free(&bad);
    engine_close(e);
}

/* Whatever allocation fails first while a model is opened: a status, and nothing left behind. */
static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    engine *e = NULL;
    error err;
    status s = ERR_MEMORY;
    int64_t n = 0;
    struct engine_options options = {
        .model_dir = model_path("bf16"), .backend = "cpu", .n_threads = 1, .kv_type = KV_F32};
    while (s != OK && n < 20000) {
        memory_fail_at(++n);
        s = engine_open(&e, &options, &err);
        memory_fail_at(0);
        if (s != OK && s != ERR_MEMORY) fail_msg("allocation %ld: %s", (long)n, err.message);
    }
    assert_int_equal(s, OK);
    assert_true(n > 100);
    engine_close(e);
}

/* Weights on an f32 checkpoint are exact in the oracle, too, which always has fp32 activations. */
static int models_make(void **state)
{
    (void)state;
    model_make("bf16", "");
    tokenizer_make("bf16");
    model_make("f32", "--dtype f32");
    tokenizer_make("f32");
    file_replace(model_path("f32"), "config.json", "\"vocab_size\"",
                 "\"dbrx_ls\": {\"activations\": \"f32\"}, \"vocab_size\"");
    return 0;
}

/* An argument such as "warm_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_is_argmax_of_logits),
        cmocka_unit_test(penalty_counts_prompt_and_output),
        cmocka_unit_test(batch_changes_nothing),
        cmocka_unit_test(small_pool_evicts_and_serves_all),
        cmocka_unit_test(warm_request_is_found),
        cmocka_unit_test(partial_pages_are_copied_on_write),
        cmocka_unit_test(cancel_after_every_token),
        cmocka_unit_test(stop_strings_cut_the_output),
        cmocka_unit_test(stop_ids_end_the_output),
        cmocka_unit_test(full_queue_is_busy),
        cmocka_unit_test(warm_requests_keep_nobody_out),
        cmocka_unit_test(requests_are_listed),
        cmocka_unit_test(lengths_end_at_the_context),
        cmocka_unit_test(logprobs_come_with_details),
        cmocka_unit_test(nan_logits_end_the_request),
        cmocka_unit_test(file_cut_while_in_use_is_an_error),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, models_make, model_root_remove);
}
