/* Prose on its way to where the client shows it: a document of ours that it asks for and is told to ask
 * for again, a notification of ours, or a file in the cache once all is there. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/paths.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

enum { REFRESH_US = 250000, VIEWS_KEPT = 16, NAME_BYTES = 64 };

struct view {
    struct server *server;
    buffer uri, content;
    char name[NAME_BYTES + 32]; /* a file name */
    bool shown, done;
    int64_t told_us;
    struct view *next;
};

static void view_free(struct view *v)
{
    buffer_free(&v->uri);
    buffer_free(&v->content);
    memory_free(v);
}

void views_close(struct server *s)
{
    struct view *v;
    while ((v = s->views)) {
        s->views = v->next;
        view_free(v);
    }
}

/* The oldest that nobody writes to any more. */
static void views_bound(struct server *s)
{
    size_t n = 0;
    for (struct view **at = &s->views; *at;) {
        struct view *v = *at;
        if (++n > VIEWS_KEPT && v->done) {
            *at = v->next;
            view_free(v);
        } else {
            at = &v->next;
        }
    }
}

/* Of a name what every file system takes. */
static void name_make(struct view *v, text name, int64_t number)
{
    char plain[NAME_BYTES + 1];
    size_t n = 0;
    for (size_t i = 0; i < name.size && n < NAME_BYTES; i++) {
        char c = name.bytes[i];
        bool fits = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_';
        if (fits) plain[n++] = c;
    }
    plain[n] = 0;
    snprintf(v->name, sizeof v->name, "%s-%lld.md", n ? plain : "lines", (long long)number);
}

struct view *view_open(struct server *s, text name)
{
    struct view *v = memory_take(1, sizeof *v);
    if (!v) return NULL;
    v->server = s;
    name_make(v, name, ++s->next_name);
    buffer_print(&v->uri, DOCUMENT_SCHEME ":/explain/%s", v->name);
    v->next = s->views;
    s->views = v;
    views_bound(s);
    return v;
}

static void document_show(struct server *s, text uri)
{
    if (!s->can.show_document) return;
    server_request(
        s, "window/showDocument",
        json_pack("{s:o, s:b, s:b}", "uri", text_json(uri), "takeFocus", 0, "external", 0),
        request_ignore, NULL);
}

static void view_tell(struct view *v)
{
    struct server *s = v->server;
    v->told_us = clock_us();
    if (s->can.document_content) {
        if (v->shown)
            server_request(s, "workspace/textDocumentContent/refresh",
                           json_pack("{s:o}", "uri", text_json(buffer_text(&v->uri))),
                           request_ignore, NULL);
        else
            document_show(s, buffer_text(&v->uri));
        v->shown = true;
    } else if (s->can.dbrx_documents) {
        server_notify(s, "dbrx/document",
                      json_pack("{s:o, s:o, s:b}", "uri", text_json(buffer_text(&v->uri)), "text",
                                text_json(buffer_text(&v->content)), "done", v->done));
    }
}

/* A client that does not read gets less often what it can get later. */
void view_put(struct view *v, text piece)
{
    buffer_put_text(&v->content, piece);
    bool unread = transport_queued_bytes(v->server->wire) > LSP_OUTPUT_IDLE_MAX;
    if (!unread && clock_us() - v->told_us >= REFRESH_US) view_tell(v);
}

/* The cache is our own directory; nothing else is ever written by a server. */
static status view_write(struct view *v, error *err)
{
    char name[sizeof v->name + 16];
    buffer path = {0};
    snprintf(name, sizeof name, "explain/%s", v->name);
    status code = path_cache(&path, "explain", err);
    if (code == OK) code = directory_make_private(path.bytes, err);
    if (code == OK) directory_prune(path.bytes, EXPLANATIONS_CACHED_MAX);
    buffer_clear(&path);
    if (code == OK) code = path_cache(&path, name, err);
    if (code == OK) code = file_write(path.bytes, buffer_text(&v->content), 0600, err);
    buffer_clear(&v->uri);
    if (code == OK) uri_of_path(&v->uri, buffer_text(&path));
    buffer_free(&path);
    return code;
}

static void view_show_file(struct view *v)
{
    error err;
    struct server *s = v->server;
    if (view_write(v, &err) != OK) {
        log_line(LOG_WARN, "explanation: %s", err.message);
        buffer_clear(&v->uri);
    } else if (s->can.show_document) {
        document_show(s, buffer_text(&v->uri));
    } else {
        json_t *words = json_sprintf("dbrx-ls: the explanation is %s", v->uri.bytes);
        server_notify(s, "window/showMessage",
                      json_pack("{s:i, s:o}", "type", 3, "message", words));
    }
}

json_t *view_finish(struct view *v, const char *early)
{
    const struct client_can *can = &v->server->can;
    if (early) buffer_print(&v->content, "\n\n*The answer ends here: %s.*\n", early);
    v->done = true;
    if (can->document_content || can->dbrx_documents) {
        if (can->document_content && !v->shown) view_tell(v); /* shown first, then asked for */
        view_tell(v);
    } else {
        view_show_file(v);
    }
    return v->uri.size ? text_json(buffer_text(&v->uri)) : json_null();
}

void method_document_content(struct server *s, const struct message *m)
{
    text uri = json_text_at(m->params, "uri");
    const struct view *v = s->views;
    while (v && !text_equal(buffer_text(&v->uri), uri)) v = v->next;
    if (v)
        server_reply(s, m->id, json_pack("{s:o}", "text", text_json(buffer_text(&v->content))));
    else
        server_reply_error(s, m->id, RPC_REQUEST_FAILED, "this document is no longer kept");
}
