/* Each product kernel of the CUDA backend alone, against sums in double over the same codes. With
 * DBRX_CUDA_TEST=gpu the kernels run on the GPU that this build was made for. */
#include "base/error.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/format.h"
#include "tests/cuda/alone.h"
#include "tests/cuda/emulator.h"

/* One product and what it should give. */
struct problem {
    enum weight_format format;
    int32_t n, k, n_groups, n_entries;
    int32_t n_padding; /* of k: zeros behind every row */
    int32_t first[48], x_row[700];
    int32_t groups_bound;       /* 0: all may have entries */
    bool gated, e4m3, positive; /* e4m3: activations that it holds */
    bool both_forms;            /* asks for fp32 and bf16 of the output, which must agree */
    unsigned char *codes[2];
    unsigned char *scales[2];
    double *meaning[2]; /* [groups * n][k] */
    uint16_t *bf16;     /* [rows][k] */
    unsigned char *x_codes;
    float *x, *x_scale;
};

enum { X_ROWS = 90 };

static void matrix_make(struct problem *p, int which, uint64_t key)
{
    int64_t rows = (int64_t)p->n_groups * p->n;
    size_t row_bytes = format_row_bytes(p->format, p->k);
    size_t scale_bytes = format_row_scale_bytes(p->format, p->k);
    float *decoded = calloc((size_t)p->k, sizeof *decoded);
    p->codes[which] = calloc((size_t)rows, row_bytes);
    p->scales[which] = calloc((size_t)rows, scale_bytes + 1);
    p->meaning[which] = calloc((size_t)(rows * p->k), sizeof(double));
    for (int64_t r = 0; r < rows; r++) {
        unsigned char *row = p->codes[which] + (size_t)r * row_bytes;
        unsigned char *scale = p->scales[which] + (size_t)r * scale_bytes;
        for (size_t i = 0; i < row_bytes; i++) {
            row[i] = (unsigned char)random_at(key, (uint64_t)r * row_bytes + i);
            if (p->format == WEIGHT_FP8_ROW && (row[i] & 0x7F) == 0x7F) row[i] ^= 1;
            if (p->positive) row[i] = (row[i] & 0x0F) | 0x30;
        }
        for (int i = 0; p->format == WEIGHT_BF16 && i < p->k; i++) {
            uint16_t half = bf16_from((float)random_unit(key, (uint64_t)(r * p->k + i)) - 0.5f);
            memcpy(row + 2 * i, &half, 2);
        }
        for (int i = 0; p->format == WEIGHT_F32 && i < p->k; i++) {
            float v = (float)random_unit(key, (uint64_t)(r * p->k + i)) - 0.5f;
            memcpy(row + 4 * i, &v, 4);
        }
        for (size_t i = 0; i + 2 <= scale_bytes && p->format == WEIGHT_INT4_G128; i += 2) {
            uint16_t half = bf16_from(0.02f + (float)random_unit(key ^ 5, (uint64_t)r * 64 + i));
            memcpy(scale + i, &half, 2);
        }
        memset(row + row_bytes - format_row_bytes(p->format, p->n_padding), 0,
               format_row_bytes(p->format, p->n_padding));
        float row_scale = 0.01f + (float)random_unit(key ^ 9, (uint64_t)r);
        if (scale_bytes == 4 && p->format != WEIGHT_INT4_G128) memcpy(scale, &row_scale, 4);
        format_decode(decoded, p->format, row, scale, p->k);
        for (int i = 0; i < p->k; i++) p->meaning[which][r * p->k + i] = (double)decoded[i];
    }
    free(decoded);
}

static void activations_make(struct problem *p)
{
    size_t n = (size_t)X_ROWS * (size_t)p->k;
    p->bf16 = calloc(n, sizeof *p->bf16);
    p->x_codes = calloc(n, 1);
    p->x = calloc(n, sizeof *p->x);
    p->x_scale = calloc(X_ROWS, sizeof *p->x_scale);
    for (size_t i = 0; i < n; i++) {
        float scale = 0.5f + (float)(i / (size_t)p->k) / 64, v;
        v = (float)random_unit(77, i) - 0.5f;
        if (p->positive) v = 0.5f + fabsf(v);
        if (p->e4m3) v = e4m3_value(e4m3_from(v * 400));
        if ((int32_t)(i % (size_t)p->k) >= p->k - p->n_padding) v = 0;
        p->bf16[i] = bf16_from(v);
        p->x_codes[i] = e4m3_from(v);
        p->x[i] = bf16_value(p->bf16[i]) * scale;
        p->x_scale[i / (size_t)p->k] = scale;
    }
}

static void problem_free(struct problem *p)
{
    void *all[] = {p->codes[0],   p->codes[1], p->scales[0], p->scales[1], p->meaning[0],
                   p->meaning[1], p->bf16,     p->x_codes,   p->x,         p->x_scale};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double dot(const struct problem *p, int which, int group, int i, int entry)
{
    const double *w = p->meaning[which] + ((int64_t)group * p->n + i) * p->k;
    const float *x = p->x + (int64_t)p->x_row[entry] * p->k;
    double sum = 0;
    for (int k = 0; k < p->k; k++) sum += w[k] * (double)x[k];
    return sum;
}

static double expected_at(const struct problem *p, int group, int i, int entry)
{
    double v = dot(p, 0, group, i, entry);
    return p->gated ? v / (1 + exp(-v)) * dot(p, 1, group, i, entry) : v;
}

/* Largest difference over the largest value expected; the output was NaN before. */
static double apart(const struct problem *p, void (*product)(const struct cuda_product *, void *),
                    int32_t rows_bound)
{
    size_t codes = (size_t)(p->n_groups * p->n) * format_row_bytes(p->format, p->k);
    size_t scales = (size_t)(p->n_groups * p->n) * format_row_scale_bytes(p->format, p->k);
    size_t n_x = (size_t)X_ROWS * (size_t)p->k, n_out = (size_t)(p->n_entries * p->n);
    void *held[11] = {alone_there(p->codes[0], codes),
                      alone_there(p->scales[0], scales + 1),
                      p->gated ? alone_there(p->codes[1], codes) : NULL,
                      p->gated ? alone_there(p->scales[1], scales + 1) : NULL,
                      alone_there(p->bf16, 2 * n_x),
                      alone_there(p->x_codes, n_x),
                      alone_there(p->x, 4 * n_x),
                      alone_there(p->x_scale, sizeof(float) * X_ROWS),
                      alone_there(p->x_row, sizeof p->x_row),
                      alone_there(p->first, sizeof p->first),
                      NULL};
    float *out = calloc(n_out, sizeof *out);
    memset(out, 0xFF, n_out * sizeof *out);
    held[10] = alone_there(out, n_out * sizeof *out);
    struct cuda_matrix w = {held[0], held[1], (int64_t)format_row_bytes(p->format, p->k), p->k,
                            p->format};
    struct cuda_product a = {.w = w,
                             .x = {held[6], held[4], held[5], held[7], p->k},
                             .out = {.f32 = held[10], .stride = p->n},
                             .x_row = held[8],
                             .first = held[9],
                             .n_groups = p->n_groups,
                             .n = p->n,
                             .rows_bound = rows_bound,
                             .groups_bound = p->groups_bound ? p->groups_bound : p->n_groups};
    if (p->gated) a.up = (struct cuda_matrix){held[2], held[3], w.row_bytes, p->k, p->format};
    uint16_t *halves = calloc(n_out, sizeof *halves);
    if (p->both_forms) a.out.bf16 = alone_there(halves, n_out * sizeof *halves);
    product(&a, alone.stream);
    alone_result(out, held[10], n_out * sizeof *out);
    if (p->both_forms) {
        alone_result(halves, a.out.bf16, n_out * sizeof *halves);
        alone.run->give(a.out.bf16);
        for (size_t i = 0; i < n_out; i++) assert_true(out[i] == bf16_value(halves[i]));
    }
    free(halves);
    double largest = 0, by = 0;
    for (int group = 0; group < p->n_groups; group++)
        for (int entry = p->first[group]; entry < p->first[group + 1]; entry++)
            for (int i = 0; i < p->n; i++) {
                double e = expected_at(p, group, i, entry);
                double difference = fabs((double)out[(int64_t)entry * p->n + i] - e);
                largest = fmax(largest, fabs(e));
                if (!isnan(by) && !(difference <= by)) by = difference;
            }
    for (int i = 0; i < 11; i++)
        if (held[i]) alone.run->give(held[i]);
    free(out);
    return by / largest;
}

/* Groups of none, one, eight, nine and 65 entries; 37 outputs, so that every tile is cut off. */
static void product_check(enum weight_format format, bool gated)
{
    static const int32_t first[] = {0, 0, 1, 9, 18, 83};
    struct problem p = {
        .format = format, .n = 37, .k = 256, .n_groups = 5, .n_entries = 83, .gated = gated};
    memcpy(p.first, first, sizeof first);
    for (int i = 0; i < p.n_entries; i++) p.x_row[i] = (i * 37 + 11) % X_ROWS;
    matrix_make(&p, 0, 100);
    if (gated) matrix_make(&p, 1, 200);
    activations_make(&p);
    const struct {
        void (*product)(const struct cuda_product *, void *);
        int32_t rows_bound, groups_bound;
    } all[] = {
        {alone.launch->product_vector, p.n_entries, 5},
        {alone.launch->product_mma, p.n_entries, 5},
        {alone.launch->product_mma, p.n_entries, 4},
        {alone.launch->product_tile, p.n_entries, 5},
        {alone.launch->product_tile, 300, 5}}; /* a device may know less than the host fears */
    for (int i = 0; i < (format == WEIGHT_F32 ? 1 : 5); i++)
        for (int order = 0; order < 3; order++) {
            p.groups_bound = all[i].groups_bound;
            emulator_set((struct emulator_options){(enum emulator_order)order, 3, order > 0});
            double by = apart(&p, all[i].product, all[i].rows_bound);
            if (!(by < 3e-6)) fail_msg("format %d, kernel %d, order %d: %g", format, i, order, by);
        }
    problem_free(&p);
}

static bool x_in_e4m3;
static int32_t wide_blocks;

/* Activations in the entries' order and the maps, as the step makes them. */
static void product_wide(const struct cuda_product *p, void *on)
{
    struct cuda_wide a = {.p = *p, .x_bytes = x_in_e4m3 ? 1 : 2, .blocks = wide_blocks};
    int32_t entries = p->rows_bound, x_row = p->w.k * a.x_bytes;
    int32_t box = (int32_t)(CUDA_WIDE_BYTES / a.x_bytes * p->w.row_bytes / p->w.k);
    int64_t rows = (int64_t)p->n_groups * p->n;
    struct cuda_pack pack = {.from = p->x.e4m3,
                             .x_row = p->x_row,
                             .first = p->first,
                             .n_groups = p->n_groups,
                             .row_bytes = x_row,
                             .entries_bound = entries};
    void *packed = NULL;
    if (!x_in_e4m3) pack.from = (const unsigned char *)p->x.bf16;
    assert_int_equal(alone.run->take(&packed, (size_t)entries * (size_t)x_row), 0);
    pack.to = packed;
    alone.launch->pack(&pack, on);
    assert_int_equal(alone.run->map(&a.x, packed, x_row, entries, CUDA_WIDE_BYTES, CUDA_WIDE_N), 0);
    assert_int_equal(alone.run->map(&a.w, p->w.codes, p->w.row_bytes, rows, box, CUDA_WIDE_M), 0);
    if (p->up.codes)
        assert_int_equal(
            alone.run->map(&a.up, p->up.codes, p->up.row_bytes, rows, box, CUDA_WIDE_M), 0);
    alone.launch->product_wide(&a, on);
    assert_int_equal(alone.run->wait(on), 0);
    alone.run->give(packed);
}

/* Groups of 129, none, one and the rest, the last output tile cut off, by one block and by three. */
static void wide_check(struct problem p)
{
    if (!alone.hopper) skip();
    p.n_groups = 4;
    for (int g = 1; g < 5; g++) {
        int32_t before = g == 1 || g == 2 ? 129 : g == 3 ? 130 : p.n_entries;
        p.first[g] = before < p.n_entries ? before : p.n_entries;
    }
    for (int i = 0; i < p.n_entries; i++) p.x_row[i] = (i * 37 + 11) % X_ROWS;
    matrix_make(&p, 0, 500);
    if (p.gated) matrix_make(&p, 1, 600);
    activations_make(&p);
    x_in_e4m3 = p.e4m3;
    for (int order = 0; order < 3; order++) {
        wide_blocks = order == 2 ? 3 : 1;
        emulator_set((struct emulator_options){(enum emulator_order)order, 7, order > 0});
        double by = apart(&p, product_wide, p.n_entries);
        if (!(by < (p.e4m3 ? 1e-3 : 3e-6)))
            fail_msg("format %d, e4m3 %d, gated %d, order %d: %g", p.format, p.e4m3, p.gated, order,
                     by);
    }
    problem_free(&p);
}

static void wide_e4m3(void **state)
{
    (void)state;
    for (int gated = 0; gated < 2; gated++) {
        struct problem p = {.e4m3 = true, .gated = gated, .n = 100, .k = 640, .n_entries = 200};
        p.format = WEIGHT_FP8_ROW;
        wide_check(p);
        p.format = WEIGHT_INT4_G128;
        wide_check(p);
    }
    struct problem p = {.format = WEIGHT_FP8_ROW, .e4m3 = true, .n = 100, .k = 128};
    p.n_entries = 1;
    wide_check(p);
    p.gated = true;
    p.n_entries = 200;
    wide_check(p);
}

/* Groups of up to 470 entries, four tiles, and rows whose last group of 128 ends early: 32 values, then
 * padding. INT4 in both forms that activations have, FP8 beside it. */
static void wide_many_entries(void **state)
{
    static const struct {
        enum weight_format format;
        bool e4m3, gated;
    } cases[] = {{WEIGHT_INT4_G128, true, true},
                 {WEIGHT_INT4_G128, false, false},
                 {WEIGHT_FP8_ROW, true, false}};
    (void)state;
    for (int c = 0; c < 3; c++)
        wide_check((struct problem){.format = cases[c].format,
                                    .e4m3 = cases[c].e4m3,
                                    .gated = cases[c].gated,
                                    .n = 70,
                                    .k = 256,
                                    .n_padding = 96,
                                    .n_entries = 600});
}

/* Sums that only grow, where 14 bits lose the most: not more over 2048 of k than over 128, for every
 * 128 they go to fp32. */
static void wide_promotes(void **state)
{
    (void)state;
    if (!alone.hopper) skip();
    struct problem p = {.format = WEIGHT_FP8_ROW,
                        .n = 8,
                        .k = 2048,
                        .n_groups = 1,
                        .n_entries = 3,
                        .first = {0, 3},
                        .x_row = {0, 1, 2},
                        .e4m3 = true,
                        .positive = true};
    matrix_make(&p, 0, 700);
    activations_make(&p);
    x_in_e4m3 = true;
    wide_blocks = 1;
    double by = apart(&p, product_wide, 3);
    if (!(by > 1e-5 && by < 4e-3)) fail_msg("apart by %g", by);
    problem_free(&p);
}

static void wide_bf16(void **state)
{
    (void)state;
    for (int f = WEIGHT_BF16; f <= WEIGHT_INT4_G128; f++) {
        struct problem p = {
            .format = (enum weight_format)f, .gated = true, .n = 70, .k = 256, .n_entries = 140};
        wide_check(p);
        p.gated = false;
        wide_check(p);
        p.k = 128;
        p.n_entries = 70;
        wide_check(p);
    }
}

static void plain(void **state)
{
    (void)state;
    for (int f = WEIGHT_F32; f <= WEIGHT_INT4_G128; f++)
        product_check((enum weight_format)f, false);
}

static void gated(void **state)
{
    (void)state;
    for (int f = WEIGHT_F32; f <= WEIGHT_INT4_G128; f++) product_check((enum weight_format)f, true);
}

/* Few entries: every width of the tensor-core kernel, and the vector kernel of two rows. */
static void few_entries(void **state)
{
    static const int32_t counts[] = {1, 2, 8, 16, 32};
    (void)state;
    for (int f = WEIGHT_BF16; f <= WEIGHT_INT4_G128; f++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (int with_gate = 0; with_gate < 2; with_gate++) {
                struct problem p = {.format = (enum weight_format)f,
                                    .n = 16,
                                    .k = 128,
                                    .n_groups = 1,
                                    .n_entries = counts[c],
                                    .gated = with_gate,
                                    .first = {0, counts[c]}};
                for (int i = 0; i < p.n_entries; i++) p.x_row[i] = i;
                matrix_make(&p, 0, 300);
                if (with_gate) matrix_make(&p, 1, 400);
                activations_make(&p);
                assert_true(apart(&p, alone.launch->product_mma, counts[c]) < 3e-6);
                assert_true(apart(&p, alone.launch->product_vector, counts[c]) < 3e-6);
                problem_free(&p);
            }
}

/* Rows so long that a warp of the tensor-core kernel comes round for the fourth time in every format:
 * what it loads ahead is what it multiplies then. One width of each kind of it, gated or not. */
static void long_rows(void **state)
{
    static const int32_t counts[] = {1, 9, 20};
    (void)state;
    for (int f = WEIGHT_BF16; f <= WEIGHT_INT4_G128; f++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            struct problem p = {.format = (enum weight_format)f,
                                .n = 16,
                                .k = 6144 + 128,
                                .n_groups = 1,
                                .n_entries = counts[c],
                                .gated = c == 0,
                                .first = {0, counts[c]}};
            for (int i = 0; i < p.n_entries; i++) p.x_row[i] = i;
            matrix_make(&p, 0, 500);
            if (p.gated) matrix_make(&p, 1, 600);
            activations_make(&p);
            double by = apart(&p, alone.launch->product_mma, counts[c]);
            if (!(by < 3e-6)) fail_msg("format %d, %d entries: %g", f, counts[c], by);
            problem_free(&p);
        }
}

/* What a kernel in fp32 hands on is what one of bf16 would read. */
static void forms_agree(void **state)
{
    (void)state;
    struct problem p = {.format = WEIGHT_BF16,
                        .n = 16,
                        .k = 128,
                        .n_groups = 1,
                        .n_entries = 2,
                        .gated = true,
                        .both_forms = true,
                        .first = {0, 2},
                        .x_row = {0, 1}};
    matrix_make(&p, 0, 300);
    matrix_make(&p, 1, 400);
    activations_make(&p);
    assert_true(apart(&p, alone.launch->product_vector, 2) < 1.0 / 256);
    assert_true(apart(&p, alone.launch->product_mma, 2) < 1.0 / 256);
    problem_free(&p);
}

/* Three rows of six experts each among 40: the groups that have entries lie anywhere, some of them beyond
 * the first 32, and there may be fewer than the host fears. */
static void few_of_many_groups(void **state)
{
    static const int32_t groups[] = {0, 5, 6, 31, 32, 39};
    (void)state;
    struct problem p = {.format = WEIGHT_FP8_ROW, .n = 5, .k = 128, .n_groups = 40, .n_entries = 9};
    for (int g = 0, taken = 0; g < 40; g++) {
        p.first[g + 1] = p.first[g];
        if (taken == 6 || groups[taken] != g) continue;
        p.first[g + 1] += taken++ < 3 ? 2 : 1;
    }
    for (int i = 0; i < p.n_entries; i++) p.x_row[i] = i;
    matrix_make(&p, 0, 300);
    activations_make(&p);
    for (p.groups_bound = 6; p.groups_bound <= 40; p.groups_bound += 17)
        assert_true(apart(&p, alone.launch->product_mma, 3) < 3e-6);
    problem_free(&p);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    if (alone_open() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(gated),
        cmocka_unit_test(few_entries),
        cmocka_unit_test(long_rows),
        cmocka_unit_test(wide_e4m3),
        cmocka_unit_test(wide_promotes),
        cmocka_unit_test(wide_bf16),
        cmocka_unit_test(wide_many_entries),
        cmocka_unit_test(few_of_many_groups),
        cmocka_unit_test(forms_agree),
    };
    return alone_close(cmocka_run_group_tests(tests, NULL, NULL));
}
