/* Settings of the machine and of its user, behind the environment, for every command:
 * $XDG_CONFIG_HOME/dbrx-ls/config.json, and behind it /etc/dbrx-ls/config.json.
 *
 * One object with the names that initializationOptions have (lsp/README.md), and `apiKey`. A file that
 * cannot be understood whole is an error: what else it says may be an endpoint that was meant to be the
 * only one, or files to leave alone. */
#ifndef LSP_CLI_CONFIGURATION_H
#define LSP_CLI_CONFIGURATION_H

#include <jansson.h>

#include "base/error.h"
#include "base/text.h"

struct configuration_file {
    buffer path;
    json_t *settings; /* NULL: there is no such file */
};

struct configuration {
    struct configuration_file user, system; /* the user's goes before the machine's */
};

/* Reads both, and adds what they exclude to the environment's DBRX_EXCLUDE, for this process and those it
 * starts; so before there are threads. ERR_IO, ERR_FORMAT, ERR_LIMIT name the file, and *out is empty. */
status configuration_read(struct configuration *out, error *err);

/* The same from any two files, without touching the environment. */
status configuration_read_files(struct configuration *out, const char *user, const char *system,
                                error *err);
void configuration_free(struct configuration *c);

/* A text, NULL when it is not set or empty; a number, 0 when it is not set. */
const char *configuration_text(const struct configuration_file *f, const char *name);
const char *configuration_nearest(const struct configuration *c,
                                  const char *name); /* the user's first */
int64_t configuration_integer(const struct configuration_file *f, const char *name);

#endif
