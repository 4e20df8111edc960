#include "inference/constraint.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* As memcmp, the shorter first. */
static int text_order(text a, text b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n ? memcmp(a.bytes, b.bytes, n) : 0;
    if (order != 0) return order;
    return (a.size > b.size) - (a.size < b.size);
}

static int id_order(const void *a, const void *b, void *context)
{
    const tokenizer *t = context;
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    int order = text_order(tokenizer_token_bytes(t, x), tokenizer_token_bytes(t, y));
    return order != 0 ? order : (x > y) - (x < y);
}

status token_order_open(token_order *out, const tokenizer *t, int32_t vocab_size, error *err)
{
    *out = (token_order){.tokenizer = t};
    out->ids = memory_take((size_t)vocab_size, sizeof *out->ids);
    if (!out->ids) return fail(err, ERR_MEMORY, "out of memory for the order of tokens");
    for (int32_t id = 0; id < vocab_size; id++) {
        size_t size = tokenizer_token_bytes(t, id).size;
        if (size == 0 || tokenizer_is_dead(t, id) || tokenizer_is_special(t, id)) continue;
        out->ids[out->n++] = id;
        if (size > out->bytes_max) out->bytes_max = size;
    }
    qsort_r(out->ids, out->n, sizeof *out->ids, id_order, (void *)(uintptr_t)t);
    return OK;
}

void token_order_close(token_order *o)
{
    memory_free(o->ids);
    *o = (token_order){0};
}

/* The first place whose token is not before `key`. */
static size_t place_of(const token_order *o, text key)
{
    size_t low = 0, high = o->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        text bytes = tokenizer_token_bytes(o->tokenizer, o->ids[middle]);
        if (text_order(bytes, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void allow(uint32_t *mask, int32_t id) { mask[id / 32] |= UINT32_C(1) << id % 32; }

size_t token_order_allow(const token_order *o, text rest, uint32_t *mask, size_t n_words)
{
    size_t n = 0;
    memset(mask, 0, n_words * sizeof *mask);
    for (size_t size = 1; size < rest.size && size <= o->bytes_max; size++) {
        text part = text_slice(rest, 0, size);
        for (size_t at = place_of(o, part); at < o->n; at++) {
            if (!text_equal(tokenizer_token_bytes(o->tokenizer, o->ids[at]), part)) break;
            allow(mask, o->ids[at]);
            n++;
        }
    }
    for (size_t at = place_of(o, rest); at < o->n; at++) {
        if (!text_starts(tokenizer_token_bytes(o->tokenizer, o->ids[at]), rest)) break;
        allow(mask, o->ids[at]);
        n++;
    }
    return n;
}
