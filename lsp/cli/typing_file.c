/* A session in a file, JSON by lines, so that one can look at it and cut it:
 *
 *     {"typing_session": 1, "seed": 1, "documents": 2, "steps": 3}
 *     {"path": "a.c", "text": "..."}                                       a line per document
 *     {"kind": "key", "document": 0, "pause_ms": 180, "at": 7, "removed": 0, "inserted": "x",
 *      "cursor": 8}                                                        a line per step
 *
 * What is typed is text of the documents, too: the file holds their text, and is its owner's alone. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "lsp/cli/typing.h"
#include "lsp/server/protocol.h"

enum { FORMAT_VERSION = 1, PAUSE_MS_MAX = 3600000 };

/* A line of JSON (taken). */
static void line_put(buffer *out, json_t *line)
{
    char *words = line ? json_dumps(line, JSON_COMPACT) : NULL;
    if (words) buffer_put_text(out, text_of(words));
    out->failed |= !words;
    buffer_put_char(out, '\n');
    free(words);
    json_decref(line);
}

static json_t *step_json(const struct typing_step *s)
{
    return json_pack("{s:s, s:i, s:i, s:I, s:I, s:o, s:I}", "kind", typing_kind_name(s->kind),
                     "document", s->document, "pause_ms", s->pause_ms, "at", (json_int_t)s->at,
                     "removed", (json_int_t)s->n_removed, "inserted", text_json(s->inserted),
                     "cursor", (json_int_t)s->cursor);
}

status typing_session_save(const struct typing_session *s, const char *path, error *err)
{
    buffer out = {0};
    line_put(&out, json_pack("{s:i, s:I, s:I, s:I}", "typing_session", FORMAT_VERSION, "seed",
                             (json_int_t)s->seed, "documents", (json_int_t)s->n_documents, "steps",
                             (json_int_t)s->n_steps));
    for (size_t i = 0; i < s->n_documents; i++)
        line_put(&out, json_pack("{s:o, s:o}", "path", text_json(s->documents[i].path), "text",
                                 text_json(s->documents[i].base)));
    for (size_t i = 0; i < s->n_steps; i++) line_put(&out, step_json(&s->steps[i]));
    status code = out.failed ? fail(err, ERR_MEMORY, "%s: out of memory", path)
                             : file_write(path, buffer_text(&out), 0600, err);
    buffer_free(&out);
    return code;
}

/* One file being read. */
struct reading {
    const char *path;
    text rest;
    size_t n_lines;
};

static status line_read(struct reading *r, json_t **out, error *err)
{
    text line;
    json_error_t why;
    *out = NULL;
    if (!text_next_line(&r->rest, &line))
        return fail(err, ERR_FORMAT, "%s: ends behind line %zu", r->path, r->n_lines);
    r->n_lines++;
    *out = json_loadb(line.bytes, line.size, JSON_REJECT_DUPLICATES, &why);
    if (json_is_object(*out)) return OK;
    json_decref(*out);
    *out = NULL;
    return fail(err, ERR_FORMAT, "%s:%zu: %s, expected a JSON object", r->path, r->n_lines,
                why.text[0] ? why.text : "something else");
}

static text text_keep(struct typing_session *s, const json_t *object, const char *key)
{
    text found = json_text_at(object, key);
    return (text){arena_copy(&s->memory, found.bytes ? found.bytes : "", found.size), found.size};
}

/* False when the field is absent, no whole number, or outside [0, max]. */
static bool size_read(size_t *out, const json_t *object, const char *key, int64_t max)
{
    int64_t n = json_integer_at(object, key, -1);
    *out = n < 0 ? 0 : (size_t)n;
    return n >= 0 && n <= max;
}

static status document_read(struct reading *r, struct typing_session *s, size_t i, error *err)
{
    json_t *line;
    status code = line_read(r, &line, err);
    if (code != OK) return code;
    s->documents[i].path = text_keep(s, line, "path");
    s->documents[i].base = text_keep(s, line, "text");
    if (!json_is_string(json_object_get(line, "text")) || s->documents[i].path.size == 0)
        code = fail(err, ERR_FORMAT, "%s:%zu: expected a document with path and text", r->path,
                    r->n_lines);
    json_decref(line);
    return code;
}

static bool kind_read(enum typing_kind *out, const json_t *line)
{
    text name = json_text_at(line, "kind");
    for (int i = 0; i < N_TYPING_KINDS; i++) {
        if (!text_is(name, typing_kind_name((enum typing_kind)i))) continue;
        *out = (enum typing_kind)i;
        return true;
    }
    return false;
}

static status step_read(struct reading *r, struct typing_session *s, error *err)
{
    const int64_t max = (int64_t)DOCUMENT_MODEL_MAX;
    struct typing_step step = {.kind = TYPING_KEY};
    size_t number, pause_ms;
    json_t *line;
    status code = line_read(r, &line, err);
    if (code != OK) return code;
    bool fits = kind_read(&step.kind, line) &&
                size_read(&number, line, "document", (int64_t)s->n_documents - 1) &&
                size_read(&pause_ms, line, "pause_ms", PAUSE_MS_MAX) &&
                size_read(&step.at, line, "at", max) &&
                size_read(&step.n_removed, line, "removed", max) &&
                size_read(&step.cursor, line, "cursor", max) &&
                json_is_string(json_object_get(line, "inserted"));
    if (!fits) {
        json_decref(line);
        return fail(err, ERR_FORMAT,
                    "%s:%zu: expected a step with kind, document, pause_ms, at, removed, inserted "
                    "and cursor in their ranges",
                    r->path, r->n_lines);
    }
    step.document = (int32_t)number;
    step.pause_ms = (int32_t)pause_ms;
    step.inserted = text_keep(s, line, "inserted");
    s->steps[s->n_steps++] = step;
    json_decref(line);
    return OK;
}

/* Plays it once: what does not fit is found before an engine is opened. */
static status session_check(const struct typing_session *s, const char *path, error *err)
{
    struct typing_player player;
    const struct typing_step *step;
    status code = typing_player_open(&player, s, err);
    do {
        if (code == OK) code = typing_player_step(&player, &step, err);
    } while (code == OK && step);
    typing_player_close(&player);
    return code == OK ? OK : fail_in(err, code, "%s", path);
}

static status head_read(struct reading *r, struct typing_session *out, size_t *n_steps, error *err)
{
    json_t *head;
    status code = line_read(r, &head, err);
    if (code != OK) return code;
    bool known = json_integer_at(head, "typing_session", 0) == FORMAT_VERSION &&
                 size_read(&out->n_documents, head, "documents", TYPING_DOCUMENTS_MAX) &&
                 size_read(n_steps, head, "steps", TYPING_STEPS_MAX);
    out->seed = (uint64_t)json_integer_at(head, "seed", 0);
    json_decref(head);
    if (!known || out->n_documents == 0)
        return fail(
            err, ERR_FORMAT,
            "%s:1: expected {\"typing_session\": 1, \"documents\": 1 to %d, \"steps\": 0 to %d}",
            r->path, TYPING_DOCUMENTS_MAX, TYPING_STEPS_MAX);
    out->documents = arena_take(&out->memory, out->n_documents, sizeof *out->documents);
    out->steps = memory_take(*n_steps ? *n_steps : 1, sizeof *out->steps);
    out->steps_room = *n_steps;
    if (out->documents && out->steps) return OK;
    return fail(err, ERR_MEMORY, "%s: out of memory", r->path);
}

status typing_session_load(struct typing_session *out, const char *path, error *err)
{
    buffer content = {0};
    size_t n_steps = 0;
    *out = (struct typing_session){0};
    status code = file_read(&content, path, TYPING_FILE_MAX, err);
    struct reading r = {path, buffer_text(&content), 0};
    if (code == OK) code = head_read(&r, out, &n_steps, err);
    for (size_t i = 0; code == OK && i < out->n_documents; i++)
        code = document_read(&r, out, i, err);
    while (code == OK && out->n_steps < n_steps) code = step_read(&r, out, err);
    if (code == OK && text_trim(r.rest).size)
        code = fail(err, ERR_FORMAT, "%s: goes on behind its %zu steps", path, n_steps);
    if (code == OK && out->memory.failed) code = fail(err, ERR_MEMORY, "%s: out of memory", path);
    if (code == OK) code = session_check(out, path, err);
    buffer_free(&content);
    return code;
}
