/* Where operands and sums of tensor cores lie, as CUTLASS has it: the layouts of its headers, each a list of
 * (size, stride), written down from there. Operands are laid out by them, results read by them, and the
 * product between is the plain one, so that what the emulator (or a GPU) takes the places to be is held
 * against another reading than that of our kernels. */
#include "base/error.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/random.h"
#include "kernels/format.h"
#include "tests/cuda/alone.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/wrappers.h"
#include "tests/cuda/wrappers_hopper.h"

enum { MODES = 3, THREADS = 128, M = 64, N_MAX = 128, K_MAX = 32, LANES = 32 };

/* An index counts through the modes, the first fastest; where it leads is the sum of its digits by strides. */
struct layout {
    struct {
        int size, stride;
    } mode[MODES];
};

static int place(const struct layout *l, int index)
{
    int at = 0;
    for (int i = 0; i < MODES && l->mode[i].size > 0; i++) {
        at += index % l->mode[i].size * l->mode[i].stride;
        index /= l->mode[i].size;
    }
    return at;
}

/* Of a thread, and of a value that it holds: row + (number of rows) * column. */
struct fragment {
    struct layout thread, value;
};

/* cute/atom/mma_traits_sm90_gmma.hpp: CLayout_64xN, ALayout_64x16, ALayout_64x32. */
static const struct fragment sums_64 = {{{{4, 128}, {8, 1}, {4, 16}}},
                                        {{{2, 64}, {2, 8}, {16, 512}}}};
static const struct fragment a_64x16 = {{{{4, 128}, {8, 1}, {4, 16}}},
                                        {{{2, 64}, {2, 8}, {2, 512}}}};
static const struct fragment a_64x32 = {{{{4, 256}, {8, 1}, {4, 16}}},
                                        {{{4, 64}, {2, 8}, {2, 1024}}}};
/* cute/atom/mma_traits_sm80.hpp: SM80_16x8x16; b: column + 8 * k. */
static const struct fragment a_16x16 = {{{{4, 32}, {8, 1}}}, {{{2, 16}, {2, 8}, {2, 128}}}};
static const struct fragment b_16x8 = {{{{4, 16}, {8, 1}}}, {{{2, 8}, {2, 64}}}};
static const struct fragment sums_16x8 = {{{{4, 32}, {8, 1}}}, {{{2, 16}, {2, 8}}}};
/* cute/atom/copy_traits_sm75.hpp: SM75_U32x4_LDSM_N, SM75_U16x8_LDSM_T, in bits of what the lanes name. */
static const struct fragment matrices = {{{{32, 32}}}, {{{32, 1}, {4, 1024}}}};
static const struct fragment matrices_turned = {{{{4, 256}, {8, 16}}},
                                                {{{16, 1}, {2, 128}, {4, 1024}}}};

static int fragment_place(const struct fragment *f, int thread, int value)
{
    return place(&f->thread, thread) + place(&f->value, value);
}

/* cute/swizzle.hpp, Swizzle<bits, 4, 3>, of bytes. */
static int swizzled(int at, int bits) { return at ^ (at >> 3 & ((1 << bits) - 1) << 4); }

/* A matrix in shared memory: cute/atom/mma_traits_sm90_gmma.hpp, make_gmma_desc, canonical layouts in bytes;
 * cute/arch/mma_sm90_desc.hpp, the fields of its descriptor. */
struct matrix {
    struct layout row, k; /* k: byte along it; across it: element */
    int leading, stride, type, bits, element, k_on;
};

enum { TYPE_INTERLEAVE = 0, TYPE_B128 = 1 };

/* Swizzle<3,4,3> o ((8,m),(T,2)):((8T,SBO),(1,T)), T elements of 16 bytes: here 32 bytes of a row of 128. */
static const struct matrix along = {
    {{{8, 128}, {16, 1024}}}, {{{128, 1}}}, 16, 1024, TYPE_B128, 3, 1, 32};
/* Swizzle<0,4,3> o ((8,m),(T,2)):((T,SBO),(1,LBO)). */
static const struct matrix interleaved = {
    {{{8, 16}, {16, 128}}}, {{{16, 1}, {2, 2048}}}, 2048, 128, TYPE_INTERLEAVE, 0, 1, 0};
/* Swizzle<3,4,3> o ((T,8,m),(8,k)):((1,T,LBO),(8T,SBO)): T, 8 are 64 halves side by side. The next 64 lie
 * behind four times eight of k. */
static const struct matrix across = {
    {{{64, 2}, {2, 4096}}}, {{{8, 128}, {4, 1024}}}, 4096, 1024, TYPE_B128, 3, 2, 2048};

static uint64_t descriptor(const struct matrix *m, int step)
{
    return (uint64_t)(m->k_on * step >> 4) | (uint64_t)(m->leading >> 4) << 16 |
           (uint64_t)(m->stride >> 4) << 32 | (uint64_t)m->type << 62;
}

/* Small whole numbers, whose sums are exact in any order and in 14 bits. */
static int small(int which, int row, int k)
{
    return (int)(random_at(31 + (uint64_t)which, (uint64_t)(row * 64 + k)) % 5) - 2;
}

enum element { ELEMENT_E4M3, ELEMENT_BF16, ELEMENT_F16 };

static uint32_t code(enum element e, int v)
{
    static const uint32_t e4m3[] = {0, 0x38, 0x40}, bf16[] = {0, 0x3F80, 0x4000},
                          f16[] = {0, 0x3C00, 0x4000};
    const uint32_t *all[] = {e4m3, bf16, f16};
    uint32_t sign = v < 0 ? e == ELEMENT_E4M3 ? 0x80 : 0x8000 : 0;
    return all[e][v < 0 ? -v : v] | sign;
}

/* `rows` of small numbers `which` as the layout has them, k from step * 32 bytes on. */
static void image_make(unsigned char *image, const struct matrix *m, enum element e, int which,
                       int rows, int step)
{
    int bytes = e == ELEMENT_E4M3 ? 1 : 2;
    for (int row = 0; row < rows; row++)
        for (int k = 0; k < 32 / bytes; k++) {
            int index = m->element == 2 ? k + 16 * step : k * bytes + 32 * step * (m->k_on != 0);
            int at = swizzled(place(&m->row, row) + place(&m->k, index), m->bits);
            uint32_t c = code(e, small(which, row, k));
            memcpy(image + at, &c, (size_t)bytes);
        }
}

static void registers_make(uint32_t a[THREADS][4], enum element e)
{
    const struct fragment *f = e == ELEMENT_E4M3 ? &a_64x32 : &a_64x16;
    int bytes = e == ELEMENT_E4M3 ? 1 : 2;
    for (int thread = 0; thread < THREADS; thread++)
        for (int i = 0; i < 16 / bytes; i++) {
            int at = fragment_place(f, thread, i);
            uint32_t c = code(e, small(0, at % M, at / M));
            memcpy((unsigned char *)a[thread] + i * bytes, &c, (size_t)bytes);
        }
}

static void run(struct wrappers_layout *w, const unsigned char *image, const uint32_t a[THREADS][4],
                void *out, size_t bytes)
{
    void *there[3] = {alone_there(image, LAYOUT_BYTES), alone_there(a, THREADS * 16), NULL};
    assert_int_equal(alone.run->take(&there[2], LAYOUT_BYTES), 0);
    w->image = there[0];
    w->a = there[1];
    w->out = there[2];
    (alone.run == host_backend.runtime ? wrappers_layout_run_host
                                       : wrappers_layout_run_nvidia)(w, alone.stream);
    alone_result(out, there[2], bytes);
    for (int i = 0; i < 3; i++) alone.run->give(there[i]);
}

static void product_check(enum layout_kind kind, const struct matrix *m, enum element e, int step)
{
    static unsigned char image[LAYOUT_BYTES];
    static uint32_t a[THREADS][4];
    static float sums[THREADS][64];
    enum { A_AT = 32 * 1024 };
    int n = kind == LAYOUT_F16_ALONG ? 64 : 128, k_all = e == ELEMENT_E4M3 ? 32 : 16;
    struct wrappers_layout w = {.kind = kind,
                                .a_descriptor = descriptor(&along, step) + (A_AT >> 4),
                                .b_descriptor = descriptor(m, step)};
    memset(image, 0x7F, sizeof image);
    image_make(image, m, e, 1, n, step);
    image_make(image + A_AT, &along, e, 0, M, step);
    registers_make(a, e);
    run(&w, image, (const uint32_t(*)[4])a, sums, sizeof sums);
    for (int thread = 0; thread < THREADS; thread++)
        for (int i = 0; i < n / 2; i++) {
            int at = fragment_place(&sums_64, thread, i), sum = 0;
            for (int k = 0; k < k_all; k++) sum += small(0, at % M, k) * small(1, at / M, k);
            if (sums[thread][i] != (float)sum)
                fail_msg("kind %d, step %d, thread %d, value %d: %g, expected %d", kind, step,
                         thread, i, (double)sums[thread][i], sum);
        }
}

static void products_of_a_warpgroup(void **state)
{
    (void)state;
    if (!alone.hopper) skip();
    for (int step = 0; step < 4; step++) {
        product_check(LAYOUT_E4M3, &along, ELEMENT_E4M3, step);
        product_check(LAYOUT_E4M3_HELD, &along, ELEMENT_E4M3, step);
        product_check(LAYOUT_BF16_HELD, &along, ELEMENT_BF16, step);
        product_check(LAYOUT_F16_ALONG, &along, ELEMENT_F16, step);
    }
    for (int step = 0; step < 2; step++)
        product_check(LAYOUT_F16_ACROSS, &across, ELEMENT_F16, step);
    product_check(LAYOUT_E4M3_HELD, &interleaved, ELEMENT_E4M3, 0);
}

/* cute/arch/copy_sm90_desc.hpp: a box as wide as its swizzle lies by rows, Swizzle<1 to 3, 4, 3>. */
static void boxes_of_the_copy_engine(void **state)
{
    enum { ROWS = 64 };
    static unsigned char image[LAYOUT_BYTES], out[LAYOUT_BYTES], from[ROWS * 128];
    static const uint32_t none[THREADS][4];
    (void)state;
    if (!alone.hopper) skip();
    for (size_t i = 0; i < sizeof from; i++) from[i] = (unsigned char)random_at(41, i);
    void *there = alone_there(from, sizeof from);
    for (int bits = 1; bits <= 3; bits++) {
        int width = 16 << bits;
        struct wrappers_layout w = {.kind = LAYOUT_TILE, .box_bytes = width * ROWS};
        assert_int_equal(alone.run->map(&w.map, there, 128, ROWS, width, ROWS), 0);
        run(&w, image, none, out, sizeof out);
        for (int row = 0; row < ROWS; row++)
            for (int c = 0; c < width; c++)
                assert_int_equal(out[swizzled(row * width + c, bits)], from[row * 128 + c]);
    }
    alone.run->give(there);
}

/* Fragments of a warp: operands are words 0 to 5 of each lane, in bf16, words 8 to 11 are sums in fp32. */
static void products_of_a_warp(void **state)
{
    static uint32_t in[LANES][WRAPPER_IN], out[N_WRAPPERS][LANES][WRAPPER_OUT];
    static const unsigned char zero[sizeof out];
    static const enum wrapper products[] = {WRAPPER_MMA, WRAPPER_MMA_F16};
    (void)state;
    for (int lane = 0; lane < LANES; lane++) {
        for (int i = 0; i < 12; i++) {
            const struct fragment *f = i < 8 ? &a_16x16 : &b_16x8;
            int at = fragment_place(f, lane, i % 8), rows = i < 8 ? 16 : 8;
            in[lane][i / 2] |= code(ELEMENT_BF16, small(i / 8, at % rows, at / rows))
                               << (16 * (i % 2));
        }
        for (int i = 0; i < 4; i++) {
            int at = fragment_place(&sums_16x8, lane, i);
            float c = (float)small(2, at % 16, at / 16);
            memcpy(&in[lane][8 + i], &c, sizeof c);
        }
    }
    struct wrappers w = {alone_there(in, sizeof in), alone_there(zero, sizeof out)};
    (alone.run == host_backend.runtime ? wrappers_run_host : wrappers_run_nvidia)(&w, alone.stream);
    alone_result(out, w.out, sizeof out);
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 4; i++)
            for (int p = 0; p < 2; p++) {
                int at = fragment_place(&sums_16x8, lane, i), sum = small(2, at % 16, at / 16);
                float found;
                for (int k = 0; k < 16; k++) sum += small(0, at % 16, k) * small(1, at / 16, k);
                memcpy(&found, &out[products[p]][lane][i], sizeof found);
                assert_true(found == (float)sum);
            }
    for (int lane = 0; lane < LANES; lane++)
        for (int i = 0; i < 8; i++) { /* a half of what lane l named: bits 128 l to 128 l + 127 */
            int plain = fragment_place(&matrices, lane, 16 * i) / 16;
            int turned = fragment_place(&matrices_turned, lane, 16 * i) / 16;
            assert_int_equal(out[WRAPPER_MATRICES][lane][i / 2] >> (16 * (i % 2)) & 0xFFFF,
                             in[plain / 8][plain % 8 / 2] >> (16 * (plain % 2)) & 0xFFFF);
            assert_int_equal(out[WRAPPER_MATRICES_TURNED][lane][i / 2] >> (16 * (i % 2)) & 0xFFFF,
                             in[turned / 8][turned % 8 / 2] >> (16 * (turned % 2)) & 0xFFFF);
        }
    alone.run->give((void *)(uintptr_t)w.in);
    alone.run->give(w.out);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    if (alone_open() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_a_warpgroup),
        cmocka_unit_test(boxes_of_the_copy_engine),
        cmocka_unit_test(products_of_a_warp),
    };
    return alone_close(cmocka_run_group_tests(tests, NULL, NULL));
}
