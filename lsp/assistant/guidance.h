/* What an engine of ours is told about an answer beside the prompt: what must not come first, which
 * brackets it may only close after it opened them, where it ends, and what to measure behind its end.
 *
 * Everything is a hint that saves tokens: post-processing judges the answer in any case. Pure. */
#ifndef LSP_ASSISTANT_GUIDANCE_H
#define LSP_ASSISTANT_GUIDANCE_H

#include "context/document.h"
#include "tokenizer/tokenizer.h"

enum { GUIDANCE_IDS_MAX = 64 };

struct guidance {
    int32_t forbid_first[GUIDANCE_IDS_MAX];
    size_t n_forbid_first;
    char forbid_unopened[4]; /* closing brackets, NUL-terminated */
    buffer stop; /* the first line below that says something, with its line end before; or empty */
    token_list score; /* its ids, to be scored behind the answer */
};

/* `must_start_with` as the prompt has it. With `insists` an empty answer is none: no fence at once. */
void guidance_make(struct guidance *out, const tokenizer *t, const struct document_view *document,
                   size_t cursor_byte, text must_start_with, bool insists);
void guidance_free(struct guidance *g);

/* What stands below the gap's line: the first line that is not blank, as ids to be scored, and the
 * line ends that lead from the gap to it. No ids where there is none, or a very long one. */
struct guidance_below {
    token_list ids;
    size_t n_line_ends;
};
void guidance_below_make(struct guidance_below *out, const tokenizer *t, text content,
                         size_t cursor_byte);

#endif
