/* The must-start-with constraint: which tokens it allows, counted by looking at every token, and
 * that outputs obey it, whatever the prompt and the token boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "inference/constraint.h"
#include "inference/engine.h"

/* cmocka's fail would hide ours. */
#include <cmocka.h>

static tokenizer *cl100k;

static bool allowed_naively(text token, text rest)
{
    return token.size > 0 && (text_starts(token, rest) || text_starts(rest, token));
}

static void check_allowed(const token_order *o, text rest)
{
    int32_t rows = tokenizer_vocabulary_size(cl100k);
    size_t n_words = (size_t)(rows + 31) / 32, n_naive = 0;
    uint32_t *mask = memory_take(n_words, sizeof *mask);
    assert_non_null(mask);
    mask[3] = 0xDEADBEEF; /* what was there before must not shine through */
    size_t n = token_order_allow(o, rest, mask, n_words);
    for (int32_t id = 0; id < rows; id++) {
        bool usable = !tokenizer_is_dead(cl100k, id) && !tokenizer_is_special(cl100k, id);
        bool expected = usable && allowed_naively(tokenizer_token_bytes(cl100k, id), rest);
        assert_int_equal(mask[id / 32] >> id % 32 & 1, expected);
        n_naive += expected;
    }
    assert_int_equal(n, n_naive);
    assert_true(n > 0);
    memory_free(mask);
}

static void allows_what_fits(void **state)
{
    (void)state;
    token_order o;
    error err;
    assert_int_equal(token_order_open(&o, cl100k, tokenizer_vocabulary_size(cl100k), &err), OK);
    const text rests[] = {TEXT("r"),
                          TEXT("return"),
                          TEXT("    ret"),
                          TEXT("\t\t\t"),
                          TEXT("\xE4\xBD"),
                          TEXT("\xF0\x9F\x98\x80!"),
                          TEXT("zqxjkvbw_9"),
                          TEXT("\xFF"),
                          TEXT("<|im_end|>"),
                          TEXT("\n"),
                          TEXT("                                  x")};
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) check_allowed(&o, rests[i]);
    token_order_close(&o);
}

static void run_to_end(engine *e, const struct generation_spec *spec, buffer *out)
{
    generation *g;
    struct generation_piece piece;
    error err;
    if (engine_submit(e, spec, &g, &err) != OK) fail_msg("%s", err.message);
    do {
        if (!generation_next(g, &piece, 60000)) fail_msg("no output");
        buffer_put_text(out, piece.bytes);
    } while (piece.finish == FINISH_NONE);
    assert_int_not_equal(piece.finish, FINISH_ERROR);
    generation_free(g);
}

static void outputs_obey(void **state)
{
    (void)state;
    const char *build = getenv("BUILD");
    char model[512];
    snprintf(model, sizeof model, "%s/random-model", build ? build : "build");
    const struct engine_options options = {
        .model_dir = model, .backend = "cpu", .kv_type = KV_BF16, .kv_tokens = 4096};
    engine *e;
    error err;
    if (engine_open(&e, &options, &err) != OK) fail_msg("%s", err.message);
    const text starts[] = {TEXT("return x"), TEXT("  \t"), TEXT("\xE4\xBD\xA0"),
                           TEXT("#include <zqxjkvbw.h>\n"), TEXT("")};
    for (size_t i = 0; i < sizeof starts / sizeof *starts * 4; i++) {
        text start = starts[i / 4];
        token_list prompt = {0};
        buffer out = {0};
        tokenizer_encode(engine_tokenizer(e), &prompt, TEXT("int main(void)\n{\n    "));
        const struct generation_spec spec = {
            .prompt = prompt.ids,
            .n_prompt = prompt.n,
            .max_tokens = 40,
            .temperature = i % 2 ? 1.0F : 0.0F,
            .seed = i,
            .must_start_with = start,
            .ignore_stop_ids = i % 4 > 1,
        };
        run_to_end(e, &spec, &out);
        assert_true(text_starts(buffer_text(&out), start));
        buffer_free(&out);
        token_list_free(&prompt);
    }
    engine_close(e);
}

static int open_tokenizer(void **state)
{
    (void)state;
    return tokenizer_open(&cl100k, NULL, NULL) == OK ? 0 : 1;
}

static int close_tokenizer(void **state)
{
    (void)state;
    tokenizer_close(cl100k);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allows_what_fits),
        cmocka_unit_test(outputs_obey),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
