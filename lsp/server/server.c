/* One static table of methods; every frame goes through message_handle, and every reply through
 * server_send. */
#include "lsp/server/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsp/server/state.h"

enum { GUARD_MS = 4000 };

struct method {
    const char *name;
    enum message_kind kind;
    void (*handle)(struct server *s, const struct message *m);
    bool silent; /* asked at each key, where an error would pop up: it says nothing of bad params */
};

static const struct method methods[] = {
    {"initialize", MESSAGE_REQUEST, method_initialize, false},
    {"initialized", MESSAGE_NOTIFICATION, method_initialized, false},
    {"shutdown", MESSAGE_REQUEST, method_shutdown, false},
    {"exit", MESSAGE_NOTIFICATION, method_exit, false},
    {"$/cancelRequest", MESSAGE_NOTIFICATION, method_cancel, false},
    {"$/setTrace", MESSAGE_NOTIFICATION, method_set_trace, false},
    {"textDocument/didOpen", MESSAGE_NOTIFICATION, method_did_open, false},
    {"textDocument/didChange", MESSAGE_NOTIFICATION, method_did_change, false},
    {"textDocument/didClose", MESSAGE_NOTIFICATION, method_did_close, false},
    {"textDocument/didSave", MESSAGE_NOTIFICATION, method_did_save, false},
    {"textDocument/inlineCompletion", MESSAGE_REQUEST, method_inline_completion, true},
    {"textDocument/completion", MESSAGE_REQUEST, method_completion, true},
    {"textDocument/codeAction", MESSAGE_REQUEST, method_code_action, false},
    {"workspace/executeCommand", MESSAGE_REQUEST, method_execute_command, false},
    {"workspace/textDocumentContent", MESSAGE_REQUEST, method_document_content, false},
    {"window/workDoneProgress/cancel", MESSAGE_NOTIFICATION, method_progress_cancel, false},
    {"workspace/didChangeConfiguration", MESSAGE_NOTIFICATION, method_did_change_configuration,
     false},
    {"workspace/didChangeWorkspaceFolders", MESSAGE_NOTIFICATION, method_did_change_folders, false},
    {"dbrx/prompt", MESSAGE_REQUEST, method_prompt, false},
    {"dbrx/dismissed", MESSAGE_NOTIFICATION, method_dismissed, false},
};

/* Takes `message` over. */
static void server_send(struct server *s, json_t *message)
{
    char *bytes = message ? json_dumps(message, JSON_COMPACT) : NULL;
    trace_from_server(s->record, message);
    json_decref(message);
    if (bytes)
        transport_send(s->wire, text_of(bytes));
    else
        server_end(s, "out of memory for a message");
    free(bytes);
}

void server_reply(struct server *s, json_t *id, json_t *result)
{
    server_send(s, json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", id, "result",
                             result ? result : json_null()));
}

void server_reply_error(struct server *s, json_t *id, int code, const char *message)
{
    json_t *shown = id ? json_incref(id) : json_null();
    server_send(s, json_pack("{s:s, s:o, s:{s:i, s:s}}", "jsonrpc", "2.0", "id", shown, "error",
                             "code", code, "message", message));
}

void server_notify(struct server *s, const char *method, json_t *params)
{
    server_send(s,
                json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}

/* A request of ours that waits for its answer. */
struct awaited {
    int64_t id;
    answer_handler *answered;
    void *context;
    struct awaited *next;
};

void server_request(struct server *s, const char *method, json_t *params, answer_handler *answered,
                    void *context)
{
    int64_t id = ++s->next_request;
    struct awaited *w = memory_take(1, sizeof *w);
    if (!w) {
        json_decref(params);
        answered(s, NULL, context);
        return;
    }
    *w = (struct awaited){id, answered, context, s->awaited};
    s->awaited = w;
    server_send(s, json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)id,
                             "method", method, "params", params));
}

void request_ignore(struct server *s, const struct message *m, void *context)
{
    (void)s, (void)m, (void)context;
}

void request_answered(struct server *s, const struct message *m)
{
    struct awaited **at = &s->awaited, *w;
    int64_t id = json_is_integer(m->id) ? json_integer_value(m->id) : -1;
    while (*at && (*at)->id != id) at = &(*at)->next;
    if (!(w = *at)) return;
    *at = w->next;
    w->answered(s, m, w->context);
    memory_free(w);
}

void requests_close(struct server *s)
{
    struct awaited *w;
    while ((w = s->awaited)) {
        s->awaited = w->next;
        w->answered(s, NULL, w->context);
        memory_free(w);
    }
}

void server_profile(struct server *s, const char *method, int64_t began_us, size_t size_bytes)
{
    double ms = (double)(clock_us() - began_us) / 1000;
    log_line(LOG_DEBUG, "%s: %.2f ms, %zu bytes", method, ms, size_bytes);
    if (!s->trace || s->phase != PHASE_RUNNING) return;
    if (transport_queued_bytes(s->wire) > LSP_OUTPUT_IDLE_MAX) return;
    char line[256];
    snprintf(line, sizeof line, "%s: %.2f ms, %zu bytes", method, ms, size_bytes);
    server_notify(s, "$/logTrace", json_pack("{s:s}", "message", line));
}

static const struct method *method_find(const struct message *m)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].kind == m->kind && strcmp(methods[i].name, m->method) == 0)
            return &methods[i];
    return NULL;
}

/* Answers what the life cycle forbids; false when the message may go on. */
static bool phase_refuses(struct server *s, const struct message *m)
{
    bool first = strcmp(m->method, "initialize") == 0;
    if (s->phase == PHASE_RUNNING && !first) return false;
    if (m->kind == MESSAGE_NOTIFICATION) return strcmp(m->method, "exit") != 0;
    if (s->phase == PHASE_NEW && first) return false;
    if (s->phase == PHASE_NEW)
        server_reply_error(s, m->id, RPC_NOT_INITIALIZED, "the server is not initialized yet");
    else if (s->phase == PHASE_RUNNING)
        server_reply_error(s, m->id, RPC_INVALID_REQUEST, "initialize was sent before");
    else
        server_reply_error(s, m->id, RPC_INVALID_REQUEST, "the server is shut down");
    return true;
}

/* Whether it is about a document that no model may read, as far as is known. */
static bool message_hides(struct server *s, const struct message *m)
{
    const json_t *argument = json_array_get(json_object_get(m->params, "arguments"), 0);
    text uri = json_text_at(json_object_get(m->params, "textDocument"), "uri");
    if (!uri.size) uri = json_text_at(argument, "uri");
    if (!uri.size) return false;
    const document *d = documents_find(s->documents, uri);
    bool opens = m->method && strcmp(m->method, "textDocument/didOpen") == 0;
    return opens || !d || document_refusal(s, d);
}

static void message_dispatch(struct server *s, const struct message *m)
{
    if (s->record) trace_from_client(s->record, m->root, message_hides(s, m));
    if (m->kind == MESSAGE_RESPONSE) {
        if (s->phase == PHASE_RUNNING) request_answered(s, m);
        return;
    }
    if (phase_refuses(s, m)) return;
    const struct method *method = method_find(m);
    if (method)
        method->handle(s, m);
    else if (m->kind == MESSAGE_REQUEST)
        server_reply_error(s, m->id, RPC_METHOD_NOT_FOUND, "no such request");
    if (method) server_profile(s, m->method, s->received_us, m->size_bytes);
}

/* A message was lost: the document it changed, or all when that cannot be told, are out of step. */
static void documents_lose(struct server *s, const struct message_traces *traces, bool may_change)
{
    const char *method = json_string_value(traces->method);
    static const char reason[] = "a message about it could not be read";
    text uri = {json_string_value(traces->uri), json_string_length(traces->uri)};
    document *named = documents_find(s->documents, uri), *d;
    if (method ? strncmp(method, "textDocument/did", 16) != 0 : !may_change) return;
    if (named) document_put_out_of_step(named, reason);
    for (size_t i = 0; !traces->uri && (d = documents_at(s->documents, i)); i++)
        document_put_out_of_step(d, reason);
}

static void message_lost(struct server *s, text bytes, int code, const char *why)
{
    struct message_traces traces;
    message_trace(&traces, text_slice(bytes, 0, LSP_DRAIN_KEPT_MAX));
    /* What mentions no document changed none; of what was drained the end was not seen. */
    bool drained = code != RPC_PARSE_ERROR;
    bool mentions = text_find(bytes, TEXT("\"textDocument\""), 0) != SIZE_MAX;
    documents_lose(s, &traces, drained || mentions);
    log_line(LOG_WARN, "message refused: %s", why);
    /* JSON that cannot be read has no id to trust; a message that is only too large has one. */
    server_reply_error(s, drained ? traces.id : NULL, code, why);
    message_traces_free(&traces);
}

static void message_handle(struct server *s, buffer *body)
{
    struct message m;
    const char *why;
    int code = message_read(&m, body, &why);
    const struct method *method = code == RPC_INVALID_PARAMS ? method_find(&m) : NULL;
    if (method && method->silent) code = 0;
    if (code == RPC_PARSE_ERROR)
        message_lost(s, buffer_text(body), code, why);
    else if (code != 0)
        server_reply_error(s, m.id, code, why);
    else
        message_dispatch(s, &m);
    message_free(&m);
}

static void on_frame(void *context, enum frame_event event, buffer *body, uint64_t length_bytes)
{
    struct server *s = context;
    char why[128];
    if (s->ending) return;
    s->received_us = clock_us();
    if (event == FRAME_MESSAGE) {
        message_handle(s, body);
    } else if (event == FRAME_TOO_LARGE) {
        snprintf(why, sizeof why, "a message of %llu bytes is more than %zu",
                 (unsigned long long)length_bytes, LSP_MESSAGE_MAX);
        message_lost(s, buffer_text(body), RPC_INVALID_REQUEST, why);
    } else {
        server_reply_error(s, NULL, RPC_PARSE_ERROR, "a header without a usable Content-Length");
    }
}

static void on_guard(uv_timer_t *timer)
{
    struct server *s = timer->data;
    log_line(LOG_WARN, "something did not close in time");
    uv_stop(&s->loop);
}

/* Everything that runs is cancelled, which answers it; then all handles close and the loop ends. */
static void on_end_timer(uv_timer_t *timer)
{
    struct server *s = timer->data;
    if (s->torn_down) return;
    s->torn_down = true;
    document *d;
    completions_cancel(s, 0);
    jobs_close(s);
    stage_close(s);
    requests_close(s);
    views_close(s);
    judges_close(s);
    for (size_t i = 0; (d = documents_at(s->documents, i)); i++) document_gone(s, d);
    if (s->actions) actions_close(s->actions);
    s->actions = NULL;
    if (s->assistant) {
        tally_assistant_ends(s);
        assistant_close(s->assistant);
    }
    s->assistant = NULL;
    gatherer_close(s->gatherer);
    s->gatherer = NULL;
    if (s->client) engine_client_close(s->client, NULL, NULL);
    s->client = NULL;
    tally_close(s);
    status_close(s);
    lifetime_close(&s->lifetime);
    uv_close((uv_handle_t *)&s->end_timer, NULL);
    uv_close((uv_handle_t *)&s->parsing, NULL);
    transport_close(s->wire, NULL, NULL);
    uv_timer_start(&s->guard_timer, on_guard, GUARD_MS, 0);
    uv_unref((uv_handle_t *)&s->guard_timer);
}

void server_end(struct server *s, const char *reason)
{
    if (s->ending) return;
    s->ending = true;
    s->exit_code = s->phase == PHASE_SHUT_DOWN ? 0 : 1;
    log_line(LOG_INFO, "ending: %s", reason);
    uv_timer_start(&s->end_timer, on_end_timer, 0, 0);
}

static void on_end(void *context, const char *reason) { server_end(context, reason); }

static status server_open(struct server *s, error *err)
{
    int rc = uv_loop_init(&s->loop);
    if (rc < 0) return fail(err, ERR_IO, "event loop: %s", uv_strerror(rc));
    uv_timer_init(&s->loop, &s->end_timer);
    uv_timer_init(&s->loop, &s->guard_timer);
    uv_idle_init(&s->loop, &s->parsing);
    s->end_timer.data = s->guard_timer.data = s->parsing.data = s;
    settings_default(&s->settings);
    s->folders = json_array();
    if (!s->folders) return fail(err, ERR_MEMORY, "server: out of memory");
    status code = documents_open(&s->documents, err);
    if (code == OK) code = status_open(s, err);
    if (code == OK) code = lifetime_open(&s->lifetime, &s->loop, on_end, s, err);
    if (code == OK && s->options->trace_directory)
        code = trace_open(&s->record, &s->loop, s->options->trace_directory, err);
    if (s->record)
        log_line(LOG_WARN, "trace: %s keeps the text of documents", trace_path(s->record));
    const struct transport_handler handler = {on_frame, on_end, s};
    if (code == OK)
        code = transport_open(&s->wire, &s->loop, s->options->input_fd, s->options->output_fd,
                              &handler, err);
    return code;
}

static void server_free(struct server *s)
{
    uv_close((uv_handle_t *)&s->guard_timer, NULL);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    uv_loop_close(&s->loop);
    trace_close(s->record);
    documents_close(s->documents);
    json_decref(s->folders);
    json_decref(s->init_options);
    json_decref(s->workspace_settings);
    free(s->status.sent);
    memory_free(s);
}

status server_run(int *exit_code, const struct server_options *options, error *err)
{
    *exit_code = 1;
    struct server *s = memory_take(1, sizeof *s);
    if (!s) return fail(err, ERR_MEMORY, "server: out of memory");
    s->options = options;
    status code = server_open(s, err);
    if (code != OK) return code; /* half-open handles refer to s: the process ends now */
    uv_run(&s->loop, UV_RUN_DEFAULT);
    *exit_code = s->exit_code;
    server_free(s);
    return OK;
}
