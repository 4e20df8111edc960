/* `dbrx-ls serve`: the engine process. Options in, service out; the service itself is a room of its
 * own. It outlives the editor that started it: it leaves by itself when it is idle. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/paths.h"
#include "inference/mapping_guard.h"
#include "inference/service/keys.h"
#include "inference/service/service.h"
#include "lsp/cli/command.h"
#include "lsp/cli/engine_settings.h"
#include "lsp/cli/numbers.h"

static const char usage[] =
    "usage: dbrx-ls serve [--socket PATH | --port N] [OPTIONS]\n\n"
    "Runs the engine behind an OpenAI-compatible API, by default on the Unix socket that all\n"
    "editors of this user share. On a TCP port every request needs an access key: one of the key\n"
    "file, which `dbrx-ls key` keeps (keys in the user's configuration directory, else\n"
    "/etc/dbrx-ls/keys), or the one in DBRX_API_KEY. Beyond loopback it needs TLS too.";

enum { IDLE_LOCAL_S = 60, DRAIN_S = 10, PATIENCE_S = 30 };

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

/* The second tier of KV lies in a file of the user's cache directory. Off by default: on a CPU both
 * tiers are this machine's memory or disk, and gigabytes on somebody's disk are theirs to grant. */
static status host_prepare(struct service_options *o, buffer *directory, error *err)
{
    if (o->host_tokens == 0 && o->host_bytes == 0) return OK;
    status s = path_cache(directory, "", err);
    if (s == OK) o->host_directory = directory->bytes;
    return s;
}

static status options_check(const struct service_options *o, int n_rest, char **argv, error *err)
{
    if (n_rest) return fail(err, ERR_USAGE, "unexpected argument \"%s\" (see --help)", argv[1]);
    if (o->port >= 0 && o->socket_path)
        return fail(err, ERR_USAGE, "--socket and --port exclude each other");
    if (o->host && o->port < 0) return fail(err, ERR_USAGE, "--host needs --port");
    if (o->inherited && (o->port >= 0 || o->socket_path))
        return fail(err, ERR_USAGE,
                    "a socket was passed (LISTEN_FDS): --port and --socket do not go "
                    "with it");
    if (!o->tls_certificate != !o->tls_key)
        return fail(err, ERR_USAGE, "--tls-cert and --tls-key belong together");
    if ((o->tls_certificate || o->keys_path || o->allowed_hosts) && o->port < 0 && !o->inherited)
        return fail(err, ERR_USAGE, "--tls-cert, --keys and --allowed-host need --port");
    return OK;
}

/* The key file: the one named, else the usual one if it is there. */
static status keys_choose(struct service_options *o, buffer *found, error *err)
{
    if (o->keys_path || (o->port < 0 && !o->inherited)) return OK;
    status s = keys_path(found, err);
    if (s == OK && file_exists(found->bytes)) o->keys_path = found->bytes;
    return o->api_key ? OK : s;
}

/* Options that are words with a meaning. */
struct serve_words {
    const char *idle, *kv_type, *weights;
};

static status words_parse(struct service_options *o, const struct serve_words *w, error *err)
{
    status s = OK;
    o->kv_served = !w->kv_type;
    if (w->weights) s = weights_parse(&o->weights, w->weights, "--weights", err);
    if (s == OK && o->save_dir && !w->weights) s = fail(err, ERR_USAGE, "--save needs --weights");
    if (s == OK && w->kv_type) s = kv_type_parse(&o->kv_type, "--kv-type", w->kv_type, err);
    return s == OK ? idle_parse(&o->idle_s, w->idle, o->port >= 0 || o->inherited, err) : s;
}

/* What a front would have said, from the files that it reads; of them only what serves here, too. Never
 * freed: after a failure the loader may still read it. */
static status configure(struct service_options *o, const char *model, error *err)
{
    static struct configuration files;
    static buffer found;
    status s = configuration_read(&files, err);
    if (s != OK) return s;
    o->model_dir = model_find(model ? model : model_configured(&files), &found);
    if (!o->backend) o->backend = configuration_nearest(&files, "backend");
    if (!o->backend) o->backend = "auto";
    if (!o->n_threads) o->n_threads = (int32_t)configuration_integer(&files.user, "threads");
    if (!o->n_threads) o->n_threads = (int32_t)configuration_integer(&files.system, "threads");
    return OK;
}

int command_serve(int argc, char **argv)
{
    struct service_options o = {.drain_s = DRAIN_S, .patience_s = PATIENCE_S};
    int64_t port = -1, n_threads = 0, lock_fd = -1, gpu = 0, max_seqs = 0;
    const char *model = NULL;
    struct serve_words w = {0};
    const struct command_option options[] = {
        {"socket", OPTION_TEXT, &o.socket_path, "PATH", "listen on this Unix socket", 0, 0},
        {"port", OPTION_INTEGER, &port, "N", "listen on this TCP port (0: any free one)", 0, 65535},
        {"host", OPTION_TEXT, &o.host, "ADDRESS", "address of --port (default: 127.0.0.1)", 0, 0},
        {"keys", OPTION_TEXT, &o.keys_path, "FILE", "access keys, kept by `dbrx-ls key`", 0, 0},
        {"tls-cert", OPTION_TEXT, &o.tls_certificate, "FILE", "certificate and its chain, PEM", 0,
         0},
        {"tls-key", OPTION_TEXT, &o.tls_key, "FILE", "the certificate's private key, PEM", 0, 0},
        {"allowed-host", OPTION_TEXT, &o.allowed_hosts, "NAMES",
         "more names of this engine in Host, comma between", 0, 0},
        {"model", OPTION_TEXT, &model, "DIR", "model directory (default: DBRX_MODEL)", 0, 0},
        {"backend", OPTION_TEXT, &o.backend, "NAME", "auto, cpu, cuda or reference", 0, 0},
        {"threads", OPTION_INTEGER, &n_threads, "N", "compute threads (0: all cores)", 0, 1024},
        {"kv-tokens", OPTION_INTEGER, &o.kv_tokens, "N", "tokens the KV pool holds (0: 4 contexts)",
         0, INT64_C(1) << 40},
        {"weights", OPTION_TEXT, &w.weights, "NAME", "quantise while loading: fp8, int8 or int4", 0,
         0},
        {"save", OPTION_TEXT, &o.save_dir, "DIR", "with --weights: keep them there for next time",
         0, 0},
        {"kv-type", OPTION_TEXT, &w.kv_type, "TYPE",
         "KV as f32, bf16 or e4m3 (default bf16, on a GPU e4m3)", 0, 0},
        {"memory", OPTION_SIZE, &o.memory_bytes, "SIZE",
         "the most to take, mapped weights apart: sizes the KV pool", 0, 0},
        {"memory-fraction", OPTION_NUMBER, &o.memory_fraction, "X",
         "of the free memory (on a GPU 0.98, else all)", 0, 0},
        {"device", OPTION_INTEGER, &gpu, "N", "which GPU, from 0", 0, 63},
        {"deterministic", OPTION_FLAG, &o.deterministic, NULL,
         "on a GPU: bit-identical answers whatever shares a step; slower", 0, 0},
        {"device-patience", OPTION_INTEGER, &o.patience_s, "SECONDS",
         "ends when a GPU call has not returned for so long (30)", 1, 86400},
        {"max-seqs", OPTION_INTEGER, &max_seqs, "N", "requests that share a step (default: 64)", 1,
         ENGINE_SEQUENCES_MAX},
        {"host-tokens", OPTION_INTEGER, &o.host_tokens, "N",
         "tokens of KV kept behind the pool, on disk, for a GPU in memory (0: none)", 0,
         INT64_C(1) << 40},
        {"host-memory", OPTION_SIZE, &o.host_bytes, "SIZE", "the same as a size", 0, 0},
        {"idle", OPTION_TEXT, &w.idle, "SECONDS", "leave when unused so long, or \"never\"", 0, 0},
        {"drain", OPTION_INTEGER, &o.drain_s, "SECONDS", "for running answers after SIGTERM (10)",
         0, 86400},
        {"lock-fd", OPTION_INTEGER, &lock_fd, "N", "inherited descriptor of the engine's lock", 0,
         INT_MAX},
        {0}};
    int n_rest, exit_code;
    static buffer host, keys; /* not freed: after a failure the loader may still read them */
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    o.port = (int)port;
    o.n_threads = (int32_t)n_threads;
    o.gpu = (int32_t)gpu;
    o.seqs_max = (int32_t)max_seqs;
    o.lock_fd = (int)lock_fd;
    o.api_key = environment_get("DBRX_API_KEY");
    const char *listener = environment_get("LISTEN_PID");
    o.inherited = listener && strtol(listener, NULL, 10) == getpid();
    status s = options_check(&o, n_rest, argv, &err);
    if (s == OK) s = configure(&o, model, &err);
    if (s == OK) s = words_parse(&o, &w, &err);
    if (s == OK) s = host_prepare(&o, &host, &err);
    if (s == OK) s = keys_choose(&o, &keys, &err);
    if (s == OK) s = mapping_guard_install(&err);
    if (s == OK) s = service_run(&o, &err);
    exit_code = s == OK ? EXIT_DONE : command_fail(argv[0], &err);
    return exit_code;
}
