/* `bench --session`: a typing session on the engine, several ways side by side.
 *
 * After every step there is a prompt, and the editor asks with it. Each way has a namespace of its
 * own in the prefix cache, so that none finds what another computed, and all take turns step by step,
 * so that a machine whose speed drifts drifts for all:
 *
 *     no warming      asked at once: what the cache holds are earlier prompts
 *     warmed N ms     the same prompt is sent as warm work when the text changes, and asked N ms
 *                     later, as editors do (VS Code waits 50 ms, Neovim 200); what the warm request
 *                     has not computed by then goes on while the question is there
 *     cold            a sample of the same prompts, each in an empty namespace
 *
 * Waiting is cut short when the warm request is done: it is the engine's time that counts. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/bench_ask.h"
#include "lsp/cli/bench_replay.h"

enum { WAYS_MAX = 3, COLD_PROMPTS = 24, ANSWER_TOKENS = 256, OWNER_FIRST = 1000, BLOCK_KINDS = 10 };

/* One way to ask. */
struct way {
    int64_t pause_ms; /* -1: no warming */
    uint64_t owner;
    struct replay_figures all, by_kind[N_TYPING_KINDS];
    int64_t n_warm_done; /* warm requests that were complete when the question came */
};

/* Which block of the prompt came first of what could not be found. */
struct moved {
    const char *kinds[BLOCK_KINDS]; /* static */
    int64_t n[N_TYPING_KINDS][BLOCK_KINDS];
};

struct session_bench {
    const struct bench_request *request;
    engine *e; /* NULL: prompts only */
    struct replay replay;
    struct replay_history history;
    struct way ways[WAYS_MAX];
    int n_ways;
    struct replay_figures findable, findable_by_kind[N_TYPING_KINDS], cold;
    struct moved moved;
    struct samples layout_us;
    size_t n_steps;
};

static void moved_add(struct moved *m, enum typing_kind kind, const char *block)
{
    int i = 0;
    while (i < BLOCK_KINDS - 1 && m->kinds[i] && strcmp(m->kinds[i], block) != 0) i++;
    m->kinds[i] = block;
    m->n[kind][i]++;
}

static struct generation_spec spec_of(const struct prompt *p, uint64_t owner)
{
    return (struct generation_spec){.prompt = p->ids.ids,
                                    .n_prompt = p->ids.n,
                                    .max_tokens = 1,
                                    .priority = PRIORITY_INTERACTIVE,
                                    .owner = owner,
                                    .must_start_with = p->must_start_with,
                                    .ignore_stop_ids = true};
}

static status way_ask(struct session_bench *b, struct way *w, enum typing_kind kind,
                      const struct prompt *p, error *err)
{
    struct generation_spec spec = spec_of(p, w->owner);
    struct ask_result result;
    generation *warm = NULL;
    status s = OK;
    if (w->pause_ms >= 0) s = ask_warm(b->e, &spec, w->pause_ms * 1000, &warm, err);
    if (s == OK) s = ask_run(b->e, &spec, &result, err);
    if (warm) generation_free(warm);
    if (s != OK) return s;
    replay_figures_add(&w->all, result.n_prompt, result.n_cached, result.ttft_us);
    replay_figures_add(&w->by_kind[kind], result.n_prompt, result.n_cached, result.ttft_us);
    w->n_warm_done += w->pause_ms >= 0 && result.n_cached >= result.n_prompt - 1;
    return OK;
}

static status step_ask(struct session_bench *b, const struct typing_step *step,
                       const struct prompt *p, error *err)
{
    size_t findable;
    status s = replay_history_add(&b->history, p, &findable, err);
    if (s != OK) return s;
    samples_put(&b->layout_us, (double)(p->layout_us + p->tokenize_us));
    replay_figures_add(&b->findable, (int64_t)p->ids.n, (int64_t)findable, 0);
    replay_figures_add(&b->findable_by_kind[step->kind], (int64_t)p->ids.n, (int64_t)findable, 0);
    moved_add(&b->moved, step->kind, replay_block_at(p, findable));
    for (int i = 0; s == OK && b->e && i < b->n_ways; i++)
        s = way_ask(b, &b->ways[i], step->kind, p, err);
    return s;
}

static status session_play(struct session_bench *b, error *err)
{
    const struct typing_step *step;
    size_t n_all = b->replay.player.session->n_steps;
    for (;;) {
        struct prompt p;
        if (atomic_load(&bench_stop)) return fail(err, ERR_CANCELLED, "stopped");
        status s = replay_step(&b->replay, &step, &p, err);
        if (s == OK && step) s = step_ask(b, step, &p, err);
        prompt_free(&p);
        if (s != OK || !step) return s;
        b->n_steps++;
        if (b->n_steps % 16 == 0) bench_progress("step %zu of %zu", b->n_steps, n_all);
    }
}

/* From the session's history, evenly; each in a namespace that nobody used. */
static status cold_ask(struct session_bench *b, error *err)
{
    size_t n = b->history.n < COLD_PROMPTS ? b->history.n : COLD_PROMPTS;
    status s = OK;
    for (size_t i = 0; s == OK && b->e && i < n; i++) {
        size_t at = i * b->history.n / n;
        struct ask_result result;
        struct generation_spec spec = {.prompt = b->history.ids[at],
                                       .n_prompt = b->history.n_ids[at],
                                       .max_tokens = 1,
                                       .priority = PRIORITY_INTERACTIVE,
                                       .owner = OWNER_FIRST + WAYS_MAX + i,
                                       .ignore_stop_ids = true};
        bench_progress("cold prompt %zu of %zu", i + 1, n);
        s = ask_run(b->e, &spec, &result, err);
        if (s == OK) replay_figures_add(&b->cold, result.n_prompt, result.n_cached, result.ttft_us);
    }
    return s;
}

static const char *way_name(const struct way *w)
{
    static char names[WAYS_MAX][32];
    static unsigned next;
    char *name = names[next++ % WAYS_MAX];
    if (w->pause_ms < 0) return "no warming";
    snprintf(name, sizeof names[0], "warmed %d ms", (int)w->pause_ms);
    return name;
}

static json_t *kinds_json(struct replay_figures figures[N_TYPING_KINDS], size_t budget_tokens)
{
    json_t *all = json_object();
    for (int kind = 0; kind < N_TYPING_KINDS; kind++) {
        if (figures[kind].n == 0) continue;
        json_t *one = replay_figures_json(&figures[kind]);
        double limit = replay_limit((enum typing_kind)kind, budget_tokens);
        double p90 = samples_percentile(&figures[kind].missing, 90);
        json_object_set_new(one, "limit_tokens_p90", figure_json(limit));
        json_object_set_new(one, "within_limit",
                            isfinite(limit) ? json_boolean(p90 <= limit) : json_null());
        json_object_set_new(all, typing_kind_name((enum typing_kind)kind), one);
    }
    return all;
}

static json_t *figures_json(struct replay_figures *all, struct replay_figures *by_kind,
                            size_t budget_tokens)
{
    json_t *out = replay_figures_json(all);
    if (by_kind) json_object_set_new(out, "by_kind", kinds_json(by_kind, budget_tokens));
    return out;
}

static json_t *moved_json(const struct moved *m)
{
    json_t *all = json_object();
    for (int kind = 0; kind < N_TYPING_KINDS; kind++) {
        json_t *one = json_object();
        for (int i = 0; i < BLOCK_KINDS; i++)
            if (m->n[kind][i])
                json_object_set_new(one, m->kinds[i][0] ? m->kinds[i] : "nothing",
                                    json_integer(m->n[kind][i]));
        if (json_object_size(one))
            json_object_set(all, typing_kind_name((enum typing_kind)kind), one);
        json_decref(one);
    }
    return all;
}

static json_t *session_json(struct session_bench *b)
{
    const struct typing_session *s = b->replay.player.session;
    json_t *paths = json_array();
    size_t n_bytes = 0;
    for (size_t i = 0; i < s->n_documents; i++) {
        json_array_append_new(paths,
                              json_stringn(s->documents[i].path.bytes, s->documents[i].path.size));
        n_bytes += s->documents[i].base.size;
    }
    return json_pack("{s:I, s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "seed", (json_int_t)s->seed,
                     "documents", paths, "documents_bytes", (json_int_t)n_bytes, "steps",
                     (json_int_t)s->n_steps, "prompts", (json_int_t)b->n_steps, "budget_tokens",
                     (json_int_t)b->replay.budget_tokens, "layout_ms_p50",
                     figure_json(samples_percentile(&b->layout_us, 50) / 1e3), "layout_ms_p99",
                     figure_json(samples_percentile(&b->layout_us, 99) / 1e3));
}

/* What the first way pays and way w does not. */
static json_t *gain_json(struct session_bench *b, struct way *w)
{
    struct way *none = &b->ways[0];
    int64_t saved = none->all.n_prompt - none->all.n_cached - w->all.n_prompt + w->all.n_cached;
    return json_pack("{s:o, s:o, s:I}", "ttft_p50_factor",
                     figure_json(samples_percentile(&none->all.ttft_us, 50) /
                                 samples_percentile(&w->all.ttft_us, 50)),
                     "ttft_p95_factor",
                     figure_json(samples_percentile(&none->all.ttft_us, 95) /
                                 samples_percentile(&w->all.ttft_us, 95)),
                     "tokens_not_waited_for", (json_int_t)saved);
}

static void session_report(struct session_bench *b, struct bench_report *r)
{
    size_t budget = b->replay.budget_tokens;
    json_t *ways = json_array();
    for (int i = 0; b->e && i < b->n_ways; i++) {
        struct way *w = &b->ways[i];
        json_t *one = figures_json(&w->all, w->by_kind, budget);
        json_object_set_new(one, "name", json_string(way_name(w)));
        json_object_set_new(one, "pause_ms",
                            w->pause_ms < 0 ? json_null() : json_integer(w->pause_ms));
        json_object_set_new(one, "complete_in_time",
                            w->pause_ms < 0 ? json_null() : json_integer(w->n_warm_done));
        if (i > 0) json_object_set_new(one, "gain_over_no_warming", gain_json(b, w));
        json_array_append_new(ways, one);
    }
    report_set(r, "session", session_json(b));
    report_set(r, "findable", figures_json(&b->findable, b->findable_by_kind, budget));
    report_set(r, "first_block_not_found", moved_json(&b->moved));
    report_set(r, "ways", ways);
    report_set(r, "cold", b->e ? figures_json(&b->cold, NULL, budget) : json_null());
}

/* Figures that contradict each other are no figures. */
static void session_check(struct session_bench *b, struct bench_report *r)
{
    for (int i = 0; b->e && i < b->n_ways; i++) {
        const struct way *w = &b->ways[i];
        if (w->all.n != (int64_t)b->n_steps && !atomic_load(&bench_stop))
            report_fault(r, "%s: %lld prompts of %zu", way_name(w), (long long)w->all.n,
                         b->n_steps);
        if (w->all.n_cached > w->all.n_prompt)
            report_fault(r, "%s: %lld tokens found of %lld", way_name(w),
                         (long long)w->all.n_cached, (long long)w->all.n_prompt);
        if (w->pause_ms < 0 && w->all.n_cached > b->findable.n_cached)
            report_fault(r, "%s: %lld tokens found, %lld could be", way_name(w),
                         (long long)w->all.n_cached, (long long)b->findable.n_cached);
    }
    if (b->cold.n_cached > 0)
        report_fault(r, "cold: %lld tokens found", (long long)b->cold.n_cached);
}

static void figures_print(const char *name, struct replay_figures *f)
{
    printf("%-18s %8lld %8s %8s %8s %9s %9s %9s\n", name, (long long)f->n,
           figure_text(100 * replay_share(f), 1),
           figure_text(samples_percentile(&f->missing, 50), 0),
           figure_text(samples_percentile(&f->missing, 90), 0),
           figure_text(samples_percentile(&f->ttft_us, 50) / 1e3, 1),
           figure_text(samples_percentile(&f->ttft_us, 95) / 1e3, 1),
           figure_text(samples_percentile(&f->ttft_us, 99) / 1e3, 1));
}

static void kinds_print(struct replay_figures figures[N_TYPING_KINDS], size_t budget_tokens)
{
    for (int kind = 0; kind < N_TYPING_KINDS; kind++) {
        char name[48];
        double limit = replay_limit((enum typing_kind)kind, budget_tokens);
        if (figures[kind].n == 0) continue;
        snprintf(name, sizeof name, "  %s", typing_kind_name((enum typing_kind)kind));
        if (isfinite(limit))
            snprintf(name, sizeof name, "  %s (%.0f)", typing_kind_name((enum typing_kind)kind),
                     limit);
        figures_print(name, &figures[kind]);
    }
}

static void moved_print(const struct moved *m)
{
    printf("\nThe first block that could not be found, by kind of step:\n");
    for (int kind = 0; kind < N_TYPING_KINDS; kind++) {
        bool any = false;
        for (int i = 0; i < BLOCK_KINDS; i++) {
            if (m->n[kind][i] == 0) continue;
            if (!any) printf("  %-8s", typing_kind_name((enum typing_kind)kind));
            printf("  %s %lld", m->kinds[i][0] ? m->kinds[i] : "nothing", (long long)m->n[kind][i]);
            any = true;
        }
        if (any) printf("\n");
    }
}

static void session_print(struct session_bench *b)
{
    const struct typing_session *s = b->replay.player.session;
    size_t budget = b->replay.budget_tokens;
    printf("%zu prompts of a typing session in %zu files (seed %llu), %lld tokens, at most %zu "
           "each\n\n",
           b->n_steps, s->n_documents, (unsigned long long)s->seed, (long long)b->findable.n_prompt,
           budget);
    printf("%-18s %8s %8s %8s %8s %9s %9s %9s\n", "", "prompts", "found %", "not p50", "not p90",
           "TTFT p50", "p95", "p99 ms");
    figures_print("findable", &b->findable);
    kinds_print(b->findable_by_kind, budget);
    for (int i = 0; b->e && i < b->n_ways; i++) {
        figures_print(way_name(&b->ways[i]), &b->ways[i].all);
        kinds_print(b->ways[i].by_kind, budget);
    }
    if (b->e) figures_print("cold", &b->cold);
    moved_print(&b->moved);
}

static void session_bench_free(struct session_bench *b)
{
    for (int i = 0; i < b->n_ways; i++) {
        replay_figures_free(&b->ways[i].all);
        for (int kind = 0; kind < N_TYPING_KINDS; kind++)
            replay_figures_free(&b->ways[i].by_kind[kind]);
    }
    for (int kind = 0; kind < N_TYPING_KINDS; kind++)
        replay_figures_free(&b->findable_by_kind[kind]);
    replay_figures_free(&b->findable);
    replay_figures_free(&b->cold);
    replay_history_free(&b->history);
    samples_free(&b->layout_us);
    replay_close(&b->replay);
}

static void ways_make(struct session_bench *b)
{
    static const int64_t usual[] = {-1, 50, 200}; /* what VS Code and Neovim wait by themselves */
    b->n_ways = b->request->pause_ms >= 0 ? 2 : WAYS_MAX;
    for (int i = 0; i < b->n_ways; i++)
        b->ways[i] = (struct way){.pause_ms = usual[i], .owner = OWNER_FIRST + (uint64_t)i};
    if (b->request->pause_ms >= 0) b->ways[1].pause_ms = b->request->pause_ms;
}

/* As the assistant reckons: what the user wants, less where the model is short. */
size_t bench_budget(const struct bench_request *request, const engine *e)
{
    size_t budget = (size_t)request->budget_tokens;
    int32_t length = e ? engine_shape(e)->max_seq_len : 0;
    int32_t answer = ANSWER_TOKENS < length / 4 ? ANSWER_TOKENS : length / 4;
    return e && (size_t)(length - answer) < budget ? (size_t)(length - answer) : budget;
}

static status session_run(struct session_bench *b, const struct typing_session *s,
                          const tokenizer *t, struct bench_report *r, error *err)
{
    status code = replay_open(&b->replay, s, t, bench_budget(b->request, b->e), err);
    if (code == OK) code = session_play(b, err);
    if (code == OK) code = cold_ask(b, err);
    if (b->layout_us.failed || b->findable.missing.failed)
        code = fail(err, ERR_MEMORY, "out of memory for the figures of a session");
    if (code != OK && code != ERR_CANCELLED) return code;
    session_check(b, r);
    session_report(b, r);
    bench_progress("%s", "");
    if (!r->json) session_print(b);
    return code;
}

status bench_session(const struct bench_request *request, const struct typing_session *session,
                     struct bench_report *r, error *err)
{
    struct session_bench b = {.request = request};
    struct engine_options options = bench_engine_options(request);
    tokenizer *own = NULL;
    status s = OK;
    ways_make(&b);
    if (request->prompts_only)
        s = tokenizer_open(&own, request->model_dir, err);
    else
        s = engine_open(&b.e, &options, err);
    if (s == OK && b.e) report_engine(r, b.e);
    if (s == OK) s = session_run(&b, session, b.e ? engine_tokenizer(b.e) : own, r, err);
    session_bench_free(&b);
    if (b.e) report_engine_stats(r, b.e);
    engine_close(b.e);
    tokenizer_close(own);
    return s;
}
