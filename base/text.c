#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

text text_of(const char *s) { return (text){s, s ? strlen(s) : 0}; }

text text_slice(text t, size_t from, size_t to)
{
    if (to > t.size) to = t.size;
    if (from > to) from = to;
    return (text){from ? t.bytes + from : t.bytes, to - from};
}

bool text_equal(text a, text b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.bytes, b.bytes, a.size) == 0);
}

bool text_starts(text t, text prefix)
{
    return t.size >= prefix.size && text_equal(text_slice(t, 0, prefix.size), prefix);
}

bool text_ends(text t, text suffix)
{
    return t.size >= suffix.size && text_equal(text_slice(t, t.size - suffix.size, t.size), suffix);
}

bool text_is(text t, const char *s) { return text_equal(t, text_of(s)); }

size_t text_find(text t, text needle, size_t from)
{
    if (from > t.size) return SIZE_MAX;
    if (needle.size == 0) return from;
    if (needle.size > t.size - from) return SIZE_MAX; /* memmem takes no NULL */
    const char *at = memmem(t.bytes + from, t.size - from, needle.bytes, needle.size);
    return at ? (size_t)(at - t.bytes) : SIZE_MAX;
}

int text_compare(text a, text b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n ? memcmp(a.bytes, b.bytes, n) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

text text_trim(text t)
{
    while (t.size && is_blank(t.bytes[0])) t = text_slice(t, 1, t.size);
    while (t.size && is_blank(t.bytes[t.size - 1])) t.size--;
    return t;
}

bool text_next_line(text *rest, text *line)
{
    if (rest->size == 0) return false;
    size_t end = text_find(*rest, TEXT("\n"), 0);
    *line = text_slice(*rest, 0, end);
    *rest = text_slice(*rest, end == SIZE_MAX ? rest->size : end + 1, rest->size);
    if (text_ends(*line, TEXT("\r"))) line->size--;
    return true;
}

uint64_t text_hash(text t)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < t.size; i++) h = (h ^ (unsigned char)t.bytes[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

size_t text_common(text a, text b)
{
    size_t n = a.size < b.size ? a.size : b.size, i = 0;
    while (i < n && a.bytes[i] == b.bytes[i]) i++;
    return i;
}

/* Room for `more` bytes and the NUL; false sets `failed`. */
static bool buffer_reserve(buffer *b, size_t more)
{
    size_t need;
    if (b->failed || !size_add(b->size, more, &need) || !size_add(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->room) return true;
    size_t room = b->room < 64 ? 64 : b->room;
    while (room < need) room = room > need / 2 ? need : room * 2;
    if (room < b->room + b->room / 2) room = b->room + b->room / 2;
    char *bytes = memory_resize(b->bytes, room, 1);
    if (!bytes) {
        b->failed = true;
        return false;
    }
    b->bytes = bytes;
    b->room = room;
    return true;
}

void buffer_put(buffer *b, const void *bytes, size_t size)
{
    if (!buffer_reserve(b, size)) return;
    if (size) memcpy(b->bytes + b->size, bytes, size);
    b->size += size;
    b->bytes[b->size] = 0;
}

void buffer_put_text(buffer *b, text t) { buffer_put(b, t.bytes, t.size); }

void buffer_put_char(buffer *b, char c) { buffer_put(b, &c, 1); }

void buffer_print(buffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    else if (buffer_reserve(b, (size_t)n))
        b->size += (size_t)vsnprintf(b->bytes + b->size, (size_t)n + 1, format, again);
    va_end(again);
}

void buffer_drop_front(buffer *b, size_t size)
{
    if (size > b->size) size = b->size;
    if (size == 0) return;
    memmove(b->bytes, b->bytes + size, b->size - size);
    b->size -= size;
    b->bytes[b->size] = 0;
}

void buffer_clear(buffer *b)
{
    b->size = 0;
    b->failed = false;
    if (b->bytes) b->bytes[0] = 0;
}

void buffer_free(buffer *b)
{
    memory_free(b->bytes);
    *b = (buffer){0};
}

text buffer_text(const buffer *b) { return (text){b->bytes, b->size}; }
