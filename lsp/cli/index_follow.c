/* One loop, and all work in it: whoever feeds it need not be answered, so it may be busy. Commands
 * that came meanwhile are gathered before they are worked off. Watched are the git directory's own
 * files (HEAD, index, packed-refs) and refs/heads, where a commit, a switch or a rebase shows, and of
 * a linked working tree its own HEAD and index; every
 * RESCAN_MS everything is looked at again, because other programs change files without telling. */
#include "lsp/cli/index_follow.h"

#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/memory.h"
#include "context/diff.h"
#include "context/exclude.h"
#include "context/index.h"

enum {
    RESCAN_MS = 60000,
    SETTLE_MS = 50,
    SAVED_MS = 2,
    LINE_MAX_BYTES = 256 * 1024, /* all patterns that a user may exclude by, in JSON */
    PENDING_MAX = 64,
    OPENED_MAX = 16,
    NICENESS = 10
};

struct follower {
    uv_loop_t loop;
    uv_pipe_t input;
    uv_timer_t rescan, settle;
    uv_fs_event_t git_files, heads, own_files;
    const char *path;
    char real_path[PATH_MAX]; /* of it */
    repository *r;
    code_index *x;
    buffer line;                /* a command not yet whole */
    char *pending[PENDING_MAX]; /* paths to look at */
    size_t n_pending;
    char *opened[OPENED_MAX]; /* paths the user looks at, the last one last */
    size_t n_opened;
    size_t n_full;  /* files that the index had no room for */
    bool truncated; /* there are more files than it takes */
    bool whole;     /* everything is to be looked at */
    bool busy;      /* an update runs, and this loop inside it */
    bool ended;
    char staged[17]; /* what is, as a number; "" when nothing is */
    char rules[17];  /* git attributes, likewise; "" while they have not been looked at */
};

static void settle(struct follower *f);

static void say(const struct follower *f, const char *state, size_t n_files, const char *reason)
{
    json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s}", "state", state, "path",
                             f->real_path, "root", f->r ? repository_root(f->r) : "", "database",
                             f->x ? index_database_path(f->x) : "", "files", (json_int_t)n_files,
                             "staged", f->staged, "rules", f->rules);
    if (line && reason) json_object_set_new(line, "reason", json_string(reason));
    char *bytes = line ? json_dumps(line, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    if (bytes) printf("%s\n", bytes);
    fflush(stdout);
    free(bytes);
    json_decref(line);
}

static void close_all(struct follower *f)
{
    index_close(f->x);
    repository_close(f->r);
    f->x = NULL;
    f->r = NULL;
}

/* HEAD and the ignore rules are read when a repository is opened. */
static status open_all(struct follower *f, error *err)
{
    close_all(f);
    status code = repository_open(&f->r, f->path, err);
    return code == OK ? index_open(&f->x, f->r, err) : code;
}

/* A plain folder that holds the home directory is nobody's project: a file was opened that lies there. */
static bool holds_home(const struct follower *f)
{
    const char *named = getenv("HOME"), *root = repository_root(f->r);
    char home[PATH_MAX];
    size_t n = strlen(root);
    if (repository_kind(f->r) != REPOSITORY_FOLDER || !named || !realpath(named, home))
        return false;
    return strncmp(home, root, n) == 0 && (home[n] == 0 || home[n] == '/');
}

/* A stage that cannot be read is none: who commits is told then. */
static void staged_look(struct follower *f)
{
    uint64_t staged = 0;
    error err;
    if (repository_staged(&staged, f->r, &err) != OK) log_line(LOG_DEBUG, "%s", err.message);
    f->staged[0] = 0;
    if (staged) snprintf(f->staged, sizeof f->staged, "%016llx", (unsigned long long)staged);
}

/* The path below the root, or NULL. */
static const char *below_root(const struct follower *f, const char *path)
{
    const char *root = repository_root(f->r);
    size_t n = strlen(root);
    if (path[0] != '/') return path;
    return strncmp(path, root, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

static void update_pending(struct follower *f)
{
    bool any = false;
    for (size_t i = 0; i < f->n_pending; i++) {
        error err;
        bool changed = false;
        bool now = f->x && (f->busy || !f->whole);
        const char *path = now ? below_root(f, f->pending[i]) : NULL;
        if (path && index_update_file(&changed, f->x, f->r, text_of(path), &err) != OK) {
            log_line(LOG_WARN, "index: %s", err.message);
            f->whole = true; /* that mends what can be mended */
        }
        any = any || changed;
        memory_free(f->pending[i]);
    }
    f->n_pending = 0;
    if (any && (f->busy || !f->whole)) say(f, f->busy ? "indexing" : "ready", 0, NULL);
}

/* Long updates look at stdin in between: a front that is gone needs none, and what the user saves
 * meanwhile does not wait. */
static bool still_wanted(void *payload, size_t n_done, size_t n_files)
{
    struct follower *f = payload;
    (void)n_done, (void)n_files;
    uv_run(&f->loop, UV_RUN_NOWAIT);
    if (f->n_pending && !f->ended) update_pending(f);
    return !f->ended;
}

static bool next_opened(void *payload, buffer *path)
{
    struct follower *f = payload;
    bool found = false;
    while (!found && f->n_opened) {
        char *last = f->opened[--f->n_opened];
        const char *below = below_root(f, last);
        if (below) buffer_put_text(path, text_of(below));
        found = below != NULL;
        memory_free(last);
    }
    return found;
}

/* When it changes: every minute would be a flood. */
static void log_left_out(struct follower *f, const struct index_report *n)
{
    size_t n_full = n->n_skipped[SKIP_FULL];
    if (n_full && n_full != f->n_full)
        log_line(LOG_WARN,
                 "index: the database has reached its bound; of %zu files it has the path only",
                 n_full);
    if (n->truncated && !f->truncated)
        log_line(LOG_WARN, "index: there are more than %zu files; the others are left out",
                 n->n_files);
    f->n_full = n_full;
    f->truncated = n->truncated;
}

static void update_whole(struct follower *f)
{
    error err;
    struct index_report report = {0};
    f->whole = false;
    f->busy = true;
    status code = open_all(f, &err);
    if (code == OK && !holds_home(f)) {
        say(f, "indexing", 0, NULL);
        staged_look(f); /* of a large tree that takes a while */
        if (f->staged[0]) say(f, "indexing", 0, NULL);
        index_ask_opened(f->x, next_opened, f);
        code = index_update(&report, f->x, f->r, still_wanted, f, &err);
    }
    f->busy = false;
    if (f->ended) return;
    if (code == OK)
        log_left_out(f, &report);
    else
        log_line(LOG_WARN, "index: %s", err.message);
    snprintf(f->rules, sizeof f->rules, "%016llx", (unsigned long long)report.rules);
    say(f, code == OK ? "ready" : "failed", report.n_files, code == OK ? NULL : err.message);
    if (f->n_pending || f->whole) settle(f);
}

static void on_settle(uv_timer_t *timer)
{
    struct follower *f = timer->data;
    if (f->busy) return; /* it looks again when it is done */
    update_pending(f);
    if (f->whole && !f->ended) update_whole(f);
    if (f->ended) uv_stop(&f->loop); /* the loop within an update has forgotten that it was told */
}

/* Git writes many files at once: they are waited for. A saved file comes alone, and somebody types. */
static void settle(struct follower *f)
{
    uint64_t in_ms = f->n_pending && !f->whole ? SAVED_MS : SETTLE_MS;
    if (!uv_is_active((uv_handle_t *)&f->settle) || uv_timer_get_due_in(&f->settle) > in_ms)
        uv_timer_start(&f->settle, on_settle, in_ms, 0);
}

static void want_whole(struct follower *f)
{
    f->whole = true;
    settle(f);
}

static void on_rescan(uv_timer_t *timer) { want_whole(timer->data); }

static void on_git_file(uv_fs_event_t *handle, const char *name, int events, int code)
{
    static const char *const names[] = {"HEAD", "index", "packed-refs", "config"};
    struct follower *f = handle->data;
    bool wanted = handle == &f->heads || !name;
    (void)events;
    for (size_t i = 0; !wanted && i < sizeof names / sizeof *names; i++)
        wanted = strcmp(name, names[i]) == 0;
    if (wanted && code == 0) want_whole(f);
}

/* What cannot be read excludes everything. */
static void exclude_take(const char *words)
{
    json_t *lines = json_loads(words, JSON_DECODE_ANY, NULL);
    exclude_set_globs(json_is_string(lines)
                          ? (text){json_string_value(lines), json_string_length(lines)}
                          : TEXT("*"));
    json_decref(lines);
}

/* What stands behind a word of a command, or NULL. */
static const char *argument_of(const char *line, const char *word)
{
    size_t n = strlen(word);
    return strncmp(line, word, n) == 0 && line[n] == ' ' ? line + n + 1 : NULL;
}

/* Of an index that is up to date the surroundings of a file are, too. */
static void opened_take(struct follower *f, const char *path)
{
    buffer absolute = {0};
    if (!f->busy) return;
    buffer_print(&absolute, "%s%s%s", path[0] == '/' ? "" : f->real_path, path[0] == '/' ? "" : "/",
                 path);
    char *copy = absolute.failed ? NULL : memory_copy(absolute.bytes, absolute.size);
    buffer_free(&absolute);
    if (!copy) return;
    if (f->n_opened == OPENED_MAX) {
        memory_free(f->opened[0]);
        memmove(f->opened, f->opened + 1, --f->n_opened * sizeof *f->opened);
    }
    f->opened[f->n_opened++] = copy;
}

static void changed_take(struct follower *f, const char *path)
{
    char *copy = f->n_pending < PENDING_MAX ? memory_copy(path, strlen(path)) : NULL;
    if (copy)
        f->pending[f->n_pending++] = copy;
    else
        f->whole = true; /* so many at once are a switch, not an edit */
}

static void command_take(struct follower *f, const char *line)
{
    const char *argument;
    if ((argument = argument_of(line, "opened"))) {
        opened_take(f, argument);
        return;
    }
    if (strcmp(line, "head") == 0) {
        f->whole = true;
    } else if ((argument = argument_of(line, "exclude"))) {
        exclude_take(argument);
        f->whole = true;
    } else if ((argument = argument_of(line, "changed"))) {
        changed_take(f, argument);
    }
    settle(f);
}

static void on_alloc(uv_handle_t *handle, size_t wanted, uv_buf_t *out)
{
    static char room[4096];
    (void)handle, (void)wanted;
    *out = uv_buf_init(room, sizeof room);
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *in)
{
    struct follower *f = stream->data;
    if (n < 0) {
        f->ended = true;
        uv_stop(&f->loop);
        return;
    }
    for (ssize_t i = 0; i < n; i++) {
        char c = in->base[i];
        if (c != '\n' && f->line.size < LINE_MAX_BYTES) buffer_put_char(&f->line, c);
        if (c != '\n') continue;
        if (!f->line.failed && f->line.size && f->line.size < LINE_MAX_BYTES)
            command_take(f, f->line.bytes);
        buffer_clear(&f->line);
    }
}

/* A folder without git has nothing to watch; not every file system can be watched: the timer does. */
static void watch(struct follower *f)
{
    buffer path = {0};
    if (repository_kind(f->r) != REPOSITORY_GIT) return;
    buffer_print(&path, "%s", repository_common(f->r));
    if (!path.failed) uv_fs_event_start(&f->git_files, on_git_file, path.bytes, 0);
    buffer_print(&path, "/refs/heads");
    if (!path.failed) uv_fs_event_start(&f->heads, on_git_file, path.bytes, 0);
    buffer_clear(&path);
    buffer_print(&path, "%s", repository_own(f->r));
    if (!path.failed && strncmp(path.bytes, repository_common(f->r), path.size - 1) != 0)
        uv_fs_event_start(&f->own_files, on_git_file, path.bytes, 0);
    buffer_free(&path);
}

static status loop_open(struct follower *f, error *err)
{
    int rc = uv_loop_init(&f->loop);
    if (rc == 0) rc = uv_pipe_init(&f->loop, &f->input, 0);
    if (rc == 0) rc = uv_timer_init(&f->loop, &f->rescan);
    if (rc == 0) rc = uv_timer_init(&f->loop, &f->settle);
    if (rc == 0) rc = uv_fs_event_init(&f->loop, &f->git_files);
    if (rc == 0) rc = uv_fs_event_init(&f->loop, &f->heads);
    if (rc == 0) rc = uv_fs_event_init(&f->loop, &f->own_files);
    f->input.data = f->rescan.data = f->settle.data = f->git_files.data = f->heads.data = f;
    f->own_files.data = f;
    if (rc == 0) rc = uv_pipe_open(&f->input, STDIN_FILENO);
    if (rc == 0) rc = uv_read_start((uv_stream_t *)&f->input, on_alloc, on_input);
    if (rc == 0) rc = uv_timer_start(&f->rescan, on_rescan, RESCAN_MS, RESCAN_MS);
    return rc == 0 ? OK : fail(err, ERR_IO, "event loop: %s", uv_strerror(rc));
}

static void close_handle(uv_handle_t *handle, void *payload)
{
    (void)payload;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

status index_follow(const char *path, error *err)
{
    struct follower *f = memory_take(1, sizeof *f);
    if (!f) return fail(err, ERR_MEMORY, "no memory for the indexer");
    f->path = path;
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* the end of stdin tells, too */
    setpriority(PRIO_PROCESS, 0, NICENESS);
    signal(SIGPIPE, SIG_IGN);
    status code = realpath(path, f->real_path) ? open_all(f, err)
                                               : fail(err, ERR_IO, "%s: no such folder", path);
    if (code == OK) code = loop_open(f, err);
    if (code == OK) {
        watch(f);
        update_whole(f);
        if (!f->ended) uv_run(&f->loop, UV_RUN_DEFAULT);
        uv_walk(&f->loop, close_handle, NULL);
        uv_run(&f->loop, UV_RUN_DEFAULT);
        uv_loop_close(&f->loop);
    }
    for (size_t i = 0; i < f->n_pending; i++) memory_free(f->pending[i]);
    for (size_t i = 0; i < f->n_opened; i++) memory_free(f->opened[i]);
    buffer_free(&f->line);
    close_all(f);
    memory_free(f);
    return code;
}
