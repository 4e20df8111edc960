/* What one call asks, in every form that its engine may have to be asked in.
 *
 * Engines of ours are asked once, by token ids. A foreign one may refuse a form, with a status that
 * says the request is wrong; then the call asks the same in the next form, until one is answered. It
 * knows no network. One thread: the loop's. */
#ifndef LSP_CLIENT_CALL_REQUEST_H
#define LSP_CLIENT_CALL_REQUEST_H

#include "lsp/client/chat_answer.h"
#include "lsp/client/wire.h"

enum { ASK_FORMS = ASK_PLAIN + 1 };

struct call_request {
    enum ask_form form, last_form;
    buffer bodies[ASK_FORMS];                       /* from `form` on to the last one */
    struct chat_answer answers[ENGINE_CHOICES_MAX]; /* of the chat forms */
    int32_t n_choices;
    int refused_status; /* of the first form that was refused; 0: none */
    char refused[256];
};

/* Writes the bodies from `first` to `last`; an engine of ours is asked by ids and has no model name. The
 * tokenizer reads the turns out of the prompt, and may be NULL for ids alone. */
status call_request_make(struct call_request *out, const struct engine_request *request,
                         const tokenizer *t, enum ask_form first, enum ask_form last,
                         const char *model, unsigned features, error *err);
void call_request_free(struct call_request *r);

const char *call_request_path(const struct call_request *r);

/* The form was refused with this HTTP status, in these words. True: ask again, in another one, which is
 * at least `known`, the one that the link has found out in the meantime. */
bool call_request_refused(struct call_request *r, int http_status, const char *words,
                          enum ask_form known);

/* A piece of a choice, made into what follows the prompt; with `ended`, the last one. */
void call_request_hear(struct call_request *r, int32_t choice, buffer *piece, bool ended);

#endif
