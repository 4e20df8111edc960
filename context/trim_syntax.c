/* Errors are counted in a few kilobytes around the gap: what is cut off at both ends adds the same
 * errors to each count. A block that was opened and not closed shows as a missing token. The
 * text around is parsed once; each ending of the answer is an edit of it. */
#include "context/trim_syntax.h"

enum { TRIES_MAX = 4 };

/* With `insert` at the gap; SIZE_MAX when it cannot be known. */
static size_t errors_with(const syntax *around, size_t gap, text insert)
{
    syntax *s = NULL;
    size_t n = SIZE_MAX;
    if (syntax_edit(&s, around, gap, gap, insert, NULL) == OK && s)
        n = syntax_error_count(s, 0, SIZE_MAX);
    syntax_free(s);
    return n;
}

/* The text around the gap, parsed once; NULL when it cannot be. */
static syntax *around_parse(const struct language *language, text before, text below)
{
    buffer all = {0};
    syntax *s = NULL;
    buffer_put_text(&all, before);
    buffer_put_text(&all, below);
    if (!all.failed && syntax_parse(&s, language, buffer_text(&all), NULL) != OK) s = NULL;
    buffer_free(&all);
    return s;
}

size_t trim_syntax_end(const struct language *language, text before, text insert, text below,
                       const size_t *ends, size_t n_ends)
{
    size_t last = n_ends ? ends[n_ends - 1] : insert.size, found = 0;
    if (n_ends == 0 || !language || !language->grammar) return last;
    syntax *around = around_parse(language, before, below);
    if (!around) return last;
    size_t without = syntax_error_count(around, 0, SIZE_MAX);
    for (size_t i = n_ends; i > 0 && found == 0; i--) {
        if (n_ends - i >= TRIES_MAX) i = 1; /* the first line is the last resort */
        size_t with = errors_with(around, before.size, text_slice(insert, 0, ends[i - 1]));
        if (with == SIZE_MAX)
            found = last;
        else if (with <= without)
            found = ends[i - 1];
    }
    syntax_free(around);
    return found;
}
