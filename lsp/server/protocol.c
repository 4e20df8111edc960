/* Bytes are first made readable: half a surrogate pair (editors send them) or bytes that are no
 * UTF-8 would cost the whole message. They are replaced by characters that take the same place, the
 * message is marked, and a document such text belongs to is put out of step. */
#include "lsp/server/protocol.h"

#include <string.h>

#include "base/limits.h"
#include "lsp/assistant/action_table.h"

static int hex4(const char *digits)
{
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i], lower = (char)(c | 0x20);
        int digit = c >= '0' && c <= '9'           ? c - '0'
                    : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                   : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* The value of "\uXXXX" at `at`, or -1. */
static int escape_at(text t, size_t at)
{
    if (t.size < 6 || at > t.size - 6 || t.bytes[at] != '\\' || t.bytes[at + 1] != 'u') return -1;
    return hex4(t.bytes + at + 2);
}

/* Takes the escape at `at`, a backslash, and returns its size; half a pair becomes U+FFFD. */
static size_t escape_repair(buffer *b, size_t at, bool *repaired)
{
    text t = buffer_text(b);
    int value = escape_at(t, at);
    if (value < 0) return 2;
    if (value < 0xD800 || value > 0xDFFF) return 6;
    int next = escape_at(t, at + 6);
    if (value < 0xDC00 && next >= 0xDC00 && next <= 0xDFFF) return 12;
    memcpy(b->bytes + at + 2, "fffd", 4);
    *repaired = true;
    return 6;
}

/* One pass: repairs, and returns the deepest nesting. */
static size_t bytes_repair(buffer *b, bool *repaired)
{
    size_t depth = 0, deepest = 0;
    bool in_string = false;
    for (size_t at = 0; at < b->size;) {
        unsigned char c = (unsigned char)b->bytes[at];
        size_t size = 1;
        if (c >= 0x80) {
            uint32_t code = utf8_decode(buffer_text(b), at, &size);
            if (code == 0xFFFD && size == 1) {
                b->bytes[at] = '?';
                *repaired = true;
            }
        } else if (c == '"') {
            in_string = !in_string;
        } else if (in_string && c == '\\') {
            size = escape_repair(b, at, repaired);
        } else if (!in_string && (c == '{' || c == '[')) {
            if (++depth > deepest) deepest = depth;
        } else if (!in_string && (c == '}' || c == ']') && depth > 0) {
            depth--;
        }
        at += size;
    }
    return deepest;
}

static int message_sort(struct message *m, const char **why)
{
    json_t *method = json_object_get(m->root, "method"), *id = json_object_get(m->root, "id");
    bool has_answer = json_object_get(m->root, "result") || json_object_get(m->root, "error");
    m->params = json_object_get(m->root, "params");
    m->result = json_object_get(m->root, "result");
    *why = "an id is a number, a string or null";
    if (id && !json_is_number(id) && !json_is_string(id) && !json_is_null(id))
        return RPC_INVALID_REQUEST;
    m->id = id;
    m->kind = id ? MESSAGE_REQUEST : MESSAGE_NOTIFICATION;
    if (!method && has_answer) {
        m->kind = MESSAGE_RESPONSE;
        return 0;
    }
    *why = "a message has a method, a string without NUL";
    if (!json_is_string(method) || strlen(json_string_value(method)) != json_string_length(method))
        return RPC_INVALID_REQUEST;
    *why = "params are an object or an array";
    m->method = json_string_value(method);
    if (m->params && !json_is_object(m->params) && !json_is_array(m->params)) {
        if (json_is_null(m->params)) m->params = NULL; /* some clients send it for "none" */
        if (m->params) return m->id ? RPC_INVALID_PARAMS : 0;
    }
    return 0;
}

int message_read(struct message *out, buffer *bytes, const char **why)
{
    *out = (struct message){.size_bytes = bytes->size};
    *why = "out of memory for the message";
    if (bytes->failed) return RPC_PARSE_ERROR;
    *why = "the message is no JSON";
    if (bytes->size == 0) return RPC_PARSE_ERROR;
    size_t depth = bytes_repair(bytes, &out->repaired);
    *why = "the message is nested too deeply";
    if (depth > JSON_DEPTH_MAX) return RPC_PARSE_ERROR;
    json_error_t where;
    *why = "the message is no JSON";
    out->root = json_loadb(bytes->bytes, bytes->size, JSON_ALLOW_NUL | JSON_DECODE_ANY, &where);
    if (!out->root) return RPC_PARSE_ERROR;
    *why = json_is_array(out->root) ? "batches are not part of the protocol"
                                    : "a message is a JSON object";
    if (!json_is_object(out->root)) return RPC_INVALID_REQUEST;
    return message_sort(out, why);
}

void message_free(struct message *m)
{
    json_decref(m->root);
    *m = (struct message){0};
}

/* The string or number that follows `"key"` and a colon. */
static json_t *value_after(text bytes, text key)
{
    size_t at = text_find(bytes, key, 0), end = 1;
    if (at == SIZE_MAX) return NULL;
    text rest = text_trim(text_slice(bytes, at + key.size, bytes.size));
    if (!text_starts(rest, TEXT(":"))) return NULL;
    rest = text_trim(text_slice(rest, 1, rest.size));
    if (text_starts(rest, TEXT("\"")))
        while (end < rest.size && rest.bytes[end++] != '"') continue;
    else
        while (end < rest.size && rest.bytes[end] >= '0' && rest.bytes[end] <= '9') end++;
    return end <= rest.size ? json_loadb(rest.bytes, end, JSON_DECODE_ANY, NULL) : NULL;
}

void message_trace(struct message_traces *out, text bytes)
{
    out->method = value_after(bytes, TEXT("\"method\""));
    out->uri = value_after(bytes, TEXT("\"uri\""));
    out->id = value_after(bytes, TEXT("\"id\""));
}

void message_traces_free(struct message_traces *traces)
{
    json_decref(traces->method);
    json_decref(traces->uri);
    json_decref(traces->id);
}

text json_text_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return (text){json_string_value(value), json_string_length(value)};
}

bool json_flag_at(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

int64_t json_integer_at(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

json_t *json_path(const json_t *object, const char *dotted)
{
    json_t *at = NULL;
    while (*dotted) {
        size_t size = strcspn(dotted, ".");
        char key[64];
        if (size >= sizeof key) return NULL;
        memcpy(key, dotted, size);
        key[size] = 0;
        at = json_object_get(object, key);
        object = at;
        dotted += size + (dotted[size] == '.');
    }
    return at;
}

static bool unsigned_read(uint32_t *out, const json_t *object, const char *key)
{
    json_int_t value = json_integer_at(object, key, -1);
    *out = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
    return value >= 0;
}

bool position_read(struct position *out, const json_t *value)
{
    bool line = unsigned_read(&out->line, value, "line");
    return unsigned_read(&out->character, value, "character") && line;
}

bool range_read(struct range *out, const json_t *value)
{
    bool start = position_read(&out->start, json_object_get(value, "start"));
    return position_read(&out->end, json_object_get(value, "end")) && start;
}

/* UTF-8 whenever it is offered, as it costs nothing; else the client's first that is known. */
static enum position_encoding encoding_choose(const json_t *offered)
{
    enum position_encoding chosen = ENCODING_UTF16;
    bool known = false;
    size_t i;
    json_t *value;
    json_array_foreach(offered, i, value)
    {
        const char *name = json_string_value(value) ? json_string_value(value) : "";
        if (strcmp(name, "utf-8") == 0) return ENCODING_UTF8;
        if (known || (strcmp(name, "utf-16") != 0 && strcmp(name, "utf-32") != 0)) continue;
        chosen = strcmp(name, "utf-32") == 0 ? ENCODING_UTF32 : ENCODING_UTF16;
        known = true;
    }
    return chosen;
}

static bool list_has(const json_t *list, const char *word)
{
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item)
    {
        if (json_is_string(item) && strcmp(json_string_value(item), word) == 0) return true;
    }
    return false;
}

static void can_read(struct client_can *out, const json_t *can, const json_t *options)
{
    const json_t *action = json_path(can, "textDocument.codeAction");
    const json_t *edit = json_path(can, "workspace.workspaceEdit"), *tag;
    size_t i;
    out->action_literals = json_is_object(json_object_get(action, "codeActionLiteralSupport"));
    json_array_foreach(json_path(action, "tagSupport.valueSet"), i, tag)
    {
        if (json_integer_value(tag) == 1) out->action_tags = true;
    }
    out->progress = json_is_true(json_path(can, "window.workDoneProgress"));
    out->apply_edit = json_is_true(json_path(can, "workspace.applyEdit"));
    out->create_files = list_has(json_object_get(edit, "resourceOperations"), "create");
    out->versioned_edits = json_is_true(json_object_get(edit, "documentChanges")) ||
                           json_array_size(json_object_get(edit, "resourceOperations")) > 0;
    out->show_document = json_is_true(json_path(can, "window.showDocument.support"));
    out->document_content = json_is_object(json_path(can, "workspace.textDocumentContent"));
    out->dbrx_documents = json_flag_at(options, "documents", false);
    out->asks_instructions = json_flag_at(options, "instructions", false);
    out->dbrx_late = json_flag_at(options, "late", false);
}

void initialize_read(struct initialize_params *out, const json_t *params)
{
    const json_t *can = json_object_get(params, "capabilities");
    *out = (struct initialize_params){0};
    out->process_id = json_integer_at(params, "processId", 0);
    out->encoding = encoding_choose(json_path(can, "general.positionEncodings"));
    out->has_inline_completion = json_is_object(json_path(can, "textDocument.inlineCompletion"));
    out->has_configuration = json_is_true(json_path(can, "workspace.configuration"));
    out->has_folder_changes = json_is_true(json_path(can, "workspace.workspaceFolders"));
    out->folders = json_object_get(params, "workspaceFolders");
    out->root_uri = json_text_at(params, "rootUri");
    out->options = json_path(params, "initializationOptions.dbrx");
    out->trace = json_text_at(params, "trace");
    out->locale = json_text_at(params, "locale");
    can_read(&out->can, can, out->options);
}

bool completion_read(struct completion_params *out, const json_t *params)
{
    *out = (struct completion_params){0};
    const json_t *context = json_object_get(params, "context");
    const json_t *selected = json_object_get(context, "selectedCompletionInfo");
    out->uri = json_text_at(json_object_get(params, "textDocument"), "uri");
    out->invoked = json_integer_at(context, "triggerKind", 1) == 1;
    out->selected_text = json_text_at(selected, "text");
    out->has_selected = range_read(&out->selected, json_object_get(selected, "range")) &&
                        json_is_string(json_object_get(selected, "text"));
    return position_read(&out->position, json_object_get(params, "position")) && out->uri.size > 0;
}

json_t *text_json(text t)
{
    json_t *value = json_stringn(t.size ? t.bytes : "", t.size);
    if (value) return value;
    buffer readable = {0};
    for (size_t at = 0, size; at < t.size; at += size) {
        char bytes[4];
        buffer_put(&readable, bytes, utf8_encode(utf8_decode(t, at, &size), bytes));
    }
    if (!readable.failed) value = json_stringn(readable.bytes, readable.size);
    buffer_free(&readable);
    return value;
}

static json_t *position_json(struct position p)
{
    return json_pack("{s:I, s:I}", "line", (json_int_t)p.line, "character",
                     (json_int_t)p.character);
}

json_t *range_json(const struct range *range)
{
    return json_pack("{s:o, s:o}", "start", position_json(range->start), "end",
                     position_json(range->end));
}

static const char *const encoding_names[] = {
    [ENCODING_UTF16] = "utf-16", [ENCODING_UTF8] = "utf-8", [ENCODING_UTF32] = "utf-32"};

static json_t *commands_json(void)
{
    const struct action_row *row;
    json_t *commands = json_array();
    for (size_t i = 0; (row = action_row_at(i)); i++)
        json_array_append_new(commands, json_sprintf("dbrx-ls.%s", row->name));
    json_array_append_new(commands, json_string(COMMAND_COMMIT));
    json_array_append_new(commands, json_string(COMMAND_ACCEPTED));
    return commands;
}

/* Every kind of the table once. */
static json_t *action_kinds_json(void)
{
    const struct action_row *row;
    json_t *kinds = json_array();
    for (size_t i = 0; (row = action_row_at(i)); i++)
        if (!list_has(kinds, row->kind)) json_array_append_new(kinds, json_string(row->kind));
    return kinds;
}

json_t *capabilities_json(enum position_encoding encoding, bool popup, const struct client_can *can)
{
    json_t *all = json_pack(
        "{s:s, s:{s:b, s:i, s:{s:b}}, s:{}, s:{s:o}, s:{s:o}, s:{s:{s:b, s:b}}}",
        "positionEncoding", encoding_names[encoding], "textDocumentSync", "openClose", 1, "change",
        2, "save", "includeText", 0, "inlineCompletionProvider", "codeActionProvider",
        "codeActionKinds", action_kinds_json(), "executeCommandProvider", "commands",
        commands_json(), "workspace", "workspaceFolders", "supported", 1, "changeNotifications", 1);
    if (all && popup)
        json_object_set_new(all, "completionProvider", json_pack("{s:b}", "resolveProvider", 0));
    if (all && can->document_content)
        json_object_set_new(json_object_get(all, "workspace"), "textDocumentContent",
                            json_pack("{s:[s]}", "schemes", DOCUMENT_SCHEME));
    return json_pack("{s:o, s:{s:s, s:s}}", "capabilities", all, "serverInfo", "name", "dbrx-ls",
                     "version", DBRX_VERSION);
}
