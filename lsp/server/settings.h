/* What may be set, by whom. One row per setting: data, not code.
 *
 * A workspace can set what changes taste; endpoint, model, backend and process options are taken
 * from the user's own initializationOptions, the command line and the files of user and machine,
 * because editors merge files of the workspace into what they send. One thread. */
#ifndef LSP_SERVER_SETTINGS_H
#define LSP_SERVER_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "base/text.h"

struct settings {
    bool enabled;
    bool popup;              /* offer textDocument/completion; see initialize */
    bool status;             /* send dbrx/status */
    bool warm;               /* compute prompts before they are asked for */
    int64_t budget_tokens;   /* of a prompt */
    const json_t *languages; /* array of language ids; NULL or empty: all */
    const json_t *exclude;   /* array of shell patterns over relative paths, or NULL */
};

/* The client's initializationOptions, its workspace/configuration, a configuration file. */
enum setting_source { SETTING_FROM_CLIENT = 1, SETTING_FROM_WORKSPACE = 2, SETTING_FROM_FILE = 4 };

struct setting {
    const char *name;
    json_type type; /* JSON_TRUE stands for both booleans */
    size_t offset;  /* in struct settings; SIZE_MAX: read elsewhere */
    unsigned from;  /* setting_sources it may come from */
    int64_t low, high;
    const char *help;
};

const struct setting *setting_at(size_t i); /* NULL past the end */

void settings_default(struct settings *out);

/* Applies `object` over *out; it must outlive *out. What is unknown, of a wrong type or not allowed
 * from there is left out and named in `refused`, comma-separated. */
void settings_apply(struct settings *out, json_t *object, enum setting_source source,
                    buffer *refused);

/* ERR_FORMAT names the first value that settings_apply would refuse. */
status settings_check(json_t *object, enum setting_source source, error *err);

/* Makes the setting "exclude" hold for everything that reads files (exclude.h), beside what the
 * environment's DBRX_EXCLUDE names. */
void settings_exclude(const struct settings *s);

/* NULL, or why these settings rule a document out; static. The first of completions alone. */
const char *settings_refusal(const struct settings *s, text language_id);
const char *settings_exclusion(const struct settings *s, text path);

#endif
