/* Inside the assistant: sessions, runs and completions. Nobody outside the room includes this.
 *
 *     assistant --> session (one per document) --> anchors of its prompt, cache of its last answer
 *                     ^
 *                   run (one generation of the engine) <-- completions that wait for it
 *
 * A completion waits (for a run and its deadline) or is due (its answer is known); the one timer
 * answers what is due, so no callback comes from inside a function of the caller's. A run lives
 * until the client's on_done, and may outlive the assistant that began it. */
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
    assistant *assistant;         /* NULL once nobody wants the outcome */
    struct session *session;      /* NULL likewise */
    engine_call *call;            /* NULL once on_done came */
    struct engine_answer numbers; /* as on_done gave them */
    int n_references;             /* the call, and each completion until it is answered */
    trim *trim;
    struct prompt prompt;
    struct completion_place place;
    int64_t version, begun_us;
    bool invoked, many_lines;
    bool seen_line; /* the answer so far holds a whole line */
    struct run *next;
};

struct completion {
    assistant *assistant;
    struct run *run; /* whose answer it gets; NULL when there is none */
    uint64_t document_key;
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
    uv_timer_t timer;
    bool answering; /* the timer's callback is on the stack */
};

/* completion.c */

/* The answer is known; the first one counts. */
void completion_due(struct completion *c, text insert, size_t replace_bytes, const char *reason);
void completion_due_cancelled(struct completion *c);
void completion_due_failed(struct completion *c, const char *reason);
int64_t completion_deadline_ms(const assistant *a, bool invoked);
void completions_answer(assistant *a, bool all); /* those due; all: the others as cancelled */
void assistant_wake(assistant *a); /* arms the timer for what is due or has a deadline */

/* run.c */

/* Begins a generation for `query`; ERR_* when there can be none. */
status run_begin(struct run **out, assistant *a, struct session *s,
                 const struct completion_query *query, error *err);

/* Fills the report with what is known of the run now. */
void run_report(const struct run *r, struct completion_report *out);

/* Counts one holder less; the last one frees. */
void run_release(struct run *r);

/* Answers its completions with what whole lines have come, and ends it. */
void run_settle(struct run *r, bool finished);

/* Its completions are cancelled, the engine stops; the run frees itself later. */
void run_abandon(struct run *r);

#endif
