/* The prompts of a commit message: one, or for a large change a summary of each part and then one.
 *
 * system | user turn (branch, subjects for style, template, every file with its lines, the patches or
 * what was said of their parts, the task) | assistant turn left open. Lock and generated files are
 * named and not shown; whatever is left out says so in the prompt and in `omitted`. No map and none of
 * the editor's words. Counted with the engine's tokenizer. Knows no model and no HTTP. */
#ifndef CONTEXT_COMMIT_PROMPT_H
#define CONTEXT_COMMIT_PROMPT_H

#include "context/commit_facts.h"
#include "tokenizer/tokenizer.h"

/* Parts, the message, and one more try: at most eight calls of the engine. */
enum { COMMIT_PARTS_MAX = 6, COMMIT_CALLS_MAX = COMMIT_PARTS_MAX + 2 };

struct commit_plan {
    const struct commit_facts *facts;
    const tokenizer *tokenizer;
    size_t budget_tokens;
    size_t n_parts;    /* 0: the message is made from the patches themselves */
    size_t cap_tokens; /* of one file's patch: longer ones are cut */
    unsigned *part_of; /* [n files]: from 1; 0: named only */
    buffer files;      /* every file with its lines, or folders where there are too many */
    buffer omitted;    /* for the user, one line each */
    arena memory;
};

/* `facts` and `t` outlive the plan. ERR_LIMIT when the budget is too small for any message. */
status commit_plan_make(struct commit_plan *out, const struct commit_facts *facts,
                        const tokenizer *t, size_t budget_tokens, error *err);
void commit_plan_free(struct commit_plan *p);

/* Appends the ids of the question about part i, and of the one about the message; summaries are
 * [n_parts], or nothing. */
status commit_prompt_part(token_list *out, const struct commit_plan *p, size_t i, error *err);
status commit_prompt_final(token_list *out, const struct commit_plan *p, const text *summaries,
                           error *err);
/* Appends the answer, what is wrong with it, and the turn left open again. */
status commit_prompt_retry(token_list *out, const tokenizer *t, text answer, text fault,
                           error *err);

#endif
