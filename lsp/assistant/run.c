/* A run: one generation of the engine for one place in a document.
 *
 * Text comes piece by piece through the trimmer, which says when nothing further can change what is
 * shown; then the answer goes out, the stream is closed and what was learnt goes into the cache.
 * When the deadline of all who wait has passed, the run goes on for a while without them: the prompt
 * it has computed and the line it may still find help the next question. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum { ONE_LINE_TOKENS = 64, MANY_LINES_TOKENS = 256, BEHIND_MS = 10000 };

void run_release(struct run *r)
{
    if (--r->n_references > 0) return;
    trim_close(r->trim);
    prompt_free(&r->prompt);
    memory_free(r);
}

/* Off the assistant's list; from now on its text and its end are nobody's business. */
static void run_detach(struct run *r)
{
    if (!r->assistant) return;
    struct run **at = &r->assistant->runs;
    while (*at && *at != r) at = &(*at)->next;
    if (*at) *at = r->next;
    r->assistant = NULL;
    r->session = NULL;
}

void run_report(const struct run *r, struct completion_report *out)
{
    struct engine_answer now = r->numbers;
    if (r->call) engine_call_snapshot(r->call, &now);
    int64_t decode_us = now.total_us - now.ttft_us;
    *out = (struct completion_report){
        .layout_us = r->prompt.layout_us,
        .tokenize_us = r->prompt.tokenize_us,
        .ttft_us = now.ttft_us,
        .total_us = clock_us() - r->begun_us,
        .n_prompt = now.n_prompt > 0 ? now.n_prompt : (int64_t)r->prompt.ids.n,
        .n_cached = now.n_cached,
        .n_output = now.n_output,
    };
    if (now.ttft_us > 0 && now.n_output > 1 && decode_us > 0)
        out->tokens_per_s = (double)(now.n_output - 1) * 1e6 / (double)decode_us;
}

/* Everyone who waits for it gets the same answer, or the same reason why there is none. */
static void run_answer(struct run *r, text insert, size_t replace_bytes, const char *reason)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r) completion_due(c, insert, replace_bytes, reason);
}

static void run_fail(struct run *r, const char *reason)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r) completion_due_failed(c, reason);
}

void run_settle(struct run *r, bool finished)
{
    struct trim_result result;
    trim_finish(r->trim, finished, &result);
    if (result.insert.size)
        completion_cache_put(&r->session->cache, &r->place, result.insert, result.replace_bytes,
                             r->many_lines);
    run_answer(r, result.insert, result.replace_bytes, result.reason);
    run_detach(r);
    if (r->call) engine_call_cancel(r->call);
}

void run_abandon(struct run *r)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r && !c->due) completion_due_cancelled(c);
    run_detach(r);
    if (r->call) engine_call_cancel(r->call);
}

static void on_text(void *context, text piece)
{
    struct run *r = context;
    if (!r->assistant) return;
    if (text_find(piece, TEXT("\n"), 0) != SIZE_MAX) r->seen_line = true;
    if (trim_put(r->trim, piece) == TRIM_DONE) run_settle(r, false);
}

static void on_done(void *context, const struct engine_answer *answer)
{
    struct run *r = context;
    r->numbers = *answer;
    r->call = NULL;
    if (r->assistant && answer->code == OK && !answer->cut) {
        run_settle(r, strcmp(answer->finish, "stop") == 0);
    } else if (r->assistant) {
        run_fail(r, answer->reason ? answer->reason : "the engine failed");
        run_detach(r);
    }
    /* The words live with the call, which is gone when this returns. */
    r->numbers.reason = r->numbers.finish = "";
    run_release(r);
}

static size_t prompt_budget(const assistant *a, int32_t max_tokens)
{
    size_t budget = a->options.budget_tokens ? a->options.budget_tokens : 8192;
    int32_t length = engine_client_status(a->options.client)->max_model_len;
    size_t room = length > max_tokens ? (size_t)(length - max_tokens) : 0;
    return budget < room ? budget : room;
}

static status run_ask(struct run *r, int32_t max_tokens, error *err)
{
    const assistant *a = r->assistant;
    const struct engine_request request = {
        .prompt = r->prompt.ids.ids,
        .n_prompt = r->prompt.ids.n,
        .max_tokens = max_tokens,
        /* Random weights repeat themselves under greedy decoding; a trained model does not need luck. */
        .temperature = engine_client_status(a->options.client)->demo ? 1.0F : 0.0F,
        .seed = r->place.before_hash,
        .priority = "interactive",
        .must_start_with = r->prompt.must_start_with,
        .deadline_ms = completion_deadline_ms(a, r->invoked) + BEHIND_MS,
    };
    const struct engine_callbacks callbacks = {on_text, on_done, r};
    return engine_client_complete(a->options.client, &request, &callbacks, &r->call, err);
}

/* Prompt and trimmer for the query. */
static status run_prepare(struct run *r, const struct completion_query *q, int32_t max_tokens,
                          error *err)
{
    const assistant *a = r->assistant;
    const tokenizer *t = engine_client_tokenizer(a->options.client);
    if (!t) return fail(err, ERR_BUSY, "%s", engine_client_status(a->options.client)->reason);
    const struct prompt_options layout = {.budget_tokens = prompt_budget(a, max_tokens)};
    status s = prompt_build(&r->prompt, r->session->prompts, t, &q->document, q->cursor_byte,
                            &layout, err);
    if (s != OK) return s;
    const struct trim_options trimming = {
        .document = q->document,
        .cursor_byte = q->cursor_byte,
        .must_start_with = r->prompt.must_start_with,
        .fence = r->prompt.fence,
        .many_lines = r->many_lines,
    };
    return trim_open(&r->trim, &trimming, err);
}

status run_begin(struct run **out, assistant *a, struct session *session,
                 const struct completion_query *q, error *err)
{
    struct run *r = memory_take(1, sizeof *r);
    if (!r) return fail(err, ERR_MEMORY, "out of memory for a completion");
    r->assistant = a;
    r->session = session;
    r->n_references = 1;
    r->begun_us = clock_us();
    r->version = q->version;
    r->invoked = q->invoked;
    r->many_lines = trim_wants_many_lines(&q->document, q->cursor_byte, q->invoked);
    r->place = completion_place_of(q->document.content, q->cursor_byte);
    int32_t max_tokens = a->options.max_tokens;
    if (!max_tokens) max_tokens = r->many_lines ? MANY_LINES_TOKENS : ONE_LINE_TOKENS;
    status s = run_prepare(r, q, max_tokens, err);
    if (s == OK) s = run_ask(r, max_tokens, err);
    if (s != OK) {
        run_release(r);
        return s;
    }
    r->next = a->runs;
    a->runs = r;
    *out = r;
    return OK;
}
