/* The stages of an answer:
 *
 *     MATCHING  the bytes that must come first are compared and dropped
 *     START     is this code, or prose before a fence?
 *     INSIDE    a fence was opened again: its content is gathered, then taken as the body
 *     BODY      lines go to trim_body.c as they are completed
 *     OVER      nothing further can change the result
 *
 * Work is linear in what is read, and no more than TRIM_ANSWER_MAX is read. */
#include "context/trim.h"

#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/utf.h"
#include "context/loops.h"
#include "context/trim_body.h"
#include "context/trim_syntax.h"

enum {
    ABOVE_BYTES_MAX = 8192,
    WAIT_LINES_MAX = 12,
    LINE_BYTES_MAX = 8192 /* an unfinished line is looked at again with every piece */
};

enum stage { MATCHING, START, INSIDE, BODY, OVER };

struct trim {
    buffer must_start, before, rest, below, above; /* copies of what stands around the gap */
    struct trim_place place;
    struct trim_body body;
    buffer held, clean; /* bytes that may be half a character; clean text of the answer */
    size_t line_from;   /* of the line in clean that is not complete yet */
    size_t inside_from, words_from, n_taken, n_matched, n_waited;
    enum stage stage;
    bool prose_is_text; /* the gap lies in prose itself: a comment, a string, a text */
    bool mismatch;      /* the answer did not begin as it must */
    bool broken;        /* it ended by a fault: what is not whole is not shown */
    bool windows_lines; /* "\r\n" in the document */
    bool asked;
    const char *reason;
    buffer out;
    text content; /* the caller's */
    const syntax *tree;
    size_t cursor_byte;
};

static enum trim_state over(trim *t, const char *reason)
{
    t->stage = OVER;
    t->reason = reason;
    return TRIM_DONE;
}

static text line_at(text content, size_t at, size_t *from)
{
    const char *start = at ? memrchr(content.bytes, '\n', at) : NULL;
    *from = start ? (size_t)(start - content.bytes) + 1 : 0;
    return text_slice(content, *from, text_find(content, TEXT("\n"), at));
}

static void unix_copy(buffer *out, text bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        bool pair = bytes.bytes[i] == '\r' && i + 1 < bytes.size && bytes.bytes[i + 1] == '\n';
        if (!pair) buffer_put_char(out, bytes.bytes[i]);
    }
}

static void copy_around(trim *t, text content, size_t cursor)
{
    size_t from;
    text line = line_at(content, cursor, &from);
    size_t line_end = from + line.size, before_from = from;
    if (cursor - from > SUFFIX_BYTES_MAX)
        before_from = utf8_floor(content, cursor - SUFFIX_BYTES_MAX);
    buffer_put_text(&t->before, text_slice(content, before_from, cursor));
    text behind = text_slice(content, cursor, line_end), rest = text_trim(behind);
    t->place.rest_offset = rest.size ? (size_t)(rest.bytes - behind.bytes) : 0;
    buffer_put_text(&t->rest, text_slice(rest, 0, utf8_floor(rest, SUFFIX_BYTES_MAX)));
    if (line_end < content.size) {
        text below = text_slice(content, line_end + 1, line_end + 1 + SUFFIX_BYTES_MAX);
        unix_copy(&t->below, below);
    }
    size_t above = cursor > ABOVE_BYTES_MAX ? cursor - ABOVE_BYTES_MAX : 0;
    size_t skipped = above ? text_find(content, TEXT("\n"), above) : 0;
    if (skipped > cursor) skipped = cursor;
    unix_copy(&t->above, text_slice(content, skipped + (above != 0), cursor));
    size_t first = text_find(content, TEXT("\n"), 0);
    t->windows_lines = first != SIZE_MAX && first > 0 && content.bytes[first - 1] == '\r';
}

static void place_make(trim *t, const struct trim_options *options)
{
    const struct document_view *d = &options->document;
    struct trim_place *p = &t->place;
    size_t cursor = utf8_floor(d->content, options->cursor_byte);
    t->content = d->content;
    t->tree = d->tree;
    t->cursor_byte = cursor;
    t->asked = options->asked;
    copy_around(t, d->content, cursor);
    p->language = language_of_document(d);
    p->before = buffer_text(&t->before);
    p->rest = buffer_text(&t->rest);
    p->fence_size = options->fence.size ? options->fence.size : 3;
    p->many_lines = options->many_lines;
    p->style = trim_text_indent_style(d->content, cursor, &p->indent_unit);
    p->indented = trim_gap_is_indented(p->language, d->content, cursor, p->indent_unit);
    bracket_balance_make(&p->balance, p->language, d->content, cursor, d->tree);
    t->prose_is_text = bracket_place_in_words(&p->balance, p->language, p->before);
    text below = buffer_text(&t->below), line;
    while (p->n_below < BELOW_LINES_MAX && text_next_line(&below, &line))
        if (!trim_text_is_blank(line)) p->below[p->n_below++] = line;
    buffer_put_text(&t->must_start, options->must_start_with);
    t->stage = t->must_start.size ? MATCHING : START;
    trim_body_begin(&t->body, p);
}

status trim_open(trim **out, const struct trim_options *options, error *err)
{
    trim *t = *out = memory_take(1, sizeof **out);
    if (!t) return fail(err, ERR_MEMORY, "trim: no memory for an answer");
    place_make(t, options);
    if (t->must_start.failed || t->before.failed || t->rest.failed || t->below.failed ||
        t->above.failed) {
        trim_close(t);
        *out = NULL;
        return fail(err, ERR_MEMORY, "trim: no memory for what stands around the gap");
    }
    return OK;
}

void trim_close(trim *t)
{
    if (!t) return;
    buffer_free(&t->must_start);
    buffer_free(&t->before);
    buffer_free(&t->rest);
    buffer_free(&t->below);
    buffer_free(&t->above);
    buffer_free(&t->held);
    buffer_free(&t->clean);
    buffer_free(&t->out);
    trim_body_free(&t->body);
    memory_free(t);
}

/* Compares with the bytes that must come first; returns how much of the piece that used up. What
 * turned out different is given back to be read as the answer. */
static size_t match(trim *t, text piece)
{
    text must = buffer_text(&t->must_start);
    text left = text_slice(must, t->n_matched, must.size);
    size_t n = text_common(left, piece);
    t->n_matched += n;
    if (t->n_matched == must.size) {
        t->stage = START;
    } else if (n < piece.size) {
        t->stage = START;
        t->mismatch = true;
        buffer_put_text(&t->held, text_slice(must, 0, t->n_matched));
    }
    return n;
}

/* The lines of [from, to) of clean go to the body. */
static void body_feed(trim *t, size_t from, size_t to)
{
    text rest = text_slice(buffer_text(&t->clean), from, to), line;
    while (text_next_line(&rest, &line))
        if (!trim_body_line(&t->body, line)) break;
}

/* How much of content says again what stands before the gap: `head` itself, or one line of it
 * without its indentation. White space alone counts only where some had to come first. */
static size_t repeated_head(const trim *t, text content, text head)
{
    text plain = text_trim(head);
    if (plain.size == 0 && t->must_start.size == 0) return 0;
    if (text_starts(content, head)) return head.size;
    if (plain.size == 0 || text_find(head, TEXT("\n"), 0) != SIZE_MAX) return 0;
    text unindented = text_slice(head, (size_t)(plain.bytes - head.bytes), head.size);
    return text_starts(content, unindented) ? unindented.size : 0;
}

/* Content of a fence that was opened again may begin with the must-start bytes, or with lines that
 * stand above the gap, or go on directly. SIZE_MAX: it belongs somewhere else. */
static size_t head_to_drop(const trim *t, text content)
{
    text must = buffer_text(&t->must_start), above = buffer_text(&t->above);
    if (must.size && text_starts(content, must)) return must.size;
    for (size_t at = 0; at < above.size;) {
        size_t n = repeated_head(t, content, text_slice(above, at, above.size));
        if (n) return n;
        size_t next = text_find(above, TEXT("\n"), at);
        at = next == SIZE_MAX ? above.size : next + 1;
    }
    bool blank = trim_text_is_blank(t->place.before);
    return blank || must.size == 0 ? 0 : SIZE_MAX;
}

static enum trim_state inside_end(trim *t, size_t to)
{
    text content = text_slice(buffer_text(&t->clean), t->inside_from, to);
    size_t head = head_to_drop(t, content);
    if (head == SIZE_MAX)
        return over(t, "the answer does not begin with what stands before the gap");
    body_feed(t, t->inside_from + head, to);
    return over(t, t->body.ended ? t->body.reason : "the closing fence");
}

/* The bytes that had to come first may have been met by chance: "S" by "Sure". */
static void put_with_must(buffer *out, const trim *t, text line)
{
    buffer_put_text(out, text_trim(buffer_text(&t->must_start)));
    buffer_put_text(out, line);
}

static bool is_prose(const trim *t, text line)
{
    buffer whole = {0};
    put_with_must(&whole, t, line);
    bool prose = !whole.failed && trim_text_is_prose(buffer_text(&whole));
    buffer_free(&whole);
    return prose;
}

/* A fence opened again. Behind a single "`" it is one too, where the language has no fences itself. */
static bool opens_fence(const trim *t, text line)
{
    bool bare, first = !t->mismatch && t->n_waited == 0;
    if (trim_text_is_fence(line, t->place.fence_size, &bare)) return !first || !bare;
    text must = text_trim(buffer_text(&t->must_start));
    bool met_by_chance = first && must.size && strspn(must.bytes, "`") >= must.size &&
                         t->place.language && t->place.language->quotes[0];
    buffer whole = {0};
    if (met_by_chance) put_with_must(&whole, t, line);
    bool fence = trim_text_is_fence(buffer_text(&whole), t->place.fence_size, &bare) && !bare;
    buffer_free(&whole);
    return fence;
}

/* In a comment, what sounds like chatter is a comment unless a fence follows it. */
static enum trim_state words_take(trim *t, size_t to)
{
    t->stage = BODY;
    body_feed(t, t->words_from, to);
    return t->body.ended ? over(t, t->body.reason) : TRIM_MORE;
}

/* Code, a fence opened again, or words around it? */
static enum trim_state start_line(trim *t, text line)
{
    size_t from = (size_t)(line.bytes - t->clean.bytes);
    bool waiting = t->mismatch || t->n_waited > 0;
    if (opens_fence(t, line)) {
        t->stage = INSIDE;
        t->inside_from = from + line.size + 1;
        return TRIM_MORE;
    }
    if (t->prose_is_text && !t->mismatch) {
        if (waiting && !trim_text_is_blank(line)) return words_take(t, from + line.size);
        if (!waiting && is_prose(t, line)) t->words_from = from;
    }
    if (waiting || is_prose(t, line)) {
        if (++t->n_waited < WAIT_LINES_MAX) return TRIM_MORE;
        return over(t, t->mismatch ? "the answer does not begin with what stands before the gap"
                                   : "the answer is prose");
    }
    t->stage = BODY;
    return trim_body_line(&t->body, line) ? TRIM_MORE : over(t, t->body.reason);
}

static enum trim_state line_take(trim *t, text line)
{
    bool bare;
    switch (t->stage) {
    case START: return start_line(t, line);
    case BODY: return trim_body_line(&t->body, line) ? TRIM_MORE : over(t, t->body.reason);
    case INSIDE:
        if (!trim_text_is_fence(line, t->place.fence_size, &bare) || !bare) return TRIM_MORE;
        return inside_end(t, (size_t)(line.bytes - t->clean.bytes));
    case MATCHING:
    case OVER: break;
    }
    return TRIM_DONE;
}

/* Some engines spell the end of the turn out; a document that does so itself means it. */
static enum trim_state take_line(trim *t, text line)
{
    static const text turn_end = {"<|im_end|>", 10};
    size_t end = text_find(line, turn_end, 0);
    if (end == SIZE_MAX || text_find(buffer_text(&t->above), turn_end, 0) != SIZE_MAX ||
        text_find(buffer_text(&t->below), turn_end, 0) != SIZE_MAX)
        return line_take(t, line);
    if (end > 0) line_take(t, text_slice(line, 0, end));
    if (t->stage == INSIDE) return inside_end(t, (size_t)(line.bytes - t->clean.bytes) + end);
    return t->stage == OVER ? TRIM_DONE : over(t, "the end of the turn");
}

static void take_lines(trim *t)
{
    while (t->stage != OVER) {
        text all = buffer_text(&t->clean);
        size_t end = text_find(all, TEXT("\n"), t->line_from);
        if (end == SIZE_MAX) return;
        text line = text_slice(all, t->line_from, end);
        t->line_from = end + 1;
        take_line(t, line);
    }
}

static void fault(trim *t, const char *reason)
{
    if (t->stage == OVER) return;
    t->broken = true;
    if (t->stage == INSIDE) inside_end(t, t->line_from);
    over(t, reason);
}

enum trim_state trim_put(trim *t, text piece)
{
    if (t->stage == OVER) return TRIM_DONE;
    text left = text_slice(piece, 0, TRIM_ANSWER_MAX - t->n_taken);
    t->n_taken += left.size;
    if (t->stage == MATCHING) left = text_slice(left, match(t, left), left.size);
    if (t->stage == MATCHING) return TRIM_MORE;
    buffer_put_text(&t->held, left);
    bool good = trim_text_clean(&t->held, &t->clean);
    take_lines(t);
    if (t->held.failed || t->clean.failed || t->body.accepted.failed || t->body.whole_line.failed)
        fault(t, "no memory");
    if (!good) fault(t, "a character that has no place in source");
    text pending = text_slice(buffer_text(&t->clean), t->line_from, t->clean.size);
    if (t->stage != INSIDE && loops_in_line(pending)) fault(t, "the answer repeats itself");
    if (pending.size > LINE_BYTES_MAX) fault(t, "a very long line");
    if (t->n_taken == TRIM_ANSWER_MAX) fault(t, "the answer is very long");
    return t->stage == OVER ? TRIM_DONE : TRIM_MORE;
}

/* The model is done, or will say no more: what is left counts as a line only if it is done. */
static void take_end(trim *t, bool finished)
{
    text all = buffer_text(&t->clean), pending = text_slice(all, t->line_from, all.size);
    bool whole = finished && t->held.size == 0;
    if (t->stage == MATCHING) over(t, "the answer ended within what stands before the gap");
    bool half_fence = text_trim(pending).size && pending.bytes[0] == '`' &&
                      strspn(pending.bytes, "`") == text_trim(pending).size;
    if (whole && pending.size && !half_fence) {
        t->line_from = all.size;
        take_line(t, pending);
    }
    if (t->stage == INSIDE) inside_end(t, whole ? all.size : t->line_from);
    if (t->stage == START && t->n_waited && t->prose_is_text && !t->mismatch)
        words_take(t, t->line_from);
    if (t->stage == OVER) return;
    t->broken = !finished;
    const char *reason = finished ? "the model says no more" : "the answer was cut off";
    if (t->stage == START && t->mismatch)
        reason = "the answer does not begin with what stands before the gap";
    else if (t->stage == START && t->n_waited)
        reason = "the answer is prose";
    over(t, reason);
}

static bool is_punctuation(text t)
{
    for (size_t i = 0; i < t.size; i++)
        if (trim_text_word_chars(text_slice(t, i, i + 1)) || t.bytes[i] == ' ') return false;
    return true;
}

/* What the insertion says at its end and the line says again behind the gap is said once. */
static text cut_overlap(const trim *t, text insert)
{
    text rest = t->place.rest;
    if (t->body.replace_bytes) return insert;
    for (size_t n = rest.size < insert.size ? rest.size : insert.size; n > 0; n--) {
        text both = text_slice(rest, 0, n);
        if (text_ends(insert, both) && (n == rest.size || is_punctuation(both)))
            return text_slice(insert, 0, insert.size - n);
    }
    return insert;
}

/* Where the body may stop, the last of it is shown whole; its first line goes on where the gap's line
 * ends. */
static size_t body_ends(const trim *t, text *all, size_t ends[BODY_LINES_MAX])
{
    size_t n = trim_body_ends(&t->body, !t->broken, ends);
    text whole = buffer_text(&t->body.whole_line);
    *all = buffer_text(&t->body.accepted);
    if (n == 0) return 0;
    const struct trim_around around = {
        t->place.language,      t->tree, t->content, t->cursor_byte, buffer_text(&t->above),
        buffer_text(&t->below),
    };
    /* Brackets are counted without a grammar; where that one knows better, the line was right. */
    if (whole.size && t->place.rest.size == 0 && trim_syntax_prefers(&around, *all, whole)) {
        *all = whole;
        ends[0] = whole.size;
        return 1;
    }
    if (t->place.many_lines && t->place.rest.size == 0)
        return trim_syntax_ends(&around, *all, ends, n, TRIM_ENDS_MAX);
    ends[0] = ends[n - 1];
    return 1;
}

static text without_end_blanks(text t)
{
    while (t.size && strchr(" \t\n", t.bytes[t.size - 1])) t.size--;
    return t;
}

/* Writes insert[from, to); returns the size of what is written by then. */
static size_t out_put(trim *t, text insert, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (insert.bytes[i] == '\n' && t->windows_lines) buffer_put_char(&t->out, '\r');
        buffer_put_char(&t->out, insert.bytes[i]);
    }
    return t->out.size;
}

static bool is_one_character(text visible)
{
    size_t size;
    utf8_decode(visible, 0, &size);
    return size == visible.size;
}

static void out_make(trim *t, struct trim_result *out)
{
    text all;
    size_t ends[BODY_LINES_MAX], n = body_ends(t, &all, ends), from = 0;
    text insert = text_slice(all, 0, n ? ends[n - 1] : 0);
    size_t size = insert.size;
    insert = cut_overlap(t, without_end_blanks(insert));
    buffer_clear(&t->out);
    if (trim_text_is_blank(insert)) {
        if (size) t->reason = "nothing visible is left";
        return;
    }
    if (!t->asked && is_one_character(text_trim(insert))) {
        t->reason = "one character is typed sooner than read";
        return;
    }
    for (size_t i = 0; i < n; i++) {
        size_t to = i + 1 < n ? without_end_blanks(text_slice(all, 0, ends[i])).size : insert.size;
        if (to <= from || trim_text_is_blank(text_slice(all, 0, to))) continue;
        out->ends[out->n_ends++] = out_put(t, insert, from, to);
        from = to;
    }
    if (!t->out.failed) return;
    buffer_clear(&t->out);
    out->n_ends = 0;
}

void trim_finish(trim *t, bool finished, struct trim_result *out)
{
    take_end(t, finished);
    *out = (struct trim_result){.n_ends = 0};
    out_make(t, out);
    out->insert = buffer_text(&t->out);
    out->replace_bytes = out->insert.size ? t->body.replace_bytes : 0;
    out->reason = t->reason;
}
