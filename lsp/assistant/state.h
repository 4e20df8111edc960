/* Inside the assistant: sessions, runs and completions. Nobody outside the room includes this.
 *
 *     assistant --> session (one per document) --> anchors of its prompt, cache of its last answer
 *                     ^
 *                   run (one generation of the engine) <-- completions that wait for it
 *
 * A run knows the engine's words, a completion knows what of them it wants: each has a trimmer of
 * its own, so one line for the one and a block for the other come from the same generation, and one
 * whose time is up leaves the others waiting. A completion waits (for a run and its deadline) or is
 * due (its answer is known); the one timer answers what is due, so no callback comes from inside a
 * function of the caller's. A run serves until it is detached; it is freed when the client's on_done
 * came and its last completion was answered, which may be after the assistant is gone. */
#ifndef LSP_ASSISTANT_STATE_H
#define LSP_ASSISTANT_STATE_H

#include "context/trim.h"
#include "lsp/assistant/assistant.h"
#include "lsp/assistant/completion_cache.h"

struct session {
    uint64_t document_key;
    prompt_session *prompts;
    struct completion_cache cache;
    struct session *next;
};

struct run {
    assistant *assistant;         /* NULL once detached: nobody wants what is still to come */
    struct session *session;      /* NULL likewise */
    engine_call *call;            /* NULL once on_done came */
    struct engine_answer numbers; /* as on_done gave them */
    int n_references;             /* the call, and each completion until it is answered */
    buffer said;                  /* the engine's words so far, for who joins later */
    trim *behind;                 /* of one whose time was up; what it finds goes into the cache */
    struct prompt prompt;
    struct completion_place place;
    int64_t version, begun_us;
    struct run *next;
};

struct completion {
    assistant *assistant;
    struct run *run; /* whose words it gets; NULL when there is none */
    trim *trim;      /* what it wants of them; NULL when due */
    uint64_t document_key, serial;
    size_t cursor_byte;
    int64_t deadline_us;
    void (*on_answer)(void *context, const struct completion_answer *answer);
    void *context;
    bool due, cancelled, failed;
    buffer insert;
    size_t replace_bytes;
    char reason[256];
    struct completion_report report; /* without the prompt, which is the run's */
    struct completion *next;
};

struct assistant {
    struct assistant_options options;
    struct session *sessions;
    struct run *runs;
    struct completion *completions; /* oldest first */
    uint64_t n_asked;               /* serial of the newest one */
    uv_timer_t timer;
    bool answering; /* completions_answer is on the stack */
    bool closing;
};

/* completion.c */

/* The answer is known; the first one counts. */
void completion_due(struct completion *c, text insert, size_t replace_bytes, const char *reason);
void completion_due_cancelled(struct completion *c);
void completion_due_failed(struct completion *c, const char *reason);
void completions_answer(assistant *a, bool all); /* those due; all: the others as cancelled */

/* run.c */

/* Begins a generation for `query`; ERR_* when there can be none. */
status run_begin(struct run **out, assistant *a, struct session *s,
                 const struct completion_query *query, const struct completion_place *place,
                 error *err);

/* `c` gets the words of the run from their beginning; it may be due at once. */
status run_join(struct run *r, struct completion *c, const struct completion_query *query,
                error *err);

/* The time of `c` is up: it gets what whole lines there are. Without any, the run goes on for a
 * while: the prompt it has computed and the line it may still find help the next question. */
void run_expire(struct run *r, struct completion *c);

/* Ends the run if nobody wants it any more. */
void run_unwanted(struct run *r);

/* Its completions are cancelled, the engine stops; the run frees itself later. */
void run_abandon(struct run *r);

/* Counts one holder less; the last one frees. */
void run_release(struct run *r);

/* Fills the report with what is known of the run now. */
void run_report(const struct run *r, struct completion_report *out);

#endif
