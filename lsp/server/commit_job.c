/* dbrx-ls.commitMessage: the program's own `commit-message --json`, started for a folder and listened to;
 * and the same with --warm, for stage.c.
 *
 * Git's files are hostile bytes for other people's code, and slow; so they are read by a process that may
 * be killed. It asks the same engine, with the same key, and ends with its parent. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "lsp/assistant/commit.h"
#include "lsp/assistant/environment.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

enum { OUTPUT_MAX = 4 * 1024 * 1024, WORDS_MAX = 4096, ARGS_MAX = 24, BUDGET_TOKENS = 8192 };

struct commit_job {
    struct server *server;
    int64_t job; /* its number: it may be gone before the process is; 0: nobody waits (warm) */
    uv_process_t process;
    uv_pipe_t output, words;
    buffer said, line, reason; /* stdout; of stderr the line that is coming, and what is a reason */
    int n_handles;             /* that are open */
    int n_reading;             /* pipes that have not ended */
    bool exited, killed, warm;
    int64_t exit_status;
    char threads[24], budget[24]; /* empty: the program's own */
    buffer folder;
};

static void job_free(struct commit_job *c)
{
    buffer_free(&c->said);
    buffer_free(&c->line);
    buffer_free(&c->reason);
    buffer_free(&c->folder);
    memory_free(c);
}

static void on_closed(uv_handle_t *handle)
{
    struct commit_job *c = handle->data;
    if (--c->n_handles == 0) job_free(c);
}

/* The last line of what it said on stderr, without the program's name. */
static void reason_make(char out[256], const struct commit_job *c)
{
    text rest = text_trim(buffer_text(&c->reason)), line = TEXT(""), next;
    while (text_next_line(&rest, &next))
        if (text_trim(next).size) line = text_trim(next);
    text name = TEXT("dbrx-ls commit-message: ");
    if (text_starts(line, name)) line = text_slice(line, name.size, line.size);
    snprintf(out, 256, "%.*s", (int)(line.size < 250 ? line.size : 250),
             line.size ? line.bytes : "");
}

static void result_count(const struct commit_job *c, const json_t *result)
{
    int64_t n_prompt = json_integer_at(result, "tokens", 0);
    int64_t n_cached = json_integer_at(result, "tokens_reused", 0);
    struct assistant_counters more = {0};
    if (!c->server->assistant || !result) return;
    if (c->warm)
        more.stage_requests = 1, more.stage_tokens = n_prompt - n_cached;
    else
        more.message_requests = 1, more.message_tokens = n_prompt, more.message_cached = n_cached;
    assistant_count(c->server->assistant, &more);
}

static void job_settle(struct commit_job *c)
{
    struct job *j = job_find(c->server, c->job);
    char reason[256];
    if (!c->exited || c->n_reading || (!j && !c->warm)) return;
    json_t *result = c->exit_status == 0 && c->said.size < OUTPUT_MAX
                         ? json_loadb(c->said.bytes, c->said.size, 0, NULL)
                         : NULL;
    reason_make(reason, c);
    result_count(c, result);
    if (c->warm) {
        if (c->server->stage.job == c) c->server->stage.job = NULL;
        if (!result && !c->killed) log_line(LOG_DEBUG, "warm commit message: %s", reason);
        json_decref(result);
        return;
    }
    if (json_is_object(result)) {
        job_finish(j, result); /* it is the reply's from here on */
        return;
    }
    json_decref(result);
    if (c->killed)
        job_fail(j, RPC_CANCELLED, "cancelled");
    else
        job_fail(j, RPC_REQUEST_FAILED, reason[0] ? reason : "it ended without an answer");
}

static void handles_close(struct commit_job *c)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&c->process, (uv_handle_t *)&c->output,
                              (uv_handle_t *)&c->words};
    for (size_t i = 0; i < 3; i++)
        if (!uv_is_closing(handles[i])) uv_close(handles[i], on_closed);
}

static void job_advance(struct commit_job *c)
{
    job_settle(c);
    if (c->exited && !c->n_reading) handles_close(c);
}

static void on_exit_status(uv_process_t *process, int64_t exit_status, int number)
{
    struct commit_job *c = process->data;
    c->exited = true;
    c->exit_status = number ? 128 + number : exit_status;
    job_advance(c);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    static char room[16384];
    (void)handle, (void)wanted;
    *out = uv_buf_init(room, sizeof room);
}

static void line_take(struct commit_job *c, text line)
{
    text mark = TEXT(COMMIT_PROGRESS);
    struct job *j = job_find(c->server, c->job);
    if (text_starts(line, mark)) {
        if (j) job_report(j, text_slice(line, mark.size, line.size));
    } else if (c->reason.size + line.size < WORDS_MAX) {
        buffer_put_text(&c->reason, line);
        buffer_put_char(&c->reason, '\n');
    }
}

static void lines_take(struct commit_job *c, bool at_end)
{
    size_t end;
    while ((end = text_find(buffer_text(&c->line), TEXT("\n"), 0)) != SIZE_MAX) {
        line_take(c, text_slice(buffer_text(&c->line), 0, end));
        buffer_drop_front(&c->line, end + 1);
    }
    if (at_end) line_take(c, buffer_text(&c->line));
    if (c->line.size > WORDS_MAX) buffer_clear(&c->line); /* no line of ours */
}

static void on_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *said)
{
    struct commit_job *c = stream->data;
    bool is_words = stream == (uv_stream_t *)&c->words;
    if (n < 0) {
        uv_read_stop(stream);
        c->n_reading--;
        if (is_words) lines_take(c, true);
        job_advance(c);
    } else if (is_words) {
        buffer_put(&c->line, said->base, (size_t)n);
        lines_take(c, false);
    } else if (c->said.size + (size_t)n <= OUTPUT_MAX) {
        buffer_put(&c->said, said->base, (size_t)n);
    }
}

static void job_kill(void *work)
{
    struct commit_job *c = work;
    c->killed = true;
    if (!c->exited) uv_process_kill(&c->process, SIGTERM);
}

/* The engine's settings as this server has them; the environment says the rest. */
static void arguments_make(char *args[ARGS_MAX + 1], struct commit_job *c, bool again)
{
    const struct engine_client_options *e = &c->server->engine;
    const struct {
        const char *name, *value;
    } rows[] = {{"--folder", c->folder.bytes},
                {"--endpoint", e->endpoint},
                {"--model", e->model_dir},
                {"--ca-file", e->ca_file},
                {"--backend", e->backend},
                {"--threads", c->threads[0] ? c->threads : NULL},
                {"--budget", c->budget[0] ? c->budget : NULL}};
    static const char *const fixed[] = {"dbrx-ls", "commit-message", "--json", "--with-parent"};
    size_t n = 0;
    for (size_t i = 0; i < 4; i++) args[n++] = (char *)(uintptr_t)fixed[i];
    if (again) args[n++] = (char *)(uintptr_t) "--again";
    if (c->warm) args[n++] = (char *)(uintptr_t) "--warm";
    for (size_t i = 0; i < sizeof rows / sizeof *rows && n + 2 <= ARGS_MAX; i++) {
        if (!rows[i].value) continue;
        args[n++] = (char *)(uintptr_t)rows[i].name;
        args[n++] = (char *)(uintptr_t)rows[i].value;
    }
    args[n] = NULL;
}

static int process_start(struct commit_job *c, bool again)
{
    if (c->server->engine.n_threads > 0)
        snprintf(c->threads, sizeof c->threads, "%d", (int)c->server->engine.n_threads);
    if (c->server->settings.budget_tokens > BUDGET_TOKENS)
        snprintf(c->budget, sizeof c->budget, "%lld", (long long)c->server->settings.budget_tokens);
    static char program[] = "/proc/self/exe";
    char *args[ARGS_MAX + 1];
    struct server *s = c->server;
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->output},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&c->words},
    };
    arguments_make(args, c, again);
    char **environment = environment_take();
    const uv_process_options_t options = {.file = program,
                                          .args = args,
                                          .env = environment,
                                          .stdio = stdio,
                                          .stdio_count = 3,
                                          .exit_cb = on_exit_status};
    uv_pipe_init(&s->loop, &c->output, 0);
    uv_pipe_init(&s->loop, &c->words, 0);
    c->process.data = c->output.data = c->words.data = c;
    int rc = environment ? uv_spawn(&s->loop, &c->process, &options) : UV_ENOMEM;
    environment_free(environment);
    c->n_handles = 3;
    c->exited = rc != 0;
    if (rc == 0) rc = uv_read_start((uv_stream_t *)&c->output, on_alloc, on_said);
    if (rc == 0) rc = uv_read_start((uv_stream_t *)&c->words, on_alloc, on_said);
    c->n_reading = rc == 0 ? 2 : 0;
    return rc;
}

/* The folder asked for, or the first of the workspace. */
static bool folder_put(buffer *out, const struct server *s, const json_t *argument)
{
    text uri = json_text_at(argument, "folder");
    if (uri.size && !text_is(uri_scheme(uri), "file")) return false;
    if (uri.size) {
        uri_to_path(out, uri);
    } else {
        const json_t *first = json_array_get(s->folders, 0);
        buffer_put(out, json_string_value(first), json_string_length(first));
    }
    return out->size > 0 && !out->failed && out->bytes[0] == '/';
}

void commit_job_begin(struct server *s, const struct message *m)
{
    const json_t *argument = json_array_get(json_object_get(m->params, "arguments"), 0);
    buffer folder = {0};
    bool found = folder_put(&folder, s, argument);
    struct commit_job *c = found ? memory_take(1, sizeof *c) : NULL;
    struct job *j = c ? job_new(s, m, "Commit Message") : NULL;
    if (!j) {
        buffer_free(&folder);
        memory_free(c);
        server_reply_error(s, m->id, RPC_REQUEST_FAILED,
                           found ? "too many actions are under way" : "there is no such folder");
        return;
    }
    stage_stop(s);
    c->server = s;
    c->folder = folder;
    c->job = job_number(j);
    int rc = process_start(c, json_flag_at(argument, "again", false));
    if (rc != 0) {
        log_line(LOG_WARN, "commit message: %s", uv_strerror(rc));
        job_fail(j, RPC_REQUEST_FAILED, "its process could not be started");
        job_kill(c);
        handles_close(c);
        return;
    }
    job_works(j, job_kill, c);
    job_progress_open(j);
}

struct commit_job *commit_job_warm(struct server *s, const char *folder)
{
    struct commit_job *c = memory_take(1, sizeof *c);
    if (!c) return NULL;
    c->server = s;
    c->warm = true;
    buffer_print(&c->folder, "%s", folder);
    int rc = process_start(c, false);
    if (rc == 0) return c;
    log_line(LOG_WARN, "warm commit message: %s", uv_strerror(rc));
    commit_job_kill(c);
    handles_close(c);
    return NULL;
}

void commit_job_kill(struct commit_job *c) { job_kill(c); }
