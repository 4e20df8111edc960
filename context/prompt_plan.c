/* A proposal is packed as the plan would be: best first, what no longer fits is left out. Lines are
 * encoded one by one, so tokens add up exactly. */
#include "context/prompt_plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "context/prompt_text.h"
#include "context/syntax.h"

enum {
    SCORE_LEAST_SHARE = 30, /* of the best: less is noise */
    WHOLE_SHARE = 8,        /* of the budget: a larger definition is shown by its head */
    WINDOWS_ABOVE = 1000,   /* tokens: definitions have these before similar lines have any, ... */
    WINDOWS_SHARE = 25      /* ... and then these have so many percent */
};

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

static bool has_line(text content, text line)
{
    for (size_t at = 0; (at = text_find(content, line, at)) != SIZE_MAX; at++)
        if (at == 0 || content.bytes[at - 1] == '\n') return true;
    return false;
}

/* Whether the block shows the excerpt; a signature is one line with its end. */
static bool block_shows(const struct plan_block *b, const struct excerpt *e)
{
    text signature = e->line ? e->head : e->content;
    if (!text_equal(b->path, e->path)) return false;
    if (!b->line) return signature.size && has_line(b->content, signature);
    return e->line >= b->line && text_find(b->content, e->content, 0) != SIZE_MAX;
}

static text skip_lines(text t, uint32_t n)
{
    text line;
    while (n-- > 0 && text_next_line(&t, &line)) continue;
    return t;
}

/* The block shows lines of a file that now read otherwise. */
static bool is_false(const struct plan_block *b, const struct excerpt *e)
{
    if (!b->line || !e->line || !text_equal(b->path, e->path)) return false;
    uint32_t from = b->line > e->line ? b->line : e->line;
    text shown = skip_lines(b->content, from - b->line),
         now = skip_lines(e->content, from - e->line);
    text one, other;
    while (text_next_line(&shown, &one) && text_next_line(&now, &other))
        if (!text_equal(one, other)) return true;
    return false;
}

/* "From PATH, lines A to B:" and the fenced content. */
static void shown_put(buffer *out, const struct plan_block *b, text path, text content)
{
    char fence[PROMPT_FENCE_MAX + 1], heading[64];
    const struct language *l = language_find(TEXT(""), path);
    prompt_fence_make(fence, b->n_backticks);
    buffer_put_text(out, TEXT("From "));
    prompt_path_put(out, path);
    if (b->line)
        snprintf(heading, sizeof heading, ", lines %u to %u:\n", b->line, b->line + b->n_lines - 1);
    else
        snprintf(heading, sizeof heading, ", signatures:\n");
    prompt_fenced_put(out, heading, text_of(fence), l ? l->fence : "text", content);
}

/* Fills in a block whose line, n_lines and reason are set. */
static status block_make(struct plan_block *b, struct unit_cache *c, text path, text content,
                         error *err)
{
    buffer all = {0};
    b->n_backticks = prompt_backticks(content);
    buffer_put_text(&all, path);
    buffer_put_text(&all, content);
    size_t from = all.size;
    shown_put(&all, b, path, content);
    b->memory = all.failed ? NULL : memory_copy(all.bytes, all.size);
    if (b->memory) {
        text t = {b->memory, all.size};
        b->path = text_slice(t, 0, path.size);
        b->content = text_slice(t, path.size, from);
        b->shown = text_slice(t, from, all.size);
        b->n_tokens = unit_cache_count(c, b->shown);
    }
    buffer_free(&all);
    return b->memory ? OK : fail(err, ERR_MEMORY, "prompt: no memory for an excerpt");
}

/* What showing an excerpt is worth: much for the first ones, little for the many that follow. */
static double worth(const struct excerpt *e) { return e->score * e->score; }

static bool is_window(const struct excerpt *e) { return e->source == SOURCE_SIMILAR; }

/* One plan under construction: blocks in the order of their best excerpts. */
struct packing {
    struct prompt_plan *plan;
    const struct prompt_plan *before; /* its kept blocks show already ... */
    const bool *kept;
    struct unit_cache *units;
    size_t used, used_by_windows, budget_tokens;
    const struct excerpt **signatures; /* [n_signatures] chosen, with the block of their file */
    size_t *owners, n_signatures;
    double value;
    error *err;
};

static bool is_shown(const struct packing *k, const struct excerpt *e)
{
    for (size_t i = 0; i < k->before->n; i++)
        if (k->kept[i] && block_shows(&k->before->blocks[i], e)) return true;
    return false;
}

static struct plan_block *block_begin(struct packing *k, const struct excerpt *e)
{
    struct plan_block *b = &k->plan->blocks[k->plan->n++];
    *b = (struct plan_block){.reason = e->reason, .score = e->score, .is_window = is_window(e)};
    return b;
}

/* Heading and fences of a block of signatures. */
static size_t frame_tokens(struct packing *k, text path)
{
    buffer all = {0};
    const struct plan_block b = {.line = 0};
    shown_put(&all, &b, path, TEXT(""));
    size_t n = unit_cache_count(k->units, buffer_text(&all));
    buffer_free(&all);
    return n;
}

static status signature_add(struct packing *k, const struct excerpt *e, size_t limit)
{
    text line = e->line ? e->head : e->content;
    size_t i = 0, n = unit_cache_count(k->units, line);
    struct prompt_plan *p = k->plan;
    while (i < p->n && !(p->blocks[i].line == 0 && text_equal(p->blocks[i].path, e->path))) i++;
    if (i == p->n) n += frame_tokens(k, e->path);
    if (k->used + n > limit || (i == p->n && p->n == PLAN_BLOCKS_MAX)) return OK;
    if (i == p->n) block_begin(k, e)->path = e->path;
    p->blocks[i].value += worth(e);
    k->signatures[k->n_signatures] = e;
    k->owners[k->n_signatures++] = i;
    k->used += n;
    k->value += worth(e);
    return OK;
}

static status lines_add(struct packing *k, const struct excerpt *e, size_t limit)
{
    if (k->plan->n == PLAN_BLOCKS_MAX) return OK;
    struct plan_block *b = block_begin(k, e);
    b->line = e->line;
    b->n_lines = e->n_lines;
    status code = block_make(b, k->units, e->path, e->content, k->err);
    if (code == OK && e->head.size && b->n_tokens > k->budget_tokens / WHOLE_SHARE) {
        block_free(b);
        k->plan->n--;
        return signature_add(k, e, limit);
    }
    if (code == OK && k->used + b->n_tokens <= limit) {
        k->used += b->n_tokens;
        k->used_by_windows += b->is_window ? b->n_tokens : 0;
        k->value += b->value = worth(e);
        return OK;
    }
    block_free(b);
    k->plan->n--;
    return code;
}

/* Signatures of a file stand in the file's order. */
static int compare_places(const void *a, const void *b)
{
    const struct excerpt *x = *(const struct excerpt *const *)a,
                         *y = *(const struct excerpt *const *)b;
    return (x->from > y->from) - (x->from < y->from);
}

static status signatures_make(struct packing *k, size_t i)
{
    struct plan_block *b = &k->plan->blocks[i];
    const struct excerpt **own = memory_take(k->n_signatures, sizeof *own);
    buffer lines = {0};
    size_t n = 0;
    if (!own) return fail(k->err, ERR_MEMORY, "prompt: no memory for an excerpt");
    for (size_t s = 0; s < k->n_signatures; s++)
        if (k->owners[s] == i) own[n++] = k->signatures[s];
    qsort(own, n, sizeof *own, compare_places);
    for (size_t s = 0; s < n; s++) {
        text line = own[s]->line ? own[s]->head : own[s]->content;
        if (!has_line(buffer_text(&lines), line)) buffer_put_text(&lines, line);
    }
    b->n_lines = (uint32_t)n;
    status code = lines.failed ? fail(k->err, ERR_MEMORY, "prompt: no memory for an excerpt")
                               : block_make(b, k->units, b->path, buffer_text(&lines), k->err);
    buffer_free(&lines);
    memory_free(own);
    return code;
}

/* Of a plan's tokens, those that similar lines have: in a small one what the lines use says more. */
static size_t windows_budget(size_t budget_tokens)
{
    return budget_tokens > WINDOWS_ABOVE ? (budget_tokens - WINDOWS_ABOVE) / 100 * WINDOWS_SHARE
                                         : 0;
}

/* Those of one kind that fit below `limit`; `done` are in the plan. */
static status kind_add(struct packing *k, const struct excerpt *excerpts, size_t n, bool windows,
                       size_t limit, bool *done)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < n; i++) {
        const struct excerpt *e = &excerpts[i];
        size_t used = k->used;
        if (done[i] || is_window(e) != windows) continue;
        if (is_shown(k, e)) {
            k->value += worth(e);
            done[i] = true;
            continue;
        }
        code = e->line ? lines_add(k, e, limit) : signature_add(k, e, limit);
        done[i] = k->used > used;
    }
    return code;
}

static status excerpts_add(struct packing *k, const struct excerpt *excerpts, size_t n, bool *done)
{
    size_t windows = windows_budget(k->budget_tokens), n_kept = n;
    for (size_t i = 0; i < n; i++) {
        bool noise = excerpts[i].score * SCORE_LEAST_SHARE < excerpts[0].score;
        if (noise && n_kept > i) n_kept = i;
        done[i] = prompt_backticks(excerpts[i].content) >= PROMPT_FENCE_MAX;
    }
    size_t left = windows > k->used_by_windows ? windows - k->used_by_windows : 0;
    status code = kind_add(k, excerpts, n_kept, false, k->budget_tokens - left, done);
    size_t end = k->used + left < k->budget_tokens ? k->used + left : k->budget_tokens;
    if (code == OK) code = kind_add(k, excerpts, n_kept, true, end, done);
    if (code == OK) code = kind_add(k, excerpts, n_kept, false, k->budget_tokens, done);
    if (code == OK) code = kind_add(k, excerpts, n_kept, true, k->budget_tokens, done);
    for (size_t i = 0; code == OK && i < k->plan->n; i++)
        if (!k->plan->blocks[i].line) code = signatures_make(k, i);
    return code;
}

/* What the proposal adds to the kept blocks of the plan before, and the value of both. */
static status plan_pack(struct prompt_plan *out, double *value, const struct prompt_plan *before,
                        const bool *kept, struct unit_cache *c, const struct excerpt *excerpts,
                        size_t n, size_t budget_tokens, error *err)
{
    struct packing k = {.plan = out, .before = before, .kept = kept, .units = c, .err = err};
    arena memory = {0};
    *out = (struct prompt_plan){.n = 0};
    k.budget_tokens = budget_tokens;
    k.signatures = arena_take(&memory, n + 1, sizeof *k.signatures);
    k.owners = arena_take(&memory, n + 1, sizeof *k.owners);
    bool *done = arena_take(&memory, n + 1, sizeof *done);
    for (size_t i = 0; i < before->n; i++) {
        size_t n_tokens = kept[i] ? before->blocks[i].n_tokens : 0;
        k.used += n_tokens;
        k.used_by_windows += before->blocks[i].is_window ? n_tokens : 0;
    }
    status code = memory.failed ? fail(err, ERR_MEMORY, "prompt: no memory for a plan")
                                : excerpts_add(&k, excerpts, n, done);
    if (code != OK) prompt_plan_free(out);
    arena_reset(&memory);
    *value = k.value;
    return code;
}

/* What the plan in force shows of this proposal; true when a block has become false. */
static bool plan_refresh(struct prompt_plan *p, bool *wrong, double *value,
                         const struct excerpt *excerpts, size_t n)
{
    bool some = false;
    *value = 0;
    for (size_t i = 0; i < p->n; i++) {
        struct plan_block *b = &p->blocks[i];
        b->age++;
        b->unused++;
        b->score = b->value = 0;
        wrong[i] = false;
        for (size_t k = 0; k < n; k++) {
            wrong[i] = wrong[i] || is_false(b, &excerpts[k]);
            if (!block_shows(b, &excerpts[k])) continue;
            if (excerpts[k].score > b->score) b->score = excerpts[k].score;
            b->value += worth(&excerpts[k]);
            b->unused = 0;
        }
        *value += b->value;
        some = some || wrong[i];
    }
    return some;
}

/* Kept blocks stay in front in their order, new ones follow. */
static void plan_switch(struct prompt_plan *p, const bool *kept, struct prompt_plan *next)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++)
        if (kept[i])
            p->blocks[n++] = p->blocks[i];
        else
            block_free(&p->blocks[i]);
    for (size_t i = 0; i < next->n; i++)
        if (n < PLAN_BLOCKS_MAX)
            p->blocks[n++] = next->blocks[i];
        else
            block_free(&next->blocks[i]);
    p->n = n;
    next->n = 0;
}

static size_t plan_tokens(const struct prompt_plan *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) n += p->blocks[i].n_tokens;
    return n;
}

void prompt_plan_fit(struct prompt_plan *p, size_t budget_tokens)
{
    while (plan_tokens(p) > budget_tokens) block_free(&p->blocks[--p->n]);
}

/* Which blocks may stay: all that are true and were asked for lately, or of these only those that are
 * worth their tokens. */
static void kept_choose(bool *kept, const struct prompt_plan *p, const bool *wrong, bool worthy,
                        double value, size_t budget_tokens)
{
    double mean = budget_tokens ? value / (double)budget_tokens : 0;
    size_t n_tokens = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct plan_block *b = &p->blocks[i];
        kept[i] = !wrong[i] && b->unused <= PLAN_UNUSED_MAX &&
                  n_tokens + b->n_tokens <= budget_tokens &&
                  (!worthy || b->value > mean / 2 * (double)b->n_tokens);
        n_tokens += kept[i] ? b->n_tokens : 0;
    }
}

status prompt_plan_propose(bool *changed, struct prompt_plan *p, struct unit_cache *c,
                           const struct excerpt *excerpts, size_t n, size_t budget_tokens,
                           error *err)
{
    struct prompt_plan all, best;
    bool wrong[PLAN_BLOCKS_MAX] = {false}, keep_all[PLAN_BLOCKS_MAX] = {false},
         keep_best[PLAN_BLOCKS_MAX] = {false};
    double value, value_all, value_best;
    bool was_false = plan_refresh(p, wrong, &value, excerpts, n);
    bool must = was_false || plan_tokens(p) > budget_tokens;
    *changed = false;
    kept_choose(keep_all, p, wrong, false, value, budget_tokens);
    status code = plan_pack(&all, &value_all, p, keep_all, c, excerpts, n, budget_tokens, err);
    if (code != OK) return code;
    kept_choose(keep_best, p, wrong, true, value_all, budget_tokens);
    code = plan_pack(&best, &value_best, p, keep_best, c, excerpts, n, budget_tokens, err);
    if (code == OK) {
        bool stay = value_all * PLAN_MARGIN >= value_best;
        if (must || (stay ? value_all : value_best) > PLAN_MARGIN * value) {
            plan_switch(p, stay ? keep_all : keep_best, stay ? &all : &best);
            p->was_false = was_false;
            *changed = true;
        }
        prompt_plan_free(&best);
    }
    prompt_plan_free(&all);
    return code;
}
