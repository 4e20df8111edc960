/* A commit message from its facts: the calls to the engine, in their order, and what comes of them.
 * On the loop; knows no repository (context/commit_facts.h is read before) and no JSON-RPC. */
#ifndef LSP_ASSISTANT_COMMIT_H
#define LSP_ASSISTANT_COMMIT_H

#include "context/commit_prompt.h"
#include "lsp/client/engine_client.h"

typedef struct commit_run commit_run;

/* What a process tells the server that started it: a line of stderr that begins so is how far it is. */
#define COMMIT_PROGRESS "progress: "

struct commit_options {
    engine_client *client;
    const struct commit_facts *facts; /* outlive the run */
    size_t budget_tokens;             /* of one prompt; 0: 8192. Less where the model is short. */
    bool again;                       /* another message than the likeliest one */
    uint64_t seed;
    bool warm; /* only computes the first prompt, for the question that will come */
};

struct commit_result {  /* texts live as long as the callback */
    status code;        /* OK, or why there is none, in `reason` */
    const char *reason; /* also of OK: the fault that was named in vain, or "" */
    text message;       /* ends in a line end */
    text omitted;       /* what the model did not see, one line each */
    int n_calls;
    int64_t n_prompt, n_cached, n_output; /* of all calls */
};

/* Begins; on_done comes once, from the loop, never from inside this call. on_progress says how far it is:
 * calls begun of those it will take at least, and tokens of the answer that have come. ERR_* when it
 * cannot begin: then no callback comes. */
status commit_begin(commit_run **out, const struct commit_options *options,
                    void (*on_progress)(void *context, int n_begun, int n_calls, int64_t n_tokens),
                    void (*on_done)(void *context, const struct commit_result *result),
                    void *context, error *err);

/* on_done comes with ERR_CANCELLED. */
void commit_cancel(commit_run *r);

#endif
