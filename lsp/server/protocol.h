/* The protocol: JSON into request structs and back. With methods*.c the only place that spells LSP
 * field names.
 *
 * Absent or ill-typed JSON flows through getters: any of them takes NULL, so a malformed request
 * costs no branch per field. Views in the structs live as long as the message. Any thread. */
#ifndef LSP_SERVER_PROTOCOL_H
#define LSP_SERVER_PROTOCOL_H

#include <jansson.h>

#include "base/error.h"
#include "base/utf.h"
#include "lsp/server/documents.h"

/* Of the documents we make ourselves. */
#define DOCUMENT_SCHEME "dbrx-doc"

#define COMMAND_COMMIT "dbrx-ls.commitMessage"

enum rpc_code {
    RPC_PARSE_ERROR = -32700,
    RPC_INVALID_REQUEST = -32600,
    RPC_METHOD_NOT_FOUND = -32601,
    RPC_INVALID_PARAMS = -32602,
    RPC_INTERNAL_ERROR = -32603,
    RPC_NOT_INITIALIZED = -32002,
    RPC_CONTENT_MODIFIED = -32801,
    RPC_REQUEST_FAILED = -32803,
    RPC_CANCELLED = -32800
};

enum message_kind { MESSAGE_REQUEST, MESSAGE_NOTIFICATION, MESSAGE_RESPONSE };

struct message {
    enum message_kind kind;
    json_t *root;       /* owned; everything below borrows from it */
    json_t *id;         /* number, string or null; NULL in notifications */
    const char *method; /* NULL in responses */
    json_t *params;     /* NULL when absent */
    json_t *result;     /* of responses; NULL when absent */
    bool repaired;      /* its text was no Unicode and was changed to be readable */
    size_t size_bytes;
};

/* Reads one message, repairing `bytes` in place. 0, or the code to answer with `out->id` (NULL:
 * null) and *why in words. The root is set in both cases where there is one. */
int message_read(struct message *out, buffer *bytes, const char **why);
void message_free(struct message *m);

/* Method, id and document URI in bytes that are no JSON, found by their looks; NULL where not
 * found. New references. */
struct message_traces {
    json_t *method, *id, *uri;
};
void message_trace(struct message_traces *out, text bytes);
void message_traces_free(struct message_traces *traces);

/* Getters: NULL, empty or the fallback where the value is absent or of another type. */
text json_text_at(const json_t *object, const char *key);
bool json_flag_at(const json_t *object, const char *key, bool fallback);
int64_t json_integer_at(const json_t *object, const char *key, int64_t fallback);
json_t *json_path(const json_t *object, const char *dotted); /* "a.b.c" */

/* False when a field is absent, no whole number or negative; larger than 32 bits clamps. */
bool position_read(struct position *out, const json_t *value);
bool range_read(struct range *out, const json_t *value);

/* What the client can do with actions and their results. */
struct client_can {
    bool action_literals;   /* actions rather than bare commands */
    bool action_tags;       /* CodeActionTag.LLMGenerated */
    bool progress;          /* window/workDoneProgress/create */
    bool apply_edit;        /* workspace/applyEdit */
    bool versioned_edits;   /* documentChanges */
    bool create_files;      /* resourceOperations "create" */
    bool show_document;     /* window/showDocument */
    bool document_content;  /* workspace/textDocumentContent and its refresh */
    bool dbrx_documents;    /* dbrx/document, ours */
    bool asks_instructions; /* the user's words for dbrx-ls.rewrite are asked for by the client */
    bool dbrx_late;         /* dbrx/late, ours */
};

struct initialize_params {
    int64_t process_id; /* 0: none */
    enum position_encoding encoding;
    bool has_inline_completion, has_configuration, has_folder_changes;
    struct client_can can;
    const json_t *folders; /* array of {uri, name}, or NULL */
    text root_uri;         /* for clients without folders */
    const json_t *options; /* initializationOptions.dbrx, or NULL */
    text trace, locale;
};

struct completion_params {
    text uri;
    struct position position;
    bool invoked;
    bool has_selected; /* selectedCompletionInfo */
    struct range selected;
    text selected_text;
};

void initialize_read(struct initialize_params *out, const json_t *params);

/* False when the document or the position is missing. */
bool completion_read(struct completion_params *out, const json_t *params);

/* The command of a completion's item. */
#define COMMAND_ACCEPTED "dbrx-ls.accepted"

/* JSON of what we say. New references, NULL when memory is short. */
json_t *text_json(text t); /* U+FFFD for bytes that are no UTF-8 */
json_t *range_json(const struct range *range);
json_t *capabilities_json(enum position_encoding encoding, bool popup,
                          const struct client_can *can);

#endif
