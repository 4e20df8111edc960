/* config.json of a DBRX checkpoint, checked number by number.
 *
 * Refused by file and field: another architecture, numbers outside their range, an activation other
 * than SiLU, shapes outside kernels.h's contract. Keys that mean nothing here are ignored, except
 * our own object `dbrx_ls` {weights, activations, group_size, demo}. Any thread. */
#ifndef INFERENCE_MODEL_CONFIG_H
#define INFERENCE_MODEL_CONFIG_H

#include <stdbool.h>

#include "base/error.h"
#include "kernels/kernels.h"

struct model_config {
    struct model_shape shape;
    enum weight_format
        weights; /* dbrx_ls.weights; WEIGHT_BF16: not quantised, whatever the dtype */
    bool demo;   /* dbrx_ls.demo: shows the program, does no work */
};

/* Reads DIR/config.json. */
status model_config_read(struct model_config *out, const char *model_dir, error *err);

/* "bf16", "f32", "e4m3", "int8": dbrx_ls.activations. ERR_UNSUPPORTED lists them. */
status activation_parse(enum activation_type *out, const char *name, error *err);
const char *activation_name(enum activation_type type);

#endif
