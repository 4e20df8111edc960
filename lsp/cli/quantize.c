/* `dbrx-ls quantize`: a smaller copy of a checkpoint. Progress goes to stderr, as one line that is
 * rewritten on a terminal and as a line for every tenth otherwise; the summary to stdout. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "inference/mapping_guard.h"
#include "inference/quantize.h"
#include "kernels/format.h"
#include "lsp/cli/command.h"
#include "lsp/cli/comparing.h"
#include "lsp/cli/meter.h"
#include "lsp/cli/numbers.h"

static const char usage[] =
    "usage: dbrx-ls quantize SRC DST --format fp8|int8|int4 [OPTIONS]\n\n"
    "Writes the checkpoint SRC with smaller weights to the directory DST, which must not exist.\n"
    "fp8 and int8: attention, experts and head, one scale per row. int4: experts in groups of "
    "128,\n"
    "attention and head fp8. Embedding, norms and router stay as they are.\n\n"
    "With --calibrate SRC reads a text first, and scales are chosen for the least error of what\n"
    "weights are multiplied with. --report then compares DST with SRC on a text (see compare).\n\n"
    "It needs under 6 MiB of memory per thread besides files. The work is done in DST.partial; a "
    "run\n"
    "that was interrupted goes on when the same command is given again.";

enum { TEXT_TOKENS = 4096 };

struct choices {
    const char *calibrate, *report;
    int64_t calibrate_tokens, report_tokens;
    bool json;
};

struct meters {
    struct meter calibration, bytes;
    double n_tokens;
    bool writing;
};

/* Two lines in turn: tokens while the source reads, then bytes. */
static void progress_show(void *context, const struct quantize_progress *p)
{
    struct meters *m = context;
    if (p->calibrated < 1 && m->n_tokens > 0) {
        meter_show(&m->calibration, p->calibrated * m->n_tokens, m->n_tokens, 0);
        return;
    }
    if (!m->writing) {
        meter_end(&m->calibration);
        m->bytes = meter_begin("MiB");
        m->writing = true;
    }
    meter_show(&m->bytes, (double)p->done_bytes / (double)MIB, (double)p->all_bytes / (double)MIB,
               (double)p->resumed_bytes / (double)MIB);
}

static json_t *report_json(const struct quantize_report *r)
{
    json_t *tensors = json_array();
    for (int32_t i = 0; i < r->n_results; i++) {
        const struct quantize_result *t = &r->results[i];
        json_array_append_new(
            tensors, json_pack("{s:s, s:s, s:f, s:f}", "name", t->name, "format",
                               t->format == WEIGHT_BF16 ? "copied" : format_name(t->format),
                               "error_max", t->error_max, "error_relative", t->error_relative));
    }
    return json_pack("{s:I, s:I, s:i, s:i, s:o}", "source_bytes", (json_int_t)r->source_bytes,
                     "written_bytes", (json_int_t)r->written_bytes, "shards", r->n_shards,
                     "shards_resumed", r->n_shards_resumed, "tensors", tensors);
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

static status quantize_run(struct quantize_options options, struct quantize_report *report,
                           const struct choices *c, error *err)
{
    char digest[65];
    token_list ids = {0};
    struct meters meters = {.calibration = meter_begin("tokens")};
    struct quantize_text calibrate = {.sha256 = digest};
    status s = OK;
    options.progress = progress_show;
    options.context = &meters;
    if (c->calibrate) {
        s = ids_of_file(&ids, digest, c->calibrate, options.source_dir, (size_t)c->calibrate_tokens,
                        err);
        calibrate.tokens = ids.ids;
        calibrate.n_tokens = ids.n;
        meters.n_tokens = (double)ids.n;
        options.calibrate = &calibrate;
    }
    if (s == OK) s = quantize(report, &options, err);
    meter_end(&meters.calibration);
    meter_end(&meters.bytes);
    token_list_free(&ids);
    return s;
}

/* What the result is worth: the same KV on both sides, activations as each config.json says. */
static status result_compare(struct comparison *out, const struct quantize_options *options,
                             const struct choices *c, error *err)
{
    token_list ids = {0};
    struct comparison_options o = {
        .source = {.model_dir = options->source_dir, .kv_type = KV_BF16},
        .candidate = {.model_dir = options->destination_dir, .kv_type = KV_BF16},
        .n_threads = options->n_threads};
    status s =
        ids_of_file(&ids, NULL, c->report, options->source_dir, (size_t)c->report_tokens, err);
    if (s == OK) s = comparing_run(out, o, &ids, err);
    token_list_free(&ids);
    return s == OK ? OK
                   : fail_in(err, s, "%s is written, but not compared", options->destination_dir);
}

static status quantize_tell(const struct quantize_options *options, const struct choices *c,
                            error *err)
{
    struct quantize_report report = {0};
    struct comparison comparison;
    status s = quantize_run(*options, &report, c, err);
    if (s == OK && !c->json) s = report_print(&report, options->destination_dir, err);
    if (s == OK && c->report) s = result_compare(&comparison, options, c, err);
    if (s == OK && c->report && !c->json) s = comparing_print(&comparison, err);
    if (s == OK && c->json) {
        json_t *all = report_json(&report);
        if (c->report) json_object_set_new(all, "comparison", comparing_json(&comparison));
        s = command_write_json(all, err);
    }
    quantize_report_free(&report);
    return s;
}

/* Texts that cannot be read are found before hours of work. */
static status texts_check(const struct choices *c, error *err)
{
    const char *const paths[] = {c->calibrate, c->report};
    for (int i = 0; i < 2; i++)
        if (paths[i] && !file_exists(paths[i]))
            return fail(err, ERR_USAGE, "%s: no such file", paths[i]);
    return OK;
}

int command_quantize(int argc, char **argv)
{
    error err;
    int n_rest, exit_code;
    const char *format = NULL;
    int64_t n_threads = 0, shard_mib = 0;
    struct choices c = {.calibrate_tokens = TEXT_TOKENS, .report_tokens = TEXT_TOKENS};
    struct quantize_options options = {0};
    const struct command_option table[] = {
        {"format", OPTION_TEXT, &format, "NAME", "fp8, int8 or int4", 0, 0},
        {"activations", OPTION_TEXT, &options.activations, "TYPE",
         "bf16, e4m3, int8 or f32; default: as in SRC, else bf16", 0, 0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "0: all cores", 0, QUANTIZE_THREADS_MAX},
        {"shard-mib", OPTION_INTEGER, &shard_mib, "N", "size of a file, default 4096", 1, 1 << 20},
        {"calibrate", OPTION_TEXT, &c.calibrate, "FILE", "a text like those it will be used on", 0,
         0},
        {"calibrate-tokens", OPTION_INTEGER, &c.calibrate_tokens, "N",
         "so many of its tokens (default 4096)", 1, 1 << 30},
        {"report", OPTION_TEXT, &c.report, "FILE", "compare DST with SRC on another text", 0, 0},
        {"report-tokens", OPTION_INTEGER, &c.report_tokens, "N",
         "so many of its tokens (default 4096)", 1, 1 << 30},
        {"json", OPTION_FLAG, &c.json, NULL, "print the summary as one JSON object", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    if (!command_parse(argc, argv, table, usage, &n_rest, &exit_code)) return exit_code;
    status s = weights_parse(&options.format, format, "--format", &err);
    if (s == OK && n_rest != 2)
        s = fail(&err, ERR_USAGE, "found %d directories, expected SRC and DST (see --help)",
                 n_rest);
    if (s == OK) s = texts_check(&c, &err);
    if (s == OK) s = mapping_guard_install(&err);
    if (s == OK) {
        options.source_dir = argv[1];
        options.destination_dir = argv[2];
        options.n_threads = (int32_t)n_threads;
        options.shard_bytes = (size_t)shard_mib * MIB;
        s = quantize_tell(&options, &c, &err);
    }
    return s == OK ? EXIT_DONE : command_fail("quantize", &err);
}
