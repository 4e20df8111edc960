/* Tensors of a model directory, mapped read-only: model.safetensors, or the shards named by
 * model.safetensors.index.json.
 *
 * Opening checks every rule of the format (header length, UTF-8, duplicate keys, dtypes, shapes
 * against bytes, no holes, no overlaps, nothing behind the last tensor) and reads only the headers,
 * so that 264 GB open in milliseconds. It knows no model. Immutable after it was opened: any thread
 * may read. Source: github.com/huggingface/safetensors, "Format". */
#ifndef INFERENCE_SAFETENSORS_H
#define INFERENCE_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"

typedef struct safetensors safetensors;

enum tensor_dtype {
    DTYPE_BOOL,
    DTYPE_U8,
    DTYPE_I8,
    DTYPE_F8_E5M2,
    DTYPE_F8_E4M3,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_F32,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_F64,
    DTYPE_COUNT
};

struct tensor {
    const char *name;
    const char *file; /* path of the file it lies in, for messages */
    enum tensor_dtype dtype;
    int32_t n_dimensions;
    int64_t shape[TENSOR_DIMENSIONS_MAX];
    const unsigned char *bytes; /* row-major, little-endian, in the mapping; not aligned by rule */
    size_t size_bytes;
};

/* "BF16", ...: the format's own name. */
const char *tensor_dtype_name(enum tensor_dtype dtype);
size_t tensor_dtype_bytes(enum tensor_dtype dtype);

/* Opens the tensors of a model directory. ERR_FORMAT, ERR_LIMIT or ERR_IO name file and tensor, what
 * was found and what was expected. Closed by safetensors_close. */
status safetensors_open(safetensors **out, const char *model_dir, error *err);

/* Unmaps; NULL is fine. Every `bytes` and `name` given out becomes invalid. */
void safetensors_close(safetensors *s);

/* All tensors, ordered by name. */
size_t safetensors_count(const safetensors *s);
const struct tensor *safetensors_at(const safetensors *s, size_t i);

/* NULL when there is none of that name. */
const struct tensor *safetensors_find(const safetensors *s, const char *name);

/* ERR_IO when a file has become shorter than it was when it was mapped (reading on would be a
 * SIGBUS). One stat per file: cheap enough to ask before every step. */
status safetensors_check_files(const safetensors *s, error *err);

/* Values [first, first + n) of a BF16, F16 or F32 tensor as fp32, exactly. */
void tensor_widen(float *out, const struct tensor *t, size_t first, size_t n);

#endif
