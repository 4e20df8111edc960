/* The wrappers of device.cuh, one by one, on random operands: the emulated ones against their
 * definitions written here, and, where a GPU has answered before, against what it said then, kept in
 * tests/cuda/wrappers.golden. DBRX_CUDA_TEST=gpu asks the GPU and writes that file. */
#include "base/error.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "kernels/format.h"
#include "tests/cuda/backend_choice.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/wrappers.h"
#include "tests/cuda/wrappers_hopper.h"

enum { LANES = 32, WORDS = N_WRAPPERS * LANES * WRAPPER_OUT };

static const char golden_path[] = "tests/cuda/wrappers.golden";
static uint32_t in[LANES][WRAPPER_IN], out[N_WRAPPERS][LANES][WRAPPER_OUT];

/* Of compute capability 9.0. */
static struct {
    unsigned char a[HOPPER_M][HOPPER_ROW], b[HOPPER_N][HOPPER_ROW];
    unsigned char bytes[HOPPER_BYTES];
    float sums[HOPPER_PRODUCTS][128][64];
} hopper;

static float number(uint32_t word)
{
    float f;
    memcpy(&f, &word, sizeof f);
    return f;
}

static double half(uint32_t word, int i)
{
    return (double)bf16_value((uint16_t)(word >> (16 * i)));
}

static void operands_make(void)
{
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < WRAPPER_IN; i++) {
            float v[2];
            for (int j = 0; j < 2; j++)
                v[j] = (float)(4 * random_unit(11, (uint64_t)(lane * 64 + i * 2 + j)) - 2);
            in[lane][i] = (uint32_t)bf16_from(v[0]) | (uint32_t)bf16_from(v[1]) << 16;
            if (i >= 6) memcpy(&in[lane][i], v, sizeof v[0]);
        }
}

/* Runs the warp where the backend is; what no wrapper writes stays 0. */
static void wrappers_run(const struct cuda_backend *backend,
                         void (*run)(const struct wrappers *, void *))
{
    const struct cuda_runtime *r = backend->runtime;
    struct cuda_device_info info;
    void *stream = NULL, *there = NULL, *result = NULL;
    assert_int_equal(r->open(0, &info), 0);
    assert_int_equal(r->stream_open(&stream), 0);
    assert_int_equal(r->take(&there, sizeof in), 0);
    assert_int_equal(r->take(&result, sizeof out), 0);
    assert_int_equal(r->copy(there, in, sizeof in, stream), 0);
    assert_int_equal(r->fill(result, 0, sizeof out, stream), 0);
    run(&(struct wrappers){there, result}, stream);
    assert_int_equal(r->launched(), 0);
    assert_int_equal(r->copy(out, result, sizeof out, stream), 0);
    assert_int_equal(r->wait(stream), 0);
    r->give(there);
    r->give(result);
    r->stream_close(stream);
}

static void near(uint32_t found, double expected, double bound)
{
    if (!(fabs((double)number(found) - expected) <= bound * fmax(1, fabs(expected))))
        fail_msg("%.9g, expected %.9g", (double)number(found), expected);
}

/* PTX's fragments, the other way round than the emulator has them: by element, not by lane. */
static double a_at(int row, int k)
{
    int lane = row % 8 * 4 + k % 8 / 2;
    return half(in[lane][row / 8 + k / 8 * 2], k % 2);
}

static double b_at(int k, int column) { return half(in[column * 4 + k % 8 / 2][4 + k / 8], k % 2); }

static void mma_check(enum wrapper op)
{
    for (int row = 0; row < 16; row++)
        for (int column = 0; column < 8; column++) {
            int lane = row % 8 * 4 + column / 2, i = row / 8 * 2 + column % 2;
            double sum = (double)number(in[lane][8 + i]);
            for (int k = 0; k < 16; k++) sum += a_at(row, k) * b_at(k, column);
            near(out[op][lane][i], sum, 1e-5);
        }
}

static void collectives_check(void)
{
    double sum = 0, most = -INFINITY, products = 0;
    uint32_t ballot = 0, bits = 0;
    uint64_t sums[4] = {0};
    for (int l = 0; l < LANES; l++) {
        double a = (double)number(in[l][6]);
        sum += a;
        products += a * (double)number(in[l][7]);
        most = fmax(most, a);
        ballot |= (uint32_t)(a > 0) << l;
        bits |= (uint32_t)1 << l % 7;
        sums[l % 4] += in[l][0];
    }
    for (int l = 0; l < LANES; l++) {
        double other = (double)number(in[l ^ 9][6]) * (double)number(in[l ^ 9][7]);
        assert_int_equal(out[WRAPPER_SHUFFLE_XOR][l][0], in[l ^ 5][6]);
        near(out[WRAPPER_SHUFFLE_XOR_DOUBLE][l][0], other, 1e-7);
        near(out[WRAPPER_SHUFFLE_XOR_DOUBLE][l][1], other - (double)(float)other, 1e-14);
        near(out[WRAPPER_SUM][l][0], sum, 1e-6);
        near(out[WRAPPER_MAX][l][0], most, 0);
        near(out[WRAPPER_SUM_DOUBLE][l][0], products, 1e-6);
        assert_int_equal(out[WRAPPER_BALLOT][l][0], ballot);
        assert_int_equal(out[WRAPPER_SHARED_ADD][l][0], (uint32_t)sums[l % 4]);
        assert_int_equal(out[WRAPPER_SHARED_ADD][l][1], (uint32_t)(sums[l % 4] >> 32));
    }
    assert_int_equal(out[WRAPPER_GLOBAL_OR][0][0], bits);
}

static void lanes_check(void)
{
    for (int l = 0; l < LANES; l++) {
        assert_int_equal(out[WRAPPER_BITS_COUNT][l][0], __builtin_popcount(in[l][0]));
        for (int i = 0; i < 2; i++) {
            double v = half(in[l][0], i) * half(in[l][1], i) + half(in[l][2], i);
            uint32_t small = in[l][0] >> (16 * i) & 3; /* subnormals: 2^-133 each */
            assert_int_equal(out[WRAPPER_BF16X2][l][0] >> (16 * i) & 0xFFFF, bf16_from((float)v));
            assert_true(half(out[WRAPPER_BF16X2][l][1], i) == ldexp(small, -13));
        }
        assert_memory_equal(out[WRAPPER_QUAD][l], in[l] + 4, 16);
        assert_memory_equal(out[WRAPPER_QUAD_ONCE][l], in[l] + 8, 16);
        assert_memory_equal(out[WRAPPER_COPY][l], in[l ^ 1], 16);
        near(out[WRAPPER_DIVIDE][l][0], (double)number(in[l][6]) / (double)number(in[l][7]), 3e-7);
    }
}

/* IEEE half precision by its definition. */
static double f16(uint32_t word, int i)
{
    uint32_t bits = word >> (16 * i) & 0xFFFF, e = bits >> 10 & 31, m = bits & 1023;
    double a = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, (int)e - 25);
    return bits & 0x8000 ? -a : a;
}

static uint32_t matrix_half(int matrix, int row, int column)
{
    return in[8 * matrix + row][column / 2] >> (column % 2 * 16) & 0xFFFF;
}

static void halves_check(void)
{
    for (int l = 0; l < LANES; l++) {
        int g = l / 4, t = l % 4 * 2;
        const uint8_t *a = (const uint8_t *)&in[l][0], *b = (const uint8_t *)&in[l][1];
        for (int i = 0; i < 4; i++) {
            assert_int_equal(out[WRAPPER_MATRICES][l][i],
                             matrix_half(i, g, t) | matrix_half(i, g, t + 1) << 16);
            assert_int_equal(out[WRAPPER_MATRICES_TURNED][l][i],
                             matrix_half(i, t, g) | matrix_half(i, t + 1, g) << 16);
        }
        for (int i = 0; i < 2; i++) {
            double v = (double)number(in[l][6 + i]),
                   product = half(in[l][0], i) * half(in[l][1], i);
            uint32_t small = in[l][0] >> (16 * i) & 0x3FF;
            assert_true(fabs(f16(out[WRAPPER_F16][l][0], i) - v) <= ldexp(fabs(v), -11) + 1e-8);
            assert_true(fabs(f16(out[WRAPPER_F16][l][1], i) - product) <=
                        ldexp(fabs(product), -11) + 1e-7);
            assert_true(f16(out[WRAPPER_F16][l][2], i) == ldexp(small, -16));
        }
        assert_int_equal(out[WRAPPER_F16][l][3],
                         a[3] | b[1] << 8 | a[1] << 16 | (uint32_t)b[3] << 24);
        near(out[WRAPPER_EXP2][l][0], exp2(8 * (double)number(in[l][6])), 3e-7);
        assert_int_equal(out[WRAPPER_EXP2][l][1], 0);
    }
}

/* Bytes that are neither zero nor large, as E4M3 and in pairs as bf16. */
static void hopper_operands_make(void)
{
    unsigned char *all[2] = {hopper.a[0], hopper.b[0]};
    size_t sizes[2] = {sizeof hopper.a, sizeof hopper.b};
    for (uint64_t i = 0; i < 2; i++)
        for (size_t j = 0; j < sizes[i]; j++) {
            uint64_t r = random_at(12 + i, j);
            all[i][j] = (unsigned char)((r & 0x80) | (0x38 + r % 12));
        }
}

static void hopper_run(const struct cuda_backend *backend,
                       void (*wrappers)(const struct wrappers_hopper *, void *))
{
    const struct cuda_runtime *r = backend->runtime;
    struct wrappers_hopper w = {0};
    void *stream = NULL, *there[4] = {NULL};
    size_t sizes[4] = {sizeof hopper.a, sizeof hopper.b, sizeof hopper.bytes, sizeof hopper.sums};
    assert_int_equal(r->stream_open(&stream), 0);
    for (int i = 0; i < 4; i++) assert_int_equal(r->take(&there[i], sizes[i]), 0);
    assert_int_equal(r->copy(there[0], hopper.a, sizes[0], stream), 0);
    assert_int_equal(r->copy(there[1], hopper.b, sizes[1], stream), 0);
    w.a = there[0];
    w.b = there[1];
    w.bytes = there[2];
    w.sums = there[3];
    assert_int_equal(r->map(&w.map_a, w.a, HOPPER_ROW, HOPPER_M, 128, HOPPER_M), 0);
    assert_int_equal(r->map(&w.map_b, w.b, HOPPER_ROW, HOPPER_N, 128, HOPPER_N), 0);
    assert_int_equal(r->map(&w.map_64, w.b, HOPPER_ROW, HOPPER_N, 64, HOPPER_N), 0);
    assert_int_equal(r->map(&w.map_32, w.b, HOPPER_ROW, HOPPER_N, 32, HOPPER_N), 0);
    wrappers(&w, stream);
    assert_int_equal(r->launched(), 0);
    assert_int_equal(r->copy(hopper.bytes, w.bytes, sizes[2], stream), 0);
    assert_int_equal(r->copy(hopper.sums, w.sums, sizes[3], stream), 0);
    assert_int_equal(r->wait(stream), 0);
    for (int i = 0; i < 4; i++) r->give(there[i]);
    r->stream_close(stream);
}

/* A box of `width` bytes of b, first column x, first row y: 16 bytes lie at a place of their row that
 * changes with the row, every row (128 bytes wide), every other (64), every fourth (32). */
static void box_check(const unsigned char *found, int width, int x, int y)
{
    for (int row = 0; row < HOPPER_N; row++)
        for (int c = 0; c < width; c++) {
            int at = (c / 16 ^ row * width / 128 % (width / 16)) * 16 + c % 16;
            bool inside = row + y >= 0 && row + y < HOPPER_N;
            assert_int_equal(found[row * width + at], inside ? hopper.b[row + y][x + c] : 0);
        }
}

static double hopper_term(int row, int column, int at, bool e4m3)
{
    const unsigned char *a = hopper.a[row] + at, *b = hopper.b[column] + at;
    if (e4m3) return (double)e4m3_value(*a) * (double)e4m3_value(*b);
    return (double)bf16_value((uint16_t)(a[0] | a[1] << 8)) *
           (double)bf16_value((uint16_t)(b[0] | b[1] << 8));
}

static void hopper_sums_check(int which, int from, int to, bool e4m3)
{
    for (int thread = 0; thread < 128; thread++)
        for (int i = 0; i < 64; i++) {
            int row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
            int column = i / 4 * 8 + thread % 4 * 2 + i % 2;
            double sum = which == 0 ? thread % 7 : 0, all = fabs(sum);
            for (int at = from; at < to; at += e4m3 ? 1 : 2) {
                double term = hopper_term(row, column, at, e4m3);
                sum += term;
                all += fabs(term);
            }
            double by = fabs((double)hopper.sums[which][thread][i] - sum);
            if (!(by <= (e4m3 ? 2e-3 : 1e-6) * all))
                fail_msg("product %d, row %d, column %d: %g, expected %g", which, row, column,
                         (double)hopper.sums[which][thread][i], sum);
        }
}

/* 16 of k: column c of `b` is a row of it, or its 64 columns lie in every 16 rows, one for each k. */
static void hopper_f16_check(int which, int columns, bool across)
{
    for (int thread = 0; thread < 128; thread++)
        for (int i = 0; i < columns / 2; i++) {
            int row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
            int c = i / 4 * 8 + thread % 4 * 2 + i % 2;
            double sum = across ? 0 : thread % 7, all = fabs(sum);
            for (int k = 0; k < 16; k++) {
                const unsigned char *b = hopper.b[across ? c / 64 * 16 + k : c];
                uint32_t words[2] = {0};
                memcpy(&words[0], hopper.a[row] + 2 * k, 2);
                memcpy(&words[1], b + 2 * (across ? c % 64 : k), 2);
                double term = f16(words[0], 0) * f16(words[1], 0);
                sum += term;
                all += fabs(term);
            }
            double by = fabs((double)hopper.sums[which][thread][i] - sum);
            if (!(by <= 1e-6 * all))
                fail_msg("product %d, row %d, column %d: %g, expected %g", which, row, c,
                         (double)hopper.sums[which][thread][i], sum);
        }
}

enum { HOPPER_WORDS = HOPPER_BYTES / 4 + HOPPER_SUMS };

static uint32_t hopper_word(int i)
{
    uint32_t word;
    if (i < HOPPER_BYTES / 4)
        memcpy(&word, hopper.bytes + 4 * i, 4);
    else
        memcpy(&word, &hopper.sums[0][0][i - HOPPER_BYTES / 4], 4);
    return word;
}

/* Sums of up to 64 products below 8 in 14 bits; of 16 below 2^16 in 24. */
static double hopper_bound(int i) { return (i - HOPPER_BYTES / 4) / (128 * 64) == 2 ? 1 : 0.25; }

static void hopper_check(void)
{
    const unsigned char *at = hopper.bytes;
    for (int row = 0; row < HOPPER_M; row++)
        for (int c = 0; c < HOPPER_ROW; c++)
            assert_int_equal(at[row * HOPPER_ROW + (c / 16 ^ row % 8) * 16 + c % 16],
                             hopper.a[row][c]);
    at += sizeof hopper.a;
    box_check(at, 128, 0, 0);
    at += sizeof hopper.b;
    box_check(at, 64, 64, 2);
    box_check(at + HOPPER_N * 64, 32, 32, -1);
    hopper_sums_check(0, 0, 64, true);
    hopper_sums_check(1, 64, 128, true);
    hopper_sums_check(2, 64, 96, false);
    hopper_sums_check(3, 0, 32, true);
    hopper_f16_check(4, 64, false);
    hopper_f16_check(5, 128, true);
}

static void emulated_as_defined(void **state)
{
    (void)state;
    for (int order = EMULATOR_FORWARD; order <= EMULATOR_RANDOM; order++) {
        emulator_set((struct emulator_options){(enum emulator_order)order, 5, order != 0});
        wrappers_run(&host_backend, wrappers_run_host);
        mma_check(WRAPPER_MMA);
        mma_check(WRAPPER_MMA_F16);
        collectives_check();
        lanes_check();
        halves_check();
        hopper_run(&host_backend, wrappers_hopper_run_host);
        hopper_check();
    }
}

/* The file: a line that names the device and the day, then the words; of compute capability 9.0 those of
 * `hopper`, too. */
static void golden_write(const struct cuda_device_info *info)
{
    char day[32];
    time_t now = time(NULL);
    strftime(day, sizeof day, "%Y-%m-%d", gmtime(&now));
    FILE *f = fopen(golden_path, "w");
    assert_non_null(f);
    fprintf(f, "# %s, %s\n", info->name, day);
    for (int i = 0; i < WORDS; i++) fprintf(f, "%08x\n", ((uint32_t *)out)[i]);
    for (int i = 0; i < HOPPER_WORDS && info->capability == 90; i++)
        fprintf(f, "%08x\n", hopper_word(i));
    assert_int_equal(fclose(f), 0);
}

static void gpu_as_defined(void **state)
{
    (void)state;
    struct cuda_device_info info;
    const struct cuda_backend *backend = backend_choose();
    if (backend == &host_backend) skip();
    assert_true(wrappers_run_nvidia != NULL);
    assert_int_equal(backend->runtime->open(0, &info), 0);
    wrappers_run(backend, wrappers_run_nvidia);
    if (info.capability == 90) {
        assert_true(wrappers_hopper_run_nvidia != NULL);
        hopper_run(backend, wrappers_hopper_run_nvidia);
    }
    golden_write(&info);
    if (info.capability == 90) hopper_check();
    mma_check(WRAPPER_MMA);
    mma_check(WRAPPER_MMA_F16);
    collectives_check();
    lanes_check();
    halves_check();
}

/* Equal words, or sums and quotients that rounding tells apart. */
static void emulated_as_a_gpu_said(void **state)
{
    (void)state;
    char line[128];
    FILE *f = fopen(golden_path, "r");
    if (!f) skip();
    assert_non_null(fgets(line, sizeof line, f));
    emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, false});
    wrappers_run(&host_backend, wrappers_run_host);
    for (int i = 0; i < WORDS; i++) {
        assert_non_null(fgets(line, sizeof line, f));
        uint32_t word = (uint32_t)strtoul(line, NULL, 16), mine = ((uint32_t *)out)[i];
        int op = i / (LANES * WRAPPER_OUT);
        bool rounds = op == WRAPPER_MMA || op == WRAPPER_MMA_F16 || op == WRAPPER_EXP2 ||
                      op == WRAPPER_DIVIDE || op == WRAPPER_SUM_DOUBLE;
        if (rounds)
            near(mine, (double)number(word), 1e-5);
        else
            assert_int_equal(mine, word);
    }
    /* Sums of E4M3 are cut where a GPU cuts them, which the emulator only takes for granted. */
    hopper_run(&host_backend, wrappers_hopper_run_host);
    for (int i = 0; i < HOPPER_WORDS && fgets(line, sizeof line, f); i++) {
        uint32_t word = (uint32_t)strtoul(line, NULL, 16);
        if (i < HOPPER_BYTES / 4)
            assert_int_equal(hopper_word(i), word);
        else if (!(fabs((double)number(hopper_word(i)) - (double)number(word)) <= hopper_bound(i)))
            fail_msg("word %d of sums: %g, a GPU said %g", i, (double)number(hopper_word(i)),
                     (double)number(word));
    }
    fclose(f);
}

/* A kernel that begins before the one before has ended sees all that it wrote. */
static void early_sees_what_came_before(void **state)
{
    (void)state;
    struct cuda_device_info info;
    const struct cuda_backend *backend = backend_choose();
    bool host = backend == &host_backend;
    assert_true(host || wrappers_early_run_nvidia != NULL);
    assert_int_equal(backend->runtime->open(0, &info), 0);
    backend->runtime->overlap(info.capability == 90);
    for (int round = 0; round < (host ? 1 : 100); round++) {
        wrappers_run(backend, host ? wrappers_early_run_host : wrappers_early_run_nvidia);
        const uint32_t *words = (const uint32_t *)out;
        for (uint32_t i = 0; i < 3 * LANES; i++)
            assert_int_equal(words[i], i % LANES + (i < LANES ? 1 : 2));
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    operands_make();
    hopper_operands_make();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emulated_as_defined),
        cmocka_unit_test(gpu_as_defined),
        cmocka_unit_test(early_sees_what_came_before),
        cmocka_unit_test(emulated_as_a_gpu_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
