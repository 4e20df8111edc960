/* The service: one engine behind HTTP, from its lock to its last reply.
 *
 * It listens before the model is loaded (so that a front learns "loading, 40 %" and not "refused"),
 * leaves when nobody wants it any more, and drains when told to stop. It knows no editor and no
 * repository. One call, made by the program's main thread, which must be its only thread. */
#ifndef INFERENCE_SERVICE_SERVICE_H
#define INFERENCE_SERVICE_SERVICE_H

#include <stdint.h>

#include "base/error.h"
#include "inference/engine.h"

struct service_options {
    const char *socket_path; /* NULL with port < 0: path_runtime("engine.sock"), under the lock */
    int port;                /* TCP port, 0: any free one, -1: the Unix socket */
    const char *host;        /* with port: a loopback address or "localhost" */
    const char *api_key;     /* needed with port */
    const char *model_dir;   /* NULL: loading fails, with words for a person */
    const char *backend;     /* as in engine_options */
    int32_t n_threads;
    int64_t kv_tokens;
    enum weight_format weights; /* as in engine_options, like the next */
    const char *save_dir;
    int64_t idle_s; /* leaves after so long without lease and work; negative: never */
    int lock_fd;    /* an open engine.lock that is flock'ed already; -1: none */
};

/* Serves until SIGTERM, SIGINT, SIGHUP or idleness (OK, drained), or until loading fails (its
 * status, after the clients had time to read it) or the device does (ERR_DEVICE). ERR_USAGE,
 * ERR_BUSY, ERR_IO, ... before that when it cannot listen. A second signal while draining gives
 * ERR_CANCELLED at once. After an error threads may still run: the process is expected to end. */
status service_run(const struct service_options *options, error *err);

#endif
