/* The lease: an event stream that a front keeps open as long as it wants the engine. It tells what
 * changes (state, loading, queue) and speaks at least every 10 s, so that either side notices when
 * the other is gone. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "inference/service/json_write.h"
#include "inference/service/routes.h"

/* Queue and running are looked at this often while there is work, and seldom without: a new request
 * wakes the stream. */
enum { LOOK_BUSY_MS = 50, LOOK_IDLE_MS = 500, PING_US = 10000000 };

struct lease {
    struct http_source source;
    struct service *service;
    int fd;
    char told[64]; /* the event sent last, but for the reason */
    buffer out;
    size_t sent;
    bool busy;
    uint64_t version; /* of the state looked at last */
    int64_t spoken_us;
};

/* Puts an event into l->out if something changed. */
static void lease_look(struct lease *l)
{
    struct service_view view;
    struct engine_stats stats = {0};
    char now[sizeof l->told];
    service_look(l->service, &view);
    if (view.engine) engine_stats(view.engine, &stats);
    snprintf(now, sizeof now, "\"%s\",\"progress\":%.2f,\"queue\":%d,\"running\":%d",
             service_state_name(view.state), view.progress, (int)stats.n_queued,
             (int)stats.n_running);
    l->version = view.version;
    l->busy = view.n_work > 0 || stats.n_queued + stats.n_running > 0;
    if (strcmp(now, l->told) != 0) {
        memcpy(l->told, now, sizeof now);
        buffer_print(&l->out, "data: {\"state\":%s", now);
        if (view.reason[0]) {
            buffer_put_text(&l->out, TEXT(",\"reason\":"));
            json_put_chars(&l->out, view.reason);
        }
        buffer_put_text(&l->out, TEXT("}\n\n"));
    } else if (clock_us() - l->spoken_us >= PING_US) {
        buffer_put_text(&l->out, TEXT(": ping\n\n"));
    }
}

static ssize_t lease_read(struct http_source *source, char *out, size_t room)
{
    struct lease *l = (struct lease *)source;
    for (;;) {
        if (l->sent == l->out.size) {
            buffer_clear(&l->out);
            l->sent = 0;
            lease_look(l);
        }
        if (l->out.failed || http_peer_gone(l->fd)) return -1;
        if (l->sent < l->out.size) break;
        if (atomic_load(&l->service->stopping)) return 0;
        service_wait(l->service, l->version, l->busy ? LOOK_BUSY_MS : LOOK_IDLE_MS);
    }
    size_t n = l->out.size - l->sent < room ? l->out.size - l->sent : room;
    memcpy(out, l->out.bytes + l->sent, n);
    l->sent += n;
    l->spoken_us = clock_us();
    return (ssize_t)n;
}

static void lease_close(struct http_source *source)
{
    struct lease *l = (struct lease *)source;
    service_lease_end(l->service);
    buffer_free(&l->out);
    memory_free(l);
}

bool lease_handle(struct exchange *x)
{
    struct lease *l = memory_take(1, sizeof *l);
    if (!l) return false;
    l->source = (struct http_source){lease_read, lease_close};
    l->service = x->service;
    l->fd = x->fd;
    service_lease_begin(x->service);
    return http_reply_stream(x, &l->source);
}
