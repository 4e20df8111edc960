/* Errors are counted in the whole file, with and without the answer: what was wrong before adds the same
 * to each count, and a block that was opened and not closed shows as a missing token. Each ending
 * of the answer is an edit of one parse. A file that nobody has parsed and that is too large to be parsed here is judged by
 * a few kilobytes around the gap. */
#include "context/trim_syntax.h"

#include "base/limits.h"

enum { TRIES_MAX = 4 };

/* The last of the ends that parses no worse; 0: none; what cannot be known is no reason to refuse. */
static size_t last_good(const syntax *s, size_t gap, text insert, const size_t *ends, size_t n_ends)
{
    size_t without = syntax_error_count(s, 0, SIZE_MAX);
    for (size_t i = n_ends; i > 0; i--) {
        if (n_ends - i >= TRIES_MAX) i = 1; /* the first line is the last resort */
        size_t with = syntax_errors_with(s, gap, gap, text_slice(insert, 0, ends[i - 1]));
        if (with == SIZE_MAX) return ends[n_ends - 1];
        if (with <= without) return ends[i - 1];
    }
    return 0;
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

size_t trim_syntax_end(const struct trim_around *a, text insert, const size_t *ends, size_t n_ends)
{
    if (n_ends == 0) return insert.size;
    if (a->tree) return last_good(a->tree, a->cursor_byte, insert, ends, n_ends);
    size_t gap;
    syntax *s = parse_here(a, &gap);
    size_t end = s ? last_good(s, gap, insert, ends, n_ends) : ends[n_ends - 1];
    syntax_free(s);
    return end;
}
