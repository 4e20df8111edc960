/* Where a completion may stand, and how long it may be: decided from the lines around the gap before
 * any model is asked. */
#include <string.h>

#include "base/limits.h"
#include "base/utf.h"
#include "context/syntax.h"
#include "context/trim.h"
#include "context/trim_body.h"
#include "context/trim_text.h"

static size_t start_of_line(text content, size_t at)
{
    const char *end = at ? memrchr(content.bytes, '\n', at) : NULL;
    return end ? (size_t)(end - content.bytes) + 1 : 0;
}

static text rest_of_line(text content, size_t cursor)
{
    return text_trim(text_slice(content, cursor, text_find(content, TEXT("\n"), cursor)));
}

bool trim_place_is_fit(const struct document_view *document, size_t cursor_byte, bool invoked,
                       const char **reason)
{
    *reason = "";
    text content = document->content;
    size_t cursor = utf8_floor(content, cursor_byte);
    const struct language *l = language_of_document(document);
    if (content.size > DOCUMENT_MODEL_MAX) {
        *reason = "the document is too large";
        return false;
    }
    text rest = rest_of_line(content, cursor);
    if (rest.size > 256) rest = text_slice(rest, 0, 256);
    /* Whoever asks may do so before a comment too. */
    if (invoked && l && l->line_comment)
        rest = text_slice(rest, 0, text_find(rest, text_of(l->line_comment), 0));
    for (size_t i = 0; i < rest.size; i++) {
        if (strchr(")]}>;,:\"'`\\ \t{", rest.bytes[i])) continue;
        *reason = "inside a line that goes on";
        return false;
    }
    return true;
}

/* The last line above `at` that is not blank. */
static text line_above(text content, size_t at)
{
    while (at > 0) {
        size_t from = start_of_line(content, at - 1);
        text line = text_slice(content, from, at - 1);
        if (!trim_text_is_blank(line)) return line;
        at = from;
    }
    return TEXT("");
}

static text line_below(text content, size_t cursor)
{
    size_t end = text_find(content, TEXT("\n"), cursor);
    text rest = text_slice(content, end == SIZE_MAX ? content.size : end + 1, content.size), line;
    while (text_next_line(&rest, &line))
        if (!trim_text_is_blank(line)) return line;
    return TEXT("");
}

static bool opens_block(const struct language *l, text line)
{
    static const char *const words[] = {" do", " then", "else", " in", "function", "begin"};
    text t = text_trim(line);
    if (t.size == 0) return false;
    char last = t.bytes[t.size - 1];
    if (strchr("{([", last)) return true;
    if (!l || !l->quotes[0]) return false;
    if (last == ':') return l->block_opener == ':';
    if (l->block_opener) return false;
    bool lua_function =
        text_is(text_of(l->fence), "lua") && text_find(t, TEXT("function"), 0) < t.size;
    if (lua_function && last == ')') return true;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (text_ends(t, text_of(words[i]))) return true;
    return false;
}

bool trim_gap_is_indented(const struct language *l, text content, size_t cursor_byte,
                          size_t indent_unit)
{
    size_t from = start_of_line(content, cursor_byte);
    text before = text_slice(content, from, cursor_byte),
         opener = text_trim(line_above(content, from));
    if (!l || before.size == 0 || !trim_text_is_blank(before) || opener.size == 0) return false;
    char last = opener.bytes[opener.size - 1];
    if (last != '{' && (last != ':' || l->block_opener != ':')) return false;
    size_t above = trim_text_indent(line_above(content, from), indent_unit);
    return trim_text_indent(before, indent_unit) >= above + indent_unit;
}

bool trim_wants_many_lines(const struct document_view *document, size_t cursor_byte, bool invoked)
{
    text content = document->content;
    size_t cursor = utf8_floor(content, cursor_byte), from = start_of_line(content, cursor);
    text before = text_slice(content, from, cursor);
    if (rest_of_line(content, cursor).size) return false;
    if (invoked) return true;
    text opener = trim_text_is_blank(before) ? line_above(content, from) : before;
    const struct language *l = language_of_document(document);
    if (!opens_block(l, opener)) return false;
    /* A deeper line below means that the block has its body already. */
    text below = line_below(content, cursor);
    return below.size == 0 || trim_text_indent(below, 4) <= trim_text_indent(opener, 4);
}
