/* A peer that answers from a script: raw bytes per route, then a way to go on. For test_client*.c.
 *
 * One thread accepts, one per connection answers; everything ends with server_stop. It parses no
 * more of HTTP than the path and the length of the body. */
#ifndef TESTS_UNIT_SUPPORT_SCRIPTED_SERVER_H
#define TESTS_UNIT_SUPPORT_SCRIPTED_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum after {
    AFTER_KEEP,  /* wait for the next request */
    AFTER_CLOSE, /* close the connection */
    AFTER_HOLD,  /* say nothing more, until the peer closes */
    AFTER_FLOOD, /* repeat `flood` until the peer closes */
    AFTER_DRIP   /* repeat `flood` every 20 ms until the peer closes */
};

struct reply {
    const char *bytes; /* whole, with status line and headers; NULL: nothing */
    enum after after;
    const char *flood;
};

enum { ROUTES = 7, CONNECTIONS_MAX = 256 };

/* What it answers to. */
enum route {
    ROUTE_HANDSHAKE,
    ROUTE_EVENTS,
    ROUTE_TOKENIZER,
    ROUTE_COMPLETIONS,
    ROUTE_MODELS,
    ROUTE_CHAT,
    ROUTE_DETOKENIZE
};

struct server {
    struct reply replies[ROUTES];
    struct reply later[ROUTES]; /* from the second request on, where bytes is set */
    atomic_int n_requests[ROUTES], n_hung_up;
    int listen_fd, port;
    pthread_t thread, connections[CONNECTIONS_MAX];
    int n_connections;
    atomic_bool stopping;
    pthread_mutex_t lock;
    char last_body[65536], last_head[8192]; /* of a completion or chat, under the lock */
};

void server_start(struct server *s); /* on a free port of the loopback */
void server_stop(struct server *s);

#endif
