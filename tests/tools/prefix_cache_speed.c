/* prefix_cache_speed: how long lookups take where trees are wide. One long beginning with N different
 * continuations, and N owners with a prompt each; prints microseconds per operation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "inference/prefix_cache.h"
#include "kernels/kernels.h"

enum { PREFIX = 2042, OWN = 64, PROMPT = PREFIX + OWN, PROMPT_PAGES = PROMPT / KV_PAGE_TOKENS + 1 };

struct bench {
    kv_pages *pages;
    prefix_cache *cache;
    int32_t tokens[PROMPT], held[PROMPT_PAGES];
};

/* All begin alike and part in mid-page; the order of the continuations is mixed. */
static void prompt_make(struct bench *b, int32_t i)
{
    for (int32_t t = 0; t < PREFIX; t++) b->tokens[t] = t;
    for (int32_t t = PREFIX; t < PROMPT; t++)
        b->tokens[t] = (int32_t)(random_at((uint64_t)i, (uint64_t)t) % 100000);
}

static void request_run(struct bench *b, uint64_t owner, const int32_t *tokens, int32_t n)
{
    struct prefix_match m = prefix_cache_match(b->cache, owner, tokens, n, 0, b->held);
    if (m.partial_page >= 0) kv_pages_release(b->pages, m.partial_page);
    int32_t n_pages = m.n_pages;
    while (n_pages < kv_pages_for_tokens(n)) b->held[n_pages++] = prefix_cache_take_page(b->cache);
    prefix_cache_insert(b->cache, owner, tokens, n, PREFIX_NO_TOKENS, b->held);
    for (int32_t i = 0; i < n_pages; i++) kv_pages_release(b->pages, b->held[i]);
}

static int64_t report(const char *what, int64_t since_us, int32_t n)
{
    int64_t now = clock_us();
    printf("%-28s %9.2f us each\n", what, (double)(now - since_us) / n);
    return clock_us();
}

int main(int argc, char **argv)
{
    static struct bench b;
    int32_t n = argc > 1 ? atoi(argv[1]) : 1000, n_evictable = 0, first[32] = {0};
    error err;
    status s = kv_pages_open(&b.pages, n * 7 + PROMPT_PAGES, &err);
    struct prefix_cache_options options = {.pages = b.pages};
    if (s == OK) s = prefix_cache_open(&b.cache, &options, &err);
    if (s != OK) return fprintf(stderr, "%s\n", err.message), 1;
    int64_t at = clock_us();
    for (int32_t i = 0; i < n; i++) prompt_make(&b, i), request_run(&b, 1, b.tokens, PROMPT);
    at = report("insert, one beginning", at, n);
    for (int32_t i = 0; i < n; i++) prompt_make(&b, i), request_run(&b, 1, b.tokens, PROMPT);
    at = report("find, one beginning", at, n);
    for (int32_t i = 0; i < n; i++) request_run(&b, 10 + (uint64_t)i, first, 32);
    at = report("insert, an owner each", at, n);
    for (int32_t i = 0; i < n; i++) request_run(&b, 10 + (uint64_t)i, first, 32);
    at = report("find, an owner each", at, n);
    for (int32_t i = 0; i < n; i++) n_evictable += prefix_cache_evictable_count(b.cache) > 0;
    at = report("pages that can be had", at, n);
    for (int32_t i = 0; i < n; i++) prefix_cache_evict(b.cache, 1);
    report("evict", at, n);
    prefix_cache_close(b.cache);
    kv_pages_close(b.pages);
    return n_evictable == n ? 0 : 1;
}
