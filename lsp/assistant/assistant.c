/* Life of an assistant: its timer, and its sessions from first question to closed document; and what
 * a change of a document's text means for what runs and what is shown. */
#include "lsp/assistant/assistant.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum { AGREED_MS = 2000, CURSOR_BACK_MAX = 64 };

status assistant_open(assistant **out, const struct assistant_options *options, error *err)
{
    assistant *a = memory_take(1, sizeof *a);
    *out = NULL;
    if (!a) return fail(err, ERR_MEMORY, "out of memory for the assistant");
    a->options = *options;
    int code = uv_timer_init(options->loop, &a->timer);
    if (code != 0) {
        memory_free(a);
        return fail(err, ERR_IO, "timer: %s", uv_strerror(code));
    }
    a->timer.data = a;
    warm_engine_changed(a);
    *out = a;
    return OK;
}

void assistant_engine_changed(assistant *a)
{
    if (!a->closing) warm_engine_changed(a);
}

void assistant_counters(const assistant *a, struct assistant_counters *out)
{
    const struct warm_ledger *ledger = &a->warmer.ledger;
    *out = a->counters;
    for (int kind = 0; kind < N_WARM_KINDS; kind++)
        out->warm_requests += ledger->kinds[kind].n_sent;
    out->warm_tokens += ledger->n_spent;
    out->warm_useful += ledger->n_useful;
    out->warm_wasted += ledger->n_wasted;
}

void assistant_count(assistant *a, const struct assistant_counters *more)
{
#define ROW(name, words) a->counters.name += more->name;
    ASSISTANT_COUNTERS(ROW)
#undef ROW
}

struct session *session_of(assistant *a, uint64_t document_key)
{
    struct session *s = a->sessions;
    while (s && s->document_key != document_key) s = s->next;
    return s;
}

status session_find(struct session **out, assistant *a, uint64_t document_key, error *err)
{
    if ((*out = session_of(a, document_key))) return OK;
    struct session *s = memory_take(1, sizeof *s);
    if (!s) return fail(err, ERR_MEMORY, "out of memory for a document's session");
    status code = prompt_session_open(&s->prompts, err);
    if (code != OK) {
        memory_free(s);
        return code;
    }
    s->document_key = document_key;
    snprintf(s->name, sizeof s->name, "%ld-%llu", (long)getpid(), (unsigned long long)document_key);
    s->next = a->sessions;
    a->sessions = s;
    *out = s;
    return OK;
}

static void session_free(struct session *s)
{
    prompt_session_close(s->prompts);
    question_release(s->latest);
    outcomes_free(&s->outcomes);
    completion_cache_free(&s->cache);
    memory_free(s);
}

/* A change says where it ends; closers and indentation that an editor adds by itself come behind the
 * cursor. Steps back over them: true while there is a place to try. */
static bool cursor_step_back(text content, size_t *cursor, size_t *n_inserted)
{
    if (*n_inserted == 0 || *cursor == 0) return false;
    if (!strchr(")]}>\"'` \t\r\n", content.bytes[*cursor - 1])) return false;
    --*cursor;
    --*n_inserted;
    return true;
}

/* Where the cursor is most likely, given what is shown. */
static size_t cursor_guess(const struct session *s, text content, size_t cursor, size_t n_inserted)
{
    size_t at = cursor, n = n_inserted < CURSOR_BACK_MAX ? n_inserted : CURSOR_BACK_MAX;
    do
        if (suggestion_fate(&s->cache.shown, content, at) == SUGGESTION_HOLDS) return at;
    while (cursor_step_back(content, &at, &n));
    return cursor;
}

static bool run_agrees(const struct run *r, text content, size_t cursor, size_t n_inserted)
{
    size_t n = n_inserted < CURSOR_BACK_MAX ? n_inserted : CURSOR_BACK_MAX;
    do {
        const struct completion_place place = completion_place_of(content, cursor);
        if (run_serves(r, content, &place)) return true;
    } while (cursor_step_back(content, &cursor, &n));
    return false;
}

/* What was shown before the change, as far as it was left; without it nothing is empty. */
static struct suggestion_left left_before(const struct session *s, size_t *cursor)
{
    struct suggestion_left left = {0};
    *cursor = 0;
    if (!s->latest) return left;
    *cursor = s->latest->query.cursor_byte;
    if (!suggestion_left(&s->cache.shown, s->latest->query.document.content, *cursor, &left))
        left = (struct suggestion_left){0};
    return left;
}

void assistant_changed(assistant *a, const struct completion_query *query, size_t n_inserted)
{
    struct session *s = session_of(a, query->document_key);
    text content = query->document.content;
    rhythm_key(&a->rhythm, clock_us());
    if (!s) return;
    size_t cursor = cursor_guess(s, content, query->cursor_byte, n_inserted);
    bool was_shown = s->cache.shown.insert.size > 0;
    size_t from =
        query->cursor_byte - (n_inserted < query->cursor_byte ? n_inserted : query->cursor_byte);
    size_t before_cursor;
    enum suggestion_fate fate = completion_cache_fate(&s->cache, content, cursor);
    struct completion_query now = *query;
    now.cursor_byte = cursor;
    if (was_shown) {
        const struct suggestion_left before = left_before(s, &before_cursor);
        acceptance_note(a, s, fate, &before, before_cursor, &now,
                        text_slice(content, from, query->cursor_byte));
        completion_cache_changed(&s->cache, content, cursor);
    } else if (s->accepted && n_inserted == 0) {
        s->accepted = false;
    }
    bool foreseen = was_shown && fate == SUGGESTION_HOLDS;
    for (struct run *r = a->runs, *next; r; r = next) {
        next = r->next;
        if (r->session != s) continue;
        if (run_agrees(r, content, query->cursor_byte, n_inserted)) {
            run_linger(r, AGREED_MS);
            foreseen = true;
        } else {
            run_abandon(r);
        }
    }
    struct question *q = question_new(&now, false);
    if (q) warm_changed(a, s, q, foreseen);
    question_release(q);
}

void assistant_opened(assistant *a, const struct completion_query *query)
{
    struct session *s;
    error err;
    if (a->closing || session_find(&s, a, query->document_key, &err) != OK) return;
    struct question *q = question_new(query, false);
    if (q) warm_opened(a, s, q);
    question_release(q);
}

void assistant_forget(assistant *a, uint64_t document_key)
{
    struct session **at = &a->sessions;
    if (a->options.gatherer) gatherer_forget(a->options.gatherer, document_key);
    for (struct completion *c = a->completions; c; c = c->next) {
        if (c->question->query.document_key != document_key) continue;
        completion_cancel(c);
        c->session = NULL;
    }
    while (*at && (*at)->document_key != document_key) at = &(*at)->next;
    struct session *s = *at;
    if (!s) return;
    for (struct run *r = a->runs, *next; r; r = next) {
        next = r->next;
        if (r->session == s) run_abandon(r); /* one that went on behind */
    }
    warm_forget(a, document_key);
    *at = s->next;
    session_free(s);
}

static void timer_closed(uv_handle_t *handle) { memory_free(handle->data); }

void assistant_close(assistant *a)
{
    if (a->closing) return;
    a->closing = true;
    warm_close(a);
    while (a->runs) run_abandon(a->runs);
    for (struct completion *c = a->completions; c; c = c->next) c->session = NULL;
    completions_answer(a, true);
    while (a->sessions) {
        struct session *s = a->sessions;
        a->sessions = s->next;
        session_free(s);
    }
    uv_close((uv_handle_t *)&a->timer, timer_closed);
}
