/* The prefix cache looked at from outside: every promise of its header checked against every node, and
 * the tree as text. Both walk depth first by parent links, so no prompt is too deep for them. */
#include <string.h>

#include "base/memory.h"
#include "inference/prefix_tree.h"

struct checker {
    const prefix_cache *c;
    int32_t *rank; /* [n_nodes_max] place in the list by use, 1 for the warmest; 0: in none */
    bool *page_seen, *slot_seen;
    int32_t n_nodes, n_idle, n_pinned, n_both, n_slots;
    int64_t warm_pending;
};

/* Behind `i` in a walk of one owner's tree: its first child, else the next one beside it or beside
 * one of its ancestors. */
static int32_t walk_next(const prefix_cache *c, int32_t i)
{
    int32_t next = prefix_tree_first(c, c->nodes[i].child);
    for (; next == NONE && i != NONE; i = c->nodes[i].parent) next = prefix_tree_next(c, i);
    return next;
}

static status list_check(struct checker *k, const struct prefix_list *list, const char *name,
                         error *err)
{
    int32_t n = 0, before = NONE;
    for (int32_t i = list->warmest; i != NONE; i = k->c->nodes[i].link[list->link].colder) {
        bool again = list->link == LINK_USE && k->rank[i];
        if (k->c->nodes[i].link[list->link].warmer != before || again || ++n > list->n)
            return fail(err, ERR_FORMAT, "node %d: broken link in the list %s", i, name);
        if (list->link == LINK_USE) k->rank[i] = n;
        before = i;
    }
    if (n != list->n || list->coldest != before)
        return fail(err, ERR_FORMAT, "list %s has %d nodes, expected %d", name, n, list->n);
    return OK;
}

static status page_check(struct checker *k, int32_t i, error *err)
{
    const struct prefix_node *n = &k->c->nodes[i];
    const kv_pages *pages = k->c->pages;
    if (n->page == NONE)
        return n->n_pins ? fail(err, ERR_FORMAT, "node %d: pinned on the host", i) : OK;
    if (n->page < 0 || n->page >= kv_pages_count(pages) || k->page_seen[n->page] ||
        !kv_pages_is_cached(pages, n->page))
        return fail(err, ERR_FORMAT, "node %d: page %d is foreign, in two nodes or not marked", i,
                    n->page);
    k->page_seen[n->page] = true;
    k->n_pinned += n->n_pins > 0;
    k->n_idle += kv_pages_holders(pages, n->page) == 1;
    if (n->n_pins < 0 || kv_pages_holders(pages, n->page) < 1 + (n->n_pins > 0))
        return fail(err, ERR_FORMAT, "node %d: page %d has %d holders and %d pins", i, n->page,
                    kv_pages_holders(pages, n->page), n->n_pins);
    if (n->n_pins > 0 && n->n_tokens != KV_PAGE_TOKENS)
        return fail(err, ERR_FORMAT, "node %d: pinned with %d tokens", i, n->n_tokens);
    return OK;
}

static status slot_check(struct checker *k, int32_t i, error *err)
{
    const struct prefix_node *n = &k->c->nodes[i];
    const host_pages *host = k->c->host;
    if (n->slot == NONE)
        return n->page == NONE ? fail(err, ERR_FORMAT, "node %d: on no tier", i) : OK;
    if (!host || n->slot < 0 || n->slot >= host_pages_count(host) || k->slot_seen[n->slot] ||
        !host_pages_is_taken(host, n->slot))
        return fail(err, ERR_FORMAT, "node %d: slot %d is free, foreign or in two nodes", i,
                    n->slot);
    k->slot_seen[n->slot] = true;
    k->n_slots++;
    k->n_both += n->page != NONE;
    return n->restoring ? fail(err, ERR_FORMAT, "node %d: left as being restored", i) : OK;
}

static status tokens_check(struct checker *k, int32_t i, error *err)
{
    const struct prefix_node *n = &k->c->nodes[i];
    int32_t next = prefix_tree_next(k->c, i), top = prefix_tree_root(k->c, n->owner, n->parent);
    k->warm_pending += n->n_tokens - n->warm_from;
    if (n->n_tokens < 1 || n->n_tokens > KV_PAGE_TOKENS ||
        (n->child != NONE && n->n_tokens != KV_PAGE_TOKENS) || n->warm_from < 0 ||
        n->warm_from > n->n_tokens)
        return fail(err, ERR_FORMAT, "node %d: %d tokens, warm from %d", i, n->n_tokens,
                    n->warm_from);
    if (prefix_node_rank(top) < prefix_node_rank(i) ||
        (n->left != NONE && prefix_node_rank(n->left) > prefix_node_rank(i)) ||
        (n->right != NONE && prefix_node_rank(n->right) > prefix_node_rank(i)))
        return fail(err, ERR_FORMAT, "node %d: not a heap", i);
    if (next == NONE) return OK;
    const struct prefix_node *m = &k->c->nodes[next];
    int32_t common = prefix_tokens_common(n->token, n->n_tokens, m->token, m->n_tokens);
    if (common == n->n_tokens || common == m->n_tokens)
        return fail(err, ERR_FORMAT, "nodes %d and %d: one begins the other", i, next);
    if (n->token[common] > m->token[common])
        return fail(err, ERR_FORMAT, "nodes %d and %d: out of order", i, next);
    return OK;
}

/* What it says of its parent, and what the tiers promise about both. */
static status parent_check(struct checker *k, int32_t i, error *err)
{
    const struct prefix_node *n = &k->c->nodes[i];
    const struct prefix_node *parent = n->parent == NONE ? NULL : &k->c->nodes[n->parent];
    if (!parent) return n->depth == 0 ? OK : fail(err, ERR_FORMAT, "node %d: not at the top", i);
    if (parent->owner != n->owner || parent->depth + 1 != n->depth)
        return fail(err, ERR_FORMAT, "node %d: not a child of its parent %d", i, n->parent);
    if (n->page != NONE && parent->page == NONE)
        return fail(err, ERR_FORMAT, "node %d is on the device, its parent %d is not", i,
                    n->parent);
    bool same_tier = (n->page == NONE) == (parent->page == NONE);
    if (same_tier && k->rank[n->parent] >= k->rank[i])
        return fail(err, ERR_FORMAT, "node %d is warmer than its parent %d", i, n->parent);
    if (n->n_pins > parent->n_pins)
        return fail(err, ERR_FORMAT, "node %d is pinned oftener than its parent %d", i, n->parent);
    return OK;
}

static status node_check(struct checker *k, int32_t i, error *err)
{
    if (++k->n_nodes > k->c->n_nodes || !k->rank[i])
        return fail(err, ERR_FORMAT, "node %d: in no list, or a circle", i);
    status s = page_check(k, i, err);
    if (s == OK) s = slot_check(k, i, err);
    if (s == OK) s = tokens_check(k, i, err);
    if (s == OK) s = parent_check(k, i, err);
    return s;
}

static status owners_check(struct checker *k, error *err)
{
    const prefix_cache *c = k->c;
    int32_t n_owners = 0;
    status s = OK;
    for (uint64_t o = 0; s == OK && o <= c->owner_mask; o++) {
        int32_t i = prefix_tree_first(c, c->owners[o].child);
        n_owners += i != NONE;
        if (i != NONE && prefix_tree_root(c, c->owners[o].key, NONE) != c->owners[o].child)
            s = fail(err, ERR_FORMAT, "owner %llu is not found",
                     (unsigned long long)c->owners[o].key);
        for (; s == OK && i != NONE; i = walk_next(c, i)) {
            s = node_check(k, i, err);
            if (s == OK && c->nodes[i].owner != c->owners[o].key)
                s = fail(err, ERR_FORMAT, "node %d: another owner's", i);
        }
    }
    if (s == OK && n_owners != c->n_owners)
        s = fail(err, ERR_FORMAT, "%d owners, expected %d", n_owners, c->n_owners);
    return s;
}

static status counts_check(const struct checker *k, error *err)
{
    const prefix_cache *c = k->c;
    int32_t slots = c->host ? host_pages_count(c->host) - host_pages_free_count(c->host) : 0;
    if (k->n_nodes != c->n_nodes || c->device.n + c->spilled.n != c->n_nodes ||
        k->n_both != c->both.n || k->n_slots != slots)
        return fail(err, ERR_FORMAT,
                    "%d nodes of %d; %d on the device, %d on the host, %d on both of %d; %d slots "
                    "of %d",
                    k->n_nodes, c->n_nodes, c->device.n, c->spilled.n, k->n_both, c->both.n,
                    k->n_slots, slots);
    if (k->n_idle != kv_pages_idle_count(c->pages) || k->n_pinned != c->n_pinned ||
        c->n_pinned > c->pinned_max)
        return fail(err, ERR_FORMAT, "%d pages idle, counted %d; %d pinned, counted %d of %d",
                    k->n_idle, kv_pages_idle_count(c->pages), k->n_pinned, c->n_pinned,
                    c->pinned_max);
    if (c->warm_tokens != c->warm_useful + c->warm_wasted + k->warm_pending)
        return fail(err, ERR_FORMAT, "%lld warm tokens: %lld useful, %lld wasted, %lld open",
                    (long long)c->warm_tokens, (long long)c->warm_useful, (long long)c->warm_wasted,
                    (long long)k->warm_pending);
    return OK;
}

bool prefix_cache_check(const prefix_cache *c, error *err)
{
    struct checker k = {.c = c};
    size_t n_slots = c->host ? (size_t)host_pages_count(c->host) : 0;
    k.rank = memory_take((size_t)c->n_nodes_max, sizeof *k.rank);
    k.page_seen = memory_take((size_t)kv_pages_count(c->pages), sizeof *k.page_seen);
    k.slot_seen = memory_take(n_slots + 1, sizeof *k.slot_seen);
    status s = k.rank && k.page_seen && k.slot_seen ? OK : fail(err, ERR_MEMORY, "no memory");
    if (s == OK) s = list_check(&k, &c->device, "of the device", err);
    if (s == OK) s = list_check(&k, &c->spilled, "of the host", err);
    if (s == OK) s = list_check(&k, &c->both, "of both", err);
    if (s == OK) s = owners_check(&k, err);
    if (s == OK) s = counts_check(&k, err);
    memory_free(k.rank);
    memory_free(k.page_seen);
    memory_free(k.slot_seen);
    return s == OK;
}

static bool branches(const prefix_cache *c, int32_t root)
{
    return root != NONE && (c->nodes[root].left != NONE || c->nodes[root].right != NONE);
}

static void node_print(const prefix_cache *c, int32_t i, int indent, FILE *out)
{
    const struct prefix_node *n = &c->nodes[i];
    fprintf(out, "%*s%5d:", 2 * indent, "", n->depth * KV_PAGE_TOKENS);
    for (int32_t t = 0; t < n->n_tokens; t++) fprintf(out, " %d", n->token[t]);
    if (n->page != NONE) fprintf(out, "  p%d", n->page);
    if (n->slot != NONE) fprintf(out, "  h%d", n->slot);
    int32_t others = n->page == NONE ? 0 : kv_pages_holders(c->pages, n->page) - 1 - !!n->n_pins;
    if (others > 0) fprintf(out, "  %d in use", others);
    if (n->n_pins) fprintf(out, "  pinned %d", n->n_pins);
    if (n->warm_from < n->n_tokens) fprintf(out, "  warm %d", n->n_tokens - n->warm_from);
    fprintf(out, "%s\n", n->found ? "  found" : "");
}

void prefix_cache_print(const prefix_cache *c, FILE *out)
{
    fprintf(out,
            "prefix cache: %d pages of %d on the device, %d idle, %d pinned; %d on the host, %d on "
            "both; %d owners\n",
            c->device.n, kv_pages_count(c->pages), kv_pages_idle_count(c->pages), c->n_pinned,
            c->spilled.n, c->both.n, c->n_owners);
    for (uint64_t o = 0; o <= c->owner_mask; o++) {
        int32_t root = c->owners[o].child;
        if (root != NONE) fprintf(out, "owner %llu\n", (unsigned long long)c->owners[o].key);
        for (int32_t i = prefix_tree_first(c, root); i != NONE; i = walk_next(c, i)) {
            int indent = 1;
            for (int32_t j = i; j != NONE; j = c->nodes[j].parent)
                indent += branches(c, prefix_tree_root(c, c->owners[o].key, c->nodes[j].parent));
            node_print(c, i, indent, out);
        }
    }
}
