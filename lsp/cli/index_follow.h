/* `dbrx-ls index --follow`: the indexer that a front keeps for a folder. */
#ifndef LSP_CLI_INDEX_FOLLOW_H
#define LSP_CLI_INDEX_FOLLOW_H

#include "base/error.h"

/* Keeps the index of the repository that `path` lies in up to date until stdin ends. Lines on stdin:
 * "changed PATH" (absolute, or from the root), "head" (look at everything again). Lines on stdout,
 * JSON: {"state": "indexing" | "ready" | "failed", "path" (links resolved), "root", "database",
 * "files", "reason"}, the first
 * before the first update, then whenever the state changes or an update has found changes. */
status index_follow(const char *path, error *err);

#endif
