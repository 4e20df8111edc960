/* The rows of one step, gathered sequence by sequence into the arrays the device reads.
 *
 * Allocated once. It knows tokens, pages and rows; nothing of requests and priorities. */
#ifndef INFERENCE_BATCH_H
#define INFERENCE_BATCH_H

#include "base/error.h"
#include "kernels/kernels.h"

typedef struct batch {
    struct step step; /* ready for the device after the last batch_add */
    int32_t rows_max, seqs_max;
    int32_t *token, *position, *seq, *seq_row, *kv_len, *page_table, *out_row;
    struct sample_row *sample;
} batch;

struct batch_room {
    int32_t rows, seqs, outs;
    int32_t pages; /* of each sequence */
};

/* Room for so much, at most. ERR_MEMORY. */
status batch_open(batch *out, struct batch_room room, error *err);
void batch_close(batch *b);

/* Begins a step without rows that writes to this pool under these masks. */
void batch_begin(batch *b, kv_pool *kv, const uint32_t *mask, int32_t n_masks);

/* Adds tokens[from, to) of one sequence, whose pages[] cover 0..to-1. */
void batch_add(batch *b, const int32_t *tokens, int32_t from, int32_t to, const int32_t *pages);

/* Asks for an output behind row `row`. Returns its number among the outputs. */
int32_t batch_add_out(batch *b, int32_t row, struct sample_row sample);

#endif
