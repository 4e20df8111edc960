/* Each attention kernel of the CUDA backend alone, over pages in no order, against a softmax in double
 * over the same codes. With DBRX_CUDA_TEST=gpu the kernels run on the GPU that this build was made for. */
#include "base/error.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/format.h"
#include "tests/cuda/alone.h"
#include "tests/cuda/emulator.h"

enum { SEQUENCES = 4, ROWS_MAX = 160, PAGES_MAX = 40 };

/* Sequences of given length whose last rows are in the step, some rows of padding between. */
struct problem {
    enum kv_type kv;
    int32_t heads, kv_heads, head_dim;
    int32_t length[SEQUENCES], rows[SEQUENCES]; /* rows 0: the sequence is not in the step */
    int32_t queries;                            /* of a tile, as the host cuts them */
};

struct arrays {
    int32_t n_rows, n_tiles, chunks;
    int32_t position[ROWS_MAX], seq[ROWS_MAX], tile[ROWS_MAX][2];
    int32_t page_table[SEQUENCES][PAGES_MAX];
    float *q;
    unsigned char *pool;
    size_t page_bytes, pool_bytes;
};

/* Two layers, of which the second is attended to: a page is [layer][K|V][kv_head][16][head_dim]. */
static size_t element_at(const struct problem *p, const struct arrays *a, int32_t seq, int32_t at,
                         int which, int32_t head)
{
    size_t page = (size_t)a->page_table[seq][at / KV_PAGE_TOKENS];
    size_t block = (size_t)((2 + which) * p->kv_heads + head);
    size_t element = (block * KV_PAGE_TOKENS + (size_t)(at % KV_PAGE_TOKENS)) * (size_t)p->head_dim;
    return page * a->page_bytes + element * (p->kv == KV_BF16 ? 2 : 1);
}

static double kv_meaning(const struct problem *p, const struct arrays *a, size_t at, int32_t d)
{
    uint16_t half;
    if (p->kv == KV_E4M3) return (double)e4m3_value(a->pool[at + (size_t)d]) / 32;
    memcpy(&half, a->pool + at + 2 * (size_t)d, 2);
    return (double)bf16_value(half);
}

static float spread(uint64_t key, uint64_t i) { return (float)(4 * random_unit(key, i) - 2); }

/* NaN everywhere but where a position was written. */
static void pool_make(const struct problem *p, struct arrays *a)
{
    int32_t taken = 0;
    size_t element = p->kv == KV_BF16 ? 2 : 1;
    a->page_bytes = 4 * (size_t)(p->kv_heads * KV_PAGE_TOKENS * p->head_dim) * element;
    a->pool_bytes = a->page_bytes * SEQUENCES * PAGES_MAX;
    a->pool = malloc(a->pool_bytes);
    memset(a->pool, 0xFF, a->pool_bytes);
    for (int32_t i = 0; i < PAGES_MAX; i++)
        for (int32_t s = 0; s < SEQUENCES; s++) a->page_table[s][i] = taken++ * 7 % 160;
    for (int32_t s = 0; s < SEQUENCES; s++)
        for (int32_t at = 0; at < p->length[s]; at++)
            for (int32_t head = 0; head < 2 * p->kv_heads; head++) {
                size_t to = element_at(p, a, s, at, head % 2, head / 2);
                for (int32_t d = 0; d < p->head_dim; d++) {
                    float v = spread(17, to + (size_t)d * element);
                    uint16_t half = bf16_from(v);
                    if (p->kv == KV_BF16) memcpy(a->pool + to + 2 * (size_t)d, &half, 2);
                    if (p->kv == KV_E4M3) a->pool[to + (size_t)d] = e4m3_from(v * 32);
                }
            }
}

static void rows_make(const struct problem *p, struct arrays *a)
{
    int32_t packed = p->heads / p->kv_heads < 8 ? p->heads / p->kv_heads : 8, longest = 0;
    for (int32_t s = 0; s < SEQUENCES; s++) {
        for (int32_t i = 0; i < p->rows[s]; i++) {
            int32_t row = a->n_rows++;
            a->position[row] = p->length[s] - p->rows[s] + i;
            a->seq[row] = s;
            if (i % (p->queries / packed) == 0) a->tile[a->n_tiles++][0] = row;
            a->tile[a->n_tiles - 1][1]++;
        }
        if (p->rows[s] > 0 && p->length[s] > longest) longest = p->length[s];
        if (s % 2 == 0) a->seq[a->n_rows++] = -1;
    }
    a->chunks = (longest + ATTENTION_CHUNK - 1) / ATTENTION_CHUNK;
    size_t n = (size_t)(a->n_rows * p->heads * p->head_dim);
    a->q = calloc(n, sizeof *a->q);
    for (size_t i = 0; i < n; i++) a->q[i] = spread(5, i);
}

static void expected_row(const struct problem *p, const struct arrays *a, int32_t row, int32_t head,
                         double *out)
{
    const float *q = a->q + ((size_t)row * (size_t)p->heads + (size_t)head) * (size_t)p->head_dim;
    int32_t kv_head = head / (p->heads / p->kv_heads), n = a->position[row] + 1;
    double *share = calloc((size_t)n, sizeof *share), most = -INFINITY, total = 0;
    for (int32_t at = 0; at < n; at++) {
        size_t k = element_at(p, a, a->seq[row], at, 0, kv_head);
        for (int32_t d = 0; d < p->head_dim; d++)
            share[at] += (double)q[d] * kv_meaning(p, a, k, d) / sqrt(p->head_dim);
        most = fmax(most, share[at]);
    }
    for (int32_t at = 0; at < n; at++) total += share[at] = exp(share[at] - most);
    for (int32_t at = 0; at < n; at++)
        for (int32_t d = 0; d < p->head_dim; d++)
            out[d] += share[at] / total *
                      kv_meaning(p, a, element_at(p, a, a->seq[row], at, 1, kv_head), d);
    free(share);
}

enum { LIVE, POSITION, SEQ, TILE, TABLE, QUERY, POOL, OUT, PART, N_HELD };

/* What the kernel makes of it, [rows][heads * head_dim]; NaN where it wrote nothing. */
static float *attended(const struct problem *p, const struct arrays *a,
                       void (*kernel)(const struct cuda_attention *, void *))
{
    size_t width = (size_t)(p->heads * p->head_dim), n = (size_t)a->n_rows * width;
    size_t parts = (size_t)(a->n_rows * p->heads * 3 * (p->head_dim + 2));
    float *out = malloc((parts > n ? parts : n) * sizeof *out);
    memset(out, 0xFF, (parts > n ? parts : n) * sizeof *out);
    void *held[N_HELD] = {[POSITION] = alone_there(a->position, sizeof a->position),
                          [SEQ] = alone_there(a->seq, sizeof a->seq),
                          [TILE] = alone_there(a->tile, sizeof a->tile),
                          [TABLE] = alone_there(a->page_table, sizeof a->page_table),
                          [QUERY] = alone_there(a->q, n * sizeof *a->q),
                          [POOL] = alone_there(a->pool, a->pool_bytes),
                          [OUT] = alone_there(out, n * sizeof *out),
                          [PART] = alone_there(out, parts * sizeof *out)};
    struct cuda_live live = {.n_rows = a->n_rows,
                             .pages_max = PAGES_MAX,
                             .n_tiles = a->n_tiles,
                             .chunks = a->chunks,
                             .position = held[POSITION],
                             .seq = held[SEQ],
                             .tile = held[TILE],
                             .page_table = held[TABLE]};
    held[LIVE] = alone_there(&live, sizeof live);
    struct cuda_attention arguments = {
        .live = held[LIVE],
        .q = held[QUERY],
        .pool = {held[POOL], (int64_t)a->page_bytes, p->kv, p->kv_heads, p->head_dim},
        .out = {.f32 = held[OUT], .stride = (int64_t)width},
        .part = held[PART],
        .layer = 1,
        .heads = p->heads,
        .rows_bound = a->n_rows,
        .tiles_bound = a->n_tiles,
        .blocks = 5,
        .chunks_max = 3,
        .factor = 1 / sqrtf((float)p->head_dim)};
    kernel(&arguments, alone.stream);
    alone_result(out, held[OUT], n * sizeof *out);
    for (int i = 0; i < N_HELD; i++) alone.run->give(held[i]);
    return out;
}

/* Largest difference of a row that is none of padding; values are up to 2. */
static double apart(const struct problem *p, const struct arrays *a, const float *found)
{
    double by = 0;
    size_t width = (size_t)p->head_dim;
    for (int32_t row = 0; row < a->n_rows; row++)
        for (int32_t head = 0; head < p->heads && a->seq[row] >= 0; head++) {
            double expected[128] = {0};
            expected_row(p, a, row, head, expected);
            for (size_t d = 0; d < width; d++) {
                size_t at = ((size_t)row * (size_t)p->heads + (size_t)head) * width + d;
                double difference = fabs((double)found[at] - expected[d]);
                if (!isnan(by) && !(difference <= by)) by = difference;
            }
        }
    return by;
}

/* Bounds. fp32, and two fp16 for one value: sums of 600 values. One fp16: weights of positions and q are
 * rounded to 2^-12 of themselves, values are up to 2 and scores a few units, and errors of many
 * positions cancel. */
static void problem_check(const struct problem *p, bool few, bool wide)
{
    struct arrays a = {0};
    pool_make(p, &a);
    rows_make(p, &a);
    void (*const tensor)(const struct cuda_attention *, void *) =
        few    ? alone.launch->attention_rows
        : wide ? alone.launch->attention_wide
               : alone.launch->attention_tiles;
    for (int order = 0; order < 3; order++) {
        emulator_set((struct emulator_options){(enum emulator_order)order, 3, order > 0});
        float *found = attended(p, &a, tensor);
        double by = apart(p, &a, found);
        if (!(by < (few ? 1e-5 : 1e-3)))
            fail_msg("kv %d, head_dim %d, order %d: %g", p->kv, p->head_dim, order, by);
        free(found);
    }
    float *exact = attended(p, &a, alone.launch->attention);
    assert_true(apart(p, &a, exact) < 1e-5);
    free(exact);
    free(a.q);
    free(a.pool);
}

/* Group sizes one, six, eight and ten; one row, rows cut into tiles, contexts that end within a page, on
 * a page and on a chunk. */
static void few_rows(void **state)
{
    static const struct problem problems[] = {
        {KV_BF16, 6, 1, 128, {1, 16, 256, 300}, {1, 1, 2, 5}, CUDA_COLUMNS},
        {KV_E4M3, 12, 2, 128, {257, 600, 9, 512}, {3, 1, 9, 1}, CUDA_COLUMNS},
        {KV_E4M3, 10, 1, 64, {270, 33, 0, 0}, {20, 2, 0, 0}, CUDA_COLUMNS},
        {KV_BF16, 8, 1, 64, {31, 600, 0, 0}, {7, 1, 0, 0}, CUDA_COLUMNS},
        {KV_BF16, 2, 2, 16, {260, 0, 17, 0}, {30, 0, 17, 0}, CUDA_COLUMNS},
        {KV_E4M3, 4, 2, 32, {300, 0, 20, 0}, {13, 0, 20, 0}, CUDA_COLUMNS},
        {KV_E4M3, 4, 2, 16, {300, 0, 20, 0}, {13, 0, 20, 0}, CUDA_COLUMNS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        problem_check(&problems[i], true, false);
}

static void many_rows(void **state)
{
    static const struct problem problems[] = {
        {KV_BF16, 6, 1, 128, {1, 64, 300, 600}, {1, 30, 22, 3}, CUDA_QUERIES},
        {KV_E4M3, 12, 2, 128, {65, 257, 9, 0}, {65, 3, 9, 0}, CUDA_QUERIES},
        {KV_E4M3, 10, 1, 64, {270, 33, 0, 0}, {40, 33, 0, 0}, CUDA_QUERIES},
        {KV_BF16, 3, 1, 16, {100, 0, 17, 0}, {100, 0, 17, 0}, CUDA_QUERIES},
        {KV_E4M3, 4, 2, 32, {80, 0, 20, 0}, {70, 0, 20, 0}, CUDA_QUERIES},
    };
    (void)state;
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        problem_check(&problems[i], false, false);
}

/* By warpgroups: one tile of positions, several rounds through the stages, contexts that end within one, on
 * one, and queries that fill one warpgroup, or both. */
static void many_rows_by_warpgroups(void **state)
{
    static const struct problem problems[] = {
        {KV_BF16, 6, 1, 128, {1, 64, 300, 600}, {1, 30, 22, 3}, CUDA_QUERIES},
        {KV_E4M3, 12, 2, 128, {65, 257, 9, 0}, {65, 3, 9, 0}, CUDA_QUERIES},
        {KV_E4M3, 10, 1, 128, {128, 20, 0, 0}, {40, 20, 0, 0}, CUDA_QUERIES},
        {KV_BF16, 3, 1, 128, {100, 0, 17, 0}, {100, 0, 17, 0}, CUDA_QUERIES},
    };
    (void)state;
    if (!alone.hopper) skip();
    for (size_t i = 0; i < sizeof problems / sizeof *problems; i++)
        problem_check(&problems[i], false, true);
}

/* E4M3 has a code for NaN that would pass for 480: one in K, one in V, reach every row of the sequence
 * that may see them, and no other sequence. */
static void nan_in_a_page_is_seen(void **state)
{
    static const struct problem p = {KV_E4M3,      6,           1, 64, {40, 40, 40, 0},
                                     {4, 4, 4, 0}, CUDA_COLUMNS};
    (void)state;
    struct arrays a = {0};
    pool_make(&p, &a);
    rows_make(&p, &a);
    a.pool[element_at(&p, &a, 0, 21, 0, 0) + 37] = 0x7F;
    a.pool[element_at(&p, &a, 2, 3, 1, 0) + 11] = 0xFF;
    for (int few = 0; few < 2; few++) {
        float *found =
            attended(&p, &a, few ? alone.launch->attention_rows : alone.launch->attention_tiles);
        for (int32_t row = 0; row < a.n_rows; row++)
            for (int32_t i = 0; i < 6 * 64 && a.seq[row] >= 0; i++) {
                bool nan = a.seq[row] == 0 || (a.seq[row] == 2 && i % 64 == 11);
                assert_int_equal(isnan(found[row * 6 * 64 + i]), nan);
            }
        free(found);
    }
    free(a.q);
    free(a.pool);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    if (alone_open() != 0) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_rows),
        cmocka_unit_test(many_rows),
        cmocka_unit_test(many_rows_by_warpgroups),
        cmocka_unit_test(nan_in_a_page_is_seen),
    };
    return alone_close(cmocka_run_group_tests(tests, NULL, NULL));
}
