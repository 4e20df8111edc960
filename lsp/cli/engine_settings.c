#include "lsp/cli/engine_settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/paths.h"

const char *environment_get(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

/* What one level says. */
struct level {
    const char *model_dir, *endpoint, *backend, *api_key, *ca_file, *idle;
    int64_t n_threads;
};

static struct level level_of_file(const struct configuration_file *f)
{
    return (struct level){
        .model_dir = configuration_text(f, "model"),
        .endpoint = configuration_text(f, "endpoint"),
        .backend = configuration_text(f, "backend"),
        .api_key = configuration_text(f, "apiKey"),
        .ca_file = configuration_text(f, "caFile"),
        .idle = configuration_text(f, "idle"),
        .n_threads = configuration_integer(f, "threads"),
    };
}

static void text_add(const char **value, enum engine_setting_source *source, const char *offered,
                     enum engine_setting_source from)
{
    if (*value || !offered) return;
    *value = offered;
    *source = from;
}

static void level_add(struct engine_settings *s, const struct level *l,
                      enum engine_setting_source from)
{
    if (!s->model_dir && !s->endpoint) {
        text_add(&s->model_dir, &s->model_from, l->model_dir, from);
        text_add(&s->endpoint, &s->endpoint_from, l->endpoint, from);
    }
    text_add(&s->backend, &s->backend_from, l->backend, from);
    text_add(&s->api_key, &s->api_key_from, l->api_key, from);
    text_add(&s->ca_file, &s->ca_file_from, l->ca_file, from);
    if (!s->idle) s->idle = l->idle;
    if (s->n_threads || !l->n_threads) return;
    s->n_threads = l->n_threads;
    s->threads_from = from;
}

status engine_settings_complete(struct engine_settings *s, error *err)
{
    const struct level flags = {.model_dir = s->model_dir,
                                .endpoint = s->endpoint,
                                .backend = s->backend,
                                .ca_file = s->ca_file,
                                .n_threads = s->n_threads};
    const struct level environment = {
        .model_dir = environment_get("DBRX_MODEL"),
        .endpoint = environment_get("DBRX_ENDPOINT"),
        .api_key = environment_get("DBRX_API_KEY"),
        .ca_file = environment_get("DBRX_CA_FILE"),
    };
    *s = (struct engine_settings){0};
    status code = configuration_read(&s->configuration, err);
    if (code != OK) return code;
    const struct level user = level_of_file(&s->configuration.user),
                       machine = level_of_file(&s->configuration.system);
    level_add(s, &flags, FROM_FLAG);
    level_add(s, &environment, FROM_ENVIRONMENT);
    level_add(s, &user, FROM_USER);
    level_add(s, &machine, FROM_SYSTEM);
    return OK;
}

void engine_settings_free(struct engine_settings *s)
{
    configuration_free(&s->configuration);
    *s = (struct engine_settings){0};
}

struct engine_client_options engine_settings_client(const struct engine_settings *s)
{
    return (struct engine_client_options){
        .endpoint = s->endpoint,
        .api_key = s->api_key,
        .ca_file = s->ca_file,
        .model_dir = s->model_dir,
        .backend = s->backend,
        .idle = s->idle,
        .n_threads = (int32_t)s->n_threads,
    };
}

status kv_type_parse(enum kv_type *out, const char *option, const char *name, error *err)
{
    static const char *const names[] = {[KV_F32] = "f32", [KV_BF16] = "bf16", [KV_E4M3] = "e4m3"};
    for (int i = KV_F32; i <= KV_E4M3; i++) {
        if (strcmp(names[i], name) != 0) continue;
        *out = (enum kv_type)i;
        return OK;
    }
    return fail(err, ERR_USAGE, "%s: found \"%s\", expected f32, bf16 or e4m3", option, name);
}

const char *model_configured(const struct configuration *c)
{
    const char *model = environment_get("DBRX_MODEL");
    return model ? model : configuration_nearest(c, "model");
}

const char *model_find(const char *given, buffer *found)
{
    static const char *const places[] = {"model", "../share/dbrx-ls/model"};
    if (given) return given;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (path_beside_program(found, places[i], NULL) == OK && directory_exists(found->bytes))
            return found->bytes;
    return NULL;
}
