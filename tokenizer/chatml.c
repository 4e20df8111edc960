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

/* Ids up to the next control id of turns. */
static size_t plain_end(const struct special_ids *specials, const int32_t *ids, size_t n, size_t at)
{
    while (at < n && ids[at] != specials->im_start && ids[at] != specials->im_end) at++;
    return at;
}

/* What was said between two control ids; the role is the first line of a turn. */
static void message_put(struct chat_messages *m, text said, bool in_turn, bool ended)
{
    text role = TEXT("user"), content = said;
    if (in_turn) {
        size_t line_end = text_find(said, TEXT("\n"), 0);
        role = text_slice(said, 0, line_end);
        content = text_slice(said, role.size + 1, said.size);
    }
    bool open = in_turn && !ended && text_is(role, "assistant");
    if (open ? content.size == 0 : !in_turn && text_trim(said).size == 0) return;
    m->open = open;
    m->list[m->n++] = (struct chat_message){
        {arena_copy(&m->memory, role.bytes, role.size), role.size},
        {arena_copy(&m->memory, content.bytes, content.size), content.size},
    };
}

status chatml_read(struct chat_messages *out, const tokenizer *t, const int32_t *ids, size_t n,
                   error *err)
{
    const struct special_ids *specials = tokenizer_specials(t);
    size_t n_turns = 1;
    buffer said = {0};
    *out = (struct chat_messages){.n = 0};
    for (size_t i = 0; i < n; i++)
        n_turns += ids[i] == specials->im_start || ids[i] == specials->im_end;
    out->list = arena_take(&out->memory, n_turns, sizeof *out->list);
    for (size_t at = 0; out->list && at < n;) {
        bool in_turn = ids[at] == specials->im_start;
        size_t first = at + (in_turn || ids[at] == specials->im_end);
        size_t end = plain_end(specials, ids, n, first);
        buffer_clear(&said);
        tokenizer_decode(t, &said, ids + first, end - first, false);
        out->memory.failed |= said.failed;
        message_put(out, buffer_text(&said), in_turn, end < n && ids[end] == specials->im_end);
        at = end;
    }
    buffer_free(&said);
    if (!out->memory.failed) return OK;
    chatml_messages_free(out);
    return fail(err, ERR_MEMORY, "out of memory for a prompt's messages");
}

void chatml_messages_free(struct chat_messages *m)
{
    arena_reset(&m->memory);
    *m = (struct chat_messages){.n = 0};
}
