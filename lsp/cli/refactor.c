/* `dbrx-ls refactor`: an edit as a unified diff on stdout. Nothing is written. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "context/patch_text.h"
#include "lsp/cli/act.h"
#include "lsp/cli/command.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char usage[] =
    "usage: dbrx-ls refactor FILE:START-END [OPTIONS]\n\n"
    "Prints a unified diff that changes what stands at lines START to END of FILE (from 1), and "
    "writes\n"
    "nothing: `dbrx-ls refactor FILE:10-30 | patch -p1` takes it. --action is one of\n"
    "  simplify   the same, with less to read (default)\n"
    "  extract    the lines into a function of their own\n"
    "  rename     better names for what belongs to the function alone\n"
    "  rewrite    as --instruction says (the default when it is given)\n"
    "  fix        what --instruction reports\n"
    "  document   comments only\n"
    "  translate  comments into --language\n"
    "An answer that parses worse than what stands there is refused. Exit code 1: no usable answer.";

struct refactor {
    struct act act;
    bool json;
    const char *action;
};

/* The document with the replacement in it. */
static void changed_put(buffer *out, const struct act *a, const struct action_result *r)
{
    text content = a->document.content;
    buffer_put_text(out, text_slice(content, 0, r->from_byte));
    buffer_put_text(out, r->insert);
    buffer_put_text(out, text_slice(content, r->to_byte, content.size));
}

static json_t *result_json(const struct act *a, const struct action_result *r, text patch)
{
    const struct range range = {place_position(&a->place, r->from_byte),
                                place_position(&a->place, r->to_byte)};
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:f, s:f}", "diff", text_json(patch), "range",
                     range_json(&range), "text", text_json(r->insert), "tokens",
                     (json_int_t)r->n_prompt, "tokens_reused", (json_int_t)r->n_cached,
                     "output_tokens", (json_int_t)r->n_output, "ttft_ms", (double)r->ttft_us / 1e3,
                     "ms", (double)r->total_us / 1e3);
}

static status on_result(struct act *a, const struct action_result *r, error *err)
{
    const struct refactor *f = (const struct refactor *)(const void *)a;
    buffer changed = {0}, patch = {0};
    changed_put(&changed, a, r);
    status s = changed.failed ? fail(err, ERR_MEMORY, "out of memory for the diff")
                              : patch_text_put(&patch, text_of(a->place.path), a->document.content,
                                               buffer_text(&changed), err);
    if (s == OK && f->json)
        s = command_write_json(result_json(a, r, buffer_text(&patch)), err);
    else if (s == OK)
        s = command_write(buffer_text(&patch), err);
    buffer_free(&changed);
    buffer_free(&patch);
    return s;
}

static status row_choose(struct refactor *f, error *err)
{
    if (!f->action) f->action = f->act.details ? "rewrite" : "simplify";
    f->act.row = action_row_find(text_of(f->action));
    const struct action_row *row = f->act.row;
    if (!row || row->task == TASK_EXPLAIN || row->task == TASK_TESTS)
        return fail(err, ERR_USAGE, "--action: found \"%s\", expected one of --help", f->action);
    bool needs = row->offer & (NEEDS_INSTRUCTION | NEEDS_DIAGNOSTIC);
    if (needs && !f->act.details)
        return fail(err, ERR_USAGE, "--action %s needs --instruction", f->action);
    if (row->task == TASK_TRANSLATE && act_language(f->act.language).size == 0)
        return fail(err, ERR_USAGE, "--action translate needs --language");
    return OK;
}

int command_refactor(int argc, char **argv)
{
    struct refactor f = {.act = {.command = "refactor", .timeout_s = 600, .on_result = on_result}};
    const struct command_option options[] = {
        {"action", OPTION_TEXT, &f.action, "NAME", "what is done (default simplify)", 0, 0},
        {"instruction", OPTION_TEXT, &f.act.details, "TEXT", "in words, what is wanted or wrong", 0,
         0},
        {"json", OPTION_FLAG, &f.json, NULL, "one JSON object", 0, 0},
        ACT_OPTIONS(&f.act),
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    status s = n_rest == 1 ? row_choose(&f, &err)
                           : fail(&err, ERR_USAGE, "expected one FILE:START-END (see --help)");
    f.act.word = argv[1];
    if (s == OK) s = act_run(&f.act, &err);
    return s == OK ? EXIT_DONE : command_fail("refactor", &err);
}
