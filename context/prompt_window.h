/* Anchors: which part of a document a prompt shows, chosen so that the next prompt shows the same.
 *
 *     ... not shown ...
 *     window   begins at an anchor that moves in jumps of a quarter of the window's budget
 *     tail     2 to 6 lines up to the gap, begins at an anchor too
 *     (gap)
 *     behind   the rest of the gap's line, and lines that came between the gap and the pinned text
 *     suffix   pinned: stays as it is while it still begins within a few lines of the gap
 *
 * A line is shown whole or not at all. One that alone would take half of the window, or all of the text
 * below, is left out and the lines behind it are shown; the prompt says so. Only the gap's own line is
 * cut: what stands before the gap may take the window's room, too, and begins at a word then; what stands
 * behind it ends at one.
 *
 * When the text below is another one, the cursor is at another place, which has its own anchors.
 * Internal to the prompt; not thread-safe. */
#ifndef CONTEXT_PROMPT_WINDOW_H
#define CONTEXT_PROMPT_WINDOW_H

#include "base/error.h"
#include "context/prompt_units.h"

/* A place that is found again after edits elsewhere: by what stands there. */
struct anchor {
    bool set, inside; /* inside: of a line, not where it begins */
    size_t at, n_mark;
    char mark[64];
};

/* The anchors of one place that was worked at. */
struct prompt_anchors {
    size_t document_size;
    struct anchor window, tail;
    bool pinned;
    buffer suffix;          /* the pinned text */
    token_list suffix_head; /* its first SUFFIX_HEAD_TOKENS ids */
    size_t n_backticks;     /* longest fence so far: it never shrinks while the window stays */
};

enum { PLACES_KEPT = 4 };

/* What one document's session remembers; zeroed is fresh, freed by prompt_places_free. Who looks
 * elsewhere and comes back gets the anchors that the place had, and so the prompt that is in the
 * cache. */
struct prompt_places {
    struct prompt_anchors now, before[PLACES_KEPT]; /* the latest first; not pinned: none */
};

void prompt_places_free(struct prompt_places *p);
status prompt_places_copy(struct prompt_places *out, const struct prompt_places *p, error *err);

struct prompt_budgets {
    size_t window, tail, suffix, behind; /* tokens, without headings and fences */
};

enum { LEFT_OUT_MAX = 8 };

/* Views of the document, of the anchors (suffix), or static words. */
struct prompt_cut {
    text window, tail, suffix, behind_line, behind_lines;
    text left_out
        [LEFT_OUT_MAX]; /* [n_left_out] lines of the window that are not shown, from below up */
    size_t n_left_out;
    bool tail_is_cut, behind_is_cut;
    bool below_is_left_out; /* a long line between the gap and the suffix */
    const char *window_reason, *tail_reason, *suffix_reason;
    bool window_is_new; /* another first line than in the prompt before */
    bool pinned_anew;   /* another suffix than in the prompt before */
};

/* Chooses the parts of content around cursor_byte, which must not split a character or a line end.
 * Each part has at most its budget of tokens, but for a tail of one long line, which has the window's,
 * too. ERR_MEMORY only. */
status prompt_cut_make(struct prompt_cut *out, struct prompt_places *places, struct unit_cache *c,
                       text content, size_t cursor_byte, const struct prompt_budgets *budgets,
                       error *err);

/* Moves the window's first line on by one unit; where it is empty, leaves out the text below and then
 * what stands behind the gap. False when nothing of that is left. */
bool prompt_cut_shrink(struct prompt_cut *cut, struct prompt_anchors *a, text content);

#endif
