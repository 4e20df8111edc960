/* The plan: which excerpts of other files stand in the prompt, and in which order.
 *
 * Whatever stands before the file's own text must stand still, or every keystroke computes the
 * prompt anew. So retrieval only proposes; the plan in force stays until it has become false, or
 * until the proposal is better by PLAN_MARGIN. What nobody proposed for PLAN_UNUSED_MAX requests
 * leaves with the next change. Internal to the prompt; not thread-safe. */
#ifndef CONTEXT_PROMPT_PLAN_H
#define CONTEXT_PROMPT_PLAN_H

#include "context/prompt_units.h"
#include "context/retrieve.h"

enum { PLAN_BLOCKS_MAX = 32, PLAN_UNUSED_MAX = 20 };
#define PLAN_MARGIN 1.25

struct plan_block {
    char *memory;     /* path, text and reason, one allocation */
    text path, shown; /* shown: heading, fence and content as they stand in the prompt */
    text content;
    const char *reason;
    uint32_t line, n_lines;
    enum retrieve_source source;
    size_t n_tokens, n_backticks; /* the longest run in the content */
    double score;                 /* as last proposed; 0: not in the last proposal */
    int32_t age, unused;          /* requests since it came, and since it was last proposed */
};

struct prompt_plan {
    struct plan_block blocks[PLAN_BLOCKS_MAX];
    size_t n;
    bool was_false; /* the last change could not wait: a block had become false */
};

void prompt_plan_free(struct prompt_plan *p);
status prompt_plan_copy(struct prompt_plan *out, const struct prompt_plan *p, error *err);

/* Takes a proposal (best first) into account under a budget of tokens. True when the plan changed.
 * ERR_MEMORY leaves the plan as it was. */
status prompt_plan_propose(bool *changed, struct prompt_plan *p, struct unit_cache *c,
                           const struct excerpt *excerpts, size_t n, size_t budget_tokens,
                           error *err);

/* "From PATH, lines A to B:" and the fenced content: how an excerpt is shown to the model. */
void prompt_excerpt_put(buffer *out, const struct excerpt *e);

#endif
