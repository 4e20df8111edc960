/* Which bytes a quantised checkpoint will have, before the first is written: tensors in the order of
 * the table, laid into shards, each shard's header, and the chunks that can be made independently.
 * It writes nothing. One thread while it is made; then read by all, but for the results, which
 * belong to who makes their shard. */
#ifndef INFERENCE_QUANTIZE_PLAN_H
#define INFERENCE_QUANTIZE_PLAN_H

#include "base/text.h"
#include "inference/model.h"
#include "inference/quantize.h"

/* One weight: where it comes from, and where its numbers and scales will lie. */
struct quantize_item {
    int32_t tensor; /* its number in the tensor table */
    struct model_tensor to;
    const struct tensor *from;
    struct stored_tensor data, scales; /* scales.size_bytes is 0 for what is copied */
    size_t data_at, scales_at;         /* bytes from the begin of the shard's file */
    bool transpose;                    /* each expert, on the way */
    int64_t chunk_rows;                /* rows of `to` in a chunk; a chunk lies in one expert */
    int64_t n_chunks;
    struct quantize_result result;
};

struct quantize_shard {
    char name[64];
    int32_t first, n;    /* items */
    buffer header;       /* length and JSON, padded so that tensors begin at a multiple of 64 */
    size_t file_bytes;   /* with the header */
    size_t source_bytes; /* that it is made of */
    bool done;           /* by an earlier process, or by this one */
};

struct quantize_plan {
    struct quantize_item *items;
    int32_t n_items;
    struct quantize_shard *shards;
    int32_t n_shards;
    size_t source_bytes, file_bytes; /* of all shards */
};

/* ERR_LIMIT when shards of shard_bytes would be more than SHARDS_MAX. A tensor larger than a shard
 * gets one to itself. Freed by quantize_plan_free, also after a failure; the model must outlive it. */
status quantize_plan_make(struct quantize_plan *out, const model *source, enum weight_format format,
                          size_t shard_bytes, error *err);

void quantize_plan_free(struct quantize_plan *plan);

#endif
