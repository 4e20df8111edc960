#include "inference/service/upkeep.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/paths.h"
#include "inference/service/notify.h"
#include "inference/service/tls.h"

enum { FILES_LOOK_US = 400000, LOADING_TELL_US = 1000000, LOADING_PATIENCE_US = 30000000 };

void log_keep_small(void)
{
    struct stat open_one, named;
    buffer path = {0}, old = {0};
    if (fstat(STDERR_FILENO, &open_one) != 0 || !S_ISREG(open_one.st_mode) ||
        open_one.st_size <= (off_t)ENGINE_LOG_MAX)
        return;
    if (path_state(&path, "engine.log", NULL) == OK && lstat(path.bytes, &named) == 0 &&
        named.st_ino == open_one.st_ino && named.st_dev == open_one.st_dev) {
        buffer_print(&old, "%s.1", path.bytes);
        if (!old.failed && rename(path.bytes, old.bytes) == 0) {
            int fd = open(path.bytes, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
            if (fd >= 0) dup2(fd, STDERR_FILENO);
            if (fd >= 0) close(fd);
        }
    }
    buffer_free(&old);
    buffer_free(&path);
}

static bool caller_stays(void *context, uint64_t key_id) { return key_ring_holds(context, key_id); }

/* Those of revoked keys end when the keys have changed; those that are late end always. */
static void connections_look(struct service *s)
{
    static uint64_t version_seen;
    uint64_t version = s->tcp ? key_ring_version(&s->keys) : 0;
    connections_check(&s->connections, version != version_seen ? caller_stays : NULL, &s->keys);
    version_seen = version;
}

/* To a service manager: how far loading is, that it is ready, that it ends. */
static void state_tell(const struct service *s, const struct service_view *view)
{
    static enum service_state told;
    static int64_t told_us; /* 0: nothing yet */
    int64_t now_us = clock_us();
    bool news = !told_us || view->state != told;
    if (view->state == SERVICE_LOADING && (news || now_us - told_us >= LOADING_TELL_US)) {
        notify_send("STATUS=loading %d %%\nEXTEND_TIMEOUT_USEC=%d", (int)(view->progress * 100),
                    LOADING_PATIENCE_US);
    } else if (view->state == SERVICE_READY && news) {
        notify_send("READY=1\nSTATUS=ready after %.0f s", (double)(now_us - s->started_us) * 1e-6);
    } else if (view->state == SERVICE_FAILED && news) {
        notify_send("STATUS=%s", view->reason);
    } else {
        return;
    }
    told = view->state;
    told_us = now_us;
}

void upkeep(struct service *s, const struct service_view *view)
{
    static int64_t looked_us;
    int64_t now_us = clock_us();
    notify_alive();
    state_tell(s, view);
    if (now_us - looked_us < FILES_LOOK_US) return;
    looked_us = now_us;
    connections_look(s);
    log_keep_small();
    if (s->tls) tls_refresh();
}
