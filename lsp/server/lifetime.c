/* The kernel's signal comes when the *thread* that started us ends, and editors start servers from
 * threads that do end. So it has a signal of its own and counts only if the parent is another. */
#include "lsp/server/lifetime.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { WATCH_MS = 2000, ORPHAN_SIGNAL = SIGUSR2 };

static void on_signal(uv_signal_t *handle, int number)
{
    (void)number;
    struct lifetime *l = handle->data;
    l->on_end(l->context, "a signal");
}

static void on_orphaned(uv_signal_t *handle, int number)
{
    (void)number;
    struct lifetime *l = handle->data;
    if (getppid() != l->parent) l->on_end(l->context, "the parent process ended");
}

static void on_watch(uv_timer_t *timer)
{
    struct lifetime *l = timer->data;
    if (kill(l->client, 0) != 0 && errno == ESRCH)
        l->on_end(l->context, "the client's process ended");
}

static int signal_open(struct lifetime *l, uv_loop_t *loop, uv_signal_t *handle, uv_signal_cb call,
                       int number)
{
    int rc = uv_signal_init(loop, handle);
    handle->data = l;
    return rc < 0 ? rc : uv_signal_start(handle, call, number);
}

status lifetime_open(struct lifetime *l, uv_loop_t *loop,
                     void (*on_end)(void *context, const char *reason), void *context, error *err)
{
    l->on_end = on_end;
    l->context = context;
    l->parent = getppid();
    uv_timer_init(loop, &l->watch);
    l->watch.data = l;
    int rc = signal_open(l, loop, &l->terminate, on_signal, SIGTERM);
    if (rc == 0) rc = signal_open(l, loop, &l->interrupt, on_signal, SIGINT);
    if (rc == 0) rc = signal_open(l, loop, &l->hangup, on_signal, SIGHUP);
    if (rc == 0) rc = signal_open(l, loop, &l->orphaned, on_orphaned, ORPHAN_SIGNAL);
    if (rc < 0) return fail(err, ERR_IO, "signals: %s", uv_strerror(rc));
    if (prctl(PR_SET_PDEATHSIG, ORPHAN_SIGNAL) != 0) return OK; /* end of input tells, too */
    return OK;
}

void lifetime_watch(struct lifetime *l, int64_t process_id)
{
    if (process_id <= 1 || process_id > INT32_MAX) return;
    if (kill((pid_t)process_id, 0) != 0 && errno == ESRCH) return;
    l->client = (pid_t)process_id;
    uv_timer_start(&l->watch, on_watch, WATCH_MS, WATCH_MS);
}

void lifetime_close(struct lifetime *l)
{
    uv_close((uv_handle_t *)&l->terminate, NULL);
    uv_close((uv_handle_t *)&l->interrupt, NULL);
    uv_close((uv_handle_t *)&l->hangup, NULL);
    uv_close((uv_handle_t *)&l->orphaned, NULL);
    uv_close((uv_handle_t *)&l->watch, NULL);
}
