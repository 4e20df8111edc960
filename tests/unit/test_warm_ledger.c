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
    assert_true(warm_ledger_hit_rate(&l, WARM_CHANGE) > warm_ledger_hit_rate(&l, WARM_NEWLINE));
    for (size_t i = 0; i < 20; i++) {
        warm_ledger_put(&l, WARM_NEWLINE, ids(0, i), 100, i);
        warm_ledger_use(&l, ids(0, i), 100);
        warm_ledger_put(&l, WARM_CHANGE, ids(1, i), 100, i);
    }
    assert_true(warm_ledger_hit_rate(&l, WARM_CHANGE) < warm_ledger_hit_rate(&l, WARM_NEWLINE));
    warm_ledger_free(&l);
}

static void test_affords(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    assert_true(warm_ledger_affords(&l, WARM_CHANGE, 160));  /* half of them: 2 * 0.5 = 1 */
    assert_false(warm_ledger_affords(&l, WARM_CHANGE, 161)); /* were they all lost */
    assert_true(warm_ledger_affords(&l, WARM_OPEN, 900));
    warm_ledger_put(&l, WARM_OPEN, ids(2, 0), 900, 0);
    warm_ledger_ask(&l);
    warm_ledger_use(&l, ids(2, 0), 900); /* 2 * 900 + 160 - 900 */
    assert_true(warm_ledger_affords(&l, WARM_CHANGE, 1060));
    assert_false(warm_ledger_affords(&l, WARM_CHANGE, 1061));
    assert_true(warm_ledger_affords(&l, WARM_NEWLINE, 128)); /* a loss of 0.5 each: 64 */
    assert_false(warm_ledger_affords(&l, WARM_NEWLINE, 129));
    warm_ledger_put(&l, WARM_NEWLINE, ids(0, 0), 96, 0); /* useful so far: 16 of 160 */
    assert_false(warm_ledger_affords(&l, WARM_NEWLINE, 16));
    assert_true(warm_ledger_affords(&l, WARM_ACCEPTED, 96)); /* each kind for itself */
    warm_ledger_use(&l, ids(0, 0), 96);
    assert_true(warm_ledger_affords(&l, WARM_NEWLINE, 96));
    warm_ledger_free(&l);
}

static void test_before_the_first_question(void **state)
{
    (void)state;
    struct warm_ledger l = {0}, later = {0};
    warm_ledger_ask(&later);
    assert_false(warm_ledger_affords(&later, WARM_OPEN, 161)); /* the question had to compute it */
    warm_ledger_put(&l, WARM_OPEN, ids(0, 0), 900, 0);
    assert_true(warm_ledger_affords(&l, WARM_PLAN, 3000)); /* its excerpts */
    warm_ledger_put(&l, WARM_PLAN, ids(0, 0), 1000, 900);
    assert_true(warm_ledger_affords(&l, WARM_CHANGE, 100)); /* as if nothing was spent */
    assert_false(warm_ledger_bears(&l, WARM_OPEN, 200));    /* another one: after a question */
    warm_ledger_ask(&l);
    warm_ledger_use(&l, ids(1, 0), 500); /* which finds nothing of it */
    assert_false(warm_ledger_affords(&l, WARM_CHANGE, 16));
    warm_ledger_use(&l, ids(0, 0), 900); /* 1800 + 160 - 1000 */
    assert_true(warm_ledger_bears(&l, WARM_CHANGE, 960));
    assert_false(warm_ledger_bears(&l, WARM_CHANGE, 961));
    warm_ledger_free(&l);
}

static void test_ended_ones_are_spent(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    warm_ledger_lose(&l, WARM_CHANGE, 120);
    assert_int_equal(l.n_spent, 120);
    assert_int_equal(l.n_wasted, 120);
    assert_int_equal(l.kinds[WARM_CHANGE].n_spent, 120);
    assert_true(warm_ledger_bears(&l, WARM_REST, 40));
    assert_false(warm_ledger_bears(&l, WARM_REST, 41));
    assert_false(warm_ledger_affords(&l, WARM_CHANGE, 8)); /* 120 > 64 already */
    for (int i = 0; i < 1023; i++) warm_ledger_ask(&l);
    assert_false(warm_ledger_bears(&l, WARM_REST, 41));
    warm_ledger_ask(&l); /* people change: 160 more */
    assert_true(warm_ledger_bears(&l, WARM_REST, 200));
    assert_false(warm_ledger_bears(&l, WARM_REST, 201));
    warm_ledger_free(&l);
}

static void test_never_more_than_the_limit(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    warm_ledger_ask(&l);
    /* Of every five of any kind one is found: a share of 0.2 is not worth it. */
    for (size_t i = 0; i < 6000; i++) {
        enum warm_kind kind = (enum warm_kind)(i % N_WARM_KINDS);
        size_t n = 16 + i % 7;
        bool tries = !warm_ledger_affords(&l, kind, n);
        if (tries && !(warm_ledger_tries(&l, kind) && warm_ledger_bears(&l, kind, n))) continue;
        warm_ledger_put(&l, kind, ids(i % 5 == 0 ? 1 : 0, i % 90), 100 + n, 100);
        if (i % 5 == 0) warm_ledger_use(&l, ids(1, i % 90), 100 + n);
        assert_true(l.n_spent <= 2 * l.n_useful + 160);
    }
    assert_true(l.n_useful > 0);
    warm_ledger_free(&l);
}

static void test_tries(void **state)
{
    (void)state;
    struct warm_ledger l = {0};
    int n_tries = 0;
    for (int i = 0; i < 64; i++) n_tries += warm_ledger_tries(&l, WARM_NEWLINE);
    assert_int_equal(n_tries, 2);
    warm_ledger_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_useful_once),
        cmocka_unit_test(test_wasted),
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_ranks_by_what_came_true),
        cmocka_unit_test(test_affords),
        cmocka_unit_test(test_before_the_first_question),
        cmocka_unit_test(test_ended_ones_are_spent),
        cmocka_unit_test(test_never_more_than_the_limit),
        cmocka_unit_test(test_tries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
