/* The table of what a DBRX checkpoint holds: three tensors, and eight per layer, each with its name,
 * its shape and the format it is stored in. Checking, loading and quantising all walk this table;
 * FORMATS.md is its description for people. It opens no file. Any thread. */
#ifndef INFERENCE_TENSOR_TABLE_H
#define INFERENCE_TENSOR_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inference/safetensors.h"
#include "kernels/kernels.h"

enum { OUTER_TENSORS = 3, LAYER_TENSORS = 8, TENSOR_NAME_MAX = 96 };

/* One weight of the model: [n_rows][n_columns] as kernels.h's weight_spec means them. */
struct model_tensor {
    char name[TENSOR_NAME_MAX];
    bool vector; /* shape [n_columns], else [n_rows, n_columns] */
    int64_t n_rows, n_columns;
    int32_t n_experts;
    bool transposed; /* w2 of a checkpoint that is not quantised */
    /* WEIGHT_FP8_ROW, WEIGHT_INT8_ROW or WEIGHT_INT4_G128; WEIGHT_BF16 stands for all three dtypes
     * that are read without scales: BF16, F16 and F32. */
    enum weight_format format;
};

/* One tensor of a file. */
struct stored_tensor {
    char name[TENSOR_NAME_MAX];
    enum tensor_dtype dtype;
    int32_t n_dimensions;
    int64_t shape[2];
    size_t size_bytes;
};

int32_t model_tensor_count(const struct model_shape *s);

/* Weight i of a checkpoint whose config.json says `weights` (WEIGHT_BF16: not quantised). */
struct model_tensor model_tensor_at(const struct model_shape *s, enum weight_format weights,
                                    int32_t i);

/* As kernels.h wants it, with the tensor's own format. `name` is the tensor's. */
struct weight_spec model_tensor_spec(const struct model_tensor *t);

bool model_tensor_quantized(const struct model_tensor *t);

/* How a weight's numbers lie in a file, with `dtype` where it is not quantised; and its scales
 * (quantised weights only): "NAME.scales". */
struct stored_tensor model_tensor_data(const struct model_tensor *t, enum tensor_dtype dtype);
struct stored_tensor model_tensor_scales(const struct model_tensor *t);

#endif
