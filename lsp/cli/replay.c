/* `dbrx-ls replay`: sessions that `--trace DIR` kept, said again, and what is answered otherwise now. */
#include "lsp/cli/replay.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "inference/bench/samples.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/command.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/trace.h"

static const char usage[] =
    "usage: dbrx-ls replay DIR|FILE.jsonl [OPTIONS]\n\n"
    "Says to a language server what an editor said to one with --trace DIR, with the same pauses,\n"
    "and reports which questions are answered otherwise now, and how long answers took then and\n"
    "now. It asks the engine that an editor here would ask, and changes no file.";

enum { ARGUMENTS_MAX = 16, SHOWN_MAX = 20, LINE_BYTES = 100 };

/* Methods whose answers are compared, in the order they are reported. */
static const char *const methods[] = {"textDocument/inlineCompletion", "textDocument/completion",
                                      "textDocument/codeAction", "workspace/executeCommand",
                                      "workspace/textDocumentContent"};
enum { N_METHODS = sizeof methods / sizeof *methods };

struct replay_request {
    const char *path, *model, *endpoint, *backend, *ca_file, *threads;
    double speed;
    bool json;
    char directory[32]; /* of counters; "" until it is made */
};

struct tally {
    size_t n, same, different, empty_then, empty_now, unanswered;
    struct samples then_ms, now_ms;
};

/* What of an answer people would see; new reference. */
static json_t *essence(const char *method, const json_t *message)
{
    const json_t *failure = json_object_get(message, "error");
    const json_t *result = json_object_get(message, "result");
    if (failure) return json_pack("{s:O}", "error", json_object_get(failure, "code"));
    const json_t *items = json_is_array(result) ? result : json_object_get(result, "items");
    bool completes = method == methods[0] || method == methods[1];
    if (!completes) return json_deep_copy(result);
    json_t *out = json_array(), *item;
    size_t i;
    json_array_foreach(items, i, item)
    {
        json_t *kept = json_object(), *value;
        const char *name;
        json_object_foreach(item, name, value)
        {
            if (strcmp(name, "command") != 0) json_object_set(kept, name, value);
        }
        json_array_append_new(out, kept);
    }
    return out;
}

static bool is_empty(const json_t *value)
{
    return json_is_null(value) || (json_is_array(value) && json_array_size(value) == 0);
}

static const char *method_of(const struct replay_question *q)
{
    for (size_t i = 0; i < N_METHODS; i++)
        if (strcmp(methods[i], replay_method(q)) == 0) return methods[i];
    return NULL;
}

/* One question into its method's row; what differs also into `differences`. */
static void question_weigh(struct tally *t, const char *method, const struct replay_question *q,
                           json_t *differences)
{
    if (!q->then) return; /* nobody waited for it then */
    t->n++;
    if (!q->now) {
        t->unanswered++;
        return;
    }
    json_t *then = essence(method, q->then), *now = essence(method, q->now);
    const json_t *params = json_object_get(q->request, "params");
    bool same = json_equal(then, now);
    t->same += same;
    t->different += !same;
    t->empty_then += is_empty(then);
    t->empty_now += is_empty(now);
    samples_put(&t->then_ms, q->then_ms);
    samples_put(&t->now_ms, q->now_ms);
    if (!same)
        json_array_append_new(
            differences, json_pack("{s:s, s:O?, s:O?, s:O?, s:O, s:O}", "method", method, "uri",
                                   json_object_get(json_object_get(params, "textDocument"), "uri"),
                                   "position", json_object_get(params, "position"), "command",
                                   json_object_get(params, "command"), "then", then, "now", now));
    json_decref(then);
    json_decref(now);
}

static json_t *row_json(const char *method, struct tally *t)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o}", "method", method,
                     "asked", (json_int_t)t->n, "same", (json_int_t)t->same, "different",
                     (json_int_t)t->different, "unanswered", (json_int_t)t->unanswered,
                     "empty_then", (json_int_t)t->empty_then, "empty_now", (json_int_t)t->empty_now,
                     "then_ms_p50", figure_json(samples_percentile(&t->then_ms, 50)), "then_ms_p95",
                     figure_json(samples_percentile(&t->then_ms, 95)), "now_ms_p50",
                     figure_json(samples_percentile(&t->now_ms, 50)), "now_ms_p95",
                     figure_json(samples_percentile(&t->now_ms, 95)));
}

/* {"file", "cut", "seconds", "methods": [...], "differences": [...]} */
static json_t *session_weigh(const struct replay_session *s, const char *path)
{
    json_t *rows = json_array(), *differences = json_array();
    for (size_t m = 0; m < N_METHODS; m++) {
        struct tally t = {0};
        for (size_t i = 0; i < s->n_questions; i++)
            if (method_of(&s->questions[i]) == methods[m])
                question_weigh(&t, methods[m], &s->questions[i], differences);
        if (t.n) json_array_append_new(rows, row_json(methods[m], &t));
        samples_free(&t.then_ms);
        samples_free(&t.now_ms);
    }
    return json_pack("{s:s, s:b, s:f, s:o, s:o}", "file", path, "cut", s->cut, "seconds",
                     s->seconds, "methods", rows, "differences", differences);
}

/* The first line of what an answer shows. */
static void answer_show(const char *when, const json_t *value)
{
    const json_t *shown = json_array_get(value, 0);
    const json_t *words = json_object_get(shown, "insertText");
    if (!words) words = json_object_get(shown, "title");
    char *whole = words ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    const char *bytes = words ? json_string_value(words) : whole;
    text line = text_of(is_empty(value) ? "(nothing)" : bytes ? bytes : "");
    size_t end = text_find(line, TEXT("\n"), 0);
    line = text_slice(line, 0,
                      end < LINE_BYTES         ? end
                      : line.size < LINE_BYTES ? line.size
                                               : LINE_BYTES);
    printf("    %s ", when);
    terminal_print(line);
    putchar('\n');
    free(whole);
}

static void difference_show(const json_t *d)
{
    const char *uri = json_string_value(json_object_get(d, "uri"));
    const char *command = json_string_value(json_object_get(d, "command"));
    const json_t *place = json_object_get(d, "position");
    terminal_print(text_of(uri ? uri : command ? command : "?"));
    if (place)
        printf(":%lld:%lld", json_integer_value(json_object_get(place, "line")) + 1,
               json_integer_value(json_object_get(place, "character")) + 1);
    putchar('\n');
    answer_show("then", json_object_get(d, "then"));
    answer_show("now ", json_object_get(d, "now"));
}

static int64_t integer_of(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}

static const char *ms_of(const json_t *row, const char *name)
{
    return figure_text(json_number_value(json_object_get(row, name)), 1);
}

static void session_show(const json_t *session)
{
    const json_t *differences = json_object_get(session, "differences");
    size_t i;
    json_t *row;
    terminal_print(text_of(json_string_value(json_object_get(session, "file"))));
    printf(", %.1f s%s\n", json_number_value(json_object_get(session, "seconds")),
           json_is_true(json_object_get(session, "cut")) ? ", ends within a line" : "");
    printf("%-30s %6s %6s %9s %10s %7s %7s %19s %19s\n", "", "asked", "same", "different",
           "unanswered", "nothing", "now", "then ms p50 / p95", "now ms p50 / p95");
    json_array_foreach(json_object_get(session, "methods"), i, row)
    {
        printf("%-30s %6lld %6lld %9lld %10lld %7lld %7lld %9s / %7s %9s / %7s\n",
               json_string_value(json_object_get(row, "method")),
               (long long)integer_of(row, "asked"), (long long)integer_of(row, "same"),
               (long long)integer_of(row, "different"), (long long)integer_of(row, "unanswered"),
               (long long)integer_of(row, "empty_then"), (long long)integer_of(row, "empty_now"),
               ms_of(row, "then_ms_p50"), ms_of(row, "then_ms_p95"), ms_of(row, "now_ms_p50"),
               ms_of(row, "now_ms_p95"));
    }
    json_array_foreach(differences, i, row)
    {
        if (i < SHOWN_MAX) difference_show(row);
    }
    if (json_array_size(differences) > SHOWN_MAX)
        printf("and %zu more (--json has all)\n", json_array_size(differences) - SHOWN_MAX);
}

static size_t arguments_make(const char **out, const struct replay_request *r)
{
    const struct {
        const char *flag, *value;
    } given[] = {{"--model", r->model},
                 {"--endpoint", r->endpoint},
                 {"--ca-file", r->ca_file},
                 {"--backend", r->backend},
                 {"--threads", r->threads}};
    size_t n = 0;
    out[n++] = "dbrx-ls";
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        if (!given[i].value) continue;
        out[n++] = given[i].flag;
        out[n++] = given[i].value;
    }
    out[n] = NULL;
    return n;
}

static status file_replay(json_t *sessions, const struct replay_request *r, const char *path,
                          error *err)
{
    const char *arguments[ARGUMENTS_MAX];
    struct replay_session s;
    arguments_make(arguments, r);
    status code = replay_session_read(&s, path, err);
    if (code == OK) code = replay_session_play(&s, arguments, r->directory, r->speed, err);
    if (code == OK && json_array_append_new(sessions, session_weigh(&s, path)) != 0)
        code = fail(err, ERR_MEMORY, "out of memory for the report");
    replay_session_free(&s);
    return code;
}

static int is_trace(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 6 && strcmp(entry->d_name + n - 6, ".jsonl") == 0;
}

/* In the order of their names, which begin with the time. */
static status files_replay(json_t *sessions, const struct replay_request *r, error *err)
{
    struct dirent **entries;
    if (!directory_exists(r->path)) return file_replay(sessions, r, r->path, err);
    int n = scandir(r->path, &entries, is_trace, alphasort);
    if (n < 0) return fail(err, ERR_IO, "%s: %s", r->path, strerror(errno));
    status code = n ? OK : fail(err, ERR_USAGE, "%s: no trace (*.jsonl) lies there", r->path);
    for (int i = 0; i < n; i++) {
        buffer path = {0};
        buffer_print(&path, "%s/%s", r->path, entries[i]->d_name);
        if (code == OK && path.failed) code = fail(err, ERR_MEMORY, "%s: out of memory", r->path);
        if (code == OK) code = file_replay(sessions, r, path.bytes, err);
        buffer_free(&path);
        free(entries[i]);
    }
    free(entries);
    return code;
}

static status replay(struct replay_request *r, error *err)
{
    json_t *sessions = json_array(), *session;
    size_t i;
    strcpy(r->directory, "/tmp/dbrx-replay-XXXXXX");
    if (!mkdtemp(r->directory)) {
        json_decref(sessions);
        return fail(err, ERR_IO, "%s cannot be made: %s", r->directory, strerror(errno));
    }
    bench_signals_catch();
    status code = files_replay(sessions, r, err);
    lsp_editor_forget(r->directory);
    if (code == OK && r->json)
        return command_write_json(json_pack("{s:o}", "sessions", sessions), err);
    json_array_foreach(sessions, i, session)
    {
        if (code == OK) session_show(session);
    }
    json_decref(sessions);
    if (code == OK && (fflush(stdout) != 0 || ferror(stdout)))
        code = fail(err, ERR_IO, "stdout: %s", strerror(errno));
    return code;
}

int command_replay(int argc, char **argv)
{
    struct replay_request r = {.speed = 1};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &r.json, NULL, "one JSON object, with every difference", 0, 0},
        {"speed", OPTION_NUMBER, &r.speed, "X", "so many times as fast as it was typed (default 1)",
         0, 0},
        {"model", OPTION_TEXT, &r.model, "DIR", "model of the local engine", 0, 0},
        {"endpoint", OPTION_TEXT, &r.endpoint, "URL", "use this engine and no other", 0, 0},
        {"ca-file", OPTION_TEXT, &r.ca_file, "FILE", "certificates to trust", 0, 0},
        {"backend", OPTION_TEXT, &r.backend, "NAME", "auto, cpu, cuda or reference", 0, 0},
        {"threads", OPTION_TEXT, &r.threads, "N", "threads of the local engine", 0, 0},
        {0}};
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    status s = OK;
    if (n_rest != 1)
        s = fail(&err, ERR_USAGE, "expected one DIR or FILE (see --help)");
    else if (!(r.speed > 0) || r.speed > 1000)
        s = fail(&err, ERR_USAGE, "--speed: expected a number above 0, up to 1000");
    r.path = argv[1];
    if (s == OK) s = replay(&r, &err);
    return s == OK ? EXIT_DONE : command_fail(argv[0], &err);
}
