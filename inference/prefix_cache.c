/* What is kept and what goes. Nodes are preallocated, one per page and slot: each has a page or a
 * slot of its own, so the tree can never need more. Spilling and restoring go in batches, so that a
 * device copies many pages a call. */
#include "inference/prefix_cache.h"

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "inference/prefix_tree.h"

enum { BATCH_PAGES = 32 };

/* Copies that are due; the pages saved are released once they are made. */
struct batch_copy {
    int32_t pages[BATCH_PAGES], slots[BATCH_PAGES], n;
};

status prefix_cache_open(prefix_cache **out, const struct prefix_cache_options *o, error *err)
{
    prefix_cache *c = memory_take(1, sizeof *c);
    int32_t n_pages = kv_pages_count(o->pages), n_slots = o->host ? host_pages_count(o->host) : 0;
    *out = NULL;
    if (!c) return fail(err, ERR_MEMORY, "out of memory for a prefix cache");
    *c = (prefix_cache){.pages = o->pages,
                        .host = o->host,
                        .device = {NONE, NONE, 0, LINK_USE},
                        .spilled = {NONE, NONE, 0, LINK_USE},
                        .both = {NONE, NONE, 0, LINK_BOTH},
                        .spill_tokens_min =
                            o->spill_tokens_min ? o->spill_tokens_min : PREFIX_SPILL_TOKENS_MIN,
                        .pinned_max = n_pages / PREFIX_PINNED_SHARE};
    status s = n_slots > INT32_MAX - n_pages
                   ? fail(err, ERR_LIMIT, "%d device and %d host pages: too many", n_pages, n_slots)
                   : prefix_tree_open(c, n_pages + n_slots, err);
    if (s != OK) {
        prefix_tree_free(c);
        memory_free(c);
        return s;
    }
    *out = c;
    return OK;
}

/* Where a node stands by use. */
static struct prefix_list *list_of(prefix_cache *c, const struct prefix_node *n)
{
    return n->page == NONE ? &c->spilled : &c->device;
}

/* Uses a node and then its ancestors, so that each parent ends up warmer than its child. */
static void path_touch(prefix_cache *c, int32_t i)
{
    for (; i != NONE; i = c->nodes[i].parent) {
        struct prefix_list *list = list_of(c, &c->nodes[i]);
        prefix_list_remove(c, list, i);
        prefix_list_put_warmest(c, list, i);
    }
}

/* The node is on the device from now on, in this page; it stands in no list by use. */
static void device_put(prefix_cache *c, int32_t i, int32_t page)
{
    c->nodes[i].page = page;
    kv_pages_hold(c->pages, page);
    kv_pages_set_cached(c->pages, page, true);
    prefix_list_put_warmest(c, &c->device, i);
    if (c->nodes[i].slot != NONE) prefix_list_put_warmest(c, &c->both, i);
}

/* Takes it off the device; the page it had is still held for the caller, who releases it. */
static int32_t device_leave(prefix_cache *c, int32_t i)
{
    int32_t page = c->nodes[i].page;
    prefix_list_remove(c, &c->device, i);
    if (c->nodes[i].slot != NONE) prefix_list_remove(c, &c->both, i);
    kv_pages_set_cached(c->pages, page, false);
    c->nodes[i].page = NONE;
    return page;
}

/* A node of the host comes to the device and keeps its copy there. */
static void device_return(prefix_cache *c, int32_t i, int32_t page)
{
    prefix_list_remove(c, &c->spilled, i);
    device_put(c, i, page);
}

/* Forgets what the host has of a node; it stands in no list of the host afterwards. */
static void slot_leave(prefix_cache *c, int32_t i)
{
    struct prefix_node *n = &c->nodes[i];
    if (n->slot == NONE) return;
    prefix_list_remove(c, n->page == NONE ? &c->spilled : &c->both, i);
    host_pages_release(c->host, n->slot);
    n->slot = NONE;
}

/* Forgets a node that has no children. */
static void node_drop(prefix_cache *c, int32_t i)
{
    struct prefix_node *n = &c->nodes[i];
    c->warm_wasted += n->n_tokens - n->warm_from;
    slot_leave(c, i);
    if (n->page != NONE) kv_pages_release(c->pages, device_leave(c, i));
    prefix_tree_remove(c, i);
}

/* Forgets a node and what is below it, from the leaves up. Returns how many of them were on the host
 * only. */
static int64_t subtree_drop(prefix_cache *c, int32_t i)
{
    int64_t n_host = 0;
    for (int32_t j = i, parent;; j = parent) {
        while (c->nodes[j].child != NONE) j = c->nodes[j].child;
        parent = c->nodes[j].parent;
        n_host += c->nodes[j].page == NONE;
        node_drop(c, j);
        if (j == i) return n_host;
    }
}

/* Children of what leaves the device are on the host only: they were worth it. */
static bool is_worth_a_slot(const prefix_cache *c, const struct prefix_node *n)
{
    bool deep = n->depth * KV_PAGE_TOKENS + n->n_tokens >= c->spill_tokens_min;
    return n->child != NONE || n->found || (deep && n->warm_from == n->n_tokens);
}

/* A slot that nobody needs more; NONE when there is none. What is being restored stays: it is the
 * warm end of the list, so when the coldest is part of it, nearly all is. */
static int32_t slot_take(prefix_cache *c)
{
    if (!c->host) return NONE;
    int32_t slot = host_pages_take(c->host), coldest = c->spilled.coldest;
    if (slot != NONE) return slot;
    if (c->both.n > 0) {
        slot_leave(c, c->both.warmest);
    } else if (coldest != NONE && !c->nodes[coldest].restoring) {
        node_drop(c, coldest);
        c->host_evicted++;
    }
    return host_pages_take(c->host);
}

static void batch_save(prefix_cache *c, struct batch_copy *b)
{
    if (b->n == 0) return;
    host_pages_save(c->host, b->slots, b->pages, b->n);
    for (int32_t i = 0; i < b->n; i++) kv_pages_release(c->pages, b->pages[i]);
    c->n_spilled += b->n;
    b->n = 0;
}

/* A node of the device that nobody holds and that has no children there goes to the host or nowhere.
 * Its page is free now, or when the batch was saved. */
static void node_evict(prefix_cache *c, int32_t i, struct batch_copy *b)
{
    struct prefix_node *n = &c->nodes[i];
    int32_t slot = n->slot == NONE && is_worth_a_slot(c, n) ? slot_take(c) : NONE;
    if (n->slot == NONE && slot == NONE) {
        c->host_evicted += subtree_drop(c, i);
        c->dropped++;
        return;
    }
    int32_t page = device_leave(c, i);
    prefix_list_put_warmest(c, &c->spilled, i);
    if (slot == NONE) {
        kv_pages_release(c->pages, page);
        return;
    }
    n->slot = slot;
    b->pages[b->n] = page;
    b->slots[b->n++] = slot;
    if (b->n == BATCH_PAGES) batch_save(c, b);
}

int32_t prefix_cache_evict(prefix_cache *c, int32_t n)
{
    struct batch_copy batch = {.n = 0};
    int32_t done = 0;
    for (; done < n && kv_pages_idle_count(c->pages) > 0; done++) {
        int32_t i = c->device.coldest;
        while (kv_pages_holders(c->pages, c->nodes[i].page) > 1) {
            path_touch(c, i); /* in use now */
            i = c->device.coldest;
        }
        node_evict(c, i, &batch);
    }
    batch_save(c, &batch);
    return done;
}

int32_t prefix_cache_take_page(prefix_cache *c)
{
    if (kv_pages_free_count(c->pages) == 0) prefix_cache_evict(c, 1);
    return kv_pages_take(c->pages);
}

static int32_t chunk_size(int32_t n_tokens, int32_t at)
{
    return n_tokens - at < KV_PAGE_TOKENS ? n_tokens - at : KV_PAGE_TOKENS;
}

/* The first n tokens of a node were found by a real request. */
static void found_record(prefix_cache *c, struct prefix_node *node, int32_t n)
{
    node->found = true;
    if (n <= node->warm_from) return;
    c->warm_useful += n - node->warm_from;
    node->warm_from = n;
}

struct prefix_match prefix_cache_match(prefix_cache *c, uint64_t owner, const int32_t *tokens,
                                       int32_t n_tokens, int32_t real_from, int32_t *pages)
{
    struct prefix_match m = {.partial_page = -1, .node = NONE};
    for (int32_t at = 0, common = KV_PAGE_TOKENS; at < n_tokens && common == KV_PAGE_TOKENS;) {
        int32_t size = chunk_size(n_tokens, at);
        int32_t i = prefix_tree_find(c, owner, m.node, tokens + at, size, &common);
        if (i == NONE) break;
        struct prefix_node *n = &c->nodes[i];
        m.node = i;
        at += common;
        if (at > real_from) found_record(c, n, common);
        if (n->page == NONE) {
            m.n_host_tokens += common;
            m.n_host_pages++;
            continue;
        }
        kv_pages_hold(c->pages, n->page);
        m.n_tokens += common;
        if (common == KV_PAGE_TOKENS)
            pages[m.n_pages++] = n->page;
        else
            m.partial_page = n->page;
    }
    path_touch(c, m.node);
    return m;
}

static void batch_load(prefix_cache *c, struct batch_copy *b)
{
    if (b->n > 0) host_pages_load(c->host, b->pages, b->slots, b->n);
    c->n_restored += b->n;
    b->n = 0;
}

/* Gives each of the nodes a page, until none can be had, and loads them. The nodes' places in the
 * array become the pages, each held once for the caller; whole ones are shared with the tree. */
static int32_t nodes_load(prefix_cache *c, int32_t *nodes, int32_t n, int32_t n_whole)
{
    struct batch_copy batch = {.n = 0};
    int32_t done = 0, last = NONE;
    for (; done < n; done++) {
        int32_t i = nodes[done], page = kv_pages_take(c->pages);
        if (page < 0) break;
        batch.pages[batch.n] = page;
        batch.slots[batch.n++] = c->nodes[i].slot;
        if (batch.n == BATCH_PAGES) batch_load(c, &batch);
        if (done < n_whole) device_return(c, last = i, page);
        nodes[done] = page;
    }
    batch_load(c, &batch);
    path_touch(c, last);
    return done;
}

int32_t prefix_cache_restore(prefix_cache *c, struct prefix_match *m, int32_t *pages)
{
    int32_t n = m->n_host_pages, *nodes = pages + m->n_pages;
    int32_t tail = m->n_host_tokens % KV_PAGE_TOKENS, n_whole = m->n_host_tokens / KV_PAGE_TOKENS;
    for (int32_t k = n - 1, i = m->node; k >= 0; k--, i = c->nodes[i].parent) {
        nodes[k] = i;
        c->nodes[i].restoring = true;
    }
    int32_t missing = n - kv_pages_free_count(c->pages);
    if (missing > 0) prefix_cache_evict(c, missing);
    for (int32_t k = 0; k < n; k++) c->nodes[nodes[k]].restoring = false;
    int32_t done = nodes_load(c, nodes, n, n_whole);
    m->n_pages += done < n_whole ? done : n_whole;
    m->n_tokens = m->n_pages * KV_PAGE_TOKENS + (done > n_whole ? tail : 0);
    m->n_host_tokens = m->n_host_pages = 0;
    return done;
}

/* A partial leaf learns the tokens that follow, with the page that holds them. What warm work had
 * computed and nobody found counts on only when warm work continues it. */
static void node_extend(prefix_cache *c, int32_t i, const int32_t *tokens, int32_t n_tokens,
                        int32_t warm_from, int32_t page)
{
    struct prefix_node *n = &c->nodes[i];
    int32_t new_from = warm_from > n->n_tokens ? warm_from : n->n_tokens;
    c->warm_tokens += n_tokens - new_from;
    if (warm_from > n->n_tokens || n->warm_from == n->n_tokens) {
        c->warm_wasted += n->n_tokens - n->warm_from;
        n->warm_from = new_from;
    }
    slot_leave(c, i);
    if (n->page != NONE && n->page != page) kv_pages_release(c->pages, device_leave(c, i));
    if (n->page == NONE) device_put(c, i, page);
    n->n_tokens = n_tokens;
    memcpy(n->token, tokens, (size_t)n_tokens * sizeof *tokens);
}

static int32_t node_add(prefix_cache *c, uint64_t owner, int32_t parent, const int32_t *tokens,
                        int32_t n_tokens, int32_t warm_from, int32_t page)
{
    int32_t i = prefix_tree_add(c, owner, parent, tokens, n_tokens);
    c->nodes[i].warm_from = warm_from;
    c->warm_tokens += n_tokens - warm_from;
    device_put(c, i, page);
    return i;
}

/* The node has these tokens already: a whole page converges to the node's, and what was on the host
 * only has a page again. */
static void node_meet(prefix_cache *c, int32_t i, int32_t n_tokens, int32_t *page)
{
    const struct prefix_node *n = &c->nodes[i];
    if (n->page == NONE && n->n_tokens == n_tokens) {
        device_return(c, i, *page);
    } else if (n_tokens == KV_PAGE_TOKENS && n->page != *page) {
        kv_pages_hold(c->pages, n->page);
        kv_pages_release(c->pages, *page);
        *page = n->page;
    }
}

void prefix_cache_insert(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens,
                         int32_t warm_from, int32_t *pages)
{
    int32_t parent = NONE;
    for (int32_t at = 0; at < n_tokens; at += KV_PAGE_TOKENS) {
        int32_t common, size = chunk_size(n_tokens, at), *page = &pages[at / KV_PAGE_TOKENS];
        int32_t warm = warm_from < at ? 0 : warm_from - at < size ? warm_from - at : size;
        int32_t i = prefix_tree_find(c, owner, parent, tokens + at, size, &common);
        if (i != NONE && common == size)
            node_meet(c, i, size, page);
        else if (i != NONE && common == c->nodes[i].n_tokens)
            node_extend(c, i, tokens + at, size, warm, *page);
        else
            i = node_add(c, owner, parent, tokens + at, size, warm, *page);
        parent = i;
    }
    path_touch(c, parent);
}

/* The next whole page of a prefix that is on the device; NONE. */
static int32_t whole_find(const prefix_cache *c, uint64_t owner, int32_t parent,
                          const int32_t *tokens, int32_t n_tokens)
{
    int32_t common;
    if (n_tokens < KV_PAGE_TOKENS) return NONE;
    int32_t i = prefix_tree_find(c, owner, parent, tokens, KV_PAGE_TOKENS, &common);
    return i != NONE && common == KV_PAGE_TOKENS && c->nodes[i].page != NONE ? i : NONE;
}

int32_t prefix_cache_pin(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens,
                         int32_t pages_max)
{
    int32_t at = 0, i = NONE;
    for (;; at += KV_PAGE_TOKENS) {
        i = whole_find(c, owner, i, tokens + at, n_tokens - at);
        if (i == NONE) return at;
        struct prefix_node *n = &c->nodes[i];
        if (n->n_pins == 0) {
            if (pages_max-- <= 0 || c->n_pinned == c->pinned_max) return at;
            kv_pages_hold(c->pages, n->page);
            c->n_pinned++;
        }
        n->n_pins++;
    }
}

void prefix_cache_unpin(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens)
{
    int32_t i = NONE;
    for (int32_t at = 0;; at += KV_PAGE_TOKENS) {
        i = whole_find(c, owner, i, tokens + at, n_tokens - at);
        if (i == NONE || c->nodes[i].n_pins == 0) return;
        if (--c->nodes[i].n_pins > 0) continue;
        kv_pages_release(c->pages, c->nodes[i].page);
        c->n_pinned--;
    }
}

int32_t prefix_cache_page_count(const prefix_cache *c) { return c->device.n; }

/* A sequence that holds a page holds all pages before it, so whatever hangs below a page that only
 * the cache holds is held by the cache alone, too. */
int32_t prefix_cache_evictable_count(const prefix_cache *c)
{
    return kv_pages_idle_count(c->pages);
}

struct prefix_cache_counts prefix_cache_counts(const prefix_cache *c)
{
    return (struct prefix_cache_counts){.device_pages = c->device.n,
                                        .host_pages = c->spilled.n,
                                        .both_pages = c->both.n,
                                        .pinned_pages = c->n_pinned,
                                        .dropped = c->dropped,
                                        .spilled = c->n_spilled,
                                        .restored = c->n_restored,
                                        .host_evicted = c->host_evicted,
                                        .warm_tokens = c->warm_tokens,
                                        .warm_useful = c->warm_useful,
                                        .warm_wasted = c->warm_wasted};
}

void prefix_cache_close(prefix_cache *c)
{
    if (!c) return;
    for (int32_t i = c->device.coldest; i != NONE; i = c->device.coldest) {
        for (; c->nodes[i].n_pins > 0; c->nodes[i].n_pins = 0)
            kv_pages_release(c->pages, c->nodes[i].page);
        slot_leave(c, i);
        kv_pages_release(c->pages, device_leave(c, i));
    }
    for (int32_t i = c->spilled.coldest; i != NONE; i = c->spilled.coldest) slot_leave(c, i);
    prefix_tree_free(c);
    memory_free(c);
}
