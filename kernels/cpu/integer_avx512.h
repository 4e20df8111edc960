/* Integer products of INT8 and INT4 weights with INT8 activations, for the AVX-512 tables; see
 * cpu_math. */
#ifndef KERNELS_CPU_INTEGER_AVX512_H
#define KERNELS_CPU_INTEGER_AVX512_H

#include "kernels/cpu/math.h"

void avx512_codes_few(struct rows out, struct panel w, const float *row_scales, struct codes x,
                      size_t k);
void avx512_codes_many(struct rows out, struct panel w, const float *row_scales, struct codes x,
                       size_t k, void *pack);

#endif
