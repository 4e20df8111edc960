/* KV that was computed before, found again by its tokens.
 *
 * A radix tree over token ids, one page (16 tokens) per edge, one tree per owner. Prompts that begin
 * alike share the path and the pages:
 *
 *   owner 7 ── [The quick brown ...]p4 ──┬── [fox jumps over ...]p9 ── [the la]p2      a partial leaf
 *                                        └── [cat sleeps all ...]p5
 *   owner 8 ── [The quick brown ...]p1                   the same tokens, another owner: not shared
 *
 * - A node holds its page once; running sequences that matched it hold it too. A page in the tree
 *   is never written. Who continues behind a partial match copies that page first (copy-on-write).
 * - Only a leaf may have fewer than 16 tokens, and no node's tokens begin those of a sibling: a
 *   longer page replaces the shorter one it continues.
 * - All nodes stand in one list by last use, and using a node uses its ancestors after it. So a node
 *   is always colder than its parent, and the coldest node of all is a leaf: evicting from the cold
 *   end never leaves a hole in a path.
 *
 * Tokens are compared, never hashes. It knows no bytes of KV, no requests, no device. The worker
 * thread only. After Kwon et al. 2023 (paged KV) and Zheng et al. 2024 (radix tree of prefixes). */
#ifndef INFERENCE_PREFIX_CACHE_H
#define INFERENCE_PREFIX_CACHE_H

#include <stdint.h>

#include "inference/kv_pages.h"

typedef struct prefix_cache prefix_cache;

/* An empty cache over these pages, which must outlive it. */
status prefix_cache_open(prefix_cache **out, kv_pages *pages, error *err);

/* Releases all pages it holds; NULL is fine. */
void prefix_cache_close(prefix_cache *c);

struct prefix_match {
    int32_t n_tokens;     /* of the prefix that was found */
    int32_t n_pages;      /* whole pages of it: n_tokens / 16 */
    int32_t partial_page; /* holds the n_tokens % 16 tokens behind them, or -1 when that is 0 */
};

/* The longest known prefix of tokens[0, n_tokens). Whole pages go to pages[0..]; each of them and the
 * partial page are now held once more, for the caller to release. */
struct prefix_match prefix_cache_match(prefix_cache *c, uint64_t owner, const int32_t *tokens,
                                       int32_t n_tokens, int32_t *pages);

/* Remembers that pages[] hold tokens[0, n_tokens); the cache takes its own hold. Where the tree has
 * the same whole page already, pages[i] becomes that one (the caller's hold moves with it), so that
 * equal prefixes converge. The caller must not write into a page given here. */
void prefix_cache_insert(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens,
                         int32_t *pages);

/* Drops the coldest page that nobody else holds; false when there is none. */
bool prefix_cache_evict(prefix_cache *c);

/* Pages in the tree, and those of them that eviction could free. */
int32_t prefix_cache_page_count(const prefix_cache *c);
int32_t prefix_cache_evictable_count(const prefix_cache *c);

/* Walks everything; false and one line about the first broken invariant. For tests. */
bool prefix_cache_check(const prefix_cache *c, error *err);

#endif
