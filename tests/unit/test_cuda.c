/* The CUDA backend's kernels, executed on the host by fibers, against the reference; see
 * tests/cuda/emulator.h. The last test counts how often each kernel ran: none may be left out. */
#include "tests/unit/support/rig.h"

#include <math.h>
#include <stdio.h>

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/sampling.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/host_runtime.h"

static const enum weight_format formats[] = {WEIGHT_F32, WEIGHT_BF16, WEIGHT_FP8_ROW,
                                             WEIGHT_INT8_ROW, WEIGHT_INT4_G128};

static const struct emulator_options orders[] = {
    {EMULATOR_FORWARD, 0, false},
    {EMULATOR_REVERSE, 0, true},
    {EMULATOR_RANDOM, 7, true},
};

static int32_t *tokens_make(int32_t n, int32_t vocab, uint64_t seed)
{
    int32_t *tokens = calloc((size_t)n, sizeof *tokens);
    for (int32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)(random_at(seed, (uint64_t)i) % (uint64_t)vocab);
    return tokens;
}

/* Largest difference over the largest magnitude of the expected. */
static double difference(const float *found, const float *expected, size_t n)
{
    double largest = 0, apart = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)expected[i]));
        double by = fabs((double)found[i] - (double)expected[i]);
        if (!(by <= apart)) apart = by;
    }
    return apart / largest;
}

/* Six query heads to a KV head, rows of weights with and without padding, an odd vocabulary. */
static struct rig_options tiny(void)
{
    struct rig_options o = rig_defaults();
    o.shape.d_model = 96;
    o.shape.n_heads = 6;
    o.shape.kv_n_heads = 1;
    o.shape.n_layers = 1;
    o.shape.ffn_hidden_size = 160;
    o.shape.moe_num_experts = 4;
    o.shape.moe_top_k = 2;
    o.shape.vocab_size = 41;
    o.kv = KV_BF16;
    o.rows_max = 300;
    o.n_pages = 63;
    return o;
}

static void half_layer(struct rig *r, struct rig_step *t)
{
    t->s.kv = r->kv;
    assert_true(r->k->step_begin(r->d, &t->s, 0, 1));
    r->k->embed(r->d, r->wte);
    r->k->attn_in(r->d, 0, &r->layer[0]);
}

static void other_half(struct rig *r, bool with_experts, struct step_result *out)
{
    error err = {0};
    r->k->attention(r->d, 0);
    r->k->attn_out(r->d, 0, &r->layer[0]);
    if (with_experts) r->k->experts(r->d, 0, &r->layer[0]);
    r->k->head(r->d, r->norm_f, r->head);
    r->k->sample(r->d);
    r->k->step_end(r->d);
    if (r->k->collect(r->d, out, &err) != OK) fail_msg("%s", err.message);
}

static unsigned char *pages_take(struct rig *r, int32_t n, size_t *size)
{
    struct memory_plan plan;
    int32_t all[64];
    for (int32_t i = 0; i < n; i++) all[i] = i;
    assert_int_equal(r->k->plan(r->d, r->o.kv, &plan, NULL), OK);
    *size = plan.kv_bytes_per_page * (size_t)n;
    unsigned char *bytes = calloc(1, *size);
    r->k->pages_save(r->kv, bytes, all, n);
    return bytes;
}

static void pages_give(struct rig *r, const unsigned char *bytes, int32_t n)
{
    int32_t all[64];
    for (int32_t i = 0; i < n; i++) all[i] = i;
    r->k->pages_load(r->kv, all, bytes, n);
}

/* Stored K and V: the same code but for values on a boundary to within rounding, which are rare and
 * one code off, and for positions that nobody wrote. */
static void pages_compare(const unsigned char *found, const unsigned char *expected, size_t size,
                          enum kv_type type, double share_apart)
{
    size_t n_apart = 0, width = type == KV_BF16 ? 2 : 1;
    for (size_t i = 0; i < size; i += width) {
        int a = found[i] | (width == 2 ? found[i + 1] << 8 : 0);
        int b = expected[i] | (width == 2 ? expected[i + 1] << 8 : 0);
        if (a == b || a == (width == 2 ? 0xFFFF : 0xFF)) {
            assert_true(a == b || b == 0);
            continue;
        }
        n_apart++;
        assert_true(abs(a - b) <= 2 || ((a | b) & (width == 2 ? 0x7FFF : 0x7F)) <= 2);
    }
    assert_true((double)n_apart <= share_apart * (double)(size / width) + 1);
}

/* One step of n rows, operation by operation: the same pages go into every attention, and the routes
 * of the reference into both where activations are rounded. */
static void operations_compare(struct rig *cuda, struct rig *reference, int32_t n,
                               bool with_experts, double bound)
{
    const struct rig_options *o = &reference->o;
    int32_t *tokens = tokens_make(n, o->shape.vocab_size, 5), pages[63];
    int32_t n_pages = (n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    size_t size, size_cuda, n_routes = (size_t)(n * o->shape.moe_top_k);
    bool rounded = o->shape.activations != ACTIVATION_F32;
    struct rig_step t;
    struct step_result found, expected;
    for (int32_t i = 0; i < 63; i++) pages[i] = i;
    rig_step_begin(&t, n + 3, 1, 63);
    rig_add(&t, tokens, 0, n, pages, true);
    rig_add_padding(&t, 3);
    half_layer(reference, &t);
    unsigned char *kv = pages_take(reference, n_pages, &size);
    other_half(reference, with_experts, &expected);
    int32_t *routes = calloc((size_t)t.s.n_rows * (size_t)o->shape.moe_top_k, sizeof *routes);
    memcpy(routes, expected.routes, n_routes * sizeof *routes);
    if (rounded) t.s.routes_forced = routes;
    half_layer(cuda, &t);
    unsigned char *kv_cuda = pages_take(cuda, n_pages, &size_cuda);
    assert_int_equal(size, size_cuda);
    pages_compare(kv_cuda, kv, size, o->kv, rounded ? 0.05 : 0.001);
    pages_give(cuda, kv, n_pages);
    other_half(cuda, with_experts, &found);
    if (!rounded) assert_memory_equal(found.routes, expected.routes, n_routes * sizeof(int32_t));
    double apart = difference(found.logits, expected.logits, (size_t)(n * o->shape.vocab_size));
    if (!(apart < bound))
        fail_msg("%d rows, format %d, kv %d, activations %d: apart by %g", n, cuda->o.format, o->kv,
                 o->shape.activations, apart);
    free(kv_cuda);
    free(routes);
    rig_step_end(&t);
    free(kv);
    free(tokens);
}

static void operations_by_rows(struct rig_options o, const int32_t *counts, size_t n_counts,
                               double bound)
{
    struct rig cuda, reference;
    rig_open(&cuda, &kernels_cuda, &o);
    o.mirror = true;
    rig_open(&reference, &kernels_reference, &o);
    for (size_t i = 0; i < n_counts; i++) {
        emulator_set(orders[i % 3]);
        operations_compare(&cuda, &reference, counts[i], true, bound);
    }
    rig_close(&cuda);
    rig_close(&reference);
    assert_int_equal(host_runtime_held(), 0);
}

/* Bound as for the CPU's fp32: a chain of ten products, its softmax multiplied by ten. */
static void operations_in_fp32(void **state)
{
    static const int32_t counts[] = {1, 2, 7, 17, 258};
    (void)state;
    for (size_t f = 0; f < 5; f++) {
        struct rig_options o = tiny();
        o.format = formats[f];
        o.kv = f % 2 ? KV_E4M3 : KV_BF16;
        operations_by_rows(o, counts, 5, 1e-5);
    }
}


/* Rounded activations on tensor cores. What attention and the gated unit hand on is split into two
 * bf16, 16 bits together; the bound is that of the activations, whose codes may fall to the other
 * side of a boundary: the code's width over sqrt(d). */
static void operations_on_tensor_cores(void **state)
{
    static const int32_t counts[] = {2, 3, 9, 40, 70, 131};
    static const struct {
        enum weight_format format;
        enum activation_type activations;
        enum kv_type kv;
        double bound;
    } cases[] = {
        {WEIGHT_BF16, ACTIVATION_BF16, KV_BF16, 2e-3},
        {WEIGHT_FP8_ROW, ACTIVATION_E4M3, KV_E4M3, 3e-2},
        {WEIGHT_INT8_ROW, ACTIVATION_INT8, KV_E4M3, 1e-2},
        {WEIGHT_INT4_G128, ACTIVATION_BF16, KV_E4M3, 2e-3},
        {WEIGHT_INT4_G128, ACTIVATION_E4M3, KV_BF16, 3e-2},
        {WEIGHT_F32, ACTIVATION_BF16, KV_BF16, 2e-3},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = tiny();
        o.shape.activations = cases[c].activations;
        o.format = cases[c].format;
        o.kv = cases[c].kv;
        operations_by_rows(o, counts, c == 5 ? 2 : 6, cases[c].bound);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    cuda_backend_use(&host_backend);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_in_fp32),
        cmocka_unit_test(operations_on_tensor_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
