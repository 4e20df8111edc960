/* What client and server say to each other, kept for `dbrx-ls replay`: `--trace DIR`.
 *
 * A file of its own for each server, mode 0600, a line of JSON for each message:
 *     {"ms": 12.5, "from": "client" | "server", "message": {...}}
 *     {"ms": 13.0, "text": {"uri", "version", "text"}}   a document that may be kept from here on
 * It holds the text of documents. Of those that no model may read, and until that is known, every text is
 * {"bytes", "sha256"}; secrets inside the others are masked (secrets.h), except where they are typed key by
 * key. Nothing waits for the disk; what cannot be written, or is more than TRACE_BYTES_MAX, ends the trace
 * with a line in the log. A trace that is NULL takes everything and does nothing. One thread: the loop's. */
#ifndef LSP_SERVER_TRACE_H
#define LSP_SERVER_TRACE_H

#include <jansson.h>
#include <uv.h>

#include "base/error.h"
#include "base/text.h"

typedef struct trace trace;

/* Makes the directory if need be. ERR_IO names the path. */
status trace_open(trace **out, uv_loop_t *loop, const char *directory, error *err);
/* When the loop has ended. */
void trace_close(trace *t);

/* `hidden`: it is about a document that no model may read. */
void trace_from_client(trace *t, const json_t *message, bool hidden);
void trace_from_server(trace *t, const json_t *message);
void trace_document(trace *t, text uri, int64_t version, text content);

const char *trace_path(const trace *t);

/* A copy as it would be kept, secrets masked; NULL: out of memory. */
json_t *trace_masked(const json_t *value);

#endif
