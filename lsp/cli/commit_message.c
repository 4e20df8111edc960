/* `dbrx-ls commit-message`: a message for what is staged; as a command, as git's hook, and as the process
 * a language server starts for it. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/clock.h"
#include "context/commit_text.h"
#include "lsp/assistant/commit.h"
#include "lsp/cli/command.h"
#include "lsp/cli/commit_hook.h"
#include "lsp/cli/engine_run.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char usage[] =
    "usage: dbrx-ls commit-message [OPTIONS]\n"
    "       dbrx-ls commit-message --install-hook [--yes]\n\n"
    "Prints a commit message for what is staged in the repository of the current folder, in the "
    "style\n"
    "and language of its history. Nothing is committed. What the model did not see is named on "
    "stderr.\n"
    "--install-hook makes git put such a message into the editor (prepare-commit-msg, where\n"
    "core.hooksPath says); the hook does nothing for -m, -F, merges, squashes and amends, takes at "
    "most\n"
    "8 s and never fails a commit.";

struct commit_message {
    bool json, again, warm, install, yes, hook, with_parent;
    const char *folder;
    const char *hook_file;
    double timeout_s;
    int64_t budget_tokens;
    struct engine_settings settings;
    repository *repository;
    struct commit_facts facts;
    struct engine_run run;
    commit_run *handle;
};

static json_t *files_json(const struct diff *d)
{
    json_t *files = json_array();
    for (size_t i = 0; i < d->n; i++) {
        const struct diff_file *f = &d->files[i];
        char change[2] = {f->change, 0};
        json_t *file =
            json_pack("{s:o, s:s, s:I, s:I}", "path", text_json(f->path), "change", change, "added",
                      (json_int_t)f->n_added, "removed", (json_int_t)f->n_removed);
        if (file && f->change == 'R') json_object_set_new(file, "old_path", text_json(f->old_path));
        json_array_append_new(files, file);
    }
    return files;
}

static json_t *lines_json(text lines)
{
    json_t *list = json_array();
    text line;
    while (text_next_line(&lines, &line)) json_array_append_new(list, text_json(line));
    return list;
}

static status print_json(const struct commit_message *c, const struct commit_result *r, error *err)
{
    return command_write_json(json_pack("{s:o, s:o, s:o, s:s, s:i, s:I, s:I, s:I}", "message",
                                        text_json(r->message), "files", files_json(&c->facts.diff),
                                        "omitted", lines_json(r->omitted), "note", r->reason,
                                        "calls", r->n_calls, "tokens", (json_int_t)r->n_prompt,
                                        "tokens_reused", (json_int_t)r->n_cached, "output_tokens",
                                        (json_int_t)r->n_output),
                              err);
}

static status print_warm(const struct commit_result *r, error *err)
{
    return command_write_json(json_pack("{s:I, s:I}", "tokens", (json_int_t)r->n_prompt,
                                        "tokens_reused", (json_int_t)r->n_cached),
                              err);
}

enum { HOOK_NOTES = 5 }; /* git shows them above the editor's screen */

static void notes_print(const struct commit_message *c, const struct commit_result *r)
{
    text omitted = r->omitted, line;
    size_t n = 0;
    for (; text_next_line(&omitted, &line); n++)
        if (!c->hook || n < HOOK_NOTES)
            fprintf(stderr, "dbrx-ls commit-message: note: %.*s\n", (int)line.size, line.bytes);
    if (c->hook && n > HOOK_NOTES)
        fprintf(stderr, "dbrx-ls commit-message: note: and %zu more\n", n - HOOK_NOTES);
    if (r->reason[0]) fprintf(stderr, "dbrx-ls commit-message: note: %s\n", r->reason);
}

static status print_words(const struct commit_message *c, const struct commit_result *r, error *err)
{
    status code = OK;
    if (c->hook) {
        code = commit_hook_write(c->hook_file, r->message, err);
    } else {
        terminal_print(r->message);
        if (fflush(stdout) != 0) code = fail(err, ERR_IO, "stdout: cannot be written");
    }
    if (code == OK) notes_print(c, r);
    return code;
}

static void on_done(void *context, const struct commit_result *r)
{
    struct commit_message *c = context;
    c->handle = NULL;
    if (c->run.ended) return;
    terminal_progress("");
    if (r->code != OK)
        engine_run_end(&c->run, fail(c->run.err, r->code, "%s", r->reason));
    else if (c->warm)
        engine_run_end(&c->run, c->json ? print_warm(r, c->run.err) : OK);
    else
        engine_run_end(&c->run,
                       c->json ? print_json(c, r, c->run.err) : print_words(c, r, c->run.err));
}

/* For a person; and for the server that started it, a line in stderr each. */
static void on_progress(void *context, int n_begun, int n_calls, int64_t n_tokens)
{
    const struct commit_message *c = context;
    char words[96], part[48] = "";
    if (n_calls > 1) snprintf(part, sizeof part, "part %d of %d, ", n_begun, n_calls);
    if (n_tokens)
        snprintf(words, sizeof words, "%s%lld tokens", part, (long long)n_tokens);
    else
        snprintf(words, sizeof words, "%sreading", part);
    if (c->with_parent && !c->warm)
        fprintf(stderr, COMMIT_PROGRESS "%s\n", words);
    else
        terminal_progress(words);
}

static void commit_ask(struct engine_run *run)
{
    struct commit_message *c = run->context;
    const struct commit_options options = {
        .client = run->client,
        .facts = &c->facts,
        .budget_tokens = (size_t)c->budget_tokens,
        .again = c->again,
        .seed = c->again ? (uint64_t)clock_us() : 0,
        .warm = c->warm,
    };
    status code = commit_begin(&c->handle, &options, on_progress, on_done, c, run->err);
    if (code != OK) engine_run_end(run, code);
}

static void commit_stop(struct engine_run *run)
{
    struct commit_message *c = run->context;
    if (c->handle) commit_cancel(c->handle);
}

static status repository_find(struct commit_message *c, error *err)
{
    if (!c->folder) return repository_open_environment(&c->repository, err);
    return repository_open(&c->repository, c->folder, err);
}

static status message_make(struct commit_message *c, error *err)
{
    c->run = (struct engine_run){.name = "commit-message",
                                 .timeout_s = c->timeout_s,
                                 .ask = commit_ask,
                                 .stop = commit_stop,
                                 .context = c};
    status code = engine_settings_complete(&c->settings, err);
    if (code == OK) code = engine_run_check(&c->settings, c->timeout_s, err);
    if (code == OK) code = repository_find(c, err);
    if (code == OK) code = commit_facts_read(&c->facts, c->repository, err);
    if (code == OK) code = engine_run(&c->run, &c->settings, err);
    commit_facts_free(&c->facts);
    repository_close(c->repository);
    engine_settings_free(&c->settings);
    engine_run_pass_on(&c->run);
    return code;
}

/* git's arguments: FILE [SOURCE [COMMIT]]. Whatever goes wrong is said in one line and is no failure. */
static int hook_run(struct commit_message *c, int n_rest, char **words)
{
    error err;
    if (n_rest < 1 || !commit_hook_wants(n_rest > 1 ? words[1] : NULL)) return EXIT_DONE;
    commit_hook_watch();
    c->hook_file = words[0];
    c->timeout_s = 7.5;
    if (message_make(c, &err) != OK) fprintf(stderr, "dbrx-ls: no message: %s\n", err.message);
    return EXIT_DONE;
}

int command_commit_message(int argc, char **argv)
{
    struct commit_message c = {.timeout_s = 300};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &c.json, NULL, "one JSON object", 0, 0},
        {"again", OPTION_FLAG, &c.again, NULL, "another message than the likeliest one", 0, 0},
        {"folder", OPTION_TEXT, &c.folder, "DIR", "of the repository (default: the current one)", 0,
         0},
        {"budget", OPTION_INTEGER, &c.budget_tokens, "N", "tokens of a prompt (default 8192)", 1536,
         32768},
        {"install-hook", OPTION_FLAG, &c.install, NULL, "write the hook prepare-commit-msg", 0, 0},
        {"yes", OPTION_FLAG, &c.yes, NULL, "replace another hook without asking", 0, 0},
        {"hook", OPTION_FLAG, &c.hook, NULL, "as git calls it: FILE [SOURCE [COMMIT]]", 0, 0},
        {"with-parent", OPTION_FLAG, &c.with_parent, NULL, "end when the caller does", 0, 0},
        {"warm", OPTION_FLAG, &c.warm, NULL, "only let the engine read it", 0, 0},
        ENGINE_SETTINGS_OPTIONS(&c.settings),
        {"timeout", OPTION_NUMBER, &c.timeout_s, "SECONDS", "for engine and answer (default 300)",
         0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    bool parsed = command_parse(argc, argv, options, usage, &n_rest, &exit_code);
    if (c.hook) return parsed ? hook_run(&c, n_rest, argv + 1) : EXIT_DONE;
    if (!parsed) return exit_code;
    status code = OK;
    if (c.with_parent) prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (n_rest != 0)
        code = fail(&err, ERR_USAGE, "found \"%s\", expected options (see --help)", argv[1]);
    else if (c.install)
        code = commit_hook_install(c.yes, &err);
    else
        code = message_make(&c, &err);
    return code == OK ? EXIT_DONE : command_fail("commit-message", &err);
}
