/* Prompts for tests/bench/context.py: one JSON object in, one out, line by line.
 *
 *     {"op": "open", "root"}                     brings the index of a tree up to date and opens it
 *     {"op": "changed", "paths": [...]}          files of it that were written since
 *     {"op": "ask", "path", "content", "cursor", "budgets": [...], "without",
 *      "recent": [[path, line], ...], "proposal", "want_found"}
 *         -> {"gather_us", "gather_cpu_us", "source_us": [...],
 *             "prompts": [{"tokens", "text", "layout_us"}, ...],
 *             "found": [[path, content, source, score], ...]}
 *     {"op": "type", "path", "content", "cursor", "budget", "recent"}
 *         -> {"tokens", "missing", "block", "plan_changed", "gather_us"}
 *
 * "proposal" true is what retrieval finds, false nothing, a list of {path, line, n_lines, content,
 * score} what another method found; the prompt around it is the same. "type" plays an editor: one
 * session per document, what retrieval finds serves the next prompt, and tokens are missing that
 * no prompt before began with. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/index.h"
#include "context/prompt.h"
#include "context/retrieve.h"
#include "context/syntax_live.h"
#include "context/tags.h"
#include "lsp/cli/bench_replay.h"

enum { RECENT_MAX = 64, BUDGETS_MAX = 16, TYPED_MAX = 64, PROPOSED_MAX = 512 };

/* A document that is being typed in. */
struct typed {
    char *path;
    prompt_session *session;
    struct excerpts found; /* for the next prompt */
    bool has_found;
};

struct tool {
    tokenizer *tokenizer;
    repository *repository;
    code_index *index;
    retriever *retriever;
    struct typed typed[TYPED_MAX];
    size_t n_typed;
    struct replay_history history;
    struct repository_map map;
    arena map_memory;
};

static text text_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return (text){json_string_value(value), json_string_length(value)};
}

static size_t size_at(const json_t *object, const char *key)
{
    return (size_t)json_integer_value(json_object_get(object, key));
}

static void tree_close(struct tool *t)
{
    for (size_t i = 0; i < t->n_typed; i++) {
        prompt_session_close(t->typed[i].session);
        excerpts_free(&t->typed[i].found);
        memory_free(t->typed[i].path);
    }
    t->n_typed = 0;
    replay_history_free(&t->history);
    arena_reset(&t->map_memory);
    t->map = (struct repository_map){0};
    retriever_close(t->retriever);
    index_close(t->index);
    repository_close(t->repository);
    t->retriever = NULL;
    t->index = NULL;
    t->repository = NULL;
}

static status tree_open(struct tool *t, const json_t *request, json_t *reply, error *err)
{
    struct index_report report = {0};
    tree_close(t);
    status code = repository_open(&t->repository, text_at(request, "root").bytes, err);
    if (code == OK) code = index_open(&t->index, t->repository, err);
    if (code == OK) code = index_update(&report, t->index, t->repository, NULL, NULL, err);
    if (code == OK)
        code = retriever_open(&t->retriever, index_database_path(t->index),
                              repository_root(t->repository), err);
    if (code == OK)
        code = repository_map_open(&t->map, &t->map_memory, index_database_path(t->index),
                                   text_of(repository_root(t->repository)), err);
    json_object_set_new(reply, "files", json_integer((json_int_t)report.n_files));
    json_object_set_new(reply, "parsed", json_integer((json_int_t)report.n_parsed));
    return code;
}

static status files_changed(struct tool *t, const json_t *request, error *err)
{
    const json_t *path;
    size_t i;
    bool changed;
    status code = OK;
    json_array_foreach(json_object_get(request, "paths"), i, path)
    {
        text p = {json_string_value(path), json_string_length(path)};
        if (code == OK) code = index_update_file(&changed, t->index, t->repository, p, err);
    }
    return code;
}

static struct retrieve_request question(const json_t *request, struct recent_place *recent)
{
    struct retrieve_request q = {.recent = recent};
    const json_t *place;
    size_t i;
    q.document = (struct document_view){text_at(request, "path"), TEXT(""),
                                        text_at(request, "content"), NULL};
    q.cursor_byte = size_at(request, "cursor");
    q.without = (unsigned)size_at(request, "without");
    json_array_foreach(json_object_get(request, "recent"), i, place)
    {
        const json_t *path = json_array_get(place, 0);
        if (q.n_recent == RECENT_MAX) break;
        recent[q.n_recent++] =
            (struct recent_place){{json_string_value(path), json_string_length(path)},
                                  (uint32_t)json_integer_value(json_array_get(place, 1))};
    }
    return q;
}

/* What another method found, as a proposal. */
static void proposal_read(struct excerpts *out, const json_t *list)
{
    const json_t *one;
    size_t i;
    out->items = arena_take(&out->memory, PROPOSED_MAX, sizeof *out->items);
    if (!out->items) return;
    json_array_foreach(list, i, one)
    {
        if (out->n == PROPOSED_MAX) break;
        out->items[out->n++] =
            (struct excerpt){.path = text_at(one, "path"),
                             .content = text_at(one, "content"),
                             .line = (uint32_t)size_at(one, "line"),
                             .n_lines = (uint32_t)size_at(one, "n_lines"),
                             .reason = "another method's",
                             .score = json_number_value(json_object_get(one, "score"))};
    }
}

static status prompt_ask(struct tool *t, const struct retrieve_request *q,
                         const struct excerpts *found, size_t budget, json_t *out, error *err)
{
    struct prompt p = {0};
    prompt_session *s = NULL;
    struct prompt_options options = {.budget_tokens = budget, .want_text = true};
    options.proposal = found;
    status code = prompt_session_open(&s, err);
    if (code == OK)
        code = prompt_build(&p, s, t->tokenizer, &q->document, q->cursor_byte, &options, err);
    if (code == OK)
        json_array_append_new(out,
                              json_pack("{s:I, s:o, s:I}", "tokens", (json_int_t)p.ids.n, "text",
                                        json_stringn(p.text.bytes, p.text.size), "layout_us",
                                        (json_int_t)(p.layout_us + p.tokenize_us)));
    else
        json_array_append_new(out, json_null()); /* the budget is too small for this file */
    prompt_free(&p);
    prompt_session_close(s);
    return code == ERR_LIMIT ? OK : code;
}

/* Processor time of this thread: what a busy machine does not stretch. */
static int64_t cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static json_t *found_list(const struct excerpts *found)
{
    json_t *list = json_array();
    for (size_t i = 0; i < found->n; i++) {
        const struct excerpt *e = &found->items[i];
        json_array_append_new(list, json_pack("[s%, s%, s, f]", e->path.bytes, e->path.size,
                                              e->content.bytes, e->content.size,
                                              retrieve_source_name(e->source), e->score));
    }
    return list;
}

/* An editor's document has a tree before somebody types in it, and its language's queries are made. */
static syntax *tree_of(const struct document_view *document)
{
    const struct language *l = language_of_document(document);
    live_syntax *live = live_syntax_open(l);
    tagger_prepare(l);
    while (!live_syntax_go_on(live, document->content, PARSE_MAX_US)) continue;
    syntax *tree = syntax_share(live_syntax_tree(live), document->content);
    live_syntax_close(live);
    return tree;
}

static status ask(struct tool *t, const json_t *request, json_t *reply, error *err)
{
    struct recent_place recent[RECENT_MAX];
    struct retrieve_request q = question(request, recent);
    struct excerpts found = {0};
    const json_t *proposal = json_object_get(request, "proposal"), *budget;
    json_t *prompts = json_array(), *sources = json_array();
    size_t i;
    status code = OK;
    syntax *tree = tree_of(&q.document);
    q.document.tree = tree;
    int64_t from_us = clock_us(), cpu_from_us = cpu_us();
    if (json_is_true(proposal)) code = retrieve(&found, t->retriever, &q, err);
    json_object_set_new(reply, "gather_us", json_integer(clock_us() - from_us));
    json_object_set_new(reply, "gather_cpu_us", json_integer(cpu_us() - cpu_from_us));
    q.document.tree = NULL;
    syntax_free(tree);
    if (json_is_array(proposal)) proposal_read(&found, proposal);
    for (i = 0; i < N_RETRIEVE_SOURCES; i++)
        json_array_append_new(sources, json_integer(found.source_us[i]));
    json_array_foreach(json_object_get(request, "budgets"), i, budget)
    {
        if (code == OK)
            code = prompt_ask(t, &q, json_is_false(proposal) ? NULL : &found,
                              (size_t)json_integer_value(budget), prompts, err);
    }
    if (json_is_true(json_object_get(request, "want_found")))
        json_object_set_new(reply, "found", found_list(&found));
    json_object_set_new(reply, "source_us", sources);
    json_object_set_new(reply, "prompts", prompts);
    excerpts_free(&found);
    return code;
}

static status typed_find(struct typed **out, struct tool *t, text path, error *err)
{
    for (size_t i = 0; i < t->n_typed; i++)
        if (text_is(path, t->typed[i].path)) {
            *out = &t->typed[i];
            return OK;
        }
    if (t->n_typed == TYPED_MAX) return fail(err, ERR_LIMIT, "too many documents");
    struct typed *d = *out = &t->typed[t->n_typed];
    *d = (struct typed){.path = memory_copy(path.bytes, path.size)};
    status code = d->path ? prompt_session_open(&d->session, err)
                          : fail(err, ERR_MEMORY, "no memory for a document");
    if (code == OK) t->n_typed++;
    return code;
}

static status type(struct tool *t, const json_t *request, json_t *reply, error *err)
{
    struct recent_place recent[RECENT_MAX];
    struct retrieve_request q = question(request, recent);
    struct prompt_options options = {.budget_tokens = size_at(request, "budget"), .map = &t->map};
    options.want_text = json_is_true(json_object_get(request, "want_text"));
    struct typed *d = NULL;
    struct prompt p = {0};
    size_t n_findable = 0;
    status code = typed_find(&d, t, q.document.path, err);
    /* A document is asked about when it is opened, before anybody types in it. */
    if (code == OK && !d->has_found) code = retrieve(&d->found, t->retriever, &q, err);
    if (code != OK) return code;
    options.proposal = &d->found;
    code = prompt_build(&p, d->session, t->tokenizer, &q.document, q.cursor_byte, &options, err);
    if (code == OK) code = replay_history_add(&t->history, &p, &n_findable, err);
    json_object_set_new(reply, "tokens", json_integer((json_int_t)p.ids.n));
    json_object_set_new(reply, "missing", json_integer((json_int_t)(p.ids.n - n_findable)));
    json_object_set_new(reply, "block", json_string(replay_block_at(&p, n_findable)));
    json_object_set_new(reply, "plan_changed",
                        json_boolean(prompt_session_plan_change(d->session) != PLAN_AS_IT_WAS));
    if (options.want_text && code == OK)
        json_object_set_new(reply, "text", json_stringn(p.text.bytes, p.text.size));
    prompt_free(&p);
    excerpts_free(&d->found);
    int64_t from_us = clock_us();
    if (code == OK) code = retrieve(&d->found, t->retriever, &q, err);
    json_object_set_new(reply, "gather_us", json_integer(clock_us() - from_us));
    d->has_found = code == OK;
    return code;
}

static status answer(struct tool *t, const json_t *request, json_t *reply, error *err)
{
    text op = text_at(request, "op");
    if (text_is(op, "open")) return tree_open(t, request, reply, err);
    if (!t->retriever) return fail(err, ERR_USAGE, "open a tree first");
    if (text_is(op, "changed")) return files_changed(t, request, err);
    if (text_is(op, "ask")) return ask(t, request, reply, err);
    if (text_is(op, "type")) return type(t, request, reply, err);
    return fail(err, ERR_USAGE, "unknown operation");
}

static void sources_print(void)
{
    for (int i = 0; i < N_RETRIEVE_SOURCES; i++)
        printf("%s%s", i ? " " : "", retrieve_source_name((enum retrieve_source)i));
    printf("\n");
    fflush(stdout);
}

int main(void)
{
    struct tool t = {.tokenizer = NULL};
    char *line = NULL;
    size_t room = 0;
    ssize_t size;
    error err;
    if (tokenizer_open(&t.tokenizer, NULL, &err) != OK) {
        fprintf(stderr, "context_ask: %s\n", err.message);
        return 1;
    }
    sources_print();
    while ((size = getline(&line, &room, stdin)) > 0) {
        json_t *request = json_loadb(line, (size_t)size, 0, NULL), *reply = json_object();
        if (answer(&t, request, reply, &err) != OK)
            json_object_set_new(reply, "error", json_string(err.message));
        json_dumpf(reply, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(reply);
        json_decref(request);
    }
    tree_close(&t);
    tokenizer_close(t.tokenizer);
    free(line);
    return 0;
}
