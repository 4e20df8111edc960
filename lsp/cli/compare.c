/* `dbrx-ls compare`: how far one numerics is from another on a text. */
#include <stdlib.h>

#include "base/limits.h"
#include "inference/mapping_guard.h"
#include "lsp/cli/command.h"
#include "lsp/cli/comparing.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/numbers.h"

static const char usage[] =
    "usage: dbrx-ls compare SOURCE [CANDIDATE] --text FILE [OPTIONS]\n\n"
    "Reads a text with both model directories and prints how far the candidate's distribution of\n"
    "the next token is from the source's (Kullback-Leibler divergence), with the source's routes\n"
    "forced on it and with its own, and how often their routes and first choices agree. Without\n"
    "CANDIDATE it is SOURCE itself, with other weights, KV or activations:\n\n"
    "    dbrx-ls compare DIR --text FILE --kv bf16 --candidate-kv e4m3 --window 4096\n\n"
    "Layers are computed one by one over a whole window: a model larger than memory is read once\n"
    "per window. Nothing is written; it may be interrupted at any time.";

struct choices {
    const char *text, *ids, *kv, *candidate_kv, *weights;
    int64_t n_tokens, window, n_threads;
    bool json;
};

static status options_complete(struct comparison_options *o, struct choices *c, int n_rest,
                               char **argv, error *err)
{
    if (n_rest < 1 || n_rest > 2)
        return fail(err, ERR_USAGE, "found %d directories, expected SOURCE [CANDIDATE]", n_rest);
    if (!c->text == !c->ids)
        return fail(err, ERR_USAGE, "expected --text FILE or --ids IDS, and not both");
    o->source.model_dir = argv[1];
    o->candidate.model_dir = n_rest == 2 ? argv[2] : argv[1];
    if (!o->candidate.activations) o->candidate.activations = o->source.activations;
    o->window_tokens = (int32_t)c->window;
    o->n_threads = (int32_t)c->n_threads;
    status s = kv_type_parse(&o->source.kv_type, "--kv", c->kv, err);
    if (s == OK && c->weights)
        s = weights_parse(&o->candidate.weights, c->weights, "--weights", err);
    if (s != OK) return s;
    return kv_type_parse(&o->candidate.kv_type, "--candidate-kv",
                         c->candidate_kv ? c->candidate_kv : c->kv, err);
}

static status compare_run(const struct comparison_options *o, const struct choices *c, error *err)
{
    token_list ids = {0};
    struct comparison found;
    status s = c->text
                   ? ids_of_file(&ids, NULL, c->text, o->source.model_dir, (size_t)c->n_tokens, err)
                   : ids_given(&ids, c->ids, "--ids", err);
    if (s == OK && c->n_tokens && ids.n > (size_t)c->n_tokens) ids.n = (size_t)c->n_tokens;
    if (s == OK) s = comparing_run(&found, *o, &ids, err);
    if (s == OK)
        s = c->json ? command_write_json(comparing_json(&found), err)
                    : comparing_print(&found, err);
    token_list_free(&ids);
    return s;
}

int command_compare(int argc, char **argv)
{
    error err;
    int n_rest, exit_code;
    struct choices c = {.kv = "bf16"};
    struct comparison_options o = {.backend = "auto"};
    const struct command_option table[] = {
        {"text", OPTION_TEXT, &c.text, "FILE", "text to read, - for stdin", 0, 0},
        {"ids", OPTION_TEXT, &c.ids, "IDS", "instead of a text: 1,2,3, or - for stdin", 0, 0},
        {"tokens", OPTION_INTEGER, &c.n_tokens, "N", "the first N tokens (default: all)", 1,
         1 << 30},
        {"window", OPTION_INTEGER, &c.window, "N", "tokens of a context (default 2048)", 1,
         SEQUENCE_TOKENS_MAX},
        {"weights", OPTION_TEXT, &c.weights, "NAME",
         "quantise the candidate while loading: fp8, int8 or int4", 0, 0},
        {"kv", OPTION_TEXT, &c.kv, "TYPE", "f32, bf16 (default) or e4m3", 0, 0},
        {"candidate-kv", OPTION_TEXT, &c.candidate_kv, "TYPE", "default: as --kv", 0, 0},
        {"activations", OPTION_TEXT, &o.source.activations, "TYPE",
         "f32, bf16, e4m3 or int8; default: as config.json says", 0, 0},
        {"candidate-activations", OPTION_TEXT, &o.candidate.activations, "TYPE",
         "default: as --activations, else as its config.json says", 0, 0},
        {"backend", OPTION_TEXT, &o.backend, "NAME", "auto, cpu, cuda or reference", 0, 0},
        {"threads", OPTION_INTEGER, &c.n_threads, "N", "0: all cores", 0, 1024},
        {"json", OPTION_FLAG, &c.json, NULL, "one JSON object", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    if (!command_parse(argc, argv, table, usage, &n_rest, &exit_code)) return exit_code;
    status s = options_complete(&o, &c, n_rest, argv, &err);
    if (s == OK) s = mapping_guard_install(&err);
    if (s == OK) s = compare_run(&o, &c, &err);
    return s == OK ? EXIT_DONE : command_fail("compare", &err);
}
