/* A state machine: header bytes one by one (they are few), body bytes in bulk. */
#include "lsp/server/frame.h"

#include <string.h>
#include <strings.h>

#include "base/limits.h"

static const char length_name[] = "content-length";

/* A value of digits alone, at most LSP_DRAIN_MAX. */
static bool length_read(text value, uint64_t *out)
{
    uint64_t n = 0;
    if (value.size == 0 || value.size > 19) return false;
    for (size_t i = 0; i < value.size; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9') return false;
        n = n * 10 + (uint64_t)(value.bytes[i] - '0');
    }
    *out = n;
    return n <= LSP_DRAIN_MAX;
}

/* False without exactly one meaning of Content-Length. */
static bool header_read(text header, uint64_t *length)
{
    bool found = false;
    text line;
    while (text_next_line(&header, &line)) {
        size_t colon = text_find(line, TEXT(":"), 0);
        if (colon == SIZE_MAX) continue;
        text name = text_trim(text_slice(line, 0, colon));
        if (name.size != sizeof length_name - 1 ||
            strncasecmp(name.bytes, length_name, name.size) != 0)
            continue;
        uint64_t n;
        if (!length_read(text_trim(text_slice(line, colon + 1, line.size)), &n)) return false;
        if (found && n != *length) return false;
        *length = n;
        found = true;
    }
    return found;
}

static void reader_lose(struct frame_reader *r)
{
    r->state = FRAME_LOST;
    r->matched = 0;
    buffer_clear(&r->header);
}

/* The header is complete: decides what its body is. */
static enum frame_event header_end(struct frame_reader *r)
{
    if (r->header.failed || !header_read(buffer_text(&r->header), &r->length_bytes)) {
        reader_lose(r);
        return FRAME_BAD_HEADER;
    }
    buffer_clear(&r->header);
    r->left_bytes = r->length_bytes;
    r->state = r->length_bytes > LSP_MESSAGE_MAX ? FRAME_IN_EXCESS : FRAME_IN_BODY;
    if (r->left_bytes > 0) return FRAME_NONE;
    r->state = FRAME_IN_HEADER;
    r->reported = true;
    return FRAME_MESSAGE;
}

static size_t header_take(struct frame_reader *r, text bytes, enum frame_event *event)
{
    for (size_t i = 0; i < bytes.size; i++) {
        buffer_put_char(&r->header, bytes.bytes[i]);
        if (bytes.bytes[i] == '\n') {
            text so_far = buffer_text(&r->header);
            bool blank = text_is(so_far, "\n") || text_is(so_far, "\r\n");
            if (blank) buffer_clear(&r->header); /* blank lines between messages */
            if (!blank && (text_ends(so_far, TEXT("\n\n")) || text_ends(so_far, TEXT("\n\r\n")))) {
                *event = header_end(r);
                return i + 1;
            }
        }
        if (r->header.size > LSP_HEADER_MAX || r->header.failed) {
            reader_lose(r);
            *event = FRAME_BAD_HEADER;
            return i + 1;
        }
    }
    return bytes.size;
}

static size_t body_take(struct frame_reader *r, text bytes, enum frame_event *event)
{
    size_t n = bytes.size < r->left_bytes ? bytes.size : (size_t)r->left_bytes;
    bool excess = r->state == FRAME_IN_EXCESS;
    if (!excess || r->body.size < LSP_DRAIN_KEPT_MAX) buffer_put(&r->body, bytes.bytes, n);
    r->left_bytes -= n;
    if (r->left_bytes > 0) return n;
    *event = excess ? FRAME_TOO_LARGE : FRAME_MESSAGE;
    r->state = FRAME_IN_HEADER;
    r->reported = true;
    return n;
}

/* Looks for "content-length:" anywhere. Its first letter does not occur in it again, so a mismatch
 * can only begin a new match with the very byte that failed. */
static size_t search_take(struct frame_reader *r, text bytes)
{
    static const char wanted[] = "content-length:";
    for (size_t i = 0; i < bytes.size; i++) {
        char c = bytes.bytes[i];
        char lower = c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
        r->matched = lower == wanted[r->matched] ? r->matched + 1 : lower == wanted[0];
        if (r->matched < sizeof wanted - 1) continue;
        buffer_put_text(&r->header, TEXT(wanted));
        r->state = FRAME_IN_HEADER;
        return i + 1;
    }
    return bytes.size;
}

size_t frame_reader_take(struct frame_reader *r, text bytes, enum frame_event *event)
{
    *event = FRAME_NONE;
    if (r->reported) {
        if (r->body.room > MIB) buffer_free(&r->body);
        buffer_clear(&r->body);
        r->reported = false;
    }
    switch (r->state) {
    case FRAME_IN_HEADER: return header_take(r, bytes, event);
    case FRAME_IN_BODY:
    case FRAME_IN_EXCESS: return body_take(r, bytes, event);
    case FRAME_LOST: break;
    }
    return search_take(r, bytes);
}

void frame_reader_free(struct frame_reader *r)
{
    buffer_free(&r->header);
    buffer_free(&r->body);
    *r = (struct frame_reader){0};
}
