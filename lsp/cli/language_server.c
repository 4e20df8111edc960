/* No subcommand: the language server on stdin and stdout. */
#include <malloc.h>
#include <unistd.h>

#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/server/server.h"

static const char usage[] =
    "usage: dbrx-ls [OPTIONS]\n\n"
    "The language server: LSP over stdin and stdout, started by an editor. Settings and custom\n"
    "messages are described in lsp/README.md; DBRX_LOG=debug writes a log to stderr.";

static struct engine_choice choice_of(const struct configuration_file *f)
{
    return (struct engine_choice){
        .model_dir = configuration_text(f, "model"),
        .endpoint = configuration_text(f, "endpoint"),
        .backend = configuration_text(f, "backend"),
        .idle = configuration_text(f, "idle"),
        .ca_file = configuration_text(f, "caFile"),
        .n_threads = (int32_t)configuration_integer(f, "threads"),
    };
}

/* An editor is served also with a faulty file: without an engine, and told why. */
static void configure(struct server_options *o, struct configuration *c, error *err)
{
    if (configuration_read(c, err) != OK) o->fault = err->message;
    o->behind[1] = choice_of(&c->user);
    o->behind[2] = choice_of(&c->system);
    o->files[0] = c->system.settings;
    o->files[1] = c->user.settings;
    if (!o->api_key) o->api_key = configuration_nearest(c, "apiKey");
}

/* One heap for all threads. glibc gives each thread of the pool its own, and each keeps what one large
 * document or gathering needed once; large blocks go back to the system, however large others were. */
static void memory_share(void)
{
#ifdef M_ARENA_MAX
    enum { LARGE_BYTES = 128 << 10 };
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
#endif
}

int command_language_server(int argc, char **argv)
{
    struct server_options options = {
        .input_fd = STDIN_FILENO,
        .output_fd = STDOUT_FILENO,
        .behind = {{.model_dir = environment_get("DBRX_MODEL"),
                    .endpoint = environment_get("DBRX_ENDPOINT"),
                    .ca_file = environment_get("DBRX_CA_FILE")}},
        .api_key = environment_get("DBRX_API_KEY"),
    };
    struct configuration configuration;
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
        {"trace", OPTION_TEXT, &options.trace_directory, "DIR",
         "keep what editor and server say, documents included, for `dbrx-ls replay`", 0, 0},
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
    memory_share();
    error fault;
    configure(&options, &configuration, &fault);
    if (server_run(&exit_code, &options, &err) != OK)
        exit_code = command_fail("language server", &err);
    configuration_free(&configuration);
    return exit_code;
}
