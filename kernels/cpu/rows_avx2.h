/* Row-wise steps of the AVX2 table that compilers do not vectorise by themselves; see cpu_math. */
#ifndef KERNELS_CPU_ROWS_AVX2_H
#define KERNELS_CPU_ROWS_AVX2_H

#include "kernels/cpu/math.h"

void avx2_round(float *row, enum activation_type type, int n, struct codes out);
void avx2_silu_product(float *gate, const float *up, int n);
float avx2_exp_sum(float *p, float largest, int n);

#endif
