/* `dbrx-ls quantize`: a smaller copy of a checkpoint. Progress goes to stderr, as one line that is
 * rewritten on a terminal and as a line for every tenth otherwise; the summary to stdout. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "inference/quantize.h"
#include "kernels/format.h"
#include "lsp/cli/command.h"
#include "lsp/cli/meter.h"
#include "lsp/cli/numbers.h"

static const char usage[] =
    "usage: dbrx-ls quantize SRC DST --format fp8|int8|int4 [OPTIONS]\n\n"
    "Writes the checkpoint SRC with smaller weights to the directory DST, which must not exist.\n"
    "fp8 and int8: attention, experts and head, one scale per row. int4: experts in groups of "
    "128,\n"
    "attention and head fp8. Embedding, norms and router stay as they are.\n\n"
    "It needs under 6 MiB of memory per thread besides files. The work is done in DST.partial; a "
    "run\n"
    "that was interrupted goes on when the same command is given again.";

static void progress_show(void *context, const struct quantize_progress *p)
{
    meter_show(context, (double)p->done_bytes / (double)MIB, (double)p->all_bytes / (double)MIB,
               (double)p->resumed_bytes / (double)MIB);
}

static status report_json(const struct quantize_report *r, error *err)
{
    json_t *tensors = json_array();
    for (int32_t i = 0; i < r->n_results; i++) {
        const struct quantize_result *t = &r->results[i];
        json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:f, s:f}", "name", t->name, "format",
                               t->format == WEIGHT_BF16 ? "copied" : format_name(t->format),
                               "error_max", t->error_max, "error_relative", t->error_relative));
    }
    json_t *all =
        json_pack("{s:I, s:I, s:i, s:i, s:o}", "source_bytes", (json_int_t)r->source_bytes,
                  "written_bytes", (json_int_t)r->written_bytes, "shards", r->n_shards,
                  "shards_resumed", r->n_shards_resumed, "tensors", tensors);
    return command_write_json(all, err);
}

static status report_print(const struct quantize_report *r, const char *destination, error *err)
{
    const struct quantize_result *worst = NULL;
    buffer out = {0};
    for (int32_t i = 0; i < r->n_results; i++)
        if (!worst || r->results[i].error_relative > worst->error_relative) worst = &r->results[i];
    buffer_print(&out, "%s: %.1f MiB from %.1f MiB in %d shards", destination,
                 (double)r->written_bytes / (double)MIB, (double)r->source_bytes / (double)MIB,
                 r->n_shards);
    if (r->n_shards_resumed) buffer_print(&out, ", %d of them earlier", r->n_shards_resumed);
    if (worst)
        buffer_print(&out, "\nlargest relative error: %.3g in %s (%s)", worst->error_relative,
                     worst->name, format_name(worst->format));
    buffer_put_char(&out, '\n');
    status s = out.failed ? fail(err, ERR_MEMORY, "out of memory for the summary")
                          : command_write(buffer_text(&out), err);
    buffer_free(&out);
    return s;
}

static status quantize_run(struct quantize_options options, bool json, error *err)
{
    struct quantize_report report;
    struct meter meter = meter_begin("MiB");
    options.progress = progress_show;
    options.context = &meter;
    status s = quantize(&report, &options, err);
    meter_end(&meter);
    if (s == OK)
        s = json ? report_json(&report, err) : report_print(&report, options.destination_dir, err);
    quantize_report_free(&report);
    return s;
}

int command_quantize(int argc, char **argv)
{
    error err;
    int n_rest, exit_code;
    bool json = false;
    const char *format = NULL;
    int64_t n_threads = 0, shard_mib = 0;
    struct quantize_options options = {0};
    const struct command_option table[] = {
        {"format", OPTION_TEXT, &format, "NAME", "fp8, int8 or int4", 0, 0},
        {"activations", OPTION_TEXT, &options.activations, "TYPE",
         "bf16, e4m3, int8 or f32; default: as in SRC, else bf16", 0, 0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "0: all cores", 0, 1024},
        {"shard-mib", OPTION_INTEGER, &shard_mib, "N", "size of a file, default 4096", 1, 1 << 20},
        {"json", OPTION_FLAG, &json, NULL, "print the summary as one JSON object", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    if (!command_parse(argc, argv, table, usage, &n_rest, &exit_code)) return exit_code;
    status s = weights_parse(&options.format, format, "--format", &err);
    if (s == OK && n_rest != 2)
        s = fail(&err, ERR_USAGE, "found %d directories, expected SRC and DST (see --help)",
                 n_rest);
    if (s == OK) {
        options.source_dir = argv[1];
        options.destination_dir = argv[2];
        options.n_threads = (int32_t)n_threads;
        options.shard_bytes = (size_t)shard_mib * MIB;
        s = quantize_run(options, json, &err);
    }
    return s == OK ? EXIT_DONE : command_fail("quantize", &err);
}
