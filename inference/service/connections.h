/* The open connections: how many of whom, and how long each may take to say what it wants.
 *
 * libmicrohttpd's own timeout is about silence; a peer that sends a byte now and then defeats it.
 * Here every connection has a moment by which its headers, then its body, must be there. What must
 * end is shut down, not closed: its thread then finds its peer gone and cleans up as always.
 * Also the limit on wrong keys, which is by address too. Any thread; one mutex. */
#ifndef INFERENCE_SERVICE_CONNECTIONS_H
#define INFERENCE_SERVICE_CONNECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sockaddr;

/* An IPv4 address, or the half of an IPv6 address that one subscriber gets. */
struct peer_address {
    bool known; /* false: a Unix socket's */
    unsigned char bytes[16];
};

struct connection {
    struct connection *next, *before;
    int fd;
    struct peer_address address;
    uint64_t key_id;  /* of the last request's caller; CALLER_NOBODY before */
    int64_t until_us; /* INT64_MAX: no limit now */
};

enum { ATTEMPT_SLOTS = 256 };

struct connections {
    pthread_mutex_t mutex;
    struct connection *first;
    int64_t n;
    struct attempts {
        struct peer_address address;
        double left;
        int64_t at_us;
    } attempts[ATTEMPT_SLOTS];
};

void connections_open(struct connections *all);

/* Whether this address may have one more: it has few that have shown no key. */
bool connection_welcome(struct connections *all, const struct sockaddr *address);

/* NULL: out of memory. */
struct connection *connection_begin(struct connections *all, int fd,
                                    const struct sockaddr *address);
void connection_end(struct connections *all, struct connection *c);

/* From now on it has so long; negative: no limit. */
void connection_allow(struct connections *all, struct connection *c, int64_t us);

/* Its caller is known; returns how many connections he has. */
int64_t connection_name(struct connections *all, struct connection *c, uint64_t key_id);

int64_t connections_count(struct connections *all);

/* Ends those that are late, and those for whose key `holds` says no (NULL: nobody is asked). */
void connections_check(struct connections *all, bool (*holds)(void *context, uint64_t key_id),
                       void *context);

/* Wrong keys: 20 at once, then one a second, by address. Before a look at a key that can be guessed
 * it is asked; after a wrong one it is told. */
bool attempt_allowed(struct connections *all, const struct connection *c);
void attempt_failed(struct connections *all, const struct connection *c);

/* "192.0.2.7", "2001:db8:: /64", "a socket": for logs. */
void peer_address_print(char *out, size_t size, const struct peer_address *address);

#endif
