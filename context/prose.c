/* A line is judged by its beginning: indentation, then whether it is a fence. What cannot be decided
 * yet waits in `clean`. */
#include "context/prose.h"

#include <string.h>

#include "base/utf.h"
#include "context/trim_text.h"

enum { SPAN_MAX = 400, INDENT_MAX = 3, CHUNK_BYTES = 256 };

static size_t run_of(text t, size_t at, char c)
{
    size_t n = 0;
    while (at + n < t.size && t.bytes[at + n] == c) n++;
    return n;
}

static void drop(struct prose *p, size_t n) { buffer_drop_front(&p->clean, n); }

/* One character of what is no code. */
static void char_put(struct prose *p, char c, buffer *out)
{
    bool escaped = p->escaped;
    p->escaped = c == '\\' && !escaped;
    if (p->last == ']' && (c == '(' || c == '[' || c == ':')) buffer_put_char(out, ' ');
    if (c == '<')
        buffer_put_text(out, TEXT("&lt;"));
    else
        buffer_put_char(out, c);
    p->last = c;
    if (c == '\n') {
        p->in_line = false;
        p->last = 0;
    }
}

static void chars_put(struct prose *p, size_t n, buffer *out)
{
    for (size_t i = 0; i < n; i++) char_put(p, p->clean.bytes[i], out);
    drop(p, n);
}

/* Code between backticks at the front; false when its end has not come yet. */
static bool span_put(struct prose *p, bool at_end, buffer *out)
{
    text t = buffer_text(&p->clean);
    size_t n = run_of(t, 0, '`'), at = n;
    if (n == t.size && !at_end) return false; /* the run may go on */
    while (at < t.size && at < SPAN_MAX && t.bytes[at] != '\n') {
        size_t run = run_of(t, at, '`');
        if (run == n && (at + run < t.size || at_end)) {
            buffer_put_text(out, text_slice(t, 0, at + run));
            drop(p, at + run);
            p->last = '`';
            return true;
        }
        if (at + run == t.size) break;
        at += run ? run : 1;
    }
    if (at < SPAN_MAX && !(at < t.size && t.bytes[at] == '\n') && !at_end) return false;
    chars_put(p, n, out); /* just backticks */
    return true;
}

/* The line at the front as a fence: how many backticks, 0 for none. *bare: nothing follows them. */
static size_t fence_of(text line, size_t indent, bool *bare)
{
    size_t n = run_of(line, indent, '`');
    text info = text_trim(text_slice(line, indent + n, line.size));
    *bare = info.size == 0;
    if (n < 3 || (info.size && memchr(info.bytes, '`', info.size))) return 0;
    return n;
}

/* Judges the line's beginning; false while it is not there. A fence line is put out whole. */
static bool line_begin(struct prose *p, bool at_end, buffer *out)
{
    text t = buffer_text(&p->clean);
    size_t indent = run_of(t, 0, ' '), end = text_find(t, TEXT("\n"), 0);
    bool cut = end > SPAN_MAX && t.size >= SPAN_MAX, whole = end != SIZE_MAX || at_end || cut, bare;
    if (indent == t.size && !at_end) return false;
    bool blank = indent < t.size && t.bytes[indent] == '\n';
    if (p->fence && !blank && indent < p->indent) p->fence = 0; /* what held the fence has ended */
    bool maybe = indent <= (p->fence ? p->indent + INDENT_MAX : INDENT_MAX) && indent < t.size &&
                 t.bytes[indent] == '`';
    if (maybe && !whole) {
        size_t n = run_of(t, indent, '`');
        if (n >= 3 || indent + n == t.size) return false;
    }
    p->in_line = true;
    if (!maybe || !whole) return true;
    if (cut) end = SPAN_MAX; /* of an endless fence line renderers cannot know either what it is */
    text line = text_slice(t, 0, end);
    size_t n = fence_of(line, indent, &bare);
    if (n == 0 || (p->fence && (!bare || n < p->fence))) return true;
    p->indent = indent;
    p->fence = p->fence ? 0 : n;
    buffer_put_text(out, line);
    if (cut || end != SIZE_MAX) buffer_put_char(out, '\n');
    drop(p, line.size + (!cut && end != SIZE_MAX));
    p->in_line = false;
    return true;
}

/* A line of code, or what of it has come. */
static void fenced_put(struct prose *p, buffer *out)
{
    size_t end = text_find(buffer_text(&p->clean), TEXT("\n"), 0);
    size_t size = end == SIZE_MAX ? p->clean.size : end + 1;
    buffer_put_text(out, text_slice(buffer_text(&p->clean), 0, size));
    drop(p, size);
    p->in_line = end == SIZE_MAX;
}

static void clean_put(struct prose *p, bool at_end, buffer *out)
{
    while (p->clean.size) {
        if (!p->in_line) {
            if (!line_begin(p, at_end, out)) return;
        } else if (p->fence) {
            fenced_put(p, out);
        } else if (p->clean.bytes[0] == '`' && !p->escaped) {
            if (!span_put(p, at_end, out)) return;
        } else {
            chars_put(p, 1, out);
        }
    }
}

/* Leaves out what has no place in text, instead of stopping there as source does. */
static void raw_clean(struct prose *p, bool at_end)
{
    while (!trim_text_clean(&p->raw, &p->clean) || (at_end && p->raw.size)) {
        size_t size;
        utf8_decode(buffer_text(&p->raw), 0, &size);
        buffer_drop_front(&p->raw, size);
    }
}

void prose_put(struct prose *p, text piece, buffer *out)
{
    for (size_t at = 0; at < piece.size;
         at += CHUNK_BYTES) { /* what waits moves with each character */
        buffer_put_text(&p->raw, text_slice(piece, at, at + CHUNK_BYTES));
        raw_clean(p, false);
        clean_put(p, false, out);
    }
    if (p->raw.failed || p->clean.failed) out->failed = true;
}

void prose_finish(struct prose *p, buffer *out)
{
    raw_clean(p, true);
    clean_put(p, true, out);
    if (p->raw.failed || p->clean.failed) out->failed = true;
}

void prose_free(struct prose *p)
{
    buffer_free(&p->raw);
    buffer_free(&p->clean);
}
