/* textDocument/inlineCompletion, its cancellation, and dbrx/prompt.
 *
 * A query waits in the list of pending ones until it is answered: by the assistant, by a cancel, or
 * by a change of the document it was asked about. The reply and the end of the assistant's work
 * are two events; the pending struct lives until the later one, the callback. */
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "context/exclude.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

struct pending {
    struct server *server;
    json_t *id;
    completion *handle; /* NULL while the assistant has not returned it */
    uint64_t document_key;
    int64_t revision, began_us;
    size_t size_bytes; /* of the request */
    size_t cursor_byte;
    bool replied;
    bool has_selected;
    size_t selected_from, selected_to; /* bytes of the document that `selected` replaces */
    char *selected;                    /* owned */
    size_t selected_size;
    struct pending *next;
};

text path_shown(const struct server *s, const document *d)
{
    size_t i;
    json_t *folder;
    text shown = path_file_name(d->path);
    json_array_foreach(s->folders, i, folder)
    {
        text root = {json_string_value(folder), json_string_length(folder)};
        text below = path_below(d->path, root);
        if (below.size > shown.size) shown = below; /* of nested folders the outer one says more */
    }
    return shown;
}

const char *document_exclusion(struct server *s, const document *d)
{
    const char *reason;
    if (!d) return "the document is not open";
    if ((reason = exclude_reason(d->path))) return reason;
    if ((reason = settings_exclusion(&s->settings, path_shown(s, d)))) return reason;
    if (!document_in_step(d)) return d->out_of_step;
    if (d->content.size > DOCUMENT_MODEL_MAX) return "it is larger than 16 MiB";
    return judge_refusal(d);
}

const char *document_refusal(struct server *s, const document *d)
{
    const char *reason =
        d && !exclude_reason(d->path) ? settings_refusal(&s->settings, d->language_id) : NULL;
    return reason ? reason : document_exclusion(s, d);
}

void document_gather(struct server *s, const document *d, size_t cursor_byte)
{
    if (!s->gatherer || document_exclusion(s, d)) return;
    const struct gather_query query = {
        .key = d->key,
        .path = d->path,
        .document = {.path = path_shown(s, d),
                     .language_id = d->language_id,
                     .content = document_text(d),
                     .tree = document_tree_now(d)},
        .cursor_byte = cursor_byte,
    };
    gatherer_note(s->gatherer, &query);
}

static struct completion_query query_of(const struct server *s, const document *d,
                                        size_t cursor_byte)
{
    return (struct completion_query){
        .document = {path_shown(s, d), d->language_id, document_text(d), document_tree_now(d)},
        .path = d->path,
        .document_key = d->key,
        .cursor_byte = cursor_byte,
    };
}

void document_opened(struct server *s, const document *d)
{
    const struct completion_query query = query_of(s, d, 0);
    if (s->assistant && !document_refusal(s, d)) assistant_opened(s->assistant, &query);
}

void document_edited(struct server *s, const document *d, size_t from, size_t n_removed,
                     size_t n_inserted)
{
    if (s->assistant) assistant_edited(s->assistant, d->key, from, n_removed, n_inserted);
}

void document_changed(struct server *s, const document *d, size_t cursor_byte, size_t n_inserted)
{
    if (!s->assistant) return;
    const struct completion_query query = query_of(s, d, cursor_byte);
    if (document_refusal(s, d))
        assistant_forget(s->assistant, d->key);
    else
        assistant_changed(s->assistant, &query, n_inserted);
}

status completion_ask(struct server *s, const document *d, text content, const syntax *tree,
                      size_t cursor_byte, bool invoked,
                      void (*on_answer)(void *context, const struct completion_answer *answer),
                      void *context, completion **out, error *err)
{
    *out = NULL;
    if (!s->assistant) return fail(err, ERR_NETWORK, "%s", s->engine_error);
    struct completion_query query = query_of(s, d, cursor_byte);
    query.document.content = content;
    query.document.tree = tree;
    query.invoked = invoked;
    return assistant_complete(s->assistant, &query, on_answer, context, out, err);
}

/* Takes over `items`, which may be NULL: an empty list. */
static json_t *list_json(json_t *items)
{
    return json_pack("{s:o}", "items", items ? items : json_array());
}

static void pending_reply(struct pending *p, json_t *items)
{
    struct server *s = p->server;
    p->replied = true;
    server_reply(s, p->id, list_json(items));
    server_profile(s, "textDocument/inlineCompletion (answer)", p->began_us, p->size_bytes);
}

static void pending_free(struct pending *p)
{
    struct server *s = p->server;
    for (struct pending **at = &s->pending; *at; at = &(*at)->next) {
        if (*at != p) continue;
        *at = p->next;
        s->n_pending--;
        break;
    }
    json_decref(p->id);
    memory_free(p->selected);
    memory_free(p);
    status_changed(s);
}

/* Replies "cancelled" and lets the assistant end; the callback frees. */
static void pending_cancel(struct pending *p)
{
    if (p->replied) return;
    p->replied = true;
    server_reply_error(p->server, p->id, RPC_CANCELLED, "cancelled");
    if (p->handle) completion_cancel(p->handle);
}

void completions_cancel(struct server *s, uint64_t document_key)
{
    struct pending *next;
    judge_drop(s, document_key);
    for (struct pending *p = s->pending; p; p = next) {
        next = p->next;
        if (document_key == 0 || p->document_key == document_key) pending_cancel(p);
    }
}

void method_cancel(struct server *s, const struct message *m)
{
    const json_t *id = json_object_get(m->params, "id");
    struct pending *p = s->pending;
    while (p && (p->replied || !json_equal(p->id, id))) p = p->next;
    if (p)
        pending_cancel(p);
    else if (!judge_cancel(s, id) && !popup_cancel(s, id))
        job_cancel(s, id);
}

/* What replaces the selected item's range: the item's text, continued. False when the answer does
 * not fit behind it. *to is a byte of the document. */
static bool selected_compose(const struct pending *p, const struct completion_item *a, text content,
                             buffer *out, size_t *to)
{
    text selected = {p->selected, p->selected_size}, insert = a->insert;
    size_t cursor = p->selected_from + selected.size;
    if (a->to_byte < cursor) return false;
    *to = p->selected_to + (a->to_byte - cursor);
    if (a->from_byte >= p->selected_from) {
        buffer_put_text(out, text_slice(selected, 0, a->from_byte - p->selected_from));
    } else {
        text before = text_slice(content, a->from_byte, p->selected_from);
        if (!text_starts(insert, before)) return false;
        insert = text_slice(insert, before.size, insert.size);
    }
    buffer_put_text(out, insert);
    return !out->failed && text_starts(buffer_text(out), selected);
}

/* The item for an answer, or NULL where there is nothing to show. */
static json_t *item_compose(const struct pending *p, const document *d,
                            const struct completion_item *a)
{
    text content = document_text(d), insert = a->insert;
    buffer composed = {0};
    json_t *item = NULL;
    size_t from = a->from_byte, to = a->to_byte;
    bool fits = insert.size > 0 && from <= p->cursor_byte && p->cursor_byte <= to;
    if (p->has_selected && insert.size > 0) {
        from = p->selected_from;
        fits = selected_compose(p, a, content, &composed, &to);
        insert = buffer_text(&composed);
    }
    if (fits && to <= content.size) {
        enum position_encoding encoding = p->server->encoding;
        struct range range = {document_position(d, from, encoding),
                              document_position(d, to, encoding)};
        if (range.start.line == range.end.line)
            item = json_pack("{s:o, s:o}", "insertText", text_json(insert), "range",
                             range_json(&range));
    }
    buffer_free(&composed);
    return item;
}

/* What the editor runs when the item was taken over. */
static json_t *accepted_json(uint64_t shown_id)
{
    return json_pack("{s:s, s:s, s:[I]}", "title", "accepted", "command", COMMAND_ACCEPTED,
                     "arguments", (json_int_t)shown_id);
}

static json_t *items_compose(const struct pending *p, const document *d,
                             const struct completion_answer *a)
{
    json_t *items = json_array();
    for (size_t i = 0; i < a->n_items; i++) {
        json_t *item = item_compose(p, d, &a->items[i]);
        if (item && i == 0) json_object_set_new(item, "command", accepted_json(a->shown_id));
        if (item) json_array_append_new(items, item);
    }
    return items;
}

static json_t *block_json(const struct prompt_block *b)
{
    return json_pack("{s:s, s:o, s:s, s:I, s:f, s:i, s:b}", "kind", b->kind ? b->kind : "", "path",
                     text_json(b->path), "reason", b->reason ? b->reason : "", "tokens",
                     (json_int_t)b->n_tokens, "score", b->score, "age", (int)b->age, "reused",
                     b->reused);
}

static json_t *report_json(const document *d, const struct completion_report *r)
{
    json_t *blocks = json_array();
    for (size_t i = 0; i < r->prompt->n_blocks; i++)
        json_array_append_new(blocks, block_json(&r->prompt->blocks[i]));
    json_t *ms =
        json_pack("{s:f, s:f, s:f, s:f, s:f}", "gather", (double)r->gather_us / 1000, "layout",
                  (double)r->layout_us / 1000, "tokenize", (double)r->tokenize_us / 1000,
                  "first_token", (double)r->ttft_us / 1000, "total", (double)r->total_us / 1000);
    return json_pack("{s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:f, s:o}", "uri", text_json(d->uri),
                     "version", (json_int_t)d->version, "blocks", blocks, "tokens",
                     (json_int_t)r->n_prompt, "tokens_reused", (json_int_t)r->prompt->n_reused,
                     "cached", (json_int_t)r->n_cached, "output_tokens", (json_int_t)r->n_output,
                     "tokens_per_s", r->tokens_per_s, "ms", ms);
}

void report_keep(struct server *s, document *d, const struct completion_report *report)
{
    struct companion *c = d->companion;
    if (!c || !report->prompt) return;
    json_decref(c->last_prompt);
    c->last_prompt = report_json(d, report);
    if (report->n_prompt > 0)
        s->status.cached_share = (double)report->n_cached / (double)report->n_prompt;
    if (report->tokens_per_s > 0) s->status.tokens_per_s = report->tokens_per_s;
}

/* Who wonders why nothing is shown can ask (dbrx/prompt). */
static void nothing_keep(const document *d, const char *why)
{
    struct companion *c = d ? d->companion : NULL;
    if (c) snprintf(c->nothing, sizeof c->nothing, "%s", why);
}

/* An answer that the engine owed is told; the next one it gives takes that back. */
void answer_tell(struct server *s, const struct completion_answer *answer)
{
    if (answer->failed)
        status_failure(s, answer->reason);
    else if (!answer->cancelled && answer->report.ttft_us > 0)
        status_failure(s, "");
}

static void on_answer(void *context, const struct completion_answer *answer)
{
    struct pending *p = context;
    struct server *s = p->server;
    document *d = documents_find_key(s->documents, p->document_key);
    bool same = d && d->revision == p->revision; /* also of one out of step by now */
    if (d && !answer->cancelled) report_keep(s, d, &answer->report);
    if (!p->replied && answer->cancelled) {
        p->handle = NULL;
        pending_cancel(p);
    }
    if (!p->replied) pending_reply(p, same ? items_compose(p, d, answer) : NULL);
    const char *why = answer->insert.size ? "" : answer->reason ? answer->reason : "";
    if (why[0]) log_line(LOG_DEBUG, "nothing to show: %s", why);
    if (!answer->cancelled) nothing_keep(d, why);
    answer_tell(s, answer);
    pending_free(p);
}

/* The document's text with the selected item in it. */
static bool selected_apply(struct pending *p, const document *d, const struct completion_params *q,
                           buffer *out)
{
    enum position_encoding encoding = p->server->encoding;
    size_t from = document_byte(d, q->selected.start, encoding);
    size_t to = document_byte(d, q->selected.end, encoding);
    if (from > to) return false;
    buffer_put_text(out, text_slice(document_text(d), 0, from));
    buffer_put_text(out, q->selected_text);
    buffer_put_text(out, text_slice(document_text(d), to, d->content.size));
    p->selected = memory_copy(q->selected_text.bytes, q->selected_text.size);
    p->selected_size = q->selected_text.size;
    p->selected_from = from;
    p->selected_to = to;
    p->has_selected = true;
    p->cursor_byte = from + q->selected_text.size;
    return p->selected && !out->failed;
}

static struct pending *pending_new(struct server *s, const struct message *m, const document *d)
{
    struct pending *p = memory_take(1, sizeof *p);
    if (!p) return NULL;
    p->server = s;
    p->id = json_incref(m->id);
    p->document_key = d->key;
    p->revision = d->revision;
    p->began_us = s->received_us;
    p->size_bytes = m->size_bytes;
    p->next = s->pending;
    s->pending = p;
    s->n_pending++;
    return p;
}

static void completion_begin(struct server *s, const struct message *m, const document *d,
                             const struct completion_params *q)
{
    struct pending *p = pending_new(s, m, d);
    if (!p) {
        server_reply(s, m->id, list_json(NULL));
        return;
    }
    buffer with_selected = {0};
    text content = document_text(d);
    const syntax *tree = document_tree(d);
    syntax *edited = NULL;
    status code = OK;
    error err = {OK, ""};
    p->cursor_byte = document_byte(d, q->position, s->encoding);
    if (q->has_selected) {
        if (!selected_apply(p, d, q, &with_selected)) code = ERR_FORMAT;
        content = buffer_text(&with_selected);
        syntax_edit(&edited, tree, p->selected_from, p->selected_to, q->selected_text, NULL);
        tree = edited;
    }
    if (code == OK)
        code = completion_ask(s, d, content, tree, p->cursor_byte, q->invoked, on_answer, p,
                              &p->handle, &err);
    syntax_free(edited);
    buffer_free(&with_selected);
    if (code == OK) {
        status_changed(s);
        return;
    }
    log_line(LOG_DEBUG, "no completion: %s", err.message);
    pending_reply(p, NULL);
    pending_free(p);
}

void method_inline_completion(struct server *s, const struct message *m)
{
    struct completion_params q;
    bool readable = completion_read(&q, m->params);
    const document *d = documents_find(s->documents, q.uri);
    if (readable && !m->repaired && judge_holds(s, d, m, method_inline_completion)) return;
    const char *reason = readable ? document_refusal(s, d) : "the request names no place";
    if (m->repaired) reason = "the request is no Unicode";
    if (!reason && s->n_pending < LSP_PENDING_MAX) {
        completion_begin(s, m, d, &q);
        return;
    }
    if (reason) log_line(LOG_DEBUG, "no completion: %s", reason);
    nothing_keep(d, reason ? reason : "too many requests wait");
    server_reply(s, m->id, list_json(NULL));
}

void method_accepted(struct server *s, const struct message *m)
{
    const json_t *arguments = json_object_get(m->params, "arguments");
    json_int_t id = json_integer_value(json_array_get(arguments, 0));
    if (s->assistant && id > 0) assistant_accepted(s->assistant, (uint64_t)id);
    server_reply(s, m->id, NULL);
}

void method_dismissed(struct server *s, const struct message *m)
{
    text uri = json_text_at(json_object_get(m->params, "textDocument"), "uri");
    const document *d = documents_find(s->documents, uri);
    if (s->assistant && d) assistant_dismissed(s->assistant, d->key);
}

/* Where nothing was sent, a report without blocks says why. */
static json_t *last_completion_json(const document *d)
{
    const struct companion *c = d ? d->companion : NULL;
    if (!c || (!c->last_prompt && !c->nothing[0])) return NULL;
    json_t *report =
        c->last_prompt
            ? json_copy(c->last_prompt)
            : json_pack("{s:o, s:I, s:[], s:i, s:i, s:i, s:i, s:i, s:{}}", "uri", text_json(d->uri),
                        "version", (json_int_t)d->version, "blocks", "tokens", 0, "tokens_reused",
                        0, "cached", 0, "output_tokens", 0, "tokens_per_s", 0, "ms");
    json_object_set_new(report, "nothing", text_json(text_of(c->nothing)));
    return report;
}

void method_prompt(struct server *s, const struct message *m)
{
    text uri = json_text_at(json_object_get(m->params, "textDocument"), "uri");
    const document *d = documents_find(s->documents, uri);
    if (uri.size == 0)
        server_reply_error(s, m->id, RPC_INVALID_PARAMS, "textDocument.uri: found none");
    else
        server_reply(s, m->id, last_completion_json(d));
}
