#include "inference/service/key_ring.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/sha256.h"

uint64_t owner_of(const char *kind, const void *bytes, size_t size)
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

static void digest_of(unsigned char out[32], text key)
{
    struct sha256 h;
    sha256_begin(&h);
    sha256_put(&h, key.bytes, key.size);
    sha256_end(&h, out);
}

static uint64_t id_of(const struct access_key *key)
{
    uint64_t id = owner_of("key id", key->salt, sizeof key->salt);
    return id < CALLER_KEYS ? id + CALLER_KEYS : id;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mode == b->st_mode && a->st_uid == b->st_uid &&
           memcmp(&a->st_mtim, &b->st_mtim, sizeof a->st_mtim) == 0 &&
           memcmp(&a->st_ctim, &b->st_ctim, sizeof a->st_ctim) == 0;
}

/* Reads the file when it is another one than before. Behind the mutex. Out of memory or descriptors
 * says nothing about the keys: they stay, and the next look tries again. */
static status ring_look(struct key_ring *r, error *err)
{
    struct stat now = {0};
    struct access_keys keys;
    int away = r->path && stat(r->path, &now) != 0 ? errno : 0;
    if (!r->path || (away ? away == r->away : is_same(&now, &r->seen))) return OK;
    status s = keys_read(&keys, r->path, err);
    if (s == ERR_MEMORY || s == ERR_BUSY) return s;
    keys_free(&r->keys);
    if (s == OK) r->keys = keys;
    r->seen = now;
    r->away = away;
    r->version++;
    return s;
}

static void ring_refresh(struct key_ring *r)
{
    error err;
    uint64_t before = r->version;
    if (ring_look(r, &err) != OK)
        log_line(LOG_ERROR, "serve: %s%s",
                 r->version == before ? "" : "no key is valid: ", err.message);
    else if (r->version != before)
        log_line(LOG_INFO, "serve: %s: %zu keys", r->path, r->keys.n);
}

status key_ring_open(struct key_ring *r, const char *path, const char *single, error *err)
{
    *r = (struct key_ring){.path = path, .has_single = single && *single};
    pthread_mutex_init(&r->mutex, NULL);
    if (r->has_single) digest_of(r->single, text_of(single));
    return ring_look(r, err);
}

void key_ring_close(struct key_ring *r)
{
    keys_free(&r->keys);
    pthread_mutex_destroy(&r->mutex);
}

bool key_ring_find(struct key_ring *r, text key, struct caller *out)
{
    pthread_mutex_lock(&r->mutex);
    ring_refresh(r);
    const struct access_key *found = keys_find(&r->keys, key);
    if (found) {
        *out = (struct caller){.admin = found->admin,
                               .owner = owner_of("key", found->salt, sizeof found->salt),
                               .key_id = id_of(found)};
        snprintf(out->name, sizeof out->name, "%s", found->name);
    }
    pthread_mutex_unlock(&r->mutex);
    return found != NULL;
}

bool key_ring_is_single(struct key_ring *r, text key, struct caller *out)
{
    unsigned char digest[32], differs = !r->has_single;
    digest_of(digest, key);
    for (size_t i = 0; i < sizeof digest; i++) differs |= digest[i] ^ r->single[i];
    if (differs) return false;
    *out = (struct caller){.name = "DBRX_API_KEY",
                           .admin = true,
                           .owner = owner_of("key", digest, sizeof digest),
                           .key_id = CALLER_SINGLE};
    return true;
}

uint64_t key_ring_version(struct key_ring *r)
{
    pthread_mutex_lock(&r->mutex);
    ring_refresh(r);
    uint64_t version = r->version;
    pthread_mutex_unlock(&r->mutex);
    return version;
}

bool key_ring_holds(struct key_ring *r, uint64_t key_id)
{
    bool holds = key_id < CALLER_KEYS;
    pthread_mutex_lock(&r->mutex);
    for (size_t i = 0; !holds && i < r->keys.n; i++) holds = id_of(&r->keys.rows[i]) == key_id;
    pthread_mutex_unlock(&r->mutex);
    return holds;
}

int64_t key_ring_count(struct key_ring *r)
{
    pthread_mutex_lock(&r->mutex);
    int64_t n = (int64_t)r->keys.n + r->has_single;
    pthread_mutex_unlock(&r->mutex);
    return n;
}
