/* The prefix cache against a naive model: a plain list of all prefixes that end a page, searched from
 * end to end. Random prompts share beginnings on purpose; 64 pages hold few of them, so that
 * everything is evicted sooner or later. All invariants are checked after every operation.
 *
 * "Contents" of a page are simulated: what was written into page p, position by position. A match is
 * right when the pages it gives contain the tokens asked for, in the namespace asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "inference/prefix_cache.h"
#include "kernels/kernels.h"

/* cmocka has a macro of the name of our `fail`: its header comes last. */
#include <cmocka.h>

enum { PAGES = 64, PROMPT_MAX = 200, PAGES_MAX = PROMPT_MAX / KV_PAGE_TOKENS + 1, HELD = 4 };

/* What the simulated device wrote. */
struct cell {
    int32_t token;
    uint64_t owner;
};

struct held {
    int32_t pages[PAGES_MAX];
    int32_t n_pages;
};

/* One page of the naive model: everything up to its end. */
struct entry {
    uint64_t owner;
    int32_t tokens[PROMPT_MAX], n, page;
};

struct world {
    struct entry entries[PAGES];
    int32_t n_entries;
    kv_pages *pages;
    prefix_cache *cache;
    struct cell cells[PAGES][KV_PAGE_TOKENS];
    struct held held[HELD]; /* sequences that stay for a while and pin their pages */
    uint64_t seed, counter;
    int64_t n_hits, n_evicted, n_refused;
};

static uint32_t draw(struct world *w, uint32_t below)
{
    return (uint32_t)(random_at(w->seed, w->counter++) % below);
}

static void world_open(struct world *w, uint64_t seed)
{
    error err;
    memset(w, 0, sizeof *w);
    w->seed = seed;
    assert_int_equal(kv_pages_open(&w->pages, PAGES, &err), OK);
    assert_int_equal(prefix_cache_open(&w->cache, &(struct prefix_cache_options){.pages = w->pages}, &err), OK);
}

static int32_t common(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t i = 0;
    while (i < n_a && i < n_b && a[i] == b[i]) i++;
    return i;
}

static int32_t naive_match(const struct world *w, uint64_t owner, const int32_t *tokens, int32_t n)
{
    int32_t most = 0;
    for (int32_t i = 0; i < w->n_entries; i++) {
        int32_t c = common(w->entries[i].tokens, w->entries[i].n, tokens, n);
        if (w->entries[i].owner == owner && c > most) most = c;
    }
    return most;
}

/* tokens[0, n) ends a page: is it known, does it continue a shorter one, or is it new? */
static void naive_insert_page(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                              int32_t page)
{
    struct entry *place = &w->entries[w->n_entries];
    for (int32_t i = 0; i < w->n_entries; i++) {
        struct entry *e = &w->entries[i];
        int32_t c = common(e->tokens, e->n, tokens, n);
        if (e->owner != owner || kv_pages_for_tokens(e->n) != kv_pages_for_tokens(n)) continue;
        if (c == n) {
            if (n % KV_PAGE_TOKENS == 0) assert_int_equal(page, e->page);
            return;
        }
        if (c == e->n) place = e;
    }
    if (place == &w->entries[w->n_entries]) w->n_entries++;
    *place = (struct entry){.owner = owner, .n = n, .page = page};
    memcpy(place->tokens, tokens, (size_t)n * sizeof *tokens);
}

static void naive_insert(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                         const int32_t *pages)
{
    for (int32_t i = 0; i < kv_pages_for_tokens(n); i++) {
        int32_t end = (i + 1) * KV_PAGE_TOKENS;
        naive_insert_page(w, owner, tokens, end < n ? end : n, pages[i]);
    }
}

/* The one page that is free now was evicted; nothing may have continued it. */
static void naive_evict(struct world *w)
{
    int32_t gone = 0;
    for (int32_t i = 0; i < w->n_entries; i++)
        gone += !kv_pages_holders(w->pages, w->entries[i].page);
    assert_int_equal(gone, 1);
    for (gone = 0; kv_pages_holders(w->pages, w->entries[gone].page);) gone++;
    const struct entry *e = &w->entries[gone];
    for (int32_t i = 0; i < w->n_entries; i++) {
        const struct entry *f = &w->entries[i];
        if (f->owner == e->owner && f->n > e->n && common(e->tokens, e->n, f->tokens, f->n) == e->n)
            fail_msg("evicted a page of %d tokens that one of %d continues", e->n, f->n);
    }
    w->entries[gone] = w->entries[--w->n_entries];
}

static void world_check(const struct world *w)
{
    error err = {0};
    int32_t used = 0;
    for (int32_t i = 0; i < PAGES; i++) used += kv_pages_holders(w->pages, i) > 0;
    if (!prefix_cache_check(w->cache, &err)) fail_msg("%s", err.message);
    assert_int_equal(prefix_cache_page_count(w->cache), w->n_entries);
    assert_int_equal(used, PAGES - kv_pages_free_count(w->pages));
}

/* Few values and few branches: prompts often share a beginning and part in mid-page. */
static int32_t prompt_draw(struct world *w, int32_t *tokens)
{
    int32_t n = 1 + (int32_t)draw(w, PROMPT_MAX - 1), family = (int32_t)draw(w, 3);
    int32_t branch = (int32_t)draw(w, (uint32_t)n + 1), variant = (int32_t)draw(w, 4);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = i < branch ? family * 1000 + i : family * 1000 + i + 100000 * (1 + variant);
    return n;
}

static int32_t page_take(struct world *w)
{
    int32_t page = kv_pages_take(w->pages);
    while (page < 0 && prefix_cache_evict(w->cache, 1)) {
        w->n_evicted++;
        naive_evict(w);
        page = kv_pages_take(w->pages);
    }
    return page;
}

static void cell_expect(const struct world *w, int32_t page, int32_t at, int32_t token,
                        uint64_t owner)
{
    const struct cell *c = &w->cells[page][at % KV_PAGE_TOKENS];
    if (c->token != token || c->owner != owner)
        fail_msg("page %d position %d: token %d of owner %d, expected %d of %d", page, at, c->token,
                 (int)c->owner, token, (int)owner);
}

/* Matches, checks what the pages contain, copies the partial page. Returns the tokens to go on
 * from; *n_pages pages are held. */
static int32_t match(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                     int32_t *pages, int32_t *n_pages)
{
    int32_t expected = naive_match(w, owner, tokens, n);
    struct prefix_match m = prefix_cache_match(w->cache, owner, tokens, n, 0, pages);
    assert_int_equal(m.n_tokens, expected);
    assert_int_equal(m.n_pages, m.n_tokens / KV_PAGE_TOKENS);
    assert_int_equal(m.partial_page >= 0, m.n_tokens % KV_PAGE_TOKENS != 0);
    for (int32_t i = 0; i < m.n_tokens; i++) {
        int32_t page = i / KV_PAGE_TOKENS;
        cell_expect(w, page < m.n_pages ? pages[page] : m.partial_page, i, tokens[i], owner);
    }
    *n_pages = m.n_pages;
    w->n_hits += m.n_tokens > 0;
    if (m.partial_page < 0) return m.n_tokens;
    int32_t copy = page_take(w);
    if (copy >= 0) {
        memcpy(w->cells[copy], w->cells[m.partial_page], sizeof w->cells[copy]);
        pages[(*n_pages)++] = copy;
    }
    kv_pages_release(w->pages, m.partial_page);
    return copy >= 0 ? m.n_tokens : m.n_pages * KV_PAGE_TOKENS;
}

static void held_release(struct world *w, struct held *h)
{
    for (int32_t i = 0; i < h->n_pages; i++) kv_pages_release(w->pages, h->pages[i]);
    h->n_pages = 0;
}

/* One request: match, compute the rest, insert; some stay and pin their pages. */
static void request_run(struct world *w)
{
    int32_t tokens[PROMPT_MAX], n = prompt_draw(w, tokens);
    uint64_t owner = draw(w, 2);
    struct held *h = &w->held[draw(w, HELD)];
    held_release(w, h);
    int32_t from = match(w, owner, tokens, n, h->pages, &h->n_pages);
    while (h->n_pages < kv_pages_for_tokens(n)) {
        int32_t page = page_take(w);
        if (page < 0) break;
        h->pages[h->n_pages++] = page;
    }
    if (h->n_pages < kv_pages_for_tokens(n)) {
        w->n_refused++;
        held_release(w, h);
        return;
    }
    for (int32_t i = from; i < n; i++) {
        int32_t page = h->pages[i / KV_PAGE_TOKENS];
        assert_int_equal(kv_pages_holders(w->pages, page), 1); /* nobody writes a shared page */
        w->cells[page][i % KV_PAGE_TOKENS] = (struct cell){tokens[i], owner};
    }
    prefix_cache_insert(w->cache, owner, tokens, n, PREFIX_NO_TOKENS, h->pages);
    naive_insert(w, owner, tokens, n, h->pages);
    /* What was just inserted is found whole. */
    int32_t again[PAGES_MAX];
    struct prefix_match m = prefix_cache_match(w->cache, owner, tokens, n, 0, again);
    assert_int_equal(m.n_tokens, n);
    for (int32_t i = 0; i < m.n_pages; i++) assert_int_equal(again[i], h->pages[i]);
    for (int32_t i = 0; i < m.n_pages; i++) kv_pages_release(w->pages, again[i]);
    if (m.partial_page >= 0) kv_pages_release(w->pages, m.partial_page);
    if (draw(w, 2)) held_release(w, h);
}

static void random_operations(void **state)
{
    (void)state;
    static struct world w;
    const char *steps = getenv("PREFIX_CACHE_STEPS");
    long n = steps ? atol(steps) : 20000;
    world_open(&w, 1);
    for (long i = 0; i < n; i++) {
        request_run(&w);
        world_check(&w);
    }
    assert_true(w.n_hits > n / 2);
    assert_true(w.n_evicted > n / 2);
    for (int i = 0; i < HELD; i++) held_release(&w, &w.held[i]);
    while (prefix_cache_evict(w.cache, 1)) {}
    assert_int_equal(kv_pages_free_count(w.pages), PAGES);
    prefix_cache_close(w.cache);
    kv_pages_close(w.pages);
}

/* Inserts tokens first, first + 1, ... in fresh pages and lets go of them. */
static void chain_insert(struct world *w, uint64_t owner, int32_t first, int32_t n)
{
    int32_t tokens[PROMPT_MAX], pages[PAGES_MAX], n_pages = kv_pages_for_tokens(n);
    for (int32_t i = 0; i < n; i++) tokens[i] = first + i;
    for (int32_t i = 0; i < n_pages; i++) pages[i] = page_take(w);
    prefix_cache_insert(w->cache, owner, tokens, n, PREFIX_NO_TOKENS, pages);
    naive_insert(w, owner, tokens, n, pages);
    for (int32_t i = 0; i < n_pages; i++) kv_pages_release(w->pages, pages[i]);
}

static int32_t chain_found(struct world *w, uint64_t owner, int32_t first, int32_t n)
{
    int32_t tokens[PROMPT_MAX], pages[PAGES_MAX];
    for (int32_t i = 0; i < n; i++) tokens[i] = first + i;
    struct prefix_match m = prefix_cache_match(w->cache, owner, tokens, n, 0, pages);
    for (int32_t i = 0; i < m.n_pages; i++) kv_pages_release(w->pages, pages[i]);
    if (m.partial_page >= 0) kv_pages_release(w->pages, m.partial_page);
    return m.n_tokens;
}

static void coldest_leaf_leaves_first(void **state)
{
    (void)state;
    static struct world w;
    world_open(&w, 2);
    chain_insert(&w, 1, 0, 40);                      /* three pages, the last with 8 tokens */
    chain_insert(&w, 1, 5000, 32);                   /* two pages */
    assert_int_equal(chain_found(&w, 1, 0, 40), 40); /* now the warmer one */
    assert_int_equal(prefix_cache_evictable_count(w.cache), 5);
    assert_true(prefix_cache_evict(w.cache, 1));
    assert_int_equal(chain_found(&w, 1, 5000, 32), 16);
    assert_int_equal(chain_found(&w, 1, 0, 40), 40);
    assert_true(prefix_cache_evict(w.cache, 1)); /* the rest of the cold one */
    assert_int_equal(chain_found(&w, 1, 5000, 32), 0);
    assert_true(prefix_cache_evict(w.cache, 1));
    assert_int_equal(chain_found(&w, 1, 0, 40), 32); /* from the end, never from the middle */
    prefix_cache_close(w.cache);
    assert_int_equal(kv_pages_free_count(w.pages), PAGES);
    kv_pages_close(w.pages);
}

static void longer_page_replaces_shorter(void **state)
{
    (void)state;
    static struct world w;
    world_open(&w, 3);
    chain_insert(&w, 1, 0, 20);
    assert_int_equal(prefix_cache_page_count(w.cache), 2);
    chain_insert(&w, 1, 0, 30);
    assert_int_equal(prefix_cache_page_count(w.cache), 2);
    assert_int_equal(chain_found(&w, 1, 0, 32), 30);
    chain_insert(&w, 1, 0, 18); /* known already */
    assert_int_equal(chain_found(&w, 1, 0, 32), 30);
    assert_int_equal(kv_pages_free_count(w.pages), PAGES - 2);
    assert_int_equal(chain_found(&w, 2, 0, 32), 0); /* another owner */
    world_check(&w);
    prefix_cache_close(w.cache);
    kv_pages_close(w.pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(coldest_leaf_leaves_first),
        cmocka_unit_test(longer_page_replaces_shorter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
