/* Which rows a launch computes, choice by choice, with the costs of one H200 in FP8: one row costs 9.6
 * ms (4.2 + 126.8 / 4 GB at 3.74 TB/s), sixteen 34.7 (4.2 + 0.99 * 126.8), flat up to about 280 rows;
 * a slice of 2,048 rows 250 ms (70.5 GFLOP a row at 577 TFLOP/s), four of its 40 layers 25. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inference/scheduler_policy.h"
#include "inference/simulate/table_device.h"

#include <cmocka.h>

/* 250 ms: 2,048 rows that see each other take 257.4 (4 * 40 * 6,144 more per row and key). */
enum { N_MAX = 64, MS = 1000, SLICE = 1989 };

struct situation {
    device *d;
    struct policy p;
    struct policy_sequence q[N_MAX];
    struct policy_slice slices[SLICES_MAX];
    bool queued[N_PRIORITIES];
    int32_t n, rows[N_MAX];
    int64_t now_us;
    struct policy_plan plan;
};

static double cost(const void *context, const struct step_shape *shape)
{
    return kernels_table.step_cost(context, shape);
}

static void situation_open(struct situation *s)
{
    error err;
    memset(s, 0, sizeof *s);
    assert_int_equal(table_device_open(&s->d, table_costs_find("h200-fp8"), &err), OK);
    s->p = (struct policy){.cost = cost,
                           .context = s->d,
                           .rows_max = 2048,
                           .n_layers = 40,
                           .slice_rows_min = 256,
                           .slice_rows_max = 2048,
                           .slice_target_us = 250 * MS,
                           .group_target_us = 50 * MS};
    s->now_us = 1000000;
}

static struct policy_sequence *decoding(struct situation *s, enum priority priority, double slack)
{
    struct policy_sequence *q = &s->q[s->n++];
    *q = (struct policy_sequence){.priority = priority,
                                  .decodes = true,
                                  .slice = -1,
                                  .n_rows = 1,
                                  .n_kv = 1000,
                                  .slack_us = slack};
    return q;
}

static struct policy_sequence *prompt(struct situation *s, enum priority priority, int32_t n_rows)
{
    struct policy_sequence *q = &s->q[s->n++];
    *q = (struct policy_sequence){
        .priority = priority, .slice = -1, .n_rows = n_rows, .n_kv = n_rows};
    return q;
}

static void standing(struct situation *s, int i, enum priority priority, int64_t served)
{
    s->slices[i] = (struct policy_slice){.active = true,
                                         .priority = priority,
                                         .served = served,
                                         .layer = 8,
                                         .shape = {2048, 1, 0, 2048}};
}

static void choose(struct situation *s)
{
    s->plan = policy_choose(&s->p, s->q, s->n, s->slices, s->queued, s->now_us, s->rows);
}

static double step_us(const struct situation *s, int32_t n_rows, int32_t n_seqs, int64_t n_kv)
{
    struct step_shape shape = {n_rows, n_seqs, n_seqs, n_kv};
    return kernels_table.step_cost(s->d, &shape);
}

/* One stream: a foreign prompt gets a step of its own, once the stream's slack pays for four layers
 * of it: 25 ms of 250. */
static void prompts_run_beside_one_stream_in_slices(void **state)
{
    static const struct {
        double slack_us;
        bool runs;
    } cases[] = {{-1, false}, {0, false}, {24 * MS, false}, {26 * MS, true}, {50 * MS, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct situation s;
        situation_open(&s);
        decoding(&s, PRIORITY_INTERACTIVE, cases[i].slack_us);
        prompt(&s, PRIORITY_INTERACTIVE, 8192);
        choose(&s);
        assert_int_equal(s.plan.slice, -1);
        assert_int_equal(s.rows[0], !cases[i].runs);
        assert_int_equal(s.rows[1], cases[i].runs ? SLICE : 0);
        assert_int_equal(s.plan.layers, cases[i].runs ? 4 : 40);
        table_device_close(s.d);
    }
}

/* From the row count on where the reads are paid, prompts ride: beside one or two streams a row costs
 * milliseconds, beside sixteen 0.06. Without slack riders add half the step, at most. */
static void prompts_ride_where_reads_are_paid(void **state)
{
    static const struct {
        int n_streams;
        bool rides;
    } cases[] = {{1, false}, {2, false}, {16, true}, {40, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct situation s;
        int n = cases[i].n_streams;
        situation_open(&s);
        for (int j = 0; j < n; j++) decoding(&s, PRIORITY_INTERACTIVE, 0);
        prompt(&s, PRIORITY_INTERACTIVE, 8192);
        choose(&s);
        for (int j = 0; j < n; j++) assert_int_equal(s.rows[j], 1);
        assert_int_equal(s.rows[n] > 0, cases[i].rides);
        double base = step_us(&s, n, n, 1000 * n);
        double joint = step_us(&s, n + s.rows[n], n + 1, 1000 * n + s.rows[n]);
        if (cases[i].rides) {
            assert_true(joint <= 1.5 * base);
            assert_true((joint - base) / s.rows[n] < step_us(&s, 2048, 1, 8192) / 2048);
            assert_in_range(s.rows[n], 256, 500);
        }
        table_device_close(s.d);
    }
}

/* Less strict streams join a lone stream's step when its slack pays: a second row costs 5.9 ms. */
static void streams_join_when_paid(void **state)
{
    (void)state;
    struct situation s;
    situation_open(&s);
    decoding(&s, PRIORITY_INTERACTIVE, 5 * MS);
    decoding(&s, PRIORITY_BATCH, 0);
    choose(&s);
    assert_int_equal(s.rows[0] + 2 * s.rows[1], 1);
    s.q[0].slack_us = 8 * MS;
    choose(&s);
    assert_int_equal(s.rows[0] + 2 * s.rows[1], 3);
    s.q[0].slack_us = 0;
    s.p.credit_us[PRIORITY_BATCH] = 8 * MS; /* or when it has waited long enough */
    choose(&s);
    assert_int_equal(s.rows[0] + 2 * s.rows[1], 3);
    table_device_close(s.d);
}

/* A key's 40 rows pass a long prompt that stands between two groups of layers, and the stream rides
 * on their step. */
static void a_key_passes_a_standing_slice(void **state)
{
    (void)state;
    struct situation s;
    situation_open(&s);
    standing(&s, 0, PRIORITY_INTERACTIVE, 100);
    decoding(&s, PRIORITY_INTERACTIVE, 0);
    prompt(&s, PRIORITY_INTERACTIVE, 40)->served = 8000;
    choose(&s);
    assert_int_equal(s.plan.slice, -1);
    assert_int_equal(s.plan.layers, 40);
    assert_int_equal(s.rows[0], 1);
    assert_int_equal(s.rows[1], 40);
    /* Not for ever: whose owner got 8,192 tokens more waits for the other. */
    s.q[1].served = 8500;
    s.q[0].slack_us = 50 * MS;
    choose(&s);
    assert_int_equal(s.plan.slice, 0);
    assert_int_equal(s.plan.layers, 4);
    /* And not when it has overdrawn the stream's slack already. */
    s.q[1].served = 0;
    s.q[0].slack_us = -1;
    choose(&s);
    assert_int_equal(s.plan.n_rows, 1);
    table_device_close(s.d);
}

/* In company warm rows need 30 % of the time saved up, and 100 ms since the last; alone nothing. */
static void warm_rows_wait_in_company(void **state)
{
    static const struct {
        bool company;
        double credit_us;
        int64_t since_us;
        bool runs;
    } cases[] = {{true, 50 * MS, 100 * MS, true},
                 {true, 50 * MS, 99 * MS, false},
                 {true, 30 * MS, 500 * MS, false},
                 {false, 0, 1 * MS, true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct situation s;
        situation_open(&s);
        prompt(&s, PRIORITY_WARM, 10);
        prompt(&s, PRIORITY_WARM, 12);
        if (cases[i].company) decoding(&s, PRIORITY_INTERACTIVE, 50 * MS);
        s.p.credit_us[PRIORITY_WARM] = cases[i].credit_us;
        s.p.warm_begun_us = s.now_us - cases[i].since_us;
        choose(&s);
        assert_int_equal(s.rows[0], cases[i].runs ? 10 : 0); /* both, in one step */
        assert_int_equal(s.rows[1], cases[i].runs ? 12 : 0);
        table_device_close(s.d);
    }
}

/* Stricter classes first; a class whose credit pays goes before them; warm work never passes an
 * interactive prompt. */
static void classes_take_turns(void **state)
{
    (void)state;
    struct situation s;
    situation_open(&s);
    prompt(&s, PRIORITY_BATCH, 4000);
    prompt(&s, PRIORITY_ACTION, 4000);
    prompt(&s, PRIORITY_INTERACTIVE, 4000);
    choose(&s);
    assert_int_equal(s.rows[2], SLICE);
    s.p.credit_us[PRIORITY_BATCH] = 26 * MS; /* four layers of 2,048 rows cost 25 */
    choose(&s);
    assert_int_equal(s.rows[0], SLICE);
    s.p.credit_us[PRIORITY_BATCH] = 24 * MS;
    s.q[0].priority = PRIORITY_WARM;
    s.p.credit_us[PRIORITY_WARM] = 50 * MS;
    choose(&s);
    assert_int_equal(s.rows[2], SLICE);
    table_device_close(s.d);
}

static void owners_are_served_alike(void **state)
{
    (void)state;
    struct situation s;
    situation_open(&s);
    prompt(&s, PRIORITY_INTERACTIVE, 3000)->served = 9000;
    prompt(&s, PRIORITY_INTERACTIVE, 3000)->served = 8000;
    choose(&s);
    assert_int_equal(s.rows[0], 0);
    assert_int_equal(s.rows[1], SLICE);
    table_device_close(s.d);
}

/* One place stays free for steps that go through: a fourth slice drives out the least strict one, or
 * waits for the one that is farthest. */
static void standing_slices_are_few(void **state)
{
    (void)state;
    struct situation s;
    situation_open(&s);
    standing(&s, 0, PRIORITY_ACTION, 0);
    standing(&s, 1, PRIORITY_WARM, 0);
    standing(&s, 2, PRIORITY_BATCH, 0);
    prompt(&s, PRIORITY_INTERACTIVE, 8192);
    choose(&s);
    assert_int_equal(s.plan.slice, -1);
    assert_int_equal(s.plan.drop, 1);
    for (int i = 0; i < 3; i++) standing(&s, i, PRIORITY_INTERACTIVE, 10);
    s.slices[1].layer = 12;
    choose(&s);
    assert_int_equal(s.plan.slice, 1);
    table_device_close(s.d);
}

/* A stream's own time earns half of itself, foreign time is paid; classes that wait save 5 and 10 %,
 * warm work 30. */
static void accounts_are_kept(void **state)
{
    (void)state;
    struct situation s;
    situation_open(&s);
    decoding(&s, PRIORITY_INTERACTIVE, 0)->slice = 0;
    prompt(&s, PRIORITY_BATCH, 500);
    prompt(&s, PRIORITY_ACTION, 500);
    struct policy_launch own = {0, 10 * MS, false, 0}, foreign = {1, 10 * MS, true, 77};
    policy_account(&s.p, s.q, s.n, s.queued, &own);
    assert_in_range((int)s.q[0].slack_us, 4999, 5000);
    assert_in_range((int)s.p.credit_us[PRIORITY_BATCH], 499, 500);
    assert_in_range((int)s.p.credit_us[PRIORITY_ACTION], 999, 1000);
    assert_in_range((int)s.p.credit_us[PRIORITY_WARM], 2999, 3000);
    s.q[0].slice = -1;
    s.q[1].slice = 1;
    policy_account(&s.p, s.q, s.n, s.queued, &foreign);
    assert_in_range((int)s.q[0].slack_us, -5001, -4999);
    assert_int_equal((int)s.p.credit_us[PRIORITY_BATCH], 0); /* what it used is paid for */
    assert_int_equal(s.p.warm_begun_us, 77);
    assert_in_range((int)s.p.used_us[PRIORITY_INTERACTIVE], 9999, 10000);
    assert_in_range((int)s.p.used_us[PRIORITY_BATCH], 9999, 10000);
    table_device_close(s.d);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_run_beside_one_stream_in_slices),
        cmocka_unit_test(prompts_ride_where_reads_are_paid),
        cmocka_unit_test(streams_join_when_paid),
        cmocka_unit_test(a_key_passes_a_standing_slice),
        cmocka_unit_test(warm_rows_wait_in_company),
        cmocka_unit_test(classes_take_turns),
        cmocka_unit_test(owners_are_served_alike),
        cmocka_unit_test(standing_slices_are_few),
        cmocka_unit_test(accounts_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
