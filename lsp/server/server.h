/* The language server: LSP 3.18 over two descriptors, from initialize to exit.
 *
 * One libuv loop that never blocks. Every request gets exactly one reply; between initialize and
 * shutdown completions never answer an error but "cancelled"; nothing but frames is written to the
 * output. It ends when the client says so, when input ends, and when the client's process is gone.
 * lsp/README.md is the contract. */
#ifndef LSP_SERVER_SERVER_H
#define LSP_SERVER_SERVER_H

#include <stdint.h>

#include "base/error.h"

struct json_t; /* jansson's */

/* Which engine: NULL and 0 leave it to the level below, at last to the client's defaults. */
struct engine_choice {
    const char *model_dir, *endpoint, *backend, *idle, *ca_file;
    int32_t n_threads;
};

enum { CHOICES_BEHIND = 3, SETTINGS_FILES = 2 };

struct server_options {
    int input_fd, output_fd;
    struct engine_choice flags;                  /* before initializationOptions */
    struct engine_choice behind[CHOICES_BEHIND]; /* them: environment, then files, nearest first */
    struct json_t *files[SETTINGS_FILES];        /* their settings, farthest first; NULL: none */
    const char *fault;                           /* why the files say nothing; NULL: they do */
    const char *api_key;                         /* NULL: none */
    const char *trace_directory;                 /* NULL: nothing is kept (trace.h) */
};

/* Runs to the end. *exit_code as LSP says: 0 after shutdown, else 1. An error comes only where the
 * server could not begin. */
status server_run(int *exit_code, const struct server_options *options, error *err);

#endif
