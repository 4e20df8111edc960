#include "inference/service/notify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { LISTEN_FD_FIRST = 3 };

static int notify_fd = -1;
static struct sockaddr_un manager;
static socklen_t manager_size;
static int64_t watchdog_us, alive_us; /* half the manager's patience, 0: it does not watch */

/* A decimal number, 0 when it is none. */
static int64_t number_of(const char *name)
{
    const char *value = getenv(name);
    return value ? strtoll(value, NULL, 10) : 0;
}

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    size_t size = path ? strlen(path) : 0;
    int64_t watched = number_of("WATCHDOG_PID");
    if (watched == 0 || watched == getpid()) watchdog_us = number_of("WATCHDOG_USEC") / 2;
    if (size > 1 && size < sizeof manager.sun_path && (*path == '/' || *path == '@')) {
        manager.sun_family = AF_UNIX;
        memcpy(manager.sun_path, path, size);
        if (*path == '@') manager.sun_path[0] = 0; /* abstract */
        manager_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
        notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void notify_send(const char *format, ...)
{
    char message[1024];
    va_list args;
    if (notify_fd < 0) return;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    size_t size = n < 0 ? 0 : (size_t)n < sizeof message ? (size_t)n : sizeof message - 1;
    (void)sendto(notify_fd, message, size, MSG_NOSIGNAL | MSG_DONTWAIT,
                 (const struct sockaddr *)&manager, manager_size);
}

void notify_alive(void)
{
    int64_t now_us = clock_us();
    if (watchdog_us <= 0 || now_us - alive_us < watchdog_us / 2) return;
    alive_us = now_us;
    notify_send("WATCHDOG=1");
}

static bool is_listening_tcp(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound, value_size = sizeof(int);
    int listening = 0, type = 0;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &value_size) == 0 && listening &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &value_size) == 0 && type == SOCK_STREAM &&
           getsockname(fd, (struct sockaddr *)&bound, &size) == 0 &&
           (bound.ss_family == AF_INET || bound.ss_family == AF_INET6);
}

status notify_socket(int *fd, error *err)
{
    bool ours = number_of("LISTEN_PID") == getpid();
    int64_t n = ours ? number_of("LISTEN_FDS") : 0;
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    *fd = -1;
    if (n == 0) return OK;
    if (n != 1 || !is_listening_tcp(LISTEN_FD_FIRST))
        return fail(err, ERR_USAGE, "LISTEN_FDS: expected one listening TCP socket");
    int flags = fcntl(LISTEN_FD_FIRST, F_GETFL);
    if (fcntl(LISTEN_FD_FIRST, F_SETFD, FD_CLOEXEC) != 0 || flags < 0 ||
        fcntl(LISTEN_FD_FIRST, F_SETFL, flags | O_NONBLOCK) != 0)
        return fail(err, ERR_IO, "LISTEN_FDS: %s", strerror(errno));
    *fd = LISTEN_FD_FIRST;
    return OK;
}
