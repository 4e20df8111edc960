/* Steps that may stand between two groups of layers. What a standing slice needs to go on is its batch
 * and a layer number here, and its residual rows in the device. */
#include "inference/scheduler_private.h"

struct step_shape slice_shape(const struct slice *slice)
{
    const struct step *b = &slice->b.step;
    struct step_shape shape = {.n_rows = b->n_rows, .n_seqs = b->n_seqs};
    for (int32_t i = 0; i < b->n_seqs; i++) {
        const struct sequence *q = slice->part[i];
        shape.n_kv_tokens += b->kv_len[i];
        if (q && q->n_computed + q->n_rows == q->n_tokens) shape.n_outs += 1 + q->n_drafts;
    }
    return shape;
}

bool slice_is_warm(const struct slice *slice)
{
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++)
        if (slice->part[i] && slice->part[i]->priority == PRIORITY_WARM) return true;
    return false;
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

static int32_t *part_pages(const struct slice *slice, int32_t part, int32_t *n_pages)
{
    const struct step *b = &slice->b.step;
    *n_pages = kv_pages_for_tokens(b->kv_len[part]);
    return slice->b.page_table + (size_t)part * (size_t)b->pages_max;
}

static void rows_clear(struct sequence *q)
{
    q->slice = q->out = -1;
    q->n_rows = q->n_drafts = q->n_outs = 0;
}

void slice_leave(scheduler *s, struct sequence *q)
{
    if (q->slice < 0) return;
    struct slice *slice = &s->slices[q->slice];
    int32_t n_live = 0, n_pages;
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++) {
        if (slice->part[i] == q) {
            const int32_t *pages = part_pages(slice, i, &n_pages);
            for (int32_t j = 0; j < n_pages; j++) kv_pages_hold(s->pages, pages[j]);
            slice->part[i] = NULL;
        }
        n_live += slice->part[i] != NULL;
    }
    rows_clear(q);
    if (n_live == 0) slice_close(s, slice);
}

void slice_nobodys_release(scheduler *s, const struct slice *slice)
{
    int32_t n_pages;
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++) {
        const int32_t *pages = part_pages(slice, i, &n_pages);
        for (int32_t j = 0; !slice->part[i] && j < n_pages; j++)
            kv_pages_release(s->pages, pages[j]);
    }
}

void slice_close(scheduler *s, struct slice *slice)
{
    slice_nobodys_release(s, slice);
    for (int32_t i = 0; i < slice->b.step.n_seqs; i++) {
        struct sequence *q = slice->part[i];
        if (!q) continue;
        rows_clear(q);
    }
    slice->active = false;
}

int32_t slices_pages_held(const scheduler *s)
{
    int32_t n = 0, n_pages;
    for (int32_t i = 0; i < SLICES_MAX; i++)
        for (int32_t j = 0; s->slices[i].active && j < s->slices[i].b.step.n_seqs; j++) {
            part_pages(&s->slices[i], j, &n_pages);
            n += s->slices[i].part[j] ? 0 : n_pages;
        }
    return n;
}

double step_us(const void *scheduler_, const struct step_shape *shape)
{
    const scheduler *s = scheduler_;
    return s->kernels->step_cost(s->o.device, shape) *
           s->cost_ratio[shape->n_rows >= SLICE_ROWS_TIMED];
}

void cost_learn(scheduler *s, const struct step_shape *shape, double share, int64_t us)
{
    double *ratio = &s->cost_ratio[shape->n_rows >= SLICE_ROWS_TIMED];
    double said_us = s->kernels->step_cost(s->o.device, shape) * share;
    if (said_us <= 0) return;
    *ratio = 0.8 * *ratio + 0.2 * (double)us / said_us;
    if (*ratio < 0.01) *ratio = 0.01;
}
