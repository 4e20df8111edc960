/* The scheduler over a table of costs and a virtual clock: policy is tried, and asserted, without a
 * machine. Behind `dbrx-ls bench --simulate`.
 *
 * A world is a scheduler on a table device and a list of requests that come and are cancelled at
 * known times. It knows no HTTP and no text; tokens of one document are the same every time, so
 * prompts of one document share their prefix. One thread; the same world gives the same numbers. */
#ifndef INFERENCE_SIMULATE_SIMULATE_H
#define INFERENCE_SIMULATE_SIMULATE_H

#include "inference/engine.h"
#include "inference/simulate/table_device.h"

typedef struct world world;

struct world_request {
    int64_t at_us;
    int64_t cancel_us; /* 0: never */
    enum priority priority;
    uint64_t owner, document;
    int32_t n_prompt, n_output; /* n_output 0: warm */
};

enum world_end { WORLD_WAITS, WORLD_DONE, WORLD_CANCELLED, WORLD_REFUSED };

/* What became of a request. */
struct world_outcome {
    enum world_end end;
    int64_t first_token_us, finished_us; /* 0: never */
    int32_t n_output, n_cached;
    int32_t launches_before; /* launches between its coming and its first token */
    int64_t lone_us;         /* what its decoding would take with nobody else there */
};

/* `queue_max` bounds requests that wait; 0: no bound. ERR_MEMORY. */
status world_open(world **out, const struct table_costs *costs, int32_t queue_max, error *err);
void world_close(world *w);

/* Adds a request, and gives its number. ERR_MEMORY. */
status world_add(world *w, const struct world_request *request, size_t *number, error *err);

/* Runs until the clock says until_us, or (0) nothing is left. ERR_DEVICE when the scheduler asked the
 * device for what cannot be; ERR_FORMAT when its accounts of pages are wrong. */
status world_run(world *w, int64_t until_us, error *err);

int64_t world_now_us(const world *w);
const struct world_request *world_request(const world *w, size_t number);
const struct world_outcome *world_outcome(const world *w, size_t number);
size_t world_count(const world *w);
void world_stats(const world *w, struct engine_stats *out);

/* Rows times layers computed so far. */
int64_t world_row_layers(const world *w);

/* Decoding rate of a request as a share of its lone rate; NAN when it decoded nothing. */
double world_rate_share(const world *w, size_t number);

/* One figure of a scenario, "ttft_p95_ms"; NAN: not applicable. */
struct simulate_figure {
    const char *name;
    double value;
};

enum { SIMULATE_SCENARIOS_MAX = 12, SIMULATE_FIGURES_MAX = 20 };

struct simulate_scenario {
    const char *name, *about;
    struct simulate_figure figures[SIMULATE_FIGURES_MAX];
    int n_figures;
};

struct simulate_report {
    struct simulate_scenario scenarios[SIMULATE_SCENARIOS_MAX];
    int n_scenarios;
};

/* All scenarios on one machine of table_costs_find; ERR_USAGE names those there are. */
status simulate_run(struct simulate_report *out, const char *machine, error *err);

/* The figure of that name; NAN: there is none. */
double simulate_figure(const struct simulate_report *r, const char *scenario, const char *figure);

#endif
