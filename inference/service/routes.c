/* One row per route; HEAD and OPTIONS are methods like any other that a path does not have. */
#include "inference/service/routes.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "inference/service/access.h"

const struct route routes[N_ROUTES] = {
    {"GET", "/health", true, health_handle},
    {"GET", "/ready", true, ready_handle},
    {"GET", "/metrics", false, metrics_handle},
    {"GET", "/v1/models", false, models_handle},
    {"GET", "/v1/dbrx", false, handshake_handle},
    {"GET", "/v1/dbrx/tokenizer", false, tokenizer_handle},
    {"GET", "/v1/dbrx/events", false, lease_handle},
    {"GET", "/v1/dbrx/requests", false, requests_handle},
    {"POST", "/v1/completions", false, completions_handle},
    {"POST", "/v1/chat/completions", false, chat_handle},
};

_Static_assert((int)N_ROUTES <= (int)METER_ROUTES_MAX, "every route has its counters");

size_t route_index(const struct route *r) { return (size_t)(r - routes); }

/* The row of method and path; *allow is some method the path has, when it is another one. */
static const struct route *route_find(const char *method, const char *path, const char **allow)
{
    *allow = NULL;
    for (int i = 0; i < N_ROUTES; i++) {
        if (strcmp(routes[i].path, path) != 0) continue;
        if (strcmp(routes[i].method, method) == 0) return &routes[i];
        *allow = routes[i].method;
    }
    return NULL;
}

void route_choose(struct exchange *x, const char *method, const char *path)
{
    const char *allow;
    x->route = route_find(method, path, &allow);
    if (connections_count(&x->service->connections) > HTTP_CONNECTIONS_MAX) {
        http_refuse(&x->refusal, 503, "too_many_connections", "more than %d connections",
                    HTTP_CONNECTIONS_MAX);
        x->refusal.retry_after_s = 1;
    } else if (!access_check(x, x->route && x->route->open)) {
        /* Whoever may not come in does not learn what is inside. */
    } else if (allow) {
        http_refuse(&x->refusal, 405, "method_not_allowed", "%.64s: found %.16s, expected %s", path,
                    method, allow);
        x->refusal.allow = allow;
    } else if (!x->route) {
        http_refuse(&x->refusal, 404, "unknown_url", "no such path: %.128s", path);
    }
}
