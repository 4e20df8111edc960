/* The whole scheduler over a table of costs: what people would feel, to the microsecond and the row.
 * After every 64th launch all accounts of pages are checked by world_run itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inference/simulate/simulate.h"

#include <cmocka.h>

enum { MS = 1000, S = 1000000, N_LAYERS = 40 };

static void check(status s, const error *err)
{
    if (s != OK) fail_msg("%s", err->message);
}

static world *world_make(const struct table_costs *costs)
{
    error err;
    world *w;
    check(world_open(&w, costs, 0, &err), &err);
    return w;
}

static world *world_fp8(void) { return world_make(table_costs_find("h200-fp8")); }

static size_t add(world *w, struct world_request r)
{
    error err;
    size_t number = 0;
    check(world_add(w, &r, &number, &err), &err);
    return number;
}

static void run(world *w, int64_t until_us)
{
    error err;
    check(world_run(w, until_us, &err), &err);
}

static double ms_to_first(const world *w, size_t number)
{
    return (double)(world_outcome(w, number)->first_token_us - world_request(w, number)->at_us) /
           MS;
}

/* The figures that policy was made for, on both machines. */
static void figures_hold(void **state)
{
    static const struct {
        const char *scenario, *figure;
        double least, most;
    } bounds[] = {
        {"lone_stream", "decode_share", 0.999, 1.001},
        {"stream_and_8k", "stream_share", 0.6, 0.7},
        {"stream_and_32k", "stream_share", 0.6, 0.7},
        {"ten_typists", "stream_share", 0.6, 1},
        {"ten_typists", "device_share_warm", 0.05, 0.3},
        {"greedy_owner", "launches_waited_max", 0, 2},
        {"overload", "goodput_share_at_10x", 0.9, 1},
        {"mixed", "device_share_batch", 0.05, 1},
        {"mixed", "completion_ttft_p50_ms", 0, 60},
        {"forty_typists", "ttft_p50_ms", 0, 60},
    };
    static const char *const machines[] = {"h200-int4", "h200-fp8"};
    static struct simulate_report r;
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        error err;
        check(simulate_run(&r, machines[m], &err), &err);
        for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
            double value = simulate_figure(&r, bounds[i].scenario, bounds[i].figure);
            if (!(value >= bounds[i].least && value <= bounds[i].most))
                fail_msg("%s %s %s: %.3f, expected %.3f to %.3f", machines[m], bounds[i].scenario,
                         bounds[i].figure, value, bounds[i].least, bounds[i].most);
        }
        /* In FP8 the answers themselves cost more: with two beside it a step takes twice as long. */
        assert_true(simulate_figure(&r, "ten_completers", "stream_share") >= (m == 0 ? 0.6 : 0.5));
    }
    error err;
    assert_int_equal(simulate_run(&r, "toaster", &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "\"toaster\", expected one of h200-int4, h200-fp8, cpu"));
}

/* A key waits for one group of layers of a long prompt, not for a slice: 2,048 rows that see 32,000
 * keys take 0.37 s, four of 40 layers 37 ms; its own 40 rows 35. */
static void a_key_waits_for_one_group(void **state)
{
    (void)state;
    for (int i = 0; i < 40; i++) {
        world *w = world_fp8();
        add(w, (struct world_request){0, 0, PRIORITY_INTERACTIVE, 1, 1, 32000, 2});
        size_t key =
            add(w, (struct world_request){37 * MS * (i + 1), 0, PRIORITY_INTERACTIVE, 2, 2, 40, 1});
        run(w, 2 * S);
        assert_true(ms_to_first(w, key) > 30 && ms_to_first(w, key) < 37 + 36);
        assert_in_range(world_outcome(w, key)->launches_before, 0, 0);
        world_close(w);
    }
}

/* The real request comes while the warm one's rows stand anywhere between first slice and last
 * layer: every row of it is computed once, in every layer. */
static void warm_work_is_promoted_in_place(void **state)
{
    (void)state;
    for (int i = 1; i < 60; i++) {
        world *w = world_fp8();
        size_t warm = add(w, (struct world_request){0, 0, PRIORITY_WARM, 1, 1, 3000, 0});
        size_t real = add(
            w, (struct world_request){6 * MS * i, 0, PRIORITY_INTERACTIVE, 1, 1, 3000 + i % 2, 1});
        run(w, 0);
        assert_int_equal(world_outcome(w, warm)->end, WORLD_DONE);
        assert_int_equal(world_outcome(w, real)->end, WORLD_DONE);
        assert_int_equal(world_row_layers(w), (3000 + i % 2) * N_LAYERS);
        world_close(w);
    }
}

/* Each key extends the last, whose request is cancelled as the next one comes: no row is computed
 * twice, in slices or between them, and what is asked for at the end is all there. */
static void keys_go_on_where_the_last_stood(void **state)
{
    (void)state;
    struct engine_stats stats = {0};
    world *w = world_fp8();
    for (int i = 0; i < 30; i++)
        add(w, (struct world_request){20 * MS * i, 20 * MS * (i + 1), PRIORITY_WARM, 1, 1, 4000 + i,
                                      0});
    size_t real = add(w, (struct world_request){600 * MS, 0, PRIORITY_INTERACTIVE, 1, 1, 4030, 1});
    run(w, 0);
    assert_int_equal(world_row_layers(w), 4030 * N_LAYERS);
    assert_true(ms_to_first(w, real) < 40);
    world_stats(w, &stats);
    assert_in_range(stats.warm_useful, 4000, 4029);
    assert_in_range(stats.warm_tokens, stats.warm_useful, 4030);
    world_close(w);
}

/* Two windows of one owner warm the same: one computes. Another owner's does not count. */
static void equal_warm_requests_coalesce(void **state)
{
    (void)state;
    world *w = world_fp8();
    for (int i = 0; i < 5; i++)
        add(w, (struct world_request){30 * MS * i, 0, PRIORITY_WARM, 1, 1, 3000 - 16 * i, 0});
    add(w, (struct world_request){0, 0, PRIORITY_WARM, 2, 1, 160, 0});
    run(w, 0);
    assert_int_equal(world_row_layers(w), (3000 + 160) * N_LAYERS);
    for (size_t i = 0; i < 6; i++) assert_int_equal(world_outcome(w, i)->end, WORLD_DONE);
    world_close(w);
}

/* Interactive prompts without end: a batch still gets its share, and ends. 500 rows take 0.061 s of
 * it, and 20 tokens 0.19 s; at 5 % of the time that is 5 s, after 5 s for a place. */
static void nobody_starves(void **state)
{
    static const enum priority classes[] = {PRIORITY_BATCH, PRIORITY_ACTION};
    (void)state;
    for (int c = 0; c < 2; c++) {
        world *w = world_fp8();
        size_t other = add(w, (struct world_request){S, 0, classes[c], 9, 9, 500, 20});
        for (int i = 0; i < 400; i++)
            add(w, (struct world_request){0, 0, PRIORITY_INTERACTIVE, 1 + (uint64_t)i % 5,
                                          100 + (uint64_t)i, 6000, 1});
        run(w, 20 * S);
        assert_int_equal(world_outcome(w, other)->end, WORLD_DONE);
        world_close(w);
    }
}

/* Owner 1 has had eight prompts computed when owner 2 comes: from then on they are served alike, within
 * one prompt and the two that a slice may have begun with; nobody makes up for what was before. */
static void owners_are_served_alike(void **state)
{
    (void)state;
    world *w = world_fp8();
    size_t second = 40;
    for (int i = 0; i < 50; i++)
        add(w, (struct world_request){i < 40 ? 0 : 3 * S, 0, PRIORITY_INTERACTIVE, i < 40 ? 1 : 2,
                                      100 + (uint64_t)i, 3000, 1});
    int32_t before = 0, done[2] = {0};
    for (int64_t at = 3 * S; at < 9 * S; at += 100 * MS) {
        run(w, at);
        done[0] = done[1] = 0;
        for (size_t i = 0; i < 50; i++) done[i >= second] += world_outcome(w, i)->end == WORLD_DONE;
        if (at == 3 * S) before = done[0];
        assert_in_range(done[0] - before - done[1] + 3, 0, 6);
    }
    assert_in_range(before, 6, 10);
    assert_in_range(done[1], 6, 10);
    world_close(w);
}

/* A pool of 20,000 tokens holds two prompts of one owner; another's short request gets pages at once,
 * and nothing of what was put back is computed twice but the rows that were under way. */
static void prompts_are_put_back_for_others(void **state)
{
    (void)state;
    struct table_costs costs = *table_costs_find("h200-fp8");
    costs.kv_tokens = 20000;
    world *w = world_make(&costs);
    for (int i = 0; i < 8; i++)
        add(w, (struct world_request){0, 0, PRIORITY_BATCH, 1, 100 + (uint64_t)i, 8192, 900});
    size_t shorts[4];
    for (int i = 0; i < 4; i++)
        shorts[i] = add(w, (struct world_request){900 * MS * (i + 1), 0, PRIORITY_BATCH, 2,
                                                  200 + (uint64_t)i, 2000, 8});
    run(w, 0);
    for (size_t i = 0; i < world_count(w); i++)
        assert_int_equal(world_outcome(w, i)->end, WORLD_DONE);
    for (int i = 0; i < 4; i++) assert_true(ms_to_first(w, shorts[i]) < 1500);
    int64_t rows = world_row_layers(w) / N_LAYERS, once = 8 * (8192 + 899) + 4 * (2000 + 7);
    assert_in_range(rows, once, once + 4 * 9000);
    world_close(w);
}

/* The queue has a bound; what is refused is counted. */
static void full_queues_refuse(void **state)
{
    (void)state;
    error err;
    struct engine_stats stats = {0};
    world *w;
    check(world_open(&w, table_costs_find("h200-int4"), 10, &err), &err);
    for (int i = 0; i < 100; i++)
        add(w, (struct world_request){0, 0, PRIORITY_INTERACTIVE, 1, (uint64_t)i, 1000, 1});
    run(w, 0);
    world_stats(w, &stats);
    assert_int_equal(stats.refused_busy, 90);
    world_close(w);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_hold),
        cmocka_unit_test(a_key_waits_for_one_group),
        cmocka_unit_test(warm_work_is_promoted_in_place),
        cmocka_unit_test(keys_go_on_where_the_last_stood),
        cmocka_unit_test(equal_warm_requests_coalesce),
        cmocka_unit_test(nobody_starves),
        cmocka_unit_test(owners_are_served_alike),
        cmocka_unit_test(prompts_are_put_back_for_others),
        cmocka_unit_test(full_queues_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
