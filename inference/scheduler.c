/* Life, and one step: end the cancelled, admit (scheduler_admit.c), choose rows (scheduler_rows.c),
 * compute by groups of layers, hand out tokens (scheduler_results.c). */
#include "inference/scheduler_private.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/forward.h"

/* The sampler's masks stay in front; room for one of each output's own behind them. */
static status masks_open(scheduler *s, error *err)
{
    const sampler *fixed = s->o.sampler;
    size_t words = (size_t)fixed->n_words, n_fixed = (size_t)fixed->n_masks;
    s->masks = memory_take((n_fixed + (size_t)s->o.outs_max) * words, sizeof *s->masks);
    if (!s->masks) return fail(err, ERR_MEMORY, "out of memory for the masks of allowed ids");
    memcpy(s->masks, fixed->mask, n_fixed * words * sizeof *s->masks);
    return OK;
}

int64_t now_us(const scheduler *s)
{
    return s->o.now_us ? s->o.now_us(s->o.events.context) : clock_us();
}

static void defaults_set(scheduler *s)
{
    struct scheduler_options *o = &s->o;
    if (o->slice_target_us == 0) o->slice_target_us = SLICE_TARGET_US;
    if (o->group_target_us == 0) o->group_target_us = GROUP_TARGET_US;
    if (o->slice_rows_min == 0) o->slice_rows_min = SLICE_ROWS_MIN;
    if (o->slice_rows_max == 0) o->slice_rows_max = SLICE_ROWS_MAX;
    if (o->outs_max == 0) o->outs_max = o->seqs_max;
    s->kernels = o->model->kernels;
    s->cost_ratio[0] = s->cost_ratio[1] = 1;
    s->policy = (struct policy){.cost = step_us,
                                .context = s,
                                .rows_max = o->rows_max,
                                .n_layers = o->model->config.shape.n_layers,
                                .slice_rows_min = o->slice_rows_min,
                                .slice_rows_max = o->slice_rows_max,
                                .slice_target_us = o->slice_target_us,
                                .group_target_us = o->group_target_us,
                                .warm_begun_us = INT64_MIN / 2};
}

static status arrays_take(scheduler *s, error *err)
{
    size_t n = (size_t)s->o.seqs_max;
    bool all = true;
    s->running = memory_take(n, sizeof(struct sequence *));
    s->seen = memory_take(n, sizeof *s->seen);
    s->chosen = memory_take(n, sizeof *s->chosen);
    for (int i = 0; i < SLICES_MAX; i++) {
        s->slices[i].part = memory_take(n, sizeof(struct sequence *));
        all = all && s->slices[i].part;
    }
    all = all && s->running && s->seen && s->chosen;
    return all ? OK : fail(err, ERR_MEMORY, "out of memory for the scheduler");
}

static status slices_open(scheduler *s, error *err)
{
    int32_t pages_max = kv_pages_for_tokens(s->o.model->config.shape.max_seq_len);
    status rc = OK;
    for (int i = 0; rc == OK && i < SLICES_MAX; i++)
        rc = batch_open(&s->slices[i].b,
                        (struct batch_room){.rows = s->o.rows_max,
                                            .seqs = s->o.seqs_max,
                                            .outs = s->o.outs_max,
                                            .pages = pages_max},
                        err);
    return rc;
}

static status cache_open(scheduler *s, error *err)
{
    struct prefix_cache_options options = {s->pages, s->o.host, s->o.spill_tokens_min};
    return prefix_cache_open(&s->cache, &options, err);
}

status scheduler_open(scheduler **out, const struct scheduler_options *options, error *err)
{
    scheduler *s = memory_take(1, sizeof *s);
    *out = NULL;
    if (!s) return fail(err, ERR_MEMORY, "out of memory for the scheduler");
    s->o = *options;
    defaults_set(s);
    status rc = arrays_take(s, err);
    if (rc == OK) rc = masks_open(s, err);
    if (rc == OK) rc = kv_pages_open(&s->pages, options->n_pages, err);
    if (rc == OK) rc = cache_open(s, err);
    if (rc == OK) rc = owners_open(&s->owners, err);
    if (rc == OK) rc = slices_open(s, err);
    if (rc != OK) {
        scheduler_close(s);
        return rc;
    }
    *out = s;
    return OK;
}

void scheduler_close(scheduler *s)
{
    if (!s) return;
    for (int i = 0; i < SLICES_MAX; i++) {
        batch_close(&s->slices[i].b);
        memory_free(s->slices[i].part);
    }
    prefix_cache_close(s->cache);
    kv_pages_close(s->pages);
    owners_close(s->owners);
    memory_free(s->running);
    memory_free(s->seen);
    memory_free(s->chosen);
    memory_free(s->masks);
    memory_free(s);
}

void scheduler_add(scheduler *s, struct sequence *q)
{
    q->n_tokens = q->n_prompt;
    q->n_computed = q->n_pages = q->n_cached = q->n_inserted = q->n_rows = 0;
    q->n_far = 0;
    q->n_drafts = q->n_outs = 0;
    q->score_logprob = 0;
    q->n_drafted = q->n_accepted = 0;
    q->admitted = q->follows = q->keeps_place = q->started = q->scored = false;
    q->slice = q->out = -1;
    q->slack_us = 0;
    q->queued_us = now_us(s);
    q->id = ++s->n_added;
    q->owner_slot = owners_enter(s->owners, q->owner, tag_least(s));
    s->total.requests++;
    list_put_last(&s->queued[q->priority], q);
    warm_coalesce(s, q);
}

static void device_fail(scheduler *s)
{
    if (!s->failed) log_line(LOG_ERROR, "engine: %s", s->failure.message);
    s->failed = true;
    scheduler_end_all(s, FINISH_ERROR, s->failure.message);
}

/* One group of layers of a step; the last one has its outputs. */
static status launch(scheduler *s, struct slice *slice, int32_t layers, struct step_result *result)
{
    int32_t from = slice->layer, to = from + layers;
    const safetensors *files = s->o.model->files;
    status rc = files ? safetensors_check_files(files, &s->failure) : OK;
    if (rc != OK) return rc;
    s->b = slice->b;
    if (to == s->policy.n_layers) slice_outputs_add(s, slice);
    slice->b = s->b;
    forward_layers(s->o.model, s->o.device, &s->b.step, from, to);
    rc = s->kernels->collect(s->o.device, result, &s->failure);
    if (rc == OK && s->b.step.want_routes) routes_count(s, result, from, to);
    return rc;
}

static bool anybody_waits(const scheduler *s)
{
    for (int p = 0; p < N_PRIORITIES; p++)
        if (s->queued[p].first) return true;
    return false;
}

bool scheduler_step(scheduler *s)
{
    struct step_result result;
    int32_t layers = 0;
    if (s->failed) device_fail(s);
    successors_admit(s); /* first: what was cancelled for them goes on for them */
    cancelled_end(s);
    admit_all(s);
    computed_end(s);
    if (s->n_running == 0) return anybody_waits(s); /* for one that has just ended */
    struct slice *slice = slice_choose(s, &layers);
    if (!slice) return true;
    int64_t begin_us = now_us(s);
    if (launch(s, slice, layers, &result) != OK) {
        device_fail(s);
        return true;
    }
    launch_record(s, slice, layers, now_us(s) - begin_us);
    if (slice->layer == s->policy.n_layers) results_take(s, slice, &result);
    return true;
}

void scheduler_end_all(scheduler *s, enum finish_reason reason, const char *why)
{
    while (s->n_running) running_end(s, s->running[s->n_running - 1], reason, why);
    for (int p = 0; p < N_PRIORITIES; p++)
        while (s->queued[p].first) {
            struct sequence *q = s->queued[p].first;
            list_remove(&s->queued[p], q);
            report_end(s, q, reason, why);
        }
}

bool scheduler_failed(const scheduler *s) { return s->failed; }

static void cache_stats(const scheduler *s, struct engine_stats *out)
{
    struct prefix_cache_counts counts = prefix_cache_counts(s->cache);
    out->kv_pages_cached = counts.device_pages;
    out->host_pages = s->o.host ? host_pages_count(s->o.host) : 0;
    out->host_pages_free = s->o.host ? host_pages_free_count(s->o.host) : 0;
    out->pages_spilled = counts.spilled;
    out->pages_restored = counts.restored;
    out->host_evicted = counts.host_evicted;
    out->warm_tokens = counts.warm_tokens;
    out->warm_useful = counts.warm_useful;
    out->warm_wasted = counts.warm_wasted;
}

void scheduler_stats(const scheduler *s, struct engine_stats *out)
{
    *out = s->total;
    out->n_running = s->n_running;
    for (int32_t i = 0; i < s->n_running; i++) out->n_running_by[s->running[i]->priority]++;
    for (int p = 0; p < N_PRIORITIES; p++) {
        out->n_queued_by[p] = s->queued[p].n;
        out->n_queued += s->queued[p].n;
        out->device_us_by[p] = (int64_t)s->policy.used_us[p];
    }
    out->kv_pages = kv_pages_count(s->pages);
    out->kv_pages_free = kv_pages_free_count(s->pages);
    cache_stats(s, out);
    out->device_failed = s->failed;
    if (s->failed) snprintf(out->device_why, sizeof out->device_why, "%.159s", s->failure.message);
}

static const char *waits_for(const scheduler *s, const struct sequence *q, bool queued)
{
    bool free = s->n_running < s->o.seqs_max;
    if (queued && q->priority == PRIORITY_WARM && warm_is_covered(s, q)) return "a shared prefix";
    if (queued)
        return !free ? "a place" : queued_next(s, (int)q->priority) == q ? "pages" : "its turn";
    if (q->follows) return "a shared prefix";
    if (sequence_decodes(q)) return "its next step";
    if (q->slice >= 0) return "";
    return s->running[0]->priority < q->priority ? "stricter work" : "its turn";
}

static struct engine_request_info request_of(const scheduler *s, const struct sequence *q,
                                             bool queued)
{
    bool prefill = q->n_tokens == q->n_prompt;
    return (struct engine_request_info){
        .id = q->id,
        .generation = (const generation *)q, /* whose first member it is */
        .priority = q->priority,
        .owner = q->owner,
        .state = queued    ? "queued"
                 : prefill ? "prefill"
                           : "decode",
        .waits_for = waits_for(s, q, queued),
        .age_us = now_us(s) - q->submitted_us,
        .n_prompt = q->n_prompt,
        .n_cached = q->n_cached,
        .n_computed = q->n_computed,
        .n_output = q->n_tokens - q->n_prompt,
    };
}

size_t scheduler_requests(const scheduler *s, struct engine_request_info *out, size_t n_max)
{
    size_t n = 0;
    for (int32_t i = 0; i < s->n_running && n < n_max; i++)
        out[n++] = request_of(s, s->running[i], false);
    for (int p = 0; p < N_PRIORITIES; p++)
        for (const struct sequence *q = s->queued[p].first; q && n < n_max; q = q->next)
            out[n++] = request_of(s, q, true);
    return n;
}

bool scheduler_check(const scheduler *s, error *err)
{
    struct prefix_cache_counts counts = prefix_cache_counts(s->cache);
    int32_t promised = 0, held = counts.device_pages + counts.pinned_pages;
    int32_t free = kv_pages_free_count(s->pages), holders = 0;
    for (int32_t i = 0; i < s->n_running; i++) {
        promised += pages_needed(s->running[i]) - s->running[i]->n_pages;
        held += s->running[i]->n_pages;
    }
    held += slices_pages_held(s);
    for (int32_t i = 0; i < kv_pages_count(s->pages); i++) holders += kv_pages_holders(s->pages, i);
    if (promised != s->n_promised || held != holders)
        return fail(err, ERR_FORMAT, "%d pages promised, expected %d; %d held, expected %d",
                    s->n_promised, promised, holders, held) == OK;
    if (promised > free + prefix_cache_evictable_count(s->cache))
        return fail(err, ERR_FORMAT, "%d pages promised, %d to be had", promised, free) == OK;
    return prefix_cache_check(s->cache, err);
}
