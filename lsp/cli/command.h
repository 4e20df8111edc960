/* Subcommands: one row and one file each.
 *
 * A subcommand gets its own arguments (argv[0] is its name) and returns the process's exit code:
 * 0 done, 1 failure, 2 wrong use, 3 a device fault. Errors are one line on stderr. */
#ifndef LSP_CLI_COMMAND_H
#define LSP_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct json_t; /* jansson's */

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DEVICE = 3 };

struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* one line of `dbrx-ls --help` and of README's table */
};

extern const struct command commands[]; /* ends with a row whose name is NULL */

/* Prints "dbrx-ls NAME: message" and returns the exit code that belongs to the error. */
int command_fail(const char *name, const error *err);

/* Writes all of it to stdout; ERR_IO with the reason when that fails (a full disk, a closed pipe). */
status command_write(text output, error *err);

/* Writes a JSON value and a newline to stdout, and lets go of it. NULL stands for memory that ran short
 * while it was made. */
status command_write_json(struct json_t *value, error *err);

/* Options: a table per subcommand, parsed by getopt_long's rules ("--name VALUE", "--name=VALUE"). */
enum option_type { OPTION_FLAG, OPTION_TEXT, OPTION_INTEGER, OPTION_NUMBER, OPTION_SIZE };

struct command_option {
    const char *name; /* without dashes */
    enum option_type type;
    void *value;          /* bool *, const char **, int64_t *, double *, int64_t * of bytes */
    const char *argument; /* "DIR", "N": for --help; NULL for flags */
    const char *help;
    int64_t low, high; /* range of OPTION_INTEGER, both 0: any */
};

/* Fills the values, moves what is no option to argv[1..] and sets *n_rest to their count. --help
 * prints `usage`, the table and returns false with *exit_code 0; wrong use prints one line and
 * returns false with *exit_code 2. The table ends with a row whose name is NULL. */
bool command_parse(int argc, char **argv, const struct command_option *options, const char *usage,
                   int *n_rest, int *exit_code);

int command_serve(int argc, char **argv);
int command_key(int argc, char **argv);
int command_complete(int argc, char **argv);
int command_explain(int argc, char **argv);
int command_refactor(int argc, char **argv);
int command_commit_message(int argc, char **argv);
int command_prompt(int argc, char **argv);
int command_index(int argc, char **argv);
int command_stats(int argc, char **argv);
int command_tokenize(int argc, char **argv);
int command_detokenize(int argc, char **argv);
int command_logits(int argc, char **argv);
int command_quantize(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_doctor(int argc, char **argv);
int command_replay(int argc, char **argv);
int command_language_server(int argc, char **argv); /* no subcommand: LSP over stdio */

#endif
