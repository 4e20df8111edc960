/* Secrets inside text: keys by their formats, credentials in addresses, passwords by the names they
 * are assigned to, and what looks like nothing but a key. Wherever text of a file, a diff or a commit
 * may reach a model, a log or the index, it is masked first, byte for byte, so that lines and offsets
 * stay. In doubt something is a secret. Any thread; knows no files (those are exclude.h's). */
#ifndef CONTEXT_SECRETS_H
#define CONTEXT_SECRETS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

/* The first secret that begins at or after `from`: its bytes [*at, *end). */
bool secret_find(text t, size_t from, size_t *at, size_t *end);

/* Only what has the format of a key, whatever stands around it: for names of files and branches. */
bool secret_key_find(text t, size_t from, size_t *at, size_t *end);

/* Every byte of every secret but line ends becomes '*'. False: there was none. */
bool secrets_mask(char *bytes, size_t size);

#endif
