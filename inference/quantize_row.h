/* Rounding: one row of fp32 values to the numbers and scales of a stored format.
 *
 * The counterpart of kernels/format.h's decoding; FORMATS.md states the rules. All arithmetic is
 * fp32 with one rounding per operation, so every machine writes the same bytes. Any thread. */
#ifndef INFERENCE_QUANTIZE_ROW_H
#define INFERENCE_QUANTIZE_ROW_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

/* What rounding did: the largest |stored - value|, and sums of squares for a relative error. */
struct rounding {
    double largest, error_squares, value_squares;
};

/* n finite values (n even for INT4) to format_row_bytes of `codes` and format_row_scale_bytes of
 * `scales`, for one of the three quantised formats. `importance` [n] (at least 0, or NULL) is the
 * mean square of what each column is multiplied with: then the scale with the least error of the
 * product is taken, not of the values. Adds to *rounding, by the values. */
void quantize_row(void *codes, void *scales, enum weight_format format, const float *values,
                  const float *importance, int64_t n, struct rounding *rounding);

/* Index of the first NaN or infinity, or -1. */
int64_t values_find_bad(const float *values, int64_t n);

#endif
