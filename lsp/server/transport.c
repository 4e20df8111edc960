/* Two ends, each a libuv stream or, where the descriptor is a plain file, requests to libuv's file
 * system calls: a transcript can be fed from disk and its answers written to disk. */
#include "lsp/server/transport.h"

#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/memory.h"

enum { READ_BYTES = 65536, DRAIN_MS = 3000 };

/* One end: exactly one of the handles lives, chosen by uv_guess_handle. */
struct endpoint {
    int fd;
    bool is_file;
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_pipe_t pipe;
        uv_tcp_t tcp;
        uv_tty_t tty;
    } as;
};

struct transport {
    uv_loop_t *loop;
    struct transport_handler handler;
    struct endpoint in, out;
    uv_timer_t drain_timer;
    uv_fs_t file_read;
    struct frame_reader reader;
    size_t queued_bytes;
    int n_open; /* handles and file reads whose end is still to come */
    bool paused, reading, ended, closing, closing_handles;
    bool broken; /* output can no longer be written */
    void (*closed)(void *context);
    void *closed_context;
    char input[READ_BYTES];
};

struct output {
    uv_write_t request;
    transport *owner;
    size_t size;
    char bytes[];
};

static void transport_end(transport *t, const char *reason)
{
    if (t->ended) return;
    t->ended = true;
    t->handler.on_end(t->handler.context, reason);
}

static void output_break(transport *t, const char *reason)
{
    t->broken = true;
    transport_end(t, reason);
}

static void input_feed(transport *t, text bytes)
{
    while (bytes.size > 0 && !t->closing && !t->ended) {
        enum frame_event event;
        size_t n = frame_reader_take(&t->reader, bytes, &event);
        bytes = text_slice(bytes, n, bytes.size);
        if (event != FRAME_NONE)
            t->handler.on_frame(t->handler.context, event, &t->reader.body, t->reader.length_bytes);
    }
}

static void handle_closed(transport *t)
{
    if (--t->n_open > 0 || !t->closing_handles) return;
    void (*closed)(void *) = t->closed;
    void *context = t->closed_context;
    frame_reader_free(&t->reader);
    memory_free(t);
    if (closed) closed(context);
}

static void on_handle_closed(uv_handle_t *handle) { handle_closed(handle->data); }

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)suggested;
    transport *t = handle->data;
    *out = uv_buf_init(t->input, sizeof t->input);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    transport *t = stream->data;
    if (n > 0)
        input_feed(t, (text){buf->base, (size_t)n});
    else if (n < 0)
        transport_end(t, n == UV_EOF ? "end of input" : uv_strerror((int)n));
}

static void file_read_start(transport *t);

static void on_file_read(uv_fs_t *request)
{
    transport *t = request->data;
    ssize_t n = request->result;
    uv_fs_req_cleanup(request);
    t->reading = false;
    if (!t->closing) {
        if (n > 0)
            input_feed(t, (text){t->input, (size_t)n});
        else
            transport_end(t, n == 0 ? "end of input" : uv_strerror((int)n));
        if (!t->paused && !t->ended && !t->closing) file_read_start(t);
    }
    handle_closed(t);
}

static void file_read_start(transport *t)
{
    uv_buf_t buf = uv_buf_init(t->input, sizeof t->input);
    t->file_read.data = t;
    if (t->reading) return;
    int rc = uv_fs_read(t->loop, &t->file_read, t->in.fd, &buf, 1, -1, on_file_read);
    if (rc < 0) {
        transport_end(t, uv_strerror(rc));
        return;
    }
    t->reading = true;
    t->n_open++;
}

static void input_start(transport *t)
{
    if (t->in.is_file) {
        file_read_start(t);
        return;
    }
    int rc = uv_read_start(&t->in.as.stream, on_alloc, on_read);
    if (rc < 0 && rc != UV_EALREADY) transport_end(t, uv_strerror(rc));
}

static void input_stop(transport *t)
{
    if (!t->in.is_file) uv_read_stop(&t->in.as.stream);
}

static void input_pause_or_resume(transport *t)
{
    bool full = t->queued_bytes > (t->paused ? LSP_OUTPUT_MAX / 2 : LSP_OUTPUT_MAX);
    if (full == t->paused || t->closing || t->ended) return;
    t->paused = full;
    if (full)
        input_stop(t);
    else
        input_start(t);
}

static void handles_close(transport *t)
{
    if (t->closing_handles) return;
    t->closing_handles = true;
    uv_close((uv_handle_t *)&t->drain_timer, on_handle_closed);
    if (!t->in.is_file) uv_close(&t->in.as.handle, on_handle_closed);
    if (!t->out.is_file) uv_close(&t->out.as.handle, on_handle_closed);
}

static void on_drain_timer(uv_timer_t *timer) { handles_close(timer->data); }

static void on_written(uv_write_t *request, int rc)
{
    struct output *o = request->data;
    transport *t = o->owner;
    t->queued_bytes -= o->size;
    memory_free(o);
    if (rc < 0 && rc != UV_ECANCELED) output_break(t, uv_strerror(rc));
    if (t->closing && (t->queued_bytes == 0 || t->broken)) handles_close(t);
    if (!t->closing) input_pause_or_resume(t);
}

/* A plain file takes bytes at once. */
static void file_write_all(transport *t, text bytes)
{
    while (bytes.size > 0) {
        ssize_t n = write(t->out.fd, bytes.bytes, bytes.size);
        if (n <= 0) {
            output_break(t, "output cannot be written");
            return;
        }
        bytes = text_slice(bytes, (size_t)n, bytes.size);
    }
}

void transport_send(transport *t, text message)
{
    char header[64];
    int n_header = snprintf(header, sizeof header, "Content-Length: %zu\r\n\r\n", message.size);
    if (t->closing_handles) return;
    struct output *o = memory_take(1, sizeof *o + (size_t)n_header + message.size);
    if (!o) {
        transport_end(t, "out of memory for a message");
        return;
    }
    o->owner = t;
    o->request.data = o;
    o->size = (size_t)n_header + message.size;
    memcpy(o->bytes, header, (size_t)n_header);
    memcpy(o->bytes + n_header, message.bytes, message.size);
    if (t->out.is_file) {
        file_write_all(t, (text){o->bytes, o->size});
        memory_free(o);
        return;
    }
    uv_buf_t buf = uv_buf_init(o->bytes, (unsigned)o->size);
    t->queued_bytes += o->size;
    int rc = uv_write(&o->request, &t->out.as.stream, &buf, 1, on_written);
    if (rc < 0) {
        t->queued_bytes -= o->size;
        memory_free(o);
        output_break(t, uv_strerror(rc));
        return;
    }
    input_pause_or_resume(t);
}

size_t transport_queued_bytes(const transport *t) { return t->queued_bytes; }

/* Makes the handle that fits the descriptor; 0 or libuv's error. */
static int endpoint_open(struct endpoint *e, uv_loop_t *loop, int fd)
{
    int rc;
    e->fd = fd;
    switch (uv_guess_handle(fd)) {
    case UV_NAMED_PIPE:
        rc = uv_pipe_init(loop, &e->as.pipe, 0);
        return rc < 0 ? rc : uv_pipe_open(&e->as.pipe, fd);
    case UV_TCP:
        rc = uv_tcp_init(loop, &e->as.tcp);
        return rc < 0 ? rc : uv_tcp_open(&e->as.tcp, fd);
    case UV_TTY: return uv_tty_init(loop, &e->as.tty, fd, 0);
    case UV_FILE: e->is_file = true; return 0;
    default: return UV_EBADF;
    }
}

status transport_open(transport **out, uv_loop_t *loop, int input_fd, int output_fd,
                      const struct transport_handler *handler, error *err)
{
    *out = NULL;
    transport *t = memory_take(1, sizeof *t);
    if (!t) return fail(err, ERR_MEMORY, "transport: out of memory");
    t->loop = loop;
    t->handler = *handler;
    int rc = endpoint_open(&t->in, loop, input_fd);
    if (rc < 0) {
        memory_free(t);
        return fail(err, ERR_IO, "standard input: %s", uv_strerror(rc));
    }
    rc = endpoint_open(&t->out, loop, output_fd);
    if (rc < 0) {
        /* The input's handle may be in the loop already: t must stay. The program ends now. */
        return fail(err, ERR_IO, "standard output: %s", uv_strerror(rc));
    }
    uv_timer_init(loop, &t->drain_timer);
    t->drain_timer.data = t->in.as.handle.data = t->out.as.handle.data = t;
    t->n_open = 1 + !t->in.is_file + !t->out.is_file;
    input_start(t);
    *out = t;
    return OK;
}

void transport_close(transport *t, void (*closed)(void *context), void *context)
{
    if (t->closing) return;
    t->closing = true;
    t->closed = closed;
    t->closed_context = context;
    input_stop(t);
    if (t->queued_bytes == 0 || t->broken)
        handles_close(t);
    else
        uv_timer_start(&t->drain_timer, on_drain_timer, DRAIN_MS, 0);
}
