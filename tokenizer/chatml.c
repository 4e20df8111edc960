/* Between two control ids the text is encoded as one: content that begins with white space joins
 * the newline behind the role, as it does when the template's text is encoded whole. */
#include "tokenizer/chatml.h"

#include "base/utf.h"
#include "tokenizer/generated/unicode_classes.h"

void chatml_begin(const tokenizer *t, token_list *out, text role)
{
    token_list_put(out, tokenizer_specials(t)->im_start);
    tokenizer_encode(t, out, role);
    tokenizer_encode(t, out, TEXT("\n"));
}

void chatml_end(const tokenizer *t, token_list *out)
{
    token_list_put(out, tokenizer_specials(t)->im_end);
    tokenizer_encode(t, out, TEXT("\n"));
}

static bool is_strip_space(text t, size_t at, size_t *size)
{
    uint32_t c = utf8_decode(t, at, size);
    return (c >= 0x1C && c <= 0x1F) || c == '\r' || c == '\n' || unicode_class_of(c) == CLASS_SPACE;
}

/* What the template's trim leaves: no white space at either end. */
static text stripped(text t)
{
    size_t from = 0, to = 0, size;
    while (from < t.size && is_strip_space(t, from, &size)) from += size;
    for (size_t at = from; at < t.size; at += size)
        if (!is_strip_space(t, at, &size)) to = at + size;
    return text_slice(t, from, to > from ? to : from);
}

/* <|im_start|>role\ncontent */
static void turn_put(const tokenizer *t, token_list *out, buffer *scratch, text role, text content)
{
    buffer_clear(scratch);
    buffer_put_text(scratch, role);
    buffer_put_char(scratch, '\n');
    buffer_put_text(scratch, content);
    if (scratch->failed) out->failed = true;
    token_list_put(out, tokenizer_specials(t)->im_start);
    tokenizer_encode(t, out, buffer_text(scratch));
}

static status role_check(text role, size_t i, error *err)
{
    if (text_is(role, "system") || text_is(role, "user") || text_is(role, "assistant")) return OK;
    return fail(err, ERR_FORMAT,
                "messages[%zu].role: found \"%.*s\", expected system, user or assistant", i,
                role.size < 40 ? (int)role.size : 40, role.size ? role.bytes : "");
}

status chatml_render(const tokenizer *t, token_list *out, const struct chat_message *messages,
                     size_t n_messages, bool open_assistant, text assistant_prefix, error *err)
{
    const struct special_ids *specials = tokenizer_specials(t);
    if (specials->im_start < 0 || specials->im_end < 0)
        return fail(err, ERR_UNSUPPORTED,
                    "the tokenizer has no <|im_start|> and <|im_end|>, which chat needs");
    for (size_t i = 0; i < n_messages; i++) {
        status s = role_check(messages[i].role, i, err);
        if (s != OK) return s;
    }
    buffer scratch = {0};
    for (size_t i = 0; i < n_messages; i++) {
        bool system_text = i == 0 && text_is(messages[i].role, "system");
        text content = system_text ? stripped(messages[i].content) : messages[i].content;
        turn_put(t, out, &scratch, messages[i].role, content);
        token_list_put(out, specials->im_end);
        if (i + 1 < n_messages || open_assistant) tokenizer_encode(t, out, TEXT("\n"));
    }
    if (open_assistant) turn_put(t, out, &scratch, TEXT("assistant"), assistant_prefix);
    buffer_free(&scratch);
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for a prompt") : OK;
}
