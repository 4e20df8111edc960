/* `dbrx-ls bench`: what this engine does on this machine. Here are options, signals and the report;
 * each mode has a file of its own. */
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "context/repository.h"
#include "inference/mapping_guard.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/terminal.h"

static const char usage[] = "usage: dbrx-ls bench [OPTIONS]\n\n"
                            "Measures the engine on this machine: prefill and decoding with the "
                            "share of the machine's read\n"
                            "bandwidth, then prompts through the cache and drafts.";

atomic_bool bench_stop;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&bench_stop, true);
}

/* The second signal ends the process as signals do. */
void bench_signals_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

json_t *figure_json(double value) { return isfinite(value) ? json_real(value) : json_null(); }

const char *figure_text(double value, int digits)
{
    enum { N_BUFFERS = 16 };
    static char buffers[N_BUFFERS][32];
    static unsigned next;
    char *out = buffers[next++ % N_BUFFERS];
    if (isfinite(value))
        snprintf(out, sizeof buffers[0], "%.*f", digits, value);
    else
        snprintf(out, sizeof buffers[0], "n/a");
    return out;
}

void report_fault(struct bench_report *r, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    json_array_append_new(r->faults, json_string(line));
}

void report_set(struct bench_report *r, const char *key, json_t *value)
{
    if (json_object_set_new(r->all, key, value) == 0) return;
    json_decref(r->all);
    r->all = NULL;
}

void bench_progress(const char *format, ...)
{
    char line[128];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    terminal_progress(line);
}

static void on_loading(void *context, double fraction)
{
    (void)context;
    bench_progress("loading %3.0f %%", 100 * fraction);
}

struct engine_options bench_engine_options(const struct bench_request *request)
{
    return (struct engine_options){.model_dir = request->model_dir,
                                   .backend = request->backend,
                                   .n_threads = (int32_t)request->n_threads,
                                   .kv_served = true,
                                   .kv_tokens = request->kv_tokens,
                                   .progress = on_loading};
}

void report_engine(struct bench_report *r, const engine *e)
{
    const struct model_shape *shape = engine_shape(e);
    report_set(r, "engine",
               json_pack("{s:s, s:s, s:b, s:i, s:i}", "model", engine_model_name(e), "backend",
                         engine_backend_name(e), "demo", engine_is_demo(e), "layers",
                         shape->n_layers, "context_tokens", shape->max_seq_len));
}

void report_engine_stats(struct bench_report *r, engine *e)
{
    struct engine_stats s;
    engine_stats(e, &s);
    double asked = (double)s.tokens_prompt, drafted = (double)s.drafted;
    report_set(r, "cache",
               json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "prompt_tokens",
                         (json_int_t)s.tokens_prompt, "cached_tokens", (json_int_t)s.tokens_cached,
                         "share_found_in_cache",
                         figure_json(asked > 0 ? (double)s.tokens_cached / asked : (double)NAN),
                         "warm_tokens", (json_int_t)s.warm_tokens, "warm_useful_tokens",
                         (json_int_t)s.warm_useful, "warm_wasted_tokens", (json_int_t)s.warm_wasted,
                         "kv_pages", (json_int_t)s.kv_pages, "kv_pages_cached",
                         (json_int_t)s.kv_pages_cached, "kv_pages_free",
                         (json_int_t)s.kv_pages_free));
    report_set(r, "drafts",
               json_pack("{s:I, s:I, s:o}", "drafted_tokens", (json_int_t)s.drafted,
                         "accepted_tokens", (json_int_t)s.accepted, "share_accepted",
                         figure_json(drafted > 0 ? (double)s.accepted / drafted : (double)NAN)));
}

static status report_open(struct bench_report *r, bool json, error *err)
{
    r->json = json;
    r->faults = json_array();
    r->all = json_pack("{s:s, s:O}", "version", DBRX_VERSION, "faults", r->faults);
    return r->all ? OK : fail(err, ERR_MEMORY, "out of memory for the report");
}

/* The object, or the faults for people; its exit code. */
static status report_close(struct bench_report *r, status s, error *err)
{
    size_t n_faults = json_array_size(r->faults), i;
    bool stopped = s == ERR_CANCELLED && atomic_load(&bench_stop);
    json_t *fault;
    bench_progress("%s", "");
    report_set(r, "stopped", json_boolean(stopped));
    if (!r->all) s = fail(err, ERR_MEMORY, "out of memory for the report");
    if (r->all && r->json && (s == OK || stopped)) {
        char *line = json_dumps(r->all, JSON_INDENT(1) | JSON_REAL_PRECISION(7));
        buffer out = {0};
        buffer_print(&out, "%s\n", line ? line : "");
        status written = out.failed || !line ? fail(err, ERR_MEMORY, "out of memory for the report")
                                             : command_write(buffer_text(&out), err);
        if (s == OK || written != OK) s = written;
        buffer_free(&out);
        free(line);
    }
    json_array_foreach(r->faults, i, fault)
    {
        fprintf(stderr, "dbrx-ls bench: %s\n", json_string_value(fault));
    }
    if (s == OK && n_faults)
        s = fail(err, ERR_FORMAT, "%zu figures above cannot be true", n_faults);
    json_decref(r->faults);
    json_decref(r->all);
    return s;
}

static status session_get(struct typing_session *out, const struct bench_request *r, error *err)
{
    struct typing_sources sources;
    const struct typing_options options = {.seed = (uint64_t)r->seed,
                                           .n_steps = (size_t)r->n_prompts,
                                           .n_documents = (size_t)r->n_documents};
    if (r->session && strcmp(r->session, "builtin") != 0)
        return typing_session_load(out, r->session, err);
    status s = typing_sources_read(&sources, r->sources, err);
    if (s == OK) s = typing_session_make(out, &sources, &options, err);
    typing_sources_free(&sources);
    return s;
}

static status session_run(const struct bench_request *request, struct bench_report *report,
                          error *err)
{
    struct typing_session session = {0};
    status s = session_get(&session, request, err);
    if (s == OK && request->save) {
        fprintf(stderr, "dbrx-ls bench: %s holds the text of the files typed from\n",
                request->save);
        s = typing_session_save(&session, request->save, err);
    }
    if (s == OK) s = bench_session(request, &session, report, err);
    typing_session_free(&session);
    return s;
}

static status lsp_run(const struct bench_request *request, struct bench_report *report, error *err)
{
    struct typing_session session = {0};
    struct bench_request rooted = *request;
    repository *of = NULL;
    error none;
    struct stat about;
    status s = session_get(&session, request, err);
    bool builtin = !request->session || strcmp(request->session, "builtin") == 0;
    if (builtin && stat(request->sources, &about) == 0 && S_ISDIR(about.st_mode) &&
        repository_open(&of, request->sources, &none) == OK)
        rooted.root = repository_root(of);
    if (s == OK) s = bench_lsp(&rooted, &session, report, err);
    repository_close(of);
    typing_session_free(&session);
    return s;
}

static status bench_run(const struct bench_request *request, error *err)
{
    struct bench_report report;
    status s = report_open(&report, request->json, err);
    if (s == OK && request->simulate) {
        s = bench_simulate(request, &report, err);
    } else if (s == OK && request->lsp) {
        s = lsp_run(request, &report, err);
    } else if (s == OK && request->session) {
        s = session_run(request, &report, err);
    } else if (s == OK && request->users) {
        s = bench_users(request, &report, err);
    } else if (s == OK) {
        s = bench_steps(request, &report, err);
        if (s == OK) s = bench_engine(request, &report, err);
    }
    return report_close(&report, s, err);
}

static status request_check(struct bench_request *r, int n_rest, char **argv, error *err)
{
    char *end;
    if (n_rest) return fail(err, ERR_USAGE, "unexpected argument \"%s\" (see --help)", argv[1]);
    if (r->lsp && (r->users || r->simulate || r->synthetic || r->prompts_only))
        return fail(err, ERR_USAGE, "--lsp goes with a typing session alone");
    if (!!r->session + !!r->users + !!r->simulate + !!r->synthetic > 1)
        return fail(err, ERR_USAGE,
                    "--session, --users, --simulate and --synthetic exclude each other");
    if (!r->synthetic && (r->format || r->lines || r->quick || r->budget_s))
        return fail(err, ERR_USAGE,
                    "--format, --lines, --quick and --budget-s belong to --synthetic");
    if (!(r->speed >= 0.01 && r->speed <= 100))
        return fail(err, ERR_USAGE, "--speed: found %g, expected 0.01 to 100", r->speed);
    if (!r->users || strcmp(r->users, "auto") == 0) return OK;
    r->n_users = strtol(r->users, &end, 10);
    if (end == r->users || *end || r->n_users < 1 || r->n_users > BENCH_USERS_MAX)
        return fail(err, ERR_USAGE, "--users: found \"%s\", expected 1 to %d or \"auto\"", r->users,
                    BENCH_USERS_MAX);
    return OK;
}

int command_bench(int argc, char **argv)
{
    struct bench_request r = {.backend = "auto",
                              .sources = ".",
                              .n_prompts = 600,
                              .n_documents = 3,
                              .seed = 1,
                              .budget_tokens = 8192,
                              .pause_ms = -1,
                              .seconds = 30,
                              .speed = 1};
    buffer found = {0};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &r.json, NULL, "one JSON object instead of tables", 0, 0},
        {"model", OPTION_TEXT, &r.model_dir, "DIR", "model directory (or DBRX_MODEL)", 0, 0},
        {"backend", OPTION_TEXT, &r.backend, "NAME", "auto, cpu, cuda or reference", 0, 0},
        {"threads", OPTION_INTEGER, &r.n_threads, "N", "compute threads (0: all cores)", 0, 1024},
        {"kv-tokens", OPTION_INTEGER, &r.kv_tokens, "N", "tokens the KV pool holds (0: 4 contexts)",
         0, INT64_C(1) << 40},
        {"repeats", OPTION_INTEGER, &r.n_repeats, "N", "of each cell (default 20)", 1, 10000},
        {"session", OPTION_TEXT, &r.session, "NAME", "replay a typing session: builtin, or a file",
         0, 0},
        {"sources", OPTION_TEXT, &r.sources, "PATH", "type from this file or directory (default .)",
         0, 0},
        {"prompts", OPTION_INTEGER, &r.n_prompts, "N", "prompts of a session (default 600)", 1,
         100000},
        {"documents", OPTION_INTEGER, &r.n_documents, "N", "files of a session (default 3)", 1, 16},
        {"seed", OPTION_INTEGER, &r.seed, "N", "of the session (default 1)", 0, INT64_MAX},
        {"budget", OPTION_INTEGER, &r.budget_tokens, "N", "tokens of a prompt (default 8192)", 1,
         SEQUENCE_TOKENS_MAX},
        {"pause-ms", OPTION_INTEGER, &r.pause_ms, "N",
         "from a change to the question (default: both 50 and 200)", 0, 60000},
        {"lsp", OPTION_FLAG, &r.lsp, NULL,
         "type it in an editor: language server and engine, with and without warming", 0, 0},
        {"prompts-only", OPTION_FLAG, &r.prompts_only, NULL, "no engine: what could be found", 0,
         0},
        {"simulate", OPTION_TEXT, &r.simulate, "NAME",
         "the scheduler on a machine such as h200-int4", 0, 0},
        {"save", OPTION_TEXT, &r.save, "FILE", "write the session, with the text of its files", 0,
         0},
        {"users", OPTION_TEXT, &r.users, "N", "people who type at once, or auto: as many as go", 0,
         0},
        {"seconds", OPTION_INTEGER, &r.seconds, "N", "of each number of users (default 30)", 1,
         86400},
        {"synthetic", OPTION_TEXT, &r.synthetic, "NAME", "a full-size model made on the GPU: dbrx",
         0, 0},
        {"format", OPTION_TEXT, &r.format, "NAME", "of its experts: fp8 (default) or int4", 0, 0},
        {"quick", OPTION_FLAG, &r.quick, NULL, "its most important cells, five repeats", 0, 0},
        {"budget-s", OPTION_INTEGER, &r.budget_s, "N", "end within so many seconds", 1, 86400},
        {"lines", OPTION_TEXT, &r.lines, "FILE", "write each cell there when it is done", 0, 0},
        {"speed", OPTION_NUMBER, &r.speed, "X", "of the typing of users, or of --lsp (default 1)",
         0, 0},
        {0}};
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    struct configuration files;
    status s = configuration_read(&files, &err);
    if (s == OK)
        r.model_dir = model_find(r.model_dir ? r.model_dir : model_configured(&files), &found);
    if (s == OK) s = request_check(&r, n_rest, argv, &err);
    if (s == OK && !r.model_dir && !r.simulate && !r.synthetic)
        s = fail(&err, ERR_USAGE, "no model: --model DIR or DBRX_MODEL is missing");
    bench_signals_catch();
    if (s == OK) s = mapping_guard_install(&err);
    if (s == OK) s = r.synthetic ? bench_synthetic(&r, &err) : bench_run(&r, &err);
    buffer_free(&found);
    configuration_free(&files);
    return s == OK ? EXIT_DONE : command_fail(argv[0], &err);
}
