/* What an engine says in chat, made into what our open turn wants to hear: its continuation.
 *
 * Some engines go on from the last message, some begin their answer anew and say its beginning again.
 * Both give the same text here: what follows behind `known`, as engines that take ids would say it.
 * What fits neither passes as it is: whoever reads answers judges it. Pure; one thread at a time. */
#ifndef LSP_CLIENT_CHAT_ANSWER_H
#define LSP_CLIENT_CHAT_ANSWER_H

#include "base/text.h"
#include "lsp/client/chat_text.h"

/* Zeroed, then begun. */
struct chat_answer {
    buffer opening; /* known, then what has to come first */
    size_t n_known;
    struct chat_reader reader;
    buffer held; /* its beginning, while it may become either */
    bool passes; /* the beginning is over */
};

/* `known` is what the open turn says already, `must` what the answer has to begin with; copied. */
void chat_answer_begin(struct chat_answer *a, text known, text must);

/* Appends what of the piece may go on. */
void chat_answer_put(struct chat_answer *a, buffer *out, text piece);

/* The answer has ended: appends what was held. */
void chat_answer_end(struct chat_answer *a, buffer *out);

void chat_answer_free(struct chat_answer *a);

#endif
