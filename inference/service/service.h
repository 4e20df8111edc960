/* The service: one engine behind HTTP, from its lock to its last reply.
 *
 * It listens before the model is loaded (so that a front learns "loading, 40 %" and not "refused"),
 * leaves when nobody wants it any more, and drains when told to stop. It knows no editor and no
 * repository. One call, made by the program's main thread, which must be its only thread. */
#ifndef INFERENCE_SERVICE_SERVICE_H
#define INFERENCE_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "inference/engine.h"

struct service_options {
    const char *socket_path; /* NULL with port < 0: path_runtime("engine.sock"), under the lock */
    int port;                /* TCP port, 0: any free one, -1: the Unix socket */
    const char *host;      /* with port: an address or "localhost"; beyond loopback with TLS only */
    bool inherited;        /* listen on the socket a service manager passed, if it did */
    const char *api_key;   /* one key for all; TCP needs it or keys_path */
    const char *keys_path; /* the file of `dbrx-ls key`; NULL: none */
    const char *tls_certificate, *tls_key; /* PEM files, both or none */
    const char *allowed_hosts; /* names in Host, with commas between, besides our own; or NULL */
    const char *model_dir;     /* NULL: loading fails, with words for a person */
    const char *backend;       /* as in engine_options */
    int32_t n_threads;
    /* As in engine_options. */
    enum kv_type kv_type;
    bool kv_served, deterministic;
    int64_t kv_tokens, memory_bytes, host_tokens, host_bytes;
    double memory_fraction;
    int32_t gpu, seqs_max;
    const char *host_directory;
    enum weight_format weights;
    const char *save_dir;
    int64_t idle_s;     /* leaves after so long without lease and work; negative: never */
    int64_t drain_s;    /* running answers get so long after a SIGTERM */
    int64_t patience_s; /* a device that does not answer for so long has failed */
    int lock_fd;        /* an open engine.lock that is flock'ed already; -1: none */
};

/* Serves until SIGTERM, SIGINT, SIGHUP or idleness (OK, drained), or until loading fails (its
 * status, after the clients had time to read it) or the device does (ERR_DEVICE). ERR_USAGE,
 * ERR_BUSY, ERR_IO, ... before that when it cannot listen. A second signal while draining gives
 * ERR_CANCELLED at once. After an error threads may still run: the process is expected to end. */
status service_run(const struct service_options *options, error *err);

#endif
