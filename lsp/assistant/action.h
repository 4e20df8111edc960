/* Actions: one task of the user's on a piece of a document, from the question to what may be done.
 *
 * An action never changes anything: it says what should stand where, and the caller asks the editor.
 * It runs on the loop, and everything slow (the disk, the engine) is waited for there. Knows documents
 * and bytes, no JSON-RPC. One thread: the loop's. */
#ifndef LSP_ASSISTANT_ACTION_H
#define LSP_ASSISTANT_ACTION_H

#include <uv.h>

#include "lsp/assistant/action_place.h"
#include "lsp/assistant/action_table.h"
#include "lsp/assistant/gatherer.h"
#include "lsp/client/engine_client.h"

typedef struct actions actions; /* all that run */
typedef struct action action;   /* one */

struct actions_options {
    uv_loop_t *loop;
    engine_client *client;            /* borrowed */
    gatherer *gatherer;               /* borrowed; NULL: nothing is gathered */
    const struct excerpts *excerpts;  /* for who has gathered beforehand; NULL: nothing */
    const struct repository_map *map; /* likewise */
};

status actions_open(actions **out, const struct actions_options *options, error *err);
/* Cancels all that run: their callbacks come from inside this call. Freed when the last thread that
 * works for one has ended. */
void actions_close(actions *a);
/* From now on: completions, whose system turn is shared, have so many tokens (8192 until it is said). A
 * prompt of an action has as many or 16384, whichever is more; less where the model is short. */
void actions_budget(actions *a, size_t completion_tokens);

struct action_query { /* all copied */
    const struct action_row *row;
    struct document_view document;
    text path;                 /* absolute; empty: the document is no file */
    uint64_t document_key;     /* for actions_changed */
    size_t from_byte, to_byte; /* what is selected; equal: the cursor */
    text details;              /* the user's instruction, or diagnostics in words */
    text human_language;       /* "German"; empty: the model's choice */
    const text *folders;       /* [n_folders] of the workspace, absolute */
    size_t n_folders;
    bool anywhere; /* nothing will be written: the place need not lie in the workspace */
};

enum action_outcome { ACTION_REFUSED, ACTION_PROSE, ACTION_REPLACE, ACTION_CREATE };

struct action_result { /* texts live as long as the callback */
    enum action_outcome outcome;
    status code;               /* of ACTION_REFUSED: ERR_CANCELLED, or why */
    const char *reason;        /* in words: why it was refused, or why prose ends early; or NULL */
    size_t from_byte, to_byte; /* of the document as it is now */
    text insert;               /* what stands there, or in the new file */
    text new_file;             /* absolute path of ACTION_CREATE */
    const char *confirm;       /* why the user is asked once more; NULL: no need */
    int64_t n_prompt, n_cached, n_output, ttft_us, total_us;
};

struct action_callbacks {
    void (*on_progress)(void *context, int64_t n_tokens); /* as words come; n may repeat */
    void (*on_prose)(void *context, text piece);          /* Markdown that can do no harm */
    void (*on_done)(void *context, const struct action_result *result); /* once, from the loop */
    void *context;
    void (*on_wait)(void *context, const char *words); /* for the engine; or NULL */
};

/* Begins. What is known to be wrong at once (no piece here, too large) is an error, and no callback
 * comes; else on_done comes exactly once, never from inside this call. The handle is valid until it
 * returns. */
status action_begin(action **out, actions *a, const struct action_query *query,
                    const struct action_callbacks *callbacks, error *err);

/* on_done comes with ERR_CANCELLED and the reason, from inside this call where nothing runs yet. */
void action_cancel(action *x, const char *reason);

/* The engine's state is another: what waits for it goes on, waits on, or ends. */
void actions_engine_changed(actions *a);

/* What a change, [from, to) becoming `inserted`, means for the piece [*piece_from, *piece_to): false when
 * it lies inside; else the piece is where it is afterwards. At the edges whole lines are outside. */
bool action_piece_follow(size_t *piece_from, size_t *piece_to, size_t from, size_t to,
                         text inserted);

/* [from, to) of the document became `inserted` (SIZE_MAX for from: anything may have changed). What is
 * asked about a piece that was touched is cancelled; a piece further down is moved. */
void actions_changed(actions *a, uint64_t document_key, size_t from, size_t to, text inserted);

#endif
