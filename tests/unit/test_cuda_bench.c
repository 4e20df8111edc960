/* The synthetic bench on emulated kernels: every cell of a tiny model, its bytes and operations beside
 * those worked out by hand, and the values that random weights have. No figure of it is a speed. */
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
#include <unistd.h>

#include "inference/bench/synthetic_report.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/probe_launch.h"
#include "kernels/format.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/host_runtime.h"

extern const struct cuda_probe cuda_probe_host;

enum { MEMORY = 1 << 30 }; /* of the emulated device */

static struct cuda_backend backend;

static void backend_open(void)
{
    backend = host_backend;
    backend.probe = &cuda_probe_host;
    cuda_backend_use(&backend);
}

static struct model_shape tiny(void)
{
    return (struct model_shape){.d_model = 128,
                                .n_heads = 2,
                                .kv_n_heads = 1,
                                .head_dim = 64,
                                .n_layers = 1,
                                .ffn_hidden_size = 160,
                                .moe_num_experts = 4,
                                .moe_top_k = 2,
                                .vocab_size = 64,
                                .max_seq_len = 64,
                                .rope_theta = 1e4};
}

/* Deviation and largest magnitude of a weight's values, as its format decodes them. */
static void values_measure(device *d, enum weight_format format, double *deviation, double *mean)
{
    enum { ROWS = 96, COLUMNS = 640 };
    const struct weight_spec spec = {"w", format, ROWS, COLUMNS, 1, false, false};
    const struct kernels *k = &kernels_cuda;
    float row[COLUMNS];
    weight *w = NULL;
    error err = {0};
    double sum = 0, squares = 0;
    assert_int_equal(k->weight_begin(&w, d, &spec, &err), OK);
    assert_int_equal(cuda_weight_random(w, 7, 0.25, &err), OK);
    assert_int_equal(k->weight_seal(w, &err), OK);
    static unsigned char codes[ROWS * COLUMNS * 2], held[ROWS * 16];
    const unsigned char *scales = w->scales ? held : NULL;
    assert_true((size_t)(ROWS * w->matrix.row_bytes) <= sizeof codes);
    assert_int_equal(d->run->copy(codes, w->codes, (size_t)(ROWS * w->matrix.row_bytes), NULL), 0);
    if (scales) assert_int_equal(d->run->copy(held, w->scales, ROWS * w->scale_bytes, NULL), 0);
    for (int i = 0; i < ROWS; i++) {
        format_decode(row, format, codes + i * w->matrix.row_bytes,
                      scales ? scales + (size_t)i * w->scale_bytes : NULL, COLUMNS);
        for (int j = 0; j < COLUMNS; j++) {
            assert_true(isfinite(row[j]));
            sum += (double)row[j];
            squares += (double)row[j] * (double)row[j];
        }
    }
    *mean = sum / (ROWS * COLUMNS);
    *deviation = sqrt(squares / (ROWS * COLUMNS));
    k->weight_free(w);
}

/* 61,440 values: the deviation is known to half a percent; scales of 0.8 to 1.2 widen it by 0.7 %, a
 * four-bit code's rounding and clipping by a few more. */
static void random_weights_have_the_values_of_weights(void **state)
{
    static const enum weight_format formats[] = {WEIGHT_BF16, WEIGHT_FP8_ROW, WEIGHT_INT8_ROW,
                                                 WEIGHT_INT4_G128};
    (void)state;
    struct device_options options = {.shape = tiny(), .rows_max = 8, .seqs_max = 1, .outs_max = 1};
    device *d;
    error err = {0};
    assert_int_equal(kernels_cuda.open(&d, &options, &err), OK);
    for (int i = 0; i < 4; i++) {
        double deviation, mean;
        values_measure(d, formats[i], &deviation, &mean);
        assert_true(fabs(mean) < 0.006);
        assert_true(fabs(deviation / 0.25 - 1) < (formats[i] == WEIGHT_INT4_G128 ? 0.05 : 0.02));
    }
    kernels_cuda.close(d);
}

/* What the bench said, kept as it came. */
static struct synthetic_machine machine;
static struct synthetic_cell cells[128];
static size_t n_cells;
static int n_asked, stop_after;

static void on_machine(void *context, const struct synthetic_machine *m)
{
    (void)context;
    machine = *m;
}

static void on_cell(void *context, const struct synthetic_cell *c)
{
    (void)context;
    assert_true(n_cells < sizeof cells / sizeof *cells);
    cells[n_cells++] = *c;
}

static bool stopped(void) { return stop_after > 0 && ++n_asked > stop_after; }

static status bench(struct synthetic_options o, error *err)
{
    n_cells = 0;
    n_asked = 0;
    o.on_machine = on_machine;
    o.on_cell = on_cell;
    o.stopped = stopped;
    o.model = o.model ? o.model : "tiny";
    return synthetic_run(&o, err);
}

static const struct synthetic_cell *cell_find(enum synthetic_kind kind, int32_t n_seqs,
                                              int32_t rows, int32_t context)
{
    for (size_t i = 0; i < n_cells; i++)
        if (cells[i].kind == kind && cells[i].n_seqs == n_seqs && cells[i].n_rows == rows &&
            cells[i].context == context)
            return &cells[i];
    fail_msg("no cell of kind %d, batch %d, %d rows, context %d", kind, n_seqs, rows, context);
    return NULL;
}

/* d 128, 2 heads and 1 KV head of 16, 2 layers, 4 experts of 160 with 2 taken, vocabulary 64; FP8
 * everywhere but the router and the embedding (bf16) and norms (fp32); a scale of 4 bytes a row. */
static void bytes_and_operations_by_hand(void)
{
    const double norms = 2 * 128 * 4, qkv = 64 * (128 + 4), out = 128 * (32 + 4);
    const double router = 4 * 128 * 2, head = 128 * 4 + 64 * (128 + 4), row = 128 * 2;
    const double expert = 2 * 160 * (128 + 4) + 128 * (160 + 4);
    const struct synthetic_cell *c = cell_find(SYNTHETIC_DECODE, 1, 1, 16);
    assert_true(c->measured);
    assert_true(c->experts_per_layer == 2); /* of one row: those of its top_k */
    assert_true(c->weight_bytes == 2 * (norms + qkv + out + router + 2 * expert) + head + row);
    assert_true(c->kv_bytes == 16 * 2 * 2 * 16); /* positions, layers, K and V, values */
    /* attention: 4 operations per key, value of a head, and layer */
    const double dense = 128 * (64 + 32 + 4), experts = 2 * 3 * 128 * 160;
    assert_true(c->flop == 2 * (2 * (dense + experts) + 128 * 64) + 16 * 4 * 2 * 2 * 16);
    c = cell_find(SYNTHETIC_PREFILL, 1, 32, 32);
    assert_true(c->experts_per_layer == 4);
    assert_true(c->weight_bytes == 2 * (norms + qkv + out + router + 4 * expert) + head + 32 * row);
    assert_true(c->flop ==
                32 * 2 * 2 * (dense + experts) + 2 * 128 * 64 + 32 * 33 / 2 * 4.0 * 2 * 2 * 16);
}

static void every_cell_of_a_tiny_model(void **state)
{
    (void)state;
    error err = {0};
    const struct synthetic_options o = {.format = WEIGHT_FP8_ROW, .n_warmups = 1, .n_repeats = 2};
    if (bench(o, &err) != OK) fail_msg("%s", err.message);
    assert_string_equal(machine.device, "emulated");
    assert_true(machine.read.bytes_per_s > 0 && machine.matrix.mma_flop_per_s > 0);
    assert_true(isnan(machine.matrix.bf16_flop_per_s));
    bytes_and_operations_by_hand();
    int n_decode = 0, n_prefill = 0, n_operation = 0;
    for (size_t i = 0; i < n_cells; i++) {
        const struct synthetic_cell *c = &cells[i];
        n_decode += c->kind == SYNTHETIC_DECODE;
        n_prefill += c->kind == SYNTHETIC_PREFILL;
        n_operation += c->kind == SYNTHETIC_OPERATION;
        assert_true(c->measured == !c->without[0]);
        if (!c->measured) continue;
        assert_int_equal(c->n_warmups, 1);
        assert_int_equal(c->n_repeats, 2);
        assert_true(c->low_us <= c->median_us && c->median_us <= c->high_us);
    }
    assert_int_equal(n_decode, 12); /* 1, 4, 16, 64 by three contexts */
    assert_int_equal(n_prefill, 4);
    assert_true(n_operation >= 4 * 4);
    assert_true(cell_find(SYNTHETIC_FIRST_TOKEN, 1, 16, 48)->measured);
    assert_int_equal(host_runtime_held(), 0);
}

/* What does not fit is said, with the numbers, and nothing else is lost by it. */
static void cells_that_do_not_fit(void **state)
{
    (void)state;
    error err = {0};
    struct synthetic_options o = {
        .format = WEIGHT_INT4_G128, .n_warmups = 1, .n_repeats = 1, .quick = true};
    if (bench(o, &err) != OK) fail_msg("%s", err.message);
    size_t opened = MEMORY - machine.free_bytes, weights = machine.weight_bytes;
    host_runtime_memory(opened + weights / 2);
    assert_int_equal(bench(o, &err), ERR_MEMORY);
    assert_non_null(strstr(err.message, "MiB are free"));
    assert_int_equal(host_runtime_held(), 0);
    /* What captured steps will take, and 288 KiB of the 384 that all contexts at once need. */
    host_runtime_memory(opened + weights + cuda_graphs_bytes(&machine.shape) + 288 * 1024);
    o.quick = false;
    if (bench(o, &err) != OK) fail_msg("%s", err.message);
    host_runtime_memory(MEMORY);
    assert_int_equal(host_runtime_held(), 0);
    assert_true(cell_find(SYNTHETIC_DECODE, 64, 64, 32)->measured);
    const struct synthetic_cell *c = cell_find(SYNTHETIC_DECODE, 64, 64, 96);
    assert_false(c->measured);
    assert_non_null(strstr(c->without, "KV for 64 x 96 tokens, room for "));
}

static void a_budget_ends_it(void **state)
{
    (void)state;
    error err = {0};
    struct synthetic_options o = {.format = WEIGHT_FP8_ROW, .budget_s = 1e-6};
    assert_int_equal(bench(o, &err), OK);
    for (size_t i = 0; i < n_cells; i++) {
        assert_false(cells[i].measured);
        assert_string_equal(cells[i].without, "no time left");
    }
    assert_true(n_cells > 20);
    o.budget_s = 0;
    stop_after = 10;
    assert_int_equal(bench(o, &err), ERR_CANCELLED);
    stop_after = 0;
    o.model = "huge";
    assert_int_equal(bench(o, &err), ERR_USAGE);
    cuda_backend_use(NULL);
    o.model = "tiny";
    assert_int_equal(bench(o, &err), ERR_UNSUPPORTED);
    backend_open();
    assert_int_equal(host_runtime_held(), 0);
}

/* Every call of the runtime fails once: the bench ends with an error and gives everything back. */
static void failures_end_it(void **state)
{
    (void)state;
    error err = {0};
    const struct synthetic_options o = {
        .format = WEIGHT_FP8_ROW, .n_warmups = 1, .n_repeats = 1, .quick = true};
    host_runtime_fail_at(0, false);
    assert_int_equal(bench(o, &err), OK);
    int64_t n_calls = host_runtime_fail_at(0, false);
    /* The last calls give back. */
    for (int64_t n = 1; n < n_calls * 9 / 10; n += n < 200 ? 23 : 2999) {
        host_runtime_fail_at(n, true);
        assert_int_not_equal(bench(o, &err), OK);
        host_runtime_fail_at(0, false);
        assert_int_equal(host_runtime_held(), 0);
    }
}

static void the_report_is_a_table_lines_and_an_object(void **state)
{
    (void)state;
    char path[] = "/tmp/dbrx-bench-XXXXXX", *table = NULL, line[4096];
    size_t size = 0, n_lines = 0;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    FILE *f = open_memstream(&table, &size);
    buffer json = {0};
    error err = {0};
    const struct synthetic_options o = {
        .model = "tiny", .format = WEIGHT_INT4_G128, .n_warmups = 1, .n_repeats = 1, .quick = true};
    if (synthetic_report_run(&o, f, path, &json, &err) != OK) fail_msg("%s", err.message);
    fclose(f);
    assert_non_null(strstr(table, "emulated, 1 multiprocessors"));
    assert_non_null(strstr(table, "cuBLASLt does not open"));
    assert_non_null(strstr(table, "experts int4"));
    assert_non_null(strstr(table, "\ndecode"));
    assert_non_null(strstr(table, "\nexperts"));
    assert_non_null(strstr(table, " read\n")); /* the share is of the read rate */
    f = fopen(path, "r");
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(line[0], '{');
        assert_int_equal(line[strlen(line) - 2], '}');
        assert_non_null(strstr(json.bytes, strndupa(line, strlen(line) - 1)));
        n_lines++;
    }
    fclose(f);
    unlink(path);
    assert_true(n_lines > 10);
    assert_non_null(strstr(json.bytes, "\"cublaslt_bf16_flop_per_s\": null"));
    assert_non_null(strstr(json.bytes, "\"stopped\": false"));
    assert_null(strstr(json.bytes, "nan"));
    buffer_free(&json);
    free(table);
}

static void every_kernel_was_executed(void **state)
{
    (void)state;
    const struct emulator_kernel *kernels;
    size_t n = emulator_kernels(&kernels), n_probes = 0;
    for (size_t i = 0; i < n; i++) {
        if (!strstr(kernels[i].place, "probe_")) continue;
        printf("# %6lld launches  %s\n", (long long)kernels[i].n_launches, kernels[i].place);
        n_probes++;
        assert_true(kernels[i].n_launches > 0);
    }
    assert_int_equal(n_probes, 5);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    backend_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_weights_have_the_values_of_weights),
        cmocka_unit_test(every_cell_of_a_tiny_model),
        cmocka_unit_test(cells_that_do_not_fit),
        cmocka_unit_test(a_budget_ends_it),
        cmocka_unit_test(failures_end_it),
        cmocka_unit_test(the_report_is_a_table_lines_and_an_object),
        cmocka_unit_test(every_kernel_was_executed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
