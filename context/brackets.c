/* One pass over each side of the gap; what does not pair up on either side is counted by kind. */
#include "context/brackets.h"

#include <string.h>

#include "base/limits.h"
#include "base/utf.h"

char bracket_closer(char opener)
{
    switch (opener) {
    case '(': return ')';
    case '[': return ']';
    case '{': return '}';
    default: return 0;
    }
}

static bool is_bracket(char c)
{
    return c == '(' || c == ')' || c == '[' || c == ']' || c == '{' || c == '}';
}

static bool starts_with(text line, size_t at, const char *word)
{
    return word && at < line.size && line.bytes[at] == word[0] &&
           text_starts(text_slice(line, at, line.size), text_of(word));
}

/* "#" begins a comment only at the line's start or behind a space: not in "$#" or "${#x}". */
static bool comment_starts(const struct language *l, text line, size_t at)
{
    if (!starts_with(line, at, l->line_comment)) return false;
    return l->line_comment[0] != '#' || at == 0 || line.bytes[at - 1] == ' ' ||
           line.bytes[at - 1] == '\t';
}

/* Behind the quote that closes the one at `at`, or at + 1 when there is none. */
static size_t quote_end(text line, size_t at)
{
    for (size_t i = at + 1; i < line.size; i++) {
        if (line.bytes[i] == '\\')
            i++;
        else if (line.bytes[i] == line.bytes[at])
            return i + 1;
    }
    return at + 1;
}

/* The same; that a quote does not close is found out once per line, or the scan were quadratic. */
static size_t string_end(struct bracket_scan *s, text line, size_t at)
{
    char quote = line.bytes[at];
    size_t n = strlen(s->unclosed);
    if (memchr(s->unclosed, quote, n)) return at + 1;
    size_t end = quote_end(line, at);
    if (end == at + 1 && n + 1 < sizeof s->unclosed) s->unclosed[n] = quote;
    return end;
}

/* One character or one escape between two quotes; anything else is a lifetime or an apostrophe. */
static size_t character_end(text line, size_t at)
{
    enum { ESCAPE_MAX = 12 };
    if (at + 2 >= line.size) return at + 1;
    if (line.bytes[at + 1] == '\\') return quote_end(text_slice(line, 0, at + ESCAPE_MAX), at);
    size_t size;
    utf8_decode(line, at + 1, &size);
    size_t close = at + 1 + size;
    return close < line.size && line.bytes[close] == line.bytes[at] ? close + 1 : at + 1;
}

/* Words and spaces begin no comment, string or bracket in any language; most of a text is these, and
 * the scan is what a request costs in a large document. */
static bool is_plain(char c)
{
    return (c >= 'a' && c <= 'z') || c == ' ' || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == ',' || c == '\t' || (unsigned char)c >= 0x80;
}

size_t bracket_next(struct bracket_scan *s, text line, size_t *from)
{
    const struct language *l = s->language;
    if (*from == 0) memset(s->unclosed, 0, sizeof s->unclosed);
    while (*from < line.size) {
        size_t at = *from;
        char c = line.bytes[at];
        if (is_plain(c) && !s->in_comment) {
            ++*from;
        } else if (s->in_comment) {
            size_t end = text_find(line, text_of(l->comment_close), at);
            s->in_comment = end == SIZE_MAX;
            *from = s->in_comment ? line.size : end + strlen(l->comment_close);
        } else if (l && starts_with(line, at, l->comment_open)) {
            s->in_comment = true;
            *from = at + strlen(l->comment_open);
        } else if (l && comment_starts(l, line, at)) {
            *from = line.size;
        } else if (l && l->char_quote && c == l->char_quote) {
            *from = character_end(line, at);
        } else if (l && c && strchr(l->quotes, c)) {
            *from = string_end(s, line, at);
        } else {
            *from = at + 1;
            if (is_bracket(c)) return at;
        }
    }
    return SIZE_MAX;
}

/* Takes a closer off the stack, with what was left open above it; false when nothing matches. */
static bool stack_close(struct bracket_stack *stack, char closer)
{
    for (size_t i = stack->n; i-- > 0;) {
        if (stack->closers[i] != closer) continue;
        stack->n = i;
        return true;
    }
    return false;
}

static void stack_open(struct bracket_stack *stack, char closer)
{
    if (stack->n < BRACKETS_MAX) stack->closers[stack->n++] = closer;
}

static void balance_line(struct bracket_scan *scan, text line, struct bracket_stack *stack,
                         size_t unmatched[128])
{
    size_t from = 0, at;
    while ((at = bracket_next(scan, line, &from)) != SIZE_MAX) {
        char c = line.bytes[at], closer = bracket_closer(c);
        if (closer)
            stack_open(stack, closer);
        else if (!stack_close(stack, c) && unmatched)
            unmatched[(unsigned char)c]++;
    }
}

void bracket_balance_make(struct bracket_balance *out, const struct language *language,
                          text content, size_t at)
{
    *out = (struct bracket_balance){0};
    struct bracket_scan scan = {.language = language};
    text before = text_slice(content, at > TRIM_SCAN_MAX ? at - TRIM_SCAN_MAX : 0, at), line;
    text below = text_slice(content, at, at + TRIM_SCAN_MAX);
    bool ends_line = text_ends(before, TEXT("\n"));
    while (text_next_line(&before, &line)) {
        out->in_comment = scan.in_comment;
        balance_line(&scan, line, &out->open, NULL);
    }
    if (ends_line) out->in_comment = scan.in_comment;
    struct bracket_stack inner = {.n = 0};
    size_t unmatched[128] = {0}, open[128] = {0};
    while (text_next_line(&below, &line)) balance_line(&scan, line, &inner, unmatched);
    for (size_t i = 0; i < out->open.n; i++) open[(unsigned char)out->open.closers[i]]++;
    for (size_t i = 0; i < 128; i++) {
        out->lacking[i] = open[i] > unmatched[i] ? open[i] - unmatched[i] : 0;
        out->surplus[i] = unmatched[i] > open[i] ? unmatched[i] - open[i] : 0;
    }
}
