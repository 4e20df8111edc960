#include "lsp/client/call_request.h"

#include <stdio.h>

static void answers_begin(struct call_request *r, const struct chat_messages *m, text must)
{
    text known = m->open ? m->list[m->n - 1].content : TEXT("");
    for (int32_t i = 0; i < r->n_choices; i++) chat_answer_begin(&r->answers[i], known, must);
}

static status chat_bodies_write(struct call_request *r, const struct engine_request *request,
                                const tokenizer *t, const char *model, error *err)
{
    struct chat_messages messages;
    status s = chatml_read(&messages, t, request->prompt, request->n_prompt, err);
    if (s != OK) return s;
    enum ask_form from = r->form == ASK_IDS ? ASK_CHAT : r->form;
    for (enum ask_form f = from; s == OK && f <= r->last_form; f++)
        s = chat_write(&r->bodies[f], request, &messages, f, model, err);
    answers_begin(r, &messages, request->must_start_with);
    chatml_messages_free(&messages);
    return s;
}

status call_request_make(struct call_request *out, const struct engine_request *request,
                         const tokenizer *t, enum ask_form first, enum ask_form last,
                         const char *model, unsigned features, error *err)
{
    status s = OK;
    *out = (struct call_request){.form = first, .last_form = last};
    out->n_choices = request->n_choices > 1 ? request->n_choices : 1;
    if (first == ASK_IDS)
        s = completion_write(&out->bodies[ASK_IDS], request, model, features, err);
    if (s == OK && last != ASK_IDS) s = chat_bodies_write(out, request, t, model, err);
    if (s != OK) call_request_free(out);
    return s;
}

void call_request_free(struct call_request *r)
{
    for (int i = 0; i < ASK_FORMS; i++) buffer_free(&r->bodies[i]);
    for (int i = 0; i < ENGINE_CHOICES_MAX; i++) chat_answer_free(&r->answers[i]);
}

const char *call_request_path(const struct call_request *r)
{
    return r->form == ASK_IDS ? "/v1/completions" : "/v1/chat/completions";
}

/* The request is wrong, or there is no such route. A chat template that does not bear an assistant's
 * turn at the end fails with 500 in llama.cpp. */
static bool is_refusal(enum ask_form form, int http_status)
{
    switch (http_status) {
    case 400:
    case 404:
    case 405:
    case 415:
    case 422:
    case 501: return true;
    case 500: return form == ASK_CHAT;
    default: return false;
    }
}

bool call_request_refused(struct call_request *r, int http_status, const char *words,
                          enum ask_form known)
{
    enum ask_form next = known > r->form ? known : r->form + 1;
    bool again = is_refusal(r->form, http_status) && r->form < r->last_form;
    if (r->refused_status == 0 && is_refusal(r->form, http_status)) {
        r->refused_status = http_status;
        snprintf(r->refused, sizeof r->refused, "%s", words);
    }
    if (again) r->form = next < r->last_form ? next : r->last_form;
    return again;
}

void call_request_hear(struct call_request *r, int32_t choice, buffer *piece, bool ended)
{
    if (r->form == ASK_IDS || choice >= r->n_choices) return;
    struct chat_answer *a = &r->answers[choice];
    buffer heard = {.failed = piece->failed};
    if (piece->size) chat_answer_put(a, &heard, buffer_text(piece));
    if (ended) chat_answer_end(a, &heard);
    buffer_free(piece);
    *piece = heard;
}
