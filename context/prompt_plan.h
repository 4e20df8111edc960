/* The plan: which excerpts of other files stand in the prompt, and in which order.
 *
 * Whatever stands before the file's own text must stand still, or every keystroke computes the
 * prompt anew. So retrieval only proposes; the plan in force stays until it has become false, or
 * until another one would show PLAN_MARGIN times as much of what is proposed now, each excerpt
 * counted by the square of its score. Even then blocks keep their places at the front, but for those
 * that nobody asked for during PLAN_UNUSED_MAX proposals and where they stand in the way of better ones. The
 * signatures of one file share a block. Internal to the prompt; not thread-safe. */
#ifndef CONTEXT_PROMPT_PLAN_H
#define CONTEXT_PROMPT_PLAN_H

#include "context/prompt_units.h"
#include "context/retrieve.h"

enum { PLAN_BLOCKS_MAX = 64, PLAN_UNUSED_MAX = 20 };
#define PLAN_MARGIN 1.1

struct plan_block {
    char *memory;     /* path, text and reason, one allocation */
    text path, shown; /* shown: heading, fence and content as they stand in the prompt */
    text content;     /* lines [line, line + n_lines), or with line 0 a signature a line */
    const char *reason;
    bool is_window; /* lines that are like those around the gap, not what these use */
    uint32_t line, n_lines;
    size_t n_tokens, n_backticks; /* the longest run in the content */
    double score;                 /* the best of its excerpts when last proposed; 0: none was */
    double value;                 /* the sum of their squares */
    int32_t age, unused;          /* proposals since it came, and since it was last asked for */
};

struct prompt_plan {
    struct plan_block blocks[PLAN_BLOCKS_MAX];
    size_t n;
    bool was_false; /* the last change could not wait: a block had become false */
};

void prompt_plan_free(struct prompt_plan *p);
status prompt_plan_copy(struct prompt_plan *out, const struct prompt_plan *p, error *err);

/* Drops the last blocks until the rest has no more tokens than that. */
void prompt_plan_fit(struct prompt_plan *p, size_t budget_tokens);

/* Takes a proposal (best first) into account under a budget of tokens. True when the plan changed.
 * ERR_MEMORY leaves the plan as it was. */
status prompt_plan_propose(bool *changed, struct prompt_plan *p, struct unit_cache *c,
                           const struct excerpt *excerpts, size_t n, size_t budget_tokens,
                           error *err);

#endif
