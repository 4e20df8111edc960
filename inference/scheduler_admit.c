/* Who gets a place and pages. A queued sequence is looked up in the prefix cache and admitted when all
 * pages it may ever need are free or can be evicted; they are promised then and taken as it grows.
 * The sum of promises never exceeds the free pages plus those that eviction can free. */
#include "inference/scheduler_private.h"

#include <string.h>

void list_put_last(struct sequence_list *list, struct sequence *q)
{
    q->next = NULL;
    *(list->last ? &list->last->next : &list->first) = q;
    list->last = q;
    list->n++;
}

void list_put_first(struct sequence_list *list, struct sequence *q)
{
    q->next = list->first;
    list->first = q;
    if (!list->last) list->last = q;
    list->n++;
}

void list_remove(struct sequence_list *list, struct sequence *q)
{
    struct sequence *before = NULL;
    for (struct sequence *i = list->first; i != q; i = i->next) before = i;
    *(before ? &before->next : &list->first) = q->next;
    if (list->last == q) list->last = before;
    list->n--;
}

int32_t pages_needed(const struct sequence *q)
{
    bool prefill_only = q->n_tokens_max == q->n_prompt;
    return kv_pages_for_tokens(prefill_only ? q->n_prompt : q->n_tokens_max - 1 + q->n_extra);
}

int32_t page_take(scheduler *s) { return prefix_cache_take_page(s->cache); }

static void pages_release(scheduler *s, struct sequence *q)
{
    for (int32_t i = 0; i < q->n_pages; i++) kv_pages_release(s->pages, q->pages[i]);
    if (q->n_computed > q->n_far) q->n_far = q->n_computed;
    q->n_pages = q->n_computed = q->n_inserted = 0;
}

void match_release(scheduler *s, const struct prefix_match *m, const int32_t *pages)
{
    for (int32_t i = 0; i < m->n_pages; i++) kv_pages_release(s->pages, pages[i]);
    if (m->partial_page >= 0) kv_pages_release(s->pages, m->partial_page);
}

int32_t real_from(const struct sequence *q, int32_t n_own)
{
    return q->priority == PRIORITY_WARM ? PREFIX_NO_TOKENS : n_own;
}

int32_t match_wanted(const struct sequence *q)
{
    if (q->score_from > 0) return q->score_from - 1;
    return q->n_tokens_max == q->n_prompt ? q->n_prompt : q->n_tokens - 1;
}

void partial_adopt(scheduler *s, struct sequence *q, const struct prefix_match *m)
{
    int32_t page = page_take(s);
    if (page >= 0) {
        s->kernels->pages_copy(s->o.kv, &page, &m->partial_page, 1);
        q->pages[q->n_pages++] = page;
        q->n_computed = m->n_tokens;
        s->n_promised--;
    }
    kv_pages_release(s->pages, m->partial_page);
}

/* Goes on behind what comes back from the host; its pages are among those just promised. */
static void host_adopt(scheduler *s, struct sequence *q, struct prefix_match *m)
{
    s->n_promised -= prefix_cache_restore(s->cache, m, q->pages);
    q->n_pages = kv_pages_for_tokens(m->n_tokens);
    q->n_computed = m->n_tokens;
    q->n_inserted = m->n_pages * KV_PAGE_TOKENS;
}

bool pages_available(const scheduler *s, int32_t n)
{
    int32_t free = kv_pages_free_count(s->pages) + prefix_cache_evictable_count(s->cache);
    return n + s->n_promised <= free;
}

/* A whole page stands in the tree once, so whoever holds our last one began as we do. */
void running_match(scheduler *s, const struct sequence *q, int32_t wanted, const int32_t *pages,
                   struct prefix_match *m)
{
    int32_t from = m->n_pages * KV_PAGE_TOKENS;
    int32_t most = wanted - from < KV_PAGE_TOKENS ? wanted - from : KV_PAGE_TOKENS;
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct sequence *r = s->running[i];
        int32_t n = 0, there = r->n_computed - from < most ? r->n_computed - from : most;
        if (r == q || r->owner != q->owner || there <= 0) continue;
        if (m->n_pages > 0 && r->pages[m->n_pages - 1] != pages[m->n_pages - 1]) continue;
        while (n < there && r->tokens[from + n] == q->tokens[from + n]) n++;
        if (from + n <= m->n_tokens + m->n_host_tokens) continue;
        m->n_host_tokens = m->n_host_pages = 0; /* it knows more than the host */
        if (m->partial_page >= 0) kv_pages_release(s->pages, m->partial_page);
        m->partial_page = r->pages[m->n_pages];
        m->n_tokens = from + n;
        kv_pages_hold(s->pages, m->partial_page);
    }
}

/* Looks a queued sequence up in the prefix cache and takes it on if its pages can be had; with
 * nothing taken when they cannot. */
static bool sequence_admit(scheduler *s, struct sequence *q)
{
    struct prefix_match m = prefix_cache_match(s->cache, q->owner, q->tokens, match_wanted(q),
                                               real_from(q, 0), q->pages);
    running_match(s, q, match_wanted(q), q->pages, &m);
    int32_t needed = pages_needed(q) - m.n_pages;
    if (m.partial_page >= 0 && !pages_available(s, needed)) {
        /* The page to copy from is pinned meanwhile: it may be the one that is missing. */
        kv_pages_release(s->pages, m.partial_page);
        m.partial_page = -1;
    }
    if (!pages_available(s, needed)) {
        match_release(s, &m, q->pages);
        return false;
    }
    q->n_pages = m.n_pages;
    q->n_computed = q->n_inserted = m.n_pages * KV_PAGE_TOKENS;
    s->n_promised += needed;
    if (m.partial_page >= 0) partial_adopt(s, q, &m);
    if (m.n_host_pages > 0) host_adopt(s, q, &m);
    return true;
}

void running_insert(scheduler *s, struct sequence *q)
{
    int32_t i = s->n_running++;
    for (; i > 0 && s->running[i - 1]->priority > q->priority; i--)
        s->running[i] = s->running[i - 1];
    s->running[i] = q;
}

void running_remove(scheduler *s, const struct sequence *q)
{
    int32_t i = 0;
    while (s->running[i] != q) i++;
    s->n_running--;
    memmove(s->running + i, s->running + i + 1,
            (size_t)(s->n_running - i) * sizeof(struct sequence *));
}

void computed_insert(scheduler *s, struct sequence *q, bool all)
{
    int32_t n = all ? q->n_computed : q->n_computed - q->n_computed % KV_PAGE_TOKENS;
    if (n <= q->n_inserted) return;
    int32_t warm_from = q->priority == PRIORITY_WARM ? q->n_cached : PREFIX_NO_TOKENS;
    prefix_cache_insert(s->cache, q->owner, q->tokens, n, warm_from, q->pages);
    q->n_inserted = n;
}

/* Takes a running sequence off the device; what it computed stays findable if `keep`. */
static void sequence_leave(scheduler *s, struct sequence *q, bool keep)
{
    s->n_promised -= pages_needed(q) - q->n_pages;
    slice_leave(s, q); /* first: its rows may still write into the pages they were given */
    if (keep) computed_insert(s, q, true);
    running_remove(s, q);
    pages_release(s, q);
}

void report_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why)
{
    q->finished_us = now_us(s);
    owners_leave(s->owners, q->owner_slot);
    if (reason == FINISH_CANCELLED) s->total.cancelled++;
    if (reason == FINISH_ERROR) s->total.failed++;
    s->o.events.finished(s->o.events.context, q, reason, why);
}

void running_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why)
{
    sequence_leave(s, q, reason != FINISH_ERROR);
    report_end(s, q, reason, why);
}

/* Goes on in its place as a prompt: the context, found again, and the ids behind it. Its pages are
 * in the cache in between, so they can be had. */
static void score_begin(scheduler *s, struct sequence *q, const struct score_run *run)
{
    sequence_leave(s, q, true);
    q->tokens = run->tokens;
    q->score_from = run->n_context;
    q->n_tokens = q->n_prompt = q->n_tokens_max = run->n_tokens - 1;
    q->n_extra = 0;
    q->score_logprob = 0;
    if (sequence_admit(s, q))
        running_insert(s, q);
    else
        report_end(s, q, FINISH_ERROR, "the KV pool is too small for this request");
}

void output_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why)
{
    struct score_run run;
    bool complete = reason == FINISH_STOP || reason == FINISH_LENGTH;
    q->finish = reason;
    if (complete && s->o.events.complete && s->o.events.complete(s->o.events.context, q, &run))
        score_begin(s, q, &run);
    else
        running_end(s, q, reason, why);
}

void cancelled_end(scheduler *s)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--)
        if (atomic_load(&s->running[i]->cancelled))
            running_end(s, s->running[i], FINISH_CANCELLED, NULL);
    for (int p = 0; p < N_PRIORITIES; p++)
        for (struct sequence *q = s->queued[p].first, *next; q; q = next) {
            next = q->next;
            if (!atomic_load(&q->cancelled)) continue;
            list_remove(&s->queued[p], q);
            report_end(s, q, FINISH_CANCELLED, NULL);
        }
}

void sequence_put_back(scheduler *s, struct sequence *q)
{
    sequence_leave(s, q, true);
    q->queued_us = now_us(s);
    q->slack_us = 0;
    if (q->score_from > 0) q->score_logprob = 0; /* its ids are scored from the first again */
    list_put_first(&s->queued[q->priority], q);
}

void admission_record(scheduler *s, struct sequence *q)
{
    running_insert(s, q);
    if (q->admitted) return;
    q->admitted = true;
    q->admitted_us = now_us(s);
    q->n_cached = q->n_computed;
    s->total.tokens_prompt += q->n_prompt;
    s->total.tokens_cached += q->n_cached;
    s->o.events.admitted(s->o.events.context, q);
}

/* A free place with its pages, or one that others are put back for. */
static bool place_find(scheduler *s, struct sequence *q)
{
    struct sequence *victim;
    while (s->n_running == s->o.seqs_max || !sequence_admit(s, q)) {
        victim = victim_find(s, q);
        if (!victim) return false;
        sequence_put_back(s, victim);
    }
    return true;
}

/* True when another try is worth it. */
static bool admit(scheduler *s, struct sequence *q, bool owed)
{
    bool fits = place_find(s, q);
    if (!fits && s->n_running > 0) return false;
    list_remove(&s->queued[q->priority], q);
    q->keeps_place = owed;
    if (fits)
        admission_record(s, q);
    else
        report_end(s, q, FINISH_ERROR, "the KV pool is too small for this request");
    return true;
}

void admit_all(scheduler *s)
{
    struct sequence *q;
    int owed = priority_owed(s);
    if (owed >= 0 && (q = queued_next(s, owed)) != NULL && !admit(s, q, true)) return;
    for (int p = 0; p < N_PRIORITIES; p++)
        while ((q = queued_next(s, p)) != NULL)
            if (!admit(s, q, false)) return;
}
