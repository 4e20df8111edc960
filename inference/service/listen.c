/* A socket file says nothing about its owner's life, so it is asked: a connection that is refused
 * proves that nobody listens. Between that question and our bind another process might do the same;
 * a lock on the directory makes the three steps one, and leaves no file behind. */
#include "inference/service/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

enum { ASK_AGAIN_US = 20000 };

static status address_unix(struct sockaddr_un *out, const char *path, error *err)
{
    size_t size = strlen(path);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (size == 0 || size >= sizeof out->sun_path)
        return fail(err, ERR_LIMIT, "socket path has %zu bytes, expected 1 to %zu: %s", size,
                    sizeof out->sun_path - 1, path);
    memcpy(out->sun_path, path, size + 1);
    return OK;
}

/* Locks the directory `path` lies in; closing the descriptor unlocks. */
static status directory_lock(int *fd, const char *path, error *err)
{
    char directory[sizeof((struct sockaddr_un *)0)->sun_path];
    const char *slash = strrchr(path, '/');
    size_t size = slash ? (size_t)(slash - path) : 0;
    memcpy(directory, path, size);
    directory[size] = 0;
    const char *name = size ? directory : slash ? "/" : ".";
    *fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) return fail(err, ERR_IO, "%s: %s", name, strerror(errno));
    while (flock(*fd, LOCK_EX) != 0)
        if (errno != EINTR) {
            int reason = errno;
            close(*fd);
            return fail(err, ERR_IO, "%s: cannot lock: %s", name, strerror(reason));
        }
    return OK;
}

static bool somebody_listens(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return true;
    bool refused = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
                   (errno == ECONNREFUSED || errno == ENOENT);
    close(fd);
    return !refused;
}

/* Makes room for our socket: nothing, or a dead one, may lie at `path`. */
static status path_clear(const struct sockaddr_un *address, int64_t patience_us, error *err)
{
    const char *path = address->sun_path;
    struct stat st;
    int64_t until_us = clock_us() + patience_us;
    if (lstat(path, &st) != 0) return OK;
    if (!S_ISSOCK(st.st_mode))
        return fail(err, ERR_IO, "%s: something that is no socket lies there", path);
    while (somebody_listens(address)) {
        if (clock_us() >= until_us)
            return fail(err, ERR_BUSY, "%s: the socket is in use by another process", path);
        clock_sleep_us(ASK_AGAIN_US);
    }
    if (unlink(path) == 0 || errno == ENOENT) return OK;
    return fail(err, ERR_IO, "%s: cannot remove the old socket: %s", path, strerror(errno));
}

static status bind_unix(struct listener *out, const struct sockaddr_un *address, error *err)
{
    struct stat st;
    const char *path = address->sun_path;
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0) return fail(err, ERR_IO, "socket: %s", strerror(errno));
    mode_t before = umask(0177);
    bool bound = bind(out->fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
                 listen(out->fd, SOMAXCONN) == 0 && lstat(path, &st) == 0;
    int reason = errno;
    umask(before);
    if (!bound) {
        close(out->fd);
        return fail(err, ERR_IO, "%s: cannot listen: %s", path, strerror(reason));
    }
    out->device = st.st_dev;
    out->inode = st.st_ino;
    memcpy(out->path, path, sizeof out->path);
    return OK;
}

status listen_unix(struct listener *out, const char *path, int64_t patience_us, error *err)
{
    struct sockaddr_un address;
    int directory;
    *out = (struct listener){.fd = -1};
    status s = address_unix(&address, path, err);
    if (s == OK) s = directory_lock(&directory, path, err);
    if (s != OK) return s;
    s = path_clear(&address, patience_us, err);
    if (s == OK) s = bind_unix(out, &address, err);
    close(directory);
    return s;
}

static status address_tcp(struct sockaddr_storage *out, socklen_t *size, const char *host, int port,
                          error *err)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    if (!host || strcmp(host, "localhost") == 0) host = "127.0.0.1";
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        memcpy(out, &v4, *size = sizeof v4);
        return OK;
    }
    if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        memcpy(out, &v6, *size = sizeof v6);
        return OK;
    }
    return fail(err, ERR_USAGE,
                "--host: found \"%s\", expected an address (127.0.0.1, 0.0.0.0, ::1, ::)", host);
}

static bool is_loopback(const struct sockaddr_storage *address)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, address, sizeof v4);
    memcpy(&v6, address, sizeof v6);
    if (address->ss_family == AF_INET) return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* Keys and source code cross no network in the clear. */
static status reach_check(const struct sockaddr_storage *address, bool tls, error *err)
{
    if (tls || is_loopback(address)) return OK;
    return fail(err, ERR_USAGE,
                "--host: an address beyond loopback needs --tls-cert and --tls-key (or stay on "
                "127.0.0.1 and "
                "forward the port over SSH)");
}

static int port_of(int fd)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0) return 0;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memcpy(&v4, &bound, sizeof v4);
    memcpy(&v6, &bound, sizeof v6);
    return ntohs(bound.ss_family == AF_INET6 ? v6.sin6_port : v4.sin_port);
}

status listen_inherited(struct listener *out, int fd, bool tls, error *err)
{
    struct sockaddr_storage bound = {0};
    socklen_t size = sizeof bound;
    *out = (struct listener){.fd = fd, .port = port_of(fd)};
    if (getsockname(fd, (struct sockaddr *)&bound, &size) != 0)
        return fail(err, ERR_IO, "LISTEN_FDS: %s", strerror(errno));
    return reach_check(&bound, tls, err);
}

status listen_tcp(struct listener *out, const char *host, int port, bool tls, error *err)
{
    struct sockaddr_storage address;
    socklen_t size = 0;
    int on = 1;
    *out = (struct listener){.fd = -1};
    status s = address_tcp(&address, &size, host, port, err);
    if (s == OK) s = reach_check(&address, tls, err);
    if (s != OK) return s;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return fail(err, ERR_IO, "socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&address, size) != 0 || listen(fd, SOMAXCONN) != 0) {
        int reason = errno;
        close(fd);
        return fail(err, reason == EADDRINUSE ? ERR_BUSY : ERR_IO, "port %d of %s: %s", port,
                    host ? host : "127.0.0.1", strerror(reason));
    }
    *out = (struct listener){.fd = fd, .port = port_of(fd)};
    return OK;
}

void listener_remove(struct listener *l)
{
    struct stat st;
    if (l->path[0] && lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
        unlink(l->path);
    l->path[0] = 0;
}

static status pid_write(int fd, error *err)
{
    char line[32];
    int size = snprintf(line, sizeof line, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0 && pwrite(fd, line, (size_t)size, 0) == size) return OK;
    return fail(err, ERR_IO, "engine.lock: cannot write the pid: %s", strerror(errno));
}

/* The holder as the file names it; 0 when it does not (yet). */
static long pid_read(int fd)
{
    char line[32] = "";
    long pid = 0;
    if (pread(fd, line, sizeof line - 1, 0) > 0) sscanf(line, "%ld", &pid);
    return pid;
}

status lock_take(int *fd, const char *path, error *err)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (*fd < 0) return fail(err, ERR_IO, "%s: cannot open: %s", path, strerror(errno));
    status s = OK;
    if (flock(*fd, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        s = reason == EWOULDBLOCK
                ? fail(err, ERR_BUSY, "%s: an engine runs already (pid %ld)", path, pid_read(*fd))
                : fail(err, ERR_IO, "%s: cannot lock: %s", path, strerror(reason));
    } else {
        s = pid_write(*fd, err);
    }
    if (s == OK) return OK;
    close(*fd);
    *fd = -1;
    return s;
}

status lock_adopt(int fd, error *err)
{
    int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0)
        return fail(err, ERR_USAGE, "--lock-fd: %d is no open descriptor", fd);
    /* On the description that holds the lock this changes nothing; on any other it must not wait. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0)
        return fail(err, ERR_BUSY, "--lock-fd: descriptor %d: %s", fd,
                    errno == EWOULDBLOCK ? "another process holds the lock" : strerror(errno));
    return pid_write(fd, err);
}
