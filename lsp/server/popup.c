/* textDocument/completion for editors without ghost text.
 *
 * Popups ask on every key and want an answer at once. Each question goes to the assistant, which knows
 * what it said before and keeps a generation while the typing agrees with it. What there is within
 * 40 ms is the answer, marked incomplete; what comes later is known when the next key asks. */
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsp/server/state.h"

enum { ANSWER_MS = 40, LABEL_BYTES = 80 };

struct popup {
    struct server *server;
    uint64_t document_key;
    const void *question; /* the one whose answer is wanted; NULL: none */
    size_t cursor_byte;   /* where it was asked */
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

/* What the answer puts behind the cursor; empty where it does not go on there. */
static text answer_rest(const struct completion_answer *a, text content, size_t cursor)
{
    if (a->from_byte > cursor || a->to_byte < cursor) return TEXT("");
    text before = text_slice(content, a->from_byte, cursor);
    return text_starts(a->insert, before) ? text_slice(a->insert, before.size, a->insert.size)
                                          : TEXT("");
}

/* Popups filter by the word before the cursor, so the item begins with that word. */
static json_t *item_json(const struct popup *p, const document *d,
                         const struct completion_answer *a)
{
    text content = document_text(d), rest = answer_rest(a, content, p->cursor_byte);
    size_t cursor = p->cursor_byte, word = cursor;
    while (word > 0 && is_word(content.bytes[word - 1])) word--;
    enum position_encoding encoding = p->server->encoding;
    struct range range = {document_position(d, word, encoding),
                          document_position(d, a->to_byte, encoding)};
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

/* Who waits is answered, with nothing where `answer` is NULL. */
static void popup_answer(struct popup *p, const struct completion_answer *answer)
{
    const document *d = documents_find_key(p->server->documents, p->document_key);
    json_t *id = p->waiting, *item = NULL;
    if (!id) return;
    p->waiting = NULL;
    uv_timer_stop(&p->timer);
    if (answer && answer->insert.size && d && document_in_step(d)) item = item_json(p, d, answer);
    server_reply(p->server, id, list_json(item));
    json_decref(id);
}

static void on_timer(uv_timer_t *timer) { popup_answer(timer->data, NULL); }

/* What is asked is of an older text. The assistant goes on with what agrees. */
static void popup_drop(struct popup *p)
{
    p->question = NULL;
    popup_answer(p, NULL);
}

static void popup_free_if_done(struct popup *p)
{
    if (p->closed && p->timer_closed && p->n_callbacks == 0) memory_free(p);
}

void popup_changed(document *d)
{
    struct companion *c = d->companion;
    if (c && c->popup) popup_drop(c->popup);
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
    popup_drop(p);
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

static void on_answer(void *context, const struct completion_answer *answer)
{
    struct question *q = context;
    struct popup *p = q->popup;
    bool wanted = p->question == q;
    p->n_callbacks--;
    memory_free(q);
    if (wanted) {
        document *d = documents_find_key(p->server->documents, p->document_key);
        p->question = NULL;
        if (d && !answer->cancelled) report_keep(p->server, d, &answer->report);
        answer_tell(p->server, answer);
        popup_answer(p, answer);
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

/* False: nobody will answer. */
static bool popup_ask(struct popup *p, const document *d, size_t cursor_byte, bool invoked)
{
    error err = {OK, ""};
    completion *handle;
    struct question *q = memory_take(1, sizeof *q);
    if (!q) return false;
    q->popup = p;
    p->question = q;
    p->cursor_byte = cursor_byte;
    p->n_callbacks++;
    if (completion_ask(p->server, d, document_text(d), document_tree(d), cursor_byte, invoked,
                       on_answer, q, &handle, &err) == OK)
        return true;
    log_line(LOG_DEBUG, "no completion: %s", err.message);
    p->n_callbacks--;
    p->question = NULL;
    memory_free(q);
    return false;
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
    bool asked = p->question && cursor == p->cursor_byte;
    popup_answer(p, NULL); /* who asked before has waited long enough */
    p->waiting = json_incref(m->id);
    if (asked || popup_ask(p, d, cursor, q.invoked))
        uv_timer_start(&p->timer, on_timer, ANSWER_MS, 0);
    else
        popup_answer(p, NULL);
}
