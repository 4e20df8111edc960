/* The rank list: which bytes are a token, and which bytes a token is.
 *
 * Ranks are ids: the lower merges first. Ids without bytes (holes) are allowed here; whether they
 * may stand is for the loader to say. It knows no specials and no files. Built by one thread,
 * read-only and shared after rank_table_seal. */
#ifndef TOKENIZER_RANK_TABLE_H
#define TOKENIZER_RANK_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct rank_slot;

/*   ids:    start[id], size[id]  ---->  pool: the bytes of all tokens, one after another
 *   bytes:  hash -> slots[ ... {key, id, size} ... ]   open addressing, at most half full
 *
 * A token of up to 8 bytes lies in its slot's key whole, so most look-ups read one slot and nothing
 * else; of a longer one the key is the hash, and the pool decides. */
struct rank_table {
    const char *pool;
    buffer owned;    /* the pool, unless it lies in the program (rank_table_open_packed) */
    uint32_t *start; /* [n_ids] */
    uint16_t *size;  /* [n_ids] 0: no token */
    size_t n_ids;    /* highest rank + 1 */
    size_t room_ids;
    size_t n_tokens;
    size_t longest_bytes;
    struct rank_slot *slots;
    size_t slot_mask;
    int32_t byte_id[256]; /* the token of each single byte */
};

enum { RANK_NONE = -1 };

/* Gives `id` its bytes. ERR_FORMAT when it has some already, is out of range, or the bytes are
 * empty or longer than TOKEN_BYTES_MAX. */
status rank_table_add(struct rank_table *table, int64_t id, text bytes, error *err);

/* Builds the look-up by bytes. ERR_FORMAT for two ids of equal bytes and for a single byte that has
 * no token. */
status rank_table_seal(struct rank_table *table, error *err);

/* The same from n tokens' sizes and bytes that outlive the table: ids 0 to n - 1. */
status rank_table_open_packed(struct rank_table *table, size_t n, const unsigned char *sizes,
                              text pool, error *err);

void rank_table_close(struct rank_table *table);

/* The id of these bytes (size > 0), or RANK_NONE. Reads nothing beyond them. */
int32_t rank_table_find(const struct rank_table *table, const char *bytes, size_t size);

/* The bytes of an id, empty for holes and out of range. */
text rank_table_bytes(const struct rank_table *table, int64_t id);

#endif
