/* The completion prompt: an ordered list of blocks, laid out for the prefix cache.
 *
 * system (and the repository's map) | examples | user turn (task, [excerpts,] what stands below the
 * gap, the file above the gap, what stands right behind the gap) | assistant turn left open with a
 * fence and the tail. What changes last stands last. Anchors keep consecutive prompts equal for as
 * long as possible: the window's first line moves in jumps of a quarter of its budget, the tail starts
 * at a fixed line while it is 2 to 6 lines long, the text below is pinned until its beginning really
 * changed. Every block begins and ends so that its ids do not depend on its neighbours. Excerpts of
 * other files follow a plan that changes seldom (prompt_plan.h). Line ends are "\n" in the
 * prompt whatever they are in the file.
 *
 * A prompt_session holds one document's anchors. Not thread-safe; one session belongs to one
 * thread at a time. Knows no model, no HTTP, no LSP. */
#ifndef CONTEXT_PROMPT_H
#define CONTEXT_PROMPT_H

#include "base/error.h"
#include "context/document.h"
#include "context/map.h"
#include "context/retrieve.h"
#include "tokenizer/tokenizer.h"

typedef struct prompt_session prompt_session;

status prompt_session_open(prompt_session **out, error *err);
void prompt_session_close(prompt_session *s);

/* One part of the prompt, for people and for `dbrx-ls prompt`. Texts live as long as the prompt. */
struct prompt_block {
    const char
        *kind; /* "system", "map", "example", "task", "excerpt", "suffix", "prefix", "behind",
                           "tail" */
    text path; /* where its text is from; empty for our own words */
    const char *reason; /* why it is there, in words */
    size_t n_tokens;
    double score;
    int32_t age; /* requests since it came in */
    bool reused; /* its ids stand at the same place as in the session's previous prompt */
};

struct prompt {
    token_list ids;
    text text; /* the same as text, control tokens spelt out; for people only */
    text
        must_start_with; /* with "\n" line ends: bytes rolled back from the tail: the answer must begin with them */
    text fence;  /* the fence that opens the answer and therefore closes it, "```" or longer */
    text suffix; /* the document behind the gap, at most 4 KiB */
    struct prompt_block *blocks;
    size_t n_blocks;
    size_t n_reused; /* leading tokens equal to the session's previous prompt */
    int64_t layout_us, tokenize_us;
    arena memory; /* holds everything but ids */
};

struct prompt_options {
    size_t budget_tokens; /* for the whole prompt: default 8192, at most model length - answer */
    bool want_text;       /* fill prompt.text */
    /* What retrieval proposes, or NULL: nothing new is known, and the plan stays as it is. */
    const struct excerpts *proposal;
    /* The repository's map, or NULL: the one the session has, or none. Every document of a repository
     * should have it from its first prompt on: a prompt begins with it. */
    const struct repository_map *map;
};

/* Lays out the prompt for completing `document` at `cursor_byte`. A budget too small for the fixed
 * parts and 64 tokens of the file is ERR_LIMIT with the numbers. Freed by prompt_free. */
status prompt_build(struct prompt *out, prompt_session *s, const tokenizer *t,
                    const struct document_view *document, size_t cursor_byte,
                    const struct prompt_options *options, error *err);
void prompt_free(struct prompt *p);

/* What a session remembers, copied: a prompt that is only tried (for a state of the document that may
 * come) is built between a save and a load, and leaves no trace in the anchors. */
typedef struct prompt_memory prompt_memory;

status prompt_session_save(prompt_memory **out, const prompt_session *s, error *err);
/* Takes the memory over; the session is as it was then. */
void prompt_session_load(prompt_session *s, prompt_memory *memory);
void prompt_memory_free(prompt_memory *memory); /* NULL is nothing */

/* The memory's plan becomes the session's; the rest of it stays as it is. */
void prompt_session_adopt_plan(prompt_session *s, prompt_memory *memory);

/* What the last proposal did to the plan. */
enum plan_change { PLAN_AS_IT_WAS, PLAN_IS_BETTER, PLAN_WAS_FALSE };
enum plan_change prompt_session_plan_change(const prompt_session *s);

/* How many tokens of the map a prompt of this budget begins with. */
size_t prompt_map_tokens(size_t budget_tokens);

#endif
