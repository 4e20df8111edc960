/* Disagreement is the usual case and should cost no pass over the text, so the cheap comparisons
 * come first: lengths, then what was typed, then the closers, and the hashes of the whole text last. */
#include "lsp/assistant/suggestion.h"

#include <string.h>

#include "base/hash.h"

enum { CLOSERS_MAX = 16, EXTRA_MAX = 256 };

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

void suggestion_clear(struct suggestion *s)
{
    buffer_clear(&s->insert);
    buffer_clear(&s->replaced);
}

void suggestion_free(struct suggestion *s)
{
    buffer_free(&s->insert);
    buffer_free(&s->replaced);
    *s = (struct suggestion){0};
}

static void texts_put(struct suggestion *s, text insert, text replaced)
{
    suggestion_clear(s);
    buffer_put_text(&s->insert, insert);
    buffer_put_text(&s->replaced, replaced);
    if (s->insert.failed || s->replaced.failed) suggestion_clear(s);
}

void suggestion_put(struct suggestion *s, text content, size_t cursor_byte, text insert,
                    size_t replace_bytes)
{
    text tail = text_slice(content, cursor_byte + replace_bytes, content.size);
    s->cursor_byte = cursor_byte;
    s->tail_bytes = tail.size;
    s->before_hash = hash_text(text_slice(content, 0, cursor_byte));
    s->tail_hash = hash_text(tail);
    texts_put(s, insert, text_slice(content, cursor_byte, cursor_byte + replace_bytes));
}

void suggestion_copy(struct suggestion *out, const struct suggestion *s)
{
    out->cursor_byte = s->cursor_byte;
    out->tail_bytes = s->tail_bytes;
    out->before_hash = s->before_hash;
    out->tail_hash = s->tail_hash;
    texts_put(out, buffer_text(&s->insert), buffer_text(&s->replaced));
}

static bool is_blank_char(char c) { return c == ' ' || c == '\t'; }

static size_t blank_end(text t, size_t at)
{
    while (at < t.size && is_blank_char(t.bytes[at])) at++;
    return at;
}

/* 0, or how many bytes the line end at `at` has. */
static size_t line_end(text t, size_t at)
{
    if (at < t.size && t.bytes[at] == '\n') return 1;
    return at + 1 < t.size && t.bytes[at] == '\r' && t.bytes[at + 1] == '\n' ? 2 : 0;
}

/* Two texts read side by side. */
struct walk {
    text insert, typed;
    size_t i, t;           /* where */
    size_t line_i, line_t; /* where the line began */
    size_t before_bytes;
};

/* Where they differ: within the white space that begins a line? Then that may be the editor's. */
static bool walk_indentation(struct walk *w)
{
    if (w->line_t == 0 || blank_end(w->typed, w->line_t) < w->t) return false;
    size_t typed_end = blank_end(w->typed, w->line_t), blank_i = blank_end(w->insert, w->line_i);
    if (typed_end == w->typed.size) { /* all that stands on the line */
        w->before_bytes = typed_end - w->line_t;
        w->t = w->typed.size;
        w->i = w->line_i;
        return true;
    }
    if (!line_end(w->typed, typed_end) || !line_end(w->insert, blank_i)) return false;
    w->t = typed_end; /* a blank line, however blank */
    w->i = blank_i;
    return true;
}

/* Whether `typed` is how `insert` begins; w->i is then where it goes on. Of an insertion that is not
 * whole, whatever goes beyond it agrees. */
static bool walk_typed(struct walk *w, bool whole)
{
    while (w->t < w->typed.size) {
        size_t end_i = line_end(w->insert, w->i), end_t = line_end(w->typed, w->t);
        if (w->i == w->insert.size) return !whole;
        if (end_i && end_t) {
            w->i = w->line_i = w->i + end_i;
            w->t = w->line_t = w->t + end_t;
        } else if (w->insert.bytes[w->i] == w->typed.bytes[w->t]) {
            w->i++;
            w->t++;
        } else if (!walk_indentation(w)) {
            return false;
        }
    }
    return true;
}

static const char openers[] = "([{\"'`", closers[] = ")]}\"'`";

static char closer_of(char c)
{
    const char *at = c ? strchr(openers, c) : NULL;
    return at ? closers[at - openers] : 0;
}

static char opener_of(char c)
{
    const char *at = c ? strchr(closers, c) : NULL;
    return at ? openers[at - closers] : 0;
}

/* Where the innermost quote stands; n: there is none. */
static size_t open_quote(const char *open, size_t n)
{
    size_t at = n;
    while (at > 0 && !strchr("\"'`", open[at - 1])) at--;
    return at > 0 ? at - 1 : n;
}

/* The closers of what `typed` opened and left open, innermost last; the oldest are dropped. Within
 * quotes other quotes do not count; brackets do, for editors close them there too, but only until the
 * quote ends. */
static size_t open_closers(text typed, char out[CLOSERS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < typed.size; i++) {
        char c = typed.bytes[i], closer = closer_of(c);
        size_t quote = open_quote(out, n);
        if (quote < n && out[quote] == c) {
            n = quote;
        } else if (n && out[n - 1] == c) {
            n--;
        } else if (closer && (closer != c || quote == n)) {
            if (n == CLOSERS_MAX) memmove(out, out + 1, --n);
            out[n++] = closer;
        }
    }
    return n;
}

/* Where `rest` closes what was opened before it, at or after `at`; SIZE_MAX where it does not. */
static size_t closing_in(text rest, size_t at, char closer)
{
    char opener = opener_of(closer);
    size_t depth = 0;
    for (; at < rest.size; at++) {
        if (rest.bytes[at] == closer && depth == 0) return at;
        if (rest.bytes[at] == closer)
            depth--;
        else if (rest.bytes[at] == opener)
            depth++;
    }
    return SIZE_MAX;
}

/* Whether an editor may have put `extra` there by itself while `typed` was typed. On the cursor's line
 * it is replaced, whether `rest` says it again or closes elsewhere; what stands on lines of its own
 * stays, and *rest ends where it says the same. */
static bool extra_agrees(text extra, text typed, text *rest)
{
    char open[CLOSERS_MAX];
    size_t n = open_closers(typed, open), at = 0, cut = SIZE_MAX;
    bool below = false;
    for (size_t i = 0; i < extra.size; i++) {
        char c = extra.bytes[i];
        below = below || c == '\n';
        if (c == '\r' || c == '\n' || (below && is_blank_char(c))) continue;
        while (n && open[n - 1] != c) n--;
        if (n == 0) return false;
        n--;
        size_t found = closing_in(*rest, at, c);
        if (found == SIZE_MAX) continue;
        if (below && cut == SIZE_MAX) cut = found;
        at = found + 1;
    }
    if (below && extra.bytes[extra.size - 1] == '\n') return false; /* a line, and no closer */
    if (cut == SIZE_MAX) return true;
    while (cut > 0 && strchr(" \t\r\n", rest->bytes[cut - 1])) cut--;
    *rest = text_slice(*rest, 0, cut);
    return true;
}

/* Closers that stood there may be typed over; words may not. */
static bool is_typed_over(text missing)
{
    for (size_t i = 0; i < missing.size; i++)
        if (!strchr(")]}>\"'`;,", missing.bytes[i])) return false;
    return true;
}

/* Splits what stands between cursor and tail: at its end what is left of `replaced`. */
static bool extra_split(text middle, text replaced, text *extra)
{
    for (size_t n_gone = 0; n_gone <= replaced.size; n_gone++) {
        text kept = text_slice(replaced, n_gone, replaced.size);
        if (!text_ends(middle, kept)) continue;
        *extra = text_slice(middle, 0, middle.size - kept.size);
        return is_typed_over(text_slice(replaced, 0, n_gone));
    }
    return false;
}

struct ends { /* what does not change while a suggestion holds */
    size_t cursor_byte, tail_bytes;
    uint64_t before_hash, tail_hash;
};

static bool ends_agree(const struct ends *e, text content)
{
    text before = text_slice(content, 0, e->cursor_byte);
    text tail = text_slice(content, content.size - e->tail_bytes, content.size);
    return hash_text(tail) == e->tail_hash && hash_text(before) == e->before_hash;
}

/* Everything but the hashes. */
static bool middle_agrees(const struct ends *e, text insert, text replaced, bool whole,
                          text content, size_t cursor, struct suggestion_left *out)
{
    text extra;
    if (cursor < e->cursor_byte || e->tail_bytes > content.size) return false;
    text typed = text_slice(content, e->cursor_byte, cursor);
    size_t tail = content.size - e->tail_bytes;
    /* Closers of the tail that the cursor went over are typed. */
    if (cursor > tail &&
        (tail < e->cursor_byte || !is_typed_over(text_slice(content, tail, cursor))))
        return false;
    text middle = text_slice(content, cursor, tail);
    struct walk w = {.insert = insert, .typed = typed};
    if (!walk_typed(&w, whole)) return false;
    if (middle.size > replaced.size + EXTRA_MAX || !extra_split(middle, replaced, &extra))
        return false;
    *out = (struct suggestion_left){.rest = text_slice(insert, w.i, insert.size),
                                    .before_bytes = w.before_bytes,
                                    .typed_bytes = w.i};
    if (!extra_agrees(extra, typed, &out->rest)) return false;
    size_t below = text_find(extra, TEXT("\n"), 0);
    out->behind_bytes = below == SIZE_MAX ? middle.size : below;
    if (below != SIZE_MAX && below > 0 && extra.bytes[below - 1] == '\r') out->behind_bytes--;
    return true;
}

static bool left_make(const struct suggestion *s, text content, size_t cursor,
                      struct suggestion_left *out)
{
    const struct ends e = {s->cursor_byte, s->tail_bytes, s->before_hash, s->tail_hash};
    return s->insert.size > 0 &&
           middle_agrees(&e, buffer_text(&s->insert), buffer_text(&s->replaced), true, content,
                         cursor, out) &&
           ends_agree(&e, content);
}

static bool is_visible(text t) { return text_trim(t).size > 0; }

bool suggestion_left(const struct suggestion *s, text content, size_t cursor_byte,
                     struct suggestion_left *out)
{
    return cursor_byte <= content.size && left_make(s, content, cursor_byte, out) &&
           is_visible(out->rest);
}

enum suggestion_fate suggestion_fate(const struct suggestion *s, text content, size_t cursor_byte)
{
    const struct ends e = {s->cursor_byte, s->tail_bytes, s->before_hash, s->tail_hash};
    struct suggestion_left left;
    if (s->insert.size == 0 || cursor_byte < s->cursor_byte || cursor_byte > content.size ||
        s->tail_bytes > content.size || !ends_agree(&e, content))
        return SUGGESTION_ELSEWHERE;
    if (left_make(s, content, cursor_byte, &left))
        return is_visible(left.rest) ? SUGGESTION_HOLDS : SUGGESTION_DONE;
    text typed = text_slice(content, s->cursor_byte, cursor_byte);
    struct walk w = {.insert = typed, .typed = buffer_text(&s->insert)};
    if (walk_typed(&w, true)) return SUGGESTION_DONE; /* and more behind it */
    return typed.size ? SUGGESTION_CONTRADICTED : SUGGESTION_ELSEWHERE;
}

bool suggestion_may_hold(const struct completion_place *place, text beginning, text content,
                         size_t cursor_byte)
{
    const struct ends e = {place->cursor_byte, place->behind_bytes, place->before_hash,
                           place->behind_hash};
    struct suggestion_left left;
    return cursor_byte <= content.size &&
           middle_agrees(&e, beginning, TEXT(""), false, content, cursor_byte, &left) &&
           ends_agree(&e, content);
}
