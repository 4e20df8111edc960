/* `dbrx-ls explain`: prose about lines of a file, printed as it comes. */
#include <jansson.h>
#include <stdio.h>

#include "lsp/cli/act.h"
#include "lsp/cli/command.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char usage[] =
    "usage: dbrx-ls explain FILE:START-END [OPTIONS]\n\n"
    "Explains lines START to END of FILE (from 1; FILE:LINE is one line): what they are for, how "
    "they\n"
    "work, what to watch. Markdown, printed as it comes. Starts the local engine when none runs.";

static bool json;

/* Whom nobody reads any more need not go on. */
static void on_prose(struct act *a, text piece)
{
    terminal_print(piece);
    if (fflush(stdout) != 0 || ferror(stdout))
        engine_run_end(&a->run, fail(a->run.err, ERR_IO, "stdout: cannot be written"));
}

static status on_result(struct act *a, const struct action_result *r, error *err)
{
    text said = text_trim(buffer_text(&a->prose));
    if (!json) {
        terminal_print(r->reason ? TEXT(" ...\n") : TEXT("\n"));
        if (fflush(stdout) != 0) return fail(err, ERR_IO, "stdout: cannot be written");
        if (r->reason) fprintf(stderr, "dbrx-ls explain: note: it ends early: %s\n", r->reason);
        return OK;
    }
    return command_write_json(
        json_pack("{s:o, s:b, s:I, s:I, s:I, s:f, s:f}", "text", text_json(said), "cut",
                  r->reason != NULL, "tokens", (json_int_t)r->n_prompt, "tokens_reused",
                  (json_int_t)r->n_cached, "output_tokens", (json_int_t)r->n_output, "ttft_ms",
                  (double)r->ttft_us / 1e3, "ms", (double)r->total_us / 1e3),
        err);
}

int command_explain(int argc, char **argv)
{
    struct act a = {.command = "explain",
                    .row = action_row_find(TEXT("explain")),
                    .timeout_s = 600,
                    .on_prose = on_prose,
                    .on_result = on_result};
    const struct command_option options[] = {
        {"json", OPTION_FLAG, &json, NULL, "one JSON object, at the end", 0, 0},
        ACT_OPTIONS(&a),
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    a.word = argv[1];
    if (json) a.on_prose = NULL;
    status s = n_rest == 1 ? act_run(&a, &err)
                           : fail(&err, ERR_USAGE, "expected one FILE:START-END (see --help)");
    return s == OK ? EXIT_DONE : command_fail("explain", &err);
}
