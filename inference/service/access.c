/* The namespace of the KV cache is derived here from what a client cannot choose: its key or the uid
 * the kernel reports.
 *
 * Two kinds of keys, two kinds of care. One of the key file has 256 random bits: whoever shows it is
 * let in, whatever strangers at his address did. The one of DBRX_API_KEY was chosen by a person: an
 * address that has shown too many wrong ones is not even compared with it. */
#include "inference/service/access.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/sha256.h"
#include "inference/service/tls.h"

uint64_t owner_salted(uint64_t owner, text salt)
{
    struct sha256 h;
    unsigned char digest[32];
    if (salt.size == 0) return owner;
    sha256_begin(&h);
    sha256_put(&h, &owner, sizeof owner);
    sha256_put(&h, salt.bytes, salt.size);
    sha256_end(&h, digest);
    memcpy(&owner, digest, sizeof owner);
    return owner;
}

static bool peer_check(struct exchange *x)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(x->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid()) {
        x->caller = (struct caller){.name = "user",
                                    .admin = true,
                                    .owner = owner_of("uid", &peer.uid, sizeof peer.uid),
                                    .key_id = CALLER_SOCKET};
        return true;
    }
    http_refuse(&x->refusal, 403, "foreign_user",
                "this engine serves only the user who started it");
    return false;
}

/* "localhost:8080", "[::1]:8080" -> the name alone. The port may differ: it may be forwarded. */
static text host_name(const char *header)
{
    text host = text_of(header);
    if (host.size && host.bytes[0] == '[') {
        size_t end = text_find(host, TEXT("]"), 0);
        return text_slice(host, 1, end == SIZE_MAX ? 1 : end);
    }
    size_t colon = text_find(host, TEXT(":"), 0);
    return text_slice(host, 0, colon == SIZE_MAX ? host.size : colon);
}

static bool is_name(text host, text name)
{
    return host.size == name.size && strncasecmp(host.bytes, name.bytes, name.size) == 0;
}

/* One of the names between commas. */
static bool is_listed(text host, text names)
{
    while (names.size) {
        size_t comma = text_find(names, TEXT(","), 0);
        if (is_name(host, text_trim(text_slice(names, 0, comma)))) return true;
        names = text_slice(names, comma == SIZE_MAX ? names.size : comma + 1, names.size);
    }
    return false;
}

static bool host_check(struct exchange *x)
{
    const char *header = http_header(x, "Host");
    text host = host_name(header);
    if (host.size && (is_name(host, text_of(x->service->host)) ||
                      is_listed(host, TEXT("localhost,127.0.0.1,::1")) ||
                      is_listed(host, text_of(x->service->allowed_hosts)) ||
                      (x->service->tls && tls_covers(host))))
        return true;
    http_refuse(&x->refusal, 403, "wrong_host",
                "Host: found \"%.64s\", which is no name of this engine (--allowed-host)",
                header ? header : "");
    return false;
}

static bool key_wrong(struct exchange *x)
{
    char address[64];
    attempt_failed(&x->service->connections, x->link);
    atomic_fetch_add(&x->service->meters.wrong_keys, 1);
    peer_address_print(address, sizeof address, &x->link->address);
    log_line(LOG_WARN, "serve: a wrong key from %s", address);
    http_refuse(&x->refusal, 401, "invalid_api_key", "Authorization: the key is not a valid one");
    return false;
}

static bool bearer_check(struct exchange *x)
{
    struct service *s = x->service;
    const char *header = http_header(x, "Authorization");
    if (!header || strncasecmp(header, "Bearer ", 7) != 0) {
        http_refuse(&x->refusal, 401, "invalid_api_key",
                    "Authorization: expected \"Bearer KEY\" with an access key of this engine");
        return false;
    }
    text key = text_trim(text_of(header + 7));
    if (key_ring_find(&s->keys, key, &x->caller)) return true;
    if (!attempt_allowed(&s->connections, x->link)) {
        http_refuse(&x->refusal, 429, "too_many_wrong_keys",
                    "Authorization: too many wrong keys from this address");
        x->refusal.retry_after_s = 1;
        return false;
    }
    return key_ring_is_single(&s->keys, key, &x->caller) || key_wrong(x);
}

/* What the caller has of connections; and whether his key was not revoked while he came in, when
 * nobody looked at this connection yet. */
static bool place_check(struct exchange *x)
{
    struct service *s = x->service;
    int64_t n = connection_name(&s->connections, x->link, x->caller.key_id);
    if (x->caller.key_id < CALLER_KEYS) return true;
    if (!key_ring_holds(&s->keys, x->caller.key_id)) return key_wrong(x);
    if (n <= HTTP_CONNECTIONS_KEY_MAX) return true;
    http_refuse(&x->refusal, 429, "too_many_connections", "more than %d connections of one key",
                HTTP_CONNECTIONS_KEY_MAX);
    x->refusal.retry_after_s = 1;
    return false;
}

bool access_check(struct exchange *x, bool open)
{
    if (!x->service->tcp) return peer_check(x) && place_check(x);
    return host_check(x) && (open || (bearer_check(x) && place_check(x)));
}
