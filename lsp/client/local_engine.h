/* The one local engine of a user: its lock, its start, its end, its last words.
 *
 * Everything here blocks a little (files, fork, a child that exits at once): for a thread of
 * libuv's pool, never for the loop. It speaks no HTTP. The engine belongs to nobody: it is no child
 * of ours, lives in a session of its own, and ends by itself when idle. */
#ifndef LSP_CLIENT_LOCAL_ENGINE_H
#define LSP_CLIENT_LOCAL_ENGINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct local_engine_spec {
    const char *program;   /* NULL: this very program */
    const char *model_dir; /* NULL: the engine's own default */
    const char *backend;   /* NULL: its default */
    const char *idle;      /* NULL: its default */
    int32_t n_threads;     /* 0: its default */
};

enum local_outcome {
    LOCAL_HELD,   /* somebody has the lock: an engine runs or is being started */
    LOCAL_FREE,   /* nobody has it, and we were not to start one */
    LOCAL_STARTED /* we had it and the engine inherited it */
};

struct local_finding {
    enum local_outcome outcome;
    pid_t holder;         /* LOCAL_HELD: the engine's pid; 0 while it has not written it */
    int64_t log_offset;   /* LOCAL_STARTED: where its log begins in engine.log */
    char last_words[256]; /* of the log behind `log_from`: why the engine before ended, or "" */
};

/* Tries the lock without waiting; with may_start, the winner starts the engine. log_from: the
 * log_offset of the engine we started before, -1: none. ERR_IO says what could not be done. */
status local_engine_look(struct local_finding *out, const struct local_engine_spec *spec,
                         bool may_start, int64_t log_from, error *err);

/* Sends a signal to the process whose pid stands in the lock file, and only while the lock is held.
 * ERR_BUSY when it is not or no pid is known. */
status local_engine_signal(int signal_number, error *err);

#endif
