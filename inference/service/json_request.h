/* The bodies of POST /v1/completions and /v1/chat/completions as structs.
 *
 * Pure: bytes in, a checked request or one fault out. Every number is in its range, every text
 * field has its type; what this engine cannot do but a client may rely on (echo, tools,
 * penalties, ...) is refused by name instead of being ignored; fields nobody here knows are ignored.
 * It knows no model: ids are checked against the vocabulary later. Any thread. */
#ifndef INFERENCE_SERVICE_JSON_REQUEST_H
#define INFERENCE_SERVICE_JSON_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/limits.h"
#include "base/text.h"
#include "inference/engine.h"
#include "tokenizer/chatml.h"

/* Why a body was refused, as OpenAI's errors say it. */
struct request_fault {
    error error;
    char param[64]; /* "temperature", "messages[2].content"; "" when it is the body itself */
    bool own_limit; /* ERR_BUSY because of what the caller has under way himself */
};

/* One prompt: text, or ids. */
struct request_prompt {
    text bytes;
    const int32_t *ids; /* NULL: it is text */
    size_t n_ids;
};

struct completion_request {
    text model;                                      /* "" when not named */
    struct request_prompt prompts[HTTP_CHOICES_MAX]; /* completions */
    size_t n_prompts;
    struct chat_message *messages; /* chat */
    size_t n_messages;

    int64_t max_tokens; /* -1: the route's default */
    double temperature, top_p, min_p, repetition_penalty;
    int64_t top_k;
    bool has_seed;
    uint64_t seed;
    text stops[HTTP_STOPS_MAX];
    size_t n_stops;
    int64_t n_choices;  /* per prompt; n_prompts * n_choices <= HTTP_CHOICES_MAX */
    int64_t n_logprobs; /* -1: none wanted; else alternatives per token */
    bool stream, include_usage;
    bool continuous_usage; /* with include_usage: in every chunk, not only in the last */
    bool ignore_eos;       /* go on behind stop ids: benchmarks */

    enum priority priority;
    int64_t deadline_ms; /* 0: none */
    text cache_salt;
    text session, supersedes;                             /* see requests.h */
    buffer must_start_with;                               /* decoded; owned */
    struct request_prompt predicted, forbid_first, score; /* the last two are ids only */
    struct request_prompt score_behind[HTTP_CHOICES_MAX]; /* what a choice adds to the prompt */
    size_t n_score_behind;                                /* 0, or n_choices */
    text forbid_unopened;
    bool draft; /* tokens may be verified ahead; the default */

    struct json_t *root; /* the texts above point into it */
};

/* Parses a body; on OK *out is freed by completion_request_free. `chat` chooses the route's fields.
 * ERR_FORMAT: no JSON object; ERR_LIMIT: JSON past the bounds; ERR_USAGE: a field; ERR_UNSUPPORTED: a
 * field this engine cannot honour; ERR_MEMORY. Arrays live in `a`. */
status completion_request_parse(struct completion_request *out, arena *a, text body, bool chat,
                                struct request_fault *fault);

void completion_request_free(struct completion_request *r);

#endif
