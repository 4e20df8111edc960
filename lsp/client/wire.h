/* What goes over the wire, as JSON: requests written, answers read. No network and no state.
 *
 * Everything that is read comes from a peer and is checked: types, ranges, lengths; unknown fields
 * are ignored. Any thread. Source: OpenAI's completions and chat API, vLLM's and llama.cpp's additions
 * to it, and the handshake of our own service. */
#ifndef LSP_CLIENT_WIRE_H
#define LSP_CLIENT_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "lsp/client/engine_client.h"
#include "tokenizer/chatml.h"
#include "tokenizer/tokenizer.h"

/* The number both sides must share to use each other's own fields. */
enum { ENGINE_API = 1 };

enum engine_feature {
    FEATURE_LEASE = 1 << 0,
    FEATURE_PRIORITY = 1 << 1,
    FEATURE_MUST_START_WITH = 1 << 2,
    FEATURE_DEADLINE = 1 << 3,
    FEATURE_FORBID_FIRST = 1 << 4,
    FEATURE_FORBID_UNOPENED = 1 << 5,
    FEATURE_SCORE = 1 << 6,
    FEATURE_PREDICTED = 1 << 7,
    FEATURE_SCORE_BEHIND = 1 << 8
};

/* What an engine says of itself, in the handshake and on the lease stream. */
enum remote_state { REMOTE_STARTING, REMOTE_LOADING, REMOTE_READY, REMOTE_DRAINING, REMOTE_FAILED };

struct handshake {
    int64_t api;
    char version[32], backend[64];
    char model[128]; /* "": not known yet */
    char tokenizer_sha256[65];
    int32_t max_model_len, vocabulary_size; /* 0: not known yet */
    struct special_ids specials;
    unsigned features; /* of enum engine_feature */
    enum remote_state state;
    double progress;
    char reason[200]; /* of REMOTE_FAILED, in its words */
    bool demo;
};

/* ERR_FORMAT when `json` is no handshake of any api, or one of ours with a field out of range. For
 * another api only `api` and `version` are read. */
status handshake_parse(struct handshake *out, text json, error *err);

struct lease_event {
    enum remote_state state;
    double progress;
    char reason[200];
    int64_t n_queued, n_running;
};

status lease_event_parse(struct lease_event *out, text json, error *err);

/* The first row of GET /v1/models; max_model_len is 0 where the engine does not say, by whatever name. */
struct model_row {
    char model[128];
    int32_t max_model_len;
};

status models_parse(struct model_row *out, text json, error *err);

/* Appends the body of POST /v1/completions. `model` is NULL for our own engines; of the "dbrx"
 * object only what `features` holds is written. ERR_USAGE for stops that are not UTF-8. */
status completion_write(buffer *out, const struct engine_request *request, const char *model,
                        unsigned features, error *err);

/* How an engine is asked. */
enum ask_form {
    ASK_IDS,  /* POST /v1/completions: token ids */
    ASK_CHAT, /* POST /v1/chat/completions: the open turn stands last, to be gone on from */
    ASK_PLAIN /* the same with what every chat API takes: no system turn, a user's turn last */
};

/* Appends the body of POST /v1/chat/completions with these messages, written by chat_text_write. In
 * both forms the answer is to begin behind the open turn or to say it again. Stops that the open turn
 * holds are left out. ERR_USAGE for stops that are not UTF-8. */
status chat_write(buffer *out, const struct engine_request *request,
                  const struct chat_messages *messages, enum ask_form form, const char *model,
                  error *err);

/* Appends the body of POST /detokenize: what would these ids be there? */
status detokenize_write(buffer *out, const char *model, const int32_t *ids, size_t n, error *err);

/* Appends the text of its answer. ERR_FORMAT: it says none. */
status detokenize_parse(buffer *out, text json, error *err);

/* One object of an answer: a chunk of a stream or the whole of it. */
struct completion_piece {
    int32_t choice;    /* whose text and finish it has; below ENGINE_CHOICES_MAX */
    char finish[16];   /* "": not finished yet */
    char failure[256]; /* the peer reports an error in place of a piece; "": none */
    int64_t n_prompt, n_cached, n_output; /* -1: not said here */
    double sum_logprob;                   /* of the tokens of this piece */
    int64_t n_logprobs;
    double scores[ENGINE_CHOICES_MAX]; /* NAN: not said */
};

/* Appends the piece's text to *out; of a chat, what the assistant says and not what it thinks. */
status completion_parse(struct completion_piece *piece, buffer *out, text json, bool chat,
                        error *err);

/* The message of an error body, cleaned for people, or "" where there is none. */
void error_body_parse(char out[256], text json);

#endif
