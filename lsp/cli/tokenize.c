/* dbrx-ls tokenize: text on stdin to token ids on stdout. */
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "lsp/cli/command.h"
#include "tokenizer/tokenizer.h"

/* One line per id, or one JSON array. */
static void ids_print(buffer *out, const token_list *ids, bool json)
{
    if (json) buffer_put_char(out, '[');
    for (size_t i = 0; i < ids->n; i++)
        buffer_print(out, json ? (i ? ",%d" : "%d") : "%d\n", ids->ids[i]);
    if (json) buffer_put_text(out, TEXT("]\n"));
}

static status tokenize(const char *model, bool specials, bool json, error *err)
{
    tokenizer *t = NULL;
    buffer input = {0}, output = {0};
    token_list ids = {0};
    status s = tokenizer_open(&t, model, err);
    if (s != OK) goto out;
    if ((s = stream_read(&input, STDIN_FILENO, TOKENIZE_INPUT_MAX, err)) != OK) {
        s = fail_in(err, s, "stdin");
        goto out;
    }
    if (specials)
        tokenizer_encode_specials(t, &ids, buffer_text(&input));
    else
        tokenizer_encode(t, &ids, buffer_text(&input));
    ids_print(&output, &ids, json);
    if (ids.failed || output.failed)
        s = fail(err, ERR_MEMORY, "stdin: out of memory for the ids of %zu bytes", input.size);
    else
        s = command_write(buffer_text(&output), err);
out:
    token_list_free(&ids);
    buffer_free(&output);
    buffer_free(&input);
    tokenizer_close(t);
    return s;
}

int command_tokenize(int argc, char **argv)
{
    const char *model = NULL;
    bool json = false, specials = false;
    int n_rest, exit_code;
    error err;
    const struct command_option options[] = {
        {.name = "model",
         .type = OPTION_TEXT,
         .value = &model,
         .argument = "DIR",
         .help = "tokenizer of this model directory (default: cl100k with DBRX's specials)"},
        {.name = "json", .type = OPTION_FLAG, .value = &json, .help = "one JSON array of ids"},
        {.name = "specials",
         .type = OPTION_FLAG,
         .value = &specials,
         .help = "spelt-out specials such as <|im_end|> become their ids"},
        {.name = NULL},
    };
    if (!command_parse(argc, argv, options,
                       "usage: dbrx-ls tokenize [OPTIONS] < TEXT\n\n"
                       "Prints the token ids of stdin, one a line.",
                       &n_rest, &exit_code))
        return exit_code;
    status s = n_rest ? fail(&err, ERR_USAGE, "unexpected \"%s\": the text comes on stdin", argv[1])
                      : tokenize(model, specials, json, &err);
    return s == OK ? EXIT_DONE : command_fail("tokenize", &err);
}
