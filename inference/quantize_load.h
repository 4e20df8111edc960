/* Loads a checkpoint with smaller weights than it has: rounded on their way to the device, by the same
 * rules and code as quantize, so that both give the same logits. It writes no file, unless told to
 * save the result first; then quantize does, and the result is loaded. */
#ifndef INFERENCE_QUANTIZE_LOAD_H
#define INFERENCE_QUANTIZE_LOAD_H

#include "inference/model.h"

struct weights_wanted {
    const char *model_dir;
    enum weight_format format; /* WEIGHT_F32: as they are stored */
    const char *save_dir;      /* with another format: the directory to keep them in; or NULL */
    int32_t n_threads;         /* 0: all cores */
    void (*progress)(void *context, double fraction); /* of the saving; may be NULL */
    void *context;
};

/* Turns a wish into what is to be loaded: writes save_dir (or finds it there, made of this source in
 * this format) and names it as the model; forgets a format that the model has already. ERR_USAGE when
 * it has another one, and for what quantize refuses. */
status weights_settle(struct weights_wanted *w, error *err);

/* model_load with another format (WEIGHT_F32: as stored). Memory: the quantised weights in the device,
 * and a few MiB per thread. ERR_USAGE when the model is quantised otherwise already; values that are
 * not finite are refused as quantize does. */
status quantize_load(model *m, enum weight_format format, int32_t n_threads,
                     const struct kernels *kernels, device *d,
                     void (*progress)(void *context, double fraction), void *context, error *err);

/* Bytes that quantize_load makes the device hold, besides what stays mapped. */
size_t quantize_load_bytes(const model *m, enum weight_format format);

#endif
