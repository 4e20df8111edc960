/* `dbrx-ls logits`: all logits rows of a text given as ids, the oracle other programs compare with.
 * Rows are printed as they are computed; a long text never lies in memory as JSON. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "inference/logits.h"
#include "lsp/cli/command.h"

static const char usage[] = "usage: dbrx-ls logits --model DIR --tokens 1,2,3 [OPTIONS]\n\n"
                            "Prints the logits behind every token, one row per line; with --json\n"
                            "{\"logits\": [[...], ...]}. Activations are fp32. Needs no tokenizer.";

struct printer {
    bool json;
};

static status ids_parse(token_list *out, text t, error *err)
{
    for (size_t at = 0; at < t.size; at++) {
        char *end;
        while (at < t.size && strchr(" \t\r\n,[]", t.bytes[at])) at++;
        if (at == t.size) break;
        errno = 0;
        long id = strtol(t.bytes + at, &end, 10);
        if (end == t.bytes + at || errno != 0 || id < 0 || id > INT32_MAX)
            return fail(err, ERR_USAGE, "--tokens: found \"%.20s\", expected ids such as 1,2,3",
                        t.bytes + at);
        token_list_put(out, (int32_t)id);
        at = (size_t)(end - t.bytes);
    }
    return out->failed ? fail(err, ERR_MEMORY, "--tokens: out of memory") : OK;
}

/* "-" reads stdin. */
static status ids_read(token_list *out, const char *tokens, error *err)
{
    buffer given = {0};
    status s = OK;
    if (!tokens)
        return fail(err, ERR_USAGE, "--tokens is missing: ids such as 1,2,3, or - for stdin");
    if (strcmp(tokens, "-") == 0)
        s = stream_read(&given, STDIN_FILENO, HTTP_BODY_MAX, err);
    else
        buffer_put_text(&given, text_of(tokens));
    if (s == OK && given.failed) s = fail(err, ERR_MEMORY, "--tokens: out of memory");
    if (s == OK) s = ids_parse(out, buffer_text(&given), err);
    buffer_free(&given);
    return s;
}

static status kv_parse(enum kv_type *out, const char *name, error *err)
{
    static const char *const names[] = {[KV_F32] = "f32", [KV_BF16] = "bf16", [KV_E4M3] = "e4m3"};
    for (int i = KV_F32; i <= KV_E4M3; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (enum kv_type)i;
        return OK;
    }
    return fail(err, ERR_USAGE, "--kv: found \"%s\", expected f32, bf16 or e4m3", name);
}

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
    status s = ids_read(&ids, tokens, err);
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
    const char *tokens = NULL, *kv = "f32";
    struct printer p = {false};
    /* An oracle keeps K and V in fp32, which the GPU's backend has not. */
    struct logits_options options = {.model_dir = getenv("DBRX_MODEL"), .backend = "cpu"};
    const struct command_option table[] = {
        {"model", OPTION_TEXT, &options.model_dir, "DIR", "model directory (or DBRX_MODEL)", 0, 0},
        {"tokens", OPTION_TEXT, &tokens, "IDS", "1,2,3, or - to read them from stdin", 0, 0},
        {"json", OPTION_FLAG, &p.json, NULL, "one JSON object", 0, 0},
        {"backend", OPTION_TEXT, &options.backend, "NAME", "auto, cpu, cuda or reference", 0, 0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "0: all cores", 0, 1024},
        {"kv", OPTION_TEXT, &kv, "TYPE", "f32 (default), bf16 or e4m3", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    if (!command_parse(argc, argv, table, usage, &n_rest, &exit_code)) return exit_code;
    options.n_threads = (int32_t)n_threads;
    status s = kv_parse(&options.kv_type, kv, &err);
    if (s == OK && n_rest > 0)
        s = fail(&err, ERR_USAGE, "unexpected argument \"%s\" (see --help)", argv[1]);
    if (s == OK && !options.model_dir) s = fail(&err, ERR_USAGE, "--model DIR is missing");
    if (s == OK) s = logits_run(&options, tokens, &p, &err);
    return s == OK ? EXIT_DONE : command_fail("logits", &err);
}
