/* /metrics as text: every number where it belongs, in the format's own spelling. */
#include <stdio.h>
#include <string.h>

#include "inference/service/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Behind our headers: it has a macro named fail. */
#include <cmocka.h>

static struct meters meters;
static struct engine_stats stats;
static const char *const route_names[] = {"GET /health", "POST /v1/completions"};

static struct metrics_view view_of(void)
{
    return (struct metrics_view){.version = "1.2.3",
                                 .state = SERVICE_READY,
                                 .progress = 1,
                                 .model = "m\"o\\d\nel",
                                 .backend = "cpu",
                                 .stats = &stats,
                                 .n_experts = 2,
                                 .meters = &meters,
                                 .route_names = route_names,
                                 .n_routes = 2,
                                 .n_connections = 5,
                                 .n_leases = 2,
                                 .n_keys = 3,
                                 .process = {.cpu_s = 1.5,
                                             .start_unix_s = 1764000000.25,
                                             .resident_bytes = 4096,
                                             .virtual_bytes = 8192,
                                             .open_fds = 7,
                                             .max_fds = 1024}};
}

static buffer text_made(const struct metrics_view *v)
{
    buffer out = {0};
    metrics_put(&out, v);
    assert_false(out.failed);
    return out;
}

/* The lines stand there, one after the other. */
static void assert_has(const buffer *b, const char *lines)
{
    size_t at = text_find(buffer_text(b), text_of(lines), 0);
    if (at == SIZE_MAX) print_error("missing:\n%s", lines);
    assert_int_not_equal(at, SIZE_MAX);
    assert_true(at == 0 || b->bytes[at - 1] == '\n');
}

static void test_counts(void **state)
{
    (void)state;
    memset(&meters, 0, sizeof meters);
    stats = (struct engine_stats){.n_running_by = {1, 2, 3, 4},
                                  .n_queued_by = {5, 6, 7, 8},
                                  .refused_busy = 9,
                                  .requests = 10,
                                  .cancelled = 11,
                                  .failed = 12,
                                  .tokens_prompt = 13,
                                  .tokens_cached = 14,
                                  .tokens_output = 15,
                                  .warm_tokens = 16,
                                  .warm_useful = 17,
                                  .warm_wasted = 18,
                                  .drafted = 19,
                                  .accepted = 20,
                                  .kv_pages = 21,
                                  .kv_pages_free = 22,
                                  .kv_pages_cached = 23,
                                  .host_pages = 24,
                                  .host_pages_free = 25,
                                  .pages_spilled = 26,
                                  .pages_restored = 27,
                                  .host_evicted = 28,
                                  .expert_rows = {29, 30, 31}};
    struct metrics_view v = view_of();
    buffer out = text_made(&v);
    assert_has(&out, "# HELP dbrx_requests_running Requests being computed.\n"
                     "# TYPE dbrx_requests_running gauge\n"
                     "dbrx_requests_running{priority=\"interactive\"} 1\n"
                     "dbrx_requests_running{priority=\"action\"} 2\n"
                     "dbrx_requests_running{priority=\"batch\"} 3\n"
                     "dbrx_requests_running{priority=\"warm\"} 4\n");
    assert_has(&out, "dbrx_requests_queued{priority=\"interactive\"} 5\n"
                     "dbrx_requests_queued{priority=\"action\"} 6\n"
                     "dbrx_requests_queued{priority=\"batch\"} 7\n"
                     "dbrx_requests_queued{priority=\"warm\"} 8\n");
    static const char *const lines[] = {
        "dbrx_requests_refused_total 9\n",
        "dbrx_requests_total 10\n",
        "dbrx_requests_cancelled_total 11\n",
        "dbrx_requests_failed_total 12\n",
        "dbrx_prompt_tokens_total 13\n",
        "dbrx_prompt_tokens_cached_total 14\n",
        "dbrx_output_tokens_total 15\n",
        "dbrx_warm_tokens_total 16\n",
        "dbrx_warm_tokens_useful_total 17\n",
        "dbrx_warm_tokens_wasted_total 18\n",
        "dbrx_draft_tokens_total 19\n",
        "dbrx_draft_tokens_accepted_total 20\n",
        "dbrx_kv_pages{tier=\"device\"} 21\n",
        "dbrx_kv_pages_free{tier=\"device\"} 22\n",
        "dbrx_kv_pages_cached 23\n",
        "dbrx_kv_pages{tier=\"host\"} 24\n",
        "dbrx_kv_pages_free{tier=\"host\"} 25\n",
        "dbrx_kv_pages_spilled_total 26\n",
        "dbrx_kv_pages_restored_total 27\n",
        "dbrx_kv_pages_host_evicted_total 28\n",
        "dbrx_expert_rows_total{expert=\"0\"} 29\ndbrx_expert_rows_total{expert=\"1\"} 30\n#",
        "dbrx_http_connections_open 5\n",
        "dbrx_leases 2\n",
        "dbrx_access_keys 3\n",
        "dbrx_build_info{version=\"1.2.3\"} 1\n",
        "dbrx_model_info{model=\"m\\\"o\\\\d\\nel\",backend=\"cpu\"} 1\n",
        "process_cpu_seconds_total 1.50\n",
        "process_start_time_seconds 1764000000.25\n",
        "process_resident_memory_bytes 4096\n",
        "process_virtual_memory_bytes 8192\n",
        "process_open_fds 7\n",
        "process_max_fds 1024\n"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) assert_has(&out, lines[i]);
    buffer_free(&out);
}

/* 0.5 ms and 1 ms fall into the first bucket (bounds are included), 1.001 ms into the second, 70 s
 * above all; their sum is 70.002501 s. A generation without output has no first token. */
static void test_histograms(void **state)
{
    (void)state;
    memset(&meters, 0, sizeof meters);
    const struct generation_stats ended[] = {{.queue_us = 500, .prefill_us = 250000, .n_output = 1},
                                             {.queue_us = 1000, .prefill_us = 0, .n_output = 9},
                                             {.queue_us = 1001, .n_output = 0},
                                             {.queue_us = 70000000, .n_output = 0}};
    for (size_t i = 0; i < sizeof ended / sizeof *ended; i++)
        meter_generation(&meters, PRIORITY_ACTION, &ended[i]);
    stats = (struct engine_stats){.step_us_bucket = {1, 0, 2, [ENGINE_STEP_BUCKETS - 1] = 4},
                                  .step_us_total = 12345678};
    struct metrics_view v = view_of();
    buffer out = text_made(&v);
    assert_has(&out, "dbrx_queue_seconds_bucket{priority=\"action\",le=\"0.001\"} 2\n"
                     "dbrx_queue_seconds_bucket{priority=\"action\",le=\"0.0025\"} 3\n"
                     "dbrx_queue_seconds_bucket{priority=\"action\",le=\"0.005\"} 3\n");
    assert_has(&out, "dbrx_queue_seconds_bucket{priority=\"action\",le=\"60\"} 3\n"
                     "dbrx_queue_seconds_bucket{priority=\"action\",le=\"+Inf\"} 4\n"
                     "dbrx_queue_seconds_sum{priority=\"action\"} 70.002501\n"
                     "dbrx_queue_seconds_count{priority=\"action\"} 4\n");
    assert_has(&out, "dbrx_queue_seconds_count{priority=\"warm\"} 0\n");
    /* 250.5 ms and 1 ms */
    assert_has(&out, "dbrx_time_to_first_token_seconds_bucket{priority=\"action\",le=\"0.25\"} 1\n"
                     "dbrx_time_to_first_token_seconds_bucket{priority=\"action\",le=\"0.5\"} 2\n");
    assert_has(&out, "dbrx_time_to_first_token_seconds_sum{priority=\"action\"} 0.251500\n"
                     "dbrx_time_to_first_token_seconds_count{priority=\"action\"} 2\n");
    assert_has(&out, "# TYPE dbrx_step_seconds histogram\n"
                     "dbrx_step_seconds_bucket{le=\"0.001\"} 1\n"
                     "dbrx_step_seconds_bucket{le=\"0.002\"} 1\n"
                     "dbrx_step_seconds_bucket{le=\"0.005\"} 3\n");
    assert_has(&out, "dbrx_step_seconds_bucket{le=\"5\"} 3\n"
                     "dbrx_step_seconds_bucket{le=\"+Inf\"} 7\n"
                     "dbrx_step_seconds_sum 12.345678\n"
                     "dbrx_step_seconds_count 7\n");
    buffer_free(&out);
}

static void test_replies(void **state)
{
    (void)state;
    memset(&meters, 0, sizeof meters);
    for (int i = 0; i < 3; i++) meter_reply(&meters, 1, 200);
    meter_reply(&meters, 1, 429);
    meter_reply(&meters, 1, 418);
    meter_reply(&meters, METER_ROUTES_MAX, 404);
    struct metrics_view v = view_of();
    buffer out = text_made(&v);
    assert_has(&out, "# TYPE dbrx_http_requests_total counter\n"
                     "dbrx_http_requests_total{route=\"POST /v1/completions\",code=\"200\"} 3\n"
                     "dbrx_http_requests_total{route=\"POST /v1/completions\",code=\"429\"} 1\n"
                     "dbrx_http_requests_total{route=\"POST /v1/completions\",code=\"0\"} 1\n"
                     "dbrx_http_requests_total{route=\"none\",code=\"404\"} 1\n#");
    buffer_free(&out);
}

/* What is not known is absent, not zero. */
static void test_loading(void **state)
{
    (void)state;
    struct metrics_view v = view_of();
    v.state = SERVICE_LOADING;
    v.progress = 0.42;
    v.model = NULL;
    v.n_keys = -1;
    buffer out = text_made(&v);
    assert_has(&out, "dbrx_state{state=\"loading\"} 1\ndbrx_state{state=\"ready\"} 0\n");
    assert_has(&out, "dbrx_load_progress_ratio 0.4200\n");
    static const char *const absent[] = {"dbrx_kv_pages", "dbrx_model_info", "dbrx_access_keys",
                                         "dbrx_step_seconds"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_int_equal(text_find(buffer_text(&out), text_of(absent[i]), 0), SIZE_MAX);
    buffer_free(&out);
}

static void test_this_process(void **state)
{
    (void)state;
    struct process_sample p;
    process_sample_take(&p);
    assert_true(p.resident_bytes > 4096 && p.resident_bytes <= p.virtual_bytes);
    assert_true(p.open_fds >= 1 && p.open_fds < p.max_fds);
    assert_true(p.start_unix_s > 1.6e9 && p.cpu_s >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),       cmocka_unit_test(test_histograms),
        cmocka_unit_test(test_replies),      cmocka_unit_test(test_loading),
        cmocka_unit_test(test_this_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
