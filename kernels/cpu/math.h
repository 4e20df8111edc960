/* The inner loops of the CPU backend, one table per instruction set, chosen at run time.
 *
 * Every result is a fixed sequence of fp32 operations whatever the blocking: a dot product runs in
 * the table's lanes along k, folded by a fixed tree; an accumulation adds its terms in ascending
 * order; an integer product is exact within a group of 128 columns, and groups are added in ascending
 * order. So one table gives the same bits for any number of rows or threads; two tables do not.
 * Strides count elements. k, n_columns and lengths of rows are multiples of 16. Any thread. */
#ifndef KERNELS_CPU_MATH_H
#define KERNELS_CPU_MATH_H

#include "kernels/kernels.h"

/* A block of weights as it is stored. Row-scaled formats (FP8, INT8) count without their scale here,
 * FP8 also times 1 / FP8_UNIT: who asks for the products multiplies them by the scales. */
#define FP8_UNIT 0x1p20f

struct panel {
    const void *bytes;
    enum weight_format format;
    size_t stride;         /* elements from row to row */
    const uint16_t *tiled; /* INT4: scales of the first row's tile, see INT4_TILE */
    int n_rows;
};

/* Scales of INT4 lie [tile][group][row of the tile] in bf16, so that one load serves a tile of rows.
 * A panel begins at a tile, or is one row of it. */
enum { INT4_TILE = 8 };

/* Activations, or what products write: rows of fp32. */
struct rows {
    float *values;
    size_t stride;
    int n;
};

/* Rows of activations as products want them, zero behind the last column up to a whole group. INT8:
 * codes, and per group a scale and the sum of the codes. BF16: the values themselves. */
enum code_form {
    CODES_NONE,
    CODES_WORDS, /* int16 in their order */
    CODES_BYTES, /* int8 in their order */
    CODES_SPLIT, /* int8; of each 128 columns the even ones, then the odd ones, as nibbles lie */
    CODES_BF16,  /* the values as uint16_t in their order; no scales, no sums */
    CODES_BF16_SCALED /* INT8's codes as such; scales, no sums */
};

struct codes {
    unsigned char *bytes;
    float *scales;
    int32_t *sums;
    size_t stride, n_groups; /* codes and groups from row to row */
    enum code_form form;
    int n;
};

static inline size_t code_bytes(enum code_form form)
{
    return form == CODES_BYTES || form == CODES_SPLIT ? 1 : 2;
}

struct cpu_math {
    const char *name;
    int lanes; /* of dot_lanes, at most LANES_MAX */
    /* What products with a format want of rounded activations; CODES_NONE: fp32. */
    enum code_form forms[ACTIVATION_INT8 + 1][WEIGHT_INT4_G128 + 1];
    /* out[j][i] = sum over k of w[i][k] x[j][k], for formats that `reads` has. */
    void (*dot)(struct rows out, struct panel w, struct rows x, size_t k);
    bool reads[WEIGHT_INT4_G128 + 1];
    /* The same for many rows, blocked along k: adds the columns of this block to lanes[j][4][lanes] (sets
     * them, if first), for at most 4 fp32 rows; lanes_fold then gives the n_w sums of each row. */
    void (*dot_lanes)(float *lanes, const float *w, size_t stride, struct rows x, size_t k,
                      bool first);
    void (*lanes_fold)(struct rows out, const float *lanes, int n_w);
    /* out[j][c] += sum over f, ascending, of h[j][f] w[f][c]; fp32 or bf16 */
    void (*accumulate)(struct rows out, struct panel w, struct rows h, int n_columns);
    /* Products with activations in the form of the table's `forms`. INT8: per group an exact sum of
     * code * code, as fp32 times the group's scales, added up over ascending groups. BF16: sums in
     * lanes, as `dot`. `few` is for rows that share one pass over the weights, `many` may pack them
     * first into `pack` (PACK_BYTES per column, whole groups, a cache line's alignment). `row_scales`
     * where rows have one; what comes out is the product, scales and all. */
    void (*codes_few)(struct rows out, struct panel w, const float *row_scales, struct codes x,
                      size_t k);
    void (*codes_many)(struct rows out, struct panel w, const float *row_scales, struct codes x,
                       size_t k, void *pack);
    /* Rounds a row in place as activation_round does, and gives it in the form of `out` (row 0). */
    void (*round)(float *row, enum activation_type type, int n, struct codes out);
    /* One stored row of weights, or n values of a KV page, as fp32. */
    void (*decode)(float *out, enum weight_format format, const void *row, const void *scales,
                   int64_t n);
    /* n columns (a multiple of 8) of a panel's row 0, from column `from` (a multiple of 128), to what
     * dot would multiply. */
    void (*widen)(float *out, struct panel w, size_t from, size_t n);
    void (*decode_kv)(float *out, enum kv_type type, const void *stored, int n);
    /* y = (x - mean) / sqrt(var + 1e-5) * g */
    void (*norm)(float *y, const float *x, const float *g, int n);
    /* gate = silu(gate) * up */
    void (*silu_product)(float *gate, const float *up, int n);
    /* p = p * scale; returns the largest of them, NaN apart; -INFINITY of none */
    float (*scale_largest)(float *p, float scale, int n);
    /* p = exp(p - largest) for n values; returns their sum. Writes zeros up to a multiple of
     * `lanes`. */
    float (*exp_sum)(float *p, float largest, int n);
};

enum { PACK_BYTES = 32, LANES = 8, LANES_MAX = 16 };

extern const struct cpu_math cpu_math_portable;
#if defined(__x86_64__)
extern const struct cpu_math cpu_math_avx2, cpu_math_avx512, cpu_math_avx512bf16;
#endif

/* The tables there are, best last; NULL behind them. */
extern const char *const cpu_math_names[];

/* The table called `variant` (NULL: DBRX_CPU from the environment, else the best one here).
 * ERR_UNSUPPORTED names what this machine has. */
status cpu_math_find(const struct cpu_math **out, const char *variant, error *err);

#endif
