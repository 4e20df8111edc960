/* What begins like a control token is marked whether or not it is one: it is read back in any case. */
#include "lsp/client/chat_text.h"

#include "base/utf.h"

#define MARK "\xC2\xA6" /* U+00A6, broken bar */

static const text mark = {MARK, sizeof MARK - 1};

/* How the templates of known model families begin or spell theirs: ChatML and Llama 3; DeepSeek (a
 * full-width bar); Llama 2 and Mistral; Gemma. */
static const char *const control_tokens[] = {
    "<|",
    "<\xEF\xBD\x9C",
    "<s>",
    "</s>",
    "<<SYS>>",
    "<</SYS>>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
};

static bool control_begins(text t)
{
    for (size_t i = 0; i < sizeof control_tokens / sizeof *control_tokens; i++)
        if (text_starts(t, text_of(control_tokens[i]))) return true;
    return false;
}

void chat_text_write(buffer *out, text t)
{
    size_t size;
    for (size_t at = 0; at < t.size; at += size) {
        char character[4];
        uint32_t code_point = utf8_decode(t, at, &size);
        buffer_put(out, character, utf8_encode(code_point, character));
        if ((t.bytes[at] == '<' || t.bytes[at] == '[') && control_begins(text_slice(t, at, t.size)))
            buffer_put_text(out, mark);
    }
}

/* A mark is taken out behind "<" and "["; what ends in the middle of that is held. */
void chat_text_read(struct chat_reader *r, buffer *out, text piece)
{
    for (size_t i = 0; i < piece.size; i++) {
        char c = piece.bytes[i];
        bool goes_on = r->n_held > 0 && c == mark.bytes[r->n_held - 1];
        if (goes_on && r->n_held == mark.size) {
            buffer_put_char(out, r->held[0]);
            r->n_held = 0;
        } else if (goes_on) {
            r->held[r->n_held++] = c;
        } else {
            chat_text_read_end(r, out);
            if (c == '<' || c == '[')
                r->held[r->n_held++] = c;
            else
                buffer_put_char(out, c);
        }
    }
}

void chat_text_read_end(struct chat_reader *r, buffer *out)
{
    buffer_put(out, r->held, r->n_held);
    r->n_held = 0;
}
