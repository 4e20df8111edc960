/* A miss is the usual case and should cost no pass over the text, so the cheap comparisons come
 * first: lengths, then what was typed, then the closers, and the hashes of the whole text last. */
#include "lsp/assistant/completion_cache.h"

#include <string.h>

#include "base/hash.h"

enum { CLOSERS_MAX = 16 };

struct completion_place completion_place_of(text content, size_t cursor_byte)
{
    text before = text_slice(content, 0, cursor_byte);
    text behind = text_slice(content, cursor_byte, content.size);
    return (struct completion_place){before.size, behind.size, hash_text(before),
                                     hash_text(behind)};
}

bool completion_place_equal(const struct completion_place *a, const struct completion_place *b)
{
    return a->cursor_byte == b->cursor_byte && a->behind_bytes == b->behind_bytes &&
           a->before_hash == b->before_hash && a->behind_hash == b->behind_hash;
}

void completion_cache_put(struct completion_cache *c, const struct completion_place *place,
                          text insert, size_t replace_bytes)
{
    buffer_clear(&c->insert);
    buffer_put_text(&c->insert, insert);
    if (c->insert.failed) buffer_clear(&c->insert);
    c->replace_bytes = replace_bytes;
    c->place = *place;
}

static char closer_of(char c)
{
    static const char openers[] = "([{\"'`", closers[] = ")]}\"'`";
    const char *at = c ? strchr(openers, c) : NULL;
    return at ? closers[at - openers] : 0;
}

/* The closers of what `typed` opened and left open, innermost last; the oldest are dropped. Within
 * quotes nothing counts but their end. */
static size_t open_closers(text typed, char out[CLOSERS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < typed.size; i++) {
        char c = typed.bytes[i], closer = closer_of(c);
        bool quoted = n && strchr("\"'`", out[n - 1]);
        if (n && out[n - 1] == c) {
            n--;
        } else if (closer && !quoted) {
            if (n == CLOSERS_MAX) memmove(out, out + 1, --n);
            out[n++] = closer;
        }
    }
    return n;
}

/* Whether an editor may have put `closers` there by itself while `typed` was typed, and `rest` says
 * them again on its line, so that they may be replaced. */
static bool closers_agree(text closers, text typed, text rest)
{
    char open[CLOSERS_MAX];
    size_t n = open_closers(typed, open), at = 0;
    for (size_t i = 0; i < closers.size; i++) {
        while (n && open[n - 1] != closers.bytes[i]) n--;
        if (n == 0) return false;
        n--;
        while (at < rest.size && rest.bytes[at] != closers.bytes[i] && rest.bytes[at] != '\n') at++;
        if (at == rest.size || rest.bytes[at++] == '\n') return false;
    }
    return true;
}

bool completion_cache_get(const struct completion_cache *c, text content, size_t cursor_byte,
                          text *rest, size_t *replace_bytes)
{
    text insert = buffer_text(&c->insert);
    const struct completion_place *place = &c->place;
    if (insert.size == 0 || cursor_byte < place->cursor_byte || cursor_byte > content.size)
        return false;
    text typed = text_slice(content, place->cursor_byte, cursor_byte);
    text behind = text_slice(content, cursor_byte, content.size);
    if (typed.size >= insert.size || !text_starts(insert, typed)) return false;
    if (behind.size < place->behind_bytes) return false;
    text closers = text_slice(behind, 0, behind.size - place->behind_bytes);
    text left = text_slice(insert, typed.size, insert.size);
    if (closers.size > CLOSERS_MAX || !closers_agree(closers, typed, left)) return false;
    behind = text_slice(behind, closers.size, behind.size);
    if (hash_text(behind) != place->behind_hash ||
        hash_text(text_slice(content, 0, place->cursor_byte)) != place->before_hash)
        return false;
    *rest = left;
    *replace_bytes = closers.size + c->replace_bytes;
    return true;
}

void completion_cache_free(struct completion_cache *c)
{
    buffer_free(&c->insert);
    *c = (struct completion_cache){0};
}
