/* The ledger of warm work: what is useful, what is wasted, what is worth it. All counts are reckoned
 * by hand from the ids, which are 0, 1, 2, ... up to a fork. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "lsp/assistant/warm_ledger.h"

#include <cmocka.h>

enum { N = 1000 };

/* Equal to another one up to `fork`. */
static const int32_t *ids(int branch, size_t fork)
{
    static int32_t all[4][N];
    for (size_t i = 0; i < N; i++)
        all[branch][i] = (int32_t)i + (i >= fork ? 10000 * (branch + 1) : 0);
    return all[branch];
}

static void test_useful_once(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    warm_ledger_put(&l, WARM_CHANGE, ids(0, 300), 400, 250); /* 150 computed */
    assert_int_equal(l.n_spent, 150);
    warm_ledger_use(&l, ids(1, 200), 400); /* forks before what was computed */
    assert_int_equal(l.n_useful, 0);
    warm_ledger_use(&l, ids(1, 300), 400); /* 250 to 300 */
    assert_int_equal(l.n_useful, 50);
    warm_ledger_use(&l, ids(1, 300), 400); /* again */
    assert_int_equal(l.n_useful, 50);
    warm_ledger_use(&l, ids(0, 300), 400); /* and the rest */
    assert_int_equal(l.n_useful, 150);
    assert_int_equal(l.kinds[WARM_CHANGE].n_hits, 1);
    warm_ledger_end(&l);
    assert_int_equal(l.n_wasted, 0);
    warm_ledger_free(&l);
}

static void test_wasted(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    warm_ledger_put(&l, WARM_NEWLINE, ids(0, 0), 100, 20);
    warm_ledger_use(&l, ids(0, 0), 50);
    warm_ledger_put(&l, WARM_OPEN, ids(0, 0), 100, 100); /* nothing to compute */
    assert_int_equal(l.n_wasted, 0);                     /* it may still be of use */
    warm_ledger_end(&l);
    assert_int_equal(l.n_spent, 80);
    assert_int_equal(l.n_useful, 30);
    assert_int_equal(l.n_wasted, 50);
    /* What leaves the ring is wasted, too. */
    for (int i = 0; i <= WARM_RECORDS_MAX; i++) warm_ledger_put(&l, WARM_OPEN, ids(1, 0), 10, 0);
    assert_int_equal(l.n_wasted, 60);
    warm_ledger_free(&l);
}

static void test_known(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    assert_int_equal(warm_ledger_known(&l, ids(0, 0), 100), 0);
    warm_ledger_put(&l, WARM_OPEN, ids(0, 70), 100, 0);
    warm_ledger_put(&l, WARM_OPEN, ids(1, 40), 100, 0);
    assert_int_equal(warm_ledger_known(&l, ids(2, 60), 100), 60);
    assert_int_equal(warm_ledger_known(&l, ids(0, 70), 90), 90);
    warm_ledger_free(&l);
}

static void test_ranks_by_what_came_true(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    assert_true(warm_ledger_hit_rate(&l, WARM_CHANGE) > warm_ledger_hit_rate(&l, WARM_SWITCH));
    for (size_t i = 0; i < 20; i++) {
        warm_ledger_put(&l, WARM_SWITCH, ids(0, i), 100, i);
        warm_ledger_use(&l, ids(0, i), 100);
        warm_ledger_put(&l, WARM_CHANGE, ids(1, i), 100, i);
    }
    assert_true(warm_ledger_hit_rate(&l, WARM_CHANGE) < warm_ledger_hit_rate(&l, WARM_SWITCH));
    warm_ledger_free(&l);
}

static void test_worth(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    warm_ledger_put(&l, WARM_NEWLINE, ids(0, 0), 159, 0);
    assert_true(warm_ledger_worth(&l, WARM_NEWLINE)); /* too few tokens to judge by */
    warm_ledger_put(&l, WARM_NEWLINE, ids(1, 0), 441, 0);
    int n_tries = 0;
    for (int i = 0; i < 64; i++) n_tries += warm_ledger_worth(&l, WARM_NEWLINE);
    assert_int_equal(n_tries, 2);                      /* one of thirty-two */
    assert_true(warm_ledger_worth(&l, WARM_ACCEPTED)); /* each kind for itself */
    warm_ledger_use(&l, ids(1, 0), 199);               /* 600 spent, 199 useful */
    assert_false(warm_ledger_worth(&l, WARM_NEWLINE));
    warm_ledger_use(&l, ids(1, 0), 200);
    assert_true(warm_ledger_worth(&l, WARM_NEWLINE));
    warm_ledger_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_useful_once), cmocka_unit_test(test_wasted),
        cmocka_unit_test(test_known),       cmocka_unit_test(test_ranks_by_what_came_true),
        cmocka_unit_test(test_worth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
