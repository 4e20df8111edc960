/* What the files of `dbrx-ls bench` share: the request, the way to stop, the report.
 *
 * A mode fills one JSON object and, for people, prints a table. A figure that was not measured is
 * null there and "n/a" here; a figure that cannot be true is a fault: it is named, and the command
 * fails. Nobody outside the command includes this. */
#ifndef LSP_CLI_BENCH_H
#define LSP_CLI_BENCH_H

#include <jansson.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "inference/engine.h"

struct bench_request {
    bool json;
    const char *model_dir; /* NULL: none found */
    const char *backend;
    int64_t n_threads, kv_tokens;
    int64_t n_repeats;
};

/* Set by the first SIGINT or SIGTERM: modes end soon, and what they have is printed. */
extern atomic_bool bench_stop;

struct bench_report {
    bool json;
    json_t *all;    /* the object; NULL once memory was short */
    json_t *faults; /* in it, under "faults": an array of strings */
};

/* A finite number, else null. */
json_t *figure_json(double value);

/* Up to `digits` behind the point, or "n/a", in one of a few static buffers. */
const char *figure_text(double value, int digits);

/* Names what cannot be true; the command will fail. */
void report_fault(struct bench_report *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* all[key] = value (taken). */
void report_set(struct bench_report *r, const char *key, json_t *value);

/* Puts words on the progress line of a terminal; "" removes it. */
void bench_progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* {"name", "backend", ...} of what is measured, for all modes that open an engine. */
struct engine_options bench_engine_options(const struct bench_request *request);
void report_engine(struct bench_report *r, const engine *e);

/* bench_steps.c: the model's steps beside the machine's bandwidth, then the engine as a whole. */
status bench_steps(const struct bench_request *request, struct bench_report *r, error *err);

/* bench_engine.c: cold and warm prompts, streams side by side, drafts, through the engine. */
status bench_engine(const struct bench_request *request, struct bench_report *r, error *err);

#endif
