#include "lsp/assistant/completion_cache.h"

#include "base/hash.h"

struct completion_place completion_place_of(text content, size_t cursor_byte)
{
    text before = text_slice(content, 0, cursor_byte);
    text behind = text_slice(content, cursor_byte, content.size);
    return (struct completion_place){cursor_byte, behind.size, hash_text(before),
                                     hash_text(behind)};
}

void completion_cache_put(struct completion_cache *c, const struct completion_place *place,
                          text insert, size_t replace_bytes, bool many_lines)
{
    buffer_clear(&c->insert);
    buffer_put_text(&c->insert, insert);
    if (c->insert.failed) buffer_clear(&c->insert);
    c->cursor_byte = place->cursor_byte;
    c->behind_bytes = place->behind_bytes;
    c->before_hash = place->before_hash;
    c->behind_hash = place->behind_hash;
    c->replace_bytes = replace_bytes;
    c->many_lines = many_lines;
}

bool completion_cache_get(const struct completion_cache *c, text content, size_t cursor_byte,
                          text *rest, size_t *replace_bytes)
{
    text insert = buffer_text(&c->insert);
    if (insert.size == 0 || cursor_byte < c->cursor_byte || cursor_byte > content.size)
        return false;
    text typed = text_slice(content, c->cursor_byte, cursor_byte);
    text behind = text_slice(content, cursor_byte, content.size);
    /* Cheap comparisons first: a miss costs no pass over the text. */
    if (typed.size >= insert.size || !text_starts(insert, typed) || behind.size != c->behind_bytes)
        return false;
    if (hash_text(behind) != c->behind_hash ||
        hash_text(text_slice(content, 0, c->cursor_byte)) != c->before_hash)
        return false;
    *rest = text_slice(insert, typed.size, insert.size);
    *replace_bytes = c->replace_bytes;
    return true;
}

void completion_cache_free(struct completion_cache *c)
{
    buffer_free(&c->insert);
    *c = (struct completion_cache){0};
}
