/* A call is a completion under way. However it ends, it ends in call_end, which takes it off the
 * network and puts it into the queue of those whose on_done is due; the loop's next turn answers
 * them. So on_done comes exactly once, and never from inside a function of the caller's. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "lsp/client/call_request.h"
#include "lsp/client/client.h"

enum { RETRY_CALL_MS = 100, DONE_GRACE_MS = 200 };

struct engine_call {
    engine_client *client;
    engine_call *next;
    struct engine_callbacks callbacks;
    uv_timer_t timer; /* deadline, retry, grace: whichever is next */
    http_transfer *http;
    struct call_request request;
    buffer piece;
    buffer whole; /* an answer that is no stream of events: an error, or a server without them */
    struct sse_parser events;
    int64_t begun_us, first_us, heard_us;
    int64_t deadline_us, resend_us, give_up_us; /* 0: not set */
    int64_t deadline_ms;
    bool ended, retried, done_seen;
    status code;
    bool cut;
    char reason[256], finish[16];
    int64_t n_prompt, n_cached, n_output;
    int64_t n_with_first; /* tokens that came together with the first text */
    struct engine_candidate choices[ENGINE_CHOICES_MAX];
    int32_t n_choices, n_finished;
};

static void list_remove(engine_call **list, engine_call *call)
{
    while (*list && *list != call) list = &(*list)->next;
    if (*list) *list = call->next;
    call->next = NULL;
}

static void list_append(engine_call **list, engine_call *call)
{
    while (*list) list = &(*list)->next;
    call->next = NULL;
    *list = call;
}

static void call_end(engine_call *call, status code, bool cut, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void call_end(engine_call *call, status code, bool cut, const char *format, ...)
{
    engine_client *c = call->client;
    va_list args;
    if (call->ended) return;
    error words;
    char reason[sizeof call->reason];
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    fail(&words, code, "%s", reason); /* cleans what a peer may have put into it */
    snprintf(call->reason, sizeof call->reason, "%.255s", words.message);
    call->ended = true;
    call->code = code;
    call->cut = cut;
    if (call->http) http_cancel(call->http);
    call->http = NULL;
    uv_timer_stop(&call->timer);
    list_remove(&c->calls, call);
    list_append(&c->ended, call);
    client_wake(c);
}

static void text_give(engine_call *call, int32_t choice)
{
    if (call->piece.size == 0) return;
    if (!call->first_us) call->first_us = clock_us();
    if (choice == 0)
        call->callbacks.on_text(call->callbacks.context, buffer_text(&call->piece));
    else if (call->callbacks.on_other)
        call->callbacks.on_other(call->callbacks.context, choice, buffer_text(&call->piece));
}

/* What a chat's answer holds back until it is known what it becomes. */
static void rest_give(engine_call *call)
{
    for (int32_t i = 0; i < call->n_choices && !call->ended; i++) {
        buffer_clear(&call->piece);
        call_request_hear(&call->request, i, &call->piece, true);
        text_give(call, i);
    }
}

/* Ends it, and counts it for or against the engine. */
static void call_answer(engine_call *call, status code, bool cut, const char *reason)
{
    engine_client *c = call->client;
    if (code == OK) rest_give(call);
    call_end(call, code, cut, "%s", reason);
    if (code == OK || code == ERR_NETWORK) link_call_ended(c, code == OK, call->reason);
}

static void timer_fired(uv_timer_t *timer);

static void timer_arm(engine_call *call)
{
    int64_t next_us = INT64_MAX;
    const int64_t times[] = {call->deadline_us, call->resend_us, call->give_up_us};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i] && times[i] < next_us) next_us = times[i];
    if (next_us == INT64_MAX || call->ended) return;
    int64_t wait_us = next_us - clock_us();
    uv_update_time(call->client->loop);
    uv_timer_start(&call->timer, timer_fired, wait_us > 0 ? (uint64_t)(wait_us / 1000 + 1) : 0, 0);
}

/* The answer's end is that of its last choice. */
static void choice_take(engine_call *call, const struct completion_piece *piece)
{
    struct engine_candidate *choice = &call->choices[piece->choice];
    choice->sum_logprob += piece->sum_logprob;
    choice->n_logprobs += piece->n_logprobs;
    for (size_t i = 0; i < ENGINE_CHOICES_MAX; i++)
        if (!isnan(piece->scores[i])) call->choices[i].score_logprob = piece->scores[i];
    bool late = strcmp(piece->finish, "deadline") == 0; /* said of the whole answer */
    if (!piece->finish[0] || (choice->finished && !late)) return;
    if (!choice->finished) call->n_finished++;
    choice->finished = true;
    if (call->n_finished >= call->n_choices || late)
        memcpy(call->finish, piece->finish, sizeof call->finish);
}

static void piece_take(engine_call *call, const struct completion_piece *piece)
{
    if (piece->n_prompt >= 0) call->n_prompt = piece->n_prompt;
    if (piece->n_cached >= 0) call->n_cached = piece->n_cached;
    if (piece->n_output >= 0) call->n_output = piece->n_output;
    choice_take(call, piece);
    text_give(call, piece->choice);
}

/* One JSON object of the answer. */
static void object_take(engine_call *call, text json)
{
    struct completion_piece piece;
    error err;
    buffer_clear(&call->piece);
    bool chat = call->request.form != ASK_IDS;
    status s = completion_parse(&piece, &call->piece, json, chat, &err);
    if (s == OK) call_request_hear(&call->request, piece.choice, &call->piece, false);
    if (s == OK && call->piece.failed) s = fail(&err, ERR_MEMORY, "completion: out of memory");
    if (s == ERR_FORMAT) s = ERR_NETWORK;
    if (s == OK && !piece.failure[0] && strcmp(piece.finish, "error") == 0)
        snprintf(piece.failure, sizeof piece.failure, "the generation failed");
    if (s != OK)
        call_answer(call, s, true, err.message);
    else if (piece.failure[0])
        call_answer(call, ERR_NETWORK, true, piece.failure);
    else
        piece_take(call, &piece);
    if (s == OK && !piece.failure[0]) foreign_answered(call->client, call->request.form);
}

static bool event_came(void *context, text data)
{
    engine_call *call = context;
    if (call->done_seen) return true;
    if (text_is(text_trim(data), "[DONE]")) {
        call->done_seen = true;
        /* The end of the answer is a few bytes away, and lets the connection be used again. */
        call->give_up_us = clock_us() + DONE_GRACE_MS * 1000;
        timer_arm(call);
    } else {
        object_take(call, data);
    }
    return !call->ended;
}

static void bytes_came(void *context, const struct http_head *head, text bytes)
{
    engine_call *call = context;
    error err;
    call->heard_us = clock_us();
    if (head->status != 200 || !head->is_events) {
        buffer_put_text(&call->whole, bytes);
        return;
    }
    bool is_first = !call->first_us;
    status s = sse_put(&call->events, bytes, event_came, call, &err);
    if (is_first) call->n_with_first = call->n_output > 1 ? call->n_output : 1;
    if (s != OK) call_answer(call, s, true, err.message);
}

static void call_send(engine_call *call);

static void call_resend_in(engine_call *call, int64_t ms)
{
    call->retried = true;
    call->resend_us = clock_us() + ms * 1000;
    timer_arm(call);
}

/* In the first form that was refused, unless that one's route is missing. */
static void refusal_tell(engine_call *call, int code, const char *words)
{
    const struct call_request *r = &call->request;
    bool first = r->refused_status == 400 || r->refused_status == 422;
    const char *said = first ? r->refused : words;
    call_end(call, ERR_USAGE, false, "the engine refuses the request (HTTP %d)%s%.200s",
             first ? r->refused_status : code, said[0] ? ": " : "", said);
}

static void http_error_take(engine_call *call, const struct http_head *head)
{
    engine_client *c = call->client;
    char words[256];
    error_body_parse(words, buffer_text(&call->whole));
    int code = head->status;
    bool busy = code == 429 || code == 503;
    if (call_request_refused(&call->request, code, words, c->form)) {
        buffer_clear(&call->whole);
        call_send(call);
    } else if (busy && !call->retried && head->retry_after_s >= 0 && head->retry_after_s <= 1) {
        buffer_clear(&call->whole);
        call_resend_in(call, head->retry_after_s ? 1000 : RETRY_CALL_MS);
    } else if (busy) {
        call_end(call, ERR_BUSY, false, "the engine is busy (HTTP %d)%s%.200s", code,
                 words[0] ? ": " : "", words);
    } else if (code == 401 || code == 403) {
        call_end(call, ERR_NETWORK, false, "the key is refused (HTTP %d)", code);
        link_key_refused(c);
    } else if (code >= 400 && code < 500) {
        refusal_tell(call, code, words);
        if (code == 404 && c->up) link_connect(c); /* it may serve another model now */
    } else {
        call_end(call, ERR_NETWORK, false, "the engine fails (HTTP %d)%s%.200s", code,
                 words[0] ? ": " : "", words);
        link_call_ended(c, false, call->reason);
    }
}

static void answer_finish(engine_call *call, const struct http_head *head)
{
    if (head->status != 200) {
        http_error_take(call, head);
    } else if (call->whole.failed) {
        call_answer(call, ERR_MEMORY, true, "out of memory for the answer");
    } else if (!head->is_events) {
        object_take(call, buffer_text(&call->whole));
        if (!call->ended) call_answer(call, OK, false, "");
    } else if (call->done_seen || call->finish[0]) {
        call_answer(call, OK, false, "");
    } else {
        call_answer(call, ERR_NETWORK, true, "the answer ends before its end");
    }
}

static void transfer_done(void *context, const struct http_result *result)
{
    engine_call *call = context;
    engine_client *c = call->client;
    call->http = NULL;
    if (result->code == OK || (call->done_seen && result->head.status == 200)) {
        answer_finish(call, &result->head);
        return;
    }
    if (!result->began && !result->timed_out && !call->retried && result->code == ERR_NETWORK) {
        call_resend_in(call, RETRY_CALL_MS);
    } else {
        bool cut = result->began && result->head.status == 200;
        call_answer(call, result->code, cut, result->reason);
    }
    /* Whatever made it fail, a handshake finds out what is left of the engine. */
    if (!result->timed_out && c->up) link_connect(c);
}

static void call_send(engine_call *call)
{
    const engine_client *c = call->client;
    error err;
    struct http_request request = {.path = call_request_path(&call->request),
                                   .body = buffer_text(&call->request.bodies[call->request.form]),
                                   .limits = {.connect_ms = HANDSHAKE_CONNECT_MS,
                                              .first_byte_ms = c->first_byte_ms,
                                              .idle_ms = c->idle_ms,
                                              .answer_bytes_max = ENGINE_ANSWER_MAX},
                                   .on_bytes = bytes_came,
                                   .on_done = transfer_done,
                                   .context = call};
    call->heard_us = clock_us();
    if (http_send(c->http, &request, &call->http, &err) != OK)
        call_end(call, err.code, false, "%s", err.message);
}

static void deadline_reached(engine_call *call)
{
    engine_client *c = call->client;
    bool heard = call->first_us != 0;
    memcpy(call->finish, "deadline", sizeof "deadline");
    rest_give(call);
    call_end(call, OK, false, "%s within %lld ms", heard ? "no end" : "no text",
             (long long)call->deadline_ms);
    if (!heard) link_ask_health(c);
}

static void timer_fired(uv_timer_t *timer)
{
    engine_call *call = timer->data;
    int64_t now_us = clock_us();
    if (call->give_up_us && now_us >= call->give_up_us) {
        call_answer(call, OK, false, "");
    } else if (call->deadline_us && now_us >= call->deadline_us) {
        deadline_reached(call);
    } else if (call->resend_us && now_us >= call->resend_us) {
        call->resend_us = 0;
        timer_arm(call);
        call_send(call);
    } else {
        timer_arm(call);
    }
}

static status request_check(const engine_client *c, const struct engine_request *request,
                            error *err)
{
    if (c->closing) return fail(err, ERR_CANCELLED, "the engine client is closing");
    if (c->n_calls >= ENGINE_CALLS_MAX)
        return fail(err, ERR_BUSY, "%zu calls are under way already", c->n_calls);
    if (request->n_prompt == 0 || !request->prompt)
        return fail(err, ERR_USAGE, "prompt: expected at least one id");
    if (request->max_tokens < 0)
        return fail(err, ERR_USAGE, "max_tokens: found %d, expected 0 or more",
                    request->max_tokens);
    if (request->n_choices < 0 || request->n_choices > ENGINE_CHOICES_MAX)
        return fail(err, ERR_USAGE, "n_choices: found %d, at most %d", request->n_choices,
                    ENGINE_CHOICES_MAX);
    return OK;
}

static void call_begin(engine_call *call, bool usable)
{
    engine_client *c = call->client;
    const struct engine_status *now = engine_client_status(c);
    list_append(&c->calls, call);
    c->n_calls++;
    c->n_handles++;
    uv_timer_init(c->loop, &call->timer);
    call->timer.data = call;
    if (!usable) {
        call_end(call, now->state == ENGINE_OFF ? ERR_NETWORK : ERR_BUSY, false, "%s",
                 now->reason[0] ? now->reason : "the engine is not ready");
        return;
    }
    calls_watch_begin(c);
    timer_arm(call);
    call_send(call);
}

/* A form that was answered once is the only one; what the engine refuses then is the request. */
static status call_request_write(engine_call *call, const struct engine_request *request,
                                 error *err)
{
    const engine_client *c = call->client;
    bool warms = request->priority && strcmp(request->priority, "warm") == 0;
    if (!c->foreign || !c->form_known)
        return call_request_make(&call->request, request, NULL, ASK_IDS, ASK_IDS,
                                 c->foreign ? c->engine.model : NULL,
                                 c->foreign ? 0 : c->engine.features, err);
    if (warms && c->form != ASK_IDS)
        return fail(err, ERR_UNSUPPORTED, "nothing is warmed by chat messages");
    /* Several choices may be refused as such. */
    bool tells = !c->form_proven && !warms && request->n_choices <= 1;
    enum ask_form last = tells ? ASK_PLAIN : c->form;
    return call_request_make(&call->request, request, c->tokenizer, c->form, last, c->engine.model,
                             0, err);
}

status engine_client_complete(engine_client *c, const struct engine_request *request,
                              const struct engine_callbacks *callbacks, engine_call **out,
                              error *err)
{
    *out = NULL;
    status s = request_check(c, request, err);
    if (s != OK) return s;
    engine_call *call = memory_take(1, sizeof *call);
    if (!call) return fail(err, ERR_MEMORY, "call: out of memory");
    enum engine_state state = engine_client_status(c)->state;
    bool usable = state == ENGINE_READY || state == ENGINE_DEGRADED;
    call->client = c;
    call->callbacks = *callbacks;
    call->n_choices = request->n_choices > 1 ? request->n_choices : 1;
    for (size_t i = 0; i < ENGINE_CHOICES_MAX; i++) call->choices[i].score_logprob = NAN;
    call->begun_us = clock_us();
    call->deadline_ms = request->deadline_ms;
    if (request->deadline_ms > 0) call->deadline_us = call->begun_us + request->deadline_ms * 1000;
    s = call_request_write(call, request, err);
    if (s != OK) {
        memory_free(call);
        return s;
    }
    call_begin(call, usable);
    *out = call;
    return OK;
}

void engine_call_cancel(engine_call *call) { call_end(call, ERR_CANCELLED, false, "cancelled"); }

static void call_closed(uv_handle_t *handle)
{
    engine_call *call = handle->data;
    engine_client *c = call->client;
    call_request_free(&call->request);
    buffer_free(&call->piece);
    buffer_free(&call->whole);
    sse_free(&call->events);
    memory_free(call);
    client_handle_closed(c);
}

void engine_call_snapshot(const engine_call *call, struct engine_answer *out)
{
    *out = (struct engine_answer){.code = call->code,
                                  .reason = call->reason,
                                  .cut = call->cut,
                                  .finish = call->finish,
                                  .n_prompt = call->n_prompt,
                                  .n_cached = call->n_cached,
                                  .n_output = call->n_output,
                                  .total_us = clock_us() - call->begun_us};
    if (call->first_us) out->ttft_us = call->first_us - call->begun_us;
    int64_t behind = call->n_output - call->n_with_first, took_us = call->heard_us - call->first_us;
    if (call->first_us && behind > 0 && took_us > 0)
        out->tokens_per_s = (double)behind * 1e6 / (double)took_us;
    memcpy(out->choices, call->choices, sizeof out->choices);
}

void calls_answer_ended(engine_client *c)
{
    while (c->ended) {
        engine_call *call = c->ended;
        struct engine_answer answer;
        engine_call_snapshot(call, &answer);
        c->ended = call->next;
        c->n_calls--;
        call->callbacks.on_done(call->callbacks.context, &answer);
        uv_close((uv_handle_t *)&call->timer, call_closed);
    }
}

void calls_cancel_all(engine_client *c)
{
    while (c->calls) engine_call_cancel(c->calls);
}

static bool is_silent(const engine_call *call, int64_t now_us)
{
    return call->http && now_us - call->heard_us > CALL_SILENT_MS * (int64_t)1000;
}

void calls_fail_silent(engine_client *c, const char *reason)
{
    int64_t now_us = clock_us();
    for (engine_call *call = c->calls, *next; call; call = next) {
        next = call->next;
        if (is_silent(call, now_us)) call_end(call, ERR_NETWORK, call->first_us != 0, "%s", reason);
    }
}

static void watch_fired(uv_timer_t *timer)
{
    engine_client *c = timer->data;
    int64_t now_us = clock_us();
    bool silent = false;
    if (!c->calls) uv_timer_stop(timer);
    for (const engine_call *call = c->calls; call; call = call->next)
        silent = silent || is_silent(call, now_us);
    if (silent) link_ask_health(c);
}

void calls_watch_begin(engine_client *c)
{
    if (!uv_is_active((uv_handle_t *)&c->watch)) uv_timer_start(&c->watch, watch_fired, 1000, 1000);
}
