/* The link comes up by a handshake and is held up by the lease stream; whatever goes wrong ends in
 * link_down with a reason and a timer for the next try. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/random.h"
#include "lsp/client/client.h"

uint64_t link_backoff_ms(engine_client *c, unsigned step, uint64_t min_ms, uint64_t max_ms)
{
    uint64_t ms = min_ms;
    while (step-- > 0 && ms < max_ms) ms *= 2;
    if (ms > max_ms) ms = max_ms;
    /* Between half and the whole, so that fronts that failed together do not come back together. */
    uint64_t half_ms = ms / 2;
    return half_ms + (uint64_t)((double)half_ms * random_unit(c->jitter_seed, c->n_jitters++)) + 1;
}

static void retry_fired(uv_timer_t *timer) { link_connect(timer->data); }

void link_retry_in(engine_client *c, uint64_t ms)
{
    if (c->closing) return;
    uv_update_time(c->loop);
    uv_timer_start(&c->retry, retry_fired, ms, 0);
}

/* After a failure that says nothing about when it will be better. */
void link_retry_later(engine_client *c)
{
    uint64_t min_ms = c->local ? RETRY_LOCAL_MIN_MS : RETRY_MIN_MS;
    uint64_t max_ms = c->local ? RETRY_LOCAL_MAX_MS : RETRY_MAX_MS;
    link_retry_in(c, link_backoff_ms(c, c->n_retries++, min_ms, max_ms));
}

static void transfer_drop(http_transfer **t)
{
    if (*t) http_cancel(*t);
    *t = NULL;
}

void link_down(engine_client *c, enum engine_state state, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char words[sizeof c->trouble];
    vsnprintf(words, sizeof words, format, args);
    va_end(args);
    if (c->up || strcmp(words, c->trouble) != 0) log_line(LOG_INFO, "engine: %s", words);
    memcpy(c->trouble, words, sizeof words);
    c->trouble_state = state;
    c->up = false;
    transfer_drop(&c->lease);
    transfer_drop(&c->fetch);
    transfer_drop(&c->health);
    transfer_drop(&c->question);
    sse_free(&c->lease_events);
    status_touch(c);
}

void link_close(engine_client *c)
{
    transfer_drop(&c->probe);
    transfer_drop(&c->question);
    transfer_drop(&c->lease);
    transfer_drop(&c->fetch);
    transfer_drop(&c->health);
}

void link_silent(engine_client *c)
{
    int64_t now_us = clock_us();
    if (c->silent_since_us == 0) c->silent_since_us = now_us;
    int64_t silent_ms = (now_us - c->silent_since_us) / 1000;
    link_down(c, ENGINE_OFF, "the engine takes connections but does not answer");
    calls_fail_silent(c, c->trouble);
    if (c->local && silent_ms >= ENGINE_DEAD_MS)
        local_stop(c, KILL_AFTER_MS);
    else
        link_retry_in(c, c->local ? RETRY_LOCAL_MAX_MS
                                  : link_backoff_ms(c, c->n_retries++, RETRY_MIN_MS, RETRY_MAX_MS));
}

static void health_done(void *context, const struct http_result *result)
{
    engine_client *c = context;
    c->health = NULL;
    c->health_asked_us = clock_us();
    if (result->began || !c->up) return;
    if (result->timed_out)
        link_silent(c);
    else
        link_connect(c);
}

void link_ask_health(engine_client *c)
{
    error err;
    if (!c->up || c->health || c->closing) return;
    if (clock_us() - c->health_asked_us < CALL_SILENT_MS * (int64_t)1000) return;
    struct http_request request = {
        .path = c->foreign ? "/v1/models" : "/health",
        .fresh = true,
        .limits = {.total_ms = HANDSHAKE_ANSWER_MS, .answer_bytes_max = ENGINE_JSON_MAX},
        .on_done = health_done,
        .context = c};
    if (http_send(c->http, &request, &c->health, &err) == OK) return;
    link_down(c, ENGINE_OFF, "%s", err.message);
    link_retry_later(c);
}

void link_key_refused(engine_client *c)
{
    link_down(c, ENGINE_OFF, "%s refuses the key (DBRX_API_KEY)", c->endpoint);
    link_retry_in(c, RETRY_MAX_MS);
}

void link_call_ended(engine_client *c, bool answered, const char *reason)
{
    if (answered) {
        c->n_failures = 0;
        c->n_retries = 0;
        return;
    }
    if (++c->n_failures < BREAKER_FAILURES || !c->up) return;
    /* One more failure after the next handshake opens the circuit again. */
    c->n_failures = BREAKER_FAILURES - 1;
    char words[200];
    snprintf(words, sizeof words, "%s", reason);
    link_down(c, ENGINE_OFF, "paused after %d failed requests, the last: %s", BREAKER_FAILURES,
              words);
    link_retry_in(c, link_backoff_ms(c, c->n_retries++, START_RETRY_MIN_MS, RETRY_MAX_MS));
}

static void lease_open(engine_client *c);

static void event_take(engine_client *c, const struct lease_event *event)
{
    bool turned_ready = event->state == REMOTE_READY && c->engine.state != REMOTE_READY;
    c->engine.state = event->state;
    c->engine.progress = event->progress;
    memcpy(c->engine.reason, event->reason, sizeof c->engine.reason);
    c->n_queued = event->n_queued > 0 ? event->n_queued : 0;
    /* What the handshake could not say while loading, it can now. */
    if (turned_ready) link_connect(c);
    status_touch(c);
}

static bool lease_event_came(void *context, text data)
{
    engine_client *c = context;
    struct lease_event event;
    error err;
    if (lease_event_parse(&event, data, &err) == OK) {
        event_take(c, &event);
        return c->lease != NULL;
    }
    link_down(c, ENGINE_OFF, "%s", err.message);
    link_retry_later(c);
    return false;
}

static void lease_bytes_came(void *context, const struct http_head *head, text bytes)
{
    engine_client *c = context;
    error err;
    if (head->status != 200 || !head->is_events) return;
    if (sse_put(&c->lease_events, bytes, lease_event_came, c, &err) == OK) return;
    link_down(c, ENGINE_OFF, "%s", err.message);
    link_retry_later(c);
}

static void lease_done(void *context, const struct http_result *result)
{
    engine_client *c = context;
    c->lease = NULL;
    if (result->timed_out) {
        link_silent(c);
        return;
    }
    /* An engine that came and went is a new one next time; it was worth a link for a while. */
    c->n_failures = 0;
    if (clock_us() - c->up_since_us > LINK_STABLE_MS * (int64_t)1000) c->n_retries = 0;
    if (c->local) local_lost(c);
    if (c->engine.state == REMOTE_FAILED)
        link_down(c, ENGINE_OFF, "the engine failed: %s", c->engine.reason);
    else
        link_down(c, c->local ? ENGINE_STARTING : ENGINE_OFF, "the engine went away%s",
                  c->engine.state == REMOTE_LOADING ? " while loading" : "");
    link_retry_later(c);
}

static void lease_open(engine_client *c)
{
    error err;
    struct http_request request = {.path = "/v1/dbrx/events",
                                   .limits = {.connect_ms = HANDSHAKE_CONNECT_MS,
                                              .first_byte_ms = HANDSHAKE_ANSWER_MS,
                                              .idle_ms = LEASE_IDLE_MS},
                                   .on_bytes = lease_bytes_came,
                                   .on_done = lease_done,
                                   .context = c};
    sse_free(&c->lease_events);
    if (http_send(c->http, &request, &c->lease, &err) == OK) return;
    link_down(c, ENGINE_OFF, "%s", err.message);
    link_retry_later(c);
}

void link_up(engine_client *c)
{
    if (!c->up) c->up_since_us = clock_us();
    c->up = true;
    c->silent_since_us = 0;
    if (c->local) local_linked(c);
    if (c->local && c->engine.state == REMOTE_READY) local_ready(c);
    tokenizer_ensure(c);
    if (!c->foreign && (c->engine.features & FEATURE_LEASE)) {
        if (!c->lease) lease_open(c);
    } else if (!c->foreign && c->engine.state != REMOTE_READY) {
        link_retry_in(c, RETRY_LOCAL_MAX_MS);
    }
    status_touch(c);
}

static void probe_bytes_came(void *context, const struct http_head *head, text bytes)
{
    engine_client *c = context;
    (void)head;
    buffer_put_text(&c->probe_body, bytes);
}

void link_probe(engine_client *c, const char *path,
                void (*on_done)(void *context, const struct http_result *result))
{
    error err;
    struct http_request request = {.path = path,
                                   .fresh = true,
                                   .limits = {.connect_ms = HANDSHAKE_CONNECT_MS,
                                              .first_byte_ms = HANDSHAKE_ANSWER_MS,
                                              .total_ms = HANDSHAKE_TOTAL_MS,
                                              .answer_bytes_max = ENGINE_JSON_MAX},
                                   .on_bytes = probe_bytes_came,
                                   .on_done = on_done,
                                   .context = c};
    buffer_clear(&c->probe_body);
    if (http_send(c->http, &request, &c->probe, &err) == OK) return;
    link_down(c, ENGINE_OFF, "%s", err.message);
    link_retry_later(c);
}

static void local_replace(engine_client *c, const struct handshake *other)
{
    int64_t now_us = clock_us();
    struct local_life *life = &c->life;
    if (life->stopping_since_us) {
        local_stop(c, DRAIN_MS);
        return;
    }
    if (now_us - life->replaced_first_us > REPLACE_EVERY_MS * (int64_t)1000) life->n_replaced = 0;
    if (life->n_replaced == 0) life->replaced_first_us = now_us;
    if (life->n_replaced >= REPLACE_MAX) {
        link_down(c, ENGINE_OFF,
                  "another dbrx-ls (version %s, api %lld) keeps starting its engine; ours is "
                  "version %s, api %d",
                  other->version, (long long)other->api, DBRX_VERSION, ENGINE_API);
        link_retry_in(c, RETRY_MAX_MS);
        return;
    }
    life->n_replaced++;
    link_down(c, ENGINE_STARTING, "replacing the engine of version %s (api %lld) by %s (api %d)",
              other->version, (long long)other->api, DBRX_VERSION, ENGINE_API);
    local_stop(c, DRAIN_MS);
}

static void handshake_take(engine_client *c)
{
    struct handshake found;
    error err;
    status s = handshake_parse(&found, buffer_text(&c->probe_body), &err);
    if (s == OK && found.api == ENGINE_API) {
        c->foreign = false;
        c->engine = found;
        link_up(c);
    } else if (s == OK && c->local) {
        local_replace(c, &found);
    } else if (s == OK) {
        foreign_ask(c, "its version is %s (api %lld), ours %s (api %d): used as a foreign engine",
                    found.version, (long long)found.api, DBRX_VERSION, ENGINE_API);
    } else if (found.api == ENGINE_API || c->local) {
        link_down(c, ENGINE_OFF, "%s", err.message);
        link_retry_later(c);
    } else {
        foreign_ask(c, "foreign engine: its /v1/dbrx is no handshake");
    }
}

static void handshake_failed(engine_client *c, const struct http_result *result)
{
    if (result->timed_out && !result->refused && (c->local || c->up)) {
        link_silent(c);
    } else if (c->local && result->refused) {
        local_look(c);
    } else {
        /* A local engine that closes on us is ending: try again quickly. */
        link_down(c, c->local ? ENGINE_STARTING : ENGINE_OFF, "%s: %s", c->endpoint,
                  result->reason);
        link_retry_later(c);
    }
}

static void handshake_done(void *context, const struct http_result *result)
{
    engine_client *c = context;
    int code = result->head.status;
    c->probe = NULL;
    if (result->code != OK) {
        handshake_failed(c, result);
    } else if (c->probe_body.failed) {
        link_down(c, ENGINE_OFF, "out of memory");
        link_retry_later(c);
    } else if (code == 200) {
        handshake_take(c);
    } else if (code == 401) {
        link_key_refused(c);
    } else if (c->local || code == 403 || code == 429 || code >= 500) {
        char words[256];
        error_body_parse(words, buffer_text(&c->probe_body));
        link_down(c, ENGINE_OFF, "%s answers HTTP %d%s%.150s", c->endpoint, code,
                  words[0] ? ": " : "", words);
        /* 503 is what engines answer while they load: look again soon. */
        if (code == 503 && c->n_retries > 3) c->n_retries = 3;
        link_retry_later(c);
    } else {
        foreign_ask(c, "foreign engine: no /v1/dbrx there");
    }
}

void link_connect(engine_client *c)
{
    if (c->closing || c->probe) return;
    uv_timer_stop(&c->retry);
    link_probe(c, "/v1/dbrx", handshake_done);
}
