/* What a step gave: tokens are handed out, computed pages become findable, times are kept. */
#include "inference/scheduler_private.h"

#include "base/clock.h"

void computed_end(scheduler *s)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct sequence *q = s->running[i];
        if (q->n_tokens_max != q->n_prompt || q->n_computed < q->n_prompt) continue;
        q->scored = q->score_from > 0;
        running_end(s, q, q->scored ? q->finish : FINISH_LENGTH, NULL);
    }
}

void results_take(scheduler *s, const struct step_result *result)
{
    for (int32_t i = s->n_running - 1; i >= 0; i--) {
        struct sequence *q = s->running[i];
        bool bad = q->n_outs > 0 && result->sampled[q->out].nan;
        q->n_computed += q->n_rows;
        if (!bad) computed_insert(s, q, false);
        if (q->n_outs > 0) outputs_take(s, q, result);
    }
    computed_end(s);
}

const int32_t engine_step_bucket_ms[ENGINE_STEP_BUCKETS - 1] = {1,   2,   5,   10,   20,   50,
                                                                100, 200, 500, 1000, 2000, 5000};

static void step_count(struct engine_stats *total, int64_t us)
{
    int bucket = 0;
    while (bucket < ENGINE_STEP_BUCKETS - 1 && us > 1000LL * engine_step_bucket_ms[bucket])
        bucket++;
    total->steps++;
    total->step_us_total += us;
    total->step_us_bucket[bucket]++;
}

void time_record(scheduler *s, int64_t us)
{
    step_count(&s->total, us);
    int32_t n_prefill = s->b.step.n_rows;
    int64_t n_decode = 0;
    for (int32_t i = 0; i < s->n_running; i++)
        if (s->running[i]->n_rows == 1 && s->running[i]->n_outs > 0) {
            n_decode++;
            n_prefill -= s->running[i]->n_outs;
        }
    if (n_prefill >= SLICE_ROWS_TIMED) {
        double row_us = (double)us / s->b.step.n_rows;
        s->row_us = s->row_us > 0 ? 0.7 * s->row_us + 0.3 * row_us : row_us;
    }
    if (n_decode == 0) return;
    s->window_us += us;
    s->window_tokens += n_decode;
    s->total.tokens_per_s = 1e6 * (double)s->window_tokens / (double)s->window_us;
    if (s->window_us >= RATE_WINDOW_US) s->window_us = s->window_tokens = 0;
}
