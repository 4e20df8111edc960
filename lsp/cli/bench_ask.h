/* One question to an engine in this process, timed as its reader sees it. Any thread. */
#ifndef LSP_CLI_BENCH_ASK_H
#define LSP_CLI_BENCH_ASK_H

#include "inference/engine.h"

struct ask_result {
    int64_t ttft_us;  /* from the question to the first output */
    int64_t total_us; /* to its end */
    int64_t n_prompt, n_cached, n_output;
};

/* Waits for the end; ERR_CANCELLED once bench_stop is set, the engine's own error otherwise. */
status ask_run(engine *e, const struct generation_spec *spec, struct ask_result *out, error *err);

/* Computes a prompt ahead, with the place of a request that is not asked for yet. It is waited for
 * at most wait_us (sooner when it is done); then it goes on while *out lives. Freed by the caller
 * with generation_free, which stops it. ERR_BUSY leaves *out NULL and is no error. */
status ask_warm(engine *e, const struct generation_spec *spec, int64_t wait_us, generation **out,
                error *err);

#endif
