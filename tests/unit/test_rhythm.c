/* When an automatic question is put to the engine, by the rhythm of keys and answers. Expected times
 * are reckoned by hand: with equal intervals the means are those intervals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "lsp/assistant/rhythm.h"

#include <cmocka.h>

static struct rhythm typing(int64_t interval_us, double ttft_ms, int64_t *now_us)
{
    struct rhythm r = {0};
    *now_us = 1000000;
    for (int i = 0; i < 5; i++) rhythm_key(&r, *now_us += interval_us);
    if (ttft_ms > 0) rhythm_answer(&r, ttft_ms);
    return r;
}

static void test_waits(void **state)
{
    (void)state;
    static const struct {
        int64_t interval_us;
        double ttft_ms;
        int64_t since_key_us, wait_us;
    } rows[] = {
        {200000, 40, 0, 0},       /* answers come between keys */
        {100000, 0, 0, 0},        /* nothing known of answers */
        {100000, 400, 0, 150000}, /* a key and a half */
        {100000, 400, 50000, 100000},
        {100000, 400, 150000, 0},
        {100000, 400, 900000, 0},
        {200000, 900, 0, 250000}, /* never longer */
        {2000000, 900, 0, 0},     /* pauses are no rhythm */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t now_us;
        struct rhythm r = typing(rows[i].interval_us, rows[i].ttft_ms, &now_us);
        assert_int_equal(rhythm_wait_us(&r, now_us + rows[i].since_key_us), rows[i].wait_us);
    }
}

static void test_follows(void **state)
{
    (void)state;
    int64_t now_us;
    struct rhythm r = typing(100000, 400, &now_us);
    assert_true(rhythm_wait_us(&r, now_us) > 0);
    for (int i = 0; i < 20; i++) rhythm_answer(&r, 20); /* the engine got faster */
    assert_int_equal(rhythm_wait_us(&r, now_us), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_waits),
                                       cmocka_unit_test(test_follows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
