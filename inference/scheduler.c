/* A step is: end the cancelled, admit, choose rows, compute, hand out tokens. Policy lives in
 * choose_rows and admit_all; everything else is bookkeeping that policy does not touch.
 *
 * Pages: an admitted sequence is promised all pages it may need and takes them as it grows. The sum
 * of promises never exceeds the free pages plus those that eviction can free. */
#include "inference/scheduler.h"

#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/batch.h"
#include "inference/forward.h"
#include "inference/prefix_cache.h"

enum {
    SLICE_TARGET_US = 250000, /* others join at a step boundary: at least this often */
    SLICE_ROWS_MIN = 128,     /* fewer read all experts for little work, at half the speed */
    SLICE_ROWS_TIMED = 16,    /* fewer rows say little about the cost of one; they go at once */
    GROUP_TARGET_US = 50000,  /* a slice can be given up between two groups of layers */
    RATE_WINDOW_US = 1000000  /* of decoding */
};

struct sequence_list {
    struct sequence *first, *last;
    int32_t n;
};

struct scheduler {
    struct scheduler_options o;
    const struct kernels *kernels;
    kv_pages *pages;
    prefix_cache *cache;
    batch b;
    struct sequence_list queued[N_PRIORITIES];
    struct sequence **running; /* [seqs_max] strictest priority first, then by admission */
    uint32_t *masks; /* [masks of the sampler + seqs_max][n_words] what a step's outputs may be */
    int32_t n_running;
    int32_t n_promised; /* pages that running sequences may still take */
    double row_us;      /* of prefill, smoothed; 0: not measured */
    struct engine_stats total;
    int64_t window_us, window_tokens; /* decoding since the rate was last computed */
    bool failed;
    error failure;
};

/* The sampler's masks stay in front; room for one of each sequence's own behind them. */
static status masks_open(scheduler *s, error *err)
{
    const sampler *fixed = s->o.sampler;
    size_t words = (size_t)fixed->n_words, n_fixed = (size_t)fixed->n_masks;
    s->masks = memory_take((n_fixed + (size_t)s->o.seqs_max) * words, sizeof *s->masks);
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
    s->kernels = options->model->kernels;
    s->running = memory_take((size_t)options->seqs_max, sizeof(struct sequence *));
    status rc = s->running ? OK : fail(err, ERR_MEMORY, "out of memory for the scheduler");
    if (rc == OK) rc = masks_open(s, err);
    if (rc == OK) rc = kv_pages_open(&s->pages, options->n_pages, err);
    if (rc == OK) rc = prefix_cache_open(&s->cache, s->pages, err);
    if (rc == OK)
        rc = batch_open(&s->b, options->rows_max, options->seqs_max, pages_max, false, err);
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

static void list_put_last(struct sequence_list *list, struct sequence *q)
{
    q->next = NULL;
    *(list->last ? &list->last->next : &list->first) = q;
    list->last = q;
    list->n++;
}

static void list_put_first(struct sequence_list *list, struct sequence *q)
{
    q->next = list->first;
    list->first = q;
    if (!list->last) list->last = q;
    list->n++;
}

static void list_remove(struct sequence_list *list, struct sequence *q)
{
    struct sequence *before = NULL;
    for (struct sequence *i = list->first; i != q; i = i->next) before = i;
    *(before ? &before->next : &list->first) = q->next;
    if (list->last == q) list->last = before;
    list->n--;
}

void scheduler_add(scheduler *s, struct sequence *q)
{
    q->n_tokens = q->n_prompt;
    q->n_computed = q->n_pages = q->n_cached = q->n_inserted = 0;
    q->admitted = false;
    s->total.requests++;
    list_put_last(&s->queued[q->priority], q);
}

/* The last token that is sampled is never computed. */
static int32_t pages_needed(const struct sequence *q)
{
    bool prefill_only = q->n_tokens_max == q->n_prompt;
    return kv_pages_for_tokens(prefill_only ? q->n_prompt : q->n_tokens_max - 1);
}

/* A free page, from eviction if need be. Promises guarantee it. */
static int32_t page_take(scheduler *s)
{
    int32_t page = kv_pages_take(s->pages);
    while (page < 0 && prefix_cache_evict(s->cache)) page = kv_pages_take(s->pages);
    return page;
}

static void pages_release(scheduler *s, struct sequence *q)
{
    for (int32_t i = 0; i < q->n_pages; i++) kv_pages_release(s->pages, q->pages[i]);
    q->n_pages = q->n_computed = q->n_inserted = 0;
}

static void match_release(scheduler *s, const struct prefix_match *m, const int32_t *pages)
{
    for (int32_t i = 0; i < m->n_pages; i++) kv_pages_release(s->pages, pages[i]);
    if (m->partial_page >= 0) kv_pages_release(s->pages, m->partial_page);
}

/* Tokens worth looking for: one at least must be computed to sample behind it. */
static int32_t match_wanted(const struct sequence *q)
{
    return q->n_tokens_max == q->n_prompt ? q->n_prompt : q->n_prompt - 1;
}

/* Goes on behind a partial match in a page of its own. */
static void partial_adopt(scheduler *s, struct sequence *q, const struct prefix_match *m)
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

static bool pages_available(const scheduler *s, int32_t n)
{
    int32_t free = kv_pages_free_count(s->pages) + prefix_cache_evictable_count(s->cache);
    return n + s->n_promised <= free;
}

/* Looks a queued sequence up in the prefix cache and takes it on if its pages can be had; with
 * nothing taken when they cannot. */
static bool sequence_admit(scheduler *s, struct sequence *q)
{
    struct prefix_match m =
        prefix_cache_match(s->cache, q->owner, q->tokens, match_wanted(q), q->pages);
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
    return true;
}

static void running_insert(scheduler *s, struct sequence *q)
{
    int32_t i = s->n_running++;
    for (; i > 0 && s->running[i - 1]->priority > q->priority; i--)
        s->running[i] = s->running[i - 1];
    s->running[i] = q;
}

static void running_remove(scheduler *s, const struct sequence *q)
{
    int32_t i = 0;
    while (s->running[i] != q) i++;
    s->n_running--;
    memmove(s->running + i, s->running + i + 1,
            (size_t)(s->n_running - i) * sizeof(struct sequence *));
}

/* Whole pages become findable while the sequence runs; `all` adds the partial last page, for a
 * sequence that will not write into it any more. */
static void computed_insert(scheduler *s, struct sequence *q, bool all)
{
    int32_t n = all ? q->n_computed : q->n_computed - q->n_computed % KV_PAGE_TOKENS;
    if (n <= q->n_inserted) return;
    prefix_cache_insert(s->cache, q->owner, q->tokens, n, q->pages);
    q->n_inserted = n;
}

/* Takes a running sequence off the device; what it computed stays findable if `keep`. */
static void sequence_leave(scheduler *s, struct sequence *q, bool keep)
{
    s->n_promised -= pages_needed(q) - q->n_pages;
    if (keep) computed_insert(s, q, true);
    running_remove(s, q);
    pages_release(s, q);
}

static void report_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why)
{
    q->finished_us = clock_us();
    if (reason == FINISH_CANCELLED) s->total.cancelled++;
    if (reason == FINISH_ERROR) s->total.failed++;
    s->o.events.finished(s->o.events.context, q, reason, why);
}

static void running_end(scheduler *s, struct sequence *q, enum finish_reason reason,
                        const char *why)
{
    sequence_leave(s, q, reason != FINISH_ERROR);
    report_end(s, q, reason, why);
}

static void cancelled_end(scheduler *s)
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

/* Puts the newest warm sequence back, so that real work gets its place and pages. */
static bool warm_put_back(scheduler *s)
{
    struct sequence *q = s->n_running ? s->running[s->n_running - 1] : NULL;
    if (!q || q->priority != PRIORITY_WARM) return false;
    sequence_leave(s, q, true);
    q->n_tokens = q->n_prompt;
    list_put_first(&s->queued[PRIORITY_WARM], q);
    return true;
}

static void admission_record(scheduler *s, struct sequence *q)
{
    running_insert(s, q);
    if (q->admitted) return;
    q->admitted = true;
    q->admitted_us = clock_us();
    q->n_cached = q->n_computed;
    s->total.tokens_prompt += q->n_prompt;
    s->total.tokens_cached += q->n_cached;
    s->o.events.admitted(s->o.events.context, q);
}

/* Admits one from a queue: true when another try is worth it. */
static bool admit_next(scheduler *s, struct sequence_list *list)
{
    struct sequence *q = list->first;
    bool fits = s->n_running < s->o.seqs_max && sequence_admit(s, q);
    while (!fits && q->priority != PRIORITY_WARM && warm_put_back(s))
        fits = s->n_running < s->o.seqs_max && sequence_admit(s, q);
    if (!fits && s->n_running > 0) return false;
    list_remove(list, q);
    if (fits)
        admission_record(s, q);
    else
        report_end(s, q, FINISH_ERROR, "the KV pool is too small for this request");
    return true;
}

/* In order of priority; within one, first come first served. What does not fit waits, and everybody
 * behind it too: otherwise small requests would starve a large one. */
static void admit_all(scheduler *s)
{
    for (int p = 0; p < N_PRIORITIES; p++)
        while (s->queued[p].first)
            if (!admit_next(s, &s->queued[p])) return;
}

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
    struct prefix_match m = prefix_cache_match(s->cache, q->owner, q->tokens, whole, found);
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
static void choose_rows(scheduler *s)
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

/* Warm sequences whose whole prompt was found have nothing to compute. */
static void computed_end(scheduler *s)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct sequence *q = s->running[i];
        if (q->n_tokens_max == q->n_prompt && q->n_computed == q->n_prompt)
            running_end(s, q, FINISH_LENGTH, NULL);
    }
}

static void device_fail(scheduler *s)
{
    if (!s->failed) log_line(LOG_ERROR, "engine: %s", s->failure.message);
    s->failed = true;
    scheduler_end_all(s, FINISH_ERROR, s->failure.message);
}

static void token_take(scheduler *s, struct sequence *q, const struct sample_result *result)
{
    const char *why = NULL;
    if (result->nan || result->id < 0) {
        running_end(s, q, FINISH_ERROR,
                    result->nan ? "the model computed a logit that is no number"
                                : "no token is allowed here");
        return;
    }
    if (q->first_token_us == 0) q->first_token_us = clock_us();
    q->tokens[q->n_tokens++] = result->id;
    s->total.tokens_output++;
    enum finish_reason reason = s->o.events.token(s->o.events.context, q, result, &why);
    if (reason == FINISH_NONE && q->n_tokens == q->n_tokens_max) reason = FINISH_LENGTH;
    if (reason != FINISH_NONE) running_end(s, q, reason, why);
}

static void results_take(scheduler *s, const struct step_result *result)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct sequence *q = s->running[i];
        const struct sample_result *sampled = q->out >= 0 ? &result->sampled[q->out] : NULL;
        bool prefill = q->n_tokens == q->n_prompt;
        q->n_computed += q->n_rows;
        if (prefill && !(sampled && sampled->nan)) computed_insert(s, q, false);
        if (sampled) token_take(s, q, sampled);
    }
    computed_end(s);
}

static void time_record(scheduler *s, int64_t us)
{
    int32_t n_prefill = s->b.step.n_rows;
    int64_t n_decode = 0;
    for (int32_t i = 0; i < s->n_running; i++)
        n_decode += s->running[i]->n_rows == 1 && s->running[i]->out >= 0;
    n_prefill -= (int32_t)n_decode;
    if (n_prefill >= SLICE_ROWS_TIMED) {
        double row_us = (double)us / s->b.step.n_rows;
        s->row_us = s->row_us > 0 ? 0.7 * s->row_us + 0.3 * row_us : row_us;
    }
    if (n_decode == 0) return;
    s->window_us += us;
    s->window_tokens += n_decode;
    s->total.tokens_per_s = 1e6 * (double)s->window_tokens / (double)s->window_us;
    if (s->window_us >= RATE_WINDOW_US) s->window_us = s->window_tokens = 0;
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
    for (int p = 0; p < N_PRIORITIES; p++) out->n_queued += s->queued[p].n;
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
