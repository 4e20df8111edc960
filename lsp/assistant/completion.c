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

void assistant_wake(assistant *a)
{
    int64_t next_us = INT64_MAX;
    for (const struct completion *c = a->completions; c; c = c->next) {
        int64_t at_us = c->due ? 0 : c->deadline_us;
        if (at_us < next_us) next_us = at_us;
    }
    if (a->answering) return;
    uv_timer_stop(&a->timer);
    if (next_us == INT64_MAX) return;
    int64_t wait_us = next_us - clock_us();
    uv_update_time(a->options.loop);
    uv_timer_start(&a->timer, on_timer, wait_us > 0 ? (uint64_t)(wait_us / 1000 + 1) : 0, 0);
}

void completion_due(struct completion *c, text insert, size_t replace_bytes, const char *reason)
{
    if (c->due) return;
    c->due = true;
    if (c->run) run_report(c->run, &c->report);
    buffer_put_text(&c->insert, insert);
    if (c->insert.failed) buffer_clear(&c->insert);
    c->replace_bytes = c->insert.size ? replace_bytes : 0;
    snprintf(c->reason, sizeof c->reason, "%s", reason ? reason : "");
    assistant_wake(c->assistant);
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

/* Takes it off the list, calls back and frees. */
static void completion_answer(struct completion *c)
{
    struct completion **at = &c->assistant->completions;
    while (*at && *at != c) at = &(*at)->next;
    if (*at) *at = c->next;
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

/* The deadline of one who waits: whole lines that are there end the run; else it goes on alone. */
static void completion_expire(struct completion *c)
{
    if (c->run->assistant && c->run->seen_line) run_settle(c->run, false);
    completion_due_failed(c, "no whole line within the time allowed");
}

void completions_answer(assistant *a, bool all)
{
    a->answering = true;
    /* A callback may ask again or cancel, so the list is looked at from its head each time. */
    for (struct completion *c = a->completions; c;) {
        if (all) completion_due_cancelled(c);
        if (c->due) {
            completion_answer(c);
            c = a->completions;
        } else {
            c = c->next;
        }
    }
    a->answering = false;
}

static void on_timer(uv_timer_t *timer)
{
    assistant *a = timer->data;
    int64_t now_us = clock_us();
    for (struct completion *c = a->completions; c; c = c->next)
        if (!c->due && c->deadline_us <= now_us) completion_expire(c);
    completions_answer(a, false);
    assistant_wake(a);
}

void completion_cancel(struct completion *c)
{
    struct run *r = c->run;
    if (c->due) {
        c->cancelled = true;
        return;
    }
    completion_due_cancelled(c);
    const struct completion *other = c->assistant->completions;
    while (other && (other->run != r || other->due)) other = other->next;
    if (!other && r->assistant) run_abandon(r);
}

static status session_find(struct session **out, assistant *a, uint64_t document_key, error *err)
{
    for (struct session *s = a->sessions; s; s = s->next) {
        *out = s;
        if (s->document_key == document_key) return OK;
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

static bool run_answers(const struct run *r, const struct completion_query *q)
{
    return r->version == q->version && r->place.cursor_byte == q->cursor_byte;
}

/* The run that serves this query: one under way at the same place, or a new one. What runs for the
 * document elsewhere is superseded. An Invoked query that wants more than the Automatic one under
 * way takes that one's place, and who waits moves over. */
static status run_for(struct run **out, assistant *a, struct session *session,
                      const struct completion_query *q, error *err)
{
    bool many = trim_wants_many_lines(&q->document, q->cursor_byte, q->invoked);
    struct run *shared = NULL, *next;
    for (struct run *r = a->runs; r; r = next) {
        next = r->next;
        if (r->session != session) continue;
        if (!run_answers(r, q))
            run_abandon(r);
        else
            shared = r;
    }
    *out = shared;
    if (shared && (shared->many_lines || !many)) return OK;
    status s = run_begin(out, a, session, q, err);
    if (s != OK || !shared) return s;
    for (struct completion *c = a->completions; c; c = c->next) {
        if (c->run != shared || c->due) continue;
        (*out)->n_references++;
        c->run = *out;
        run_release(shared);
    }
    run_abandon(shared);
    return OK;
}

/* Finds what answers the query; *c becomes due here when that is known at once. */
static status completion_begin(struct completion *c, const struct completion_query *q, error *err)
{
    assistant *a = c->assistant;
    struct session *session = NULL;
    struct run *run;
    text rest;
    size_t replace_bytes;
    const char *reason;
    status s = session_find(&session, a, q->document_key, err);
    if (s != OK) return s;
    if (!trim_place_is_fit(&q->document, q->cursor_byte, q->invoked, &reason)) {
        completion_due(c, TEXT(""), 0, reason);
        return OK;
    }
    if (!q->invoked && completion_cache_get(&session->cache, q->document.content, q->cursor_byte,
                                            &rest, &replace_bytes)) {
        completion_due(c, rest, replace_bytes, "typed along the last answer");
        return OK;
    }
    error why;
    if (run_for(&run, a, session, q, &why) != OK) {
        completion_due_failed(c, why.message);
        return OK;
    }
    run->n_references++;
    c->run = run;
    return OK;
}

int64_t completion_deadline_ms(const assistant *a, bool invoked)
{
    int64_t ms = invoked ? a->options.invoked_deadline_ms : a->options.automatic_deadline_ms;
    if (ms <= 0) ms = invoked ? INVOKED_MS : AUTOMATIC_MS;
    return ms;
}

status assistant_complete(assistant *a, const struct completion_query *q,
                          void (*on_answer)(void *context, const struct completion_answer *answer),
                          void *context, completion **out, error *err)
{
    struct completion *c = memory_take(1, sizeof *c);
    if (!c) return fail(err, ERR_MEMORY, "out of memory for a completion");
    c->assistant = a;
    c->document_key = q->document_key;
    c->cursor_byte = q->cursor_byte;
    c->deadline_us = clock_us() + completion_deadline_ms(a, q->invoked) * 1000;
    c->on_answer = on_answer;
    c->context = context;
    status s = completion_begin(c, q, err);
    if (s != OK) {
        memory_free(c);
        return s;
    }
    struct completion **at = &a->completions;
    while (*at) at = &(*at)->next;
    *at = c;
    *out = c;
    assistant_wake(a);
    return OK;
}
