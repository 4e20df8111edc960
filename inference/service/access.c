/* The namespace of the KV cache is derived here from what a client cannot choose: the digest of its
 * key or the uid the kernel reports. */
#include "inference/service/access.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/sha256.h"

void key_digest(unsigned char out[32], text key)
{
    struct sha256 h;
    sha256_begin(&h);
    sha256_put(&h, key.bytes, key.size);
    sha256_end(&h, out);
}

static uint64_t owner_of(const char *kind, const void *bytes, size_t size)
{
    struct sha256 h;
    unsigned char digest[32];
    uint64_t owner;
    sha256_begin(&h);
    sha256_put(&h, kind, strlen(kind) + 1);
    sha256_put(&h, bytes, size);
    sha256_end(&h, digest);
    memcpy(&owner, digest, sizeof owner);
    return owner;
}

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
        x->owner = owner_of("uid", &peer.uid, sizeof peer.uid);
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

static bool host_check(struct exchange *x)
{
    const char *header = http_header(x, "Host");
    const char *const ours[] = {x->service->host, "localhost", "127.0.0.1", "::1"};
    text host = host_name(header);
    for (size_t i = 0; header && i < sizeof ours / sizeof *ours; i++)
        if (host.size == strlen(ours[i]) && strncasecmp(host.bytes, ours[i], host.size) == 0)
            return true;
    http_refuse(&x->refusal, 403, "wrong_host", "Host: found \"%.64s\", expected %s",
                header ? header : "", x->service->host);
    return false;
}

static bool digests_equal(const unsigned char a[32], const unsigned char b[32])
{
    unsigned char differs = 0;
    for (int i = 0; i < 32; i++) differs |= (unsigned char)(a[i] ^ b[i]);
    return differs == 0;
}

static bool bearer_check(struct exchange *x)
{
    const char *header = http_header(x, "Authorization");
    unsigned char digest[32];
    if (!header || strncasecmp(header, "Bearer ", 7) != 0) {
        http_refuse(&x->refusal, 401, "invalid_api_key",
                    "Authorization: expected \"Bearer KEY\" with the key in DBRX_API_KEY");
        return false;
    }
    key_digest(digest, text_trim(text_of(header + 7)));
    if (!digests_equal(digest, x->service->key_digest)) {
        http_refuse(&x->refusal, 401, "invalid_api_key",
                    "Authorization: the key is not the right one");
        return false;
    }
    x->owner = owner_of("key", digest, sizeof digest);
    return true;
}

bool access_check(struct exchange *x, bool open)
{
    if (!x->service->tcp) return peer_check(x);
    return host_check(x) && (open || bearer_check(x));
}
