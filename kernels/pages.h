/* A pool of KV pages in host memory, for the backends that compute there.
 *
 * One page is one contiguous piece: [layer][K|V][kv_head][16][head_dim]. The pool does not know which
 * page belongs to whom. One thread changes it at a time. */
#ifndef KERNELS_PAGES_H
#define KERNELS_PAGES_H

#include "kernels/kernels.h"

struct kv_pool {
    enum kv_type type;
    int32_t n_pages, kv_n_heads, head_dim;
    size_t head_bytes; /* one head's 16 vectors */
    size_t page_bytes;
    unsigned char *bytes;
};

size_t pages_bytes(const struct model_shape *shape, enum kv_type type);

/* ERR_MEMORY names the size; ERR_UNSUPPORTED an unknown type. */
status pages_open(kv_pool **out, const struct model_shape *shape, enum kv_type type,
                  int32_t n_pages, error *err);
void pages_close(kv_pool *kv);
void pages_copy(kv_pool *kv, const int32_t *to, const int32_t *from, int32_t n);
void pages_save(kv_pool *kv, void *host, const int32_t *pages, int32_t n);
void pages_load(kv_pool *kv, const int32_t *pages, const void *host, int32_t n);

/* Sixteen vectors of one head in one page; which: 0 for K, 1 for V. */
static inline unsigned char *pages_head(const kv_pool *kv, int32_t page, int32_t layer, int which,
                                        int32_t head)
{
    size_t index = ((size_t)layer * 2 + (size_t)which) * (size_t)kv->kv_n_heads + (size_t)head;
    return kv->bytes + (size_t)page * kv->page_bytes + index * kv->head_bytes;
}

#endif
