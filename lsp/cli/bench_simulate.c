/* `bench --simulate`: the scheduler's own policy on a machine that is a table of costs. No model, no
 * clock of ours: the same figures on every computer. */
#include <math.h>
#include <stdio.h>

#include "inference/simulate/simulate.h"
#include "lsp/cli/bench.h"

static json_t *scenario_json(const struct simulate_scenario *s)
{
    json_t *figures = json_object();
    for (int i = 0; i < s->n_figures; i++)
        json_object_set_new(figures, s->figures[i].name, figure_json(s->figures[i].value));
    return json_pack("{s:s, s:s, s:o}", "name", s->name, "about", s->about, "figures", figures);
}

static void scenario_print(const struct simulate_scenario *s)
{
    printf("\n%s: %s\n", s->name, s->about);
    for (int i = 0; i < s->n_figures; i++)
        printf("  %-40s %12s\n", s->figures[i].name, figure_text(s->figures[i].value, 2));
}

status bench_simulate(const struct bench_request *request, struct bench_report *r, error *err)
{
    struct simulate_report report;
    json_t *scenarios = json_array();
    bench_progress("simulating %s", request->simulate);
    status s = simulate_run(&report, request->simulate, err);
    bench_progress("%s", "");
    for (int i = 0; s == OK && i < report.n_scenarios; i++)
        json_array_append_new(scenarios, scenario_json(&report.scenarios[i]));
    report_set(r, "machine", json_string(request->simulate));
    report_set(r, "scenarios", scenarios);
    if (s != OK || r->json) return s;
    printf("%s, simulated: a table of costs and a virtual clock\n", request->simulate);
    for (int i = 0; i < report.n_scenarios; i++) scenario_print(&report.scenarios[i]);
    return OK;
}
