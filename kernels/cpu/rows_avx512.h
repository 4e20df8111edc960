/* Row-wise steps of the AVX-512 tables that compilers do not vectorise by themselves; see cpu_math. */
#ifndef KERNELS_CPU_ROWS_AVX512_H
#define KERNELS_CPU_ROWS_AVX512_H

#include "kernels/cpu/math.h"

void avx512_round(float *row, enum activation_type type, int n, struct codes out);
void avx512_silu_product(float *gate, const float *up, int n);
float avx512_scale_largest(float *p, float scale, int n);
float avx512_exp_sum(float *p, float largest, int n);

#endif
