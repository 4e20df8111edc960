/* The map as text. Each line is counted alone, the path's only where it is the file's first. */
#include "context/map.h"

#include <string.h>

#include "context/exclude.h"

/* Paths come from disk: nothing of them may look like a line of its own. */
static void line_put(buffer *out, text t, const char *end)
{
    for (size_t i = 0; i < t.size; i++) {
        unsigned char c = (unsigned char)t.bytes[i];
        buffer_put_char(out, c <= ' ' && (c < ' ' || i == 0) ? '?' : t.bytes[i]);
    }
    buffer_put(out, end, strlen(end));
}

/* Without the body of a type: the map says that it is there. */
static text head_of(text signature)
{
    size_t brace = text_find(signature, TEXT(" {"), 0);
    return brace == SIZE_MAX || brace == 0 ? signature : text_trim(text_slice(signature, 0, brace));
}

/* What the user has excluded since the map was made. */
static bool is_hidden(const struct map_line *line) { return exclude_reason(line->path) != NULL; }

static size_t first_of(const struct repository_map *m, size_t i)
{
    size_t first = 0;
    while (!text_equal(m->lines[first].path, m->lines[i].path)) first++;
    return first;
}

static size_t count(buffer *scratch, const tokenizer *t, text line, const char *end)
{
    buffer_clear(scratch);
    line_put(scratch, line, end);
    return tokenizer_count(t, buffer_text(scratch));
}

/* How many lines of the map fit. */
static size_t fitting(const struct repository_map *m, const tokenizer *t, size_t budget_tokens)
{
    buffer scratch = {0};
    size_t used = 0, n = 0;
    for (; n < m->n && !scratch.failed; n++) {
        if (is_hidden(&m->lines[n])) continue;
        used += count(&scratch, t, head_of(m->lines[n].signature), "\n");
        if (first_of(m, n) == n) used += count(&scratch, t, m->lines[n].path, ":\n");
        if (used > budget_tokens) break;
    }
    buffer_free(&scratch);
    return n;
}

status repository_map_text(buffer *out, const struct repository_map *m, const tokenizer *t,
                           size_t budget_tokens, error *err)
{
    size_t n = t ? fitting(m, t, budget_tokens) : m->n;
    for (size_t i = 0; i < n; i++) {
        if (first_of(m, i) != i || is_hidden(&m->lines[i])) continue;
        line_put(out, m->lines[i].path, ":\n");
        for (size_t k = i; k < n; k++)
            if (first_of(m, k) == i) line_put(out, head_of(m->lines[k].signature), "\n");
    }
    return out->failed ? fail(err, ERR_MEMORY, "no memory for a map") : OK;
}
