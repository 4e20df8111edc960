/* The prompts of tasks and of commit messages, shown and not sent. One thread.
 *
 * They are counted for a budget given by the user, as an engine of twice (a task) or four thirds (a
 * message) that length would get them. */
#ifndef LSP_CLI_PROMPT_TASK_H
#define LSP_CLI_PROMPT_TASK_H

#include "lsp/cli/gather.h"
#include "tokenizer/tokenizer.h"

struct prompt_task {
    const char *task;    /* an action's name, or "commit-message" */
    const char *details; /* the instruction, or what is reported; NULL: none */
    bool json, alone;    /* alone: without the repository */
    size_t budget_tokens;
    const tokenizer *tokenizer;
    struct gather
        *gather; /* opened for the first file, then used for those beneath the same root */
};

/* ERR_USAGE names what there is. */
status prompt_task_check(const char *task, error *err);

/* `word` is FILE:START-END, or for a commit message the folder of a repository. Prints to stdout: the
 * text, or {"prompts": [{"text", "tokens", "must_start_with"}], "omitted"} in one line. */
status prompt_task_show(const struct prompt_task *p, const char *word, error *err);

#endif
