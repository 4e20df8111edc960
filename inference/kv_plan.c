/* All sums go through size_add and size_mul: the numbers come from a command line. */
#include "inference/kv_plan.h"

#include <stdio.h>

#include "base/limits.h"
#include "base/memory.h"
#include "inference/kv_pages.h"
#include "kernels/kernels.h"

enum { CONTEXTS_DEFAULT = 4 };

/* Nodes of the prefix cache and scratch arrays count pages twice in an int32. */
#define PAGES_MAX ((int64_t)INT32_MAX / 2)

static status tokens_check(const char *option, int64_t tokens, error *err)
{
    if (tokens >= 0 && tokens <= PAGES_MAX * KV_PAGE_TOKENS) return OK;
    return fail(err, ERR_USAGE, "%s: found %lld, expected 0 to %lld", option, (long long)tokens,
                (long long)(PAGES_MAX * KV_PAGE_TOKENS));
}

static status host_plan(struct kv_plan *out, const struct kv_need *n, error *err)
{
    int64_t pages = kv_pages_for_tokens(n->host_tokens);
    if (n->host_tokens && n->host_bytes)
        return fail(err, ERR_USAGE, "--host-tokens and --host-memory exclude each other");
    if (n->host_bytes < 0 || (n->host_bytes && (size_t)n->host_bytes < n->page_bytes))
        return fail(err, ERR_USAGE,
                    "--host-memory: found %lld bytes, expected at least %zu (a page)",
                    (long long)n->host_bytes, n->page_bytes);
    if (n->host_bytes) pages = (int64_t)((size_t)n->host_bytes / n->page_bytes);
    out->n_host_pages = (int32_t)(pages < PAGES_MAX ? pages : PAGES_MAX);
    return OK;
}

/* Everything but the pool: its pages come on top. False: no number of bytes. */
static bool bytes_with(const struct kv_need *n, const struct kv_plan *plan, int64_t pages,
                       size_t *bytes)
{
    size_t pool, host;
    int64_t host_pages = n->host_elsewhere ? 0 : plan->n_host_pages;
    return size_mul((size_t)pages, n->page_bytes, &pool) &&
           size_mul((size_t)host_pages, n->page_bytes, &host) &&
           size_add(n->fixed_bytes, pool, bytes) && size_add(*bytes, host, bytes);
}

static status memory_refuse(const struct kv_need *n, const struct kv_plan *plan, int64_t pages,
                            const char *what, size_t have, error *err)
{
    int64_t host_pages = n->host_elsewhere ? 0 : plan->n_host_pages;
    char host[80] = "";
    if (host_pages > 0)
        snprintf(host, sizeof host, " and %zu MiB for %lld in host memory",
                 (size_t)host_pages * n->page_bytes / MIB, (long long)host_pages * KV_PAGE_TOKENS);
    return fail(err, ERR_MEMORY,
                "not enough memory: %s %zu MiB, expected %zu MiB for weights and work, %zu MiB for "
                "%lld KV tokens%s",
                what, have / MIB, n->fixed_bytes / MIB, (size_t)pages * n->page_bytes / MIB,
                (long long)pages * KV_PAGE_TOKENS, host);
}

/* How many pages fit into `bytes` with everything else. */
static int64_t pages_within(const struct kv_need *n, const struct kv_plan *plan, size_t bytes)
{
    size_t others;
    if (!bytes_with(n, plan, 0, &others) || others > bytes) return 0;
    size_t pages = (bytes - others) / n->page_bytes;
    return pages < (size_t)PAGES_MAX ? (int64_t)pages : PAGES_MAX;
}

static status pages_plan(struct kv_plan *out, const struct kv_need *n, error *err)
{
    int64_t context = kv_pages_for_tokens(n->context_tokens);
    int64_t asked = kv_pages_for_tokens(n->kv_tokens), least = asked ? asked : context;
    int64_t pages = asked ? asked : context * CONTEXTS_DEFAULT;
    if (n->memory_bytes) {
        int64_t fit = pages_within(n, out, (size_t)n->memory_bytes);
        if (fit < least)
            return memory_refuse(n, out, least, "--memory is", (size_t)n->memory_bytes, err);
        if (!asked) pages = least = fit; /* asked for to the last page */
    }
    if (n->free_bytes && n->share_free > 0) {
        char what[48];
        size_t bytes = (size_t)(n->share_free * (double)n->free_bytes);
        int64_t fit = pages_within(n, out, bytes);
        snprintf(what, sizeof what, "%.4g %% of free memory is", 100 * n->share_free);
        if (fit < least) return memory_refuse(n, out, least, what, bytes, err);
        if (!asked && (!n->memory_bytes || fit < pages)) pages = fit;
    } else if (n->free_bytes) {
        int64_t fit = pages_within(n, out, n->free_bytes);
        if (fit < least) return memory_refuse(n, out, least, "free are", n->free_bytes, err);
        if (fit < pages) pages = fit;
    }
    out->n_pages = (int32_t)pages;
    return OK;
}

status kv_plan_make(struct kv_plan *out, const struct kv_need *need, error *err)
{
    struct kv_need n = *need;
    if (n.page_bytes == 0) n.page_bytes = 1;
    *out = (struct kv_plan){0, 0};
    status s = tokens_check("--kv-tokens", n.kv_tokens, err);
    if (s == OK) s = tokens_check("--host-tokens", n.host_tokens, err);
    if (s == OK && n.memory_bytes < 0)
        s = fail(err, ERR_USAGE, "--memory: found %lld bytes", (long long)n.memory_bytes);
    if (s == OK && !(n.share_free >= 0 && n.share_free <= 1))
        s = fail(err, ERR_USAGE, "--memory-fraction: found %g, expected above 0, at most 1",
                 n.share_free);
    if (s == OK) s = host_plan(out, &n, err);
    return s == OK ? pages_plan(out, &n, err) : s;
}
