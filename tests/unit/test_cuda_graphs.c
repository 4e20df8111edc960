/* Captured steps of the CUDA backend: a device that replays beside one that launches every step anew,
 * over the same random steps. On the host a captured launch holds a copy of its arguments, as a graph
 * does, so whatever the host put there of one step alone gives other numbers in the next. */
#include "tests/unit/support/rig.h"

#include "base/random.h"
#include "kernels/cuda/cuda.h"
#include "tests/cuda/backend_choice.h"
#include "tests/cuda/emulator.h"

enum { SEQUENCES = 5, PAGES = 24, TOKENS = PAGES * KV_PAGE_TOKENS };

static struct rig_options tiny(enum activation_type activations)
{
    struct rig_options o = rig_defaults();
    o.shape.d_model = 32;
    o.shape.ffn_hidden_size = 32;
    o.shape.vocab_size = 41;
    o.shape.max_seq_len = TOKENS;
    o.shape.activations = activations;
    o.format = WEIGHT_BF16;
    o.kv = KV_E4M3;
    o.seqs_max = SEQUENCES;
    o.rows_max = 90;
    o.slices_max = 2;
    o.n_pages = SEQUENCES * PAGES;
    return o;
}

/* The same sequences for both devices; pages in no order. */
struct world {
    struct rig replaying, fresh;
    int32_t *tokens, length[SEQUENCES], pages[SEQUENCES][PAGES];
    uint32_t mask[2][2];
    uint64_t seed, n_drawn;
};

static int32_t drawn(struct world *w, int32_t n)
{
    return (int32_t)(random_at(w->seed, w->n_drawn++) % (uint64_t)n);
}

static void world_open(struct world *w, struct rig_options o, uint64_t seed)
{
    int32_t all[SEQUENCES * PAGES];
    *w = (struct world){.seed = seed};
    rig_open(&w->replaying, &kernels_cuda, &o);
    rig_open(&w->fresh, &kernels_cuda, &o);
    w->fresh.d->graphs.off = true;
    w->tokens = rig_tokens(TOKENS + SEQUENCES, o.shape.vocab_size, seed);
    for (int32_t i = 0; i < SEQUENCES * PAGES; i++) all[i] = i;
    for (int32_t i = SEQUENCES * PAGES - 1; i > 0; i--) {
        int32_t j = drawn(w, i + 1), held = all[i];
        all[i] = all[j];
        all[j] = held;
    }
    memcpy(w->pages, all, sizeof all);
    for (uint64_t i = 0; i < 4; i++) w->mask[i / 2][i % 2] = (uint32_t)random_at(seed, 900 + i) | 1;
}

static void world_close(struct world *w)
{
    rig_close(&w->replaying);
    rig_close(&w->fresh);
    free(w->tokens);
    assert_int_equal(host_runtime_held(), 0);
}

/* What a step's rows and outputs gave, in both devices the same bits. */
static void step_compare(struct world *w, struct rig_step *t, int32_t from, int32_t to)
{
    struct step_result found, expected;
    size_t vocab = (size_t)w->fresh.o.shape.vocab_size, outs = (size_t)t->s.n_outs;
    size_t routes = (size_t)(w->fresh.o.shape.moe_top_k * t->s.n_rows * w->fresh.o.shape.n_layers);
    rig_run(&w->fresh, t, from, to, &expected);
    rig_run(&w->replaying, t, from, to, &found);
    if (to < w->fresh.o.shape.n_layers) return;
    assert_memory_equal(found.logits, expected.logits, outs * vocab * sizeof(float));
    assert_memory_equal(found.routes, expected.routes, routes * sizeof(int32_t));
    for (size_t i = 0; i < outs; i++) {
        assert_int_equal(found.sampled[i].id, expected.sampled[i].id);
        assert_true(found.sampled[i].id >= 0 && found.sampled[i].id < 41);
        assert_int_equal(found.sampled[i].top_id[0], expected.sampled[i].top_id[0]);
    }
}

/* Rows of some sequences in any order, with padding and outputs here and there; the first row may be
 * what the step before sampled. */
static void step_make(struct world *w, struct rig_step *t, int32_t rows_most, bool after_sampling)
{
    int32_t begin = drawn(w, SEQUENCES), n = 1 + drawn(w, SEQUENCES);
    rig_step_begin(t, rows_most + 2 * SEQUENCES, SEQUENCES, PAGES);
    for (int32_t i = 0; i < n; i++) {
        int32_t q = (begin + i) % SEQUENCES, room = rows_most - t->s.n_rows;
        int32_t rows = 1 + drawn(w, rows_most < 4 ? 1 : rows_most / 2);
        if (rows > TOKENS - w->length[q]) w->length[q] = drawn(w, 20); /* cut back, written again */
        if (rows > room) rows = room;
        if (rows < 1) break;
        rig_add(t, w->tokens + q, w->length[q], rows, w->pages[q], drawn(w, 2) == 0);
        w->length[q] += rows;
        if (drawn(w, 3) == 0 && t->s.n_rows < rows_most) rig_add_padding(t, 1);
    }
    if (after_sampling && drawn(w, 2) == 0) t->token[0] = ~0;
    t->s.mask = w->mask[0];
    t->s.n_masks = 2;
    for (int32_t i = 0; i < t->s.n_outs; i++) {
        struct sample_row *row = &t->sample[i];
        if (drawn(w, 3) == 0) row->mask = drawn(w, 2);
        if (drawn(w, 2) == 0) row->temperature = 0.5f;
        if (drawn(w, 3) == 0) row->repetition_penalty = 1.5f;
        row->history = w->tokens;
        row->n_history = drawn(w, 20);
        row->n_logprobs = drawn(w, 3);
        row->seed = (uint64_t)drawn(w, 1000);
    }
}

/* Contexts of 80 to 90 positions first, by a step that is too large to be captured. */
static void contexts_fill(struct world *w)
{
    for (int32_t q = 0; q < SEQUENCES; q++) {
        struct rig_step t;
        int32_t n = 80 + drawn(w, 11);
        rig_step_begin(&t, n, 1, PAGES);
        rig_add(&t, w->tokens + q, 0, n, w->pages[q], false);
        step_compare(w, &t, 0, 2);
        rig_step_end(&t);
        w->length[q] = n;
    }
}

static void replays_compare(enum activation_type activations, int32_t n_steps)
{
    struct world w;
    int32_t n_captured = 0, *forced;
    world_open(&w, tiny(activations), 3 + (uint64_t)activations);
    emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, true});
    contexts_fill(&w);
    assert_int_equal(w.replaying.d->graphs.n, 0);
    for (int32_t i = 0; i < n_steps; i++) {
        struct rig_step t;
        int32_t before = w.replaying.d->graphs.n;
        step_make(&w, &t, 1 << drawn(&w, 7), i > 0);
        forced = calloc((size_t)(2 * t.s.n_rows * 3), sizeof *forced);
        for (int32_t j = 0; j < 2 * t.s.n_rows * 3; j++) forced[j] = (j % 3 + i) % 6;
        if (i % 5 == 4) t.s.routes_forced = forced;
        step_compare(&w, &t, 0, 2);
        n_captured += w.replaying.d->graphs.n > before;
        rig_step_end(&t);
        free(forced);
    }
    assert_int_equal(w.replaying.d->graphs.n, n_captured);
    assert_true(n_captured >= 7 && n_captured * 2 < n_steps);
    assert_int_equal(w.fresh.d->graphs.n, 0);
    world_close(&w);
}

static void replays_in_fp32(void **state)
{
    (void)state;
    replays_compare(ACTIVATION_F32, 50);
}

static void replays_on_tensor_cores(void **state)
{
    (void)state;
    replays_compare(ACTIVATION_BF16, 60);
}

/* A step in two ranges of layers, between those of another slice with as many rows. */
static void ranges_and_slices_are_kept_apart(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, tiny(ACTIVATION_BF16), 11);
    contexts_fill(&w);
    for (int32_t i = 0; i < 6; i++) {
        struct rig_step t, other;
        step_make(&w, &t, 8, false);
        rig_step_begin(&other, 8, 1, PAGES); /* writes what already stands there */
        rig_add(&other, w.tokens, 0, t.s.n_rows, w.pages[0], true);
        other.s.slice = 1;
        step_compare(&w, &t, 0, 1);
        step_compare(&w, &other, 0, 1);
        step_compare(&w, &t, 1, 2);
        step_compare(&w, &other, 1, 2);
        rig_step_end(&t);
        rig_step_end(&other);
    }
    world_close(&w);
}

/* Graphs hold addresses: of the pool, and of the step's arrays, which move when they outgrow their
 * memory (here: a thousand bitmaps). */
static void what_moves_is_captured_again(void **state)
{
    enum { MASKS = 3000 };
    (void)state;
    struct world w;
    error err;
    uint32_t *masks = calloc(2 * MASKS, sizeof *masks);
    for (int32_t i = 0; i < 2 * MASKS; i++) masks[i] = 0x55555555u;
    world_open(&w, tiny(ACTIVATION_BF16), 12);
    struct rig *r = &w.replaying;
    for (int32_t round = 0; round < 3; round++) {
        struct rig_step t;
        const struct cuda_live *live = r->d->live;
        rig_step_begin(&t, 1, 1, PAGES);
        rig_add(&t, w.tokens, round, 1, w.pages[0], true);
        if (round == 1) t.s.mask = masks;
        if (round == 1) t.s.n_masks = MASKS;
        if (round == 1) t.sample[0].mask = MASKS - 1;
        step_compare(&w, &t, 0, 2);
        assert_true(round != 1 || r->d->live != live);
        assert_int_equal(r->d->graphs.n, 1);
        rig_step_end(&t);
    }
    r->k->kv_close(r->kv);
    assert_int_equal(r->d->graphs.n, 0);
    assert_int_equal(r->k->kv_open(&r->kv, r->d, KV_E4M3, r->o.n_pages, &err), OK);
    w.fresh.k->kv_close(w.fresh.kv);
    assert_int_equal(w.fresh.k->kv_open(&w.fresh.kv, w.fresh.d, KV_E4M3, r->o.n_pages, &err), OK);
    for (int32_t i = 0; i < 2; i++) {
        struct rig_step t;
        rig_step_begin(&t, 1, 1, PAGES);
        rig_add(&t, w.tokens, i, 1, w.pages[1], true);
        step_compare(&w, &t, 0, 2);
        rig_step_end(&t);
    }
    world_close(&w);
    free(masks);
}

/* More keys than there is room for: the graph used longest ago makes room, none is left over. */
static void old_graphs_make_room(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, tiny(ACTIVATION_BF16), 13);
    for (int32_t i = 0; i < 4;
         i++) /* 10 pairs of rows and outputs, whole and by layers, in two slices */
        for (int32_t rows = 1; rows <= 8; rows *= 2)
            for (int32_t outs = 1; outs <= rows; outs *= 2) {
                struct rig_step t;
                rig_step_begin(&t, rows, 1, PAGES);
                rig_add(&t, w.tokens, 0, rows, w.pages[0], true);
                t.s.n_outs = outs;
                t.s.slice = i % 2;
                if (i >= 2) step_compare(&w, &t, 0, 1);
                step_compare(&w, &t, i < 2 ? 0 : 1, 2);
                rig_step_end(&t);
            }
    assert_int_equal(w.replaying.d->graphs.n, CUDA_GRAPHS_MAX);
    world_close(&w);
}

/* A step of n rows, one by one into the same sequence, in both devices. */
static void step_of(struct world *w, int32_t n)
{
    struct rig_step t;
    rig_step_begin(&t, n, 1, PAGES);
    rig_add(&t, w->tokens, 0, n, w->pages[0], true);
    step_compare(w, &t, 0, 2);
    rig_step_end(&t);
}

static int64_t launches(int32_t n_layers)
{
    const struct emulator_kernel *kernels;
    struct rig_options o = tiny(ACTIVATION_BF16);
    struct rig r;
    int64_t n = 0;
    o.shape.n_layers = n_layers;
    rig_open(&r, &kernels_cuda, &o);
    int32_t *tokens = rig_tokens(3, o.shape.vocab_size, 1);
    for (size_t i = 0; i < emulator_kernels(&kernels); i++) n -= kernels[i].n_launches;
    free(rig_logits(&r, tokens, 3));
    for (size_t i = 0; i < emulator_kernels(&kernels); i++) n += kernels[i].n_launches;
    free(tokens);
    rig_close(&r);
    return n;
}

static void a_layer_is_ten_launches(void **state)
{
    (void)state;
    if (cuda_backend_get() != &host_backend) skip();
    assert_int_equal(launches(3) - launches(2), 10);
    assert_true(launches(1) <= 10 + 8);
}

/* Captured steps keep to the memory planned for them: the one used longest ago goes, and when one alone
 * is too large none are made any more. */
static void graphs_keep_to_their_memory(void **state)
{
    enum { EACH = 100000 };
    (void)state;
    struct world w;
    if (cuda_backend_get() != &host_backend) skip(); /* what a GPU's take is its own affair */
    size_t before, after;
    world_open(&w, tiny(ACTIVATION_BF16), 5);
    struct cuda_graphs *g = &w.replaying.d->graphs;
    assert_int_equal(g->bytes_max, (2 * 11 + 8) * 4096 * 16);
    host_runtime_graph_bytes(EACH);
    g->bytes_max = 2 * EACH + EACH / 2;
    step_of(&w, 1);
    step_of(&w, 2);
    assert_int_equal(g->n, 2);
    assert_int_equal(g->bytes, 2 * EACH);
    step_of(&w, 1); /* used again: the step of two is the older one */
    w.replaying.d->run->memory(&before);
    step_of(&w, 4);
    w.replaying.d->run->memory(&after);
    assert_int_equal(before, after);
    assert_int_equal(g->n, 2);
    assert_int_equal(g->bytes, 2 * EACH);
    for (int i = 0; i < 2; i++) assert_int_not_equal(g->all[i].key.rows, 2);
    g->bytes_max = EACH - 1;
    step_of(&w, 2);
    assert_true(g->full);
    assert_int_equal(g->n, 0);
    assert_int_equal(g->bytes, 0);
    step_of(&w, 2);
    step_of(&w, 4);
    assert_int_equal(g->n, 0);
    world_close(&w);
    host_runtime_graph_bytes(0);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    backend_choose();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_layer_is_ten_launches),
        cmocka_unit_test(graphs_keep_to_their_memory),
        cmocka_unit_test(replays_in_fp32),
        cmocka_unit_test(replays_on_tensor_cores),
        cmocka_unit_test(ranges_and_slices_are_kept_apart),
        cmocka_unit_test(what_moves_is_captured_again),
        cmocka_unit_test(old_graphs_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
