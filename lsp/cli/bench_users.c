/* `bench --users N`: N people type at once, each at a pace of their own, on one engine.
 *
 * A user is a thread with a typing session of its own. After every key the old warm request is
 * dropped and one for the new text is sent. A question follows when the next key is not there within
 * the editor's wait:
 *
 *     key       key  key            key (a new line, an accepted answer, a look elsewhere)
 *      |---------|----|--------------|-------> time
 *      warm      warm warm --wait--> question --first token--> ... answer
 *
 * Some questions are overtaken by the next key: they are cancelled as editors do, count as load, and
 * as `overtaken`; their times say nothing, for only quick ones would be known. The figures are those
 * of questions at a pause: their user waits, however long it takes, so a slow engine cannot look
 * quick by being cancelled. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/bench_ask.h"
#include "lsp/cli/bench_replay.h"

enum {
    TTFT_LIMIT_US = 300000,
    SEEN_MS = 300, /* a pause in which somebody looks at an answer */
    ANSWER_TOKENS = 24,
    NAP_US = 20000,
    STEPS_PER_S = 6 /* more than people type */
};

struct crowd;

struct user {
    struct crowd *crowd;
    pthread_t thread;
    bool runs;
    uint64_t owner;
    struct typing_session session;
    struct replay replay;
    generation *warm; /* of the text as it is; NULL: none */
    int64_t next_key_us;
    struct replay_figures seen;
    struct samples rate; /* tokens per second of one answer */
    int64_t n_overtaken, n_refused;
    status code;
    error err;
};

struct crowd {
    const struct bench_request *request;
    engine *e;
    struct user users[BENCH_USERS_MAX];
    int n_users;
    int64_t until_us;
};

/* All users together. */
struct crowd_figures {
    int n_users;
    struct replay_figures seen;
    struct samples rate;
    int64_t n_overtaken, n_refused;
    struct engine_stats stats; /* what this run added */
};

static bool over(const struct crowd *c)
{
    return atomic_load(&bench_stop) || clock_us() >= c->until_us;
}

static void nap_until(const struct crowd *c, int64_t until_us)
{
    for (int64_t now; (now = clock_us()) < until_us && !over(c);)
        clock_sleep_us(until_us - now < NAP_US ? until_us - now : NAP_US);
}

static struct generation_spec spec_of(const struct user *u, const struct prompt *p)
{
    return (struct generation_spec){.prompt = p->ids.ids,
                                    .n_prompt = p->ids.n,
                                    .max_tokens = ANSWER_TOKENS,
                                    .priority = PRIORITY_INTERACTIVE,
                                    .owner = u->owner,
                                    .temperature = 1,
                                    .seed = u->replay.player.n_played,
                                    .must_start_with = p->must_start_with,
                                    .ignore_stop_ids = true};
}

static status warm_renew(struct user *u, const struct generation_spec *spec, error *err)
{
    if (u->warm) generation_free(u->warm);
    u->warm = NULL;
    return ask_warm(u->crowd->e, spec, 0, &u->warm, err);
}

/* Nobody will read the answer: it goes when the next key comes. */
static status ask_overtaken(struct user *u, const struct generation_spec *spec, error *err)
{
    generation *g;
    struct generation_piece piece = {0};
    status s = engine_submit(u->crowd->e, spec, &g, err);
    if (s != OK) return s;
    u->n_overtaken++;
    while (piece.finish == FINISH_NONE && clock_us() < u->next_key_us)
        generation_next(g, &piece, (int)((u->next_key_us - clock_us()) / 1000 + 1));
    generation_free(g);
    return OK;
}

static status ask_seen(struct user *u, const struct generation_spec *spec, error *err)
{
    struct ask_result r;
    status s = ask_run(u->crowd->e, spec, &r, err);
    if (s != OK) return s;
    replay_figures_add(&u->seen, r.n_prompt, r.n_cached, r.ttft_us);
    if (r.n_output > 1)
        samples_put(&u->rate,
                    rate_per_s((double)(r.n_output - 1), (double)(r.total_us - r.ttft_us)));
    return OK;
}

/* How long the user waits before the next step. */
static int64_t next_pause_ms(const struct user *u)
{
    const struct typing_session *s = &u->session;
    size_t next = u->replay.player.n_played;
    return next < s->n_steps ? s->steps[next].pause_ms : SEEN_MS;
}

static status step_live(struct user *u, enum typing_kind kind, const struct prompt *p, error *err)
{
    const struct bench_request *request = u->crowd->request;
    const struct generation_spec spec = spec_of(u, p);
    int64_t wait_ms = request->pause_ms >= 0 ? request->pause_ms : 50, pause_ms = next_pause_ms(u);
    int64_t now_us = clock_us();
    u->next_key_us = now_us + (int64_t)((double)pause_ms * 1000 / request->speed);
    status s = warm_renew(u, &spec, err);
    if (s != OK || pause_ms < wait_ms || kind == TYPING_OPEN) return s; /* first one looks around */
    nap_until(u->crowd, now_us + (int64_t)((double)wait_ms * 1000 / request->speed));
    if (over(u->crowd)) return OK;
    s = pause_ms >= SEEN_MS ? ask_seen(u, &spec, err) : ask_overtaken(u, &spec, err);
    if (s == ERR_BUSY) u->n_refused++;
    return s == ERR_BUSY ? OK : s;
}

static void *user_run(void *context)
{
    struct user *u = context;
    const struct typing_step *step;
    u->code = OK;
    while (u->code == OK && !over(u->crowd)) {
        struct prompt p;
        nap_until(u->crowd, u->next_key_us);
        u->code = replay_step(&u->replay, &step, &p, &u->err);
        if (u->code == OK && step) u->code = step_live(u, step->kind, &p, &u->err);
        prompt_free(&p);
        if (!step) break;
    }
    if (u->warm) generation_free(u->warm);
    u->warm = NULL;
    if (u->code == ERR_CANCELLED && atomic_load(&bench_stop)) u->code = OK;
    return NULL;
}

static status user_open(struct user *u, const struct typing_sources *sources, int number,
                        error *err)
{
    const struct bench_request *r = u->crowd->request;
    const struct typing_options options = {
        .seed = (uint64_t)r->seed + (uint64_t)number,
        .n_steps = (size_t)((double)r->seconds * STEPS_PER_S * r->speed) + 1,
        .n_documents = (size_t)r->n_documents};
    status s = typing_session_make(&u->session, sources, &options, err);
    if (s != OK) return s;
    return replay_open(&u->replay, &u->session, engine_tokenizer(u->crowd->e),
                       bench_budget(r, u->crowd->e), err);
}

static void user_close(struct user *u)
{
    replay_close(&u->replay);
    typing_session_free(&u->session);
    replay_figures_free(&u->seen);
    samples_free(&u->rate);
}

/* They do not all come in the same moment. */
static status crowd_start(struct crowd *c, error *err)
{
    int64_t begun_us = clock_us();
    c->until_us = begun_us + c->request->seconds * 1000000;
    for (int i = 0; i < c->n_users; i++) {
        struct user *u = &c->users[i];
        u->next_key_us = begun_us + (int64_t)i * 1000000 / c->n_users;
        int reason = pthread_create(&u->thread, NULL, user_run, u);
        if (reason) {
            c->until_us = 0;
            return fail(err, ERR_IO, "cannot start a thread: %s", strerror(reason));
        }
        u->runs = true;
    }
    return OK;
}

static status crowd_join(struct crowd *c, struct crowd_figures *out, error *err)
{
    status s = OK;
    for (int i = 0; i < c->n_users; i++) {
        struct user *u = &c->users[i];
        if (!u->runs) continue;
        pthread_join(u->thread, NULL);
        if (u->code != OK && s == OK) s = fail(err, u->code, "%s", u->err.message);
        out->n_overtaken += u->n_overtaken;
        out->n_refused += u->n_refused;
        out->seen.n += u->seen.n;
        out->seen.n_prompt += u->seen.n_prompt;
        out->seen.n_cached += u->seen.n_cached;
        samples_put_all(&out->seen.missing, &u->seen.missing);
        samples_put_all(&out->seen.ttft_us, &u->seen.ttft_us);
        samples_put_all(&out->rate, &u->rate);
    }
    return s;
}

static void stats_subtract(struct engine_stats *after, const struct engine_stats *before)
{
    after->warm_tokens -= before->warm_tokens;
    after->warm_useful -= before->warm_useful;
    after->warm_wasted -= before->warm_wasted;
    after->tokens_prompt -= before->tokens_prompt;
    after->tokens_cached -= before->tokens_cached;
    after->tokens_output -= before->tokens_output;
}

/* One try with n users; their namespaces are new. */
static status crowd_run(struct crowd_figures *out, engine *e, const struct bench_request *request,
                        const struct typing_sources *sources, int n_users, error *err)
{
    static uint64_t owners = 1;
    struct crowd *c = memory_take(1, sizeof *c);
    struct engine_stats before;
    *out = (struct crowd_figures){.n_users = n_users};
    if (!c) return fail(err, ERR_MEMORY, "out of memory for %d users", n_users);
    *c = (struct crowd){.request = request, .e = e, .n_users = n_users};
    status s = OK;
    engine_stats(e, &before);
    bench_progress("%d users for %d s", n_users, (int)request->seconds);
    for (int i = 0; s == OK && i < n_users; i++) {
        c->users[i].crowd = c;
        c->users[i].owner = owners++;
        s = user_open(&c->users[i], sources, i, err);
    }
    if (s == OK) s = crowd_start(c, err);
    status joined = crowd_join(c, out, s == OK ? err : NULL);
    engine_stats(e, &out->stats);
    stats_subtract(&out->stats, &before);
    for (int i = 0; i < n_users; i++) user_close(&c->users[i]);
    memory_free(c);
    return s == OK ? joined : s;
}

static void crowd_figures_free(struct crowd_figures *f)
{
    replay_figures_free(&f->seen);
    samples_free(&f->rate);
}

static double p95_us(struct crowd_figures *f) { return samples_percentile(&f->seen.ttft_us, 95); }

static json_t *figures_json(struct crowd_figures *f)
{
    json_t *out = replay_figures_json(&f->seen);
    json_t *more = json_pack(
        "{s:i, s:I, s:I, s:o, s:o, s:I, s:I, s:I}", "users", f->n_users, "overtaken",
        (json_int_t)f->n_overtaken, "refused_busy", (json_int_t)f->n_refused,
        "stream_tokens_per_s_p50", figure_json(samples_percentile(&f->rate, 50)),
        "stream_tokens_per_s_p5", figure_json(samples_percentile(&f->rate, 5)), "warm_tokens",
        (json_int_t)f->stats.warm_tokens, "warm_useful_tokens", (json_int_t)f->stats.warm_useful,
        "warm_wasted_tokens", (json_int_t)f->stats.warm_wasted);
    json_object_update(out, more);
    json_decref(more);
    return out;
}

static void figures_print(struct crowd_figures *f)
{
    printf("%5d %9lld %9lld %8s %8s %8s %8s %10s %8lld %8lld %8lld\n", f->n_users,
           (long long)f->seen.n, (long long)f->n_overtaken,
           figure_text(100 * replay_share(&f->seen), 1),
           figure_text(samples_percentile(&f->seen.ttft_us, 50) / 1e3, 1),
           figure_text(p95_us(f) / 1e3, 1),
           figure_text(samples_percentile(&f->seen.ttft_us, 99) / 1e3, 1),
           figure_text(samples_percentile(&f->rate, 50), 1), (long long)f->stats.warm_tokens,
           (long long)f->stats.warm_useful, (long long)f->stats.warm_wasted);
    fflush(stdout);
}

struct tries {
    const struct bench_request *request;
    const struct typing_sources *sources;
    engine *e;
    struct bench_report *report;
    json_t *list;
};

/* Runs and reports one number of users; *fits: nineteen of twenty first tokens came in time. */
static status try_users(struct tries *t, int n_users, bool *fits, error *err)
{
    struct crowd_figures f;
    *fits = false;
    status s = crowd_run(&f, t->e, t->request, t->sources, n_users, err);
    if (s == OK || s == ERR_CANCELLED) {
        *fits = p95_us(&f) < TTFT_LIMIT_US;
        json_array_append_new(t->list, figures_json(&f));
        if (f.seen.n == 0 && s == OK)
            report_fault(t->report, "%d users asked nothing in %d s: give more --seconds", n_users,
                         (int)t->request->seconds);
        bench_progress("%s", "");
        if (!t->report->json) figures_print(&f);
    }
    crowd_figures_free(&f);
    if (s == OK && atomic_load(&bench_stop)) s = fail(err, ERR_CANCELLED, "stopped");
    return s;
}

/* Doubles until it is too many, then halves the gap. */
static status largest_find(struct tries *t, int *largest, error *err)
{
    int high = BENCH_USERS_MAX + 1;
    bool fits;
    *largest = 0;
    for (int n = 1; n <= BENCH_USERS_MAX; n *= 2) {
        status s = try_users(t, n, &fits, err);
        if (s != OK) return s;
        if (!fits) {
            high = n;
            break;
        }
        *largest = n;
    }
    while (high - *largest > 1 && *largest < BENCH_USERS_MAX) {
        int n = (*largest + high) / 2;
        status s = try_users(t, n, &fits, err);
        if (s != OK) return s;
        *(fits ? largest : &high) = n;
    }
    return OK;
}

static void users_print_head(void)
{
    printf("Questions of people who pause and wait; TTFT in ms, decoding per stream.\n\n");
    printf("%5s %9s %9s %8s %8s %8s %8s %10s %8s %8s %8s\n", "users", "questions", "overtaken",
           "found %", "TTFT p50", "p95", "p99", "tokens/s", "warm", "useful", "wasted");
}

status bench_users(const struct bench_request *request, struct bench_report *r, error *err)
{
    struct typing_sources sources;
    struct engine_options options = bench_engine_options(request);
    struct tries t = {request, &sources, NULL, r, json_array()};
    int largest = -1;
    bool fits;
    status s = typing_sources_read(&sources, request->sources, err);
    if (s == OK) s = engine_open(&t.e, &options, err);
    if (s == OK) report_engine(r, t.e);
    bench_progress("%s", "");
    if (s == OK && !r->json) users_print_head();
    if (s == OK && request->n_users > 0)
        s = try_users(&t, (int)request->n_users, &fits, err);
    else if (s == OK)
        s = largest_find(&t, &largest, err);
    report_set(r, "users", t.list);
    if (largest >= 0 && s == OK) {
        report_set(r, "users_max_with_ttft_p95_under_300_ms", json_integer(largest));
        if (!r->json) printf("\nlargest number with p95 under 300 ms: %d\n", largest);
    }
    if (t.e) report_engine_stats(r, t.e);
    engine_close(t.e);
    typing_sources_free(&sources);
    return s;
}
