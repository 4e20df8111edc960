/* Which engine a subcommand uses, and where each of its settings comes from.
 *
 * Flags go before the environment, it before the user's file, that before the machine's; the level that
 * names a model or an endpoint decides about both, so that "this model" never ends at another machine.
 * The same rule as the language server's. */
#ifndef LSP_CLI_ENGINE_SETTINGS_H
#define LSP_CLI_ENGINE_SETTINGS_H

#include <stdint.h>

#include "base/text.h"
#include "kernels/kernels.h"
#include "lsp/cli/command.h"
#include "lsp/cli/configuration.h"
#include "lsp/client/engine_client.h"

enum engine_setting_source { FROM_DEFAULT, FROM_SYSTEM, FROM_USER, FROM_ENVIRONMENT, FROM_FLAG };

struct engine_settings {
    const char *model_dir, *endpoint; /* NULL: not given */
    const char *backend, *api_key;    /* NULL: auto, none */
    const char *ca_file;              /* NULL: the system's certificates */
    const char *idle;                 /* NULL: the engine's default */
    int64_t n_threads;                /* 0: the engine's default */
    enum engine_setting_source model_from, endpoint_from, backend_from, threads_from, api_key_from,
        ca_file_from;
    struct configuration configuration; /* whose texts the pointers above may be */
};

/* Rows of a command's option table. */
#define ENGINE_SETTINGS_OPTIONS(s)                                                                 \
    {"model", OPTION_TEXT, &(s)->model_dir, "DIR", "model of the local engine", 0, 0},             \
        {"endpoint", OPTION_TEXT, &(s)->endpoint, "URL", "use this engine and no other", 0, 0},    \
        {"ca-file", OPTION_TEXT, &(s)->ca_file, "FILE", "certificates to trust", 0, 0},            \
        {"backend", OPTION_TEXT, &(s)->backend, "NAME", "auto, cpu, cuda or reference", 0, 0},     \
    {                                                                                              \
        "threads", OPTION_INTEGER, &(s)->n_threads, "N", "threads of the local engine", 1, 1024    \
    }

/* Fills in what the flags, parsed before, have left to the levels behind them, and all sources. Errors
 * are those of configuration_read. */
status engine_settings_complete(struct engine_settings *s, error *err);
void engine_settings_free(struct engine_settings *s);

/* As the engine client wants them; loop and callbacks are the caller's to add. */
struct engine_client_options engine_settings_client(const struct engine_settings *s);

/* A variable's value; NULL when it is not set or empty. */
const char *environment_get(const char *name);

/* "f32", "bf16", "e4m3"; ERR_USAGE names the option. */
status kv_type_parse(enum kv_type *out, const char *option, const char *name, error *err);

/* The model that DBRX_MODEL or else a file names; NULL: none. */
const char *model_configured(const struct configuration *c);

/* Where the local engine finds its model: `given`, or what lies beside the program. NULL when there is
 * none; `found` keeps the bytes. */
const char *model_find(const char *given, buffer *found);

#endif
