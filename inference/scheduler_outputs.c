/* What a step samples: an output behind each sequence's last token and behind each guess that follows
 * it; and, to score ids, behind each token that one of them follows, where a mask of a single bit
 * makes the sampler name that id's probability. */
#include "inference/scheduler_private.h"

#include <math.h>
#include <string.h>

#include "base/limits.h"
#include "inference/draft.h"

/* A stream beside one that drafts keeps two thirds of its rate, as beside any other work. */
static const double DRAFT_SLOWER_MAX = 1.5;

/* Rows in front of the first one whose output is wanted, of n more rows. */
static int32_t rows_silent(const struct sequence *q, int32_t n)
{
    int32_t first = (q->score_from > 0 ? q->score_from : q->n_tokens) - 1;
    int32_t silent = first > q->n_computed ? first - q->n_computed : 0;
    if (q->score_from == 0 && q->n_tokens_max == q->n_prompt) return n;
    return silent < n ? silent : n;
}

void draft_room_make(scheduler *s)
{
    struct draft_room room = {.n_outs = s->o.outs_max - s->o.seqs_max, .us_max = INFINITY};
    for (int32_t i = 0; i < s->n_running; i++) {
        const struct sequence *q = s->running[i];
        int32_t n = s->chosen[i];
        if (n == 0) continue;
        room.shape.n_rows += n;
        room.shape.n_seqs++;
        room.shape.n_outs += rows_silent(q, n) < n;
        room.shape.n_kv_tokens += q->n_computed + n;
    }
    room.outputs = room.shape.n_outs;
    if (room.shape.n_seqs > 1) room.us_max = DRAFT_SLOWER_MAX * step_us(s, &room.shape);
    s->room = room;
}

int32_t outputs_fit(const scheduler *s, const struct sequence *q, int32_t n)
{
    int32_t silent = rows_silent(q, n), most = 1 + s->room.n_outs;
    return n - silent > most ? silent + most : n;
}

static double us_with(const void *context, int32_t n_rows)
{
    const scheduler *s = context;
    struct step_shape shape = s->room.shape;
    shape.n_rows += n_rows;
    shape.n_outs += n_rows;
    return step_us(s, &shape);
}

/* Guesses that room, length and policy allow to be verified behind the next n rows. */
static int32_t guesses_choose(scheduler *s, struct sequence *q)
{
    int32_t n_max = q->n_tokens_max - q->n_tokens - 1, n = 0;
    int32_t rows_left = s->o.rows_max - s->room.shape.n_rows;
    double agreement = 0;
    if (n_max > DRAFT_TOKENS_MAX) n_max = DRAFT_TOKENS_MAX;
    if (n_max > rows_left) n_max = rows_left;
    if (n_max > s->room.n_outs) n_max = s->room.n_outs;
    if (n_max > 0) n = s->o.events.draft(s->o.events.context, q, n_max, &agreement);
    struct draft_price price = {us_with, s, s->room.outputs, s->room.us_max};
    if (n > 0 && !s->o.draft_always) n = draft_length(agreement, n, &price);
    s->room.outputs += draft_expected(agreement, n);
    return n;
}

int32_t draft_choose(scheduler *s, struct sequence *q, int32_t n)
{
    int32_t n_drafts = 0, n_outs = n - rows_silent(q, n);
    bool ends = q->n_computed + n == q->n_tokens && n_outs > 0 && q->score_from == 0;
    if (ends && s->o.events.draft) n_drafts = guesses_choose(s, q);
    s->room.shape.n_rows += n_drafts;
    s->room.shape.n_outs += n_drafts;
    if (n_outs > 0) s->room.n_outs -= n_outs - 1 + n_drafts;
    return n_drafts;
}

static uint32_t *mask_next(const scheduler *s)
{
    return s->masks + (size_t)s->b.step.n_masks * (size_t)s->o.sampler->n_words;
}

/* The output that says how likely `id` is at that row. */
static struct sample_row score_row(scheduler *s, int32_t id)
{
    uint32_t *mask = mask_next(s);
    memset(mask, 0, (size_t)s->o.sampler->n_words * sizeof *mask);
    mask[id / 32] |= UINT32_C(1) << id % 32;
    return (struct sample_row){.mask = s->b.step.n_masks++, .top_p = 1};
}

/* The output behind the known tokens and n_ahead guesses. */
static struct sample_row token_row(scheduler *s, const struct sequence *q, int32_t n_ahead)
{
    int32_t n = q->n_tokens + n_ahead;
    struct sample_row row = sampler_row_at(&q->sample, q->tokens, n, n - q->n_prompt);
    if (s->o.events.mask && s->o.events.mask(s->o.events.context, q, n_ahead, mask_next(s)))
        row.mask = s->b.step.n_masks++;
    return row;
}

static void outputs_add(scheduler *s, struct sequence *q, int32_t first_row)
{
    int32_t n_rows = q->n_rows + q->n_drafts;
    q->n_outs = 0;
    for (int32_t i = rows_silent(q, q->n_rows); i < n_rows; i++) {
        int32_t known = q->n_computed + i + 1;
        struct sample_row row = q->score_from > 0 ? score_row(s, q->tokens[known])
                                                  : token_row(s, q, known - q->n_tokens);
        int32_t out = batch_add_out(&s->b, first_row + i, row);
        if (q->n_outs++ == 0) q->out = out;
    }
}

/* Outputs are asked for last: until then masks belong to other steps, a sequence may have gone, and
 * the one that took its place may want the output that it did not. */
void slice_outputs_add(scheduler *s, struct slice *slice)
{
    struct step *b = &s->b.step;
    b->n_outs = 0;
    b->n_masks = s->o.sampler->n_masks;
    for (int32_t i = 0; i < b->n_seqs; i++)
        if (slice->part[i]) outputs_add(s, slice->part[i], b->seq_row[i]);
}

/* False: the sequence has ended, or is scored now. */
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

static void scores_take(struct sequence *q, int32_t n_outs, const struct sample_result *sampled)
{
    for (int32_t i = 0; i < n_outs; i++)
        q->score_logprob += sampled[i].nan ? (double)NAN : (double)sampled[i].logprob;
}

/* The longest prefix of the guesses that the model itself says, and the token it says behind it. Rows
 * behind that wrote keys and values of tokens that are not there: n_computed ends before them, and
 * whatever comes writes over them. */
void outputs_take(scheduler *s, struct sequence *q, int32_t n_outs,
                  const struct sample_result *sampled)
{
    if (q->score_from > 0) {
        scores_take(q, n_outs, sampled);
        return;
    }
    q->n_drafted += n_outs - 1;
    s->total.drafted += n_outs - 1;
    for (int32_t i = 0; i < n_outs; i++) {
        bool agrees = i + 1 < n_outs && q->tokens[q->n_tokens] == sampled[i].id;
        q->n_accepted += agrees;
        s->total.accepted += agrees;
        s->window_tokens += agrees;
        if (!token_take(s, q, &sampled[i])) return;
        if (!agrees) break;
        q->n_computed++;
    }
    computed_insert(s, q, false);
}
