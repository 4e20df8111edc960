/* Opening, closing, and the one place where all that is known becomes the status people see. */
#include "lsp/client/engine_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/paths.h"
#include "lsp/client/client.h"

static void words_set(struct engine_status *s, enum engine_state state, const char *words)
{
    s->state = state;
    snprintf(s->reason, sizeof s->reason, "%.255s", words);
}

static void status_of_remote(const engine_client *c, struct engine_status *s)
{
    switch (c->engine.state) {
    case REMOTE_STARTING: words_set(s, ENGINE_LOADING, "the engine is starting"); break;
    case REMOTE_LOADING: words_set(s, ENGINE_LOADING, "the model is loading"); break;
    case REMOTE_DRAINING: words_set(s, ENGINE_STARTING, "the engine is shutting down"); break;
    case REMOTE_FAILED:
        s->state = ENGINE_OFF;
        snprintf(s->reason, sizeof s->reason, "the engine failed: %s", c->engine.reason);
        break;
    case REMOTE_READY:
        if (!c->tokenizer)
            words_set(s, ENGINE_LOADING, "the tokenizer is being fetched");
        else if (c->foreign && !c->form_known)
            words_set(s, ENGINE_LOADING, "the engine is asked what it takes");
        else
            words_set(s, ENGINE_READY, "");
        break;
    }
}

/* Ready, but not what was asked for: said by name. */
static void status_degrade(const engine_client *c, struct engine_status *s)
{
    if (s->state != ENGINE_READY) return;
    if (c->foreign && c->form != ASK_IDS) {
        s->state = ENGINE_DEGRADED;
        s->by_chat = true;
        s->usable_len = (int32_t)((int64_t)s->max_model_len * FOREIGN_SHARE / 100);
        snprintf(s->reason, sizeof s->reason,
                 "%.120s; by chat, for %s: no token healing, no exact budget, no warming",
                 c->foreign_why, c->form_why);
    } else if (c->foreign) {
        s->state = ENGINE_DEGRADED;
        snprintf(s->reason, sizeof s->reason, "%s; tokenizer: %.80s", c->foreign_why,
                 c->model_dir ? c->model_dir : "cl100k with DBRX's specials");
    } else if (c->local && c->model_name[0] && strcmp(c->model_name, c->engine.model) != 0) {
        s->state = ENGINE_DEGRADED;
        snprintf(s->reason, sizeof s->reason,
                 "the running engine has the model %.80s, not %.80s: close the windows that use it",
                 c->engine.model, c->model_name);
    }
}

static void status_compute(const engine_client *c, struct engine_status *s)
{
    *s = (struct engine_status){.local = c->local};
    snprintf(s->endpoint, sizeof s->endpoint, "%s", c->endpoint);
    if (!c->up) {
        words_set(s, c->trouble_state, c->trouble);
        return;
    }
    s->ours = !c->foreign;
    s->demo = c->engine.demo;
    s->scores_behind = !c->foreign && (c->engine.features & FEATURE_SCORE_BEHIND);
    s->progress = c->engine.state == REMOTE_READY ? 1 : c->engine.progress;
    s->max_model_len = s->usable_len = c->engine.max_model_len;
    s->queue = (double)c->n_queued;
    snprintf(s->model, sizeof s->model, "%s", c->engine.model);
    status_of_remote(c, s);
    status_degrade(c, s);
}

static bool status_equal(const struct engine_status *a, const struct engine_status *b)
{
    return a->state == b->state && strcmp(a->reason, b->reason) == 0 &&
           !(a->progress < b->progress) && !(a->progress > b->progress) &&
           strcmp(a->model, b->model) == 0 && strcmp(a->endpoint, b->endpoint) == 0 &&
           a->local == b->local && a->ours == b->ours && a->demo == b->demo &&
           a->scores_behind == b->scores_behind && a->by_chat == b->by_chat &&
           a->max_model_len == b->max_model_len && !(a->queue < b->queue) && !(a->queue > b->queue);
}

static void notify_fired(uv_timer_t *timer)
{
    engine_client *c = timer->data;
    c->notified_us = clock_us();
    if (c->on_status) c->on_status(c->context, &c->status);
}

void status_touch(engine_client *c)
{
    struct engine_status now;
    status_compute(c, &now);
    if (c->closing || status_equal(&now, &c->status)) return;
    c->status = now;
    if (uv_is_active((uv_handle_t *)&c->notify)) return;
    int64_t since_ms = (clock_us() - c->notified_us) / 1000;
    uv_update_time(c->loop);
    uv_timer_start(&c->notify, notify_fired,
                   since_ms >= STATUS_EVERY_MS ? 0 : (uint64_t)(STATUS_EVERY_MS - since_ms), 0);
}

const struct engine_status *engine_client_status(const engine_client *c) { return &c->status; }

const tokenizer *engine_client_tokenizer(const engine_client *c) { return c->tokenizer; }

static void client_free(engine_client *c)
{
    tokenizer_close_all(c);
    memory_free(c->endpoint);
    memory_free(c->model_dir);
    memory_free(c->backend);
    memory_free(c->idle);
    memory_free(c->program);
    buffer_free(&c->probe_body);
    buffer_free(&c->question_body);
    sse_free(&c->lease_events);
    memory_free(c);
}

void client_handle_closed(engine_client *c)
{
    if (--c->n_handles > 0) return;
    void (*closed)(void *context) = c->closed;
    void *context = c->closed_context;
    client_free(c);
    if (closed) closed(context);
}

static void handle_closed(uv_handle_t *handle) { client_handle_closed(handle->data); }

static void pool_closed(void *context)
{
    engine_client *c = context;
    uv_close((uv_handle_t *)&c->wake, handle_closed);
    uv_close((uv_handle_t *)&c->retry, handle_closed);
    uv_close((uv_handle_t *)&c->notify, handle_closed);
    uv_close((uv_handle_t *)&c->watch, handle_closed);
}

void client_wake(engine_client *c) { uv_async_send(&c->wake); }

/* The one place at the top of the loop where calls are answered and the client may go. */
static void wake_came(uv_async_t *async)
{
    engine_client *c = async->data;
    calls_answer_ended(c);
    if (!c->closing || c->pool_closing) return;
    if (c->tokenizer_job.running || c->local_job.running) return;
    c->pool_closing = true;
    http_pool_close(c->http, pool_closed, c);
}

void engine_client_close(engine_client *c, void (*closed)(void *context), void *context)
{
    if (c->closing) return;
    calls_cancel_all(c);
    c->closing = true;
    c->closed = closed;
    c->closed_context = context;
    link_close(c);
    uv_timer_stop(&c->retry);
    uv_timer_stop(&c->notify);
    uv_timer_stop(&c->watch);
    client_wake(c);
}

static status key_check(const char *key, error *err)
{
    for (const char *k = key; k && *k; k++)
        if (*k < 0x21 || *k > 0x7e)
            return fail(err, ERR_USAGE, "the API key holds a character that no header can carry");
    if (key && strlen(key) > 4096) return fail(err, ERR_USAGE, "the API key is too long");
    return OK;
}

/* A key over plain HTTP is the team's own decision (a tunnel, a closed network), but said. */
static void key_warn(const char *url, const struct engine_client_options *o)
{
    static const char *const loopbacks[] = {"http://127.", "http://localhost", "http://[::1]"};
    if (!o->api_key || !o->endpoint || strncmp(url, "http://", 7) != 0) return;
    if (strncmp(o->endpoint, "unix:", 5) == 0) return;
    for (size_t i = 0; i < sizeof loopbacks / sizeof *loopbacks; i++)
        if (strncmp(url, loopbacks[i], strlen(loopbacks[i])) == 0) return;
    log_line(LOG_WARN, "engine: the key goes to %s without TLS", url);
}

/* Where requests go: *url and, for Unix sockets, *socket_path. */
static status origin_find(buffer *url, buffer *socket_path, const char *endpoint, error *err)
{
    const struct sockaddr_un *room = NULL;
    status s = OK;
    if (!endpoint)
        s = path_runtime(socket_path, "engine.sock", err);
    else if (strncmp(endpoint, "unix:/", 6) == 0)
        buffer_print(socket_path, "%s", endpoint + 5);
    else
        s = http_url_check(url, endpoint, err);
    if (s == OK && socket_path->size) buffer_print(url, "http://localhost");
    if (s == OK && (url->failed || socket_path->failed))
        s = fail(err, ERR_MEMORY, "endpoint: out of memory");
    if (s == OK && socket_path->size >= sizeof room->sun_path)
        s = fail(err, ERR_USAGE, "socket %s: found a path of %zu bytes, at most %zu",
                 socket_path->bytes, socket_path->size, sizeof room->sun_path - 1);
    return s;
}

static bool copy_optional(char **out, const char *value)
{
    *out = value ? memory_copy(value, strlen(value)) : NULL;
    return !value || *out;
}

/* The name an engine gives a model: the last component of its directory, which may not be there. */
static void model_name_find(engine_client *c)
{
    char *path = c->model_dir ? realpath(c->model_dir, NULL) : NULL;
    const char *named = path ? path : c->model_dir;
    const char *slash = named ? strrchr(named, '/') : NULL;
    if (named) snprintf(c->model_name, sizeof c->model_name, "%s", slash ? slash + 1 : named);
    free(path);
}

static bool settings_copy(engine_client *c, const struct engine_client_options *o,
                          const char *shown)
{
    c->loop = o->loop;
    c->local = o->endpoint == NULL;
    c->n_threads = o->n_threads;
    c->first_byte_ms = o->first_byte_ms > 0 ? o->first_byte_ms : CALL_FIRST_BYTE_MS;
    c->idle_ms = o->idle_ms > 0 ? o->idle_ms : CALL_IDLE_MS;
    c->on_status = o->on_status;
    c->context = o->context;
    c->trouble_state = ENGINE_STARTING;
    snprintf(c->trouble, sizeof c->trouble, "looking for the engine");
    c->jitter_seed = (uint64_t)clock_us() ^ (uint64_t)getpid() << 32;
    c->life.log_offset = -1;
    bool ok = copy_optional(&c->endpoint, c->local ? "local engine" : shown);
    ok = ok && copy_optional(&c->model_dir, o->model_dir);
    ok = ok && copy_optional(&c->backend, o->backend) && copy_optional(&c->idle, o->idle);
    ok = ok && copy_optional(&c->program, o->program);
    if (ok) model_name_find(c);
    return ok;
}

static void handles_open(engine_client *c)
{
    uv_timer_t *const timers[] = {&c->retry, &c->notify, &c->watch};
    for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) {
        uv_timer_init(c->loop, timers[i]);
        timers[i]->data = c;
        c->n_handles++;
    }
    c->wake.data = c;
    c->n_handles++;
}

status engine_client_open(engine_client **out, const struct engine_client_options *options,
                          error *err)
{
    buffer url = {0}, socket_path = {0};
    engine_client *c = NULL;
    *out = NULL;
    status s = key_check(options->api_key, err);
    if (s == OK) s = origin_find(&url, &socket_path, options->endpoint, err);
    if (s != OK) goto out;
    const struct http_origin origin = {.url = url.bytes,
                                       .socket_path = socket_path.size ? socket_path.bytes : NULL,
                                       .api_key = options->endpoint ? options->api_key : NULL,
                                       .ca_file = options->ca_file};
    c = memory_take(1, sizeof *c);
    if (!c || !settings_copy(c, options, socket_path.size ? options->endpoint : url.bytes)) {
        s = fail(err, ERR_MEMORY, "engine client: out of memory");
        goto out;
    }
    if ((s = http_pool_open(&c->http, options->loop, &origin, err)) != OK) goto out;
    if (uv_async_init(c->loop, &c->wake, wake_came) != 0) {
        http_pool_close(c->http, NULL, NULL);
        s = fail(err, ERR_IO, "engine client: no descriptor left for the loop");
        goto out;
    }
    key_warn(url.bytes, options);
    handles_open(c);
    status_compute(c, &c->status);
    link_retry_in(c, 0);
    *out = c;
out:
    if (s != OK && c) client_free(c);
    buffer_free(&url);
    buffer_free(&socket_path);
    return s;
}
