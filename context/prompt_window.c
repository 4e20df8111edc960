/* All parts are found by walking lines outward from the gap and counting exact tokens of each, so
 * the work is bounded by the budget and not by the document. */
#include "context/prompt_window.h"

#include <string.h>

#include "base/utf.h"

enum {
    TAIL_LINES_MAX = 6,
    TAIL_LINES_FRESH = 2,
    BETWEEN_LINES_MAX = 8,
    SUFFIX_HEAD_TOKENS = 50,
    BYTES_PER_TOKEN_MAX = 24 /* white space packs 80 bytes in a token: bounds what is scanned */
};

static void anchors_free(struct prompt_anchors *a)
{
    buffer_free(&a->suffix);
    token_list_free(&a->suffix_head);
    *a = (struct prompt_anchors){0};
}

void prompt_places_free(struct prompt_places *p)
{
    anchors_free(&p->now);
    for (int i = 0; i < PLACES_KEPT; i++) anchors_free(&p->before[i]);
}

static bool anchors_copy(struct prompt_anchors *out, const struct prompt_anchors *a)
{
    *out = *a;
    out->suffix = (buffer){0};
    out->suffix_head = (token_list){0};
    buffer_put_text(&out->suffix, buffer_text(&a->suffix));
    token_list_put_all(&out->suffix_head, a->suffix_head.ids, a->suffix_head.n);
    return !out->suffix.failed && !out->suffix_head.failed;
}

status prompt_places_copy(struct prompt_places *out, const struct prompt_places *p, error *err)
{
    bool copied = anchors_copy(&out->now, &p->now);
    for (int i = 0; i < PLACES_KEPT; i++)
        copied = anchors_copy(&out->before[i], &p->before[i]) && copied;
    if (copied) return OK;
    prompt_places_free(out);
    return fail(err, ERR_MEMORY, "prompt: no memory for anchors");
}

static bool starts_line(text content, size_t at)
{
    return at == 0 || content.bytes[at - 1] == '\n';
}

static void anchor_set(struct anchor *a, text content, size_t at)
{
    text line = text_slice(content, at, at + sizeof a->mark);
    size_t end = text_find(line, TEXT("\n"), 0);
    *a = (struct anchor){.set = true, .at = at, .n_mark = end == SIZE_MAX ? line.size : end};
    if (a->n_mark) memcpy(a->mark, line.bytes, a->n_mark);
}

/* Where the anchor's line stands now: at its old place, or moved by what the document grew. */
static size_t anchor_find(const struct anchor *a, text content, size_t old_size)
{
    if (!a->set) return SIZE_MAX;
    size_t places[2] = {a->at, a->at + content.size - old_size};
    for (int i = 0; i < 2; i++) {
        size_t at = places[i];
        if (at > content.size || !starts_line(content, at)) continue;
        if (text_starts(text_slice(content, at, content.size), (text){a->mark, a->n_mark}))
            return at;
    }
    return SIZE_MAX;
}

static size_t line_start(text content, size_t at)
{
    const char *end = at ? memrchr(content.bytes, '\n', at) : NULL;
    return end ? (size_t)(end - content.bytes) + 1 : 0;
}

/* Lines that [from, to) touches, counted no further than max + 1. */
static size_t count_lines(text content, size_t from, size_t to, size_t max)
{
    size_t n = 1;
    for (size_t at = from; n <= max; n++, at++) {
        at = text_find(text_slice(content, 0, to), TEXT("\n"), at);
        if (at == SIZE_MAX) break;
    }
    return n;
}

static bool fits(struct unit_cache *c, text part, size_t budget)
{
    return part.size <= budget * BYTES_PER_TOKEN_MAX && unit_cache_count(c, part) <= budget;
}

/* Last resort for one long line: its end, from a place that moves in jumps of half the budget. A
 * token has at least one byte, so the shortest choice always fits. */
static size_t long_line_start(struct unit_cache *c, text content, size_t from, size_t cursor,
                              size_t budget)
{
    size_t step = budget / 2 ? budget / 2 : 1, n_steps = (cursor - from) / step;
    for (size_t back = 6; back > 1; back--) {
        if (n_steps < back) continue;
        size_t at = utf8_floor(content, from + (n_steps - back) * step);
        if (fits(c, text_slice(content, at, cursor), budget)) return at;
    }
    size_t at = utf8_floor(content, cursor - (cursor - from < budget ? cursor - from : budget));
    return fits(c, text_slice(content, at, cursor), budget) ? at : cursor;
}

static void tail_cut(struct prompt_cut *out, struct prompt_anchors *a, struct unit_cache *c,
                     text content, size_t cursor, size_t budget)
{
    size_t from = anchor_find(&a->tail, content, a->document_size);
    size_t gap_line = line_start(content, cursor), n = 0;
    if (from <= gap_line) n = count_lines(content, from, cursor, TAIL_LINES_MAX);
    bool keep = n > 0 && n <= TAIL_LINES_MAX && (n >= TAIL_LINES_FRESH || from == 0) &&
                fits(c, text_slice(content, from, cursor), budget);
    if (!keep) {
        from = gap_line;
        for (size_t i = 1; i < TAIL_LINES_FRESH && from > 0; i++)
            from = line_start(content, from - 1);
        if (!fits(c, text_slice(content, from, cursor), budget)) from = gap_line;
    }
    out->tail_reason = "the lines up to the gap";
    anchor_set(&a->tail, content, from);
    if (!keep && !fits(c, text_slice(content, from, cursor), budget)) {
        from = long_line_start(c, content, gap_line, cursor, budget);
        out->tail_reason = "the end of a line that is longer than its budget";
        a->tail.set = false;
    }
    out->tail = text_slice(content, from, cursor);
}

/* Cost of a unit: its tokens, or more where its bytes are many. */
static size_t unit_cost(struct unit_cache *c, text unit)
{
    size_t n = unit_cache_count(c, unit), floor = unit.size / BYTES_PER_TOKEN_MAX;
    return n > floor ? n : floor;
}

/* A fresh window holds all above when that fits, else half of its budget: it will grow. Behind newly
 * pinned text nothing is in the cache anyway, so there it is at most half, and a jump of the cursor
 * costs no more than that. */
static void window_cut(struct prompt_cut *out, struct prompt_anchors *a, struct unit_cache *c,
                       text content, size_t end, size_t budget)
{
    size_t anchor = anchor_find(&a->window, content, a->document_size), at = end, sum = 0;
    size_t half = end, three_quarters = end, limit = out->pinned_anew ? budget / 2 : budget;
    bool kept = false, more = false;
    while (at > 0 && !kept && !more) {
        size_t from = unit_start_before(content, at);
        size_t cost = from == SIZE_MAX ? 0 : unit_cost(c, text_slice(content, from, at));
        more = from == SIZE_MAX || sum + cost > limit;
        if (more) break;
        sum += cost;
        at = from;
        if (sum <= budget / 2) half = at;
        if (sum <= budget - budget / 4) three_quarters = at;
        kept = at == anchor && (at == 0 || sum >= budget / 4);
    }
    size_t from = at;
    if (!kept && more) from = anchor < at && !out->pinned_anew ? three_quarters : half;
    out->window = text_slice(content, from, end);
    out->window_is_new = !kept || !a->window.set;
    out->window_reason = from == 0 ? "the file from its beginning"
                         : kept    ? "the lines above, from an anchor that stays while they fit"
                                   : "the lines above, from a new anchor";
    anchor_set(&a->window, content, from);
}

bool prompt_cut_shrink(struct prompt_cut *cut, struct prompt_anchors *a, text content)
{
    if (cut->window.size == 0) return false;
    size_t at = (size_t)(cut->window.bytes - content.bytes), end = at + cut->window.size;
    size_t next = end;
    for (size_t p = end; p > at; p = unit_start_before(content, p)) next = p;
    cut->window = text_slice(content, next, end);
    cut->window_is_new = true;
    anchor_set(&a->window, content, next);
    return true;
}

static text skip_blank_lines(text t)
{
    text rest = t, line;
    while (text_next_line(&rest, &line)) {
        if (text_trim(line).size) return t;
        t = rest;
    }
    return t;
}

/* Ids of the first lines, at least SUFFIX_HEAD_TOKENS unless the text ends before; the rest of the
 * last line is cut off. */
static void head_ids(struct unit_cache *c, token_list *out, text t)
{
    text rest = text_slice(t, 0, SUFFIX_HEAD_TOKENS * BYTES_PER_TOKEN_MAX), line;
    const char *from = rest.bytes;
    while (out->n < SUFFIX_HEAD_TOKENS && text_next_line(&rest, &line)) {
        unit_cache_encode(c, out, (text){from, (size_t)(rest.bytes - from)});
        from = rest.bytes;
    }
    if (out->n > SUFFIX_HEAD_TOKENS) out->n = SUFFIX_HEAD_TOKENS;
}

/* The rule of pinning: the first lines are equal and at most 10 % of the first tokens differ. */
static bool heads_agree(const struct prompt_anchors *a, struct unit_cache *c, text below)
{
    text pinned = buffer_text(&a->suffix), first, first_pinned;
    bool some = text_next_line(&below, &first),
         some_pinned = text_next_line(&pinned, &first_pinned);
    if (!some || !some_pinned) return some == some_pinned;
    if (!text_equal(first, first_pinned)) return false;
    token_list head = {0};
    text all = {first.bytes, (size_t)(below.bytes - first.bytes) + below.size};
    head_ids(c, &head, all);
    size_t n = a->suffix_head.n < head.n ? a->suffix_head.n : head.n;
    size_t differ = a->suffix_head.n > n ? a->suffix_head.n - n : 0;
    for (size_t i = 0; i < n; i++) differ += head.ids[i] != a->suffix_head.ids[i];
    bool agree = !head.failed && differ * 10 <= a->suffix_head.n;
    token_list_free(&head);
    return agree;
}

/* The beginning of one line, so short that it fits. */
static text line_head(struct unit_cache *c, text line, size_t budget)
{
    size_t size = budget * 4;
    while (size > budget && !fits(c, text_slice(line, 0, utf8_floor(line, size)), budget))
        size -= size / 4;
    if (size < budget) size = budget;
    text head = text_slice(line, 0, utf8_floor(line, size));
    return fits(c, head, budget) ? head : text_slice(line, 0, 0);
}

/* Whole lines from the beginning of `below` within the budget. */
static text whole_lines(struct unit_cache *c, text below, size_t budget)
{
    text seen = text_slice(below, 0, budget * BYTES_PER_TOKEN_MAX);
    size_t size = 0, sum = 0;
    while (size < seen.size) {
        size_t end = unit_end_after(seen, size);
        if (end == seen.size && seen.size < below.size) break; /* perhaps not the whole line */
        sum += unit_cache_count(c, text_slice(seen, size, end));
        if (sum > budget) break;
        size = end;
    }
    return text_slice(below, 0, size);
}

static void suffix_pin(struct prompt_anchors *a, struct prompt_cut *out, struct unit_cache *c,
                       text below, size_t budget)
{
    text part = whole_lines(c, below, budget);
    out->suffix_reason = "the lines below the gap, pinned";
    if (part.size == 0 && below.size) {
        text line, rest = text_slice(below, 0, budget * BYTES_PER_TOKEN_MAX);
        text_next_line(&rest, &line);
        part = line_head(c, line, budget);
        out->suffix_reason = "the beginning of a line that is longer than its budget";
    }
    buffer_clear(&a->suffix);
    buffer_put_text(&a->suffix, part);
    a->suffix_head.n = 0;
    head_ids(c, &a->suffix_head, part);
    a->pinned = true;
}

/* Lines from the gap to where the pinned text begins now, or SIZE_MAX when it is not there. */
static size_t pinned_offset(const struct prompt_anchors *a, struct unit_cache *c, text below)
{
    text rest = below, line;
    for (size_t i = 0; a->pinned && i <= BETWEEN_LINES_MAX; i++) {
        size_t at = below.size - rest.size;
        if (heads_agree(a, c, rest)) return at;
        if (!text_next_line(&rest, &line)) break;
    }
    return SIZE_MAX;
}

/* The text below the gap's line. */
static text below_of(text content, size_t cursor)
{
    size_t line_end = text_find(content, TEXT("\n"), cursor);
    size_t from = line_end == SIZE_MAX ? content.size : line_end + 1;
    return skip_blank_lines(text_slice(content, from, content.size));
}

/* Where the pinned text begins in `below`; SIZE_MAX when it cannot stay. */
static size_t pin_find(const struct prompt_anchors *a, struct unit_cache *c, text below,
                       const struct prompt_budgets *budgets)
{
    size_t at = pinned_offset(a, c, below);
    bool stays = at != SIZE_MAX && fits(c, text_slice(below, 0, at), budgets->behind / 2) &&
                 fits(c, buffer_text(&a->suffix), budgets->suffix);
    return stays ? at : SIZE_MAX;
}

/* The whole window must still be there, or the place's prompt is not worth going back to. */
static bool place_fits(const struct prompt_anchors *a, struct unit_cache *c, text content,
                       size_t cursor, const struct prompt_budgets *budgets)
{
    size_t window = anchor_find(&a->window, content, a->document_size);
    return window <= line_start(content, cursor) &&
           pin_find(a, c, below_of(content, cursor), budgets) != SIZE_MAX &&
           fits(c, text_slice(content, window, cursor), budgets->window);
}

/* At another place: its anchors if it was one of the last, else those of here without the text
 * below, which is pinned anew. What was `now` becomes the latest of those before. */
static void place_find(struct prompt_places *p, struct unit_cache *c, text content, size_t cursor,
                       const struct prompt_budgets *budgets)
{
    int i = 0;
    if (!p->now.pinned || pin_find(&p->now, c, below_of(content, cursor), budgets) != SIZE_MAX)
        return;
    while (i < PLACES_KEPT && !place_fits(&p->before[i], c, content, cursor, budgets)) i++;
    struct prompt_anchors next = {.document_size = p->now.document_size,
                                  .window = p->now.window,
                                  .tail = p->now.tail,
                                  .n_backticks = p->now.n_backticks};
    if (i < PLACES_KEPT)
        next = p->before[i];
    else
        anchors_free(&p->before[--i]);
    memmove(p->before + 1, p->before, (size_t)i * sizeof *p->before);
    p->before[0] = p->now;
    p->now = next;
}

static void below_cut(struct prompt_cut *out, struct prompt_anchors *a, struct unit_cache *c,
                      text content, size_t cursor, const struct prompt_budgets *budgets)
{
    size_t line_end = text_find(content, TEXT("\n"), cursor);
    text rest = text_trim(text_slice(content, cursor, line_end));
    text below = below_of(content, cursor);
    size_t share = budgets->behind / 2, at = pin_find(a, c, below, budgets);
    out->behind_line = fits(c, rest, share) ? rest : line_head(c, rest, share);
    out->suffix_reason = "the lines below the gap, pinned while they stay near";
    if (at == SIZE_MAX) {
        suffix_pin(a, out, c, below, budgets->suffix);
        out->pinned_anew = true;
        at = 0;
    }
    out->behind_lines = text_slice(below, 0, at);
    out->suffix = buffer_text(&a->suffix);
}

status prompt_cut_make(struct prompt_cut *out, struct prompt_places *places, struct unit_cache *c,
                       text content, size_t cursor_byte, const struct prompt_budgets *budgets,
                       error *err)
{
    struct prompt_anchors *a = &places->now;
    *out = (struct prompt_cut){0};
    place_find(places, c, content, cursor_byte, budgets);
    tail_cut(out, a, c, content, cursor_byte, budgets->tail);
    size_t tail_from = (size_t)(out->tail.bytes - content.bytes);
    if (content.size == 0) tail_from = 0;
    below_cut(out, a, c, content, cursor_byte, budgets);
    window_cut(out, a, c, content, line_start(content, tail_from), budgets->window);
    a->document_size = content.size;
    if (a->suffix.failed || a->suffix_head.failed || c->counting.failed || c->unix_lines.failed)
        return fail(err, ERR_MEMORY, "prompt: no memory for the parts of the document");
    return OK;
}
