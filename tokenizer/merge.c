/* Two ways to the same result. Short pieces, nearly all there are, keep the ranks of neighbouring
 * pairs in a small array and look through it for each merge. Long pieces (a megabyte of one letter)
 * would make that quadratic: they keep the pairs in a heap, so n bytes cost O(n log n). */
#include "tokenizer/merge.h"

#include <string.h>

#include "base/memory.h"

enum { SHORT_PIECE_BYTES = 96, PAIR_NONE = INT32_MAX };

/* Rank of bytes[from, to), PAIR_NONE where it is no token. */
static inline int32_t pair_rank(const struct rank_table *table, const char *bytes, size_t from,
                                size_t to)
{
    int32_t id = rank_table_find(table, bytes + from, to - from);
    return id == RANK_NONE ? PAIR_NONE : id;
}

/* part[i] begins at start[i] and ends at start[i + 1]; pair[i] is the rank of part i with i + 1. */
struct short_parts {
    size_t n;
    uint8_t start[SHORT_PIECE_BYTES + 1];
    int32_t id[SHORT_PIECE_BYTES];
    int32_t pair[SHORT_PIECE_BYTES];
};

static void short_pair_update(const struct rank_table *table, struct short_parts *p,
                              const char *bytes, size_t i)
{
    p->pair[i] = i + 1 < p->n ? pair_rank(table, bytes, p->start[i], p->start[i + 2]) : PAIR_NONE;
}

static void short_begin(const struct rank_table *table, struct short_parts *p, text piece)
{
    p->n = piece.size;
    for (size_t i = 0; i < piece.size; i++) {
        p->start[i] = (uint8_t)i;
        p->id[i] = table->byte_id[(unsigned char)piece.bytes[i]];
        p->pair[i] = i + 1 < piece.size ? pair_rank(table, piece.bytes, i, i + 2) : PAIR_NONE;
    }
    p->start[piece.size] = (uint8_t)piece.size;
}

/* Joins part i with the one behind it. */
static void short_join(const struct rank_table *table, struct short_parts *p, const char *bytes,
                       size_t i)
{
    p->id[i] = p->pair[i];
    p->n--;
    memmove(&p->start[i + 1], &p->start[i + 2], (p->n - i) * sizeof p->start[0]);
    memmove(&p->id[i + 1], &p->id[i + 2], (p->n - i - 1) * sizeof p->id[0]);
    memmove(&p->pair[i + 1], &p->pair[i + 2], (p->n - i - 1) * sizeof p->pair[0]);
    short_pair_update(table, p, bytes, i);
    if (i > 0) short_pair_update(table, p, bytes, i - 1);
}

static void merge_short(const struct rank_table *table, token_list *out, text piece)
{
    struct short_parts p;
    short_begin(table, &p, piece);
    while (p.n > 1) {
        size_t best = 0;
        for (size_t i = 1; i < p.n; i++)
            if (p.pair[i] < p.pair[best]) best = i;
        if (p.pair[best] == PAIR_NONE) break;
        short_join(table, &p, piece.bytes, best);
    }
    token_list_put_all(out, p.id, p.n);
}

/* A part of a long piece stands at the index of its first byte. */
struct part {
    uint32_t next, previous; /* index of the neighbour; the piece's size behind the last */
    int32_t id;              /* RANK_NONE: joined to a part before it */
    int32_t pair;            /* rank with the next part, or PAIR_NONE */
};

/* A heap of (rank, index), smallest first; an entry whose part's pair has another rank is stale. */
struct long_parts {
    struct part *parts;
    uint64_t *heap;
    size_t n_heap;
};

static void heap_sift_up(uint64_t *heap, size_t at)
{
    uint64_t entry = heap[at];
    for (; at > 0 && heap[(at - 1) / 2] > entry; at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
    heap[at] = entry;
}

static void heap_sift_down(uint64_t *heap, size_t n, size_t at)
{
    uint64_t entry = heap[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= entry) break;
        heap[at] = heap[child];
    }
    heap[at] = entry;
}

static inline uint64_t heap_entry(int32_t rank, size_t index)
{
    return (uint64_t)rank << 32 | index;
}

static uint64_t heap_pop(struct long_parts *p)
{
    uint64_t top = p->heap[0];
    p->heap[0] = p->heap[--p->n_heap];
    if (p->n_heap) heap_sift_down(p->heap, p->n_heap, 0);
    return top;
}

/* Room in the heap: n bytes bring n - 1 pairs; each of at most n - 1 joins takes one entry out and
 * puts at most two in. So 2n entries are enough. */
static bool long_begin(const struct rank_table *table, struct long_parts *p, text piece)
{
    size_t n = piece.size;
    if (n >= UINT32_MAX) return false;
    p->parts = memory_take(n, sizeof *p->parts);
    p->heap = memory_take(n, 2 * sizeof *p->heap);
    if (!p->parts || !p->heap) return false;
    for (size_t i = 0; i < n; i++) {
        int32_t pair = i + 1 < n ? pair_rank(table, piece.bytes, i, i + 2) : PAIR_NONE;
        int32_t id = table->byte_id[(unsigned char)piece.bytes[i]];
        p->parts[i] = (struct part){(uint32_t)i + 1, i ? (uint32_t)i - 1 : 0, id, pair};
        if (pair != PAIR_NONE) p->heap[p->n_heap++] = heap_entry(pair, i);
    }
    for (size_t i = p->n_heap / 2; i-- > 0;) heap_sift_down(p->heap, p->n_heap, i);
    return true;
}

static void long_pair_update(const struct rank_table *table, struct long_parts *p, text piece,
                             uint32_t at)
{
    uint32_t next = p->parts[at].next;
    int32_t pair = PAIR_NONE;
    if (next < piece.size) pair = pair_rank(table, piece.bytes, at, p->parts[next].next);
    p->parts[at].pair = pair;
    if (pair == PAIR_NONE) return;
    p->heap[p->n_heap++] = heap_entry(pair, at);
    heap_sift_up(p->heap, p->n_heap - 1);
}

static void long_join(const struct rank_table *table, struct long_parts *p, text piece, uint32_t at)
{
    struct part *part = &p->parts[at], *joined = &p->parts[part->next];
    part->id = part->pair;
    part->next = joined->next;
    joined->id = RANK_NONE;
    joined->pair = PAIR_NONE;
    if (part->next < piece.size) p->parts[part->next].previous = at;
    long_pair_update(table, p, piece, at);
    if (at > 0) long_pair_update(table, p, piece, part->previous);
}

static void merge_long(const struct rank_table *table, token_list *out, text piece)
{
    struct long_parts p = {0};
    if (!long_begin(table, &p, piece)) {
        out->failed = true;
        goto out;
    }
    while (p.n_heap) {
        uint64_t top = heap_pop(&p);
        uint32_t at = (uint32_t)top;
        if (p.parts[at].pair == (int32_t)(top >> 32)) long_join(table, &p, piece, at);
    }
    size_t n = 0;
    int32_t *ids = (int32_t *)p.heap;
    for (uint32_t at = 0; at < piece.size; at = p.parts[at].next) ids[n++] = p.parts[at].id;
    token_list_put_all(out, ids, n);
out:
    memory_free(p.parts);
    memory_free(p.heap);
}

void merge_piece(const struct rank_table *table, token_list *out, text piece)
{
    if (piece.size <= SHORT_PIECE_BYTES)
        merge_short(table, out, piece);
    else
        merge_long(table, out, piece);
}
