/* The transport: framed messages over two descriptors on a libuv loop.
 *
 * Pipes, sockets, terminals and files serve as either end. Output is queued; above LSP_OUTPUT_MAX
 * unread bytes input pauses until the client has read. Nothing else ever writes to the output
 * descriptor. It knows no JSON. One thread: the loop's. */
#ifndef LSP_SERVER_TRANSPORT_H
#define LSP_SERVER_TRANSPORT_H

#include <uv.h>

#include "base/error.h"
#include "lsp/server/frame.h"

typedef struct transport transport;

struct transport_handler {
    /* A frame event other than FRAME_NONE. `body` may be changed in place during the call;
     * length_bytes is what the header announced. */
    void (*on_frame)(void *context, enum frame_event event, buffer *body, uint64_t length_bytes);
    /* Once: input ended or an end broke. Called from the loop or from inside transport_send. */
    void (*on_end)(void *context, const char *reason);
    void *context;
};

status transport_open(transport **out, uv_loop_t *loop, int input_fd, int output_fd,
                      const struct transport_handler *handler, error *err);

/* Queues one frame around `message`. */
void transport_send(transport *t, text message);

/* Bytes the client has not read yet. */
size_t transport_queued_bytes(const transport *t);

/* Stops reading, lets the queue drain for at most three seconds, closes; `closed` is called on the
 * loop when the transport is gone and freed. */
void transport_close(transport *t, void (*closed)(void *context), void *context);

#endif
