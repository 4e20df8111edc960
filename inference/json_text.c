/* jansson does the parsing; the scan before it bounds what the parser may be made to build. */
#include "inference/json_text.h"

#include "base/file.h"
#include "base/limits.h"

/* What a scan of brackets and commas outside strings finds. Wrong nesting is left to the parser. */
struct json_extent {
    size_t n_containers, n_commas, depth_max;
};

static struct json_extent json_measure(text t)
{
    struct json_extent found = {0};
    size_t depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < t.size; i++) {
        char c = t.bytes[i];
        if (in_string) {
            if (c == '\\') i++;
            if (c == '"') in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            found.n_containers++;
            if (++depth > found.depth_max) found.depth_max = depth;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        } else if (c == ',') {
            found.n_commas++;
        }
    }
    return found;
}

static status object_load(json_t **out, text t, size_t flags, const char *name, error *err)
{
    json_error_t why;
    json_t *value =
        json_loadb(t.bytes ? t.bytes : "", t.size, JSON_REJECT_DUPLICATES | flags, &why);
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

static status depth_check(const struct json_extent *found, const char *name, error *err)
{
    if (found->depth_max <= JSON_DEPTH_MAX) return OK;
    return fail(err, ERR_LIMIT, "%s: JSON nested deeper than %d", name, JSON_DEPTH_MAX);
}

status json_text_parse(json_t **out, text t, const char *name, error *err)
{
    struct json_extent found = json_measure(t);
    *out = NULL;
    status s = depth_check(&found, name, err);
    if (s == OK && found.n_containers > MODEL_JSON_CONTAINERS_MAX)
        s = fail(err, ERR_LIMIT, "%s: %zu JSON objects and arrays, at most %d allowed", name,
                 found.n_containers, MODEL_JSON_CONTAINERS_MAX);
    return s == OK ? object_load(out, t, 0, name, err) : s;
}

status json_body_parse(json_t **out, text t, const char *name, error *err)
{
    struct json_extent found = json_measure(t);
    *out = NULL;
    status s = depth_check(&found, name, err);
    if (s == OK && found.n_containers + found.n_commas > HTTP_JSON_VALUES_MAX)
        s = fail(err, ERR_LIMIT, "%s: more than %d JSON values", name, HTTP_JSON_VALUES_MAX);
    return s == OK ? object_load(out, t, JSON_ALLOW_NUL, name, err) : s;
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
