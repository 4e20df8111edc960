/* `bench --lsp`: a typing session in an editor, with warming and without, side by side.
 *
 * For each way a language server of its own is started as editors start it, with an engine of its own
 * and empty caches. The session is typed in its own time (divided by --speed); after every change the
 * editor waits as long as editors do and asks, and cancels when the next key comes first. What a
 * question cost is read from dbrx/prompt, what the server's handlers took from its trace. */
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/limits.h"
#include "inference/bench/samples.h"
#include "lsp/assistant/counters.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/lsp_editor.h"

enum { DEBOUNCE_MS = 75, READY_MS = 120000, REPLY_MS = 5000, N_WAYS = 2 };

struct lsp_way {
    bool warms;
    struct lsp_editor editor;
    int64_t ask_id, prompt_id, final_id; /* 0: not waited for */
    int64_t asked_us;
    bool ready, replied, prompted, initialized;
    int64_t last_version;
    int64_t n_asked, n_cancelled, n_items;
    int64_t n_prompt, n_cached;
    struct samples ttft_ms, reply_ms, handler_ms, missing;
    struct assistant_counters counters;
};

static const char *string_at(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

/* "textDocument/didChange: 0.12 ms, 512 bytes"; replies come later and are no handler's time. */
static void trace_take(struct lsp_way *w, const char *line)
{
    const char *colon = strrchr(line, ':');
    if (!colon || strstr(line, "(answer)") || strncmp(line, "initialize", 10) == 0) return;
    samples_put(&w->handler_ms, strtod(colon + 1, NULL));
}

/* What the last question of a document cost; the same one is told again until there is another. */
static void prompt_take(struct lsp_way *w, const json_t *report)
{
    int64_t version = json_integer_value(json_object_get(report, "version"));
    w->prompted = true;
    if (!json_is_object(report) || version == w->last_version) return;
    int64_t n_prompt = json_integer_value(json_object_get(report, "tokens"));
    int64_t n_cached = json_integer_value(json_object_get(report, "cached"));
    double ttft_ms =
        json_number_value(json_object_get(json_object_get(report, "ms"), "first_token"));
    w->last_version = version;
    if (n_prompt == 0 || ttft_ms <= 0) return; /* nothing came of it */
    w->n_prompt += n_prompt;
    w->n_cached += n_cached;
    samples_put(&w->missing, (double)(n_prompt - n_cached));
    samples_put(&w->ttft_ms, ttft_ms);
}

static void reply_take(struct lsp_way *w, int64_t id, const json_t *message)
{
    const json_t *result = json_object_get(message, "result");
    if (id == w->ask_id) {
        w->replied = true;
        if (json_object_get(message, "error")) return;
        samples_put(&w->reply_ms, (double)(clock_us() - w->asked_us) / 1e3);
        w->n_items += json_array_size(json_object_get(result, "items")) > 0;
    } else if (id == w->prompt_id) {
        prompt_take(w, result);
    } else if (id == w->final_id) {
        w->initialized = true;
    }
}

static void on_message(void *context, const json_t *message)
{
    struct lsp_way *w = context;
    const char *method = string_at(message, "method");
    const json_t *params = json_object_get(message, "params"), *id = json_object_get(message, "id");
    if (strcmp(method, "$/logTrace") == 0)
        trace_take(w, string_at(params, "message"));
    else if (strcmp(method, "dbrx/status") == 0)
        w->ready = strcmp(string_at(params, "state"), "ready") == 0 ||
                   strcmp(string_at(params, "state"), "busy") == 0;
    else if (!method[0])
        reply_take(w, json_integer_value(id), message);
}

static json_t *position_of(text content, size_t at)
{
    size_t line = 0, from = 0;
    for (size_t i = 0; i < at; i++)
        if (content.bytes[i] == '\n') line++, from = i + 1;
    return json_pack("{s:I, s:I}", "line", (json_int_t)line, "character", (json_int_t)(at - from));
}

static json_t *document_of(const struct typing_session *s, int32_t document, int64_t version)
{
    text path = s->documents[document].path;
    json_t *out =
        json_pack("{s:o}", "uri", json_sprintf("file:///session/%.*s", (int)path.size, path.bytes));
    if (version) json_object_set_new(out, "version", json_integer(version));
    return out;
}

/* The step as an editor sends it; `before` is the document before it. */
static void step_send(struct lsp_way *w, const struct typing_session *s,
                      const struct typing_step *step, text before, int64_t version)
{
    if (step->kind == TYPING_OPEN) {
        json_t *document = document_of(s, step->document, version);
        json_object_set_new(document, "languageId", json_string(""));
        json_object_set_new(document, "text", json_stringn(before.bytes, before.size));
        lsp_editor_notify(&w->editor, "textDocument/didOpen",
                          json_pack("{s:o}", "textDocument", document));
    }
    if (step->n_removed == 0 && step->inserted.size == 0) return;
    json_t *range = json_pack("{s:o, s:o}", "start", position_of(before, step->at), "end",
                              position_of(before, step->at + step->n_removed));
    json_t *change = json_pack(
        "{s:o, s:o}", "range", range, "text",
        json_stringn(step->inserted.bytes ? step->inserted.bytes : "", step->inserted.size));
    lsp_editor_notify(&w->editor, "textDocument/didChange",
                      json_pack("{s:o, s:[o]}", "textDocument",
                                document_of(s, step->document, version), "contentChanges", change));
}

/* After the editor's own wait: a question, and what it cost. The next key comes at `next_us`. */
static status step_ask(struct lsp_way *w, const struct typing_session *s,
                       const struct typing_step *step, text content, int64_t next_us, error *err)
{
    int64_t ask_us = clock_us() + DEBOUNCE_MS * 1000;
    status code = lsp_editor_wait(&w->editor, ask_us < next_us ? ask_us : next_us, NULL, err);
    if (code != OK || ask_us >= next_us) return code;
    w->n_asked++;
    w->replied = false;
    w->asked_us = clock_us();
    w->ask_id = lsp_editor_request(
        &w->editor, "textDocument/inlineCompletion",
        json_pack("{s:o, s:o, s:{s:i}}", "textDocument", document_of(s, step->document, 0),
                  "position", position_of(content, step->cursor), "context", "triggerKind", 2));
    code = lsp_editor_wait(&w->editor, next_us, &w->replied, err);
    if (code == OK && !w->replied) {
        w->n_cancelled++;
        lsp_editor_notify(&w->editor, "$/cancelRequest",
                          json_pack("{s:I}", "id", (json_int_t)w->ask_id));
        return OK;
    }
    if (code != OK) return code;
    w->prompted = false;
    w->prompt_id =
        lsp_editor_request(&w->editor, "dbrx/prompt",
                           json_pack("{s:o}", "textDocument", document_of(s, step->document, 0)));
    code = lsp_editor_wait(&w->editor, clock_us() + REPLY_MS * 1000, &w->prompted, err);
    return code == OK ? lsp_editor_wait(&w->editor, next_us, NULL, err) : code;
}

static status session_type(struct lsp_way *w, const struct bench_request *request,
                           const struct typing_session *s, error *err)
{
    struct typing_player player;
    status code = typing_player_open(&player, s, err);
    int64_t next_us = clock_us();
    for (size_t i = 0; code == OK && i < s->n_steps; i++) {
        const struct typing_step *step;
        const struct typing_step *coming = &s->steps[i];
        buffer before = {0};
        buffer_put_text(&before, buffer_text(&player.contents[coming->document]));
        code = typing_player_step(&player, &step, err);
        if (code == OK && before.failed)
            code = fail(err, ERR_MEMORY, "out of memory for a document");
        if (code == OK) {
            int64_t pause_ms = i + 1 < s->n_steps ? s->steps[i + 1].pause_ms : 1000;
            next_us += (int64_t)((double)pause_ms * 1000 / request->speed);
            if (next_us < clock_us()) next_us = clock_us(); /* a slow machine types slower */
            step_send(w, s, step, buffer_text(&before), (int64_t)i + 1);
            code =
                step_ask(w, s, step, buffer_text(&player.contents[step->document]), next_us, err);
        }
        buffer_free(&before);
        if (i % 16 == 0)
            bench_progress("%s: step %zu of %zu", w->warms ? "warming" : "no warming", i,
                           s->n_steps);
    }
    typing_player_close(&player);
    return code;
}

static status server_start(struct lsp_way *w, const struct bench_request *request,
                           const char *directory, error *err)
{
    const char *const arguments[] = {"dbrx-ls", "--idle", "1", "--model", request->model_dir, NULL};
    w->editor.on_message = on_message;
    w->editor.context = w;
    status s = lsp_editor_open(&w->editor, directory, arguments, err);
    if (s != OK) return s;
    json_t *options = json_pack("{s:{s:b, s:b, s:I}}", "dbrx", "status", 1, "warm", w->warms,
                                "budgetTokens", (json_int_t)request->budget_tokens);
    w->final_id = lsp_editor_request(
        &w->editor, "initialize",
        json_pack("{s:i, s:s, s:n, s:{s:{s:[s]}, s:{s:{}}}, s:o}", "processId", (int)getpid(),
                  "trace", "messages", "rootUri", "capabilities", "general", "positionEncodings",
                  "utf-8", "textDocument", "inlineCompletion", "initializationOptions", options));
    s = lsp_editor_wait(&w->editor, clock_us() + READY_MS * 1000, &w->initialized, err);
    lsp_editor_notify(&w->editor, "initialized", json_object());
    if (s == OK) s = lsp_editor_wait(&w->editor, clock_us() + READY_MS * 1000, &w->ready, err);
    if (s == OK && !w->ready) s = fail(err, ERR_NETWORK, "the engine was not ready in time");
    return s;
}

/* What the server counted, from the file it leaves in its state directory. */
static void counters_read(struct lsp_way *w, const char *directory)
{
    char path[256];
    snprintf(path, sizeof path, "%s/dbrx-ls/stats.jsonl", directory);
    json_t *root = json_load_file(path, JSON_DISABLE_EOF_CHECK, NULL);
    const json_t *counters = json_object_get(root, "counters");
    for (size_t i = 0; i < N_COUNTERS; i++)
        ((int64_t *)(void *)&w->counters)[i] =
            json_integer_value(json_object_get(counters, counter_rows[i].name));
    json_decref(root);
}

static int entry_remove(const char *path, const struct stat *about, int kind, struct FTW *where)
{
    (void)about;
    (void)kind;
    (void)where;
    return remove(path);
}

static status way_run(struct lsp_way *w, const struct bench_request *request,
                      const struct typing_session *s, error *err)
{
    char directory[] = "/tmp/dbrx-bench-XXXXXX";
    if (!mkdtemp(directory)) return fail(err, ERR_IO, "%s cannot be made", directory);
    status code = server_start(w, request, directory, err);
    if (code == OK) code = session_type(w, request, s, err);
    lsp_editor_close(&w->editor);
    counters_read(w, directory);
    nftw(directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
    return code;
}

static double share(int64_t part, int64_t whole)
{
    return whole ? (double)part / (double)whole : (double)NAN;
}

static json_t *way_json(struct lsp_way *w)
{
    const struct assistant_counters *n = &w->counters;
    json_t *out = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "warming", w->warms, "asked",
        (json_int_t)w->n_asked, "cancelled", (json_int_t)w->n_cancelled, "with_items",
        (json_int_t)w->n_items, "requests", (json_int_t)n->requests, "answered_from_cache",
        (json_int_t)n->from_cache, "answered_by_running", (json_int_t)n->from_running,
        "warm_requests", (json_int_t)n->warm_requests, "warm_tokens", (json_int_t)n->warm_tokens,
        "warm_useful_tokens", (json_int_t)n->warm_useful, "warm_wasted_tokens",
        (json_int_t)(n->warm_tokens - n->warm_useful));
    const struct {
        const char *name;
        double value;
    } figures[] = {
        {"warm_tokens_per_useful", share(n->warm_tokens, n->warm_useful)},
        {"share_found_in_cache", share(n->cached_tokens, n->prompt_tokens)},
        {"share_of_requests_all_but_64_found", share(n->measured_warm, n->measured)},
        {"tokens_not_found_p90", samples_percentile(&w->missing, 90)},
        {"ttft_ms_p50", samples_percentile(&w->ttft_ms, 50)},
        {"ttft_ms_p95", samples_percentile(&w->ttft_ms, 95)},
        {"reply_ms_p50", samples_percentile(&w->reply_ms, 50)},
        {"reply_ms_p95", samples_percentile(&w->reply_ms, 95)},
        {"handler_ms_p99", samples_percentile(&w->handler_ms, 99)},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_object_set_new(out, figures[i].name, figure_json(figures[i].value));
    return out;
}

static void way_print(struct lsp_way *w)
{
    const struct assistant_counters *n = &w->counters;
    int64_t n_wasted = n->warm_tokens - n->warm_useful, n_known = n->from_cache + n->from_running;
    printf("%-12s %6lld %8lld %6lld %9s %9s %8s %8s %9lld %9lld %8s %8s\n",
           w->warms ? "warming" : "no warming", (long long)w->n_asked, (long long)n->requests,
           (long long)n_known, figure_text(100 * share(n->measured_warm, n->measured), 1),
           figure_text(samples_percentile(&w->missing, 90), 0),
           figure_text(samples_percentile(&w->ttft_ms, 50), 1),
           figure_text(samples_percentile(&w->ttft_ms, 95), 1), (long long)n->warm_tokens,
           (long long)n_wasted, figure_text(share(n->warm_tokens, n->warm_useful), 2),
           figure_text(samples_percentile(&w->handler_ms, 99), 2));
}

/* Figures that contradict each other are no figures. */
static void way_check(const struct lsp_way *w, struct bench_report *r)
{
    if (w->n_cached > w->n_prompt)
        report_fault(r, "%lld tokens found of %lld", (long long)w->n_cached,
                     (long long)w->n_prompt);
    if (!w->warms && w->counters.warm_requests)
        report_fault(r, "%lld warm requests without warming", (long long)w->counters.warm_requests);
    if (w->counters.warm_useful > w->counters.warm_tokens)
        report_fault(r, "%lld warm tokens useful of %lld", (long long)w->counters.warm_useful,
                     (long long)w->counters.warm_tokens);
}

static void way_free(struct lsp_way *w)
{
    samples_free(&w->ttft_ms);
    samples_free(&w->reply_ms);
    samples_free(&w->handler_ms);
    samples_free(&w->missing);
}

status bench_lsp(const struct bench_request *request, const struct typing_session *session,
                 struct bench_report *r, error *err)
{
    struct lsp_way ways[N_WAYS] = {{.warms = false, .last_version = -1},
                                   {.warms = true, .last_version = -1}};
    status s = request->model_dir ? OK : fail(err, ERR_USAGE, "--lsp: no model (see --model)");
    json_t *all = json_array();
    for (int i = 0; s == OK && i < N_WAYS; i++) {
        s = way_run(&ways[i], request, session, err);
        way_check(&ways[i], r);
        json_array_append_new(all, way_json(&ways[i]));
    }
    report_set(r, "session",
               json_pack("{s:I, s:I, s:f}", "seed", (json_int_t)session->seed, "steps",
                         (json_int_t)session->n_steps, "speed", request->speed));
    report_set(r, "ways", all);
    bench_progress("%s", "");
    if (s == OK && !r->json) {
        printf("%-12s %6s %8s %6s %9s %9s %8s %8s %9s %9s %8s %8s\n", "", "asked", "requests",
               "cache", "<=64 new%", "new p90", "TTFT p50", "p95 ms", "warm tok", "wasted",
               "per use", "p99 ms");
        for (int i = 0; i < N_WAYS; i++) way_print(&ways[i]);
    }
    for (int i = 0; i < N_WAYS; i++) way_free(&ways[i]);
    return s;
}
