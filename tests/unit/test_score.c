/* Scores: the log-probability of given ids behind an output, wherever it was cut. Expected sums come
 * from `logits_compute` over the prompt, the emitted text and the ids, which knows no stop strings, no
 * cache and no steps. */
#include <math.h>
#include <time.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "inference/engine.h"

#include "tests/unit/model_dir.h"

enum { OUTPUT_MAX = 200, SEQUENCE_MAX = 512, WAIT_MS = 60000 };

struct output {
    int32_t ids[OUTPUT_MAX];
    size_t n;
    buffer bytes;
    enum finish_reason finish;
    struct generation_stats stats;
};

static engine *engine_make(int64_t kv_tokens, int32_t rows_max)
{
    engine *e = NULL;
    error err;
    struct engine_options options = {.model_dir = model_path("f32"),
                                     .backend = "cpu",
                                     .n_threads = 2,
                                     .kv_type = KV_F32,
                                     .kv_tokens = kv_tokens,
                                     .rows_max = rows_max};
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    return e;
}

static struct output output_finish(generation *g)
{
    struct output out = {0};
    struct generation_piece piece;
    do {
        if (!generation_next(g, &piece, WAIT_MS)) fail_msg("nothing came for a minute");
        assert_true(out.n + piece.n_ids <= OUTPUT_MAX);
        for (size_t i = 0; i < piece.n_ids; i++) out.ids[out.n++] = piece.ids[i];
        buffer_put_text(&out.bytes, piece.bytes);
    } while (piece.finish == FINISH_NONE);
    out.finish = piece.finish;
    if (out.finish == FINISH_ERROR) fail_msg("%s", generation_error(g));
    generation_stats(g, &out.stats);
    generation_free(g);
    return out;
}

static generation *submit(engine *e, const struct generation_spec *spec)
{
    generation *g = NULL;
    error err;
    if (engine_submit(e, spec, &g, &err) != OK) fail_msg("%s", err.message);
    return g;
}

static void prompt_fill(int32_t *ids, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) ids[i] = (int32_t)(random_at(seed, i) % MODEL_RANKS);
}

/* log p(ids[from, n) | what is before each). */
static double logprob_of(const int32_t *ids, size_t from, size_t n)
{
    struct logits_options options = {.model_dir = model_path("f32"), .backend = "reference"};
    struct model_shape shape;
    float *rows;
    error err;
    double sum = 0;
    if (logits_compute(&rows, &shape, &options, ids, n, &err) != OK) fail_msg("%s", err.message);
    for (size_t at = from; at < n; at++) {
        const float *row = rows + (at - 1) * MODEL_VOCAB;
        double all = 0;
        for (int id = 0; id < MODEL_VOCAB; id++) all += exp((double)row[id]);
        sum += (double)row[ids[at]] - log(all);
    }
    memory_free(rows);
    return sum;
}

/* Whole tokens of the emitted text, then the rest of it encoded, then the ids. */
static double score_expected(engine *e, const struct generation_spec *spec,
                             const struct output *out)
{
    int32_t ids[SEQUENCE_MAX];
    size_t n = spec->n_prompt, n_bytes = 0, i = 0;
    memcpy(ids, spec->prompt, n * sizeof *ids);
    for (; i < out->n; i++) {
        text bytes = tokenizer_token_bytes(engine_tokenizer(e), out->ids[i]);
        if (tokenizer_is_special(engine_tokenizer(e), out->ids[i])) bytes.size = 0;
        if (tokenizer_is_stop(engine_tokenizer(e), out->ids[i])) break;
        if (n_bytes + bytes.size > out->bytes.size) break;
        ids[n++] = out->ids[i];
        n_bytes += bytes.size;
    }
    token_list rest = {0};
    tokenizer_encode(engine_tokenizer(e), &rest,
                     text_slice(buffer_text(&out->bytes), n_bytes, out->bytes.size));
    for (size_t k = 0; k < rest.n; k++) ids[n++] = rest.ids[k];
    token_list_free(&rest);
    memcpy(ids + n, spec->score, spec->n_score * sizeof *ids);
    return logprob_of(ids, n, n + spec->n_score);
}

static void score_check(engine *e, const struct generation_spec *spec, const struct output *out)
{
    double expected = score_expected(e, spec, out);
    if (!(fabs(out->stats.score_logprob - expected) < 1e-3))
        fail_msg("score %.6f, expected %.6f", out->stats.score_logprob, expected);
}

/* Ends by length and by a stop id. */
static void scores_are_of_the_text(void **state)
{
    (void)state;
    int32_t prompt[40], score[100];
    int n_stopped = 0;
    engine *e = engine_make(0, 32);
    prompt_fill(prompt, 40, 1);
    prompt_fill(score, 100, 2);
    for (uint64_t i = 0; i < 30; i++) {
        const struct generation_spec spec = {.prompt = prompt,
                                             .n_prompt = 1 + random_at(3, i) % 40,
                                             .max_tokens = (int32_t)(1 + random_at(4, i) % 60),
                                             .temperature = i % 3 ? 100 : 0,
                                             .seed = i,
                                             .n_logprobs = i % 4 ? 0 : 2,
                                             .score = score,
                                             .n_score = 1 + random_at(5, i) % 100};
        struct output out = output_finish(submit(e, &spec));
        score_check(e, &spec, &out);
        n_stopped += out.finish == FINISH_STOP;
        buffer_free(&out.bytes);
    }
    assert_true(n_stopped > 2);
    engine_close(e);
}

/* Nothing is said: behind prompts that begin alike, at once, and again out of the cache. */
static void scores_of_a_prompt_alone(void **state)
{
    (void)state;
    int32_t ids[120];
    engine *e = engine_make(0, 16);
    prompt_fill(ids, 120, 15);
    for (size_t round = 0; round < 3; round++) {
        generation *g[8];
        for (size_t i = 0; i < 8; i++) {
            const struct generation_spec spec = {.prompt = ids,
                                                 .n_prompt = 1 + 8 * i,
                                                 .max_tokens = 0,
                                                 .score = ids + 1 + 8 * i,
                                                 .n_score = 1 + 5 * i};
            g[i] = submit(e, &spec);
        }
        for (size_t i = 0; i < 8; i++) {
            struct output out = output_finish(g[i]);
            size_t from = 1 + 8 * i;
            double expected = logprob_of(ids, from, from + 1 + 5 * i);
            assert_int_equal(out.n, 0);
            assert_int_equal(out.finish, FINISH_LENGTH);
            assert_int_equal(out.stats.n_prompt, from);
            if (!(fabs(out.stats.score_logprob - expected) < 1e-3))
                fail_msg("score %.6f, expected %.6f", out.stats.score_logprob, expected);
            buffer_free(&out.bytes);
        }
    }
    engine_close(e);
}

/* A stop string at every place of the output, also in the middle of a token. */
static void scores_follow_a_cut_text(void **state)
{
    (void)state;
    int32_t prompt[20], score[3];
    int n_inside = 0;
    engine *e = engine_make(0, 64);
    prompt_fill(prompt, 20, 6);
    prompt_fill(score, 3, 7);
    struct generation_spec spec = {.prompt = prompt,
                                   .n_prompt = 20,
                                   .max_tokens = 60,
                                   .temperature = 1,
                                   .ignore_stop_ids = true,
                                   .score = score,
                                   .n_score = 3};
    struct output whole = output_finish(submit(e, &spec));
    text all = buffer_text(&whole.bytes);
    for (size_t at = 0; at + 4 < all.size && at < 40; at++) {
        text stop = text_slice(all, at, at + 4);
        spec.stops = &stop;
        spec.n_stops = 1;
        struct output cut = output_finish(submit(e, &spec));
        assert_int_equal(cut.finish, FINISH_STOP);
        score_check(e, &spec, &cut);
        size_t n_bytes = 0;
        for (size_t i = 0; i < cut.n; i++)
            n_bytes += tokenizer_token_bytes(engine_tokenizer(e), cut.ids[i]).size;
        n_inside += n_bytes > cut.bytes.size;
        buffer_free(&cut.bytes);
    }
    assert_true(n_inside > 5);
    buffer_free(&whole.bytes);
    engine_close(e);
}

/* In slices, side by side, out of the cache: bit by bit the same number. */
static void scores_do_not_depend_on_steps(void **state)
{
    (void)state;
    static const int32_t rows[] = {2, 7, 16, 512};
    int32_t prompt[100], score[SCORE_TOKENS_MAX];
    double found[4][4][2];
    prompt_fill(prompt, 100, 8);
    prompt_fill(score, SCORE_TOKENS_MAX, 9);
    for (size_t r = 0; r < 4; r++) {
        engine *e = engine_make(4096, rows[r]);
        for (int round = 0; round < 2; round++) {
            generation *g[4];
            for (size_t i = 0; i < 4; i++) {
                const struct generation_spec spec = {.prompt = prompt,
                                                     .n_prompt = 40 + 20 * i,
                                                     .max_tokens = 30,
                                                     .temperature = 1,
                                                     .seed = i,
                                                     .ignore_stop_ids = true,
                                                     .score = score,
                                                     .n_score =
                                                         i < 3 ? 20 * (i + 1) : SCORE_TOKENS_MAX};
                g[i] = submit(e, &spec);
            }
            for (size_t i = 0; i < 4; i++) {
                struct output out = output_finish(g[i]);
                assert_int_equal(out.n, 30);
                assert_true(out.stats.score_logprob < 0); /* and no NAN */
                found[r][i][round] = out.stats.score_logprob;
                buffer_free(&out.bytes);
            }
        }
        engine_close(e);
        assert_memory_equal(found[r], found[0], sizeof found[0]);
    }
    for (size_t i = 0; i < 4; i++) assert_memory_equal(&found[0][i][0], &found[0][i][1], 8);
}

/* The pool has the pages of prompt, output and ids, and not one more. */
static void scores_fit_what_was_promised(void **state)
{
    (void)state;
    int32_t prompt[40], score[25];
    engine *e = engine_make(80, 16);
    prompt_fill(prompt, 40, 10);
    prompt_fill(score, 25, 11);
    struct generation_spec spec = {.prompt = prompt,
                                   .n_prompt = 36,
                                   .max_tokens = 20,
                                   .ignore_stop_ids = true,
                                   .score = score,
                                   .n_score = 25};
    for (uint64_t owner = 0; owner < 5; owner++) {
        spec.owner = owner;
        generation *g[3];
        for (int i = 0; i < 3; i++) g[i] = submit(e, &spec);
        for (int i = 0; i < 3; i++) {
            struct output out = output_finish(g[i]);
            score_check(e, &spec, &out);
            buffer_free(&out.bytes);
        }
    }
    engine_close(e);
}

static void scores_that_cannot_be_are_refused(void **state)
{
    (void)state;
    int32_t prompt[512], score[SCORE_TOKENS_MAX + 1];
    generation *g;
    error err;
    engine *e = engine_make(160, 16);
    prompt_fill(prompt, 512, 12);
    prompt_fill(score, SCORE_TOKENS_MAX + 1, 13);
    const struct {
        size_t n_prompt, n_score;
        int32_t max_tokens, first;
        const char *fragment;
    } bad[] = {
        {500, 12, 1, 0, "score: 12 ids behind a prompt of 500 tokens, context 512"},
        {100, 40, 30, 0, "KV pool of 160 tokens"},
        {10, SCORE_TOKENS_MAX + 1, 1, 0, "score: 257 ids, at most 256"},
        {10, 2, 1, MODEL_VOCAB, "score[0] is 512"},
        {10, 2, 1, -1, "score[0] is -1"},
        {500, 12, 0, 0, "score: 12 ids behind a prompt of 500 tokens, context 512"},
        {150, 12, 0, 0, "KV pool of 160 tokens"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        score[0] = bad[i].first;
        const struct generation_spec spec = {.prompt = prompt,
                                             .n_prompt = bad[i].n_prompt,
                                             .max_tokens = bad[i].max_tokens,
                                             .priority = bad[i].max_tokens ? PRIORITY_INTERACTIVE
                                                                           : PRIORITY_WARM,
                                             .score = score,
                                             .n_score = bad[i].n_score};
        assert_int_equal(engine_submit(e, &spec, &g, &err), ERR_USAGE);
        if (!strstr(err.message, bad[i].fragment)) fail_msg("%zu: %s", i, err.message);
    }
    engine_close(e);
}

static void no_score_unless_asked(void **state)
{
    (void)state;
    int32_t prompt[10];
    engine *e = engine_make(0, 16);
    prompt_fill(prompt, 10, 14);
    const struct generation_spec spec = {.prompt = prompt, .n_prompt = 10, .max_tokens = 3};
    struct output out = output_finish(submit(e, &spec));
    assert_true(out.stats.score_logprob != out.stats.score_logprob); /* NAN */
    buffer_free(&out.bytes);
    engine_close(e);
}

static int model_setup(void **state)
{
    (void)state;
    model_make("f32", "--dtype f32");
    tokenizer_make("f32");
    file_replace(model_path("f32"), "config.json", "\"vocab_size\"",
                 "\"dbrx_ls\": {\"activations\": \"f32\"}, \"vocab_size\"");
    return 0;
}

/* An argument such as "scores_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_of_the_text),
        cmocka_unit_test(scores_of_a_prompt_alone),
        cmocka_unit_test(scores_follow_a_cut_text),
        cmocka_unit_test(scores_do_not_depend_on_steps),
        cmocka_unit_test(scores_fit_what_was_promised),
        cmocka_unit_test(scores_that_cannot_be_are_refused),
        cmocka_unit_test(no_score_unless_asked),
    };
    return cmocka_run_group_tests(tests, model_setup, model_root_remove);
}
