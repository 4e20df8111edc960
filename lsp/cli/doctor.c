/* `dbrx-ls doctor`: what whoever installs it wants to see, row by row, with what to do. */
#include "lsp/cli/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lsp/cli/command.h"

static const char usage[] =
    "usage: dbrx-ls doctor [OPTIONS]\n\n"
    "Shows every setting with its source, checks model, kernels, memory, directories and engine,\n"
    "and says what to do about what it finds. Starts nothing. Exit code 1 when something fails.";

static const char *source_name(const struct engine_settings *s, enum engine_setting_source from)
{
    switch (from) {
    case FROM_FLAG: return "flag";
    case FROM_ENVIRONMENT: return "environment";
    case FROM_USER: return s->configuration.user.path.bytes;
    case FROM_SYSTEM: return s->configuration.system.path.bytes;
    case FROM_DEFAULT: break;
    }
    return "default";
}

/* What is no setting of the engine, as a file has it; the nearer file's value counts, but for patterns. */
static void doctor_taste(struct report *r, const struct configuration_file *f)
{
    static const char *const names[] = {"enabled", "languages",    "exclude",
                                        "warm",    "budgetTokens", "popup"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const json_t *value = json_object_get(f->settings, names[i]);
        char *words = value ? json_dumps(value, JSON_ENCODE_ANY) : NULL;
        if (words) report_put_setting(r, names[i], words, f->path.bytes);
        free(words);
    }
}

static void doctor_settings(struct report *r, const struct engine_settings *s)
{
    char threads[24] = "all cores";
    const char *model = s->model_dir, *endpoint = s->endpoint;
    if (endpoint && strchr(endpoint, '@')) endpoint = "not shown: it may hold a password";
    if (s->n_threads) snprintf(threads, sizeof threads, "%lld", (long long)s->n_threads);
    const struct {
        const char *name, *value;
        enum engine_setting_source from;
    } rows[] = {
        {"endpoint", endpoint ? endpoint : "none: the local engine", s->endpoint_from},
        {"model", model ? model : "the one beside the program", s->model_from},
        {"backend", s->backend ? s->backend : "auto", s->backend_from},
        {"threads", threads, s->threads_from},
        {"CA file", s->ca_file ? s->ca_file : "the system's", s->ca_file_from},
        {"API key", s->api_key ? "set" : "not set", s->api_key_from},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        report_put_setting(r, rows[i].name, rows[i].value, source_name(s, rows[i].from));
    doctor_taste(r, &s->configuration.user);
    doctor_taste(r, &s->configuration.system);
}

int command_doctor(int argc, char **argv)
{
    struct engine_settings s = {0};
    struct report report = {.n_rows = 0};
    struct doctor_fit fit = {.memory_bytes = -1};
    bool json = false;
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &json, NULL, "one JSON object", 0, 0},
        {"gpu-memory", OPTION_SIZE, &fit.memory_bytes, "SIZE",
         "what a GPU of so much memory would hold, from config.json alone", 0, 0},
        {"weights", OPTION_TEXT, &fit.weights, "NAME", "of --gpu-memory: fp8, int8 or int4", 0, 0},
        {"kv-type", OPTION_TEXT, &fit.kv_type, "TYPE", "of --gpu-memory: bf16 or e4m3 (default)", 0,
         0},
        ENGINE_SETTINGS_OPTIONS(&s),
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    if (n_rest) {
        fail(&err, ERR_USAGE, "unexpected argument \"%s\" (see --help)", argv[1]);
        return command_fail("doctor", &err);
    }
    if (fit.memory_bytes < 0 && (fit.weights || fit.kv_type)) {
        fail(&err, ERR_USAGE, "--weights and --kv-type belong to --gpu-memory");
        return command_fail("doctor", &err);
    }
    if (fit.memory_bytes == 0) {
        fail(&err, ERR_USAGE, "--gpu-memory: found 0, expected a size such as 80G");
        return command_fail("doctor", &err);
    }
    if (engine_settings_complete(&s, &err) != OK) {
        report_put(&report, "configuration", VERDICT_FAIL, "correct the file, or take it away",
                   "%s", err.message);
    } else if (fit.memory_bytes > 0) {
        doctor_fit(&report, &s, &fit);
    } else {
        doctor_settings(&report, &s);
        if (!s.endpoint) doctor_model(&report, &s);
        doctor_directories(&report);
        doctor_engine(&report, &s);
    }
    bool printed = report_print(&report, json, &err) == OK;
    engine_settings_free(&s);
    if (!printed) return command_fail("doctor", &err);
    return report_failed(&report) ? EXIT_FAILED : EXIT_DONE;
}
