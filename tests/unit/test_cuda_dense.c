/* Dense products of many rows by a library, which here is a stand-in that checks how it is called
 * (tests/cuda/host_blas.c): beside our own kernels, and with every call refused once. */
#include "tests/unit/support/rig.h"

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/format.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/host_blas.h"
#include "tests/cuda/host_runtime.h"

enum { ROWS = 70, LAYERS = 2 };

static struct rig_options options_of(enum weight_format format, enum activation_type activations)
{
    struct rig_options o = rig_defaults();
    o.format = format;
    o.shape.activations = activations;
    o.shape.n_layers = LAYERS;
    o.kv = KV_BF16;
    o.rows_max = ROWS;
    return o;
}

static void *there(struct rig *r, const void *host, size_t bytes)
{
    void *at = NULL;
    assert_int_equal(r->d->run->take(&at, bytes), 0);
    assert_int_equal(r->d->run->copy(at, host, bytes, r->d->stream), 0);
    return at;
}

/* A random operand of ROWS rows: as norms hand on, or `of_attention` in bf16 alone. Columns beyond the
 * width are zeros, as in the workspace. */
static struct cuda_operand operand_make(struct rig *r, const weight *w, bool of_attention)
{
    size_t k = (size_t)w->matrix.k, n = ROWS * k;
    bool e4m3 = r->o.shape.activations == ACTIVATION_E4M3 && !of_attention;
    uint16_t *halves = calloc(n, sizeof *halves);
    unsigned char *codes = calloc(n, 1);
    float scale[ROWS];
    for (size_t i = 0; i < n; i++) {
        float v = (float)random_unit(7, i) - 0.5f;
        if ((int64_t)(i % k) >= w->n_columns) continue;
        codes[i] = e4m3_from(v);
        halves[i] = bf16_from(e4m3 ? e4m3_value(codes[i]) : v);
    }
    for (int i = 0; i < ROWS; i++) scale[i] = 0.25f + (float)i / 32;
    struct cuda_operand x = {.bf16 = there(r, halves, n * sizeof *halves),
                             .e4m3 = e4m3 ? there(r, codes, n) : NULL,
                             .scale = e4m3 ? there(r, scale, sizeof scale) : NULL,
                             .stride = (int64_t)k};
    free(halves);
    free(codes);
    return x;
}

static void operand_free(struct rig *r, struct cuda_operand *x)
{
    void *all[] = {x->bf16, x->scale, x->e4m3};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) r->d->run->give(all[i]);
}

static float *taken(struct rig *r, const float *from, size_t n)
{
    float *out = calloc(n, sizeof *out);
    assert_int_equal(r->d->run->copy(out, from, n * sizeof *out, r->d->stream), 0);
    return out;
}

/* What the library gives, beside the tile kernel on the same operands. */
static void product_check(struct rig *r, const weight *w, bool of_attention, int64_t n_products)
{
    size_t n = ROWS * (size_t)w->n_rows;
    float *nan = malloc(n * sizeof *nan);
    const int32_t rows = ROWS;
    memset(nan, 0xFF, n * sizeof *nan);
    struct cuda_operand x = operand_make(r, w, of_attention);
    float *out = there(r, nan, n * sizeof *nan);
    int32_t *n_live = there(r, &rows, sizeof rows);
    struct cuda_product p = {.w = w->matrix,
                             .x = x,
                             .out = {.f32 = out, .stride = w->n_rows},
                             .n_live = n_live,
                             .n_groups = 1,
                             .groups_bound = 1,
                             .n = (int32_t)w->n_rows,
                             .rows_bound = ROWS};
    r->d->launch->product_tile(&p, r->d->stream);
    float *expected = taken(r, out, n);
    assert_int_equal(r->d->run->copy(out, nan, n * sizeof *nan, r->d->stream), 0);
    host_blas_products();
    assert_true(cuda_dense_multiply(r->d, w, x, out, w->n_rows, ROWS));
    assert_int_equal(host_blas_products(), n_products);
    float *found = taken(r, out, n);
    double apart = rig_difference(found, expected, n);
    if (!(apart < 1e-5)) fail_msg("format %d: %g", r->o.format, apart);
    free(found);
    free(expected);
    free(nan);
    operand_free(r, &x);
    r->d->run->give(out);
    r->d->run->give(n_live);
}

static void products_are_those_of_our_kernels(void **state)
{
    static const struct {
        enum weight_format format;
        enum activation_type activations;
        enum host_blas library;
        int64_t n_in_parts; /* products made of 128 rows, 32 at a time */
    } cases[] = {
        {WEIGHT_BF16, ACTIVATION_BF16, HOST_BLAS_BF16, 1},
        {WEIGHT_BF16, ACTIVATION_E4M3, HOST_BLAS_E4M3, 1},
        {WEIGHT_INT8_ROW, ACTIVATION_BF16, HOST_BLAS_BF16, 4},
        {WEIGHT_FP8_ROW, ACTIVATION_BF16, HOST_BLAS_E4M3, 4},
        {WEIGHT_FP8_ROW, ACTIVATION_E4M3, HOST_BLAS_BF16, 4},
        {WEIGHT_FP8_ROW, ACTIVATION_E4M3, HOST_BLAS_E4M3, 1},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = options_of(cases[c].format, cases[c].activations);
        struct rig r;
        host_blas_use(cases[c].library);
        rig_open(&r, &kernels_cuda, &o);
        const weight *w = r.layer[0].qkv;
        assert_int_equal(w->n_rows, 128);
        product_check(&r, w, false, 1);
        product_check(&r, w, true, 1);
        r.d->dense.widened_bytes = 32 * 2 * (size_t)w->matrix.k; /* 32 rows of weights */
        product_check(&r, w, false, cases[c].n_in_parts);
        rig_close(&r);
        assert_int_equal(host_blas_held(), 0);
        assert_int_equal(host_runtime_held(), 0);
    }
}

static float *logits_of(const struct rig_options *o, int32_t n, int64_t *n_products)
{
    struct rig r;
    rig_open(&r, &kernels_cuda, o);
    int32_t *tokens = rig_tokens(n, o->shape.vocab_size, 3);
    host_blas_products();
    float *out = rig_logits(&r, tokens, n);
    *n_products = host_blas_products();
    free(tokens);
    rig_close(&r);
    assert_int_equal(host_blas_held(), 0);
    assert_int_equal(host_runtime_held(), 0);
    return out;
}

/* Of a step of many rows: Wqkv a product of E4M3, out_proj and the head, whose 101 rows are no multiple of
 * 16, of bf16; of a step of few, of one family of kernels, and of fp32 none. */
static void who_multiplies(void **state)
{
    struct rig_options o = options_of(WEIGHT_FP8_ROW, ACTIVATION_E4M3);
    int64_t n_products;
    (void)state;
    host_blas_use(HOST_BLAS_E4M3);
    free(logits_of(&o, ROWS, &n_products));
    assert_int_equal(n_products, LAYERS * 2 + 1);
    free(logits_of(&o, 64, &n_products));
    assert_int_equal(n_products, 0);
    o.deterministic = true;
    free(logits_of(&o, ROWS, &n_products));
    assert_int_equal(n_products, 0);
    o = options_of(WEIGHT_FP8_ROW, ACTIVATION_F32);
    free(logits_of(&o, ROWS, &n_products));
    assert_int_equal(n_products, 0);
    o = options_of(WEIGHT_INT4_G128, ACTIVATION_BF16);
    free(logits_of(&o, ROWS, &n_products));
    assert_int_equal(n_products, 0);
}

/* Whatever the library refuses our own kernels do: the answer is what it is without a library, but for
 * sums in another order. All experts are taken, for a choice on the edge is another matter. */
static void every_call_is_refused_once(void **state)
{
    struct rig_options o = options_of(WEIGHT_FP8_ROW, ACTIVATION_E4M3);
    int64_t n_products, n_calls;
    (void)state;
    o.shape.moe_num_experts = o.shape.moe_top_k;
    host_blas_use(HOST_BLAS_NONE);
    float *expected = logits_of(&o, ROWS, &n_products);
    host_runtime_sparse(true); /* a workspace of 32 MiB at every turn */
    host_blas_use(HOST_BLAS_E4M3);
    host_blas_fail_at(0);
    free(logits_of(&o, ROWS, &n_products));
    n_calls = host_blas_fail_at(0);
    assert_true(n_calls > 30);
    for (int64_t at = 1; at <= n_calls; at++) {
        host_blas_fail_at(at);
        float *found = logits_of(&o, ROWS, &n_products);
        double sum = 0;
        for (int32_t row = 0; row < ROWS; row++) {
            size_t from = (size_t)(row * o.shape.vocab_size);
            sum += rig_difference(found + from, expected + from, (size_t)o.shape.vocab_size);
        }
        if (!(sum / ROWS < 1.0 / 64)) fail_msg("call %d: %g", (int)at, sum / ROWS);
        free(found);
    }
    host_blas_fail_at(0);
    host_runtime_sparse(false);
    free(expected);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    cuda_backend_use(&host_backend);
    emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, false});
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_our_kernels),
        cmocka_unit_test(who_multiplies),
        cmocka_unit_test(every_call_is_refused_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
