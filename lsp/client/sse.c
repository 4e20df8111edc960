/* Lines are collected whole, whatever their end (LF, CR or CRLF); a blank one dispatches. */
#include "lsp/client/sse.h"

#include <string.h>

#include "base/limits.h"

static size_t line_end_find(text bytes)
{
    size_t at = 0;
    while (at < bytes.size && bytes.bytes[at] != '\n' && bytes.bytes[at] != '\r') at++;
    return at;
}

static void data_add(struct sse_parser *p, text line)
{
    if (!text_starts(line, TEXT("data"))) return;
    line = text_slice(line, 4, line.size);
    if (line.size && line.bytes[0] != ':') return; /* another field, such as "database" */
    line = text_slice(line, 1, line.size);
    if (text_starts(line, TEXT(" "))) line = text_slice(line, 1, line.size);
    if (p->has_data) buffer_put_char(&p->data, '\n');
    buffer_put_text(&p->data, line);
    p->has_data = true;
}

/* One whole line, without its end; false when the callback wants no more. */
static bool line_take(struct sse_parser *p, text line, sse_callback *on_event, void *context)
{
    if (!p->begun && text_starts(line, TEXT("\xEF\xBB\xBF"))) line = text_slice(line, 3, line.size);
    p->begun = true;
    if (line.size) {
        data_add(p, line);
        return true;
    }
    if (!p->has_data) return true;
    /* The parser is clean before the callback runs, so that it may be freed or reused there. */
    buffer event = p->data;
    p->data = (buffer){0};
    p->has_data = false;
    bool more = event.failed || on_event(context, buffer_text(&event));
    if (more && !p->data.bytes) {
        buffer_clear(&event); /* keep the room for the next event */
        p->data = event;
    } else {
        buffer_free(&event);
    }
    return more;
}

static status line_check(const struct sse_parser *p, error *err)
{
    if (p->line.failed || p->data.failed) return fail(err, ERR_MEMORY, "event: out of memory");
    if (p->line.size > SSE_EVENT_MAX || p->data.size > SSE_EVENT_MAX)
        return fail(err, ERR_LIMIT, "event stream: an event above %zu bytes", SSE_EVENT_MAX);
    return OK;
}

status sse_put(struct sse_parser *p, text bytes, sse_callback *on_event, void *context, error *err)
{
    while (bytes.size) {
        if (p->after_cr && bytes.bytes[0] == '\n') bytes = text_slice(bytes, 1, bytes.size);
        p->after_cr = false;
        size_t end = line_end_find(bytes);
        bool whole = end < bytes.size;
        buffer_put_text(&p->line, text_slice(bytes, 0, end));
        status s = line_check(p, err);
        if (s != OK) return s;
        if (!whole) break;
        p->after_cr = bytes.bytes[end] == '\r';
        bytes = text_slice(bytes, end + 1, bytes.size);
        buffer line = p->line;
        p->line = (buffer){0};
        bool more = line_take(p, buffer_text(&line), on_event, context);
        if (!more || p->line.bytes) {
            buffer_free(&line);
            if (!more) return OK;
        } else {
            buffer_clear(&line);
            p->line = line;
        }
        if ((s = line_check(p, err)) != OK) return s;
    }
    return OK;
}

void sse_free(struct sse_parser *p)
{
    buffer_free(&p->line);
    buffer_free(&p->data);
    *p = (struct sse_parser){0};
}
