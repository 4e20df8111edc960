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
#include "lsp/cli/typing.h"

enum { BENCH_USERS_MAX = 64 }; /* sequences that share a step of the engine */

struct bench_request {
    bool json;
    const char *model_dir; /* NULL: none found */
    const char *backend;
    int64_t n_threads, kv_tokens;
    int64_t n_repeats;
    const char *simulate; /* a machine's name; NULL: another mode */
    /* Typing sessions. */
    const char *session; /* "builtin" or a file; NULL: another mode */
    const char *sources; /* a file or directory to type from */
    const char *root;    /* the repository it lies in; NULL: none */
    const char *save;    /* where to write the session; NULL: nowhere */
    bool prompts_only, lsp;
    int64_t n_prompts, n_documents, seed, budget_tokens;
    int64_t pause_ms;  /* -1: those of the editors */
    const char *users; /* "auto" or a number; NULL: another mode */
    int64_t n_users;   /* 0: auto */
    int64_t seconds;   /* of each number of users */
    double speed;      /* of typing; 1: as recorded */
    /* A model made on a GPU. */
    const char *synthetic; /* its name; NULL: another mode */
    const char *format;    /* "fp8" or "int4" */
    const char *lines;     /* a file for a line of JSON per cell; NULL: none */
    bool quick;
    int64_t budget_s; /* 0: as long as it takes */
};

/* Set by the first SIGINT or SIGTERM: modes end soon, and what they have is printed. */
extern atomic_bool bench_stop;
void bench_signals_catch(void); /* SIGINT and SIGTERM set it, the second one ends the program */

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

struct engine_options bench_engine_options(const struct bench_request *request);

/* "engine": {"model", "backend", "demo", ...}, and "cache" and "drafts" as they are now. */
void report_engine(struct bench_report *r, const engine *e);
void report_engine_stats(struct bench_report *r, engine *e);

/* Tokens of a prompt: as asked for, less where the model is short. */
size_t bench_budget(const struct bench_request *request, const engine *e);

/* bench_steps.c: the model's steps beside the machine's bandwidth. */
status bench_steps(const struct bench_request *request, struct bench_report *r, error *err);

/* bench_synthetic.c: a full-size model made on a GPU. Prints by itself, not into a report. */
status bench_synthetic(const struct bench_request *request, error *err);

/* bench_simulate.c: the scheduler on a table of costs. */
status bench_simulate(const struct bench_request *request, struct bench_report *r, error *err);

/* bench_engine.c: prompts and streams through scheduler and cache. */
status bench_engine(const struct bench_request *request, struct bench_report *r, error *err);

/* bench_session.c: one typing session, cold, from the cache, and warmed. */
status bench_session(const struct bench_request *request, const struct typing_session *session,
                     struct bench_report *r, error *err);

/* bench_lsp.c: one typing session in an editor, warmed and not, turn by turn. */
status bench_lsp(const struct bench_request *request, const struct typing_session *session,
                 struct bench_report *r, error *err);

/* bench_users.c: people typing at once, or as many as the engine carries. */
status bench_users(const struct bench_request *request, struct bench_report *r, error *err);

#endif
