/* What the columns of each weight are multiplied with: mean squares of the inputs of every product,
 * seen while the source reads a text.
 *
 * An error in a column that is always multiplied with small numbers costs little; quantize_row uses
 * that. Statistics are kept in a file with a checksum, so that work that was interrupted goes on with
 * the same numbers. It knows token ids, no text but its digest. One thread makes or reads them; then
 * any may look. */
#ifndef INFERENCE_CALIBRATION_H
#define INFERENCE_CALIBRATION_H

#include "base/error.h"
#include "inference/model.h"

#define CALIBRATION_FILE "calibration.bin"

typedef struct calibration {
    int32_t d_model, attention_width, ffn, n_experts, n_layers;
    int64_t n_tokens;
    char text_sha256[65];
    char sha256[65]; /* of all that the file holds before it */
    int64_t *n_rows; /* [layers][experts] rows an expert has seen */
    float *squares;  /* [n_squares] mean squares; see calibration.c */
    size_t n_squares;
} calibration;

struct calibration_options {
    const char *model_dir;
    const int32_t *tokens; /* [n_tokens] */
    size_t n_tokens;
    const char *text_sha256; /* 64 hex digits: where the tokens came from */
    int32_t n_threads;
    /* Called by the calling thread behind every layer with 0..1; may be NULL. */
    void (*progress)(void *context, double fraction);
    void *context;
};

/* Runs the text through the model on the CPU, layer by layer over windows of 2,048 tokens, with fp32
 * activations. The same numbers for any number of threads. ERR_USAGE: no tokens, or ids outside the
 * vocabulary. Freed by calibration_free, also after a failure. */
status calibration_make(calibration *out, const struct calibration_options *options, error *err);

/* The file's bytes are the same for the same numbers. */
status calibration_write(const calibration *c, const char *path, error *err);

/* ERR_FORMAT: cut, changed, or of another shape or text (NULL: any). */
status calibration_read(calibration *out, const char *path, const struct model_shape *shape,
                        const char *text_sha256, error *err);

/* How much column k of weight `tensor` (its number in the tensor table) counts for one expert (0 where
 * there is one): the mean square its input had, drawn towards the mean of all columns where few rows
 * were seen. `out` has room for the longest row. False: nothing is known, all columns are alike. */
bool calibration_importance(float *out, const calibration *c, int32_t tensor, int32_t expert);

void calibration_free(calibration *c);

#endif
