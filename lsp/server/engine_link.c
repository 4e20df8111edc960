/* Which engine is used, and with what settings. A level that names a model or an endpoint hides
 * both of the levels below it: "this model" must never end at another machine. */
#include <stdio.h>

#include "base/log.h"
#include "lsp/server/state.h"

static void choice_add(struct engine_client_options *out, const struct engine_choice *level)
{
    if (!out->model_dir && !out->endpoint) {
        out->model_dir = level->model_dir;
        out->endpoint = level->endpoint;
    }
    if (!out->backend) out->backend = level->backend;
    if (!out->idle) out->idle = level->idle;
    if (!out->ca_file) out->ca_file = level->ca_file;
    if (out->n_threads == 0) out->n_threads = level->n_threads;
}

static const char *string_at(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value && value[0] ? value : NULL;
}

static void on_status(void *context, const struct engine_status *now)
{
    struct server *s = context;
    log_line(LOG_INFO, "engine: state %d %s", (int)now->state, now->reason);
    if (now->state != ENGINE_READY && now->state != ENGINE_DEGRADED) s->status.failure[0] = 0;
    status_changed(s);
    if (s->assistant) assistant_engine_changed(s->assistant);
    if (s->actions) actions_engine_changed(s->actions);
}

/* Who still rests there may ask again. */
static void on_late(void *context, uint64_t document_key)
{
    struct server *s = context;
    const document *d = documents_find_key(s->documents, document_key);
    if (d && s->can.dbrx_late)
        server_notify(s, "dbrx/late",
                      json_pack("{s:{s:o}}", "textDocument", "uri", text_json(d->uri)));
}

static void assistant_start(struct server *s)
{
    error err;
    const struct assistant_options options = {.loop = &s->loop,
                                              .client = s->client,
                                              .gatherer = s->gatherer,
                                              .budget_tokens = (size_t)s->settings.budget_tokens,
                                              .no_warming = !s->settings.warm,
                                              .on_late = on_late,
                                              .context = s};
    if (s->client && assistant_open(&s->assistant, &options, &err) != OK) {
        s->assistant = NULL;
        snprintf(s->engine_error, sizeof s->engine_error, "%.250s", err.message);
    }
}

static void actions_start(struct server *s)
{
    error err;
    const struct actions_options options = {
        .loop = &s->loop, .client = s->client, .gatherer = s->gatherer};
    if (s->client && actions_open(&s->actions, &options, &err) != OK)
        log_line(LOG_WARN, "%s", err.message);
    if (s->actions) actions_budget(s->actions, (size_t)s->settings.budget_tokens);
}

/* Without it prompts show the open file alone. */
static void gatherer_start(struct server *s)
{
    error err;
    size_t i;
    json_t *folder;
    if (gatherer_open(&s->gatherer, &s->loop, &err) != OK) {
        log_line(LOG_WARN, "%s", err.message);
        return;
    }
    json_array_foreach(s->folders, i, folder)
    {
        gatherer_add(s->gatherer, (text){json_string_value(folder), json_string_length(folder)});
    }
}

void assistant_reopen(struct server *s)
{
    if (s->assistant) {
        tally_assistant_ends(s);
        assistant_close(s->assistant);
    }
    s->assistant = NULL;
    assistant_start(s);
}

void server_engine_open(struct server *s)
{
    const json_t *given = s->init_options;
    const struct engine_choice user = {
        .model_dir = string_at(given, "model"),
        .endpoint = string_at(given, "endpoint"),
        .backend = string_at(given, "backend"),
        .idle = string_at(given, "idle"),
        .ca_file = string_at(given, "caFile"),
        .n_threads = (int32_t)json_integer_at(given, "threads", 0),
    };
    struct engine_client_options options = {
        .loop = &s->loop, .api_key = s->options->api_key, .on_status = on_status, .context = s};
    choice_add(&options, &s->options->flags);
    choice_add(&options, &user);
    for (size_t i = 0; i < CHOICES_BEHIND; i++) choice_add(&options, &s->options->behind[i]);
    s->engine = options;
    error err;
    status code = s->options->fault ? fail(&err, ERR_FORMAT, "%s", s->options->fault) : OK;
    if (code == OK) code = engine_client_open(&s->client, &options, &err);
    if (code != OK) {
        s->client = NULL;
        snprintf(s->engine_error, sizeof s->engine_error, "%.250s", err.message);
        log_line(LOG_ERROR, "engine: %s", err.message);
    }
    gatherer_start(s);
    assistant_start(s);
    actions_start(s);
    stage_open(s);
    tally_open(s);
    status_changed(s);
}

void settings_recompute(struct server *s)
{
    buffer refused = {0};
    struct settings before = s->settings;
    settings_default(&s->settings);
    for (size_t i = 0; i < SETTINGS_FILES; i++)
        settings_apply(&s->settings, s->options->files[i], SETTING_FROM_FILE, &refused);
    settings_apply(&s->settings, s->init_options, SETTING_FROM_CLIENT, &refused);
    settings_apply(&s->settings, s->workspace_settings, SETTING_FROM_WORKSPACE, &refused);
    settings_exclude(&s->settings);
    if (s->gatherer) gatherer_exclude(s->gatherer);
    judge_ask_all(s);
    if (refused.size && !refused.failed) {
        log_line(LOG_WARN, "settings not taken: %s", refused.bytes);
        status_note(s, "settings not taken", refused.bytes);
    }
    buffer_free(&refused);
    bool differs =
        s->settings.budget_tokens != before.budget_tokens || s->settings.warm != before.warm;
    if (s->client && differs) assistant_reopen(s);
    if (s->actions) actions_budget(s->actions, (size_t)s->settings.budget_tokens);
    status_changed(s);
}
