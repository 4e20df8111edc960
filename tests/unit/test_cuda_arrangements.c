/* The same work in other arrangements on the CUDA backend: which differences in rows per step, company,
 * pages, slices and layers leave every bit as it is, by default and with one family of kernels. */
#include "tests/unit/support/rig.h"

#include "kernels/cuda/cuda.h"
#include "tests/cuda/backend_choice.h"
#include "tests/cuda/emulator.h"

static const struct emulator_options orders[] = {
    {EMULATOR_FORWARD, 0, false},
    {EMULATOR_REVERSE, 0, true},
    {EMULATOR_RANDOM, 7, true},
};

/* The same work in another arrangement: rows at once, order of pages, company, slices, layers. */
struct arrangement {
    const char *name;
    int32_t rows;
    bool pages_backward, with_company, by_layers;
};

enum { TEXT_TOKENS = 300, COMPANY = 3 };

static float *arranged(struct rig *r, const struct arrangement *a, const int32_t *tokens)
{
    size_t row = (size_t)r->o.shape.vocab_size, skip = a->with_company ? row : 0;
    float *out = calloc(TEXT_TOKENS * row, sizeof *out);
    int32_t pages[21], layers = r->o.shape.n_layers;
    struct step_result result;
    for (int32_t i = 0; i < 21; i++) pages[i] = a->pages_backward ? 20 - i : i;
    for (int32_t at = 0; at < TEXT_TOKENS; at += a->rows) {
        int32_t n = TEXT_TOKENS - at < a->rows ? TEXT_TOKENS - at : a->rows;
        struct rig_step t, other;
        rig_step_begin(&t, n + 2 * COMPANY, 3, 19);
        if (a->with_company) {
            rig_add(&t, tokens + 7, 0, COMPANY, pages + 19, false);
            rig_add_padding(&t, 1);
        }
        rig_add(&t, tokens, at, n, pages, true);
        if (a->with_company) rig_add_padding(&t, COMPANY - 1);
        rig_step_begin(&other, COMPANY, 1, 1);
        rig_add(&other, tokens + 3, 0, COMPANY, pages + 20, false);
        other.s.slice = 1;
        for (int32_t l = 0; l < layers && a->by_layers; l++) {
            rig_run(r, &t, l, l + 1, &result);
            if (l + 1 < layers) rig_run(r, &other, 0, layers, &result);
        }
        if (!a->by_layers) rig_run(r, &t, 0, layers, &result);
        memcpy(out + (size_t)at * row, result.logits + skip, (size_t)n * row * sizeof *out);
        rig_step_end(&t);
        rig_step_end(&other);
    }
    return out;
}

static void arrangements_compare(struct rig_options o, bool deterministic,
                                 const struct arrangement *all, size_t n)
{
    struct rig r;
    int32_t *tokens = rig_tokens(TEXT_TOKENS + 20, o.shape.vocab_size, 9);
    size_t size = (size_t)TEXT_TOKENS * (size_t)o.shape.vocab_size * sizeof(float);
    float *expected = NULL;
    o.rows_max = TEXT_TOKENS + 2 * COMPANY;
    o.slices_max = 2;
    o.deterministic = deterministic;
    for (size_t i = 0; i < n; i++) {
        emulator_set(orders[i % 3]);
        rig_open(&r, &kernels_cuda, &o);
        float *found = arranged(&r, &all[i], tokens);
        if (!expected) {
            expected = found;
        } else {
            if (memcmp(found, expected, size) != 0) fail_msg("%s: not the same bits", all[i].name);
            free(found);
        }
        rig_close(&r);
    }
    free(expected);
    free(tokens);
}

/* Within one regime: fp32 has the vector kernels alone, and attention folds its chunks in one way
 * whether blocks share them or not. */
static void same_bits_in_any_arrangement(void **state)
{
    static const struct arrangement exact[] = {
        {"all at once", 300, false, false, false},
        {"by sevens", 7, true, false, false},
        {"by 40, company", 40, false, true, false},
        {"layer by layer, company", 100, true, true, true},
    };
    static const struct arrangement narrow[] = {
        {"by 64", 60, false, false, false},
        {"by fives", 5, true, false, false},
        {"one by one", 1, true, false, false},
        {"by 20, company, layer by layer", 20, true, true, true},
    };
    (void)state;
    struct rig_options o = rig_defaults();
    o.format = WEIGHT_BF16;
    o.kv = KV_E4M3;
    arrangements_compare(o, false, exact, sizeof exact / sizeof *exact);
    o.shape.activations = ACTIVATION_E4M3;
    o.format = WEIGHT_FP8_ROW;
    arrangements_compare(o, false, narrow, sizeof narrow / sizeof *narrow);
}

/* Deterministic: any numbers of rows, also beyond what other regimes would begin at, in parts of 64
 * that sequences and padding cut across. */
static void one_family_has_the_same_bits_everywhere(void **state)
{
    static const struct arrangement all[] = {
        {"all at once", 300, false, false, false},
        {"by 130, company, layer by layer", 130, true, true, true},
        {"by 65, company", 65, true, true, false},
        {"one by one", 1, false, false, false},
    };
    (void)state;
    struct rig_options o = rig_defaults();
    o.format = WEIGHT_FP8_ROW;
    o.shape.activations = ACTIVATION_E4M3;
    o.kv = KV_E4M3;
    arrangements_compare(o, true, all, sizeof all / sizeof *all);
    o.format = WEIGHT_INT4_G128;
    o.shape.activations = ACTIVATION_BF16;
    o.kv = KV_BF16;
    arrangements_compare(o, true, all + 1, 2);
}

/* By default many rows go through other kernels than few, which keep fewer bits of queries and weights
 * of positions. What that may change is bounded as a share of the largest logit (README.md): the id
 * chosen can only differ where the two best are closer than twice the bound. All experts are taken: a
 * choice that falls to the other side is a difference of its own. */
static void regimes_differ_within_a_bound(void **state)
{
    static const struct arrangement many = {"all at once", 300, false, false, false},
                                    few = {"by 50", 50, true, false, false};
    static const struct {
        enum weight_format format;
        enum activation_type activations;
        enum kv_type kv;
        double bound, bound_mean;
    } cases[] = {{WEIGHT_BF16, ACTIVATION_BF16, KV_BF16, 1.0 / 8, 1.0 / 64},
                 {WEIGHT_FP8_ROW, ACTIVATION_E4M3, KV_E4M3, 1.0 / 2, 3.0 / 32}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct rig_options o = rig_defaults();
        struct rig r;
        double sum = 0;
        o.format = cases[c].format;
        o.shape.activations = cases[c].activations;
        o.kv = cases[c].kv;
        o.shape.moe_num_experts = o.shape.moe_top_k;
        o.rows_max = TEXT_TOKENS + 2 * COMPANY;
        o.slices_max = 2;
        int32_t vocab = o.shape.vocab_size, *tokens = rig_tokens(TEXT_TOKENS + 20, vocab, 9);
        emulator_set(orders[0]);
        rig_open(&r, &kernels_cuda, &o);
        float *a = arranged(&r, &many, tokens), *b = arranged(&r, &few, tokens);
        assert_memory_not_equal(a, b, TEXT_TOKENS * (size_t)vocab * sizeof *a);
        for (int32_t row = 0; row < TEXT_TOKENS; row++) {
            double apart = rig_difference(a + row * vocab, b + row * vocab, (size_t)vocab);
            if (!(apart < cases[c].bound)) fail_msg("case %zu, row %d: %g", c, row, apart);
            sum += apart;
        }
        double mean = sum / TEXT_TOKENS;
        if (!(mean < cases[c].bound_mean)) fail_msg("case %zu: mean %g", c, mean);
        free(a);
        free(b);
        free(tokens);
        rig_close(&r);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    backend_choose();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_in_any_arrangement),
        cmocka_unit_test(one_family_has_the_same_bits_everywhere),
        cmocka_unit_test(regimes_differ_within_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
