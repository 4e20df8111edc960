/* A run: one generation of the engine for one place in a document.
 *
 * Its words go piece by piece to the trimmers of those who wait, each of which says when nothing
 * further can change what is shown; then that one is answered. The stream is closed with the last.
 * Only the place decides what is asked, so who wants one line and who wants a block, now or a
 * moment later, share it. */
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum { PROMPT_TOKENS = 8192, ANSWER_TOKENS = 256, BEHIND_MS = 10000 };

void run_release(struct run *r)
{
    if (--r->n_references > 0) return;
    trim_close(r->behind);
    buffer_free(&r->said);
    prompt_free(&r->prompt);
    memory_free(r);
}

/* Off the assistant's list; from now on its words and its end are nobody's business. */
static void run_detach(struct run *r)
{
    struct run **at = &r->assistant->runs;
    while (*at && *at != r) at = &(*at)->next;
    if (*at) *at = r->next;
    r->assistant = NULL;
    r->session = NULL;
    if (r->call) engine_call_cancel(r->call);
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

static bool run_is_wanted(const struct run *r)
{
    const struct completion *c = r->assistant->completions;
    while (c && (c->run != r || c->due)) c = c->next;
    return c || r->behind;
}

void run_unwanted(struct run *r)
{
    if (r->assistant && !run_is_wanted(r)) run_detach(r);
}

void run_abandon(struct run *r)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r) completion_due_cancelled(c);
    run_detach(r);
}

/* What a trimmer has found goes into the cache; the result lives as long as the trimmer. */
static struct trim_result run_harvest(struct run *r, trim *t, bool finished)
{
    struct trim_result result;
    trim_finish(t, finished, &result);
    if (result.insert.size)
        completion_cache_put(&r->session->cache, &r->place, result.insert, result.replace_bytes);
    return result;
}

static void run_settle(struct run *r, struct completion *c, bool finished)
{
    struct trim_result result = run_harvest(r, c->trim, finished);
    completion_due(c, result.insert, result.replace_bytes, result.reason);
}

static void run_settle_behind(struct run *r, bool finished)
{
    if (!r->behind) return;
    run_harvest(r, r->behind, finished);
    trim_close(r->behind);
    r->behind = NULL;
}

status run_join(struct run *r, struct completion *c, const struct completion_query *q, error *err)
{
    const struct trim_options trimming = {
        .document = q->document,
        .cursor_byte = q->cursor_byte,
        .must_start_with = r->prompt.must_start_with,
        .fence = r->prompt.fence,
        .many_lines = trim_wants_many_lines(&q->document, q->cursor_byte, q->invoked),
    };
    status s = trim_open(&c->trim, &trimming, err);
    if (s != OK) return s;
    c->run = r;
    r->n_references++;
    if (r->said.size && trim_put(c->trim, buffer_text(&r->said)) == TRIM_DONE)
        run_settle(r, c, false);
    return OK;
}

void run_expire(struct run *r, struct completion *c)
{
    size_t n_bytes = r->said.size, from = r->prompt.must_start_with.size;
    bool whole_line = from < n_bytes && memchr(r->said.bytes + from, '\n', n_bytes - from);
    if (whole_line) {
        run_settle(r, c, false);
    } else {
        trim_close(r->behind);
        r->behind = c->trim;
        c->trim = NULL;
        completion_due(c, TEXT(""), 0, "no whole line within the time allowed");
    }
    run_unwanted(r);
}

/* Who joins later reads it from its beginning; it is long enough for every trimmer. */
static void said_put(struct run *r, text piece)
{
    size_t room = TRIM_ANSWER_MAX - r->said.size;
    buffer_put_text(&r->said, text_slice(piece, 0, room));
}

/* Nobody gets anything, and all who still wait get the reason. */
static void run_fail(struct run *r, const char *reason)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r) completion_due_failed(c, reason);
    run_detach(r);
}

static void on_text(void *context, text piece)
{
    struct run *r = context;
    if (!r->assistant) return;
    said_put(r, piece);
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r && !c->due && trim_put(c->trim, piece) == TRIM_DONE)
            run_settle(r, c, false);
    if (r->behind && trim_put(r->behind, piece) == TRIM_DONE) run_settle_behind(r, false);
    if (r->said.failed)
        run_fail(r, "out of memory for the answer");
    else
        run_unwanted(r);
}

/* Everyone who still waits gets what there is. */
static void run_end(struct run *r, bool finished)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r && !c->due) run_settle(r, c, finished);
    run_settle_behind(r, finished);
    run_detach(r);
}

static void on_done(void *context, const struct engine_answer *answer)
{
    struct run *r = context;
    r->numbers = *answer;
    r->call = NULL;
    if (r->assistant && answer->code == OK && !answer->cut)
        run_end(r, strcmp(answer->finish, "stop") == 0);
    else if (r->assistant)
        run_fail(r, answer->reason && answer->reason[0] ? answer->reason : "the engine failed");
    /* The words live with the call, which is gone when this returns. */
    r->numbers.reason = r->numbers.finish = "";
    run_release(r);
}

/* Tokens for the prompt and for the answer. A model's length that is not known (0) bounds nothing; a
 * short one is shared three to one. */
static size_t token_budget(const assistant *a, int32_t *answer_tokens)
{
    size_t budget = a->options.budget_tokens ? a->options.budget_tokens : PROMPT_TOKENS;
    int32_t length = engine_client_status(a->options.client)->max_model_len;
    *answer_tokens = a->options.max_tokens > 0 ? a->options.max_tokens : ANSWER_TOKENS;
    if (length <= 0) return budget;
    if (*answer_tokens > length / 4) *answer_tokens = length / 4;
    size_t room = (size_t)(length - *answer_tokens);
    return budget < room ? budget : room;
}

static status run_ask(struct run *r, int32_t max_tokens, error *err)
{
    const assistant *a = r->assistant;
    int64_t invoked_ms = a->options.invoked_deadline_ms;
    const struct engine_request request = {
        .prompt = r->prompt.ids.ids,
        .n_prompt = r->prompt.ids.n,
        .max_tokens = max_tokens,
        /* Random weights repeat themselves under greedy decoding; a trained model needs no luck. */
        .temperature = engine_client_status(a->options.client)->demo ? 1.0F : 0.0F,
        .seed = r->place.before_hash,
        .priority = "interactive",
        .must_start_with = r->prompt.must_start_with,
        .deadline_ms = invoked_ms > BEHIND_MS ? invoked_ms : BEHIND_MS,
    };
    const struct engine_callbacks callbacks = {on_text, on_done, r};
    return engine_client_complete(a->options.client, &request, &callbacks, &r->call, err);
}

static status run_prepare(struct run *r, const struct completion_query *q, error *err)
{
    const assistant *a = r->assistant;
    const tokenizer *t = engine_client_tokenizer(a->options.client);
    if (!t) return fail(err, ERR_BUSY, "%s", engine_client_status(a->options.client)->reason);
    int32_t max_tokens;
    struct prompt_options layout = {.budget_tokens = token_budget(a, &max_tokens)};
    gatherer *g = q->path.size ? a->options.gatherer : NULL;
    layout.proposal = g ? gatherer_take(g, q->document_key) : a->options.excerpts;
    status s = prompt_build(&r->prompt, r->session->prompts, t, &q->document, q->cursor_byte,
                            &layout, err);
    if (s == OK) s = run_ask(r, max_tokens, err);
    /* What is found here serves the next completion: this one waits for nobody. */
    if (g)
        gatherer_note(
            g, &(struct gather_query){q->document_key, q->path, q->document, q->cursor_byte});
    return s;
}

status run_begin(struct run **out, assistant *a, struct session *session,
                 const struct completion_query *q, const struct completion_place *place, error *err)
{
    *out = NULL;
    struct run *r = memory_take(1, sizeof *r);
    if (!r) return fail(err, ERR_MEMORY, "out of memory for a completion");
    r->assistant = a;
    r->session = session;
    r->n_references = 1;
    r->begun_us = clock_us();
    r->version = q->version;
    r->place = *place;
    r->numbers.reason = r->numbers.finish = "";
    status s = run_prepare(r, q, err);
    if (s != OK) {
        run_release(r);
        return s;
    }
    r->next = a->runs;
    a->runs = r;
    *out = r;
    return OK;
}
