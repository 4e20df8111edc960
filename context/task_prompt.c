/* The piece and the task must fit; the rest of the budget is shared: excerpts at most two fifths, then
 * the lines above the piece twice as much as those below, and what one side leaves is the other's. Every
 * text begins with a visible character and ends in a line end, so ids do not depend on neighbours. */
#include <string.h>

#include "base/utf.h"
#include "context/prompt_plan.h"
#include "context/prompt_text.h"
#include "context/secrets.h"
#include "context/task_text.h"
#include "tokenizer/chatml.h"

enum { EXCERPTS_SHARE = 40, SLACK_TOKENS = 64, OPENING_MAX = 256 };

struct layout {
    struct task_prompt *out;
    struct unit_cache *units;
    const tokenizer *tokenizer;
    const struct task_request *request;
    const struct language *language, *answer_language; /* NULL: text */
    char fence[PROMPT_FENCE_MAX + 1];
    buffer scratch, map;
};

static const char *fence_word(const struct language *l) { return l ? l->fence : "text"; }

static void text_put(struct layout *l, text t) { unit_cache_encode(l->units, &l->out->ids, t); }

/* Secrets are masked where text of files is encoded; a mask keeps lengths, so counts stay right but for
 * what became stars. */
static void scratch_put(struct layout *l)
{
    if (!l->scratch.failed && l->scratch.size) secrets_mask(l->scratch.bytes, l->scratch.size);
    text_put(l, buffer_text(&l->scratch));
    buffer_clear(&l->scratch);
}

static text piece_of(const struct task_request *q)
{
    return text_slice(q->document.content, q->from_byte, q->to_byte);
}

static size_t lines_before(text t, size_t at)
{
    size_t n = 0;
    for (size_t i = 0; i < at; i++) n += t.bytes[i] == '\n';
    return n;
}

static void file_put(struct layout *l)
{
    buffer_put_text(&l->scratch, TEXT("File: "));
    prompt_path_put(&l->scratch, l->request->document.path);
    buffer_print(&l->scratch, " (%s).\n", l->language ? l->language->name : "text");
}

/* Prose names lines, so they carry their numbers. */
static void numbered_put(buffer *out, text piece, size_t line)
{
    text row;
    for (; text_next_line(&piece, &row); line++) {
        buffer_print(out, "%4zu  ", line);
        buffer_put_text(out, row);
        buffer_put_char(out, '\n');
    }
}

static void piece_put(struct layout *l)
{
    const struct task_request *q = l->request;
    text piece = piece_of(q), rest = piece, row;
    size_t last = q->line;
    for (size_t n = 0; text_next_line(&rest, &row); n++) last = q->line + n;
    buffer_print(&l->scratch, "The piece, lines %zu to %zu:\n", q->line, last);
    buffer content = {0};
    bool numbers = task_wants_prose(q->task) || q->select_line;
    if (numbers)
        numbered_put(&content, piece, q->line);
    else
        unix_lines_put(&content, piece);
    prompt_fenced_put(&l->scratch, "", text_of(l->fence), fence_word(l->language),
                      buffer_text(&content));
    if (content.failed) l->scratch.failed = true;
    buffer_free(&content);
}

static size_t scratch_count(struct layout *l)
{
    size_t n = unit_cache_count(l->units, buffer_text(&l->scratch));
    buffer_clear(&l->scratch);
    return n;
}

/* Tokens of all that must be there, the piece's on the way. */
static size_t fixed_count(struct layout *l)
{
    size_t n = unit_cache_count(l->units, PROMPT_SYSTEM) + SLACK_TOKENS;
    file_put(l);
    n += scratch_count(l);
    piece_put(l);
    l->out->n_piece = scratch_count(l);
    task_words_put(&l->scratch, l->request);
    return n + l->out->n_piece + scratch_count(l);
}

static size_t excerpts_put(struct layout *l, size_t budget)
{
    const struct excerpts *e = l->request->excerpts;
    struct prompt_plan plan = {.n = 0};
    size_t used = 0;
    bool changed;
    if (e && prompt_plan_propose(&changed, &plan, l->units, e->items, e->n, budget, NULL) != OK)
        l->scratch.failed = true;
    for (size_t i = 0; i < plan.n; i++) {
        buffer_put_text(&l->scratch, plan.blocks[i].shown);
        scratch_put(l);
        used += plan.blocks[i].n_tokens;
    }
    prompt_plan_free(&plan);
    return used;
}

/* Where the last lines before `end` begin that take no more than the budget. */
static size_t above_start(struct layout *l, text content, size_t end, size_t budget, size_t *used)
{
    size_t at = end;
    for (*used = 0; at > 0;) {
        size_t from = unit_start_before(content, at);
        if (from == SIZE_MAX) break;
        size_t n = unit_cache_count(l->units, text_slice(content, from, at));
        if (*used + n > budget) break;
        *used += n;
        at = from;
    }
    return at;
}

static size_t below_end(struct layout *l, text content, size_t from, size_t budget, size_t *used)
{
    size_t at = from;
    for (*used = 0; at < content.size;) {
        size_t end = unit_end_after(content, at);
        if (end - at > budget * 64) break; /* a line that cannot fit is not worth counting */
        size_t n = unit_cache_count(l->units, text_slice(content, at, end));
        if (*used + n > budget) break;
        *used += n;
        at = end;
    }
    return at;
}

static void around_put(struct layout *l, size_t budget)
{
    const struct task_request *q = l->request;
    text content = q->document.content;
    size_t below = q->to_byte < content.size ? q->to_byte + 1 : content.size;
    if (below < content.size && content.bytes[below - 1] == '\r' && content.bytes[below] == '\n')
        below++;
    size_t n_above, n_below;
    size_t end = below_end(l, content, below, budget / 3, &n_below);
    size_t from = above_start(l, content, q->from_byte, budget - n_below, &n_above);
    if (from == 0) end = below_end(l, content, below, budget - n_above, &n_below);
    const struct {
        const char *heading;
        text content;
    } parts[] = {{"Above the piece:\n", text_slice(content, from, q->from_byte)},
                 {"Below the piece:\n", text_slice(content, below, end)}};
    for (size_t i = 0; i < 2; i++) {
        if (text_trim(parts[i].content).size == 0) continue;
        prompt_fenced_put(&l->scratch, parts[i].heading, text_of(l->fence), fence_word(l->language),
                          parts[i].content);
        scratch_put(l);
    }
}

static text first_indentation(text piece)
{
    size_t n = 0;
    while (n < piece.size && (piece.bytes[n] == ' ' || piece.bytes[n] == '\t')) n++;
    return text_slice(piece, 0, n);
}

/* What the answer begins with. A new file has no indentation; prose begins with what it is about. */
static void opening_put(struct layout *l)
{
    const struct task_request *q = l->request;
    if (!task_wants_prose(q->task)) {
        buffer_print(&l->scratch, "%s%s\n", l->fence, fence_word(l->answer_language));
        if (q->task != TASK_TESTS) buffer_put_text(&l->scratch, first_indentation(piece_of(q)));
        return;
    }
    if (q->name.size && q->name.size < OPENING_MAX && prompt_backticks(q->name) == 0)
        buffer_print(&l->scratch, "`%.*s`", (int)q->name.size, q->name.bytes);
    else
        buffer_print(&l->scratch, "**What**");
}

/* The open turn up to the last place no continuation can move; the rest is must_start_with. */
static void turn_open(struct task_prompt *p, const tokenizer *t, text opening)
{
    chatml_begin(t, &p->ids, TEXT("assistant"));
    size_t end = tokenizer_stable_boundary(t, opening, opening.size);
    tokenizer_encode(t, &p->ids, text_slice(opening, 0, end));
    p->opening = opening;
    p->must_start_with = text_slice(opening, end, opening.size);
}

static void fence_choose(struct layout *l)
{
    const struct task_request *q = l->request;
    size_t n = prompt_backticks(q->document.content);
    prompt_fence_make(l->fence, n);
    if (!task_wants_prose(q->task))
        l->out->fence = text_of(arena_copy(&l->out->memory, l->fence, strlen(l->fence)));
}

/* Byte for byte the system turn of completions. */
static void system_put(struct layout *l)
{
    chatml_begin(l->tokenizer, &l->out->ids, TEXT("system"));
    buffer_put_text(&l->scratch, PROMPT_SYSTEM);
    if (l->map.size) buffer_put_char(&l->scratch, '\n');
    scratch_put(l);
    if (l->map.size) {
        text_put(l, TEXT(HEADING_MAP));
        buffer_put_text(&l->scratch, buffer_text(&l->map));
        scratch_put(l);
    }
    chatml_end(l->tokenizer, &l->out->ids);
}

static void parts_put(struct layout *l, size_t free_tokens)
{
    struct task_prompt *p = l->out;
    system_put(l);
    chatml_begin(l->tokenizer, &p->ids, TEXT("user"));
    file_put(l);
    scratch_put(l);
    size_t used = excerpts_put(l, free_tokens / 100 * EXCERPTS_SHARE);
    around_put(l, free_tokens - used);
    piece_put(l);
    scratch_put(l);
    task_words_put(&l->scratch, l->request);
    scratch_put(l);
    chatml_end(l->tokenizer, &p->ids);
    opening_put(l);
    text opening = buffer_text(&l->scratch);
    const char *kept = arena_copy(&p->memory, opening.bytes, opening.size);
    turn_open(p, l->tokenizer, (text){kept, kept ? opening.size : 0});
}

status task_prompt_build(struct task_prompt *out, struct unit_cache *units, const tokenizer *t,
                         const struct task_request *request, error *err)
{
    *out = (struct task_prompt){0};
    const struct special_ids *specials = tokenizer_specials(t);
    if (specials->im_start < 0 || specials->im_end < 0)
        return fail(err, ERR_UNSUPPORTED, "the model's tokenizer has no turns of a conversation");
    struct layout l = {.out = out, .units = units, .tokenizer = t, .request = request};
    l.language = language_of_document(&request->document);
    l.answer_language = request->answer_language ? request->answer_language : l.language;
    size_t at, end;
    if (!task_wants_prose(request->task) && request->task != TASK_TESTS &&
        secret_find(piece_of(request), 0, &at, &end))
        return fail(
            err, ERR_UNSUPPORTED,
            "line %zu holds what looks like a secret: a model that sees it masked would give "
            "it back so",
            request->line + lines_before(piece_of(request), at));
    unit_cache_begin(units, t);
    fence_choose(&l);
    status code = OK;
    if (request->map && request->map_tokens)
        code = repository_map_text(&l.map, request->map, t, request->map_tokens, err);
    size_t fixed = fixed_count(&l) + unit_cache_count(units, buffer_text(&l.map));
    if (code == OK && fixed > request->budget_tokens)
        code = fail(err, ERR_LIMIT, "the piece takes %zu tokens of a prompt; there is room for %zu",
                    out->n_piece,
                    request->budget_tokens > fixed - out->n_piece
                        ? request->budget_tokens - (fixed - out->n_piece)
                        : 0);
    if (code == OK) parts_put(&l, request->budget_tokens - fixed);
    if (code == OK && (out->ids.failed || out->memory.failed || l.scratch.failed))
        code = fail(err, ERR_MEMORY, "out of memory for a prompt");
    buffer_free(&l.scratch);
    buffer_free(&l.map);
    return code;
}

status task_prompt_retry(struct task_prompt *p, const tokenizer *t, text answer, text fault,
                         error *err)
{
    buffer words = {0};
    tokenizer_encode(t, &p->ids, answer);
    chatml_end(t, &p->ids);
    chatml_begin(t, &p->ids, TEXT("user"));
    buffer_print(&words, "That cannot be used: %.*s\nAnswer again in the same form.\n",
                 (int)fault.size, fault.bytes);
    tokenizer_encode(t, &p->ids, buffer_text(&words));
    chatml_end(t, &p->ids);
    turn_open(p, t, p->opening);
    bool failed = words.failed || p->ids.failed;
    buffer_free(&words);
    return failed ? fail(err, ERR_MEMORY, "out of memory for a prompt") : OK;
}

void task_prompt_free(struct task_prompt *p)
{
    token_list_free(&p->ids);
    arena_reset(&p->memory);
    *p = (struct task_prompt){0};
}
