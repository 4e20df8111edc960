/* Integer products of INT8 and INT4 weights with INT8 activations, for the AVX2 table; see cpu_math.
 */
#ifndef KERNELS_CPU_INTEGER_AVX2_H
#define KERNELS_CPU_INTEGER_AVX2_H

#include "kernels/cpu/math.h"

void avx2_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                    size_t k);
void avx2_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                     size_t k, void *pack);

#endif
