/* The engine's threads: clients post requests into a list, one worker moves them to the scheduler
 * and steps it. The worker sleeps only when the scheduler has nothing to do. */
#include "inference/engine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "inference/constraint.h"
#include "inference/generation.h"
#include "inference/kv_pages.h"
#include "inference/quantize_load.h"

enum { ROWS_DEFAULT = 512, CONTEXTS_DEFAULT = 4 };

struct engine {
    char *name;
    const struct kernels *kernels;
    device *device;
    model *model;
    tokenizer *tokenizer;
    sampler sampler;
    token_order order;
    kv_pool *kv;
    int32_t n_pages;
    scheduler *scheduler; /* the worker's, with all above but the tokenizer */

    pthread_t worker;
    bool worker_runs;
    _Atomic int pressed;  /* strictest priority posted since the last step boundary, or warm */
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    bool closing, woken;
    generation *posted, **posted_end; /* not yet seen by the worker */
    int64_t n_posted;
    struct engine_stats stats; /* as of the last step boundary */
};

static enum priority event_pressed(void *context)
{
    return (enum priority)atomic_load(&((engine *)context)->pressed);
}

static void event_admitted(void *context, struct sequence *s)
{
    (void)context;
    generation_admitted((generation *)s);
}

static bool event_mask(void *context, const struct sequence *q, uint32_t *mask, int32_t n_words)
{
    const engine *e = context;
    text rest = generation_must_say((const generation *)q);
    return rest.size > 0 && token_order_allow(&e->order, rest, mask, (size_t)n_words) > 0;
}

static enum finish_reason event_token(void *context, struct sequence *s,
                                      const struct sample_result *result, const char **why)
{
    (void)context;
    return generation_put_token((generation *)s, result, why);
}

static void event_finished(void *context, struct sequence *s, enum finish_reason reason,
                           const char *why)
{
    (void)context;
    generation_end((generation *)s, reason, why);
}

/* The last component of the directory's real path. */
static char *name_of(const char *model_dir)
{
    char *real = realpath(model_dir, NULL);
    const char *path = real ? real : model_dir, *slash = strrchr(path, '/');
    const char *name = slash && slash[1] ? slash + 1 : path;
    char *copy = memory_copy(name, strlen(name));
    free(real);
    return copy;
}

static status device_open(engine *e, const struct engine_options *o, error *err)
{
    int32_t rows = o->rows_max ? o->rows_max : ROWS_DEFAULT;
    if (rows < 1 || rows > ENGINE_ROWS_MAX)
        return fail(err, ERR_USAGE, "rows per step: found %d, expected 1 to %d", rows,
                    ENGINE_ROWS_MAX);
    int32_t seqs = rows < ENGINE_SEQUENCES_MAX ? rows : ENGINE_SEQUENCES_MAX;
    struct device_options options = {.shape = e->model->config.shape,
                                     .n_threads = o->n_threads,
                                     .rows_max = rows,
                                     .seqs_max = seqs,
                                     .outs_max = seqs};
    status s = kernels_find(&e->kernels, o->backend ? o->backend : "auto", err);
    return s == OK ? e->kernels->open(&e->device, &options, err) : s;
}

/* Bytes of weights that do not stay mapped. */
static size_t weights_bytes(const engine *e, const struct engine_options *o)
{
    return o->weights ? quantize_load_bytes(e->model, o->weights) : model_copied_bytes(e->model);
}

/* How many pages the pool gets: what was asked for, or what fits between one context and four. */
static status pages_plan(engine *e, struct memory_plan *plan, const struct engine_options *o,
                         error *err)
{
    int64_t context = e->model->config.shape.max_seq_len;
    int64_t tokens = o->kv_tokens ? o->kv_tokens : CONTEXTS_DEFAULT * context;
    status s = e->kernels->plan(e->device, o->kv_type, plan, err);
    if (s != OK) return s;
    if (o->kv_tokens < 0 || tokens > (int64_t)INT32_MAX * KV_PAGE_TOKENS / 2)
        return fail(err, ERR_USAGE, "--kv-tokens: found %lld, expected 1 to %lld",
                    (long long)tokens, (long long)INT32_MAX * KV_PAGE_TOKENS / 2);
    size_t fixed = plan->workspace_bytes + weights_bytes(e, o);
    size_t rest = plan->free_bytes > fixed ? plan->free_bytes - fixed : 0;
    size_t page_bytes = plan->kv_bytes_per_page ? plan->kv_bytes_per_page : 1;
    int64_t fit = (int64_t)(rest / page_bytes), pages = kv_pages_for_tokens(tokens);
    int64_t least = o->kv_tokens ? pages : kv_pages_for_tokens(context);
    bool known = plan->free_bytes > 0;
    if (known && fit < least)
        return fail(err, ERR_MEMORY,
                    "not enough memory: %zu MiB free, expected %zu MiB for weights and work and "
                    "%zu MiB for %lld KV tokens",
                    plan->free_bytes / MIB, fixed / MIB, (size_t)least * page_bytes / MIB,
                    (long long)least * KV_PAGE_TOKENS);
    e->n_pages = (int32_t)(known && fit < pages ? fit : pages);
    return OK;
}

static status tokenizer_load(engine *e, const char *model_dir, error *err)
{
    int32_t rows = e->model->config.shape.vocab_size;
    status s = tokenizer_open(&e->tokenizer, model_dir, err);
    if (s != OK) return s;
    int32_t needed = tokenizer_vocabulary_size(e->tokenizer);
    if (needed > rows)
        return fail(err, ERR_FORMAT,
                    "%s: the tokenizer has ids up to %d, but vocab_size of config.json is %d",
                    model_dir, needed - 1, rows);
    s = sampler_open(&e->sampler, e->tokenizer, rows, err);
    return s == OK ? token_order_open(&e->order, e->tokenizer, rows, err) : s;
}

static status scheduler_start(engine *e, const struct engine_options *o, error *err)
{
    int32_t rows = o->rows_max ? o->rows_max : ROWS_DEFAULT;
    struct scheduler_options options = {
        .model = e->model,
        .device = e->device,
        .kv = e->kv,
        .n_pages = e->n_pages,
        .rows_max = rows,
        .seqs_max = rows < ENGINE_SEQUENCES_MAX ? rows : ENGINE_SEQUENCES_MAX,
        .sampler = &e->sampler,
        .events = {e, event_pressed, event_admitted, event_mask, event_token, event_finished},
    };
    return scheduler_open(&e->scheduler, &options, err);
}

/* Takes what was posted. With the lock held. */
static generation *posted_take(engine *e)
{
    generation *first = e->posted;
    e->posted = NULL;
    e->posted_end = &e->posted;
    e->n_posted = 0;
    atomic_store(&e->pressed, PRIORITY_WARM);
    return first;
}

static void posted_add(engine *e, generation *g)
{
    while (g) {
        generation *next = g->next; /* the scheduler may be done with g before we look again */
        scheduler_add(e->scheduler, &g->sequence);
        g = next;
    }
}

static void *worker_run(void *context)
{
    engine *e = context;
    pthread_mutex_lock(&e->lock);
    while (!e->closing) {
        e->stats.n_queued += e->n_posted; /* until the next boundary says better */
        generation *posted = posted_take(e);
        e->woken = false;
        pthread_mutex_unlock(&e->lock);
        posted_add(e, posted);
        bool worked = scheduler_step(e->scheduler);
        pthread_mutex_lock(&e->lock);
        scheduler_stats(e->scheduler, &e->stats);
        while (!worked && !e->posted && !e->woken && !e->closing)
            pthread_cond_wait(&e->work, &e->lock);
    }
    generation *posted = posted_take(e);
    pthread_mutex_unlock(&e->lock);
    posted_add(e, posted);
    scheduler_end_all(e->scheduler, FINISH_CANCELLED, NULL);
    return NULL;
}

static status worker_start(engine *e, error *err)
{
    scheduler_stats(e->scheduler, &e->stats);
    int reason = pthread_create(&e->worker, NULL, worker_run, e);
    if (reason != 0) return fail(err, ERR_IO, "cannot start a thread: %s", strerror(reason));
    e->worker_runs = true;
    return OK;
}

/* Everything before the weights; *out is to be closed also after a failure. */
static status engine_prepare(engine **out, struct memory_plan *plan,
                             const struct engine_options *options, error *err)
{
    engine *e = *out = memory_take(1, sizeof *e);
    if (!e) return fail(err, ERR_MEMORY, "out of memory for the engine");
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    e->posted_end = &e->posted;
    e->name = name_of(options->model_dir);
    status s = e->name ? OK : fail(err, ERR_MEMORY, "out of memory for the engine");
    if (s == OK) s = model_open(&e->model, options->model_dir, err);
    if (s == OK) s = tokenizer_load(e, options->model_dir, err);
    if (s == OK) s = device_open(e, options, err);
    if (s == OK) s = pages_plan(e, plan, options, err);
    return s;
}

status engine_plan(struct engine_plan *out, const struct engine_options *options, error *err)
{
    engine *e;
    struct memory_plan plan;
    status s = engine_prepare(&e, &plan, options, err);
    if (s == OK)
        *out = (struct engine_plan){
            .shape = e->model->config.shape,
            .demo = e->model->config.demo,
            .n_parameters = model_parameters(e->model),
            .stored_bytes = model_stored_bytes(e->model),
            .kv_tokens = (int64_t)e->n_pages * KV_PAGE_TOKENS,
            .kv_bytes = (size_t)e->n_pages * plan.kv_bytes_per_page,
            .work_bytes = plan.workspace_bytes + weights_bytes(e, options),
            .free_bytes = plan.free_bytes,
        };
    engine_close(e);
    return s;
}

status engine_open(engine **out, const struct engine_options *given, error *err)
{
    engine *e;
    struct memory_plan plan;
    struct engine_options settled = *given, *options = &settled;
    struct weights_wanted wanted = {.model_dir = given->model_dir,
                                    .format = given->weights,
                                    .save_dir = given->save_dir,
                                    .n_threads = given->n_threads,
                                    .progress = given->progress,
                                    .context = given->progress_context};
    *out = NULL;
    status s = weights_settle(&wanted, err);
    if (s != OK) return s;
    settled.model_dir = wanted.model_dir;
    settled.weights = wanted.format;
    s = engine_prepare(&e, &plan, options, err);
    if (s == OK)
        s = quantize_load(e->model, options->weights, options->n_threads, e->kernels, e->device,
                          options->progress, options->progress_context, err);
    if (s == OK) s = e->kernels->kv_open(&e->kv, e->device, options->kv_type, e->n_pages, err);
    if (s == OK) s = scheduler_start(e, options, err);
    if (s == OK) s = worker_start(e, err);
    if (s != OK) {
        engine_close(e);
        return s;
    }
    *out = e;
    return OK;
}

static void worker_stop(engine *e)
{
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
    if (e->worker_runs) pthread_join(e->worker, NULL);
}

void engine_close(engine *e)
{
    if (!e) return;
    worker_stop(e);
    scheduler_close(e->scheduler);
    if (e->kv) e->kernels->kv_close(e->kv);
    model_close(e->model);
    if (e->device) e->kernels->close(e->device);
    token_order_close(&e->order);
    sampler_close(&e->sampler);
    tokenizer_close(e->tokenizer);
    pthread_cond_destroy(&e->work);
    pthread_mutex_destroy(&e->lock);
    memory_free(e->name);
    memory_free(e);
}

const struct model_shape *engine_shape(const engine *e) { return &e->model->config.shape; }
const tokenizer *engine_tokenizer(const engine *e) { return e->tokenizer; }
const char *engine_model_name(const engine *e) { return e->name; }
const char *engine_backend_name(const engine *e) { return e->kernels->describe(e->device); }
bool engine_is_demo(const engine *e) { return e->model->config.demo; }

static status stops_check(const struct generation_spec *spec, error *err)
{
    if (spec->n_stops > STOPS_MAX)
        return fail(err, ERR_USAGE, "stop: %zu strings, expected at most %d", spec->n_stops,
                    STOPS_MAX);
    for (size_t i = 0; i < spec->n_stops; i++)
        if (spec->stops[i].size == 0 || spec->stops[i].size > STOP_BYTES_MAX)
            return fail(err, ERR_USAGE, "stop[%zu]: %zu bytes, expected 1 to %d", i,
                        spec->stops[i].size, STOP_BYTES_MAX);
    return OK;
}

static status lengths_check(const engine *e, const struct generation_spec *spec, error *err)
{
    int64_t context = e->model->config.shape.max_seq_len, output = spec->max_tokens;
    if (spec->n_prompt < 1 || spec->n_prompt >= (size_t)context)
        return fail(err, ERR_USAGE, "prompt: %zu tokens, expected 1 to %lld (max_seq_len less one)",
                    spec->n_prompt, (long long)context - 1);
    if (output < 0 || (output == 0 && spec->priority != PRIORITY_WARM))
        return fail(err, ERR_USAGE, "max_tokens is %lld, expected at least 1 (0 only to warm)",
                    (long long)output);
    int64_t n_prompt = (int64_t)spec->n_prompt;
    int64_t total = n_prompt + output < context ? n_prompt + output : context;
    int64_t room = (int64_t)e->n_pages * KV_PAGE_TOKENS;
    if (total - (output > 0) > room)
        return fail(err, ERR_USAGE,
                    "prompt of %lld tokens and max_tokens %lld can never fit a KV pool of %lld "
                    "tokens",
                    (long long)n_prompt, (long long)output, (long long)room);
    return OK;
}

static status spec_check(const engine *e, const struct generation_spec *spec, error *err)
{
    int32_t vocab = e->model->config.shape.vocab_size;
    status s = lengths_check(e, spec, err);
    if (s == OK) s = sampler_check(spec, err);
    if (s == OK) s = stops_check(spec, err);
    if (s == OK && spec->must_start_with.size > MUST_START_MAX)
        s = fail(err, ERR_USAGE, "must_start_with: %zu bytes, at most %zu",
                 spec->must_start_with.size, MUST_START_MAX);
    if (s == OK && (unsigned)spec->priority > PRIORITY_WARM)
        s = fail(err, ERR_USAGE, "priority is %d, expected 0 to %d", (int)spec->priority,
                 PRIORITY_WARM);
    for (size_t i = 0; s == OK && i < spec->n_prompt; i++)
        if (spec->prompt[i] < 0 || spec->prompt[i] >= vocab)
            s = fail(err, ERR_USAGE, "prompt[%zu] is %d, expected a token id from 0 to %d", i,
                     spec->prompt[i], vocab - 1);
    return s;
}

/* With the lock held. */
static status post(engine *e, generation *g, error *err)
{
    int64_t n_waiting = e->stats.n_queued + e->n_posted;
    if (e->stats.device_failed) return fail(err, ERR_DEVICE, "the device has failed");
    if (e->closing) return fail(err, ERR_CANCELLED, "the engine is closing");
    if (n_waiting >= ENGINE_QUEUE_MAX)
        return fail(err, ERR_BUSY, "%lld requests are waiting already", (long long)n_waiting);
    *e->posted_end = g;
    e->posted_end = &g->next;
    e->n_posted++;
    if ((int)g->sequence.priority < atomic_load(&e->pressed))
        atomic_store(&e->pressed, (int)g->sequence.priority);
    pthread_cond_signal(&e->work);
    return OK;
}

status engine_submit(engine *e, const struct generation_spec *spec, generation **out, error *err)
{
    generation *g = NULL;
    *out = NULL;
    status s = spec_check(e, spec, err);
    if (s == OK)
        s = generation_open(&g, e, e->tokenizer, e->model->config.shape.max_seq_len, spec, err);
    if (s != OK) return s;
    pthread_mutex_lock(&e->lock);
    s = post(e, g, err);
    pthread_mutex_unlock(&e->lock);
    if (s != OK) { /* never posted: both holds are ours */
        generation_release(g);
        generation_release(g);
        return s;
    }
    *out = g;
    return OK;
}

void generation_cancel(generation *g)
{
    engine *e = g->engine;
    atomic_store(&g->sequence.cancelled, true);
    pthread_mutex_lock(&e->lock);
    e->woken = true;
    pthread_cond_signal(&e->work);
    pthread_mutex_unlock(&e->lock);
}

void generation_free(generation *g)
{
    if (!g) return;
    if (!g->finish_read) generation_cancel(g);
    generation_release(g);
}

void engine_stats(engine *e, struct engine_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = e->stats;
    out->n_queued += e->n_posted;
    pthread_mutex_unlock(&e->lock);
}
