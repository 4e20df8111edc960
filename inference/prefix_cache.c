/* Nodes are preallocated, one per page: the tree can never need more, and nothing is allocated after
 * open. A list of siblings is searched with the last match in front: paths are mostly chains. */
#include "inference/prefix_cache.h"

#include <string.h>

#include "base/memory.h"
#include "kernels/kernels.h"

enum { NONE = -1 };

struct node {
    int32_t token[KV_PAGE_TOKENS];
    int32_t n_tokens;
    int32_t page;
    int32_t parent;         /* NONE: the first page of an owner */
    int32_t child, sibling; /* first child; next child of the same parent. A free node: next free */
    int32_t warmer, colder;
    int32_t owner; /* slot in owners: kept in every node, so that eviction finds its root */
};

struct owner {
    uint64_t key;
    int32_t child; /* NONE: the slot is free */
};

struct prefix_cache {
    kv_pages *pages;
    struct node *nodes;   /* [n_pages] */
    struct owner *owners; /* [n_pages]: an owner in the tree has a page at least */
    int32_t n_owners, n_nodes;
    int32_t free_node, warmest, coldest;
};

status prefix_cache_open(prefix_cache **out, kv_pages *pages, error *err)
{
    int32_t n = kv_pages_count(pages);
    prefix_cache *c = memory_take(1, sizeof *c);
    *out = NULL;
    if (c) {
        c->pages = pages;
        c->nodes = memory_take((size_t)n, sizeof *c->nodes);
        c->owners = memory_take((size_t)n, sizeof *c->owners);
        c->warmest = c->coldest = c->free_node = NONE;
    }
    if (!c || !c->nodes || !c->owners) {
        if (c) memory_free(c->nodes), memory_free(c->owners);
        memory_free(c);
        return fail(err, ERR_MEMORY, "out of memory for a prefix cache of %d pages", n);
    }
    for (int32_t i = n - 1; i >= 0; i--) {
        c->nodes[i].sibling = c->free_node;
        c->free_node = i;
    }
    *out = c;
    return OK;
}

void prefix_cache_close(prefix_cache *c)
{
    if (!c) return;
    for (int32_t i = c->warmest; i != NONE; i = c->nodes[i].colder)
        kv_pages_release(c->pages, c->nodes[i].page);
    memory_free(c->nodes);
    memory_free(c->owners);
    memory_free(c);
}

static int32_t owner_find(const prefix_cache *c, uint64_t key)
{
    for (int32_t i = 0; i < c->n_owners; i++)
        if (c->owners[i].key == key && c->owners[i].child != NONE) return i;
    return NONE;
}

/* A slot for `key`; there is always one, since every owner in use has a node. */
static int32_t owner_take(prefix_cache *c, uint64_t key)
{
    int32_t slot = 0;
    while (slot < c->n_owners && c->owners[slot].child != NONE) slot++;
    if (slot == c->n_owners) c->n_owners++;
    c->owners[slot] = (struct owner){key, NONE};
    return slot;
}

/* Where the list of children of `parent` (or of the owner's first pages) begins. */
static int32_t *children_of(prefix_cache *c, int32_t owner, int32_t parent)
{
    return parent == NONE ? &c->owners[owner].child : &c->nodes[parent].child;
}

static void list_remove(prefix_cache *c, int32_t i)
{
    struct node *n = &c->nodes[i];
    *(n->warmer == NONE ? &c->warmest : &c->nodes[n->warmer].colder) = n->colder;
    *(n->colder == NONE ? &c->coldest : &c->nodes[n->colder].warmer) = n->warmer;
}

static void list_put_warmest(prefix_cache *c, int32_t i)
{
    c->nodes[i].warmer = NONE;
    c->nodes[i].colder = c->warmest;
    *(c->warmest == NONE ? &c->coldest : &c->nodes[c->warmest].warmer) = i;
    c->warmest = i;
}

/* Uses a node and then its ancestors, so that each parent ends up warmer than its child. */
static void path_touch(prefix_cache *c, int32_t i)
{
    for (; i != NONE; i = c->nodes[i].parent) {
        list_remove(c, i);
        list_put_warmest(c, i);
    }
}

static int32_t tokens_common(const struct node *n, const int32_t *tokens, int32_t n_tokens)
{
    int32_t most = n->n_tokens < n_tokens ? n->n_tokens : n_tokens, i = 0;
    while (i < most && n->token[i] == tokens[i]) i++;
    return i;
}

/* The child that shares the most tokens with tokens[0, n_tokens); NONE when none shares any. It is
 * moved to the front of its siblings. */
static int32_t child_find(prefix_cache *c, int32_t *children, const int32_t *tokens,
                          int32_t n_tokens, int32_t *n_common)
{
    int32_t best = NONE, before_best = NONE, before = NONE;
    *n_common = 0;
    for (int32_t i = *children; i != NONE; before = i, i = c->nodes[i].sibling) {
        int32_t common = tokens_common(&c->nodes[i], tokens, n_tokens);
        if (common <= *n_common) continue;
        *n_common = common;
        best = i;
        before_best = before;
        if (common == n_tokens) break;
    }
    if (before_best != NONE) {
        c->nodes[before_best].sibling = c->nodes[best].sibling;
        c->nodes[best].sibling = *children;
        *children = best;
    }
    return best;
}

static int32_t chunk_size(int32_t n_tokens, int32_t at)
{
    return n_tokens - at < KV_PAGE_TOKENS ? n_tokens - at : KV_PAGE_TOKENS;
}

struct prefix_match prefix_cache_match(prefix_cache *c, uint64_t owner, const int32_t *tokens,
                                       int32_t n_tokens, int32_t *pages)
{
    struct prefix_match m = {0, 0, -1};
    int32_t slot = owner_find(c, owner), parent = NONE;
    while (slot != NONE && m.n_tokens < n_tokens) {
        int32_t common, size = chunk_size(n_tokens, m.n_tokens);
        int32_t i = child_find(c, children_of(c, slot, parent), tokens + m.n_tokens, size, &common);
        if (i == NONE) break;
        kv_pages_hold(c->pages, c->nodes[i].page);
        parent = i;
        m.n_tokens += common;
        if (common < KV_PAGE_TOKENS) {
            m.partial_page = c->nodes[i].page;
            break;
        }
        pages[m.n_pages++] = c->nodes[i].page;
    }
    path_touch(c, parent);
    return m;
}

static int32_t node_add(prefix_cache *c, int32_t owner, int32_t parent, const int32_t *tokens,
                        int32_t n_tokens, int32_t page)
{
    int32_t i = c->free_node, *children = children_of(c, owner, parent);
    struct node *n = &c->nodes[i];
    c->free_node = n->sibling;
    c->n_nodes++;
    *n = (struct node){.n_tokens = n_tokens,
                       .page = page,
                       .parent = parent,
                       .child = NONE,
                       .sibling = *children,
                       .owner = owner};
    memcpy(n->token, tokens, (size_t)n_tokens * sizeof *tokens);
    *children = i;
    kv_pages_hold(c->pages, page);
    list_put_warmest(c, i);
    return i;
}

/* A partial leaf learns the tokens that follow, with the page that holds them. */
static void node_extend(prefix_cache *c, int32_t i, const int32_t *tokens, int32_t n_tokens,
                        int32_t page)
{
    struct node *n = &c->nodes[i];
    kv_pages_hold(c->pages, page);
    kv_pages_release(c->pages, n->page);
    n->page = page;
    n->n_tokens = n_tokens;
    memcpy(n->token, tokens, (size_t)n_tokens * sizeof *tokens);
}

void prefix_cache_insert(prefix_cache *c, uint64_t owner, const int32_t *tokens, int32_t n_tokens,
                         int32_t *pages)
{
    if (n_tokens <= 0) return;
    int32_t slot = owner_find(c, owner), parent = NONE;
    if (slot == NONE) slot = owner_take(c, owner);
    for (int32_t at = 0; at < n_tokens; at += KV_PAGE_TOKENS) {
        int32_t common, size = chunk_size(n_tokens, at), *page = &pages[at / KV_PAGE_TOKENS];
        int32_t *children = children_of(c, slot, parent);
        int32_t i = child_find(c, children, tokens + at, size, &common);
        if (i != NONE && common == size) {
            if (size == KV_PAGE_TOKENS && c->nodes[i].page != *page) {
                kv_pages_hold(c->pages, c->nodes[i].page);
                kv_pages_release(c->pages, *page);
                *page = c->nodes[i].page;
            }
        } else if (i != NONE && common == c->nodes[i].n_tokens) {
            node_extend(c, i, tokens + at, size, *page);
        } else {
            i = node_add(c, slot, parent, tokens + at, size, *page);
        }
        parent = i;
    }
    path_touch(c, parent);
}

static void node_remove(prefix_cache *c, int32_t i)
{
    struct node *n = &c->nodes[i];
    int32_t *link = children_of(c, n->owner, n->parent);
    while (*link != i) link = &c->nodes[*link].sibling;
    *link = n->sibling;
    list_remove(c, i);
    kv_pages_release(c->pages, n->page);
    n->sibling = c->free_node;
    c->free_node = i;
    c->n_nodes--;
}

bool prefix_cache_evict(prefix_cache *c)
{
    for (int32_t i = c->coldest; i != NONE; i = c->nodes[i].warmer) {
        if (c->nodes[i].child != NONE || kv_pages_holders(c->pages, c->nodes[i].page) > 1) continue;
        node_remove(c, i);
        return true;
    }
    return false;
}

int32_t prefix_cache_page_count(const prefix_cache *c) { return c->n_nodes; }

/* A sequence that holds a page holds all pages before it, so whatever hangs below a page that only
 * the cache holds is held by the cache alone, too. */
int32_t prefix_cache_evictable_count(const prefix_cache *c)
{
    int32_t n = 0;
    for (int32_t i = c->warmest; i != NONE; i = c->nodes[i].colder)
        n += kv_pages_holders(c->pages, c->nodes[i].page) == 1;
    return n;
}

/* rank[i] becomes the place of node i in the list, 1 for the warmest; the list must be sound. */
static status list_check(const prefix_cache *c, int32_t *rank, error *err)
{
    int32_t n = 0, before = NONE;
    for (int32_t i = c->warmest; i != NONE; before = i, i = c->nodes[i].colder) {
        if (c->nodes[i].warmer != before || rank[i] || ++n > c->n_nodes)
            return fail(err, ERR_FORMAT, "node %d: broken link in the list by use", i);
        rank[i] = n;
    }
    if (n != c->n_nodes || c->coldest != before)
        return fail(err, ERR_FORMAT, "list by use has %d nodes, expected %d", n, c->n_nodes);
    return OK;
}

static status node_check(const prefix_cache *c, int32_t i, const int32_t *rank, bool *page_seen,
                         error *err)
{
    const struct node *n = &c->nodes[i];
    if (n->page < 0 || n->page >= kv_pages_count(c->pages) || page_seen[n->page] ||
        kv_pages_holders(c->pages, n->page) < 1)
        return fail(err, ERR_FORMAT, "node %d: page %d is free, foreign or in two nodes", i,
                    n->page);
    page_seen[n->page] = true;
    if (n->n_tokens < 1 || n->n_tokens > KV_PAGE_TOKENS ||
        (n->child != NONE && n->n_tokens != KV_PAGE_TOKENS))
        return fail(err, ERR_FORMAT, "node %d: %d tokens", i, n->n_tokens);
    if (n->parent != NONE && rank[n->parent] >= rank[i])
        return fail(err, ERR_FORMAT, "node %d is warmer than its parent %d", i, n->parent);
    for (int32_t j = n->sibling; j != NONE; j = c->nodes[j].sibling) {
        int32_t common = tokens_common(n, c->nodes[j].token, c->nodes[j].n_tokens);
        if (common == n->n_tokens || common == c->nodes[j].n_tokens)
            return fail(err, ERR_FORMAT, "nodes %d and %d: one begins the other", i, j);
    }
    return OK;
}

/* Every node must be found among the children of what it calls its parent. */
static status place_check(const prefix_cache *c, int32_t i, error *err)
{
    const struct node *n = &c->nodes[i];
    int32_t j = n->parent == NONE ? c->owners[n->owner].child : c->nodes[n->parent].child;
    int32_t steps = 0;
    while (j != NONE && j != i && steps++ <= c->n_nodes) j = c->nodes[j].sibling;
    if (j != i) return fail(err, ERR_FORMAT, "node %d: not among its parent's children", i);
    if (n->parent != NONE && c->nodes[n->parent].owner != n->owner)
        return fail(err, ERR_FORMAT, "node %d: another owner than its parent", i);
    return OK;
}

bool prefix_cache_check(const prefix_cache *c, error *err)
{
    size_t n = (size_t)kv_pages_count(c->pages);
    int32_t *rank = memory_take(n, sizeof *rank);
    bool *page_seen = memory_take(n, sizeof *page_seen);
    status s = rank && page_seen ? list_check(c, rank, err) : fail(err, ERR_MEMORY, "no memory");
    for (int32_t i = c->warmest; s == OK && i != NONE; i = c->nodes[i].colder) {
        s = node_check(c, i, rank, page_seen, err);
        if (s == OK) s = place_check(c, i, err);
    }
    for (int32_t i = 0; s == OK && i < c->n_owners; i++)
        for (int32_t j = 0; j < i; j++)
            if (c->owners[i].child != NONE && c->owners[j].child != NONE &&
                c->owners[i].key == c->owners[j].key)
                s = fail(err, ERR_FORMAT, "owner slots %d and %d: the same owner twice", i, j);
    memory_free(rank);
    memory_free(page_seen);
    return s == OK;
}
