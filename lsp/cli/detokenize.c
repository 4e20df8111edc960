/* dbrx-ls detokenize: token ids on stdin to bytes on stdout, the inverse of tokenize. */
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "lsp/cli/command.h"
#include "tokenizer/tokenizer.h"

static bool is_gap(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ','; }

/* Decimal digits only, 0 to limit - 1; -1 for anything else. */
static int64_t id_parse(text word, int32_t limit)
{
    int64_t id = 0;
    if (word.size == 0 || word.size > 9) return -1;
    for (size_t i = 0; i < word.size; i++) {
        if (word.bytes[i] < '0' || word.bytes[i] > '9') return -1;
        id = id * 10 + (word.bytes[i] - '0');
    }
    return id < limit ? id : -1;
}

/* Ids apart by white space or commas, or a JSON array of them. */
static status ids_parse(token_list *ids, text input, int32_t limit, error *err)
{
    input = text_trim(input);
    bool opened = text_starts(input, TEXT("[")), closed = text_ends(input, TEXT("]"));
    if (opened != closed)
        return fail(err, ERR_FORMAT, "stdin: found \"%c\" alone, expected a whole JSON array",
                    opened ? '[' : ']');
    if (opened) input = text_slice(input, 1, input.size - 1);
    for (size_t at = 0, end; at < input.size; at = end) {
        for (end = at; end < input.size && is_gap(input.bytes[end]);) end++;
        if (end > at) continue;
        while (end < input.size && !is_gap(input.bytes[end])) end++;
        text word = text_slice(input, at, end);
        int64_t id = id_parse(word, limit);
        if (id < 0)
            return fail(err, ERR_FORMAT, "stdin: id %zu: found \"%.*s\", expected 0 to %d",
                        ids->n + 1, word.size < 40 ? (int)word.size : 40, word.bytes, limit - 1);
        token_list_put(ids, (int32_t)id);
    }
    return ids->failed ? fail(err, ERR_MEMORY, "stdin: out of memory for the ids") : OK;
}

static status detokenize(const char *model, error *err)
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
    s = ids_parse(&ids, buffer_text(&input), tokenizer_vocabulary_size(t), err);
    if (s != OK) goto out;
    tokenizer_decode(t, &output, ids.ids, ids.n, true);
    if (output.failed)
        s = fail(err, ERR_MEMORY, "stdin: out of memory for the text of %zu ids", ids.n);
    else
        s = command_write(buffer_text(&output), err);
out:
    token_list_free(&ids);
    buffer_free(&output);
    buffer_free(&input);
    tokenizer_close(t);
    return s;
}

int command_detokenize(int argc, char **argv)
{
    const char *model = NULL;
    int n_rest, exit_code;
    error err;
    const struct command_option options[] = {
        {.name = "model",
         .type = OPTION_TEXT,
         .value = &model,
         .argument = "DIR",
         .help = "tokenizer of this model directory (default: cl100k with DBRX's specials)"},
        {.name = NULL},
    };
    if (!command_parse(argc, argv, options,
                       "usage: dbrx-ls detokenize [OPTIONS] < IDS\n\n"
                       "Writes the bytes of the ids on stdin: a JSON array, or numbers apart by "
                       "white space or commas.",
                       &n_rest, &exit_code))
        return exit_code;
    status s = n_rest ? fail(&err, ERR_USAGE, "unexpected \"%s\": the ids come on stdin", argv[1])
                      : detokenize(model, &err);
    return s == OK ? EXIT_DONE : command_fail("detokenize", &err);
}
