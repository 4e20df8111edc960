/* Who is admitted next, and who makes room. Within a class the owner that was served least comes
 * first; between owners served alike, the one that holds fewer places. */
#include "inference/scheduler_private.h"

static int64_t served(const scheduler *s, const struct sequence *q)
{
    return owners_served(s->owners, q->owner_slot);
}

/* Tokens that the running sequences of q's owner may come to hold. */
static int64_t tokens_held(const scheduler *s, const struct sequence *q)
{
    int64_t n = 0;
    for (int32_t i = 0; i < s->n_running; i++)
        if (s->running[i]->owner == q->owner) n += s->running[i]->n_tokens_max;
    return n;
}

struct sequence *queued_next(const scheduler *s, int priority)
{
    struct sequence *best = NULL;
    int64_t best_held = 0;
    for (struct sequence *q = s->queued[priority].first; q; q = q->next) {
        if (priority == PRIORITY_WARM && warm_is_covered(s, q)) continue;
        int64_t held = tokens_held(s, q);
        if (best && (served(s, q) > served(s, best) ||
                     (served(s, q) == served(s, best) && held >= best_held)))
            continue;
        best = q;
        best_held = held;
    }
    return best;
}

int priority_owed(const scheduler *s)
{
    for (int p = PRIORITY_ACTION; p < PRIORITY_WARM; p++) {
        const struct sequence *first = s->queued[p].first;
        bool runs = false;
        for (int32_t i = 0; i < s->n_running; i++) runs = runs || (int)s->running[i]->priority == p;
        for (const struct sequence *q = first; q; q = q->next)
            if (q->queued_us < first->queued_us) first = q;
        if (first && !runs && now_us(s) - first->queued_us >= PLACE_OWED_US) return p;
    }
    return -1;
}

/* Less strict work gives way. Work of the same class does when its owner was served as much and would
 * still hold more: so nobody is put back for somebody whom it could put back in turn. */
static bool gives_way(const scheduler *s, const struct sequence *r, const struct sequence *q)
{
    if (r->priority > q->priority) return !r->keeps_place;
    return r->priority == q->priority && r->owner != q->owner && !r->keeps_place &&
           served(s, r) >= served(s, q) &&
           tokens_held(s, r) - r->n_tokens_max >= tokens_held(s, q) + q->n_tokens_max;
}

/* The least strict, prompts before what decodes already, then the one that came last. */
static bool goes_before(const struct sequence *a, const struct sequence *b)
{
    bool a_decodes = a->n_tokens > a->n_prompt, b_decodes = b->n_tokens > b->n_prompt;
    if (a->priority != b->priority) return a->priority > b->priority;
    if (a_decodes != b_decodes) return b_decodes;
    return a->id > b->id;
}

struct sequence *victim_find(const scheduler *s, const struct sequence *q)
{
    struct sequence *best = NULL;
    for (int32_t i = 0; i < s->n_running; i++)
        if (gives_way(s, s->running[i], q) && (!best || goes_before(s->running[i], best)))
            best = s->running[i];
    return best;
}
