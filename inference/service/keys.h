/* Access keys for an engine on a TCP port: a file with one line per key.
 *
 *     NAME user|admin CREATED SALT HASH         (alice user 2026-11-23T16:00:00Z HEX32 HEX64)
 *
 * A key is "dbrx-" and 256 random bits in base64url; it is shown once and kept nowhere. HASH is
 * SHA-256(SALT || key). A slow hash (bcrypt, argon2) makes up for secrets that people choose and
 * machines can guess; nobody guesses 256 random bits at any speed, and every request pays for the
 * hash. The salt keeps equal keys from showing and names the key's cache: what is added again under
 * an old name is another key.
 *
 * The file is 0600, belongs to root or to us, and is replaced as a whole under a lock of its
 * directory. This module knows the file only; who asked is access.c's, who may stay is key_ring.c's.
 * Any thread. */
#ifndef INFERENCE_SERVICE_KEYS_H
#define INFERENCE_SERVICE_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"

struct access_key {
    char name[KEY_NAME_MAX + 1];
    bool admin;
    char created[24];       /* 2026-11-23T16:00:00Z */
    unsigned char salt[16]; /* also the key's identity */
    unsigned char hash[32];
};

struct access_keys {
    struct access_key *rows; /* [n], in the order of the file */
    size_t n;
};

/* The file's place when none is given: in the user's config directory if it is there, else
 * /etc/dbrx-ls/keys if that directory is, else in the user's config directory. */
status keys_path(buffer *out, error *err);

/* A file's text; `path` is for messages. ERR_FORMAT names the line, ERR_LIMIT, ERR_MEMORY. */
status keys_parse(struct access_keys *out, text file, const char *path, error *err);

/* ERR_IO, also for files that others could read; ERR_BUSY when there is no descriptor left; no file:
 * no keys, OK. */
status keys_read(struct access_keys *out, const char *path, error *err);
void keys_free(struct access_keys *keys);

/* The row whose key this is, or NULL. Takes as long for every key. */
const struct access_key *keys_find(const struct access_keys *keys, text key);

/* Appends the new key to *key. ERR_USAGE for a name that is taken or cannot be one. Run by root, the
 * file belongs to the owner of its directory, who is the one to read it. */
status keys_add(buffer *key, const char *path, const char *name, bool admin, error *err);

/* ERR_USAGE when there is no key of that name. */
status keys_revoke(const char *path, const char *name, error *err);

#endif
