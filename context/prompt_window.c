/* All parts are found by walking lines outward from the gap and counting exact tokens of each, so
 * the work is bounded by the budget and not by the document. */
#include "context/prompt_window.h"

#include <string.h>

#include "base/limits.h"
#include "base/utf.h"
#include "context/prompt_text.h"

enum {
    TAIL_LINES_MAX = 6,
    TAIL_LINES_FRESH = 2,
    BETWEEN_LINES_MAX = 8,
    SUFFIX_HEAD_TOKENS = 50,
    WORD_BYTES_MAX = 256, /* a longer run of letters is cut anywhere */
    BELOW_SKIPPED_MAX = 4,
    FENCE_TOKENS = 6,        /* of a fence that ends before what is left out, and begins again */
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
    a->inside = !starts_line(content, at);
    if (a->n_mark) memcpy(a->mark, line.bytes, a->n_mark);
}

/* Where the anchor stands now: at its old place, or moved by what the document grew. */
static size_t anchor_find(const struct anchor *a, text content, size_t old_size)
{
    if (!a->set) return SIZE_MAX;
    size_t places[2] = {a->at, a->at + content.size - old_size};
    for (int i = 0; i < 2; i++) {
        size_t at = places[i];
        if (at > content.size || starts_line(content, at) == a->inside) continue;
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

static size_t less(size_t a, size_t b) { return a > b ? a - b : 0; }

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static bool is_word_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool cuts_word(text t, size_t at)
{
    return at > 0 && at < t.size && is_word_byte(t.bytes[at - 1]) && is_word_byte(t.bytes[at]);
}

/* How far a place may move so that it cuts no word, in a text of so many bytes. */
static size_t word_reach(size_t size) { return smaller(WORD_BYTES_MAX, size / 4); }

static size_t word_floor(text t, size_t at)
{
    at = utf8_floor(t, at);
    for (size_t i = 0; i < word_reach(at); i++)
        if (!cuts_word(t, at - i)) return at - i;
    return at;
}

static size_t word_ceil(text t, size_t at)
{
    at = utf8_floor(t, at);
    for (size_t i = 0; i < word_reach(t.size - at); i++)
        if (!cuts_word(t, at + i)) return at + i;
    return at;
}

/* Last resort for one long line: its end, from a place that stays until what follows it no longer fits, or
 * is less than a quarter of the budget. A new one leaves room to type. A token has at least one byte, so
 * the shortest choice always fits. */
static size_t long_line_start(struct prompt_anchors *a, struct unit_cache *c, text content,
                              size_t from, size_t cursor, size_t budget)
{
    text all = text_slice(content, 0, cursor);
    size_t at = anchor_find(&a->tail, content, a->document_size);
    bool kept = a->tail.inside && at > from && at < cursor &&
                fits(c, text_slice(content, at, cursor), budget) && c->counting.n >= budget / 4;
    size_t fresh = smaller(budget - budget / 4, cursor - from);
    for (size_t size = smaller(4 * budget, cursor - from); !kept; size -= size / 4) {
        if (size < fresh) size = fresh;
        at = word_ceil(all, cursor - size);
        kept = size == fresh || fits(c, text_slice(content, at, cursor), fresh);
    }
    anchor_set(&a->tail, content, at);
    return at;
}

/* The gap's line alone, where it is longer than a tail: it takes what the window would have. In jumps,
 * so that the window does not move with each key. */
static size_t long_tail_cut(struct prompt_cut *out, struct prompt_anchors *a, struct unit_cache *c,
                            text content, size_t cursor, struct prompt_budgets *budgets)
{
    size_t from = line_start(content, cursor);
    size_t all = budgets->tail + budgets->window;
    out->tail_reason = "the gap's line, which is long";
    if (!fits(c, text_slice(content, from, cursor), all)) {
        from = long_line_start(a, c, content, from, cursor,
                               less(all, unit_cache_count(c, TEXT(SAYS_TAIL_CUT))));
        out->tail_reason = "the end of the gap's line, which is longer than the budget";
        out->tail_is_cut = true;
        budgets->window = 0;
        return from;
    }
    anchor_set(&a->tail, content, from);
    size_t used = unit_cache_count(c, text_slice(content, from, cursor));
    size_t n_tails = budgets->tail ? used / budgets->tail : used;
    budgets->window = less(budgets->window, n_tails * budgets->tail);
    return from;
}

/* What a long line takes of the window is taken off its budget. */
static void tail_cut(struct prompt_cut *out, struct prompt_anchors *a, struct unit_cache *c,
                     text content, size_t cursor, struct prompt_budgets *budgets)
{
    size_t from = anchor_find(&a->tail, content, a->document_size);
    size_t gap_line = line_start(content, cursor), n = 0;
    if (from <= gap_line) n = count_lines(content, from, cursor, TAIL_LINES_MAX);
    bool keep = n > 0 && n <= TAIL_LINES_MAX && !a->tail.inside &&
                (n >= TAIL_LINES_FRESH || from == 0) &&
                fits(c, text_slice(content, from, cursor), budgets->tail);
    if (!keep) {
        from = gap_line;
        for (size_t i = 1; i < TAIL_LINES_FRESH && from > 0; i++)
            from = line_start(content, from - 1);
        if (!fits(c, text_slice(content, from, cursor), budgets->tail)) from = gap_line;
    }
    out->tail_reason = "the lines up to the gap";
    if (keep || fits(c, text_slice(content, from, cursor), budgets->tail))
        anchor_set(&a->tail, content, from);
    else
        from = long_tail_cut(out, a, c, content, cursor, budgets);
    out->tail = text_slice(content, from, cursor);
}

/* Cost of a unit: its tokens, or more where its bytes are many. */
static size_t unit_cost(struct unit_cache *c, text unit)
{
    size_t n = unit_cache_count(c, unit), floor = unit.size / BYTES_PER_TOKEN_MAX;
    return n > floor ? n : floor;
}

/* The window begins at `from`; lines left out above that are none of its. */
static void window_begin(struct prompt_cut *out, struct prompt_anchors *a, text content,
                         size_t from, size_t end)
{
    const char *begin = content.bytes + from;
    while (out->n_left_out && out->left_out[out->n_left_out - 1].bytes < begin) out->n_left_out--;
    out->window = text_slice(content, from, end);
    anchor_set(&a->window, content, from);
}

/* One unit above `at`, or one line that is too long to be shown, with the blank lines below it. */
struct step {
    size_t from, cost; /* SIZE_MAX: there is none */
    bool left_out;
};

/* The last line before `at` that is not blank; SIZE_MAX behind more blank lines than any unit has. */
static size_t line_start_above(text content, size_t at)
{
    for (size_t end = at; end > 0 && at - end <= UNIT_BYTES_MAX;) {
        size_t from = line_start(content, end - 1);
        if (text_trim(text_slice(content, from, end)).size) return from;
        end = from;
    }
    return SIZE_MAX;
}

/* `window`: the whole budget of a window, whatever a long tail has taken of it. */
static struct step step_up(struct unit_cache *c, text content, size_t at, size_t window)
{
    struct step s = {.from = unit_start_before(content, at), .cost = SIZE_MAX};
    if (s.from != SIZE_MAX) s.cost = unit_cost(c, text_slice(content, s.from, at));
    if (s.cost <= window / 2) return s;
    size_t from = line_start_above(content, at);
    if (from == SIZE_MAX || !unit_boundary(content, from)) return s;
    return (struct step){from, unit_cache_count(c, TEXT(SAYS_LEFT_OUT)) + FENCE_TOKENS, true};
}

/* A fresh window holds all above when that fits, else half of its budget: it will grow. Behind newly
 * pinned text nothing is in the cache anyway, so there it is at most half, and a jump of the cursor
 * costs no more than that. */
static void window_cut(struct prompt_cut *out, struct prompt_anchors *a, struct unit_cache *c,
                       text content, size_t end, size_t budget, size_t whole_budget)
{
    size_t anchor = anchor_find(&a->window, content, a->document_size), at = end, sum = 0;
    size_t half = end, three_quarters = end, limit = out->pinned_anew ? budget / 2 : budget;
    bool kept = false, more = false;
    while (at > 0 && !kept && !more) {
        struct step s = step_up(c, content, at, whole_budget);
        more = s.cost > limit - sum || (s.left_out && out->n_left_out == LEFT_OUT_MAX);
        if (more) break;
        if (s.left_out) out->left_out[out->n_left_out++] = text_slice(content, s.from, at);
        sum += s.cost;
        at = s.from;
        if (sum <= budget / 2) half = at;
        if (sum <= budget - budget / 4) three_quarters = at;
        kept = at == anchor && (at == 0 || sum >= budget / 4);
    }
    size_t from = at;
    if (!kept && more) from = anchor < at && !out->pinned_anew ? three_quarters : half;
    window_begin(out, a, content, from, end);
    out->window_is_new = !kept || !a->window.set;
    out->window_reason = out->n_left_out ? "the lines above, without those too long to show"
                         : from == 0     ? "the file from its beginning"
                         : kept ? "the lines above, from an anchor that stays while they fit"
                                : "the lines above, from a new anchor";
}

bool prompt_cut_shrink(struct prompt_cut *cut, struct prompt_anchors *a, text content)
{
    if (cut->window.size) {
        size_t at = (size_t)(cut->window.bytes - content.bytes), end = at + cut->window.size;
        window_begin(cut, a, content, at + unit_end_after(cut->window, 0), end);
        cut->window_is_new = true;
        return true;
    }
    bool some = cut->suffix.size || cut->behind_line.size || cut->behind_lines.size;
    if (!cut->suffix.size) cut->behind_line = cut->behind_lines = TEXT("");
    cut->suffix = TEXT("");
    return some;
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
    while (size > budget && !fits(c, text_slice(line, 0, word_floor(line, size)), budget))
        size -= size / 4;
    if (size < budget) size = budget;
    text head = text_slice(line, 0, word_floor(line, size));
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
    text part = whole_lines(c, below, budget), rest = below;
    if (part.size == 0) text_next_line(&rest, &part); /* it fits without the blank lines below it */
    out->suffix_reason = "the lines below the gap, pinned";
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

/* The text below the gap's line, from the first line on that is not blank and can be shown; empty behind
 * too many that cannot. */
static text below_of(struct unit_cache *c, text content, size_t cursor, size_t budget,
                     bool *left_out)
{
    size_t line_end = text_find(content, TEXT("\n"), cursor);
    size_t from = line_end == SIZE_MAX ? content.size : line_end + 1;
    text below = skip_blank_lines(text_slice(content, from, content.size)), line;
    *left_out = false;
    for (int n = 0; n <= BELOW_SKIPPED_MAX; n++) {
        text rest = below;
        if (!text_next_line(&rest, &line) || fits(c, line, budget)) return below;
        *left_out = true;
        below = skip_blank_lines(rest);
    }
    return text_slice(content, content.size, content.size);
}

/* Where the pinned text begins in what stands below the gap; SIZE_MAX when it cannot stay. */
static size_t pin_find(const struct prompt_anchors *a, struct unit_cache *c, text content,
                       size_t cursor, const struct prompt_budgets *budgets)
{
    bool left_out;
    text below = below_of(c, content, cursor, budgets->suffix, &left_out);
    size_t at = pinned_offset(a, c, below);
    bool stays = at != SIZE_MAX && fits(c, text_slice(below, 0, at), budgets->behind / 2) &&
                 fits(c, buffer_text(&a->suffix), budgets->suffix);
    return stays ? at : SIZE_MAX;
}

/* The whole window must still be there, or the place's prompt is not worth going back to. */
static bool place_fits(const struct prompt_anchors *a, struct unit_cache *c, text content,
                       size_t cursor, const struct prompt_budgets *budgets)
{
    size_t window = anchor_find(&a->window, content, a->document_size), sum = 0;
    size_t at = line_start(content, cursor);
    if (window > at || pin_find(a, c, content, cursor, budgets) == SIZE_MAX) return false;
    for (int n_left_out = 0; at > window && n_left_out <= LEFT_OUT_MAX;) {
        struct step s = step_up(c, content, at, budgets->window);
        if (s.cost > budgets->window - sum) return false;
        n_left_out += s.left_out;
        sum += s.cost;
        at = s.from;
    }
    return at == window;
}

/* At another place: its anchors if it was one of the last, else those of here without the text
 * below, which is pinned anew. What was `now` becomes the latest of those before. */
static void place_find(struct prompt_places *p, struct unit_cache *c, text content, size_t cursor,
                       const struct prompt_budgets *budgets)
{
    int i = 0;
    if (!p->now.pinned || pin_find(&p->now, c, content, cursor, budgets) != SIZE_MAX) return;
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
                      text content, size_t cursor, struct prompt_budgets *budgets)
{
    size_t line_end = text_find(content, TEXT("\n"), cursor);
    text rest = text_trim(text_slice(content, cursor, line_end));
    text below = below_of(c, content, cursor, budgets->suffix, &out->below_is_left_out);
    size_t share = budgets->behind / 2, at = pin_find(a, c, content, cursor, budgets);
    out->behind_is_cut = !fits(c, rest, share);
    out->behind_line = out->behind_is_cut ? line_head(c, rest, share) : rest;
    out->suffix_reason = "the lines below the gap, pinned while they stay near";
    if (at == SIZE_MAX) {
        suffix_pin(a, out, c, below, budgets->suffix);
        out->pinned_anew = true;
        at = 0;
    }
    out->behind_lines = text_slice(below, 0, at);
    out->suffix = buffer_text(&a->suffix);
    size_t words =
        unit_cache_count(c, TEXT(HEADING_BEHIND_CUT)) - unit_cache_count(c, TEXT(HEADING_BEHIND));
    if (!out->behind_is_cut) words = 0;
    if (out->below_is_left_out) words += unit_cache_count(c, TEXT(SAYS_BELOW));
    budgets->window = less(budgets->window, words);
}

status prompt_cut_make(struct prompt_cut *out, struct prompt_places *places, struct unit_cache *c,
                       text content, size_t cursor_byte, const struct prompt_budgets *budgets,
                       error *err)
{
    struct prompt_anchors *a = &places->now;
    struct prompt_budgets left = *budgets; /* what one part takes of another's */
    *out = (struct prompt_cut){0};
    place_find(places, c, content, cursor_byte, budgets);
    below_cut(out, a, c, content, cursor_byte, &left);
    tail_cut(out, a, c, content, cursor_byte, &left);
    size_t tail_from = (size_t)(out->tail.bytes - content.bytes);
    if (content.size == 0) tail_from = 0;
    window_cut(out, a, c, content, line_start(content, tail_from), left.window, budgets->window);
    a->document_size = content.size;
    if (a->suffix.failed || a->suffix_head.failed || c->counting.failed || c->unix_lines.failed)
        return fail(err, ERR_MEMORY, "prompt: no memory for the parts of the document");
    return OK;
}
