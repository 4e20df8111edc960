/* A proposal is packed as the plan would be: best first, what no longer fits is left out. Blocks that
 * both have keep their place at the front, in their order, because what stands still costs nothing. */
#include "context/prompt_plan.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "context/prompt_text.h"
#include "context/syntax.h"

enum { SCORE_LEAST_SHARE = 20 /* of the best: less is noise */ };

static void block_free(struct plan_block *b)
{
    memory_free(b->memory);
    *b = (struct plan_block){0};
}

void prompt_plan_free(struct prompt_plan *p)
{
    for (size_t i = 0; i < p->n; i++) block_free(&p->blocks[i]);
    p->n = 0;
}

static text view_moved(text view, const char *from, const char *to)
{
    return (text){to + (view.bytes - from), view.size};
}

status prompt_plan_copy(struct prompt_plan *out, const struct prompt_plan *p, error *err)
{
    *out = (struct prompt_plan){.was_false = p->was_false};
    for (; out->n < p->n; out->n++) {
        const struct plan_block *b = &p->blocks[out->n];
        struct plan_block *copy = &out->blocks[out->n];
        *copy = *b;
        copy->memory = memory_copy(b->memory, b->path.size + b->content.size + b->shown.size);
        if (!copy->memory) {
            prompt_plan_free(out);
            return fail(err, ERR_MEMORY, "prompt: no memory for a plan");
        }
        copy->path = view_moved(b->path, b->memory, copy->memory);
        copy->content = view_moved(b->content, b->memory, copy->memory);
        copy->shown = view_moved(b->shown, b->memory, copy->memory);
    }
    return OK;
}

static bool is_same(const struct plan_block *b, const struct excerpt *e)
{
    return text_equal(b->path, e->path) && text_equal(b->content, e->content);
}

/* The block shows lines of a file that now read otherwise. */
static bool is_false(const struct plan_block *b, const struct excerpt *e)
{
    return b->line && e->line && text_equal(b->path, e->path) && b->line < e->line + e->n_lines &&
           e->line < b->line + b->n_lines && !is_same(b, e);
}

void prompt_excerpt_put(buffer *out, const struct excerpt *e)
{
    char fence[PROMPT_FENCE_MAX + 1], heading[64];
    const struct language *l = language_find(TEXT(""), e->path);
    prompt_fence_make(fence, prompt_backticks(e->content));
    buffer_put_text(out, TEXT("From "));
    prompt_path_put(out, e->path);
    if (e->line)
        snprintf(heading, sizeof heading, ", lines %u to %u:\n", e->line, e->line + e->n_lines - 1);
    else
        snprintf(heading, sizeof heading, ", signatures:\n");
    prompt_fenced_put(out, heading, text_of(fence), l ? l->fence : "text", e->content);
}

/* Path, shown text and content in one piece of memory. */
static status block_make(struct plan_block *b, struct unit_cache *c, const struct excerpt *e,
                         error *err)
{
    buffer all = {0};
    size_t n_backticks = prompt_backticks(e->content);
    buffer_put_text(&all, e->path);
    buffer_put_text(&all, e->content);
    size_t from = all.size;
    prompt_excerpt_put(&all, e);
    *b = (struct plan_block){.reason = e->reason, .line = e->line, .n_lines = e->n_lines};
    b->memory = all.failed ? NULL : memory_copy(all.bytes, all.size);
    if (b->memory) {
        text t = {b->memory, all.size};
        b->path = text_slice(t, 0, e->path.size);
        b->content = text_slice(t, e->path.size, from);
        b->shown = text_slice(t, from, all.size);
        b->n_tokens = unit_cache_count(c, b->shown);
        b->n_backticks = n_backticks;
        b->source = e->source;
        b->score = e->score;
    }
    buffer_free(&all);
    return b->memory ? OK : fail(err, ERR_MEMORY, "prompt: no memory for an excerpt");
}

/* Scores and ages of the plan in force after this proposal; true when a block has become false. */
static bool plan_refresh(struct prompt_plan *p, const struct excerpt *excerpts, size_t n)
{
    bool wrong = false;
    for (size_t i = 0; i < p->n; i++) {
        struct plan_block *b = &p->blocks[i];
        b->age++;
        b->unused++;
        b->score = 0;
        for (size_t k = 0; k < n; k++) {
            if (is_same(b, &excerpts[k])) b->score = excerpts[k].score, b->unused = 0;
            wrong = wrong || is_false(b, &excerpts[k]);
        }
    }
    return wrong;
}

static double plan_score(const struct prompt_plan *p)
{
    double sum = 0;
    for (size_t i = 0; i < p->n; i++) sum += p->blocks[i].score;
    return sum;
}

/* The proposal as a plan of its own. */
static status plan_pack(struct prompt_plan *out, struct unit_cache *c,
                        const struct excerpt *excerpts, size_t n, size_t budget_tokens, error *err)
{
    size_t used = 0;
    status code = OK;
    *out = (struct prompt_plan){.n = 0};
    for (size_t i = 0; code == OK && i < n && out->n < PLAN_BLOCKS_MAX; i++) {
        struct plan_block b;
        if (excerpts[i].score * SCORE_LEAST_SHARE < excerpts[0].score) break;
        if (prompt_backticks(excerpts[i].content) >= PROMPT_FENCE_MAX) continue;
        code = block_make(&b, c, &excerpts[i], err);
        if (code == OK && used + b.n_tokens <= budget_tokens) {
            used += b.n_tokens;
            out->blocks[out->n++] = b;
        } else if (code == OK) {
            block_free(&b);
        }
    }
    if (code != OK) prompt_plan_free(out);
    return code;
}

static struct plan_block *plan_find(struct prompt_plan *p, const struct plan_block *like)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->blocks[i].memory && text_equal(p->blocks[i].shown, like->shown))
            return &p->blocks[i];
    return NULL;
}

/* What was proposed lately and is true stays in front where it was; then what is new, while it fits. */
static void plan_switch(struct prompt_plan *p, struct prompt_plan *next, size_t budget_tokens)
{
    struct prompt_plan merged = {.n = 0};
    size_t used = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct plan_block *same = plan_find(next, &p->blocks[i]);
        if (!same) continue;
        merged.blocks[merged.n] = *same;
        merged.blocks[merged.n++].age = p->blocks[i].age;
        used += same->n_tokens;
        same->memory = NULL;
    }
    for (size_t i = 0; i < next->n; i++) {
        struct plan_block *b = &next->blocks[i];
        if (!b->memory) continue;
        if (used + b->n_tokens <= budget_tokens && merged.n < PLAN_BLOCKS_MAX) {
            used += b->n_tokens;
            merged.blocks[merged.n++] = *b;
        } else {
            block_free(b);
        }
    }
    prompt_plan_free(p);
    *p = merged;
}

static bool has_stale(const struct prompt_plan *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->blocks[i].unused > PLAN_UNUSED_MAX) return true;
    return false;
}

status prompt_plan_propose(bool *changed, struct prompt_plan *p, struct unit_cache *c,
                           const struct excerpt *excerpts, size_t n, size_t budget_tokens,
                           error *err)
{
    struct prompt_plan next;
    size_t n_tokens = 0;
    bool wrong = plan_refresh(p, excerpts, n);
    *changed = false;
    for (size_t i = 0; i < p->n; i++) n_tokens += p->blocks[i].n_tokens;
    status code = plan_pack(&next, c, excerpts, n, budget_tokens, err);
    if (code != OK) return code;
    bool better = plan_score(&next) > PLAN_MARGIN * plan_score(p) || (has_stale(p) && next.n);
    if (wrong || better || n_tokens > budget_tokens) {
        plan_switch(p, &next, budget_tokens);
        p->was_false = wrong;
        *changed = true;
    } else {
        prompt_plan_free(&next);
    }
    return OK;
}
