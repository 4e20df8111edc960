/* dbrx-ls tokenize: text on stdin to token ids on stdout. */
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "lsp/cli/command.h"
#include "tokenizer/tokenizer.h"

enum { CHUNK_BYTES = 65536 };

/* One id a line, or one JSON array; written in chunks, since a large text has many ids. */
static status ids_write(const token_list *ids, bool json, error *err)
{
    char chunk[CHUNK_BYTES];
    size_t size = 0;
    if (json) chunk[size++] = '[';
    for (size_t i = 0; i < ids->n; i++) {
        if (json && i) chunk[size++] = ',';
        size += (size_t)snprintf(chunk + size, 16, "%d", ids->ids[i]);
        if (!json) chunk[size++] = '\n';
        if (size < CHUNK_BYTES - 32) continue;
        status s = command_write((text){chunk, size}, err);
        if (s != OK) return s;
        size = 0;
    }
    if (json) size += (size_t)snprintf(chunk + size, 16, "]\n");
    return command_write((text){chunk, size}, err);
}

static status tokenize(const char *model, bool specials, bool json, error *err)
{
    tokenizer *t = NULL;
    buffer input = {0};
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
    if (ids.failed)
        s = fail(err, ERR_MEMORY, "stdin: out of memory for the ids of %zu bytes", input.size);
    else
        s = ids_write(&ids, json, err);
out:
    token_list_free(&ids);
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
