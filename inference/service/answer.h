/* An answer: the generations of one request, turned into one JSON object or a stream of them.
 *
 * Completions and chat differ only in how a request becomes ids and in the shape of their objects;
 * that difference is an answer_form, the rest is here. Lives on its connection's thread. */
#ifndef INFERENCE_SERVICE_ANSWER_H
#define INFERENCE_SERVICE_ANSWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "inference/engine.h"
#include "inference/service/http.h"
#include "inference/service/json_request.h"
#include "inference/service/utf8_hold.h"

/* Tokens whose log-probability is still to be told; only filled when it was asked for. */
struct token_log {
    int32_t *ids;
    float *logprobs;
    struct sample_result *details; /* with the best alternatives, when any were asked for */
    size_t n, room;
    bool failed;
};

struct choice {
    generation *g;
    struct utf8_hold hold;
    buffer text; /* whole characters, not yet told */
    struct token_log log;
    size_t told_characters; /* of tokens told: text_offset of the next one */
    enum finish_reason finish;
    bool ended; /* in a stream: its last chunk is out */
};

struct answer;

struct answer_form {
    bool chat;
    const char *id_prefix, *object, *chunk_object;
    int64_t default_max_tokens;
    /* The ids of prompt i. */
    status (*prompt)(token_list *out, const struct answer *a, size_t i,
                     struct request_fault *fault);
    /* The inside of {"index": i, ...}: the whole choice; in a stream what is new of it; and what a
     * choice's stream opens with before any token (NULL: nothing). */
    void (*put_choice)(buffer *out, const struct answer *a, struct choice *c);
    void (*put_delta)(buffer *out, const struct answer *a, struct choice *c);
    void (*put_opening)(buffer *out);
};

struct answer {
    struct http_source source;
    struct service *service;
    engine *engine;
    const struct answer_form *form;
    struct completion_request request;
    arena memory;
    struct choice choices[HTTP_CHOICES_MAX];
    size_t n_prompts, n_choices; /* choices in all, grouped by prompt */
    token_list predicted;        /* the request's, as ids */
    int fd;
    struct request_entry entry;
    int64_t deadline_us; /* 0: none */
    bool late;           /* the deadline ended it */
    char id[40];
    int64_t created_s;

    buffer out; /* streaming: bytes to be sent from `sent` on */
    size_t sent;
    bool begun, ended;
    int64_t spoken_us;
};

/* Serves the request in x->body in the given form. */
bool answer_handle(struct exchange *x, const struct answer_form *form);

/* "stop", "length" in quotes, or null while it runs. */
void put_finish(buffer *out, const struct answer *a, const struct choice *c);

/* The text of a token as OpenAI's legacy logprobs spell it: "bytes:\xe2\x82" when it is no whole
 * UTF-8. With its quotes. */
void put_token(buffer *out, const struct answer *a, int32_t id);

/* Whether the chosen token is among the n best of it. */
bool is_among_best(const struct sample_result *r, int64_t n);

/* A log-probability; minus infinity is -9999, as OpenAI has it. */
void put_logprob(buffer *out, float logprob);

#endif
