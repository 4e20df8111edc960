/* The table of subcommands, in the order of --help and README. */
#include "lsp/cli/command.h"

#include <stddef.h>

const struct command commands[] = {
    {"tokenize", command_tokenize, "token ids of the text on stdin"},
    {"detokenize", command_detokenize, "text of the token ids on stdin"},
    {"prompt", command_prompt, "show what the model would be asked for a completion"},
    {NULL, NULL, NULL},
};
