#include "lsp/assistant/completion_cache.h"

void completion_cache_free(struct completion_cache *c)
{
    suggestion_free(&c->shown);
    for (size_t i = 0; i < KNOWN_MAX; i++) suggestion_free(&c->known[i]);
    for (size_t i = 0; i < REJECTED_MAX; i++) suggestion_free(&c->rejected[i]);
    *c = (struct completion_cache){0};
}

text completion_first_line(text insert)
{
    size_t at = 0;
    for (;;) {
        size_t end = text_find(insert, TEXT("\n"), at);
        if (end == SIZE_MAX) return insert;
        if (text_trim(text_slice(insert, at, end)).size) {
            text line = text_slice(insert, 0, end);
            if (line.bytes[line.size - 1] == '\r') line.size--;
            return line;
        }
        at = end + 1;
    }
}

void completion_cache_learn(struct completion_cache *c, text content, size_t cursor_byte,
                            text insert, size_t replace_bytes)
{
    struct suggestion_left left;
    struct suggestion *newest = &c->known[(c->n_known + KNOWN_MAX - 1) % KNOWN_MAX];
    if (insert.size == 0) return;
    /* The same answer again, with more or less of it. */
    if (newest->cursor_byte == cursor_byte &&
        suggestion_left(newest, content, cursor_byte, &left) && left.typed_bytes == 0 &&
        left.behind_bytes == replace_bytes) {
        if (text_starts(left.rest, insert)) return;
        if (text_starts(insert, left.rest)) c->n_known--;
    }
    suggestion_put(&c->known[c->n_known++ % KNOWN_MAX], content, cursor_byte, insert,
                   replace_bytes);
}

void completion_cache_cut(struct completion_cache *c, text content, size_t cursor_byte, text insert)
{
    struct suggestion_left left;
    for (size_t i = 0; i < KNOWN_MAX && i < c->n_known; i++) {
        struct suggestion *s = &c->known[i];
        if (suggestion_left(s, content, cursor_byte, &left) && left.typed_bytes == 0 &&
            text_starts(left.rest, insert))
            s->insert.size = insert.size;
    }
}

bool completion_cache_find(const struct completion_cache *c, text content, size_t cursor_byte,
                           bool many_lines, struct suggestion_left *out)
{
    if (suggestion_left(&c->shown, content, cursor_byte, out)) return true;
    for (size_t i = 0; i < KNOWN_MAX && i < c->n_known; i++) {
        const struct suggestion *s = &c->known[(c->n_known - 1 - i) % KNOWN_MAX];
        if (!suggestion_left(s, content, cursor_byte, out)) continue;
        if (!many_lines) out->rest = completion_first_line(out->rest);
        return true;
    }
    return false;
}

/* It stands for indentation before the cursor, so its place is further up. */
static void show_known(struct completion_cache *c, text content, size_t cursor_byte,
                       const struct suggestion_left *left)
{
    struct suggestion_left now;
    suggestion_clear(&c->shown);
    for (size_t i = 0; i < KNOWN_MAX && i < c->n_known; i++) {
        const struct suggestion *s = &c->known[i];
        if (!suggestion_left(s, content, cursor_byte, &now) || !text_starts(now.rest, left->rest))
            continue;
        suggestion_copy(&c->shown, s);
        if (c->shown.insert.size) c->shown.insert.size = now.typed_bytes + left->rest.size;
        return;
    }
}

bool completion_cache_show(struct completion_cache *c, text content, size_t cursor_byte,
                           const struct suggestion_left *left, bool invoked)
{
    struct suggestion_left now;
    bool same = suggestion_left(&c->shown, content, cursor_byte, &now) &&
                text_equal(now.rest, left->rest) && now.behind_bytes == left->behind_bytes;
    if (same) return false; /* its place stays where it was first shown */
    c->shown_invoked = invoked;
    if (left->before_bytes) {
        show_known(c, content, cursor_byte, left);
        return true;
    }
    suggestion_put(&c->shown, content, cursor_byte, left->rest, left->behind_bytes);
    return true;
}

bool completion_cache_refuses(const struct completion_cache *c, text content, size_t cursor_byte,
                              text insert)
{
    text line = completion_first_line(insert);
    for (size_t i = 0; i < REJECTED_MAX && i < c->n_rejected; i++) {
        struct suggestion_left left;
        if (suggestion_left(&c->rejected[i], content, cursor_byte, &left) &&
            text_equal(completion_first_line(left.rest), line))
            return true;
    }
    return false;
}

/* Another answer for the same place, that the text goes on with or has whole. */
static const struct suggestion *chosen_instead(const struct completion_cache *c, text content,
                                               size_t cursor_byte)
{
    for (size_t i = 0; i < KNOWN_MAX && i < c->n_known; i++) {
        const struct suggestion *s = &c->known[i];
        enum suggestion_fate fate = suggestion_fate(s, content, cursor_byte);
        if (s->cursor_byte == c->shown.cursor_byte &&
            (fate == SUGGESTION_HOLDS || fate == SUGGESTION_DONE))
            return s;
    }
    return NULL;
}

enum suggestion_fate completion_cache_fate(const struct completion_cache *c, text content,
                                           size_t cursor_byte)
{
    enum suggestion_fate fate = suggestion_fate(&c->shown, content, cursor_byte);
    if (fate != SUGGESTION_CONTRADICTED) return fate;
    const struct suggestion *other = chosen_instead(c, content, cursor_byte);
    return other ? suggestion_fate(other, content, cursor_byte) : fate;
}

bool completion_cache_dismiss(struct completion_cache *c)
{
    if (c->shown.insert.size == 0) return false;
    suggestion_copy(&c->rejected[c->n_rejected++ % REJECTED_MAX], &c->shown);
    suggestion_clear(&c->shown);
    return true;
}

void completion_cache_changed(struct completion_cache *c, text content, size_t cursor_byte)
{
    enum suggestion_fate fate = suggestion_fate(&c->shown, content, cursor_byte);
    if (fate == SUGGESTION_HOLDS) return;
    const struct suggestion *other = chosen_instead(c, content, cursor_byte);
    if (fate == SUGGESTION_CONTRADICTED && other) {
        suggestion_copy(&c->shown, other);
        if (suggestion_fate(other, content, cursor_byte) == SUGGESTION_HOLDS) return;
    } else if (fate == SUGGESTION_CONTRADICTED) {
        completion_cache_dismiss(c);
    }
    suggestion_clear(&c->shown);
}
