/* `dbrx-ls serve`: the engine process. Options in, service out; the service itself is a room of its
 * own. It outlives the editor that started it: it leaves by itself when it is idle. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "inference/mapping_guard.h"
#include "inference/service/service.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/numbers.h"

static const char usage[] =
    "usage: dbrx-ls serve [--socket PATH | --port N] [OPTIONS]\n\n"
    "Runs the engine behind an OpenAI-compatible API, by default on the Unix socket that all\n"
    "editors of this user share. With --port the access key is taken from DBRX_API_KEY.";

enum { IDLE_LOCAL_S = 60 };

/* "never" or seconds. Without the option a shared local engine leaves after a minute, and a port
 * that somebody configured stays. */
static status idle_parse(int64_t *out, const char *value, bool tcp, error *err)
{
    char *end;
    *out = tcp ? -1 : IDLE_LOCAL_S;
    if (!value) return OK;
    *out = -1;
    if (strcmp(value, "never") == 0) return OK;
    errno = 0;
    long long seconds = strtoll(value, &end, 10);
    if (errno || end == value || *end || seconds < 1 || seconds > INT_MAX)
        return fail(err, ERR_USAGE, "--idle: found \"%s\", expected seconds from 1 or \"never\"",
                    value);
    *out = seconds;
    return OK;
}

static status options_check(const struct service_options *o, int n_rest, char **argv, error *err)
{
    if (n_rest) return fail(err, ERR_USAGE, "unexpected argument \"%s\" (see --help)", argv[1]);
    if (o->port >= 0 && o->socket_path)
        return fail(err, ERR_USAGE, "--socket and --port exclude each other");
    if (o->host && o->port < 0) return fail(err, ERR_USAGE, "--host needs --port");
    return OK;
}

int command_serve(int argc, char **argv)
{
    struct service_options o = {.backend = "auto"};
    int64_t port = -1, n_threads = 0, kv_tokens = 0, lock_fd = -1;
    const char *model = NULL, *idle = NULL, *weights = NULL;
    const struct command_option options[] = {
        {"socket", OPTION_TEXT, &o.socket_path, "PATH", "listen on this Unix socket", 0, 0},
        {"port", OPTION_INTEGER, &port, "N", "listen on this TCP port (0: any free one)", 0, 65535},
        {"host", OPTION_TEXT, &o.host, "ADDRESS", "with --port: a loopback address", 0, 0},
        {"model", OPTION_TEXT, &model, "DIR", "model directory (default: DBRX_MODEL)", 0, 0},
        {"backend", OPTION_TEXT, &o.backend, "NAME", "auto, cpu or reference", 0, 0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "compute threads (0: all cores)", 0, 1024},
        {"kv-tokens", OPTION_INTEGER, &kv_tokens, "N", "tokens the KV pool holds (0: 4 contexts)",
         0, INT64_C(1) << 40},
        {"weights", OPTION_TEXT, &weights, "NAME", "quantise while loading: fp8, int8 or int4", 0,
         0},
        {"save", OPTION_TEXT, &o.save_dir, "DIR", "with --weights: keep them there for next time",
         0, 0},
        {"idle", OPTION_TEXT, &idle, "SECONDS", "leave when unused so long, or \"never\"", 0, 0},
        {"lock-fd", OPTION_INTEGER, &lock_fd, "N", "inherited descriptor of the engine's lock", 0,
         INT_MAX},
        {0}};
    int n_rest, exit_code;
    static buffer found; /* not freed: after a failure the loader may still read it */
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    o.port = (int)port;
    o.n_threads = (int32_t)n_threads;
    o.kv_tokens = kv_tokens;
    o.lock_fd = (int)lock_fd;
    o.api_key = getenv("DBRX_API_KEY");
    o.model_dir = model_find(model, &found);
    status s = options_check(&o, n_rest, argv, &err);
    if (s == OK && weights) s = weights_parse(&o.weights, weights, "--weights", &err);
    if (s == OK && o.save_dir && !weights) s = fail(&err, ERR_USAGE, "--save needs --weights");
    if (s == OK) s = idle_parse(&o.idle_s, idle, o.port >= 0, &err);
    if (s == OK) s = mapping_guard_install(&err);
    if (s == OK) s = service_run(&o, &err);
    exit_code = s == OK ? EXIT_DONE : command_fail(argv[0], &err);
    return exit_code;
}
