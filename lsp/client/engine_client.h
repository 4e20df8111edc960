/* The engine client: one connection policy between the front and whatever engine it uses.
 *
 * Runs on the caller's libuv loop and never blocks it (curl's multi interface). It finds or starts
 * the local engine, or talks to a configured endpoint; holds the lease stream; knows by handshake
 * whether the engine is ours; breaks the circuit after repeated failures. All text of an engine is
 * untrusted. It knows token ids and bytes; no documents and no JSON-RPC. One thread: the loop's. */
#ifndef LSP_CLIENT_ENGINE_CLIENT_H
#define LSP_CLIENT_ENGINE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "base/text.h"
#include "tokenizer/tokenizer.h"

typedef struct engine_client engine_client;
typedef struct engine_call engine_call;

enum engine_state {
    ENGINE_STARTING, /* looking for it, or starting it */
    ENGINE_LOADING,  /* it answers, the model is on its way: see progress */
    ENGINE_READY,
    ENGINE_DEGRADED, /* works with less: reason says what is missing */
    ENGINE_OFF       /* cannot be used: reason says why; retried by itself where that can help */
};

struct engine_status {
    enum engine_state state;
    char reason[256];      /* in words, one line; "" when ready */
    double progress;       /* 0..1 while loading */
    char model[128];       /* as the engine names it */
    char endpoint[256];    /* for people: "local engine", or the URL without credentials */
    bool local, ours;      /* started by us on this machine; speaks our api */
    bool demo;             /* the model is random or the embedded one */
    bool scores_behind;    /* engine_request.score_behind is known to it */
    bool by_chat;          /* asked by chat messages: whatever is sent ahead is lost */
    int32_t max_model_len; /* as the engine counts; 0: not known */
    int32_t usable_len;    /* tokens of ours that fit for sure; 0: not known */
    double queue;          /* requests before ours, from the lease stream */
};

struct engine_client_options {
    uv_loop_t *loop;
    const char
        *endpoint; /* "http://HOST:PORT", "https://...", "unix:/PATH"; NULL: the local engine */
    const char *api_key;   /* NULL: none */
    const char *ca_file;   /* NULL: the system's */
    const char *model_dir; /* for the local engine; NULL: the embedded model */
    const char *backend;   /* for the local engine; NULL: auto */
    int32_t n_threads;     /* for the local engine; 0: its default */
    const char *idle;      /* for the local engine: seconds, or "never"; NULL: its default */
    const char *program;   /* for the local engine; NULL: this very executable */
    int64_t first_byte_ms; /* of a call's answer; 0: 300 s, a CPU engine's longest prefill */
    int64_t idle_ms;       /* between two pieces of an answer; 0: 60 s */
    /* Called on the loop whenever the status changed; at most every 50 ms. */
    void (*on_status)(void *context, const struct engine_status *status);
    void *context;
};

/* Begins to connect (and, without an endpoint, to start the local engine) as soon as the loop runs.
 * The strings are copied. ERR_USAGE for an endpoint or key that cannot be one. */
status engine_client_open(engine_client **out, const struct engine_client_options *options,
                          error *err);

/* Cancels all calls (each gets its on_done with ERR_CANCELLED, from the loop) and closes; `closed` may
 * be NULL and is called on the loop when the client is gone and freed. */
void engine_client_close(engine_client *c, void (*closed)(void *context), void *context);

const struct engine_status *engine_client_status(const engine_client *c);

/* The engine's tokenizer once known (handshake and cache), else NULL. Lives as long as the client,
 * also when the engine changes. */
const tokenizer *engine_client_tokenizer(const engine_client *c);

struct engine_request {    /* all copied */
    const int32_t *prompt; /* [n_prompt] */
    size_t n_prompt;
    int32_t max_tokens;
    float temperature;
    uint64_t seed;
    const text *stops; /* [n_stops] UTF-8; at most HTTP_STOPS_MAX */
    size_t n_stops;
    int32_t n_choices;    /* 0: one; at most ENGINE_CHOICES_MAX */
    const char *priority; /* "interactive", "action", "batch", "warm" */
    /* The next eight are sent to engines that have the feature, and mean nothing to others. */
    const char *session; /* NULL: none */
    bool supersedes;     /* older calls of the session end */
    bool wants_logprobs; /* of what is said */
    const int32_t *forbid_first,
        *score; /* ids that do not come first; ids to score behind the end */
    size_t n_forbid_first, n_score;
    /* With max_tokens 0: `score` is scored behind the prompt and each of these, a choice for each;
     * n_choices says how many. NULL: behind what is said. */
    const token_list *score_behind;
    const char *forbid_unopened; /* closing brackets; NULL: none */
    text must_start_with; /* sent only to engines that list the feature; else the caller checks */
    int64_t deadline_ms;  /* 0: none; the call ends with what has come by then: OK, "deadline" */
    text predicted; /* what the answer may resemble, or nothing: it comes sooner, and is the same */
};

enum { ENGINE_CHOICES_MAX = 4 };

/* What is known of one choice beside its text. */
struct engine_candidate {
    double sum_logprob, score_logprob; /* NAN: not said */
    int64_t n_logprobs;                /* tokens that sum_logprob speaks of */
    bool finished;
};

struct engine_answer {
    status code;        /* OK, ERR_CANCELLED, ERR_NETWORK (cut, refused), ERR_BUSY, ... */
    const char *reason; /* in words when code is not OK */
    bool cut;           /* the stream ended before its end: text is incomplete */
    const char *finish; /* "stop", "length", "deadline", "" */
    int64_t n_prompt, n_cached, n_output; /* 0 where the engine does not say */
    int64_t ttft_us, total_us;            /* from sending; ttft_us 0: no text came */
    double tokens_per_s; /* of what came behind the first bytes; 0: it all came at once */
    struct engine_candidate choices[ENGINE_CHOICES_MAX];
};

struct engine_callbacks {
    void (*on_text)(void *context, text piece); /* UTF-8; never after cancel or on_done */
    void (*on_done)(void *context, const struct engine_answer *answer); /* exactly once */
    void *context;
    void (*on_other)(void *context, int32_t choice, text piece); /* of choices behind the first */
};

/* Streams a completion. An engine that takes no ids gets the prompt's turns as chat messages; what it
 * says is given as if it had gone on from the open turn. A warm request it does not get:
 * ERR_UNSUPPORTED. While the engine is not READY or DEGRADED it fails at once through on_done (from the
 * loop, never from inside this call) with ERR_BUSY (it will come: starting, loading) or ERR_NETWORK
 * (off). ERR_USAGE for a request that no engine could take, ERR_MEMORY: then there is no call, and no
 * on_done. The handle is valid until on_done returns. */
status engine_client_complete(engine_client *c, const struct engine_request *request,
                              const struct engine_callbacks *callbacks, engine_call **out,
                              error *err);

/* What is known of a call under way: counts and times so far. Engines that know
 * continuous_usage_stats say the counts with every piece, others at the end. */
void engine_call_snapshot(const engine_call *call, struct engine_answer *out);

/* Closes the stream at once; on_done comes from the loop, with ERR_CANCELLED. No more text comes. */
void engine_call_cancel(engine_call *call);

#endif
