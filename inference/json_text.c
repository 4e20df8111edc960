/* jansson does the parsing; the scan before it bounds what the parser may be made to build. */
#include "inference/json_text.h"

#include "base/file.h"
#include "base/limits.h"

/* Counts brackets outside strings. Wrong nesting is left to the parser. */
static status containers_check(text t, const char *name, error *err)
{
    size_t n = 0, depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < t.size; i++) {
        char c = t.bytes[i];
        if (in_string) {
            if (c == '\\') i++;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            n++;
            if (++depth > JSON_DEPTH_MAX)
                return fail(err, ERR_LIMIT, "%s: JSON nested deeper than %d", name, JSON_DEPTH_MAX);
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    if (n > MODEL_JSON_CONTAINERS_MAX)
        return fail(err, ERR_LIMIT, "%s: %zu JSON objects and arrays, at most %d allowed", name, n,
                    MODEL_JSON_CONTAINERS_MAX);
    return OK;
}

status json_text_parse(json_t **out, text t, const char *name, error *err)
{
    json_error_t why;
    *out = NULL;
    status s = containers_check(t, name, err);
    if (s != OK) return s;
    json_t *value = json_loadb(t.bytes ? t.bytes : "", t.size, JSON_REJECT_DUPLICATES, &why);
    if (!value && json_error_code(&why) == json_error_out_of_memory)
        return fail(err, ERR_MEMORY, "%s: out of memory", name);
    if (!value) return fail(err, ERR_FORMAT, "%s: line %d: %s", name, why.line, why.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return fail(err, ERR_FORMAT, "%s: expected a JSON object", name);
    }
    *out = value;
    return OK;
}

status json_file_parse(json_t **out, const char *path, error *err)
{
    buffer content = {0};
    *out = NULL;
    status s = file_read(&content, path, MODEL_JSON_MAX, err);
    if (s == OK) s = json_text_parse(out, buffer_text(&content), path, err);
    buffer_free(&content);
    return s;
}
