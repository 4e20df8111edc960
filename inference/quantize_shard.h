/* Makes one shard of a quantised checkpoint: threads take chunks in order and write each at its
 * place, so the bytes are the same for any number of them. */
#ifndef INFERENCE_QUANTIZE_SHARD_H
#define INFERENCE_QUANTIZE_SHARD_H

#include "inference/calibration.h"
#include "inference/quantize_plan.h"

struct quantize_workers {
    int32_t n_threads;
    const calibration *statistics; /* NULL: every column counts the same */
    /* Called by the calling thread a few times a second with the source bytes of this shard that are
     * done. */
    void (*progress)(void *context, size_t done_bytes);
    void *context;
};

/* Some chunks of one quantised weight, made in memory. */
struct quantize_stage {
    const struct quantize_item *item;
    int64_t first_chunk, n_chunks;
    unsigned char *codes, *scales; /* as in a file, from the first chunk's first row */
};

/* The same bytes as in a shard. *n_rows were made. */
status quantize_stage_make(const struct quantize_stage *stage, int64_t *n_rows, int32_t n_threads,
                           error *err);

/* Writes and syncs the whole file `path` (an older one is overwritten) and fills the results of its
 * items. ERR_FORMAT names the first NaN or infinity by tensor, row and column; ERR_IO the reason. */
status quantize_shard_write(struct quantize_plan *plan, int32_t shard, const char *path,
                            const struct quantize_workers *workers, error *err);

#endif
