/* Errors are counted in the whole file, with and without the answer: what was wrong before adds the same
 * to each count, and a block that was opened and not closed shows as a missing token. Each ending
 * of the answer is an edit of one parse. A file that nobody has parsed and that is too large to be parsed
 * here is judged by a few kilobytes around the gap. */
#include "context/trim_syntax.h"

#include "base/limits.h"

enum { TRIES_MAX = 4, FRESH_MAX = 64 * 1024 };

/* Of the document with `insert` at the gap, parsed from its beginning; SIZE_MAX: not known. */
static size_t fresh_errors(const struct trim_around *a, text insert)
{
    buffer all = {0};
    syntax *s = NULL;
    buffer_put_text(&all, text_slice(a->content, 0, a->cursor_byte));
    buffer_put_text(&all, insert);
    buffer_put_text(&all, text_slice(a->content, a->cursor_byte, a->content.size));
    bool parsed = !all.failed && syntax_parse(&s, a->language, buffer_text(&all), NULL) == OK && s;
    size_t n = parsed ? syntax_error_count(s, 0, SIZE_MAX) : SIZE_MAX;
    syntax_free(s);
    buffer_free(&all);
    return n;
}

/* Where a text has errors, a parse that keeps parts of an older tree may repair it in another way than
 * one from the beginning: where that costs little, it has the last word. */
static bool is_confirmed(const struct trim_around *a, text insert)
{
    if (a->content.size > FRESH_MAX) return true;
    size_t with = fresh_errors(a, insert);
    return with == 0 || with == SIZE_MAX || with <= fresh_errors(a, TEXT(""));
}

/* What cannot be known is no reason to refuse. */
static bool parses_well(const syntax *s, size_t gap, text insert, size_t without)
{
    size_t with = syntax_errors_with(s, gap, gap, insert);
    return with == SIZE_MAX || with <= without;
}

static size_t good_ends(const struct trim_around *a, const syntax *s, size_t gap, text insert,
                        size_t *ends, size_t n_ends, size_t n_max)
{
    size_t without = syntax_error_count(s, 0, SIZE_MAX), last = n_ends, n = 0;
    for (size_t i = n_ends; i > 0 && last == n_ends; i--) {
        if (n_ends - i >= TRIES_MAX) i = 1; /* the first line is the last resort */
        text part = text_slice(insert, 0, ends[i - 1]);
        if (parses_well(s, gap, part, without) && is_confirmed(a, part)) last = i - 1;
    }
    if (last == n_ends) return 0;
    for (size_t i = 0; i < last && n + 1 < n_max; i++)
        if (parses_well(s, gap, text_slice(insert, 0, ends[i]), without)) ends[n++] = ends[i];
    ends[n++] = ends[last];
    return n;
}

static syntax *parse_here(const struct trim_around *a, size_t *gap)
{
    syntax *s = NULL;
    *gap = a->cursor_byte;
    if (a->content.size <= TRIM_PARSE_MAX && syntax_parse(&s, a->language, a->content, NULL) == OK)
        return s;
    buffer near = {0};
    buffer_put_text(&near, a->before);
    buffer_put_text(&near, a->below);
    *gap = a->before.size;
    if (near.failed || syntax_parse(&s, a->language, buffer_text(&near), NULL) != OK) s = NULL;
    buffer_free(&near);
    return s;
}

static size_t first_and_last(size_t *ends, size_t n, size_t n_max)
{
    if (n <= n_max) return n;
    ends[n_max - 1] = ends[n - 1];
    return n_max;
}

size_t trim_syntax_ends(const struct trim_around *a, text insert, size_t *ends, size_t n_ends,
                        size_t n_max)
{
    if (n_ends && a->tree)
        return good_ends(a, a->tree, a->cursor_byte, insert, ends, n_ends, n_max);
    size_t gap;
    syntax *s = n_ends ? parse_here(a, &gap) : NULL;
    size_t n =
        s ? good_ends(a, s, gap, insert, ends, n_ends, n_max) : first_and_last(ends, n_ends, n_max);
    syntax_free(s);
    return n;
}

bool trim_syntax_prefers(const struct trim_around *around, text a, text b)
{
    size_t gap = around->cursor_byte;
    syntax *own = around->tree ? NULL : parse_here(around, &gap);
    const syntax *s = own ? own : around->tree;
    size_t of_a = s ? syntax_errors_with(s, gap, gap, a) : SIZE_MAX;
    size_t of_b = s ? syntax_errors_with(s, gap, gap, b) : SIZE_MAX;
    bool better = of_a != SIZE_MAX && of_b < of_a && of_b <= syntax_error_count(s, 0, SIZE_MAX);
    syntax_free(own);
    return better;
}
