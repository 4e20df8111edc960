/* dbrx/status: what the user should know, at most four times a second, only when it changed, and
 * only while the client reads what it gets. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "lsp/server/state.h"

enum { INTERVAL_US = 250000 };

static const char *state_name(const struct server *s, const struct engine_status *e)
{
    if (!e || !s->settings.enabled) return "off";
    switch (e->state) {
    case ENGINE_STARTING: return "starting";
    case ENGINE_LOADING: return "loading";
    case ENGINE_READY: return s->n_pending > 0 ? "busy" : "ready";
    case ENGINE_DEGRADED: return "degraded";
    case ENGINE_OFF: break;
    }
    return "off";
}

static const char *reason_words(const struct server *s, const struct engine_status *e)
{
    if (!s->settings.enabled) return "completions are switched off by a setting";
    if (!e) return s->engine_error;
    if (e->state != ENGINE_READY && e->reason[0]) return e->reason;
    if (s->status.note[0]) return s->status.note;
    if (s->status.failure[0]) return s->status.failure;
    return s->record && !e->reason[0] ? "what is typed is kept (--trace)" : e->reason;
}

static json_t *status_json(const struct server *s)
{
    const struct engine_status *e = s->client ? engine_client_status(s->client) : NULL;
    return json_pack("{s:s, s:o, s:f, s:o, s:o, s:f, s:f, s:b}", "state", state_name(s, e),
                     "reason", text_json(text_of(reason_words(s, e))), "progress",
                     e ? e->progress : 0.0, "model", text_json(text_of(e ? e->model : "")),
                     "endpoint", text_json(text_of(e ? e->endpoint : "")), "tokens_per_s",
                     s->status.tokens_per_s, "cached_share", s->status.cached_share, "demo",
                     e ? e->demo : 0);
}

static void status_send(struct server *s)
{
    json_t *params = status_json(s);
    char *words = params ? json_dumps(params, JSON_COMPACT) : NULL;
    if (!words || (s->status.sent && strcmp(words, s->status.sent) == 0)) {
        free(words);
        json_decref(params);
        return;
    }
    free(s->status.sent);
    s->status.sent = words;
    s->status.sent_us = clock_us();
    server_notify(s, "dbrx/status", params);
}

static void on_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    s->status.waiting = false;
    status_changed(s);
}

void status_changed(struct server *s)
{
    if (!s->settings.status || s->phase != PHASE_RUNNING || s->ending || s->status.waiting) return;
    int64_t left_us = s->status.sent_us + INTERVAL_US - clock_us();
    bool unread = transport_queued_bytes(s->wire) > LSP_OUTPUT_IDLE_MAX;
    if (s->status.sent_us == 0 && !unread) left_us = 0;
    if (unread && left_us <= 0) left_us = INTERVAL_US;
    if (left_us <= 0) {
        status_send(s);
        return;
    }
    s->status.waiting = true;
    uv_timer_start(&s->status.timer, on_timer, (uint64_t)(left_us / 1000 + 1), 0);
}

void status_note(struct server *s, const char *name, const char *reason)
{
    char note[sizeof s->status.note] = "";
    if (reason) snprintf(note, sizeof note, "%.100s: %.200s", name, reason);
    if (strcmp(note, s->status.note) == 0) return;
    memcpy(s->status.note, note, sizeof note);
    if (reason) log_line(LOG_INFO, "no completion: %s", reason);
    status_changed(s);
}

void status_failure(struct server *s, const char *reason)
{
    if (strncmp(reason, s->status.failure, sizeof s->status.failure - 1) == 0) return;
    snprintf(s->status.failure, sizeof s->status.failure, "%s", reason);
    if (reason[0]) log_line(LOG_INFO, "no completion: %s", reason);
    status_changed(s);
}

status status_open(struct server *s, error *err)
{
    int rc = uv_timer_init(&s->loop, &s->status.timer);
    s->status.timer.data = s;
    return rc < 0 ? fail(err, ERR_IO, "timer: %s", uv_strerror(rc)) : OK;
}

void status_close(struct server *s) { uv_close((uv_handle_t *)&s->status.timer, NULL); }
