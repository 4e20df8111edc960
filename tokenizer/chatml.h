/* ChatML by id: "<|im_start|>role\ncontent<|im_end|>" with one newline between messages and none
 * after the last; content is not stripped, but for a system message at the beginning, as the template
 * does it. Control tokens are put as ids, content never becomes
 * one. Any thread. Source: DBRX-Instruct's chat template. */
#ifndef TOKENIZER_CHATML_H
#define TOKENIZER_CHATML_H

#include "base/arena.h"
#include "tokenizer/tokenizer.h"

struct chat_message {
    text role; /* "system", "user" or "assistant" */
    text content;
};

/* Appends the messages as ids. With open_assistant the ids end in "<|im_start|>assistant\n" plus
 * the text `assistant_prefix`, and the model continues from there. ERR_UNSUPPORTED when the
 * tokenizer has no im_start or im_end, ERR_FORMAT for another role, ERR_MEMORY. */
status chatml_render(const tokenizer *t, token_list *out, const struct chat_message *messages,
                     size_t n_messages, bool open_assistant, text assistant_prefix, error *err);

/* Pieces of it, for callers that lay out a prompt block by block and cache each block's ids: the same
 * ids as chatml_render as long as the content does not begin with white space. The tokenizer must
 * have im_start and im_end. */
void chatml_begin(const tokenizer *t, token_list *out, text role); /* <|im_start|>role\n */
void chatml_end(const tokenizer *t, token_list *out);              /* <|im_end|>\n */

/* The way back: what ids laid out by this header say, as messages. Freed by chatml_messages_free. */
struct chat_messages {
    struct chat_message *list; /* [n]; an assistant's turn that is open and empty is left out */
    size_t n;
    bool open;    /* the last one is an assistant's turn without its end: it goes on from there */
    arena memory; /* holds all of it */
};

/* Turns are told apart by control ids alone, whatever a text spells. Ids outside of turns are a user's
 * message unless they are white space. ERR_MEMORY. */
status chatml_read(struct chat_messages *out, const tokenizer *t, const int32_t *ids, size_t n,
                   error *err);
void chatml_messages_free(struct chat_messages *m);

#endif
