/* `bench --lsp`: a typing session in an editor, with warming and without, turn by turn.
 *
 * For each way a language server of its own is started as editors start it, with an engine of its own
 * and empty caches; the sources' repository is its folder. The session is typed in its own time
 * (divided by --speed): some steps the one way, then the same steps the other way, so that both meet
 * the same machine. After every step the editor waits as long as editors do and asks, and cancels when
 * the next key comes first. What a question cost is read from dbrx/prompt, what the server's handlers
 * took from its trace. Tokens that were not in the cache are told by the kind of step before the
 * question: they are what warming is for, and no other program of the machine changes them. */
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

enum { DEBOUNCE_MS = 75, READY_MS = 120000, REPLY_MS = 5000, N_WAYS = 2, TURN_STEPS = 32 };

struct lsp_way {
    bool warms;
    char directory[32];
    struct lsp_editor editor;
    struct typing_player player;
    const char *root;                    /* of the documents; NULL: they lie nowhere */
    enum typing_kind kind;               /* of the step before the question */
    int64_t ask_id, prompt_id, final_id; /* 0: not waited for */
    int64_t asked_us;
    bool ready, replied, prompted, initialized;
    int64_t last_version;
    double last_ttft_ms;
    int64_t n_asked, n_cancelled, n_items;
    int64_t n_prompt, n_cached;
    int64_t peak_bytes;
    struct samples ttft_ms, reply_ms, handler_ms, missing;
    struct samples kind_missing[N_TYPING_KINDS];
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
    int64_t n_prompt = json_integer_value(json_object_get(report, "tokens"));
    int64_t n_cached = json_integer_value(json_object_get(report, "cached"));
    double ttft_ms =
        json_number_value(json_object_get(json_object_get(report, "ms"), "first_token"));
    bool told = version == w->last_version && ttft_ms == w->last_ttft_ms;
    if (!json_is_object(report) || told) return;
    w->last_version = version;
    w->last_ttft_ms = ttft_ms;
    if (n_prompt == 0 || ttft_ms <= 0) return; /* nothing came of it */
    w->n_prompt += n_prompt;
    w->n_cached += n_cached;
    samples_put(&w->missing, (double)(n_prompt - n_cached));
    samples_put(&w->kind_missing[w->kind], (double)(n_prompt - n_cached));
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

static json_t *document_of(const struct lsp_way *w, int32_t document, int64_t version)
{
    text path = w->player.session->documents[document].path;
    json_t *out = json_pack(
        "{s:o}", "uri",
        json_sprintf("file://%s/%.*s", w->root ? w->root : "/session", (int)path.size, path.bytes));
    if (version) json_object_set_new(out, "version", json_integer(version));
    return out;
}

/* The step as an editor sends it; `before` is the document before it. */
static void step_send(struct lsp_way *w, const struct typing_step *step, text before,
                      int64_t version)
{
    if (step->kind == TYPING_OPEN) {
        json_t *document = document_of(w, step->document, version);
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
                                document_of(w, step->document, version), "contentChanges", change));
}

/* After the editor's own wait: a question, and what it cost. The next key comes at `next_us`. */
static status step_ask(struct lsp_way *w, const struct typing_step *step, text content,
                       int64_t next_us, error *err)
{
    int64_t ask_us = clock_us() + DEBOUNCE_MS * 1000;
    status code = lsp_editor_wait(&w->editor, ask_us < next_us ? ask_us : next_us, NULL, err);
    if (code != OK || ask_us >= next_us) return code;
    w->n_asked++;
    w->kind = step->kind;
    w->replied = false;
    w->asked_us = clock_us();
    w->ask_id = lsp_editor_request(
        &w->editor, "textDocument/inlineCompletion",
        json_pack("{s:o, s:o, s:{s:i}}", "textDocument", document_of(w, step->document, 0),
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
                           json_pack("{s:o}", "textDocument", document_of(w, step->document, 0)));
    code = lsp_editor_wait(&w->editor, clock_us() + REPLY_MS * 1000, &w->prompted, err);
    return code == OK ? lsp_editor_wait(&w->editor, next_us, NULL, err) : code;
}

/* The next step of the session, and its question; then the time until the step behind it. */
static status step_type(struct lsp_way *w, double speed, int64_t *next_us, error *err)
{
    const struct typing_session *s = w->player.session;
    size_t i = w->player.n_played;
    const struct typing_step *step, *coming = &s->steps[i];
    buffer before = {0};
    buffer_put_text(&before, buffer_text(&w->player.contents[coming->document]));
    status code = typing_player_step(&w->player, &step, err);
    if (code == OK && before.failed) code = fail(err, ERR_MEMORY, "out of memory for a document");
    if (code == OK) {
        int64_t pause_ms = i + 1 < s->n_steps ? s->steps[i + 1].pause_ms : 1000;
        *next_us += (int64_t)((double)pause_ms * 1000 / speed);
        if (*next_us < clock_us()) *next_us = clock_us(); /* a slow machine types slower */
        step_send(w, step, buffer_text(&before), (int64_t)i + 1);
        code = step_ask(w, step, buffer_text(&w->player.contents[step->document]), *next_us, err);
    }
    buffer_free(&before);
    return code;
}

/* The same steps the one way and the other, whoever was last beginning. */
static status session_type(struct lsp_way *ways, double speed, error *err)
{
    const struct typing_session *s = ways[0].player.session;
    status code = OK;
    for (size_t turn = 0; code == OK && turn * TURN_STEPS < s->n_steps; turn++) {
        size_t end = turn * TURN_STEPS + TURN_STEPS;
        for (size_t k = 0; code == OK && k < N_WAYS; k++) {
            struct lsp_way *w = &ways[(turn + k) % N_WAYS];
            int64_t next_us = clock_us();
            bench_progress("step %zu of %zu", turn * TURN_STEPS, s->n_steps);
            code = lsp_editor_wait(&w->editor, next_us, NULL, err); /* what came meanwhile */
            while (code == OK && w->player.n_played < end && w->player.n_played < s->n_steps)
                code = step_type(w, speed, &next_us, err);
        }
        if (code == OK && atomic_load(&bench_stop)) code = fail(err, ERR_CANCELLED, "stopped");
    }
    return code;
}

static json_t *root_uri(const struct lsp_way *w)
{
    return w->root ? json_sprintf("file://%s", w->root) : json_null();
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
        json_pack("{s:i, s:s, s:o, s:{s:{s:[s]}, s:{s:{}}}, s:o}", "processId", (int)getpid(),
                  "trace", "messages", "rootUri", root_uri(w), "capabilities", "general",
                  "positionEncodings", "utf-8", "textDocument", "inlineCompletion",
                  "initializationOptions", options));
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

static status way_open(struct lsp_way *w, const struct bench_request *request,
                       const struct typing_session *s, error *err)
{
    strcpy(w->directory, "/tmp/dbrx-bench-XXXXXX");
    w->root = request->root;
    w->last_version = -1;
    status code = typing_player_open(&w->player, s, err);
    if (code == OK && !mkdtemp(w->directory)) {
        code = fail(err, ERR_IO, "%s cannot be made", w->directory);
        w->directory[0] = '\0';
    }
    return code == OK ? server_start(w, request, w->directory, err) : code;
}

/* Ends the server, which writes what it has counted. */
static void way_end(struct lsp_way *w)
{
    if (w->player.session) typing_player_close(&w->player);
    if (!w->directory[0]) return;
    w->peak_bytes = lsp_editor_peak_bytes(&w->editor);
    lsp_editor_close(&w->editor);
    counters_read(w, w->directory);
    lsp_editor_forget(w->directory);
}

static double share(int64_t part, int64_t whole)
{
    return whole ? (double)part / (double)whole : (double)NAN;
}

static double sum_of(const struct samples *of)
{
    return of->n ? samples_mean(of) * (double)of->n : 0;
}

/* Tokens that questions behind a kind of step had to wait for: in all, and in the median. */
static json_t *kinds_json(struct lsp_way *w)
{
    json_t *out = json_object();
    for (int k = 0; k < N_TYPING_KINDS; k++) {
        struct samples *of = &w->kind_missing[k];
        if (of->n == 0) continue;
        json_object_set_new(
            out, typing_kind_name((enum typing_kind)k),
            json_pack("{s:I, s:o, s:o, s:o}", "requests", (json_int_t)of->n, "tokens_not_found",
                      figure_json(sum_of(of)), "tokens_not_found_p50",
                      figure_json(samples_percentile(of, 50)), "tokens_not_found_p90",
                      figure_json(samples_percentile(of, 90))));
    }
    return out;
}

static double peak_mib(const struct lsp_way *w)
{
    return w->peak_bytes ? (double)w->peak_bytes / (1 << 20) : (double)NAN;
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
        {"tokens_computed_for_questions", (double)(n->prompt_tokens - n->cached_tokens)},
        {"share_found_in_cache", share(n->cached_tokens, n->prompt_tokens)},
        {"share_of_requests_all_but_64_found", share(n->measured_warm, n->measured)},
        {"tokens_not_found_p90", samples_percentile(&w->missing, 90)},
        {"ttft_measured", (double)w->ttft_ms.n}, /* who typed on before it came is not among them */
        {"ttft_ms_p50", samples_percentile(&w->ttft_ms, 50)},
        {"ttft_ms_p95", samples_percentile(&w->ttft_ms, 95)},
        {"reply_ms_p50", samples_percentile(&w->reply_ms, 50)},
        {"reply_ms_p95", samples_percentile(&w->reply_ms, 95)},
        {"handler_ms_p99", samples_percentile(&w->handler_ms, 99)},
        {"front_peak_mib", peak_mib(w)},
    };
    json_object_set_new(out, "after", kinds_json(w));
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        json_object_set_new(out, figures[i].name, figure_json(figures[i].value));
    return out;
}

static void way_print(struct lsp_way *w)
{
    const struct assistant_counters *n = &w->counters;
    int64_t n_wasted = n->warm_tokens - n->warm_useful, n_known = n->from_cache + n->from_running;
    printf("%-12s %6lld %8lld %6lld %9s %9s %8s %8s %9lld %9lld %8s %8s %6s\n",
           w->warms ? "warming" : "no warming", (long long)w->n_asked, (long long)n->requests,
           (long long)n_known, figure_text(100 * share(n->measured_warm, n->measured), 1),
           figure_text((double)(n->prompt_tokens - n->cached_tokens), 0),
           figure_text(samples_percentile(&w->ttft_ms, 50), 1),
           figure_text(samples_percentile(&w->ttft_ms, 95), 1), (long long)n->warm_tokens,
           (long long)n_wasted, figure_text(share(n->warm_tokens, n->warm_useful), 2),
           figure_text(samples_percentile(&w->handler_ms, 99), 2), figure_text(peak_mib(w), 0));
}

static void kinds_print(struct lsp_way *ways)
{
    printf(
        "\ntokens not in cache when a question is sent, by the step before it (requests, sum)\n");
    printf("%-12s", "");
    for (int k = 0; k < N_TYPING_KINDS; k++) printf(" %14s", typing_kind_name((enum typing_kind)k));
    printf("\n");
    for (int i = 0; i < N_WAYS; i++) {
        printf("%-12s", ways[i].warms ? "warming" : "no warming");
        for (int k = 0; k < N_TYPING_KINDS; k++)
            printf(" %5zu %8s", ways[i].kind_missing[k].n,
                   figure_text(sum_of(&ways[i].kind_missing[k]), 0));
        printf("\n");
    }
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
    for (int k = 0; k < N_TYPING_KINDS; k++) samples_free(&w->kind_missing[k]);
}

static void ways_print(struct lsp_way *ways)
{
    printf("%-12s %6s %8s %6s %9s %9s %8s %8s %9s %9s %8s %8s %6s\n", "", "asked", "requests",
           "cache", "<=64 new%", "computed", "TTFT p50", "p95 ms", "warm tok", "wasted", "per use",
           "p99 ms", "MiB");
    for (int i = 0; i < N_WAYS; i++) way_print(&ways[i]);
    kinds_print(ways);
}

status bench_lsp(const struct bench_request *request, const struct typing_session *session,
                 struct bench_report *r, error *err)
{
    struct lsp_way ways[N_WAYS] = {{.warms = false}, {.warms = true}};
    status s = request->model_dir ? OK : fail(err, ERR_USAGE, "--lsp: no model (see --model)");
    json_t *all = json_array();
    for (int i = 0; s == OK && i < N_WAYS; i++) s = way_open(&ways[i], request, session, err);
    if (s == OK) s = session_type(ways, request->speed, err);
    for (int i = 0; i < N_WAYS; i++) {
        way_end(&ways[i]);
        way_check(&ways[i], r);
        json_array_append_new(all, way_json(&ways[i]));
    }
    report_set(r, "session",
               json_pack("{s:I, s:I, s:f}", "seed", (json_int_t)session->seed, "steps",
                         (json_int_t)session->n_steps, "speed", request->speed));
    report_set(r, "ways", all);
    bench_progress("%s", "");
    if (s == OK && !r->json) ways_print(ways);
    for (int i = 0; i < N_WAYS; i++) way_free(&ways[i]);
    return s;
}
