/* An engine that does not speak our api: what is it, and how is it asked?
 *
 * With token ids wherever its tokenizer is known to be ours: then text of a file can become no control
 * token. It is known when the engine says so itself (POST /detokenize of vLLM, SGLang and llama.cpp),
 * when the user named a model directory, or when its model is called DBRX. Ids of another vocabulary
 * would be other words, so everything else is asked by chat messages, and so is an engine that refuses
 * ids. Whatever was found holds while the link does. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "lsp/client/client.h"

/* Vocabularies differ in every piece of this: words, a letter beyond ASCII, digits, indentation. */
#define SAMPLE                                                                                     \
    "user\ndef gr\xC3\xB6\xC3\x9F"                                                                 \
    "e(items):\n    return [12345 for item in items]\n"

static const text sample = {SAMPLE, sizeof SAMPLE - 1};

static void form_found(engine_client *c, enum ask_form form, const char *why)
{
    bool news = !c->form_known || form != c->form;
    c->form = form;
    c->form_known = true;
    snprintf(c->form_why, sizeof c->form_why, "%s", why);
    if (news && form != ASK_IDS) log_line(LOG_INFO, "engine: asked by chat messages: %s", why);
    status_touch(c);
}

/* Nobody says what its ids mean: what its name says, or the user. */
static void form_guess(engine_client *c)
{
    if (c->model_dir || strcasestr(c->engine.model, "dbrx"))
        form_found(c, ASK_IDS, "");
    else
        form_found(c, ASK_CHAT, "its tokenizer is not known (--model DIR names one)");
}

static void sample_encode(const engine_client *c, token_list *ids)
{
    const struct special_ids *specials = tokenizer_specials(c->tokenizer);
    if (specials->im_start >= 0) token_list_put(ids, specials->im_start);
    tokenizer_encode(c->tokenizer, ids, sample);
    if (specials->im_end >= 0) token_list_put(ids, specials->im_end);
}

/* Control tokens may be spelt out or left out. */
static bool is_sample(text said)
{
    text start = TEXT("<|im_start|>"), end = TEXT("<|im_end|>");
    if (text_starts(said, start)) said = text_slice(said, start.size, said.size);
    if (text_ends(said, end)) said.size -= end.size;
    return text_equal(said, sample);
}

static void question_bytes_came(void *context, const struct http_head *head, text bytes)
{
    engine_client *c = context;
    (void)head;
    buffer_put_text(&c->question_body, bytes);
}

static void question_done(void *context, const struct http_result *result)
{
    engine_client *c = context;
    buffer said = {0};
    c->question = NULL;
    bool told = result->code == OK && result->head.status == 200 &&
                detokenize_parse(&said, buffer_text(&c->question_body), NULL) == OK;
    if (!told)
        form_guess(c);
    else if (is_sample(buffer_text(&said)))
        form_found(c, ASK_IDS, "");
    else
        form_found(c, ASK_CHAT, "its tokenizer is another");
    buffer_free(&said);
    buffer_free(&c->question_body);
}

void foreign_learn(engine_client *c)
{
    token_list ids = {0};
    buffer body = {0};
    error err;
    if (!c->foreign || !c->tokenizer || c->form_known || c->question || c->closing) return;
    sample_encode(c, &ids);
    buffer_clear(&c->question_body);
    status s = ids.failed ? fail(&err, ERR_MEMORY, "no memory for a sample")
                          : detokenize_write(&body, c->engine.model, ids.ids, ids.n, &err);
    if (s == OK) {
        struct http_request request = {.path = "/detokenize",
                                       .fresh = true,
                                       .body = buffer_text(&body),
                                       .limits = {.connect_ms = HANDSHAKE_CONNECT_MS,
                                                  .total_ms = HANDSHAKE_ANSWER_MS,
                                                  .answer_bytes_max = ENGINE_JSON_MAX},
                                       .on_bytes = question_bytes_came,
                                       .on_done = question_done,
                                       .context = c};
        s = http_send(c->http, &request, &c->question, &err);
    }
    if (s != OK) form_guess(c);
    token_list_free(&ids);
    buffer_free(&body);
}

void foreign_answered(engine_client *c, enum ask_form form)
{
    if (!c->foreign || (c->form_proven && form <= c->form)) return;
    bool refused_ids = c->form == ASK_IDS && form != ASK_IDS;
    char why[sizeof c->form_why];
    snprintf(why, sizeof why, "%s", refused_ids ? "it refuses token ids" : c->form_why);
    c->form_proven = true;
    form_found(c, form, why);
}

static void foreign_up(engine_client *c, const struct model_row *row)
{
    bool told = row->max_model_len > 0;
    if (!c->up || !c->foreign || strcmp(c->engine.model, row->model) != 0)
        c->form_known = c->form_proven = false;
    c->foreign = true;
    c->engine = (struct handshake){.state = REMOTE_READY};
    memcpy(c->engine.model, row->model, sizeof c->engine.model);
    c->engine.max_model_len = told ? row->max_model_len : FOREIGN_LENGTH;
    size_t used = strlen(c->foreign_why);
    snprintf(c->foreign_why + used, sizeof c->foreign_why - used, "; %d tokens %s",
             c->engine.max_model_len, told ? "by /v1/models" : "assumed");
    link_up(c);
}

/* A model list that cannot be had costs the model's name and length; everything else is tried. */
static void models_done(void *context, const struct http_result *result)
{
    engine_client *c = context;
    struct model_row row = {0};
    error err;
    c->probe = NULL;
    if (result->code != OK) {
        if (result->timed_out) {
            link_silent(c);
            return;
        }
        link_down(c, ENGINE_OFF, "%s: %s", c->endpoint, result->reason);
        link_retry_later(c);
    } else if (result->head.status == 401 || result->head.status == 403) {
        link_key_refused(c);
    } else if (result->head.status >= 500 || result->head.status == 429) {
        link_down(c, ENGINE_OFF, "%s: /v1/models answers HTTP %d", c->endpoint,
                  result->head.status);
        link_retry_later(c);
    } else {
        if (result->head.status != 200 ||
            models_parse(&row, buffer_text(&c->probe_body), &err) != OK)
            row = (struct model_row){0};
        foreign_up(c, &row);
    }
}

void foreign_ask(engine_client *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->foreign_why, sizeof c->foreign_why, format, args);
    va_end(args);
    if (c->lease) http_cancel(c->lease);
    c->lease = NULL;
    link_probe(c, "/v1/models", models_done);
}
