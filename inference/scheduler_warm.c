/* Warm work that turns into another request's work. A warm sequence stands for "somebody may soon ask
 * for what begins like this". When that request comes, or a warm one that knows more, it goes on
 * exactly where the warm one stands: its pages, its place, and its rows in the middle of a slice. */
#include "inference/scheduler_private.h"

#include <string.h>

static bool begins_like(const struct sequence *q, const struct sequence *prefix, int32_t n)
{
    return q->owner == prefix->owner &&
           memcmp(q->tokens, prefix->tokens, (size_t)n * sizeof *q->tokens) == 0;
}

/* Where r will stand when the slice it is in is done. */
static int32_t end_of(const struct sequence *r) { return r->n_computed + r->n_rows; }

/* The prompt of a warm sequence, or of one that was just cancelled. At least one row must be left to
 * q, computed or under way, or there is nothing to sample behind. */
static bool can_take_over(const struct sequence *r, const struct sequence *q)
{
    bool cancelled = atomic_load(&r->cancelled), prompt = r->n_tokens == r->n_prompt;
    return (r->priority == PRIORITY_WARM || (cancelled && prompt && r->score_from == 0)) &&
           end_of(r) > 0 && end_of(r) <= q->n_tokens && r->n_computed <= match_wanted(q) &&
           (cancelled || q->n_prompt >= r->n_prompt) && begins_like(q, r, end_of(r));
}

static struct sequence *farthest(const scheduler *s, const struct sequence *q)
{
    struct sequence *best = NULL;
    for (int32_t i = 0; i < s->n_running; i++)
        if (can_take_over(s->running[i], q) && (!best || end_of(s->running[i]) > end_of(best)))
            best = s->running[i];
    return best;
}

static void slice_part_replace(scheduler *s, struct sequence *r, struct sequence *q)
{
    struct slice *slice = &s->slices[r->slice];
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++)
        if (slice->part[i] == r) slice->part[i] = q;
    if (q->priority < slice->wanted) slice->wanted = q->priority;
}

/* What was warm is found by a real request: the cache counts it when it is matched. */
static void use_record(scheduler *s, const struct sequence *q)
{
    int32_t *found = q->pages + pages_needed(q);
    struct prefix_match m =
        prefix_cache_match(s->cache, q->owner, q->tokens, q->n_inserted, real_from(q, 0), found);
    match_release(s, &m, found);
}

static bool take_over(scheduler *s, struct sequence *q)
{
    struct sequence *r = farthest(s, q);
    if (!r) return false;
    int32_t more = pages_needed(q) - pages_needed(r);
    if (more > 0 && !pages_available(s, more)) return false;
    s->n_promised += more;
    memcpy(q->pages, r->pages, (size_t)r->n_pages * sizeof *q->pages);
    q->n_pages = r->n_pages;
    q->n_computed = r->n_computed;
    q->n_inserted = r->n_inserted;
    q->n_rows = r->n_rows;
    q->n_drafts = 0;
    q->slice = r->slice;
    if (q->slice >= 0) slice_part_replace(s, r, q);
    r->n_pages = r->n_rows = 0;
    r->slice = -1;
    running_remove(s, r);
    report_end(s, r, atomic_load(&r->cancelled) ? FINISH_CANCELLED : FINISH_LENGTH, NULL);
    use_record(s, q);
    return true;
}

void successors_admit(scheduler *s)
{
    for (int p = 0; p < N_PRIORITIES; p++)
        for (struct sequence *q = s->queued[p].first, *next; q; q = next) {
            next = q->next;
            if (atomic_load(&q->cancelled) || !take_over(s, q)) continue;
            list_remove(&s->queued[p], q);
            admission_record(s, q);
        }
}

void warm_coalesce(scheduler *s, const struct sequence *q)
{
    for (struct sequence *r = s->queued[PRIORITY_WARM].first, *next; r; r = next) {
        next = r->next;
        if (r == q || r->n_prompt > q->n_prompt || !begins_like(q, r, r->n_prompt)) continue;
        list_remove(&s->queued[PRIORITY_WARM], r);
        report_end(s, r, FINISH_LENGTH, NULL);
    }
}

bool warm_is_covered(const scheduler *s, const struct sequence *q)
{
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct sequence *r = s->running[i];
        if (r->n_tokens >= q->n_prompt && begins_like(r, q, q->n_prompt)) return true;
    }
    return false;
}
