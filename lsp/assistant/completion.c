/* Queries in, answers out: sessions, the cache, who supersedes whom, deadlines.
 *
 * Everything that is known at once (a cached answer, an unfit place, an engine that is away) becomes
 * due and is answered by the timer like the rest, so a caller never sees its callback before its
 * handle. */
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum { AUTOMATIC_MS = 600, INVOKED_MS = 3000, CANCELLED_MS = 400 };

static void on_timer(uv_timer_t *timer);

static int64_t completion_next_us(const struct completion *c)
{
    if (c->due) return 0;
    return c->begin_us && c->begin_us < c->deadline_us ? c->begin_us : c->deadline_us;
}

/* Arms the timer for what is due, has a deadline, or goes on until some time. */
void assistant_wake(assistant *a, int64_t least_ms)
{
    int64_t next_us = INT64_MAX, now_us = clock_us();
    for (const struct completion *c = a->completions; c; c = c->next)
        if (completion_next_us(c) < next_us) next_us = completion_next_us(c);
    for (const struct run *r = a->runs; r; r = r->next)
        if (r->until_us > now_us && r->until_us < next_us) next_us = r->until_us;
    if (warm_next_us(a) < next_us) next_us = warm_next_us(a);
    if (acceptance_next_us(a) < next_us) next_us = acceptance_next_us(a);
    if (a->answering || a->closing) return;
    uv_timer_stop(&a->timer);
    if (next_us == INT64_MAX) return;
    int64_t left_us = next_us - now_us, wait_ms = left_us > 0 ? left_us / 1000 + 1 : 0;
    uv_update_time(a->options.loop);
    uv_timer_start(&a->timer, on_timer, (uint64_t)(wait_ms > least_ms ? wait_ms : least_ms), 0);
}

void completion_due(struct completion *c, const char *reason)
{
    if (c->due) return;
    c->due = c->settled = true;
    if (c->run) run_report(c->run, &c->report);
    if (reason[0] || !c->reason[0]) snprintf(c->reason, sizeof c->reason, "%s", reason);
    trim_close(c->trim);
    c->trim = NULL;
    fit_drop(c);
    assistant_wake(c->assistant, 0);
}

void completion_due_cancelled(struct completion *c)
{
    if (c->due) return;
    c->cancelled = true;
    completion_due(c, "no longer wanted");
}

void completion_due_failed(struct completion *c, const char *reason)
{
    if (c->due) return;
    c->failed = c->n_offers == 0;
    completion_due(c, reason);
}

void completion_offer(struct completion *c, const struct suggestion_left *left)
{
    const struct question *q = c->question;
    if (left->rest.size == 0 || c->n_offers == COMPLETION_ITEMS_MAX || c->due) return;
    for (size_t i = 0; i < c->n_offers; i++)
        if (text_equal(buffer_text(&c->offers[i].insert), left->rest)) return;
    if (c->session && completion_cache_refuses(&c->session->cache, q->query.document.content,
                                               q->place.cursor_byte, left->rest)) {
        c->assistant->counters.refused++;
        snprintf(c->reason, sizeof c->reason, "it was rejected here before");
        return;
    }
    struct offer *o = &c->offers[c->n_offers];
    buffer_put_text(&o->insert, left->rest);
    if (o->insert.failed) {
        buffer_clear(&o->insert);
        snprintf(c->reason, sizeof c->reason, "out of memory");
        return;
    }
    o->before_bytes = left->before_bytes;
    o->behind_bytes = left->behind_bytes;
    c->n_offers++;
}

void completion_settle(struct completion *c, const char *reason)
{
    if (c->due) return;
    c->settled = true;
    trim_close(c->trim); /* what it found is in the offers */
    c->trim = NULL;
    if (reason && reason[0] && !c->reason[0]) snprintf(c->reason, sizeof c->reason, "%s", reason);
    if (!c->more) completion_due(c, "");
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

static void completion_free(struct completion *c)
{
    if (c->run) run_release(c->run);
    for (size_t i = 0; i < COMPLETION_ITEMS_MAX; i++) buffer_free(&c->offers[i].insert);
    question_release(c->question);
    memory_free(c);
}

/* The first of what it gets is from now on what the editor shows. */
static void completion_show(struct completion *c)
{
    const struct question *q = c->question;
    const struct offer *o = &c->offers[0];
    if (c->cancelled || c->n_offers == 0 || !c->session) return;
    for (size_t i = 1; i < c->n_offers; i++)
        completion_cache_learn(&c->session->cache, q->query.document.content, q->place.cursor_byte,
                               buffer_text(&c->offers[i].insert), c->offers[i].behind_bytes);
    const struct suggestion_left left = {
        .rest = buffer_text(&o->insert),
        .before_bytes = o->before_bytes,
        .behind_bytes = o->behind_bytes,
    };
    if (completion_cache_show(&c->session->cache, q->query.document.content, q->place.cursor_byte,
                              &left, q->query.invoked)) {
        c->assistant->counters.shown++;
        c->session->shown_id = ++c->assistant->n_shown;
        warm_shown(c->assistant, q, &left);
    }
    c->shown_id = c->session->shown_id;
}

/* Takes it off the list, calls back and frees. */
static void completion_answer(struct completion *c)
{
    completion_remove(c->assistant, c);
    struct completion_answer answer = {
        .from_byte = c->question->place.cursor_byte,
        .to_byte = c->question->place.cursor_byte,
        .n_items = c->cancelled ? 0 : c->n_offers,
        .cancelled = c->cancelled,
        .failed = c->failed,
        .reason = c->reason,
        .report = c->report,
    };
    for (size_t i = 0; i < answer.n_items; i++) {
        size_t cursor = c->question->place.cursor_byte;
        const struct offer *o = &c->offers[i];
        answer.items[i] = (struct completion_item){
            buffer_text(&o->insert), cursor - o->before_bytes, cursor + o->behind_bytes};
    }
    if (answer.n_items) {
        answer.insert = answer.items[0].insert;
        answer.from_byte = answer.items[0].from_byte;
        answer.to_byte = answer.items[0].to_byte;
    }
    if (c->run) answer.report.prompt = &c->run->prompt;
    if (c->report.ttft_us > 0)
        rhythm_answer(&c->assistant->rhythm, (double)c->report.ttft_us / 1e3);
    completion_show(c);
    answer.shown_id = c->shown_id;
    c->on_answer(c->context, &answer);
    completion_free(c);
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

/* Joins `run`, or begins one; what goes wrong is the answer. */
static void completion_run(struct completion *c, struct run *run)
{
    assistant *a = c->assistant;
    error why;
    c->begin_us = 0;
    status s = run ? OK : run_begin(&run, a, c->session, c->question, false, &why);
    if (s == OK) s = run_join(run, c, &why);
    if (s != OK) completion_due_failed(c, why.message);
    if (run) run_unwanted(run);
}

void completion_restart(struct completion *c)
{
    struct run *r = c->run;
    trim_close(c->trim);
    c->trim = NULL;
    c->run = NULL;
    if (r) run_release(r);
    if (c->session && !c->due) completion_run(c, NULL);
}

static void completion_expire(struct completion *c)
{
    if (c->settled)
        completion_due(c, "");
    else if (c->fit)
        fit_expire(c);
    else if (c->run)
        run_expire(c->run, c);
    else
        completion_due(c, "no answer within the time allowed");
}

static void on_timer(uv_timer_t *timer)
{
    assistant *a = timer->data;
    int64_t now_us = clock_us();
    for (struct completion *c = a->completions; c; c = c->next) {
        if (!c->due && c->begin_us && now_us >= c->begin_us) completion_run(c, NULL);
        if (!c->due && now_us >= c->deadline_us) completion_expire(c);
    }
    for (struct run *r = a->runs, *next; r; r = next) {
        next = r->next;
        run_unwanted(r);
    }
    completions_answer(a, false);
    if (!a->closing) {
        acceptance_check(a);
        warm_step(a);
    }
    if (!a->answering) assistant_wake(a, 1); /* what a callback asked waits for the next turn */
}

void completion_cancel(completion *c)
{
    struct run *r = c->run && !c->due ? c->run : NULL, *more = c->due ? NULL : c->more;
    completion_due_cancelled(c);
    c->cancelled = true;
    /* Editors cancel with every key: the next question may go on where this one was. */
    if (r && r->assistant) run_linger(r, CANCELLED_MS);
    if (more) run_unwanted(more);
}

/* Older questions about another text or place are answered as cancelled; runs that do not go on here
 * end. Returns the one that does, or NULL: its own place's before those that lead here. */
static struct run *session_supersede(assistant *a, const struct session *session,
                                     const struct completion *newest)
{
    const struct question *q = newest->question;
    struct run *serving = NULL, *next;
    for (struct completion *c = a->completions; c; c = c->next)
        if (c->session == session && c != newest && !c->due &&
            !completion_place_equal(&c->question->place, &q->place))
            completion_due_cancelled(c);
    for (struct run *r = a->runs; r; r = next) {
        next = r->next;
        if (r->session != session) continue;
        if (!run_serves(r, q->query.document.content, &q->place))
            run_abandon(r);
        else if (!r->alternates &&
                 (!serving || completion_place_equal(&r->question->place, &q->place)))
            serving = r;
    }
    return serving;
}

/* The alternates of this place, for who asked: under way, or begun. Without them there is one
 * answer. */
static void alternates_want(struct completion *c)
{
    assistant *a = c->assistant;
    error why;
    if (c->due || !c->question->query.invoked || a->options.n_candidates == 1) return;
    for (struct run *r = a->runs; r; r = r->next)
        if (r->alternates && r->session == c->session) c->more = r;
    if (!c->more && run_begin(&c->more, a, c->session, c->question, true, &why) != OK)
        c->more = NULL;
}

static bool cache_answers(struct completion *c)
{
    const struct question *q = c->question;
    const struct completion_cache *cache = &c->session->cache;
    struct suggestion_left left;
    if (!completion_cache_find(cache, q->query.document.content, q->place.cursor_byte,
                               q->many_lines, &left))
        return false;
    /* Who asks wants to see more than what is known, unless it is what was asked for before. */
    if (q->query.invoked && (!cache->shown_invoked || left.typed_bytes == 0)) return false;
    completion_offer(c, &left);
    completion_due(c, c->n_offers ? "typed along the last answer" : "");
    c->assistant->counters.from_cache++;
    return true;
}

/* Finds what answers the query; it becomes due here when that is known at once. */
static void completion_begin(struct completion *c)
{
    assistant *a = c->assistant;
    const struct completion_query *q = &c->question->query;
    const char *reason;
    struct run *run = session_supersede(a, c->session, c);
    if (q->invoked)
        a->counters.asked_invoked++;
    else
        a->counters.asked_automatic++;
    if (!trim_place_is_fit(&q->document, q->cursor_byte, q->invoked, &reason)) {
        completion_due(c, reason);
        return;
    }
    if (cache_answers(c)) return;
    int64_t wait_us = q->invoked || run ? 0 : rhythm_wait_us(&a->rhythm, clock_us());
    if (run) a->counters.from_running++;
    warm_asked(a, c->session, c->question);
    if (wait_us > 0)
        c->begin_us = clock_us() + wait_us;
    else
        completion_run(c, run);
    alternates_want(c);
}

static int64_t deadline_of(const assistant *a, bool invoked)
{
    int64_t ms = invoked ? a->options.invoked_deadline_ms : a->options.automatic_deadline_ms;
    if (ms <= 0) ms = invoked ? INVOKED_MS : AUTOMATIC_MS;
    return clock_us() + ms * 1000;
}

/* Behind a suggestion that was just taken over there is a block to go on with. */
static bool wants_many_lines(const struct session *s, const struct completion_query *q)
{
    text content = q->document.content;
    if (trim_wants_many_lines(&q->document, q->cursor_byte, q->invoked)) return true;
    if (!s->accepted || q->cursor_byte < s->accepted_byte) return false;
    text since = text_slice(content, s->accepted_byte, q->cursor_byte);
    text behind =
        text_slice(content, q->cursor_byte, text_find(content, TEXT("\n"), q->cursor_byte));
    return text_trim(since).size == 0 && text_trim(behind).size == 0;
}

status assistant_complete(assistant *a, const struct completion_query *q,
                          void (*on_answer)(void *context, const struct completion_answer *answer),
                          void *context, completion **out, error *err)
{
    struct session *session;
    *out = NULL;
    if (a->closing) return fail(err, ERR_CANCELLED, "the assistant is closing");
    status s = session_find(&session, a, q->document_key, err);
    if (s != OK) return s;
    struct completion *c = memory_take(1, sizeof *c);
    if (c) c->question = question_new(q, wants_many_lines(session, q));
    if (!c || !c->question) {
        memory_free(c);
        return fail(err, ERR_MEMORY, "out of memory for a completion");
    }
    c->assistant = a;
    c->session = session;
    c->serial = ++a->n_asked;
    c->deadline_us = deadline_of(a, q->invoked);
    c->on_answer = on_answer;
    c->context = context;
    completion_append(a, c); /* before it begins: its run is wanted by who is on the list */
    completion_begin(c);
    *out = c;
    assistant_wake(a, 0);
    return OK;
}
