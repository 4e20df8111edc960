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

static enum setting_source source_of(const void *flag, const void *environment)
{
    return flag ? FROM_FLAG : environment ? FROM_ENVIRONMENT : FROM_DEFAULT;
}

void engine_settings_complete(struct engine_settings *s)
{
    bool chosen = s->model_dir || s->endpoint;
    const char *model_dir = chosen ? NULL : environment_get("DBRX_MODEL");
    const char *endpoint = chosen ? NULL : environment_get("DBRX_ENDPOINT");
    s->model_from = source_of(s->model_dir, model_dir);
    s->endpoint_from = source_of(s->endpoint, endpoint);
    s->backend_from = source_of(s->backend, NULL);
    s->threads_from = s->n_threads ? FROM_FLAG : FROM_DEFAULT;
    if (!chosen) {
        s->model_dir = model_dir;
        s->endpoint = endpoint;
    }
    const char *ca_file = environment_get("DBRX_CA_FILE");
    s->ca_file_from = source_of(s->ca_file, ca_file);
    if (!s->ca_file) s->ca_file = ca_file;
    s->api_key = environment_get("DBRX_API_KEY");
    s->api_key_from = source_of(NULL, s->api_key);
}

struct engine_client_options engine_settings_client(const struct engine_settings *s)
{
    return (struct engine_client_options){
        .endpoint = s->endpoint,
        .api_key = s->api_key,
        .ca_file = s->ca_file,
        .model_dir = s->model_dir,
        .backend = s->backend,
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

const char *model_find(const char *given, buffer *found)
{
    static const char *const places[] = {"model", "../share/dbrx-ls/model"};
    const char *environment = environment_get("DBRX_MODEL");
    if (given) return given;
    if (environment) return environment;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (path_beside_program(found, places[i], NULL) == OK && directory_exists(found->bytes))
            return found->bytes;
    return NULL;
}
