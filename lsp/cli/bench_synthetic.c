/* `dbrx-ls bench --synthetic`: the table as cells are done; with --json the object at the end, the
 * table on stderr. */
#include <stdio.h>
#include <string.h>

#include "inference/bench/synthetic_report.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/command.h"
#include "lsp/cli/numbers.h"

static bool stopped(void) { return atomic_load(&bench_stop); }

static void on_progress(const char *what) { bench_progress("%s", what); }

status bench_synthetic(const struct bench_request *request, error *err)
{
    struct synthetic_options o = {.model = request->synthetic,
                                  .format = WEIGHT_FP8_ROW,
                                  .n_repeats = (int32_t)request->n_repeats,
                                  .budget_s = (double)request->budget_s,
                                  .quick = request->quick,
                                  .stopped = stopped,
                                  .on_progress = on_progress};
    buffer json = {0};
    error unwritten;
    status s = OK;
    if (request->format) s = weights_parse(&o.format, request->format, "--format", err);
    if (s == OK)
        s = synthetic_report_run(&o, request->json ? stderr : stdout, request->lines, &json, err);
    bench_progress("%s", "");
    if (request->json && json.size > 0 && command_write(buffer_text(&json), &unwritten) != OK) {
        *err = unwritten;
        s = unwritten.code;
    }
    buffer_free(&json);
    return s == ERR_CANCELLED && stopped() ? OK : s;
}
