#include "lsp/assistant/warm.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "lsp/assistant/state.h"

enum {
    GATHER_MS = 60,            /* what is gathered when a document is opened mostly is */
    REST_MS = 150,             /* what is gathered for a place is there by then */
    TOKENS_MIN = 16,           /* fewer are computed with the question in no time */
    FOREIGN_CACHED_MIN = 64,   /* a hit, and no chat template's beginning */
    DOCUMENT_MAX = 1024 * 1024 /* of larger ones a copy for each change costs too much */
};

struct warm_call {
    assistant *assistant; /* NULL: nobody is interested any more */
    engine_call *call;
    struct question *question;
    enum warm_kind kind;
    struct prompt prompt;
    size_t n_ids;   /* of its tokens that are warmed */
    size_t n_known; /* of its tokens, before it began */
    bool tries;     /* its kind is not worth it as far as is known */
    bool only_plan; /* and is not tried this time: a better plan alone is worth a request */
    int64_t begun_us;
    prompt_memory *plan; /* to adopt when it is complete; NULL: none */
};

static bool is_ready(const struct engine_status *e)
{
    return e->state == ENGINE_READY || e->state == ENGINE_DEGRADED;
}

/* On an engine of ours, or on one that has been seen to find tokens again. One asked by chat lays out
 * its tokens itself: what would be warmed is not what comes. */
bool assistant_warms(const assistant *a)
{
    const struct engine_status *now = engine_client_status(a->options.client);
    if (a->options.no_warming || a->closing || !is_ready(now)) return false;
    return now->ours || (a->warmer.foreign_caches && !now->by_chat);
}

static bool is_of(const struct question *q, uint64_t document_key)
{
    return q->query.document_key == document_key;
}

static void wish_remove(struct warmer *w, size_t i)
{
    question_release(w->wishes[i].question);
    w->n_wishes--;
    memmove(&w->wishes[i], &w->wishes[i + 1], (w->n_wishes - i) * sizeof w->wishes[0]);
}

static unsigned bit(enum warm_kind kind) { return 1U << kind; }

static const unsigned ALL_KINDS = ~0U;

/* A new plan, and what stands before the file's own text, wherever the cursor goes. */
static bool is_of_use_anywhere(const struct warm_call *c)
{
    return c->plan || c->kind == WARM_OPEN;
}

/* Wishes and work of these kinds for a document no longer help. */
static void warm_drop(assistant *a, uint64_t document_key, unsigned kinds)
{
    struct warmer *w = &a->warmer;
    struct warm_call *c = w->running;
    for (size_t i = w->n_wishes; i-- > 0;)
        if ((kinds & bit(w->wishes[i].kind)) && is_of(w->wishes[i].question, document_key))
            wish_remove(w, i);
    if (c && c->call && (kinds & bit(c->kind)) && is_of(c->question, document_key) &&
        !(kinds != ALL_KINDS && is_of_use_anywhere(c)))
        engine_call_cancel(c->call);
}

/* Takes a reference. The oldest wish makes room. */
static void wish_put(assistant *a, enum warm_kind kind, struct question *q, int64_t delay_ms)
{
    struct warmer *w = &a->warmer;
    if (!assistant_warms(a) || q->query.document.content.size > DOCUMENT_MAX) return;
    if (w->n_wishes == WARM_WISHES_MAX) wish_remove(w, 0);
    q->n_references++;
    w->wishes[w->n_wishes++] = (struct warm_wish){kind, q, clock_us() + delay_ms * 1000};
    assistant_wake(a, 0);
}

static void latest_set(assistant *a, struct session *s, struct question *q)
{
    q->n_references++;
    question_release(s->latest);
    s->latest = q;
    a->warmer.active_key = s->document_key;
}

void warm_opened(assistant *a, struct session *s, struct question *q)
{
    latest_set(a, s, q);
    wish_put(a, WARM_OPEN, q, GATHER_MS);
    wish_put(a, WARM_OPEN, q, REST_MS); /* with what is gathered by then */
}

void warm_changed(assistant *a, struct session *s, struct question *q, bool foreseen)
{
    unsigned gone = bit(WARM_OPEN) | bit(WARM_CHANGE) | bit(WARM_REST);
    if (!foreseen) gone |= bit(WARM_ACCEPTED) | bit(WARM_NEWLINE);
    warm_drop(a, s->document_key, gone);
    latest_set(a, s, q);
    /* While a suggestion or a generation goes on, nobody asks about this place. */
    if (!foreseen) wish_put(a, WARM_CHANGE, q, 0);
    wish_put(a, WARM_REST, q, REST_MS);
}

void warm_asked(assistant *a, struct session *s, struct question *q)
{
    warm_drop(a, s->document_key, bit(WARM_OPEN) | bit(WARM_CHANGE) | bit(WARM_REST));
    latest_set(a, s, q);
    wish_put(a, WARM_REST, q, REST_MS);
}

/* An engine that became ready knows nothing of before; what the documents are now it is told. */
void warm_engine_changed(assistant *a)
{
    struct warmer *w = &a->warmer;
    bool was_ready = w->engine_is_ready;
    w->engine_is_ready = is_ready(engine_client_status(a->options.client));
    if (was_ready || !w->engine_is_ready) return;
    w->engine++;
    w->foreign_caches = false;
    w->last_real.n = 0;
    warm_ledger_end(&w->ledger);
    size_t n = 1;
    for (struct session *s = a->sessions; s && n < WARM_WISHES_MAX; s = s->next, n++)
        if (s->latest) wish_put(a, WARM_OPEN, s->latest, 0);
    const struct session *active = session_of(a, w->active_key);
    if (active && active->latest && active->latest->query.cursor_byte)
        wish_put(a, WARM_REST, active->latest, 0);
}

/* The document with `insert` for what it stands for, and the cursor behind it. */
static struct question *question_after(const struct question *q, const struct suggestion_left *left,
                                       text insert)
{
    text content = q->query.document.content;
    size_t cursor = q->query.cursor_byte;
    struct completion_query next = q->query;
    buffer all = {0};
    buffer_put_text(&all, text_slice(content, 0, cursor - left->before_bytes));
    buffer_put_text(&all, insert);
    next.cursor_byte = all.size;
    buffer_put_text(&all, text_slice(content, cursor + left->behind_bytes, content.size));
    next.document.content = buffer_text(&all);
    next.document.tree = NULL; /* of the text before */
    next.invoked = false;
    struct question *made = all.failed ? NULL : question_new(&next, false);
    buffer_free(&all);
    return made;
}

/* The last line of a text, as far as it is white space. */
static text last_indentation(text before, text insert)
{
    text all = text_find(insert, TEXT("\n"), 0) == SIZE_MAX ? before : insert;
    size_t from = all.size, to;
    while (from > 0 && all.bytes[from - 1] != '\n') from--;
    to = from;
    while (to < all.size && (all.bytes[to] == ' ' || all.bytes[to] == '\t')) to++;
    return text_slice(all, from, to);
}

static void wish_after(assistant *a, enum warm_kind kind, const struct question *q,
                       const struct suggestion_left *left, text insert)
{
    struct question *next = question_after(q, left, insert);
    if (!next) return;
    wish_put(a, kind, next, 0);
    question_release(next);
}

void warm_shown(assistant *a, const struct question *q, const struct suggestion_left *left)
{
    text content = q->query.document.content;
    buffer line = {0};
    if (!assistant_warms(a) || content.size > DOCUMENT_MAX) return;
    warm_drop(a, q->query.document_key, bit(WARM_ACCEPTED) | bit(WARM_NEWLINE));
    wish_after(a, WARM_ACCEPTED, q, left, left->rest);
    buffer_put_text(&line, left->rest);
    buffer_put_char(&line, '\n');
    buffer_put_text(&line,
                    last_indentation(text_slice(content, 0, q->query.cursor_byte), left->rest));
    if (!line.failed) wish_after(a, WARM_NEWLINE, q, left, buffer_text(&line));
    buffer_free(&line);
}

static size_t common(const struct warm_call *c, const token_list *ids)
{
    const struct prompt *p = &c->prompt;
    size_t n = 0;
    while (n < c->n_ids && n < ids->n && p->ids.ids[n] == ids->ids[n]) n++;
    return n;
}

void warm_real_begins(assistant *a, const struct run *r)
{
    struct warmer *w = &a->warmer;
    struct warm_call *c = w->running;
    r->session->engine = w->engine;
    warm_ledger_ask(&w->ledger);
    warm_ledger_use(&w->ledger, r->prompt.ids.ids, r->prompt.ids.n);
    w->last_real.n = 0;
    token_list_put_all(&w->last_real, r->prompt.ids.ids, r->prompt.ids.n);
    /* The engine goes on where a warm request stands that computes the same; others give way. */
    if (c && c->call && common(c, &w->last_real) <= c->n_known) engine_call_cancel(c->call);
}

void warm_real_ended(assistant *a, const struct run *r)
{
    const struct engine_status *now = engine_client_status(a->options.client);
    /* The first request computes; one that begins alike and finds tokens shows that they are kept. */
    bool begins_alike = r->prompt.n_reused >= FOREIGN_CACHED_MIN;
    if (!now->ours && begins_alike && r->numbers.n_cached >= FOREIGN_CACHED_MIN)
        a->warmer.foreign_caches = true;
    if (now->ours) a->warmer.foreign_caches = false;
}

static void call_free(struct warm_call *c)
{
    question_release(c->question);
    prompt_memory_free(c->plan);
    prompt_free(&c->prompt);
    memory_free(c);
}

/* What one that was ended has cost: the engine does not say, so by its time and the others' pace. */
static size_t tokens_lost(const struct warmer *w, const struct warm_call *c)
{
    size_t n_more = c->n_ids > c->n_known ? c->n_ids - c->n_known : 0;
    if (w->computed_us == 0) return n_more;
    double pace = (double)w->n_computed / (double)w->computed_us;
    double n = pace * (double)(clock_us() - c->begun_us);
    return n < (double)n_more ? (size_t)n : n_more;
}

static void lost_note(struct warmer *w, const struct warm_call *c)
{
    size_t n = tokens_lost(w, c);
    log_line(LOG_DEBUG, "warming for %s ended: about %zu of %zu tokens", warm_kind_name(c->kind), n,
             c->n_ids);
    warm_ledger_lose(&w->ledger, c->kind, n);
}

static void done_note(struct warmer *w, const struct warm_call *c, size_t n_cached)
{
    log_line(LOG_DEBUG, "warmed for %s: %zu tokens, %zu of them were there",
             warm_kind_name(c->kind), c->n_ids, n_cached);
    warm_ledger_put(&w->ledger, c->kind, c->prompt.ids.ids, c->n_ids, n_cached);
    warm_ledger_use(&w->ledger, w->last_real.ids, w->last_real.n);
    if (n_cached >= c->n_ids) return;
    w->n_computed += (int64_t)(c->n_ids - n_cached);
    w->computed_us += clock_us() - c->begun_us;
}

static void on_text(void *context, text piece)
{
    (void)context; /* a foreign engine says at least one token */
    (void)piece;
}

static void on_done(void *context, const struct engine_answer *answer)
{
    struct warm_call *c = context;
    assistant *a = c->assistant;
    if (a) {
        struct warmer *w = &a->warmer;
        struct session *s = session_of(a, c->question->query.document_key);
        bool done = answer->code == OK && !answer->cut;
        w->running = NULL;
        if (done)
            done_note(w, c, (size_t)answer->n_cached);
        else
            lost_note(w, c);
        if (done && c->plan && s) prompt_session_adopt_plan(s->prompts, c->plan);
        assistant_wake(a, 0);
    }
    call_free(c);
}

/* What the proposal did to the plan, while the session's own memory is `saved`: what is true at once
 * takes effect at once, what is better when its prompt is in the cache. Takes `saved` over. */
static status plan_settle(struct warm_call *c, struct session *s, prompt_memory *saved,
                          bool proposed, error *err)
{
    enum plan_change change = prompt_session_plan_change(s->prompts);
    prompt_memory *tried = NULL;
    status code = proposed ? prompt_session_save(&tried, s->prompts, err) : OK;
    prompt_session_load(s->prompts, saved);
    if (code == OK && proposed && change == PLAN_IS_BETTER) {
        c->plan = tried;
        return OK;
    }
    if (code == OK && proposed) prompt_session_adopt_plan(s->prompts, tried);
    prompt_memory_free(tried);
    return code;
}

/* The prompt as the next question at that place would have it. */
static status call_build(struct warm_call *c, assistant *a, struct session *s,
                         int32_t *answer_tokens, error *err)
{
    const struct completion_query *q = &c->question->query;
    const tokenizer *t = engine_client_tokenizer(a->options.client);
    prompt_memory *saved;
    if (!t) return fail(err, ERR_BUSY, "no tokenizer yet");
    gatherer *g = q->path.size ? a->options.gatherer : NULL;
    struct prompt_options layout = {.budget_tokens = assistant_budget(a, answer_tokens)};
    layout.proposal = g ? gatherer_take(g, q->document_key) : NULL;
    layout.map = g ? gatherer_map(g, q->path) : a->options.map;
    status code = prompt_session_save(&saved, s->prompts, err);
    if (code != OK) return code;
    code = prompt_build(&c->prompt, s->prompts, t, &q->document, q->cursor_byte, &layout, err);
    if (code != OK) {
        prompt_session_load(s->prompts, saved);
        return code;
    }
    if (s->engine != a->warmer.engine) c->prompt.n_reused = 0; /* another one had it */
    return plan_settle(c, s, saved, layout.proposal != NULL, err);
}

/* Where the cursor is not known yet, what stands before the file's own text. */
static size_t tokens_before_file(const struct prompt *p)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_blocks; i++) {
        const char *kind = p->blocks[i].kind;
        if (strcmp(kind, "suffix") == 0 || strcmp(kind, "prefix") == 0 ||
            strcmp(kind, "behind") == 0 || strcmp(kind, "tail") == 0)
            break;
        n += p->blocks[i].n_tokens;
    }
    return n;
}

static bool call_is_worth(const struct warm_call *c, const struct warm_ledger *l, size_t n_more)
{
    if (c->plan || !c->tries) return warm_ledger_affords(l, c->kind, n_more);
    return !c->only_plan && n_more <= WARM_TRY_TOKENS_MAX && warm_ledger_bears(l, c->kind, n_more);
}

static status call_send(struct warm_call *c, assistant *a, error *err)
{
    bool ours = engine_client_status(a->options.client)->ours;
    size_t n_open = tokens_before_file(&c->prompt);
    c->n_ids = c->kind == WARM_OPEN ? n_open : c->prompt.ids.n;
    if (c->plan) c->kind = WARM_PLAN;
    size_t n_known = warm_ledger_known(&a->warmer.ledger, c->prompt.ids.ids, c->n_ids);
    c->n_known = n_known > c->prompt.n_reused ? n_known : c->prompt.n_reused;
    if (c->n_ids < c->n_known + TOKENS_MIN) return fail(err, ERR_LIMIT, "nothing to gain");
    size_t n_more = c->n_ids > c->n_known ? c->n_ids - c->n_known : 0;
    if (!call_is_worth(c, &a->warmer.ledger, n_more)) return fail(err, ERR_LIMIT, "not worth it");
    c->begun_us = clock_us();
    const struct engine_request request = {
        .prompt = c->prompt.ids.ids,
        .n_prompt = c->n_ids,
        .max_tokens = ours ? 0 : 1,
        .priority = "warm",
    };
    const struct engine_callbacks callbacks = {
        .on_text = on_text, .on_done = on_done, .context = c};
    return engine_client_complete(a->options.client, &request, &callbacks, &c->call, err);
}

static void wish_begin(assistant *a, const struct warm_wish *wish)
{
    int32_t answer_tokens;
    error err;
    struct session *s = session_of(a, wish->question->query.document_key);
    bool tries = !warm_ledger_affords(&a->warmer.ledger, wish->kind, TOKENS_MIN);
    bool not_now = tries && !warm_ledger_tries(&a->warmer.ledger, wish->kind);
    gatherer *g = a->options.gatherer;
    if (!s || (not_now && !(g && gatherer_has(g, s->document_key)))) return;
    struct warm_call *c = memory_take(1, sizeof *c);
    if (!c) return;
    c->assistant = a;
    c->kind = wish->kind;
    c->tries = tries;
    c->only_plan = not_now;
    c->question = wish->question;
    c->question->n_references++;
    status code = call_build(c, a, s, &answer_tokens, &err);
    if (code == OK) code = call_send(c, a, &err);
    if (code == OK) {
        a->warmer.running = c;
        return;
    }
    /* What costs nothing, or cannot be paid beforehand, the next question pays. */
    if (c->plan) prompt_session_adopt_plan(s->prompts, c->plan);
    call_free(c);
}

/* Real work first: while a run of ours is under way, or its end is looked for, nothing is warmed. */
static bool is_busy(const assistant *a)
{
    if (a->warmer.running) return true;
    for (const struct run *r = a->runs; r; r = r->next)
        if (r->call) return true;
    for (const struct completion *c = a->completions; c; c = c->next)
        if (c->fit) return true;
    return false;
}

int64_t warm_next_us(const assistant *a)
{
    const struct warmer *w = &a->warmer;
    int64_t next_us = INT64_MAX;
    if (is_busy(a)) return INT64_MAX; /* its end wakes us */
    for (size_t i = 0; i < w->n_wishes; i++)
        if (w->wishes[i].not_before_us < next_us) next_us = w->wishes[i].not_before_us;
    return next_us;
}

/* The likeliest wish whose time has come; SIZE_MAX: none. */
static size_t wish_best(const struct warmer *w)
{
    size_t best = SIZE_MAX;
    double best_rate = -1;
    int64_t now_us = clock_us();
    for (size_t i = 0; i < w->n_wishes; i++) {
        double rate = warm_ledger_hit_rate(&w->ledger, w->wishes[i].kind);
        if (w->wishes[i].not_before_us > now_us || rate <= best_rate) continue;
        best = i;
        best_rate = rate;
    }
    return best;
}

void warm_step(assistant *a)
{
    struct warmer *w = &a->warmer;
    size_t i;
    while (!is_busy(a) && (i = wish_best(w)) != SIZE_MAX) {
        struct warm_wish wish = w->wishes[i];
        wish.question->n_references++;
        wish_remove(w, i);
        if (assistant_warms(a)) wish_begin(a, &wish);
        question_release(wish.question);
    }
}

void warm_forget(assistant *a, uint64_t document_key)
{
    warm_drop(a, document_key, ALL_KINDS);
    if (a->warmer.active_key == document_key) a->warmer.active_key = 0;
}

void warm_close(assistant *a)
{
    struct warmer *w = &a->warmer;
    for (int i = 0; i < N_WARM_KINDS; i++) {
        const struct warm_kind_counts *n = &w->ledger.kinds[i];
        if (n->n_sent)
            log_line(LOG_DEBUG, "warmed for %s: %lld times, %lld hits, %lld tokens, %lld of use",
                     warm_kind_name((enum warm_kind)i), (long long)n->n_sent, (long long)n->n_hits,
                     (long long)n->n_spent, (long long)n->n_useful);
    }
    while (w->n_wishes) wish_remove(w, 0);
    if (w->running) {
        w->running->assistant = NULL;
        if (w->running->call) engine_call_cancel(w->running->call);
        w->running = NULL;
    }
    warm_ledger_free(&w->ledger);
    token_list_free(&w->last_real);
}
