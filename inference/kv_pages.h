/* Who holds which page of the KV pool: reference counts and a free list, no bytes.
 *
 * A page holds the keys and values of KV_PAGE_TOKENS positions and lies in the backend's pool; here
 * it is a number. Sequences and the prefix cache may hold the same page: then nobody writes it. One
 * of the holds may be the prefix cache's own (cached); a page that has no other hold is idle: it can
 * be had by eviction, so promises count it as free. The worker thread only. */
#ifndef INFERENCE_KV_PAGES_H
#define INFERENCE_KV_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

typedef struct kv_pages kv_pages;

/* Pages 0..n_pages-1, all free. */
status kv_pages_open(kv_pages **out, int32_t n_pages, error *err);
void kv_pages_close(kv_pages *p);

/* A free page, now held once, or -1. */
int32_t kv_pages_take(kv_pages *p);

/* One more holder; one fewer (the last one frees the page). */
void kv_pages_hold(kv_pages *p, int32_t page);
void kv_pages_release(kv_pages *p, int32_t page);

/* Says whether one of the holds is the prefix cache's; the holds stay as they are. */
void kv_pages_set_cached(kv_pages *p, int32_t page, bool cached);
bool kv_pages_is_cached(const kv_pages *p, int32_t page);

int32_t kv_pages_holders(const kv_pages *p, int32_t page);
int32_t kv_pages_count(const kv_pages *p);
int32_t kv_pages_free_count(const kv_pages *p);
int32_t kv_pages_idle_count(const kv_pages *p); /* held by the prefix cache alone */

/* Pages that tokens 0..n_tokens-1 need. */
int32_t kv_pages_for_tokens(int64_t n_tokens);

#endif
