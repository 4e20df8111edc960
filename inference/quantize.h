/* Quantises a checkpoint, however large, in little memory.
 *
 * Weights are read from the mapped source in chunks and written to DESTINATION.partial, shard by
 * shard; when all is there and synced, that directory is renamed to DESTINATION. A process killed at
 * any moment goes on with the shard it was at when it is started again, and the end is the same, byte
 * for byte, as it is for any number of threads. quantize.json, which stays in the checkpoint, keeps
 * what was done: of which source, and with what error. So does calibration.bin, if a text was given.
 * It knows no text, no request and no device.
 *
 * Memory besides mappings: under 6 MiB per thread (a chunk of QUANTIZE_CHUNK_VALUES as fp32 and as
 * codes), and the headers of all shards. Calibrating takes that of a comparison (comparison.h) instead,
 * and keeps 45 MB for DBRX. One call per destination at a time; a second is refused. */
#ifndef INFERENCE_QUANTIZE_H
#define INFERENCE_QUANTIZE_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "inference/tensor_table.h"

struct quantize_progress {
    double calibrated; /* 0..1 while statistics are gathered, before the first byte is written */
    size_t done_bytes, all_bytes; /* of the source's weights */
    size_t resumed_bytes;         /* of these, done by an earlier process */
};

/* A text to read with the source first, so that scales fit what weights are multiplied with. */
struct quantize_text {
    const int32_t *tokens; /* [n_tokens] */
    size_t n_tokens;
    const char *sha256; /* of the text, 64 hex digits */
};

struct quantize_options {
    const char *source_dir, *destination_dir;
    enum weight_format format; /* WEIGHT_FP8_ROW, WEIGHT_INT8_ROW or WEIGHT_INT4_G128 */
    const char *activations;   /* as activation_parse reads it; NULL: as the source has it */
    int32_t n_threads;         /* 0: all cores */
    size_t shard_bytes;        /* tensors are put into shards of at most that; 0: 4 GiB */
    bool take_existing; /* a destination that was made of this source in this format will do */
    const struct quantize_text *calibrate; /* NULL: every column counts the same */
    /* Called by the calling thread, at least at the begin and the end; may be NULL. */
    void (*progress)(void *context, const struct quantize_progress *p);
    void *context;
};

/* What became of one weight. */
struct quantize_result {
    char name[TENSOR_NAME_MAX];
    enum weight_format format; /* WEIGHT_BF16: copied as it was */
    double error_max;          /* largest |stored - source| */
    double error_relative;     /* root of the mean square of errors over that of the values */
};

struct quantize_report {
    struct quantize_result *results; /* [n_results] */
    int32_t n_results, n_shards, n_shards_resumed;
    size_t source_bytes, written_bytes; /* of all tensors */
};

/* ERR_USAGE: the destination exists, or holds the beginning of something else; ERR_BUSY: another
 * process writes it; ERR_LIMIT: not enough free space, with numbers; ERR_FORMAT: a value is NaN or
 * infinite, by tensor, row and column. `out` may be NULL; freed by quantize_report_free. */
status quantize(struct quantize_report *out, const struct quantize_options *options, error *err);

/* `given`, or as many as there are cores when that is 0; at most QUANTIZE_THREADS_MAX. */
int32_t quantize_threads(int32_t given);

void quantize_report_free(struct quantize_report *r);

#endif
