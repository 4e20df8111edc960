/* The index is asked before the engine is waited for: it takes less time than a model to load. */
#include "lsp/cli/act.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "lsp/cli/gather.h"
#include "lsp/cli/terminal.h"

text act_language(const char *given)
{
    static const char *const names[] = {"LC_ALL", "LC_MESSAGES", "LANG"};
    if (given) {
        text known = human_language_name(text_of(given));
        return known.size ? known : text_of(given);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = environment_get(names[i]);
        if (value) return human_language_name(text_of(value));
    }
    return TEXT("");
}

static void on_prose(void *context, text piece)
{
    struct act *a = context;
    if (a->run.ended) return;
    terminal_progress("");
    buffer_put_text(&a->prose, piece);
    if (a->on_prose) a->on_prose(a, piece);
}

static void on_progress(void *context, int64_t n_tokens)
{
    const struct act *a = context;
    char words[64];
    if (a->run.ended || a->on_prose) return;
    snprintf(words, sizeof words, "%lld tokens", (long long)n_tokens);
    terminal_progress(words);
}

static void on_done(void *context, const struct action_result *result)
{
    struct act *a = context;
    error *err = a->run.err;
    a->handle = NULL;
    if (a->run.ended) return;
    terminal_progress("");
    if (result->outcome == ACTION_REFUSED)
        engine_run_end(&a->run, fail(err, result->code, "%s", result->reason));
    else
        engine_run_end(&a->run, a->on_result(a, result, err));
}

static void act_ask(struct engine_run *run)
{
    struct act *a = run->context;
    const struct actions_options options = {
        .loop = &run->loop, .client = run->client, .excerpts = &a->excerpts, .map = a->map};
    const struct action_query query = {
        .row = a->row,
        .document = a->document,
        .document_key = 1,
        .from_byte = a->place.cursor_byte,
        .to_byte = a->place.end_byte,
        .details = text_of(a->details),
        .human_language = act_language(a->language),
        .anywhere = true,
    };
    const struct action_callbacks callbacks = {on_progress, on_prose, on_done, a, NULL};
    terminal_progress("reading");
    status s = actions_open(&a->actions, &options, run->err);
    if (s == OK) s = action_begin(&a->handle, a->actions, &query, &callbacks, run->err);
    if (s != OK) engine_run_end(run, s);
}

static void act_stop(struct engine_run *run)
{
    struct act *a = run->context;
    if (a->actions) actions_close(a->actions);
    a->actions = NULL;
}

/* Without it the file stands alone, as it does for an editor whose indexer has not begun yet. */
static void repository_ask(struct act *a, struct gather *g, arena *memory)
{
    error err;
    const struct place *p = &a->place;
    if (gather_place(&a->excerpts, g, memory, p->path, &a->document, p->cursor_byte, &err) != OK)
        log_line(LOG_DEBUG, "%s: no context of the repository", a->command);
    if (g->map.n) a->map = &g->map;
}

status act_run(struct act *a, error *err)
{
    struct gather g = {0};
    arena memory = {0};
    a->run = (struct engine_run){.name = a->command,
                                 .timeout_s = a->timeout_s,
                                 .ask = act_ask,
                                 .stop = act_stop,
                                 .context = a};
    status s = engine_settings_complete(&a->settings, err);
    if (s == OK) s = engine_run_check(&a->settings, a->timeout_s, err);
    if (s == OK) s = place_open_lines(&a->place, a->word, err);
    if (s == OK) {
        a->document = place_document(&a->place);
        if (!a->alone) repository_ask(a, &g, &memory);
        s = engine_run(&a->run, &a->settings, err);
    }
    excerpts_free(&a->excerpts);
    gather_close(&g);
    arena_reset(&memory);
    place_close(&a->place);
    buffer_free(&a->prose);
    engine_settings_free(&a->settings);
    engine_run_pass_on(&a->run);
    return s;
}
