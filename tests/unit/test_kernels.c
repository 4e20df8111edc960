/* The CPU backend against the reference, and against itself in other arrangements of the same work. */
#include "tests/unit/support/rig.h"

#include <math.h>
#include <stdio.h>

#include "base/random.h"

static const char *const variants[] = {"portable", "avx2"};
static const enum weight_format formats[] = {WEIGHT_F32, WEIGHT_BF16, WEIGHT_FP8_ROW,
                                             WEIGHT_INT8_ROW, WEIGHT_INT4_G128};

static bool variant_exists(const char *variant)
{
    struct rig_options o = rig_defaults();
    struct device_options options = {
        .shape = o.shape, .n_threads = 1, .rows_max = 1, .seqs_max = 1, .variant = variant};
    device *d = NULL;
    error err;
    status rc = kernels_cpu.open(&d, &options, &err);
    kernels_cpu.close(d);
    return rc == OK;
}

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

static double against_reference(struct rig_options *o, int32_t n)
{
    struct rig cpu, reference;
    int32_t *tokens = tokens_make(n, o->shape.vocab_size, 5);
    rig_open(&cpu, &kernels_cpu, o);
    o->mirror = true;
    rig_open(&reference, &kernels_reference, o);
    o->mirror = false;
    float *found = rig_logits(&cpu, tokens, n), *expected = rig_logits(&reference, tokens, n);
    double apart = difference(found, expected, (size_t)n * (size_t)o->shape.vocab_size);
    free(found);
    free(expected);
    free(tokens);
    rig_close(&cpu);
    rig_close(&reference);
    return apart;
}

static void whole_model_by_format(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++)
        for (size_t f = 0; f < 5 && variant_exists(variants[v]); f++) {
            struct rig_options o = rig_defaults();
            o.variant = variants[v];
            o.format = formats[f];
            double apart = against_reference(&o, 40);
            printf("%s format %d: %.2e\n", variants[v], (int)formats[f], apart);
            assert_true(apart < 2e-5);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole_model_by_format)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
