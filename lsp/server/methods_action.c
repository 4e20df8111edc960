/* textDocument/codeAction and workspace/executeCommand.
 *
 * A list is answered at once, from the table and the request alone: actions carry a command and no
 * edit. What they do, and where, is decided when the user picks one. */
#include <string.h>

#include "base/log.h"
#include "lsp/server/state.h"
#include "lsp/server/uri.h"

/* Kinds form a tree by dots: "refactor" asks for "refactor.rewrite", too, and "", the root, for all. */
static bool kind_is_wanted(const json_t *only, const char *kind)
{
    size_t i;
    json_t *item;
    if (!json_is_array(only) || json_array_size(only) == 0) return true;
    json_array_foreach(only, i, item)
    {
        const char *wanted = json_string_value(item);
        size_t n = wanted ? strlen(wanted) : 0;
        if (wanted && strncmp(kind, wanted, n) == 0 && (n == 0 || kind[n] == 0 || kind[n] == '.'))
            return true;
    }
    return false;
}

struct action_context {
    bool automatic, has_selection, has_diagnostics;
    const json_t *only, *diagnostics;
};

static void context_read(struct action_context *out, const json_t *params)
{
    const json_t *context = json_object_get(params, "context");
    struct range range = {{0, 0}, {0, 0}};
    range_read(&range, json_object_get(params, "range"));
    *out = (struct action_context){
        .automatic = json_integer_at(context, "triggerKind", 1) == 2,
        .has_selection =
            range.start.line != range.end.line || range.start.character != range.end.character,
        .only = json_object_get(context, "only"),
        .diagnostics = json_object_get(context, "diagnostics"),
    };
    out->has_diagnostics = json_array_size(out->diagnostics) > 0;
}

static bool row_is_offered(const struct server *s, const struct action_row *row,
                           const struct action_context *c)
{
    unsigned offer = row->offer;
    if (!kind_is_wanted(c->only, row->kind)) return false;
    if ((offer & NEEDS_DIAGNOSTIC) && !c->has_diagnostics) return false;
    if ((offer & NEEDS_SELECTION) && !c->has_selection) return false;
    if ((offer & NEEDS_INSTRUCTION) && !s->can.asks_instructions) return false;
    if (!c->automatic) return true;
    return (offer & OFFER_AUTOMATIC) && (!(offer & OFFER_WITH_SELECTION) || c->has_selection);
}

static json_t *command_json(const document *d, const struct action_row *row, const json_t *params,
                            const struct action_context *c)
{
    json_t *argument =
        json_pack("{s:{s:o, s:I}, s:O}", "textDocument", "uri", text_json(d->uri), "version",
                  (json_int_t)d->version, "range", json_object_get(params, "range"));
    if (row->offer & NEEDS_DIAGNOSTIC)
        json_object_set(argument, "diagnostics", (json_t *)(uintptr_t)c->diagnostics);
    return json_pack("{s:s, s:o, s:[o]}", "title", row->title, "command",
                     json_sprintf("dbrx-ls.%s", row->name), "arguments", argument);
}

static json_t *row_json(const struct server *s, const document *d, const struct action_row *row,
                        const json_t *params, const struct action_context *c)
{
    json_t *command = command_json(d, row, params, c);
    if (!s->can.action_literals) return command;
    json_t *whole =
        json_pack("{s:s, s:s, s:o}", "title", row->title, "kind", row->kind, "command", command);
    if (whole && s->can.action_tags)
        json_object_set_new(whole, "tags", json_pack("[i]", 1)); /* LLMGenerated */
    if (whole && (row->offer & NEEDS_DIAGNOSTIC))
        json_object_set(whole, "diagnostics", (json_t *)(uintptr_t)c->diagnostics);
    return whole;
}

enum { REPORTED_MAX = 8 };

static uint32_t line_from_one(uint32_t line) { return line < UINT32_MAX ? line + 1 : line; }

/* A diagnostic, and the first other place it speaks of; false: it says nothing of use. */
static bool reported_read(struct reported *out, buffer *path, const json_t *diagnostic)
{
    const json_t *related = json_array_get(json_object_get(diagnostic, "relatedInformation"), 0);
    const json_t *location = json_object_get(related, "location");
    text uri = json_text_at(location, "uri");
    struct range range, there;
    if (!range_read(&range, json_object_get(diagnostic, "range"))) return false;
    *out = (struct reported){.message = json_text_at(diagnostic, "message")};
    out->line = line_from_one(range.start.line);
    if (text_is(uri_scheme(uri), "file") &&
        range_read(&there, json_object_get(location, "range"))) {
        uri_to_path(path, uri);
        out->path = buffer_text(path);
        out->path_line = line_from_one(there.start.line);
    }
    return !path->failed;
}

/* Who asks what can be done at a place tells what is reported there; a completion there wants to know. */
static void reports_note(struct server *s, const document *d, const struct range *range,
                         const json_t *diagnostics)
{
    struct reported said[REPORTED_MAX];
    buffer paths[REPORTED_MAX] = {{0}};
    size_t i, n = 0;
    const json_t *one;
    if (!s->gatherer || !d) return;
    json_array_foreach(diagnostics, i, one)
    {
        if (n < REPORTED_MAX && reported_read(&said[n], &paths[n], one)) n++;
    }
    gatherer_report(s->gatherer, d->key, line_from_one(range->start.line),
                    line_from_one(range->end.line), said, n);
    if (n) document_gather(s, d, document_byte(d, range->start, s->encoding));
    for (i = 0; i < REPORTED_MAX; i++) buffer_free(&paths[i]);
}

/* Of documents without model work nothing is offered; the status says why. */
void method_code_action(struct server *s, const struct message *m)
{
    const json_t *identifier = json_object_get(m->params, "textDocument");
    const document *d = documents_find(s->documents, json_text_at(identifier, "uri"));
    if (judge_holds(s, d, m, method_code_action)) return;
    const char *reason = document_exclusion(s, d);
    const struct action_row *row;
    struct action_context c;
    struct range range;
    json_t *list = json_array();
    if (!range_read(&range, json_object_get(m->params, "range"))) reason = "no range";
    context_read(&c, m->params);
    if (!reason) reports_note(s, d, &range, c.diagnostics);
    for (size_t i = 0; !reason && (row = action_row_at(i)); i++)
        if (row_is_offered(s, row, &c))
            json_array_append_new(list, row_json(s, d, row, m->params, &c));
    if (reason) log_line(LOG_DEBUG, "no actions: %s", reason);
    server_reply(s, m->id, list);
}

static void action_execute(struct server *s, const struct message *m, const struct action_row *row)
{
    const json_t *argument = json_array_get(json_object_get(m->params, "arguments"), 0);
    const json_t *identifier = json_object_get(argument, "textDocument");
    const document *d = documents_find(s->documents, json_text_at(identifier, "uri"));
    const json_t *version = json_object_get(identifier, "version");
    if (judge_holds(s, d, m, method_execute_command)) return;
    const char *reason = document_exclusion(s, d);
    if (reason)
        server_reply_error(s, m->id, RPC_REQUEST_FAILED, reason);
    else if (json_is_integer(version) && json_integer_value(version) != d->version)
        server_reply_error(s, m->id, RPC_CONTENT_MODIFIED, "the document has changed since");
    else
        job_begin(s, m, d, row, argument);
}

void method_execute_command(struct server *s, const struct message *m)
{
    text command = json_text_at(m->params, "command"), prefix = TEXT("dbrx-ls.");
    text name =
        text_starts(command, prefix) ? text_slice(command, prefix.size, command.size) : TEXT("");
    const struct action_row *row = action_row_find(name);
    if (row)
        action_execute(s, m, row);
    else if (text_is(command, COMMAND_COMMIT))
        commit_job_begin(s, m);
    else if (text_is(command, COMMAND_ACCEPTED))
        method_accepted(s, m);
    else
        server_reply_error(s, m->id, RPC_INVALID_PARAMS, "no such command");
}
