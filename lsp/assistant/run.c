/* A run: one generation of the engine for one place in a document.
 *
 * Its words go piece by piece to the trimmers of those who wait, each of which says when nothing
 * further can change what is shown; then that one is answered. The stream is closed with the last.
 * Only the place decides what is asked, so who wants one line and who wants a block, now or a
 * moment later, share it; and so does who has typed on along what it says. Everything else it said
 * is kept for the cache. */
#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "lsp/assistant/guidance.h"
#include "lsp/assistant/state.h"

enum { BEHIND_MS = 10000, UNSURE_TOKENS_MIN = 3, WARM_MISSING_MAX = 64 };

/* Mean log-probability of what is shown unasked: below, each token was less likely than one in twenty.
 * The highest value of inference/nano/sure.py's table that keeps 95 % of the answers whose first line
 * is right; it leaves out 11 % of all. */
static const double sure_mean_min = -3.0;

static void output_free(struct output *o)
{
    trim_close(o->keep);
    buffer_free(&o->said);
    buffer_free(&o->insert);
}

void run_release(struct run *r)
{
    if (--r->n_references > 0) return;
    for (int32_t i = 0; i < RUN_OUTPUTS_MAX; i++) output_free(&r->outputs[i]);
    question_release(r->question);
    prompt_free(&r->prompt);
    memory_free(r);
}

/* What the engine has said of the prompt, as soon as it has said anything. */
static void run_count(const struct run *r)
{
    struct assistant_counters *n = &r->assistant->counters;
    struct engine_answer now = r->numbers;
    if (r->call) engine_call_snapshot(r->call, &now);
    if (now.n_prompt <= 0) return;
    n->prompt_tokens += now.n_prompt;
    n->cached_tokens += now.n_cached;
    if (r->alternates || r->question->query.invoked) return;
    n->measured++;
    n->measured_warm += now.n_prompt - now.n_cached <= WARM_MISSING_MAX;
}

/* Off the assistant's list; from now on its words and its end are nobody's business. */
static void run_detach(struct run *r)
{
    struct run **at = &r->assistant->runs;
    while (*at && *at != r) at = &(*at)->next;
    if (*at) *at = r->next;
    run_count(r);
    assistant_wake(r->assistant, 0); /* warm work may have waited for its end */
    r->assistant = NULL;
    r->session = NULL;
    if (r->call) engine_call_cancel(r->call);
    run_release(r);
}

void run_report(const struct run *r, struct completion_report *out)
{
    struct engine_answer now = r->numbers;
    if (r->call) engine_call_snapshot(r->call, &now);
    *out = (struct completion_report){
        .layout_us = r->prompt.layout_us,
        .tokenize_us = r->prompt.tokenize_us,
        .ttft_us = now.ttft_us,
        .total_us = clock_us() - r->begun_us,
        .n_prompt = now.n_prompt > 0 ? now.n_prompt : (int64_t)r->prompt.ids.n,
        .n_cached = now.n_cached,
        .n_output = now.n_output,
        .tokens_per_s = now.tokens_per_s,
    };
}

static bool run_is_awaited(const struct run *r)
{
    const struct completion *c = r->assistant->completions;
    while (c && (c->due || !((c->run == r && !c->settled) || c->more == r))) c = c->next;
    return c;
}

static bool run_is_wanted(const struct run *r)
{
    return run_is_awaited(r) || r->until_us > clock_us();
}

void run_unwanted(struct run *r)
{
    if (r->assistant && !run_is_wanted(r)) run_detach(r);
}

void run_linger(struct run *r, int64_t ms)
{
    int64_t until_us = clock_us() + ms * 1000;
    if (!r->assistant) return;
    if (until_us > r->until_us) r->until_us = until_us;
    assistant_wake(r->assistant, 0);
}

void run_abandon(struct run *r)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (c->run == r || c->more == r) completion_due_cancelled(c);
    run_detach(r);
}

static text question_content(const struct question *q) { return q->query.document.content; }

/* What has come of the first choice behind the bytes that must come first; empty while that is not
 * known. */
static text run_beginning(const struct run *r)
{
    text said = buffer_text(&r->outputs[0].said), must = r->prompt.must_start_with;
    return text_starts(said, must) ? text_slice(said, must.size, said.size) : TEXT("");
}

bool run_serves(const struct run *r, text content, const struct completion_place *place)
{
    if (completion_place_equal(&r->question->place, place)) return true;
    return !r->alternates &&
           suggestion_may_hold(&r->question->place, run_beginning(r), content, place->cursor_byte);
}

static status trimmer_open(trim **out, const struct run *r, bool many_lines, bool asked, error *err)
{
    const struct completion_query *q = &r->question->query;
    const struct trim_options trimming = {
        .document = q->document,
        .cursor_byte = q->cursor_byte,
        .must_start_with = r->prompt.must_start_with,
        .fence = r->prompt.fence,
        .many_lines = many_lines,
        .asked = asked,
    };
    return trim_open(out, &trimming, err);
}

static struct engine_candidate run_candidate(const struct run *r, int32_t choice)
{
    struct engine_answer now = r->numbers;
    if (r->call) engine_call_snapshot(r->call, &now);
    return now.choices[choice];
}

static double mean_logprob(const struct engine_candidate *c)
{
    return c->n_logprobs ? c->sum_logprob / (double)c->n_logprobs : 0;
}

/* The model itself did not believe what it said. */
static bool run_is_unsure(const struct run *r)
{
    const struct engine_candidate c = run_candidate(r, 0);
    return c.n_logprobs >= UNSURE_TOKENS_MIN && mean_logprob(&c) < sure_mean_min;
}

/* All that was said, as far as it may be shown, goes into the cache. */
static void output_harvest(struct run *r, struct output *o, bool finished)
{
    struct trim_result result;
    if (!o->keep) return;
    trim_finish(o->keep, finished, &result);
    buffer_put_text(&o->insert, result.insert);
    if (o->insert.failed) buffer_clear(&o->insert);
    o->replace_bytes = result.replace_bytes;
    trim_close(o->keep);
    o->keep = NULL;
    if (r->alternates || run_is_unsure(r)) return;
    completion_cache_learn(&r->session->cache, question_content(r->question),
                           r->question->place.cursor_byte, buffer_text(&o->insert),
                           o->replace_bytes);
    const struct assistant_options *options = &r->assistant->options;
    if (r->late && o->insert.size && options->on_late)
        options->on_late(options->context, r->question->query.document_key);
    r->late = false;
}

static void run_harvest(struct run *r, bool finished)
{
    for (int32_t i = 0; i < r->n_outputs; i++) output_harvest(r, &r->outputs[i], finished);
}

static bool is_own_place(const struct run *r, const struct completion *c)
{
    return completion_place_equal(&r->question->place, &c->question->place);
}

/* What stands for `insert` at the run's place, at the place of `c`. False: it does not go on there. */
static bool completion_carry(struct completion *c, const struct run *r, text insert,
                             size_t replace_bytes)
{
    struct suggestion made = {0};
    struct suggestion_left left = {.rest = insert, .behind_bytes = replace_bytes};
    const struct question *q = c->question;
    bool fits = true;
    if (!is_own_place(r, c)) {
        suggestion_put(&made, question_content(r->question), r->question->place.cursor_byte, insert,
                       replace_bytes);
        fits = suggestion_left(&made, question_content(q), q->place.cursor_byte, &left);
        if (fits && !q->many_lines) left.rest = completion_first_line(left.rest);
    }
    if (fits) completion_offer(c, &left);
    suggestion_free(&made);
    return fits;
}

void run_give(struct completion *c, text insert, size_t replace_bytes, const char *reason)
{
    const struct run *r = c->run;
    completion_cache_learn(&c->session->cache, question_content(r->question),
                           r->question->place.cursor_byte, insert, replace_bytes);
    bool fits =
        insert.size == 0 ? is_own_place(r, c) : completion_carry(c, r, insert, replace_bytes);
    if (fits)
        completion_settle(c, reason);
    else
        completion_restart(c);
}

static void run_settle(struct run *r, struct completion *c, bool finished)
{
    struct trim_result result;
    trim_finish(c->trim, finished, &result);
    if (!c->question->query.invoked && result.insert.size && run_is_unsure(r)) {
        r->assistant->counters.suppressed++;
        completion_settle(c, "the model is unsure");
    } else if (!fit_begin(c, &result)) {
        run_give(c, result.insert, result.replace_bytes, result.reason);
    }
}

/* It still wants words of the run. */
static bool completion_listens(const struct completion *c, const struct run *r)
{
    return c->run == r && !c->due && !c->settled && !c->fit;
}

/* Lines that are whole: of what was typed since, and one more. */
static bool line_is_there(const struct run *r, const struct completion *c)
{
    text said = run_beginning(r), typed;
    size_t n = 1, at = 0;
    if (c->question->many_lines || is_own_place(r, c)) return false;
    typed = text_slice(question_content(c->question), r->question->place.cursor_byte,
                       c->question->place.cursor_byte);
    for (size_t i = 0; i < typed.size; i++) n += typed.bytes[i] == '\n';
    for (; n > 0; n--) {
        at = text_find(said, TEXT("\n"), at);
        if (at == SIZE_MAX) return false;
        at++;
    }
    return true;
}

/* One who waits has got `piece`, or all that was said. */
static void completion_feed(struct run *r, struct completion *c, text piece)
{
    const struct question *q = c->question;
    if (trim_put(c->trim, piece) == TRIM_DONE || line_is_there(r, c))
        run_settle(r, c, false);
    else if (!run_serves(r, question_content(q), &q->place))
        completion_restart(c);
}

status run_join(struct run *r, struct completion *c, error *err)
{
    /* Further on, lines of it may stand already. */
    bool many_lines = c->question->many_lines || !is_own_place(r, c);
    status s = trimmer_open(&c->trim, r, many_lines, c->question->query.invoked, err);
    if (s != OK) return s;
    c->run = r;
    r->n_references++;
    if (r->outputs[0].said.size) completion_feed(r, c, buffer_text(&r->outputs[0].said));
    if (!r->call && completion_listens(c, r)) run_settle(r, c, r->finished);
    return OK;
}

void run_expire(struct run *r, struct completion *c)
{
    text said = run_beginning(r);
    bool whole_line = text_find(said, TEXT("\n"), 0) != SIZE_MAX;
    if (whole_line && c->trim) {
        run_settle(r, c, false);
    } else {
        r->late = r->late || !c->question->query.invoked;
        run_linger(r, BEHIND_MS);
        completion_due(c, "no whole line within the time allowed");
    }
    run_unwanted(r);
}

/* Nobody gets anything, and all who still wait get the reason. */
static void run_fail(struct run *r, const char *reason)
{
    for (struct completion *c = r->assistant->completions; c; c = c->next) {
        if (c->more == r)
            c->more = NULL; /* then there is one answer */
        else if (c->run != r || c->settled || c->fit)
            continue;
        else
            completion_due_failed(c, reason);
        if (c->settled) completion_settle(c, "");
    }
    run_detach(r);
}

/* The one the text below follows most likely is better; where that is not known, the likelier one. */
static bool is_better(const struct run *r, int32_t i, int32_t k)
{
    const struct engine_candidate a = run_candidate(r, i), b = run_candidate(r, k);
    bool scored = !isnan(a.score_logprob) && !isnan(b.score_logprob);
    double of_a = scored ? a.score_logprob : mean_logprob(&a);
    double of_b = scored ? b.score_logprob : mean_logprob(&b);
    return of_a > of_b;
}

/* Alternates are there: those who wait for them get what differs, the better one first. */
static void alternates_give(struct run *r)
{
    bool swapped = is_better(r, 1, 0);
    for (struct completion *c = r->assistant->completions; c; c = c->next) {
        if (c->more != r || c->due) continue;
        for (int32_t i = 0; i < r->n_outputs; i++) {
            const struct output *o = &r->outputs[swapped ? r->n_outputs - 1 - i : i];
            if (o->insert.size) completion_carry(c, r, buffer_text(&o->insert), o->replace_bytes);
        }
        c->more = NULL;
        if (c->settled) completion_settle(c, "");
    }
}

/* A line that came when nobody waits any more is in the cache; more is not worth the engine's time. */
static void run_enough(struct run *r, bool kept_all)
{
    const struct completion *c = r->assistant->completions;
    while (c && (c->due || c->run != r || c->settled)) c = c->next;
    bool has_line = text_find(run_beginning(r), TEXT("\n"), 0) != SIZE_MAX;
    if (!c && !r->alternates && (kept_all || (has_line && !r->question->many_lines)))
        r->until_us = 0;
}

static void on_piece(void *context, int32_t choice, text piece)
{
    struct run *r = context;
    if (!r->assistant || choice >= r->n_outputs) return;
    struct output *o = &r->outputs[choice];
    bool kept_all = false;
    /* Who joins later reads it from its beginning; it is long enough for every trimmer. */
    buffer_put_text(&o->said, text_slice(piece, 0, TRIM_ANSWER_MAX - o->said.size));
    if (o->keep) kept_all = trim_put(o->keep, piece) == TRIM_DONE;
    for (struct completion *c = r->assistant->completions; c && !r->alternates; c = c->next)
        if (completion_listens(c, r)) completion_feed(r, c, piece);
    if (o->said.failed) {
        run_fail(r, "out of memory for the answer");
        return;
    }
    if (kept_all) output_harvest(r, o, false);
    if (r->alternates) {
        bool all = true;
        for (int32_t i = 0; i < r->n_outputs; i++) all = all && !r->outputs[i].keep;
        if (all) alternates_give(r);
    }
    run_enough(r, kept_all);
    if (!run_is_wanted(r)) run_harvest(r, false);
    run_unwanted(r);
}

static void on_text(void *context, text piece) { on_piece(context, 0, piece); }

/* Everyone who still waits gets what there is. */
static void run_end(struct run *r, bool finished)
{
    r->finished = finished;
    for (struct completion *c = r->assistant->completions; c; c = c->next)
        if (completion_listens(c, r)) run_settle(r, c, finished);
    run_harvest(r, finished);
    if (r->alternates) alternates_give(r);
    if (!run_is_awaited(r)) run_detach(r); /* else somebody waits to know where it ends */
}

static void on_done(void *context, const struct engine_answer *answer)
{
    struct run *r = context;
    r->numbers = *answer;
    r->call = NULL;
    if (r->assistant) warm_real_ended(r->assistant, r);
    if (r->assistant && answer->code == OK && !answer->cut)
        run_end(r, strcmp(answer->finish, "stop") == 0);
    else if (r->assistant)
        run_fail(r, answer->reason && answer->reason[0] ? answer->reason : "the engine failed");
    /* The words live with the call, which is gone when this returns. */
    r->numbers.reason = r->numbers.finish = "";
    run_release(r);
}

static status run_send(struct run *r, const struct guidance *g, int32_t max_tokens, error *err)
{
    assistant *a = r->assistant;
    int64_t invoked_ms = a->options.invoked_deadline_ms;
    const struct engine_status *engine = engine_client_status(a->options.client);
    const text stop = buffer_text(&g->stop);
    const struct engine_request request = {
        .prompt = r->prompt.ids.ids,
        .n_prompt = r->prompt.ids.n,
        .max_tokens = max_tokens,
        .temperature = r->alternates ? 0.8F : 0,
        .seed = r->question->place.before_hash + r->alternates,
        .n_choices = r->n_outputs,
        .stops = &stop,
        .n_stops = stop.size > 0,
        .priority = "interactive",
        .session = r->alternates ? NULL : r->session->name,
        .supersedes = !r->alternates,
        .wants_logprobs = !engine->demo,
        .forbid_first = g->forbid_first,
        .n_forbid_first = g->n_forbid_first,
        .score = g->score.ids,
        .n_score = r->alternates ? g->score.n : 0,
        .forbid_unopened = g->forbid_unopened[0] ? g->forbid_unopened : NULL,
        .must_start_with = r->prompt.must_start_with,
        .deadline_ms = invoked_ms > BEHIND_MS ? invoked_ms : BEHIND_MS,
    };
    const struct engine_callbacks callbacks = {
        .on_text = on_text, .on_other = on_piece, .on_done = on_done, .context = r};
    a->counters.requests++;
    return engine_client_complete(a->options.client, &request, &callbacks, &r->call, err);
}

static status run_ask(struct run *r, const tokenizer *t, int32_t max_tokens, error *err)
{
    const struct completion_query *q = &r->question->query;
    struct guidance g;
    guidance_make(&g, t, &q->document, q->cursor_byte, r->prompt.must_start_with, r->alternates);
    status s = run_send(r, &g, max_tokens, err);
    guidance_free(&g);
    return s;
}

static status run_prepare(struct run *r, error *err)
{
    const assistant *a = r->assistant;
    const struct completion_query *q = &r->question->query;
    const tokenizer *t = engine_client_tokenizer(a->options.client);
    if (!t) return fail(err, ERR_BUSY, "%s", engine_client_status(a->options.client)->reason);
    int32_t max_tokens;
    struct prompt_options layout = {.budget_tokens = assistant_budget(a, &max_tokens)};
    gatherer *g = q->path.size ? a->options.gatherer : NULL;
    /* A plan changes with warm requests, so that no question waits for excerpts; but the first one. */
    if (!assistant_warms(a) || !r->session->planned)
        layout.proposal = g ? gatherer_take(g, q->document_key) : a->options.excerpts;
    r->session->planned = r->session->planned || layout.proposal;
    layout.map = g ? gatherer_map(g, q->path) : a->options.map;
    status s = prompt_build(&r->prompt, r->session->prompts, t, &q->document, q->cursor_byte,
                            &layout, err);
    for (int32_t i = 0; s == OK && i < r->n_outputs; i++)
        s = trimmer_open(&r->outputs[i].keep, r, true, q->invoked, err);
    if (s == OK) warm_real_begins(r->assistant, r);
    if (s == OK) s = run_ask(r, t, max_tokens, err);
    /* What is found here serves the next completion: this one waits for nobody. */
    if (g && !r->alternates)
        gatherer_note(
            g, &(struct gather_query){q->document_key, q->path, q->document, q->cursor_byte});
    return s;
}

status run_begin(struct run **out, assistant *a, struct session *session, struct question *question,
                 bool alternates, error *err)
{
    *out = NULL;
    struct run *r = memory_take(1, sizeof *r);
    if (!r) return fail(err, ERR_MEMORY, "out of memory for a completion");
    r->assistant = a;
    r->session = session;
    r->n_references = 1;
    r->begun_us = clock_us();
    r->question = question;
    question->n_references++;
    r->alternates = alternates;
    r->n_outputs = alternates ? RUN_OUTPUTS_MAX : 1;
    r->numbers.reason = r->numbers.finish = "";
    status s = run_prepare(r, err);
    if (s != OK) {
        run_release(r);
        return s;
    }
    r->next = a->runs;
    a->runs = r;
    r->n_references++;
    *out = r;
    return OK;
}
