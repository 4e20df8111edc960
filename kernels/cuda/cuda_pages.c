/* Pages live on the device; one page is one contiguous copy. What goes to or comes from the host is
 * done on return, for the host's memory is the caller's. */
#include <string.h>

#include "base/memory.h"
#include "kernels/cuda/cuda.h"
#include "kernels/format.h"

static struct cuda_kv *kv_of(kv_pool *kv) { return (struct cuda_kv *)(void *)kv; }

status cuda_kv_check(enum kv_type type, error *err)
{
    if (type == KV_BF16 || type == KV_E4M3) return OK;
    return fail(err, ERR_UNSUPPORTED, "KV as f32: a GPU keeps bf16 or e4m3");
}

status cuda_kv_open(kv_pool **out, device *d, enum kv_type type, int32_t n_pages, error *err)
{
    *out = NULL;
    size_t bytes, page = pages_bytes(&d->s, type);
    status rc = cuda_kv_check(type, err);
    if (rc != OK) return rc;
    if (n_pages < 1) return fail(err, ERR_USAGE, "kv pages: %d, expected at least 1", n_pages);
    if (!size_mul((size_t)n_pages, page, &bytes))
        return fail(err, ERR_MEMORY, "kv pool: %d pages of %zu bytes are too many", n_pages, page);
    struct cuda_kv *kv = memory_take(1, sizeof *kv);
    if (!kv) return fail(err, ERR_MEMORY, "kv pool: out of memory");
    kv->d = d;
    kv->base = (struct kv_pool){.type = type,
                                .n_pages = n_pages,
                                .kv_n_heads = d->s.kv_n_heads,
                                .head_dim = d->s.head_dim,
                                .head_bytes = (size_t)KV_PAGE_TOKENS * (size_t)d->s.head_dim *
                                              kv_element_bytes(type),
                                .page_bytes = page};
    kv->base.bytes = cuda_take(d, bytes, "the KV pool", err);
    if (!kv->base.bytes) {
        memory_free(kv);
        return ERR_MEMORY;
    }
    *out = &kv->base;
    return OK;
}

void cuda_kv_close(kv_pool *kv)
{
    if (!kv) return;
    cuda_graphs_drop(kv_of(kv)->d); /* they hold the address */
    kv_of(kv)->d->run->give(kv->bytes);
    memory_free(kv_of(kv));
}

static void move(kv_pool *kv, void *to, const void *from)
{
    device *d = kv_of(kv)->d;
    if (d->failure.code == OK)
        cuda_ok(d, d->run->copy(to, from, kv->page_bytes, d->stream), "copying a page");
}

static void settle(kv_pool *kv)
{
    device *d = kv_of(kv)->d;
    if (d->failure.code == OK) cuda_ok(d, d->run->wait(d->stream), "copying pages");
    cuda_leave(d);
}

static unsigned char *page_at(const kv_pool *kv, int32_t page)
{
    return kv->bytes + (size_t)page * kv->page_bytes;
}

void cuda_pages_copy(kv_pool *kv, const int32_t *to, const int32_t *from, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        if (to[i] != from[i]) move(kv, page_at(kv, to[i]), page_at(kv, from[i]));
}

/* After a failure pages cannot be read: zeros are saved, and collect tells. */
void cuda_pages_save(kv_pool *kv, void *host, const int32_t *pages, int32_t n)
{
    cuda_enter(kv_of(kv)->d, "copying pages");
    for (int32_t i = 0; i < n; i++)
        move(kv, (char *)host + (size_t)i * kv->page_bytes, page_at(kv, pages[i]));
    settle(kv);
    if (kv_of(kv)->d->failure.code != OK) memset(host, 0, (size_t)n * kv->page_bytes);
}

void cuda_pages_load(kv_pool *kv, const int32_t *pages, const void *host, int32_t n)
{
    cuda_enter(kv_of(kv)->d, "copying pages");
    for (int32_t i = 0; i < n; i++)
        move(kv, page_at(kv, pages[i]), (const char *)host + (size_t)i * kv->page_bytes);
    settle(kv);
}
