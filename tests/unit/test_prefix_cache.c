/* The prefix cache: random operations beside a naive model (support/prefix_world.h), and each rule on
 * its own by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/memory.h"

/* cmocka has a macro of the name of our `fail`: its header comes behind ours. */
#define WORLD_FAIL(...) fail_msg(__VA_ARGS__)
#include "inference/prefix_cache.h"

#include <cmocka.h>

#include "tests/unit/support/prefix_world.h"

struct source {
    uint64_t seed, counter;
};

static uint32_t draw_random(void *context, uint32_t below)
{
    struct source *s = context;
    return (uint32_t)(random_at(s->seed, s->counter++) % below);
}

static long steps_wanted(long otherwise)
{
    const char *steps = getenv("PREFIX_CACHE_STEPS");
    return steps ? atol(steps) : otherwise;
}

static void random_run(uint64_t seed, int32_t n_slots, long n)
{
    static struct world w;
    struct source source = {seed, 0};
    world_open(&w, draw_random, &source, n_slots);
    for (long i = 0; i < n; i++) {
        world_operate(&w);
        world_check(&w);
    }
    struct prefix_cache_counts c = prefix_cache_counts(w.cache);
    assert_true(w.n_hits > n / 3);
    assert_true(w.n_refused > 0);
    assert_true(c.dropped > n / 20 && c.warm_useful > n / 20 && c.warm_wasted > n / 20);
    /* Each page went to the host and came back, over and over. */
    if (n_slots) assert_true(c.spilled > n && c.restored > n / 10 && c.host_evicted > n);
    world_empty(&w);
    world_close(&w);
}

static void random_operations(void **state)
{
    (void)state;
    random_run(1, SLOTS, steps_wanted(20000));
}

/* The same with hardly any host, and none. */
static void random_operations_with_little_room(void **state)
{
    (void)state;
    random_run(2, 7, steps_wanted(20000) / 4);
    random_run(3, 0, steps_wanted(20000) / 4);
}

/* A world whose pages and tokens are put in by hand. */
static void hand_open(struct world *w, struct source *source, int32_t n_slots)
{
    *source = (struct source){7, 0};
    world_open(w, draw_random, source, n_slots);
}

static int32_t chain_fill(int32_t *tokens, int32_t first, int32_t n)
{
    for (int32_t i = 0; i < n; i++) tokens[i] = first + i;
    return n;
}

/* Inserts tokens first, first + 1, ... computed in fresh pages, and lets go of them. */
static void chain_insert(struct world *w, uint64_t owner, int32_t first, int32_t n,
                         int32_t warm_from)
{
    int32_t tokens[PROMPT_MAX], pages[PROMPT_PAGES_MAX], n_pages = kv_pages_for_tokens(n);
    chain_fill(tokens, first, n);
    for (int32_t i = 0; i < n_pages; i++) pages[i] = world_page_take(w);
    cells_write(w, owner, tokens, 0, n, pages);
    world_insert(w, owner, tokens, n, warm_from, pages);
    for (int32_t i = 0; i < n_pages; i++) kv_pages_release(w->pages, pages[i]);
    world_check(w);
}

/* Tokens found, on the device and behind it; a look that leaves no mark of a real request. */
static struct prefix_match chain_look(struct world *w, uint64_t owner, int32_t first, int32_t n)
{
    int32_t tokens[PROMPT_MAX], pages[PROMPT_PAGES_MAX];
    chain_fill(tokens, first, n);
    struct prefix_match m = world_match(w, owner, tokens, n, PREFIX_NO_TOKENS, pages);
    match_release(w, &m, pages);
    world_check(w);
    return m;
}

/* A real request that finds, restores and ends at once. Returns the tokens it had. */
static int32_t chain_ask(struct world *w, uint64_t owner, int32_t first, int32_t n)
{
    int32_t tokens[PROMPT_MAX];
    struct held *h = &w->held[0];
    chain_fill(tokens, first, n);
    int32_t found = world_admit(w, owner, tokens, n, true, h);
    held_release(w, h);
    world_check(w);
    return found;
}

static void coldest_leaf_leaves_first(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    hand_open(&w, &source, 0);
    chain_insert(&w, 1, 0, 40, PREFIX_NO_TOKENS);    /* three pages, the last with 8 tokens */
    chain_insert(&w, 1, 5000, 32, PREFIX_NO_TOKENS); /* two pages */
    assert_int_equal(chain_look(&w, 1, 0, 40).n_tokens, 40); /* now the warmer one */
    assert_int_equal(prefix_cache_evictable_count(w.cache), 5);
    world_evict(&w, 1);
    assert_int_equal(chain_look(&w, 1, 5000, 32).n_tokens, 16);
    assert_int_equal(chain_look(&w, 1, 0, 40).n_tokens, 40);
    world_evict(&w, 1); /* the rest of the cold one */
    assert_int_equal(chain_look(&w, 1, 5000, 32).n_tokens, 0);
    world_evict(&w, 1);
    assert_int_equal(chain_look(&w, 1, 0, 40).n_tokens, 32); /* from the end, never the middle */
    world_empty(&w);
    world_close(&w);
}

static void longer_page_replaces_shorter(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    hand_open(&w, &source, 0);
    chain_insert(&w, 1, 0, 20, PREFIX_NO_TOKENS);
    assert_int_equal(prefix_cache_page_count(w.cache), 2);
    chain_insert(&w, 1, 0, 30, PREFIX_NO_TOKENS);
    assert_int_equal(prefix_cache_page_count(w.cache), 2);
    assert_int_equal(chain_look(&w, 1, 0, 32).n_tokens, 30);
    chain_insert(&w, 1, 0, 18, PREFIX_NO_TOKENS); /* known already */
    assert_int_equal(chain_look(&w, 1, 0, 32).n_tokens, 30);
    assert_int_equal(kv_pages_free_count(w.pages), PAGES - 2);
    assert_int_equal(chain_look(&w, 2, 0, 32).n_tokens, 0); /* another owner */
    world_empty(&w);
    world_close(&w);
}

/* 120 tokens of real work: eight pages, of which those from token 100 on are worth a slot unused, and
 * those before them because pages behind them are there. */
static void deep_pages_are_spilled_and_restored(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    hand_open(&w, &source, SLOTS);
    chain_insert(&w, 1, 0, 120, PREFIX_NO_TOKENS);
    world_evict(&w, PAGES);
    world_check(&w);
    struct prefix_match m = chain_look(&w, 1, 0, 120);
    assert_int_equal(m.n_tokens, 0);
    assert_int_equal(m.n_host_tokens, 120);
    assert_int_equal(m.n_host_pages, 8);
    assert_int_equal(chain_ask(&w, 1, 0, 120), 120);
    /* The whole pages are on both tiers, the rest was read into a page of the request's own. */
    struct prefix_cache_counts c = prefix_cache_counts(w.cache);
    assert_int_equal(c.restored, 8);
    assert_int_equal(c.both_pages, 7);
    assert_int_equal(c.host_pages, 1);
    world_evict(&w, PAGES); /* costs no copy */
    world_check(&w);
    assert_int_equal(prefix_cache_counts(w.cache).spilled, 8);
    assert_int_equal(chain_ask(&w, 1, 0, 110), 110);
    world_empty(&w);
    world_close(&w);
}

static void shallow_and_warm_pages_are_dropped(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    hand_open(&w, &source, SLOTS);
    chain_insert(&w, 1, 0, 96, PREFIX_NO_TOKENS); /* six pages, none reaches token 100 */
    chain_insert(&w, 2, 0, 160, 0);               /* warm: deep, but nobody asked for it */
    chain_insert(&w, 3, 0, 160, 128);             /* its last two pages are warm */
    chain_insert(&w, 4, 0, 48, 0);                /* warm, and found by a real request: */
    assert_int_equal(chain_ask(&w, 4, 0, 40), 40);
    world_evict(&w, PAGES);
    world_check(&w);
    assert_int_equal(chain_look(&w, 1, 0, 96).n_host_tokens, 0);
    assert_int_equal(chain_look(&w, 2, 0, 160).n_host_tokens, 0);
    assert_int_equal(chain_look(&w, 3, 0, 160).n_host_tokens, 128);
    assert_int_equal(chain_look(&w, 4, 0, 48).n_host_tokens, 48);
    struct prefix_cache_counts c = prefix_cache_counts(w.cache);
    assert_int_equal(c.warm_tokens, 160 + 32 + 48);
    assert_int_equal(c.warm_useful, 40);
    assert_int_equal(c.warm_wasted, 160 + 32); /* the last 8 may still be found */
    world_empty(&w);
    world_close(&w);
}

/* Two slots: the page restored last gives its copy up before anything is forgotten. */
static void copies_give_way_first(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    hand_open(&w, &source, 2);
    chain_insert(&w, 1, 0, 16, PREFIX_NO_TOKENS);
    chain_insert(&w, 2, 0, 16, PREFIX_NO_TOKENS);
    chain_insert(&w, 3, 0, 16, PREFIX_NO_TOKENS);
    for (uint64_t owner = 1; owner <= 3; owner++) assert_int_equal(chain_ask(&w, owner, 0, 16), 16);
    world_evict(&w, 2);
    assert_int_equal(chain_ask(&w, 1, 0, 16), 16); /* on both; 2 on the host; 3 on the device */
    world_evict(&w, 1);                            /* 3 takes the slot of 1 */
    world_check(&w);
    assert_int_equal(chain_look(&w, 1, 0, 16).n_tokens, 16);
    assert_int_equal(chain_look(&w, 2, 0, 16).n_host_tokens, 16);
    assert_int_equal(chain_look(&w, 3, 0, 16).n_host_tokens, 16);
    world_evict(&w, 1); /* now 1 takes that of 2, the colder of the two */
    world_check(&w);
    assert_int_equal(chain_look(&w, 1, 0, 16).n_host_tokens, 16);
    assert_int_equal(chain_look(&w, 2, 0, 16).n_host_tokens, 0);
    assert_int_equal(chain_look(&w, 3, 0, 16).n_host_tokens, 16);
    assert_int_equal(prefix_cache_counts(w.cache).host_evicted, 1);
    world_empty(&w);
    world_close(&w);
}

static void pinned_pages_stay(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    int32_t tokens[PROMPT_MAX];
    hand_open(&w, &source, 0);
    chain_insert(&w, 1, 0, 40, PREFIX_NO_TOKENS);
    chain_fill(tokens, 0, PROMPT_MAX);
    assert_int_equal(prefix_cache_pin(w.cache, 1, tokens, 40, PAGES), 32); /* whole pages */
    assert_int_equal(prefix_cache_pin(w.cache, 1, tokens, 40, 0), 32);     /* no more by this */
    assert_int_equal(prefix_cache_pin(w.cache, 2, tokens, 40, PAGES), 0);
    assert_int_equal(prefix_cache_evictable_count(w.cache), 1);
    assert_int_equal(prefix_cache_evict(w.cache, PAGES), 1);
    prefix_cache_unpin(w.cache, 1, tokens, 32);
    assert_int_equal(prefix_cache_evict(w.cache, PAGES), 0);
    prefix_cache_unpin(w.cache, 1, tokens, 32);
    assert_int_equal(prefix_cache_evict(w.cache, PAGES), 2);
    /* At most a quarter of the pool, and no more than the caller grants. */
    int32_t pages[PROMPT_PAGES_MAX], n = (PAGES / 4 + 3) * KV_PAGE_TOKENS;
    for (int32_t i = 0; i < n / KV_PAGE_TOKENS; i++) pages[i] = kv_pages_take(w.pages);
    prefix_cache_insert(w.cache, 1, tokens, n, PREFIX_NO_TOKENS, pages);
    for (int32_t i = 0; i < n / KV_PAGE_TOKENS; i++) kv_pages_release(w.pages, pages[i]);
    assert_int_equal(prefix_cache_pin(w.cache, 1, tokens, n, 5), 5 * KV_PAGE_TOKENS);
    assert_int_equal(prefix_cache_pin(w.cache, 1, tokens, n, PAGES), n - 3 * KV_PAGE_TOKENS);
    world_close(&w); /* also with pins */
}

/* A thousand continuations of one beginning, a thousand owners: each is found, in the order of what
 * was asked, and an owner leaves nothing behind. */
static void wide_trees_are_searched(void **state)
{
    (void)state;
    enum { N = 1000 };
    kv_pages *pages;
    prefix_cache *c;
    error err;
    int32_t tokens[48] = {0}, found[3];
    assert_int_equal(kv_pages_open(&pages, 2 * N + 2, &err), OK);
    struct prefix_cache_options options = {.pages = pages};
    assert_int_equal(prefix_cache_open(&c, &options, &err), OK);
    int32_t first = kv_pages_take(pages);
    for (int32_t i = 0; i < N; i++) {
        /* They part at the tenth token of the second page. */
        tokens[26] = i * 7919 % N;
        int32_t own[2] = {first, kv_pages_take(pages)}, alone = kv_pages_take(pages);
        prefix_cache_insert(c, 1, tokens, 32, PREFIX_NO_TOKENS, own);
        prefix_cache_insert(c, 100 + (uint64_t)i, tokens, 16, PREFIX_NO_TOKENS, &alone);
        kv_pages_release(pages, own[1]);
        kv_pages_release(pages, alone);
    }
    kv_pages_release(pages, first);
    if (!prefix_cache_check(c, &err)) fail_msg("%s", err.message);
    for (int32_t i = 0; i < N; i++) {
        tokens[26] = i;
        struct prefix_match m = prefix_cache_match(c, 1, tokens, 48, 0, found);
        assert_int_equal(m.n_tokens, 32);
        for (int32_t p = 0; p < m.n_pages; p++) kv_pages_release(pages, found[p]);
    }
    tokens[26] = N + 1;
    struct prefix_match m = prefix_cache_match(c, 1, tokens, 48, 0, found);
    assert_int_equal(m.n_tokens, 26);
    kv_pages_release(pages, found[0]);
    kv_pages_release(pages, m.partial_page);
    while (prefix_cache_evict(c, 7)) {
        if (prefix_cache_page_count(c) % 91 == 0 && !prefix_cache_check(c, &err))
            fail_msg("%s", err.message);
    }
    assert_int_equal(kv_pages_free_count(pages), 2 * N + 2);
    prefix_cache_close(c);
    kv_pages_close(pages);
}

/* Pages by hand: p0 is shared by two branches, one of them on the host. */
static void tree_is_printed(void **state)
{
    (void)state;
    static struct world w;
    struct source source;
    char *said = NULL;
    size_t size = 0;
    hand_open(&w, &source, SLOTS);
    chain_insert(&w, 7, 100, 18, PREFIX_NO_TOKENS);
    assert_int_equal(chain_ask(&w, 7, 100, 18), 18);
    world_evict(&w, 1);
    chain_insert(&w, 8, 200, 2, 1);
    FILE *out = open_memstream(&said, &size);
    prefix_cache_print(w.cache, out);
    fclose(out);
    const char *first = strstr(said, "owner 7\n"), *second = strstr(said, "owner 8\n");
    assert_non_null(strstr(said,
                           "prefix cache: 2 pages of 64 on the device, 2 idle, 0 pinned; 1 on "
                           "the host, 0 on both; 2 owners\n"));
    assert_true(first && second);
    assert_non_null(strstr(first,
                           "      0: 100 101 102 103 104 105 106 107 108 109 110 111 112 113 114 "
                           "115  p0  found\n"));
    assert_non_null(strstr(first, "     16: 116 117  h0  found\n"));
    assert_non_null(strstr(second, "      0: 200 201  p"));
    assert_non_null(strstr(second, "  warm 1\n"));
    free(said);
    world_empty(&w);
    world_close(&w);
}

static int32_t directory_count(const char *path)
{
    char command[300];
    snprintf(command, sizeof command, "exit $(ls -A '%s' | wc -l)", path);
    return WEXITSTATUS(system(command));
}

/* In a file as in memory; the file has no name, and what cannot be had is refused in words. */
static void host_pages_in_a_file(void **state)
{
    (void)state;
    static const struct model_shape shape = {.n_layers = 1, .kv_n_heads = 1, .head_dim = 16};
    char directory[] = "/tmp/dbrx-ls-host-XXXXXX", missing[64];
    error err = {0};
    kv_pool *kv;
    host_pages *h;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(pages_open(&kv, &shape, KV_E4M3, 4, &err), OK);
    struct host_pages_options o = {.kernels = &kernels_reference,
                                   .kv = kv,
                                   .page_bytes = kv->page_bytes,
                                   .n_slots = 3,
                                   .directory = directory};
    assert_int_equal(host_pages_open(&h, &o, &err), OK);
    assert_int_equal(directory_count(directory), 0);
    for (size_t i = 0; i < 4 * kv->page_bytes; i++) kv->bytes[i] = (unsigned char)(random_at(4, i));
    int32_t slots[3], pages[3] = {3, 0, 2}, back[3] = {1, 3, 0};
    unsigned char *before = memory_take(4, kv->page_bytes);
    memcpy(before, kv->bytes, 4 * kv->page_bytes);
    for (int i = 0; i < 3; i++) slots[i] = host_pages_take(h);
    assert_int_equal(host_pages_take(h), -1);
    host_pages_save(h, slots, pages, 3);
    memset(kv->bytes, 0, 4 * kv->page_bytes);
    host_pages_load(h, back, slots, 3);
    for (int i = 0; i < 3; i++)
        assert_memory_equal(kv->bytes + (size_t)back[i] * kv->page_bytes,
                            before + (size_t)pages[i] * kv->page_bytes, kv->page_bytes);
    memory_free(before);
    host_pages_close(h);

    snprintf(missing, sizeof missing, "%s/none", directory);
    o.directory = missing;
    assert_int_equal(host_pages_open(&h, &o, &err), ERR_IO);
    assert_non_null(strstr(err.message, "/none: no file of 0 MiB for KV pages: No such file"));
    struct rlimit old, low = {1 << 20, 1 << 20};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    low.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    o.directory = directory;
    o.n_slots = 1 << 20;
    assert_int_equal(host_pages_open(&h, &o, &err), ERR_IO); /* not SIGXFSZ */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_non_null(strstr(err.message, "no file of 512 MiB for KV pages: File too large"));
    o.page_bytes = SIZE_MAX / 2;
    assert_int_equal(host_pages_open(&h, &o, &err), ERR_LIMIT);
    pages_close(kv);
    assert_int_equal(rmdir(directory), 0);
}

static void every_failing_allocation_is_an_error(void **state)
{
    (void)state;
    static const struct model_shape shape = {.n_layers = 1, .kv_n_heads = 1, .head_dim = 16};
    kv_pool *kv;
    kv_pages *pages;
    error err;
    assert_int_equal(pages_open(&kv, &shape, KV_E4M3, 4, &err), OK);
    assert_int_equal(kv_pages_open(&pages, 4, &err), OK);
    for (int64_t n = 1, done = 0; !done; n++) {
        host_pages *h = NULL;
        prefix_cache *c = NULL;
        struct host_pages_options o = {.kernels = &kernels_reference,
                                       .kv = kv,
                                       .page_bytes = kv->page_bytes,
                                       .n_slots = 3,
                                       .directory = n % 2 ? "/tmp" : NULL};
        memory_fail_at((n + 1) / 2);
        status s = host_pages_open(&h, &o, &err);
        struct prefix_cache_options co = {pages, h, 0};
        if (s == OK) s = prefix_cache_open(&c, &co, &err);
        done = !memory_fail_at(0) && n % 2 == 0;
        assert_int_equal(s, s == OK ? OK : ERR_MEMORY);
        if (done) assert_int_equal(s, OK);
        prefix_cache_close(c);
        host_pages_close(h);
    }
    kv_pages_close(pages);
    pages_close(kv);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(random_operations_with_little_room),
        cmocka_unit_test(coldest_leaf_leaves_first),
        cmocka_unit_test(longer_page_replaces_shorter),
        cmocka_unit_test(deep_pages_are_spilled_and_restored),
        cmocka_unit_test(shallow_and_warm_pages_are_dropped),
        cmocka_unit_test(copies_give_way_first),
        cmocka_unit_test(pinned_pages_stay),
        cmocka_unit_test(wide_trees_are_searched),
        cmocka_unit_test(tree_is_printed),
        cmocka_unit_test(host_pages_in_a_file),
        cmocka_unit_test(every_failing_allocation_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
