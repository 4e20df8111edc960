/* Libraries say between "class" and a class's name how it is exported: a macro, which no grammar can
 * know, and takes for the name. */
#include "context/tags_source.h"

#include <string.h>

static bool is_word_byte(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t blanks_end(text t, size_t at)
{
    while (at < t.size && strchr(" \t\r\n", t.bytes[at])) at++;
    return at;
}

static size_t word_end(text t, size_t at)
{
    while (at < t.size && is_word_byte(t.bytes[at])) at++;
    return at;
}

static bool is_capitals(text word)
{
    for (size_t i = 0; i < word.size; i++)
        if (word.bytes[i] >= 'a' && word.bytes[i] <= 'z') return false;
    return word.size > 2 && (word.bytes[0] > '9');
}

/* Behind "class" or "struct" at `at`: a macro, a name, and what only a definition has. */
static bool macro_at(text t, size_t at, size_t *from, size_t *to)
{
    *from = blanks_end(t, at);
    *to = word_end(t, *from);
    size_t name = blanks_end(t, *to), end = word_end(t, name), behind = blanks_end(t, end);
    if (*from == at || name == *to || end == name || behind >= t.size) return false;
    text next = text_slice(t, behind, word_end(t, behind));
    return is_capitals(text_slice(t, *from, *to)) &&
           (strchr(":{", t.bytes[behind]) || text_is(next, "final"));
}

static bool is_cpp(const struct language *l)
{
    return strcmp(l->name, "C++") == 0 || strcmp(l->name, "CUDA") == 0 || strcmp(l->name, "C") == 0;
}

bool tags_source(buffer *out, const struct language *language, text content)
{
    static const char *const heads[] = {"class", "struct"};
    bool any = false;
    for (size_t i = 0; is_cpp(language) && i < sizeof heads / sizeof *heads; i++) {
        text head = text_of(heads[i]);
        for (size_t at = 0, from, to; (at = text_find(content, head, at)) != SIZE_MAX;) {
            bool begins = at == 0 || !is_word_byte(content.bytes[at - 1]);
            at += head.size;
            if (!begins || !macro_at(content, at, &from, &to)) continue;
            if (!any) buffer_put_text(out, content);
            any = true;
            if (!out->failed) memset(out->bytes + from, ' ', to - from);
        }
    }
    return any && !out->failed;
}
