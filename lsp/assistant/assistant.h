/* The assistant: from a place in a document to what the editor may show there.
 *
 * It joins context (prompt, trimming) and the engine client; it knows documents, no JSON-RPC. One
 * assistant per front, on the loop's thread. Every query is answered exactly once. */
#ifndef LSP_ASSISTANT_ASSISTANT_H
#define LSP_ASSISTANT_ASSISTANT_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/error.h"
#include "context/document.h"
#include "context/prompt.h"
#include "lsp/assistant/counters.h"
#include "lsp/assistant/gatherer.h"
#include "lsp/client/engine_client.h"

typedef struct assistant assistant;
typedef struct completion completion; /* one query under way */

struct assistant_options {
    uv_loop_t *loop;
    engine_client *client;            /* borrowed */
    gatherer *gatherer;               /* borrowed; NULL: nothing is gathered */
    const struct excerpts *excerpts;  /* for who has gathered beforehand; NULL: nothing */
    const struct repository_map *map; /* the same */
    size_t budget_tokens;             /* of a prompt; 0: 8192. Less where the model is short. */
    int32_t max_tokens; /* of one answer; 0: 256. The stream is closed when no more is wanted. */
    int64_t automatic_deadline_ms, invoked_deadline_ms; /* 0: 600 and 3000 */
    bool no_warming;      /* nothing is computed before it is asked for */
    int32_t n_candidates; /* answers for who asks: 1, or 0 for as many as there are */
    /* What a query of this document did not get in time is in the cache now. NULL: nobody asks. */
    void (*on_late)(void *context, uint64_t document_key);
    void *context;
};

status assistant_open(assistant **out, const struct assistant_options *options, error *err);
/* Cancels what runs; the callbacks come from inside this call. Freed by the loop. */
void assistant_close(assistant *a);

/* What one completion cost and what was sent for it: `dbrx/prompt`, `complete --json`, demo. */
struct completion_report {
    int64_t gather_us, layout_us, tokenize_us, ttft_us, total_us;
    int64_t n_prompt, n_cached, n_output;
    double tokens_per_s;
    const struct prompt *prompt; /* blocks; lives as long as the callback */
};

enum { COMPLETION_ITEMS_MAX = 3 };

struct completion_item {
    text insert;
    size_t from_byte, to_byte; /* range of the document it replaces; contains the cursor */
};

struct completion_answer {
    text insert;               /* of the first item; empty: nothing to show, and reason says why */
    size_t from_byte, to_byte; /* of the first item */
    struct completion_item items[COMPLETION_ITEMS_MAX]; /* best first; several only when invoked */
    size_t n_items;
    uint64_t
        shown_id;   /* of the first item, for assistant_accepted; it stays while one types along */
    bool cancelled; /* by the caller or by a newer query of the same document */
    bool failed;    /* the engine gave nothing: people should be told the reason */
    const char *reason; /* static or living as long as the callback */
    struct completion_report report;
};

struct completion_query {
    struct document_view document; /* copied as far as needed */
    text path;                     /* absolute; empty: the document is no file */
    uint64_t document_key;         /* same document, same key: a newer query supersedes */
    size_t cursor_byte;
    bool invoked; /* the user asked; else typed */
};

/* Starts; the callback comes exactly once, from the loop, never from inside this call: when nothing
 * further can change the answer, or at the deadline with the whole lines that are there. A newer
 * query of the same document supersedes an older one (which is answered as cancelled) if cursor or
 * text differ; equal ones share one generation, and each gets of it what it wants, in its own time. A
 * generation goes on while what is typed agrees with what it says. From a callback everything of this
 * header may be called. The handle is valid until the callback returns. ERR_MEMORY; ERR_CANCELLED once
 * the assistant closes: no callback comes then. */
status assistant_complete(assistant *a, const struct completion_query *query,
                          void (*on_answer)(void *context, const struct completion_answer *answer),
                          void *context, completion **out, error *err);

/* The callback comes with cancelled set, from the loop. */
void completion_cancel(completion *c);

/* The text of a document is another one now: `query` has it, with the cursor where the change ends,
 * as far as that is known, and the change's last n_inserted bytes before it. What runs and does not
 * agree with it ends; so does what was shown, which is rejected where something else was typed. */
void assistant_changed(assistant *a, const struct completion_query *query, size_t n_inserted);

/* One change of a document's text, before assistant_changed is told of them all. */
void assistant_edited(assistant *a, uint64_t document_key, size_t from, size_t n_removed,
                      size_t n_inserted);

/* The editor says that a suggestion was taken over: what the changes say is then not doubted. */
void assistant_accepted(assistant *a, uint64_t shown_id);

/* The user sent away what is shown in the document: it is not offered there again. */
void assistant_dismissed(assistant *a, uint64_t document_key);

/* A document was opened, with this text. */
void assistant_opened(assistant *a, const struct completion_query *query);

/* The client's status is another one. An engine that is ready now has nothing in its cache: what is
 * open is warmed as it is. */
void assistant_engine_changed(assistant *a);

/* Whether work may be done ahead of questions: it is wanted, the engine is ready, and a later
 * question is known to find what it leaves. */
bool assistant_warms(const assistant *a);

/* Adds what was counted elsewhere. */
void assistant_count(assistant *a, const struct assistant_counters *more);
void assistant_counters(const assistant *a, struct assistant_counters *out);

/* A document is gone: its anchors and caches are freed, its queries cancelled. */
void assistant_forget(assistant *a, uint64_t document_key);

#endif
