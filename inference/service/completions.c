/* POST /v1/completions: OpenAI's legacy form, with text or token ids as prompt. */
#include "inference/service/answer.h"
#include "inference/service/json_write.h"
#include "inference/service/routes.h"

static status prompt_ids(token_list *out, const struct answer *a, size_t i,
                         struct request_fault *fault)
{
    const struct request_prompt *prompt = &a->request.prompts[i];
    (void)fault;
    /* Control tokens are put by id only: what spells one in text stays text. */
    if (prompt->ids)
        token_list_put_all(out, prompt->ids, prompt->n_ids);
    else
        tokenizer_encode(engine_tokenizer(a->engine), out, prompt->bytes);
    return OK;
}

/* Characters of the text that begin in a token: all bytes but UTF-8's continuation bytes; none for a
 * control token, which is not in the text. */
static size_t characters_of(const tokenizer *t, int32_t id)
{
    text bytes = tokenizer_token_bytes(t, id);
    size_t n = 0;
    for (size_t i = 0; i < bytes.size; i++) n += (bytes.bytes[i] & 0xC0) != 0x80;
    return tokenizer_is_special(t, id) ? 0 : n;
}

static void put_pair(buffer *out, const struct answer *a, int32_t id, float logprob, bool first)
{
    if (!first) buffer_put_char(out, ',');
    put_token(out, a, id);
    buffer_put_char(out, ':');
    put_logprob(out, logprob);
}

/* {"token": logprob, ...}: the best ones, and the chosen one if it is none of them. */
static void put_best(buffer *out, const struct answer *a, const struct sample_result *r)
{
    int64_t n = a->request.n_logprobs;
    buffer_put_char(out, '{');
    for (int64_t i = 0; i < n; i++) put_pair(out, a, r->top_id[i], r->top_logprob[i], i == 0);
    if (!is_among_best(r, n)) put_pair(out, a, r->id, r->logprob, n == 0);
    buffer_put_char(out, '}');
}

static void put_top(buffer *out, const struct answer *a, const struct token_log *log)
{
    if (a->request.n_logprobs == 0) {
        buffer_put_text(out, TEXT("null"));
        return;
    }
    buffer_put_char(out, '[');
    for (size_t i = 0; i < log->n; i++) {
        if (i) buffer_put_char(out, ',');
        put_best(out, a, &log->details[i]);
    }
    buffer_put_char(out, ']');
}

/* {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []} */
static void put_logprobs(buffer *out, const struct answer *a, struct choice *c)
{
    const struct token_log *log = &c->log;
    buffer_put_text(out, TEXT(",\"logprobs\":"));
    if (a->request.n_logprobs < 0) {
        buffer_put_text(out, TEXT("null"));
        return;
    }
    buffer_put_text(out, TEXT("{\"tokens\":["));
    for (size_t i = 0; i < log->n; i++) {
        if (i) buffer_put_char(out, ',');
        put_token(out, a, log->ids[i]);
    }
    buffer_put_text(out, TEXT("],\"token_logprobs\":["));
    for (size_t i = 0; i < log->n; i++) {
        if (i) buffer_put_char(out, ',');
        put_logprob(out, log->logprobs[i]);
    }
    buffer_put_text(out, TEXT("],\"top_logprobs\":"));
    put_top(out, a, log);
    buffer_put_text(out, TEXT(",\"text_offset\":["));
    for (size_t i = 0; i < log->n; i++) {
        buffer_print(out, "%s%zu", i ? "," : "", c->told_characters);
        c->told_characters += characters_of(engine_tokenizer(a->engine), log->ids[i]);
    }
    buffer_put_text(out, TEXT("]}"));
}

static void put_choice(buffer *out, const struct answer *a, struct choice *c)
{
    buffer_put_text(out, TEXT("\"text\":"));
    json_put_string(out, buffer_text(&c->text));
    put_logprobs(out, a, c);
    buffer_put_text(out, TEXT(",\"finish_reason\":"));
    put_finish(out, a, c);
}

bool completions_handle(struct exchange *x)
{
    static const struct answer_form form = {
        .chat = false,
        .id_prefix = "cmpl-",
        .object = "text_completion",
        .chunk_object = "text_completion",
        .default_max_tokens = 16, /* OpenAI's */
        .prompt = prompt_ids,
        .put_choice = put_choice,
        .put_delta = put_choice, /* a part has the shape of the whole */
    };
    return answer_handle(x, &form);
}
