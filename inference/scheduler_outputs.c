/* What a step samples: an output behind each sequence's last token and behind each token of its
 * draft; and, to score ids, behind each token that one of them follows, where a mask of a single bit
 * makes the sampler name that id's probability. */
#include "inference/scheduler_private.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "inference/draft.h"

void outputs_begin(scheduler *s)
{
    s->n_decoding = 0;
    s->n_spare = s->o.outs_max - s->o.seqs_max;
    s->outputs_expected = 0;
}

/* Rows in front of the first one whose output is wanted, of n more rows. */
static int32_t rows_silent(const struct sequence *q, int32_t n)
{
    int32_t first = q->score_from > 0 ? q->score_from - 1 : q->n_tokens - 1;
    int32_t silent = first > q->n_computed ? first - q->n_computed : 0;
    if (q->score_from == 0 && q->n_tokens_max == q->n_prompt) return n;
    return silent < n ? silent : n;
}

int32_t outputs_fit(const scheduler *s, const struct sequence *q, int32_t n)
{
    int32_t silent = rows_silent(q, n), wanted = n - silent;
    return wanted > 1 + s->n_spare ? silent + 1 + s->n_spare : n;
}

/* The step so far, the sequence's n rows, and the decode rows still to come. */
struct draft_cost {
    const scheduler *s;
    struct step_shape shape;
};

static double cost_with(const void *context, int32_t n_rows)
{
    const struct draft_cost *c = context;
    struct step_shape shape = c->shape;
    shape.n_rows += n_rows;
    shape.n_outs += n_rows;
    return c->s->kernels->step_cost(c->s->o.device, &shape);
}

static int32_t draft_paying(const scheduler *s, const struct sequence *q, int32_t n,
                            double agreement, int32_t n_max)
{
    const struct step *b = &s->b.step;
    struct draft_cost cost = {s,
                              {.n_rows = b->n_rows + n + s->n_decoding,
                               .n_seqs = b->n_seqs + 1 + s->n_decoding,
                               .n_outs = b->n_outs + 1 + s->n_decoding,
                               .n_kv_tokens = q->n_tokens}};
    for (int32_t i = 0; i < b->n_seqs; i++) cost.shape.n_kv_tokens += b->kv_len[i];
    struct draft_price price = {cost_with, &cost, s->outputs_expected + 1 + s->n_decoding};
    return draft_length(agreement, n_max, &price);
}

int32_t draft_choose(scheduler *s, struct sequence *q, int32_t n)
{
    int32_t n_max = q->n_tokens_max - q->n_tokens - 1, n_drafts = 0;
    int32_t rows_left = s->o.rows_max - s->b.step.n_rows - n - s->n_decoding;
    double agreement = 0;
    if (q->n_computed + n < q->n_tokens || q->n_tokens_max == q->n_prompt) return 0;
    if (n_max > DRAFT_TOKENS_MAX) n_max = DRAFT_TOKENS_MAX;
    if (n_max > rows_left) n_max = rows_left;
    if (n_max > s->n_spare) n_max = s->n_spare;
    if (n_max > 0 && s->o.events.draft)
        n_drafts = s->o.events.draft(s->o.events.context, q, n_max, &agreement);
    if (n_drafts > 0 && !s->o.draft_always) n_drafts = draft_paying(s, q, n, agreement, n_drafts);
    s->outputs_expected += 1 + draft_expected(agreement, n_drafts);
    return n_drafts;
}

static uint32_t *mask_next(const scheduler *s)
{
    return s->masks + (size_t)s->b.step.n_masks * (size_t)s->o.sampler->n_words;
}

static void out_add(scheduler *s, struct sequence *q, int32_t batch_row, struct sample_row row)
{
    int32_t out = batch_add_out(&s->b, batch_row, row);
    if (q->n_outs++ == 0) q->out = out;
}

/* The output that says how likely `id` is at that row. */
static void score_out_add(scheduler *s, struct sequence *q, int32_t batch_row, int32_t id)
{
    uint32_t *mask = mask_next(s);
    memset(mask, 0, (size_t)s->o.sampler->n_words * sizeof *mask);
    mask[id / 32] |= UINT32_C(1) << id % 32;
    out_add(s, q, batch_row, (struct sample_row){.mask = s->b.step.n_masks++, .top_p = 1});
}

void outputs_reserve(scheduler *s, const struct sequence *q)
{
    int32_t n_outs = q->n_rows - rows_silent(q, q->n_rows) + q->n_drafts;
    if (n_outs > 1) s->n_spare -= n_outs - 1;
}

void outputs_add(scheduler *s, struct sequence *q, int32_t first_row)
{
    int32_t n_rows = q->n_rows + q->n_drafts;
    q->n_outs = 0;
    q->out = -1;
    for (int32_t i = rows_silent(q, q->n_rows); i < n_rows; i++) {
        int32_t known = q->n_computed + i + 1, n_ahead = known - q->n_tokens;
        if (q->score_from > 0) {
            score_out_add(s, q, first_row + i, q->tokens[known]);
            continue;
        }
        struct sample_row row = sampler_row_at(&q->sample, q->tokens, known, known - q->n_prompt);
        if (s->o.events.mask && s->o.events.mask(s->o.events.context, q, n_ahead, mask_next(s)))
            row.mask = s->b.step.n_masks++;
        out_add(s, q, first_row + i, row);
    }
}

/* False: the sequence has ended. */
static bool token_take(scheduler *s, struct sequence *q, const struct sample_result *result)
{
    const char *why = NULL;
    if (result->nan || result->id < 0) {
        running_end(s, q, FINISH_ERROR,
                    result->nan ? "the model computed a logit that is no number"
                                : "no token is allowed here");
        return false;
    }
    if (q->first_token_us == 0) q->first_token_us = now_us(s);
    q->tokens[q->n_tokens++] = result->id;
    s->total.tokens_output++;
    owners_serve(s->owners, q->owner_slot, OWNER_OUTPUT_WEIGHT);
    enum finish_reason reason = s->o.events.token(s->o.events.context, q, result, &why);
    if (reason == FINISH_NONE && q->n_tokens == q->n_tokens_max) reason = FINISH_LENGTH;
    if (reason != FINISH_NONE) output_end(s, q, reason, why);
    return reason == FINISH_NONE;
}

static void scores_take(struct sequence *q, const struct sample_result *sampled)
{
    for (int32_t i = 0; i < q->n_outs; i++)
        q->score_logprob += sampled[i].nan ? (double)NAN : (double)sampled[i].logprob;
}

/* The longest prefix of the draft that the model itself says, and the token it says behind it. Rows
 * behind that wrote keys and values of tokens that are not there: n_computed ends before them, and
 * whatever comes writes over them. */
void outputs_take(scheduler *s, struct sequence *q, const struct step_result *result)
{
    const struct sample_result *sampled = result->sampled + q->out;
    int32_t n_drafts = q->n_outs - 1;
    if (q->score_from > 0) {
        scores_take(q, sampled);
        return;
    }
    q->n_drafted += n_drafts;
    s->total.drafted += n_drafts;
    for (int32_t i = 0; i <= n_drafts; i++) {
        bool agrees = i < n_drafts && q->tokens[q->n_tokens] == sampled[i].id;
        q->n_accepted += agrees;
        s->total.accepted += agrees;
        if (!token_take(s, q, &sampled[i])) return;
        if (!agrees) break;
        q->n_computed++;
    }
    computed_insert(s, q, false);
}
