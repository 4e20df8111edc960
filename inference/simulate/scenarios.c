/* What a team does to an engine, in small: each scenario is a world of its own, and a handful of
 * figures about it. Times are those of people: five keys a second, a pause, an answer of 24 tokens. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "inference/simulate/simulate.h"

enum {
    MS = 1000,
    S = 1000000,
    KEY_US = 200 * MS, /* five keys a second */
    KEYS_PER_BURST = 10,
    PAUSE_US = 600 * MS,
    DEBOUNCE_US = 75 * MS,
    COMPLETION_TOKENS = 24,
    TOKENS_PER_KEY = 1,
    QUEUE_MAX = 256
};

static void figure_add(struct simulate_scenario *s, const char *name, double value)
{
    if (s->n_figures == SIMULATE_FIGURES_MAX) return;
    s->figures[s->n_figures++] = (struct simulate_figure){name, value};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Nearest rank; sorted values. */
static double percentile(const double *values, size_t n, double share)
{
    size_t rank = (size_t)ceil(share * (double)n);
    return n == 0 ? (double)NAN : values[rank > 0 ? rank - 1 : 0];
}

static bool is_like(const struct world_request *r, enum priority priority, int32_t n_output)
{
    return r->priority == priority && (n_output == 0 || r->n_output == n_output);
}

/* Times to first token of one class (and length of answer; 0: any), in three percentiles. */
static void ttft_add(struct simulate_scenario *s, const world *w, enum priority priority,
                     int32_t n_output, const char *const names[3])
{
    static const double shares[3] = {0.50, 0.95, 0.99};
    size_t n = 0;
    double *ms = memory_take(world_count(w), sizeof *ms);
    for (size_t i = 0; ms && i < world_count(w); i++) {
        const struct world_outcome *o = world_outcome(w, i);
        const struct world_request *r = world_request(w, i);
        if (is_like(r, priority, n_output) && o->first_token_us)
            ms[n++] = (double)(o->first_token_us - r->at_us) / MS;
    }
    if (ms) qsort(ms, n, sizeof *ms, by_value);
    for (int i = 0; i < 3; i++) figure_add(s, names[i], ms ? percentile(ms, n, shares[i]) : NAN);
    memory_free(ms);
}

static const char *const ttft_names[3] = {"ttft_p50_ms", "ttft_p95_ms", "ttft_p99_ms"};

/* Device shares by class, and what warming was worth. */
static void stats_add(struct simulate_scenario *s, const world *w)
{
    static const char *const names[N_PRIORITIES] = {"device_share_interactive",
                                                    "device_share_action", "device_share_batch",
                                                    "device_share_warm"};
    struct engine_stats stats = {0};
    world_stats(w, &stats);
    for (int p = 0; p < N_PRIORITIES; p++)
        figure_add(s, names[p], (double)stats.device_us_by[p] / (double)world_now_us(w));
    if (stats.warm_tokens == 0) return;
    figure_add(s, "warm_tokens", (double)stats.warm_tokens);
    figure_add(s, "warm_useful_tokens", (double)stats.warm_useful);
    figure_add(s, "warm_wasted_tokens", (double)stats.warm_wasted);
}

static status stream_add(world *w, int32_t n_prompt, int32_t n_output, size_t *number, error *err)
{
    struct world_request r = {0, 0, PRIORITY_INTERACTIVE, 1, 1, n_prompt, n_output};
    return world_add(w, &r, number, err);
}

static status lone_stream(struct simulate_scenario *s, const struct table_costs *costs, error *err)
{
    world *w;
    size_t stream;
    status rc = world_open(&w, costs, 0, err);
    if (rc == OK) rc = stream_add(w, 2048, 256, &stream, err);
    if (rc == OK) rc = world_run(w, 0, err);
    if (rc == OK) {
        const struct world_outcome *o = world_outcome(w, stream);
        double us = (double)(o->finished_us - o->first_token_us) / (o->n_output - 1);
        figure_add(s, "ttft_cold_2k_ms", (double)o->first_token_us / MS);
        figure_add(s, "decode_tokens_per_s", 1e6 / us);
        figure_add(s, "decode_share", world_rate_share(w, stream));
    }
    world_close(w);
    return rc;
}

/* A stream decodes, and somebody's long prompt comes in the middle of it. */
static status stream_and_prompt(struct simulate_scenario *s, const struct table_costs *costs,
                                int32_t n_prompt, error *err)
{
    world *w;
    size_t stream = 0, prompt = 0;
    status rc = world_open(&w, costs, 0, err);
    if (rc == OK) rc = stream_add(w, 512, 8000, &stream, err);
    if (rc == OK) rc = world_run(w, S, err);
    struct world_request r = {S, 0, PRIORITY_INTERACTIVE, 2, 2, n_prompt, 1};
    if (rc == OK) rc = world_add(w, &r, &prompt, err);
    int64_t lone_us = rc == OK ? world_outcome(w, stream)->lone_us : 0;
    while (rc == OK && world_outcome(w, prompt)->end == WORLD_WAITS)
        rc = world_run(w, world_now_us(w) + 1, err);
    if (rc == OK) {
        const struct world_outcome *o = world_outcome(w, stream);
        int64_t first_us = world_outcome(w, prompt)->first_token_us;
        bool over = o->finished_us && o->finished_us < first_us;
        double us = (double)((over ? o->finished_us : first_us) - r.at_us);
        lone_us = world_outcome(w, stream)->lone_us - lone_us;
        figure_add(s, "stream_share", (double)lone_us / us);
        figure_add(s, "prompt_ttft_ms", (double)(first_us - r.at_us) / MS);
    }
    world_close(w);
    return rc;
}

static status stream_and_8k(struct simulate_scenario *s, const struct table_costs *c, error *err)
{
    return stream_and_prompt(s, c, 8192, err);
}

static status stream_and_32k(struct simulate_scenario *s, const struct table_costs *c, error *err)
{
    return stream_and_prompt(s, c, 32000, err);
}

/* Keys warm, each extending the last and cancelling it; after a burst of keys a completion, which the
 * next key cancels if it still runs. */
static status typist_add(world *w, uint64_t owner, int32_t context, int64_t until_us, bool asks,
                         error *err)
{
    int64_t at = (int64_t)(random_unit(owner, 1) * 2 * S);
    int32_t n_prompt = context;
    status rc = OK;
    for (int key = 0; rc == OK && at < until_us; key++) {
        bool last = key % KEYS_PER_BURST == KEYS_PER_BURST - 1;
        int64_t next = at + (last ? PAUSE_US : 0) +
                       (int64_t)(KEY_US * (0.7 + 0.6 * random_unit(owner, 100 + (uint64_t)key)));
        n_prompt += TOKENS_PER_KEY;
        struct world_request warm = {at, next, PRIORITY_WARM, owner, owner, n_prompt, 0};
        rc = world_add(w, &warm, NULL, err);
        struct world_request ask = {
            at + DEBOUNCE_US, next, PRIORITY_INTERACTIVE, owner, owner, n_prompt,
            COMPLETION_TOKENS};
        if (rc == OK && last && asks) rc = world_add(w, &ask, NULL, err);
        at = next;
    }
    return rc;
}

static status typists(struct simulate_scenario *s, const struct table_costs *costs, int n,
                      bool stream, bool asks, error *err)
{
    world *w;
    size_t number;
    int64_t seconds = 20;
    status rc = world_open(&w, costs, QUEUE_MAX, err);
    if (rc == OK && stream) rc = stream_add(w, 512, 4000, &number, err);
    for (int i = 0; rc == OK && i < n; i++)
        rc = typist_add(w, 100 + (uint64_t)i, 4000, seconds * S, asks, err);
    if (rc == OK) rc = world_run(w, seconds * S, err);
    if (rc == OK && stream) figure_add(s, "stream_share", world_rate_share(w, number));
    if (rc == OK && asks) ttft_add(s, w, PRIORITY_INTERACTIVE, COMPLETION_TOKENS, ttft_names);
    if (rc == OK) stats_add(s, w);
    world_close(w);
    return rc;
}

static status ten_typists(struct simulate_scenario *s, const struct table_costs *c, error *err)
{
    return typists(s, c, 10, true, false, err);
}

static status ten_completers(struct simulate_scenario *s, const struct table_costs *c, error *err)
{
    return typists(s, c, 10, true, true, err);
}

static status forty_typists(struct simulate_scenario *s, const struct table_costs *c, error *err)
{
    return typists(s, c, 40, false, true, err);
}

/* One owner queues 64 prompts of 8k; in the middle of that another asks for 200 tokens' worth. */
static status greedy_owner(struct simulate_scenario *s, const struct table_costs *costs, error *err)
{
    world *w;
    size_t number, first = 0;
    int32_t launches = 0;
    double ms = 0;
    status rc = world_open(&w, costs, 0, err);
    for (int i = 0; rc == OK && i < 64; i++) {
        struct world_request r = {0, 0, PRIORITY_INTERACTIVE, 1, 1000 + (uint64_t)i, 8192, 64};
        rc = world_add(w, &r, &number, err);
    }
    for (int i = 0; rc == OK && i < 10; i++) {
        struct world_request r = {
            700 * MS * (i + 1), 0, PRIORITY_INTERACTIVE, 2, 2 + (uint64_t)i, 200, 4};
        rc = world_add(w, &r, &number, err);
        if (i == 0) first = number;
    }
    if (rc == OK) rc = world_run(w, 0, err);
    for (size_t i = first; rc == OK && i < world_count(w); i++) {
        const struct world_outcome *o = world_outcome(w, i);
        double waited = (double)(o->first_token_us - world_request(w, i)->at_us) / MS;
        if (o->launches_before > launches) launches = o->launches_before;
        if (waited > ms) ms = waited;
    }
    if (rc == OK) figure_add(s, "launches_waited_max", launches);
    if (rc == OK) figure_add(s, "ttft_max_ms", ms);
    world_close(w);
    return rc;
}

/* Answers finished per second, once it has settled, when `per_s` requests come, from 50 owners. */
static status offered(const struct table_costs *costs, double per_s, int64_t seconds,
                      double *good_per_s, int64_t *refused, error *err)
{
    world *w;
    struct engine_stats stats = {0};
    int64_t n = (int64_t)(per_s * (double)seconds), done = 0;
    status rc = world_open(&w, costs, QUEUE_MAX, err);
    for (int64_t i = 0; rc == OK && i < n; i++) {
        struct world_request r = {(int64_t)(1e6 * (double)i / per_s),
                                  0,
                                  PRIORITY_INTERACTIVE,
                                  (uint64_t)(i % 50),
                                  5000 + (uint64_t)i,
                                  1500,
                                  48};
        rc = world_add(w, &r, NULL, err);
    }
    if (rc == OK) rc = world_run(w, seconds * S, err);
    for (size_t i = 0; rc == OK && i < world_count(w); i++)
        done += world_outcome(w, i)->end == WORLD_DONE &&
                world_outcome(w, i)->finished_us > seconds * S / 3;
    if (rc == OK) world_stats(w, &stats);
    *good_per_s = (double)done / (double)seconds * 1.5;
    *refused = stats.refused_busy;
    world_close(w);
    return rc;
}

static status overload(struct simulate_scenario *s, const struct table_costs *costs, error *err)
{
    static const double loads[] = {0.5, 0.8, 1, 1.5, 10};
    double peak = 0, last = 0;
    int64_t refused = 0, seconds = 60;
    struct step_shape prompt = {1500, 1, 1, 1500};
    device *d;
    status rc = table_device_open(&d, costs, err);
    double capacity = rc == OK ? 1e6 / kernels_table.step_cost(d, &prompt) : 0;
    if (rc == OK) table_device_close(d);
    if (capacity * (double)seconds < 200) seconds = (int64_t)(200 / capacity) + 1;
    for (size_t i = 0; rc == OK && i < sizeof loads / sizeof *loads; i++) {
        rc = offered(costs, loads[i] * capacity, seconds, &last, &refused, err);
        if (last > peak) peak = last;
    }
    figure_add(s, "peak_answers_per_s", peak);
    figure_add(s, "answers_per_s_at_10x", last);
    figure_add(s, "goodput_share_at_10x", last / peak);
    figure_add(s, "refused_at_10x", (double)refused);
    return rc;
}

/* Completions, explanations, a night's batch and three who type, all at once. */
static status mixed(struct simulate_scenario *s, const struct table_costs *costs, error *err)
{
    static const char *const names[3][3] = {
        {"completion_ttft_p50_ms", "completion_ttft_p95_ms", "completion_ttft_p99_ms"},
        {"action_ttft_p50_ms", "action_ttft_p95_ms", "action_ttft_p99_ms"},
        {"batch_ttft_p50_ms", "batch_ttft_p95_ms", "batch_ttft_p99_ms"}};
    world *w;
    int64_t seconds = 30;
    status rc = world_open(&w, costs, QUEUE_MAX, err);
    for (int i = 0; rc == OK && i < 20; i++) {
        struct world_request r = {0, 0, PRIORITY_BATCH, 1, 1000 + (uint64_t)i, 4000, 300};
        rc = world_add(w, &r, NULL, err);
    }
    for (int i = 0; rc == OK && i < 10; i++) {
        struct world_request r = {
            3 * S * i + S, 0, PRIORITY_ACTION, 2 + (uint64_t)i % 3, 2000 + (uint64_t)i, 6000, 200};
        rc = world_add(w, &r, NULL, err);
    }
    for (int i = 0; rc == OK && i < 3; i++)
        rc = typist_add(w, 100 + (uint64_t)i, 4000, seconds * S, true, err);
    if (rc == OK) rc = world_run(w, seconds * S, err);
    for (int p = 0; rc == OK && p < PRIORITY_WARM; p++)
        ttft_add(s, w, (enum priority)p, 0, names[p]);
    if (rc == OK) stats_add(s, w);
    world_close(w);
    return rc;
}

static const struct {
    const char *name, *about;
    status (*run)(struct simulate_scenario *, const struct table_costs *, error *);
} scenarios[] = {
    {"lone_stream", "one request alone", lone_stream},
    {"stream_and_8k", "a stream while another's 8k prompt is computed", stream_and_8k},
    {"stream_and_32k", "a stream while another's 32k prompt is computed", stream_and_32k},
    {"ten_typists", "a stream while ten people type five keys a second", ten_typists},
    {"ten_completers", "the same, with a completion after every burst of keys", ten_completers},
    {"forty_typists", "forty people type and complete", forty_typists},
    {"greedy_owner", "64 prompts of 8k of one owner, short requests of another", greedy_owner},
    {"overload", "up to ten times the load that the machine bears", overload},
    {"mixed", "completions, actions, a batch and warm work at once", mixed},
};

status simulate_run(struct simulate_report *out, const char *machine, error *err)
{
    const struct table_costs *costs = table_costs_find(machine);
    *out = (struct simulate_report){0};
    if (!costs)
        return fail(err, ERR_USAGE, "--simulate: found \"%s\", expected one of %s", machine,
                    table_costs_names());
    for (size_t i = 0; i < sizeof scenarios / sizeof *scenarios; i++) {
        struct simulate_scenario *s = &out->scenarios[out->n_scenarios++];
        *s = (struct simulate_scenario){.name = scenarios[i].name, .about = scenarios[i].about};
        status rc = scenarios[i].run(s, costs, err);
        if (rc != OK) return rc;
    }
    return OK;
}

double simulate_figure(const struct simulate_report *r, const char *scenario, const char *figure)
{
    for (int i = 0; i < r->n_scenarios; i++)
        for (int j = 0; j < r->scenarios[i].n_figures; j++)
            if (strcmp(r->scenarios[i].name, scenario) == 0 &&
                strcmp(r->scenarios[i].figures[j].name, figure) == 0)
                return r->scenarios[i].figures[j].value;
    return (double)NAN;
}
