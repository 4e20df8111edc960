/* The table of subcommands, in the order of --help and README. */
#include "lsp/cli/command.h"

#include <stddef.h>

const struct command commands[] = {
    {"tokenize", command_tokenize, "token ids of the text on stdin"},
    {"detokenize", command_detokenize, "text of the token ids on stdin"},
    {NULL, NULL, NULL},
};
