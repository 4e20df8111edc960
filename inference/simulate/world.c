/* Requests come by their time, the scheduler steps, and the clock jumps where nobody works. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "inference/kv_pages.h"
#include "inference/scheduler.h"
#include "inference/simulate/simulate.h"

enum { SEQS_MAX = 64, CHECK_EVERY = 64 };

struct entry {
    struct sequence sequence; /* first: one is the other */
    struct world_request request;
    struct world_outcome outcome;
    int64_t launches;   /* when it came */
    bool came, waiting; /* waiting: not admitted so far */
};

struct world {
    const struct table_costs *costs;
    device *device;
    model model;
    uint32_t mask[2];
    sampler sampler;
    scheduler *scheduler;
    struct entry **all; /* in the order of their times, once it runs */
    size_t n, n_max, n_came, n_live;
    int32_t queue_max, n_waiting;
    int64_t launches, n_refused;
};

static int64_t on_clock(void *context) { return table_device_now_us(((world *)context)->device); }

static void waiting_end(world *w, struct entry *e)
{
    w->n_waiting -= e->waiting;
    e->waiting = false;
}

static void on_admitted(void *context, struct sequence *q)
{
    waiting_end(context, (struct entry *)q);
    ((struct entry *)q)->outcome.n_cached = q->n_cached;
}

/* A lone step for this token, beside what it took in company. */
static enum finish_reason on_token(void *context, struct sequence *q,
                                   const struct sample_result *result, const char **why)
{
    world *w = context;
    struct entry *e = (struct entry *)q;
    (void)result, (void)why;
    if (e->outcome.n_output++ == 0) {
        e->outcome.first_token_us = table_device_now_us(w->device);
        e->outcome.launches_before = (int32_t)(w->launches - e->launches);
        return FINISH_NONE;
    }
    struct step_shape lone = {1, 1, 1, q->n_tokens - 1};
    e->outcome.lone_us += (int64_t)kernels_table.step_cost(w->device, &lone);
    return FINISH_NONE;
}

static void on_finished(void *context, struct sequence *q, enum finish_reason reason,
                        const char *why)
{
    world *w = context;
    struct entry *e = (struct entry *)q;
    (void)why;
    waiting_end(w, e);
    e->outcome.end = reason == FINISH_LENGTH ? WORLD_DONE : WORLD_CANCELLED;
    e->outcome.finished_us = table_device_now_us(w->device);
    memory_free(q->tokens);
    memory_free(q->pages);
    q->tokens = q->pages = NULL;
    w->n_live--;
}

status world_open(world **out, const struct table_costs *costs, int32_t queue_max, error *err)
{
    world *w = *out = memory_take(1, sizeof *w);
    if (!w) return fail(err, ERR_MEMORY, "out of memory for a simulation");
    w->costs = costs;
    w->queue_max = queue_max;
    w->model.config.shape = costs->shape;
    w->model.kernels = &kernels_table;
    w->mask[0] = w->mask[1] = UINT32_MAX;
    w->sampler = (sampler){w->mask, 1, 2};
    status s = table_device_open(&w->device, costs, err);
    struct scheduler_options options = {
        .model = &w->model,
        .device = w->device,
        .n_pages = (int32_t)(costs->kv_tokens / KV_PAGE_TOKENS),
        .rows_max = costs->rows_max,
        .seqs_max = SEQS_MAX,
        .sampler = &w->sampler,
        .events = {.context = w,
                   .admitted = on_admitted,
                   .token = on_token,
                   .finished = on_finished},
        .now_us = on_clock,
    };
    if (s == OK) s = scheduler_open(&w->scheduler, &options, err);
    if (s != OK) {
        world_close(w);
        *out = NULL;
    }
    return s;
}

void world_close(world *w)
{
    if (!w) return;
    if (w->scheduler) scheduler_end_all(w->scheduler, FINISH_CANCELLED, NULL);
    scheduler_close(w->scheduler);
    table_device_close(w->device);
    for (size_t i = 0; i < w->n; i++) memory_free(w->all[i]);
    memory_free(w->all);
    memory_free(w);
}

static bool entries_grow(world *w)
{
    if (w->n < w->n_max) return true;
    size_t n_max = w->n_max ? 2 * w->n_max : 64;
    struct entry **all = memory_take(n_max, sizeof *all);
    if (!all) return false;
    if (w->n) memcpy(all, w->all, w->n * sizeof *all);
    memory_free(w->all);
    w->all = all;
    w->n_max = n_max;
    return true;
}

/* Kept by time; what comes together stays in order. Its number is that of its coming. */
status world_add(world *w, const struct world_request *request, size_t *number, error *err)
{
    struct entry *e = entries_grow(w) ? memory_take(1, sizeof *e) : NULL;
    if (!e) return fail(err, ERR_MEMORY, "out of memory for %zu requests", w->n);
    e->request = *request;
    if (number) *number = w->n;
    w->all[w->n++] = e;
    return OK;
}

static status entry_start(world *w, struct entry *e, error *err)
{
    const struct world_request *r = &e->request;
    size_t n_max = (size_t)r->n_prompt + (size_t)r->n_output;
    e->came = true;
    e->launches = w->launches;
    if (w->queue_max && w->n_waiting >= w->queue_max) {
        e->outcome.end = WORLD_REFUSED;
        w->n_refused++;
        return OK;
    }
    struct sequence *q = &e->sequence;
    q->tokens = memory_take(n_max, sizeof *q->tokens);
    q->pages = memory_take(2 * (size_t)kv_pages_for_tokens((int64_t)n_max), sizeof *q->pages);
    if (!q->tokens || !q->pages) {
        memory_free(q->tokens);
        memory_free(q->pages);
        return fail(err, ERR_MEMORY, "out of memory for a request of %zu tokens", n_max);
    }
    for (int32_t i = 0; i < r->n_prompt; i++)
        q->tokens[i] =
            (int32_t)(random_at(r->document, (uint64_t)i) % (uint64_t)w->costs->shape.vocab_size);
    q->n_prompt = r->n_prompt;
    q->n_tokens_max = (int32_t)n_max;
    q->priority = r->priority;
    q->owner = r->owner;
    q->sample = (struct sample_row){.top_p = 1, .repetition_penalty = 1, .mask = 0};
    q->submitted_us = r->at_us;
    e->waiting = true;
    w->n_waiting++;
    w->n_live++;
    scheduler_add(w->scheduler, q);
    return OK;
}

/* Starts and cancels whose time has come. Returns when the next one's will; INT64_MAX: never. */
static status due_start(world *w, int64_t *next_us, error *err)
{
    int64_t now = table_device_now_us(w->device);
    *next_us = INT64_MAX;
    for (size_t i = 0; i < w->n; i++) {
        struct entry *e = w->all[i];
        int64_t cancel = e->request.cancel_us;
        if (!e->came && e->request.at_us <= now && entry_start(w, e, err) != OK) return err->code;
        if (!e->came && e->request.at_us < *next_us) *next_us = e->request.at_us;
        if (!e->came || e->outcome.end != WORLD_WAITS || cancel == 0) continue;
        if (cancel <= now)
            atomic_store(&e->sequence.cancelled, true);
        else if (cancel < *next_us)
            *next_us = cancel;
    }
    return OK;
}

status world_run(world *w, int64_t until_us, error *err)
{
    for (;;) {
        int64_t next_us;
        status s = due_start(w, &next_us, err);
        if (s != OK) return s;
        if (until_us && table_device_now_us(w->device) >= until_us) return OK;
        bool worked = scheduler_step(w->scheduler);
        w->launches += worked;
        if (scheduler_failed(w->scheduler)) return fail(err, ERR_DEVICE, "the device has failed");
        if (w->launches % CHECK_EVERY == 0 && !scheduler_check(w->scheduler, err)) return err->code;
        if (worked) continue;
        if (until_us && next_us > until_us) next_us = until_us;
        if (next_us == INT64_MAX) return OK;
        table_device_wait(w->device, next_us);
    }
}

int64_t world_now_us(const world *w) { return table_device_now_us(w->device); }
size_t world_count(const world *w) { return w->n; }
int64_t world_row_layers(const world *w) { return table_device_row_layers(w->device); }

const struct world_request *world_request(const world *w, size_t number)
{
    return &w->all[number]->request;
}

const struct world_outcome *world_outcome(const world *w, size_t number)
{
    return &w->all[number]->outcome;
}

void world_stats(const world *w, struct engine_stats *out)
{
    scheduler_stats(w->scheduler, out);
    out->refused_busy = w->n_refused;
}

double world_rate_share(const world *w, size_t number)
{
    const struct world_outcome *o = world_outcome(w, number);
    int64_t end = o->finished_us ? o->finished_us : world_now_us(w);
    return o->n_output < 2 ? (double)NAN : (double)o->lone_us / (double)(end - o->first_token_us);
}
