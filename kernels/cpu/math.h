/* The inner loops of the CPU backend, one table per instruction set, chosen at run time.
 *
 * Every result is a fixed sequence of fp32 operations whatever the blocking: a dot product runs in
 * eight lanes along k, folded by a fixed tree; an accumulation adds its terms in ascending order.
 * So one table gives the same bits for any number of rows or threads; two tables do not. Strides
 * count elements. k, n_columns and lengths of rows are multiples of 16. Any thread. */
#ifndef KERNELS_CPU_MATH_H
#define KERNELS_CPU_MATH_H

#include "kernels/kernels.h"

/* A block of weights as it is stored: fp32 or bf16. */
struct panel {
    const void *bytes;
    bool is_bf16;
    size_t stride; /* elements from row to row */
    int n_rows;
};

/* Activations, or what products write: rows of fp32. */
struct rows {
    float *values;
    size_t stride;
    int n;
};

struct cpu_math {
    const char *name;
    /* out[j][i] = sum over k of w[i][k] x[j][k] */
    void (*dot)(struct rows out, struct panel w, struct rows x, size_t k);
    /* out[j][c] += sum over f, ascending, of h[j][f] w[f][c] */
    void (*accumulate)(struct rows out, struct panel w, struct rows h, int n_columns);
    /* True when dot and accumulate are quick on bf16 as it is, for few rows; else widen first. */
    bool reads_bf16;
    /* One stored row of weights, or n values of a KV page, as fp32. */
    void (*decode)(float *out, enum weight_format format, const void *row, const void *scales,
                   int64_t n);
    void (*decode_kv)(float *out, enum kv_type type, const void *stored, int n);
    /* y = (x - mean) / sqrt(var + 1e-5) * g */
    void (*norm)(float *y, const float *x, const float *g, int n);
    /* gate = silu(gate) * up */
    void (*silu_product)(float *gate, const float *up, int n);
    /* p = exp(p - largest) for n values; returns their sum. Writes zeros up to a multiple of 8. */
    float (*exp_sum)(float *p, float largest, int n);
};

extern const struct cpu_math cpu_math_portable;
#if defined(__x86_64__)
extern const struct cpu_math cpu_math_avx2;
#endif

/* The table called `variant` (NULL: DBRX_CPU from the environment, else the best one here).
 * ERR_UNSUPPORTED names what this machine has. */
status cpu_math_find(const struct cpu_math **out, const char *variant, error *err);

#endif
