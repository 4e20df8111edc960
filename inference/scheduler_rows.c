/* Which rows the next step computes. */
#include "inference/scheduler_private.h"

#include <string.h>

static bool sequence_decodes(const struct sequence *q)
{
    return q->n_tokens > q->n_prompt && q->n_tokens - q->n_computed == 1;
}

/* Another sequence may have computed our prompt's next pages since we were admitted. */
static void prefix_adopt(scheduler *s, struct sequence *q)
{
    int32_t wanted = match_wanted(q), held = q->n_pages, before = q->n_computed;
    if (before >= wanted) return;
    int32_t *found = q->pages + pages_needed(q); /* the second half of the array is scratch */
    struct prefix_match m = prefix_cache_match(s->cache, q->owner, q->tokens, wanted, found);
    running_match(s, q, wanted, found, &m);
    if (m.n_tokens <= before) {
        match_release(s, &m, found);
        return;
    }
    for (int32_t i = 0; i < held; i++) kv_pages_release(s->pages, q->pages[i]);
    memcpy(q->pages, found, (size_t)m.n_pages * sizeof *found);
    q->n_pages = m.n_pages;
    q->n_computed = q->n_inserted = m.n_pages * KV_PAGE_TOKENS;
    s->n_promised -= q->n_pages - held;
    if (m.partial_page >= 0) partial_adopt(s, q, &m);
    if (q->score_from > 0) return;
    q->n_cached += q->n_computed - before;
    s->total.tokens_cached += q->n_computed - before;
}

static int32_t tokens_common(const struct sequence *a, const struct sequence *b)
{
    int32_t most = a->n_prompt < b->n_prompt ? a->n_prompt : b->n_prompt, n = 0;
    if (a->owner != b->owner) return 0;
    while (n < most && a->tokens[n] == b->tokens[n]) n++;
    return n;
}

/* Somebody before us in this step computes our next page, or all of our prompt that is missing: the
 * n candidates of one prompt arrive at once, and compute it once. */
static bool prefix_is_coming(const scheduler *s, const struct sequence *q)
{
    int32_t wanted = match_wanted(q), least = q->n_computed + KV_PAGE_TOKENS;
    if (q->n_computed >= wanted) return false;
    if (least > wanted) least = wanted;
    for (int32_t i = 0; i < s->n_running && s->running[i] != q; i++) {
        const struct sequence *p = s->running[i];
        if (p->n_rows > 0 && p->n_computed < least && p->n_computed + p->n_rows > q->n_computed &&
            tokens_common(p, q) >= least)
            return true;
    }
    return false;
}

/* Adds the next n rows of a sequence, and those of a draft if they end in its last known token. */
static void rows_add(scheduler *s, struct sequence *q, int32_t n)
{
    int32_t n_drafts = draft_choose(s, q, n), to = q->n_computed + n + n_drafts;
    while (q->n_pages < kv_pages_for_tokens(to)) {
        q->pages[q->n_pages++] = page_take(s);
        s->n_promised--;
    }
    batch_add(&s->b, q->tokens, q->n_computed, to, q->pages);
    q->n_rows = n;
    outputs_add(s, q, n_drafts);
}

/* How many rows of prompts a step may carry, so that its boundary comes in time. */
static int32_t slice_rows(const scheduler *s)
{
    double least = s->o.slice_rows_min;
    double rows = s->row_us > 0 ? (double)s->o.slice_target_us / s->row_us : least;
    if (rows < least) rows = least;
    return rows < s->o.rows_max ? (int32_t)rows : s->o.rows_max;
}

/* Decode rows of all, then prompts by priority; a prompt waits for all of stricter priority, and
 * warm work for every other row. */
void choose_rows(scheduler *s)
{
    batch_begin(&s->b, s->o.kv, s->masks, s->o.sampler->n_masks);
    outputs_begin(s);
    for (int32_t i = 0; i < s->n_running; i++) s->n_decoding += sequence_decodes(s->running[i]);
    for (int32_t i = 0; i < s->n_running; i++) {
        if (!sequence_decodes(s->running[i])) continue;
        s->n_decoding--;
        rows_add(s, s->running[i], 1);
    }
    int32_t budget = slice_rows(s);
    enum priority strictest = PRIORITY_WARM;
    for (int32_t i = 0; i < s->n_running && budget > 0; i++) {
        struct sequence *q = s->running[i];
        int32_t rows_left = s->o.rows_max - s->b.step.n_rows;
        if (q->n_rows || rows_left == 0) continue;
        if (s->b.step.n_rows > 0 && q->priority > strictest) break;
        if (q->priority == PRIORITY_WARM && s->running[0]->priority < PRIORITY_WARM) break;
        prefix_adopt(s, q);
        if (prefix_is_coming(s, q)) continue;
        int32_t n = q->n_tokens - q->n_computed;
        if (n > budget) n = budget;
        if (n > rows_left) n = rows_left;
        n = outputs_fit(s, q, n);
        if (n <= 0) continue;
        rows_add(s, q, n);
        strictest = q->priority;
        budget -= n;
    }
}
