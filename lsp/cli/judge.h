/* Whether the text of a file may reach a model: by its name, the user's patterns (exclude.h) and the git
 * attribute -dbrx. Fail closed: what cannot be told is no. Any thread. */
#ifndef LSP_CLI_JUDGE_H
#define LSP_CLI_JUDGE_H

#include <stdbool.h>

#include "base/error.h"

/* OK: it may. ERR_UNSUPPORTED: it is excluded; others: it cannot be told. The file may be one that is
 * not there yet. *linked (may be NULL): it lies elsewhere than its path says. */
status path_judge(const char *path, bool *linked, error *err);

#endif
