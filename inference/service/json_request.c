/* Fields are read by small getters that know type and range; an absent or null field leaves the
 * default untouched, so no field needs a branch of its own. */
#include "inference/service/json_request.h"

#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "base/limits.h"
#include "inference/json_text.h"
#include "inference/output_rules.h"

/* Names the field at fault; the result goes to fail(). */
__attribute__((format(printf, 2, 3))) static error *blame(struct request_fault *fault,
                                                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(fault->param, sizeof fault->param, format, args);
    va_end(args);
    return &fault->error;
}

/* On its way out of an inner object a fault gets the object's name. */
static status inside(status s, const char *object, struct request_fault *fault)
{
    char inner[sizeof fault->param];
    if (s == OK) return OK;
    memcpy(inner, fault->param, sizeof inner);
    return fail_in(blame(fault, "%s.%.48s", object, inner), s, "%s", object);
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

/* The field, or NULL when it is absent or null: clients send null for "default". */
static json_t *field_get(const json_t *object, const char *name)
{
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

static text string_view(const json_t *value)
{
    return (text){json_string_value(value), json_string_length(value)};
}

struct number_field {
    const char *name;
    double low, high;
    double *out;
};

static status number_get(const json_t *object, const struct number_field *f,
                         struct request_fault *fault)
{
    const json_t *value = field_get(object, f->name);
    if (!value) return OK;
    if (!json_is_number(value))
        return fail(blame(fault, "%s", f->name), ERR_USAGE, "%s: found %s, expected a number",
                    f->name, type_name(value));
    double number = json_number_value(value);
    if (!(number >= f->low && number <= f->high))
        return fail(blame(fault, "%s", f->name), ERR_USAGE, "%s: found %g, expected %g to %g",
                    f->name, number, f->low, f->high);
    *f->out = number;
    return OK;
}

/* A whole number; "16.0" counts as one, as in model files. */
static status whole_of(const json_t *value, const char *name, int64_t low, int64_t high,
                       int64_t *out, struct request_fault *fault)
{
    double real = json_number_value(value);
    if (!json_is_number(value) || (json_is_real(value) && real != trunc(real)))
        return fail(blame(fault, "%s", name), ERR_USAGE, "%s: found %s, expected a whole number",
                    name, type_name(value));
    bool outside = json_is_real(value)
                       ? !(real >= (double)low && real <= (double)high)
                       : json_integer_value(value) < low || json_integer_value(value) > high;
    if (outside)
        return fail(blame(fault, "%s", name), ERR_USAGE, "%s: found %.17g, expected %lld to %lld",
                    name, real, (long long)low, (long long)high);
    *out = json_is_real(value) ? (int64_t)real : json_integer_value(value);
    return OK;
}

struct integer_field {
    const char *name;
    int64_t low, high;
    int64_t *out;
};

static status integer_get(const json_t *object, const struct integer_field *f,
                          struct request_fault *fault)
{
    const json_t *value = field_get(object, f->name);
    return value ? whole_of(value, f->name, f->low, f->high, f->out, fault) : OK;
}

static status flag_get(const json_t *object, const char *name, bool *out,
                       struct request_fault *fault)
{
    const json_t *value = field_get(object, name);
    if (!value) return OK;
    if (!json_is_boolean(value))
        return fail(blame(fault, "%s", name), ERR_USAGE, "%s: found %s, expected true or false",
                    name, type_name(value));
    *out = json_is_true(value);
    return OK;
}

static status string_get(const json_t *object, const char *name, text *out,
                         struct request_fault *fault)
{
    const json_t *value = field_get(object, name);
    if (!value) return OK;
    if (!json_is_string(value))
        return fail(blame(fault, "%s", name), ERR_USAGE, "%s: found %s, expected a string", name,
                    type_name(value));
    *out = string_view(value);
    return OK;
}

static status ids_get(struct request_prompt *out, arena *a, const json_t *list, const char *name,
                      struct request_fault *fault)
{
    size_t n = json_array_size(list);
    int32_t *ids = arena_take(a, n + 1, sizeof *ids);
    if (!ids) return fail(blame(fault, "%s", name), ERR_MEMORY, "%s: out of memory", name);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        int64_t id = json_integer_value(value);
        if (!json_is_integer(value))
            return fail(blame(fault, "%s[%zu]", name, i), ERR_USAGE,
                        "%s[%zu]: found %s, expected a token id", name, i, type_name(value));
        if (id < 0 || id > INT32_MAX)
            return fail(blame(fault, "%s[%zu]", name, i), ERR_USAGE,
                        "%s[%zu]: found %lld, which is no token id", name, i, (long long)id);
        ids[i] = (int32_t)id;
    }
    *out = (struct request_prompt){.ids = ids, .n_ids = n};
    return OK;
}

/* One element of a list of prompts. */
static status prompt_take(struct completion_request *r, arena *a, const json_t *value,
                          const char *name, struct request_fault *fault)
{
    struct request_prompt *prompt = &r->prompts[r->n_prompts++];
    if (json_is_array(value)) return ids_get(prompt, a, value, name, fault);
    if (!json_is_string(value))
        return fail(blame(fault, "%s", name), ERR_USAGE,
                    "%s: found %s, expected a string or an array of token ids", name,
                    type_name(value));
    *prompt = (struct request_prompt){.bytes = string_view(value)};
    return OK;
}

static status prompts_get(struct completion_request *r, arena *a, const json_t *body,
                          struct request_fault *fault)
{
    const json_t *value = field_get(body, "prompt"), *first = json_array_get(value, 0);
    if (!value)
        return fail(blame(fault, "prompt"), ERR_USAGE,
                    "prompt: missing, expected a string or token ids");
    if (!first || json_is_integer(first)) return prompt_take(r, a, value, "prompt", fault);
    if (json_array_size(value) > HTTP_CHOICES_MAX)
        return fail(blame(fault, "prompt"), ERR_USAGE, "prompt: found %zu prompts, at most %d",
                    json_array_size(value), HTTP_CHOICES_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        char name[32];
        snprintf(name, sizeof name, "prompt[%zu]", i);
        status s = prompt_take(r, a, json_array_get(value, i), name, fault);
        if (s != OK) return s;
    }
    return OK;
}

static status parts_join(text *out, arena *a, const json_t *parts, const char *name,
                         struct request_fault *fault)
{
    size_t total = 0, i;
    const json_t *part;
    json_array_foreach(parts, i, part)
    {
        const json_t *type = json_object_get(part, "type"), *words = json_object_get(part, "text");
        if (!json_is_string(type) || strcmp(json_string_value(type), "text") != 0)
            return fail(blame(fault, "%s[%zu].type", name, i), ERR_UNSUPPORTED,
                        "%s[%zu].type: this engine takes parts of type \"text\" only", name, i);
        if (!json_is_string(words))
            return fail(blame(fault, "%s[%zu].text", name, i), ERR_USAGE,
                        "%s[%zu].text: expected a string", name, i);
        total += json_string_length(words);
    }
    char *joined = arena_take(a, total + 1, 1);
    if (!joined) return fail(blame(fault, "%s", name), ERR_MEMORY, "%s: out of memory", name);
    *out = (text){joined, total};
    json_array_foreach(parts, i, part)
    {
        text words = string_view(json_object_get(part, "text"));
        memcpy(joined, words.bytes, words.size);
        joined += words.size;
    }
    return OK;
}

static bool is_role(text role)
{
    return text_is(role, "system") || text_is(role, "user") || text_is(role, "assistant");
}

static status message_get(struct chat_message *out, arena *a, const json_t *message, size_t i,
                          struct request_fault *fault)
{
    char name[48];
    const json_t *content = json_object_get(message, "content");
    if (!json_is_object(message))
        return fail(blame(fault, "messages[%zu]", i), ERR_USAGE,
                    "messages[%zu]: found %s, expected an object", i, type_name(message));
    const json_t *role = json_object_get(message, "role");
    out->role = string_view(role);
    if (!json_is_string(role) || !is_role(out->role))
        return fail(blame(fault, "messages[%zu].role", i), ERR_USAGE,
                    "messages[%zu].role: found \"%.32s\", expected system, user or assistant", i,
                    json_is_string(role) ? json_string_value(role) : "");
    snprintf(name, sizeof name, "messages[%zu].content", i);
    if (json_is_array(content)) return parts_join(&out->content, a, content, name, fault);
    if (!json_is_string(content))
        return fail(blame(fault, "%s", name), ERR_USAGE,
                    "%s: found %s, expected a string or an array of text parts", name,
                    content ? type_name(content) : "nothing");
    out->content = string_view(content);
    return OK;
}

static status messages_get(struct completion_request *r, arena *a, const json_t *body,
                           struct request_fault *fault)
{
    const json_t *list = field_get(body, "messages");
    size_t n = json_array_size(list);
    if (n == 0)
        return fail(blame(fault, "messages"), ERR_USAGE,
                    "messages: expected an array of at least one message");
    r->messages = arena_take(a, n, sizeof *r->messages);
    if (!r->messages) return fail(blame(fault, "messages"), ERR_MEMORY, "messages: out of memory");
    for (r->n_messages = 0; r->n_messages < n; r->n_messages++) {
        size_t i = r->n_messages;
        status s = message_get(&r->messages[i], a, json_array_get(list, i), i, fault);
        if (s != OK) return s;
    }
    return OK;
}

static status stop_take(struct completion_request *r, const json_t *value,
                        struct request_fault *fault)
{
    size_t size = json_string_length(value);
    if (!json_is_string(value) || size == 0 || size > STOP_BYTES_MAX)
        return fail(blame(fault, "stop"), ERR_USAGE,
                    "stop: expected strings of 1 to %d bytes, found %s of %zu", STOP_BYTES_MAX,
                    type_name(value), size);
    r->stops[r->n_stops++] = string_view(value);
    return OK;
}

static status stops_get(struct completion_request *r, const json_t *body,
                        struct request_fault *fault)
{
    const json_t *value = field_get(body, "stop");
    if (!value) return OK;
    if (!json_is_array(value)) return stop_take(r, value, fault);
    if (json_array_size(value) > HTTP_STOPS_MAX)
        return fail(blame(fault, "stop"), ERR_USAGE, "stop: found %zu strings, at most %d",
                    json_array_size(value), HTTP_STOPS_MAX);
    for (size_t i = 0; i < json_array_size(value); i++) {
        status s = stop_take(r, json_array_get(value, i), fault);
        if (s != OK) return s;
    }
    return OK;
}

/* null, false, 0, "", [], {}: what a field says when it asks for nothing. */
static bool is_neutral(const json_t *value)
{
    if (!value || json_is_null(value) || json_is_false(value)) return true;
    if (json_is_number(value)) return json_number_value(value) == 0;
    if (json_is_string(value)) return json_string_length(value) == 0;
    if (json_is_array(value)) return json_array_size(value) == 0;
    return json_is_object(value) && json_object_size(value) == 0;
}

/* Answering as if these had not been sent would be a wrong answer. */
static const char *const refused_fields[] = {
    "echo",  "suffix",    "logit_bias", "presence_penalty",  "frequency_penalty",
    "tools", "functions", "audio",      "web_search_options"};

static status refused_check(const json_t *object, const char *const *names, size_t n_names,
                            struct request_fault *fault)
{
    for (size_t i = 0; i < n_names; i++)
        if (!is_neutral(json_object_get(object, names[i])))
            return fail(blame(fault, "%s", names[i]), ERR_UNSUPPORTED,
                        "%s: this engine does not support it", names[i]);
    return OK;
}

static status format_check(const json_t *body, struct request_fault *fault)
{
    const json_t *format = field_get(body, "response_format");
    const char *type = json_string_value(json_object_get(format, "type"));
    if (!format || (type && strcmp(type, "text") == 0)) return OK;
    return fail(blame(fault, "response_format"), ERR_UNSUPPORTED,
                "response_format: this engine answers in plain text only");
}

static status priority_get(struct completion_request *r, const json_t *dbrx,
                           struct request_fault *fault)
{
    static const char *const names[] = {[PRIORITY_INTERACTIVE] = "interactive",
                                        [PRIORITY_ACTION] = "action",
                                        [PRIORITY_BATCH] = "batch",
                                        [PRIORITY_WARM] = "warm"};
    text wanted = {0};
    status s = string_get(dbrx, "priority", &wanted, fault);
    if (s != OK || !wanted.bytes) return s;
    for (int i = PRIORITY_INTERACTIVE; i <= PRIORITY_WARM; i++) {
        if (!text_is(wanted, names[i])) continue;
        r->priority = (enum priority)i;
        return OK;
    }
    return fail(blame(fault, "priority"), ERR_USAGE,
                "priority: found \"%.32s\", expected interactive, action, batch or warm",
                wanted.bytes);
}

static status must_start_get(struct completion_request *r, const json_t *dbrx,
                             struct request_fault *fault)
{
    text encoded = {0};
    status s = string_get(dbrx, "must_start_with", &encoded, fault);
    if (s != OK || encoded.size == 0) return s;
    if (!base64_decode(&r->must_start_with, encoded))
        return fail(blame(fault, "must_start_with"), ERR_USAGE,
                    "must_start_with: expected base64 with padding");
    if (r->must_start_with.size > MUST_START_MAX)
        return fail(blame(fault, "must_start_with"), ERR_USAGE,
                    "must_start_with: %zu bytes, at most %zu", r->must_start_with.size,
                    MUST_START_MAX);
    return OK;
}

/* A list of ids, at most n_max. */
static status id_list_get(struct request_prompt *out, arena *a, const json_t *dbrx,
                          const char *name, size_t n_max, struct request_fault *fault)
{
    const json_t *list = field_get(dbrx, name);
    if (!list) return OK;
    if (!json_is_array(list))
        return fail(blame(fault, "%s", name), ERR_USAGE, "%s: found %s, expected token ids", name,
                    type_name(list));
    if (json_array_size(list) > n_max)
        return fail(blame(fault, "%s", name), ERR_USAGE, "%s: %zu ids, at most %zu", name,
                    json_array_size(list), n_max);
    return ids_get(out, a, list, name, fault);
}

/* Each list is a choice of its own. */
static status score_behind_get(struct completion_request *r, arena *a, const json_t *dbrx,
                               struct request_fault *fault)
{
    const json_t *lists = field_get(dbrx, "score_behind");
    size_t n = json_array_size(lists);
    status s = OK;
    if (!lists) return OK;
    if (n == 0 || n > HTTP_CHOICES_MAX)
        return fail(blame(fault, "score_behind"), ERR_USAGE,
                    "score_behind: found %s of %zu, expected 1 to %d lists of token ids",
                    type_name(lists), n, HTTP_CHOICES_MAX);
    if (r->max_tokens != 0 || r->score.n_ids == 0 || r->n_choices != 1 || r->n_prompts > 1)
        return fail(blame(fault, "score_behind"), ERR_USAGE,
                    "score_behind: only with score, one prompt, n 1 and max_tokens 0");
    for (size_t i = 0; s == OK && i < n; i++) {
        char name[32];
        snprintf(name, sizeof name, "score_behind[%zu]", i);
        const json_t *list = json_array_get(lists, i);
        if (!json_is_array(list))
            return fail(blame(fault, "%s", name), ERR_USAGE, "%s: found %s, expected token ids",
                        name, type_name(list));
        s = ids_get(&r->score_behind[i], a, list, name, fault);
    }
    r->n_choices = (int64_t)n;
    r->n_score_behind = n;
    return s;
}

/* Predicted output as text or ids; lists of ids; closing brackets. */
static status extensions_get(struct completion_request *r, arena *a, const json_t *dbrx,
                             struct request_fault *fault)
{
    unsigned kinds;
    const json_t *predicted = field_get(dbrx, "predicted");
    status s;
    if (json_is_string(predicted))
        s = string_get(dbrx, "predicted", &r->predicted.bytes, fault);
    else
        s = id_list_get(&r->predicted, a, dbrx, "predicted", SEQUENCE_TOKENS_MAX, fault);
    if (s == OK)
        s = id_list_get(&r->forbid_first, a, dbrx, "forbid_first", FORBID_FIRST_MAX, fault);
    if (s == OK) s = id_list_get(&r->score, a, dbrx, "score", SCORE_TOKENS_MAX, fault);
    if (s == OK) s = string_get(dbrx, "forbid_unopened", &r->forbid_unopened, fault);
    if (s != OK) return s;
    if ((s = score_behind_get(r, a, dbrx, fault)) != OK) return s;
    return closing_brackets_parse(&kinds, r->forbid_unopened, blame(fault, "forbid_unopened"));
}

static status dbrx_get(struct completion_request *r, arena *a, const json_t *body,
                       struct request_fault *fault)
{
    const json_t *dbrx = field_get(body, "dbrx");
    status s;
    if (!dbrx) return OK;
    if (!json_is_object(dbrx))
        return fail(blame(fault, "dbrx"), ERR_USAGE, "dbrx: found %s, expected an object",
                    type_name(dbrx));
    struct integer_field deadline = {"deadline_ms", 1, INT32_MAX, &r->deadline_ms};
    s = priority_get(r, dbrx, fault);
    if (s == OK) s = must_start_get(r, dbrx, fault);
    if (s == OK) s = integer_get(dbrx, &deadline, fault);
    if (s == OK) s = string_get(dbrx, "cache_salt", &r->cache_salt, fault);
    if (s == OK) s = string_get(dbrx, "session", &r->session, fault);
    if (s == OK) s = string_get(dbrx, "supersedes", &r->supersedes, fault);
    if (s == OK) s = flag_get(dbrx, "draft", &r->draft, fault);
    if (s == OK) s = extensions_get(r, a, dbrx, fault);
    return inside(s, "dbrx", fault);
}

static status numbers_get(struct completion_request *r, const json_t *body,
                          struct request_fault *fault)
{
    const struct number_field numbers[] = {
        {"temperature", 0, 2, &r->temperature},
        {"top_p", 0, 1, &r->top_p},
        {"min_p", 0, 1, &r->min_p},
        {"repetition_penalty", 0.01, 10, &r->repetition_penalty},
    };
    const struct integer_field integers[] = {
        {"max_tokens", 0, INT32_MAX, &r->max_tokens},
        {"top_k", -1, INT32_MAX, &r->top_k},
        {"n", 1, HTTP_CHOICES_MAX, &r->n_choices},
    };
    status s = OK;
    for (size_t i = 0; s == OK && i < sizeof numbers / sizeof *numbers; i++)
        s = number_get(body, &numbers[i], fault);
    for (size_t i = 0; s == OK && i < sizeof integers / sizeof *integers; i++)
        s = integer_get(body, &integers[i], fault);
    if (s != OK) return s;
    int64_t seed = 0;
    const json_t *given = field_get(body, "seed");
    if (given) s = whole_of(given, "seed", INT64_MIN, INT64_MAX, &seed, fault);
    r->has_seed = given != NULL;
    r->seed = (uint64_t)seed;
    return s;
}

static status logprobs_get(struct completion_request *r, const json_t *body, bool chat,
                           struct request_fault *fault)
{
    const struct integer_field legacy = {"logprobs", 0, HTTP_LOGPROBS_MAX, &r->n_logprobs};
    if (!chat) return integer_get(body, &legacy, fault);
    bool wanted = false;
    int64_t n = 0;
    const struct integer_field top = {"top_logprobs", 0, HTTP_LOGPROBS_MAX, &n};
    status s = flag_get(body, "logprobs", &wanted, fault);
    if (s == OK) s = integer_get(body, &top, fault);
    if (s != OK) return s;
    if (n > 0 && !wanted)
        return fail(blame(fault, "top_logprobs"), ERR_USAGE,
                    "top_logprobs: needs \"logprobs\": true");
    r->n_logprobs = wanted ? n : -1;
    return OK;
}

static status stream_get(struct completion_request *r, const json_t *body,
                         struct request_fault *fault)
{
    status s = flag_get(body, "stream", &r->stream, fault);
    const json_t *options = field_get(body, "stream_options");
    if (s != OK || !options) return s;
    if (!json_is_object(options) || !r->stream)
        return fail(blame(fault, "stream_options"), ERR_USAGE,
                    "stream_options: expected an object, and only with \"stream\": true");
    s = flag_get(options, "include_usage", &r->include_usage, fault);
    if (s == OK) s = flag_get(options, "continuous_usage_stats", &r->continuous_usage, fault);
    return inside(s, "stream_options", fault);
}

/* Rules that need more than one field. */
static status together_check(const struct completion_request *r, const json_t *body, bool chat,
                             struct request_fault *fault)
{
    size_t n = (chat ? 1 : r->n_prompts) * (size_t)r->n_choices;
    int64_t best_of = r->n_choices;
    const struct integer_field best = {"best_of", 0, INT32_MAX, &best_of};
    if (n > HTTP_CHOICES_MAX)
        return fail(blame(fault, "n"), ERR_USAGE,
                    "n: %zu prompts of %lld choices, at most %d in all", r->n_prompts,
                    (long long)r->n_choices, HTTP_CHOICES_MAX);
    if (r->max_tokens == 0 && r->priority != PRIORITY_WARM && r->score.n_ids == 0)
        return fail(blame(fault, "max_tokens"), ERR_USAGE,
                    "max_tokens: found 0, expected at least 1 but to score");
    status s = integer_get(body, &best, fault);
    if (s == OK && best_of > r->n_choices)
        s = fail(blame(fault, "best_of"), ERR_UNSUPPORTED,
                 "best_of: this engine supports only best_of = n");
    return s;
}

status completion_request_parse(struct completion_request *out, arena *a, text body, bool chat,
                                struct request_fault *fault)
{
    *out = (struct completion_request){.max_tokens = -1,
                                       .temperature = 1,
                                       .top_p = 1,
                                       .repetition_penalty = 1,
                                       .n_choices = 1,
                                       .draft = true,
                                       .n_logprobs = -1};
    const struct integer_field newer = {"max_completion_tokens", 1, INT32_MAX, &out->max_tokens};
    status s = json_body_parse(&out->root, body, "body", blame(fault, "%s", ""));
    if (s != OK) goto out;
    const json_t *root = out->root;
    s = string_get(root, "model", &out->model, fault);
    if (s == OK) s = chat ? messages_get(out, a, root, fault) : prompts_get(out, a, root, fault);
    if (s == OK) s = numbers_get(out, root, fault);
    if (s == OK && chat) s = integer_get(root, &newer, fault);
    if (s == OK) s = stops_get(out, root, fault);
    if (s == OK) s = logprobs_get(out, root, chat, fault);
    if (s == OK) s = stream_get(out, root, fault);
    if (s == OK) s = flag_get(root, "ignore_eos", &out->ignore_eos, fault);
    if (s == OK) s = dbrx_get(out, a, root, fault);
    if (s == OK)
        s = refused_check(root, refused_fields, sizeof refused_fields / sizeof *refused_fields,
                          fault);
    if (s == OK) s = format_check(root, fault);
    if (s == OK) s = together_check(out, root, chat, fault);
out:
    if (s != OK) completion_request_free(out);
    return s;
}

void completion_request_free(struct completion_request *r)
{
    json_decref(r->root);
    buffer_free(&r->must_start_with);
    *r = (struct completion_request){0};
}
