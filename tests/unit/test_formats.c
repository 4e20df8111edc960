/* Number formats by their definitions: every code of E4M3, the halfway cases, bf16's rounding. */
#include "kernels/format.h"

#include <math.h>

#include "kernels/cpu/math.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* OCP's specification: 0x08 is 2^-6, 0x38 is 1, 0x7E is 448, 0x01 is 2^-9. */
static void e4m3_codes(void **state)
{
    (void)state;
    assert_true(e4m3_value(0x38) == 1.0f && e4m3_value(0x7E) == 448.0f);
    assert_true(e4m3_value(0x08) == 0.015625f && e4m3_value(0x01) == 0.001953125f);
    assert_true(e4m3_value(0xC4) == -3.0f && isnan(e4m3_value(0x7F)));
    for (int code = 0; code < 256; code++)
        if ((code & 0x7F) != 0x7F) assert_int_equal(e4m3_from(e4m3_value((uint8_t)code)), code);
}

/* Between neighbours the nearer one; halfway the even code. */
static void e4m3_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (int code = 0; code < 0x7E; code++) {
        float low = e4m3_value((uint8_t)code), high = e4m3_value((uint8_t)(code + 1));
        float middle = (low + high) / 2;
        assert_int_equal(e4m3_from(middle), code % 2 ? code + 1 : code);
        assert_int_equal(e4m3_from(nextafterf(middle, 0)), code);
        assert_int_equal(e4m3_from(nextafterf(middle, 1000)), code + 1);
        assert_int_equal(e4m3_from(-nextafterf(middle, 1000)), (code + 1) | 0x80);
    }
    assert_int_equal(e4m3_from(1e9f), 0x7E);
    assert_int_equal(e4m3_from(-INFINITY), 0xFE);
    assert_int_equal(e4m3_from(NAN) & 0x7F, 0x7F);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    /* 1 + 2^-8 lies halfway between 1 (even) and 1 + 2^-7; three times that between odd and even */
    assert_int_equal(bf16_from(1.00390625f), 0x3F80);
    assert_int_equal(bf16_from(1.01171875f), 0x3F82);
    assert_int_equal(bf16_from(nextafterf(1.00390625f, 2)), 0x3F81);
    assert_int_equal(bf16_from(-2.0f), 0xC000);
    assert_int_equal(bf16_from(INFINITY), 0x7F80);
    assert_true(isnan(bf16_value(bf16_from(NAN))));
    for (uint32_t h = 0; h < 0x7F80; h++) assert_int_equal(bf16_from(bf16_value((uint16_t)h)), h);
}

static void int4_nibbles(void **state)
{
    (void)state;
    const uint8_t row[] = {0x10, 0x87, 0xF9}; /* low nibble first: 0, 1, 7, -8, -7, -1 */
    const uint16_t scale = 0x3F00;            /* 0.5 */
    const float expected[] = {0, 0.5f, 3.5f, -4, -3.5f, -0.5f};
    float out[6];
    format_decode(out, WEIGHT_INT4_G128, row, &scale, 6);
    assert_memory_equal(out, expected, sizeof out);
}

/* The fast decoders of every instruction set give what the definitions give. */
static void decoders_agree(void **state)
{
    enum { N = 288 };
    uint8_t row[N * 4];
    uint16_t scales[8] = {0x3E80, 0x3C12, 0x4001};
    float slow[N], fast[N];
    (void)state;
    for (int i = 0; i < N * 4; i++) {
        row[i] = (uint8_t)(i * 37);
        if ((row[i] & 0x7F) == 0x7F) row[i] = 0x80; /* no NaN among FP8's codes */
    }
    for (int v = 0; cpu_math_names[v]; v++) {
        const struct cpu_math *math;
        error err;
        if (cpu_math_find(&math, cpu_math_names[v], &err) != OK) continue;
        for (int f = WEIGHT_BF16; f <= WEIGHT_INT4_G128; f++) {
            format_decode(slow, (enum weight_format)f, row, scales, N);
            math->decode(fast, (enum weight_format)f, row, scales, N);
            for (int i = 0; i < N; i++) assert_true(slow[i] == fast[i] || isnan(slow[i]));
        }
        for (int k = KV_F32; k <= KV_E4M3; k++) {
            kv_decode(slow, (enum kv_type)k, row, N);
            math->decode_kv(fast, (enum kv_type)k, row, N);
            for (int i = 0; i < N; i++) assert_true(slow[i] == fast[i] || isnan(slow[i]));
        }
    }
}

/* exp over its whole range within 4 units in the last place; a sum does not see what is behind it. */
static void exponentials(void **state)
{
    (void)state;
    for (int v = 0; cpu_math_names[v]; v++) {
        const struct cpu_math *math;
        error err;
        if (cpu_math_find(&math, cpu_math_names[v], &err) != OK) continue;
        for (int from = 0; from < 860; from += 10) {
            float p[16];
            for (int i = 0; i < 16; i++) p[i] = -(float)(from + i) / 10;
            math->exp_sum(p, 0, 10);
            for (int i = 0; i < 10; i++) {
                double exact = exp(-(double)((float)(from + i) / 10));
                assert_true(fabs((double)p[i] - exact) <= 4 * 6e-8 * exact);
            }
            assert_true(p[10] == 0 && p[15] == 0);
        }
        float nan[16] = {NAN}; /* zeros are written up to the lanes */
        assert_true(isnan(math->exp_sum(nan, 0, 8)));
    }
}

static void activations(void **state)
{
    (void)state;
    float row[] = {0.1f, -12.7f, 6.4f, 0};
    activation_round(row, ACTIVATION_INT8, 4); /* a step is 0.1 */
    const double expected[] = {0.1, -12.7, 6.4, 0};
    for (int i = 0; i < 4; i++) assert_true(fabs((double)row[i] - expected[i]) < 1e-6);
    float coarse[] = {448, 17, -9.5f, 0.4f}; /* a step of 2 above 16, of 1 above 8 */
    activation_round(coarse, ACTIVATION_E4M3, 4);
    assert_true(coarse[0] == 448 && coarse[1] == 16 && coarse[2] == -10);
    assert_true(fabs((double)coarse[3] - 0.40625) < 1e-6);
    float zero[] = {0, 0};
    activation_round(zero, ACTIVATION_INT8, 2);
    assert_true(zero[0] == 0 && zero[1] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e4m3_codes),
        cmocka_unit_test(e4m3_rounds_to_nearest_even),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(int4_nibbles),
        cmocka_unit_test(decoders_agree),
        cmocka_unit_test(exponentials),
        cmocka_unit_test(activations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
