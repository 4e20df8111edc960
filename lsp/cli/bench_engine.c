/* The default mode's second half: the same model behind scheduler, prefix cache and streams. A prompt
 * cold and found again with a few tokens more, streams of answers side by side, and an answer that was
 * foretold: the most that drafts can gain. Ids are random, from a seed. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lsp/cli/bench.h"
#include "lsp/cli/bench_ask.h"
#include "lsp/cli/bench_replay.h"

/* Two best ids whose logits are closer than this: where other kernels, for another number of rows, may
 * choose the other one (kernels/cuda/README.md). */
#define CLOSE_CALL 0.25f

enum { PROMPT_TOKENS = 2048, NEW_TOKENS = 16, ANSWER_TOKENS = 64, STREAMS_MAX = 4, REPEATS = 5 };

struct engine_bench {
    engine *e;
    int32_t *ids; /* [n_ids + NEW_TOKENS] */
    size_t n_ids;
    uint64_t owner; /* of the last request that was to find nothing */
    struct replay_figures cold, cached;
    struct samples rates[2];       /* of one stream, and of four together */
    int32_t answer[ANSWER_TOKENS]; /* of one greedy stream without drafts */
    size_t n_answer;
    bool answer_differs;             /* with drafts: that must not be */
    struct samples alone, predicted; /* its rate without drafts, and with all of it foretold */
    int64_t drafted, accepted;       /* of the foretold ones */
    int64_t n_chosen, n_close;       /* ids of one greedy answer, and close calls among them */
};

static const int n_streams[2] = {1, STREAMS_MAX};

static struct generation_spec spec_of(const struct engine_bench *b, size_t n_prompt,
                                      int32_t max_tokens)
{
    return (struct generation_spec){.prompt = b->ids,
                                    .n_prompt = n_prompt,
                                    .max_tokens = max_tokens,
                                    .priority = PRIORITY_INTERACTIVE,
                                    .owner = b->owner,
                                    .ignore_stop_ids = true};
}

static status prompts_measure(struct engine_bench *b, error *err)
{
    status s = OK;
    for (int i = 0; s == OK && i < REPEATS; i++) {
        struct ask_result r;
        struct generation_spec spec = spec_of(b, b->n_ids, 1);
        bench_progress("through the engine: prompt %d of %d", i + 1, REPEATS);
        spec.owner = ++b->owner;
        s = ask_run(b->e, &spec, &r, err);
        if (s != OK) return s;
        replay_figures_add(&b->cold, r.n_prompt, r.n_cached, r.ttft_us);
        spec.n_prompt += NEW_TOKENS;
        s = ask_run(b->e, &spec, &r, err);
        if (s == OK) replay_figures_add(&b->cached, r.n_prompt, r.n_cached, r.ttft_us);
    }
    return s;
}

/* Reads an answer to its end; *n_ids of its ids go to ids (NULL: nobody wants them). */
static status stream_read(generation *g, struct generation_stats *stats, int32_t *ids,
                          size_t *n_ids, error *err)
{
    struct generation_piece piece = {0};
    while (piece.finish == FINISH_NONE) {
        if (atomic_load(&bench_stop)) return fail(err, ERR_CANCELLED, "stopped");
        if (!generation_next(g, &piece, 100)) continue;
        for (size_t i = 0; ids && i < piece.n_ids && *n_ids < ANSWER_TOKENS; i++)
            ids[(*n_ids)++] = piece.ids[i];
    }
    if (piece.finish == FINISH_ERROR) return fail(err, ERR_DEVICE, "%s", generation_error(g));
    generation_stats(g, stats);
    return OK;
}

static double rate_of(const struct generation_stats *stats)
{
    return rate_per_s((double)(stats->n_output - 1), (double)stats->decode_us);
}

static status streams_measure(struct engine_bench *b, int n, struct samples *out, error *err)
{
    generation *g[STREAMS_MAX] = {NULL};
    double tokens_per_s = 0;
    struct generation_spec spec = spec_of(b, b->n_ids / 4, ANSWER_TOKENS);
    struct ask_result r;
    status s = ask_run(b->e, &spec, &r, err); /* so that all begin to decode at once */
    for (int i = 0; s == OK && i < n; i++) {
        spec.seed = (uint64_t)i;
        spec.temperature = 1;
        s = engine_submit(b->e, &spec, &g[i], err);
    }
    for (int i = 0; s == OK && i < n; i++) {
        struct generation_stats stats;
        s = stream_read(g[i], &stats, NULL, NULL, err);
        if (s == OK) tokens_per_s += rate_of(&stats);
    }
    for (int i = 0; i < n; i++)
        if (g[i]) generation_free(g[i]);
    if (s == OK) samples_put(out, tokens_per_s);
    return s;
}

/* One greedy answer, without drafts or with the whole of it foretold. */
static status answer_measure(struct engine_bench *b, bool foretold, error *err)
{
    generation *g;
    struct generation_stats stats;
    int32_t ids[ANSWER_TOKENS];
    size_t n_ids = 0;
    struct generation_spec spec = spec_of(b, b->n_ids / 4, ANSWER_TOKENS);
    spec.draft_max = foretold ? 0 : -1;
    spec.predicted = foretold ? b->answer : NULL;
    spec.n_predicted = foretold ? b->n_answer : 0;
    status s = engine_submit(b->e, &spec, &g, err);
    if (s != OK) return s;
    s = stream_read(g, &stats, ids, &n_ids, err);
    generation_free(g);
    if (s != OK) return s;
    samples_put(foretold ? &b->predicted : &b->alone, rate_of(&stats));
    if (foretold) {
        b->drafted += stats.drafted;
        b->accepted += stats.accepted;
        b->answer_differs |=
            n_ids != b->n_answer || memcmp(ids, b->answer, n_ids * sizeof *ids) != 0;
    }
    memcpy(b->answer, ids, n_ids * sizeof *ids);
    b->n_answer = n_ids;
    return OK;
}

static status drafts_measure(struct engine_bench *b, error *err)
{
    status s = OK;
    for (int i = 0; s == OK && i < REPEATS; i++) {
        bench_progress("through the engine: drafts");
        s = answer_measure(b, false, err);
        if (s == OK) s = answer_measure(b, true, err);
    }
    return s;
}

/* One greedy answer once more, not timed, with the two best of every id. */
static status close_calls_count(struct engine_bench *b, error *err)
{
    generation *g;
    struct generation_piece piece = {0};
    struct generation_spec spec = spec_of(b, b->n_ids / 4, ANSWER_TOKENS);
    spec.draft_max = -1;
    spec.n_logprobs = 2;
    status s = engine_submit(b->e, &spec, &g, err);
    if (s != OK) return s;
    while (s == OK && piece.finish == FINISH_NONE) {
        if (atomic_load(&bench_stop)) s = fail(err, ERR_CANCELLED, "stopped");
        if (s != OK || !generation_next(g, &piece, 100)) continue;
        for (size_t i = 0; piece.details && i < piece.n_ids; i++) {
            const float *best = piece.details[i].top_logprob;
            b->n_chosen++;
            b->n_close += best[0] - best[1] < CLOSE_CALL;
        }
    }
    if (piece.finish == FINISH_ERROR) s = fail(err, ERR_DEVICE, "%s", generation_error(g));
    generation_free(g);
    return s;
}

static status engine_measure(struct engine_bench *b, error *err)
{
    status s = prompts_measure(b, err);
    for (int i = 0; s == OK && i < REPEATS; i++)
        for (int j = 0; s == OK && j < 2; j++) {
            bench_progress("through the engine: %d streams", n_streams[j]);
            s = streams_measure(b, n_streams[j], &b->rates[j], err);
        }
    if (s == OK) s = drafts_measure(b, err);
    return s == OK ? close_calls_count(b, err) : s;
}

static void engine_report(struct engine_bench *b, struct bench_report *r)
{
    json_t *streams = json_array();
    for (int i = 0; i < 2; i++)
        json_array_append_new(streams,
                              json_pack("{s:i, s:o}", "streams", n_streams[i], "tokens_per_s",
                                        figure_json(samples_median(&b->rates[i]))));
    report_set(r, "prompt_cold", replay_figures_json(&b->cold));
    report_set(r, "prompt_cached", replay_figures_json(&b->cached));
    report_set(r, "streams", streams);
    report_set(r, "foretold_answer",
               json_pack("{s:o, s:o, s:I, s:I}", "tokens_per_s_without_drafts",
                         figure_json(samples_median(&b->alone)), "tokens_per_s",
                         figure_json(samples_median(&b->predicted)), "drafted_tokens",
                         (json_int_t)b->drafted, "accepted_tokens", (json_int_t)b->accepted));
    report_set(r, "close_calls",
               json_pack("{s:f, s:I, s:I}", "under_nats", (double)CLOSE_CALL, "tokens",
                         (json_int_t)b->n_chosen, "close", (json_int_t)b->n_close));
    if (b->answer_differs) report_fault(r, "drafts: the answer is another one than without them");
    report_engine_stats(r, b->e);
    if (b->cold.n_cached)
        report_fault(r, "cold prompts: %lld tokens found, expected none",
                     (long long)b->cold.n_cached);
}

static void engine_print(struct engine_bench *b)
{
    struct engine_stats s;
    engine_stats(b->e, &s);
    printf(
        "\nthrough the engine, %zu tokens: first token after %s ms cold, %s ms with all but %s of "
        "%zu found\n",
        b->n_ids, figure_text(samples_median(&b->cold.ttft_us) / 1e3, 1),
        figure_text(samples_median(&b->cached.ttft_us) / 1e3, 1),
        figure_text(samples_median(&b->cached.missing), 0), b->n_ids + NEW_TOKENS);
    for (int i = 0; i < 2; i++)
        printf("%d stream%s: %s tokens/s\n", n_streams[i], i ? "s together" : "",
               figure_text(samples_median(&b->rates[i]), 0));
    printf(
        "one greedy stream: %s tokens/s without drafts, %s with all of it foretold (%lld of %lld "
        "drafted tokens accepted)\n",
        figure_text(samples_median(&b->alone), 0), figure_text(samples_median(&b->predicted), 0),
        (long long)b->accepted, (long long)b->drafted);
    printf("%lld of %lld ids were chosen by less than %.2f nats\n", (long long)b->n_close,
           (long long)b->n_chosen, (double)CLOSE_CALL);
}

status bench_engine(const struct bench_request *request, struct bench_report *r, error *err)
{
    struct engine_bench b = {.owner = 1};
    struct engine_options options = bench_engine_options(request);
    status s = engine_open(&b.e, &options, err);
    if (s != OK) return s;
    size_t half = (size_t)engine_shape(b.e)->max_seq_len / 2;
    uint64_t vocabulary = (uint64_t)engine_shape(b.e)->vocab_size;
    b.n_ids = half < PROMPT_TOKENS + NEW_TOKENS ? half / 2 : PROMPT_TOKENS;
    b.ids = memory_take(b.n_ids + NEW_TOKENS, sizeof *b.ids);
    if (!b.ids) s = fail(err, ERR_MEMORY, "out of memory for the bench");
    for (size_t i = 0; s == OK && i < b.n_ids + NEW_TOKENS; i++)
        b.ids[i] = (int32_t)(random_at(7, i) % vocabulary);
    if (s == OK) s = engine_measure(&b, err);
    report_engine(r, b.e);
    engine_report(&b, r);
    bench_progress("%s", "");
    if (!r->json && (s == OK || s == ERR_CANCELLED)) engine_print(&b);
    engine_close(b.e);
    memory_free(b.ids);
    replay_figures_free(&b.cold);
    replay_figures_free(&b.cached);
    for (int i = 0; i < 2; i++) samples_free(&b.rates[i]);
    samples_free(&b.alone);
    samples_free(&b.predicted);
    return s;
}
