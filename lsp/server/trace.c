/* Lines collect in memory; one write at a time is under way on libuv's threads. */
#include "lsp/server/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/sha256.h"
#include "context/secrets.h"
#include "lsp/server/protocol.h"

struct trace {
    uv_loop_t *loop;
    int fd;
    buffer path, waiting, writing;
    size_t written; /* of `writing` */
    uv_fs_t write;
    bool busy, ended;
    int64_t began_us;
    uint64_t size_bytes; /* of all lines */
};

static void trace_end(trace *t, const char *why)
{
    if (t->ended) return;
    t->ended = true;
    buffer_free(&t->waiting);
    log_line(LOG_WARN, "trace: %s ends here: %s", t->path.bytes, why);
}

static void trace_pump(trace *t);

static void on_written(uv_fs_t *request)
{
    trace *t = request->data;
    ssize_t n = request->result;
    uv_fs_req_cleanup(request);
    t->busy = false;
    if (n < 0) {
        trace_end(t, uv_strerror((int)n));
        return;
    }
    t->written += (size_t)n;
    trace_pump(t);
}

static void trace_pump(trace *t)
{
    if (t->busy || t->ended) return;
    if (t->written == t->writing.size) {
        buffer done = t->writing;
        buffer_clear(&done);
        t->writing = t->waiting;
        t->waiting = done;
        t->written = 0;
    }
    if (t->writing.size == 0) return;
    uv_buf_t piece =
        uv_buf_init(t->writing.bytes + t->written, (unsigned)(t->writing.size - t->written));
    t->write.data = t;
    int rc = uv_fs_write(t->loop, &t->write, t->fd, &piece, 1, -1, on_written);
    t->busy = rc == 0;
    if (rc < 0) trace_end(t, uv_strerror(rc));
}

status trace_open(trace **out, uv_loop_t *loop, const char *directory, error *err)
{
    time_t now = time(NULL);
    struct tm parts;
    char when[32];
    status s = directory_make(directory, 0700, err);
    if (s != OK) return s;
    trace *t = memory_take(1, sizeof *t);
    if (!t) return fail(err, ERR_MEMORY, "trace: out of memory");
    gmtime_r(&now, &parts);
    strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", &parts);
    buffer_print(&t->path, "%s/%s-%ld.jsonl", directory, when, (long)getpid());
    t->loop = loop;
    t->fd = -1;
    t->began_us = clock_us();
    if (t->path.failed) {
        s = fail(err, ERR_MEMORY, "trace: out of memory");
    } else {
        t->fd = open(t->path.bytes, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (t->fd < 0) s = fail(err, ERR_IO, "%s: %s", t->path.bytes, strerror(errno));
    }
    if (s == OK)
        *out = t;
    else
        trace_close(t);
    return s;
}

void trace_close(trace *t)
{
    if (!t || t->busy) return; /* the loop was stopped in the middle of a write: the process ends */
    text left[] = {text_slice(buffer_text(&t->writing), t->written, t->writing.size),
                   buffer_text(&t->waiting)};
    for (size_t i = 0; !t->ended && i < 2; i++) {
        while (left[i].size > 0) {
            ssize_t n = write(t->fd, left[i].bytes, left[i].size);
            if (n < 0 && errno != EINTR) break;
            if (n > 0) left[i] = text_slice(left[i], (size_t)n, left[i].size);
        }
    }
    if (t->fd >= 0) close(t->fd);
    buffer_free(&t->path);
    buffer_free(&t->waiting);
    buffer_free(&t->writing);
    memory_free(t);
}

const char *trace_path(const trace *t) { return t->path.bytes; }

/* Names of what is no text of a document. */
static bool is_open_name(const char *key)
{
    static const char *const names[] = {"jsonrpc", "method", "uri", "languageId", "id", "kind"};
    for (size_t i = 0; key && i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], key) == 0) return true;
    return false;
}

static json_t *string_kept(const json_t *value, const char *key, bool hidden)
{
    size_t size = json_string_length(value);
    char *copy = memory_copy(json_string_value(value), size);
    char digest[65];
    json_t *out = NULL;
    if (!copy) return NULL;
    if (hidden && !is_open_name(key)) {
        sha256_hex(copy, size, digest);
        out = json_pack("{s:I, s:s}", "bytes", (json_int_t)size, "sha256", digest);
    } else {
        secrets_mask(copy, size);
        out = text_json((text){copy, size}); /* a mask may have cut a character */
    }
    memory_free(copy);
    return out;
}

/* A copy that may be kept; NULL: no memory for it. JSON that came from outside is LSP_JSON_DEPTH deep. */
static json_t *value_kept(const json_t *value, const char *key, bool hidden)
{
    const char *name;
    json_t *item, *out;
    size_t i;
    bool ok = true;
    if (json_is_string(value)) return string_kept(value, key, hidden);
    if (json_is_object(value)) {
        out = json_object();
        json_object_foreach((json_t *)(uintptr_t)value, name, item)
        {
            ok = ok && json_object_set_new(out, name, value_kept(item, name, hidden)) == 0;
        }
    } else if (json_is_array(value)) {
        out = json_array();
        json_array_foreach(value, i, item)
        {
            ok = ok && json_array_append_new(out, value_kept(item, key, hidden)) == 0;
        }
    } else {
        return json_deep_copy(value);
    }
    if (ok) return out;
    json_decref(out);
    return NULL;
}

json_t *trace_masked(const json_t *value) { return value_kept(value, NULL, false); }

/* Takes `line` over. */
static void line_put(trace *t, json_t *line)
{
    double ms = (double)(clock_us() - t->began_us) / 1000;
    if (line) json_object_set_new(line, "ms", json_real(ms));
    char *bytes = line ? json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(line);
    size_t size = bytes ? strlen(bytes) : 0;
    t->size_bytes += size + 1;
    if (bytes && t->size_bytes <= TRACE_BYTES_MAX && t->waiting.size < LSP_MESSAGE_MAX) {
        buffer_put(&t->waiting, bytes, size);
        buffer_put_char(&t->waiting, '\n');
    }
    if (!bytes || t->waiting.failed)
        trace_end(t, "no memory for a line");
    else if (t->size_bytes > TRACE_BYTES_MAX)
        trace_end(t, "it is too large");
    else if (t->waiting.size >= LSP_MESSAGE_MAX)
        trace_end(t, "the disk is too slow");
    free(bytes);
    trace_pump(t);
}

static void message_put(trace *t, const char *from, const json_t *message, bool hidden)
{
    json_t *kept = value_kept(message, NULL, hidden);
    line_put(t,
             kept ? json_pack("{s:f, s:s, s:o}", "ms", 0.0, "from", from, "message", kept) : NULL);
}

void trace_from_client(trace *t, const json_t *message, bool hidden)
{
    if (t && !t->ended) message_put(t, "client", message, hidden);
}

void trace_from_server(trace *t, const json_t *message)
{
    if (t && !t->ended) message_put(t, "server", message, false);
}

void trace_document(trace *t, text uri, int64_t version, text content)
{
    if (!t || t->ended) return;
    json_t *whole = text_json(content);
    json_t *kept = whole ? string_kept(whole, "text", false) : NULL;
    json_decref(whole);
    line_put(t, kept ? json_pack("{s:f, s:{s:o, s:I, s:o}}", "ms", 0.0, "text", "uri",
                                 text_json(uri), "version", (json_int_t)version, "text", kept)
                     : NULL);
}
