/* A DBRX checkpoint: configuration and weights, checked against each other, then handed to a backend.
 *
 * Opening needs no device and reads headers only. Loading gives every tensor to the backend as it is
 * stored; BF16, F32 and quantised numbers are borrowed from the mapping, F16 is widened to F32
 * (exact), scales are checked and copied. FORMATS.md says what lies in a quantised checkpoint. It
 * knows no tokenizer, no KV and no request. One thread at a time. */
#ifndef INFERENCE_MODEL_H
#define INFERENCE_MODEL_H

#include "inference/model_config.h"
#include "inference/safetensors.h"

typedef struct model {
    struct model_config config;
    safetensors *files;
    const struct kernels *kernels; /* NULL until loaded */
    weight **weights;              /* [n_weights] in the order of the tensor table */
    int32_t n_weights;
    size_t n_stored; /* tensors in the files: a quantised weight has two */
    const weight *wte, *norm_f, *lm_head;
    struct layer_weights *layers; /* [n_layers] */
} model;

/* All tensors must be there with their shapes and a dtype of BF16, F16 or F32 or, quantised, the one
 * of their format with their scales, and no others: ERR_FORMAT names file, tensor, found and
 * expected. Closed by model_close. */
status model_open(model **out, const char *model_dir, error *err);

/* Numbers in all weights, however they are stored; scales are none. */
int64_t model_parameters(const model *m);

/* Bytes of all weights as stored, and of those that a copy is made of (F16, scales). */
size_t model_stored_bytes(const model *m);
size_t model_copied_bytes(const model *m);

/* Bytes that a backend with a memory of its own (weight_bytes) takes for all weights, stored as they
 * are or rounded to `weights` (WEIGHT_F32: as stored). */
size_t model_device_bytes(const model *m, enum weight_format weights, const struct kernels *k);

/* Gives all weights to the device. `progress` (may be NULL) gets 0..1 by bytes. The model must be
 * closed before the device. */
status model_load(model *m, const struct kernels *kernels, device *d,
                  void (*progress)(void *context, double fraction), void *context, error *err);

/* The two steps of it, for who loads some weights otherwise (quantize_load.h): weight i of the tensor
 * table as it is stored, *bytes grows by what was read; and names for all once they are there.
 * m->kernels must be set. */
status model_weight_load(model *m, int32_t i, device *d, size_t *bytes, error *err);
void model_weights_name(model *m);

/* Frees weights and mapping; NULL is fine. */
void model_close(model *m);

#endif
