/* KV that was computed before, found again by its tokens: on the device, or behind it on the host.
 *
 * A radix tree over token ids, one page (16 tokens) per edge, one tree per owner. Prompts that begin
 * alike share the path and the pages. p: a page of the device pool; h: a slot of host memory.
 *
 *                    device tier                               :  host tier
 *   owner 7 ── [The quick brown ...]p4 ──┬── [fox jumps ..]p9  :
 *                                        │          └──────────:──[over the lazy ..]h3 ──[dog]h8
 *                                        ├── [cat sleeps ..]p5 h1    on both: leaves p5 for nothing
 *                                        └─────────────────────:──[bird sings ...]h6
 *   owner 8 ── [The quick brown ...]p1                the same tokens, another owner: not shared
 *
 * - A node is on the device, on the host, or on both. What is on the device hangs below what is on
 *   the device: a path goes over to the host once and never comes back.
 * - A node holds its device page once; running sequences that matched it hold it too, and all pages
 *   before it. A page in the tree is never written. Who continues behind a partial match copies
 *   that page first (copy-on-write), or reads it from the host straight into a page of its own.
 * - Only a leaf may have fewer than 16 tokens, and no node's tokens begin those of a sibling: a
 *   longer page replaces the shorter one it continues, and the host's copy of that.
 * - Each tier has one list by last use, and using a node uses its ancestors after it. So in its tier
 *   a node is always colder than its parent, and the coldest of a tier has nothing below it there:
 *   evicting from the cold end never leaves a hole in a path.
 * - Pages that a sequence holds are in use now: eviction passes over them and makes them warm.
 *
 * Eviction from the device spills a page to the host when it is worth a slot: when it was found by
 * a real request, when pages behind it are on the host, or when it lies so deep in its prompt that
 * computing it again would take a slice of its own (spill_tokens_min) and real work computed it.
 * Everything else is dropped. A slot is had from the free ones, then from a node that is on both
 * tiers (the one restored last is the farthest from leaving the device again), then from the coldest
 * node of the host.
 *
 * Siblings are kept in order, so a node with a thousand continuations is searched in a dozen steps.
 * Tokens are compared, never hashes. It knows no requests and no device; bytes it moves through
 * host_pages only. Nothing is allocated after open. The worker thread only. After Kwon et al. 2023
 * (paged KV) and Zheng et al. 2024 (radix tree of prefixes). */
#ifndef INFERENCE_PREFIX_CACHE_H
#define INFERENCE_PREFIX_CACHE_H

#include <stdint.h>
#include <stdio.h>

#include "inference/host_pages.h"
#include "inference/kv_pages.h"

typedef struct prefix_cache prefix_cache;

struct prefix_cache_options {
    kv_pages *pages;          /* the device tier; must outlive the cache */
    host_pages *host;         /* the host tier, used by nobody else; NULL: there is none */
    int32_t spill_tokens_min; /* depth from which unused pages are spilled; 0: the default */
};

/* An empty cache. ERR_MEMORY. */
status prefix_cache_open(prefix_cache **out, const struct prefix_cache_options *options,
                         error *err);

/* Releases all pages and slots it holds; NULL is fine. */
void prefix_cache_close(prefix_cache *c);

/* Tokens "from nowhere on", for real_from and warm_from. */
#define PREFIX_NO_TOKENS INT32_MAX

struct prefix_match {
    int32_t n_tokens;      /* of the prefix that was found on the device */
    int32_t n_pages;       /* whole pages of it: n_tokens / 16 */
    int32_t partial_page;  /* holds the n_tokens % 16 tokens behind them, or -1 when that is 0 */
    int32_t n_host_tokens; /* more of the prefix, on the host: what prefix_cache_restore brings */
    int32_t n_host_pages;  /* device pages that takes: its whole pages and one for the rest */
    int32_t node;          /* where it ends; the cache's own */
};

/* The longest known prefix of tokens[0, n_tokens). Whole pages on the device go to pages[0..]; each
 * of them and the partial page are now held once more, for the caller to release. Tokens from
 * real_from on that are found were found by a real request: they count as useful, and their pages
 * as worth keeping. */
struct prefix_match prefix_cache_match(prefix_cache *c, uint64_t owner, const int32_t *tokens,
                                       int32_t n_tokens, int32_t real_from, int32_t *pages);

/* Copies what the match found on the host to the device, evicting colder pages for it, and makes the
 * match say so. Whole pages go to pages[m->n_pages ..], held for the caller and shared with the
 * cache; a rest of n_tokens % 16 tokens lies in one more page, pages[m->n_pages], which is the
 * caller's alone. Returns how many pages of the pool this took: at most m->n_host_pages, fewer only
 * when no more can be had. Nothing else may be asked of the cache between match and restore;
 * pages[] has room for m->n_pages + m->n_host_pages. */
int32_t prefix_cache_restore(prefix_cache *c, struct prefix_match *m, int32_t *pages);

/* Remembers that pages[] hold tokens[0, n_tokens); the cache takes its own hold. Where the tree has
 * the same whole page already, pages[i] becomes that one (the caller's hold moves with it), so that
 * equal prefixes converge. Tokens from warm_from on were computed by a warm request. The caller must
 * not write into a page given here. */
void prefix_cache_insert(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens,
                         int32_t warm_from, int32_t *pages);

/* Frees up to n pages that nobody else holds, coldest first; returns how many. */
int32_t prefix_cache_evict(prefix_cache *c, int32_t n);

/* A page held once by the caller: a free one, or the coldest. -1 when all are held. */
int32_t prefix_cache_take_page(prefix_cache *c);

/* Keeps the whole pages of tokens[0, n_tokens) that are on the device there until they are unpinned
 * as often as they were pinned. Returns how many tokens were pinned: fewer when less is on the
 * device, when more than pages_max pages would become pinned by this (what is promised to others
 * must not be), or more than PREFIX_PINNED_SHARE of the pool in all. */
int32_t prefix_cache_pin(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens,
                         int32_t pages_max);
void prefix_cache_unpin(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens);

/* Pages in the device tier, and those of them that eviction could free. */
int32_t prefix_cache_page_count(const prefix_cache *c);
int32_t prefix_cache_evictable_count(const prefix_cache *c);

struct prefix_cache_counts {
    int32_t device_pages; /* nodes on the device */
    int32_t host_pages;   /* nodes on the host only */
    int32_t both_pages;   /* nodes on both: counted in device_pages, too */
    int32_t pinned_pages; /* each is held by the cache once more */
    /* Since the open. Pages: forgotten for want of room on the device; copied to the host; copied
     * back; forgotten for want of room on the host. Tokens: as in engine_stats. */
    int64_t dropped, spilled, restored, host_evicted;
    int64_t warm_tokens, warm_useful, warm_wasted;
};

struct prefix_cache_counts prefix_cache_counts(const prefix_cache *c);

/* Walks everything; false and one line about the first broken invariant. For tests. */
bool prefix_cache_check(const prefix_cache *c, error *err);

/* The tree as text: a line per node with tokens, page, slot, holders and marks; children in the
 * order of their tokens, indented where a path branches. */
void prefix_cache_print(const prefix_cache *c, FILE *out);

#endif
