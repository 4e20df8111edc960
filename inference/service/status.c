/* What the engine says about itself: alive, ready, its model, its handshake, its tokenizer. All of
 * it is answered while the model loads; what is not known yet is absent. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "inference/service/json_write.h"
#include "inference/service/metrics.h"
#include "inference/service/routes.h"

enum { API = 1 };

static const char *const features[] = {
    "token_ids",    "lease",           "priority", "deadline",     "cache_salt", "must_start_with",
    "forbid_first", "forbid_unopened", "score",    "score_behind", "predicted",  "supersedes"};

bool health_handle(struct exchange *x)
{
    buffer body = {0};
    buffer_put_text(&body, TEXT("{\"status\":\"ok\"}"));
    return http_reply_json(x, 200, &body);
}

/* Assumes that the rest loads as fast as what is there; null before there is anything. */
static void put_seconds_left(buffer *out, const struct service *s, double progress)
{
    double elapsed_s = (double)(clock_us() - s->started_us) * 1e-6;
    if (progress <= 0)
        buffer_put_text(out, TEXT("null"));
    else
        buffer_print(out, "%.0f", elapsed_s * (1 - progress) / progress);
}

bool ready_handle(struct exchange *x)
{
    struct service_view view;
    buffer body = {0};
    service_look(x->service, &view);
    buffer_print(&body, "{\"state\":\"%s\"", service_state_name(view.state));
    if (view.state == SERVICE_LOADING) {
        buffer_print(&body, ",\"percent\":%d,\"seconds_left\":", (int)(view.progress * 100));
        put_seconds_left(&body, x->service, view.progress);
    }
    buffer_put_char(&body, '}');
    return http_reply_json(x, view.state == SERVICE_READY ? 200 : 503, &body);
}

bool reply_not_ready(struct exchange *x, const struct service_view *view)
{
    struct http_error e;
    if (view->state == SERVICE_FAILED)
        http_refuse(&e, 503, "failed", "the engine cannot work: %s", view->reason);
    else if (view->state == SERVICE_DRAINING)
        http_refuse(&e, 503, "draining", "the engine is about to stop");
    else
        http_refuse(&e, 503, "loading", "the model is loading: %d %%", (int)(view->progress * 100));
    e.retry_after_s = 1;
    return http_reply_error(x, &e);
}

bool models_handle(struct exchange *x)
{
    struct service_view view;
    buffer body = {0};
    service_look(x->service, &view);
    if (!view.engine) return reply_not_ready(x, &view);
    buffer_put_text(&body, TEXT("{\"object\":\"list\",\"data\":[{\"id\":"));
    json_put_chars(&body, engine_model_name(view.engine));
    buffer_print(&body,
                 ",\"object\":\"model\",\"created\":%lld,\"owned_by\":\"dbrx-ls\","
                 "\"max_model_len\":%d}]}",
                 (long long)x->service->started_unix_s, engine_shape(view.engine)->max_seq_len);
    return http_reply_json(x, 200, &body);
}

static void put_specials(buffer *out, const struct special_ids *ids)
{
    const struct {
        const char *name;
        int32_t id;
    } rows[] = {{"endoftext", ids->endoftext},     {"fim_prefix", ids->fim_prefix},
                {"fim_middle", ids->fim_middle},   {"fim_suffix", ids->fim_suffix},
                {"endofprompt", ids->endofprompt}, {"pad", ids->pad},
                {"im_start", ids->im_start},       {"im_end", ids->im_end}};
    const char *separator = "";
    buffer_put_char(out, '{');
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].id < 0) continue;
        buffer_print(out, "%s\"%s\":%d", separator, rows[i].name, rows[i].id);
        separator = ",";
    }
    buffer_put_char(out, '}');
}

static void put_model(buffer *out, const engine *e)
{
    const tokenizer *t = engine_tokenizer(e);
    buffer_put_text(out, TEXT(",\"model\":"));
    json_put_chars(out, engine_model_name(e));
    buffer_print(out, ",\"tokenizer_sha256\":\"%s\",\"max_model_len\":%d,\"vocabulary_size\":%d",
                 tokenizer_sha256(t), engine_shape(e)->max_seq_len, engine_shape(e)->vocab_size);
    buffer_put_text(out, TEXT(",\"specials\":"));
    put_specials(out, tokenizer_specials(t));
    buffer_put_text(out, TEXT(",\"backend\":"));
    json_put_chars(out, engine_backend_name(e));
    buffer_print(out, ",\"demo\":%s", engine_is_demo(e) ? "true" : "false");
}

bool handshake_handle(struct exchange *x)
{
    struct service_view view;
    buffer body = {0};
    service_look(x->service, &view);
    buffer_print(&body, "{\"api\":%d,\"version\":\"%s\",\"state\":\"%s\",\"progress\":%.4f", API,
                 DBRX_VERSION, service_state_name(view.state), view.progress);
    if (view.state == SERVICE_FAILED) {
        buffer_put_text(&body, TEXT(",\"reason\":"));
        json_put_chars(&body, view.reason);
    }
    buffer_put_text(&body, TEXT(",\"features\":["));
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        buffer_print(&body, "%s\"%s\"", i ? "," : "", features[i]);
    buffer_put_char(&body, ']');
    if (view.engine) put_model(&body, view.engine);
    buffer_put_char(&body, '}');
    return http_reply_json(x, 200, &body);
}

bool tokenizer_handle(struct exchange *x)
{
    struct service_view view;
    service_look(x->service, &view);
    if (!view.engine) return reply_not_ready(x, &view);
    return http_reply_shared(x, "text/plain; charset=utf-8", &x->service->ranks);
}

bool metrics_handle(struct exchange *x)
{
    struct service *s = x->service;
    struct service_view view;
    struct engine_stats stats = {0};
    char names[N_ROUTES][64];
    const char *route_names[N_ROUTES];
    buffer body = {0};
    service_look(s, &view);
    for (size_t i = 0; i < N_ROUTES; i++) {
        snprintf(names[i], sizeof names[i], "%s %s", routes[i].method, routes[i].path);
        route_names[i] = names[i];
    }
    struct metrics_view v = {.version = DBRX_VERSION,
                             .state = view.state,
                             .progress = view.progress,
                             .stats = &stats,
                             .meters = &s->meters,
                             .route_names = route_names,
                             .n_routes = N_ROUTES,
                             .n_connections = connections_count(&s->connections),
                             .n_leases = view.n_leases,
                             .n_keys = s->tcp ? key_ring_count(&s->keys) : -1};
    if (view.engine) {
        engine_stats(view.engine, &stats);
        v.model = engine_model_name(view.engine);
        v.backend = engine_backend_name(view.engine);
        v.n_experts = engine_shape(view.engine)->moe_num_experts;
    }
    process_sample_take(&v.process);
    metrics_put(&body, &v);
    return http_reply_text(x, "text/plain; version=0.0.4; charset=utf-8", &body);
}
