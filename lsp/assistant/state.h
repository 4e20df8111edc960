/* Inside the assistant: sessions, questions, runs and completions. Nobody outside the room includes
 * this.
 *
 *     assistant --> session (one per document) --> anchors of its prompt, cache of its suggestions
 *                     ^
 *                   run (one generation of the engine) <-- completions that wait for it
 *                     |                                         |
 *                     +--> question (a copy of what was asked) <+
 *
 * A run knows the engine's words, a completion knows what of them it wants: each has a trimmer of
 * its own, so one line for the one and a block for the other come from the same generation, and one
 * whose time is up leaves the others waiting. A completion waits (for a run and its deadline) or is
 * due (its answer is known); the one timer answers what is due, so no callback comes from inside a
 * function of the caller's. A run serves its own place and, while what was typed agrees with what it
 * says, places further on. It serves until it is detached, also when all was said and only its end is
 * looked for; it is freed when the client's on_done came and its last completion was answered, which
 * may be after the assistant is gone. */
#ifndef LSP_ASSISTANT_STATE_H
#define LSP_ASSISTANT_STATE_H

#include "context/syntax.h"
#include "context/trim.h"
#include "lsp/assistant/assistant.h"
#include "lsp/assistant/completion_cache.h"
#include "lsp/assistant/outcomes.h"
#include "lsp/assistant/rhythm.h"
#include "lsp/assistant/warm.h"

enum { RUN_OUTPUTS_MAX = 2 };

struct session {
    uint64_t document_key;
    char name[48]; /* of the engine's session */
    prompt_session *prompts;
    struct completion_cache cache;
    bool accepted; /* the last thing that happened: a suggestion was taken over, up to here */
    size_t accepted_byte;
    uint64_t shown_id; /* of what is shown, or was last */
    uint64_t done_id;  /* of what was counted as accepted, or as typed */
    bool done_was_typed;
    struct outcomes outcomes;
    bool planned;            /* excerpts have had their first say */
    struct question *latest; /* the document as it was last seen; NULL: not yet */
    int64_t engine;          /* that has its newest prompt: warmer.engine when that was sent */
    struct session *next;
};

/* What was asked, copied: the document may change while the answer comes. */
struct question {
    int n_references;
    buffer bytes; /* what the views of `query` look at */
    syntax *tree; /* likewise; NULL: none */
    struct completion_query query;
    struct completion_place place;
    bool many_lines;
};

/* One choice of a generation. */
struct output {
    buffer said; /* the engine's words so far, for who joins later */
    trim *keep;  /* all that may be shown of them, for the cache; NULL once it was taken */
    buffer insert;
    size_t replace_bytes;
};

struct run {
    assistant *assistant;         /* NULL once detached: nobody wants what is still to come */
    struct session *session;      /* NULL likewise */
    engine_call *call;            /* NULL once on_done came */
    struct engine_answer numbers; /* as on_done gave them */
    int n_references; /* the call, the assistant's list, each completion until it is answered */
    struct question *question; /* it was begun for */
    struct output outputs[RUN_OUTPUTS_MAX];
    int32_t n_outputs;
    bool alternates; /* other answers than the likeliest one */
    bool finished;   /* the model ended by itself; known once call is NULL */
    bool late;       /* who asked by typing was answered with nothing before a line was there */
    struct prompt prompt;
    int64_t begun_us, until_us; /* until then it goes on though nobody waits */
    struct run *next;
};

/* What may be shown at a completion's place. */
struct offer {
    buffer insert;
    size_t before_bytes, behind_bytes; /* around the cursor, that it stands for */
};

struct completion {
    assistant *assistant;
    struct question *question;
    struct session *session; /* NULL once the document is gone */
    struct run *run;         /* whose words it gets; NULL when there is none */
    struct run *more;        /* alternates it waits for; NULL: none */
    trim *trim;              /* what it wants of the run's words; NULL when settled */
    struct fit *fit;         /* looks for the end of what it gets; NULL: none is looked for */
    uint64_t serial;
    int64_t deadline_us, begin_us; /* begin_us: not before; 0: it has begun */
    void (*on_answer)(void *context, const struct completion_answer *answer);
    void *context;
    bool settled; /* the run has nothing more for it */
    bool due, cancelled, failed;
    struct offer offers[COMPLETION_ITEMS_MAX];
    size_t n_offers;
    uint64_t shown_id;
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
    uint64_t n_shown;               /* id of the newest suggestion */
    struct rhythm rhythm;
    struct warmer warmer;
    struct assistant_counters counters;
    uv_timer_t timer;
    bool answering; /* completions_answer is on the stack */
    bool closing;
};

/* budget.c */
/* Tokens for a prompt, and for its answer. */
size_t assistant_budget(const assistant *a, int32_t *answer_tokens);

/* question.c */
struct question *question_new(const struct completion_query *query, bool many_lines);
void question_release(struct question *q); /* NULL is nothing */

/* assistant.c */
struct session *session_of(assistant *a, uint64_t document_key); /* NULL: none */
status session_find(struct session **out, assistant *a, uint64_t document_key, error *err);
void assistant_wake(assistant *a, int64_t least_ms);

/* acceptance.c */

/* The text changed, and what was shown has this fate; `before`, with its cursor, is the document as
 * it was. Counts, and follows what was taken over. */
void acceptance_note(assistant *a, struct session *s, enum suggestion_fate fate,
                     const struct suggestion_left *before, size_t before_cursor,
                     const struct completion_query *now, text inserted);
int64_t acceptance_next_us(const assistant *a);
void acceptance_check(assistant *a);

/* completion.c */

/* Something to show: the first of it is what the cache gives when the user types along. Refused where
 * it was rejected before. */
void completion_offer(struct completion *c, const struct suggestion_left *left);
/* The run has nothing more for it; it is due unless alternates are still to come. */
void completion_settle(struct completion *c, const char *reason);
/* The answer is known; the first one counts. */
void completion_due(struct completion *c, const char *reason);
void completion_due_cancelled(struct completion *c);
void completion_due_failed(struct completion *c, const char *reason);
/* What the run says does not go on here: a run of its own. */
void completion_restart(struct completion *c);
void completions_answer(assistant *a, bool all); /* those due; all: the others as cancelled */

/* run.c */

/* Begins a generation; ERR_* when there can be none. */
status run_begin(struct run **out, assistant *a, struct session *s, struct question *question,
                 bool alternates, error *err);

/* What it has said may still go on at that place: it is its own, or typed along it. */
bool run_serves(const struct run *r, text content, const struct completion_place *place);

/* `c` gets the words of the run from their beginning; it may be settled at once. */
status run_join(struct run *r, struct completion *c, error *err);

/* The time of `c` is up: it gets what whole lines there are. Without any, the run goes on for a
 * while: the prompt it has computed and the line it may still find help the next question. */
void run_expire(struct run *r, struct completion *c);

/* Nobody waits any more: it goes on until then. */
void run_linger(struct run *r, int64_t ms);
/* Ends the run if nobody wants it any more. */
void run_unwanted(struct run *r);

/* Its completions are cancelled, the engine stops; the run frees itself later. */
void run_abandon(struct run *r);

/* Settles `c` with what stands at the run's place, the end of it known. */
void run_give(struct completion *c, text insert, size_t replace_bytes, const char *reason);

/* Counts one holder less; the last one frees. */
void run_release(struct run *r);

/* Fills the report with what is known of the run now. */
void run_report(const struct run *r, struct completion_report *out);

/* fit.c */

/* Asks where `result`, the answer to `c` at its run's place, fits best what stands below; run_give
 * follows. False: there is nothing to choose or nobody to ask. */
bool fit_begin(struct completion *c, const struct trim_result *result);
/* Time is up: the whole is taken. */
void fit_expire(struct completion *c);
/* Nobody waits for it any more. */
void fit_drop(struct completion *c);

#endif
