#include "lsp/cli/lsp_editor.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "lsp/cli/bench.h"

enum { END_MS = 5000, STEP_US = 5000 };

/* In the child: its own directories, pipes for its ends. Returns only where that fails. */
static void child_run(const char *directory, bool visits, const char *const *arguments, int input,
                      int output)
{
    static const char *const variables[] = {"XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME",
                                            "XDG_CONFIG_HOME"};
    size_t n = visits ? 1 : sizeof variables / sizeof *variables;
    for (size_t i = 0; i < n; i++)
        if (setenv(variables[i], directory, 1) != 0) return;
    if (!visits) unsetenv("DBRX_ENDPOINT");
    if (dup2(input, 0) < 0 || dup2(output, 1) < 0) return;
    execv("/proc/self/exe", (char *const *)(uintptr_t)arguments); /* POSIX: it changes none */
}

status lsp_editor_open(struct lsp_editor *e, const char *directory, const char *const *arguments,
                       error *err)
{
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0) return fail(err, ERR_IO, "pipe: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return fail(err, ERR_IO, "pipe: %s", strerror(errno));
    }
    e->process = fork();
    if (e->process == 0) {
        child_run(directory, e->visits, arguments, in[0], out[1]);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    e->to_server = in[1];
    e->from_server = out[0];
    if (e->process > 0) return OK;
    e->process = 0;
    close(in[1]);
    close(out[0]);
    return fail(err, ERR_IO, "fork: %s", strerror(errno));
}

void lsp_editor_send(struct lsp_editor *e, json_t *message)
{
    char *json = message ? json_dumps(message, JSON_COMPACT) : NULL;
    buffer frame = {0};
    json_decref(message);
    if (json) buffer_print(&frame, "Content-Length: %zu\r\n\r\n%s", strlen(json), json);
    for (size_t at = 0; !frame.failed && at < frame.size;) {
        ssize_t n = write(e->to_server, frame.bytes + at, frame.size - at);
        if (n < 0 && errno != EINTR) break; /* its end shows when it is read from */
        if (n > 0) at += (size_t)n;
    }
    buffer_free(&frame);
    free(json);
}

int64_t lsp_editor_request(struct lsp_editor *e, const char *method, json_t *params)
{
    int64_t id = ++e->next_id;
    lsp_editor_send(e, json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)id,
                                 "method", method, "params", params));
    return id;
}

void lsp_editor_notify(struct lsp_editor *e, const char *method, json_t *params)
{
    lsp_editor_send(
        e, json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}

static void bytes_take(struct lsp_editor *e, text bytes)
{
    while (bytes.size > 0) {
        enum frame_event event;
        size_t n = frame_reader_take(&e->frames, bytes, &event);
        bytes = text_slice(bytes, n, bytes.size);
        if (event != FRAME_MESSAGE) continue;
        json_t *message = json_loadb(e->frames.body.bytes, e->frames.body.size, 0, NULL);
        if (message) e->on_message(e->context, message);
        json_decref(message);
    }
}

status lsp_editor_wait(struct lsp_editor *e, int64_t until_us, const bool *done, error *err)
{
    char bytes[65536];
    for (;;) {
        int64_t left_us = until_us - clock_us();
        if (atomic_load(&bench_stop)) return fail(err, ERR_CANCELLED, "stopped");
        if ((done && *done) || left_us <= 0) return OK;
        struct pollfd ready = {.fd = e->from_server, .events = POLLIN};
        int code = poll(&ready, 1, left_us > STEP_US ? (int)(left_us / 1000) : 1);
        if (code <= 0) continue;
        ssize_t n = read(e->from_server, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return fail(err, ERR_NETWORK, "the language server ended");
        bytes_take(e, (text){bytes, (size_t)n});
    }
}

int64_t lsp_editor_peak_bytes(const struct lsp_editor *e)
{
    char path[64], line[256];
    long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)e->process);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    while (kib == 0 && fgets(line, sizeof line, file)) sscanf(line, "VmHWM: %lld", &kib);
    fclose(file);
    return kib * 1024;
}

void lsp_editor_close(struct lsp_editor *e)
{
    if (!e->process) return;
    close(e->to_server);
    int64_t until_us = clock_us() + END_MS * 1000;
    while (waitpid(e->process, NULL, WNOHANG) == 0) {
        if (clock_us() > until_us) kill(e->process, SIGKILL);
        usleep(STEP_US);
    }
    close(e->from_server);
    frame_reader_free(&e->frames);
    e->process = 0;
}

static int entry_remove(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about, (void)kind, (void)where;
    return remove(path);
}

void lsp_editor_forget(const char *directory)
{
    nftw(directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}
