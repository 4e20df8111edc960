/* The hook prepare-commit-msg: installed when the user asks for it, and what it does. Any thread. */
#ifndef LSP_CLI_COMMIT_HOOK_H
#define LSP_CLI_COMMIT_HOOK_H

#include <stdbool.h>

#include "base/error.h"
#include "base/text.h"

/* Writes the hook of the repository in the current folder, where git looks for it. What stands there
 * already and is not ours is replaced only when the user says yes (or `yes` is set), and kept beside it. */
status commit_hook_install(bool yes, error *err);

/* Whether a message is wanted for git's second argument: not for -m, -F, merges, squashes and amends. */
bool commit_hook_wants(const char *source);

/* Puts the message above what stands in git's file. */
status commit_hook_write(const char *file, text message, error *err);

/* From here on the process ends by itself, with exit code 0, when the time a commit waits is over. */
void commit_hook_watch(void);

#endif
