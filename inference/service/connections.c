#include "inference/service/connections.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "inference/service/key_ring.h"

enum { ATTEMPTS_AT_ONCE = 20 };

static const unsigned char mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

static struct peer_address address_of(const struct sockaddr *from)
{
    struct peer_address out = {0};
    if (from && from->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, from, sizeof v4);
        memcpy(out.bytes, mapped_prefix, sizeof mapped_prefix);
        memcpy(out.bytes + 12, &v4.sin_addr, 4);
        out.known = true;
    } else if (from && from->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, from, sizeof v6);
        bool mapped = IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) || IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
        memcpy(out.bytes, &v6.sin6_addr, mapped ? 16 : 8);
        out.known = true;
    }
    return out;
}

static bool is_same(const struct peer_address *a, const struct peer_address *b)
{
    return a->known && b->known && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void peer_address_print(char *out, size_t size, const struct peer_address *address)
{
    char words[INET6_ADDRSTRLEN] = "?";
    bool v4 = memcmp(address->bytes, mapped_prefix, sizeof mapped_prefix) == 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, address->bytes + (v4 ? 12 : 0), words, sizeof words);
    snprintf(out, size, "%s", address->known ? words : "a socket");
}

void connections_open(struct connections *all)
{
    *all = (struct connections){0};
    pthread_mutex_init(&all->mutex, NULL);
}

bool connection_welcome(struct connections *all, const struct sockaddr *address)
{
    struct peer_address from = address_of(address);
    int64_t strange = 0;
    pthread_mutex_lock(&all->mutex);
    for (const struct connection *c = all->first; c; c = c->next)
        strange += c->key_id == CALLER_NOBODY && is_same(&c->address, &from);
    pthread_mutex_unlock(&all->mutex);
    return strange < HTTP_CONNECTIONS_STRANGE_MAX;
}

struct connection *connection_begin(struct connections *all, int fd, const struct sockaddr *address)
{
    struct connection *c = memory_take(1, sizeof *c);
    if (!c) return NULL;
    *c = (struct connection){
        .fd = fd, .address = address_of(address), .until_us = clock_us() + HTTP_HEADER_FIRST_US};
    pthread_mutex_lock(&all->mutex);
    c->next = all->first;
    if (c->next) c->next->before = c;
    all->first = c;
    all->n++;
    pthread_mutex_unlock(&all->mutex);
    return c;
}

void connection_end(struct connections *all, struct connection *c)
{
    if (!c) return;
    pthread_mutex_lock(&all->mutex);
    if (c->next) c->next->before = c->before;
    if (c->before)
        c->before->next = c->next;
    else
        all->first = c->next;
    all->n--;
    pthread_mutex_unlock(&all->mutex);
    memory_free(c);
}

void connection_allow(struct connections *all, struct connection *c, int64_t us)
{
    pthread_mutex_lock(&all->mutex);
    c->until_us = us < 0 ? INT64_MAX : clock_us() + us;
    pthread_mutex_unlock(&all->mutex);
}

int64_t connection_name(struct connections *all, struct connection *c, uint64_t key_id)
{
    int64_t n = 0;
    pthread_mutex_lock(&all->mutex);
    c->key_id = key_id;
    for (const struct connection *other = all->first; other; other = other->next)
        n += other->key_id == key_id;
    pthread_mutex_unlock(&all->mutex);
    return n;
}

int64_t connections_count(struct connections *all)
{
    pthread_mutex_lock(&all->mutex);
    int64_t n = all->n;
    pthread_mutex_unlock(&all->mutex);
    return n;
}

void connections_check(struct connections *all, bool (*holds)(void *context, uint64_t key_id),
                       void *context)
{
    int64_t now_us = clock_us();
    pthread_mutex_lock(&all->mutex);
    for (struct connection *c = all->first; c; c = c->next) {
        if (now_us < c->until_us && (!holds || holds(context, c->key_id))) continue;
        shutdown(c->fd, SHUT_RDWR);
        c->until_us = INT64_MAX;
    }
    pthread_mutex_unlock(&all->mutex);
}

/* The slot of an address, refilled up to now. Another address that falls on it starts afresh. */
static struct attempts *slot_of(struct connections *all, const struct peer_address *address)
{
    uint64_t hash = hash_text((text){(const char *)address->bytes, sizeof address->bytes});
    struct attempts *slot = &all->attempts[hash % ATTEMPT_SLOTS];
    int64_t now_us = clock_us();
    if (!is_same(&slot->address, address))
        *slot = (struct attempts){.address = *address, .left = ATTEMPTS_AT_ONCE, .at_us = now_us};
    slot->left += (double)(now_us - slot->at_us) * 1e-6;
    if (slot->left > ATTEMPTS_AT_ONCE) slot->left = ATTEMPTS_AT_ONCE;
    slot->at_us = now_us;
    return slot;
}

bool attempt_allowed(struct connections *all, const struct connection *c)
{
    pthread_mutex_lock(&all->mutex);
    bool allowed = slot_of(all, &c->address)->left >= 1;
    pthread_mutex_unlock(&all->mutex);
    return allowed;
}

void attempt_failed(struct connections *all, const struct connection *c)
{
    pthread_mutex_lock(&all->mutex);
    slot_of(all, &c->address)->left -= 1;
    pthread_mutex_unlock(&all->mutex);
}
