/* DBRX's forward pass, written once over the table of operations. It knows the order of the steps
 * and nothing about data types, buffers or machines. The thread that owns the device. */
#ifndef INFERENCE_FORWARD_H
#define INFERENCE_FORWARD_H

#include "inference/model.h"

/* Enqueues layers [layer_from, layer_to) of one step: the embedding before the first layer; head and
 * sampling behind the last one. A slice of prefill may run in groups of layers, in order; the
 * residual waits in the device. Cannot fail: collect reports what went wrong. */
void forward_layers(const model *m, device *d, const struct step *s, int32_t layer_from,
                    int32_t layer_to);

/* All layers. */
void forward(const model *m, device *d, const struct step *s);

#endif
