/* The prefix cache from inside, for prefix_*.c only: nodes, the order of siblings, owners, lists.
 *
 * Siblings form a treap: a search tree by their tokens, a heap by a number mixed from the node's own
 * index, so its depth is logarithmic whatever the tokens are. Of all siblings the one that shares
 * the most tokens with a query lies on the query's search path, for in sorted order it is a
 * neighbour of the query's place. Nodes are preallocated; a node is an index. */
#ifndef INFERENCE_PREFIX_TREE_H
#define INFERENCE_PREFIX_TREE_H

#include "inference/prefix_cache.h"

enum { NONE = -1 };

/* Lists a node can be in. By use: the device's or the host's, as it is on the device or not. */
enum { LINK_USE, LINK_BOTH, N_LINKS };

struct prefix_node {
    int32_t token[KV_PAGE_TOKENS];
    int32_t n_tokens;
    int32_t page, slot;  /* NONE: not on the device, not on the host */
    int32_t parent;      /* NONE: the first page of an owner */
    int32_t child;       /* root of the treap of its children */
    int32_t left, right; /* in the treap of its siblings. A free node: right is the next free one */
    int32_t depth;       /* nodes above it */
    int32_t n_pins;
    int32_t warm_from; /* tokens from here on were computed by warm work and not judged yet */
    bool found;        /* by a real request */
    bool restoring;    /* must stay on the host just now */
    uint64_t owner;
    struct {
        int32_t warmer, colder;
    } link[N_LINKS];
};

struct prefix_owner {
    uint64_t key;
    int32_t child; /* root of the treap of its first pages. NONE: the place is empty */
};

/* Nodes by last use. */
struct prefix_list {
    int32_t warmest, coldest, n, link;
};

struct prefix_cache {
    struct prefix_node *nodes; /* [n_nodes_max] */
    int32_t n_nodes, n_nodes_max, free_node;
    struct prefix_owner *owners; /* [owner_mask + 1] hashed by key, linear probing */
    uint64_t owner_mask;
    int32_t n_owners;

    kv_pages *pages;
    host_pages *host;
    struct prefix_list device, spilled; /* together all nodes */
    struct prefix_list both;            /* of those on the device, what is on the host, too */
    int32_t spill_tokens_min, n_pinned, pinned_max;
    int64_t dropped, n_spilled, n_restored, host_evicted, warm_tokens, warm_useful, warm_wasted;
};

/* ERR_MEMORY; what was allocated is freed by prefix_tree_free. */
status prefix_tree_open(prefix_cache *c, int32_t n_nodes_max, error *err);
void prefix_tree_free(prefix_cache *c);

/* The child of `parent` (NONE: first page of the owner) that shares the most tokens with
 * tokens[0, n_tokens), and how many; NONE when none shares any. */
int32_t prefix_tree_find(const prefix_cache *c, uint64_t owner, int32_t parent,
                         const int32_t *tokens, int32_t n_tokens, int32_t *n_common);

/* A new node with these tokens and nothing else; it must not begin a sibling, nor the reverse. */
int32_t prefix_tree_add(prefix_cache *c, uint64_t owner, int32_t parent, const int32_t *tokens,
                        int32_t n_tokens);

/* Takes a node without children out. */
void prefix_tree_remove(prefix_cache *c, int32_t i);

/* The children in the order of their tokens: the first below a root, the one behind `i`; NONE. */
int32_t prefix_tree_first(const prefix_cache *c, int32_t root);
int32_t prefix_tree_next(const prefix_cache *c, int32_t i);

/* Root of the treap that has `i` in it. */
int32_t prefix_tree_root(const prefix_cache *c, uint64_t owner, int32_t parent);

/* How many tokens two runs have in common at their beginning. */
int32_t prefix_tokens_common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b);

/* A node's place in the heap of its siblings. */
uint64_t prefix_node_rank(int32_t i);

void prefix_list_remove(prefix_cache *c, struct prefix_list *list, int32_t i);
void prefix_list_put_warmest(prefix_cache *c, struct prefix_list *list, int32_t i);

#endif
