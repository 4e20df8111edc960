/* `dbrx-ls logits`: all logits rows of a text given as ids, the oracle other programs compare with.
 * Rows are printed as they are computed; a long text never lies in memory as JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inference/logits.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/numbers.h"

static const char usage[] = "usage: dbrx-ls logits --model DIR --tokens 1,2,3 [OPTIONS]\n\n"
                            "Prints the logits behind every token, one row per line; with --json\n"
                            "{\"logits\": [[...], ...]}. Activations are fp32. Needs no tokenizer.";

struct printer {
    bool json;
};

static status row_print(void *context, size_t i, const float *row, const struct model_shape *shape,
                        error *err)
{
    const struct printer *p = context;
    const char *separator = p->json ? ", " : " ";
    if (p->json) fputs(i == 0 ? "{\"logits\": [[" : ",\n[", stdout);
    for (int32_t j = 0; j < shape->vocab_size; j++)
        printf("%s%.9g", j ? separator : "", (double)row[j]);
    fputs(p->json ? "]" : "\n", stdout);
    return ferror(stdout) ? fail(err, ERR_IO, "cannot write to stdout: %s", strerror(errno)) : OK;
}

static status logits_run(const struct logits_options *options, const char *tokens,
                         struct printer *p, error *err)
{
    token_list ids = {0};
    status s = ids_given(&ids, tokens, "--tokens", err);
    if (s == OK) s = logits_each(options, ids.ids, ids.n, row_print, p, err);
    if (s == OK && p->json) fputs("]}\n", stdout);
    if (s == OK && fflush(stdout) != 0)
        s = fail(err, ERR_IO, "cannot write to stdout: %s", strerror(errno));
    token_list_free(&ids);
    return s;
}

int command_logits(int argc, char **argv)
{
    error err;
    int n_rest, exit_code;
    int64_t n_threads = 0;
    const char *tokens = NULL, *kv = "f32", *weights = NULL;
    struct printer p = {false};
    /* An oracle keeps K and V in fp32, which the GPU's backend has not. */
    struct logits_options options = {.backend = "cpu"};
    const struct command_option table[] = {
        {"model", OPTION_TEXT, &options.model_dir, "DIR", "model directory (or DBRX_MODEL)", 0, 0},
        {"tokens", OPTION_TEXT, &tokens, "IDS", "1,2,3, or - to read them from stdin", 0, 0},
        {"json", OPTION_FLAG, &p.json, NULL, "one JSON object", 0, 0},
        {"backend", OPTION_TEXT, &options.backend, "NAME", "auto, cpu, cuda or reference", 0, 0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "0: all cores", 0, 1024},
        {"weights", OPTION_TEXT, &weights, "NAME", "quantise while loading: fp8, int8 or int4", 0,
         0},
        {"kv", OPTION_TEXT, &kv, "TYPE", "f32 (default), bf16 or e4m3", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    if (!command_parse(argc, argv, table, usage, &n_rest, &exit_code)) return exit_code;
    options.n_threads = (int32_t)n_threads;
    status s = kv_type_parse(&options.kv_type, "--kv", kv, &err);
    if (s == OK && weights) s = weights_parse(&options.weights, weights, "--weights", &err);
    if (s == OK && n_rest > 0)
        s = fail(&err, ERR_USAGE, "unexpected argument \"%s\" (see --help)", argv[1]);
    struct configuration files = {0};
    if (s == OK) s = configuration_read(&files, &err);
    if (s == OK && !options.model_dir) options.model_dir = model_configured(&files);
    if (s == OK && !options.model_dir) s = fail(&err, ERR_USAGE, "--model DIR is missing");
    if (s == OK) s = logits_run(&options, tokens, &p, &err);
    configuration_free(&files);
    return s == OK ? EXIT_DONE : command_fail("logits", &err);
}
