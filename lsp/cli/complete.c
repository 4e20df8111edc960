/* `dbrx-ls complete`: one completion by the very code that serves editors, without an editor.
 *
 *     wait for the engine --ready--> ask --answer--> print --> close everything
 *              |  off, signal, timeout                ^
 *              +--------------------------------------+ with an error
 *
 * One loop, one timer: first it is the time allowed, then the turn of the loop in which everything
 * closes, for neither client nor assistant may be closed from inside their own callbacks. */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/utf.h"
#include "lsp/assistant/assistant.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/gather.h"
#include "lsp/cli/place.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char usage[] =
    "usage: dbrx-ls complete FILE:LINE:COL [OPTIONS]\n\n"
    "Completes FILE at LINE and COL (both from 1, COL in characters), as an editor would ask: the\n"
    "line, or with --many as much as the place takes. Starts the local engine when none runs.";

enum { N_SIGNALS = 3, SHOWN_BYTES = 400 }; /* of a line on each side of the cursor */
static const int signals[N_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};

struct complete_request {
    bool json, many, alone;
    double timeout_s;
    struct engine_settings settings;
};

struct complete_run {
    const struct complete_request *request;
    const struct place *place;
    struct document_view document;
    struct excerpts excerpts;
    const struct repository_map *map; /* NULL: none */
    uv_loop_t loop;
    uv_timer_t timer;
    uv_signal_t signals[N_SIGNALS];
    int64_t until_us;
    engine_client *client;
    assistant *assistant; /* NULL until asked */
    completion *handle;   /* until its answer came */
    bool ended, closed;
    int signal_number; /* that ended it, or 0 */
    status code;
    error *err;
};

static void on_timer(uv_timer_t *timer);

/* How it ended is known, the first time counts; all is closed on the loop's next turn. */
static void run_end(struct complete_run *r, status code)
{
    if (r->ended) return;
    r->ended = true;
    r->code = code;
    terminal_progress("");
    uv_timer_start(&r->timer, on_timer, 0, 0);
}

static json_t *item_json(const struct place *p, const struct completion_answer *a)
{
    const struct range range = {place_position(p, a->from_byte), place_position(p, a->to_byte)};
    return json_pack("{s:o, s:o}", "text", text_json(a->insert), "range", range_json(&range));
}

static status print_json(const struct place *p, const struct completion_answer *a, error *err)
{
    const struct completion_report *report = &a->report;
    json_t *items = json_array();
    if (a->insert.size) json_array_append_new(items, item_json(p, a));
    json_t *all = json_pack("{s:o, s:f, s:I, s:I}", "items", items, "ttft_ms",
                            (double)report->ttft_us / 1e3, "tokens", (json_int_t)report->n_prompt,
                            "tokens_reused", (json_int_t)report->n_cached);
    char *line = all ? json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(all);
    if (!line) return fail(err, ERR_MEMORY, "out of memory for the answer");
    printf("%s\n", line);
    free(line);
    return OK;
}

static void print_numbers(const struct completion_report *r, bool demo)
{
    printf("first token %.1f ms, all %.1f ms, %lld tokens", (double)r->ttft_us / 1e3,
           (double)r->total_us / 1e3, (long long)r->n_output);
    if (r->tokens_per_s > 0) printf(" (%.1f/s)", r->tokens_per_s);
    printf("; prompt %lld tokens, %lld reused; layout %.2f ms, tokenize %.2f ms%s\n",
           (long long)r->n_prompt, (long long)r->n_cached, (double)r->layout_us / 1e3,
           (double)r->tokenize_us / 1e3, demo ? "; demo model" : "");
}

/* The line as it would look in an editor: what stands, the ghost, what stays behind it. */
static void print_human(const struct place *p, const struct completion_answer *a, bool demo)
{
    text before = place_line_before(p), behind = place_line_behind(p, a->to_byte);
    size_t from = before.size > SHOWN_BYTES ? utf8_floor(before, before.size - SHOWN_BYTES) : 0;
    terminal_print(text_slice(before, from, before.size));
    terminal_print_grey(a->insert);
    terminal_print(text_slice(behind, 0, utf8_floor(behind, SHOWN_BYTES)));
    putchar('\n');
    if (a->insert.size == 0) {
        printf("nothing to show: ");
        terminal_print(text_of(a->reason));
        putchar('\n');
    }
    if (a->report.n_prompt > 0) print_numbers(&a->report, demo); /* 0: nothing was asked */
}

static status answer_print(const struct complete_run *r, const struct completion_answer *a)
{
    status s = OK;
    terminal_progress("");
    if (r->request->json)
        s = print_json(r->place, a, r->err);
    else
        print_human(r->place, a, engine_client_status(r->client)->demo);
    if (s == OK && (fflush(stdout) != 0 || ferror(stdout)))
        s = fail(r->err, ERR_IO, "stdout: %s", strerror(errno));
    return s;
}

/* Asked, and not a word within the time: on a command line that is a failure. */
static bool is_silence(const struct completion_answer *a)
{
    return a->insert.size == 0 && a->report.prompt && a->report.ttft_us == 0;
}

static void on_answer(void *context, const struct completion_answer *answer)
{
    struct complete_run *r = context;
    r->handle = NULL;
    if (r->ended) return;
    if (answer->failed || (is_silence(answer) && !answer->cancelled))
        run_end(r, fail(r->err, ERR_NETWORK, "%s", answer->reason));
    else if (answer->cancelled)
        run_end(r, fail(r->err, ERR_CANCELLED, "%s", answer->reason));
    else
        run_end(r, answer_print(r, answer));
}

/* The engine is there: one question, with all the time that is left. */
static void run_ask(struct complete_run *r)
{
    int64_t left_ms = (r->until_us - clock_us()) / 1000 + 1;
    if (left_ms < 1) return; /* the timer is about to say so */
    const struct assistant_options options = {.loop = &r->loop,
                                              .client = r->client,
                                              .excerpts = &r->excerpts,
                                              .map = r->map,
                                              .automatic_deadline_ms = left_ms,
                                              .invoked_deadline_ms = left_ms};
    const struct completion_query query = {.document = r->document,
                                           .document_key = 1,
                                           .version = 1,
                                           .cursor_byte = r->place->cursor_byte,
                                           .invoked = r->request->many};
    terminal_progress("completing");
    uv_timer_stop(&r->timer); /* from here on the assistant keeps the time */
    status s = assistant_open(&r->assistant, &options, r->err);
    if (s == OK) s = assistant_complete(r->assistant, &query, on_answer, r, &r->handle, r->err);
    if (s != OK) run_end(r, s);
}

static void progress_show(const struct engine_status *now)
{
    char words[320];
    if (now->state == ENGINE_LOADING && now->progress > 0 && now->progress < 1)
        snprintf(words, sizeof words, "%s: %.0f %%", now->reason, floor(now->progress * 100));
    else
        snprintf(words, sizeof words, "%s", now->reason);
    terminal_progress(words);
}

static void on_status(void *context, const struct engine_status *now)
{
    struct complete_run *r = context;
    if (r->ended || r->assistant) return;
    switch (now->state) {
    case ENGINE_STARTING:
    case ENGINE_LOADING: progress_show(now); break;
    case ENGINE_OFF: run_end(r, fail(r->err, ERR_NETWORK, "%s", now->reason)); break;
    case ENGINE_DEGRADED:
        terminal_progress("");
        fprintf(stderr, "dbrx-ls complete: note: %s\n", now->reason);
        run_ask(r);
        break;
    case ENGINE_READY: run_ask(r); break;
    }
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct complete_run *r = handle->data;
    if (r->ended) return;
    r->signal_number = number;
    run_end(r, fail(r->err, ERR_CANCELLED, "cancelled"));
}

static void run_close(struct complete_run *r)
{
    r->closed = true;
    if (r->handle) completion_cancel(r->handle);
    if (r->assistant) assistant_close(r->assistant);
    if (r->client) engine_client_close(r->client, NULL, NULL);
    for (int i = 0; i < N_SIGNALS; i++) uv_close((uv_handle_t *)&r->signals[i], NULL);
    uv_close((uv_handle_t *)&r->timer, NULL);
}

static void on_timer(uv_timer_t *timer)
{
    struct complete_run *r = timer->data;
    if (r->closed) return;
    if (r->ended) {
        run_close(r);
        return;
    }
    run_end(r, fail(r->err, ERR_NETWORK, "no engine within %g s: %s", r->request->timeout_s,
                    engine_client_status(r->client)->reason));
}

static status run_open(struct complete_run *r, error *err)
{
    int64_t ms = (int64_t)(r->request->timeout_s * 1000);
    struct engine_client_options options = engine_settings_client(&r->request->settings);
    options.loop = &r->loop;
    options.on_status = on_status;
    options.context = r;
    r->until_us = clock_us() + ms * 1000;
    uv_timer_init(&r->loop, &r->timer);
    r->timer.data = r;
    uv_timer_start(&r->timer, on_timer, (uint64_t)ms, 0);
    for (int i = 0; i < N_SIGNALS; i++) {
        uv_signal_init(&r->loop, &r->signals[i]);
        r->signals[i].data = r;
        uv_signal_start_oneshot(&r->signals[i], on_signal, signals[i]);
    }
    return engine_client_open(&r->client, &options, err);
}

/* What a shell wants to know of a program that was interrupted: that it was. */
static void signal_pass_on(int number)
{
    signal(number, SIG_DFL);
    raise(number);
}

/* Without it the file stands alone, as it does for an editor whose indexer has not begun yet. */
static void gather(struct complete_run *r, struct gather *g, arena *memory)
{
    error err;
    const struct place *p = r->place;
    if (gather_open(g, p->path, &err) != OK ||
        !gather_path(&r->document.path, memory, g, p->path) ||
        gather_run(&r->excerpts, g, &r->document, p->cursor_byte, &err) != OK)
        log_line(LOG_DEBUG, "complete: no context of the repository");
    if (g->map.n) r->map = &g->map;
}

static status complete(const struct complete_request *request, const char *word, error *err)
{
    struct complete_run r = {.request = request, .err = err};
    struct place place;
    struct gather g = {0};
    arena memory = {0};
    status s = place_open(&place, word, err);
    if (s != OK) goto out;
    r.place = &place;
    r.document = place_document(&place);
    if (!request->alone) gather(&r, &g, &memory);
    int rc = uv_loop_init(&r.loop);
    if (rc < 0) {
        s = fail(err, ERR_IO, "event loop: %s", uv_strerror(rc));
        goto out;
    }
    if ((s = run_open(&r, err)) != OK) run_end(&r, s);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    uv_loop_close(&r.loop);
    s = r.code;
out:
    excerpts_free(&r.excerpts);
    gather_close(&g);
    arena_reset(&memory);
    place_close(&place);
    if (r.signal_number) signal_pass_on(r.signal_number);
    return s;
}

static status request_check(const struct complete_request *r, int n_rest, error *err)
{
    if (n_rest != 1) return fail(err, ERR_USAGE, "expected one FILE:LINE:COL (see --help)");
    if (!(r->timeout_s >= 0.001 && r->timeout_s <= 86400))
        return fail(err, ERR_USAGE, "--timeout: found %g, expected 0.001 to 86400", r->timeout_s);
    /* A running engine would be asked instead, and its model's name is all there is to compare. */
    const struct engine_settings *e = &r->settings;
    if (e->model_dir && !e->endpoint && !directory_exists(e->model_dir))
        return fail(err, ERR_IO, "model %s: no such directory", e->model_dir);
    return OK;
}

int command_complete(int argc, char **argv)
{
    struct complete_request r = {.timeout_s = 300};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &r.json, NULL, "one JSON object", 0, 0},
        {"many", OPTION_FLAG, &r.many, NULL, "as asked for by a key: more than one line", 0, 0},
        {"file-alone", OPTION_FLAG, &r.alone, NULL, "without excerpts of the repository", 0, 0},
        ENGINE_SETTINGS_OPTIONS(&r.settings),
        {"timeout", OPTION_NUMBER, &r.timeout_s, "SECONDS", "for engine and answer (default 300)",
         0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    engine_settings_complete(&r.settings);
    status s = request_check(&r, n_rest, &err);
    if (s == OK) s = complete(&r, argv[1], &err);
    return s == OK ? EXIT_DONE : command_fail("complete", &err);
}
