/* jansson reads; a prompt's thousands of ids are written by hand, the few other fields by jansson. */
#include "lsp/client/wire.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/limits.h"
#include "base/utf.h"
#include "lsp/client/chat_text.h"

static status object_read(json_t **out, text json, const char *what, error *err)
{
    json_error_t where;
    *out = json_loadb(json.bytes ? json.bytes : "", json.size, JSON_ALLOW_NUL, &where);
    if (json_is_object(*out)) return OK;
    json_decref(*out);
    *out = NULL;
    return fail(err, ERR_FORMAT, "%s: found no JSON object (%zu bytes)", what, json.size);
}

/* Copies what fits of a string for people: whole characters, no control characters. */
static void words_copy(char *out, size_t room, const json_t *value)
{
    text t = {json_string_value(value), json_string_length(value)};
    if (!t.bytes) t.size = 0;
    size_t n = t.size < room ? t.size : utf8_floor(t, room - 1);
    for (size_t i = 0; i < n; i++)
        out[i] = (unsigned char)t.bytes[i] < 0x20 || t.bytes[i] == 0x7f ? '?' : t.bytes[i];
    out[n] = 0;
}

static int64_t integer_get(const json_t *object, const char *name, int64_t absent)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? json_integer_value(value) : absent;
}

/* An integer field that may be missing (then 0) but not out of range. */
static status range_get(int32_t *out, const json_t *object, const char *name, int64_t max,
                        error *err)
{
    const json_t *value = json_object_get(object, name);
    *out = 0;
    if (!value || json_is_null(value)) return OK;
    int64_t n = json_is_integer(value) ? json_integer_value(value) : -1;
    if (n < 1 || n > max)
        return fail(err, ERR_FORMAT, "%s: expected a whole number from 1 to %lld", name,
                    (long long)max);
    *out = (int32_t)n;
    return OK;
}

static double fraction_get(const json_t *object, const char *name)
{
    double value = json_number_value(json_object_get(object, name));
    return value >= 0 && value <= 1 ? value : 0;
}

static bool state_read(enum remote_state *out, const json_t *object)
{
    static const char *const names[] = {"starting", "loading", "ready", "draining", "failed"};
    const char *name = json_string_value(json_object_get(object, "state"));
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) != 0) continue;
        *out = (enum remote_state)i;
        return true;
    }
    return false;
}

static status specials_read(struct special_ids *out, const json_t *object, int32_t vocabulary_size,
                            error *err)
{
    const struct {
        const char *name;
        int32_t *id;
    } rows[] = {{"endoftext", &out->endoftext},     {"fim_prefix", &out->fim_prefix},
                {"fim_middle", &out->fim_middle},   {"fim_suffix", &out->fim_suffix},
                {"endofprompt", &out->endofprompt}, {"pad", &out->pad},
                {"im_start", &out->im_start},       {"im_end", &out->im_end}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const json_t *value = json_object_get(object, rows[i].name);
        *rows[i].id = -1;
        if (!value || json_is_null(value)) continue;
        int64_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= vocabulary_size)
            return fail(err, ERR_FORMAT, "specials.%s: expected an id from 0 to %d", rows[i].name,
                        vocabulary_size - 1);
        *rows[i].id = (int32_t)id;
    }
    return OK;
}

static unsigned features_read(const json_t *list)
{
    static const struct {
        const char *name;
        enum engine_feature bit;
    } rows[] = {{"lease", FEATURE_LEASE},
                {"priority", FEATURE_PRIORITY},
                {"must_start_with", FEATURE_MUST_START_WITH},
                {"deadline", FEATURE_DEADLINE},
                {"forbid_first", FEATURE_FORBID_FIRST},
                {"forbid_unopened", FEATURE_FORBID_UNOPENED},
                {"score", FEATURE_SCORE},
                {"score_behind", FEATURE_SCORE_BEHIND},
                {"predicted", FEATURE_PREDICTED}};
    unsigned found = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        for (size_t k = 0; name && k < sizeof rows / sizeof *rows; k++)
            if (strcmp(name, rows[k].name) == 0) found |= rows[k].bit;
    }
    return found;
}

/* The hash becomes a file's name: 64 lower-case hex digits and nothing else. */
static status hash_read(char out[65], const json_t *object, error *err)
{
    const json_t *value = json_object_get(object, "tokenizer_sha256");
    const char *hex = json_string_value(value);
    out[0] = 0;
    if (!value || json_is_null(value)) return OK;
    if (!hex || strlen(hex) != 64 || strspn(hex, "0123456789abcdef") != 64)
        return fail(err, ERR_FORMAT, "tokenizer_sha256: expected 64 lower-case hex digits");
    memcpy(out, hex, 65);
    return OK;
}

static status handshake_read(struct handshake *out, const json_t *root, error *err)
{
    status s;
    if (!state_read(&out->state, root))
        return fail(err, ERR_FORMAT,
                    "state: expected starting, loading, ready, draining or failed");
    words_copy(out->backend, sizeof out->backend, json_object_get(root, "backend"));
    words_copy(out->model, sizeof out->model, json_object_get(root, "model"));
    words_copy(out->reason, sizeof out->reason, json_object_get(root, "reason"));
    out->features = features_read(json_object_get(root, "features"));
    out->progress = fraction_get(root, "progress");
    out->demo = json_is_true(json_object_get(root, "demo"));
    if ((s = hash_read(out->tokenizer_sha256, root, err)) != OK) return s;
    s = range_get(&out->max_model_len, root, "max_model_len", INT32_MAX, err);
    if (s != OK) return s;
    s = range_get(&out->vocabulary_size, root, "vocabulary_size", VOCABULARY_MAX, err);
    if (s != OK) return s;
    bool known = out->tokenizer_sha256[0] && out->max_model_len && out->vocabulary_size;
    if (out->state == REMOTE_READY && !known)
        return fail(err, ERR_FORMAT,
                    "state is ready, but tokenizer_sha256, max_model_len or "
                    "vocabulary_size is missing");
    return specials_read(&out->specials, json_object_get(root, "specials"), out->vocabulary_size,
                         err);
}

status handshake_parse(struct handshake *out, text json, error *err)
{
    json_t *root;
    *out = (struct handshake){0};
    status s = object_read(&root, json, "handshake", err);
    if (s != OK) return s;
    out->api = integer_get(root, "api", -1);
    words_copy(out->version, sizeof out->version, json_object_get(root, "version"));
    if (out->api < 0)
        s = fail(err, ERR_FORMAT, "handshake: api: expected a whole number");
    else if (out->api == ENGINE_API && (s = handshake_read(out, root, err)) != OK)
        s = fail_in(err, s, "handshake");
    json_decref(root);
    return s;
}

status lease_event_parse(struct lease_event *out, text json, error *err)
{
    json_t *root;
    *out = (struct lease_event){0};
    status s = object_read(&root, json, "lease event", err);
    if (s != OK) return s;
    if (!state_read(&out->state, root))
        s = fail(err, ERR_FORMAT,
                 "lease event: state: expected starting, loading, ready, draining or failed");
    out->progress = fraction_get(root, "progress");
    words_copy(out->reason, sizeof out->reason, json_object_get(root, "reason"));
    out->n_queued = integer_get(root, "queue", 0);
    out->n_running = integer_get(root, "running", 0);
    json_decref(root);
    return s;
}

/* Of vLLM and SGLang, of llama.cpp, of gateways. */
static int32_t model_length(const json_t *row)
{
    static const char *const names[] = {"max_model_len", "n_ctx", "context_length",
                                        "context_window", "max_context_length"};
    const json_t *places[] = {row, json_object_get(row, "meta")};
    for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
        int64_t n = integer_get(places[i % 2], names[i / 2], 0);
        if (n > 0 && n <= INT32_MAX) return (int32_t)n;
    }
    return 0;
}

status models_parse(struct model_row *out, text json, error *err)
{
    json_t *root;
    *out = (struct model_row){0};
    status s = object_read(&root, json, "/v1/models", err);
    if (s != OK) return s;
    const json_t *row = json_array_get(json_object_get(root, "data"), 0);
    if (json_is_string(json_object_get(row, "id"))) {
        words_copy(out->model, sizeof out->model, json_object_get(row, "id"));
        out->max_model_len = model_length(row);
    } else {
        s = fail(err, ERR_FORMAT, "/v1/models: data[0].id: expected a string");
    }
    json_decref(root);
    return s;
}

static void ids_write(buffer *out, const int32_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char digits[12];
        char *at = digits + sizeof digits;
        bool negative = ids[i] < 0;
        int64_t rest = negative ? -(int64_t)ids[i] : ids[i];
        do *--at = (char)('0' + rest % 10);
        while (rest /= 10);
        if (negative) *--at = '-';
        if (i) buffer_put_char(out, ',');
        buffer_put(out, at, (size_t)(digits + sizeof digits - at));
    }
}

/* Those that `said` holds are left out. */
static status stops_add(json_t *root, const struct engine_request *request, text said, error *err)
{
    if (request->n_stops == 0) return OK;
    if (request->n_stops > HTTP_STOPS_MAX)
        return fail(err, ERR_USAGE, "stops: found %zu, at most %d", request->n_stops,
                    HTTP_STOPS_MAX);
    json_t *list = json_array();
    for (size_t i = 0; i < request->n_stops; i++) {
        text stop = request->stops[i];
        json_t *value =
            utf8_valid(stop) ? json_stringn(stop.bytes ? stop.bytes : "", stop.size) : NULL;
        if (!value) {
            json_decref(list);
            return fail(err, ERR_USAGE, "stops[%zu]: expected UTF-8", i);
        }
        if (text_find(said, stop, 0) == SIZE_MAX)
            json_array_append_new(list, value);
        else
            json_decref(value);
    }
    if (json_array_size(list))
        json_object_set_new(root, "stop", list);
    else
        json_decref(list);
    return OK;
}

static json_t *ids_list(const int32_t *ids, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    return list;
}

/* What all forms have in common; NULL: no memory. */
static json_t *fields_new(const struct engine_request *request, const char *model)
{
    json_t *root = json_pack(
        "{s:I, s:f, s:I, s:b, s:{s:b}}", "max_tokens", (json_int_t)request->max_tokens,
        "temperature", (double)request->temperature, "seed",
        (json_int_t)(request->seed & INT64_MAX), "stream", 1, "stream_options", "include_usage", 1);
    if (root && model && model[0]) json_object_set_new(root, "model", json_string(model));
    if (root && request->n_choices > 1 && !request->score_behind)
        json_object_set_new(root, "n", json_integer(request->n_choices));
    return root;
}

/* Asks for the counts with every piece; not all know that. */
static void counts_add(json_t *root)
{
    json_object_set_new(json_object_get(root, "stream_options"), "continuous_usage_stats",
                        json_true());
}

static void ids_add(json_t *own, const char *name, const int32_t *ids, size_t n)
{
    if (n) json_object_set_new(own, name, ids_list(ids, n));
}

static void score_add(json_t *own, const struct engine_request *request)
{
    ids_add(own, "score", request->score, request->n_score);
    if (!request->score_behind) return;
    json_t *lists = json_array();
    for (int32_t i = 0; i < request->n_choices; i++)
        json_array_append_new(lists,
                              ids_list(request->score_behind[i].ids, request->score_behind[i].n));
    json_object_set_new(own, "score_behind", lists);
}

static void session_add(json_t *own, const struct engine_request *request)
{
    if (!request->session || !request->session[0]) return;
    json_object_set_new(own, "session", json_string(request->session));
    if (request->supersedes) json_object_set_new(own, "supersedes", json_string("session"));
}

static void own_fields_add(json_t *root, const struct engine_request *request, unsigned features)
{
    json_t *own = json_object();
    if ((features & FEATURE_PRIORITY) && request->priority)
        json_object_set_new(own, "priority", json_string(request->priority));
    if (features & FEATURE_PRIORITY) session_add(own, request);
    if (features & FEATURE_FORBID_FIRST)
        ids_add(own, "forbid_first", request->forbid_first, request->n_forbid_first);
    if (features & FEATURE_SCORE) score_add(own, request);
    if ((features & FEATURE_FORBID_UNOPENED) && request->forbid_unopened)
        json_object_set_new(own, "forbid_unopened", json_string(request->forbid_unopened));
    if ((features & FEATURE_DEADLINE) && request->deadline_ms > 0)
        json_object_set_new(own, "deadline_ms", json_integer(request->deadline_ms));
    if ((features & FEATURE_MUST_START_WITH) && request->must_start_with.size) {
        buffer encoded = {0};
        base64_encode(&encoded, request->must_start_with);
        if (!encoded.failed)
            json_object_set_new(own, "must_start_with", json_string(encoded.bytes));
        buffer_free(&encoded);
    }
    /* Only an aid: what is no UTF-8 is left out. */
    text predicted = request->predicted;
    if ((features & FEATURE_PREDICTED) && predicted.size && utf8_valid(predicted))
        json_object_set_new(own, "predicted", json_stringn(predicted.bytes, predicted.size));
    if (json_object_size(own))
        json_object_set_new(root, "dbrx", own);
    else
        json_decref(own);
}

status completion_write(buffer *out, const struct engine_request *request, const char *model,
                        unsigned features, error *err)
{
    json_t *root = fields_new(request, model);
    if (!root) return fail(err, ERR_MEMORY, "request: out of memory");
    status s = stops_add(root, request, TEXT(""), err);
    counts_add(root);
    /* Of our own engines only: others may refuse it. */
    if (features && request->wants_logprobs) json_object_set_new(root, "logprobs", json_integer(0));
    own_fields_add(root, request, features);
    char *fields = s == OK ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    json_decref(root);
    if (s != OK) return s;
    if (fields) {
        buffer_put_text(out, TEXT("{\"prompt\":["));
        ids_write(out, request->prompt, request->n_prompt);
        buffer_put_text(out, TEXT("],"));
        buffer_put_text(out, text_of(fields + 1));
    }
    if (!fields || out->failed) s = fail(err, ERR_MEMORY, "request: out of memory");
    free(fields);
    return s;
}

static void message_add(json_t *list, text role, text content, buffer *scratch)
{
    buffer_clear(scratch);
    chat_text_write(scratch, content);
    json_t *message = json_object();
    json_object_set_new(message, "role", json_stringn(role.bytes, role.size));
    json_object_set_new(message, "content",
                        json_stringn(scratch->bytes ? scratch->bytes : "", scratch->size));
    json_array_append_new(list, message);
}

static void messages_add(json_t *list, const struct chat_messages *m, buffer *scratch)
{
    for (size_t i = 0; i < m->n; i++)
        message_add(list, m->list[i].role, m->list[i].content, scratch);
}

/* Users' and assistants' turns in alternation: the system's words stand in the first one, and what the
 * open turn says is asked for in the last. */
static void plain_messages_add(json_t *list, const struct chat_messages *m, text must,
                               buffer *scratch)
{
    buffer turn = {0};
    for (size_t i = 0; i < m->n; i++) {
        const struct chat_message *message = &m->list[i];
        bool open = m->open && i + 2 == m->n;
        buffer_put_text(&turn, message->content);
        if (text_is(message->role, "system")) {
            buffer_put_text(&turn, TEXT("\n\n"));
            continue;
        }
        if (open) {
            buffer_put_text(&turn, TEXT("\nYour answer begins with exactly these characters and "
                                        "goes on right behind them:\n"));
            buffer_put_text(&turn, m->list[i + 1].content);
            buffer_put_text(&turn, must);
        }
        scratch->failed |= turn.failed;
        message_add(list, message->role, buffer_text(&turn), scratch);
        if (open) break;
        buffer_clear(&turn);
    }
    buffer_free(&turn);
}

status chat_write(buffer *out, const struct engine_request *request,
                  const struct chat_messages *messages, enum ask_form form, const char *model,
                  error *err)
{
    json_t *root = fields_new(request, model), *list = json_array();
    buffer opening = {0}, scratch = {0};
    if (messages->open) buffer_put_text(&opening, messages->list[messages->n - 1].content);
    buffer_put_text(&opening, request->must_start_with);
    status s = root && list ? stops_add(root, request, buffer_text(&opening), err)
                            : fail(err, ERR_MEMORY, "request: out of memory");
    if (s == OK && form == ASK_CHAT) {
        counts_add(root);
        messages_add(list, messages, &scratch);
        if (messages->open) { /* vLLM and SGLang; llama.cpp goes on by itself */
            json_object_set_new(root, "continue_final_message", json_true());
            json_object_set_new(root, "add_generation_prompt", json_false());
        }
    } else if (s == OK) {
        plain_messages_add(list, messages, request->must_start_with, &scratch);
    }
    json_object_set(root, "messages", list);
    char *json = s == OK ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    if (json) buffer_put_text(out, text_of(json));
    if (s == OK && (!json || out->failed || opening.failed || scratch.failed))
        s = fail(err, ERR_MEMORY, "request: out of memory");
    free(json);
    json_decref(list);
    json_decref(root);
    buffer_free(&opening);
    buffer_free(&scratch);
    return s;
}

status detokenize_write(buffer *out, const char *model, const int32_t *ids, size_t n, error *err)
{
    json_t *root = json_object();
    if (model && model[0]) json_object_set_new(root, "model", json_string(model));
    ids_add(root, "tokens", ids, n);
    char *json = json_dumps(root, JSON_COMPACT);
    if (json) buffer_put_text(out, text_of(json));
    free(json);
    json_decref(root);
    return json && !out->failed ? OK : fail(err, ERR_MEMORY, "request: out of memory");
}

status detokenize_parse(buffer *out, text json, error *err)
{
    static const char *const names[] = {"prompt", "content", "text"}; /* vLLM, llama.cpp, SGLang */
    const json_t *words = NULL;
    json_t *root;
    status s = object_read(&root, json, "detokenize", err);
    if (s != OK) return s;
    for (size_t i = 0; i < sizeof names / sizeof *names && !json_is_string(words); i++)
        words = json_object_get(root, names[i]);
    if (json_is_string(words))
        buffer_put(out, json_string_value(words), json_string_length(words));
    else
        s = fail(err, ERR_FORMAT, "detokenize: found no text");
    json_decref(root);
    return s;
}

static void usage_read(struct completion_piece *piece, const json_t *usage)
{
    const json_t *details = json_object_get(usage, "prompt_tokens_details");
    piece->n_prompt = integer_get(usage, "prompt_tokens", -1);
    piece->n_output = integer_get(usage, "completion_tokens", -1);
    piece->n_cached = integer_get(details, "cached_tokens", -1);
}

static void logprobs_read(struct completion_piece *piece, const json_t *choice)
{
    const json_t *list = json_object_get(json_object_get(choice, "logprobs"), "token_logprobs");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *value = json_array_get(list, i);
        double logprob = json_number_value(value);
        if (!json_is_number(value) || !(logprob <= 0)) continue;
        piece->sum_logprob += logprob;
        piece->n_logprobs++;
    }
}

/* A number, or a list of one for each choice. */
static void scores_read(struct completion_piece *piece, const json_t *own)
{
    const json_t *scores = json_object_get(own, "score_logprob");
    for (size_t i = 0; i < ENGINE_CHOICES_MAX; i++) {
        const json_t *value = json_is_array(scores) ? json_array_get(scores, i) : NULL;
        if (i == 0 && json_is_number(scores)) value = scores;
        piece->scores[i] = json_is_number(value) ? json_number_value(value) : NAN;
    }
}

static void choice_read(struct completion_piece *piece, const json_t *choice)
{
    int64_t index = integer_get(choice, "index", 0);
    piece->choice = index > 0 && index < ENGINE_CHOICES_MAX ? (int32_t)index : 0;
    words_copy(piece->finish, sizeof piece->finish, json_object_get(choice, "finish_reason"));
    logprobs_read(piece, choice);
}

static void failure_read(char out[256], const json_t *failure)
{
    const json_t *message = json_object_get(failure, "message");
    if (json_is_string(failure)) message = failure;
    words_copy(out, 256, message);
    if (!out[0]) snprintf(out, 256, "an error without a message");
}

/* Where the text of a choice stands; *wrong says what is the matter with it. NULL: it says nothing. */
static const json_t *words_find(const json_t *choice, bool chat, const char **wrong)
{
    const json_t *words = json_object_get(choice, "text");
    *wrong = NULL;
    if (!chat) {
        if (choice && !json_is_string(words)) *wrong = "choices[0].text: expected a string";
        return words;
    }
    const json_t *message = json_object_get(choice, "delta");
    if (!json_is_object(message)) message = json_object_get(choice, "message");
    words = json_object_get(message, "content");
    if (!words || json_is_null(words)) return NULL; /* a role, a thought, an end */
    if (!json_is_string(words)) *wrong = "choices[0]: content: expected a string";
    return words;
}

status completion_parse(struct completion_piece *piece, buffer *out, text json, bool chat,
                        error *err)
{
    json_t *root;
    const char *wrong;
    *piece = (struct completion_piece){.n_prompt = -1, .n_cached = -1, .n_output = -1};
    status s = object_read(&root, json, "completion", err);
    if (s != OK) return s;
    const json_t *failure = json_object_get(root, "error");
    const json_t *choices = json_object_get(root, "choices");
    const json_t *choice = json_array_get(choices, 0);
    const json_t *words = words_find(choice, chat, &wrong);
    const json_t *usage = json_object_get(root, "usage");
    usage_read(piece, usage);
    if (failure && !json_is_null(failure))
        failure_read(piece->failure, failure);
    else if (!json_is_array(choices) && !(chat && json_is_object(usage)))
        s = fail(err, ERR_FORMAT, "completion: choices: expected a list");
    else if (wrong)
        s = fail(err, ERR_FORMAT, "completion: %s", wrong);
    choice_read(piece, choice);
    const json_t *own = json_object_get(root, "dbrx");
    const json_t *detail = json_object_get(own, "finish_detail");
    scores_read(piece, own);
    if (json_is_string(detail) && strcmp(json_string_value(detail), "deadline") == 0)
        memcpy(piece->finish, "deadline", sizeof "deadline");
    if (s == OK && words) buffer_put(out, json_string_value(words), json_string_length(words));
    json_decref(root);
    return s;
}

void error_body_parse(char out[256], text json)
{
    json_t *root;
    out[0] = 0;
    if (object_read(&root, json, "error", NULL) != OK) return;
    const json_t *failure = json_object_get(root, "error");
    if (!failure) failure = root;
    if (json_is_string(failure) || json_is_string(json_object_get(failure, "message")))
        failure_read(out, failure);
    json_decref(root);
}
