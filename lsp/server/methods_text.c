/* Keeping the text the client has. */
#include <stdlib.h>

#include "base/memory.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

static void document_note(struct server *s, const document *d)
{
    char name[100];
    if (judge_waits(s, d)) return; /* what it will be is soon known */
    text file = path_file_name(d->path);
    snprintf(name, sizeof name, "%.*s", (int)(file.size < 99 ? file.size : 99), file.bytes);
    status_note(s, name, document_refusal(s, d));
}

/* Between messages; stops itself when there is nothing more to parse. */
static void on_idle(uv_idle_t *idle)
{
    const struct server *s = idle->data;
    if (s->torn_down || !documents_parse(s->documents)) uv_idle_stop(idle);
}

void documents_parse_soon(struct server *s) { uv_idle_start(&s->parsing, on_idle); }

void document_judged(struct server *s, const document *d)
{
    document_note(s, d);
    bool allowed = !document_refusal(s, d);
    if (allowed && document_in_step(d))
        trace_document(s->record, d->uri, d->version, document_text(d));
    if (allowed) document_gather(s, d, 0);
    document_opened(s, d);
}

void document_gone(struct server *s, document *d)
{
    struct companion *c = d->companion;
    completions_cancel(s, d->key);
    jobs_document_gone(s, d->key);
    popup_close(d);
    if (s->assistant) assistant_forget(s->assistant, d->key);
    if (c) json_decref(c->last_prompt);
    memory_free(c);
    d->companion = NULL;
}

void method_did_open(struct server *s, const struct message *m)
{
    const json_t *item = json_object_get(m->params, "textDocument");
    const json_t *content = json_object_get(item, "text");
    text uri = json_text_at(item, "uri");
    document *d = documents_find(s->documents, uri);
    error err;
    if (uri.size == 0) return;
    if (d) document_gone(s, d);
    status code =
        documents_add(s->documents, &d, uri, json_text_at(item, "languageId"),
                      json_integer_at(item, "version", 0), json_text_at(item, "text"), &err);
    if (code != OK) {
        status_note(s, "document", err.message);
        return;
    }
    d->companion = memory_take(1, sizeof(struct companion));
    if (!d->companion) document_put_out_of_step(d, "out of memory for the document");
    if (!json_is_string(content)) document_put_out_of_step(d, "it was opened without its text");
    if (m->repaired) document_put_out_of_step(d, "its text is no Unicode");
    documents_parse_soon(s);
    judge_ask(s, d);
    if (!judge_waits(s, d)) document_judged(s, d);
}

static document *document_named(const struct server *s, const struct message *m)
{
    const json_t *identifier = json_object_get(m->params, "textDocument");
    return documents_find(s->documents, json_text_at(identifier, "uri"));
}

/* What the changes of a message do. The last one ended at cursor_byte: the cursor, most likely. */
struct edit {
    size_t cursor_byte, n_inserted; /* of the last one */
    size_t n_removed, n_written;    /* of all */
};

/* One element of contentChanges. */
static status change_apply(struct server *s, document *d, const json_t *change, struct edit *edit,
                           error *err)
{
    const json_t *where = json_object_get(change, "range"), *what = json_object_get(change, "text");
    struct range range;
    text replacement = {json_string_value(what), json_string_length(what)};
    if (!json_is_string(what)) return fail(err, ERR_FORMAT, "a change without text");
    edit->cursor_byte = edit->n_inserted = replacement.size;
    edit->n_written += replacement.size;
    if (!where || json_is_null(where)) {
        edit->n_removed += d->content.size - text_common(document_text(d), replacement);
        document_edited(s, d, 0, d->content.size, replacement.size);
        jobs_changed(s, d->key, SIZE_MAX, SIZE_MAX, replacement);
        return document_change(d, NULL, replacement, s->encoding, err);
    }
    if (!range_read(&range, where)) return fail(err, ERR_FORMAT, "a change with a broken range");
    size_t from = document_byte(d, range.start, s->encoding);
    size_t to = document_byte(d, range.end, s->encoding);
    if (to >= from) document_edited(s, d, from, to - from, replacement.size);
    if (to >= from) edit->n_removed += to - from;
    edit->cursor_byte = from + replacement.size;
    if (s->jobs)
        jobs_changed(s, d->key, from, document_byte(d, range.end, s->encoding), replacement);
    return document_change(d, &range, replacement, s->encoding, err);
}

static status changes_apply(struct server *s, document *d, const struct message *m,
                            struct edit *edit, error *err)
{
    const json_t *changes = json_object_get(m->params, "contentChanges");
    const json_t *version = json_path(m->params, "textDocument.version");
    size_t i;
    json_t *change;
    if (m->repaired) return fail(err, ERR_FORMAT, "its text is no Unicode");
    if (!json_is_array(changes)) return fail(err, ERR_FORMAT, "a change without contentChanges");
    if (json_is_integer(version)) {
        if (json_integer_value(version) < d->version)
            return fail(err, ERR_FORMAT, "version %lld came after %lld",
                        (long long)json_integer_value(version), (long long)d->version);
        d->version = json_integer_value(version);
    }
    json_array_foreach(changes, i, change)
    {
        status code = change_apply(s, d, change, edit, err);
        if (code != OK) return code;
    }
    return OK;
}

void method_did_change(struct server *s, const struct message *m)
{
    document *d = document_named(s, m);
    struct edit edit = {0};
    error err;
    if (!d) return;
    completions_cancel(s, d->key); /* what was asked of the old text is not shown over the new */
    popup_changed(d);
    if (!document_in_step(d)) return;
    size_t n_before = d->content.size;
    if (changes_apply(s, d, m, &edit, &err) != OK) {
        document_put_out_of_step(d, err.message);
        jobs_changed(s, d->key, SIZE_MAX, SIZE_MAX, (text){0});
    }
    judge_changed(s, d, n_before, edit.n_removed, edit.n_written);
    documents_parse_soon(s);
    jobs_seen(s, d);
    document_changed(s, d, edit.cursor_byte, edit.n_inserted);
    document_note(s, d);
}

void method_did_close(struct server *s, const struct message *m)
{
    document *d = document_named(s, m);
    if (!d) return;
    document_gone(s, d);
    documents_remove(d);
    status_note(s, "", NULL);
}

/* A client that sends the text on save lets us see whether we still have the same. */
void method_did_save(struct server *s, const struct message *m)
{
    document *d = document_named(s, m);
    const json_t *content = json_object_get(m->params, "text");
    if (d && s->gatherer) gatherer_saved(s->gatherer, d->path);
    if (d && text_is(path_file_name(d->path), ".gitattributes"))
        judge_ask_all(s);
    else if (d)
        judge_ask(s, d);
    if (!d || !document_in_step(d) || !json_is_string(content)) return;
    if (m->repaired || !text_equal(document_text(d), json_text_at(m->params, "text"))) {
        document_put_out_of_step(d, "the text that was saved differs");
        popup_changed(d);
        document_note(s, d);
    }
}
