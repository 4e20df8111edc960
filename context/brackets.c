/* What does not pair up on either side of the gap is counted by kind. */
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

/* What the two sides of a place have left over. */
struct sides {
    struct bracket_stack *open; /* before it */
    struct bracket_stack inner;
    size_t unmatched[128]; /* behind it, by closing character */
};

static void side_see(void *context, char bracket, bool before)
{
    struct sides *s = context;
    struct bracket_stack *stack = before ? s->open : &s->inner;
    char closer = bracket_closer(bracket);
    if (closer)
        stack_open(stack, closer);
    else if (!stack_close(stack, bracket) && !before)
        s->unmatched[(unsigned char)bracket]++;
}

static void lines_see(struct bracket_scan *scan, text line, struct sides *s, bool before)
{
    size_t from = 0, at;
    while ((at = bracket_next(scan, line, &from)) != SIZE_MAX) side_see(s, line.bytes[at], before);
}

static void by_lexer(struct bracket_balance *out, struct sides *s, const struct language *language,
                     text content, size_t at)
{
    struct bracket_scan scan = {.language = language};
    text before = text_slice(content, at > TRIM_SCAN_MAX ? at - TRIM_SCAN_MAX : 0, at), line;
    text below = text_slice(content, at, at + TRIM_SCAN_MAX);
    bool ends_line = text_ends(before, TEXT("\n"));
    while (text_next_line(&before, &line)) {
        out->in_comment = scan.in_comment;
        lines_see(&scan, line, s, true);
    }
    if (ends_line) out->in_comment = scan.in_comment;
    while (text_next_line(&below, &line)) lines_see(&scan, line, s, false);
}

static bool by_tree(struct bracket_balance *out, struct sides *s, const syntax *tree, text content,
                    size_t at)
{
    const char *end = at ? memrchr(content.bytes, '\n', at) : NULL;
    size_t line = end ? (size_t)(end - content.bytes) + 1 : 0;
    if (!syntax_brackets(tree, at, side_see, s)) return false;
    out->in_comment = syntax_in_comment(tree, line);
    out->known = syntax_error_count(tree, line, at) == 0;
    out->in_string = out->known && syntax_in_string(tree, at);
    out->in_words = out->in_string || syntax_in_comment(tree, at);
    return true;
}

void bracket_balance_make(struct bracket_balance *out, const struct language *language,
                          text content, size_t at, const syntax *tree)
{
    struct sides s = {.open = &out->open};
    *out = (struct bracket_balance){0};
    if (!tree || !by_tree(out, &s, tree, content, at)) {
        *out = (struct bracket_balance){0};
        s = (struct sides){.open = &out->open};
        by_lexer(out, &s, language, content, at);
    }
    size_t open[128] = {0};
    for (size_t i = 0; i < out->open.n; i++) open[(unsigned char)out->open.closers[i]]++;
    for (size_t i = 0; i < 128; i++) {
        out->lacking[i] = open[i] > s.unmatched[i] ? open[i] - s.unmatched[i] : 0;
        out->surplus[i] = s.unmatched[i] > open[i] ? s.unmatched[i] - open[i] : 0;
    }
}

/* Without a tree by the line alone: behind a comment's sign or an odd quote. */
bool bracket_place_in_words(const struct bracket_balance *b, const struct language *language,
                            text before)
{
    if (!language || !language->quotes[0]) return true;
    if (b->known) return b->in_words;
    if (b->in_comment || (language->line_comment &&
                          text_find(before, text_of(language->line_comment), 0) != SIZE_MAX))
        return true;
    for (const char *quote = language->quotes; *quote; quote++) {
        size_t n = 0;
        for (size_t i = 0; i < before.size; i++) n += before.bytes[i] == *quote;
        if (n % 2) return true;
    }
    return false;
}
