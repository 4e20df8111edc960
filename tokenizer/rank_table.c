/* The look-up is the tokenizer's inner loop: one probe answers nearly every piece, hit or miss. Keys
 * are the tokens' own bytes up to 8, so that most probes never touch the pool. */
#include "tokenizer/rank_table.h"

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"

struct rank_slot {
    uint64_t key;
    int32_t id;
    uint32_t size; /* 0: empty */
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "keys are loaded as little-endian words");

/* Up to 8 bytes as a number, the missing ones zero. */
static inline uint64_t load_short(const char *bytes, size_t size)
{
    uint64_t word = 0;
    if (size >= 4) {
        uint32_t low, high; /* overlapping halves: no byte behind the text is read */
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + size - 4, 4);
        return low | (uint64_t)high << (size - 4) * 8;
    }
    for (size_t i = 0; i < size; i++) word |= (uint64_t)(unsigned char)bytes[i] << i * 8;
    return word;
}

static inline uint64_t mix(uint64_t z)
{
    z *= 0x9E3779B97F4A7C15u;
    return z ^ z >> 32;
}

/* The bytes themselves up to 8, a hash of all of them beyond. */
static inline uint64_t key_of(const char *bytes, size_t size)
{
    if (size <= 8) return load_short(bytes, size);
    uint64_t key = size, word;
    for (size_t i = 0; i + 8 < size; i += 8) {
        memcpy(&word, bytes + i, 8);
        key = mix(key ^ word);
    }
    memcpy(&word, bytes + size - 8, 8);
    return mix(key ^ word) + key;
}

static inline size_t slot_of(const struct rank_table *table, uint64_t key, size_t size)
{
    return (size_t)(mix(key + size * 0xD6E8FEB86659FD93u) >> 16) & table->slot_mask;
}

/* The slot of these bytes, or the empty one where they belong. */
static inline size_t slot_find(const struct rank_table *table, const char *bytes, size_t size)
{
    uint64_t key = key_of(bytes, size);
    size_t at = slot_of(table, key, size);
    for (;; at = (at + 1) & table->slot_mask) {
        const struct rank_slot *slot = &table->slots[at];
        if (slot->size == 0) return at;
        if (slot->key != key || slot->size != size) continue;
        if (size <= 8 || memcmp(table->pool + table->start[slot->id], bytes, size) == 0) return at;
    }
}

int32_t rank_table_find(const struct rank_table *table, const char *bytes, size_t size)
{
    if (size > table->longest_bytes) return RANK_NONE;
    const struct rank_slot *slot = &table->slots[slot_find(table, bytes, size)];
    return slot->size ? slot->id : RANK_NONE;
}

text rank_table_bytes(const struct rank_table *table, int64_t id)
{
    if (id < 0 || (uint64_t)id >= table->n_ids) return (text){NULL, 0};
    return (text){table->pool + table->start[id], table->size[id]};
}

static status ids_reserve(struct rank_table *table, size_t n, error *err)
{
    if (n <= table->room_ids) return OK;
    size_t room = table->room_ids * 2 > n ? table->room_ids * 2 : n;
    if (room < 1024) room = 1024;
    uint32_t *start = memory_resize(table->start, room, sizeof *start);
    if (start) table->start = start;
    uint16_t *size = start ? memory_resize(table->size, room, sizeof *size) : NULL;
    if (!size) return fail(err, ERR_MEMORY, "out of memory for %zu tokens", room);
    table->size = size;
    memset(start + table->room_ids, 0, (room - table->room_ids) * sizeof *start);
    memset(size + table->room_ids, 0, (room - table->room_ids) * sizeof *size);
    table->room_ids = room;
    return OK;
}

status rank_table_add(struct rank_table *table, int64_t id, text bytes, error *err)
{
    if (id < 0 || id >= VOCABULARY_MAX)
        return fail(err, ERR_FORMAT, "id %lld, expected 0 to %d", (long long)id,
                    VOCABULARY_MAX - 1);
    if (bytes.size == 0 || bytes.size > TOKEN_BYTES_MAX)
        return fail(err, ERR_FORMAT, "token of id %lld has %zu bytes, expected 1 to %d",
                    (long long)id, bytes.size, TOKEN_BYTES_MAX);
    status s = ids_reserve(table, (size_t)id + 1, err);
    if (s != OK) return s;
    if (table->size[id])
        return fail(err, ERR_FORMAT, "id %lld stands twice, expected once", (long long)id);
    table->start[id] = (uint32_t)table->owned.size;
    table->size[id] = (uint16_t)bytes.size;
    buffer_put_text(&table->owned, bytes);
    if (table->owned.failed) return fail(err, ERR_MEMORY, "out of memory for the tokens' bytes");
    if ((size_t)id >= table->n_ids) table->n_ids = (size_t)id + 1;
    return OK;
}

static status slots_fill(struct rank_table *table, error *err)
{
    for (size_t id = 0; id < table->n_ids; id++) {
        size_t size = table->size[id];
        if (size == 0) continue;
        const char *bytes = table->pool + table->start[id];
        struct rank_slot *slot = &table->slots[slot_find(table, bytes, size)];
        if (slot->size)
            return fail(err, ERR_FORMAT, "ids %d and %zu have the same bytes, expected each once",
                        slot->id, id);
        *slot = (struct rank_slot){key_of(bytes, size), (int32_t)id, (uint32_t)size};
        table->n_tokens++;
        if (size > table->longest_bytes) table->longest_bytes = size;
    }
    return OK;
}

static status slots_build(struct rank_table *table, error *err)
{
    size_t n_slots = 1024;
    while (n_slots < table->n_ids * 2) n_slots *= 2;
    table->slots = memory_take(n_slots, sizeof *table->slots);
    if (!table->slots) return fail(err, ERR_MEMORY, "out of memory for %zu token slots", n_slots);
    table->slot_mask = n_slots - 1;
    status s = slots_fill(table, err);
    if (s != OK) return s;
    for (int byte = 0; byte < 256; byte++) {
        char c = (char)byte;
        table->byte_id[byte] = rank_table_find(table, &c, 1);
        if (table->byte_id[byte] == RANK_NONE)
            return fail(err, ERR_FORMAT, "no token for the single byte 0x%02X, expected all 256",
                        (unsigned)byte);
    }
    return OK;
}

status rank_table_seal(struct rank_table *table, error *err)
{
    table->pool = table->owned.bytes;
    return slots_build(table, err);
}

status rank_table_open_packed(struct rank_table *table, size_t n, const unsigned char *sizes,
                              text pool, error *err)
{
    status s = ids_reserve(table, n, err);
    if (s != OK) return s;
    size_t at = 0;
    for (size_t id = 0; id < n; at += sizes[id++]) {
        table->start[id] = (uint32_t)at;
        table->size[id] = sizes[id];
    }
    if (at != pool.size)
        return fail(err, ERR_FORMAT, "tokens have %zu bytes, expected %zu", at, pool.size);
    table->pool = pool.bytes;
    table->n_ids = n;
    return slots_build(table, err);
}

void rank_table_close(struct rank_table *table)
{
    buffer_free(&table->owned);
    memory_free(table->start);
    memory_free(table->size);
    memory_free(table->slots);
    *table = (struct rank_table){0};
}
