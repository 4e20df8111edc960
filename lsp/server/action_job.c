/* An action the user gave: from its request to its one reply.
 *
 *     RUNNING --result--> (CONFIRMING --yes-->) APPLYING --the document reads so--> reply
 *        |                     |                    |
 *        +-- cancelled, refused, changed inside, document gone, client ends --> reply with the reason
 *
 * The progress is the server's own: the client says that it may be shown, then it counts tokens, and
 * its cancel button is the action's. Whether an edit was applied the document tells, not the client's
 * word. Answers to our requests find their job by number, for it may be gone by then. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

enum {
    PROGRESS_BYTES = 128,
    REPORT_US = 100000,
    APPLY_MS = 10000,
    DIAGNOSTICS_MAX = 20,
    JOBS_MAX = 16,
    SENT_MAX = 3
};

enum job_stage { JOB_RUNNING, JOB_CONFIRMING, JOB_APPLYING };

struct job {
    struct server *server;
    int64_t number;
    json_t *id; /* of the request; NULL once it was replied to */
    const char *title;
    const struct action_row *row; /* NULL: no action, but work of another file's */
    void (*stop)(void *work);     /* of that work; its end comes later */
    void *work;
    uint64_t document_key; /* 0: no document's */
    enum job_stage stage;
    action *action;           /* while RUNNING */
    struct view *view;        /* of prose */
    bool has_progress;        /* the client shows it */
    char far[PROGRESS_BYTES]; /* how far it is, in words */
    int64_t told_us;
    size_t from, to; /* of what is replaced, in the document as it is now */
    buffer insert, new_file;
    char confirm[96];
    size_t sent_from; /* as it was when the edit was sent */
    int64_t sent_version;
    int n_sent;
    bool said_applied, touched; /* while APPLYING: by our edit, or by the user */
    uv_timer_t timer;           /* how long an edit may take to show */
    struct job *next;
};

struct job *job_find(const struct server *s, int64_t number)
{
    struct job *j = s->jobs;
    while (j && j->number != number) j = j->next;
    return j;
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct job *j = handle->data;
    buffer_free(&j->insert);
    buffer_free(&j->new_file);
    memory_free(j);
}

static json_t *token_json(const struct job *j)
{
    return json_sprintf("dbrx-ls/%lld", (long long)j->number);
}

static void progress_send(struct job *j, json_t *value)
{
    if (j->has_progress)
        server_notify(j->server, "$/progress",
                      json_pack("{s:o, s:o}", "token", token_json(j), "value", value));
    else
        json_decref(value);
}

static void progress_end(struct job *j, const char *message)
{
    progress_send(j, json_pack("{s:s, s:s}", "kind", "end", "message", message));
}

/* Off the list; its reply was sent before. */
static void job_end(struct job *j)
{
    struct server *s = j->server;
    struct job **at = &s->jobs;
    while (*at && *at != j) at = &(*at)->next;
    if (*at) *at = j->next;
    s->n_jobs--;
    json_decref(j->id);
    uv_close((uv_handle_t *)&j->timer, on_timer_closed);
    status_changed(s);
}

void job_finish(struct job *j, json_t *result)
{
    progress_end(j, "done");
    server_reply(j->server, j->id, result);
    job_end(j);
}

void job_fail(struct job *j, int code, const char *reason)
{
    log_line(LOG_INFO, "%s: %s", j->title, reason);
    progress_end(j, reason);
    server_reply_error(j->server, j->id, code, reason);
    job_end(j);
}

static void job_refuse(struct job *j, status code, const char *reason)
{
    job_fail(j, code == ERR_CANCELLED ? RPC_CANCELLED : RPC_REQUEST_FAILED, reason);
}

static document *job_document(const struct job *j)
{
    document *d = documents_find_key(j->server->documents, j->document_key);
    return d && document_in_step(d) ? d : NULL;
}

/* Where an edit of ours shows. */
static bool job_shows(const struct job *j, const document *d)
{
    text now = text_slice(document_text(d), j->sent_from, j->sent_from + j->insert.size);
    return text_equal(now, buffer_text(&j->insert));
}

static void job_applied(struct job *j, const document *d)
{
    enum position_encoding encoding = j->server->encoding;
    const struct range range = {document_position(d, j->sent_from, encoding),
                                document_position(d, j->sent_from + j->insert.size, encoding)};
    job_finish(j, json_pack("{s:s, s:o, s:o}", "outcome", "applied", "uri", text_json(d->uri),
                            "range", range_json(&range)));
}

static void on_apply_late(uv_timer_t *timer)
{
    struct job *j = timer->data;
    const char *said = j->said_applied
                           ? "the editor says the edit was applied, but its text has it not"
                           : "the editor did not apply the edit in time";
    job_fail(j, RPC_REQUEST_FAILED, said);
}

static void file_created(struct job *j)
{
    struct server *s = j->server;
    buffer uri = {0};
    uri_of_path(&uri, buffer_text(&j->new_file));
    json_t *shown = text_json(buffer_text(&uri));
    buffer_free(&uri);
    if (s->can.show_document)
        server_request(s, "window/showDocument",
                       json_pack("{s:O, s:b}", "uri", shown, "takeFocus", 0), request_ignore, NULL);
    job_finish(j, json_pack("{s:s, s:o}", "outcome", "created", "uri", shown));
}

static void job_apply(struct job *j);

/* The user typed while the edit was on its way: its version was old, and it may be sent again. */
static bool job_may_retry(const struct job *j)
{
    const document *d = job_document(j);
    return d && !j->touched && !j->new_file.size && j->n_sent < SENT_MAX &&
           d->version != j->sent_version;
}

static void on_apply_answer(struct server *s, const struct message *m, void *context)
{
    struct job *j = job_find(s, (int64_t)(intptr_t)context);
    if (!j || !m) return;
    text reason = json_text_at(m->result, "failureReason");
    bool applied = json_flag_at(m->result, "applied", false);
    if (!applied && job_may_retry(j)) {
        job_apply(j);
    } else if (!applied) {
        char words[256];
        snprintf(words, sizeof words, "the editor did not apply the edit%s%.*s",
                 reason.size ? ": " : "", (int)(reason.size < 160 ? reason.size : 160),
                 reason.size ? reason.bytes : "");
        job_fail(j, j->touched ? RPC_CANCELLED : RPC_REQUEST_FAILED, words);
    } else if (j->new_file.size) {
        file_created(j);
    } else {
        j->said_applied = true; /* the document has the last word */
    }
}

static json_t *edit_json(const struct job *j, const document *d)
{
    enum position_encoding encoding = j->server->encoding;
    const struct range range = {document_position(d, j->from, encoding),
                                document_position(d, j->to, encoding)};
    json_t *edit = json_pack("{s:o, s:o}", "range", range_json(&range), "newText",
                             text_json(buffer_text(&j->insert)));
    if (j->server->can.versioned_edits)
        return json_pack("{s:[{s:{s:o, s:I}, s:[o]}]}", "documentChanges", "textDocument", "uri",
                         text_json(d->uri), "version", (json_int_t)d->version, "edits", edit);
    json_t *changes = json_object(), *list = json_pack("[o]", edit);
    char *uri = memory_copy(d->uri.bytes, d->uri.size);
    if (uri)
        json_object_set_new(changes, uri, list);
    else
        json_decref(list);
    memory_free(uri);
    return json_pack("{s:o}", "changes", changes);
}

/* A file that is there already is an error of the client's, and stays as it is. */
static json_t *creation_json(const struct job *j)
{
    const struct range start = {{0, 0}, {0, 0}};
    buffer uri = {0};
    uri_of_path(&uri, buffer_text(&j->new_file));
    json_t *name = text_json(buffer_text(&uri));
    buffer_free(&uri);
    json_t *create = json_pack("{s:s, s:O, s:{s:b, s:b}}", "kind", "create", "uri", name, "options",
                               "overwrite", 0, "ignoreIfExists", 0);
    json_t *fill =
        json_pack("{s:{s:o, s:n}, s:[{s:o, s:o}]}", "textDocument", "uri", name, "version", "edits",
                  "range", range_json(&start), "newText", text_json(buffer_text(&j->insert)));
    return json_pack("{s:[o, o]}", "documentChanges", create, fill);
}

static void job_apply(struct job *j)
{
    struct server *s = j->server;
    const document *d = job_document(j);
    if (!d) {
        job_fail(j, RPC_REQUEST_FAILED, "the document is gone");
        return;
    }
    j->stage = JOB_APPLYING;
    j->sent_from = j->from;
    j->sent_version = d->version;
    j->n_sent++;
    uv_timer_start(&j->timer, on_apply_late, APPLY_MS, 0);
    json_t *edit = j->new_file.size ? creation_json(j) : edit_json(j, d);
    server_request(s, "workspace/applyEdit",
                   json_pack("{s:s, s:o}", "label", j->title, "edit", edit), on_apply_answer,
                   (void *)(intptr_t)j->number);
}

static const char YES[] = "Change It";

static void on_confirm_answer(struct server *s, const struct message *m, void *context)
{
    struct job *j = job_find(s, (int64_t)(intptr_t)context);
    if (!j || !m || j->stage != JOB_CONFIRMING) return;
    if (text_is(json_text_at(m->result, "title"), YES))
        job_apply(j);
    else
        job_fail(j, RPC_REQUEST_FAILED, "it was not confirmed: nothing is changed");
}

static void job_confirm(struct job *j)
{
    const document *d = job_document(j);
    char words[400];
    text file = d ? path_file_name(d->path) : TEXT("");
    j->stage = JOB_CONFIRMING;
    snprintf(words, sizeof words, "%s: %.*s is %s. Change it?", j->title,
             (int)(file.size < 200 ? file.size : 200), file.size ? file.bytes : "", j->confirm);
    server_request(j->server, "window/showMessageRequest",
                   json_pack("{s:i, s:o, s:[{s:s}, {s:s}]}", "type", 2, "message",
                             text_json(text_of(words)), "actions", "title", YES, "title",
                             "Leave It"),
                   on_confirm_answer, (void *)(intptr_t)j->number);
}

void job_report(struct job *j, text words)
{
    snprintf(j->far, sizeof j->far, "%.*s", (int)words.size, words.size ? words.bytes : "");
    if (!j->has_progress || clock_us() - j->told_us < REPORT_US) return;
    j->told_us = clock_us();
    progress_send(j,
                  json_pack("{s:s, s:o}", "kind", "report", "message", text_json(text_of(j->far))));
}

static void on_progress(void *context, int64_t n_tokens)
{
    char words[48];
    snprintf(words, sizeof words, "%lld tokens", (long long)n_tokens);
    job_report(context, text_of(words));
}

static void on_wait(void *context, const char *words) { job_report(context, text_of(words)); }

static void on_prose(void *context, text piece)
{
    struct job *j = context;
    if (j->view) view_put(j->view, piece);
}

static void on_done(void *context, const struct action_result *r)
{
    struct job *j = context;
    struct server *s = j->server;
    j->action = NULL;
    if (r->outcome == ACTION_PROSE) {
        job_finish(j, json_pack("{s:s, s:o, s:b}", "outcome", "explained", "uri",
                                view_finish(j->view, r->reason), "cut", r->reason != NULL));
        return;
    }
    if (j->view) json_decref(view_finish(j->view, r->reason ? r->reason : "it was cut off"));
    if (r->outcome == ACTION_REFUSED) {
        job_refuse(j, r->code, r->reason);
        return;
    }
    j->from = r->from_byte;
    j->to = r->to_byte;
    buffer_put_text(&j->insert, r->insert);
    if (r->outcome == ACTION_CREATE) buffer_put_text(&j->new_file, r->new_file);
    if (j->insert.failed || j->new_file.failed) {
        job_fail(j, RPC_REQUEST_FAILED, "out of memory for the edit");
        return;
    }
    snprintf(j->confirm, sizeof j->confirm, "%s", r->confirm ? r->confirm : "");
    if (s->ending)
        job_fail(j, RPC_CANCELLED, "the server is ending");
    else if (r->confirm)
        job_confirm(j);
    else
        job_apply(j);
}

static void on_progress_created(struct server *s, const struct message *m, void *context)
{
    struct job *j = job_find(s, (int64_t)(intptr_t)context);
    if (!j || !m || json_object_get(m->root, "error")) return;
    j->has_progress = true;
    json_t *begin =
        json_pack("{s:s, s:s, s:b}", "kind", "begin", "title", j->title, "cancellable", 1);
    if (begin && j->far[0]) json_object_set_new(begin, "message", text_json(text_of(j->far)));
    progress_send(j, begin);
}

/* What is reported, line by line, as the model reads it. */
static void diagnostics_put(buffer *out, const json_t *diagnostics)
{
    size_t i;
    json_t *diagnostic;
    json_array_foreach(diagnostics, i, diagnostic)
    {
        struct range range = {{0, 0}, {0, 0}};
        text message = text_trim(json_text_at(diagnostic, "message"));
        text source = json_text_at(diagnostic, "source");
        if (i == DIAGNOSTICS_MAX) break;
        range_read(&range, json_object_get(diagnostic, "range"));
        buffer_print(out, "- line %u: %.*s", range.start.line + 1,
                     (int)(message.size < 1000 ? message.size : 1000),
                     message.size ? message.bytes : "");
        if (source.size) buffer_print(out, " (%.*s)", (int)source.size, source.bytes);
        buffer_put_char(out, '\n');
    }
}

/* Of several diagnostics the piece is about all: the range grows over them. */
static void range_grow(const struct server *s, const document *d, const json_t *diagnostics,
                       size_t *from, size_t *to)
{
    size_t i;
    json_t *diagnostic;
    json_array_foreach(diagnostics, i, diagnostic)
    {
        struct range range;
        if (!range_read(&range, json_object_get(diagnostic, "range"))) continue;
        size_t a = document_byte(d, range.start, s->encoding);
        size_t b = document_byte(d, range.end, s->encoding);
        if (a < *from) *from = a;
        if (b > *to) *to = b;
    }
}

/* Why this client cannot have it, or NULL. */
static const char *client_refusal(const struct server *s, const struct action_row *row,
                                  const document *d, text details)
{
    text scheme = uri_scheme(d->uri);
    bool file = text_is(scheme, "file");
    if (!s->actions) return s->engine_error[0] ? s->engine_error : "there is no engine";
    if ((row->offer & (NEEDS_INSTRUCTION | NEEDS_DIAGNOSTIC)) && details.size == 0)
        return row->offer & NEEDS_INSTRUCTION ? "it needs an instruction"
                                              : "nothing is reported here";
    if (task_wants_prose(row->task)) return NULL;
    if (!file && !text_is(scheme, "untitled")) return "the document is no file of the workspace";
    if (!s->can.apply_edit) return "this editor does not let servers edit (workspace.applyEdit)";
    if (row->task == TASK_TESTS && !file) return "the document is no file yet";
    if (row->task == TASK_TESTS && !s->can.create_files)
        return "this editor does not let servers create files";
    return NULL;
}

static status job_start(struct job *j, const document *d, const json_t *argument, text details,
                        error *err)
{
    struct server *s = j->server;
    struct range range;
    text folders[64];
    size_t n_folders = 0, i;
    json_t *folder;
    if (!range_read(&range, json_object_get(argument, "range")))
        return fail(err, ERR_FORMAT, "the command's range is missing");
    json_array_foreach(s->folders, i, folder)
    {
        if (n_folders < 64)
            folders[n_folders++] = (text){json_string_value(folder), json_string_length(folder)};
    }
    text language = json_text_at(argument, "language");
    struct action_query q = {
        .row = j->row,
        .document = {path_shown(s, d), d->language_id, document_text(d), document_tree(d)},
        .path = text_is(uri_scheme(d->uri), "file") ? d->path : TEXT(""),
        .document_key = d->key,
        .from_byte = document_byte(d, range.start, s->encoding),
        .to_byte = document_byte(d, range.end, s->encoding),
        .details = details,
        .human_language = language.size ? language : text_of(s->human_language),
        .folders = folders,
        .n_folders = n_folders,
    };
    if (q.from_byte > q.to_byte)
        return fail(err, ERR_FORMAT, "the command's range ends before it begins");
    range_grow(s, d, json_object_get(argument, "diagnostics"), &q.from_byte, &q.to_byte);
    document_gather(s, d, q.from_byte);
    const struct action_callbacks callbacks = {on_progress, on_prose, on_done, j, on_wait};
    return action_begin(&j->action, s->actions, &q, &callbacks, err);
}

struct job *job_new(struct server *s, const struct message *m, const char *title)
{
    struct job *j = s->n_jobs < JOBS_MAX ? memory_take(1, sizeof *j) : NULL;
    if (!j) return NULL;
    j->server = s;
    j->number = ++s->next_name;
    j->id = json_incref(m->id);
    j->title = title;
    uv_timer_init(&s->loop, &j->timer);
    j->timer.data = j;
    j->next = s->jobs;
    s->jobs = j;
    s->n_jobs++;
    return j;
}

int64_t job_number(const struct job *j) { return j->number; }

void job_works(struct job *j, void (*stop)(void *work), void *work)
{
    j->stop = stop;
    j->work = work;
}

void job_progress_open(struct job *j)
{
    struct server *s = j->server;
    if (s->can.progress)
        server_request(s, "window/workDoneProgress/create",
                       json_pack("{s:o}", "token", token_json(j)), on_progress_created,
                       (void *)(intptr_t)j->number);
    status_changed(s);
}

void job_begin(struct server *s, const struct message *m, const document *d,
               const struct action_row *row, const json_t *argument)
{
    buffer details = {0};
    error err = {OK, ""};
    buffer_put_text(&details, text_trim(json_text_at(argument, "instruction")));
    diagnostics_put(&details, json_object_get(argument, "diagnostics"));
    const char *refusal = client_refusal(s, row, d, buffer_text(&details));
    struct job *j = refusal ? NULL : job_new(s, m, row->title);
    status code = OK;
    if (j) j->row = row;
    if (j) j->document_key = d->key;
    if (j && task_wants_prose(row->task)) {
        j->view = view_open(s, path_file_name(d->path));
        if (!j->view) code = fail(&err, ERR_MEMORY, "out of memory for an explanation");
    }
    if (j && code == OK) code = job_start(j, d, argument, buffer_text(&details), &err);
    buffer_free(&details);
    if (!j) {
        server_reply_error(s, m->id, RPC_REQUEST_FAILED,
                           refusal ? refusal : "too many actions are under way");
        return;
    }
    if (code != OK) {
        job_refuse(j, code, err.message);
        return;
    }
    job_progress_open(j);
}

/* The reply comes when the action has ended, or now when it has. */
static void job_stop(struct job *j, const char *reason)
{
    if (j->action)
        action_cancel(j->action, reason);
    else if (j->stop)
        j->stop(j->work);
    else if (j->stage == JOB_CONFIRMING)
        job_fail(j, RPC_CANCELLED, reason);
}

void method_progress_cancel(struct server *s, const struct message *m)
{
    const json_t *token = json_object_get(m->params, "token");
    for (struct job *j = s->jobs; j; j = j->next) {
        json_t *own = token_json(j);
        bool mine = json_equal(own, token);
        json_decref(own);
        if (!mine) continue;
        job_stop(j, "cancelled");
        return;
    }
}

bool job_cancel(struct server *s, const json_t *id)
{
    struct job *j = s->jobs;
    while (j && !json_equal(j->id, id)) j = j->next;
    if (j) job_stop(j, "cancelled");
    return j != NULL;
}

void jobs_changed(struct server *s, uint64_t document_key, size_t from, size_t to, text inserted)
{
    struct job *next;
    if (s->actions) actions_changed(s->actions, document_key, from, to, inserted);
    for (struct job *j = s->jobs; j; j = next) {
        next = j->next;
        if (j->document_key != document_key || j->action || j->new_file.size) continue;
        if (action_piece_follow(&j->from, &j->to, from, to, inserted)) continue;
        j->touched = true;
        if (j->stage == JOB_CONFIRMING)
            job_fail(j, RPC_CANCELLED, "the text it is about was changed");
    }
}

void jobs_seen(struct server *s, const document *d)
{
    struct job *next;
    for (struct job *j = s->jobs; j; j = next) {
        next = j->next;
        bool waits = j->document_key == d->key && j->stage == JOB_APPLYING && !j->new_file.size;
        if (waits && document_in_step(d) && job_shows(j, d)) job_applied(j, d);
    }
}

void jobs_document_gone(struct server *s, uint64_t document_key)
{
    static const char closed[] = "the document was closed";
    struct job *next;
    for (struct job *j = s->jobs; j; j = next) {
        next = j->next;
        if (j->document_key != document_key) continue;
        if (j->action)
            action_cancel(j->action, closed);
        else if (!j->new_file.size)
            job_fail(j, RPC_CANCELLED, closed);
    }
}

void jobs_close(struct server *s)
{
    if (s->actions) actions_close(s->actions); /* answers those that run */
    s->actions = NULL;
    while (s->jobs) {
        if (s->jobs->stop) s->jobs->stop(s->jobs->work);
        job_fail(s->jobs, RPC_CANCELLED, "the server is ending");
    }
}
