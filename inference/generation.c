/* All arrays have their full size from the start: nothing is allocated per token but the growth of
 * the byte buffer, and what a reader was given never moves. */
#include "inference/generation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "inference/kv_pages.h"

static status stops_copy(generation *g, const struct generation_spec *spec)
{
    text *stops = memory_take(spec->n_stops, sizeof *stops);
    if (!stops) return ERR_MEMORY;
    g->stops.stops = stops;
    for (size_t i = 0; i < spec->n_stops; i++) {
        stops[i].bytes = memory_copy(spec->stops[i].bytes, spec->stops[i].size);
        stops[i].size = spec->stops[i].size;
        if (!stops[i].bytes) return ERR_MEMORY;
        g->stops.n_stops = i + 1;
    }
    return OK;
}

static status arrays_take(generation *g, const struct generation_spec *spec)
{
    struct sequence *s = &g->sequence;
    size_t n_max = (size_t)s->n_tokens_max, n_output = n_max - spec->n_prompt;
    s->tokens = memory_take(n_max, sizeof *s->tokens);
    s->pages = memory_take(2 * (size_t)kv_pages_for_tokens(s->n_tokens_max), sizeof *s->pages);
    g->ends = memory_take(n_output, sizeof *g->ends);
    g->logprobs = memory_take(n_output, sizeof *g->logprobs);
    if (spec->n_logprobs > 0) g->details = memory_take(n_output, sizeof *g->details);
    if (!s->tokens || !s->pages || !g->ends || !g->logprobs ||
        (spec->n_logprobs > 0 && !g->details))
        return ERR_MEMORY;
    memcpy(s->tokens, spec->prompt, spec->n_prompt * sizeof *s->tokens);
    g->must_start.bytes = memory_copy(spec->must_start_with.bytes, spec->must_start_with.size);
    g->must_start.size = spec->must_start_with.size;
    if (!g->must_start.bytes) return ERR_MEMORY;
    return stops_copy(g, spec);
}

static void condition_open(pthread_cond_t *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

status generation_open(generation **out, engine *e, const tokenizer *t, int32_t max_seq_len,
                       const struct generation_spec *spec, error *err)
{
    generation *g = memory_take(1, sizeof *g);
    *out = NULL;
    if (!g) return fail(err, ERR_MEMORY, "out of memory for a request");
    int32_t n_prompt = (int32_t)spec->n_prompt, room = max_seq_len - n_prompt;
    g->sequence = (struct sequence){
        .n_prompt = n_prompt,
        .n_tokens_max = n_prompt + (spec->max_tokens < room ? spec->max_tokens : room),
        .priority = spec->priority,
        .owner = spec->owner,
        .sample = sampler_row(spec),
        .submitted_us = clock_us(),
    };
    g->engine = e;
    g->tokenizer = t;
    g->ignore_stop_ids = spec->ignore_stop_ids;
    atomic_init(&g->holders, 2);
    pthread_mutex_init(&g->lock, NULL);
    condition_open(&g->changed);
    g->stats.n_prompt = n_prompt;
    if (arrays_take(g, spec) != OK) {
        atomic_store(&g->holders, 1);
        generation_release(g);
        return fail(err, ERR_MEMORY, "out of memory for a request of %d tokens",
                    n_prompt + spec->max_tokens);
    }
    *out = g;
    return OK;
}

void generation_release(generation *g)
{
    if (atomic_fetch_sub(&g->holders, 1) != 1) return;
    for (size_t i = 0; i < g->stops.n_stops; i++)
        memory_free((void *)(uintptr_t)g->stops.stops[i].bytes);
    memory_free((void *)(uintptr_t)g->stops.stops);
    stop_free(&g->stops);
    memory_free((void *)(uintptr_t)g->must_start.bytes);
    memory_free(g->sequence.tokens);
    memory_free(g->sequence.pages);
    memory_free(g->ends);
    memory_free(g->logprobs);
    memory_free(g->details);
    buffer_free(&g->ready);
    buffer_free(&g->reading);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    memory_free(g);
}

/* With the lock held. */
static void stats_update(generation *g)
{
    const struct sequence *s = &g->sequence;
    int64_t now = s->finished_us ? s->finished_us : clock_us();
    int64_t admitted = s->admitted_us ? s->admitted_us : now;
    int64_t first = s->first_token_us ? s->first_token_us : now;
    g->stats.queue_us = admitted - s->submitted_us;
    g->stats.prefill_us = first - admitted;
    g->stats.decode_us = now - first;
    g->stats.n_cached = s->n_cached;
    g->stats.n_output = (int64_t)g->n_ids;
}

void generation_admitted(generation *g)
{
    pthread_mutex_lock(&g->lock);
    stats_update(g);
    pthread_mutex_unlock(&g->lock);
}

/* Ids are released with the last of their bytes. With the lock held. */
static void ids_release(generation *g)
{
    while (g->n_ready < g->n_ids && g->ends[g->n_ready] <= g->n_bytes_released) g->n_ready++;
}

static text token_bytes(const generation *g, int32_t id)
{
    bool silent = tokenizer_is_special(g->tokenizer, id);
    return silent ? (text){NULL, 0} : tokenizer_token_bytes(g->tokenizer, id);
}

/* A stop string begins inside a token: that token is behind the bytes before it, what follows is
 * not. With the lock held. */
static void ids_release_to_stop(generation *g)
{
    ids_release(g);
    size_t begin = g->n_ready ? g->ends[g->n_ready - 1] : 0;
    if (g->n_ready < g->n_ids && begin < g->n_bytes_released) g->n_ready++;
}

text generation_must_say(const generation *g)
{
    return text_slice(g->must_start, g->n_bytes, g->must_start.size);
}

enum finish_reason generation_put_token(generation *g, const struct sample_result *result,
                                        const char **why)
{
    bool stop_id = !g->ignore_stop_ids && tokenizer_is_stop(g->tokenizer, result->id);
    text bytes = stop_id ? (text){NULL, 0} : token_bytes(g, result->id);
    g->logprobs[g->n_ids] = result->logprob;
    if (g->details) g->details[g->n_ids] = *result;
    g->n_bytes += bytes.size;
    g->ends[g->n_ids] = g->n_bytes;

    pthread_mutex_lock(&g->lock);
    g->n_ids++;
    size_t before = g->ready.size;
    bool stopped = stop_push(&g->stops, bytes, &g->ready);
    bool failed = g->ready.failed || g->stops.held.failed;
    bool unread = g->ready.size > ENGINE_UNREAD_MAX;
    g->n_bytes_released += g->ready.size - before;
    if (stopped)
        ids_release_to_stop(g);
    else
        ids_release(g);
    stats_update(g);
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);

    if (failed) *why = "out of memory for output";
    if (unread) *why = "the reader left too much output unread";
    if (failed || unread) return FINISH_ERROR;
    return stopped || stop_id ? FINISH_STOP : FINISH_NONE;
}

void generation_end(generation *g, enum finish_reason reason, const char *why)
{
    pthread_mutex_lock(&g->lock);
    size_t before = g->ready.size;
    stop_flush(&g->stops, &g->ready);
    g->n_bytes_released += g->ready.size - before;
    ids_release(g);
    g->finish = reason;
    snprintf(g->error, sizeof g->error, "%s", why ? why : "");
    stats_update(g);
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    generation_release(g);
}

/* With the lock held: waits until there is something to read. */
static bool output_wait(generation *g, int timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    while (g->finish == FINISH_NONE && g->ready.size == 0 && g->n_ready == g->n_read)
        if (pthread_cond_timedwait(&g->changed, &g->lock, &until) == ETIMEDOUT) break;
    return g->finish != FINISH_NONE || g->ready.size > 0 || g->n_ready > g->n_read;
}

bool generation_next(generation *g, struct generation_piece *piece, int timeout_ms)
{
    *piece = (struct generation_piece){0};
    if (g->finish_read) return false;
    buffer_clear(&g->reading);
    pthread_mutex_lock(&g->lock);
    bool there = output_wait(g, timeout_ms > 0 ? timeout_ms : 0);
    buffer swap = g->reading;
    g->reading = g->ready;
    g->ready = swap;
    size_t n_ready = g->n_ready;
    piece->finish = g->finish;
    pthread_mutex_unlock(&g->lock);
    if (!there) return false;
    piece->bytes = buffer_text(&g->reading);
    piece->n_ids = n_ready - g->n_read;
    piece->ids = g->sequence.tokens + g->sequence.n_prompt + g->n_read;
    piece->logprobs = g->logprobs + g->n_read;
    piece->details = g->details ? g->details + g->n_read : NULL;
    g->n_read = n_ready;
    g->finish_read = piece->finish != FINISH_NONE;
    return true;
}

const char *generation_error(const generation *g) { return g->error; }

void generation_stats(const generation *g, struct generation_stats *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&g->lock;
    pthread_mutex_lock(lock);
    *out = g->stats;
    pthread_mutex_unlock(lock);
}
