/* From what policy chose to rows of a step. A sequence whose next rows another one computes waits for
 * them, and lends that one its priority. */
#include "inference/scheduler_private.h"

#include <string.h>

bool sequence_decodes(const struct sequence *q)
{
    return q->n_tokens > q->n_prompt && q->n_tokens - q->n_computed == 1;
}

/* Another sequence may have computed our prompt's next pages since we were admitted. */
static void prefix_adopt(scheduler *s, struct sequence *q)
{
    int32_t wanted = match_wanted(q), held = q->n_pages, before = q->n_computed;
    if (before >= wanted) return;
    int32_t *found = q->pages + pages_needed(q); /* the second half of the array is scratch */
    struct prefix_match m = prefix_cache_match(s->cache, q->owner, q->tokens, wanted,
                                               real_from(q, q->n_computed), found);
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
    if (q->score_from > 0 || q->n_tokens > q->n_prompt) return; /* no prompt any more */
    int32_t from = before > q->n_far ? before : q->n_far;
    int32_t gained = q->n_computed > from ? q->n_computed - from : 0;
    q->n_cached += gained;
    s->total.tokens_cached += gained;
}

/* The sequence under way that computes q's next page, or all of its prompt that is missing: the n
 * candidates of one prompt arrive at once, and compute it once. */
static const struct sequence *prefix_coming(const scheduler *s, const struct sequence *q)
{
    int32_t wanted = match_wanted(q), least = q->n_computed + KV_PAGE_TOKENS;
    if (q->n_computed >= wanted) return NULL;
    if (least > wanted) least = wanted;
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct sequence *r = s->running[i];
        if (r == q || r->slice < 0 || r->owner != q->owner || r->n_computed >= least ||
            r->n_computed + r->n_rows < least)
            continue;
        if (memcmp(r->tokens, q->tokens, (size_t)least * sizeof *q->tokens) == 0) return r;
    }
    return NULL;
}

static bool prefix_waits(scheduler *s, struct sequence *q)
{
    if (q->n_tokens - q->n_computed <= 1 && q->n_tokens > q->n_prompt) return false;
    if (q->follows) prefix_adopt(s, q);
    const struct sequence *r = prefix_coming(s, q);
    q->follows = r != NULL;
    if (r && q->priority < s->slices[r->slice].wanted) s->slices[r->slice].wanted = q->priority;
    return r != NULL;
}

static void sequences_see(scheduler *s)
{
    for (int32_t i = 0; i < s->n_running; i++) {
        struct sequence *q = s->running[i];
        bool waits = q->slice < 0 && prefix_waits(s, q);
        s->chosen[i] = 0;
        s->seen[i] = (struct policy_sequence){
            .priority = q->priority,
            .decodes = sequence_decodes(q),
            .waits = waits,
            .slice = q->slice,
            .n_rows = q->slice < 0 ? q->n_tokens - q->n_computed : q->n_rows,
            .n_kv = q->n_tokens,
            .served = tag_of(s, q),
            .slack_us = q->slack_us,
        };
    }
}

static struct policy_slice slice_see(const scheduler *s, const struct slice *slice)
{
    struct policy_slice seen = {.active = slice->active, .priority = slice->wanted};
    if (!slice->active) return seen;
    seen.layer = slice->layer;
    seen.shape = slice_shape(slice);
    seen.served = INT64_MAX;
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++) {
        const struct sequence *q = slice->part[i];
        if (!q) continue;
        int64_t served = tag_of(s, q);
        if (served < seen.served) seen.served = served;
        seen.decodes = seen.decodes || sequence_decodes(q);
        seen.small = seen.small ||
                     (q->n_rows <= s->o.slice_rows_min && q->n_computed + q->n_rows == q->n_tokens);
    }
    return seen;
}

/* Adds the next n rows of a sequence, and those of a draft if they end in its last known token.
 * Outputs are asked for later. */
static void rows_add(scheduler *s, struct slice *slice, struct sequence *q, int32_t n)
{
    int32_t n_drafts = draft_choose(s, q, n), to = q->n_computed + n + n_drafts;
    while (q->n_pages < kv_pages_for_tokens(to)) {
        q->pages[q->n_pages++] = page_take(s);
        s->n_promised--;
    }
    slice->part[s->b.step.n_seqs] = q;
    batch_add(&s->b, q->tokens, q->n_computed, to, q->pages);
    q->n_rows = n;
    q->tag = tag_of(s, q);
    q->started = true;
    q->n_drafts = n_drafts;
    q->n_outs = 0;
    q->out = -1;
    q->slice = (int32_t)(slice - s->slices);
    if (q->priority < slice->wanted) slice->wanted = q->priority;
    outputs_reserve(s, q);
}

static void prompt_fill(scheduler *s, struct slice *slice, struct sequence *q, int32_t n_max)
{
    int32_t room = s->o.rows_max - s->b.step.n_rows - s->n_decoding;
    prefix_adopt(s, q);
    if (prefix_waits(s, q)) return;
    int32_t n = q->n_tokens - q->n_computed;
    if (n > n_max) n = n_max;
    n = outputs_fit(s, q, n < room ? n : room);
    if (n > 0) rows_add(s, slice, q, n);
}

/* Prompts first: what drafts cost depends on what else is in the step. Those that begin alike are
 * looked at one after the other, and the first computes for the rest. */
static void slice_fill(scheduler *s, struct slice *slice)
{
    s->b = slice->b;
    batch_begin(&s->b, s->o.kv, s->masks, s->o.sampler->n_masks);
    s->b.step.slice = (int32_t)(slice - s->slices);
    s->b.step.want_routes = s->total.steps % ROUTES_EVERY == 0;
    slice->layer = 0;
    slice->spent_us = 0;
    slice->wanted = PRIORITY_WARM;
    slice->active = true;
    outputs_begin(s);
    for (int32_t i = 0; i < s->n_running; i++)
        s->n_decoding += s->chosen[i] > 0 && s->seen[i].decodes;
    for (int32_t i = 0; i < s->n_running; i++)
        if (s->chosen[i] > 0 && !s->seen[i].decodes)
            prompt_fill(s, slice, s->running[i], s->chosen[i]);
    for (int32_t i = 0; i < s->n_running; i++) {
        if (s->chosen[i] == 0 || !s->seen[i].decodes) continue;
        s->n_decoding--;
        rows_add(s, slice, s->running[i], 1);
    }
    slice->b = s->b;
    slice->active = slice->b.step.n_rows > 0;
}

struct slice *slice_choose(scheduler *s, int32_t *layers)
{
    struct policy_slice slices[SLICES_MAX];
    bool queued[N_PRIORITIES];
    sequences_see(s);
    for (int p = 0; p < N_PRIORITIES; p++) queued[p] = s->queued[p].n > 0;
    for (int32_t i = 0; i < SLICES_MAX; i++) slices[i] = slice_see(s, &s->slices[i]);
    struct policy_plan plan =
        policy_choose(&s->policy, s->seen, s->n_running, slices, queued, now_us(s), s->chosen);
    if (plan.drop >= 0) slice_close(s, &s->slices[plan.drop]);
    *layers = plan.layers;
    if (plan.slice >= 0) return &s->slices[plan.slice];
    int32_t i = 0;
    while (i < SLICES_MAX - 1 && s->slices[i].active) i++;
    if (plan.n_rows == 0 || s->slices[i].active) return NULL;
    slice_fill(s, &s->slices[i]);
    return s->slices[i].active ? &s->slices[i] : NULL;
}
