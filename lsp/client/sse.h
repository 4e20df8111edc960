/* Server-sent events, as they arrive: any split of the stream gives the same events.
 *
 * Only `data` is kept; event names, ids and retry times mean nothing to our peers. It knows no JSON
 * and no network. One thread. Source: WHATWG HTML, section 9.2.6 "Interpreting an event stream". */
#ifndef LSP_CLIENT_SSE_H
#define LSP_CLIENT_SSE_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

/* Zeroed: at the start of a stream. Freed (and made ready for the next one) by sse_free. */
struct sse_parser {
    buffer line; /* an unfinished line */
    buffer data; /* of the event so far, lines joined by "\n" */
    bool has_data;
    bool after_cr; /* a "\n" now belongs to the line before */
    bool begun;    /* the first line was seen: no byte order mark any more */
};

/* Gets each event's data, which lives as long as the call. Returns false when no more events are
 * wanted: then the parser is not touched any more and may have been freed by the callback. */
typedef bool sse_callback(void *context, text data);

/* Feeds the next bytes. ERR_LIMIT when a line or an event exceeds SSE_EVENT_MAX, ERR_MEMORY; after
 * an error the stream is of no use. What follows the last blank line at the end is no event. */
status sse_put(struct sse_parser *p, text bytes, sse_callback *on_event, void *context, error *err);

void sse_free(struct sse_parser *p);

#endif
