/* Errors are counted in a few kilobytes around the gap: what is cut off at both ends adds the same
 * errors to each count. A block that was opened and not closed shows as a missing token. */
#include "context/trim_syntax.h"

enum { TRIES_MAX = 4 };

/* SIZE_MAX when it cannot be known. */
static size_t errors_of(const struct language *language, text before, text insert, text below)
{
    buffer all = {0};
    syntax *s = NULL;
    size_t n = SIZE_MAX;
    buffer_put_text(&all, before);
    buffer_put_text(&all, insert);
    buffer_put_text(&all, below);
    if (!all.failed && syntax_parse(&s, language, buffer_text(&all), NULL) == OK && s)
        n = syntax_error_count(s, 0, all.size + 1);
    syntax_free(s);
    buffer_free(&all);
    return n;
}

size_t trim_syntax_end(const struct language *language, text before, text insert, text below,
                       const size_t *ends, size_t n_ends)
{
    size_t last = n_ends ? ends[n_ends - 1] : insert.size;
    if (n_ends == 0 || !language || !language->grammar) return last;
    size_t without = errors_of(language, before, TEXT(""), below);
    if (without == SIZE_MAX) return last;
    for (size_t i = n_ends; i > 0; i--) {
        if (n_ends - i >= TRIES_MAX) i = 1; /* the first line is the last resort */
        size_t with = errors_of(language, before, text_slice(insert, 0, ends[i - 1]), below);
        if (with == SIZE_MAX) return last;
        if (with <= without) return ends[i - 1];
    }
    return 0;
}
