/* Queries in, answers out: sessions, the cache, who supersedes whom, deadlines.
 *
 * Everything that is known at once (a cached answer, an unfit place, an engine that is away) becomes
 * due and is answered by the timer like the rest, so a caller never sees its callback before its
 * handle. */
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum { AUTOMATIC_MS = 600, INVOKED_MS = 3000 };

static void on_timer(uv_timer_t *timer);

/* Arms the timer for what is due or has a deadline. */
static void assistant_wake(assistant *a, int64_t least_ms)
{
    int64_t next_us = INT64_MAX;
    for (const struct completion *c = a->completions; c; c = c->next) {
        int64_t at_us = c->due ? 0 : c->deadline_us;
        if (at_us < next_us) next_us = at_us;
    }
    if (a->answering || a->closing) return;
    uv_timer_stop(&a->timer);
    if (next_us == INT64_MAX) return;
    int64_t left_us = next_us - clock_us(), wait_ms = left_us > 0 ? left_us / 1000 + 1 : 0;
    uv_update_time(a->options.loop);
    uv_timer_start(&a->timer, on_timer, (uint64_t)(wait_ms > least_ms ? wait_ms : least_ms), 0);
}

void completion_due(struct completion *c, text insert, size_t replace_bytes, const char *reason)
{
    if (c->due) return;
    c->due = true;
    if (c->run) run_report(c->run, &c->report);
    buffer_put_text(&c->insert, insert);
    if (c->insert.failed) {
        buffer_clear(&c->insert);
        reason = "out of memory";
    }
    c->replace_bytes = c->insert.size ? replace_bytes : 0;
    snprintf(c->reason, sizeof c->reason, "%s", reason ? reason : "");
    trim_close(c->trim); /* `insert` may have been its */
    c->trim = NULL;
    assistant_wake(c->assistant, 0);
}

void completion_due_cancelled(struct completion *c)
{
    if (c->due) return;
    c->cancelled = true;
    completion_due(c, TEXT(""), 0, "no longer wanted");
}

void completion_due_failed(struct completion *c, const char *reason)
{
    if (c->due) return;
    c->failed = true;
    completion_due(c, TEXT(""), 0, reason);
}

static void completion_append(assistant *a, struct completion *c)
{
    struct completion **at = &a->completions;
    while (*at) at = &(*at)->next;
    *at = c;
}

static void completion_remove(assistant *a, struct completion *c)
{
    struct completion **at = &a->completions;
    while (*at && *at != c) at = &(*at)->next;
    if (*at) *at = c->next;
}

/* Takes it off the list, calls back and frees. */
static void completion_answer(struct completion *c)
{
    completion_remove(c->assistant, c);
    struct completion_answer answer = {
        .insert = buffer_text(&c->insert),
        .from_byte = c->cursor_byte,
        .to_byte = c->cursor_byte + c->replace_bytes,
        .cancelled = c->cancelled,
        .failed = c->failed,
        .reason = c->reason,
        .report = c->report,
    };
    if (c->run) answer.report.prompt = &c->run->prompt;
    c->on_answer(c->context, &answer);
    if (c->run) run_release(c->run);
    buffer_free(&c->insert);
    memory_free(c);
}

void completions_answer(assistant *a, bool all)
{
    /* A callback may ask again, cancel or close, so the list is looked at from its head each time;
     * what it asks is answered in a later turn of the loop. */
    uint64_t last = a->n_asked;
    bool outermost = !a->answering;
    a->answering = true;
    for (struct completion *c = a->completions; c && c->serial <= last;) {
        if (all) completion_due_cancelled(c);
        if (c->due) {
            completion_answer(c);
            c = a->completions;
        } else {
            c = c->next;
        }
    }
    if (outermost) a->answering = false;
}

static void on_timer(uv_timer_t *timer)
{
    assistant *a = timer->data;
    int64_t now_us = clock_us();
    for (struct completion *c = a->completions; c; c = c->next)
        if (!c->due && c->deadline_us <= now_us) run_expire(c->run, c);
    completions_answer(a, false);
    assistant_wake(a, 1); /* never again in this turn */
}

void completion_cancel(struct completion *c)
{
    struct run *r = c->run;
    bool waited = !c->due;
    completion_due_cancelled(c);
    c->cancelled = true;
    buffer_clear(&c->insert);
    if (waited && r) run_unwanted(r);
}

static status session_find(struct session **out, assistant *a, uint64_t document_key, error *err)
{
    for (struct session *s = a->sessions; s; s = s->next) {
        if (s->document_key != document_key) continue;
        *out = s;
        return OK;
    }
    struct session *s = memory_take(1, sizeof *s);
    if (!s) return fail(err, ERR_MEMORY, "out of memory for a document's session");
    status code = prompt_session_open(&s->prompts, err);
    if (code != OK) {
        memory_free(s);
        return code;
    }
    s->document_key = document_key;
    s->next = a->sessions;
    a->sessions = s;
    *out = s;
    return OK;
}

static bool run_serves(const struct run *r, const struct session *s,
                       const struct completion_query *q, const struct completion_place *place)
{
    return r->session == s && r->version == q->version && completion_place_equal(&r->place, place);
}

/* What runs for the document at another place or of another text is superseded. Returns the run that
 * serves this query, or NULL. */
static struct run *session_supersede(assistant *a, const struct session *session,
                                     const struct completion_query *q,
                                     const struct completion_place *place)
{
    struct run *serving = NULL, *next;
    for (struct run *r = a->runs; r; r = next) {
        next = r->next;
        if (run_serves(r, session, q, place))
            serving = r;
        else if (r->session == session)
            run_abandon(r);
    }
    return serving;
}

/* Finds what answers the query; *c becomes due here when that is known at once. */
static status completion_begin(struct completion *c, const struct completion_query *q, error *err)
{
    assistant *a = c->assistant;
    struct session *session = NULL;
    text rest, content = q->document.content;
    size_t replace_bytes;
    const char *reason;
    error why;
    status s = session_find(&session, a, q->document_key, err);
    if (s != OK) return s;
    const struct completion_place place = completion_place_of(content, q->cursor_byte);
    struct run *run = session_supersede(a, session, q, &place);
    if (!trim_place_is_fit(&q->document, q->cursor_byte, q->invoked, &reason)) {
        completion_due(c, TEXT(""), 0, reason);
        return OK;
    }
    if (!q->invoked &&
        completion_cache_get(&session->cache, content, q->cursor_byte, &rest, &replace_bytes)) {
        completion_due(c, rest, replace_bytes, "typed along the last answer");
        return OK;
    }
    s = run ? OK : run_begin(&run, a, session, q, &place, &why);
    if (s == OK) s = run_join(run, c, q, &why);
    if (s != OK) completion_due_failed(c, why.message);
    if (run) run_unwanted(run);
    return OK;
}

static int64_t deadline_of(const assistant *a, bool invoked)
{
    int64_t ms = invoked ? a->options.invoked_deadline_ms : a->options.automatic_deadline_ms;
    if (ms <= 0) ms = invoked ? INVOKED_MS : AUTOMATIC_MS;
    return clock_us() + ms * 1000;
}

status assistant_complete(assistant *a, const struct completion_query *q,
                          void (*on_answer)(void *context, const struct completion_answer *answer),
                          void *context, completion **out, error *err)
{
    *out = NULL;
    if (a->closing) return fail(err, ERR_CANCELLED, "the assistant is closing");
    struct completion *c = memory_take(1, sizeof *c);
    if (!c) return fail(err, ERR_MEMORY, "out of memory for a completion");
    c->assistant = a;
    c->document_key = q->document_key;
    c->serial = ++a->n_asked;
    c->cursor_byte = q->cursor_byte;
    c->deadline_us = deadline_of(a, q->invoked);
    c->on_answer = on_answer;
    c->context = context;
    completion_append(a, c); /* before it begins: its run is wanted by who is on the list */
    status s = completion_begin(c, q, err);
    if (s != OK) {
        completion_remove(a, c);
        memory_free(c);
        return s;
    }
    *out = c;
    assistant_wake(a, 0);
    return OK;
}
