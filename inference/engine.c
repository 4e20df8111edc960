/* The engine's threads: clients post requests into a list, one worker moves them to the scheduler
 * and steps it. The worker sleeps only when the scheduler has nothing to do. */
#include "inference/engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "inference/generation.h"
#include "inference/host_pages.h"
#include "inference/kv_plan.h"
#include "inference/quantize_load.h"
#include "inference/tensor_table.h"
#include "kernels/pages.h"

enum { ROWS_DEFAULT = 512, ROWS_DEFAULT_GPU = 2048, REQUESTS_WAIT_S = 2 };
/* Of a GPU's free memory, unless told otherwise: the rest is for captured graphs and the driver. */
#define SHARE_GPU 0.98

struct request_list {
    struct engine_request_info *out;
    size_t n_max, n;
    bool done;
};

struct engine {
    char *name;
    const struct kernels *kernels;
    device *device;
    int32_t rows_max; /* of a step */
    enum kv_type kv_type;
    model *model;
    tokenizer *tokenizer;
    sampler sampler;
    rule_book rules;
    kv_pool *kv;
    struct kv_plan pages;
    host_pages *host;     /* NULL: no tier behind the pool */
    scheduler *scheduler; /* the worker's, with all above but the tokenizer */

    pthread_t worker;
    bool worker_runs;
    pthread_mutex_t asking; /* one who asks for the list of requests; taken before lock */
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t work;
    bool closing, woken;
    generation *posted, **posted_end; /* not yet seen by the worker */
    int64_t n_posted;
    generation *waiting[ENGINE_QUEUE_MAX]; /* never admitted so far, oldest first */
    int32_t n_waiting;
    int64_t n_refused;
    struct request_list *asked; /* to be filled at the next step boundary, or NULL */
    pthread_cond_t answered;
    struct engine_stats stats; /* as of the last step boundary */
};

static void waiting_remove(engine *e, const generation *g)
{
    int32_t i = 0;
    pthread_mutex_lock(&e->lock);
    while (i < e->n_waiting && e->waiting[i] != g) i++;
    if (i < e->n_waiting) {
        e->n_waiting--;
        memmove(e->waiting + i, e->waiting + i + 1,
                (size_t)(e->n_waiting - i) * sizeof(generation *));
    }
    pthread_mutex_unlock(&e->lock);
}

static void event_admitted(void *context, struct sequence *s)
{
    waiting_remove(context, (const generation *)s);
    generation_admitted((generation *)s);
}

static bool event_mask(void *context, const struct sequence *s, int32_t n_ahead, uint32_t *mask)
{
    const engine *e = context;
    return generation_mask((const generation *)s, &e->rules, n_ahead, mask);
}

static int32_t event_draft(void *context, struct sequence *s, int32_t n_max, double *agreement)
{
    (void)context;
    return generation_draft((generation *)s, n_max, agreement);
}

static bool event_complete(void *context, struct sequence *s, struct score_run *run)
{
    (void)context;
    return generation_complete((generation *)s, run);
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
    waiting_remove(context, (const generation *)s);
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

static int32_t seqs_of(int32_t rows, const struct engine_options *o)
{
    int32_t most = o->seqs_max ? o->seqs_max : ENGINE_SEQUENCES_MAX;
    return rows < most ? rows : most;
}

static int32_t outs_of(int32_t rows, const struct engine_options *o)
{
    int32_t outs = seqs_of(rows, o) + ENGINE_DRAFT_ROWS_MAX;
    return rows < outs ? rows : outs;
}

/* "auto" says in one line what it took, and why not the other. A warning, so that it is seen. */
static void backend_tell(const struct kernels *found, const device *d)
{
    const struct kernels *other;
    error why = {0};
    if (strcmp(found->name, "cuda") == 0)
        log_line(LOG_WARN, "engine: backend auto takes %s", found->describe(d));
    else if (kernels_find(&other, "cuda", &why) != OK)
        log_line(LOG_WARN, "engine: backend auto takes %s: %s", found->describe(d), why.message);
}

static status rows_check(int32_t rows, const struct engine_options *o, error *err)
{
    if (o->seqs_max < 0 || o->seqs_max > ENGINE_SEQUENCES_MAX)
        return fail(err, ERR_USAGE, "--max-seqs: found %d, expected 1 to %d", o->seqs_max,
                    ENGINE_SEQUENCES_MAX);
    if (rows < 1 || rows > ENGINE_ROWS_MAX)
        return fail(err, ERR_USAGE, "rows per step: found %d, expected 1 to %d", rows,
                    ENGINE_ROWS_MAX);
    return OK;
}

static struct device_options device_options_of(const struct model_shape *shape, bool gpu,
                                               const struct engine_options *o)
{
    int32_t rows = o->rows_max ? o->rows_max : gpu ? ROWS_DEFAULT_GPU : ROWS_DEFAULT;
    return (struct device_options){.shape = *shape,
                                   .n_threads = o->n_threads,
                                   .rows_max = rows,
                                   .seqs_max = seqs_of(rows, o),
                                   .outs_max = outs_of(rows, o),
                                   .slices_max = SLICES_MAX,
                                   .gpu = o->gpu,
                                   .deterministic = o->deterministic,
                                   .watch = o->watch};
}

static status device_open(engine *e, const struct engine_options *o, error *err)
{
    status s = kernels_find(&e->kernels, o->backend ? o->backend : "auto", err);
    if (s != OK) return s;
    const struct device_options options =
        device_options_of(&e->model->config.shape, e->kernels->weight_bytes, o);
    e->rows_max = options.rows_max;
    e->kv_type = !o->kv_served ? o->kv_type : e->kernels->weight_bytes ? KV_E4M3 : KV_BF16;
    s = rows_check(options.rows_max, o, err);
    return s == OK ? e->kernels->open(&e->device, &options, err) : s;
}

/* Bytes of weights that do not stay mapped. */
static size_t weights_bytes(const engine *e, const struct engine_options *o)
{
    if (e->kernels->weight_bytes) return model_device_bytes(e->model, o->weights, e->kernels);
    return o->weights ? quantize_load_bytes(e->model, o->weights) : model_copied_bytes(e->model);
}

/* How many pages pool and host tier get. */
static status pages_plan(engine *e, struct memory_plan *plan, const struct engine_options *o,
                         error *err)
{
    status s = e->kernels->plan(e->device, e->kv_type, plan, err);
    if (s != OK) return s;
    bool gpu = e->kernels->weight_bytes;
    const struct kv_need need = {
        .context_tokens = e->model->config.shape.max_seq_len,
        .page_bytes = plan->kv_bytes_per_page,
        .fixed_bytes = plan->workspace_bytes + weights_bytes(e, o),
        .free_bytes = plan->free_bytes,
        .share_free = o->memory_fraction != 0 ? o->memory_fraction
                      : gpu                   ? SHARE_GPU
                                              : 0,
        .kv_tokens = o->kv_tokens,
        .memory_bytes = o->memory_bytes,
        .host_tokens = o->host_tokens,
        .host_bytes = o->host_bytes,
        .host_elsewhere = gpu || o->host_directory,
    };
    return kv_plan_make(&e->pages, &need, err);
}

/* The room behind the pool; without any none is made. */
static status host_start(engine *e, const struct engine_options *o, size_t page_bytes, error *err)
{
    const struct host_pages_options options = {
        .kernels = e->kernels,
        .kv = e->kv,
        .device = e->device,
        .page_bytes = page_bytes,
        .n_slots = e->pages.n_host_pages,
        .directory = e->kernels->host_take ? NULL : o->host_directory};
    return options.n_slots ? host_pages_open(&e->host, &options, err) : OK;
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
    return s == OK ? rule_book_open(&e->rules, e->tokenizer, rows, e->sampler.mask, err) : s;
}

static status scheduler_start(engine *e, const struct engine_options *o, error *err)
{
    int32_t rows = e->rows_max;
    struct scheduler_options options = {
        .model = e->model,
        .device = e->device,
        .kv = e->kv,
        .n_pages = e->pages.n_pages,
        .host = e->host,
        .rows_max = rows,
        .seqs_max = seqs_of(rows, o),
        .outs_max = outs_of(rows, o),
        .draft_always = o->draft_always,
        .sampler = &e->sampler,
        .events = {.context = e,
                   .admitted = event_admitted,
                   .mask = event_mask,
                   .draft = event_draft,
                   .token = event_token,
                   .complete = event_complete,
                   .finished = event_finished},
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

/* With the lock held. True: somebody asked, and what came meanwhile was taken in. */
static bool asked_answer(engine *e)
{
    if (!e->asked) return false;
    posted_add(e, posted_take(e)); /* whoever asks has waited for what he posted before */
    e->asked->n = scheduler_requests(e->scheduler, e->asked->out, e->asked->n_max);
    e->asked->done = true;
    e->asked = NULL;
    pthread_cond_broadcast(&e->answered);
    return true;
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
        worked = asked_answer(e) || worked;
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

static void condition_open_monotonic(pthread_cond_t *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* Everything before the weights; *out is to be closed also after a failure. */
static status engine_prepare(engine **out, struct memory_plan *plan,
                             const struct engine_options *options, error *err)
{
    engine *e = *out = memory_take(1, sizeof *e);
    if (!e) return fail(err, ERR_MEMORY, "out of memory for the engine");
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->asking, NULL);
    pthread_cond_init(&e->work, NULL);
    condition_open_monotonic(&e->answered);
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
            .kv_type = e->kv_type,
            .demo = e->model->config.demo,
            .n_parameters = model_parameters(e->model),
            .stored_bytes = model_stored_bytes(e->model),
            .kv_tokens = (int64_t)e->pages.n_pages * KV_PAGE_TOKENS,
            .kv_bytes = (size_t)e->pages.n_pages * plan.kv_bytes_per_page,
            .host_tokens = (int64_t)e->pages.n_host_pages * KV_PAGE_TOKENS,
            .host_bytes = (size_t)e->pages.n_host_pages * plan.kv_bytes_per_page,
            .work_bytes = plan.workspace_bytes + weights_bytes(e, options),
            .free_bytes = plan.free_bytes,
        };
    engine_close(e);
    return s;
}

status engine_fit(struct engine_fit *out, const struct engine_options *o, size_t memory_bytes,
                  error *err)
{
    const struct kernels *k = &kernels_cuda;
    struct model_config config;
    struct kv_plan pages;
    status s = model_config_read(&config, o->model_dir, err);
    if (s != OK) return s;
    if (o->kv_type == KV_F32)
        return fail(err, ERR_UNSUPPORTED, "KV as f32: a GPU keeps bf16 or e4m3");
    const struct device_options opened = device_options_of(&config.shape, true, o);
    enum weight_format format = o->weights != WEIGHT_F32 ? o->weights : config.weights;
    *out = (struct engine_fit){.shape = config.shape, .work_bytes = k->workspace_bytes(&opened)};
    for (int32_t i = 0; i < model_tensor_count(&config.shape); i++) {
        struct model_tensor t = model_tensor_at(&config.shape, format, i);
        struct weight_spec spec = model_tensor_spec(&t);
        out->weight_bytes += k->weight_bytes(&spec);
    }
    const struct kv_need need = {.context_tokens = config.shape.max_seq_len,
                                 .page_bytes = pages_bytes(&config.shape, o->kv_type),
                                 .fixed_bytes = out->weight_bytes + out->work_bytes,
                                 .free_bytes = memory_bytes,
                                 .share_free =
                                     o->memory_fraction != 0 ? o->memory_fraction : SHARE_GPU};
    s = rows_check(opened.rows_max, o, err);
    if (s == OK) s = kv_plan_make(&pages, &need, err);
    out->kv_bytes_per_token = need.page_bytes / KV_PAGE_TOKENS;
    if (s == OK) out->kv_tokens = (int64_t)pages.n_pages * KV_PAGE_TOKENS;
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
    if (s == OK && (!options->backend || strcmp(options->backend, "auto") == 0))
        backend_tell(e->kernels, e->device);
    if (s == OK)
        s = quantize_load(e->model, options->weights, options->n_threads, e->kernels, e->device,
                          options->progress, options->progress_context, err);
    if (s == OK) s = e->kernels->kv_open(&e->kv, e->device, e->kv_type, e->pages.n_pages, err);
    if (s == OK) s = host_start(e, options, plan.kv_bytes_per_page, err);
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
    host_pages_close(e->host);
    if (e->kv) e->kernels->kv_close(e->kv);
    model_close(e->model);
    if (e->device) e->kernels->close(e->device);
    rule_book_close(&e->rules);
    sampler_close(&e->sampler);
    tokenizer_close(e->tokenizer);
    pthread_cond_destroy(&e->work);
    pthread_cond_destroy(&e->answered);
    pthread_mutex_destroy(&e->asking);
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

static int32_t extra_of(const engine *e, const struct generation_spec *spec)
{
    return generation_extra(spec, e->rules.order.bytes_max);
}

static status lengths_check(const engine *e, const struct generation_spec *spec, error *err)
{
    int64_t context = e->model->config.shape.max_seq_len, output = spec->max_tokens;
    if (spec->n_prompt < 1 || spec->n_prompt >= (size_t)context)
        return fail(err, ERR_USAGE, "prompt: %zu tokens, expected 1 to %lld (max_seq_len less one)",
                    spec->n_prompt, (long long)context - 1);
    bool silent = spec->priority == PRIORITY_WARM || spec->n_score > 0;
    if (output < 0 || (output == 0 && !silent))
        return fail(err, ERR_USAGE,
                    "max_tokens is %lld, expected at least 1 (0 only to warm or to score)",
                    (long long)output);
    int64_t n_prompt = (int64_t)spec->n_prompt, extra = extra_of(e, spec);
    int64_t room = (int64_t)e->pages.n_pages * KV_PAGE_TOKENS;
    if (extra > 0 && n_prompt + extra >= context)
        return fail(err, ERR_USAGE, "score: %zu ids behind a prompt of %lld tokens, context %lld",
                    spec->n_score, (long long)n_prompt, (long long)context);
    int64_t total = n_prompt + output + extra;
    if (total > context) total = context;
    if (total - (output > 0) > room)
        return fail(err, ERR_USAGE,
                    "prompt of %lld tokens and max_tokens %lld can never fit a KV pool of %lld "
                    "tokens",
                    (long long)n_prompt, (long long)output, (long long)room);
    return OK;
}

static status ids_check(const char *field, const int32_t *ids, size_t n, int32_t vocab, error *err)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return fail(err, ERR_USAGE, "%s[%zu] is %d, expected a token id from 0 to %d", field, i,
                        ids[i], vocab - 1);
    return OK;
}

/* What OpenAI's API does not have: expected output, forbidden ids and brackets, scores. */
static status extensions_check(const engine *e, const struct generation_spec *spec, error *err)
{
    const struct {
        const char *name;
        const int32_t *ids;
        size_t n, n_max;
    } lists[] = {{"predicted", spec->predicted, spec->n_predicted, SEQUENCE_TOKENS_MAX},
                 {"forbid_first", spec->forbid_first, spec->n_forbid_first, FORBID_FIRST_MAX},
                 {"score", spec->score, spec->n_score, SCORE_TOKENS_MAX}};
    unsigned kinds;
    status s = OK;
    for (size_t i = 0; s == OK && i < sizeof lists / sizeof *lists; i++) {
        if (lists[i].n > lists[i].n_max)
            return fail(err, ERR_USAGE, "%s: %zu ids, at most %zu", lists[i].name, lists[i].n,
                        lists[i].n_max);
        s = ids_check(lists[i].name, lists[i].ids, lists[i].n, e->model->config.shape.vocab_size,
                      err);
    }
    if (s == OK && (spec->draft_max < -1 || spec->draft_max > DRAFT_TOKENS_MAX))
        s = fail(err, ERR_USAGE, "draft_max is %d, expected -1 to %d", spec->draft_max,
                 DRAFT_TOKENS_MAX);
    return s == OK ? closing_brackets_parse(&kinds, spec->forbid_unopened, err) : s;
}

static status spec_check(const engine *e, const struct generation_spec *spec, error *err)
{
    int32_t vocab = e->model->config.shape.vocab_size;
    status s = extensions_check(e, spec, err);
    if (s == OK) s = lengths_check(e, spec, err);
    if (s == OK) s = sampler_check(spec, err);
    if (s == OK) s = stops_check(spec, err);
    if (s == OK && spec->must_start_with.size > MUST_START_MAX)
        s = fail(err, ERR_USAGE, "must_start_with: %zu bytes, at most %zu",
                 spec->must_start_with.size, MUST_START_MAX);
    if (s == OK && (unsigned)spec->priority > PRIORITY_WARM)
        s = fail(err, ERR_USAGE, "priority is %d, expected 0 to %d", (int)spec->priority,
                 PRIORITY_WARM);
    return s == OK ? ids_check("prompt", spec->prompt, spec->n_prompt, vocab, err) : s;
}

/* The oldest warm request that waits, of one owner or (NULL) of all, gives its place up. With the
 * lock held. False: there is none. */
static bool waiting_drop_warm(engine *e, const uint64_t *owner)
{
    for (int32_t i = 0; i < e->n_waiting; i++) {
        struct sequence *q = &e->waiting[i]->sequence;
        if (q->priority != PRIORITY_WARM || (owner && q->owner != *owner)) continue;
        atomic_store(&q->cancelled, true);
        e->n_waiting--;
        memmove(e->waiting + i, e->waiting + i + 1,
                (size_t)(e->n_waiting - i) * sizeof(generation *));
        return true;
    }
    return false;
}

/* Is there room among those that wait, if need be a warm one's? With the lock held. */
static status room_make(engine *e, uint64_t owner, error *err)
{
    int32_t n_own = 0;
    for (int32_t i = 0; i < e->n_waiting; i++) n_own += e->waiting[i]->sequence.owner == owner;
    bool own_full = n_own >= ENGINE_QUEUE_OWNER_MAX, full = e->n_waiting >= ENGINE_QUEUE_MAX;
    if (own_full && !waiting_drop_warm(e, &owner)) {
        e->n_refused++;
        return fail(err, ERR_BUSY, "%d requests of yours are waiting already", n_own);
    }
    if (full && !own_full && !waiting_drop_warm(e, NULL)) {
        e->n_refused++;
        return fail(err, ERR_BUSY, "%d requests are waiting already", e->n_waiting);
    }
    return OK;
}

/* With the lock held. */
static status post(engine *e, generation *g, error *err)
{
    if (e->stats.device_failed) return fail(err, ERR_DEVICE, "the device has failed");
    if (e->closing) return fail(err, ERR_CANCELLED, "the engine is closing");
    status s = room_make(e, g->sequence.owner, err);
    if (s != OK) return s;
    e->waiting[e->n_waiting++] = g;
    *e->posted_end = g;
    e->posted_end = &g->next;
    e->n_posted++;
    pthread_cond_signal(&e->work);
    return OK;
}

status engine_submit(engine *e, const struct generation_spec *spec, generation **out, error *err)
{
    generation *g = NULL;
    *out = NULL;
    status s = spec_check(e, spec, err);
    if (s == OK)
        s = generation_open(&g, e, e->tokenizer, e->model->config.shape.max_seq_len, spec,
                            extra_of(e, spec), err);
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
    out->refused_busy = e->n_refused;
    pthread_mutex_unlock(&e->lock);
}

size_t engine_requests(engine *e, struct engine_request_info *out, size_t n_max)
{
    struct request_list list = {out, n_max, 0, false};
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += REQUESTS_WAIT_S;
    pthread_mutex_lock(&e->asking);
    pthread_mutex_lock(&e->lock);
    e->asked = &list; /* cppcheck-suppress autoVariables ; taken back below */
    e->woken = true;
    pthread_cond_signal(&e->work);
    while (!list.done)
        if (pthread_cond_timedwait(&e->answered, &e->lock, &until) == ETIMEDOUT) break;
    e->asked = NULL;
    pthread_mutex_unlock(&e->lock);
    pthread_mutex_unlock(&e->asking);
    return list.n;
}
