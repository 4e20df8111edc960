/* Every rule may only shorten: what is accepted is always a beginning of what the model said (but for
 * the white space at the start of lines), so a right answer stays right. */
#include "context/trim_body.h"
#include "context/loops.h"

#include <string.h>

enum { TAB_COLUMNS = 4 };

void trim_body_begin(struct trim_body *b, struct trim_place *place)
{
    buffer accepted = b->accepted, whole_line = b->whole_line;
    *b = (struct trim_body){.place = place, .accepted = accepted, .whole_line = whole_line};
    buffer_clear(&b->accepted);
    buffer_clear(&b->whole_line);
    b->scan = (struct bracket_scan){.language = place->language};
    b->scan.in_comment = place->balance.in_comment;
}

void trim_body_free(struct trim_body *b)
{
    buffer_free(&b->accepted);
    buffer_free(&b->whole_line);
}

static bool end(struct trim_body *b, const char *reason)
{
    b->ended = true;
    b->reason = reason;
    return false;
}

static size_t indent_of(const struct trim_body *b, text line)
{
    bool tabs = b->place->style == INDENT_TABS;
    return trim_text_indent(line, tabs ? TAB_COLUMNS : b->place->indent_unit);
}

/* One to four lines, said three times over. */
static size_t loop_start(const struct trim_body *b, uint64_t hash)
{
    enum { PERIOD_MAX = 4, REPEATS = 3 };
    for (size_t period = 1; period <= PERIOD_MAX; period++) {
        size_t n = period * REPEATS, i = 0, visible = 0;
        if (b->n_lines + 1 < n) continue;
        size_t first = b->n_lines + 1 - n; /* the new line is the last of n */
        for (; i + period < n; i++) {
            size_t later = first + i + period;
            uint64_t other = later == b->n_lines ? hash : b->lines[later].hash;
            if (b->lines[first + i].hash != other) break;
            visible += !b->lines[first + i].blank;
        }
        if (i + period == n && visible) return first + period;
    }
    return SIZE_MAX;
}

static void cut_to_line(struct trim_body *b, size_t n_lines)
{
    b->n_lines = n_lines;
    b->accepted.size = n_lines ? b->lines[n_lines - 1].end : 0;
}

/* Short lines ("}", "end") only where they stand in the same column and nothing is open. */
static bool repeats_below(const struct trim_body *b, text line)
{
    enum { WORDS_FIRST = 4, WORDS_ANY = 6, SIZE_ANY = 10 };
    const struct trim_place *p = b->place;
    text plain = text_trim(line);
    size_t words = trim_text_word_chars(plain);
    for (size_t i = 0; i < p->n_below; i++) {
        if (!text_equal(plain, text_trim(p->below[i]))) continue;
        if (words >= WORDS_ANY && plain.size >= SIZE_ANY) return true;
        if (i > 0) continue;
        bool same_column = indent_of(b, line) == indent_of(b, p->below[i]);
        if (words >= WORDS_FIRST || (same_column && b->stack.n == 0)) return true;
    }
    return false;
}

/* A closer the answer did not open: fine where the file lacks it. */
static bool close_for_file(struct trim_body *b, char closer)
{
    struct bracket_balance *file = &b->place->balance;
    size_t *lacking = &file->lacking[(unsigned char)closer];
    if (file->open.n == 0 || file->open.closers[file->open.n - 1] != closer || *lacking == 0)
        return false;
    file->open.n--;
    --*lacking;
    return true;
}

/* True when the text at `at` is the rest of the gap's line, which is then replaced. */
static bool swallow_rest(struct trim_body *b, text line, size_t at)
{
    text rest = b->place->rest, here = text_slice(line, at, line.size);
    if (b->n_lines > 0 || rest.size == 0 || b->replace_bytes || !text_starts(here, rest))
        return false;
    if (trim_text_is_blank(text_slice(here, rest.size, here.size))) return false;
    b->replace_bytes = b->place->rest_offset + rest.size;
    return true;
}

/* Follows the brackets of a line that begins at `from` of `whole`; returns the offset of the first
 * one that must not be closed, or SIZE_MAX. */
static size_t follow_brackets(struct trim_body *b, text whole, size_t from)
{
    size_t next = 0, at, swallowed_until = 0;
    if (b->place->balance.in_string) return SIZE_MAX;
    /* What stands before the gap is known to the tree better than to the lexer. */
    if (b->place->balance.known && !b->place->balance.in_words) next = from;
    while ((at = bracket_next(&b->scan, whole, &next)) != SIZE_MAX) {
        char c = whole.bytes[at], closer = bracket_closer(c);
        if (at < from || at < swallowed_until) continue;
        if (closer) {
            if (b->stack.n == BRACKETS_MAX) return at;
            b->stack.closers[b->stack.n++] = closer;
        } else if (b->stack.n > 0) {
            if (b->stack.closers[b->stack.n - 1] != c) return at;
            b->stack.n--;
        } else if (swallow_rest(b, whole, at)) {
            swallowed_until = at + b->place->rest.size;
        } else if (!close_for_file(b, c)) {
            return at;
        }
    }
    return SIZE_MAX;
}

static bool opens_block(const struct trim_body *b, text line)
{
    const struct language *l = b->place->language;
    text t = text_trim(line);
    return l && l->block_opener == ':' && text_ends(t, TEXT(":"));
}

static bool is_closer(char c) { return c == ')' || c == ']' || c == '}'; }

/* A backslash before its end makes the next line part of it: in shells, makefiles, C's macros, Python. */
static bool goes_on(text line) { return text_ends(line, TEXT("\\")); }

/* Where the block that the gap stands in, or that the first line opened, is over. */
static const char *block_end_before(const struct trim_body *b, text line)
{
    if (b->n_visible == 0 || b->stack.n > 0 || trim_text_is_blank(line)) return NULL;
    if (b->lines[b->n_lines - 1].goes_on) return NULL;
    size_t indent = indent_of(b, line);
    text plain = text_trim(line);
    if (is_closer(plain.bytes[0])) return NULL; /* the brackets decide */
    if (indent < b->base_indent) return "the block ends here";
    if (b->in_block_by_line && indent <= b->base_indent) return "the block ends here";
    bool after_blank = b->n_lines > 0 && b->lines[b->n_lines - 1].blank;
    if (indent == 0 && after_blank) return "the definition ends here";
    return NULL;
}

static void accept(struct trim_body *b, text line)
{
    struct body_line *kept = &b->lines[b->n_lines++];
    if (b->n_lines > 1)
        trim_text_put_indented(&b->accepted, line, b->place->style, b->place->indent_unit);
    else
        buffer_put_text(&b->accepted, line);
    buffer_put_char(&b->accepted, '\n');
    *kept = (struct body_line){.end = b->accepted.size,
                               .hash = text_hash(line),
                               .balanced = b->stack.n == 0 && !goes_on(line),
                               .blank = trim_text_is_blank(line),
                               .goes_on = goes_on(line)};
    b->n_visible += !kept->blank;
}

/* What the first visible line says about the block. */
static void begin_block(struct trim_body *b, text whole)
{
    b->base_indent = indent_of(b, whole);
    b->opened_block = b->stack.n > 0;
    b->in_block_by_line = opens_block(b, whole);
}

/* Where the first line stops to say something new: at the closer that is not its own, or before it
 * where it repeats the rest of the gap's line. An offset behind the gap. */
static size_t end_of_news(const struct trim_place *p, text whole, size_t closer)
{
    while (trim_text_is_blank(text_slice(whole, whole.size - 1, whole.size))) whole.size--;
    size_t repeat = p->rest.size && text_ends(whole, p->rest) ? whole.size - p->rest.size : closer;
    size_t end_of = repeat < closer ? repeat : closer;
    return end_of > p->before.size ? end_of - p->before.size : 0;
}

static bool first_line(struct trim_body *b, text line)
{
    const struct trim_place *p = b->place;
    buffer whole = {0};
    buffer_put_text(&whole, p->before);
    buffer_put_text(&whole, line);
    text all = buffer_text(&whole);
    bool before_blank = trim_text_is_blank(p->before), more = true;
    if (loops_in_line(line)) {
        more = end(b, "the answer repeats itself");
    } else if (before_blank && !trim_text_is_blank(line) && repeats_below(b, all)) {
        more = end(b, "the answer repeats what stands below");
    } else {
        size_t bad = follow_brackets(b, all, p->before.size);
        text good = bad == SIZE_MAX ? line : text_slice(line, 0, end_of_news(p, all, bad));
        if (!trim_text_is_blank(all)) begin_block(b, all);
        accept(b, good);
        if (!before_blank) b->n_visible = 1;
        if (bad != SIZE_MAX) {
            buffer_put_text(&b->whole_line, line);
            more = end(b, "the bracket that follows is closed in the file");
        } else if (!p->many_lines) {
            more = end(b, "the line is complete");
        } else if (p->rest.size && !b->replace_bytes) {
            more = end(b, "the rest of the line follows");
        }
    }
    if (whole.failed) b->accepted.failed = true;
    buffer_free(&whole);
    return more;
}

static bool next_line(struct trim_body *b, text line)
{
    size_t loop = loop_start(b, text_hash(line));
    if (loop != SIZE_MAX || loops_in_line(line)) {
        if (loop != SIZE_MAX) cut_to_line(b, loop);
        return end(b, "the answer repeats itself");
    }
    if (repeats_below(b, line) && !trim_text_is_blank(line))
        return end(b, "the answer reached what stands below");
    const char *over = block_end_before(b, line);
    if (over) return end(b, over);
    struct bracket_stack before = b->stack;
    if (follow_brackets(b, line, 0) != SIZE_MAX) {
        b->stack = before;
        return end(b, "the bracket that follows is closed in the file");
    }
    if (b->n_visible == 0 && !trim_text_is_blank(line)) begin_block(b, line);
    accept(b, line);
    text plain = text_trim(line);
    bool closed = plain.size && is_closer(plain.bytes[0]) && b->stack.n == 0;
    if (closed && indent_of(b, line) < b->base_indent) return end(b, "the block is complete");
    if (closed && b->opened_block && indent_of(b, line) == b->base_indent &&
        !trim_text_is_blank(b->place->before))
        return end(b, "the block is complete");
    return true;
}

/* A gap that stands where the block begins needs no white space: what the first line has of it, all have
 * too many. */
static text undeeper(struct trim_body *b, text line)
{
    size_t n = 0;
    while (n < line.size && (line.bytes[n] == ' ' || line.bytes[n] == '\t')) n++;
    if (n == line.size) return line;
    if (b->n_visible == 0 && b->n_lines == 0) b->n_deeper = n;
    size_t wanted = b->n_lines ? b->place->before.size + b->n_deeper : b->n_deeper;
    return n >= wanted ? text_slice(line, b->n_deeper, line.size) : line;
}

bool trim_body_line(struct trim_body *b, text line)
{
    bool bare;
    if (b->place->indented) line = undeeper(b, line);
    if (b->ended) return false;
    if (b->n_lines == BODY_LINES_MAX) return end(b, "the answer is very long");
    bool alone = b->n_lines > 0 || trim_text_is_blank(b->place->before);
    if (alone && trim_text_is_fence(line, b->place->fence_size, &bare))
        return end(b, b->n_lines ? "the closing fence" : "nothing belongs here");
    return b->n_lines ? next_line(b, line) : first_line(b, line);
}

/* Brackets the answer left open may be closed by what the file has too many of. */
static bool closed_by_file(const struct trim_body *b)
{
    size_t needed[128] = {0};
    for (size_t i = 0; i < b->stack.n; i++) needed[(unsigned char)b->stack.closers[i]]++;
    for (size_t i = 0; i < 128; i++)
        if (needed[i] > b->place->balance.surplus[i]) return false;
    return true;
}

size_t trim_body_ends(const struct trim_body *b, bool finished, size_t ends[BODY_LINES_MAX])
{
    size_t n = b->n_lines, n_ends = 0;
    bool whole = b->stack.n == 0 || (finished && closed_by_file(b));
    if (n && b->lines[n - 1].goes_on) whole = false;
    while (!whole && n > 1 && (!b->lines[n - 1].balanced || b->lines[n - 1].blank)) n--;
    for (size_t i = 0; i < n; i++)
        if (i + 1 == n || (b->lines[i].balanced && !b->lines[i].blank))
            ends[n_ends++] = b->lines[i].end;
    return n_ends;
}
