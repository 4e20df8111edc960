/* The keys a running service takes: those of the key file, and the one of DBRX_API_KEY.
 *
 * The file is looked at again when it has changed: at once when a key is shown, and by the watch in
 * between, so that a revoked key's streams end within a second. A file that cannot be read or has a
 * fault lets nobody in. Any thread; one mutex. */
#ifndef INFERENCE_SERVICE_KEY_RING_H
#define INFERENCE_SERVICE_KEY_RING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "inference/service/keys.h"

/* Who asks. `owner` is the namespace of his KV, from what he cannot choose. */
struct caller {
    char name[KEY_NAME_MAX + 1]; /* of the key; for logs */
    bool admin;                  /* sees whose the requests of others are */
    uint64_t owner;
    uint64_t key_id; /* CALLER_SOCKET, CALLER_SINGLE, or of a key in the file */
};

/* Of the Unix socket's peer, and of DBRX_API_KEY's bearers, who may be a whole team. */
enum { CALLER_NOBODY, CALLER_SOCKET, CALLER_SINGLE, CALLER_KEYS };

struct key_ring {
    pthread_mutex_t mutex;
    const char *path; /* NULL: no file */
    struct access_keys keys;
    struct stat seen;
    int away;         /* why the file could not be found, as errno; 0: it could */
    uint64_t version; /* counts changes of the file */
    bool has_single;
    unsigned char single[32];
};

/* `path` may be NULL; single, too. The strings stay the caller's and must outlive the ring. A file
 * with a fault is an error here. */
status key_ring_open(struct key_ring *r, const char *path, const char *single, error *err);

void key_ring_close(struct key_ring *r);

/* A key of the file. */
bool key_ring_find(struct key_ring *r, text key, struct caller *out);

/* The single key. Apart, because people choose it: see access.c. */
bool key_ring_is_single(struct key_ring *r, text key, struct caller *out);

/* Looks at the file; the number grows when keys have changed. */
uint64_t key_ring_version(struct key_ring *r);

/* Whether the bearer may go on. */
bool key_ring_holds(struct key_ring *r, uint64_t key_id);

/* Keys there are, the single one too. */
int64_t key_ring_count(struct key_ring *r);

/* A namespace: 64 bits of the SHA-256 of kind and bytes. */
uint64_t owner_of(const char *kind, const void *bytes, size_t size);

#endif
