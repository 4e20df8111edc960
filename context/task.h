/* Tasks: what a model is asked to do with a piece of a document, and what of its answer counts.
 *
 * The words of each task are one row (task_text.c). A prompt is
 * system | user turn (file, excerpts, above, below, the piece, the task) | assistant turn left open:
 * with a fence and the piece's first indentation where code is wanted, with the name of the thing where
 * prose is. The system text is that of completions, so that what stands there is computed once. The
 * task comes last: two tasks on one piece share all before it. Knows no model, no HTTP, no LSP. */
#ifndef CONTEXT_TASK_H
#define CONTEXT_TASK_H

#include "context/document.h"
#include "context/human_language.h"
#include "context/map.h"
#include "context/prompt_units.h"
#include "context/retrieve.h"
#include "context/syntax.h"

enum task {
    TASK_EXPLAIN,
    TASK_SIMPLIFY,
    TASK_EXTRACT,
    TASK_RENAME,
    TASK_INSTRUCTION,
    TASK_FIX,
    TASK_DOCUMENT,
    TASK_TESTS,
    TASK_TRANSLATE,
    N_TASKS
};

struct task_request {
    enum task task;
    struct document_view document;
    size_t from_byte, to_byte;       /* the piece: whole lines, without the last line's end */
    size_t line;                     /* of its first line, from 1 */
    size_t select_line, select_last; /* lines that were selected within it; 0: none */
    text name;                       /* of the thing; "" where it has none */
    text details;        /* the user's instruction, diagnostics, names that may change; or "" */
    text human_language; /* that prose and comments are to be in; "" leaves it to the model */
    const struct language *answer_language; /* of the code; NULL: the document's */
    const struct excerpts *excerpts;        /* NULL: none */
    const struct repository_map *map;       /* NULL: none */
    size_t map_tokens;                      /* prompt_map_tokens of the editor's completions */
    size_t budget_tokens;                   /* of the whole prompt */
};

struct task_prompt {
    token_list ids;
    text must_start_with; /* what was rolled back: the answer begins with these bytes */
    text opening;         /* all that the open turn already says, must_start_with included */
    text fence;           /* that closes the answer; "" for prose */
    size_t n_piece;       /* tokens of the piece */
    arena memory;
};

/* ERR_LIMIT says how large the piece is and how large it may be; ERR_UNSUPPORTED that code which holds a
 * secret is not edited: the model sees it masked and would give it back so. Freed by task_prompt_free,
 * also after an error. */
status task_prompt_build(struct task_prompt *out, struct unit_cache *units, const tokenizer *t,
                         const struct task_request *request, error *err);

/* The same conversation one round on: the answer, what is wrong with it, and the turn left open again.
 * `answer` begins with must_start_with. */
status task_prompt_retry(struct task_prompt *p, const tokenizer *t, text answer, text fault,
                         error *err);
void task_prompt_free(struct task_prompt *p);

bool task_wants_prose(enum task task);

#endif
