#include "lsp/cli/bench_ask.h"

#include "base/clock.h"
#include "lsp/cli/bench.h"

enum { POLL_MS = 100 };

static status ask_read(generation *g, struct ask_result *out, int64_t begun_us, error *err)
{
    struct generation_piece piece = {0};
    out->ttft_us = 0;
    while (piece.finish == FINISH_NONE) {
        if (atomic_load(&bench_stop)) return fail(err, ERR_CANCELLED, "stopped");
        if (!generation_next(g, &piece, POLL_MS)) continue;
        bool something = piece.n_ids > 0 || piece.bytes.size > 0 || piece.finish != FINISH_NONE;
        if (out->ttft_us == 0 && something) out->ttft_us = clock_us() - begun_us;
    }
    out->total_us = clock_us() - begun_us;
    if (piece.finish == FINISH_ERROR) return fail(err, ERR_DEVICE, "%s", generation_error(g));
    if (piece.finish == FINISH_CANCELLED) return fail(err, ERR_CANCELLED, "cancelled");
    return OK;
}

status ask_run(engine *e, const struct generation_spec *spec, struct ask_result *out, error *err)
{
    struct generation_stats stats;
    generation *g;
    int64_t begun_us = clock_us();
    *out = (struct ask_result){0};
    status s = engine_submit(e, spec, &g, err);
    if (s != OK) return s;
    s = ask_read(g, out, begun_us, err);
    generation_stats(g, &stats);
    out->n_prompt = stats.n_prompt;
    out->n_cached = stats.n_cached;
    out->n_output = stats.n_output;
    generation_free(g);
    return s;
}

status ask_warm(engine *e, const struct generation_spec *spec, int64_t wait_us, generation **out,
                error *err)
{
    struct generation_spec warm = *spec;
    struct generation_piece piece = {0};
    int64_t until_us = clock_us() + wait_us, left_us;
    warm.max_tokens = 0;
    warm.priority = PRIORITY_WARM;
    warm.must_start_with = TEXT("");
    status s = engine_submit(e, &warm, out, err);
    if (s != OK) return s == ERR_BUSY ? OK : s;
    while (piece.finish == FINISH_NONE && (left_us = until_us - clock_us()) > 0)
        generation_next(*out, &piece, (int)((left_us + 999) / 1000));
    if (piece.finish == FINISH_ERROR) return fail(err, ERR_DEVICE, "%s", generation_error(*out));
    return OK;
}
