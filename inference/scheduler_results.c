/* What a step gave: tokens are handed out, computed pages become findable, times are kept. */
#include "inference/scheduler_private.h"

const int32_t engine_step_bucket_ms[ENGINE_STEP_BUCKETS - 1] = {1,   2,   5,   10,   20,   50,
                                                                100, 200, 500, 1000, 2000, 5000};

void computed_end(scheduler *s)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct sequence *q = s->running[i];
        if (q->n_tokens_max == q->n_prompt && q->n_computed == q->n_prompt)
            running_end(s, q, q->score_from > 0 ? q->finish : FINISH_LENGTH, NULL);
    }
}

static void part_take(scheduler *s, struct sequence *q, const struct step_result *result)
{
    bool bad = q->n_outs > 0 && result->sampled[q->out].nan;
    if (!sequence_decodes(q)) owners_serve(s->owners, q->owner_slot, q->n_rows);
    q->n_computed += q->n_rows;
    q->n_rows = q->n_drafts = 0;
    q->slice = -1;
    if (!bad) computed_insert(s, q, false);
    if (q->n_outs > 0) outputs_take(s, q, result);
}

void results_take(scheduler *s, struct slice *slice, const struct step_result *result)
{
    slice_nobodys_release(s, slice);
    slice->active = false;
    for (int32_t i = slice->b.step.n_seqs - 1; i >= 0; i--)
        if (slice->part[i]) part_take(s, slice->part[i], result);
    computed_end(s);
}

static void step_count(struct engine_stats *total, int64_t us)
{
    int bucket = 0;
    while (bucket < ENGINE_STEP_BUCKETS - 1 && us > 1000LL * engine_step_bucket_ms[bucket])
        bucket++;
    total->steps++;
    total->step_us_total += us;
    total->step_us_bucket[bucket]++;
}

static void rate_record(scheduler *s, const struct slice *slice)
{
    int64_t n_decode = 0;
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++)
        n_decode += slice->part[i] && sequence_decodes(slice->part[i]);
    if (n_decode == 0) return;
    s->window_us += slice->spent_us > 0 ? slice->spent_us : 1;
    s->window_tokens += n_decode;
    s->total.tokens_per_s = 1e6 * (double)s->window_tokens / (double)s->window_us;
    if (s->window_us >= RATE_WINDOW_US) s->window_us = s->window_tokens = 0;
}

/* While its rows still are what they were when it began: the accounts want to know who was in it. */
void launch_record(scheduler *s, struct slice *slice, int32_t layers, int64_t us)
{
    bool queued[N_PRIORITIES], began = slice->layer == 0;
    struct step_shape shape = slice_shape(slice);
    cost_learn(s, &shape, (double)layers / s->policy.n_layers, us);
    for (int p = 0; p < N_PRIORITIES; p++) queued[p] = s->queued[p].n > 0;
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct sequence *q = s->running[i];
        s->seen[i].slice = q->slice;
        if (q->slice < 0) continue;
        s->seen[i].n_rows = q->n_rows;
        s->seen[i].n_kv = q->n_computed + q->n_rows;
    }
    struct policy_launch launch = {(int32_t)(slice - s->slices), (double)us,
                                   began && slice_is_warm(slice), now_us(s) - us};
    policy_account(&s->policy, s->seen, s->n_running, queued, &launch);
    for (int32_t i = 0; i < s->n_running; i++) s->running[i]->slack_us = s->seen[i].slack_us;
    slice->spent_us += us;
    slice->layer += layers;
    if (slice->layer < s->policy.n_layers) return;
    step_count(&s->total, slice->spent_us);
    rate_record(s, slice);
}

void routes_count(scheduler *s, const struct step_result *result, int32_t from, int32_t to)
{
    const struct model_shape *m = &s->o.model->config.shape;
    size_t per_layer = (size_t)s->b.step.n_rows * (size_t)m->moe_top_k;
    if (!result->routes) return;
    for (size_t i = per_layer * (size_t)from; i < per_layer * (size_t)to; i++)
        if (result->routes[i] >= 0 && result->routes[i] < ENGINE_EXPERTS_MAX)
            s->total.expert_rows[result->routes[i]]++;
}
