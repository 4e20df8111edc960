/* What an output may go on with: every token of a real vocabulary looked at byte by byte, and outputs
 * of an engine that must obey. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "inference/engine.h"
#include "inference/output_rules.h"

/* cmocka's fail would hide ours. */
#include <cmocka.h>

static tokenizer *cl100k;
static uint32_t *alive;
static rule_book book;

/* By appending the token to the text and reading it all from the left: the beginning is not judged. */
static bool allowed_naively(text said, text must, text token, const char *closers)
{
    static const char pairs[] = "()[]{}<>";
    char all[512];
    size_t n = said.size + token.size;
    assert_true(n < sizeof all);
    memcpy(all, said.bytes, said.size);
    if (token.size) memcpy(all + said.size, token.bytes, token.size);
    if (said.size < must.size) {
        text rest = text_slice(must, said.size, must.size);
        if (token.size == 0 || (!text_starts(token, rest) && !text_starts(rest, token)))
            return false;
    }
    for (int kind = 0; kind < 4; kind++) {
        int depth = 0;
        for (size_t i = 0; i < n; i++) {
            bool judged = i >= said.size && i >= must.size && strchr(closers, pairs[2 * kind + 1]);
            depth += all[i] == pairs[2 * kind];
            if (all[i] != pairs[2 * kind + 1]) continue;
            if (judged && depth == 0) return false;
            depth -= depth > 0;
        }
    }
    return true;
}

static void rules_check(const char *said, const char *must, const char *closers)
{
    struct output_rules r = {.must_start = text_of(must)};
    struct output_state s = {0};
    error err;
    uint32_t *mask = memory_take(book.n_words, sizeof *mask);
    size_t n_refused = 0;
    assert_int_equal(closing_brackets_parse(&r.unopened, text_of(closers), &err), OK);
    for (const char *c = said; *c; c++) output_state_put(&s, (text){c, 1});
    bool any = output_rules_mask(&book, &r, &s, mask);
    assert_int_equal(any, *closers || strlen(must) > strlen(said));
    for (int32_t id = 0; any && id < tokenizer_vocabulary_size(cl100k); id++) {
        text bytes = tokenizer_token_bytes(cl100k, id);
        bool special = tokenizer_is_special(cl100k, id);
        bool expected = special ? strlen(said) >= strlen(must)
                                : allowed_naively(text_of(said), text_of(must), bytes, closers);
        if (tokenizer_is_dead(cl100k, id)) expected = false;
        if ((mask[id / 32] >> id % 32 & 1) != expected)
            fail_msg("\"%s\" must \"%s\" not \"%s\": id %d \"%.*s\" expected %d", said, must,
                     closers, id, (int)bytes.size, bytes.bytes, expected);
        n_refused += !expected;
    }
    if (any) assert_true(n_refused > 0);
    memory_free(mask);
}

static void brackets_close_what_was_opened(void **state)
{
    static const struct {
        const char *said, *must, *closers;
    } cases[] = {
        {"", "", ""},
        {"", "", ")"},
        {"", "", ")]}>"},
        {"f(x", "", ")"},
        {"f(x)", "", ")"},
        {"((([{", "", ")]}"},
        {"a[1](", "", "]}"},
        {"if (a) { b[", "", ")]}>"},
        {"))", "", ")"}, /* closed before the rule was there: not counted below nothing */
        {"", "f(", ")"},
        {"", ")", ")"}, /* what must be said wins, and what follows it in a token is judged */
        {"", "foo(a)", ")]"},
        {"foo", "foo(a)", ")]"},
        {"foo(a)", "foo(a)", ")]"},
        {"", "->", ">"},
        {"\xE4\xBD", "", "}"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        rules_check(cases[i].said, cases[i].must, cases[i].closers);
}

static void random_states_agree(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 8; i++) {
        char said[24] = {0}, closers[5] = {0};
        for (size_t k = 0; k < random_at(i, 99) % 23; k++)
            said[k] = "()[]{}<>ab"[random_at(i, k) % 10];
        for (size_t k = 0, n = 0; k < 4; k++)
            if (random_at(i, 50 + k) & 1) closers[n++] = ")]}>"[k];
        rules_check(said, i % 3 ? "" : "((ab", closers);
    }
}

static void first_ids_are_forbidden(void **state)
{
    (void)state;
    const int32_t ids[] = {0, 31, 32, 100257, 100279};
    struct output_rules r = {.forbid_first = ids, .n_forbid_first = 5};
    struct output_state s = {0};
    uint32_t *mask = memory_take(book.n_words, sizeof *mask);
    assert_true(output_rules_mask(&book, &r, &s, mask));
    for (int32_t id = 0; id < tokenizer_vocabulary_size(cl100k); id++) {
        bool listed = id == 0 || id == 31 || id == 32 || id == 100257 || id == 100279;
        assert_int_equal(mask[id / 32] >> id % 32 & 1, !listed && !tokenizer_is_dead(cl100k, id));
    }
    output_state_put(&s, (text){NULL, 0}); /* a control token: the next is not the first */
    assert_false(output_rules_mask(&book, &r, &s, mask));
    memory_free(mask);
}

static void other_bytes_are_no_brackets(void **state)
{
    static const char *const bad[] = {"(", "]x", " )", "\xC2\xBB", "))|"};
    unsigned kinds;
    error err;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(closing_brackets_parse(&kinds, text_of(bad[i]), &err), ERR_USAGE);
        assert_non_null(strstr(err.message, "forbid_unopened"));
    }
    assert_int_equal(closing_brackets_parse(&kinds, TEXT("}}"), &err), OK);
}

static engine *engine_make(void)
{
    const char *build = getenv("BUILD");
    char model[512];
    snprintf(model, sizeof model, "%s/random-model", build ? build : "build");
    const struct engine_options options = {.model_dir = model,
                                           .backend = "cpu",
                                           .kv_type = KV_BF16,
                                           .kv_tokens = 4096,
                                           .draft_always = true};
    engine *e = NULL;
    error err;
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    return e;
}

static enum finish_reason run_to_end(engine *e, const struct generation_spec *spec, buffer *out,
                                     int32_t *first)
{
    generation *g;
    struct generation_piece piece;
    error err;
    *first = -1;
    if (engine_submit(e, spec, &g, &err) != OK) fail_msg("%s", err.message);
    do {
        if (!generation_next(g, &piece, 60000)) fail_msg("no output");
        buffer_put_text(out, piece.bytes);
        if (*first < 0 && piece.n_ids) *first = piece.ids[0];
    } while (piece.finish == FINISH_NONE);
    generation_free(g);
    return piece.finish;
}

static int closed_unopened(text t, char open, char close)
{
    int depth = 0, n = 0;
    for (size_t i = 0; i < t.size; i++) {
        depth += t.bytes[i] == open;
        if (t.bytes[i] != close) continue;
        n += depth == 0;
        depth -= depth > 0;
    }
    return n;
}

/* At a high temperature every kind of token comes up; guesses are brackets, too. */
static void outputs_obey(void **state)
{
    (void)state;
    engine *e = engine_make();
    token_list prompt = {0};
    int n_free = 0;
    int32_t first;
    tokenizer_encode(engine_tokenizer(e), &prompt, TEXT("f(a[i]); } f(b[i]); }\n"));
    for (uint64_t i = 0; i < 24; i++) {
        buffer out = {0};
        struct generation_spec spec = {.prompt = prompt.ids,
                                       .n_prompt = prompt.n,
                                       .max_tokens = 100,
                                       .temperature = 3,
                                       .seed = i,
                                       .ignore_stop_ids = true,
                                       .predicted = prompt.ids,
                                       .n_predicted = prompt.n,
                                       .forbid_unopened = i % 2 ? TEXT(")]}") : TEXT("")};
        run_to_end(e, &spec, &out, &first);
        int n = closed_unopened(buffer_text(&out), '(', ')') +
                closed_unopened(buffer_text(&out), '[', ']') +
                closed_unopened(buffer_text(&out), '{', '}');
        if (i % 2) assert_int_equal(n, 0);
        n_free += n;
        buffer_free(&out);
    }
    assert_true(n_free > 0); /* without the rule they come */
    token_list_free(&prompt);
    engine_close(e);
}

/* The next best and the next best again, until the beginning leaves nothing. */
static void first_ids_give_way(void **state)
{
    (void)state;
    engine *e = engine_make();
    token_list prompt = {0};
    int32_t taken[8];
    tokenizer_encode(engine_tokenizer(e), &prompt, TEXT("return"));
    for (size_t n = 0; n < 8; n++) {
        buffer out = {0};
        const struct generation_spec spec = {.prompt = prompt.ids,
                                             .n_prompt = prompt.n,
                                             .max_tokens = 2,
                                             .ignore_stop_ids = true,
                                             .forbid_first = taken,
                                             .n_forbid_first = n};
        run_to_end(e, &spec, &out, &taken[n]);
        for (size_t i = 0; i < n; i++) assert_int_not_equal(taken[n], taken[i]);
        buffer_free(&out);
    }
    /* Byte FF is one token, and begins no other: forbidden, nothing can be said. */
    for (int32_t id = 0; id < 256; id++)
        if (text_equal(tokenizer_token_bytes(engine_tokenizer(e), id), TEXT("\xFF"))) taken[0] = id;
    buffer out = {0};
    const struct generation_spec spec = {.prompt = prompt.ids,
                                         .n_prompt = prompt.n,
                                         .max_tokens = 2,
                                         .must_start_with = TEXT("\xFF"),
                                         .forbid_first = taken,
                                         .n_forbid_first = 1};
    assert_int_equal(run_to_end(e, &spec, &out, &taken[1]), FINISH_ERROR);
    buffer_free(&out);
    token_list_free(&prompt);
    engine_close(e);
}

static int open_book(void **state)
{
    (void)state;
    error err;
    if (tokenizer_open(&cl100k, NULL, &err) != OK) return 1;
    int32_t n = tokenizer_vocabulary_size(cl100k);
    alive = memory_take((size_t)(n + 31) / 32, sizeof *alive);
    for (int32_t id = 0; id < n; id++)
        if (!tokenizer_is_dead(cl100k, id)) alive[id / 32] |= UINT32_C(1) << id % 32;
    return rule_book_open(&book, cl100k, n, alive, &err) == OK ? 0 : 1;
}

static int close_book(void **state)
{
    (void)state;
    rule_book_close(&book);
    memory_free(alive);
    tokenizer_close(cl100k);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(brackets_close_what_was_opened),
        cmocka_unit_test(random_states_agree),
        cmocka_unit_test(first_ids_are_forbidden),
        cmocka_unit_test(other_bytes_are_no_brackets),
        cmocka_unit_test(outputs_obey),
        cmocka_unit_test(first_ids_give_way),
    };
    return cmocka_run_group_tests(tests, open_book, close_book);
}
