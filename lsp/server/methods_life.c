/* initialize to exit, and what a client may change in between. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

static void folder_add(struct server *s, text uri)
{
    buffer path = {0};
    uri_to_path(&path, uri);
    if (path.size > 1 && !path.failed) {
        json_array_append_new(s->folders, text_json(buffer_text(&path)));
        if (s->gatherer) gatherer_add(s->gatherer, buffer_text(&path));
    }
    buffer_free(&path);
}

static void folder_remove(struct server *s, text uri)
{
    buffer path = {0};
    uri_to_path(&path, uri);
    if (s->gatherer && !path.failed) gatherer_remove(s->gatherer, buffer_text(&path));
    for (size_t i = json_array_size(s->folders); i-- > 0 && !path.failed;) {
        const json_t *folder = json_array_get(s->folders, i);
        text known = {json_string_value(folder), json_string_length(folder)};
        if (text_equal(known, buffer_text(&path))) json_array_remove(s->folders, i);
    }
    buffer_free(&path);
}

static void folders_add(struct server *s, const json_t *folders)
{
    size_t i;
    json_t *folder;
    json_array_foreach(folders, i, folder) { folder_add(s, json_text_at(folder, "uri")); }
}

void method_initialize(struct server *s, const struct message *m)
{
    struct initialize_params p;
    if (!json_is_object(m->params)) {
        server_reply_error(s, m->id, RPC_INVALID_PARAMS, "initialize: params are an object");
        return;
    }
    initialize_read(&p, m->params);
    s->encoding = p.encoding;
    s->has_configuration = p.has_configuration;
    s->can = p.can;
    text language = human_language_name(p.locale);
    snprintf(s->human_language, sizeof s->human_language, "%s",
             language.size ? language.bytes : "");
    s->init_options = p.options ? json_deep_copy(p.options) : NULL;
    s->trace = p.trace.size > 0 && !text_is(p.trace, "off");
    folders_add(s, p.folders);
    if (json_array_size(p.folders) == 0) folder_add(s, p.root_uri);
    settings_recompute(s);
    bool popup = json_flag_at(p.options, "popup", !p.has_inline_completion);
    lifetime_watch(&s->lifetime, p.process_id); /* a client may end right behind its answer */
    server_reply(s, m->id, capabilities_json(s->encoding, popup, &s->can));
    s->phase = PHASE_RUNNING; /* before the reply nothing else may be sent */
    server_engine_open(s);
}

/* The settings live as long as what they point into, so the old ones go last. */
static void workspace_settings_take(struct server *s, const json_t *section)
{
    json_t *old = s->workspace_settings;
    s->workspace_settings = json_is_object(section) ? json_deep_copy(section) : NULL;
    settings_recompute(s);
    json_decref(old);
}

/* Of several questions only the newest one's answer counts. */
static void on_configuration(struct server *s, const struct message *m, void *context)
{
    if (m && (int64_t)(intptr_t)context == s->n_configurations)
        workspace_settings_take(s, json_array_get(m->result, 0));
}

static void configuration_ask(struct server *s)
{
    if (!s->has_configuration) return;
    int64_t n = ++s->n_configurations;
    server_request(s, "workspace/configuration",
                   json_pack("{s:[{s:s}]}", "items", "section", "dbrx"), on_configuration,
                   (void *)(intptr_t)n);
}

void method_initialized(struct server *s, const struct message *m)
{
    (void)m;
    configuration_ask(s);
}

void method_did_change_configuration(struct server *s, const struct message *m)
{
    const json_t *section = json_path(m->params, "settings.dbrx");
    if (section)
        workspace_settings_take(s, section);
    else
        configuration_ask(s);
}

void method_did_change_folders(struct server *s, const struct message *m)
{
    size_t i;
    json_t *folder;
    json_array_foreach(json_path(m->params, "event.removed"), i, folder)
    {
        folder_remove(s, json_text_at(folder, "uri"));
    }
    folders_add(s, json_path(m->params, "event.added"));
}

void method_set_trace(struct server *s, const struct message *m)
{
    text value = json_text_at(m->params, "value");
    s->trace = value.size > 0 && !text_is(value, "off");
}

/* What runs is answered first, so that the reply to shutdown is the last. */
void method_shutdown(struct server *s, const struct message *m)
{
    completions_cancel(s, 0);
    jobs_close(s);
    document *d;
    for (size_t i = 0; (d = documents_at(s->documents, i)); i++) popup_close(d);
    if (s->assistant) {
        tally_assistant_ends(s);
        assistant_close(s->assistant);
    }
    s->assistant = NULL;
    s->phase = PHASE_SHUT_DOWN;
    server_reply(s, m->id, NULL);
}

void method_exit(struct server *s, const struct message *m)
{
    (void)m;
    server_end(s, "exit");
}
