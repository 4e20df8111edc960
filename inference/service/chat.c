/* POST /v1/chat/completions: messages become ChatML by id, the answer one assistant message. */
#include "inference/service/answer.h"
#include "inference/service/json_write.h"
#include "inference/service/routes.h"

static status messages_ids(token_list *out, const struct answer *a, size_t i,
                           struct request_fault *fault)
{
    (void)i;
    return chatml_render(engine_tokenizer(a->engine), out, a->request.messages,
                         a->request.n_messages, true, TEXT(""), &fault->error);
}

static void put_bytes(buffer *out, text bytes)
{
    buffer_put_char(out, '[');
    for (size_t i = 0; i < bytes.size; i++)
        buffer_print(out, "%s%u", i ? "," : "", (unsigned char)bytes.bytes[i]);
    buffer_put_char(out, ']');
}

static void put_entry(buffer *out, const struct answer *a, int32_t id, float logprob)
{
    text bytes = tokenizer_token_bytes(engine_tokenizer(a->engine), id);
    buffer_put_text(out, TEXT("{\"token\":"));
    json_put_string(out, bytes);
    buffer_put_text(out, TEXT(",\"logprob\":"));
    put_logprob(out, logprob);
    buffer_put_text(out, TEXT(",\"bytes\":"));
    /* A control token stands for no bytes of the text. */
    if (tokenizer_is_special(engine_tokenizer(a->engine), id))
        buffer_put_text(out, TEXT("null"));
    else
        put_bytes(out, bytes);
}

/* {"content": [{"token", "logprob", "bytes", "top_logprobs": []}, ...]} */
static void put_logprobs(buffer *out, const struct answer *a, const struct choice *c)
{
    const struct token_log *log = &c->log;
    buffer_put_text(out, TEXT(",\"logprobs\":"));
    if (a->request.n_logprobs < 0) {
        buffer_put_text(out, TEXT("null"));
        return;
    }
    buffer_put_text(out, TEXT("{\"content\":["));
    for (size_t i = 0; i < log->n; i++) {
        if (i) buffer_put_char(out, ',');
        put_entry(out, a, log->ids[i], log->logprobs[i]);
        buffer_put_text(out, TEXT(",\"top_logprobs\":["));
        for (int64_t k = 0; k < a->request.n_logprobs; k++) {
            if (k) buffer_put_char(out, ',');
            put_entry(out, a, log->details[i].top_id[k], log->details[i].top_logprob[k]);
            buffer_put_char(out, '}');
        }
        buffer_put_text(out, TEXT("]}"));
    }
    buffer_put_text(out, TEXT("]}"));
}

static void put_end(buffer *out, const struct answer *a, const struct choice *c)
{
    put_logprobs(out, a, c);
    buffer_put_text(out, TEXT(",\"finish_reason\":"));
    put_finish(out, a, c);
}

static void put_choice(buffer *out, const struct answer *a, struct choice *c)
{
    buffer_put_text(out, TEXT("\"message\":{\"role\":\"assistant\",\"content\":"));
    json_put_string(out, buffer_text(&c->text));
    buffer_put_text(out, TEXT(",\"refusal\":null}"));
    put_end(out, a, c);
}

/* OpenAI's first chunk: the role alone. Clients build their message on it. */
static void put_opening(buffer *out)
{
    buffer_put_text(out, TEXT("\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                              "\"logprobs\":null,\"finish_reason\":null"));
}

static void put_delta(buffer *out, const struct answer *a, struct choice *c)
{
    buffer_put_text(out, TEXT("\"delta\":{\"content\":"));
    json_put_string(out, buffer_text(&c->text));
    buffer_put_char(out, '}');
    put_end(out, a, c);
}

bool chat_handle(struct exchange *x)
{
    static const struct answer_form form = {
        .chat = true,
        .id_prefix = "chatcmpl-",
        .object = "chat.completion",
        .chunk_object = "chat.completion.chunk",
        .default_max_tokens = INT32_MAX, /* to the end of the context */
        .prompt = messages_ids,
        .put_choice = put_choice,
        .put_delta = put_delta,
        .put_opening = put_opening,
    };
    return answer_handle(x, &form);
}
