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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/utf.h"
#include "lsp/assistant/assistant.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_run.h"
#include "lsp/cli/gather.h"
#include "lsp/cli/place.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char usage[] =
    "usage: dbrx-ls complete FILE:LINE:COL [OPTIONS]\n\n"
    "Completes FILE at LINE and COL (both from 1, COL in characters), as an editor would ask: the\n"
    "line, or with --many as much as the place takes. Starts the local engine when none runs.";

enum { SHOWN_BYTES = 400 }; /* of a line on each side of the cursor */

struct complete_request {
    bool json, many, alone;
    double timeout_s;
    struct engine_settings settings;
};

struct complete_run {
    struct engine_run run;
    const struct complete_request *request;
    const struct place *place;
    struct document_view document;
    struct excerpts excerpts;
    const struct repository_map *map; /* NULL: none */
    assistant *assistant;             /* NULL until asked */
    completion *handle;               /* until its answer came */
};

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
    if (all && a->insert.size == 0)
        json_object_set_new(all, "reason", text_json(text_of(a->reason)));
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
    error *err = r->run.err;
    terminal_progress("");
    if (r->request->json)
        s = print_json(r->place, a, err);
    else
        print_human(r->place, a, engine_client_status(r->run.client)->demo);
    if (s == OK && (fflush(stdout) != 0 || ferror(stdout)))
        s = fail(err, ERR_IO, "stdout: %s", strerror(errno));
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
    error *err = r->run.err;
    r->handle = NULL;
    if (r->run.ended) return;
    if (answer->failed || (is_silence(answer) && !answer->cancelled))
        engine_run_end(&r->run, fail(err, ERR_NETWORK, "%s", answer->reason));
    else if (answer->cancelled)
        engine_run_end(&r->run, fail(err, ERR_CANCELLED, "%s", answer->reason));
    else
        engine_run_end(&r->run, answer_print(r, answer));
}

/* The engine is there: one question, with all the time that is left. */
static void run_ask(struct engine_run *run)
{
    struct complete_run *r = run->context;
    int64_t left_ms = (run->until_us - clock_us()) / 1000 + 1;
    if (left_ms < 1) return; /* the timer is about to say so */
    const struct assistant_options options = {.loop = &run->loop,
                                              .client = run->client,
                                              .excerpts = &r->excerpts,
                                              .map = r->map,
                                              .automatic_deadline_ms = left_ms,
                                              .invoked_deadline_ms = left_ms};
    const struct completion_query query = {.document = r->document,
                                           .document_key = 1,
                                           .cursor_byte = r->place->cursor_byte,
                                           .invoked = r->request->many};
    terminal_progress("completing");
    engine_run_keep_no_time(run);
    status s = assistant_open(&r->assistant, &options, run->err);
    if (s == OK) s = assistant_complete(r->assistant, &query, on_answer, r, &r->handle, run->err);
    if (s != OK) engine_run_end(run, s);
}

static void run_stop(struct engine_run *run)
{
    struct complete_run *r = run->context;
    if (r->handle) completion_cancel(r->handle);
    if (r->assistant) assistant_close(r->assistant);
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
    struct complete_run r = {
        .request = request,
        .run = {
            .name = "complete", .timeout_s = request->timeout_s, .ask = run_ask, .stop = run_stop}};
    struct place place;
    struct gather g = {0};
    arena memory = {0};
    r.run.context = &r;
    status s = place_open(&place, word, err);
    if (s == OK) {
        r.place = &place;
        r.document = place_document(&place);
        if (!request->alone) gather(&r, &g, &memory);
        s = engine_run(&r.run, &request->settings, err);
    }
    excerpts_free(&r.excerpts);
    gather_close(&g);
    arena_reset(&memory);
    place_close(&place);
    engine_run_pass_on(&r.run);
    return s;
}

static status request_check(const struct complete_request *r, int n_rest, error *err)
{
    if (n_rest != 1) return fail(err, ERR_USAGE, "expected one FILE:LINE:COL (see --help)");
    return engine_run_check(&r->settings, r->timeout_s, err);
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
    status s = engine_settings_complete(&r.settings, &err);
    if (s == OK) s = request_check(&r, n_rest, &err);
    if (s == OK) s = complete(&r, argv[1], &err);
    engine_settings_free(&r.settings);
    return s == OK ? EXIT_DONE : command_fail("complete", &err);
}
