/* Frames of the base protocol: from a stream of bytes, in any cut, to whole messages.
 *
 * Pure: no descriptors, no loop. Headers come in any order and case, unknown ones are ignored, a
 * line may end in CRLF or LF. After a header without a usable Content-Length everything up to the
 * next "Content-Length:" is skipped, so one bad frame costs one message. Not thread-safe.
 * Source: LSP 3.18, base protocol. */
#ifndef LSP_SERVER_FRAME_H
#define LSP_SERVER_FRAME_H

#include <stdint.h>

#include "base/text.h"

enum frame_event {
    FRAME_NONE,       /* all bytes taken, nothing complete yet */
    FRAME_MESSAGE,    /* body holds a whole message */
    FRAME_BAD_HEADER, /* no usable Content-Length: skipping to the next one */
    FRAME_TOO_LARGE   /* a message over LSP_MESSAGE_MAX was drained; body holds its beginning */
};

enum frame_state { FRAME_IN_HEADER, FRAME_IN_BODY, FRAME_IN_EXCESS, FRAME_LOST };

/* Zeroed is ready. */
struct frame_reader {
    enum frame_state state;
    buffer header, body;
    uint64_t length_bytes, left_bytes; /* of the body: whole, and still to come */
    size_t matched;                    /* characters of "content-length:" seen while lost */
    bool reported;                     /* the body was handed out and is cleared by the next call */
};

/* Takes bytes up to and including the one that completes an event; returns how many. The body is
 * the caller's to change in place until the next call. An allocation that fails shows as
 * body.failed or a bad header. */
size_t frame_reader_take(struct frame_reader *r, text bytes, enum frame_event *event);

void frame_reader_free(struct frame_reader *r);

#endif
