/* Small judgements about lines. All are linear in the text and look at bytes only. */
#include "context/trim_text.h"

#include <string.h>

#include "base/utf.h"

/* Bytes a sequence beginning with `first` would have; 1 for what begins none. */
static size_t sequence_size(unsigned char first)
{
    if (first >= 0xF0 && first <= 0xF4) return 4;
    if (first >= 0xE0 && first < 0xF0) return 3;
    return first >= 0xC2 && first < 0xE0 ? 2 : 1;
}

/* Bidirectional controls can make source read differently from what it does (CVE-2021-42574); tags
 * are invisible altogether. */
static bool belongs_in_source(uint32_t c)
{
    if (c < 0x20) return c == '\t' || c == '\n';
    if (c >= 0x7F && c < 0xA0) return false;
    if (c == 0x061C || c == 0x200E || c == 0x200F || c == 0xFEFF) return false;
    if ((c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069)) return false;
    return !(c >= 0xE0000 && c <= 0xE007F);
}

bool trim_text_clean(buffer *held, buffer *clean)
{
    text t = buffer_text(held);
    size_t at = 0, size;
    bool good = true;
    while (at < t.size) {
        unsigned char first = (unsigned char)t.bytes[at];
        size_t left = t.size - at;
        if (first == '\r' && left == 1) break;
        if (first == '\r' && t.bytes[at + 1] == '\n') {
            at++;
            continue;
        }
        uint32_t c = utf8_decode(t, at, &size);
        if (c == 0xFFFD && size == 1) {
            good = left < sequence_size(first); /* the rest may come */
            break;
        }
        good = belongs_in_source(c);
        if (!good) break;
        buffer_put(clean, t.bytes + at, size);
        at += size;
    }
    buffer_drop_front(held, at);
    return good;
}

bool trim_text_is_blank(text line) { return text_trim(line).size == 0; }

bool trim_text_is_fence(text line, size_t size, bool *bare)
{
    text t = text_trim(line);
    size_t n = 0;
    while (n < t.size && t.bytes[n] == '`') n++;
    *bare = n == t.size;
    text info = text_slice(t, n, t.size);
    return n >= size && n > 0 && !memchr(info.bytes ? info.bytes : "", '`', info.size);
}

static const char *const prose_beginnings[] = {
    "Sure", "Certainly", "Of course",     "Here is",       "Here's",    "Here are",  "Below is",
    "Okay", "OK,",       "The following", "To complete",   "This code", "This will", "The code",
    "I've", "I have",    "I'll",          "The completed", "You can",   "Let me",    "Absolutely"};

bool trim_text_is_prose(text line)
{
    text t = text_trim(line);
    if (t.size < 3 || !strchr(":.!", t.bytes[t.size - 1])) return false;
    for (size_t i = 0; i < sizeof prose_beginnings / sizeof *prose_beginnings; i++)
        if (text_starts(t, text_of(prose_beginnings[i]))) return true;
    return false;
}

size_t trim_text_indent(text line, size_t tab_size)
{
    size_t columns = 0;
    for (size_t i = 0; i < line.size; i++) {
        if (line.bytes[i] == '\t')
            columns += tab_size;
        else if (line.bytes[i] == ' ')
            columns++;
        else
            break;
    }
    return columns;
}

size_t trim_text_word_chars(text line)
{
    size_t n = 0;
    for (size_t i = 0; i < line.size; i++) {
        unsigned char c = (unsigned char)line.bytes[i], lower = c | 0x20;
        n += (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '_' || c >= 0x80;
    }
    return n;
}

enum indent_style trim_text_indent_style(text content, size_t at, size_t *unit)
{
    enum { NEAR_BYTES = 16384, UNIT_MIN = 2, UNIT_MAX = 8, UNIT_USUAL = 4 };
    text near = text_slice(content, at > NEAR_BYTES ? at - NEAR_BYTES : 0, at + NEAR_BYTES), line;
    size_t n_tabs = 0, n_spaces = 0, before = 0, steps[UNIT_MAX + 1] = {0};
    if (at > NEAR_BYTES) text_next_line(&near, &line); /* its beginning is not in sight */
    while (text_next_line(&near, &line)) {
        if (trim_text_is_blank(line) || text_starts(text_trim(line), TEXT("*"))) continue;
        size_t indent = trim_text_indent(line, 0);
        size_t step = indent > before ? indent - before : before - indent;
        n_tabs += line.bytes[0] == '\t';
        n_spaces += line.bytes[0] == ' ';
        if (step <= UNIT_MAX) steps[step]++;
        before = indent;
    }
    /* How far lines go in or out, mostly. */
    *unit = UNIT_USUAL;
    for (size_t i = UNIT_MAX; i >= UNIT_MIN; i--)
        if (steps[i] && (steps[i] >= steps[*unit])) *unit = i;
    if (n_tabs && !n_spaces) return INDENT_TABS;
    return n_spaces && !n_tabs ? INDENT_SPACES : INDENT_UNKNOWN;
}

void trim_text_put_indented(buffer *out, text line, enum indent_style style, size_t unit)
{
    size_t n = 0;
    while (n < line.size && (line.bytes[n] == ' ' || line.bytes[n] == '\t')) n++;
    text white = text_slice(line, 0, n);
    char wrong = style == INDENT_TABS ? ' ' : '\t';
    if (style == INDENT_UNKNOWN || !n || !memchr(white.bytes, wrong, n)) {
        buffer_put_text(out, line);
        return;
    }
    size_t columns = trim_text_indent(white, unit),
           tabs = style == INDENT_TABS ? columns / unit : 0;
    for (size_t i = 0; i < tabs; i++) buffer_put_char(out, '\t');
    for (size_t i = tabs * unit; i < columns; i++) buffer_put_char(out, ' ');
    buffer_put_text(out, text_slice(line, n, line.size));
}
