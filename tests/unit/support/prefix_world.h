/* A prefix cache of two tiers beside a naive model of it, for the random test and the fuzz target.
 *
 * The model is a plain list of pages, searched from end to end: each is known by its owner and a hash
 * of all tokens before it, has a time of last use, and follows the header's rules word by word: who
 * is evicted, who is worth a slot, who gives up his. The cache must agree after every operation, in
 * everything it counts and finds.
 *
 * The device's pages are real bytes of a small pool, written as a function of the owner and of all
 * tokens up to each position, as keys and values are: whatever a match gives, from the device or
 * back from the host, must hold exactly these.
 *
 * The includer defines WORLD_FAIL(format, ...). */
#ifndef TESTS_UNIT_SUPPORT_PREFIX_WORLD_H
#define TESTS_UNIT_SUPPORT_PREFIX_WORLD_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/random.h"
#include "inference/prefix_cache.h"
#include "kernels/pages.h"

enum {
    PAGES = 64,
    SLOTS = 256,
    PROMPT_MAX = 400,
    PROMPT_PAGES_MAX = PROMPT_MAX / KV_PAGE_TOKENS + 1,
    HELD = 4,
    PINS = 4,
    SPILL_TOKENS_MIN = 100,
    CELL_BYTES = 32 /* of one token: one layer, one head of 16 values of 8 bits, K and V */
};

/* One page of the naive model. */
struct entry {
    uint64_t owner, before, end; /* hashes of owner and all tokens before this page, and with it */
    int32_t depth;               /* pages before it */
    int32_t token[KV_PAGE_TOKENS], n;
    int32_t page; /* -1: not on the device */
    bool on_host, found, restoring;
    int32_t warm_from, n_pins;
    int64_t used, doubled; /* when it was last used, and came to be on both tiers */
};

struct held {
    int32_t pages[2 * PROMPT_PAGES_MAX], n_pages;
};

struct pin {
    uint64_t owner;
    int32_t tokens[PROMPT_MAX], n; /* n 0: unused */
};

struct world {
    uint32_t (*draw)(void *context, uint32_t below); /* where all choices come from */
    void *context;
    kv_pool *kv;
    kv_pages *pages;
    host_pages *host;
    prefix_cache *cache;

    struct entry entries[PAGES + SLOTS];
    int32_t n_entries;
    int64_t clock;
    struct prefix_cache_counts counts; /* of the model */
    struct held held[HELD];            /* sequences that stay for a while and keep their pages */
    struct pin pins[PINS];
    int64_t n_hits, n_refused, n_compared;
};

#define WORLD_REQUIRE(w, what)                                                                     \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            prefix_cache_print((w)->cache, stderr);                                                \
            WORLD_FAIL("line %d: does not hold: %s", __LINE__, #what);                             \
        }                                                                                          \
    } while (0)

#define WORLD_EQUAL(w, found, expected)                                                            \
    do {                                                                                           \
        long long f_ = (long long)(found), e_ = (long long)(expected);                             \
        if (f_ != e_) {                                                                            \
            prefix_cache_print((w)->cache, stderr);                                                \
            WORLD_FAIL("line %d: %s is %lld, expected %lld", __LINE__, #found, f_, e_);            \
        }                                                                                          \
    } while (0)

static inline uint32_t world_draw(struct world *w, uint32_t below)
{
    return w->draw(w->context, below);
}

static inline void world_open(struct world *w, uint32_t (*draw)(void *, uint32_t), void *context,
                              int32_t n_slots)
{
    static const struct model_shape shape = {.n_layers = 1, .kv_n_heads = 1, .head_dim = 16};
    error err = {0};
    memset(w, 0, sizeof *w);
    w->draw = draw;
    w->context = context;
    status s = pages_open(&w->kv, &shape, KV_E4M3, PAGES, &err);
    if (s == OK) s = kv_pages_open(&w->pages, PAGES, &err);
    struct host_pages_options host = {.kernels = &kernels_reference,
                                      .kv = w->kv,
                                      .page_bytes = pages_bytes(&shape, KV_E4M3),
                                      .n_slots = n_slots};
    if (s == OK && n_slots) s = host_pages_open(&w->host, &host, &err);
    struct prefix_cache_options options = {w->pages, w->host, SPILL_TOKENS_MIN};
    if (s == OK) s = prefix_cache_open(&w->cache, &options, &err);
    if (s != OK) WORLD_FAIL("%s", err.message);
}

static inline void world_close(struct world *w)
{
    prefix_cache_close(w->cache);
    host_pages_close(w->host);
    kv_pages_close(w->pages);
    pages_close(w->kv);
}

static inline uint64_t hash_begin(uint64_t owner) { return random_mix(owner ^ 0x5eed); }

static inline uint64_t hash_on(uint64_t h, const int32_t *tokens, int32_t n)
{
    for (int32_t i = 0; i < n; i++) h = random_mix(h ^ (uint64_t)(uint32_t)tokens[i]);
    return h;
}

static inline int32_t entry_common(const struct entry *e, const int32_t *tokens, int32_t n)
{
    int32_t i = 0;
    while (i < n && i < e->n && e->token[i] == tokens[i]) i++;
    return i;
}

static inline struct entry *entry_parent(struct world *w, const struct entry *e)
{
    for (int32_t i = 0; e->depth > 0 && i < w->n_entries; i++) {
        struct entry *p = &w->entries[i];
        if (p->depth == e->depth - 1 && p->owner == e->owner && p->end == e->before) return p;
    }
    return NULL;
}

static inline struct entry *entry_child(struct world *w, const struct entry *e)
{
    for (int32_t i = 0; i < w->n_entries; i++)
        if (w->entries[i].depth == e->depth + 1 && w->entries[i].before == e->end)
            return &w->entries[i];
    return NULL;
}

/* The page behind `before` that shares most of tokens[0, n). Of several: the next one in order behind
 * these tokens, else the last before them. */
static inline struct entry *entry_find(struct world *w, uint64_t owner, uint64_t before,
                                       const int32_t *tokens, int32_t n, int32_t *n_common)
{
    struct entry *best = NULL;
    *n_common = 0;
    for (int32_t i = 0; i < w->n_entries; i++) {
        struct entry *e = &w->entries[i];
        if (e->before != before || e->owner != owner) continue;
        int32_t common = entry_common(e, tokens, n);
        if (common < *n_common || common == 0) continue;
        bool first = common > *n_common;
        *n_common = common;
        if (first || common == e->n) {
            best = e;
            continue;
        }
        bool behind = common == n || tokens[common] < e->token[common];
        bool best_behind = common == n || tokens[common] < best->token[common];
        int32_t both = entry_common(e, best->token, best->n);
        bool less = e->token[both] < best->token[both];
        if (behind ? !best_behind || less : !best_behind && !less) best = e;
    }
    return best;
}

static inline void entry_touch(struct world *w, struct entry *e)
{
    for (; e; e = entry_parent(w, e)) e->used = ++w->clock;
}

static inline void entry_remove(struct world *w, struct entry *e)
{
    w->counts.warm_wasted += e->n - e->warm_from;
    *e = w->entries[--w->n_entries];
}

static inline int32_t slots_used(const struct world *w)
{
    int32_t n = 0;
    for (int32_t i = 0; i < w->n_entries; i++) n += w->entries[i].on_host;
    return n;
}

/* Makes room on the host as the header says; false when there is none. May move entries. */
static inline bool naive_slot(struct world *w)
{
    struct entry *both = NULL, *coldest = NULL;
    if (!w->host) return false;
    if (slots_used(w) < host_pages_count(w->host)) return true;
    for (int32_t i = 0; i < w->n_entries; i++) {
        struct entry *e = &w->entries[i];
        if (e->on_host && e->page >= 0 && (!both || e->doubled > both->doubled)) both = e;
        if (e->page < 0 && (!coldest || e->used < coldest->used)) coldest = e;
    }
    if (both) {
        both->on_host = false;
        return true;
    }
    if (!coldest || coldest->restoring) return false;
    entry_remove(w, coldest);
    w->counts.host_evicted++;
    return true;
}

static inline struct entry *entry_of_page(struct world *w, int32_t page)
{
    for (int32_t i = 0; i < w->n_entries; i++)
        if (w->entries[i].page == page) return &w->entries[i];
    return NULL;
}

static inline void naive_drop(struct world *w, int32_t page)
{
    for (struct entry *child; (child = entry_child(w, entry_of_page(w, page)));) {
        for (struct entry *deeper; (deeper = entry_child(w, child));) child = deeper;
        WORLD_REQUIRE(w, child->page < 0);
        entry_remove(w, child);
        w->counts.host_evicted++;
    }
    entry_remove(w, entry_of_page(w, page));
    w->counts.dropped++;
}

/* The coldest page of the device that nobody holds; false when there is none. */
static inline bool naive_evict(struct world *w)
{
    struct entry *e = NULL;
    bool any = false;
    for (int32_t i = 0; i < w->n_entries; i++)
        any |= w->entries[i].page >= 0 && kv_pages_holders(w->pages, w->entries[i].page) == 1;
    while (any && (!e || kv_pages_holders(w->pages, e->page) > 1)) {
        entry_touch(w, e);
        e = NULL;
        for (int32_t i = 0; i < w->n_entries; i++)
            if (w->entries[i].page >= 0 && (!e || w->entries[i].used < e->used)) e = &w->entries[i];
    }
    if (!e) return false;
    int32_t page = e->page;
    bool deep = e->depth * KV_PAGE_TOKENS + e->n >= SPILL_TOKENS_MIN;
    bool worth = entry_child(w, e) || e->found || (deep && e->warm_from == e->n);
    bool copied = e->on_host, spills = !copied && worth && naive_slot(w);
    if (!copied && !spills) {
        naive_drop(w, page);
        return true;
    }
    e = entry_of_page(w, page);
    e->page = -1;
    e->on_host = true;
    e->used = ++w->clock;
    w->counts.spilled += spills;
    return true;
}

/* As many as the cache is about to evict; returns how many. */
static inline int32_t naive_evict_many(struct world *w, int32_t n)
{
    int32_t done = 0;
    while (done < n && naive_evict(w)) done++;
    return done;
}

static inline void naive_extend(struct world *w, struct entry *e, const int32_t *tokens, int32_t n,
                                int32_t warm_from, int32_t page)
{
    int32_t fresh = warm_from > e->n ? warm_from : e->n;
    bool goes_on = e->warm_from < e->n && warm_from <= e->n;
    w->counts.warm_tokens += n - fresh;
    if (!goes_on) {
        w->counts.warm_wasted += e->n - e->warm_from;
        e->warm_from = fresh;
    }
    if (e->page < 0 || e->page != page) e->used = ++w->clock;
    e->on_host = false;
    e->page = page;
    e->n = n;
    memcpy(e->token, tokens, (size_t)n * sizeof *tokens);
    e->end = hash_on(e->before, tokens, n);
}

static inline void naive_insert(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                                int32_t warm_from, const int32_t *pages)
{
    uint64_t before = hash_begin(owner);
    struct entry *e = NULL;
    for (int32_t at = 0; at < n; at += KV_PAGE_TOKENS) {
        int32_t size = n - at < KV_PAGE_TOKENS ? n - at : KV_PAGE_TOKENS, common;
        int32_t warm = warm_from < at ? 0 : warm_from < at + size ? warm_from - at : size;
        int32_t page = pages[at / KV_PAGE_TOKENS];
        e = entry_find(w, owner, before, tokens + at, size, &common);
        if (e && common == size) {
            if (e->page < 0 && e->n == size) {
                e->page = page;
                e->doubled = e->used = ++w->clock;
            }
        } else if (e && common == e->n) {
            naive_extend(w, e, tokens + at, size, warm, page);
        } else {
            WORLD_REQUIRE(w, w->n_entries < PAGES + SLOTS);
            e = &w->entries[w->n_entries++];
            *e = (struct entry){.owner = owner,
                                .before = before,
                                .end = hash_on(before, tokens + at, size),
                                .depth = at / KV_PAGE_TOKENS,
                                .n = size,
                                .page = page,
                                .warm_from = warm,
                                .used = ++w->clock};
            memcpy(e->token, tokens + at, (size_t)size * sizeof *tokens);
            w->counts.warm_tokens += size - warm;
        }
        before = hash_on(before, tokens + at, size);
    }
    entry_touch(w, e);
}

static inline unsigned char *cell_at(const struct world *w, int32_t page, int32_t at)
{
    return w->kv->bytes + (size_t)page * w->kv->page_bytes +
           (size_t)(at % KV_PAGE_TOKENS) * CELL_BYTES;
}

static inline void cells_write(struct world *w, uint64_t owner, const int32_t *tokens, int32_t from,
                               int32_t to, const int32_t *pages)
{
    uint64_t h = hash_on(hash_begin(owner), tokens, from);
    for (int32_t i = from; i < to; i++) {
        int32_t page = pages[i / KV_PAGE_TOKENS];
        h = hash_on(h, tokens + i, 1);
        WORLD_EQUAL(w, kv_pages_holders(w->pages, page), 1); /* nobody writes a shared page */
        for (uint64_t j = 0; j < CELL_BYTES / 8; j++) {
            uint64_t word = random_mix(h + j);
            memcpy(cell_at(w, page, i) + 8 * j, &word, 8);
        }
    }
}

static inline void cells_compare(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                                 const int32_t *pages, int32_t partial_page)
{
    uint64_t h = hash_begin(owner);
    int32_t whole = n / KV_PAGE_TOKENS;
    for (int32_t i = 0; i < n; i++) {
        int32_t k = i / KV_PAGE_TOKENS,
                page = k == whole && partial_page >= 0 ? partial_page : pages[k];
        h = hash_on(h, tokens + i, 1);
        for (uint64_t j = 0; j < CELL_BYTES / 8; j++) {
            uint64_t word = random_mix(h + j);
            WORLD_REQUIRE(w, memcmp(cell_at(w, page, i) + 8 * j, &word, 8) == 0);
        }
    }
    w->n_compared += n;
}

/* Looks up in both; the naive model's use and marks are made here. */
static inline struct prefix_match world_match(struct world *w, uint64_t owner,
                                              const int32_t *tokens, int32_t n, int32_t real_from,
                                              int32_t *pages)
{
    uint64_t before = hash_begin(owner);
    int32_t n_device = 0, n_host = 0, common = KV_PAGE_TOKENS;
    struct entry *last = NULL;
    for (int32_t at = 0; at < n && common == KV_PAGE_TOKENS; at += KV_PAGE_TOKENS) {
        int32_t size = n - at < KV_PAGE_TOKENS ? n - at : KV_PAGE_TOKENS;
        struct entry *e = entry_find(w, owner, before, tokens + at, size, &common);
        if (!e) break;
        if (at + common > real_from) {
            e->found = true;
            if (common > e->warm_from) {
                w->counts.warm_useful += common - e->warm_from;
                e->warm_from = common;
            }
        }
        WORLD_REQUIRE(w, e->page < 0 || n_host == 0);
        *(e->page < 0 ? &n_host : &n_device) += common;
        before = hash_on(before, tokens + at, common);
        last = e;
    }
    entry_touch(w, last);
    struct prefix_match m = prefix_cache_match(w->cache, owner, tokens, n, real_from, pages);
    WORLD_EQUAL(w, m.n_tokens, n_device);
    WORLD_EQUAL(w, m.n_host_tokens, n_host);
    WORLD_EQUAL(w, m.n_pages, n_device / KV_PAGE_TOKENS);
    WORLD_EQUAL(w, m.n_host_pages, kv_pages_for_tokens(n_host));
    WORLD_EQUAL(w, m.partial_page >= 0, n_device % KV_PAGE_TOKENS != 0);
    cells_compare(w, owner, tokens, m.n_tokens, pages, m.partial_page);
    w->n_hits += m.n_tokens + m.n_host_tokens > 0;
    return m;
}

/* Restores in both what a match of n_asked tokens found. Returns the tokens that are there now, in
 * pages[] alone. */
static inline int32_t world_restore(struct world *w, uint64_t owner, const int32_t *tokens,
                                    int32_t n_asked, struct prefix_match *m, int32_t *pages)
{
    int32_t n = m->n_host_pages, n_tokens = m->n_tokens, whole = m->n_host_tokens / KV_PAGE_TOKENS;
    int32_t tail = m->n_host_tokens % KV_PAGE_TOKENS, common,
            n_free = kv_pages_free_count(w->pages);
    uint64_t first = hash_on(hash_begin(owner), tokens, n_tokens), before = first;
    for (int32_t k = 0; k < n; k++) {
        int32_t at = n_tokens + k * KV_PAGE_TOKENS;
        const int32_t *chunk = tokens + at;
        int32_t size = n_asked - at < KV_PAGE_TOKENS ? n_asked - at : KV_PAGE_TOKENS;
        entry_find(w, owner, before, chunk, size, &common)->restoring = true;
        before = hash_on(before, chunk, size);
    }
    int32_t room = n_free;
    if (n > n_free) room += naive_evict_many(w, n - n_free);
    for (int32_t i = 0; i < w->n_entries; i++) w->entries[i].restoring = false;
    int32_t expected = n < room ? n : room;
    int32_t taken = prefix_cache_restore(w->cache, m, pages);
    WORLD_EQUAL(w, taken, expected);
    w->counts.restored += taken;
    before = first;
    struct entry *e = NULL;
    for (int32_t k = 0; k < taken && k < whole; k++) {
        const int32_t *chunk = tokens + n_tokens + k * KV_PAGE_TOKENS;
        e = entry_find(w, owner, before, chunk, KV_PAGE_TOKENS, &common);
        e->page = pages[n_tokens / KV_PAGE_TOKENS + k];
        e->doubled = e->used = ++w->clock;
        before = hash_on(before, chunk, KV_PAGE_TOKENS);
    }
    entry_touch(w, e);
    n_tokens += taken > whole ? whole * KV_PAGE_TOKENS + tail : taken * KV_PAGE_TOKENS;
    WORLD_EQUAL(w, m->n_tokens, n_tokens);
    WORLD_EQUAL(w, m->n_pages, n_tokens / KV_PAGE_TOKENS);
    cells_compare(w, owner, tokens, n_tokens, pages, -1);
    return n_tokens;
}

static inline int32_t world_page_take(struct world *w)
{
    if (kv_pages_free_count(w->pages) == 0) naive_evict(w);
    return prefix_cache_take_page(w->cache);
}

static inline void world_insert(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                                int32_t warm_from, int32_t *pages)
{
    naive_insert(w, owner, tokens, n, warm_from, pages);
    prefix_cache_insert(w->cache, owner, tokens, n, warm_from, pages);
    for (int32_t i = 0; i < n / KV_PAGE_TOKENS; i++)
        WORLD_REQUIRE(w, entry_of_page(w, pages[i])); /* converged */
}

static inline void world_evict(struct world *w, int32_t n)
{
    int32_t expected = naive_evict_many(w, n);
    WORLD_EQUAL(w, prefix_cache_evict(w->cache, n), expected);
}

static inline void held_release(struct world *w, struct held *h)
{
    for (int32_t i = 0; i < h->n_pages; i++) kv_pages_release(w->pages, h->pages[i]);
    h->n_pages = 0;
}

static inline void match_release(struct world *w, const struct prefix_match *m,
                                 const int32_t *pages)
{
    for (int32_t i = 0; i < m->n_pages; i++) kv_pages_release(w->pages, pages[i]);
    if (m->partial_page >= 0) kv_pages_release(w->pages, m->partial_page);
}

/* Match and restore, as at admission: h holds the pages of the tokens that are returned. */
static inline int32_t world_admit(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n,
                                  bool real, struct held *h)
{
    struct prefix_match m = world_match(w, owner, tokens, n, real ? 0 : PREFIX_NO_TOKENS, h->pages);
    int32_t found = m.n_tokens;
    if (m.n_host_pages) found = world_restore(w, owner, tokens, n, &m, h->pages);
    h->n_pages = m.partial_page < 0 ? kv_pages_for_tokens(found) : m.n_pages;
    if (m.partial_page < 0) return found;
    int32_t copy = world_page_take(w);
    if (copy >= 0) {
        kernels_reference.pages_copy(w->kv, &copy, &m.partial_page, 1);
        h->pages[h->n_pages++] = copy;
    }
    kv_pages_release(w->pages, m.partial_page);
    return copy >= 0 ? found : m.n_pages * KV_PAGE_TOKENS;
}

/* One request: match, restore, compute the rest, insert; some stay and keep their pages. */
static inline void world_request(struct world *w, uint64_t owner, int32_t *tokens, int32_t n,
                                 bool real)
{
    struct held *h = &w->held[world_draw(w, HELD)];
    held_release(w, h);
    int32_t from = world_admit(w, owner, tokens, n, real, h), known = from;
    for (int32_t page; h->n_pages < kv_pages_for_tokens(n); h->pages[h->n_pages++] = page)
        if ((page = world_page_take(w)) < 0) break;
    if (h->n_pages < kv_pages_for_tokens(n)) {
        w->n_refused++;
        held_release(w, h);
        return;
    }
    int32_t warm_from = real ? PREFIX_NO_TOKENS : known;
    int32_t middle = world_draw(w, 2) ? (from + n) / 2 / KV_PAGE_TOKENS * KV_PAGE_TOKENS : 0;
    if (middle > from) {
        cells_write(w, owner, tokens, from, middle, h->pages);
        world_insert(w, owner, tokens, middle, warm_from, h->pages);
        from = middle;
    }
    cells_write(w, owner, tokens, from, n, h->pages);
    world_insert(w, owner, tokens, n, warm_from, h->pages);
    if (world_draw(w, 2)) held_release(w, h);
}

/* Pins the prefix, or unpins one. */
static inline void world_pin(struct world *w, uint64_t owner, const int32_t *tokens, int32_t n)
{
    struct pin *p = &w->pins[world_draw(w, PINS)];
    if (p->n) {
        int32_t common;
        uint64_t before = hash_begin(p->owner);
        for (int32_t at = 0; at < p->n; at += KV_PAGE_TOKENS) {
            struct entry *e =
                entry_find(w, p->owner, before, p->tokens + at, KV_PAGE_TOKENS, &common);
            WORLD_REQUIRE(w, e && common == KV_PAGE_TOKENS && e->page >= 0 && e->n_pins > 0);
            w->counts.pinned_pages -= --e->n_pins == 0;
            before = e->end;
        }
        prefix_cache_unpin(w->cache, p->owner, p->tokens, p->n);
        p->n = 0;
        return;
    }
    uint64_t before = hash_begin(owner);
    int32_t pages_max = (int32_t)world_draw(w, 12), expected = 0, left = pages_max, common;
    for (; n - expected >= KV_PAGE_TOKENS; expected += KV_PAGE_TOKENS) {
        struct entry *e = entry_find(w, owner, before, tokens + expected, KV_PAGE_TOKENS, &common);
        if (!e || common < KV_PAGE_TOKENS || e->page < 0) break;
        if (e->n_pins == 0 &&
            (left-- <= 0 || w->counts.pinned_pages == PAGES / PREFIX_PINNED_SHARE))
            break;
        w->counts.pinned_pages += e->n_pins++ == 0;
        before = e->end;
    }
    p->owner = owner;
    p->n = prefix_cache_pin(w->cache, owner, tokens, n, pages_max);
    memcpy(p->tokens, tokens, (size_t)n * sizeof *tokens);
    WORLD_EQUAL(w, p->n, expected);
}

/* Few values and few branches: prompts often share a beginning and part in mid-page. */
static inline int32_t prompt_draw(struct world *w, int32_t *tokens)
{
    int32_t n = 1 + (int32_t)world_draw(w, PROMPT_MAX - 1), family = (int32_t)world_draw(w, 3);
    int32_t branch = (int32_t)world_draw(w, (uint32_t)n + 1), variant = (int32_t)world_draw(w, 4);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = i < branch ? family * 1000 + i : family * 1000 + i + 100000 * (1 + variant);
    return n;
}

static inline void world_operate(struct world *w)
{
    int32_t tokens[PROMPT_MAX], pages[2 * PROMPT_PAGES_MAX], n = prompt_draw(w, tokens);
    uint64_t owner = world_draw(w, 8) ? world_draw(w, 2) : world_draw(w, 40);
    uint32_t operation = world_draw(w, 16);
    if (operation == 0) {
        world_evict(w, (int32_t)world_draw(w, 48));
    } else if (operation <= 2) {
        world_pin(w, owner, tokens, n);
    } else if (operation == 3) {
        int32_t from = world_draw(w, 2) ? (int32_t)world_draw(w, PROMPT_MAX) : PREFIX_NO_TOKENS;
        struct prefix_match m = world_match(w, owner, tokens, n, from, pages);
        match_release(w, &m, pages);
    } else {
        world_request(w, owner, tokens, n, operation % 4 > 0);
    }
}

/* Everything the cache counts and promises, against the model. */
static inline void world_check(struct world *w)
{
    error err = {0};
    struct prefix_cache_counts found = prefix_cache_counts(w->cache), e = w->counts;
    int32_t idle = 0;
    for (int32_t i = 0; i < w->n_entries; i++) {
        const struct entry *n = &w->entries[i];
        e.device_pages += n->page >= 0;
        e.host_pages += n->page < 0;
        e.both_pages += n->page >= 0 && n->on_host;
        idle += n->page >= 0 && kv_pages_holders(w->pages, n->page) == 1;
        WORLD_REQUIRE(w, n->page < 0 || kv_pages_is_cached(w->pages, n->page));
    }
    if (!prefix_cache_check(w->cache, &err)) {
        prefix_cache_print(w->cache, stderr);
        WORLD_FAIL("%s", err.message);
    }
    WORLD_EQUAL(w, found.device_pages, e.device_pages);
    WORLD_EQUAL(w, found.host_pages, e.host_pages);
    WORLD_EQUAL(w, found.both_pages, e.both_pages);
    WORLD_EQUAL(w, found.pinned_pages, e.pinned_pages);
    WORLD_EQUAL(w, found.dropped, e.dropped);
    WORLD_EQUAL(w, found.spilled, e.spilled);
    WORLD_EQUAL(w, found.restored, e.restored);
    WORLD_EQUAL(w, found.host_evicted, e.host_evicted);
    WORLD_EQUAL(w, found.warm_tokens, e.warm_tokens);
    WORLD_EQUAL(w, found.warm_useful, e.warm_useful);
    WORLD_EQUAL(w, found.warm_wasted, e.warm_wasted);
    WORLD_EQUAL(w, prefix_cache_evictable_count(w->cache), idle);
    WORLD_EQUAL(w, prefix_cache_page_count(w->cache), e.device_pages);
}

/* Lets go of everything: then every page can be had, and nothing is left on the device. */
static inline void world_empty(struct world *w)
{
    for (int i = 0; i < HELD; i++) held_release(w, &w->held[i]);
    for (int i = 0; i < PINS; i++)
        prefix_cache_unpin(w->cache, w->pins[i].owner, w->pins[i].tokens, w->pins[i].n);
    prefix_cache_evict(w->cache, PAGES);
    WORLD_EQUAL(w, kv_pages_free_count(w->pages), PAGES);
    WORLD_EQUAL(w, prefix_cache_page_count(w->cache), 0);
}

#endif
