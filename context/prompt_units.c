/* One hash table from a unit's bytes to its ids; bytes are compared, so a collision costs time only.
 * Long units bypass it: they are rare, and would fill it. */
#include "context/prompt_units.h"

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/utf.h"

struct unit {
    uint64_t hash;
    uint32_t generation; /* of its last use */
    uint32_t n_ids, size;
    int32_t ids[]; /* [n_ids], then the bytes themselves */
};

enum { UNIT_CACHED_MAX = 4096 };

static const char *unit_bytes(const struct unit *u) { return (const char *)(u->ids + u->n_ids); }

static size_t unit_footprint(const struct unit *u)
{
    return sizeof *u + u->n_ids * sizeof *u->ids + u->size;
}

static void unit_cache_clear(struct unit_cache *c)
{
    for (size_t i = 0; i < c->n_slots; i++) memory_free(c->slots[i]);
    memory_free(c->slots);
    c->slots = NULL;
    c->n_slots = c->n_units = c->size_bytes = 0;
}

void unit_cache_free(struct unit_cache *c)
{
    unit_cache_clear(c);
    token_list_free(&c->counting);
    buffer_free(&c->unix_lines);
}

static struct unit **slot_of(struct unit **slots, size_t n_slots, uint64_t hash, text bytes)
{
    size_t i = (size_t)hash & (n_slots - 1);
    for (; slots[i]; i = (i + 1) & (n_slots - 1)) {
        const struct unit *u = slots[i];
        if (u->hash == hash && text_equal((text){unit_bytes(u), u->size}, bytes)) break;
    }
    return &slots[i];
}

/* Moves the units used since `oldest` into a table of n_slots; false leaves all as it was. */
static bool unit_cache_rebuild(struct unit_cache *c, size_t n_slots, uint32_t oldest)
{
    struct unit **slots = memory_take(n_slots, sizeof(struct unit *));
    if (!slots) return false;
    size_t n_units = 0, size_bytes = 0;
    for (size_t i = 0; i < c->n_slots; i++) {
        struct unit *u = c->slots[i];
        if (u && u->generation >= oldest) {
            *slot_of(slots, n_slots, u->hash, (text){unit_bytes(u), u->size}) = u;
            n_units++;
            size_bytes += unit_footprint(u);
        } else {
            memory_free(u);
        }
    }
    memory_free(c->slots);
    c->slots = slots;
    c->n_slots = n_slots;
    c->n_units = n_units;
    c->size_bytes = size_bytes;
    return true;
}

void unit_cache_begin(struct unit_cache *c, const tokenizer *t)
{
    if (c->tokenizer != t || c->generation == UINT32_MAX) {
        unit_cache_clear(c);
        c->tokenizer = t;
        c->generation = 0;
    }
    if (c->size_bytes > UNIT_CACHE_MAX) {
        unit_cache_rebuild(c, c->n_slots, c->generation);
        if (c->size_bytes > UNIT_CACHE_MAX / 2) unit_cache_clear(c);
    }
    c->generation++;
}

bool unit_boundary(text t, size_t at)
{
    if (at == 0 || at >= t.size) return true;
    if (t.bytes[at - 1] != '\n') return false;
    while (at < t.size && (t.bytes[at] == ' ' || t.bytes[at] == '\t')) at++;
    if (at == t.size) return true;
    size_t size;
    uint32_t c = utf8_decode(t, at, &size);
    if (c < 0x80) return c > ' ';
    /* The other members of White_Space: perhaps before a line end, so no boundary. */
    return c != 0x85 && c != 0xA0 && c != 0x1680 && !(c >= 0x2000 && c <= 0x200A) && c != 0x2028 &&
           c != 0x2029 && c != 0x202F && c != 0x205F && c != 0x3000;
}

size_t unit_start_before(text t, size_t end)
{
    for (size_t at = end; at > 0;) {
        const char *line_end = at > 1 ? memrchr(t.bytes, '\n', at - 1) : NULL;
        at = line_end ? (size_t)(line_end - t.bytes) + 1 : 0;
        if (end - at > UNIT_BYTES_MAX) return SIZE_MAX;
        if (unit_boundary(t, at)) return at;
    }
    return 0;
}

size_t unit_end_after(text t, size_t from)
{
    for (size_t at = from;;) {
        size_t line_end = text_find(t, TEXT("\n"), at);
        if (line_end == SIZE_MAX) return t.size;
        at = line_end + 1;
        if (unit_boundary(t, at)) return at;
    }
}

/* Remembers ids for bytes; when memory is short it just does not. */
static void unit_cache_add(struct unit_cache *c, uint64_t hash, text bytes, const int32_t *ids,
                           size_t n_ids)
{
    if (c->n_units * 2 >= c->n_slots &&
        !unit_cache_rebuild(c, c->n_slots ? c->n_slots * 2 : 1024, 0))
        return;
    struct unit *u = memory_take(1, sizeof *u + n_ids * sizeof *ids + bytes.size);
    if (!u) return;
    *u = (struct unit){hash, c->generation, (uint32_t)n_ids, (uint32_t)bytes.size};
    if (n_ids) memcpy(u->ids, ids, n_ids * sizeof *ids);
    memcpy(u->ids + n_ids, bytes.bytes, bytes.size);
    *slot_of(c->slots, c->n_slots, hash, bytes) = u;
    c->n_units++;
    c->size_bytes += unit_footprint(u);
}

static void unit_encode(struct unit_cache *c, token_list *out, text bytes)
{
    if (bytes.size > UNIT_CACHED_MAX) {
        tokenizer_encode(c->tokenizer, out, bytes);
        return;
    }
    uint64_t hash = text_hash(bytes);
    struct unit **slot = c->n_slots ? slot_of(c->slots, c->n_slots, hash, bytes) : NULL;
    if (slot && *slot) {
        (*slot)->generation = c->generation;
        token_list_put_all(out, (*slot)->ids, (*slot)->n_ids);
        return;
    }
    size_t before = out->n;
    tokenizer_encode(c->tokenizer, out, bytes);
    if (!out->failed) unit_cache_add(c, hash, bytes, out->ids + before, out->n - before);
}

void unix_lines_put(buffer *out, text bytes)
{
    for (size_t at = 0; at < bytes.size;) {
        size_t end = text_find(bytes, TEXT("\r\n"), at);
        buffer_put_text(out, text_slice(bytes, at, end));
        at = end == SIZE_MAX ? bytes.size : end + 1;
    }
}

void unit_cache_encode(struct unit_cache *c, token_list *out, text bytes)
{
    text all = bytes;
    if (text_find(bytes, TEXT("\r\n"), 0) != SIZE_MAX) {
        buffer_clear(&c->unix_lines);
        unix_lines_put(&c->unix_lines, bytes);
        all = buffer_text(&c->unix_lines);
        if (c->unix_lines.failed) out->failed = true;
    }
    for (size_t at = 0; at < all.size && !out->failed;) {
        size_t end = unit_end_after(all, at);
        unit_encode(c, out, text_slice(all, at, end));
        at = end;
    }
}

size_t unit_cache_count(struct unit_cache *c, text bytes)
{
    c->counting.n = 0;
    unit_cache_encode(c, &c->counting, bytes);
    return c->counting.n;
}
