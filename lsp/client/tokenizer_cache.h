/* Tokenizers of engines on this machine's disk, by the SHA-256 of their rank list.
 *
 * Blocking file work: for a thread of libuv's pool, never for the loop. It knows no network: the
 * caller brings the bytes. What is read is hashed before it is used; a file that does not match is
 * removed. */
#ifndef LSP_CLIENT_TOKENIZER_CACHE_H
#define LSP_CLIENT_TOKENIZER_CACHE_H

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/tokenizer.h"

struct tokenizer_key {
    char sha256[65]; /* of the rank list in tiktoken's text form; 64 lower-case hex digits */
    struct special_ids specials;
    int32_t vocabulary_size;
};

/* Opens the cached one. ERR_IO when there is none, ERR_FORMAT when the file was damaged (it is gone
 * then): in both cases fetch it again. */
status tokenizer_cache_open(tokenizer **out, const struct tokenizer_key *key, error *err);

/* Opens `ranks` as an engine sent them and keeps them for the next time (failing to keep them is
 * only logged). ERR_FORMAT names both hashes when they are not what the key says. */
status tokenizer_cache_add(tokenizer **out, const struct tokenizer_key *key, text ranks,
                           error *err);

#endif
