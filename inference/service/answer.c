/* submit -> pump -> write. A pump waits for the next piece of any choice, and between two waits
 * looks whether the peer is still there, the deadline has passed or the process is to stop. */
#include "inference/service/answer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/utf.h"
#include "inference/service/access.h"
#include "inference/service/json_write.h"
#include "inference/service/routes.h"

/* A closed connection is noticed within one wait; output wakes the wait at once. */
enum { WAIT_MS = 40, WAIT_SHARED_MS = 5, PING_US = 10000000 };

static status ids_check(const struct answer *a, const token_list *ids, struct request_fault *fault)
{
    const tokenizer *t = engine_tokenizer(a->engine);
    const struct model_shape *shape = engine_shape(a->engine);
    const char *name = a->form->chat ? "messages" : "prompt";
    snprintf(fault->param, sizeof fault->param, "%s", name);
    if (ids->failed) return fail(&fault->error, ERR_MEMORY, "%s: out of memory", name);
    if (ids->n == 0)
        return fail(&fault->error, ERR_USAGE, "%s: empty, expected at least one token", name);
    if (ids->n >= (size_t)shape->max_seq_len)
        return fail(&fault->error, ERR_LIMIT,
                    "%s: %zu tokens, at most %d fit into the context of %d with an answer", name,
                    ids->n, shape->max_seq_len - 1, shape->max_seq_len);
    for (size_t i = 0; i < ids->n; i++) {
        int32_t id = ids->ids[i];
        snprintf(fault->param, sizeof fault->param, "%s[%zu]", name, i);
        if (id < 0 || id >= shape->vocab_size)
            return fail(&fault->error, ERR_USAGE, "%s: id %d, expected 0 to %d", fault->param, id,
                        shape->vocab_size - 1);
        if (tokenizer_is_dead(t, id))
            return fail(&fault->error, ERR_USAGE, "%s: id %d is not used by this model",
                        fault->param, id);
    }
    return OK;
}

static struct generation_spec spec_of(const struct answer *a, const token_list *ids, size_t choice)
{
    const struct completion_request *r = &a->request;
    int64_t most = engine_shape(a->engine)->max_seq_len;
    int64_t wanted = r->max_tokens >= 0 ? r->max_tokens : a->form->default_max_tokens;
    struct generation_spec spec = {
        .prompt = ids->ids,
        .n_prompt = ids->n,
        .max_tokens = (int32_t)(wanted < most ? wanted : most),
        .priority = r->priority,
        .owner = a->entry.owner,
        .temperature = (float)r->temperature,
        .top_k = r->top_k > 0 ? (int32_t)r->top_k : 0,
        /* 0 keeps the most probable token alone; for the engine 0 means off. */
        .top_p = r->top_p > 0 ? (float)r->top_p : 1e-9f,
        .min_p = (float)r->min_p,
        .repetition_penalty = (float)r->repetition_penalty,
        .n_logprobs = r->n_logprobs > 0 ? (int32_t)r->n_logprobs : 0,
        .stops = r->stops,
        .n_stops = r->n_stops,
        .must_start_with = buffer_text(&r->must_start_with),
        .ignore_stop_ids = r->ignore_eos,
        .predicted = a->predicted.ids,
        .n_predicted = a->predicted.n,
        .draft_max = r->draft ? 0 : -1,
        .forbid_first = r->forbid_first.ids,
        .n_forbid_first = r->forbid_first.n_ids,
        .forbid_unopened = r->forbid_unopened,
        .score = r->score.ids,
        .n_score = r->score.n_ids,
    };
    uint64_t seed = r->has_seed ? r->seed : random_at(a->service->random, (uint64_t)clock_us());
    spec.seed = choice == 0 ? seed : random_at(seed, choice);
    return spec;
}

/* Refused though it is not: it was the caller's own share of it that is full. */
static bool queue_is_full(engine *e)
{
    struct engine_stats stats;
    engine_stats(e, &stats);
    return stats.n_queued >= ENGINE_QUEUE_MAX;
}

static status prompt_submit(struct answer *a, size_t i, struct request_fault *fault)
{
    token_list ids = {0};
    size_t n = (size_t)a->request.n_choices;
    status s = a->form->prompt(&ids, a, i, fault);
    if (s == OK) s = ids_check(a, &ids, fault);
    size_t n_prompt = ids.n;
    for (size_t k = 0; s == OK && k < n; k++) {
        const struct request_prompt *behind = &a->request.score_behind[k];
        ids.n = n_prompt;
        if (a->request.n_score_behind) token_list_put_all(&ids, behind->ids, behind->n_ids);
        s = ids.n > n_prompt || ids.failed ? ids_check(a, &ids, fault) : OK;
        if (s != OK) continue;
        struct generation_spec spec = spec_of(a, &ids, i * n + k);
        fault->param[0] = 0;
        s = engine_submit(a->engine, &spec, &a->choices[i * n + k].g, &fault->error);
        if (s == ERR_BUSY) fault->own_limit = !queue_is_full(a->engine);
        if (s != OK) continue;
        a->n_choices++;
        requests_submitted(&a->service->requests, &a->entry, a->choices[i * n + k].g);
    }
    token_list_free(&ids);
    return s;
}

static status model_check(const struct answer *a, struct request_fault *fault)
{
    text wanted = a->request.model;
    const char *ours = engine_model_name(a->engine);
    if (wanted.size == 0 || text_is(wanted, ours)) return OK;
    snprintf(fault->param, sizeof fault->param, "model");
    return fail(&fault->error, ERR_USAGE, "model: found \"%.*s\", this engine serves \"%s\"",
                (int)(wanted.size < 64 ? wanted.size : 64), wanted.bytes, ours);
}

/* Takes its place among the answers under way, perhaps that of an older one. */
static status answer_enter(struct answer *a, struct request_fault *fault)
{
    a->entry.session = a->request.session;
    a->entry.owner = owner_salted(a->entry.caller.owner, a->request.cache_salt);
    a->entry.priority = a->request.priority;
    a->entry.id = a->id;
    int n = requests_enter(&a->service->requests, &a->entry, a->request.supersedes, &fault->error);
    if (n > 0) atomic_fetch_add(&a->service->meters.superseded, (uint64_t)n);
    fault->own_limit = n < 0;
    return n < 0 ? ERR_BUSY : OK;
}

/* What is expected beyond the longest answer is of no use, and no reason to refuse. */
static status predicted_take(struct answer *a, struct request_fault *fault)
{
    const struct request_prompt *p = &a->request.predicted;
    size_t most = (size_t)engine_shape(a->engine)->max_seq_len;
    if (p->ids)
        token_list_put_all(&a->predicted, p->ids, p->n_ids);
    else
        tokenizer_encode(engine_tokenizer(a->engine), &a->predicted, p->bytes);
    if (a->predicted.n > most) a->predicted.n = most;
    if (!a->predicted.failed) return OK;
    snprintf(fault->param, sizeof fault->param, "dbrx.predicted");
    return fail(&fault->error, ERR_MEMORY, "dbrx.predicted: out of memory");
}

static status answer_submit(struct answer *a, struct request_fault *fault)
{
    status s = predicted_take(a, fault);
    if (s == OK) s = answer_enter(a, fault);
    a->n_prompts = a->form->chat ? 1 : a->request.n_prompts;
    for (size_t i = 0; s == OK && i < a->n_prompts; i++) s = prompt_submit(a, i, fault);
    return s;
}

static bool log_reserve(struct token_log *log, size_t n, bool detailed)
{
    if (log->n + n <= log->room) return true;
    size_t room = 2 * (log->n + n);
    int32_t *ids = memory_resize(log->ids, room, sizeof *ids);
    if (ids) log->ids = ids;
    float *logprobs = memory_resize(log->logprobs, room, sizeof *logprobs);
    if (logprobs) log->logprobs = logprobs;
    struct sample_result *details = NULL;
    if (detailed) details = memory_resize(log->details, room, sizeof *details);
    if (details) log->details = details;
    log->failed = log->failed || !ids || !logprobs || (detailed && !details);
    if (!log->failed) log->room = room;
    return !log->failed;
}

static void log_put(struct token_log *log, const struct generation_piece *piece)
{
    size_t n = piece->n_ids;
    if (n == 0 || !log_reserve(log, n, piece->details != NULL)) return;
    memcpy(log->ids + log->n, piece->ids, n * sizeof *log->ids);
    memcpy(log->logprobs + log->n, piece->logprobs, n * sizeof *log->logprobs);
    if (piece->details) memcpy(log->details + log->n, piece->details, n * sizeof *log->details);
    log->n += n;
}

static bool choice_take(struct answer *a, struct choice *c, int timeout_ms)
{
    struct generation_piece piece;
    if (c->finish != FINISH_NONE || !generation_next(c->g, &piece, timeout_ms)) return false;
    utf8_hold_put(&c->hold, &c->text, piece.bytes);
    if (a->request.n_logprobs >= 0) log_put(&c->log, &piece);
    c->finish = piece.finish;
    if (c->finish != FINISH_NONE) utf8_hold_end(&c->hold, &c->text);
    return true;
}

static size_t choices_unfinished(const struct answer *a)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_choices; i++) n += a->choices[i].finish == FINISH_NONE;
    return n;
}

static void answer_cancel(struct answer *a)
{
    for (size_t i = 0; i < a->n_choices; i++)
        if (a->choices[i].finish == FINISH_NONE) generation_cancel(a->choices[i].g);
}

/* Takes what has come, and waits a little when nothing has. */
static void answer_pump(struct answer *a)
{
    bool shared = choices_unfinished(a) > 1, any = false;
    if (a->deadline_us && !a->late && clock_us() >= a->deadline_us) {
        a->late = true;
        answer_cancel(a);
    }
    for (size_t i = 0; i < a->n_choices; i++)
        any = choice_take(a, &a->choices[i], shared ? 0 : WAIT_MS) || any;
    for (size_t i = 0; shared && !any && i < a->n_choices; i++)
        if (a->choices[i].finish == FINISH_NONE)
            any = choice_take(a, &a->choices[i], WAIT_SHARED_MS);
}

/* The first choice that failed, or NULL. A cancel nobody asked for is a failure too. */
static const struct choice *choice_failed(const struct answer *a)
{
    for (size_t i = 0; i < a->n_choices; i++) {
        const struct choice *c = &a->choices[i];
        if (c->finish == FINISH_ERROR || (c->finish == FINISH_CANCELLED && !a->late)) return c;
        if (c->text.failed || c->log.failed) return c;
    }
    return NULL;
}

static void failure_tell(struct http_error *e, const struct answer *a, const struct choice *c)
{
    if (c->finish == FINISH_ERROR)
        http_refuse(e, 500, "generation_failed", "%s", generation_error(c->g));
    else if (c->text.failed || c->log.failed)
        http_refuse(e, 500, "out_of_memory", "out of memory for the answer");
    else if (atomic_load(&a->entry.superseded))
        http_refuse(e, 409, "superseded", "a newer request took the place of this one");
    else if (atomic_load(&a->service->stopping))
        http_refuse(e, 503, "stopped", "the engine is stopping");
    else
        http_refuse(e, 503, "queue_full", "this warm request gave its place to others");
}

void put_finish(buffer *out, const struct answer *a, const struct choice *c)
{
    (void)a;
    switch (c->finish) {
    case FINISH_STOP: buffer_put_text(out, TEXT("\"stop\"")); return;
    case FINISH_LENGTH:
    case FINISH_CANCELLED: buffer_put_text(out, TEXT("\"length\"")); return;
    case FINISH_NONE:
    case FINISH_ERROR: buffer_put_text(out, TEXT("null"));
    }
}

void put_logprob(buffer *out, float logprob)
{
    json_put_number(out, logprob >= -9999.0f ? (double)logprob : -9999.0);
}

bool is_among_best(const struct sample_result *r, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (r->top_id[i] == r->id) return true;
    return false;
}

void put_token(buffer *out, const struct answer *a, int32_t id)
{
    text bytes = tokenizer_token_bytes(engine_tokenizer(a->engine), id);
    if (utf8_valid(bytes)) {
        json_put_string(out, bytes);
        return;
    }
    buffer_put_text(out, TEXT("\"bytes:"));
    for (size_t i = 0; i < bytes.size; i++)
        buffer_print(out, "\\\\x%02x", (unsigned char)bytes.bytes[i]);
    buffer_put_char(out, '"');
}

static void put_head(buffer *out, const struct answer *a, const char *object)
{
    buffer_print(out, "{\"id\":\"%s\",\"object\":\"%s\",\"created\":%lld,\"model\":", a->id, object,
                 (long long)a->created_s);
    json_put_chars(out, engine_model_name(a->engine));
    buffer_put_text(out, TEXT(",\"choices\":["));
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* ,"score_logprob": one number by choice, null where it was not reached; a lone choice's by itself. */
static void put_scores(buffer *out, const struct answer *a)
{
    buffer_print(out, ",\"score_logprob\":%s", a->n_choices > 1 ? "[" : "");
    for (size_t i = 0; i < a->n_choices; i++) {
        struct generation_stats one;
        generation_stats(a->choices[i].g, &one);
        if (i) buffer_put_char(out, ',');
        if (isnan(one.score_logprob))
            buffer_put_text(out, TEXT("null"));
        else
            json_put_number(out, one.score_logprob);
    }
    if (a->n_choices > 1) buffer_put_char(out, ']');
}

/* ,"usage": {...},"dbrx": {...}: a prompt of several choices is counted once. */
static void put_usage(buffer *out, const struct answer *a)
{
    struct generation_stats sum = {0};
    for (size_t i = 0; i < a->n_choices; i++) {
        struct generation_stats one;
        generation_stats(a->choices[i].g, &one);
        bool first_of_prompt = i % (size_t)a->request.n_choices == 0;
        sum.n_prompt += first_of_prompt ? one.n_prompt : 0;
        sum.n_cached += first_of_prompt ? one.n_cached : 0;
        sum.n_output += one.n_output;
        sum.drafted += one.drafted;
        sum.accepted += one.accepted;
        sum.queue_us = larger(sum.queue_us, one.queue_us);
        sum.prefill_us = larger(sum.prefill_us, one.prefill_us);
        sum.decode_us = larger(sum.decode_us, one.decode_us);
    }
    int64_t n_total = sum.n_prompt + sum.n_output;
    buffer_print(out,
                 ",\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%lld,"
                 "\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":%lld}}",
                 (long long)sum.n_prompt, (long long)sum.n_output, (long long)n_total,
                 (long long)sum.n_cached);
    buffer_print(out,
                 ",\"dbrx\":{\"queue_ms\":%.3f,\"prefill_ms\":%.3f,\"decode_ms\":%.3f,"
                 "\"drafted\":%lld,\"accepted\":%lld",
                 (double)sum.queue_us / 1e3, (double)sum.prefill_us / 1e3,
                 (double)sum.decode_us / 1e3, (long long)sum.drafted, (long long)sum.accepted);
    if (a->request.score.n_ids > 0) put_scores(out, a);
    buffer_print(out, "%s}", a->late ? ",\"finish_detail\":\"deadline\"" : "");
}

static bool answer_whole(struct exchange *x, struct answer *a)
{
    buffer body = {0};
    http_allow_silence(x);
    while (choices_unfinished(a) > 0) {
        if (http_peer_gone(a->fd)) return false;
        if (atomic_load(&a->service->stopping)) answer_cancel(a);
        answer_pump(a);
        if (choice_failed(a)) break;
    }
    const struct choice *failed = choice_failed(a);
    if (failed) {
        struct http_error e;
        failure_tell(&e, a, failed);
        if (e.status == 503) e.retry_after_s = 1;
        return http_reply_error(x, &e);
    }
    put_head(&body, a, a->form->object);
    for (size_t i = 0; i < a->n_choices; i++) {
        buffer_print(&body, "%s{\"index\":%zu,", i ? "," : "", i);
        a->form->put_choice(&body, a, &a->choices[i]);
        buffer_put_char(&body, '}');
    }
    buffer_put_char(&body, ']');
    put_usage(&body, a);
    buffer_put_char(&body, '}');
    return http_reply_json(x, 200, &body);
}

static void chunk_begin(struct answer *a, size_t i)
{
    buffer_put_text(&a->out, TEXT("data: "));
    put_head(&a->out, a, a->form->chunk_object);
    buffer_print(&a->out, "{\"index\":%zu,", i);
}

static void chunk_end(struct answer *a)
{
    buffer_put_text(&a->out, TEXT("}]"));
    if (a->request.include_usage && a->request.continuous_usage)
        put_usage(&a->out, a);
    else if (a->request.include_usage)
        buffer_put_text(&a->out, TEXT(",\"usage\":null"));
    buffer_put_text(&a->out, TEXT("}\n\n"));
}

static void put_chunk(struct answer *a, size_t i)
{
    struct choice *c = &a->choices[i];
    chunk_begin(a, i);
    a->form->put_delta(&a->out, a, c);
    chunk_end(a);
    buffer_clear(&c->text);
    c->log.n = 0;
    c->ended = c->finish != FINISH_NONE;
}

static void stream_begin(struct answer *a)
{
    a->begun = true;
    for (size_t i = 0; a->form->put_opening && i < a->n_choices; i++) {
        chunk_begin(a, i);
        a->form->put_opening(&a->out);
        chunk_end(a);
    }
}

static void stream_end(struct answer *a)
{
    if (a->request.include_usage) {
        buffer_put_text(&a->out, TEXT("data: "));
        put_head(&a->out, a, a->form->chunk_object);
        buffer_put_char(&a->out, ']');
        put_usage(&a->out, a);
        buffer_put_text(&a->out, TEXT("}\n\n"));
    }
    buffer_put_text(&a->out, TEXT("data: [DONE]\n\n"));
    a->ended = true;
}

/* An error inside a stream has no status: it is an event, and no [DONE] follows it. */
static void stream_fail(struct answer *a, const struct choice *failed)
{
    struct http_error e;
    failure_tell(&e, a, failed);
    answer_cancel(a);
    buffer_put_text(&a->out, TEXT("data: "));
    http_put_error(&a->out, &e);
    buffer_put_text(&a->out, TEXT("\n\n"));
    a->ended = true;
}

/* Makes the next bytes of the stream, or none. */
static void stream_step(struct answer *a)
{
    if (atomic_load(&a->service->stopping)) answer_cancel(a);
    answer_pump(a);
    const struct choice *failed = choice_failed(a);
    if (failed) {
        stream_fail(a, failed);
        return;
    }
    for (size_t i = 0; i < a->n_choices; i++) {
        struct choice *c = &a->choices[i];
        bool news = c->text.size || c->log.n || c->finish != FINISH_NONE;
        if (!c->ended && news) put_chunk(a, i);
    }
    if (choices_unfinished(a) == 0) stream_end(a);
    /* Something has to be said now and then: a peer that is gone without a word is found by it. */
    if (a->out.size == 0 && clock_us() - a->spoken_us >= PING_US)
        buffer_put_text(&a->out, TEXT(": ping\n\n"));
}

static ssize_t answer_read(struct http_source *source, char *out, size_t room)
{
    struct answer *a = (struct answer *)source;
    while (a->sent == a->out.size) {
        if (a->ended) return 0;
        if (http_peer_gone(a->fd)) return -1;
        buffer_clear(&a->out);
        a->sent = 0;
        if (a->begun)
            stream_step(a);
        else
            stream_begin(a);
        if (a->out.failed) return -1;
    }
    size_t n = a->out.size - a->sent < room ? a->out.size - a->sent : room;
    memcpy(out, a->out.bytes + a->sent, n);
    a->sent += n;
    a->spoken_us = clock_us();
    return (ssize_t)n;
}

static void choice_meter(const struct answer *a, const struct choice *c)
{
    struct generation_stats stats;
    generation_stats(c->g, &stats);
    meter_generation(&a->service->meters, a->request.priority, &stats);
}

static void answer_close(struct http_source *source)
{
    struct answer *a = (struct answer *)source;
    requests_leave(&a->service->requests, &a->entry);
    for (size_t i = 0; i < HTTP_CHOICES_MAX; i++) {
        struct choice *c = &a->choices[i];
        if (c->g) choice_meter(a, c);
        if (c->g) generation_free(c->g);
        buffer_free(&c->text);
        memory_free(c->log.ids);
        memory_free(c->log.logprobs);
        memory_free(c->log.details);
    }
    completion_request_free(&a->request);
    token_list_free(&a->predicted);
    arena_reset(&a->memory);
    buffer_free(&a->out);
    memory_free(a);
}

static struct answer *answer_open(struct exchange *x, engine *e, const struct answer_form *form)
{
    struct answer *a = memory_take(1, sizeof *a);
    if (!a) return NULL;
    a->source = (struct http_source){answer_read, answer_close};
    a->service = x->service;
    a->engine = e;
    a->form = form;
    a->fd = x->fd;
    a->entry.caller = x->caller;
    a->entry.begun_us = a->spoken_us = clock_us();
    a->created_s = a->service->started_unix_s + (a->spoken_us - a->service->started_us) / 1000000;
    uint64_t n = atomic_fetch_add(&a->service->n_ids, 1);
    snprintf(a->id, sizeof a->id, "%s%016llx", form->id_prefix,
             (unsigned long long)random_at(a->service->random, n));
    return a;
}

static bool reply_fault(struct exchange *x, status s, const struct request_fault *fault)
{
    struct http_error e;
    unsigned busy = fault->own_limit ? 429 : 503;
    unsigned http = s == ERR_BUSY ? busy : s == ERR_MEMORY || s == ERR_DEVICE ? 500 : 400;
    const char *code = s == ERR_UNSUPPORTED ? "unsupported" : NULL;
    if (s == ERR_BUSY) code = fault->own_limit ? "too_many_requests" : "queue_full";
    if (s == ERR_LIMIT && fault->param[0]) code = "context_length_exceeded";
    if (strcmp(fault->param, "model") == 0 && s == ERR_USAGE) {
        http = 404;
        code = "model_not_found";
    }
    http_refuse(&e, http, code, "%s", fault->error.message);
    snprintf(e.param, sizeof e.param, "%s", fault->param);
    e.retry_after_s = s == ERR_BUSY ? 1 : 0;
    return http_reply_error(x, &e);
}

bool answer_handle(struct exchange *x, const struct answer_form *form)
{
    struct service_view view;
    struct request_fault fault = {0};
    x->working = service_work_begin(x->service);
    service_look(x->service, &view);
    if (!x->working) return reply_not_ready(x, &view);
    struct answer *a = answer_open(x, view.engine, form);
    if (!a) return false;
    status s = completion_request_parse(&a->request, &a->memory, buffer_text(&x->body), form->chat,
                                        &fault);
    buffer_free(&x->body); /* up to 8 MiB that the answer need not carry along */
    if (s == OK) s = model_check(a, &fault);
    if (s == OK) s = answer_submit(a, &fault);
    if (a->request.deadline_ms) a->deadline_us = a->spoken_us + a->request.deadline_ms * 1000;
    if (s == OK && a->request.stream) return http_reply_stream(x, &a->source);
    bool replied = s == OK ? answer_whole(x, a) : reply_fault(x, s, &fault);
    answer_close(&a->source);
    return replied;
}
