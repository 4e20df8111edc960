/* Fixed words, then the parts that prompt_window.c chose, each put as one block. The user turn is put
 * again with a smaller window in the rare case that headings and parts together missed the budget by
 * a few tokens: the count that decides is always the one of the ids themselves. */
#include "context/prompt.h"

#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/utf.h"
#include "context/prompt_plan.h"
#include "context/prompt_text.h"
#include "context/prompt_window.h"
#include "context/secrets.h"
#include "context/syntax.h"
#include "tokenizer/chatml.h"

enum {
    BLOCKS_MAX = 16 + PLAN_BLOCKS_MAX,
    FILE_TOKENS_MIN = 64,
    SLACK_TOKENS = 8,      /* a heading's last token may grow by what follows it */
    PLAN_SHARE = 40,       /* percent of what the fixed parts leave */
    PLAN_SHARE_HALF = 50,  /* of a file that surely needs no more than the rest, */
    PLAN_SHARE_SMALL = 65, /* and of one that needs much less */
    MAP_SHARE = 16,        /* of the budget: one part in so many, */
    MAP_TOKENS_MAX = 1024, /* and at most these */
    MAP_BUDGET_MIN = 2048, /* of the whole prompt: below it the file needs all there is */
    FENCE_MIN = 3,
    FENCE_MAX = 32 /* a longer run in a file is no fence but noise */
};

struct block_trace {
    uint64_t hash;
    int32_t age;
};

struct prompt_session {
    struct unit_cache units;
    struct prompt_places places;
    struct prompt_plan plan;
    buffer map; /* its lines as they stand in the prompt */
    uint64_t map_key;
    size_t map_tokens; /* that it was cut to */
    bool retrieves;    /* a proposal has come: excerpts have their share from now on */
    enum plan_change plan_change;
    token_list previous;
    struct block_trace traces[BLOCKS_MAX];
    size_t n_traces;
};

status prompt_session_open(prompt_session **out, error *err)
{
    *out = memory_take(1, sizeof **out);
    return *out ? OK : fail(err, ERR_MEMORY, "prompt: no memory for a session");
}

void prompt_session_close(prompt_session *s)
{
    if (!s) return;
    unit_cache_free(&s->units);
    buffer_free(&s->map);
    prompt_plan_free(&s->plan);
    prompt_places_free(&s->places);
    token_list_free(&s->previous);
    memory_free(s);
}

/* All but the units, which only grow. */
struct prompt_memory {
    struct prompt_places places;
    struct prompt_plan plan;
    bool retrieves;
    token_list previous;
    struct block_trace traces[BLOCKS_MAX];
    size_t n_traces;
};

void prompt_memory_free(prompt_memory *m)
{
    if (!m) return;
    prompt_plan_free(&m->plan);
    prompt_places_free(&m->places);
    token_list_free(&m->previous);
    memory_free(m);
}

status prompt_session_save(prompt_memory **out, const prompt_session *s, error *err)
{
    prompt_memory *m = *out = memory_take(1, sizeof *m);
    if (!m) return fail(err, ERR_MEMORY, "prompt: no memory for a session");
    status code = prompt_places_copy(&m->places, &s->places, err);
    if (code == OK) code = prompt_plan_copy(&m->plan, &s->plan, err);
    token_list_put_all(&m->previous, s->previous.ids, s->previous.n);
    if (code == OK && m->previous.failed)
        code = fail(err, ERR_MEMORY, "prompt: no memory for a session");
    m->retrieves = s->retrieves;
    memcpy(m->traces, s->traces, sizeof m->traces);
    m->n_traces = s->n_traces;
    if (code == OK) return OK;
    prompt_memory_free(m);
    *out = NULL;
    return code;
}

void prompt_session_load(prompt_session *s, prompt_memory *m)
{
    prompt_plan_free(&s->plan);
    prompt_places_free(&s->places);
    token_list_free(&s->previous);
    s->places = m->places;
    s->plan = m->plan;
    s->retrieves = m->retrieves;
    s->previous = m->previous;
    memcpy(s->traces, m->traces, sizeof s->traces);
    s->n_traces = m->n_traces;
    memory_free(m);
}

void prompt_session_adopt_plan(prompt_session *s, prompt_memory *m)
{
    struct prompt_plan old = s->plan;
    s->plan = m->plan;
    s->retrieves = m->retrieves;
    m->plan = old;
}

enum plan_change prompt_session_plan_change(const prompt_session *s) { return s->plan_change; }

void prompt_free(struct prompt *p)
{
    token_list_free(&p->ids);
    arena_reset(&p->memory);
    *p = (struct prompt){0};
}

/* One prompt under construction. */
struct layout {
    struct prompt *out;
    prompt_session *session;
    const tokenizer *tokenizer;
    const struct language *language; /* NULL: text */
    text path, content;
    size_t cursor;
    struct prompt_cut cut;
    char fence[FENCE_MAX + 1];
    size_t block_from;
    buffer scratch;
};

static const char *language_fence(const struct layout *l)
{
    return l->language ? l->language->fence : "text";
}

/* Everything put since the last block's end becomes a block. */
static void block_end(struct layout *l, const char *kind, text path, const char *reason)
{
    struct prompt *p = l->out;
    size_t n = p->ids.n - l->block_from;
    l->block_from = p->ids.n;
    if (p->n_blocks == BLOCKS_MAX) return;
    p->blocks[p->n_blocks++] = (struct prompt_block){kind, path, reason, n, 1.0, 0, false};
}

static void text_put(struct layout *l, text t)
{
    unit_cache_encode(&l->session->units, &l->out->ids, t);
}

/* Text of files: its secrets are masked where they would be encoded. */
static void data_put(struct layout *l, text t)
{
    size_t at, end;
    buffer masked = {0};
    if (secret_find(t, 0, &at, &end)) {
        buffer_put_text(&masked, t);
        if (!masked.failed) secrets_mask(masked.bytes, masked.size);
        l->scratch.failed |= masked.failed;
        t = buffer_text(&masked);
    }
    text_put(l, t);
    buffer_free(&masked);
}

static void turn_put(struct layout *l, text role, text content)
{
    chatml_begin(l->tokenizer, &l->out->ids, role);
    text_put(l, content);
    chatml_end(l->tokenizer, &l->out->ids);
}

/* The words of the system turn are the same with and without a map. */
static void system_put(struct layout *l)
{
    text map = buffer_text(&l->session->map);
    static const char reason[] = "what the engine is and how it answers";
    chatml_begin(l->tokenizer, &l->out->ids, TEXT("system"));
    buffer_clear(&l->scratch);
    buffer_put_text(&l->scratch, PROMPT_SYSTEM);
    if (map.size) buffer_put_char(&l->scratch, '\n');
    text_put(l, buffer_text(&l->scratch));
    if (map.size) {
        block_end(l, "system", TEXT(""), reason);
        text_put(l, TEXT(HEADING_MAP));
        data_put(l, map);
    }
    chatml_end(l->tokenizer, &l->out->ids);
    if (map.size)
        block_end(l, "map", TEXT(""), "what this repository's files have in common");
    else
        block_end(l, "system", TEXT(""), reason);
}

size_t prompt_map_tokens(size_t budget_tokens)
{
    size_t tokens = budget_tokens / MAP_SHARE;
    if (tokens > MAP_TOKENS_MAX) tokens = MAP_TOKENS_MAX;
    return budget_tokens < MAP_BUDGET_MIN ? 0 : tokens;
}

/* Cut once for a map and a budget: then it stays. One that was cut for a larger budget does not. */
static status map_take(prompt_session *s, const tokenizer *t, const struct prompt_options *options,
                       error *err)
{
    const struct repository_map *map = options->map;
    size_t tokens = prompt_map_tokens(options->budget_tokens);
    bool same = map ? s->map_key == map->key && s->map_tokens == tokens : tokens >= s->map_tokens;
    if (same) return OK;
    buffer_clear(&s->map);
    s->map_key = map ? map->key : 0;
    s->map_tokens = map ? tokens : 0;
    return map && tokens ? repository_map_text(&s->map, map, t, tokens, err) : OK;
}

static void fixed_put(struct layout *l)
{
    system_put(l);
    for (int i = 0; i < PROMPT_EXAMPLES; i++) {
        turn_put(l, TEXT("user"), prompt_examples[i].user);
        turn_put(l, TEXT("assistant"), prompt_examples[i].assistant);
        block_end(l, "example", TEXT(""), "shows the form of an answer and where it stops");
    }
}

static void fenced_put(struct layout *l, const char *heading, text content, const char *kind,
                       const char *reason)
{
    if (content.size == 0) return;
    buffer_clear(&l->scratch);
    prompt_fenced_put(&l->scratch, heading, text_of(l->fence), language_fence(l), content);
    data_put(l, buffer_text(&l->scratch));
    block_end(l, kind, l->path, reason);
}

static void task_put(struct layout *l)
{
    chatml_begin(l->tokenizer, &l->out->ids, TEXT("user"));
    buffer_clear(&l->scratch);
    prompt_task_put(&l->scratch, l->path, l->language ? l->language->name : "text");
    text_put(l, buffer_text(&l->scratch));
    block_end(l, "task", l->path, "which file");
}

static void excerpts_put(struct layout *l)
{
    const struct prompt_plan *plan = &l->session->plan;
    for (size_t i = 0; i < plan->n; i++) {
        const struct plan_block *b = &plan->blocks[i];
        struct prompt *p = l->out;
        const char *path = arena_copy(&p->memory, b->path.bytes, b->path.size);
        data_put(l, b->shown);
        block_end(l, "excerpt", (text){path, path ? b->path.size : 0}, b->reason);
        p->blocks[p->n_blocks - 1].score = b->score;
    }
}

static void behind_put(struct layout *l)
{
    text line = l->cut.behind_line, lines = l->cut.behind_lines;
    buffer both = {0};
    buffer_put_text(&both, line);
    if (line.size && lines.size) buffer_put_char(&both, '\n');
    buffer_put_text(&both, lines);
    fenced_put(l, l->cut.behind_is_cut ? HEADING_BEHIND_CUT : HEADING_BEHIND, buffer_text(&both),
               "behind", "what stands between the gap and the lines below");
    l->scratch.failed |= both.failed;
    buffer_free(&both);
}

/* The open assistant turn: fence and tail up to the last place no continuation can move. */
static void tail_put(struct layout *l)
{
    if (l->cut.tail_is_cut) text_put(l, TEXT(SAYS_TAIL_CUT));
    chatml_end(l->tokenizer, &l->out->ids);
    chatml_begin(l->tokenizer, &l->out->ids, TEXT("assistant"));
    buffer_clear(&l->scratch);
    buffer_put_text(&l->scratch, text_of(l->fence));
    buffer_put_text(&l->scratch, text_of(language_fence(l)));
    buffer_put_char(&l->scratch, '\n');
    unix_lines_put(&l->scratch, l->cut.tail);
    if (!l->scratch.failed) secrets_mask(l->scratch.bytes, l->scratch.size);
    text open = buffer_text(&l->scratch);
    size_t end = tokenizer_stable_boundary(l->tokenizer, open, open.size);
    text_put(l, text_slice(open, 0, end));
    block_end(l, "tail", l->path, l->cut.tail_reason);
    text rolled = text_slice(open, end, open.size);
    l->out->must_start_with =
        (text){arena_copy(&l->out->memory, rolled.bytes, rolled.size), rolled.size};
}

static void suffix_put(struct layout *l)
{
    const struct prompt_cut *c = &l->cut;
    if (c->below_is_left_out) text_put(l, TEXT(SAYS_BELOW));
    if (c->suffix.size)
        fenced_put(l, HEADING_BELOW, c->suffix, "suffix", c->suffix_reason);
    else if (c->below_is_left_out)
        block_end(l, "suffix", l->path, "the line below the gap is too long to show");
}

/* The lines above with a sentence in place of each that is left out. */
static void window_put(struct layout *l)
{
    const struct prompt_cut *c = &l->cut;
    const char *at = c->window.bytes;
    buffer_clear(&l->scratch);
    for (size_t i = c->n_left_out + 1; i > 0; i--) {
        text gone =
            i > 1 ? c->left_out[i - 2] : text_slice(c->window, c->window.size, c->window.size);
        text shown = {at, (size_t)(gone.bytes - at)};
        bool first = i == c->n_left_out + 1;
        if (shown.size)
            prompt_fenced_put(&l->scratch, first ? HEADING_ABOVE : "", text_of(l->fence),
                              language_fence(l), shown);
        else if (first)
            buffer_put_text(&l->scratch, TEXT(HEADING_ABOVE));
        if (gone.size) buffer_put_text(&l->scratch, TEXT(SAYS_LEFT_OUT));
        at = gone.bytes + gone.size;
    }
    data_put(l, buffer_text(&l->scratch));
    block_end(l, "prefix", l->path, c->window_reason);
}

static void file_put(struct layout *l)
{
    suffix_put(l);
    if (l->cut.window.size) window_put(l);
    behind_put(l);
    tail_put(l);
}

static void user_turn_put(struct layout *l)
{
    task_put(l);
    excerpts_put(l);
    file_put(l);
}

/* Tokens of a prompt for an empty part of the file: headings, fences, turns. */
static size_t empty_turn_count(struct layout *l)
{
    size_t before = l->out->ids.n, n_blocks = l->out->n_blocks, block_from = l->block_from;
    text line = TEXT("\n");
    l->cut = (struct prompt_cut){.window = line, .tail = line, .suffix = line, .behind_line = line};
    task_put(l);
    file_put(l);
    size_t n = l->out->ids.n - before;
    l->out->ids.n = before;
    l->out->n_blocks = n_blocks;
    l->block_from = block_from;
    return n;
}

/* Excerpts have their own share, whether they fill it or not: the file's anchors must not move when
 * the plan does. A file that needs little leaves more. */
static size_t plan_budget(const struct layout *l, size_t free_tokens)
{
    bool small = l->content.size < free_tokens, half = l->content.size < free_tokens / 2 * 3;
    return free_tokens / 100 * (small ? PLAN_SHARE_SMALL : half ? PLAN_SHARE_HALF : PLAN_SHARE);
}

/* The plan after this proposal, and what it may cost. */
static status plan_make(struct layout *l, const struct excerpts *proposal, size_t fixed,
                        size_t budget_tokens, size_t *plan_tokens, error *err)
{
    bool changed;
    prompt_session *s = l->session;
    bool first = proposal && !s->retrieves; /* excerpts get their share, the window gets less */
    s->plan_change = first ? PLAN_IS_BETTER : PLAN_AS_IT_WAS;
    if (proposal) s->retrieves = true;
    *plan_tokens = s->retrieves ? plan_budget(l, budget_tokens - fixed) : 0;
    if (!proposal) {
        prompt_plan_fit(&s->plan, *plan_tokens); /* the budget may have become smaller */
        return OK;
    }
    status code = prompt_plan_propose(&changed, &s->plan, &s->units, proposal->items, proposal->n,
                                      *plan_tokens, err);
    if (code == OK && changed) s->plan_change = s->plan.was_false ? PLAN_WAS_FALSE : PLAN_IS_BETTER;
    return code;
}

static status budgets_make(struct prompt_budgets *out, struct layout *l,
                           const struct prompt_options *options, error *err)
{
    size_t budget_tokens = options->budget_tokens, plan_tokens;
    size_t fixed = l->out->ids.n + empty_turn_count(l) + SLACK_TOKENS;
    if (budget_tokens < fixed + FILE_TOKENS_MIN)
        return fail(err, ERR_LIMIT,
                    "prompt: a budget of %zu tokens is too small: %zu for the fixed parts and at "
                    "least %d of the file",
                    budget_tokens, fixed, FILE_TOKENS_MIN);
    status code = plan_make(l, options->proposal, fixed, budget_tokens, &plan_tokens, err);
    if (code != OK) return code;
    size_t file = budget_tokens - fixed - plan_tokens;
    out->tail = file / 4 < 512 ? file / 4 : 512;
    out->behind = file / 8 < 128 ? file / 8 : 128;
    out->suffix = file / 10; /* and half of the window: a jump costs half of the budget */
    out->window = file - out->tail - out->behind - out->suffix;
    return OK;
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* One backtick more than the longest run shown; while the window stays it never shrinks, because a
 * new fence changes the whole turn. */
static void fence_make(struct layout *l)
{
    const struct prompt_cut *c = &l->cut;
    size_t n = larger(prompt_backticks(c->window), prompt_backticks(c->tail));
    n = larger(n, larger(prompt_backticks(c->suffix), prompt_backticks(c->behind_line)));
    n = larger(n, prompt_backticks(c->behind_lines)) + 1;
    if (n < FENCE_MIN) n = FENCE_MIN;
    if (n > FENCE_MAX) n = FENCE_MAX;
    struct prompt_anchors *a = &l->session->places.now;
    a->n_backticks = c->window_is_new ? n : larger(n, a->n_backticks);
    memset(l->fence, '`', a->n_backticks);
    l->fence[a->n_backticks] = 0;
}

static void parts_put(struct layout *l, size_t budget_tokens)
{
    struct prompt *p = l->out;
    size_t n_ids = p->ids.n, n_blocks = p->n_blocks;
    for (;;) {
        fence_make(l);
        user_turn_put(l);
        if (p->ids.n <= budget_tokens || p->ids.failed) return;
        if (!prompt_cut_shrink(&l->cut, &l->session->places.now, l->content)) return;
        p->ids.n = l->block_from = n_ids;
        p->n_blocks = n_blocks;
    }
}

static uint64_t block_hash(const int32_t *ids, size_t n)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < n; i++) h = (h ^ (uint32_t)ids[i]) * 0x100000001b3u;
    return h;
}

static int32_t age_of(const prompt_session *s, uint64_t hash)
{
    for (size_t i = 0; i < s->n_traces; i++)
        if (s->traces[i].hash == hash) return s->traces[i].age + 1;
    return 0;
}

/* What this prompt shares with the last one, block by block; then it becomes the last one. */
static void session_compare(prompt_session *s, struct prompt *p)
{
    size_t limit = p->ids.n < s->previous.n ? p->ids.n : s->previous.n, at = 0;
    while (p->n_reused < limit && p->ids.ids[p->n_reused] == s->previous.ids[p->n_reused])
        p->n_reused++;
    struct block_trace traces[BLOCKS_MAX] = {{0, 0}};
    for (size_t i = 0; i < p->n_blocks; i++) {
        struct prompt_block *b = &p->blocks[i];
        uint64_t hash = block_hash(p->ids.ids + at, b->n_tokens);
        at += b->n_tokens;
        b->reused = at <= p->n_reused;
        b->age = age_of(s, hash);
        traces[i] = (struct block_trace){hash, b->age};
    }
    memcpy(s->traces, traces, p->n_blocks * sizeof *traces);
    s->n_traces = p->n_blocks;
    s->previous.n = 0;
    s->previous.failed = false;
    token_list_put_all(&s->previous, p->ids.ids, p->ids.n);
    if (s->previous.failed) s->previous.n = 0;
}

/* Copies what outlives the call: path, fence, suffix, the readable text. */
static void results_keep(struct layout *l, const struct prompt_options *options)
{
    struct prompt *p = l->out;
    text suffix = text_slice(l->content, l->cursor, l->content.size);
    suffix = text_slice(suffix, 0, utf8_floor(suffix, SUFFIX_BYTES_MAX));
    p->suffix = (text){arena_copy(&p->memory, suffix.bytes, suffix.size), suffix.size};
    p->fence = text_of(arena_print(&p->memory, "%s", l->fence));
    if (!options->want_text) return;
    buffer_clear(&l->scratch);
    tokenizer_decode(l->tokenizer, &l->scratch, p->ids.ids, p->ids.n, true);
    text all = buffer_text(&l->scratch);
    p->text = (text){arena_copy(&p->memory, all.bytes, all.size), all.size};
}

/* Inside a character or between CR and LF no text can be inserted. */
static size_t cursor_fit(text content, size_t cursor)
{
    size_t at = utf8_floor(content, cursor);
    bool in_line_end =
        at > 0 && at < content.size && content.bytes[at] == '\n' && content.bytes[at - 1] == '\r';
    return in_line_end ? at - 1 : at;
}

static status layout_run(struct layout *l, const struct prompt_options *options, error *err)
{
    struct prompt_budgets budgets;
    int64_t from_us = clock_us();
    fixed_put(l);
    status code = budgets_make(&budgets, l, options, err);
    if (code != OK) return code;
    code = prompt_cut_make(&l->cut, &l->session->places, &l->session->units, l->content, l->cursor,
                           &budgets, err);
    if (code != OK) return code;
    int64_t cut_us = clock_us();
    parts_put(l, options->budget_tokens);
    results_keep(l, options);
    if (l->out->ids.failed || l->out->memory.failed || l->scratch.failed)
        return fail(err, ERR_MEMORY, "prompt: no memory for %zu tokens", options->budget_tokens);
    if (l->out->ids.n > options->budget_tokens)
        return fail(err, ERR_LIMIT, "prompt: %zu tokens do not fit into a budget of %zu",
                    l->out->ids.n, options->budget_tokens);
    session_compare(l->session, l->out);
    l->out->layout_us = cut_us - from_us;
    l->out->tokenize_us = clock_us() - cut_us;
    return OK;
}

status prompt_build(struct prompt *out, prompt_session *s, const tokenizer *t,
                    const struct document_view *document, size_t cursor_byte,
                    const struct prompt_options *options, error *err)
{
    *out = (struct prompt){0};
    const struct special_ids *specials = tokenizer_specials(t);
    if (specials->im_start < 0 || specials->im_end < 0)
        return fail(err, ERR_UNSUPPORTED,
                    "prompt: the tokenizer has no <|im_start|> or <|im_end|>");
    out->blocks = arena_take(&out->memory, BLOCKS_MAX, sizeof *out->blocks);
    char *path = arena_copy(&out->memory, document->path.bytes, document->path.size);
    if (out->memory.failed) return fail(err, ERR_MEMORY, "prompt: no memory for its blocks");
    struct layout l = {.out = out, .session = s, .tokenizer = t, .content = document->content};
    l.path = (text){path, document->path.size};
    l.language = language_of_document(document);
    l.cursor = cursor_fit(document->content, cursor_byte);
    memset(l.fence, '`', FENCE_MIN);
    unit_cache_begin(&s->units, t);
    status code = map_take(s, t, options, err);
    if (code == OK) code = layout_run(&l, options, err);
    buffer_free(&l.scratch);
    if (code != OK) prompt_free(out);
    return code;
}
