#include "lsp/cli/prompt_task.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "context/commit_prompt.h"
#include "context/prompt.h"
#include "context/task_answer.h"
#include "lsp/assistant/action_table.h"
#include "lsp/cli/place.h"
#include "lsp/cli/terminal.h"
#include "lsp/server/protocol.h"

static const char COMMIT_MESSAGE[] = "commit-message";

status prompt_task_check(const char *task, error *err)
{
    buffer names = {0};
    if (strcmp(task, COMMIT_MESSAGE) == 0 || action_row_find(text_of(task))) return OK;
    for (size_t i = 0; action_row_at(i); i++) buffer_print(&names, "%s, ", action_row_at(i)->name);
    buffer_put_text(&names, text_of(COMMIT_MESSAGE));
    status code = fail(err, ERR_USAGE, "--task: found \"%.80s\", expected one of %.*s", task,
                       (int)names.size, names.bytes);
    buffer_free(&names);
    return code;
}

/* One more prompt: into `list`, or where that is NULL onto the terminal. */
static void prompt_show(json_t *list, const tokenizer *t, const token_list *ids,
                        text must_start_with)
{
    buffer all = {0};
    tokenizer_decode(t, &all, ids->ids, ids->n, true);
    if (list) {
        json_array_append_new(
            list, json_pack("{s:o, s:I, s:o}", "text", text_json(buffer_text(&all)), "tokens",
                            (json_int_t)ids->n, "must_start_with", text_json(must_start_with)));
    } else {
        terminal_print(buffer_text(&all));
        printf("\n[%zu tokens]\n", ids->n);
    }
    buffer_free(&all);
}

static void list_print(json_t *list, text omitted)
{
    if (!list) return;
    json_t *all = json_pack("{s:O, s:o}", "prompts", list, "omitted", text_json(omitted));
    json_dumpf(all, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(all);
}

static status plan_show(const struct prompt_task *p, const struct commit_plan *plan, error *err)
{
    token_list ids = {0};
    json_t *list = p->json ? json_array() : NULL;
    status code = OK;
    text said[COMMIT_PARTS_MAX]; /* nobody was asked */
    for (size_t i = 0; i < COMMIT_PARTS_MAX; i++) said[i] = TEXT("(the answer about it)");
    for (size_t i = 0; code == OK && i < plan->n_parts; i++) {
        ids.n = 0;
        code = commit_prompt_part(&ids, plan, i, err);
        if (code == OK) prompt_show(list, p->tokenizer, &ids, TEXT(""));
    }
    ids.n = 0;
    if (code == OK) code = commit_prompt_final(&ids, plan, said, err);
    if (code == OK) prompt_show(list, p->tokenizer, &ids, TEXT(""));
    if (code == OK) list_print(list, buffer_text(&plan->omitted));
    json_decref(list);
    token_list_free(&ids);
    return code;
}

static status commit_show(const struct prompt_task *p, const char *folder, error *err)
{
    repository *r = NULL;
    struct commit_facts facts = {0};
    struct commit_plan plan = {0};
    status code = repository_open(&r, folder, err);
    if (code == OK) code = commit_facts_read(&facts, r, err);
    if (code == OK) code = commit_plan_make(&plan, &facts, p->tokenizer, p->budget_tokens, err);
    if (code == OK) code = plan_show(p, &plan, err);
    commit_plan_free(&plan);
    commit_facts_free(&facts);
    repository_close(r);
    return code;
}

static size_t line_of(const struct place *place, size_t byte)
{
    return place_position(place, byte).line + 1;
}

static status piece_find(struct task_request *q, const struct action_row *row,
                         const struct place *place, const syntax *s, error *err)
{
    size_t from = place->cursor_byte, to = place->end_byte;
    q->task = row->task;
    if (row->offer & NEEDS_SELECTION) {
        q->select_line = line_of(place, from);
        q->select_last = line_of(place, to);
    }
    status code = action_piece_find(row->piece, s, q->document.content, &from, &to, &q->name, err);
    q->from_byte = from;
    q->to_byte = to;
    q->line = line_of(place, from);
    return code;
}

static status task_show(const struct prompt_task *p, struct task_request *q, error *err)
{
    struct unit_cache units = {0};
    struct task_prompt prompt = {0};
    status code = task_prompt_build(&prompt, &units, p->tokenizer, q, err);
    if (code == OK) {
        json_t *list = p->json ? json_array() : NULL;
        prompt_show(list, p->tokenizer, &prompt.ids, prompt.must_start_with);
        list_print(list, TEXT(""));
        json_decref(list);
    }
    task_prompt_free(&prompt);
    unit_cache_free(&units);
    return code;
}

static status place_task_show(const struct prompt_task *p, const char *word, error *err)
{
    struct place place;
    struct excerpts excerpts = {0};
    arena memory = {0};
    buffer names = {0};
    syntax *s = NULL;
    const struct action_row *row = action_row_find(text_of(p->task));
    struct task_request q = {.budget_tokens = p->budget_tokens,
                             .map_tokens = prompt_map_tokens(p->budget_tokens),
                             .details = text_of(p->details ? p->details : "")};
    status code = place_open_lines(&place, word, err);
    if (code == OK) {
        error ignored;
        q.document = place_document(&place);
        q.answer_language = language_of_document(&q.document);
        syntax_parse(&s, q.answer_language, q.document.content, NULL);
        code = piece_find(&q, row, &place, s, err);
        if (code == OK && row->task == TASK_RENAME) {
            task_free_names_put(&names, &q);
            q.details = buffer_text(&names);
        }
        if (code == OK && !p->alone &&
            gather_place(&excerpts, p->gather, &memory, place.path, &q.document, place.cursor_byte,
                         &ignored) == OK)
            q.excerpts = &excerpts;
        gather_say(p->gather, "prompt");
        if (q.excerpts && p->gather->map.n) q.map = &p->gather->map;
    }
    if (code == OK) code = task_show(p, &q, err);
    syntax_free(s);
    buffer_free(&names);
    excerpts_free(&excerpts);
    arena_reset(&memory);
    place_close(&place);
    return code;
}

status prompt_task_show(const struct prompt_task *p, const char *word, error *err)
{
    status code = strcmp(p->task, COMMIT_MESSAGE) == 0 ? commit_show(p, word, err)
                                                       : place_task_show(p, word, err);
    fflush(stdout);
    return code;
}
