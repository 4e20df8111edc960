/* Pages are plain memory: a copy is a memcpy. Zeroed pages cost nothing until they are written. */
#include "kernels/pages.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/format.h"

size_t pages_bytes(const struct model_shape *s, enum kv_type type)
{
    size_t head = (size_t)KV_PAGE_TOKENS * (size_t)s->head_dim * kv_element_bytes(type);
    return (size_t)s->n_layers * 2 * (size_t)s->kv_n_heads * head;
}

status pages_open(kv_pool **out, const struct model_shape *s, enum kv_type type, int32_t n_pages,
                  error *err)
{
    *out = NULL;
    if ((unsigned)type > KV_E4M3)
        return fail(err, ERR_UNSUPPORTED, "kv type %d, expected f32, bf16 or e4m3", (int)type);
    if (n_pages < 1) return fail(err, ERR_USAGE, "kv pages: %d, expected at least 1", n_pages);
    kv_pool *kv = memory_take(1, sizeof *kv);
    if (!kv) return fail(err, ERR_MEMORY, "kv pool: out of memory");
    *kv = (kv_pool){.type = type,
                    .n_pages = n_pages,
                    .kv_n_heads = s->kv_n_heads,
                    .head_dim = s->head_dim,
                    .head_bytes =
                        (size_t)KV_PAGE_TOKENS * (size_t)s->head_dim * kv_element_bytes(type),
                    .page_bytes = pages_bytes(s, type)};
    kv->bytes = memory_take((size_t)n_pages, kv->page_bytes);
    if (!kv->bytes) {
        memory_free(kv);
        return fail(err, ERR_MEMORY, "kv pool: no memory for %d pages of %zu bytes", n_pages,
                    pages_bytes(s, type));
    }
    *out = kv;
    return OK;
}

void pages_close(kv_pool *kv)
{
    if (kv) memory_free(kv->bytes);
    memory_free(kv);
}

static unsigned char *page_at(const kv_pool *kv, int32_t page)
{
    return kv->bytes + (size_t)page * kv->page_bytes;
}

void pages_copy(kv_pool *kv, const int32_t *to, const int32_t *from, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (to[i] != from[i]) memcpy(page_at(kv, to[i]), page_at(kv, from[i]), kv->page_bytes);
}

void pages_save(kv_pool *kv, void *host, const int32_t *pages, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        memcpy((char *)host + (size_t)i * kv->page_bytes, page_at(kv, pages[i]), kv->page_bytes);
}

void pages_load(kv_pool *kv, const int32_t *pages, const void *host, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        memcpy(page_at(kv, pages[i]), (const char *)host + (size_t)i * kv->page_bytes,
               kv->page_bytes);
}
