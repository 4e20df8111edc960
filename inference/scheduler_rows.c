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
    int32_t whole = (match_wanted(q) / KV_PAGE_TOKENS) * KV_PAGE_TOKENS, held = q->n_pages;
    if (q->n_computed >= whole) return;
    int32_t *found = q->pages + pages_needed(q); /* the second half of the array is scratch */
    struct prefix_match m = prefix_cache_match(s->cache, q->owner, q->tokens, whole,
                                               real_from(q, q->n_computed), found);
    if (m.n_pages * KV_PAGE_TOKENS <= q->n_computed) {
        match_release(s, &m, found);
        return;
    }
    if (m.partial_page >= 0) kv_pages_release(s->pages, m.partial_page);
    for (int32_t i = 0; i < held; i++) kv_pages_release(s->pages, q->pages[i]);
    memcpy(q->pages, found, (size_t)m.n_pages * sizeof *found);
    q->n_pages = m.n_pages;
    q->n_computed = q->n_inserted = m.n_pages * KV_PAGE_TOKENS;
    s->n_promised -= q->n_pages - held;
}

/* Adds the next n rows of a sequence, with an output if they end in its last known token. */
static void rows_add(scheduler *s, struct sequence *q, int32_t n)
{
    int32_t to = q->n_computed + n;
    while (q->n_pages < kv_pages_for_tokens(to)) {
        q->pages[q->n_pages++] = page_take(s);
        s->n_promised--;
    }
    batch_add(&s->b, q->tokens, q->n_computed, to, q->pages);
    q->n_rows = n;
    q->out = -1;
    if (to < q->n_tokens || q->n_tokens_max == q->n_prompt) return;
    struct sample_row row =
        sampler_row_at(&q->sample, q->tokens, q->n_tokens, q->n_tokens - q->n_prompt);
    uint32_t *mask = s->masks + (size_t)s->b.step.n_masks * (size_t)s->o.sampler->n_words;
    if (s->o.events.mask && s->o.events.mask(s->o.events.context, q, mask, s->o.sampler->n_words))
        row.mask = s->b.step.n_masks++;
    q->out = batch_add_out(&s->b, s->b.step.n_rows - 1, row);
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
    for (int32_t i = 0; i < s->n_running; i++) {
        s->running[i]->n_rows = 0;
        s->running[i]->out = -1;
        if (sequence_decodes(s->running[i])) rows_add(s, s->running[i], 1);
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
        int32_t n = q->n_tokens - q->n_computed;
        if (n > budget) n = budget;
        if (n > rows_left) n = rows_left;
        if (n <= 0) continue;
        rows_add(s, q, n);
        strictest = q->priority;
        budget -= n;
    }
}
