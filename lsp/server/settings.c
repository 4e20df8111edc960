#include "lsp/server/settings.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "context/exclude.h"

#define AT(field) offsetof(struct settings, field)

enum {
    CLIENT = SETTING_FROM_CLIENT,
    FILES = SETTING_FROM_FILE,
    OWN = CLIENT | FILES, /* not from a workspace */
    ALL = OWN | SETTING_FROM_WORKSPACE,
};

static const struct setting table[] = {
    {"enabled", JSON_TRUE, AT(enabled), ALL, 0, 0, "false: every completion is an empty list"},
    {"languages", JSON_ARRAY, AT(languages), ALL, 0, 0, "language ids; empty: all"},
    {"exclude", JSON_ARRAY, AT(exclude), ALL, 0, 0, "shell patterns of paths to leave alone"},
    {"budgetTokens", JSON_INTEGER, AT(budget_tokens), ALL, 512, 32768, "tokens of a prompt"},
    {"warm", JSON_TRUE, AT(warm), ALL, 0, 0, "compute prompts before they are asked for"},
    {"status", JSON_TRUE, AT(status), CLIENT, 0, 0, "send dbrx/status"},
    {"popup", JSON_TRUE, AT(popup), OWN, 0, 0, "offer textDocument/completion"},
    {"documents", JSON_TRUE, SIZE_MAX, CLIENT, 0, 0, "explanations come as dbrx/document"},
    {"instructions", JSON_TRUE, SIZE_MAX, CLIENT, 0, 0,
     "the client asks for words of dbrx-ls.rewrite"},
    {"late", JSON_TRUE, SIZE_MAX, CLIENT, 0, 0, "send dbrx/late"},
    {"model", JSON_STRING, SIZE_MAX, OWN, 0, 0, "model directory of the local engine"},
    {"endpoint", JSON_STRING, SIZE_MAX, OWN, 0, 0, "URL of an engine"},
    {"apiKey", JSON_STRING, SIZE_MAX, FILES, 0, 0, "the engine's key"},
    {"caFile", JSON_STRING, SIZE_MAX, OWN, 0, 0, "certificates to trust for an https endpoint"},
    {"backend", JSON_STRING, SIZE_MAX, OWN, 0, 0, "auto, cpu, cuda or reference"},
    {"threads", JSON_INTEGER, SIZE_MAX, OWN, 1, 1024, "threads of the local engine"},
    {"idle", JSON_STRING, SIZE_MAX, OWN, 0, 0, "seconds until an unused engine ends, or never"},
};

const struct setting *setting_at(size_t i)
{
    return i < sizeof table / sizeof *table ? &table[i] : NULL;
}

void settings_default(struct settings *out)
{
    *out = (struct settings){.enabled = true, .warm = true, .budget_tokens = 8192};
}

static const struct setting *setting_find(const char *name)
{
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return &table[i];
    return NULL;
}

static bool value_fits(const struct setting *row, const json_t *value)
{
    if (row->type == JSON_TRUE) return json_is_boolean(value);
    if (json_typeof(value) != row->type) return false;
    json_int_t n = json_integer_value(value);
    if (row->type == JSON_INTEGER) return n >= row->low && n <= row->high;
    size_t i;
    json_t *item;
    if (row->type != JSON_ARRAY) return true;
    json_array_foreach(value, i, item)
    {
        if (!json_is_string(item)) return false;
    }
    return true;
}

static void value_store(struct settings *out, const struct setting *row, const json_t *value)
{
    char *at = (char *)out + row->offset;
    if (row->offset == SIZE_MAX) return;
    if (row->type == JSON_TRUE)
        *(bool *)(void *)at = json_is_true(value);
    else if (row->type == JSON_INTEGER)
        *(int64_t *)(void *)at = json_integer_value(value);
    else
        *(const json_t **)(void *)at = value;
}

void settings_apply(struct settings *out, json_t *object, enum setting_source source,
                    buffer *refused)
{
    const char *name;
    json_t *value;
    void *at;
    for (at = json_object_iter(object); at; at = json_object_iter_next(object, at)) {
        name = json_object_iter_key(at);
        value = json_object_iter_value(at);
        const struct setting *row = setting_find(name);
        if (json_is_null(value)) continue;
        if (row && row->from & source && value_fits(row, value))
            value_store(out, row, value);
        else
            buffer_print(refused, "%s%.64s", refused->size ? ", " : "", name);
    }
}

static status value_refuse(const struct setting *row, error *err)
{
    if (row->type == JSON_INTEGER)
        return fail(err, ERR_FORMAT, "%s: expected a number from %lld to %lld", row->name,
                    (long long)row->low, (long long)row->high);
    return fail(err, ERR_FORMAT, "%s: expected %s", row->name,
                row->type == JSON_TRUE    ? "true or false"
                : row->type == JSON_ARRAY ? "an array of texts"
                                          : "a text");
}

status settings_check(json_t *object, enum setting_source source, error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        const struct setting *row = setting_find(name);
        if (!row || !(row->from & source))
            return fail(err, ERR_FORMAT, "\"%.64s\" is no setting here", name);
        if (!json_is_null(value) && !value_fits(row, value)) return value_refuse(row, err);
    }
    return OK;
}

void settings_exclude(const struct settings *s)
{
    size_t i;
    json_t *item;
    buffer lines = {0};
    buffer_put_text(&lines, text_of(getenv("DBRX_EXCLUDE")));
    json_array_foreach(s->exclude, i, item)
    {
        buffer_put_char(&lines, '\n');
        buffer_put(&lines, json_string_value(item), json_string_length(item));
    }
    exclude_set_globs(lines.failed ? TEXT("*") : buffer_text(&lines));
    buffer_free(&lines);
}

static bool array_holds(const json_t *array, text wanted)
{
    size_t i;
    json_t *item;
    json_array_foreach(array, i, item)
    {
        if (text_equal(wanted, (text){json_string_value(item), json_string_length(item)}))
            return true;
    }
    return false;
}

static bool array_matches(const json_t *patterns, const char *path)
{
    size_t i;
    json_t *item;
    json_array_foreach(patterns, i, item)
    {
        const char *pattern = json_string_value(item), *name = strrchr(path, '/');
        if (fnmatch(pattern, path, 0) == 0) return true;
        if (!strchr(pattern, '/') && name && fnmatch(pattern, name + 1, 0) == 0) return true;
    }
    return false;
}

const char *settings_refusal(const struct settings *s, text language_id)
{
    if (!s->enabled) return "completions are switched off by a setting";
    if (json_array_size(s->languages) > 0 && !array_holds(s->languages, language_id))
        return "its language is not among the setting \"languages\"";
    return NULL;
}

const char *settings_exclusion(const struct settings *s, text path)
{
    char copy[PATH_MAX];
    if (json_array_size(s->exclude) == 0) return NULL;
    if (path.size >= sizeof copy) return "its path is too long to be judged";
    if (path.size) memcpy(copy, path.bytes, path.size);
    copy[path.size] = 0;
    return array_matches(s->exclude, copy) ? "the setting \"exclude\" names it" : NULL;
}
