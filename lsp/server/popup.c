/* textDocument/completion for editors without ghost text.
 *
 * Popups ask on every key and want an answer at once. So a generation is kept per document: while
 * the user types at its cursor what it begins with (or may still begin with), it stays, and each
 * question is answered within 40 ms with what is there, marked incomplete.
 *
 *     text ... cursor |typed| -> rest of insert
 *              ^ where the generation was asked; answers hold while the typed text agrees */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsp/server/state.h"

enum { ANSWER_MS = 40, LABEL_BYTES = 80 };

enum popup_state { POPUP_EMPTY, POPUP_ASKED, POPUP_ANSWERED };

struct popup {
    struct server *server;
    uint64_t document_key;
    enum popup_state state;
    completion *handle;
    const void *question; /* the one whose answer is wanted */
    size_t cursor_byte;   /* where it was asked */
    buffer typed;         /* since, behind the cursor */
    buffer insert;
    size_t replace_bytes; /* behind the cursor, on its line */
    json_t *waiting;      /* id of the request to answer, or NULL */
    uv_timer_t timer;
    bool closed;     /* the document is gone */
    int n_callbacks; /* of the assistant, still to come */
    bool timer_closed;
};

static bool is_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

/* Popups filter by the word before the cursor, so the item begins with that word. */
static json_t *item_json(const struct popup *p, const document *d)
{
    text content = document_text(d), rest = buffer_text(&p->insert);
    rest = text_slice(rest, p->typed.size, rest.size);
    size_t cursor = p->cursor_byte + p->typed.size, word = cursor;
    while (word > 0 && is_word(content.bytes[word - 1])) word--;
    enum position_encoding encoding = p->server->encoding;
    struct range range = {document_position(d, word, encoding),
                          document_position(d, cursor + p->replace_bytes, encoding)};
    if (rest.size == 0 || range.start.line != range.end.line) return NULL;
    buffer all = {0};
    buffer_put_text(&all, text_slice(content, word, cursor));
    buffer_put_text(&all, rest);
    text line, label = buffer_text(&all);
    if (text_next_line(&label, &line)) label = line;
    label = text_slice(label, 0, utf8_floor(label, LABEL_BYTES));
    json_t *item = NULL;
    if (!all.failed && label.size > 0)
        item = json_pack("{s:o, s:i, s:s, s:o, s:i, s:{s:o, s:o}}", "label", text_json(label),
                         "kind", 1, "detail", "dbrx-ls", "filterText", text_json(label),
                         "insertTextFormat", 1, "textEdit", "range", range_json(&range), "newText",
                         text_json(buffer_text(&all)));
    buffer_free(&all);
    return item;
}

static json_t *list_json(json_t *item)
{
    return item ? json_pack("{s:b, s:[o]}", "isIncomplete", 1, "items", item)
                : json_pack("{s:b, s:[]}", "isIncomplete", 1, "items");
}

static void popup_answer(struct popup *p)
{
    const document *d = documents_find_key(p->server->documents, p->document_key);
    json_t *id = p->waiting, *item = NULL;
    if (!id) return;
    p->waiting = NULL;
    uv_timer_stop(&p->timer);
    if (d && document_in_step(d) && p->state == POPUP_ANSWERED) item = item_json(p, d);
    server_reply(p->server, id, list_json(item));
    json_decref(id);
}

static void on_timer(uv_timer_t *timer) { popup_answer(timer->data); }

/* Forgets the generation; who waits is answered with an empty list. */
static void popup_clear(struct popup *p)
{
    completion *handle = p->handle;
    p->state = POPUP_EMPTY;
    p->handle = NULL;
    p->question = NULL;
    buffer_clear(&p->typed);
    buffer_clear(&p->insert);
    popup_answer(p);
    if (handle) completion_cancel(handle);
}

static void popup_free_if_done(struct popup *p)
{
    if (!p->closed || !p->timer_closed || p->n_callbacks > 0) return;
    buffer_free(&p->typed);
    buffer_free(&p->insert);
    memory_free(p);
}

bool popup_waits(const document *d)
{
    const struct companion *c = d->companion;
    return c && c->popup && c->popup->state != POPUP_EMPTY;
}

void popup_changed(document *d, size_t at, text typed)
{
    struct companion *c = d->companion;
    struct popup *p = c ? c->popup : NULL;
    if (!p || p->state == POPUP_EMPTY) return;
    bool follows = at != SIZE_MAX && at == p->cursor_byte + p->typed.size;
    buffer_put_text(&p->typed, typed);
    bool agrees =
        p->state == POPUP_ASKED || text_starts(buffer_text(&p->insert), buffer_text(&p->typed));
    if (!follows || !agrees || p->typed.failed) popup_clear(p);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct popup *p = handle->data;
    p->timer_closed = true;
    popup_free_if_done(p);
}

void popup_close(document *d)
{
    struct companion *c = d->companion;
    struct popup *p = c ? c->popup : NULL;
    if (!p) return;
    c->popup = NULL;
    popup_clear(p);
    p->closed = true;
    uv_close((uv_handle_t *)&p->timer, on_timer_closed);
}

bool popup_cancel(struct server *s, const json_t *id)
{
    document *d;
    for (size_t i = 0; (d = documents_at(s->documents, i)); i++) {
        struct companion *c = d->companion;
        struct popup *p = c ? c->popup : NULL;
        if (!p || !p->waiting || !json_equal(p->waiting, id)) continue;
        server_reply_error(s, p->waiting, RPC_CANCELLED, "cancelled");
        json_decref(p->waiting);
        p->waiting = NULL;
        uv_timer_stop(&p->timer);
        return true;
    }
    return false;
}

/* One per question to the assistant, so that a late answer is told from the one wanted. */
struct question {
    struct popup *popup;
};

/* Keeps the answer if it agrees with what was typed since. */
static bool answer_take(struct popup *p, const document *d, const struct completion_answer *a)
{
    text insert = a->insert;
    if (a->cancelled || insert.size == 0 || a->to_byte < p->cursor_byte) return false;
    if (a->from_byte > p->cursor_byte) return false;
    text before = text_slice(document_text(d), a->from_byte, p->cursor_byte);
    if (!text_starts(insert, before)) return false;
    buffer_put_text(&p->insert, text_slice(insert, before.size, insert.size));
    p->replace_bytes = a->to_byte - p->cursor_byte;
    return !p->insert.failed && text_starts(buffer_text(&p->insert), buffer_text(&p->typed));
}

static void on_answer(void *context, const struct completion_answer *answer);

static void popup_ask(struct popup *p, const document *d, size_t cursor_byte, bool invoked)
{
    error err = {OK, ""};
    struct question *q = memory_take(1, sizeof *q);
    popup_clear(p);
    if (!q) return;
    q->popup = p;
    p->question = q;
    p->cursor_byte = cursor_byte;
    p->n_callbacks++;
    if (completion_ask(p->server, d, document_text(d), document_tree(d), cursor_byte, invoked,
                       on_answer, q, &p->handle, &err) == OK) {
        p->state = POPUP_ASKED;
        return;
    }
    log_line(LOG_DEBUG, "no completion: %s", err.message);
    p->n_callbacks--;
    p->question = NULL;
    memory_free(q);
}

/* What was typed contradicts the generation: another one, for who waits still. */
static void popup_ask_again(struct popup *p, const document *d)
{
    json_t *waiting = p->waiting;
    p->waiting = NULL;
    popup_ask(p, d, p->cursor_byte + p->typed.size, false);
    p->waiting = waiting;
    if (p->state == POPUP_EMPTY) popup_answer(p);
}

static void on_answer(void *context, const struct completion_answer *answer)
{
    struct question *q = context;
    struct popup *p = q->popup;
    bool wanted = p->question == q;
    document *d = wanted ? documents_find_key(p->server->documents, p->document_key) : NULL;
    p->n_callbacks--;
    memory_free(q);
    if (wanted) {
        p->question = NULL;
        p->handle = NULL;
        if (d && !answer->cancelled) report_keep(p->server, d, &answer->report);
        answer_tell(p->server, answer);
        p->state = POPUP_ANSWERED;
        if (d && answer_take(p, d, answer))
            popup_answer(p);
        else if (d && answer->cancelled && p->waiting && document_in_step(d))
            popup_ask_again(p, d);
        else
            popup_clear(p);
        status_changed(p->server);
    }
    popup_free_if_done(p);
}

static struct popup *popup_of(struct server *s, const document *d)
{
    struct companion *c = d->companion;
    if (!c || c->popup) return c ? c->popup : NULL;
    struct popup *p = memory_take(1, sizeof *p);
    if (!p) return NULL;
    p->server = s;
    p->document_key = d->key;
    uv_timer_init(&s->loop, &p->timer);
    p->timer.data = p;
    c->popup = p;
    return p;
}

void method_completion(struct server *s, const struct message *m)
{
    struct completion_params q;
    bool readable = completion_read(&q, m->params);
    const document *d = documents_find(s->documents, q.uri);
    if (readable && judge_holds(s, d, m, method_completion)) return;
    const char *reason = readable ? document_refusal(s, d) : "the request names no place";
    struct popup *p = reason ? NULL : popup_of(s, d);
    if (!p) {
        if (reason) log_line(LOG_DEBUG, "no completion: %s", reason);
        server_reply(s, m->id, list_json(NULL));
        return;
    }
    size_t cursor = document_byte(d, q.position, s->encoding);
    popup_answer(p); /* the question before is answered with what there was */
    bool holds = p->state != POPUP_EMPTY && cursor == p->cursor_byte + p->typed.size;
    if (!holds) popup_ask(p, d, cursor, q.invoked);
    p->waiting = json_incref(m->id);
    if (p->state == POPUP_ASKED)
        uv_timer_start(&p->timer, on_timer, ANSWER_MS, 0);
    else
        popup_answer(p);
}
