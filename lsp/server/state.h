/* What the files of the server share; private to lsp/server. One thread: the loop's. */
#ifndef LSP_SERVER_STATE_H
#define LSP_SERVER_STATE_H

#include <uv.h>

#include "base/arena.h"
#include "lsp/assistant/action.h"
#include "lsp/assistant/assistant.h"
#include "lsp/server/documents.h"
#include "lsp/server/lifetime.h"
#include "lsp/server/protocol.h"
#include "lsp/server/server.h"
#include "lsp/server/settings.h"
#include "lsp/server/trace.h"
#include "lsp/server/transport.h"

enum phase { PHASE_NEW, PHASE_RUNNING, PHASE_SHUT_DOWN };

/* The status as sent: see status.c. */
struct status_sender {
    uv_timer_t timer;
    bool wanted, waiting;
    int64_t sent_us;
    char *sent;        /* the last one's JSON */
    char note[320];    /* why a document gets nothing; "" when nothing is wrong */
    char failure[256]; /* why the engine's last answer was none; "" when it was one */
    double tokens_per_s, cached_share;
};

/* Counters that are written to disk: see tally.c. */
struct tally {
    uv_timer_t timer;
    bool open;
    struct assistant_counters written; /* of the present assistant */
};

/* What is staged, on its way to the engine: see stage.c. */
struct stage {
    uv_timer_t timer;
    bool open;
    char *folder;           /* whose turn comes when the timer ends; NULL: none */
    struct commit_job *job; /* that lets the engine read; NULL: none */
};

struct server {
    const struct server_options *options;
    uv_loop_t loop;
    struct lifetime lifetime;
    uv_timer_t end_timer, guard_timer;
    uv_idle_t parsing; /* active while a document's tree is not up to date */
    transport *wire;
    documents *documents;
    engine_client *client;
    struct engine_client_options engine; /* as it was opened with */
    assistant *assistant;
    gatherer *gatherer; /* NULL before initialize */
    enum phase phase;
    bool ending, torn_down;
    int exit_code;
    enum position_encoding encoding;
    bool has_configuration; /* the client answers workspace/configuration */
    struct client_can can;
    char human_language[32];    /* of the user's locale, "German"; "" when not known */
    json_t *init_options;       /* initializationOptions.dbrx */
    json_t *workspace_settings; /* the "dbrx" section, or NULL */
    json_t *folders;            /* array of decoded paths */
    char engine_error[256];     /* why there is no client */
    struct settings settings;
    struct status_sender status;
    struct tally tally;
    struct stage stage;
    struct judge *judges; /* processes under way */
    struct held *held;    /* requests that wait for one, oldest first */
    size_t n_judges, n_held;
    struct pending *pending; /* completions under way, newest first */
    size_t n_pending;
    actions *actions;   /* NULL without an engine's client */
    struct job *jobs;   /* actions under way, newest first */
    struct view *views; /* explanations, newest first */
    size_t n_jobs;
    int64_t next_name;                      /* of progress tokens and documents of ours */
    struct awaited *awaited;                /* requests of ours that have no answer yet */
    int64_t next_request, n_configurations; /* ids of our own requests; how often one was asked */
    bool trace;                             /* $/setTrace is not "off" */
    trace *record;                          /* --trace; NULL: none */
    int64_t received_us;                    /* of the message being handled */
};

/* server.c. Results and params are taken over; NULL as result is JSON null. */
void server_reply(struct server *s, json_t *id, json_t *result);
void server_reply_error(struct server *s, json_t *id, int code, const char *message);
void server_notify(struct server *s, const char *method, json_t *params);
/* `answered` is called once: with the response, or with NULL when none will come any more. */
typedef void answer_handler(struct server *s, const struct message *m, void *context);
void server_request(struct server *s, const char *method, json_t *params, answer_handler *answered,
                    void *context);
void request_ignore(struct server *s, const struct message *m, void *context);
void request_answered(struct server *s, const struct message *m);
void requests_close(struct server *s);
/* One line per request for the log and for clients that trace. */
void server_profile(struct server *s, const char *method, int64_t began_us, size_t size_bytes);
/* Ends soon, from the loop. Any number of calls. */
void server_end(struct server *s, const char *reason);

/* engine_link.c: the engine and the assistant, opened by initialize. */
void server_engine_open(struct server *s);
void assistant_reopen(struct server *s); /* after the budget changed */
void settings_recompute(struct server *s);

/* tally.c */
void tally_open(struct server *s);
void tally_assistant_ends(struct server *s); /* before it is closed */
void tally_close(struct server *s);

/* status.c */
status status_open(struct server *s, error *err);
void status_changed(struct server *s); /* sends now or soon, when it differs */
void status_note(struct server *s, const char *name, const char *reason); /* reason NULL: clears */
void status_failure(struct server *s, const char *reason); /* of an answer; "": it was one */
void status_close(struct server *s);

/* methods_text.c */
void method_did_open(struct server *s, const struct message *m);
void method_did_change(struct server *s, const struct message *m);
void method_did_close(struct server *s, const struct message *m);
void method_did_save(struct server *s, const struct message *m);
void document_gone(struct server *s, document *d); /* before it is removed */
void document_judged(struct server *s, const document *d);
void documents_parse_soon(struct server *s);

/* methods_life.c */
void method_initialize(struct server *s, const struct message *m);
void method_initialized(struct server *s, const struct message *m);
void method_shutdown(struct server *s, const struct message *m);
void method_exit(struct server *s, const struct message *m);
void method_set_trace(struct server *s, const struct message *m);
void method_did_change_configuration(struct server *s, const struct message *m);
void method_did_change_folders(struct server *s, const struct message *m);

/* methods_completion.c */
void method_inline_completion(struct server *s, const struct message *m);
void method_cancel(struct server *s, const struct message *m);
void method_prompt(struct server *s, const struct message *m);
void method_dismissed(struct server *s, const struct message *m);
void method_accepted(struct server *s, const struct message *m); /* the command of an item */
/* Why no model work is done for a document (NULL: not open), or NULL. Lives until the next call. What the
 * user asks for by a command needs no more than that; completions may be switched off besides. */
const char *document_exclusion(struct server *s, const document *d);
const char *document_refusal(struct server *s, const document *d);
/* The path as people say it: below a folder of the workspace, else the file's name. */
text path_shown(const struct server *s, const document *d);
void completions_cancel(struct server *s, uint64_t document_key); /* 0: all */
/* Keeps what an answer cost for dbrx/prompt and the status. */
void report_keep(struct server *s, document *d, const struct completion_report *report);
void answer_tell(struct server *s, const struct completion_answer *answer);

void document_opened(struct server *s, const document *d);
/* One change is about to be applied. */
void document_edited(struct server *s, const document *d, size_t from, size_t n_removed,
                     size_t n_inserted);
/* The document has changed, behind these bytes: the assistant looks at what runs and is shown. */
void document_changed(struct server *s, const document *d, size_t cursor_byte, size_t n_inserted);

/* The cursor is there: what belongs there may be gathered. */
void document_gather(struct server *s, const document *d, size_t cursor_byte);

/* Asks the assistant about `content` (the document's text, or with a selected item in it), of which
 * `tree` is the parse, or NULL. */
status completion_ask(struct server *s, const document *d, text content, const syntax *tree,
                      size_t cursor_byte, bool invoked,
                      void (*on_answer)(void *context, const struct completion_answer *answer),
                      void *context, completion **out, error *err);

/* methods_action.c */
void method_code_action(struct server *s, const struct message *m);
void method_execute_command(struct server *s, const struct message *m);

/* action_job.c: an action the user gave, until its request is answered. */
void job_begin(struct server *s, const struct message *m, const document *d,
               const struct action_row *row, const json_t *argument);
/* What jobs of other files share: a number to find it by, progress, one reply, an end. NULL when there are
 * too many. */
struct job *job_new(struct server *s, const struct message *m, const char *title);
struct job *job_find(const struct server *s, int64_t number);
int64_t job_number(const struct job *j);
void job_works(struct job *j, void (*stop)(void *work), void *work);
void job_progress_open(struct job *j);
void job_report(struct job *j, text words); /* how far it is */
void job_finish(struct job *j, json_t *result);
void job_fail(struct job *j, int code, const char *reason);
void method_progress_cancel(struct server *s, const struct message *m);
bool job_cancel(struct server *s, const json_t *id); /* false: no such request */
/* Before and after a change of a document: [from, to) becomes `inserted`; SIZE_MAX: anything. */
void jobs_changed(struct server *s, uint64_t document_key, size_t from, size_t to, text inserted);
void jobs_seen(struct server *s, const document *d); /* after all changes of a message */
void jobs_document_gone(struct server *s, uint64_t document_key);
void jobs_close(struct server *s);

/* commit_job.c: messages for what is staged, by a process of its own. */
void commit_job_begin(struct server *s, const struct message *m);
/* Only lets the engine read the prompt; nobody is answered. NULL when it cannot be started. */
struct commit_job *commit_job_warm(struct server *s, const char *folder);
void commit_job_kill(struct commit_job *c);

/* stage.c: commit messages are made ready when something is staged. */
void stage_open(struct server *s);
void stage_stop(struct server *s); /* what is under way no longer helps */
void stage_close(struct server *s);

/* explain_view.c: prose on its way to where the client shows it. */
struct view *view_open(struct server *s, text name);
void view_put(struct view *v, text piece);
json_t *view_finish(struct view *v,
                    const char *early); /* its URI, or null; the view stays readable */
void method_document_content(struct server *s, const struct message *m);
void views_close(struct server *s);

/* judge.c: what the disk says about a document's file, by a process of its own. */
enum { JUDGED_LINKED = 4 }; /* its exit code for "it may, by where its links lead now" */
typedef void method_handler(struct server *s, const struct message *m);
void judge_ask(struct server *s, document *d); /* until then nothing is done with it */
void judge_ask_all(struct server *s);          /* attributes or patterns have changed */
/* The document has changed; before it had n_before bytes, of which n_removed went; n_written came. */
void judge_changed(struct server *s, document *d, size_t n_before, size_t n_removed,
                   size_t n_written);
const char *judge_refusal(const document *d);          /* as document_exclusion */
bool judge_waits(struct server *s, const document *d); /* nothing else refuses it */
/* The request is handled when the document has been judged. False: it need not wait, or cannot. */
bool judge_holds(struct server *s, const document *d, const struct message *m,
                 method_handler *handle);
bool judge_cancel(struct server *s, const json_t *id);    /* false: no such request waits */
void judge_drop(struct server *s, uint64_t document_key); /* what waits is cancelled; 0: all */
void judges_close(struct server *s);

/* popup.c */
void method_completion(struct server *s, const struct message *m);
bool popup_cancel(struct server *s, const json_t *id);
/* The document changed: who waits gets nothing of the old text. */
void popup_changed(document *d);
void popup_close(document *d);

/* Whether a document's file may reach a model. */
enum verdict { VERDICT_NONE, VERDICT_ALLOWED, VERDICT_EXCLUDED };

/* What the server keeps with a document. */
struct companion {
    enum verdict verdict;
    const char *why; /* it is excluded; static */
    bool wanted;     /* it is to be judged, again or for the first time */
    bool judging;
    bool linked;         /* the path leads through a link, which may lead elsewhere any time */
    bool again;          /* allowed so far, but the text may be another file's now */
    json_t *last_prompt; /* dbrx/prompt's result */
    char nothing[160];   /* why the last completion showed nothing; "" where it showed something */
    struct popup *popup;
};

#endif
