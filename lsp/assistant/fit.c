/* Where an answer of several lines stops. Each end that the trimmer allows is a guess, and the text
 * says which is right: the first line below follows the right one most likely. The engine scores it
 * behind all of them in one step, from the keys and values it has just computed. Whoever waits gets
 * the whole answer when the time is up or the engine cannot say. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "lsp/assistant/guidance.h"
#include "lsp/assistant/state.h"

/* Nats by which the line below must follow an earlier end more likely than the last one. With less, lines
 * are cut off that belong there (inference/nano/README.md has the table). */
static const double shorter_margin = 6;

enum { FIT_MS = 4000 }; /* longer than anybody waits */

struct fit {
    struct completion *completion; /* NULL: nobody waits */
    engine_call *call;
    buffer insert;
    size_t ends[TRIM_ENDS_MAX], n_ends, replace_bytes;
    const char *reason; /* static */
};

static void fit_free(struct fit *f)
{
    buffer_free(&f->insert);
    memory_free(f);
}

/* Ends it with what stands before ends[i]. */
static void fit_give(struct fit *f, size_t i)
{
    struct completion *c = f->completion;
    const struct question *at = c->run->question;
    const text insert = text_slice(buffer_text(&f->insert), 0, f->ends[i]);
    f->completion = NULL;
    c->fit = NULL;
    if (i + 1 < f->n_ends) {
        c->assistant->counters.fitted_shorter++;
        completion_cache_cut(&c->session->cache, at->query.document.content, at->place.cursor_byte,
                             insert);
    }
    run_give(c, insert, f->replace_bytes, f->reason);
}

/* Of equals the longest; the whole, where a score is missing. */
static size_t fit_best(const struct fit *f, const struct engine_answer *answer)
{
    size_t last = f->n_ends - 1, best = last;
    if (answer->code != OK || answer->cut) return best;
    for (size_t i = 0; i < f->n_ends; i++)
        if (isnan(answer->choices[i].score_logprob)) return best;
    for (size_t i = last; i-- > 0;)
        if (answer->choices[i].score_logprob > answer->choices[best].score_logprob) best = i;
    double gain = answer->choices[best].score_logprob - answer->choices[last].score_logprob;
    return gain > shorter_margin ? best : last;
}

static void on_text(void *context, text piece)
{
    (void)context;
    (void)piece;
}

static void on_done(void *context, const struct engine_answer *answer)
{
    struct fit *f = context;
    struct completion *c = f->completion;
    struct run *r = c ? c->run : NULL;
    if (c) {
        c->assistant->counters.fitted += answer->code == OK && !answer->cut;
        r->n_references++;
        fit_give(f, fit_best(f, answer));
        run_unwanted(r);
        run_release(r);
    }
    fit_free(f);
}

void fit_expire(struct completion *c)
{
    struct fit *f = c->fit;
    engine_call *call = f->call;
    fit_give(f, f->n_ends - 1);
    engine_call_cancel(call);
}

void fit_drop(struct completion *c)
{
    struct fit *f = c->fit;
    if (!f) return;
    c->fit = NULL;
    f->completion = NULL;
    engine_call_cancel(f->call);
}

/* What stands before the line below if the answer stops at that end. */
static void behind_encode(token_list *out, const tokenizer *t, const struct run *r, text insert,
                          size_t n_line_ends)
{
    buffer all = {0};
    buffer_put_text(&all, r->prompt.must_start_with);
    for (size_t i = 0; i < insert.size; i++)
        if (insert.bytes[i] != '\r') buffer_put_char(&all, insert.bytes[i]);
    for (size_t i = 0; i < n_line_ends; i++) buffer_put_char(&all, '\n');
    if (all.failed)
        out->failed = true;
    else
        tokenizer_encode(t, out, buffer_text(&all));
    buffer_free(&all);
}

static status fit_ask(struct fit *f, const struct run *r, const struct guidance_below *below,
                      error *err)
{
    const assistant *a = r->assistant;
    const tokenizer *t = engine_client_tokenizer(a->options.client);
    token_list behind[TRIM_ENDS_MAX] = {0};
    const struct engine_request request = {
        .prompt = r->prompt.ids.ids,
        .n_prompt = r->prompt.ids.n,
        .n_choices = (int32_t)f->n_ends,
        .priority = "interactive",
        .session = r->session->name,
        .score = below->ids.ids,
        .n_score = below->ids.n,
        .score_behind = behind,
        .deadline_ms = FIT_MS,
    };
    const struct engine_callbacks callbacks = {
        .on_text = on_text, .on_done = on_done, .context = f};
    status s = OK;
    for (size_t i = 0; i < f->n_ends; i++) {
        behind_encode(&behind[i], t, r, text_slice(buffer_text(&f->insert), 0, f->ends[i]),
                      below->n_line_ends);
        if (behind[i].failed) s = fail(err, ERR_MEMORY, "out of memory for an answer's ends");
    }
    if (s == OK) s = engine_client_complete(a->options.client, &request, &callbacks, &f->call, err);
    for (size_t i = 0; i < f->n_ends; i++) token_list_free(&behind[i]);
    return s;
}

static bool has_choice(const struct completion *c, const struct trim_result *result)
{
    return c->question->many_lines && result->n_ends > 1 &&
           engine_client_status(c->assistant->options.client)->scores_behind;
}

bool fit_begin(struct completion *c, const struct trim_result *result)
{
    struct run *r = c->run;
    struct guidance_below below;
    error err;
    if (!has_choice(c, result)) return false;
    guidance_below_make(&below, engine_client_tokenizer(c->assistant->options.client),
                        r->question->query.document.content, r->question->place.cursor_byte);
    struct fit *f = below.ids.n ? memory_take(1, sizeof *f) : NULL;
    bool begun = false;
    if (f) {
        buffer_put_text(&f->insert, result->insert);
        memcpy(f->ends, result->ends, sizeof f->ends);
        f->n_ends = result->n_ends;
        f->replace_bytes = result->replace_bytes;
        f->reason = result->reason;
        begun = !f->insert.failed && fit_ask(f, r, &below, &err) == OK;
    }
    if (begun) {
        f->completion = c;
        c->fit = f;
    } else if (f) {
        fit_free(f);
    }
    token_list_free(&below.ids);
    return begun;
}
