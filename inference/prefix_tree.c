/* Treaps after Seidel and Aragon 1996, with split and merge instead of rotations: all loops go down
 * once and rewrite the links they pass. */
#include "inference/prefix_tree.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"

status prefix_tree_open(prefix_cache *c, int32_t n_nodes_max, error *err)
{
    size_t n_owners = 2;
    while (n_owners < 2 * (size_t)n_nodes_max) n_owners *= 2;
    c->n_nodes_max = n_nodes_max;
    c->owner_mask = n_owners - 1;
    c->nodes = memory_take((size_t)n_nodes_max, sizeof *c->nodes);
    c->owners = memory_take(n_owners, sizeof *c->owners);
    if (!c->nodes || !c->owners)
        return fail(err, ERR_MEMORY, "out of memory for a prefix cache of %d pages", n_nodes_max);
    for (size_t i = 0; i < n_owners; i++) c->owners[i].child = NONE;
    c->free_node = NONE;
    for (int32_t i = n_nodes_max - 1; i >= 0; i--) {
        c->nodes[i].right = c->free_node;
        c->free_node = i;
    }
    return OK;
}

void prefix_tree_free(prefix_cache *c)
{
    memory_free(c->nodes);
    memory_free(c->owners);
}

/* Where the owner is, or the empty place where it would be. There always is one: every owner in the
 * table has a node, and the table has twice as many places as there can be nodes. */
static uint64_t owner_place(const prefix_cache *c, uint64_t key)
{
    uint64_t i = random_mix(key) & c->owner_mask;
    while (c->owners[i].child != NONE && c->owners[i].key != key) i = (i + 1) & c->owner_mask;
    return i;
}

/* Closes the gap: what was put farther on because of it moves up. */
static void owner_remove(prefix_cache *c, uint64_t gap)
{
    uint64_t mask = c->owner_mask;
    for (uint64_t i = (gap + 1) & mask; c->owners[i].child != NONE; i = (i + 1) & mask) {
        uint64_t home = random_mix(c->owners[i].key) & mask;
        if (((i - home) & mask) < ((i - gap) & mask)) continue;
        c->owners[gap] = c->owners[i];
        gap = i;
    }
    c->owners[gap].child = NONE;
    c->n_owners--;
}

int32_t prefix_tree_root(const prefix_cache *c, uint64_t owner, int32_t parent)
{
    return parent == NONE ? c->owners[owner_place(c, owner)].child : c->nodes[parent].child;
}

int32_t prefix_tokens_common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t most = n_a < n_b ? n_a : n_b, i = 0;
    while (i < most && a[i] == b[i]) i++;
    return i;
}

uint64_t prefix_node_rank(int32_t i) { return random_mix((uint64_t)i); }

int32_t prefix_tree_find(const prefix_cache *c, uint64_t owner, int32_t parent,
                         const int32_t *tokens, int32_t n_tokens, int32_t *n_common)
{
    int32_t best = NONE, i = prefix_tree_root(c, owner, parent);
    *n_common = 0;
    while (i != NONE) {
        const struct prefix_node *n = &c->nodes[i];
        int32_t common = prefix_tokens_common(n->token, n->n_tokens, tokens, n_tokens);
        if (common > *n_common) {
            *n_common = common;
            best = i;
        }
        if (common == n_tokens || common == n->n_tokens) break;
        i = tokens[common] < n->token[common] ? n->left : n->right;
    }
    return best;
}

/* Whether a stands before b among siblings; neither begins the other. */
static bool stands_before(const struct prefix_node *a, const struct prefix_node *b)
{
    int32_t i = prefix_tokens_common(a->token, a->n_tokens, b->token, b->n_tokens);
    return i < a->n_tokens && i < b->n_tokens && a->token[i] < b->token[i];
}

/* Parts the treap at `tree` into what stands before node i and what stands behind it. */
static void treap_split(prefix_cache *c, int32_t tree, int32_t i)
{
    int32_t *before = &c->nodes[i].left, *behind = &c->nodes[i].right;
    while (tree != NONE) {
        struct prefix_node *n = &c->nodes[tree];
        if (stands_before(n, &c->nodes[i])) {
            *before = tree;
            before = &n->right;
            tree = n->right;
        } else {
            *behind = tree;
            behind = &n->left;
            tree = n->left;
        }
    }
    *before = *behind = NONE;
}

static void treap_insert(prefix_cache *c, int32_t *link, int32_t i)
{
    while (*link != NONE && prefix_node_rank(*link) > prefix_node_rank(i)) {
        struct prefix_node *n = &c->nodes[*link];
        link = stands_before(&c->nodes[i], n) ? &n->left : &n->right;
    }
    treap_split(c, *link, i);
    *link = i;
}

static void treap_remove(prefix_cache *c, int32_t *link, int32_t i)
{
    while (*link != i) {
        struct prefix_node *n = &c->nodes[*link];
        link = stands_before(&c->nodes[i], n) ? &n->left : &n->right;
    }
    int32_t a = c->nodes[i].left, b = c->nodes[i].right;
    while (a != NONE && b != NONE) {
        bool a_first = prefix_node_rank(a) > prefix_node_rank(b);
        *link = a_first ? a : b;
        link = a_first ? &c->nodes[a].right : &c->nodes[b].left;
        *(a_first ? &a : &b) = *link;
    }
    *link = a != NONE ? a : b;
}

int32_t prefix_tree_add(prefix_cache *c, uint64_t owner, int32_t parent, const int32_t *tokens,
                        int32_t n_tokens)
{
    int32_t i = c->free_node, *root;
    struct prefix_node *n = &c->nodes[i];
    c->free_node = n->right;
    c->n_nodes++;
    *n = (struct prefix_node){.n_tokens = n_tokens,
                              .page = NONE,
                              .slot = NONE,
                              .parent = parent,
                              .child = NONE,
                              .depth = parent == NONE ? 0 : c->nodes[parent].depth + 1,
                              .warm_from = n_tokens,
                              .owner = owner};
    memcpy(n->token, tokens, (size_t)n_tokens * sizeof *tokens);
    if (parent == NONE) {
        struct prefix_owner *o = &c->owners[owner_place(c, owner)];
        c->n_owners += o->child == NONE;
        o->key = owner;
        root = &o->child;
    } else {
        root = &c->nodes[parent].child;
    }
    treap_insert(c, root, i);
    return i;
}

void prefix_tree_remove(prefix_cache *c, int32_t i)
{
    struct prefix_node *n = &c->nodes[i];
    if (n->parent == NONE) {
        uint64_t place = owner_place(c, n->owner);
        treap_remove(c, &c->owners[place].child, i);
        if (c->owners[place].child == NONE) owner_remove(c, place);
    } else {
        treap_remove(c, &c->nodes[n->parent].child, i);
    }
    n->right = c->free_node;
    c->free_node = i;
    c->n_nodes--;
}

int32_t prefix_tree_first(const prefix_cache *c, int32_t root)
{
    while (root != NONE && c->nodes[root].left != NONE) root = c->nodes[root].left;
    return root;
}

int32_t prefix_tree_next(const prefix_cache *c, int32_t i)
{
    const struct prefix_node *n = &c->nodes[i];
    int32_t next = NONE;
    for (int32_t j = prefix_tree_root(c, n->owner, n->parent); j != NONE;) {
        bool behind = j != i && stands_before(n, &c->nodes[j]);
        if (behind) next = j;
        j = behind ? c->nodes[j].left : c->nodes[j].right;
    }
    return next;
}

void prefix_list_remove(prefix_cache *c, struct prefix_list *list, int32_t i)
{
    int32_t warmer = c->nodes[i].link[list->link].warmer;
    int32_t colder = c->nodes[i].link[list->link].colder;
    *(warmer == NONE ? &list->warmest : &c->nodes[warmer].link[list->link].colder) = colder;
    *(colder == NONE ? &list->coldest : &c->nodes[colder].link[list->link].warmer) = warmer;
    list->n--;
}

void prefix_list_put_warmest(prefix_cache *c, struct prefix_list *list, int32_t i)
{
    c->nodes[i].link[list->link].warmer = NONE;
    c->nodes[i].link[list->link].colder = list->warmest;
    *(list->warmest == NONE ? &list->coldest : &c->nodes[list->warmest].link[list->link].warmer) =
        i;
    list->warmest = i;
    list->n++;
}
