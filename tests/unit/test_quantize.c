/* Rounding by hand, and what a call does when memory or a file fails it. Whole checkpoints are
 * compared with another implementation in tests/node/quantize.test.js. */
#include <math.h>

#include "base/limits.h"
#include "base/memory.h"
#include "inference/calibration.h"
#include "inference/model.h"
#include "inference/quantize.h"
#include "inference/quantize_row.h"
#include "kernels/format.h"

#include "tests/unit/model_dir.h"

static const char sha_of_nothing[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static uint16_t scale_at(const unsigned char *scales, int i)
{
    uint16_t bits;
    memcpy(&bits, scales + 2 * i, sizeof bits);
    return bits;
}

/* Largest 3.5 on 448: a step of 1/128, so 0.5 is 64, and codes 0x7E 448, 0x68 64, 0x38 1, 0x01 2^-9. */
static void e4m3_row(void **state)
{
    const float values[] = {3.5f, -0.5f, 0.0078125f, 0x1p-16f, 0x1p-17f, 0x1.8p-16f, -0.0f, 0};
    const uint8_t expected[] = {0x7E, 0xE8, 0x38, 0x01, 0x00, 0x02, 0x80, 0x00};
    uint8_t codes[8];
    float scale;
    struct rounding r = {0};
    (void)state;
    quantize_row(codes, &scale, WEIGHT_FP8_ROW, values, NULL, 8, &r);
    assert_true(scale == 0.0078125f);
    assert_memory_equal(codes, expected, sizeof codes);
    /* 2^-17 is half a step below the smallest code and went to 0; 1.5 steps went to 2 */
    assert_true(r.largest == 0x1p-17);
    assert_true(r.error_squares == 2 * 0x1p-34);
}

/* Largest 127 on 127: a step of 1. Halves go to the even neighbour. */
static void int8_row(void **state)
{
    const float values[] = {-127, 0.5f, 1.5f, -2.5f, 2.51f, 126.5f, -0.49f, 0};
    const int8_t expected[] = {-127, 0, 2, -2, 3, 126, 0, 0};
    int8_t codes[8];
    float scale;
    struct rounding r = {0};
    (void)state;
    quantize_row(codes, &scale, WEIGHT_INT8_ROW, values, NULL, 8, &r);
    assert_true(scale == 1);
    assert_memory_equal(codes, expected, sizeof codes);
    assert_true(r.largest == 0.5);
}

/* Two groups, the second of four. In the first all are multiples of 0.25 up to 7 of them: the scale
 * that clips nothing costs nothing. In the second the largest, -8, fits a scale of 1 exactly, and no
 * other divisor of 8 than 8 gives that. */
static void int4_row(void **state)
{
    float values[132] = {0};
    uint8_t codes[66];
    unsigned char scales[4];
    struct rounding r = {0};
    (void)state;
    values[0] = 1.75f, values[1] = -0.25f, values[2] = -1.75f, values[127] = 0.5f;
    values[128] = -8, values[129] = 7, values[130] = 3, values[131] = -1;
    quantize_row(codes, scales, WEIGHT_INT4_G128, values, NULL, 132, &r);
    assert_int_equal(scale_at(scales, 0), 0x3E80); /* 0.25 */
    assert_int_equal(scale_at(scales, 1), 0x3F80); /* 1 */
    assert_int_equal(codes[0], 0xF7);              /* 7 low, -1 high */
    assert_int_equal(codes[1], 0x09);              /* -7 low */
    assert_int_equal(codes[63], 0x20);             /* 2 high */
    assert_int_equal(codes[64], 0x78);             /* -8 low, 7 high */
    assert_int_equal(codes[65], 0xF3);
    assert_true(r.largest == 0 && r.error_squares == 0);
}

/* An outlier that is multiplied with nothing may be clipped: 0.75 then fits the others exactly. No
 * divisor of 10 gives 0.75; the least squares of the codes 7, -1 and 2 do. Without importance the
 * outlier rules: 10 / 7. */
static void int4_row_calibrated(void **state)
{
    const float values[] = {10, 5.25f, -0.75f, 1.5f}, importance[] = {0, 1, 1, 1};
    uint8_t codes[2];
    unsigned char scales[2];
    struct rounding r = {0};
    (void)state;
    quantize_row(codes, scales, WEIGHT_INT4_G128, values, importance, 4, &r);
    assert_int_equal(scale_at(scales, 0), 0x3F40); /* 0.75 */
    assert_int_equal(codes[0], 0x77);
    assert_int_equal(codes[1], 0x2F);
    assert_true(r.largest == 10 - 5.25);
    quantize_row(codes, scales, WEIGHT_INT4_G128, values, NULL, 4, &r);
    assert_true(bf16_value(scale_at(scales, 0)) > 1.2f);
}

/* Nothing is divided by nothing; a scale too small to be one is 0, and so are its codes. */
static void row_of_one_amount(enum weight_format format, float amount, const float *importance)
{
    float values[8], widened[8], scale = NAN;
    uint8_t codes[8];
    struct rounding r = {0};
    for (int i = 0; i < 8; i++) values[i] = i % 3 ? 0 : amount;
    quantize_row(codes, &scale, format, values, importance, 8, &r);
    format_decode(widened, format, codes, &scale, 8);
    for (int i = 0; i < 8; i++)
        assert_true(isfinite(widened[i]) &&
                    fabs((double)widened[i] - (double)values[i]) <= r.largest * 1.01);
    assert_true(r.largest <= fabs((double)amount) / 12 || fabsf(amount) < 0x1p-125f);
}

static void rows_of_nothing(void **state)
{
    const enum weight_format formats[] = {WEIGHT_FP8_ROW, WEIGHT_INT8_ROW, WEIGHT_INT4_G128};
    const float amounts[] = {0, 0x1p-149f, -0x1p-140f, 0x1p-126f, 3.4e38f};
    const float ones[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    (void)state;
    for (int f = 0; f < 3; f++)
        for (size_t a = 0; a < sizeof amounts / sizeof *amounts; a++) {
            row_of_one_amount(formats[f], amounts[a], NULL);
            row_of_one_amount(formats[f], amounts[a], ones);
        }
}

static void bad_values_are_found(void **state)
{
    float values[100] = {0};
    (void)state;
    values[3] = 3.4e38f;
    assert_int_equal(values_find_bad(values, 100), -1);
    values[99] = -INFINITY;
    assert_int_equal(values_find_bad(values, 100), 99);
    values[17] = NAN;
    assert_int_equal(values_find_bad(values, 100), 17);
}

/* The n-th allocation fails, for every n: an error with a message, and the next call goes on. */
static void memory_is_short(const char *to, const struct quantize_text *calibrate)
{
    int64_t n = 1;
    error err;
    struct quantize_report report;
    struct quantize_options options = {.source_dir = model_path("source"),
                                       .destination_dir = to,
                                       .format = WEIGHT_INT4_G128,
                                       .n_threads = 2,
                                       .calibrate = calibrate,
                                       .shard_bytes = 64 * KIB};
    for (;; n += n / 16 + 1) {
        memory_fail_at(n);
        err.message[0] = 0;
        status s = quantize(&report, &options, &err);
        memory_fail_at(0);
        if (s == OK) break;
        assert_true(err.message[0] && err.code == s);
        assert_true(report.results == NULL && !directory_exists(to));
    }
    assert_true(n > 50);
    assert_int_equal(report.n_results, 19);
    quantize_report_free(&report);
}

static void memory_runs_out(void **state)
{
    error err;
    char to[512];
    (void)state;
    model_make("source", "");
    snprintf(to, sizeof to, "%s", model_path("quantized"));
    memory_is_short(to, NULL);
    model *m = NULL;
    assert_int_equal(model_open(&m, to, &err), OK);
    assert_int_equal(m->config.weights, WEIGHT_INT4_G128);
    /* scales are what is copied: 2 bytes per group, 4 per row of the FP8 ones */
    size_t groups = 2 * 3 * (4 * 64), rows = 512 + 2 * (128 + 64);
    assert_int_equal(model_copied_bytes(m), 2 * groups + 4 * rows);
    /* embedding and head; norms; attention, router and experts of two layers */
    assert_int_equal(model_parameters(m),
                     2 * 512 * 64 + 5 * 64 + 2 * (128 * 64 + 64 * 64 + 4 * 64 + 3 * 256 * 64));
    model_close(m);
}

/* Also while the source reads a text. */
static void memory_runs_out_calibrating(void **state)
{
    const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6};
    const struct quantize_text calibrate = {tokens, 8, sha_of_nothing};
    char to[512];
    (void)state;
    model_make("source", "");
    snprintf(to, sizeof to, "%s", model_path("calibrated"));
    memory_is_short(to, &calibrate);
}

/* What is written is read again; one bit more or less is noticed, whatever bit. */
static void statistics_are_kept(void **state)
{
    const int32_t tokens[] = {3, 1, 4, 1, 5, 9, 2, 6};
    const struct calibration_options options = {.model_dir = model_path("source"),
                                                .tokens = tokens,
                                                .n_tokens = 8,
                                                .text_sha256 = sha_of_nothing,
                                                .n_threads = 1};
    struct model_config config;
    calibration made, read;
    buffer bytes = {0};
    error err;
    char path[512];
    (void)state;
    model_make("source", "");
    assert_int_equal(model_config_read(&config, model_path("source"), &err), OK);
    if (calibration_make(&made, &options, &err) != OK) fail_msg("%s", err.message);
    snprintf(path, sizeof path, "%s", model_path("statistics"));
    assert_int_equal(calibration_write(&made, path, &err), OK);
    assert_int_equal(calibration_read(&read, path, &config.shape, sha_of_nothing, &err), OK);
    assert_string_equal(read.sha256, made.sha256);
    assert_memory_equal(read.squares, made.squares, made.n_squares * sizeof(float));
    assert_int_equal(read.n_tokens, 8);
    calibration_free(&read);
    assert_int_equal(file_read(&bytes, path, MIB, &err), OK);
    for (size_t at = 0; at < bytes.size; at += 97) {
        bytes.bytes[at] ^= 1;
        file_put(model_path(""), "statistics", buffer_text(&bytes));
        assert_int_equal(calibration_read(&read, path, &config.shape, NULL, &err), ERR_FORMAT);
        calibration_free(&read);
        bytes.bytes[at] ^= 1;
    }
    file_put(model_path(""), "statistics", text_slice(buffer_text(&bytes), 0, 300));
    assert_int_equal(calibration_read(&read, path, &config.shape, NULL, &err), ERR_FORMAT);
    calibration_free(&read);
    calibration_free(&made);
    buffer_free(&bytes);
}

static size_t told;

static void progress_note(void *context, const struct quantize_progress *p)
{
    (void)context;
    assert_true(p->done_bytes >= told && p->done_bytes <= p->all_bytes);
    told = p->done_bytes;
}

static void progress_reaches_the_end(void **state)
{
    (void)state;
    error err;
    struct quantize_report report;
    model_make("progress", "--dtype f32");
    char to[512];
    snprintf(to, sizeof to, "%s", model_path("progressed"));
    struct quantize_options options = {.source_dir = model_path("progress"),
                                       .destination_dir = to,
                                       .format = WEIGHT_FP8_ROW,
                                       .n_threads = 1,
                                       .shard_bytes = 64 * KIB,
                                       .progress = progress_note};
    if (quantize(&report, &options, &err) != OK) fail_msg("%s", err.message);
    assert_true(told == report.source_bytes);
    quantize_report_free(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e4m3_row),
        cmocka_unit_test(int8_row),
        cmocka_unit_test(int4_row),
        cmocka_unit_test(int4_row_calibrated),
        cmocka_unit_test(rows_of_nothing),
        cmocka_unit_test(bad_values_are_found),
        cmocka_unit_test(memory_runs_out),
        cmocka_unit_test(memory_runs_out_calibrating),
        cmocka_unit_test(statistics_are_kept),
        cmocka_unit_test(progress_reaches_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, model_root_remove);
}
