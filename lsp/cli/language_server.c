/* No subcommand: the language server on stdin and stdout. */
#include <unistd.h>

#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/server/server.h"

static const char usage[] =
    "usage: dbrx-ls [OPTIONS]\n\n"
    "The language server: LSP over stdin and stdout, started by an editor. Settings and custom\n"
    "messages are described in lsp/README.md; DBRX_LOG=debug writes a log to stderr.";

int command_language_server(int argc, char **argv)
{
    struct server_options options = {
        .input_fd = STDIN_FILENO,
        .output_fd = STDOUT_FILENO,
        .environment = {.model_dir = environment_get("DBRX_MODEL"),
                        .endpoint = environment_get("DBRX_ENDPOINT"),
                        .ca_file = environment_get("DBRX_CA_FILE")},
        .api_key = environment_get("DBRX_API_KEY"),
    };
    bool stdio = false;
    int64_t n_threads = 0, client_process = 0;
    const struct command_option table[] = {
        {"model", OPTION_TEXT, &options.flags.model_dir, "DIR", "model of the local engine", 0, 0},
        {"endpoint", OPTION_TEXT, &options.flags.endpoint, "URL", "use this engine and no other", 0,
         0},
        {"ca-file", OPTION_TEXT, &options.flags.ca_file, "FILE",
         "certificates to trust for an https endpoint", 0, 0},
        {"backend", OPTION_TEXT, &options.flags.backend, "NAME", "auto, cpu, cuda or reference", 0,
         0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "threads of the local engine", 1, 1024},
        {"idle", OPTION_TEXT, &options.flags.idle, "SECONDS",
         "when an unused local engine ends, or never", 0, 0},
        {"stdio", OPTION_FLAG, &stdio, NULL, "the only transport: accepted and ignored", 0, 0},
        {"clientProcessId", OPTION_INTEGER, &client_process, "PID",
         "as some clients pass it: initialize says the same", 0, 0},
        {NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
    };
    int n_rest, exit_code;
    error err;
    if (!command_parse(argc, argv, table, usage, &n_rest, &exit_code)) return exit_code;
    if (n_rest > 0) {
        fail(&err, ERR_USAGE, "unexpected argument \"%s\"", argv[1]);
        return command_fail("language server", &err);
    }
    options.flags.n_threads = (int32_t)n_threads;
    if (server_run(&exit_code, &options, &err) != OK) return command_fail("language server", &err);
    return exit_code;
}
