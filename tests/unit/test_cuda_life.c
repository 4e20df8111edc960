/* The CUDA backend's host side: weights, pages, bounds, and every call of the runtime failing once. */
#include "tests/unit/support/rig.h"

#include <math.h>
#include <pthread.h>

#include "kernels/cuda/cuda.h"
#include "tests/cuda/backend_choice.h"
#include "tests/cuda/host_runtime.h"

static struct rig_options tiny(void)
{
    struct rig_options o = rig_defaults();
    o.shape.d_model = 32;
    o.shape.n_heads = 2;
    o.shape.kv_n_heads = 1;
    o.shape.n_layers = 1;
    o.shape.ffn_hidden_size = 32;
    o.shape.moe_num_experts = 3;
    o.shape.moe_top_k = 2;
    o.shape.vocab_size = 17;
    o.shape.max_seq_len = 64;
    o.rows_max = 8;
    o.kv = KV_BF16;
    o.n_pages = 4;
    return o;
}

static void pages_move_whole(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    struct memory_plan plan;
    const int32_t tokens[] = {1, 2, 3}, first[] = {2}, moves_from[] = {2, 0}, moves_to[] = {3, 2};
    const int32_t kept[] = {3};
    struct rig_step t;
    struct step_result result;
    rig_open(&r, &kernels_cuda, &o);
    rig_step_begin(&t, 3, 1, 1);
    rig_add(&t, tokens, 0, 3, first, false);
    rig_run(&r, &t, 0, 1, &result);
    rig_step_end(&t);
    assert_int_equal(r.k->plan(r.d, KV_BF16, &plan, NULL), OK);
    /* 1 layer, K and V, 1 head of 16 positions by 16 bf16 values */
    assert_int_equal(plan.kv_bytes_per_page, 1 * 2 * 1 * 16 * 16 * 2);
    assert_true(plan.workspace_bytes > 0 && plan.free_bytes > 0);
    unsigned char before[1024], after[1024];
    r.k->pages_save(r.kv, before, first, 1);
    r.k->pages_copy(r.kv, moves_to, moves_from, 2);
    r.k->pages_save(r.kv, after, kept, 1);
    assert_memory_equal(after, before, sizeof after);
    r.k->pages_save(r.kv, after, first, 1);
    assert_memory_not_equal(after, before, sizeof after);
    r.k->pages_load(r.kv, first, before, 1);
    r.k->pages_save(r.kv, after, first, 1);
    assert_memory_equal(after, before, sizeof after);
    rig_close(&r);
}

static void bad_steps_are_reported(void **state)
{
    (void)state;
    const char *words[] = {"rows", "token 17", "page 4", "slots", "mask 1", "position"};
    for (int fault = 0; fault < 6; fault++) {
        struct rig r;
        struct rig_options o = tiny();
        struct rig_step t;
        struct step_result result;
        error err = {0};
        int32_t tokens[20] = {0}, pages[5] = {0, 1, 2, 3, 3};
        if (fault == 1) tokens[0] = 17;
        if (fault == 2) pages[0] = 4;
        if (fault == 3) tokens[0] = ~0;
        rig_open(&r, &kernels_cuda, &o);
        rig_step_begin(&t, 20, 1, 5);
        rig_add(&t, tokens, 0, fault == 0 ? 9 : 3, pages, false);
        if (fault == 4) t.sample[0].mask = 1;
        if (fault == 5) t.position[0] = 4000;
        t.s.kv = r.kv;
        assert_false(r.k->step_begin(r.d, &t.s, 0, 1));
        r.k->embed(r.d, r.wte);
        r.k->attn_in(r.d, 0, &r.layer[0]);
        r.k->attention(r.d, 0);
        r.k->attn_out(r.d, 0, &r.layer[0]);
        r.k->experts(r.d, 0, &r.layer[0]);
        r.k->head(r.d, r.norm_f, r.head);
        r.k->sample(r.d);
        r.k->step_end(r.d);
        assert_int_equal(r.k->collect(r.d, &result, &err), ERR_DEVICE);
        assert_non_null(strstr(err.message, words[fault]));
        rig_step_end(&t);
        rig_close(&r);
    }
}

static void weights_that_are_wrong(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    error err = {0};
    weight *w = NULL;
    float row[64] = {0}, scales[2] = {1, 1};
    unsigned char codes[128] = {0};
    rig_open(&r, &kernels_cuda, &o);
    struct weight_spec spec = {
        .name = "w2", .format = WEIGHT_F32, .n_rows = 64, .n_columns = 64, .n_experts = 1};
    assert_int_equal(r.k->weight_begin(&w, r.d, &spec, &err), OK);
    assert_int_equal(r.k->weight_put(w, 1, 1, row, NULL, &err), ERR_USAGE);
    assert_int_equal(r.k->weight_put(w, 0, 65, row, NULL, &err), ERR_USAGE);
    assert_int_equal(r.k->weight_put(w, 0, 1, row, NULL, &err), OK);
    assert_int_equal(r.k->weight_seal(w, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "1 of 64"));
    r.k->weight_free(w);
    spec.format = WEIGHT_FP8_ROW;
    spec.n_rows = 2;
    for (int nan = 0; nan < 2; nan++) {
        codes[77] = nan ? 0xFF : 0xFE;
        assert_int_equal(r.k->weight_begin(&w, r.d, &spec, &err), OK);
        assert_int_equal(r.k->weight_put(w, 0, 2, codes, scales, &err), OK);
        assert_int_equal(r.k->weight_seal(w, &err), nan ? ERR_FORMAT : OK);
        r.k->weight_free(w);
    }
    kv_pool *kv = NULL;
    assert_int_equal(r.k->kv_open(&kv, r.d, KV_F32, 1, &err), ERR_UNSUPPORTED);
    assert_null(kv);
    rig_close(&r);
}

/* Rows larger than a staging buffer's share come in several pieces, turned or not: a tall matrix is
 * put in one call and read back by a product with unit vectors elsewhere; here its bytes are. */
static void weights_larger_than_a_stage(void **state)
{
    enum { ROWS = 5000, COLUMNS = 1056 };
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    error err = {0};
    float *values = calloc((size_t)ROWS * COLUMNS, sizeof *values);
    for (int i = 0; i < ROWS * COLUMNS; i++) values[i] = (float)i;
    rig_open(&r, &kernels_cuda, &o);
    for (int turned = 0; turned < 2; turned++) {
        weight *w = NULL;
        struct weight_spec spec = {.name = "tall",
                                   .format = WEIGHT_F32,
                                   .n_rows = ROWS,
                                   .n_columns = COLUMNS,
                                   .n_experts = 2,
                                   .transposed = turned};
        assert_int_equal(r.k->weight_begin(&w, r.d, &spec, &err), OK);
        assert_int_equal(r.k->weight_put(w, 0, ROWS, values, NULL, &err), OK);
        assert_int_equal(r.k->weight_seal(w, &err), OK);
        int64_t stride = w->matrix.row_bytes / 4;
        size_t size = (size_t)(w->n_rows * w->matrix.row_bytes);
        float *laid = malloc(size);
        assert_int_equal(r.d->run->copy(laid, w->codes, size, r.d->stream), 0);
        for (int64_t row = 0; row < ROWS; row += 7)
            for (int64_t i = 0; i < COLUMNS; i += 5) {
                int64_t e = row / (ROWS / 2), f = row % (ROWS / 2);
                int64_t at = turned ? (e * COLUMNS + i) * stride + f : row * stride + i;
                assert_true(laid[at] == values[row * COLUMNS + i]);
            }
        for (int64_t i = turned ? ROWS / 2 : COLUMNS; i < stride; i++) assert_true(laid[i] == 0);
        free(laid);
        r.k->weight_free(w);
    }
    free(values);
    rig_close(&r);
}

/* Where griddepcontrol is compiled in, and nowhere else: without it nobody would wait. */
static void kernels_overlap_on_hopper_alone(void **state)
{
    static const struct {
        int32_t capability;
        const char *variant;
        bool overlaps;
    } cases[] = {{90, NULL, true}, {80, NULL, false}, {100, NULL, false}, {90, "serial", false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig r;
        struct rig_options o = tiny();
        host_runtime_capability(cases[i].capability);
        o.variant = cases[i].variant;
        rig_open(&r, &kernels_cuda, &o);
        assert_int_equal(host_runtime_overlaps(), cases[i].overlaps);
        rig_close(&r);
    }
    host_runtime_capability(80);
}

struct elsewhere {
    struct rig *r;
    struct rig_step *t;
    struct step_result result;
    error err;
};

static void *step_run(void *context)
{
    struct elsewhere *w = context;
    rig_try(w->r, w->t, 0, 1, &w->result, &w->err);
    return NULL;
}

/* CUDA, multi-device systems: which device a thread works on is its own affair, a new one's is the first, and
 * what is launched into another device's stream is refused. The engine steps in a thread of its own. */
static void another_thread_works_on_the_same_gpu(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    const int32_t tokens[] = {1, 2, 3}, pages[] = {0};
    struct rig_step t;
    pthread_t thread;
    host_runtime_devices(2);
    o.gpu = 1;
    rig_open(&r, &kernels_cuda, &o);
    rig_step_begin(&t, 3, 1, 1);
    rig_add(&t, tokens, 0, 3, pages, false);
    struct elsewhere work = {.r = &r, .t = &t};
    assert_int_equal(pthread_create(&thread, NULL, step_run, &work), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (work.err.code != OK) fail_msg("%s", work.err.message);
    assert_true(work.result.sampled[0].id >= 0);
    rig_step_end(&t);
    rig_close(&r);
    host_runtime_devices(1);
}

static void machines_without(void **state)
{
    (void)state;
    const struct kernels *k = NULL;
    struct device_options options = {.shape = tiny().shape, .rows_max = 8, .seqs_max = 1};
    device *d = NULL;
    error err = {0};
    host_runtime_capability(0);
    assert_int_equal(kernels_find(&k, "auto", &err), OK);
    assert_ptr_equal(k, &kernels_cpu);
    assert_int_equal(kernels_find(&k, "cuda", &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no GPU answers"));
    host_runtime_capability(75);
    assert_int_equal(kernels_find(&k, "cuda", &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "7.5"));
    host_runtime_capability(90);
    assert_int_equal(kernels_find(&k, "auto", &err), OK);
    assert_ptr_equal(k, &kernels_cuda);
    host_runtime_memory(3 << 20);
    assert_int_equal(k->open(&d, &options, &err), ERR_MEMORY);
    assert_non_null(strstr(err.message, "MiB are free"));
    assert_null(d);
    assert_int_equal(host_runtime_held(), 0);
    host_runtime_memory((size_t)1 << 30);
    cuda_backend_use(NULL);
    assert_int_equal(kernels_find(&k, "cuda", &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "not in this build"));
    backend_choose();
}

/* A whole life: open, weights, pages, two steps. Returns the status of the first thing that fails,
 * with everything given back; false in *sound when something was answered after a failure. */
static status life(int32_t rows, bool *sound)
{
    struct rig_options o = tiny();
    o.shape.max_seq_len = 96;
    o.shape.activations = rows > 64 ? ACTIVATION_BF16 : ACTIVATION_F32;
    struct device_options options = {
        .shape = o.shape, .rows_max = rows, .seqs_max = 1, .outs_max = rows};
    const struct kernels *k = &kernels_cuda;
    struct step_result result = {0};
    struct rig_step t;
    const int32_t pages[] = {0, 3, 1, 4, 2};
    int32_t tokens[70];
    unsigned char page[1024], codes[3 * 32 * 64];
    float scales[128];
    weight *w[8] = {0};
    device *d = NULL;
    kv_pool *kv = NULL;
    error err;
    for (int i = 0; i < 70; i++) tokens[i] = i % 17;
    memset(codes, 0x38, sizeof codes); /* E4M3's 1 */
    for (int i = 0; i < 128; i++) scales[i] = 0.01f;
    static const struct weight_spec specs[] = {
        {"wte", WEIGHT_FP8_ROW, 17, 32, 1, false, false},
        {"norm", WEIGHT_FP8_ROW, 1, 32, 1, false, false},
        {"qkv", WEIGHT_FP8_ROW, 64, 32, 1, false, false},
        {"out", WEIGHT_FP8_ROW, 32, 32, 1, false, false},
        {"router", WEIGHT_FP8_ROW, 3, 32, 1, false, false},
        {"w1", WEIGHT_FP8_ROW, 96, 32, 3, false, false},
        {"w2", WEIGHT_BF16, 96, 32, 3, true, false},
    };
    status rc = k->open(&d, &options, &err);
    for (int i = 0; i < 7 && rc == OK; i++) {
        rc = k->weight_begin(&w[i], d, &specs[i], &err);
        if (rc == OK) rc = k->weight_put(w[i], 0, specs[i].n_rows, codes, scales, &err);
        if (rc == OK) rc = k->weight_seal(w[i], &err);
    }
    if (rc == OK) rc = k->kv_open(&kv, d, KV_E4M3, 5, &err);
    struct layer_weights layer = {w[1], w[2], w[3], w[1], w[4], w[5], w[5], w[6]};
    for (int i = 0; i < 2 && rc == OK; i++) {
        rig_step_begin(&t, rows, 1, 5);
        rig_add(&t, tokens, 0, rows, pages, true);
        t.s.kv = kv;
        if (k->step_begin(d, &t.s, 0, 1)) {
            k->embed(d, w[0]);
            k->attn_in(d, 0, &layer);
            k->attention(d, 0);
            k->attn_out(d, 0, &layer);
            k->experts(d, 0, &layer);
            k->head(d, w[1], w[0]);
            k->sample(d);
        }
        k->step_end(d);
        rc = k->collect(d, &result, &err);
        if (rc != OK && (result.sampled || result.logits)) *sound = false;
        if (rc != OK && k->collect(d, &result, NULL) == OK) *sound = false; /* it stays failed */
        rig_step_end(&t);
        if (rc == OK) k->pages_save(kv, page, pages, 1);
    }
    if (rc == OK) rc = k->collect(d, &result, &err);
    k->kv_close(kv);
    for (int i = 0; i < 7; i++) k->weight_free(w[i]);
    k->close(d);
    return rc;
}

/* What only a CPU computes with is refused by name, and nothing is left open. */
static void integer_activations_are_refused(void **state)
{
    (void)state;
    error err;
    device *d;
    struct device_options options = {
        .shape = tiny().shape, .rows_max = 8, .seqs_max = 1, .outs_max = 8};
    options.shape.activations = ACTIVATION_INT8;
    assert_int_equal(kernels_cuda.open(&d, &options, &err), ERR_UNSUPPORTED);
    assert_null(d);
    assert_non_null(strstr(err.message, "activations: found int8"));
}

/* Every `step`-th call fails, once and for good. */
static void calls_fail(int32_t rows, int64_t step)
{
    bool sound = true;
    host_runtime_fail_at(0, false);
    assert_int_equal(life(rows, &sound), OK);
    int64_t n_calls = host_runtime_fail_at(0, false), n_reported = 0, n_tried = 0;
    assert_true(n_calls > 190);
    for (int64_t n = 1; n <= n_calls; n += step)
        for (int lost = 0; lost < 2; lost++) {
            host_runtime_fail_at(n, lost);
            status rc = life(rows, &sound);
            host_runtime_fail_at(0, false);
            assert_true(sound);
            assert_int_equal(host_runtime_held(), 0);
            if (lost && n <= n_calls / 2) assert_true(rc != OK);
            n_reported += rc != OK;
            n_tried += lost;
        }
    assert_true(n_reported > n_tried);
}

static void every_call_fails_once(void **state)
{
    (void)state;
    calls_fail(3, 1);
}

/* Steps of so many rows that warpgroups multiply them, by maps; with EVERY_CALL each call, too. */
static void calls_of_many_rows_fail(void **state)
{
    (void)state;
    host_runtime_capability(90);
    calls_fail(70, getenv("EVERY_CALL") ? 1 : 29);
    host_runtime_capability(80);
}

static void cost_grows_with_work(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = tiny();
    rig_open(&r, &kernels_cuda, &o);
    struct step_shape one = {1, 1, 1, 100}, many = {512, 1, 1, 600}, deep = {1, 1, 1, 1000000};
    double cost = r.k->step_cost(r.d, &one);
    assert_true(cost > 0 && isfinite(cost));
    assert_true(r.k->step_cost(r.d, &many) > cost);
    assert_true(r.k->step_cost(r.d, &deep) > cost);
    assert_string_equal(r.k->describe(r.d), "cuda emulated");
    rig_close(&r);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    backend_choose();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_move_whole),
        cmocka_unit_test(bad_steps_are_reported),
        cmocka_unit_test(weights_that_are_wrong),
        cmocka_unit_test(weights_larger_than_a_stage),
        cmocka_unit_test(kernels_overlap_on_hopper_alone),
        cmocka_unit_test(another_thread_works_on_the_same_gpu),
        cmocka_unit_test(machines_without),
        cmocka_unit_test(every_call_fails_once),
        cmocka_unit_test(calls_of_many_rows_fail),
        cmocka_unit_test(cost_grows_with_work),
        cmocka_unit_test(integer_activations_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
