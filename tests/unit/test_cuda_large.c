/* Offsets beyond 4 GiB: matrices whose rows lie 64 MiB apart, and a pool of KV pages of 5 GiB, most of
 * which nobody ever touches, give the same bits as small ones. The emulated device's memory is sparse,
 * so this takes some MiB; on a GPU (DBRX_CUDA_TEST=gpu) it takes the whole. */
#include "tests/unit/support/rig.h"

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "kernels/format.h"
#include "tests/cuda/backend_choice.h"
#include "tests/cuda/emulator.h"

enum { N = 96, K = 128, ROWS_MAX = 70 };
#define APART ((int64_t)64 << 20) /* 96 rows: 6 GiB */

static const struct cuda_backend *backend;

static void *there(const void *host, size_t bytes)
{
    void *at = NULL;
    assert_int_equal(backend->runtime->take(&at, bytes), 0);
    if (host) assert_int_equal(backend->runtime->copy(at, host, bytes, NULL), 0);
    assert_int_equal(backend->runtime->wait(NULL), 0);
    return at;
}

/* The codes of row r, whatever their format: random bits that are no NaN. */
static void row_make(unsigned char *row, enum weight_format format, int64_t r)
{
    size_t bytes = format_row_bytes(format, K);
    for (size_t i = 0; i < bytes; i++) {
        row[i] = (unsigned char)random_at(3, (uint64_t)r * 1024 + i);
        if (format == WEIGHT_FP8_ROW && (row[i] & 0x7F) == 0x7F) row[i] ^= 1;
    }
    for (int i = 0; i < K && format == WEIGHT_BF16; i++) {
        uint16_t half = bf16_from((float)random_unit(4, (uint64_t)(r * K + i)) - 0.5f);
        memcpy(row + 2 * i, &half, sizeof half);
    }
    for (int i = 0; i < K && format == WEIGHT_F32; i++) {
        float v = (float)random_unit(5, (uint64_t)(r * K + i)) - 0.5f;
        memcpy(row + 4 * i, &v, sizeof v);
    }
}

/* Rows `row_bytes` apart, from a zeroed start so that what lies between stays untouched. */
static void *matrix_there(enum weight_format format, int64_t row_bytes)
{
    unsigned char row[4 * K];
    size_t bytes = format_row_bytes(format, K);
    unsigned char *at = there(NULL, (size_t)(N * row_bytes));
    for (int64_t r = 0; r < N; r++) {
        row_make(row, format, r);
        assert_int_equal(backend->runtime->copy(at + r * row_bytes, row, bytes, NULL), 0);
        assert_int_equal(backend->runtime->wait(NULL), 0);
    }
    return at;
}

/* out[entry][i] of one product by one launcher, freed by the caller. */
static float *product_run(void (*launcher)(const struct cuda_product *, void *),
                          enum weight_format format, int64_t row_bytes, int32_t n_rows,
                          const struct cuda_operand *x, const void *scales)
{
    size_t bytes = (size_t)n_rows * N * sizeof(float);
    float *out = malloc(bytes);
    void *codes = matrix_there(format, row_bytes), *to = there(NULL, bytes);
    const int32_t live[] = {n_rows};
    void *n_live = there(live, sizeof live);
    struct cuda_product p = {.w = {codes, scales, row_bytes, K, format},
                             .x = *x,
                             .out = {.f32 = to, .stride = N},
                             .n_live = n_live,
                             .n_groups = 1,
                             .groups_bound = 1,
                             .n = N,
                             .rows_bound = n_rows};
    launcher(&p, NULL);
    assert_int_equal(backend->runtime->launched(), 0);
    assert_int_equal(backend->runtime->copy(out, to, bytes, NULL), 0);
    assert_int_equal(backend->runtime->wait(NULL), 0);
    backend->runtime->give(codes);
    backend->runtime->give(to);
    backend->runtime->give(n_live);
    return out;
}

static struct cuda_operand operand_there(void)
{
    static float f32[ROWS_MAX * K];
    static uint16_t halves[ROWS_MAX * K];
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        halves[i] = bf16_from((float)random_unit(6, i) - 0.5f);
        f32[i] = bf16_value(halves[i]);
    }
    return (struct cuda_operand){
        .f32 = there(f32, sizeof f32), .bf16 = there(halves, sizeof halves), .stride = K};
}

/* Scales of 1, as fp32 per row and as bf16 per group: the first two bytes of one are not the other. */
static void *scales_there(enum weight_format format)
{
    float rows[N];
    uint16_t groups[N];
    for (int i = 0; i < N; i++) {
        rows[i] = 1;
        groups[i] = bf16_from(1);
    }
    if (format == WEIGHT_INT4_G128) return there(groups, sizeof groups);
    return there(rows, sizeof rows);
}

static void rows_of_weights_far_apart(void **state)
{
    static const enum weight_format formats[] = {WEIGHT_F32, WEIGHT_BF16, WEIGHT_FP8_ROW,
                                                 WEIGHT_INT8_ROW, WEIGHT_INT4_G128};
    (void)state;
    const struct {
        void (*launcher)(const struct cuda_product *, void *);
        int32_t n_rows;
    } cases[] = {{backend->launch->product_vector, 2},
                 {backend->launch->product_mma, 9},
                 {backend->launch->product_tile, 70}};
    struct cuda_operand x = operand_there();
    for (int f = 0; f < 5; f++)
        for (int c = 0; c < 3; c++) {
            if (formats[f] == WEIGHT_F32 && c > 0) continue; /* vector kernels only */
            size_t size = (size_t)cases[c].n_rows * N * sizeof(float);
            void *scales = scales_there(formats[f]);
            float *far =
                product_run(cases[c].launcher, formats[f], APART, cases[c].n_rows, &x, scales);
            float *near =
                product_run(cases[c].launcher, formats[f], (int64_t)format_row_bytes(formats[f], K),
                            cases[c].n_rows, &x, scales);
            if (memcmp(far, near, size) != 0) fail_msg("format %d, launcher %d", formats[f], c);
            assert_true(near[N - 1] != 0);
            backend->runtime->give(scales);
            free(far);
            free(near);
        }
    backend->runtime->give(x.f32);
    backend->runtime->give(x.bf16);
}

/* The last token of a table of 6 GiB. */
static void rows_of_an_embedding_far_apart(void **state)
{
    (void)state;
    float found[2][K], expected[K];
    for (int far = 0; far < 2; far++) {
        int64_t row_bytes = far ? APART : (int64_t)format_row_bytes(WEIGHT_F32, K);
        void *codes = matrix_there(WEIGHT_F32, row_bytes), *x = there(NULL, sizeof expected);
        const int32_t token[] = {N - 1}, seq[] = {0};
        int32_t *ids = there(token, sizeof token), *of = there(seq, sizeof seq);
        struct cuda_live counts = {.n_rows = 1, .n_seqs = 1, .token = ids, .seq = of};
        struct cuda_live *live = there(&counts, sizeof counts);
        struct cuda_embed a = {.live = live,
                               .wte = {codes, NULL, row_bytes, K, WEIGHT_F32},
                               .x = x,
                               .d = K,
                               .rows_bound = 1};
        backend->launch->embed(&a, NULL);
        assert_int_equal(backend->runtime->copy(found[far], x, sizeof expected, NULL), 0);
        assert_int_equal(backend->runtime->wait(NULL), 0);
        void *all[] = {codes, x, ids, of, live};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++) backend->runtime->give(all[i]);
    }
    row_make((unsigned char *)expected, WEIGHT_F32, N - 1);
    assert_memory_equal(found[0], expected, sizeof expected);
    assert_memory_equal(found[1], expected, sizeof expected);
}

/* A prompt of 40 tokens and one more, in pages at the pool's far end or at its front. */
static float *in_pages(struct rig *r, int32_t last, int32_t step)
{
    enum { TEXT = 40 };
    int32_t *tokens = rig_tokens(TEXT + 1, r->o.shape.vocab_size, 5), pages[3];
    size_t row = (size_t)r->o.shape.vocab_size;
    float *out = calloc((TEXT + 1) * row, sizeof *out);
    for (int32_t i = 0; i < 3; i++) pages[i] = last + i * step;
    for (int32_t at = 0; at <= TEXT; at += TEXT) {
        int32_t n = at == 0 ? TEXT : 1;
        struct rig_step t;
        struct step_result result;
        rig_step_begin(&t, n, 1, 3);
        rig_add(&t, tokens, at, n, pages, true);
        rig_run(r, &t, 0, r->o.shape.n_layers, &result);
        memcpy(out + (size_t)at * row, result.logits, (size_t)n * row * sizeof *out);
        rig_step_end(&t);
    }
    free(tokens);
    return out;
}

static void pages_beyond_4_gib(void **state)
{
    (void)state;
    for (int narrow = 0; narrow < 2; narrow++) {
        struct rig r;
        struct rig_options o = rig_defaults();
        o.format = WEIGHT_BF16;
        o.kv = narrow ? KV_E4M3 : KV_BF16;
        o.shape.activations = narrow ? ACTIVATION_BF16 : ACTIVATION_F32;
        size_t page = pages_bytes(&o.shape, o.kv);
        o.n_pages = (int32_t)(((size_t)5 << 30) / page);
        rig_open(&r, &kernels_cuda, &o);
        float *near = in_pages(&r, 0, 1), *far = in_pages(&r, o.n_pages - 1, -1);
        assert_memory_equal(near, far, 41 * (size_t)o.shape.vocab_size * sizeof *near);
        /* And as whole pages, there and back. */
        unsigned char *kept = malloc(page), *back = malloc(page);
        const int32_t first[] = {0}, end[] = {o.n_pages - 1}, middle[] = {o.n_pages - 7};
        r.k->pages_save(r.kv, kept, end, 1);
        r.k->pages_copy(r.kv, middle, end, 1);
        r.k->pages_save(r.kv, back, middle, 1);
        assert_memory_equal(kept, back, page);
        r.k->pages_save(r.kv, back, first, 1);
        assert_memory_equal(kept, back, page);
        free(kept);
        free(back);
        free(near);
        free(far);
        rig_close(&r);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    backend = backend_choose();
    struct cuda_device_info info;
    if (backend->runtime->open(0, &info) != 0) return 1;
    host_runtime_sparse(true);
    host_runtime_memory((size_t)64 << 30);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_weights_far_apart),
        cmocka_unit_test(rows_of_an_embedding_far_apart),
        cmocka_unit_test(pages_beyond_4_gib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
