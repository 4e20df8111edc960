/* The CUDA backend's kernels, executed on the host by fibers, against the reference; see
 * tests/cuda/emulator.h. The last test counts how often each kernel ran: none may be left out. With
 * DBRX_CUDA_TEST=gpu the same tests run on the GPU that this build was made for. */
#include "tests/unit/support/rig.h"

#include <math.h>
#include <stdio.h>

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/sampling.h"
#include "tests/cuda/backend_choice.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/host_blas.h"

static const enum weight_format formats[] = {WEIGHT_F32, WEIGHT_BF16, WEIGHT_FP8_ROW,
                                             WEIGHT_INT8_ROW, WEIGHT_INT4_G128};

static const struct emulator_options orders[] = {
    {EMULATOR_FORWARD, 0, false},
    {EMULATOR_REVERSE, 0, true},
    {EMULATOR_RANDOM, 7, true},
};

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

/* Stored K and V: the same code but for values on a boundary to within rounding, which are rare and
 * one code off, or codes up to `small`, which stand for nearly nothing, and for positions that nobody
 * wrote. */
static void pages_compare(const unsigned char *found, const unsigned char *expected, size_t size,
                          enum kv_type type, double share_apart, int small)
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
        int sign = width == 2 ? 0x8000 : 0x80;
        assert_true(abs(a - b) <= 2 || ((a & ~sign) <= small && (b & ~sign) <= small));
    }
    assert_true((double)n_apart <= share_apart * (double)(size / width) + 1);
}

/* One step of n rows, operation by operation: the same pages go into every attention, and the routes
 * of the reference into both where activations are rounded. */
static void operations_compare(struct rig *cuda, struct rig *reference, int32_t n,
                               bool with_experts, double bound)
{
    const struct rig_options *o = &reference->o;
    int32_t *tokens = rig_tokens(n, o->shape.vocab_size, 5), pages[63];
    int32_t n_pages = (n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    size_t size, size_cuda, n_routes = (size_t)(n * o->shape.moe_top_k);
    bool rounded = o->shape.activations != ACTIVATION_F32;
    struct rig_step t;
    struct step_result found, expected;
    for (int32_t i = 0; i < 63; i++) pages[i] = i;
    rig_step_begin(&t, n + 3, 1, 63);
    rig_add(&t, tokens, 0, n, pages, true);
    rig_add_padding(&t, 3);
    rig_half_layer(reference, &t);
    unsigned char *kv = rig_pages_take(reference, n_pages, &size);
    rig_other_half(reference, with_experts, &expected);
    int32_t *routes = calloc((size_t)t.s.n_rows * (size_t)o->shape.moe_top_k, sizeof *routes);
    memcpy(routes, expected.routes, n_routes * sizeof *routes);
    if (rounded) t.s.routes_forced = routes;
    unsigned char *cleared = calloc(1, size);
    if (cuda_backend_get() != &host_backend) rig_pages_give(cuda, cleared, n_pages);
    free(cleared);
    rig_half_layer(cuda, &t);
    unsigned char *kv_cuda = rig_pages_take(cuda, n_pages, &size_cuda);
    assert_int_equal(size, size_cuda);
    bool of_14_bits = cuda->d->info.capability == 90 && o->shape.activations == ACTIVATION_E4M3;
    /* Sums cut at 2^-13 of their largest product: here, of K and V around 6, some thousandths; E4M3's
     * code 40 is 1/128. */
    pages_compare(kv_cuda, kv, size, o->kv, rounded ? 0.05 : 0.001, of_14_bits ? 40 : 2);
    rig_pages_give(cuda, kv, n_pages);
    rig_other_half(cuda, with_experts, &found);
    if (!rounded) assert_memory_equal(found.routes, expected.routes, n_routes * sizeof(int32_t));
    for (int i = 0; i < 3 * o->shape.moe_top_k && !rounded; i++) /* padding selects no expert */
        assert_int_equal(found.routes[n_routes + (size_t)i], -1);
    double apart = rig_difference(found.logits, expected.logits, (size_t)(n * o->shape.vocab_size));
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
    cuda.d->graphs.off = true; /* pages are read between two operations */
    o.mirror = true;
    rig_open(&reference, &kernels_reference, &o);
    if (o.format >
        WEIGHT_BF16) { /* a router in this format too: the first rows of another weight */
        cuda.layer[0].router = cuda.layer[0].qkv;
        reference.layer[0].router = reference.layer[0].qkv;
    }
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

/* Three chunks of positions, so that a later one often holds the largest score. */
static void long_contexts(void **state)
{
    static const int32_t counts[] = {530};
    (void)state;
    struct rig_options o = tiny();
    o.rows_max = 540;
    o.format = WEIGHT_BF16;
    o.shape.d_model = 32;
    o.shape.ffn_hidden_size = 32;
    operations_by_rows(o, counts, 1, 1e-5);
}

/* Rows so long that a block of the norm has all its warps, some of which take values twice; and hidden units
 * so many that a block which rounds them has. */
static void rows_of_many_warps(void **state)
{
    static const int32_t counts[] = {1, 3};
    (void)state;
    struct rig_options o = tiny();
    o.shape.d_model = 3104;
    o.format = WEIGHT_BF16;
    operations_by_rows(o, counts, 2, 1e-5);
    o.format = WEIGHT_FP8_ROW;
    o.shape.activations = ACTIVATION_E4M3;
    operations_by_rows(o, counts, 2, 3e-2);
    o.shape.d_model = 96;
    o.shape.ffn_hidden_size = 2080;
    operations_by_rows(o, counts, 2, 3e-2);
}

/* Rounded activations on tensor cores: their codes may fall to the other side of a boundary, which moves a
 * logit by the code's width over sqrt(d). Above 64 rows attention itself keeps 11 bits, so many codes of
 * its result, and of what follows from it, fall to the other side: three times the code's width. */
static void operations_on_tensor_cores(void **state)
{
    static const int32_t counts[] = {2, 3, 9, 40}, many[] = {70, 131};
    static const struct {
        enum weight_format format;
        enum activation_type activations;
        enum kv_type kv;
        double bound, bound_many;
    } cases[] = {
        {WEIGHT_BF16, ACTIVATION_BF16, KV_BF16, 2e-3, 12e-3},
        {WEIGHT_FP8_ROW, ACTIVATION_E4M3, KV_E4M3, 3e-2, 6e-2},
        {WEIGHT_INT8_ROW, ACTIVATION_E4M3, KV_E4M3, 3e-2, 6e-2},
        {WEIGHT_INT4_G128, ACTIVATION_BF16, KV_E4M3, 2e-3, 12e-3},
        {WEIGHT_INT4_G128, ACTIVATION_E4M3, KV_BF16, 3e-2, 6e-2},
        {WEIGHT_F32, ACTIVATION_BF16, KV_BF16, 2e-3, 12e-3},
    };
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = tiny();
        o.shape.activations = cases[c].activations;
        o.format = cases[c].format;
        o.kv = cases[c].kv;
        operations_by_rows(o, counts, c == 5 ? 2 : 4, cases[c].bound);
        operations_by_rows(o, many, c == 5 ? 1 : 2, cases[c].bound_many);
    }
}

/* Many rows with dense products by a library that has bf16 alone: weights are widened for it, and what
 * comes out is scaled. On a GPU it is the library of the machine, or none. */
static void operations_with_a_library(void **state)
{
    static const int32_t counts[] = {70};
    static const enum weight_format widened[] = {WEIGHT_FP8_ROW, WEIGHT_INT8_ROW};
    (void)state;
    host_blas_use(HOST_BLAS_BF16);
    for (int i = 0; i < 2; i++) {
        struct rig_options o = tiny();
        o.shape.activations = ACTIVATION_E4M3;
        o.format = widened[i];
        o.kv = KV_BF16;
        operations_by_rows(o, counts, 1, 6e-2);
    }
    host_blas_use(HOST_BLAS_NONE);
}

/* The same by warpgroups, as compute capability 9.0 multiplies many rows; where activations are E4M3
 * tensor cores keep 14 bits of a sum of 128. */
static void operations_on_warpgroups(void **state)
{
    static const int32_t many[] = {70, 131};
    static const struct {
        enum weight_format format;
        enum activation_type activations;
        double bound;
    } cases[] = {
        {WEIGHT_BF16, ACTIVATION_BF16, 12e-3},      {WEIGHT_FP8_ROW, ACTIVATION_BF16, 12e-3},
        {WEIGHT_FP8_ROW, ACTIVATION_E4M3, 9e-2},    {WEIGHT_INT8_ROW, ACTIVATION_BF16, 12e-3},
        {WEIGHT_INT4_G128, ACTIVATION_BF16, 12e-3}, {WEIGHT_INT4_G128, ACTIVATION_E4M3, 9e-2},
    };
    (void)state;
    host_runtime_capability(90);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = tiny();
        o.shape.activations = cases[c].activations;
        o.format = cases[c].format;
        o.kv = cases[c].activations == ACTIVATION_E4M3 ? KV_E4M3 : KV_BF16;
        operations_by_rows(o, many, 2, cases[c].bound);
    }
    host_runtime_capability(80);
}

/* 201 to 600 rows by warpgroups, up to 300 and more an expert, over rows of weights whose last group of
 * INT4 has 96 or 32 values. */
static void many_rows_on_warpgroups(void **state)
{
    static const int32_t counts[] = {201, 417, 600};
    static const struct {
        enum weight_format format;
        enum activation_type activations;
        double bound;
    } cases[] = {{WEIGHT_INT4_G128, ACTIVATION_E4M3, 9e-2},
                 {WEIGHT_INT4_G128, ACTIVATION_BF16, 12e-3},
                 {WEIGHT_FP8_ROW, ACTIVATION_E4M3, 9e-2}};
    (void)state;
    host_runtime_capability(90);
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = tiny();
        o.rows_max = 603;
        o.shape.n_heads = 2;
        o.shape.activations = cases[c].activations;
        o.format = cases[c].format;
        o.kv = KV_E4M3;
        operations_by_rows(o, counts + c, c == 0 ? 3 : 1, cases[c].bound);
    }
    host_runtime_capability(80);
}

/* Heads as wide as DBRX's. */
static void wide_heads(void **state)
{
    static const int32_t counts[] = {3, 70};
    (void)state;
    for (int e4m3 = 0; e4m3 < 2; e4m3++) {
        struct rig_options o = tiny();
        o.shape.activations = ACTIVATION_BF16;
        o.shape.head_dim = 128;
        o.shape.n_heads = 3;
        o.shape.d_model = 32;
        o.shape.ffn_hidden_size = 32;
        o.format = WEIGHT_BF16;
        o.kv = e4m3 ? KV_E4M3 : KV_BF16;
        operations_by_rows(o, counts, 2, 12e-3);
        host_runtime_capability(90);
        operations_by_rows(o, counts + 1, 1, 12e-3);
        host_runtime_capability(80);
    }
}

/* Several layers, prompt and then one row after another, beside the reference on the same routes:
 * what a tiny checkpoint says. Ids must be equal wherever the two best are further apart than twice
 * the bound, and nearly everywhere else. The bound with rounded activations is that of a code which
 * fell to the other side: 2^-9 for each of two layers, their K and V, what attention gives and hidden units. */
static void whole_model(struct rig_options o, double bound)
{
    enum { PROMPT = 37, TOKENS = 64 };
    struct rig cuda, reference;
    int32_t *tokens = rig_tokens(TOKENS, o.shape.vocab_size, 5), pages[4] = {3, 1, 2, 0};
    int32_t n_equal = 0, n = 0, vocab = o.shape.vocab_size;
    o.rows_max = PROMPT + 3;
    rig_open(&cuda, &kernels_cuda, &o);
    o.mirror = true;
    rig_open(&reference, &kernels_reference, &o);
    for (int32_t at = 0; at < TOKENS; at += n) {
        struct rig_step t;
        struct step_result found, expected;
        n = at == 0 ? PROMPT : 1;
        emulator_set(orders[at % 3]);
        rig_step_begin(&t, n, 1, 4);
        rig_add(&t, tokens, at, n, pages, true);
        rig_run(&reference, &t, 0, o.shape.n_layers, &expected);
        int32_t *routes =
            calloc((size_t)(o.shape.n_layers * n * o.shape.moe_top_k), sizeof *routes);
        memcpy(routes, expected.routes,
               (size_t)(o.shape.n_layers * n * o.shape.moe_top_k) * sizeof *routes);
        t.s.routes_forced = routes;
        rig_run(&cuda, &t, 0, o.shape.n_layers, &found);
        for (int32_t r = 0; r < n; r++) {
            const float *e = expected.logits + r * vocab, *f = found.logits + r * vocab;
            float best = -INFINITY, second = -INFINITY, largest = 0;
            for (int32_t i = 0; i < vocab; i++) {
                largest = fmaxf(largest, fabsf(e[i]));
                if (e[i] > best) {
                    second = best;
                    best = e[i];
                } else if (e[i] > second) {
                    second = e[i];
                }
            }
            double apart = rig_difference(f, e, (size_t)vocab);
            if (!(apart < bound)) fail_msg("format %d, position %d: %g", o.format, at + r, apart);
            n_equal += found.sampled[r].id == expected.sampled[r].id;
            if ((double)(best - second) > 2 * bound * (double)largest)
                assert_int_equal(found.sampled[r].id, expected.sampled[r].id);
        }
        free(routes);
        rig_step_end(&t);
    }
    assert_true(n_equal * 100 >= TOKENS * 95);
    free(tokens);
    rig_close(&cuda);
    rig_close(&reference);
}

static void whole_models(void **state)
{
    (void)state;
    for (size_t f = 0; f < 5; f++) {
        struct rig_options o = rig_defaults();
        o.format = formats[f];
        o.kv = f % 2 ? KV_BF16 : KV_E4M3;
        whole_model(o, 2e-4);
        o.shape.activations = ACTIVATION_BF16;
        whole_model(o, 12e-3);
    }
}

static void slot_takes_what_was_sampled(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    const int32_t tokens[] = {3, 14, 15}, pages[] = {0, 1, 2};
    struct rig_step t;
    struct step_result result;
    float by_slot[41], by_id[41];
    rig_open(&r, &kernels_cuda, &o);
    rig_step_begin(&t, 8, 2, 1);
    rig_add(&t, tokens, 0, 3, pages, false);
    rig_run(&r, &t, 0, 1, &result);
    int32_t sampled = result.sampled[0].id;
    rig_step_end(&t);
    for (int use_slot = 1; use_slot >= 0; use_slot--) {
        const int32_t next[] = {3, 14, 15, use_slot ? ~0 : sampled};
        rig_step_begin(&t, 8, 2, 1);
        rig_add(&t, next, 3, 1, pages, false);
        rig_run(&r, &t, 0, 1, &result);
        memcpy(use_slot ? by_slot : by_id, result.logits, sizeof by_slot);
        rig_step_end(&t);
    }
    assert_memory_equal(by_slot, by_id, sizeof by_slot);
    rig_close(&r);
}

static void forced_routes_are_taken(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    const int32_t tokens[] = {3, 14, 15}, pages[] = {0};
    int32_t forced[6];
    float free_logits[123];
    struct rig_step t;
    struct step_result result;
    rig_open(&r, &kernels_cuda, &o);
    rig_step_begin(&t, 3, 1, 1);
    rig_add(&t, tokens, 0, 3, pages, true);
    rig_run(&r, &t, 0, 1, &result);
    memcpy(free_logits, result.logits, sizeof free_logits);
    for (int i = 0; i < 6; i++) forced[i] = (result.routes[i] + 1) % 4;
    t.s.routes_forced = forced;
    rig_run(&r, &t, 0, 1, &result);
    assert_memory_equal(result.routes, forced, sizeof forced);
    assert_memory_not_equal(result.logits, free_logits, sizeof free_logits);
    rig_step_end(&t);
    rig_close(&r);
}

/* A row that breaks its sequence breaks no other: NaN in one embedding row (bf16's NaN by hand). On
 * tensor cores rows before it in the same step share its tile and may break with it. */
static void nan_stays(enum activation_type activations, enum kv_type kv)
{
    struct rig r;
    struct rig_options o = rig_defaults();
    const int32_t good[] = {1, 2, 3}, bad[] = {4, 50, 5}, pages[] = {0, 1};
    struct rig_step t;
    struct step_result result;
    float alone[303];
    o.kv = kv;
    o.shape.activations = activations;
    rig_open(&r, &kernels_cuda, &o);
    float nan = NAN, *row = (float *)r.wte->codes + 50 * (r.wte->matrix.row_bytes / 4);
    assert_int_equal(r.d->run->copy(row + 3, &nan, sizeof nan, r.d->stream), 0);
    assert_int_equal(r.d->run->wait(r.d->stream), 0);
    rig_step_begin(&t, 3, 1, 1);
    rig_add(&t, good, 0, 3, pages, true);
    rig_run(&r, &t, 0, 2, &result);
    memcpy(alone, result.logits, sizeof alone);
    rig_step_end(&t);
    rig_step_begin(&t, 6, 2, 1);
    rig_add(&t, bad, 0, 3, pages + 1, true);
    rig_add(&t, good, 0, 3, pages, true);
    rig_run(&r, &t, 0, 2, &result);
    const bool expected[] = {false, true, true, false, false, false};
    for (int i = activations == ACTIVATION_F32 ? 0 : 1; i < 6; i++)
        assert_int_equal(result.sampled[i].nan, expected[i]);
    assert_memory_equal(result.logits + 303, alone, sizeof alone);
    rig_step_end(&t);
    rig_close(&r);
}

static void nan_stays_in_its_sequence(void **state)
{
    (void)state;
    nan_stays(ACTIVATION_F32, KV_BF16);
    nan_stays(ACTIVATION_BF16, KV_BF16);
    nan_stays(ACTIVATION_BF16, KV_E4M3);
}

/* Rows of every kind of sampling, beside sample_logits of the host on the same logits. */
static void sample_rows_make(struct sample_row *row, int32_t n, const int32_t *history)
{
    for (int32_t i = 0; i < n; i++) {
        uint64_t bits = random_at(31, (uint64_t)i);
        row[i] = (struct sample_row){
            .temperature = i % 7 == 0 ? 0 : 0.3f + (float)(bits % 20) / 10,
            .top_k = i % 3 == 1 ? 1 + (int32_t)(bits >> 8 & 31) : 0,
            .top_p = i % 2 ? 0.05f + (float)(bits >> 16 & 15) / 17 : 1,
            .min_p = i % 5 == 2 ? 0.02f : 0,
            .repetition_penalty = i % 4 == 3 ? 1.3f : 1,
            .history = history,
            .n_history = 20,
            .mask = i % 6 == 5 ? i % 2 : -1,
            .seed = 1000 + (uint64_t)i,
            .index = bits >> 40,
            .n_logprobs = i % 4 == 0 ? (int32_t)(bits >> 24 & 31) : 0,
        };
    }
}

static void sample_compare(const struct sample_result *found, const struct sample_result *expected)
{
    assert_int_equal(found->id, expected->id);
    assert_int_equal(found->nan, expected->nan);
    assert_true(fabsf(found->logprob - expected->logprob) < 1e-5f);
    for (int i = 0; i < LOGPROBS_MAX; i++) {
        assert_int_equal(found->top_id[i], expected->top_id[i]);
        if (found->top_id[i] >= 0)
            assert_true(fabsf(found->top_logprob[i] - expected->top_logprob[i]) < 1e-5f);
    }
}

static void samples_as_the_host_does(void **state)
{
    enum { VOCABULARY = 2500, ROWS = 120, WORDS = (VOCABULARY + 31) / 32 };
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    struct rig_step t;
    struct step_result result;
    uint32_t *mask = calloc(2 * WORDS, sizeof *mask);
    o.shape.vocab_size = VOCABULARY;
    int32_t *tokens = rig_tokens(ROWS, VOCABULARY, 5), pages[63];
    struct sample_scratch scratch = {calloc(VOCABULARY, sizeof(float)),
                                     calloc(VOCABULARY, sizeof(int32_t))};
    for (int32_t i = 0; i < 63; i++) pages[i] = i;
    for (int32_t i = 0; i < VOCABULARY; i += 3) mask[i / 32] |= (uint32_t)1 << (i % 32);
    rig_open(&r, &kernels_cuda, &o);
    rig_step_begin(&t, ROWS, 1, 63);
    rig_add(&t, tokens, 0, ROWS, pages, true);
    sample_rows_make(t.sample, ROWS, tokens);
    t.s.mask = mask; /* the second mask allows nothing */
    t.s.n_masks = 2;
    for (int order = 0; order < 3; order++) {
        emulator_set(orders[order]);
        rig_run(&r, &t, 0, 1, &result);
        for (int32_t i = 0; i < ROWS; i++) {
            struct sample_result expected;
            const uint32_t *allowed = t.sample[i].mask < 0 ? NULL : mask + t.sample[i].mask * WORDS;
            sample_logits(&expected, result.logits + i * VOCABULARY, VOCABULARY, &t.sample[i],
                          allowed, &scratch);
            sample_compare(&result.sampled[i], &expected);
        }
    }
    rig_step_end(&t);
    rig_close(&r);
    free(mask);
    free(tokens);
    free(scratch.weight);
    free(scratch.id);
}

/* Every place that launches a kernel has launched it, in every instance of its templates. */
static void every_kernel_was_executed(void **state)
{
    (void)state;
    const struct emulator_kernel *kernels;
    if (cuda_backend_get() != &host_backend) skip();
    size_t n = emulator_kernels(&kernels), n_idle = 0;
    for (size_t i = 0; i < n; i++) {
        printf("# %6lld launches %8lld blocks  %s\n", (long long)kernels[i].n_launches,
               (long long)kernels[i].n_blocks, kernels[i].place);
        n_idle += kernels[i].n_launches == 0;
    }
    assert_true(n > 30);
    assert_int_equal(n_idle, 0);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    backend_choose();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_in_fp32),
        cmocka_unit_test(long_contexts),
        cmocka_unit_test(rows_of_many_warps),
        cmocka_unit_test(operations_on_tensor_cores),
        cmocka_unit_test(operations_with_a_library),
        cmocka_unit_test(operations_on_warpgroups),
        cmocka_unit_test(many_rows_on_warpgroups),
        cmocka_unit_test(wide_heads),
        cmocka_unit_test(whole_models),
        cmocka_unit_test(slot_takes_what_was_sampled),
        cmocka_unit_test(forced_routes_are_taken),
        cmocka_unit_test(nan_stays_in_its_sequence),
        cmocka_unit_test(samples_as_the_host_does),
        cmocka_unit_test(every_kernel_was_executed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
