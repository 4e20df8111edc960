/* Where the program keeps things: the user's own directories, never the workspace. Any thread.
 *
 * Each function appends "DIRECTORY/name" (NUL-terminated) to a cleared *out; `name` may be "". The
 * directory is made 0700 and its owner checked. ERR_IO says why it cannot be had. */
#ifndef BASE_PATHS_H
#define BASE_PATHS_H

#include "base/error.h"
#include "base/text.h"

/* $XDG_RUNTIME_DIR/dbrx-ls, else /tmp/dbrx-ls-UID: sockets and locks. */
status path_runtime(buffer *out, const char *name, error *err);
/* $XDG_CACHE_HOME/dbrx-ls, else ~/.cache/dbrx-ls: index, tokenizers; may be deleted at any time. */
status path_cache(buffer *out, const char *name, error *err);
/* $XDG_STATE_HOME/dbrx-ls, else ~/.local/state/dbrx-ls: counters, logs. */
status path_state(buffer *out, const char *name, error *err);
/* $XDG_CONFIG_HOME/dbrx-ls, else ~/.config/dbrx-ls: read only, so it is not created. */
status path_config(buffer *out, const char *name, error *err);

/* The directory of the running executable (/proc/self/exe), with `name` behind it. */
status path_beside_program(buffer *out, const char *name, error *err);

#endif
