/* The process is asked nothing and waited for never: it talks when it likes. It is started again
 * after RESTART_MS, twice as late each time, so that a file it dies of does not keep the machine
 * busy. */
#include "lsp/assistant/indexer.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/memory.h"
#include "base/paths.h"
#include "context/exclude.h"
#include "lsp/assistant/environment.h"

enum { RESTART_MS = 5000, RESTARTS_MAX = 6, LINE_BYTES_MAX = 65536 };

struct indexer {
    uv_loop_t *loop;
    uv_process_t process;
    uv_pipe_t input, output;
    uv_timer_t restart;
    char *folder, *path, *root, *database;
    buffer line, globs; /* globs: as the process knows them */
    char staged[24], rules[24];
    struct indexer_watcher watcher;
    unsigned version;
    int n_restarts, n_handles; /* handles of the process that are open */
    bool closing, timer_closed;
};

struct told {
    uv_write_t request;
    buffer bytes;
};

static void process_start(indexer *x);

static void indexer_free(indexer *x)
{
    if (!x->closing || x->n_handles || !x->timer_closed) return;
    memory_free(x->folder);
    memory_free(x->path);
    memory_free(x->root);
    memory_free(x->database);
    buffer_free(&x->line);
    buffer_free(&x->globs);
    memory_free(x);
}

static void on_timer_closed(uv_handle_t *handle)
{
    indexer *x = handle->data;
    x->timer_closed = true;
    indexer_free(x);
}

static void on_restart(uv_timer_t *timer) { process_start(timer->data); }

static void on_handle_closed(uv_handle_t *handle)
{
    indexer *x = handle->data;
    x->n_handles--;
    indexer_free(x);
}

static void handles_close(indexer *x)
{
    uv_handle_t *handles[] = {(uv_handle_t *)&x->process, (uv_handle_t *)&x->input,
                              (uv_handle_t *)&x->output};
    for (size_t i = 0; x->n_handles && i < 3; i++)
        if (!uv_is_closing(handles[i])) uv_close(handles[i], on_handle_closed);
}

static void on_process_exit(uv_process_t *process, int64_t exit_status, int signal)
{
    indexer *x = process->data;
    handles_close(x);
    if (x->closing) return;
    log_line(LOG_WARN, "the indexer of %s ended (status %lld, signal %d)", x->folder,
             (long long)exit_status, signal);
    if (x->n_restarts < RESTARTS_MAX)
        uv_timer_start(&x->restart, on_restart, (uint64_t)RESTART_MS << x->n_restarts++, 0);
}

static void take(char **to, const json_t *line, const char *key)
{
    const char *value = json_string_value(json_object_get(line, key));
    if (!value || !value[0] || (*to && strcmp(*to, value) == 0)) return;
    char *copy = memory_copy(value, strlen(value));
    if (!copy) return;
    memory_free(*to);
    *to = copy;
}

/* The first word about rules counts as a change: they may have changed while it was on its way. */
static void words_take(indexer *x, const char *staged, const char *rules)
{
    bool other_stage = staged && strcmp(x->staged, staged) != 0;
    bool other_rules = rules && rules[0] && strcmp(x->rules, rules) != 0;
    if (other_stage) snprintf(x->staged, sizeof x->staged, "%s", staged);
    if (other_rules) snprintf(x->rules, sizeof x->rules, "%s", rules);
    if (x->closing) return;
    if (other_stage && x->watcher.staged) x->watcher.staged(x->watcher.context, x);
    if (other_rules && x->watcher.rules) x->watcher.rules(x->watcher.context);
}

static void line_take(indexer *x)
{
    json_t *line = json_loadb(x->line.bytes, x->line.size, 0, NULL);
    const char *state = json_string_value(json_object_get(line, "state"));
    const char *reason = json_string_value(json_object_get(line, "reason"));
    if (state) {
        take(&x->path, line, "path");
        take(&x->root, line, "root");
        take(&x->database, line, "database");
        x->version++;
        words_take(x, json_string_value(json_object_get(line, "staged")),
                   json_string_value(json_object_get(line, "rules")));
        log_line(LOG_DEBUG, "index of %s: %s %s", x->folder, state, reason ? reason : "");
    }
    json_decref(line);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    static char room[4096];
    (void)handle, (void)wanted;
    *out = uv_buf_init(room, sizeof room);
}

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *said)
{
    indexer *x = stream->data;
    if (n < 0) {
        uv_read_stop(stream);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (said->base[i] != '\n') {
            if (x->line.size < LINE_BYTES_MAX) buffer_put_char(&x->line, said->base[i]);
            continue;
        }
        if (x->line.size && !x->line.failed) line_take(x);
        buffer_clear(&x->line);
    }
}

static int spawn(indexer *x, char *program)
{
    buffer_clear(&x->globs);
    exclude_put_globs(&x->globs);
    char **environment = x->globs.failed ? NULL : environment_take();
    if (!environment) return UV_ENOMEM;
    char *args[] = {(char[]){"dbrx-ls"}, (char[]){"index"}, (char[]){"--follow"}, x->folder, NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&x->input},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&x->output},
        {.flags = UV_INHERIT_FD, .data.fd = 2},
    };
    const uv_process_options_t options = {.file = program,
                                          .args = args,
                                          .env = environment,
                                          .stdio = stdio,
                                          .stdio_count = 3,
                                          .exit_cb = on_process_exit};
    int rc = uv_spawn(x->loop, &x->process, &options);
    environment_free(environment);
    return rc;
}

static void process_start(indexer *x)
{
    static char program[] = "/proc/self/exe";
    if (x->closing || x->n_handles) return;
    uv_pipe_init(x->loop, &x->input, 0);
    uv_pipe_init(x->loop, &x->output, 0);
    x->process.data = x->input.data = x->output.data = x;
    int rc = spawn(x, program);
    x->n_handles = 3;
    if (rc == 0) rc = uv_read_start((uv_stream_t *)&x->output, on_alloc, on_output);
    if (rc == 0) return;
    log_line(LOG_WARN, "no indexer for %s: %s", x->folder, uv_strerror(rc));
    handles_close(x);
}

status indexer_open(indexer **out, uv_loop_t *loop, text folder, error *err)
{
    indexer *x = memory_take(1, sizeof *x);
    *out = NULL;
    if (!x) return fail(err, ERR_MEMORY, "no memory for an indexer");
    x->loop = loop;
    x->folder = memory_copy(folder.bytes, folder.size);
    int rc = x->folder ? uv_timer_init(loop, &x->restart) : UV_ENOMEM;
    if (rc != 0) {
        memory_free(x->folder);
        memory_free(x);
        return fail(err, ERR_MEMORY, "indexer: %s", uv_strerror(rc));
    }
    x->restart.data = x;
    process_start(x);
    *out = x;
    return OK;
}

void indexer_close(indexer *x)
{
    x->closing = true;
    uv_close((uv_handle_t *)&x->restart, on_timer_closed);
    if (x->n_handles && !uv_is_closing((uv_handle_t *)&x->process))
        uv_process_kill(&x->process, SIGTERM);
    handles_close(x);
}

static void on_told(uv_write_t *request, int rc)
{
    struct told *t = (struct told *)request;
    (void)rc;
    buffer_free(&t->bytes);
    memory_free(t);
}

void indexer_tell(indexer *x, const char *command, text argument)
{
    if (!x->n_handles || uv_is_closing((uv_handle_t *)&x->input)) return;
    if (argument.size && memchr(argument.bytes, '\n', argument.size)) return;
    struct told *t = memory_take(1, sizeof *t);
    if (!t) return;
    buffer_print(&t->bytes, "%s%s%.*s\n", command, argument.size ? " " : "", (int)argument.size,
                 argument.size ? argument.bytes : "");
    uv_buf_t out = uv_buf_init(t->bytes.bytes, (unsigned)t->bytes.size);
    if (t->bytes.failed || uv_write(&t->request, (uv_stream_t *)&x->input, &out, 1, on_told) != 0)
        on_told(&t->request, -1);
}

/* In JSON, as patterns stand on lines. */
void indexer_exclude(indexer *x)
{
    buffer now = {0};
    exclude_put_globs(&now);
    if (now.failed || text_equal(buffer_text(&now), buffer_text(&x->globs))) {
        buffer_free(&now);
        return;
    }
    json_t *lines = json_stringn_nocheck(now.bytes ? now.bytes : "", now.size);
    char *words = lines ? json_dumps(lines, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
    indexer_tell(x, "exclude", words ? text_of(words) : TEXT("\"*\""));
    free(words);
    json_decref(lines);
    buffer_free(&x->globs);
    x->globs = now;
}

const char *indexer_folder(const indexer *x) { return x->folder; }
const char *indexer_path(const indexer *x) { return x->path; }
const char *indexer_root(const indexer *x) { return x->root; }
const char *indexer_database(const indexer *x) { return x->database; }
const char *indexer_staged(const indexer *x) { return x->staged; }

void indexer_watch(indexer *x, const struct indexer_watcher *watcher) { x->watcher = *watcher; }

unsigned indexer_version(const indexer *x) { return x->version; }
