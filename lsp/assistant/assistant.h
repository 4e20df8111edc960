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
#include "lsp/client/engine_client.h"

typedef struct assistant assistant;
typedef struct completion completion; /* one query under way */

struct assistant_options {
    uv_loop_t *loop;
    engine_client *client; /* borrowed */
    size_t budget_tokens;  /* 0: 8192 */
    int32_t max_tokens;    /* of one answer; 0: 64 for one line, 256 for many */
    int64_t automatic_deadline_ms, invoked_deadline_ms; /* 0: 600 and 3000 */
};

status assistant_open(assistant **out, const struct assistant_options *options, error *err);
void assistant_close(assistant *a); /* cancels what runs; their callbacks come first */

/* What one completion cost and what was sent for it: `dbrx/prompt`, `complete --json`, demo. */
struct completion_report {
    int64_t gather_us, layout_us, tokenize_us, ttft_us, total_us;
    int64_t n_prompt, n_cached, n_output;
    double tokens_per_s;
    const struct prompt *prompt; /* blocks; lives as long as the callback */
};

struct completion_answer {
    text insert;               /* empty: nothing to show, and reason says why */
    size_t from_byte, to_byte; /* range of the document it replaces; contains the cursor */
    bool cancelled;            /* by the caller or by a newer query of the same document */
    bool failed;               /* the engine did not answer, or not in time: reason says why */
    const char *reason;        /* static or living as long as the callback */
    struct completion_report report;
};

struct completion_query {
    struct document_view document; /* copied as far as needed */
    uint64_t document_key;         /* same document, same key: a newer query supersedes */
    int64_t version;
    size_t cursor_byte;
    bool invoked; /* the user asked; else typed */
};

/* Starts; the callback comes exactly once, from the loop, never from inside this call. A newer
 * query of the same document supersedes (answers as cancelled) an older one only if version or
 * cursor differ and it is not an Automatic one at an Invoked one's place; equal ones share one
 * generation. The handle is valid until the callback returns. */
status assistant_complete(assistant *a, const struct completion_query *query,
                          void (*on_answer)(void *context, const struct completion_answer *answer),
                          void *context, completion **out, error *err);

/* The callback comes with cancelled set. */
void completion_cancel(completion *c);

/* A document is gone: its anchors and caches are freed, its queries cancelled. */
void assistant_forget(assistant *a, uint64_t document_key);

#endif
