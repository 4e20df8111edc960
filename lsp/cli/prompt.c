/* `dbrx-ls prompt`: shows what would be sent: for a completion blocks, reasons, tokens and text, for a
 * task its text. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "context/prompt.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/gather.h"
#include "lsp/cli/place.h"
#include "lsp/cli/prompt_task.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char usage[] =
    "usage: dbrx-ls prompt FILE:LINE:COL [OPTIONS]\n"
    "       dbrx-ls prompt --task NAME FILE:START-END [OPTIONS]\n"
    "       dbrx-ls prompt --task commit-message FOLDER [OPTIONS]\n"
    "       dbrx-ls prompt --batch [OPTIONS] < places by lines\n\n"
    "Shows the prompt for completing FILE at LINE and COL (both from 1, COL in characters), for a\n"
    "task on lines of FILE (explain, document, fix, ...), or for the message of what is staged in\n"
    "the repository of FOLDER.";

struct prompt_request {
    bool json, batch, alone;
    const char *model, *task, *details;
    int64_t budget;
};

static json_t *block_json(const struct prompt_block *b)
{
    return json_pack("{s:s, s:o, s:s, s:I, s:f, s:i, s:b}", "kind", b->kind, "path",
                     text_json(b->path), "reason", b->reason, "tokens", (json_int_t)b->n_tokens,
                     "score", b->score, "age", b->age, "cached", b->reused);
}

static void print_json(const struct prompt *p, const struct place *place, int64_t gather_us)
{
    json_t *blocks = json_array();
    for (size_t i = 0; i < p->n_blocks; i++)
        json_array_append_new(blocks, block_json(&p->blocks[i]));
    json_t *all = json_pack("{s:o, s:I, s:I, s:{s:f, s:f, s:f, s:f}, s:o}", "blocks", blocks,
                            "tokens", (json_int_t)p->ids.n, "tokens_reused",
                            (json_int_t)p->n_reused, "ms", "read", (double)place->read_us / 1e3,
                            "gather", (double)gather_us / 1e3, "layout", (double)p->layout_us / 1e3,
                            "tokenize", (double)p->tokenize_us / 1e3, "text", text_json(p->text));
    json_dumpf(all, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

static void print_human(const struct prompt *p, const struct place *place, int64_t gather_us)
{
    printf("%-8s %6s %-6s %5s %5s  %s\n", "block", "tokens", "cached", "score", "age", "reason");
    for (size_t i = 0; i < p->n_blocks; i++) {
        const struct prompt_block *b = &p->blocks[i];
        printf("%-8s %6zu %-6s %5.2f %5d  %s", b->kind, b->n_tokens, b->reused ? "yes" : "no",
               b->score, b->age, b->reason);
        if (b->path.size) printf(" (");
        terminal_print(b->path);
        printf(b->path.size ? ")\n" : "\n");
    }
    printf("%-8s %6zu tokens, %zu reused; read %.2f ms, gather %.2f ms, layout %.2f ms, tokenize "
           "%.2f ms\n\n",
           "all", p->ids.n, p->n_reused, (double)place->read_us / 1e3, (double)gather_us / 1e3,
           (double)p->layout_us / 1e3, (double)p->tokenize_us / 1e3);
    terminal_print(p->text);
    putchar('\n');
}

/* What the repository has to say about the place; nothing, with the reason on stderr, when it cannot
 * be asked. */
static bool place_gather(struct excerpts *out, struct gather *g, arena *memory,
                         const struct place *place, struct document_view *d)
{
    error err;
    bool found = gather_place(out, g, memory, place->path, d, place->cursor_byte, &err) == OK;
    gather_say(g, "prompt");
    if (found) return true;
    fprintf(stderr, "dbrx-ls prompt: without the repository: %s\n", err.message);
    return false;
}

static status place_show(const struct prompt_request *r, const tokenizer *t, struct gather *g,
                         prompt_session *s, const char *word, error *err)
{
    struct place place;
    struct prompt p = {0};
    struct excerpts excerpts = {0};
    arena memory = {0};
    struct prompt_options options = {.budget_tokens = (size_t)r->budget, .want_text = true};
    status code = place_open(&place, word, err);
    if (code == OK) {
        struct document_view d = place_document(&place);
        int64_t from_us = clock_us();
        if (!r->alone && place_gather(&excerpts, g, &memory, &place, &d))
            options.proposal = &excerpts;
        if (!r->alone && g->map.n) options.map = &g->map;
        int64_t gather_us = clock_us() - from_us;
        code = prompt_build(&p, s, t, &d, place.cursor_byte, &options, err);
        if (code == OK && (r->json || r->batch))
            print_json(&p, &place, gather_us);
        else if (code == OK)
            print_human(&p, &place, gather_us);
    }
    fflush(stdout);
    prompt_free(&p);
    excerpts_free(&excerpts);
    arena_reset(&memory);
    place_close(&place);
    return code;
}

/* The place's file: what stands before its last two colons. */
static text place_file(const char *word)
{
    size_t size = strlen(word);
    for (int colons = 0; size > 0 && colons < 2;) colons += word[--size] == ':';
    return (text){word, size};
}

struct showing {
    const struct prompt_request *request;
    const tokenizer *tokenizer;
    struct gather gather;
    prompt_session
        *session; /* each file has its own, as in an editor; consecutive places share it */
    char file[4096];
};

static status word_show(struct showing *s, const char *word, error *err)
{
    const struct prompt_request *r = s->request;
    if (r->task) {
        struct prompt_task p = {.task = r->task,
                                .details = r->details,
                                .json = r->json || r->batch,
                                .alone = r->alone,
                                .budget_tokens = (size_t)r->budget,
                                .tokenizer = s->tokenizer,
                                .gather = &s->gather};
        return prompt_task_show(&p, word, err);
    }
    text file = place_file(word);
    if (!s->session || !text_equal(file, text_of(s->file))) {
        prompt_session_close(s->session);
        s->session = NULL;
        snprintf(s->file, sizeof s->file, "%.*s", (int)file.size, file.bytes);
    }
    status code = s->session ? OK : prompt_session_open(&s->session, err);
    return code == OK ? place_show(r, s->tokenizer, &s->gather, s->session, word, err) : code;
}

static int batch_run(struct showing *s)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    error err;
    int exit_code = EXIT_DONE;
    while ((size = getline(&line, &room, stdin)) > 0) {
        if (line[size - 1] == '\n') line[size - 1] = 0;
        if (word_show(s, line, &err) == OK) continue;
        exit_code = command_fail("prompt", &err);
        json_t *report = json_pack("{s:o}", "error", text_json(text_of(err.message)));
        json_dumpf(report, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(report);
    }
    free(line);
    return exit_code;
}

static int prompt_run(const struct prompt_request *r, const tokenizer *t, const char *word)
{
    struct showing s = {.request = r, .tokenizer = t};
    error err;
    int exit_code = EXIT_DONE;
    if (r->batch)
        exit_code = batch_run(&s);
    else if (word_show(&s, word, &err) != OK)
        exit_code = command_fail("prompt", &err);
    prompt_session_close(s.session);
    gather_close(&s.gather);
    return exit_code;
}

static status request_check(const struct prompt_request *r, int n_rest, error *err)
{
    if (r->task && prompt_task_check(r->task, err) != OK) return err->code;
    if (n_rest == (r->batch ? 0 : 1)) return OK;
    return fail(err, ERR_USAGE, "expected %s (see --help)",
                r->batch  ? "no place beside --batch"
                : r->task ? "one FILE:START-END, or a folder for a commit message"
                          : "one FILE:LINE:COL");
}

int command_prompt(int argc, char **argv)
{
    struct prompt_request r = {.budget = 8192};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &r.json, NULL, "one JSON object instead of a table", 0, 0},
        {"batch", OPTION_FLAG, &r.batch, NULL, "places from stdin, one JSON object per line", 0, 0},
        {"task", OPTION_TEXT, &r.task, "NAME", "an action, or commit-message", 0, 0},
        {"details", OPTION_TEXT, &r.details, "TEXT", "the instruction, or what is reported", 0, 0},
        {"file-alone", OPTION_FLAG, &r.alone, NULL, "without excerpts of the repository", 0, 0},
        {"model", OPTION_TEXT, &r.model, "DIR", "whose tokenizer (default: the embedded one)", 0,
         0},
        {"budget", OPTION_INTEGER, &r.budget, "N", "tokens of the whole prompt (default 8192)", 1,
         SEQUENCE_TOKENS_MAX},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    tokenizer *t = NULL;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    if (request_check(&r, n_rest, &err) != OK) return command_fail("prompt", &err);
    struct configuration files;
    status s = configuration_read(&files, &err);
    if (s == OK && !r.model) r.model = model_configured(&files);
    if (s == OK) s = tokenizer_open(&t, r.model, &err);
    exit_code = s == OK ? prompt_run(&r, t, argv[1]) : command_fail("prompt", &err);
    tokenizer_close(t);
    configuration_free(&files);
    return exit_code;
}
