/* The lock is a flock on an open file description: the engine inherits the descriptor and with it
 * the lock, for life; the kernel gives it back however the engine ends. The winner forks twice with
 * a new session in between, so that whoever kills the front's process tree does not find the
 * engine. Between fork and exec only async-signal-safe calls are made. */
#include "lsp/client/local_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/paths.h"
#include "base/text.h"

enum { ARGUMENTS_MAX = 16, LOG_TAIL_BYTES = 4096 };

/* Opens above the standard descriptors, which the child replaces. */
static int open_high(const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fd > STDERR_FILENO) return fd;
    int high = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return high;
}

/* True when `fd` is still what `path` names: a lock on a file that was removed locks nobody out. */
static bool is_current(int fd, const char *path)
{
    struct stat open_one, named;
    return fstat(fd, &open_one) == 0 && stat(path, &named) == 0 &&
           open_one.st_ino == named.st_ino && open_one.st_dev == named.st_dev;
}

/* *fd is the lock file, *held whether somebody else has the lock; if not, we have it. */
static status lock_try(int *fd, bool *held, error *err)
{
    buffer path = {0};
    status s = path_runtime(&path, "engine.lock", err);
    *fd = -1;
    for (int tries = 0; s == OK && *fd < 0; tries++) {
        *fd = open_high(path.bytes, O_RDWR | O_CREAT);
        if (*fd < 0) {
            s = fail(err, ERR_IO, "%s: cannot open: %s", path.bytes, strerror(errno));
            break;
        }
        *held = flock(*fd, LOCK_EX | LOCK_NB) != 0;
        if (*held && errno != EWOULDBLOCK) {
            s = fail(err, ERR_IO, "%s: cannot lock: %s", path.bytes, strerror(errno));
        } else if (!*held && !is_current(*fd, path.bytes) && tries < 8) {
            close(*fd);
            *fd = -1;
        }
    }
    if (s != OK && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    buffer_free(&path);
    return s;
}

static pid_t holder_read(int lock_fd)
{
    char digits[24] = "";
    ssize_t n = pread(lock_fd, digits, sizeof digits - 1, 0);
    char *end = digits;
    long pid = n > 0 ? strtol(digits, &end, 10) : 0;
    return *end == '\n' && pid > 1 && pid <= INT_MAX ? (pid_t)pid : 0;
}

/* A line of the log that says why an engine ended: its own last error, or what the dynamic loader
 * said; what an engine in good health tells is no reason. */
static bool is_reason(text line)
{
    bool is_log = text_find(line, TEXT("dbrx-ls["), 0) != SIZE_MAX;
    if (text_starts(line, TEXT("dbrx-ls serve: listening on "))) return false;
    return line.size && (!is_log || text_find(line, TEXT("] error: "), 0) != SIZE_MAX);
}

static void last_words_read(char out[256], const char *path, int64_t from)
{
    char tail[LOG_TAIL_BYTES];
    struct stat st;
    out[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return;
    bool sized = fstat(fd, &st) == 0;
    if (sized && st.st_size < from) from = 0; /* the engine has begun it anew since */
    if (sized && st.st_size - from > LOG_TAIL_BYTES) from = st.st_size - LOG_TAIL_BYTES;
    ssize_t n = pread(fd, tail, sizeof tail, from);
    close(fd);
    text rest = {tail, n > 0 ? (size_t)n : 0}, line, found = {0};
    while (text_next_line(&rest, &line))
        if (is_reason(line)) found = line;
    if (text_starts(found, TEXT("dbrx-ls serve: "))) found = text_slice(found, 15, found.size);
    snprintf(out, 256, "%.*s", (int)found.size, found.bytes ? found.bytes : "");
}

/* Opens the log for appending, after moving a large one aside. */
static int log_open(const char *path)
{
    struct stat st;
    buffer old = {0};
    if (stat(path, &st) == 0 && st.st_size > (off_t)ENGINE_LOG_MAX) {
        buffer_print(&old, "%s.1", path);
        if (!old.failed) rename(path, old.bytes);
        buffer_free(&old);
    }
    return open_high(path, O_WRONLY | O_APPEND | O_CREAT);
}

/* All that the child needs, made before the fork. */
struct launch {
    const char *program;
    const char *argument[ARGUMENTS_MAX];
    int null_fd, log_fd, lock_fd, report_fd;
};

static void close_between(int from, int to)
{
    if (from > to || close_range((unsigned)from, (unsigned)to, 0) == 0) return;
    /* Linux before 5.9 */
    for (int fd = from; fd <= to && fd < 65536; fd++) close(fd);
}

static void signals_reset(void)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;
    for (int n = 1; n < NSIG; n++) sigaction(n, &plain, NULL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void report_errno(int fd)
{
    int reason = errno;
    ssize_t n = write(fd, &reason, sizeof reason);
    (void)n;
}

static _Noreturn void engine_become(const struct launch *l)
{
    int low = l->lock_fd < l->report_fd ? l->lock_fd : l->report_fd;
    int high = l->lock_fd < l->report_fd ? l->report_fd : l->lock_fd;
    signals_reset();
    dup2(l->null_fd, STDIN_FILENO);
    dup2(l->null_fd, STDOUT_FILENO);
    dup2(l->log_fd, STDERR_FILENO);
    fcntl(l->lock_fd, F_SETFD, 0);
    close_between(STDERR_FILENO + 1, low - 1);
    close_between(low + 1, high - 1);
    close_between(high + 1, INT_MAX);
    umask(077);
    /* The directory we were started in may be on a disk that somebody wants to unmount. */
    if (chdir("/") == 0) execv(l->program, (char *const *)(uintptr_t)l->argument);
    report_errno(l->report_fd);
    _exit(127);
}

static _Noreturn void middle_become(const struct launch *l)
{
    setsid();
    pid_t engine = _Fork();
    if (engine == 0) engine_become(l);
    if (engine < 0) report_errno(l->report_fd);
    _exit(0);
}

/* Forks with all signals blocked: until the child has reset them, a handler of ours would run there
 * and write into pipes that parent and child share. */
static status launch_run(const struct launch *l, int report_read_fd, error *err)
{
    sigset_t all, before;
    int reason = 0;
    ssize_t n;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t middle = _Fork();
    if (middle == 0) middle_become(l);
    int fork_reason = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(l->report_fd);
    if (middle < 0)
        return fail(err, ERR_IO, "local engine: cannot fork: %s", strerror(fork_reason));
    while (waitpid(middle, NULL, 0) < 0 && errno == EINTR) {}
    do n = read(report_read_fd, &reason, sizeof reason);
    while (n < 0 && errno == EINTR);
    if (n == sizeof reason)
        return fail(err, ERR_IO, "local engine: cannot run %s: %s", l->program, strerror(reason));
    return OK;
}

static void launch_arguments(struct launch *l, const struct local_engine_spec *spec,
                             const char *model_dir, const char *lock_fd, const char *n_threads,
                             const char *socket_path)
{
    const struct {
        const char *name, *value;
    } rows[] = {{"--lock-fd", lock_fd},       {"--socket", socket_path}, {"--model", model_dir},
                {"--backend", spec->backend}, {"--idle", spec->idle},    {"--threads", n_threads}};
    size_t n = 0;
    l->argument[n++] = "dbrx-ls";
    l->argument[n++] = "serve";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!rows[i].value) continue;
        l->argument[n++] = rows[i].name;
        l->argument[n++] = rows[i].value;
    }
    l->argument[n] = NULL;
}

/* The descriptors of one start; all are ours to close, whatever happens. */
static status engine_start(int lock_fd, const char *log_path, const struct local_engine_spec *spec,
                           int64_t *log_offset, error *err)
{
    struct launch l = {.program = spec->program ? spec->program : "/proc/self/exe",
                       .lock_fd = lock_fd};
    char lock_text[16], threads_text[16], *model_dir = NULL;
    int report[2] = {-1, -1};
    struct stat st;
    buffer socket_path = {0};
    status s = path_runtime(&socket_path, "engine.sock", err);
    l.null_fd = open_high("/dev/null", O_RDWR);
    l.log_fd = log_open(log_path);
    if (s != OK) goto out;
    if (l.null_fd < 0 || l.log_fd < 0 || pipe2(report, O_CLOEXEC) != 0) {
        s = fail(err, ERR_IO, "%s: cannot open: %s", log_path, strerror(errno));
        goto out;
    }
    *log_offset = fstat(l.log_fd, &st) == 0 ? st.st_size : 0;
    l.report_fd = fcntl(report[1], F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(report[1]);
    if (l.report_fd < 0) {
        s = fail(err, ERR_IO, "local engine: no descriptor left: %s", strerror(errno));
        goto out;
    }
    snprintf(lock_text, sizeof lock_text, "%d", lock_fd);
    snprintf(threads_text, sizeof threads_text, "%d", spec->n_threads);
    if (spec->model_dir) model_dir = realpath(spec->model_dir, NULL);
    launch_arguments(&l, spec, model_dir ? model_dir : spec->model_dir, lock_text,
                     spec->n_threads > 0 ? threads_text : NULL, socket_path.bytes);
    s = launch_run(&l, report[0], err);
out:
    if (report[0] >= 0) close(report[0]);
    if (l.null_fd >= 0) close(l.null_fd);
    if (l.log_fd >= 0) close(l.log_fd);
    free(model_dir);
    buffer_free(&socket_path);
    return s;
}

status local_engine_look(struct local_finding *out, const struct local_engine_spec *spec,
                         bool may_start, int64_t log_from, error *err)
{
    int lock_fd;
    bool held = false;
    buffer log_path = {0};
    *out = (struct local_finding){0};
    status s = lock_try(&lock_fd, &held, err);
    if (s != OK) return s;
    if (held) {
        out->outcome = LOCAL_HELD;
        out->holder = holder_read(lock_fd);
        goto out;
    }
    out->outcome = LOCAL_FREE;
    if ((s = path_state(&log_path, "engine.log", err)) != OK) goto out;
    if (log_from >= 0) last_words_read(out->last_words, log_path.bytes, log_from);
    /* The pid of an engine that is gone must not be taken for the next one's. */
    if (ftruncate(lock_fd, 0) != 0)
        s = fail(err, ERR_IO, "engine.lock: cannot empty: %s", strerror(errno));
    if (s != OK || !may_start) goto out;
    s = engine_start(lock_fd, log_path.bytes, spec, &out->log_offset, err);
    if (s == OK) out->outcome = LOCAL_STARTED;
out:
    close(lock_fd);
    buffer_free(&log_path);
    return s;
}

/* The lock is looked at again once the process is pinned by a pidfd: if it is still held and the
 * file still names this pid, the pid was the engine's when it was pinned and cannot be reused. */
status local_engine_signal(int signal_number, error *err)
{
    int lock_fd = -1, again_fd = -1, process_fd = -1;
    bool held = false;
    status s = lock_try(&lock_fd, &held, err);
    if (s != OK) return s;
    pid_t pid = held ? holder_read(lock_fd) : 0;
    if (pid == 0) {
        s = fail(err, ERR_BUSY, "engine.lock: %s", held ? "no pid in it yet" : "nobody holds it");
        goto out;
    }
    process_fd = pidfd_open(pid, 0);
    close(lock_fd);
    lock_fd = -1;
    if ((s = lock_try(&again_fd, &held, err)) != OK) goto out;
    if (!held || holder_read(again_fd) != pid)
        s = fail(err, ERR_BUSY, "engine.lock: changed hands");
    else if (process_fd >= 0 ? pidfd_send_signal(process_fd, signal_number, NULL, 0) != 0
                             : kill(pid, signal_number) != 0)
        s = fail(err, ERR_IO, "engine of pid %ld: cannot signal: %s", (long)pid, strerror(errno));
out:
    if (lock_fd >= 0) close(lock_fd);
    if (again_fd >= 0) close(again_fd);
    if (process_fd >= 0) close(process_fd);
    return s;
}
