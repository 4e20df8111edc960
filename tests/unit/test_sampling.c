/* Sampling against distributions worked out by hand. Frequencies come from 20,000 draws: four
 * standard deviations are at most 4 * sqrt(0.25 / 20000) = 0.0142. */
#include "kernels/sampling.h"

#include <math.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { VOCAB = 8, DRAWS = 20000 };
#define SLACK 0.0142

/* Probabilities 0.4, 0.2, 0.2, 0.1, 0.05, 0.03, 0.015, 0.005 in another order than of size. */
static const double share[VOCAB] = {0.05, 0.2, 0.4, 0.015, 0.1, 0.2, 0.005, 0.03};

static void logits_make(float *out)
{
    for (int i = 0; i < VOCAB; i++) out[i] = (float)(log(share[i]) + 3); /* any constant */
}

static struct sample_result once(const float *logits, int32_t n, struct sample_row row,
                                 const uint32_t *mask)
{
    float *shares = calloc((size_t)n, sizeof *shares);
    int32_t *id = calloc((size_t)n, sizeof *id);
    struct sample_scratch scratch = {shares, id};
    struct sample_result result;
    sample_logits(&result, logits, n, &row, mask, &scratch);
    free(shares);
    free(id);
    return result;
}

static struct sample_row plain(void)
{
    return (struct sample_row){
        .temperature = 1, .top_p = 1, .repetition_penalty = 1, .mask = -1, .seed = 42};
}

static void frequencies(double out[VOCAB], struct sample_row row, const uint32_t *mask)
{
    float logits[VOCAB];
    logits_make(logits);
    for (int i = 0; i < VOCAB; i++) out[i] = 0;
    for (uint64_t i = 0; i < DRAWS; i++) {
        row.index = i;
        out[once(logits, VOCAB, row, mask).id] += 1.0 / DRAWS;
    }
}

static void check(struct sample_row row, const uint32_t *mask, const double expected[VOCAB])
{
    double found[VOCAB];
    frequencies(found, row, mask);
    for (int i = 0; i < VOCAB; i++) {
        if (expected[i] <= 0) assert_true(found[i] <= 0);
        if (!(fabs(found[i] - expected[i]) < SLACK))
            fail_msg("id %d: %.4f, expected %.4f", i, found[i], expected[i]);
    }
}

static void temperature_one_is_the_softmax(void **state)
{
    (void)state;
    check(plain(), NULL, share);
}

static void temperature_half_squares(void **state)
{
    /* squares of the shares over their sum, 0.25365 */
    double expected[VOCAB], sum = 0;
    struct sample_row row = plain();
    (void)state;
    for (int i = 0; i < VOCAB; i++) sum += share[i] * share[i];
    assert_true(fabs(sum - 0.25365) < 1e-9);
    for (int i = 0; i < VOCAB; i++) expected[i] = share[i] * share[i] / sum;
    row.temperature = 0.5f;
    check(row, NULL, expected);
}

static void filters(void **state)
{
    (void)state;
    struct sample_row row = plain();
    row.top_k = 2; /* 0.4 and the first of the two 0.2 */
    check(row, NULL, (const double[VOCAB]){0, 1 / 3.0, 2 / 3.0, 0, 0, 0, 0, 0});
    row = plain();
    row.top_p = 0.7f; /* 0.4 + 0.2 is short of it, so both of 0.2 are in: over 0.8 */
    check(row, NULL, (const double[VOCAB]){0, 0.25, 0.5, 0, 0, 0.25, 0, 0});
    row = plain();
    row.min_p = 0.2f; /* at least 0.08: 0.4, 0.2, 0.2, 0.1, over 0.9 */
    check(row, NULL, (const double[VOCAB]){0, 2 / 9.0, 4 / 9.0, 0, 1 / 9.0, 2 / 9.0, 0, 0});
    row = plain();
    row.top_k = 4;    /* leaves 0.9 in all; the nucleus is of what is left */
    row.top_p = 0.6f; /* 0.4 / 0.9 is 0.44, with 0.2 / 0.9 it is 0.67 */
    check(row, NULL, (const double[VOCAB]){0, 1 / 3.0, 2 / 3.0, 0, 0, 0, 0, 0});
    row = plain();
    row.top_p = 1e-6f; /* the best one always stays */
    check(row, NULL, (const double[VOCAB]){0, 0, 1, 0, 0, 0, 0, 0});
}

static void masks(void **state)
{
    (void)state;
    uint32_t mask = 1u << 0 | 1u << 4 | 1u << 7; /* 0.05, 0.1, 0.03 over 0.18 */
    struct sample_row row = plain();
    check(row, &mask, (const double[VOCAB]){5 / 18.0, 0, 0, 0, 10 / 18.0, 0, 0, 3 / 18.0});
    float logits[VOCAB];
    logits_make(logits);
    row.temperature = 0;
    assert_int_equal(once(logits, VOCAB, row, &mask).id, 4);
    /* log-probabilities are those of the distribution without the mask */
    assert_true(fabs((double)once(logits, VOCAB, row, &mask).logprob - log(0.1)) < 1e-6);
    mask = 0;
    assert_int_equal(once(logits, VOCAB, row, &mask).id, -1);
    row.temperature = 1;
    assert_int_equal(once(logits, VOCAB, row, &mask).id, -1);
}

static void penalty_counts_once(void **state)
{
    (void)state;
    const float logits[] = {2.0f, 1.9f, -1.0f, -1.5f};
    const int32_t history[] = {0, 0, 0, 99, -1};
    struct sample_row row = plain();
    row.temperature = 0;
    row.repetition_penalty = 1.04f; /* once: 2 / 1.04 = 1.923; twice would be 1.849 */
    row.history = history;
    row.n_history = 5;
    assert_int_equal(once(logits, 4, row, NULL).id, 0);
    row.repetition_penalty = 1.06f; /* 1.887 */
    assert_int_equal(once(logits, 4, row, NULL).id, 1);
    const uint32_t negative = 1u << 2 | 1u << 3;
    const int32_t third[] = {2};
    row.history = third;
    row.n_history = 1;
    row.repetition_penalty = 1.6f; /* a negative logit is multiplied: -1.6 */
    assert_int_equal(once(logits, 4, row, &negative).id, 3);
}

static void greedy_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    const float logits[] = {1, 7, 3, 7, 7};
    struct sample_row row = plain();
    row.temperature = 0;
    assert_int_equal(once(logits, 5, row, NULL).id, 1);
}

static void logprobs_are_ordered_and_exact(void **state)
{
    (void)state;
    float logits[VOCAB];
    struct sample_row row = plain();
    const int32_t order[] = {2, 1, 5, 4, 0};
    logits_make(logits);
    row.n_logprobs = 5;
    struct sample_result r = once(logits, VOCAB, row, NULL);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(r.top_id[i], order[i]);
        assert_true(fabs((double)r.top_logprob[i] - log(share[order[i]])) < 1e-6);
    }
    assert_true(fabs((double)r.logprob - log(share[r.id])) < 1e-6);
    assert_int_equal(r.top_id[5], -1);
    row.n_logprobs = 20; /* more than there are */
    r = once(logits, VOCAB, row, NULL);
    assert_int_equal(r.top_id[7], 6);
    assert_int_equal(r.top_id[8], -1);
}

static void numbers_that_are_none(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    struct sample_row row = plain();
    for (int i = 0; i < 3; i++) {
        float logits[VOCAB];
        logits_make(logits);
        logits[5] = bad[i];
        assert_true(once(logits, VOCAB, row, NULL).nan);
        row.temperature = 0;
        assert_true(once(logits, VOCAB, row, NULL).nan);
    }
    const float large[] = {3e38f, -3e38f, 3e38f}; /* finite: no fault */
    assert_false(once(large, 3, row, NULL).nan);
}

/* The noise of an id depends on seed, index and id alone: ids that a filter removes leave the
 * others' order untouched. */
static void noise_belongs_to_the_id(void **state)
{
    (void)state;
    float logits[VOCAB];
    logits_make(logits);
    int agree = 0, inside = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        struct sample_row row = plain();
        row.index = i;
        int32_t whole = once(logits, VOCAB, row, NULL).id;
        assert_int_equal(once(logits, VOCAB, row, NULL).id, whole);
        row.top_k = 3;
        int32_t kept = once(logits, VOCAB, row, NULL).id;
        if (whole != 1 && whole != 2 && whole != 5) continue;
        inside++;
        agree += kept == whole;
    }
    assert_true(inside > 1000);
    assert_int_equal(agree, inside);
}

/* A real vocabulary's size: the filters against a plain sort. */
static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

static void large_vocabulary(void **state)
{
    enum { MANY = 100352 };
    (void)state;
    float *logits = calloc(MANY, sizeof *logits), *sorted = calloc(MANY, sizeof *sorted);
    for (uint32_t i = 0; i < MANY; i++)
        logits[i] = sorted[i] = (float)((i * 2654435761u) >> 8) * (12.0f / 16777216.0f);
    qsort(sorted, MANY, sizeof *sorted, by_size);
    struct sample_row row = plain();
    for (uint64_t i = 0; i < 40; i++) {
        row.index = i;
        row.top_k = 50;
        assert_true(logits[once(logits, MANY, row, NULL).id] >= sorted[49]);
        row.top_k = 0;
        row.top_p = 0.01f;
        double sum = 0, kept = 0;
        for (int j = 0; j < MANY; j++) sum += exp((double)sorted[j]);
        int n = 0;
        while (kept < (double)row.top_p * sum) kept += exp((double)sorted[n++]);
        assert_true(logits[once(logits, MANY, row, NULL).id] >= sorted[n]);
        row.top_p = 1;
    }
    free(logits);
    free(sorted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_one_is_the_softmax),
        cmocka_unit_test(temperature_half_squares),
        cmocka_unit_test(filters),
        cmocka_unit_test(masks),
        cmocka_unit_test(penalty_counts_once),
        cmocka_unit_test(greedy_takes_the_lowest_of_equals),
        cmocka_unit_test(logprobs_are_ordered_and_exact),
        cmocka_unit_test(numbers_that_are_none),
        cmocka_unit_test(noise_belongs_to_the_id),
        cmocka_unit_test(large_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
