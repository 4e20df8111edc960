/* Arrays of the step, filled from the front; the step's const pointers look at them. */
#include "inference/batch.h"

#include <string.h>

#include "base/memory.h"

status batch_open(batch *out, struct batch_room room, error *err)
{
    size_t rows = (size_t)room.rows, seqs = (size_t)room.seqs, outs = (size_t)room.outs;
    *out = (batch){.rows_max = room.rows, .seqs_max = room.seqs, .step.pages_max = room.pages};
    out->token = memory_take(rows, sizeof(int32_t));
    out->position = memory_take(rows, sizeof(int32_t));
    out->seq = memory_take(rows, sizeof(int32_t));
    out->seq_row = memory_take(seqs + 1, sizeof(int32_t));
    out->kv_len = memory_take(seqs, sizeof(int32_t));
    out->page_table = memory_take(seqs * (size_t)room.pages, sizeof(int32_t));
    out->out_row = memory_take(outs, sizeof(int32_t));
    out->sample = memory_take(outs, sizeof *out->sample);
    if (out->token && out->position && out->seq && out->seq_row && out->kv_len && out->page_table &&
        out->out_row && out->sample)
        return OK;
    batch_close(out);
    return fail(err, ERR_MEMORY, "out of memory for steps of %d rows", room.rows);
}

void batch_close(batch *b)
{
    void *arrays[] = {b->token,  b->position,   b->seq,     b->seq_row,
                      b->kv_len, b->page_table, b->out_row, b->sample};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) memory_free(arrays[i]);
    *b = (batch){0};
}

void batch_begin(batch *b, kv_pool *kv, const uint32_t *mask, int32_t n_masks)
{
    b->seq_row[0] = 0;
    b->step = (struct step){.token = b->token,
                            .position = b->position,
                            .seq = b->seq,
                            .seq_row = b->seq_row,
                            .kv_len = b->kv_len,
                            .page_table = b->page_table,
                            .pages_max = b->step.pages_max,
                            .out_row = b->out_row,
                            .sample = b->sample,
                            .mask = mask,
                            .n_masks = n_masks,
                            .kv = kv};
}

void batch_add(batch *b, const int32_t *tokens, int32_t from, int32_t to, const int32_t *pages)
{
    struct step *s = &b->step;
    int32_t *table = b->page_table + (size_t)s->n_seqs * (size_t)s->pages_max;
    size_t n_pages = (size_t)(to + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    for (int32_t at = from; at < to; at++, s->n_rows++) {
        b->token[s->n_rows] = tokens[at];
        b->position[s->n_rows] = at;
        b->seq[s->n_rows] = s->n_seqs;
    }
    memcpy(table, pages, n_pages * sizeof *pages);
    b->kv_len[s->n_seqs++] = to;
    b->seq_row[s->n_seqs] = s->n_rows;
}

int32_t batch_add_out(batch *b, int32_t row, struct sample_row sample)
{
    b->out_row[b->step.n_outs] = row;
    b->sample[b->step.n_outs] = sample;
    return b->step.n_outs++;
}
