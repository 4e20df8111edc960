/* One call after another: each part's summary, the message, perhaps once more with the fault named.
 * Greedy at first, so that the same change gets the same message. */
#include "lsp/assistant/commit.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/commit_text.h"
#include "context/loops.h"

enum {
    PROMPT_TOKENS = 8192,
    SUMMARY_TOKENS = 192,
    MESSAGE_TOKENS = 400,
    DEADLINE_MS = 300000,
    SAID_MAX = 64 * 1024
};

struct commit_run {
    struct commit_options options;
    void (*on_progress)(void *context, int n_begun, int n_calls, int64_t n_tokens);
    void (*on_done)(void *context, const struct commit_result *result);
    void *context;
    struct commit_plan plan;
    token_list ids; /* of the question under way */
    engine_call *call;
    buffer said, shaped, summaries[COMMIT_PARTS_MAX];
    size_t n_summaries;
    int64_t n_tokens;               /* of what is said now */
    bool retried, cancelled, loops; /* loops: what is said now repeats itself */
    char fault[512];
    struct commit_result result;
};

static void run_free(commit_run *r)
{
    commit_plan_free(&r->plan);
    token_list_free(&r->ids);
    buffer_free(&r->said);
    buffer_free(&r->shaped);
    for (size_t i = 0; i < COMMIT_PARTS_MAX; i++) buffer_free(&r->summaries[i]);
    memory_free(r);
}

static void run_end(commit_run *r, status code, const char *reason)
{
    r->result.code = code;
    r->result.reason = reason;
    r->result.omitted = buffer_text(&r->plan.omitted);
    r->on_done(r->context, &r->result);
    run_free(r);
}

static bool is_part(const commit_run *r) { return r->n_summaries < r->plan.n_parts; }

static void run_ask(commit_run *r);

/* What a part's answer leaves: bounded, whatever the engine thinks of max_tokens. */
static void summary_take(commit_run *r)
{
    text said = text_trim(buffer_text(&r->said));
    buffer_put_text(&r->summaries[r->n_summaries++], text_slice(said, 0, SUMMARY_TOKENS * 8));
}

static status question_make(commit_run *r, error *err)
{
    text summaries[COMMIT_PARTS_MAX];
    r->ids.n = 0;
    if (is_part(r)) return commit_prompt_part(&r->ids, &r->plan, r->n_summaries, err);
    for (size_t i = 0; i < COMMIT_PARTS_MAX; i++) summaries[i] = buffer_text(&r->summaries[i]);
    return commit_prompt_final(&r->ids, &r->plan, summaries, err);
}

static void question_next(commit_run *r)
{
    error err;
    status code = question_make(r, &err);
    if (code == OK)
        run_ask(r);
    else
        run_end(r, code, err.message);
}

/* Named in vain: a subject that is too long is cut, a form or language that is not the repository's
 * stays, and the user is told. */
static void message_settle(commit_run *r, const char *fault)
{
    buffer cut = {0};
    if (commit_subject_length(buffer_text(&r->shaped)) > COMMIT_SUBJECT_MAX) {
        commit_text_cut(&cut, buffer_text(&r->shaped));
        buffer_free(&r->shaped);
        r->shaped = cut;
    }
    snprintf(r->fault, sizeof r->fault, "%s", fault);
    r->result.message = buffer_text(&r->shaped);
    run_end(r, r->shaped.failed ? ERR_MEMORY : OK, r->fault);
}

static void message_take(commit_run *r)
{
    error err = {OK, ""};
    const tokenizer *t = r->plan.tokenizer;
    buffer_clear(&r->shaped);
    status code = commit_text_shape(&r->shaped, buffer_text(&r->said), &err);
    bool shaped = code == OK && !r->loops;
    if (r->loops)
        code = fail(&err, ERR_FORMAT, "the message says the same thing over and over");
    else if (shaped)
        code = commit_text_check(r->options.facts, buffer_text(&r->shaped), &err);
    if (code == ERR_FORMAT && !r->retried) {
        r->retried = true;
        code = commit_prompt_retry(&r->ids, t, buffer_text(&r->said), text_of(err.message), &err);
        if (code == OK)
            run_ask(r);
        else
            run_end(r, code, err.message);
    } else if (!shaped) {
        run_end(r, code, err.message);
    } else {
        message_settle(r, code == OK ? "" : err.message);
    }
}

static void progress_tell(const commit_run *r)
{
    int n_calls = (int)r->plan.n_parts + 1 + r->retried;
    if (r->on_progress) r->on_progress(r->context, r->result.n_calls, n_calls, r->n_tokens);
}

static void on_text(void *context, text piece)
{
    commit_run *r = context;
    struct engine_answer now = {0};
    if (r->call) engine_call_snapshot(r->call, &now);
    r->n_tokens = now.n_output > r->n_tokens ? now.n_output : r->n_tokens + 1;
    progress_tell(r);
    buffer_put_text(&r->said, piece);
    r->loops = r->loops || loops_in_prose(buffer_text(&r->said));
    if ((r->loops || r->said.size > SAID_MAX) && r->call) engine_call_cancel(r->call);
}

static void on_call_done(void *context, const struct engine_answer *a)
{
    commit_run *r = context;
    char reason[256];
    bool ours = r->loops || r->said.size > SAID_MAX; /* we ended it */
    r->call = NULL;
    r->result.n_prompt += a->n_prompt;
    r->result.n_cached += a->n_cached;
    r->result.n_output += a->n_output;
    snprintf(reason, sizeof reason, "%s",
             a->reason && a->reason[0] ? a->reason : "the engine failed");
    if (r->cancelled) {
        run_end(r, ERR_CANCELLED, "cancelled");
    } else if (r->options.warm && a->code == OK) {
        run_end(r, OK, "");
    } else if (!ours && (a->cut || a->code != OK)) {
        run_end(r, a->code != OK ? a->code : ERR_NETWORK, reason);
    } else if (is_part(r)) {
        summary_take(r);
        question_next(r);
    } else {
        message_take(r);
    }
}

static status run_send(commit_run *r, error *err)
{
    buffer_clear(&r->said);
    r->loops = false;
    r->n_tokens = 0;
    const struct engine_request request = {
        .prompt = r->ids.ids,
        .n_prompt = r->ids.n,
        .max_tokens = r->options.warm ? 0
                      : is_part(r)    ? SUMMARY_TOKENS
                                      : MESSAGE_TOKENS,
        .temperature = r->options.again ? 0.7F : 0.0F,
        .seed = r->options.seed,
        .priority = r->options.warm ? "warm" : "action",
        .deadline_ms = DEADLINE_MS,
    };
    const struct engine_callbacks callbacks = {
        .on_text = on_text, .on_done = on_call_done, .context = r};
    r->result.n_calls++;
    progress_tell(r);
    return engine_client_complete(r->options.client, &request, &callbacks, &r->call, err);
}

static void run_ask(commit_run *r)
{
    error err;
    status code = run_send(r, &err);
    if (code != OK) run_end(r, code, err.message);
}

status commit_begin(commit_run **out, const struct commit_options *options,
                    void (*on_progress)(void *context, int n_begun, int n_calls, int64_t n_tokens),
                    void (*on_done)(void *context, const struct commit_result *result),
                    void *context, error *err)
{
    *out = NULL;
    const tokenizer *t = engine_client_tokenizer(options->client);
    const struct engine_status *now = engine_client_status(options->client);
    if (!t) return fail(err, ERR_BUSY, "%s", now->reason);
    commit_run *r = memory_take(1, sizeof *r);
    if (!r) return fail(err, ERR_MEMORY, "out of memory for a commit message");
    size_t budget = options->budget_tokens ? options->budget_tokens : PROMPT_TOKENS;
    if (now->usable_len > 0 && budget > (size_t)now->usable_len / 4 * 3)
        budget = (size_t)now->usable_len / 4 * 3;
    r->options = *options;
    r->on_progress = on_progress;
    r->on_done = on_done;
    r->context = context;
    status code = commit_plan_make(&r->plan, options->facts, t, budget, err);
    if (code == OK) code = question_make(r, err);
    if (code == OK) code = run_send(r, err);
    if (code == OK)
        *out = r;
    else
        run_free(r);
    return code;
}

void commit_cancel(commit_run *r)
{
    r->cancelled = true;
    if (r->call) engine_call_cancel(r->call);
}
