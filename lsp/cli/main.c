/* The one entry: picks a subcommand's row; without one, the language server over stdio. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lsp/cli/command.h"

/* README's table of commands; tests/check/readme.py keeps both the same. */
static int print_table(void)
{
    printf("| command | what it does |\n|---|---|\n");
    for (const struct command *c = commands; c->name; c++)
        printf("| `dbrx-ls %s` | %s |\n", c->name, c->summary);
    return EXIT_DONE;
}

static int print_help(void)
{
    printf("usage: dbrx-ls [COMMAND] [OPTIONS]\n\n"
           "Without a command: the language server, LSP over stdio; its options are --model DIR,\n"
           "--endpoint URL, --backend NAME, --threads N, --idle SECONDS. Commands:\n");
    for (const struct command *c = commands; c->name; c++)
        printf("  %-14s %s\n", c->name, c->summary);
    printf("\nEvery command has --help. dbrx-ls --version prints the version.\n");
    return EXIT_DONE;
}

/* A driver that has lost its device may never return from what it does at exit. */
static int ended(int exit_code)
{
    if (exit_code != EXIT_DEVICE) return exit_code;
    fflush(NULL);
    _Exit(exit_code);
}

int main(int argc, char **argv)
{
    /* A peer that went away, or a file that may not grow, is an error of a write, not our end. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (argc == 3 && strcmp(argv[1], "help") == 0 && strcmp(argv[2], "--markdown") == 0)
        return print_table();
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0))
        return print_help();
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("dbrx-ls %s\n", DBRX_VERSION);
        return EXIT_DONE;
    }
    /* Options without a command belong to the language server. */
    if (argc == 1 || strncmp(argv[1], "--", 2) == 0) return command_language_server(argc, argv);
    for (const struct command *c = commands; c->name; c++)
        if (strcmp(c->name, argv[1]) == 0) return ended(c->run(argc - 1, argv + 1));
    fprintf(stderr, "dbrx-ls: no command \"%s\" (see --help)\n", argv[1]);
    return EXIT_USAGE;
}
