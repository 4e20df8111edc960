#include "lsp/cli/replay.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "lsp/server/trace.h"

/* Somebody went for lunch: nobody waits for that again. */
enum { GAP_MS_MAX = 2000, READY_MS = 120000, LAST_MS = 10000, QUESTIONS_FIRST = 64 };

static const char *string_at(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

const char *replay_method(const struct replay_question *q)
{
    return string_at(q->request, "method");
}

/* The document a message of the client is about; NULL: none. */
static const char *uri_of(const json_t *message)
{
    const json_t *params = json_object_get(message, "params");
    const json_t *argument = json_array_get(json_object_get(params, "arguments"), 0);
    const char *uri = string_at(json_object_get(params, "textDocument"), "uri");
    if (!uri[0]) uri = string_at(argument, "uri");
    return uri[0] ? uri : NULL;
}

/* Whether some text was not kept. */
static bool hides(const json_t *value)
{
    const char *name;
    json_t *item;
    size_t i;
    if (json_is_object(value) && json_object_get(value, "sha256")) return true;
    json_object_foreach((json_t *)(uintptr_t)value, name, item) if (hides(item)) return true;
    json_array_foreach(value, i, item) if (hides(item)) return true;
    return false;
}

/* A key for an id, which is a number or a text; freed by the caller. */
static char *id_key(const json_t *message)
{
    return json_dumps(json_object_get(message, "id"), JSON_ENCODE_ANY);
}

static struct replay_question *question_of(const struct replay_session *s, const json_t *message)
{
    char *key = id_key(message);
    const json_t *at = key ? json_object_get(s->by_id, key) : NULL;
    free(key);
    return at ? &s->questions[json_integer_value(at)] : NULL;
}

static status question_add(struct replay_session *s, json_t *message, double ms, error *err)
{
    if (s->n_questions == s->room) {
        size_t room = s->room ? 2 * s->room : QUESTIONS_FIRST;
        void *more = memory_resize(s->questions, room, sizeof *s->questions);
        if (!more) return fail(err, ERR_MEMORY, "out of memory for the questions");
        s->questions = more;
        s->room = room;
    }
    char *key = id_key(message);
    bool ok =
        key && json_object_set_new(s->by_id, key, json_integer((json_int_t)s->n_questions)) == 0;
    free(key);
    if (!ok) return fail(err, ERR_MEMORY, "out of memory for the questions");
    s->questions[s->n_questions++] =
        (struct replay_question){.request = json_incref(message), .then_ms = ms};
    return OK;
}

/* What the client answered to requests of the server, by their method. */
static void reply_note(struct replay_session *s, const json_t *asked, const json_t *message)
{
    char *key = id_key(message);
    const char *method = key ? json_string_value(json_object_get(asked, key)) : NULL;
    if (method && !json_object_get(s->replies, method))
        json_object_set_new(s->replies, method, json_array());
    if (method)
        json_array_append(json_object_get(s->replies, method), json_object_get(message, "result"));
    free(key);
}

/* `asked`: ids of the server's own requests, with their methods. */
static status line_note(struct replay_session *s, json_t *asked, const json_t *line, error *err)
{
    json_t *message = json_object_get(line, "message");
    double ms = json_number_value(json_object_get(line, "ms"));
    bool from_client = strcmp(string_at(line, "from"), "client") == 0;
    bool has_id = json_object_get(message, "id"), has_method = json_object_get(message, "method");
    if (!has_id) return OK;
    if (from_client && has_method) return question_add(s, message, ms, err);
    if (from_client) {
        reply_note(s, asked, message);
    } else if (has_method) {
        char *key = id_key(message);
        if (key) json_object_set(asked, key, json_object_get(message, "method"));
        free(key);
    } else {
        struct replay_question *q = question_of(s, message);
        if (!q || q->then) return OK;
        q->then = json_incref(message);
        q->then_ms = ms - q->then_ms;
    }
    return OK;
}

/* Only the last line may end early. */
static status lines_read(struct replay_session *s, text content, const char *path, error *err)
{
    text rest = content, line;
    json_t *asked = json_object();
    status code = asked ? OK : fail(err, ERR_MEMORY, "%s: out of memory", path);
    for (size_t n = 1; code == OK && text_next_line(&rest, &line); n++) {
        json_t *parsed = json_loadb(line.bytes, line.size, JSON_ALLOW_NUL, NULL);
        bool whole = json_is_object(parsed) && json_is_number(json_object_get(parsed, "ms"));
        if (whole) code = line_note(s, asked, parsed, err);
        if (whole)
            json_array_append_new(s->lines, parsed);
        else
            json_decref(parsed);
        if (whole) continue;
        s->cut = rest.size == 0 && content.bytes[content.size - 1] != '\n';
        if (!s->cut) code = fail(err, ERR_FORMAT, "%s: line %zu is none of a trace", path, n);
    }
    json_decref(asked);
    return code;
}

status replay_session_read(struct replay_session *out, const char *path, error *err)
{
    buffer content = {0};
    *out = (struct replay_session){.lines = json_array(),
                                   .by_id = json_object(),
                                   .replies = json_object(),
                                   .languages = json_object(),
                                   .open = json_object(),
                                   .held = json_object()};
    status s = file_read(&content, path, TRACE_BYTES_MAX, err);
    if (s == OK) s = lines_read(out, buffer_text(&content), path, err);
    buffer_free(&content);
    return s;
}

void replay_session_free(struct replay_session *s)
{
    for (size_t i = 0; i < s->n_questions; i++) {
        json_decref(s->questions[i].request);
        json_decref(s->questions[i].then);
        json_decref(s->questions[i].now);
    }
    memory_free(s->questions);
    json_t *all[] = {s->lines, s->by_id, s->replies, s->languages, s->open, s->held};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) json_decref(all[i]);
    *s = (struct replay_session){0};
}

/* As the client answered then, in the same order; where it did not, as one that has nothing to say. */
static void server_asks(struct replay_session *s, const json_t *message)
{
    const char *method = string_at(message, "method");
    json_t *known = json_object_get(s->replies, method);
    json_t *result = json_incref(json_array_get(known, 0));
    if (result)
        json_array_remove(known, 0);
    else if (strcmp(method, "workspace/applyEdit") == 0)
        result = json_pack("{s:b}", "applied", 1);
    else
        result = json_null();
    lsp_editor_send(&s->editor, json_pack("{s:s, s:O, s:o}", "jsonrpc", "2.0", "id",
                                          json_object_get(message, "id"), "result", result));
}

static void status_take(struct replay_session *s, const json_t *params)
{
    const char *state = string_at(params, "state");
    s->off = strcmp(state, "off") == 0;
    s->ready = s->off || strcmp(state, "ready") == 0 || strcmp(state, "busy") == 0 ||
               strcmp(state, "degraded") == 0;
    snprintf(s->reason, sizeof s->reason, "%s", string_at(params, "reason"));
}

static void answer_take(struct replay_session *s, const json_t *message)
{
    struct replay_question *q = question_of(s, message);
    if (!q || q->now || !q->sent_us) return;
    q->now = trace_masked(message);
    q->now_ms = (double)(clock_us() - q->sent_us) / 1000;
    if (strcmp(replay_method(q), "initialize") == 0) s->initialized = true;
    if (q == s->awaited) s->came = true;
    s->n_unanswered--;
    s->answered = s->n_unanswered == 0;
}

static void on_message(void *context, const json_t *message)
{
    struct replay_session *s = context;
    bool has_id = json_object_get(message, "id"), has_method = json_object_get(message, "method");
    if (has_method && has_id)
        server_asks(s, message);
    else if (has_id)
        answer_take(s, message);
    else if (strcmp(string_at(message, "method"), "dbrx/status") == 0)
        status_take(s, json_object_get(message, "params"));
}

/* Sends a message of the client as it was. */
static void message_say(struct replay_session *s, json_t *message)
{
    struct replay_question *q = json_object_get(message, "id") ? question_of(s, message) : NULL;
    if (q && !q->sent_us) {
        q->sent_us = clock_us();
        s->n_unanswered++;
        s->answered = false;
    }
    lsp_editor_send(&s->editor, json_incref(message));
}

/* The client's own process is another one now, and the status says when the engine is there. */
static status initialize_say(struct replay_session *s, json_t *message, error *err)
{
    json_t *params = json_object_get(message, "params");
    json_t *options = json_object_get(params, "initializationOptions");
    if (!json_is_object(options)) {
        options = json_object();
        json_object_set_new(params, "initializationOptions", options);
    }
    if (!json_is_object(json_object_get(options, "dbrx")))
        json_object_set_new(options, "dbrx", json_object());
    json_object_set_new(json_object_get(options, "dbrx"), "status", json_true());
    json_object_set_new(params, "processId", json_integer(getpid()));
    message_say(s, message);
    return lsp_editor_wait(&s->editor, clock_us() + READY_MS * 1000, &s->initialized, err);
}

static status engine_wait(struct replay_session *s, error *err)
{
    status code = lsp_editor_wait(&s->editor, clock_us() + READY_MS * 1000, &s->ready, err);
    if (code != OK || (s->ready && !s->off)) return code;
    return fail(err, ERR_NETWORK, "there is no engine: %s", s->off ? s->reason : "not in time");
}

/* A document that is kept from here on; questions about it have waited for it. */
static void document_say(struct replay_session *s, const json_t *document)
{
    const char *uri = string_at(document, "uri");
    json_t *version = json_object_get(document, "version"),
           *content = json_object_get(document, "text");
    if (json_object_get(s->open, uri)) {
        lsp_editor_notify(&s->editor, "textDocument/didChange",
                          json_pack("{s:{s:s, s:O}, s:[{s:O}]}", "textDocument", "uri", uri,
                                    "version", version, "contentChanges", "text", content));
        return;
    }
    lsp_editor_notify(&s->editor, "textDocument/didOpen",
                      json_pack("{s:{s:s, s:s, s:O, s:O}}", "textDocument", "uri", uri,
                                "languageId", string_at(s->languages, uri), "version", version,
                                "text", content));
    json_object_set_new(s->open, uri, json_true());
    size_t i;
    json_t *index;
    json_array_foreach(json_object_get(s->held, uri), i, index)
    {
        message_say(s, s->questions[json_integer_value(index)].request);
    }
    json_object_del(s->held, uri);
}

static void document_close(struct replay_session *s, const char *uri)
{
    json_object_del(s->held, uri);
    if (json_object_del(s->open, uri) != 0) return;
    lsp_editor_notify(&s->editor, "textDocument/didClose",
                      json_pack("{s:{s:s}}", "textDocument", "uri", uri));
}

/* A message about a document that is not open: a question waits until it is, the rest is of no use. */
static void question_hold(struct replay_session *s, const json_t *message, const char *uri)
{
    const struct replay_question *q =
        json_object_get(message, "id") ? question_of(s, message) : NULL;
    if (!q) return;
    if (!json_object_get(s->held, uri)) json_object_set_new(s->held, uri, json_array());
    json_array_append_new(json_object_get(s->held, uri), json_integer(q - s->questions));
}

static void document_message_say(struct replay_session *s, json_t *message, const char *uri)
{
    const char *method = string_at(message, "method");
    const json_t *document = json_object_get(json_object_get(message, "params"), "textDocument");
    if (strcmp(method, "textDocument/didOpen") == 0) {
        document_close(s, uri); /* its text comes in a line of its own, if at all */
        json_object_set_new(s->languages, uri, json_string(string_at(document, "languageId")));
    } else if (strcmp(method, "textDocument/didClose") == 0) {
        document_close(s, uri);
    } else if (!json_object_get(s->open, uri)) {
        question_hold(s, message, uri);
    } else if (hides(message)) {
        document_close(s, uri); /* from here on no model may read it */
    } else {
        message_say(s, message);
    }
}

static status client_line_say(struct replay_session *s, json_t *message, error *err)
{
    const char *method = string_at(message, "method"), *uri = uri_of(message);
    if (!method[0] || strcmp(method, "shutdown") == 0 || strcmp(method, "exit") == 0) return OK;
    if (strcmp(method, "initialize") == 0) return initialize_say(s, message, err);
    if (uri)
        document_message_say(s, message, uri);
    else
        message_say(s, message);
    return strcmp(method, "initialized") == 0 ? engine_wait(s, err) : OK;
}

/* What was said behind an answer may have been said because of it. */
static status answer_wait(struct replay_session *s, const json_t *message, error *err)
{
    struct replay_question *q = json_object_get(message, "id") ? question_of(s, message) : NULL;
    if (!q || !q->sent_us || q->now || json_object_get(message, "error")) return OK;
    s->awaited = q;
    s->came = false;
    return lsp_editor_wait(&s->editor, clock_us() + GAP_MS_MAX * 1000, &s->came, err);
}

static status line_say(struct replay_session *s, const json_t *line, error *err)
{
    const json_t *document = json_object_get(line, "text");
    json_t *message = json_object_get(line, "message");
    bool from_server = strcmp(string_at(line, "from"), "server") == 0;
    if (document) document_say(s, document);
    if (document) return OK;
    if (from_server) return json_object_get(message, "method") ? OK : answer_wait(s, message, err);
    return client_line_say(s, message, err);
}

static status lines_say(struct replay_session *s, double speed, error *err)
{
    size_t i;
    json_t *line;
    double at_ms = 0; /* of the trace, when the line before was said */
    int64_t due_us = clock_us();
    json_array_foreach(s->lines, i, line)
    {
        double ms = json_number_value(json_object_get(line, "ms")), gap_ms = ms - at_ms;
        bool from_server = strcmp(string_at(line, "from"), "server") == 0;
        if (!from_server && gap_ms > 0) {
            due_us += (int64_t)((gap_ms < GAP_MS_MAX ? gap_ms : GAP_MS_MAX) * 1000 / speed);
            at_ms = ms;
        }
        status code = OK;
        if (!from_server) code = lsp_editor_wait(&s->editor, due_us, NULL, err);
        if (code == OK) code = line_say(s, line, err);
        if (code != OK) return code;
        if (due_us < clock_us())
            due_us = clock_us(); /* an engine that loads is no reason to hurry */
    }
    bool all = s->n_unanswered == 0;
    return lsp_editor_wait(&s->editor, clock_us() + (all ? 0 : LAST_MS * 1000), &s->answered, err);
}

status replay_session_play(struct replay_session *s, const char *const *arguments,
                           const char *directory, double speed, error *err)
{
    s->editor.visits = true;
    s->editor.on_message = on_message;
    s->editor.context = s;
    int64_t began_us = clock_us();
    status code = lsp_editor_open(&s->editor, directory, arguments, err);
    if (code == OK) code = lines_say(s, speed, err);
    lsp_editor_close(&s->editor);
    s->seconds = (double)(clock_us() - began_us) / 1e6;
    return code;
}
