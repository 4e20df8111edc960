/* Blocking sockets and threads: as different from the client under test as can be. */
#include "tests/unit/support/scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* In the order of enum route. */
static const char *const route_paths[ROUTES] = {
    "GET /v1/dbrx ",         "GET /v1/dbrx/events ", "GET /v1/dbrx/tokenizer ",
    "POST /v1/completions ", "GET /v1/models ",      "POST /v1/chat/completions ",
    "POST /detokenize ",
};

struct connection {
    struct server *server;
    int fd;
};

static bool send_all(int fd, const char *bytes, size_t size)
{
    while (size) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes += n;
        size -= (size_t)n;
    }
    return true;
}

/* False when the peer or the test ends it. */
static bool wait_readable(const struct server *s, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (!atomic_load(&s->stopping))
        if (poll(&p, 1, 10) > 0) return true;
    return false;
}

/* Reads one request into head and body; false at the end of the connection. */
static bool request_read(const struct server *s, int fd, char *head, size_t head_room, char *body,
                         size_t body_room)
{
    size_t size = 0, body_size = 0;
    head[0] = body[0] = 0;
    while (!strstr(head, "\r\n\r\n")) {
        if (!wait_readable(s, fd) || size + 1 >= head_room) return false;
        ssize_t n = recv(fd, head + size, 1, 0);
        if (n <= 0) return false;
        head[++size] = 0;
    }
    const char *length = strcasestr(head, "Content-Length:");
    size_t wanted = length ? strtoul(length + 15, NULL, 10) : 0;
    while (body_size < wanted && body_size + 1 < body_room) {
        if (!wait_readable(s, fd)) return false;
        ssize_t n = recv(fd, body + body_size, wanted - body_size, 0);
        if (n <= 0) return false;
        body_size += (size_t)n;
        body[body_size] = 0;
    }
    return true;
}

/* Sends until the peer has closed; what it still sends is thrown away. */
static void go_on_until_closed(struct server *s, int fd, const struct reply *r)
{
    char thrown[256];
    while (!atomic_load(&s->stopping)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        bool talks = r->after == AFTER_FLOOD || r->after == AFTER_DRIP;
        if (talks && !send_all(fd, r->flood, strlen(r->flood))) break;
        int wait_ms = r->after == AFTER_FLOOD ? 0 : 20;
        if (poll(&p, 1, wait_ms) > 0 && recv(fd, thrown, sizeof thrown, 0) <= 0) break;
    }
    if (!atomic_load(&s->stopping)) atomic_fetch_add(&s->n_hung_up, 1);
}

static void *connection_run(void *context)
{
    struct connection c = *(struct connection *)context;
    struct server *s = c.server;
    char *head = malloc(8192), *body = malloc(65536);
    free(context);
    while (head && body && request_read(s, c.fd, head, 8192, body, 65536)) {
        struct reply r = {.after = AFTER_CLOSE};
        for (int i = 0; i < ROUTES; i++) {
            if (strncmp(head, route_paths[i], strlen(route_paths[i])) != 0) continue;
            int before = atomic_fetch_add(&s->n_requests[i], 1);
            r = before > 0 && s->later[i].bytes ? s->later[i] : s->replies[i];
            if (i != ROUTE_COMPLETIONS && i != ROUTE_CHAT) continue;
            pthread_mutex_lock(&s->lock);
            memcpy(s->last_body, body, 65536);
            memcpy(s->last_head, head, 8192);
            pthread_mutex_unlock(&s->lock);
        }
        if (strncmp(head, "GET /health ", 12) == 0)
            r = (struct reply){.bytes = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
        if (r.bytes && !send_all(c.fd, r.bytes, strlen(r.bytes))) break;
        if (r.after == AFTER_CLOSE) break;
        if (r.after != AFTER_KEEP) {
            go_on_until_closed(s, c.fd, &r);
            break;
        }
    }
    free(head);
    free(body);
    close(c.fd);
    return NULL;
}

static void *server_run(void *context)
{
    struct server *s = context;
    while (wait_readable(s, s->listen_fd) && s->n_connections < CONNECTIONS_MAX) {
        struct connection *c = malloc(sizeof *c);
        if (!c) break;
        *c = (struct connection){.server = s, .fd = accept(s->listen_fd, NULL, NULL)};
        if (c->fd < 0 ||
            pthread_create(&s->connections[s->n_connections], NULL, connection_run, c) != 0) {
            if (c->fd >= 0) close(c->fd);
            free(c);
            continue;
        }
        s->n_connections++;
    }
    return NULL;
}

void server_start(struct server *s)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    pthread_mutex_init(&s->lock, NULL);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->listen_fd, (struct sockaddr *)&address, size) != 0 ||
        listen(s->listen_fd, 64) != 0 ||
        getsockname(s->listen_fd, (struct sockaddr *)&address, &size) != 0 ||
        pthread_create(&s->thread, NULL, server_run, s) != 0) {
        perror("scripted server");
        exit(1);
    }
    s->port = ntohs(address.sin_port);
}

void server_stop(struct server *s)
{
    atomic_store(&s->stopping, true);
    pthread_join(s->thread, NULL);
    for (int i = 0; i < s->n_connections; i++) pthread_join(s->connections[i], NULL);
    close(s->listen_fd);
    pthread_mutex_destroy(&s->lock);
}
