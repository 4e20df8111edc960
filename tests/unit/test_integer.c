/* Products of rounded activations against their definition, written out here in double: for each group
 * of 128 columns an exact sum of code times code, times the group's scales; or sums of pairs of BF16.
 * And few rows at a time against many: the same bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <math.h>

#include "base/random.h"
#include "kernels/cpu/math.h"
#include "kernels/format.h"

/* Its macro `fail` must come after base/error.h. */
#include <cmocka.h>

enum { COLUMNS_MAX = 2048, GROUPS_MAX = COLUMNS_MAX / 128, WEIGHTS_MAX = 48, ROWS_MAX = 260 };

/* NULL, and said so, where this machine has no such table. */
static const struct cpu_math *table_find(const char *name)
{
    const struct cpu_math *math = NULL;
    error err;
    if (cpu_math_find(&math, name, &err) != OK) print_message("not run: %s\n", err.message);
    return math;
}

/* One product: weights as codes and scales in plain arrays, and as the loops want them. */
struct problem {
    size_t n_w, n_x, k, n_groups;
    int code[WEIGHTS_MAX][COLUMNS_MAX];
    double scale[WEIGHTS_MAX][GROUPS_MAX];
    unsigned char *stored; /* the last byte is the last of the block */
    uint16_t tiled[WEIGHTS_MAX + 16][GROUPS_MAX];
    float row_scale[WEIGHTS_MAX];
    float x[ROWS_MAX][COLUMNS_MAX]; /* rounded */
    struct codes codes;
};

static double bf16_meaning(uint16_t bits) { return (double)bf16_value(bits); }

static void weights_make(struct problem *p, enum weight_format format, uint64_t seed)
{
    bool four = format == WEIGHT_INT4_G128;
    size_t bytes = four ? p->k / 2 : p->k;
    p->stored = calloc(p->n_w, bytes);
    memset(p->tiled, 0xFF, sizeof p->tiled); /* NaN where nothing belongs */
    for (size_t i = 0; i < p->n_w; i++) {
        p->row_scale[i] = (float)(0.001 * (1 + random_unit(seed + 1, i)));
        for (size_t g = 0; g < p->n_groups; g++) {
            uint16_t bits = bf16_from((float)(0.01 * (1 + random_unit(seed + 2, i * 99 + g))));
            uint16_t *all = &p->tiled[0][0];
            all[(i / 8 * p->n_groups + g) * 8 + i % 8] = bits;
            p->scale[i][g] = four ? bf16_meaning(bits) : (double)p->row_scale[i];
        }
        for (size_t c = 0; c < p->k; c++) {
            int n = (int)(random_at(seed, i * COLUMNS_MAX + c) % (four ? 16 : 256)),
                half = four ? 8 : 128;
            p->code[i][c] = seed % 2 && c < 64 ? -half : n - half; /* the extreme, too */
            unsigned char *to = p->stored + i * bytes;
            if (four)
                to[c / 2] |= (unsigned char)((p->code[i][c] & 15) << (c % 2 ? 4 : 0));
            else
                to[c] = (unsigned char)p->code[i][c];
        }
    }
}

static void rows_make(struct problem *p, const struct cpu_math *math, enum code_form form,
                      uint64_t seed)
{
    size_t padded = p->n_groups * 128;
    p->codes = (struct codes){.bytes = calloc(p->n_x * padded, 2),
                              .scales = calloc(p->n_x * p->n_groups, sizeof(float)),
                              .sums = calloc(p->n_x * p->n_groups, sizeof(int32_t)),
                              .stride = padded,
                              .n_groups = p->n_groups,
                              .form = form,
                              .n = (int)p->n_x};
    memset(p->codes.bytes, 0x55, p->n_x * padded * 2); /* what lies behind columns must not count */
    for (size_t j = 0; j < p->n_x; j++) {
        struct codes row = p->codes;
        row.bytes += j * padded * code_bytes(form);
        row.scales += j * p->n_groups;
        row.sums += j * p->n_groups;
        for (size_t c = 0; c < p->k; c++)
            p->x[j][c] = (float)(random_unit(seed ^ 55, j * COLUMNS_MAX + c) - 0.5);
        float again[COLUMNS_MAX];
        memcpy(again, p->x[j], sizeof again);
        math->round(p->x[j], ACTIVATION_INT8, (int)p->k, row);
        activation_round(again, ACTIVATION_INT8, (int)p->k);
        for (size_t c = 0; c < p->k; c++) assert_true(again[c] == p->x[j][c]);
    }
}

static void problem_free(struct problem *p)
{
    free(p->stored);
    free(p->codes.bytes);
    free(p->codes.scales);
    free(p->codes.sums);
}

/* Rounded values of a group are whole multiples of its scale, so the double sum is the definition's.
 * Bound: a multiplication and an addition per group, and the row's scale: 2^-24 each of the sum of
 * magnitudes. */
static void result_check(const struct problem *p, const float *out, size_t stride)
{
    for (size_t j = 0; j < p->n_x; j++)
        for (size_t i = 0; i < p->n_w; i++) {
            double sum = 0, all = 0;
            for (size_t c = 0; c < p->k; c++) {
                double term = p->code[i][c] * p->scale[i][c / 128] * (double)p->x[j][c];
                sum += term;
                all += fabs(term);
            }
            double apart = fabs(sum - (double)out[j * stride + i]);
            if (!(apart <= all * ldexp((double)p->n_groups + 4, -24)))
                fail_msg("row %zu, weight row %zu of %zu x %zu: %g, expected %g", j, i, p->n_w,
                         p->k, (double)out[j * stride + i], sum);
        }
}

static void product_run(struct problem *p, const struct cpu_math *math, enum weight_format format,
                        bool many, float *out, size_t stride)
{
    _Alignas(64) static unsigned char pack[PACK_BYTES * COLUMNS_MAX];
    struct panel w = {.bytes = p->stored,
                      .format = format,
                      .stride = p->k,
                      .tiled = &p->tiled[0][0],
                      .n_rows = (int)p->n_w};
    struct rows to = {out, stride, (int)p->n_x};
    memset(out, 0x7F, p->n_x * stride * sizeof *out);
    if (many)
        math->codes_many(to, w, p->row_scale, p->codes, p->k, pack);
    else
        math->codes_few(to, w, p->row_scale, p->codes, p->k);
}

static void problem_check(const struct cpu_math *math, enum weight_format format, size_t n_w,
                          size_t n_x, size_t k)
{
    static struct problem p;
    static float few[ROWS_MAX * (WEIGHTS_MAX + 3)], many[ROWS_MAX * (WEIGHTS_MAX + 3)];
    size_t stride = n_w + 3;
    enum code_form form = math->forms[ACTIVATION_INT8][format];
    memset(&p, 0, sizeof p);
    p.n_w = n_w;
    p.n_x = n_x;
    p.k = k;
    p.n_groups = (k + 127) / 128;
    weights_make(&p, format, n_w + n_x + k);
    rows_make(&p, math, form, k);
    product_run(&p, math, format, false, few, stride);
    result_check(&p, few, stride);
    product_run(&p, math, format, true, many, stride);
    assert_memory_equal(few, many, n_x * stride * sizeof *few);
    problem_free(&p);
}

static void products_by_their_definition(void **state)
{
    static const size_t rows[] = {1, 2, 3, 7, 16, 17, 64, 255, 256};
    static const size_t weights[] = {1, 5, 8, 16, 23, 32, 41};
    static const size_t columns[] = {32, 96, 128, 160, 288, 1024};
    (void)state;
    for (size_t v = 0; cpu_math_names[v]; v++) {
        const struct cpu_math *math = table_find(cpu_math_names[v]);
        if (!math) continue;
        for (size_t i = 0; i < 9 * 7 * 6; i++) {
            size_t n_x = rows[i % 9], n_w = weights[i / 9 % 7], k = columns[i / 63];
            if (n_x * n_w * k > 4000000 && i % 5) continue; /* some of the large ones */
            problem_check(math, WEIGHT_INT8_ROW, n_w, n_x, k);
            problem_check(math, WEIGHT_INT4_G128, n_w, n_x, k);
        }
    }
}

/* Products in pairs: BF16 or FP8 weights by values or codes that BF16 holds. */
struct pairs_problem {
    enum activation_type activation;
    enum weight_format format;
    size_t n_w, n_x, k;
    unsigned char weights[WEIGHTS_MAX * COLUMNS_MAX * 2 + 128]; /* NaN behind the last */
    uint16_t values[ROWS_MAX * (COLUMNS_MAX + 128)];            /* NaN where nothing was put */
    float scales[ROWS_MAX * GROUPS_MAX], row_scale[WEIGHTS_MAX];
    int32_t sums[ROWS_MAX * GROUPS_MAX];
    float x[ROWS_MAX][COLUMNS_MAX]; /* rounded */
    struct codes codes;
};

static double pairs_weight(const struct pairs_problem *p, size_t i, size_t c)
{
    size_t at = i * p->k + c;
    uint16_t half;
    memcpy(&half, p->weights + 2 * at, 2);
    if (p->format == WEIGHT_BF16) return (double)bf16_value(half);
    return (double)e4m3_value(p->weights[at]) * (double)p->row_scale[i];
}

static void pairs_make(struct pairs_problem *p, const struct cpu_math *math)
{
    size_t padded = (p->k + 127) / 128 * 128;
    memset(p->weights, 0xFF, sizeof p->weights);
    memset(p->values, 0xFF, sizeof p->values);
    p->codes = (struct codes){(unsigned char *)p->values,
                              p->scales,
                              p->sums,
                              padded,
                              padded / 128,
                              math->forms[p->activation][p->format],
                              (int)p->n_x};
    for (size_t i = 0; i < p->n_w; i++) p->row_scale[i] = (float)(1 + random_unit(3, i)) / 64;
    for (size_t i = 0; i < p->n_w * p->k; i++) {
        uint16_t half = bf16_from((float)random_unit(p->k, i) - 0.5f);
        uint8_t code = (uint8_t)random_at(p->k, i);
        if (p->format == WEIGHT_BF16)
            memcpy(p->weights + 2 * i, &half, 2);
        else
            p->weights[i] = (code & 0x7F) == 0x7F ? 0x80 : code;
    }
    for (size_t j = 0; j < p->n_x; j++) {
        struct codes row = p->codes;
        row.bytes += 2 * j * padded;
        row.scales += j * row.n_groups;
        row.sums += j * row.n_groups;
        for (size_t c = 0; c < p->k; c++)
            p->x[j][c] = (float)random_unit(p->k + 1, j * p->k + c) - 0.5f;
        math->round(p->x[j], p->activation, (int)p->k, row);
    }
}

/* A pair's products are exact; a lane adds k / 16 of them one by one, a tree adds the lanes, and there
 * are up to three scales: so many roundings of the sum of magnitudes at most. */
static void pairs_check(struct pairs_problem *p, const struct cpu_math *math)
{
    static float few[ROWS_MAX * (WEIGHTS_MAX + 3)], many[ROWS_MAX * (WEIGHTS_MAX + 3)];
    _Alignas(64) static unsigned char pack[PACK_BYTES * COLUMNS_MAX];
    size_t stride = p->n_w + 3;
    pairs_make(p, math);
    memset(few, 0x7F, sizeof few);
    memset(many, 0x7F, sizeof many);
    struct panel w = {
        .bytes = p->weights, .format = p->format, .stride = p->k, .n_rows = (int)p->n_w};
    math->codes_few((struct rows){few, stride, (int)p->n_x}, w, p->row_scale, p->codes, p->k);
    math->codes_many((struct rows){many, stride, (int)p->n_x}, w, p->row_scale, p->codes, p->k,
                     pack);
    assert_memory_equal(few, many, sizeof few);
    for (size_t j = 0; j < p->n_x; j++)
        for (size_t i = 0; i < p->n_w; i++) {
            double sum = 0, all = 0, found = (double)few[j * stride + i];
            for (size_t c = 0; c < p->k; c++) {
                double term = pairs_weight(p, i, c) * (double)p->x[j][c];
                sum += term;
                all += fabs(term);
            }
            if (!(fabs(sum - found) <= all * ldexp((double)p->k / 16 + 12, -24)))
                fail_msg("%s, format %d, row %zu, weight row %zu of %zu x %zu: %g, expected %g",
                         math->name, p->format, j, i, p->n_w, p->k, found, sum);
        }
}

static void pairs_by_their_definition(void **state)
{
    static const size_t rows[] = {1, 2, 3, 7, 16, 17, 64, 255};
    static const size_t weights[] = {1, 5, 8, 23, 41};
    static const size_t columns[] = {32, 48, 160, 1024};
    static struct pairs_problem p;
    (void)state;
    for (size_t v = 0; cpu_math_names[v]; v++) {
        const struct cpu_math *math = table_find(cpu_math_names[v]);
        for (int form = 0; math && form < 10; form++) {
            p.activation = form < 5 ? ACTIVATION_BF16 : ACTIVATION_INT8;
            p.format = (enum weight_format)(form % 5);
            if (math->forms[p.activation][p.format] < CODES_BF16) continue;
            for (size_t i = 0; i < 8 * 5 * 4; i++) {
                p.n_w = weights[i / 8 % 5];
                p.n_x = rows[i % 8];
                p.k = columns[i / 40];
                pairs_check(&p, math);
            }
        }
    }
}

/* By hand: a scale of 2 / 127 for the first group; ties go to even codes; the second group has a NaN
 * and an infinity in it, the third nothing but zeros. */
static void groups_of_128_round_alone(void **state)
{
    (void)state;
    for (size_t v = 0; cpu_math_names[v]; v++) {
        const struct cpu_math *math = table_find(cpu_math_names[v]);
        if (!math) continue;
        float row[416] = {[0] = 127, [1] = 2.5f, [2] = -3.5f, [3] = 0.49f, [127] = -126.6f};
        float same[416];
        row[130] = NAN;
        row[131] = INFINITY;
        row[400] = 1e-3f;
        memcpy(same, row, sizeof row);
        math->round(row, ACTIVATION_INT8, 416, (struct codes){.form = CODES_NONE});
        activation_round(same, ACTIVATION_INT8, 416);
        for (int i = 0; i < 416; i++)
            assert_true((isnan(row[i]) && isnan(same[i])) || row[i] == same[i]);
        assert_true(row[0] == 127 && row[1] == 2 && row[2] == -4 && row[3] == 0 &&
                    row[127] == -127);
        for (int i = 128; i < 256; i++) assert_true(isnan(row[i]));
        for (int i = 256; i < 384; i++) assert_true(row[i] == 0);
        assert_true(fabsf(row[400] - 1e-3f) < 1e-9f);
    }
}

/* An argument such as "pairs*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_by_their_definition),
        cmocka_unit_test(pairs_by_their_definition),
        cmocka_unit_test(groups_of_128_round_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
