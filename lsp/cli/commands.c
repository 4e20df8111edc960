/* The table of subcommands, in the order of --help and README. */
#include "lsp/cli/command.h"

#include <stddef.h>

const struct command commands[] = {
    {NULL, NULL, NULL},
};
