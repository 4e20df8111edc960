/* Life, and one step: end the cancelled, admit (scheduler_admit.c), choose rows (scheduler_rows.c),
 * compute by groups of layers, hand out tokens (scheduler_results.c). */
#include "inference/scheduler_private.h"

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

status scheduler_open(scheduler **out, const struct scheduler_options *options, error *err)
{
    scheduler *s = memory_take(1, sizeof *s);
    int32_t pages_max = kv_pages_for_tokens(options->model->config.shape.max_seq_len);
    *out = NULL;
    if (!s) return fail(err, ERR_MEMORY, "out of memory for the scheduler");
    s->o = *options;
    if (s->o.slice_target_us == 0) s->o.slice_target_us = SLICE_TARGET_US;
    if (s->o.group_target_us == 0) s->o.group_target_us = GROUP_TARGET_US;
    if (s->o.slice_rows_min == 0) s->o.slice_rows_min = SLICE_ROWS_MIN;
    if (s->o.outs_max == 0) s->o.outs_max = s->o.seqs_max;
    s->kernels = options->model->kernels;
    s->running = memory_take((size_t)options->seqs_max, sizeof(struct sequence *));
    status rc = s->running ? OK : fail(err, ERR_MEMORY, "out of memory for the scheduler");
    if (rc == OK) rc = masks_open(s, err);
    if (rc == OK) rc = kv_pages_open(&s->pages, options->n_pages, err);
    if (rc == OK) rc = prefix_cache_open(&s->cache, s->pages, err);
    if (rc == OK)
        rc = batch_open(&s->b, s->o.rows_max, s->o.seqs_max, s->o.outs_max, pages_max, err);
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
    batch_close(&s->b);
    prefix_cache_close(s->cache);
    kv_pages_close(s->pages);
    memory_free(s->running);
    memory_free(s->masks);
    memory_free(s);
}

void scheduler_add(scheduler *s, struct sequence *q)
{
    q->n_tokens = q->n_prompt;
    q->n_computed = q->n_pages = q->n_cached = q->n_inserted = q->score_from = 0;
    q->n_drafted = q->n_accepted = 0;
    q->admitted = q->scored = false;
    s->total.requests++;
    list_put_last(&s->queued[q->priority], q);
}

static void device_fail(scheduler *s)
{
    if (!s->failed) log_line(LOG_ERROR, "engine: %s", s->failure.message);
    s->failed = true;
    scheduler_end_all(s, FINISH_ERROR, s->failure.message);
}

/* Every sequence of this step was cancelled; or nobody waits for it (batch, warm) and somebody
 * stricter has come meanwhile. */
static bool step_unwanted(const scheduler *s)
{
    enum priority come =
        s->o.events.pressed ? s->o.events.pressed(s->o.events.context) : PRIORITY_WARM;
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct sequence *q = s->running[i];
        if (q->n_rows == 0 || atomic_load(&q->cancelled)) continue;
        if (q->priority < PRIORITY_BATCH || q->priority <= come) return false;
    }
    return true;
}

/* How many layers run before the next look at who still wants this step. Before the first slice was
 * timed nothing is known but that it may be slow: then one. */
static int32_t group_layers(const scheduler *s)
{
    int32_t n_layers = s->o.model->config.shape.n_layers, n_rows = s->b.step.n_rows;
    double layer_us = s->row_us * n_rows / n_layers, target_us = (double)s->o.group_target_us;
    if (s->row_us <= 0) return n_rows < SLICE_ROWS_TIMED ? n_layers : 1;
    if (layer_us * n_layers <= target_us) return n_layers;
    return layer_us < target_us ? (int32_t)(target_us / layer_us) : 1;
}

/* A long step goes by groups of layers and is given up between two when nobody wants it any more:
 * what it wrote lies behind n_computed, where it does not count. */
static bool step_compute(scheduler *s)
{
    int32_t n_layers = s->o.model->config.shape.n_layers, group = group_layers(s);
    for (int32_t from = 0; from < n_layers; from += group) {
        int32_t to = n_layers - from < group ? n_layers : from + group;
        if (from > 0 && step_unwanted(s)) return false;
        forward_layers(s->o.model, s->o.device, &s->b.step, from, to);
    }
    return true;
}

bool scheduler_step(scheduler *s)
{
    struct step_result result;
    bool whole = false;
    if (s->failed) device_fail(s);
    cancelled_end(s);
    admit_all(s);
    computed_end(s);
    if (s->n_running == 0) return false;
    choose_rows(s);
    int64_t begin_us = clock_us();
    status rc = safetensors_check_files(s->o.model->files, &s->failure);
    if (rc == OK) {
        whole = step_compute(s);
        rc = s->kernels->collect(s->o.device, &result, &s->failure);
    }
    if (rc != OK) {
        device_fail(s);
        return true;
    }
    if (!whole) return true;
    time_record(s, clock_us() - begin_us > 0 ? clock_us() - begin_us : 1);
    results_take(s, &result);
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

void scheduler_stats(const scheduler *s, struct engine_stats *out)
{
    *out = s->total;
    out->n_running = s->n_running;
    for (int32_t i = 0; i < s->n_running; i++) out->n_running_by[s->running[i]->priority]++;
    for (int p = 0; p < N_PRIORITIES; p++) {
        out->n_queued_by[p] = s->queued[p].n;
        out->n_queued += s->queued[p].n;
    }
    out->kv_pages = kv_pages_count(s->pages);
    out->kv_pages_free = kv_pages_free_count(s->pages);
    out->kv_pages_cached = prefix_cache_page_count(s->cache);
    out->device_failed = s->failed;
}

bool scheduler_check(const scheduler *s, error *err)
{
    int32_t promised = 0, held = prefix_cache_page_count(s->cache);
    int32_t free = kv_pages_free_count(s->pages), holders = 0;
    for (int32_t i = 0; i < s->n_running; i++) {
        promised += pages_needed(s->running[i]) - s->running[i]->n_pages;
        held += s->running[i]->n_pages;
    }
    for (int32_t i = 0; i < kv_pages_count(s->pages); i++) holders += kv_pages_holders(s->pages, i);
    if (promised != s->n_promised || held != holders)
        return fail(err, ERR_FORMAT, "%d pages promised, expected %d; %d held, expected %d",
                    s->n_promised, promised, holders, held) == OK;
    if (promised > free + prefix_cache_evictable_count(s->cache))
        return fail(err, ERR_FORMAT, "%d pages promised, %d to be had", promised, free) == OK;
    return prefix_cache_check(s->cache, err);
}
