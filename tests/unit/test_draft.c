/* Drafts by themselves: what is guessed where, how guesses are judged, and which lengths pay on the
 * machine the figures are known for. Letters stand for tokens. */
#include <math.h>

#include "base/memory.h"
#include "base/random.h"
#include "inference/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* cmocka's fail would hide ours. */
#include <cmocka.h>

enum { ROOM = 4096, FILL = 48 };

struct fixture {
    int32_t tokens[ROOM];
    int32_t n;
    draft d;
};

static int32_t letters(int32_t *out, const char *s)
{
    int32_t n = 0;
    while (s[n]) out[n] = (unsigned char)s[n], n++;
    return n;
}

static void begin(struct fixture *f, const char *prompt, const char *predicted)
{
    static int32_t expected[ROOM];
    error err;
    memset(f, 0, sizeof *f);
    f->n = letters(f->tokens, prompt);
    int32_t n = letters(expected, predicted);
    assert_int_equal(draft_open(&f->d, f->tokens, f->n, ROOM, expected, n, &err), OK);
}

static void say_id(struct fixture *f, int32_t id)
{
    f->tokens[f->n++] = id;
    draft_put(&f->d);
}

static void say(struct fixture *f, const char *s)
{
    for (; *s; s++) say_id(f, (unsigned char)*s);
}

/* The guesses, as letters; `n` at most. */
static const char *guess(struct fixture *f, int32_t n)
{
    static char out[FILL + 1];
    double agreement;
    int32_t held = draft_fill(&f->d, f->tokens + f->n, n, &agreement);
    assert_true(held <= n);
    assert_true(held == 0 || (agreement > 0 && agreement < 1));
    for (int32_t i = 0; i < held; i++) out[i] = (char)f->tokens[f->n + i];
    out[held] = 0;
    return out;
}

static double agreement_of(struct fixture *f)
{
    double agreement;
    draft_fill(&f->d, f->tokens + f->n, 1, &agreement);
    return agreement;
}

static void repetitions_are_guessed(void **state)
{
    static const struct {
        const char *prompt, *output, *guess;
    } cases[] = {
        {"", "", ""},
        {"ab", "", ""},
        {"abcdefgh--", "", ""},
        {"abcdefgh--", "ab", ""},           /* two are not enough */
        {"abcdefgh--", "abc", "defgh"},     /* out of the prompt */
        {"abcdefgh--abc", "", "defgh"},     /* before any output */
        {"abcdefgh--", "abcd", "efgh-"},    /* and on */
        {"abcdefgh--", "abcX", ""},         /* lost */
        {"abcdefgh--", "abcXfgh", "--abc"}, /* found again */
        {"", "0abcd1abc", "d1abc"},         /* out of the output */
        {"qxabcP-yabcQ-", "xabc", "P-yab"}, /* the longer match */
        {"xabcP-yabcQ-", "zabc", "Q-zab"},  /* of equal ones the nearer */
        {"abab", "", ""},                   /* three tokens have to repeat */
        {"ababab", "", "ababa"},            /* what repeats itself goes on so */
        {"aaaa", "", "aaaaa"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        begin(&f, cases[i].prompt, "");
        say(&f, cases[i].output);
        const char *found = guess(&f, 5);
        if (strcmp(found, cases[i].guess) != 0)
            fail_msg("%zu: \"%s\", expected \"%s\"", i, found, cases[i].guess);
        draft_close(&f.d);
    }
}

static void predictions_are_followed(void **state)
{
    static const char expected[] = "int sum(int a, int b) { return a + b; }";
    static const struct {
        const char *output, *guess;
    } cases[] = {
        {"", "int s"},
        {"int ", "sum(i"},
        {"int sum(int a, int b) { return a +", " b; }"},
        {"int sum(int a, int b) { return a + b; }", ""}, /* it is at its end */
        {"int mul(int", " a, i"},                        /* three tokens agree again */
        {"int su(int", " a, i"},                         /* something left out */
        {"int summary(int", " a, i"},                    /* something put in */
        {"int mul", ""},
        {"int sum(int a, int c", ""},
        {"int sum(int a, int c) { ", "retur"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        begin(&f, "", expected);
        say(&f, cases[i].output);
        const char *found = guess(&f, 5);
        if (strcmp(found, cases[i].guess) != 0)
            fail_msg("%zu: \"%s\", expected \"%s\"", i, found, cases[i].guess);
        draft_close(&f.d);
    }
}

/* Of several places in the prediction that agree equally the next one is meant. */
static void predictions_go_on_nearby(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, "", "A(x);1 B(x);2 C(x);3 D(x);4");
    say(&f, "A(x);1 B(y");
    assert_string_equal(guess(&f, 2), "");
    say(&f, "(x)");
    assert_string_equal(guess(&f, 2), ";2"); /* lost at B's x */
    draft_close(&f.d);
}

/* Guesses are judged when the token comes, verified by a step or not. */
static void guesses_are_judged(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, "abcdefghijklmnopqrstuvwxyz", "");
    say(&f, "abc");
    double before = agreement_of(&f);
    assert_true(before > 0.3 && before < 0.5);
    say(&f, "defgh");
    assert_true(agreement_of(&f) > 0.8); /* eight match: another ground */
    double eight = agreement_of(&f);
    say(&f, "ijkl");
    assert_true(agreement_of(&f) > eight);
    say(&f, "!"); /* 4 of 5: 0.9 * 0.85 and so on, below what it was */
    say(&f, "jkl");
    assert_true(agreement_of(&f) > before); /* two of two at matches of 3 */
    for (int32_t i = 0; i < 9; i++) say_id(&f, 1000 + i), say(&f, "jkl"); /* never the same */
    assert_true(agreement_of(&f) < before);
    draft_close(&f.d);
}

static void judgement_recovers(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, "", "");
    for (int32_t i = 0; i < 30; i++) say(&f, "abc"), say_id(&f, 1000 + i);
    say(&f, "abc");
    double low = agreement_of(&f);
    assert_true(low < 0.2);
    for (int32_t i = 0; i < 30; i++) { /* now always, though the match is never a longer one */
        say_id(&f, 2000 + i);
        say(&f, "abcQ");
    }
    say_id(&f, 3000);
    say(&f, "abc");
    assert_true(agreement_of(&f) > low + 0.2);
    assert_string_equal(guess(&f, 1), "Q");
    draft_close(&f.d);
}

/* Random lists of few letters: whatever is guessed stands behind an earlier place whose last three
 * tokens are the last three, and there is a guess exactly when there is such a place. */
static void guesses_have_a_ground(void **state)
{
    (void)state;
    int n_guessed = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct fixture f;
        begin(&f, "", "");
        for (int32_t n = 1; n < 300; n++) {
            char s[2] = {(char)('a' + random_at(seed, (uint64_t)n) % 7), 0};
            int32_t there = 0, agrees = 0;
            say(&f, s);
            const char *found = guess(&f, 1);
            for (int32_t at = 3; n > 3 && at < n; at++) {
                bool match = memcmp(f.tokens + at - 3, f.tokens + n - 3, 3 * sizeof(int32_t)) == 0;
                there += match;
                agrees += match && f.tokens[at] == found[0];
            }
            assert_int_equal(there > 0, found[0] != 0);
            if (found[0]) assert_true(agrees > 0);
            n_guessed += found[0] != 0;
        }
        draft_close(&f.d);
    }
    assert_true(n_guessed > 1000);
}

static void expectation_is_the_sum(void **state)
{
    (void)state;
    assert_true(fabs(draft_expected(0.5, 3) - 0.875) < 1e-12); /* 1/2 + 1/4 + 1/8 */
    assert_true(draft_expected(0.5, 0) <= 0);
    assert_true(fabs(draft_expected(1, 48) - 48) < 1e-9);
}

/* FP8 weights on one H200: 4.14 GB are read in any step, and 126.9 GB of experts by many rows; one
 * row reads a quarter of them, each further row a quarter of what is left. */
static double h200_cost(const void *context, int32_t n_rows)
{
    int n_streams = *(const int *)context;
    return 4.14 + 126.9 * (1 - pow(0.75, n_streams + n_rows));
}

static int32_t h200_length(int n_streams, double agreement, int32_t n_max)
{
    struct draft_price price = {h200_cost, &n_streams, n_streams};
    return draft_length(agreement, n_max, &price);
}

static void lengths_that_pay(void **state)
{
    (void)state;
    /* Alone: a step of many rows costs 3.65 of one row: nothing, or many on long matches. */
    assert_int_equal(h200_length(1, 0.4, 48), 0);
    assert_int_equal(h200_length(1, 0.6, 48), 0);
    assert_in_range(h200_length(1, 0.85, 48), 16, 48);
    assert_int_equal(h200_length(1, 0.98, 48), 48);
    assert_int_equal(h200_length(1, 0.7, 1), 0); /* 1.7 tokens for 1.66 times the price: noise */
    /* With eight streams it costs 1.11: short drafts pay. */
    assert_int_equal(h200_length(8, 0.1, 48), 0);
    assert_in_range(h200_length(8, 0.6, 48), 1, 8);
    assert_true(h200_length(8, 0.85, 48) >= 8);
    assert_int_equal(h200_length(8, 0.85, 5), 5);
    assert_int_equal(h200_length(8, 0.85, 0), 0);
}

static void every_failing_allocation_is_an_error(void **state)
{
    static int32_t tokens[100];
    (void)state;
    status s = ERR_MEMORY;
    for (int64_t n = 1; s != OK; n++) {
        draft d;
        error err;
        memory_fail_at(n);
        s = draft_open(&d, tokens, 10, 100, tokens, 50, &err);
        memory_fail_at(0);
        draft_close(&d);
        assert_true(n < 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetitions_are_guessed),
        cmocka_unit_test(predictions_are_followed),
        cmocka_unit_test(predictions_go_on_nearby),
        cmocka_unit_test(guesses_are_judged),
        cmocka_unit_test(judgement_recovers),
        cmocka_unit_test(guesses_have_a_ground),
        cmocka_unit_test(expectation_is_the_sum),
        cmocka_unit_test(lengths_that_pay),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
