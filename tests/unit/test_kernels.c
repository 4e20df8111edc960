/* The CPU backend against the reference, and against itself in other arrangements of the same work. */
#include "tests/unit/support/rig.h"

#include <math.h>

#include "base/limits.h"
#include "base/random.h"
#include "kernels/cpu/math.h"
#include "kernels/host.h"

enum { VARIANTS_MAX = 4 };

/* The kernels this machine can run; those it cannot are named once. */
static const char *variants[VARIANTS_MAX + 1];

static const enum weight_format formats[] = {WEIGHT_F32, WEIGHT_BF16, WEIGHT_FP8_ROW,
                                             WEIGHT_INT8_ROW, WEIGHT_INT4_G128};

static void variants_find(void)
{
    int n = 0;
    for (int i = 0; cpu_math_names[i]; i++) {
        const struct cpu_math *math;
        error err;
        if (cpu_math_find(&math, cpu_math_names[i], &err) == OK && n < VARIANTS_MAX)
            variants[n++] = cpu_math_names[i];
        else
            print_message("not run: %s\n", err.message);
    }
}

/* A tiny shape in which everything differs from everything: 3 layers' worth of odd sizes in one. */
static struct rig_options tiny(void)
{
    struct rig_options o = rig_defaults();
    o.shape.d_model = 32;
    o.shape.n_heads = 2;
    o.shape.kv_n_heads = 1;
    o.shape.n_layers = 1;
    o.shape.ffn_hidden_size = 288; /* two blocks of terms, the second short */
    o.shape.moe_num_experts = 4;
    o.shape.moe_top_k = 2;
    o.shape.vocab_size = 41;
    o.rows_max = 1000;
    o.n_pages = 63;
    return o;
}

/* Stored K and V: fp32 within rounding; narrower types on the same code but for values that lie
 * on a boundary to within fp32's rounding, which are rare and one code off. */
static void pages_compare(const unsigned char *found, const unsigned char *expected, size_t size,
                          enum kv_type type)
{
    size_t n_apart = 0;
    if (type == KV_F32) {
        double apart = rig_difference((const float *)(const void *)found,
                                      (const float *)(const void *)expected, size / 4);
        assert_true(apart < 2e-6);
        return;
    }
    size_t width = type == KV_BF16 ? 2 : 1;
    for (size_t i = 0; i < size; i += width) {
        int a = found[i] | (width == 2 ? found[i + 1] << 8 : 0);
        int b = expected[i] | (width == 2 ? expected[i + 1] << 8 : 0);
        if (a == b) continue;
        n_apart++;
        assert_true(abs(a - b) == 1 || ((a | b) & (width == 2 ? 0x7FFF : 0x7F)) == 0);
    }
    assert_true(n_apart * 1000 <= size / width);
}

/* One step of n rows, operation by operation: the same pages go into every attention. */
static void operations_compare(struct rig *cpu, struct rig *reference, int32_t n, bool with_experts)
{
    const struct rig_options *o = &reference->o;
    int32_t *tokens = rig_tokens(n, o->shape.vocab_size, 5), pages[63];
    int32_t n_pages = (n + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    size_t size, size_cpu, n_routes = (size_t)(n * o->shape.moe_top_k);
    struct rig_step t;
    struct step_result found, expected;
    for (int32_t i = 0; i < 63; i++) pages[i] = i;
    rig_step_begin(&t, n, 1, 63);
    rig_add(&t, tokens, 0, n, pages, true);
    rig_half_layer(reference, &t);
    unsigned char *kv = rig_pages_take(reference, n_pages, &size);
    rig_other_half(reference, with_experts, &expected);
    for (int v = 0; variants[v]; v++) {
        rig_half_layer(&cpu[v], &t);
        unsigned char *kv_cpu = rig_pages_take(&cpu[v], n_pages, &size_cpu);
        assert_int_equal(size, size_cpu);
        pages_compare(kv_cpu, kv, size, o->kv);
        rig_pages_give(&cpu[v], kv, n_pages);
        rig_other_half(&cpu[v], with_experts, &found);
        assert_memory_equal(found.routes, expected.routes, n_routes * sizeof(int32_t));
        double apart =
            rig_difference(found.logits, expected.logits, (size_t)(n * o->shape.vocab_size));
        if (!(apart < 1e-5))
            fail_msg("%s, %d rows, format %d, kv %d: apart by %g", cpu[v].o.variant, n,
                     cpu[v].o.format, o->kv, apart);
        free(kv_cpu);
    }
    rig_step_end(&t);
    free(kv);
    free(tokens);
}

/* Bound: 1e-5 of the largest logit. A logit is a chain of about ten products, each with an error of
 * some 2^-24 * sqrt(k); the softmax of attention, whose scores reach 30, multiplies it by ten. */
static void operations_by_rows(enum weight_format format, enum kv_type kv)
{
    static const int32_t counts[] = {1, 2, 3, 7, 16, 17, 64, 255, 256, 1000};
    struct rig cpu[VARIANTS_MAX], reference;
    struct rig_options o = tiny();
    o.format = format;
    o.kv = kv;
    for (int v = 0; variants[v]; v++) {
        o.variant = variants[v];
        rig_open(&cpu[v], &kernels_cpu, &o);
    }
    o.mirror = true;
    rig_open(&reference, &kernels_reference, &o);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        operations_compare(cpu, &reference, counts[i], true);
        if (counts[i] < 100) operations_compare(cpu, &reference, counts[i], false);
    }
    for (int v = 0; variants[v]; v++) rig_close(&cpu[v]);
    rig_close(&reference);
}

static void operations_by_format(void **state)
{
    (void)state;
    for (size_t f = 0; f < 5; f++) operations_by_rows(formats[f], KV_F32);
}

static void operations_by_kv_type(void **state)
{
    (void)state;
    operations_by_rows(WEIGHT_BF16, KV_BF16);
    operations_by_rows(WEIGHT_BF16, KV_E4M3);
}

/* Several layers, so that what one leaves behind is what the next one finds. */
static double models_apart(struct rig_options o, int32_t n)
{
    struct rig cpu, reference;
    int32_t *tokens = rig_tokens(n, o.shape.vocab_size, 5);
    rig_open(&cpu, &kernels_cpu, &o);
    o.mirror = true;
    rig_open(&reference, &kernels_reference, &o);
    float *found = rig_logits(&cpu, tokens, n), *expected = rig_logits(&reference, tokens, n);
    double apart = rig_difference(found, expected, (size_t)n * (size_t)o.shape.vocab_size);
    free(found);
    free(expected);
    free(tokens);
    rig_close(&cpu);
    rig_close(&reference);
    return apart;
}

static void whole_models(void **state)
{
    (void)state;
    for (size_t v = 0; variants[v]; v++)
        for (size_t f = 0; f < 5; f++) {
            struct rig_options o = rig_defaults();
            o.shape.ffn_hidden_size = 544; /* a whole block of columns and a short one */
            o.variant = variants[v];
            o.format = formats[f];
            assert_true(models_apart(o, 40) < 3e-5);
        }
}

/* A residual with a variance of 1e-5: the norm's epsilon counts as much as the values do. */
static void small_residuals(void **state)
{
    (void)state;
    for (size_t v = 0; variants[v]; v++) {
        struct rig_options o = rig_defaults();
        o.variant = variants[v];
        o.wte_deviation = 0.003;
        assert_true(models_apart(o, 40) < 3e-5);
    }
}

/* Rounded activations: a value on a boundary may take the neighbouring code, which moves a logit by
 * about the code's width over sqrt(d): 2^-9, 2^-4 and 1/127 over 8. */
static void activations_of_each_type(void **state)
{
    static const double bounds[] = {3e-5, 1e-3, 2e-2, 5e-3};
    (void)state;
    for (size_t v = 0; variants[v]; v++)
        for (int type = ACTIVATION_F32; type <= ACTIVATION_INT8; type++)
            for (size_t f = 0; f < 5; f++) {
                struct rig_options o = rig_defaults();
                o.variant = variants[v];
                o.format = formats[f];
                o.shape.ffn_hidden_size = 160; /* a whole group and a short one */
                o.shape.activations = (enum activation_type)type;
                double apart = models_apart(o, 12);
                if (!(apart < bounds[type]))
                    fail_msg("%s, format %d, activations %d: apart by %g", o.variant, o.format,
                             type, apart);
            }
}

/* The same work in another arrangement: bit for bit the same logits. */
struct arrangement {
    const char *name;
    int32_t rows, n_threads;
    bool pages_backward, with_company, by_layers;
};

static const struct arrangement arrangements[] = {
    {"one by one", 1, 1, false, false, false},
    {"by twos", 2, 2, false, false, false},
    {"by sevens", 7, 1, true, false, false},
    {"by 33", 33, 3, false, false, false},
    {"by 64, company", 64, 2, true, true, false},
    {"by 9, company", 9, 3, false, true, false},
    {"all at once", 300, 3, true, false, false},
    {"layer by layer", 100, 2, false, false, true},
    {"layer by layer, company", 50, 3, true, true, true},
};

enum { TEXT_TOKENS = 300, COMPANY = 5 };

/* Rows of another sequence before, padding behind; their pages lie above the text's. */
static void step_compose(struct rig_step *t, const struct arrangement *a, const int32_t *tokens,
                         int32_t from, int32_t n, const int32_t *pages)
{
    rig_step_begin(t, n + 2 * COMPANY, 3, 19);
    if (a->with_company) {
        rig_add(t, tokens + 7, 0, COMPANY, pages + 19, false);
        rig_add_padding(t, 2);
    }
    rig_add(t, tokens, from, n, pages, true);
    if (a->with_company) rig_add_padding(t, COMPANY - 2);
}

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
        step_compose(&t, a, tokens, at, n, pages);
        rig_step_begin(&other, COMPANY, 1, 1);
        rig_add(&other, tokens + 3, 0, COMPANY, pages + 20, false);
        other.s.slice = 1;
        if (a->by_layers) {
            for (int32_t l = 0; l < layers; l++) {
                rig_run(r, &t, l, l + 1, &result);
                if (l + 1 < layers) rig_run(r, &other, 0, layers, &result);
            }
        } else {
            rig_run(r, &t, 0, layers, &result);
        }
        memcpy(out + (size_t)at * row, result.logits + skip, (size_t)n * row * sizeof *out);
        rig_step_end(&t);
        rig_step_end(&other);
    }
    return out;
}

static void arrangements_compare(struct rig_options o)
{
    struct rig r;
    int32_t *tokens = rig_tokens(TEXT_TOKENS + 20, o.shape.vocab_size, 9);
    o.rows_max = TEXT_TOKENS + 2 * COMPANY;
    o.slices_max = 2;
    rig_open(&r, &kernels_cpu, &o);
    struct arrangement plain = {.rows = TEXT_TOKENS};
    float *expected = arranged(&r, &plain, tokens);
    size_t size = (size_t)TEXT_TOKENS * (size_t)o.shape.vocab_size * sizeof *expected;
    rig_close(&r);
    for (size_t i = 0; i < sizeof arrangements / sizeof *arrangements; i++) {
        o.n_threads = arrangements[i].n_threads;
        rig_open(&r, &kernels_cpu, &o);
        float *found = arranged(&r, &arrangements[i], tokens);
        if (memcmp(found, expected, size) != 0)
            fail_msg("%s, %s: not the same bits", o.variant, arrangements[i].name);
        free(found);
        rig_close(&r);
    }
    free(expected);
    free(tokens);
}

static void same_bits_in_any_arrangement(void **state)
{
    static const struct {
        enum weight_format format;
        enum kv_type kv;
        enum activation_type activations;
    } some[] = {
        {WEIGHT_F32, KV_F32, ACTIVATION_F32},        {WEIGHT_BF16, KV_BF16, ACTIVATION_BF16},
        {WEIGHT_FP8_ROW, KV_BF16, ACTIVATION_BF16},  {WEIGHT_INT8_ROW, KV_E4M3, ACTIVATION_BF16},
        {WEIGHT_INT4_G128, KV_E4M3, ACTIVATION_F32}, {WEIGHT_INT8_ROW, KV_BF16, ACTIVATION_INT8},
        {WEIGHT_INT4_G128, KV_E4M3, ACTIVATION_INT8}};
    (void)state;
    for (size_t v = 0; variants[v]; v++)
        for (size_t f = 0; f < sizeof some / sizeof *some; f++) {
            struct rig_options o = rig_defaults();
            o.shape.ffn_hidden_size = 544; /* blocks and groups, and a short one of each */
            o.shape.activations = some[f].activations;
            o.variant = variants[v];
            o.format = some[f].format;
            o.kv = some[f].kv;
            arrangements_compare(o);
        }
}

static void slot_takes_what_was_sampled(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = rig_defaults();
    const int32_t tokens[] = {3, 14, 15}, pages[] = {0, 1, 2};
    struct rig_step t;
    struct step_result result;
    rig_open(&r, &kernels_cpu, &o);
    rig_step_begin(&t, 8, 2, 1);
    rig_add(&t, tokens, 0, 3, pages, false);
    rig_run(&r, &t, 0, 2, &result);
    int32_t sampled = result.sampled[0].id, best = 0;
    for (int32_t i = 1; i < o.shape.vocab_size; i++)
        if (result.logits[i] > result.logits[best]) best = i;
    assert_int_equal(sampled, best);
    rig_step_end(&t);
    float by_slot[101], by_id[101];
    for (int use_slot = 1; use_slot >= 0; use_slot--) {
        const int32_t next[] = {3, 14, 15, use_slot ? ~0 : sampled};
        rig_step_begin(&t, 8, 2, 1);
        rig_add(&t, next, 3, 1, pages, false);
        rig_run(&r, &t, 0, 2, &result);
        memcpy(use_slot ? by_slot : by_id, result.logits, sizeof by_slot);
        rig_step_end(&t);
    }
    assert_memory_equal(by_slot, by_id, sizeof by_slot);
    rig_close(&r);
}

static void forced_routes_are_taken(void **state)
{
    (void)state;
    const struct kernels *tables[] = {&kernels_cpu, &kernels_reference};
    for (int b = 0; b < 2; b++) {
        struct rig r;
        struct rig_options o = rig_defaults();
        const int32_t tokens[] = {3, 14, 15}, pages[] = {0};
        int32_t chosen[18], forced[18];
        float free_logits[303];
        struct rig_step t;
        struct step_result result;
        rig_open(&r, tables[b], &o);
        rig_step_begin(&t, 3, 1, 1);
        rig_add(&t, tokens, 0, 3, pages, true);
        rig_run(&r, &t, 0, 2, &result);
        memcpy(chosen, result.routes, sizeof chosen);
        memcpy(free_logits, result.logits, sizeof free_logits);
        t.s.routes_forced = chosen; /* what it would have chosen changes nothing */
        rig_run(&r, &t, 0, 2, &result);
        assert_memory_equal(result.logits, free_logits, sizeof free_logits);
        for (int i = 0; i < 18; i++) forced[i] = (chosen[i] + 1) % 6; /* distinct stays distinct */
        t.s.routes_forced = forced;
        rig_run(&r, &t, 0, 2, &result);
        assert_memory_equal(result.routes, forced, sizeof forced);
        assert_memory_not_equal(result.logits, free_logits, sizeof free_logits);
        rig_step_end(&t);
        rig_close(&r);
    }
}

static void nan_stays_in_its_sequence(void **state)
{
    (void)state;
    for (size_t v = 0; variants[v]; v++) {
        struct rig r;
        struct rig_options o = rig_defaults();
        const int32_t good[] = {1, 2, 3}, bad[] = {4, 50, 5}, pages[] = {0, 1};
        struct rig_step t;
        struct step_result result;
        float alone[303];
        o.variant = variants[v];
        rig_open(&r, &kernels_cpu, &o);
        ((float *)r.bytes[0])[50 * o.shape.d_model + 3] = NAN; /* one embedding, borrowed */
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
        for (int i = 0; i < 6; i++) assert_int_equal(result.sampled[i].nan, expected[i]);
        assert_memory_equal(result.logits + 303, alone, sizeof alone);
        rig_step_end(&t);
        rig_close(&r);
    }
}

/* A step that cannot be computed is reported by collect, and nothing after it is believed. */
static void bad_steps_are_reported(void **state)
{
    (void)state;
    const struct kernels *tables[] = {&kernels_cpu, &kernels_reference};
    const char *words[] = {"rows", "token 101", "page 80", "slots", "mask 1", "position"};
    for (int b = 0; b < 2; b++)
        for (int fault = 0; fault < 6; fault++) {
            struct rig r;
            struct rig_options o = rig_defaults();
            struct rig_step t;
            struct step_result result;
            error err = {0};
            int32_t *tokens = rig_tokens(80, 101, 1), pages[5] = {0, 1, 2, 3, 4};
            if (fault == 1) tokens[0] = 101;
            if (fault == 2) pages[0] = 80;
            if (fault == 3) tokens[0] = ~0;
            rig_open(&r, tables[b], &o);
            rig_step_begin(&t, 80, 1, 5);
            rig_add(&t, tokens, 0, fault == 0 ? 65 : 3, pages, false);
            if (fault == 4) t.sample[0].mask = 1;
            if (fault == 5) t.position[0] = 4000;
            t.s.kv = r.kv;
            assert_false(r.k->step_begin(r.d, &t.s, 0, 2));
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
            free(tokens);
        }
}

static void pages_move_whole(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = rig_defaults();
    struct memory_plan plan;
    const int32_t tokens[] = {1, 2, 3}, first[] = {5}, moves_from[] = {5, 0}, moves_to[] = {9, 5};
    const int32_t kept[] = {9};
    struct rig_step t;
    struct step_result result;
    o.kv = KV_BF16;
    rig_open(&r, &kernels_cpu, &o);
    rig_step_begin(&t, 3, 1, 1);
    rig_add(&t, tokens, 0, 3, first, false);
    rig_run(&r, &t, 0, 2, &result);
    rig_step_end(&t);
    assert_int_equal(r.k->plan(r.d, KV_BF16, &plan, NULL), OK);
    /* 2 layers, K and V, 2 heads of 16 positions by 16 bf16 values */
    assert_int_equal(plan.kv_bytes_per_page, 2 * 2 * 2 * 16 * 16 * 2);
    unsigned char *before = calloc(1, plan.kv_bytes_per_page);
    unsigned char *after = calloc(1, plan.kv_bytes_per_page);
    r.k->pages_save(r.kv, before, first, 1);
    r.k->pages_copy(r.kv, moves_to, moves_from, 2);
    r.k->pages_save(r.kv, after, kept, 1);
    assert_memory_equal(after, before, plan.kv_bytes_per_page);
    r.k->pages_save(r.kv, after, first, 1);
    assert_memory_not_equal(after, before, plan.kv_bytes_per_page);
    r.k->pages_load(r.kv, first, before, 1);
    r.k->pages_save(r.kv, after, first, 1);
    assert_memory_equal(after, before, plan.kv_bytes_per_page);
    free(before);
    free(after);
    rig_close(&r);
}

static void shapes_outside_the_contract(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        int32_t value;
        const char *field;
    } faults[] = {
        {offsetof(struct model_shape, d_model), 48, "d_model"},
        {offsetof(struct model_shape, d_model), 0, "d_model"},
        {offsetof(struct model_shape, head_dim), 48, "head_dim"},
        {offsetof(struct model_shape, n_heads), 3, "n_heads"},
        {offsetof(struct model_shape, kv_n_heads), 0, "kv_n_heads"},
        {offsetof(struct model_shape, ffn_hidden_size), 100, "ffn_hidden_size"},
        {offsetof(struct model_shape, moe_num_experts), 65, "moe_num_experts"},
        {offsetof(struct model_shape, moe_top_k), 9, "moe_top_k"},
        {offsetof(struct model_shape, moe_top_k), 7, "moe_top_k"},
        {offsetof(struct model_shape, n_layers), 0, "n_layers"},
        {offsetof(struct model_shape, vocab_size), -1, "vocab_size"},
        {offsetof(struct model_shape, max_seq_len), 0, "max_seq_len"},
    };
    error err = {0};
    assert_int_equal(shape_check(&(struct model_shape){0}, &err), ERR_UNSUPPORTED);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct model_shape s = rig_defaults().shape;
        assert_int_equal(shape_check(&s, &err), OK);
        memcpy((char *)&s + faults[i].offset, &faults[i].value, sizeof faults[i].value);
        assert_int_equal(shape_check(&s, &err), ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, faults[i].field));
    }
}

static void weights_that_are_wrong(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = rig_defaults();
    error err = {0};
    weight *w = NULL;
    float row[64] = {0};
    rig_open(&r, &kernels_cpu, &o);
    struct weight_spec spec = {.name = "w2",
                               .format = WEIGHT_INT4_G128,
                               .n_rows = 64,
                               .n_columns = 64,
                               .n_experts = 1,
                               .transposed = true};
    assert_int_equal(r.k->weight_begin(&w, r.d, &spec, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "w2"));
    spec.format = WEIGHT_F32;
    assert_int_equal(r.k->weight_begin(&w, r.d, &spec, &err), OK);
    assert_int_equal(r.k->weight_put(w, 1, 1, row, NULL, &err), ERR_USAGE);
    assert_int_equal(r.k->weight_put(w, 0, 65, row, NULL, &err), ERR_USAGE);
    assert_int_equal(r.k->weight_put(w, 0, 1, row, NULL, &err), OK);
    assert_int_equal(r.k->weight_seal(w, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "1 of 64"));
    r.k->weight_free(w);
    const struct kernels *none = NULL;
    assert_int_equal(kernels_find(&none, "abacus", &err), ERR_UNSUPPORTED);
    assert_int_equal(kernels_find(&none, "cpu", &err), OK);
    assert_ptr_equal(none, &kernels_cpu);
    rig_close(&r);
}

static void cost_grows_with_work(void **state)
{
    (void)state;
    struct rig r;
    struct rig_options o = rig_defaults();
    rig_open(&r, &kernels_cpu, &o);
    struct step_shape one = {1, 1, 1, 100}, many = {512, 1, 1, 600}, deep = {1, 1, 1, 1000000};
    double cost = r.k->step_cost(r.d, &one);
    assert_true(cost > 0 && isfinite(cost));
    assert_true(r.k->step_cost(r.d, &many) > cost);
    assert_true(r.k->step_cost(r.d, &deep) > cost);
    rig_close(&r);
}

static void memory_available_is_read(void **state)
{
    (void)state;
    const struct {
        text meminfo;
        size_t bytes;
    } cases[] = {
        {TEXT("MemTotal:       16384000 kB\nMemFree:          102400 kB\n"
              "MemAvailable:    8192000 kB\nBuffers:           20480 kB\n"),
         8192000 * KIB},
        {TEXT("MemAvailable: 1 kB\n"), KIB},
        {TEXT("MemAvailable:          0 kB\n"), 0},
        {TEXT("MemTotal: 16384000 kB\nMemFree: 102400 kB\n"), 0}, /* before Linux 3.14 */
        {TEXT("NotMemAvailable: 7 kB\n"), 0},
        {TEXT("MemAvailable: kB\n"), 0},
        {TEXT("MemAvailable: 12 MB\n"), 0},
        {TEXT("MemAvailable: 819"), 0}, /* cut off */
        {TEXT("MemAvailable: 99999999999999999999 kB\n"), 0},
        {TEXT("MemAvailable: 18014398509481984 kB\n"), 0}, /* 2^54 KiB */
        {TEXT(""), 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(meminfo_available(cases[i].meminfo), cases[i].bytes);
    assert_true(host_memory_available() > MIB);
}

/* An argument such as "same_*" runs only the tests it matches. */
int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    variants_find();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_by_format),
        cmocka_unit_test(operations_by_kv_type),
        cmocka_unit_test(whole_models),
        cmocka_unit_test(small_residuals),
        cmocka_unit_test(activations_of_each_type),
        cmocka_unit_test(same_bits_in_any_arrangement),
        cmocka_unit_test(slot_takes_what_was_sampled),
        cmocka_unit_test(forced_routes_are_taken),
        cmocka_unit_test(nan_stays_in_its_sequence),
        cmocka_unit_test(bad_steps_are_reported),
        cmocka_unit_test(pages_move_whole),
        cmocka_unit_test(shapes_outside_the_contract),
        cmocka_unit_test(weights_that_are_wrong),
        cmocka_unit_test(cost_grows_with_work),
        cmocka_unit_test(memory_available_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
