/* The free list is a stack in the array of free numbers: the page freed last is warm in the cache. */
#include "inference/kv_pages.h"

#include "base/memory.h"
#include "kernels/kernels.h"

struct kv_pages {
    int32_t n_pages, n_free, n_idle;
    int32_t *holders; /* [n_pages] */
    int32_t *free;    /* [n_free] */
    bool *cached;     /* [n_pages] one of the holders is the prefix cache */
};

status kv_pages_open(kv_pages **out, int32_t n_pages, error *err)
{
    kv_pages *p = memory_take(1, sizeof *p);
    *out = NULL;
    if (p) {
        p->n_pages = p->n_free = n_pages;
        p->holders = memory_take((size_t)n_pages, sizeof *p->holders);
        p->free = memory_take((size_t)n_pages, sizeof *p->free);
        p->cached = memory_take((size_t)n_pages, sizeof *p->cached);
    }
    if (!p || !p->holders || !p->free || !p->cached) {
        kv_pages_close(p);
        return fail(err, ERR_MEMORY, "out of memory for the list of %d KV pages", n_pages);
    }
    for (int32_t i = 0; i < n_pages; i++) p->free[i] = n_pages - 1 - i;
    *out = p;
    return OK;
}

void kv_pages_close(kv_pages *p)
{
    if (!p) return;
    memory_free(p->holders);
    memory_free(p->free);
    memory_free(p->cached);
    memory_free(p);
}

int32_t kv_pages_take(kv_pages *p)
{
    if (p->n_free == 0) return -1;
    int32_t page = p->free[--p->n_free];
    p->holders[page] = 1;
    return page;
}

static bool is_idle(const kv_pages *p, int32_t page)
{
    return p->cached[page] && p->holders[page] == 1;
}

void kv_pages_hold(kv_pages *p, int32_t page)
{
    p->n_idle -= is_idle(p, page);
    p->holders[page]++;
}

void kv_pages_release(kv_pages *p, int32_t page)
{
    if (--p->holders[page] == 0) p->free[p->n_free++] = page;
    p->n_idle += is_idle(p, page);
}

void kv_pages_set_cached(kv_pages *p, int32_t page, bool cached)
{
    p->n_idle -= is_idle(p, page);
    p->cached[page] = cached;
    p->n_idle += is_idle(p, page);
}

bool kv_pages_is_cached(const kv_pages *p, int32_t page) { return p->cached[page]; }
int32_t kv_pages_holders(const kv_pages *p, int32_t page) { return p->holders[page]; }
int32_t kv_pages_count(const kv_pages *p) { return p->n_pages; }
int32_t kv_pages_free_count(const kv_pages *p) { return p->n_free; }
int32_t kv_pages_idle_count(const kv_pages *p) { return p->n_idle; }

int32_t kv_pages_for_tokens(int64_t n_tokens)
{
    return (int32_t)((n_tokens + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS);
}
