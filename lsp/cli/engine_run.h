/* One question to an engine from the command line: the loop, the wait for the engine, the time allowed,
 * signals, and the end of it all. One thread. */
#ifndef LSP_CLI_ENGINE_RUN_H
#define LSP_CLI_ENGINE_RUN_H

#include <uv.h>

#include "lsp/cli/engine_settings.h"
#include "lsp/client/engine_client.h"

enum { ENGINE_RUN_SIGNALS = 3 };

struct engine_run {
    /* Set by the caller; the rest zeroed. */
    const char *name;                  /* of the command, for notes */
    double timeout_s;                  /* for engine and answer */
    void (*ask)(struct engine_run *r); /* the engine is there; from the loop, once */
    void (*stop)(
        struct engine_run *r); /* whatever ask opened is closed; once, also when it was not */
    void *context;
    /* Readable by the callbacks. */
    uv_loop_t loop;
    engine_client *client;
    int64_t until_us;
    bool ended; /* how it ends is known: nothing that comes now counts */
    error *err;
    /* Its own. */
    uv_timer_t timer;
    uv_signal_t signals[ENGINE_RUN_SIGNALS];
    bool asked, closed;
    int signal_number;
    status code;
};

/* Runs until engine_run_end was called and all is closed; the status given to it. ERR_NETWORK when the
 * engine cannot be had or the time is over. After a signal the caller cleans up and calls
 * engine_run_pass_on. */
status engine_run(struct engine_run *r, const struct engine_settings *settings, error *err);

/* The first call counts; may be called from anywhere on the loop. */
void engine_run_end(struct engine_run *r, status code);

/* Whoever is asked from here on keeps the time; engine_run does no longer. */
void engine_run_keep_no_time(struct engine_run *r);

/* What a shell wants to know of a program that was interrupted: that it was. */
void engine_run_pass_on(const struct engine_run *r);

/* ERR_USAGE for a time that is none, ERR_IO for a model directory that is not there: a running engine
 * would be asked instead, and its model's name is all there is to compare. */
status engine_run_check(const struct engine_settings *settings, double timeout_s, error *err);

#endif
