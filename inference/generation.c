/* All arrays have their full size from the start: nothing is allocated per token but the growth of
 * the byte buffer, and what a reader was given never moves. */
#include "inference/generation.h"

#include <errno.h>
#include <math.h>
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

/* Also of none: NULL means no memory. */
static int32_t *ids_copy(const int32_t *ids, size_t n)
{
    int32_t *copy = memory_take(n + 1, sizeof *copy);
    if (copy && n) memcpy(copy, ids, n * sizeof *copy);
    return copy;
}

static status rules_copy(struct output_rules *r, const struct generation_spec *spec)
{
    error err;
    r->must_start.bytes = memory_copy(spec->must_start_with.bytes, spec->must_start_with.size);
    r->must_start.size = spec->must_start_with.size;
    r->forbid_first = ids_copy(spec->forbid_first, spec->n_forbid_first);
    r->n_forbid_first = spec->n_forbid_first;
    if (!r->must_start.bytes || !r->forbid_first) return ERR_MEMORY;
    return closing_brackets_parse(&r->unopened, spec->forbid_unopened, &err);
}

/* Guesses are for outputs that may go on behind one token. */
static status draft_begin(generation *g, const struct generation_spec *spec, error *err)
{
    const struct sequence *s = &g->sequence;
    if (spec->draft_max < 0 || s->n_tokens_max - s->n_prompt < 2) return OK;
    g->draft_max = spec->draft_max ? spec->draft_max : DRAFT_TOKENS_MAX;
    status rc = draft_open(&g->draft, s->tokens, s->n_prompt, s->n_tokens_max, spec->predicted,
                           (int32_t)spec->n_predicted, err);
    g->drafts = rc == OK;
    return rc;
}

static status arrays_take(generation *g, const struct generation_spec *spec)
{
    struct sequence *s = &g->sequence;
    int32_t n_kv = s->n_tokens_max + s->n_extra;
    size_t n_max = (size_t)s->n_tokens_max, n_output = n_max - spec->n_prompt;
    g->tokens = s->tokens = memory_take((size_t)n_kv, sizeof *s->tokens);
    s->pages = memory_take(2 * (size_t)kv_pages_for_tokens(n_kv), sizeof *s->pages);
    g->ends = memory_take(n_output, sizeof *g->ends);
    g->logprobs = memory_take(n_output, sizeof *g->logprobs);
    if (spec->n_logprobs > 0) g->details = memory_take(n_output, sizeof *g->details);
    if (!s->tokens || !s->pages || !g->ends || !g->logprobs ||
        (spec->n_logprobs > 0 && !g->details))
        return ERR_MEMORY;
    memcpy(s->tokens, spec->prompt, spec->n_prompt * sizeof *s->tokens);
    g->ids = s->tokens + spec->n_prompt;
    g->n_score = (int32_t)spec->n_score;
    g->score = ids_copy(spec->score, spec->n_score);
    if (g->n_score > 0) g->score_tokens = memory_take((size_t)n_kv, sizeof *g->score_tokens);
    if (!g->score || (g->n_score > 0 && !g->score_tokens)) return ERR_MEMORY;
    status rc = rules_copy(&g->rules, spec);
    return rc == OK ? stops_copy(g, spec) : rc;
}

/* No output: the ids to score stand behind the prompt from the start. */
static void score_begin(generation *g)
{
    struct sequence *s = &g->sequence;
    memcpy(s->tokens + s->n_prompt, g->score, (size_t)g->n_score * sizeof *g->score);
    s->score_from = s->n_prompt;
    s->n_prompt = s->n_tokens_max = s->n_prompt + g->n_score - 1;
    s->n_extra = 0;
    s->finish = FINISH_LENGTH;
}

static void condition_open(pthread_cond_t *c)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* The rest of a token cut by a stop string has fewer bytes than it had, and no more tokens. */
int32_t generation_extra(const struct generation_spec *spec, size_t token_bytes_max)
{
    if (spec->n_score == 0) return 0;
    return (int32_t)(spec->n_score + (spec->n_stops ? token_bytes_max : 0));
}

status generation_open(generation **out, engine *e, const tokenizer *t, int32_t max_seq_len,
                       const struct generation_spec *spec, int32_t n_extra, error *err)
{
    generation *g = memory_take(1, sizeof *g);
    *out = NULL;
    if (!g) return fail(err, ERR_MEMORY, "out of memory for a request");
    int32_t n_prompt = (int32_t)spec->n_prompt, room = max_seq_len - n_prompt - n_extra;
    g->sequence = (struct sequence){
        .n_prompt = n_prompt,
        .n_tokens_max = n_prompt + (spec->max_tokens < room ? spec->max_tokens : room),
        .priority = spec->priority,
        .owner = spec->owner,
        .sample = sampler_row(spec),
        .n_extra = n_extra,
        .submitted_us = clock_us(),
    };
    g->engine = e;
    g->tokenizer = t;
    g->ignore_stop_ids = spec->ignore_stop_ids;
    atomic_init(&g->holders, 2);
    pthread_mutex_init(&g->lock, NULL);
    condition_open(&g->changed);
    g->stats.n_prompt = n_prompt;
    g->stats.score_logprob = NAN;
    if (arrays_take(g, spec) != OK || draft_begin(g, spec, err) != OK) {
        atomic_store(&g->holders, 1);
        generation_release(g);
        return fail(err, ERR_MEMORY, "out of memory for a request of %d tokens",
                    n_prompt + spec->max_tokens);
    }
    if (spec->max_tokens == 0 && spec->n_score > 0) score_begin(g);
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
    memory_free((void *)(uintptr_t)g->rules.must_start.bytes);
    memory_free((void *)(uintptr_t)g->rules.forbid_first);
    if (g->drafts) draft_close(&g->draft);
    memory_free(g->score);
    memory_free(g->score_tokens);
    memory_free(g->tokens);
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
    g->stats.drafted = s->n_drafted;
    g->stats.accepted = s->n_accepted;
    g->stats.score_logprob = s->scored ? s->score_logprob : (double)NAN;
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

bool generation_mask(const generation *g, const rule_book *book, int32_t n_ahead, uint32_t *mask)
{
    struct output_state state = g->said;
    const int32_t *ahead = g->ids + g->n_ids;
    for (int32_t i = 0; i < n_ahead; i++) output_state_put(&state, token_bytes(g, ahead[i]));
    return output_rules_mask(book, &g->rules, &state, mask);
}

int32_t generation_draft(generation *g, int32_t n_max, double *agreement)
{
    *agreement = 0;
    if (!g->drafts) return 0;
    return draft_fill(&g->draft, g->ids + g->n_ids, n_max < g->draft_max ? n_max : g->draft_max,
                      agreement);
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
    output_state_put(&g->said, bytes);
    if (g->drafts) draft_put(&g->draft);

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

/* No stop string any more: what was held back is output. With the lock held. */
static void output_flush(generation *g)
{
    size_t before = g->ready.size;
    stop_flush(&g->stops, &g->ready);
    g->n_bytes_released += g->ready.size - before;
    ids_release(g);
}

/* The tokens whose bytes were all released, and the released bytes of the next one, encoded. The
 * number of tokens; 0: out of memory. */
static int32_t context_make(const generation *g, int32_t *out)
{
    size_t n = 0, n_prompt = (size_t)g->stats.n_prompt;
    while (n < g->n_ids && g->ends[n] <= g->n_bytes_released) n++;
    size_t begin = n ? g->ends[n - 1] : 0;
    if (n == g->n_ids && n && !g->ignore_stop_ids && tokenizer_is_stop(g->tokenizer, g->ids[n - 1]))
        n--;
    memcpy(out, g->tokens, (n_prompt + n) * sizeof *out);
    if (begin == g->n_bytes_released) return (int32_t)(n_prompt + n);
    token_list rest = {0};
    text cut = text_slice(token_bytes(g, g->ids[n]), 0, g->n_bytes_released - begin);
    tokenizer_encode(g->tokenizer, &rest, cut);
    if (!rest.failed) memcpy(out + n_prompt + n, rest.ids, rest.n * sizeof *out);
    int32_t n_all = rest.failed ? 0 : (int32_t)(n_prompt + n + rest.n);
    token_list_free(&rest);
    return n_all;
}

bool generation_complete(generation *g, struct score_run *run)
{
    if (g->n_score == 0) return false;
    pthread_mutex_lock(&g->lock);
    output_flush(g);
    bool failed = g->ready.failed;
    pthread_cond_signal(&g->changed);
    pthread_mutex_unlock(&g->lock);
    int32_t n = failed ? 0 : context_make(g, g->score_tokens);
    if (n == 0) return false;
    memcpy(g->score_tokens + n, g->score, (size_t)g->n_score * sizeof *g->score);
    *run = (struct score_run){g->score_tokens, n, n + g->n_score};
    return true;
}

void generation_end(generation *g, enum finish_reason reason, const char *why)
{
    pthread_mutex_lock(&g->lock);
    output_flush(g);
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
    piece->ids = g->ids + g->n_read;
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
