/* One family after the other: HELP, TYPE, samples. Numbers of the engine come from one snapshot, so
 * that they agree with each other; a histogram's count is the sum of its buckets as read. */
#include "inference/service/metrics.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const char *const priority_names[N_PRIORITIES] = {"interactive", "action", "batch", "warm"};

static void put_family(buffer *out, const char *name, const char *type, const char *help)
{
    buffer_print(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void put_label(buffer *out, const char *name, const char *value)
{
    buffer_print(out, "%s=\"", name);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"') buffer_put_char(out, '\\');
        if (*value == '\n')
            buffer_put_text(out, TEXT("\\n"));
        else
            buffer_put_char(out, *value);
    }
    buffer_put_char(out, '"');
}

static void put_one(buffer *out, const char *name, const char *type, const char *help,
                    int64_t value)
{
    put_family(out, name, type, help);
    buffer_print(out, "%s %lld\n", name, (long long)value);
}

/* A sample with one label. */
static void put_labelled(buffer *out, const char *name, const char *label, const char *value,
                         int64_t number)
{
    buffer_print(out, "%s{", name);
    put_label(out, label, value);
    buffer_print(out, "} %lld\n", (long long)number);
}

static void put_service(buffer *out, const struct metrics_view *v)
{
    put_family(out, "dbrx_build_info", "gauge", "1, with the version of the program.");
    buffer_put_text(out, TEXT("dbrx_build_info{"));
    put_label(out, "version", v->version);
    buffer_put_text(out, TEXT("} 1\n"));
    put_family(out, "dbrx_state", "gauge", "1 for the state the engine is in, 0 for the others.");
    for (int i = SERVICE_LOADING; i <= SERVICE_FAILED; i++)
        put_labelled(out, "dbrx_state", "state", service_state_name((enum service_state)i),
                     v->state == (enum service_state)i);
    put_family(out, "dbrx_load_progress_ratio", "gauge",
               "How much of the model is loaded, 0 to 1.");
    buffer_print(out, "dbrx_load_progress_ratio %.4f\n", v->progress);
    put_one(out, "dbrx_http_connections_open", "gauge", "Open connections.", v->n_connections);
    put_one(out, "dbrx_http_connections_total", "counter", "Connections taken.",
            (int64_t)atomic_load(&v->meters->connections));
    put_one(out, "dbrx_leases", "gauge", "Open event streams: editors that want the engine.",
            v->n_leases);
    if (v->n_keys >= 0)
        put_one(out, "dbrx_access_keys", "gauge", "Access keys that are valid.", v->n_keys);
    put_one(out, "dbrx_wrong_keys_total", "counter", "Requests with a key that is none.",
            (int64_t)atomic_load(&v->meters->wrong_keys));
    put_one(out, "dbrx_superseded_total", "counter",
            "Answers cancelled by a newer request of their session.",
            (int64_t)atomic_load(&v->meters->superseded));
}

static void put_replies(buffer *out, const struct metrics_view *v)
{
    put_family(out, "dbrx_http_requests_total", "counter",
               "Requests answered, by route and status code; code 0 is any other.");
    for (size_t route = 0; route <= METER_ROUTES_MAX; route++)
        for (int code = 0; code < METER_CODES; code++) {
            uint64_t n = atomic_load(&v->meters->replies[route][code]);
            if (n == 0) continue;
            buffer_put_text(out, TEXT("dbrx_http_requests_total{"));
            put_label(out, "route", route < v->n_routes ? v->route_names[route] : "none");
            buffer_print(out, ",code=\"%u\"} %llu\n", meter_codes[code], (unsigned long long)n);
        }
}

/* One histogram's samples; labels is "" or ends in a comma. */
static void put_buckets(buffer *out, const char *name, const char *labels, const int64_t *bounds_us,
                        const uint64_t *bucket, int n_buckets, uint64_t sum_us)
{
    uint64_t n = 0;
    size_t plain = strlen(labels);
    for (int i = 0; i < n_buckets - 1; i++)
        buffer_print(out, "%s_bucket{%sle=\"%g\"} %llu\n", name, labels,
                     (double)bounds_us[i] * 1e-6, (unsigned long long)(n += bucket[i]));
    n += bucket[n_buckets - 1];
    buffer_print(out, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, (unsigned long long)n);
    const char *open = plain ? "{" : "", *close = plain ? "}" : "";
    int kept = plain ? (int)plain - 1 : 0;
    buffer_print(out, "%s_sum%s%.*s%s %.6f\n", name, open, kept, labels, close,
                 (double)sum_us * 1e-6);
    buffer_print(out, "%s_count%s%.*s%s %llu\n", name, open, kept, labels, close,
                 (unsigned long long)n);
}

static void put_times(buffer *out, const char *name, const char *help,
                      const struct histogram h[N_PRIORITIES])
{
    put_family(out, name, "histogram", help);
    for (int p = 0; p < N_PRIORITIES; p++) {
        char labels[48];
        uint64_t bucket[METER_BUCKETS];
        for (int i = 0; i < METER_BUCKETS; i++) bucket[i] = atomic_load(&h[p].bucket[i]);
        snprintf(labels, sizeof labels, "priority=\"%s\",", priority_names[p]);
        put_buckets(out, name, labels, meter_bounds_us, bucket, METER_BUCKETS,
                    atomic_load(&h[p].sum_us));
    }
}

#define ROW(field, type, name, help)                                                               \
    {                                                                                              \
        name, type, help, offsetof(struct engine_stats, field)                                     \
    }

static const struct {
    const char *name, *type, *help;
    size_t at;
} rows[] = {
    ROW(requests, "counter", "dbrx_requests_total", "Requests the engine took."),
    ROW(cancelled, "counter", "dbrx_requests_cancelled_total", "Of them, cancelled."),
    ROW(failed, "counter", "dbrx_requests_failed_total", "Of them, ended by an error."),
    ROW(refused_busy, "counter", "dbrx_requests_refused_total",
        "Requests not taken: the queue was full."),
    ROW(tokens_prompt, "counter", "dbrx_prompt_tokens_total", "Tokens of all prompts."),
    ROW(tokens_cached, "counter", "dbrx_prompt_tokens_cached_total",
        "Of them, found in the KV cache."),
    ROW(tokens_output, "counter", "dbrx_output_tokens_total", "Tokens generated."),
    ROW(warm_tokens, "counter", "dbrx_warm_tokens_total", "Tokens computed by warm requests."),
    ROW(warm_useful, "counter", "dbrx_warm_tokens_useful_total",
        "Of them, found by a real request."),
    ROW(warm_wasted, "counter", "dbrx_warm_tokens_wasted_total",
        "Of them, evicted or superseded unused."),
    ROW(drafted, "counter", "dbrx_draft_tokens_total", "Tokens proposed by drafts."),
    ROW(accepted, "counter", "dbrx_draft_tokens_accepted_total", "Of them, accepted."),
    ROW(pages_spilled, "counter", "dbrx_kv_pages_spilled_total",
        "KV pages moved from the device to host memory."),
    ROW(pages_restored, "counter", "dbrx_kv_pages_restored_total",
        "KV pages moved from host memory back to the device."),
    ROW(host_evicted, "counter", "dbrx_kv_pages_host_evicted_total",
        "KV pages dropped from host memory."),
    ROW(kv_pages_cached, "gauge", "dbrx_kv_pages_cached",
        "Pages of the device's pool that the prefix cache keeps."),
};

static void put_by_priority(buffer *out, const char *name, const char *help,
                            const int64_t by[N_PRIORITIES])
{
    put_family(out, name, "gauge", help);
    for (int p = 0; p < N_PRIORITIES; p++)
        put_labelled(out, name, "priority", priority_names[p], by[p]);
}

static void put_by_tier(buffer *out, const char *name, const char *help, int64_t on_device,
                        int64_t in_host)
{
    put_family(out, name, "gauge", help);
    put_labelled(out, name, "tier", "device", on_device);
    put_labelled(out, name, "tier", "host", in_host);
}

static void put_steps(buffer *out, const struct engine_stats *stats)
{
    int64_t bounds_us[ENGINE_STEP_BUCKETS - 1];
    uint64_t bucket[ENGINE_STEP_BUCKETS];
    for (int i = 0; i < ENGINE_STEP_BUCKETS; i++) bucket[i] = (uint64_t)stats->step_us_bucket[i];
    for (int i = 0; i < ENGINE_STEP_BUCKETS - 1; i++)
        bounds_us[i] = (int64_t)engine_step_bucket_ms[i] * 1000;
    put_family(out, "dbrx_step_seconds", "histogram", "Time of one step of the model.");
    put_buckets(out, "dbrx_step_seconds", "", bounds_us, bucket, ENGINE_STEP_BUCKETS,
                (uint64_t)stats->step_us_total);
}

static void put_experts(buffer *out, const struct engine_stats *stats, int32_t n_experts)
{
    put_family(out, "dbrx_expert_rows_total", "counter",
               "Rows routed to each expert, all layers, of sampled steps.");
    for (int32_t i = 0; i < n_experts && i < ENGINE_EXPERTS_MAX; i++)
        buffer_print(out, "dbrx_expert_rows_total{expert=\"%d\"} %lld\n", (int)i,
                     (long long)stats->expert_rows[i]);
}

static void put_engine(buffer *out, const struct metrics_view *v)
{
    const struct engine_stats *stats = v->stats;
    put_family(out, "dbrx_model_info", "gauge", "1, with the model and what computes it.");
    buffer_put_text(out, TEXT("dbrx_model_info{"));
    put_label(out, "model", v->model);
    buffer_put_char(out, ',');
    put_label(out, "backend", v->backend);
    buffer_put_text(out, TEXT("} 1\n"));
    put_by_priority(out, "dbrx_requests_running", "Requests being computed.", stats->n_running_by);
    put_by_priority(out, "dbrx_requests_queued", "Requests waiting.", stats->n_queued_by);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t value;
        memcpy(&value, (const char *)stats + rows[i].at, sizeof value);
        put_one(out, rows[i].name, rows[i].type, rows[i].help, value);
    }
    put_by_tier(out, "dbrx_kv_pages", "KV pages of 16 tokens there are.", stats->kv_pages,
                stats->host_pages);
    put_by_tier(out, "dbrx_kv_pages_free", "KV pages nothing is in.", stats->kv_pages_free,
                stats->host_pages_free);
    put_steps(out, stats);
    put_experts(out, stats, v->n_experts);
}

static void put_process(buffer *out, const struct process_sample *p)
{
    put_family(out, "process_cpu_seconds_total", "counter", "CPU time, user and system.");
    buffer_print(out, "process_cpu_seconds_total %.2f\n", p->cpu_s);
    put_family(out, "process_start_time_seconds", "gauge", "When it started, since 1970.");
    buffer_print(out, "process_start_time_seconds %.2f\n", p->start_unix_s);
    put_one(out, "process_resident_memory_bytes", "gauge", "Memory in use.",
            (int64_t)p->resident_bytes);
    put_one(out, "process_virtual_memory_bytes", "gauge", "Address space in use.",
            (int64_t)p->virtual_bytes);
    put_one(out, "process_open_fds", "gauge", "Open descriptors.", (int64_t)p->open_fds);
    put_one(out, "process_max_fds", "gauge", "Descriptors it may open.", (int64_t)p->max_fds);
}

void metrics_put(buffer *out, const struct metrics_view *v)
{
    put_service(out, v);
    put_replies(out, v);
    put_times(out, "dbrx_queue_seconds", "Time from a request's arrival to its first step.",
              v->meters->queue);
    put_times(out, "dbrx_time_to_first_token_seconds",
              "Time from a request's arrival to its first token.", v->meters->first_token);
    if (v->model) put_engine(out, v);
    put_process(out, &v->process);
}
