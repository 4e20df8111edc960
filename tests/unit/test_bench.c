/* The bench's arithmetic on hand-made numbers, and the typing session's promises on real files. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/utf.h"
#include "inference/bench/read_loop.h"
#include "inference/bench/samples.h"
#include "lsp/cli/bench_replay.h"
#include "lsp/cli/typing.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

static void close_to(double found, double expected)
{
    if (!(fabs(found - expected) <= 1e-9 * fabs(expected)))
        fail_msg("found %.12g, expected %.12g", found, expected);
}

/* The textbook's list for nearest rank: 15, 20, 35, 40, 50. */
static void test_percentiles(void **state)
{
    (void)state;
    static const struct {
        double percent, expected;
    } rows[] = {{0, 15},  {5, 15},  {20, 15}, {20.1, 20}, {30, 20},
                {40, 20}, {50, 35}, {60, 35}, {80, 40},   {100, 50}};
    struct samples s = {0};
    assert_true(isnan(samples_percentile(&s, 50)) && isnan(samples_median(&s)));
    assert_true(isnan(samples_mean(&s)));
    for (int i = 0; i < 5; i++) samples_put(&s, (double[]){50, 15, 40, 35, 20}[i]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        close_to(samples_percentile(&s, rows[i].percent), rows[i].expected);
    close_to(samples_median(&s), 35);
    close_to(samples_mean(&s), 32);
    samples_put(&s, 36);
    close_to(samples_median(&s), 35.5);
    s.failed = true; /* a value was lost: no figure at all */
    assert_true(isnan(samples_percentile(&s, 50)) && isnan(samples_mean(&s)));
    samples_free(&s);
}

static void test_rates(void **state)
{
    (void)state;
    error err;
    double share;
    /* 27.4 MB in 3.2 ms are 8.5625 GB/s; four tokens in 8 ms are 500 a second. */
    close_to(rate_per_s(27.4e6, 3200), 8.5625e9);
    close_to(rate_per_s(4, 8000), 500);
    assert_true(isnan(rate_per_s(4, 0)) && isnan(rate_per_s(0, 8000)) && isnan(rate_per_s(4, -1)));
    assert_true(isnan(rate_per_s((double)NAN, 5)));
    assert_int_equal(share_of(&share, 15, 20, "reading", &err), OK);
    close_to(share, 0.75);
    assert_int_equal(share_of(&share, 20, 20, "reading", &err), OK);
    close_to(share, 1);
    static const double wrong[][2] = {{21, 20}, {0, 20}, {5, 0}, {-1, 20}};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(share_of(&share, wrong[i][0], wrong[i][1], "reading", &err), ERR_FORMAT);
        assert_true(isnan(share) && strstr(err.message, "reading"));
    }
    assert_int_equal(share_of(&share, 5, (double)NAN, "reading", &err), ERR_FORMAT);
}

/* Not how fast: that it reads what it is told to, from 64 KiB to all, and says a number. */
static void test_read_loop(void **state)
{
    (void)state;
    error err;
    read_loop *r;
    assert_int_equal(read_loop_open(&r, 3 * MIB + 77, 2, &err), OK);
    static const size_t sizes[] = {0, 1, 300000, 3 * 1048576 + 77, 1u << 30};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        double rate = read_loop_measure(r, sizes[i]);
        assert_true(isfinite(rate) && rate > 0);
    }
    read_loop_close(r);
    read_loop_close(NULL);
}

static const char *const source_paths[] = {
    "context/prompt.c",        "context/trim_body.c",         "lsp/assistant/completion.c",
    "tests/fixtures/shelf.py", "tests/fixtures/stack.lua",    "tests/fixtures/matrix.go",
    "tests/fixtures/words.rs", "tests/node/support/oracle.js"};
enum { SOURCES = sizeof source_paths / sizeof *source_paths };

/* Some of them, from `from` on. */
static void sources_open(struct typing_sources *out, size_t from, size_t n)
{
    *out = (struct typing_sources){0};
    out->files = arena_take(&out->memory, n, sizeof *out->files);
    for (size_t i = 0; i < n; i++) {
        buffer content = {0};
        error err;
        const char *path = source_paths[from + i];
        assert_int_equal(file_read(&content, path, MIB, &err), OK);
        out->files[i].path = text_of(path);
        out->files[i].content =
            (text){arena_copy(&out->memory, content.bytes, content.size), content.size};
        buffer_free(&content);
    }
    out->n = n;
}

static text source_of(const struct typing_sources *s, text path)
{
    for (size_t i = 0; i < s->n; i++)
        if (text_equal(s->files[i].path, path)) return s->files[i].content;
    fail_msg("a document of no source");
    return TEXT("");
}

/* The same edit as the player's, written down in another way. */
static void edit(buffer *document, const struct typing_step *step)
{
    buffer next = {0};
    text t = buffer_text(document);
    buffer_put_text(&next, text_slice(t, 0, step->at));
    buffer_put_text(&next, step->inserted);
    buffer_put_text(&next, text_slice(t, step->at + step->n_removed, t.size));
    buffer_free(document);
    *document = next;
}

static void count_check(const struct typing_step *step)
{
    switch (step->kind) {
    case TYPING_KEY: /* a character with its closer, the cursor alone, or indentation */
        assert_int_equal(step->n_removed, 0);
        assert_true(step->inserted.size <= 5 || text_trim(step->inserted).size == 0);
        break;
    case TYPING_ERASE: assert_true(step->inserted.size == 0 && step->n_removed > 0); break;
    case TYPING_NEWLINE: assert_int_equal(step->inserted.bytes[0], '\n'); break;
    case TYPING_ACCEPT: assert_true(step->inserted.size >= 6); break;
    default: assert_true(step->n_removed == 0 && step->inserted.size == 0);
    }
}

/* Every document the player shows is the one an independent replay has; in the end, its source. */
static void session_check(const struct typing_session *s, const struct typing_sources *sources)
{
    struct typing_player player;
    const struct typing_step *step;
    buffer *documents = calloc(s->n_documents, sizeof *documents);
    error err;
    for (size_t i = 0; i < s->n_documents; i++)
        buffer_put_text(&documents[i], s->documents[i].base);
    assert_int_equal(typing_player_open(&player, s, &err), OK);
    for (size_t i = 0; i < s->n_steps; i++) {
        assert_int_equal(typing_player_step(&player, &step, &err), OK);
        assert_ptr_equal(step, &s->steps[i]);
        buffer *document = &documents[step->document];
        edit(document, step);
        count_check(step);
        text shown = buffer_text(&player.contents[step->document]);
        assert_true(text_equal(buffer_text(document), shown));
        assert_true(step->cursor <= shown.size && utf8_floor(shown, step->cursor) == step->cursor);
        assert_true(step->pause_ms > 0);
    }
    assert_int_equal(typing_player_step(&player, &step, &err), OK);
    assert_null(step);
    for (size_t i = 0; i < s->n_documents; i++) {
        text source = source_of(sources, s->documents[i].path);
        assert_true(s->documents[i].base.size <= source.size);
        assert_true(text_equal(buffer_text(&player.contents[i]), source));
        buffer_free(&documents[i]);
    }
    typing_player_close(&player);
    free(documents);
}

static bool sessions_equal(const struct typing_session *a, const struct typing_session *b)
{
    if (a->n_steps != b->n_steps || a->n_documents != b->n_documents) return false;
    for (size_t i = 0; i < a->n_steps; i++) {
        const struct typing_step *x = &a->steps[i], *y = &b->steps[i];
        if (x->kind != y->kind || x->document != y->document || x->at != y->at ||
            x->n_removed != y->n_removed || x->cursor != y->cursor || x->pause_ms != y->pause_ms ||
            !text_equal(x->inserted, y->inserted))
            return false;
    }
    return true;
}

static void test_sessions(void **state)
{
    (void)state;
    error err;
    size_t counts[N_TYPING_KINDS] = {0};
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct typing_sources sources;
        struct typing_session s, again;
        struct typing_options options = {.seed = seed, .n_steps = seed * 20, .n_documents = 3};
        sources_open(&sources, seed % 4, SOURCES - seed % 4);
        assert_int_equal(typing_session_make(&s, &sources, &options, &err), OK);
        assert_true(s.n_steps >= options.n_steps);
        session_check(&s, &sources);
        assert_int_equal(typing_session_make(&again, &sources, &options, &err), OK);
        assert_true(sessions_equal(&s, &again));
        for (size_t i = 0; i < s.n_steps; i++) counts[s.steps[i].kind]++;
        typing_session_free(&again);
        options.seed += 1000;
        assert_int_equal(typing_session_make(&again, &sources, &options, &err), OK);
        assert_false(sessions_equal(&s, &again));
        typing_session_free(&again);
        typing_session_free(&s);
        typing_sources_free(&sources);
    }
    for (int kind = 0; kind < N_TYPING_KINDS; kind++) assert_true(counts[kind] > 20);
}

/* Text that trips editors: unbalanced brackets and quotes, tabs, other alphabets, blank lines. */
static void test_odd_sources(void **state)
{
    (void)state;
    static const char letters[] = "(){}[]\"'\n\n\n  \tab:,;\\e\xC3\xA9";
    error err;
    for (uint64_t seed = 0; seed < 300; seed++) {
        buffer content = {0};
        for (uint64_t i = 0; i < 3000; i++) {
            size_t at = (size_t)(random_at(seed, i) % (sizeof letters - 2));
            buffer_put(&content, letters + at, at == sizeof letters - 3 ? 2 : 1);
        }
        struct typing_source file = {TEXT("odd.c"), buffer_text(&content)};
        struct typing_sources sources = {.files = &file, .n = 1};
        struct typing_session s;
        struct typing_options options = {.seed = seed, .n_steps = 100};
        status code = typing_session_make(&s, &sources, &options, &err);
        if (code == OK)
            session_check(&s, &sources);
        else
            assert_int_equal(code, ERR_USAGE);
        typing_session_free(&s);
        buffer_free(&content);
    }
}

static void test_sources(void **state)
{
    (void)state;
    struct typing_sources sources;
    struct typing_session s;
    struct typing_options options = {.seed = 1};
    error err;
    assert_int_equal(typing_sources_read(&sources, "context", &err), OK);
    assert_true(sources.n > 20);
    for (size_t i = 0; i < sources.n; i++)
        assert_true(text_starts(sources.files[i].path, TEXT("context/")));
    typing_sources_free(&sources);
    assert_int_equal(typing_sources_read(&sources, "no/such/place", &err), ERR_IO);
    typing_sources_free(&sources);
    assert_int_equal(typing_sources_read(&sources, "tests/fixtures/absent.c", &err), ERR_IO);
    typing_sources_free(&sources);
    struct typing_source file = {TEXT("a.c"), TEXT("int one;\n\nint two;\n")};
    sources = (struct typing_sources){.files = &file, .n = 1};
    assert_int_equal(typing_session_make(&s, &sources, &options, &err), ERR_USAGE);
    typing_session_free(&s);
}

/* A file of steps comes from outside. */
static void test_player_bounds(void **state)
{
    (void)state;
    struct typing_document document = {TEXT("a.c"), TEXT("abc")};
    static const struct typing_step wrong[] = {{.document = 1},
                                               {.document = -1},
                                               {.at = 4},
                                               {.at = 2, .n_removed = 2},
                                               {.at = SIZE_MAX, .n_removed = 2},
                                               {.at = 1, .n_removed = SIZE_MAX},
                                               {.cursor = 4},
                                               {.n_removed = 1, .cursor = 3}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct typing_step copy = wrong[i];
        struct typing_session s = {
            .documents = &document, .n_documents = 1, .steps = &copy, .n_steps = 1};
        struct typing_player player;
        const struct typing_step *step;
        error err;
        assert_int_equal(typing_player_open(&player, &s, &err), OK);
        assert_int_equal(typing_player_step(&player, &step, &err), ERR_FORMAT);
        assert_true(text_is(buffer_text(&player.contents[0]), "abc"));
        typing_player_close(&player);
    }
}

/* The history's answer is that of comparing with every prompt before. */
static void test_history(void **state)
{
    (void)state;
    enum { PROMPTS = 200, IDS_MAX = 12 };
    struct replay_history h = {0};
    int32_t ids[PROMPTS][IDS_MAX];
    size_t n_ids[PROMPTS];
    error err;
    for (uint64_t i = 0; i < PROMPTS; i++) {
        size_t expected = 0, findable;
        n_ids[i] = 1 + random_at(1, i) % IDS_MAX;
        for (size_t k = 0; k < n_ids[i]; k++) ids[i][k] = (int32_t)(random_at(2, i * 64 + k) % 2);
        for (size_t j = 0; j < i; j++) {
            size_t n = 0;
            while (n < n_ids[i] && n < n_ids[j] && ids[i][n] == ids[j][n]) n++;
            if (n > expected) expected = n;
        }
        struct prompt p = {.ids = {.ids = ids[i], .n = n_ids[i]}};
        assert_int_equal(replay_history_add(&h, &p, &findable, &err), OK);
        assert_int_equal(findable, expected);
    }
    replay_history_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles),   cmocka_unit_test(test_rates),
        cmocka_unit_test(test_read_loop),     cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_odd_sources),   cmocka_unit_test(test_sources),
        cmocka_unit_test(test_player_bounds), cmocka_unit_test(test_history)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
