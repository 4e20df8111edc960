/* One action of lsp/assistant from the command line: what `explain` and `refactor` share. One thread. */
#ifndef LSP_CLI_ACT_H
#define LSP_CLI_ACT_H

#include "lsp/assistant/action.h"
#include "lsp/cli/engine_run.h"
#include "lsp/cli/place.h"

struct act {
    /* Set by the caller; the rest zeroed. */
    const char *command;
    const struct action_row *row;
    const char *word;               /* FILE:START-END */
    const char *details, *language; /* NULL: none; from the locale */
    bool alone, quiet;              /* without the repository; nothing is shown before the end */
    double timeout_s;
    struct engine_settings settings;
    void (*on_prose)(struct act *a, text piece);
    /* The result is printed here; its status becomes the run's. */
    status (*on_result)(struct act *a, const struct action_result *result, error *err);
    /* Readable by the callbacks. */
    struct place place;
    struct document_view document;
    buffer prose; /* all of it so far */
    struct engine_run run;
    struct excerpts excerpts;
    const struct repository_map *map; /* NULL: none */
    actions *actions;
    action *handle;
};

/* Reads the place, waits for the engine, acts. A refusal is an error with its reason. */
status act_run(struct act *a, error *err);

/* "German" for --language de or German; of the user's locale when `given` is NULL. */
text act_language(const char *given);

/* Where an act's options begin: those both commands have. */
#define ACT_OPTIONS(a)                                                                             \
    {"file-alone", OPTION_FLAG, &(a)->alone, NULL, "without excerpts of the repository", 0, 0},    \
        {"language",                                                                               \
         OPTION_TEXT,                                                                              \
         &(a)->language,                                                                           \
         "NAME",                                                                                   \
         "of prose (default: the locale's), such as de or German",                                 \
         0,                                                                                        \
         0},                                                                                       \
        ENGINE_SETTINGS_OPTIONS(&(a)->settings),                                                   \
    {                                                                                              \
        "timeout", OPTION_NUMBER, &(a)->timeout_s, "SECONDS",                                      \
            "for engine and answer (default 600)", 0, 0                                            \
    }

#endif
