/* Products of BF16 weights with BF16 activations in pairs; the integer ones go on to integer_avx512.h.
 * See cpu_math. */
#ifndef KERNELS_CPU_BF16_AVX512BF16_H
#define KERNELS_CPU_BF16_AVX512BF16_H

#include "kernels/cpu/math.h"

void avx512bf16_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                          size_t k);
void avx512bf16_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                           size_t k, void *pack);

#endif
