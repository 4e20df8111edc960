/* GET /metrics: everything counted, in Prometheus' text format 0.0.4. Names begin with dbrx_ and
 * carry their unit; counters end in _total. Pure: values in, text out. Any thread. */
#ifndef INFERENCE_SERVICE_METRICS_H
#define INFERENCE_SERVICE_METRICS_H

#include "base/text.h"
#include "inference/engine.h"
#include "inference/service/meters.h"
#include "inference/service/state.h"

/* Of the process, from the kernel; the names are Prometheus' own. */
struct process_sample {
    double cpu_s, start_unix_s;
    uint64_t resident_bytes, virtual_bytes, open_fds, max_fds;
};

void process_sample_take(struct process_sample *out);

struct metrics_view {
    const char *version;
    enum service_state state;
    double progress;
    const char *model, *backend; /* NULL until loaded: then the engine's numbers are absent too */
    const struct engine_stats *stats;
    int32_t n_experts;
    const struct meters *meters;
    const char *const *route_names; /* [n_routes] "GET /v1/models" */
    size_t n_routes;
    int64_t n_connections, n_leases;
    int64_t n_keys; /* negative: none are used */
    struct process_sample process;
};

void metrics_put(buffer *out, const struct metrics_view *v);

#endif
