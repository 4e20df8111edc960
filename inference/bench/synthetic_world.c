/* Weights are begun and sealed through the kernel table like those of a file; only their bytes are
 * made on the device. The order of a layer's operations is forward.c's. */
#include "inference/bench/synthetic_world.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "inference/forward.h"
#include "kernels/format.h"

enum { SEED = 1, LAYER_WEIGHTS = 8, OUTER_WEIGHTS = 3 };
/* Left alone: arrays of steps, the driver's own, captured graphs. */
#define MEMORY_SPARE (768 * MIB)

static const struct synthetic_model models[] = {
    {.name = "dbrx",
     .shape = {.d_model = 6144,
               .n_heads = 48,
               .kv_n_heads = 8,
               .head_dim = 128,
               .n_layers = 40,
               .ffn_hidden_size = 10752,
               .moe_num_experts = 16,
               .moe_top_k = 4,
               .vocab_size = 100352,
               .max_seq_len = 32768,
               .rope_theta = 5e5,
               .clip_qkv = 8},
     .contexts = {1024, 8192, 32768},
     .prompts = {256, 2048, 8192, 32768},
     .warm = 8192,
     .behind = 16,
     .read_bytes = 8 * GIB,
     .matrix_n = 8192},
    {.name = "tiny",
     .shape = {.d_model = 128,
               .n_heads = 2,
               .kv_n_heads = 1,
               .head_dim = 16,
               .n_layers = 2,
               .ffn_hidden_size = 160,
               .moe_num_experts = 4,
               .moe_top_k = 2,
               .vocab_size = 64,
               .max_seq_len = 96,
               .rope_theta = 5e5,
               .clip_qkv = 8},
     .contexts = {16, 32, 96},
     .prompts = {4, 16, 32, 96},
     .warm = 32,
     .behind = 16,
     .read_bytes = 64 * KIB,
     .matrix_n = 16},
};

const struct synthetic_model *synthetic_model_find(const char *name)
{
    for (size_t i = 0; i < sizeof models / sizeof *models; i++)
        if (strcmp(models[i].name, name) == 0) return &models[i];
    return NULL;
}

static status arrays_take(struct synthetic_world *w, error *err)
{
    const struct model_shape *s = &w->model->shape;
    size_t rows = SYNTHETIC_ROWS_MAX, seqs = SYNTHETIC_SEQS_MAX;
    size_t routes = (size_t)s->n_layers * rows * (size_t)s->moe_top_k;
    size_t table = seqs * ((size_t)s->max_seq_len / KV_PAGE_TOKENS + 1);
    size_t n_weights = OUTER_WEIGHTS + (size_t)s->n_layers * LAYER_WEIGHTS;
    const struct {
        int32_t **to;
        size_t n;
    } arrays[] = {{&w->token, rows},    {&w->position, rows}, {&w->seq, rows},
                  {&w->out_row, seqs},  {&w->kv_len, seqs},   {&w->seq_row, seqs + 1},
                  {&w->routes, routes}, {&w->table, table}};
    bool taken = true;
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) {
        *arrays[i].to = memory_take(arrays[i].n, sizeof(int32_t));
        taken = taken && *arrays[i].to;
    }
    w->sample = memory_take(seqs, sizeof *w->sample);
    w->layers = memory_take((size_t)s->n_layers, sizeof *w->layers);
    w->all = memory_take(n_weights, sizeof(weight *));
    taken = taken && w->sample && w->layers && w->all;
    return taken ? OK : fail(err, ERR_MEMORY, "out of memory for the arrays of a step");
}

status bench_world_open(struct synthetic_world *w, const struct synthetic_model *sized,
                        enum activation_type activations, error *err)
{
    *w = (struct synthetic_world){.model = sized, .k = &kernels_cuda};
    struct device_options options = {.shape = sized->shape,
                                     .rows_max = SYNTHETIC_ROWS_MAX,
                                     .seqs_max = SYNTHETIC_SEQS_MAX,
                                     .outs_max = SYNTHETIC_SEQS_MAX};
    options.shape.activations = activations;
    if (sized->shape.max_seq_len < SYNTHETIC_ROWS_MAX) options.rows_max = sized->shape.max_seq_len;
    status s = w->k->open(&w->d, &options, err);
    return s == OK ? arrays_take(w, err) : s;
}

/* One weight; *bytes grows by what a step reads of it. */
static status weight_make(struct synthetic_world *w, const weight **out,
                          const struct weight_spec *spec, double *bytes, error *err)
{
    weight *made = NULL;
    double deviation = 1 / sqrt((double)spec->n_columns);
    status s = w->k->weight_begin(&made, w->d, spec, err);
    if (s != OK) return s;
    *out = w->all[w->n_all++] = made;
    if (bytes)
        *bytes +=
            (double)spec->n_rows * (double)(format_row_bytes(spec->format, spec->n_columns) +
                                            format_row_scale_bytes(spec->format, spec->n_columns));
    s = cuda_weight_random(made, SEED + (uint64_t)w->n_all, deviation, err);
    return s == OK ? w->k->weight_seal(made, err) : s;
}

static status layer_make(struct synthetic_world *w, struct layer_weights *l,
                         enum weight_format format, double *dense, double *experts, error *err)
{
    const struct model_shape *m = &w->model->shape;
    int64_t d = m->d_model, heads = (int64_t)m->n_heads * m->head_dim, n = m->moe_num_experts;
    int64_t kv = (int64_t)m->kv_n_heads * m->head_dim, f = m->ffn_hidden_size;
    const struct {
        const weight **to;
        struct weight_spec spec;
        double *bytes;
    } rows[] = {
        {&l->norm_1, {.name = "norm_1", .n_rows = 1, .n_columns = d}, dense},
        {&l->qkv, {.name = "qkv", WEIGHT_FP8_ROW, heads + 2 * kv, d}, dense},
        {&l->out_proj, {.name = "out_proj", WEIGHT_FP8_ROW, d, heads}, dense},
        {&l->norm_2, {.name = "norm_2", .n_rows = 1, .n_columns = d}, dense},
        {&l->router, {.name = "router", WEIGHT_BF16, n, d}, dense},
        {&l->w1, {"w1", format, n * f, d, (int32_t)n, false, false}, experts},
        {&l->v1, {"v1", format, n * f, d, (int32_t)n, false, false}, experts},
        {&l->w2, {"w2", format, n * d, f, (int32_t)n, false, false}, experts},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct weight_spec spec = rows[i].spec;
        if (spec.n_experts == 0) spec.n_experts = 1;
        status s = weight_make(w, rows[i].to, &spec, rows[i].bytes, err);
        if (s != OK) return s;
    }
    return OK;
}

status bench_world_weights_make(struct synthetic_world *w, enum weight_format format, error *err)
{
    const struct model_shape *m = &w->model->shape;
    double d = m->d_model, heads = (double)m->n_heads * m->head_dim, experts = 0;
    double kv = (double)m->kv_n_heads * m->head_dim;
    struct weight_spec wte = {"wte", WEIGHT_BF16, m->vocab_size, m->d_model, 1, false, false};
    struct weight_spec norm = {"norm_f", WEIGHT_F32, 1, m->d_model, 1, false, false};
    struct weight_spec head = {"lm_head", WEIGHT_FP8_ROW, m->vocab_size, m->d_model,
                               1,         false,          false};
    status s = weight_make(w, &w->wte, &wte, NULL, err);
    if (s == OK) s = weight_make(w, &w->norm_f, &norm, &w->sizes.head, err);
    if (s == OK) s = weight_make(w, &w->lm_head, &head, &w->sizes.head, err);
    for (int32_t i = 0; i < m->n_layers && s == OK; i++)
        s = layer_make(w, &w->layers[i], format, &w->sizes.dense, &experts, err);
    w->sizes.row = (double)format_row_bytes(WEIGHT_BF16, m->d_model);
    w->sizes.expert = experts / m->n_layers / m->moe_num_experts;
    w->sizes.dense_flop = 2 * m->n_layers * d * (heads + 2 * kv + heads + m->moe_num_experts);
    w->sizes.expert_flop = 2 * 3 * d * m->ffn_hidden_size;
    w->sizes.head_flop = 2 * d * m->vocab_size;
    return s;
}

/* Every page once, shuffled: pages of a sequence lie anywhere. */
static status pages_shuffle(struct synthetic_world *w, error *err)
{
    w->pages = memory_take((size_t)w->n_pages, sizeof *w->pages);
    if (!w->pages) return fail(err, ERR_MEMORY, "out of memory for a list of %d pages", w->n_pages);
    for (int32_t i = 0; i < w->n_pages; i++) w->pages[i] = i;
    for (int32_t i = w->n_pages - 1; i > 0; i--) {
        int32_t j = (int32_t)(random_at(SEED, (uint64_t)i) % (uint64_t)(i + 1)), page = w->pages[i];
        w->pages[i] = w->pages[j];
        w->pages[j] = page;
    }
    return OK;
}

status bench_world_pages_open(struct synthetic_world *w, enum kv_type type, int64_t tokens_wanted,
                              error *err)
{
    struct memory_plan plan;
    status s = w->k->plan(w->d, type, &plan, err);
    if (s != OK) return s;
    plan.free_bytes -= plan.workspace_bytes;
    size_t spare = plan.free_bytes / 8 < MEMORY_SPARE ? plan.free_bytes / 8 : MEMORY_SPARE;
    size_t fit = (plan.free_bytes - spare) / plan.kv_bytes_per_page;
    int64_t wanted = (tokens_wanted + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    w->n_pages = (int32_t)(fit < (size_t)wanted ? (int64_t)fit : wanted);
    w->sizes.kv_token = (double)plan.kv_bytes_per_page / KV_PAGE_TOKENS;
    if (w->n_pages < 1)
        return fail(err, ERR_MEMORY, "no memory for KV: %zu MiB are free behind the weights",
                    plan.free_bytes / MIB);
    s = w->k->kv_open(&w->kv, w->d, type, w->n_pages, err);
    if (s == OK) s = cuda_pages_random(w->kv, SEED, err);
    return s == OK ? pages_shuffle(w, err) : s;
}

void bench_world_close(struct synthetic_world *w)
{
    void *arrays[] = {w->token,  w->position, w->seq,    w->out_row, w->kv_len, w->seq_row,
                      w->routes, w->table,    w->sample, w->layers,  w->pages};
    if (w->kv) w->k->kv_close(w->kv);
    for (int32_t i = 0; i < w->n_all; i++) w->k->weight_free(w->all[i]);
    if (w->d) w->k->close(w->d);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) memory_free(arrays[i]);
    memory_free(w->all);
    *w = (struct synthetic_world){0};
}

/* top_k different experts for each row of each layer, and how many of a layer's are wanted at all. */
static void routes_draw(struct synthetic_world *w, int32_t n_rows)
{
    const struct model_shape *m = &w->model->shape;
    int32_t experts = m->moe_num_experts, k = m->moe_top_k, *route = w->routes;
    w->n_experts = 0;
    for (int32_t layer = 0; layer < m->n_layers; layer++) {
        uint64_t wanted = 0;
        for (int32_t row = 0; row < n_rows; row++, route += k) {
            uint64_t taken = 0;
            for (int32_t rank = 0; rank < k; rank++) {
                int32_t e;
                do e = (int32_t)(random_at(SEED, w->n_drawn++) % (uint64_t)experts);
                while (taken >> e & 1);
                taken |= (uint64_t)1 << e;
                route[rank] = e;
            }
            wanted |= taken;
        }
        w->n_experts += __builtin_popcountll(wanted);
    }
}

bool bench_world_step_fill(struct synthetic_world *w, int32_t n_seqs, int32_t n_rows,
                           int32_t context, bool with_outs)
{
    int32_t pages = (context + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS, rows = n_seqs * n_rows;
    uint64_t vocab = (uint64_t)w->model->shape.vocab_size;
    if ((int64_t)n_seqs * pages > w->n_pages) return false;
    for (int32_t q = 0; q < n_seqs; q++) {
        w->seq_row[q] = q * n_rows;
        w->kv_len[q] = context;
        w->out_row[q] = (q + 1) * n_rows - 1;
        w->sample[q] = (struct sample_row){.top_p = 1, .repetition_penalty = 1, .mask = -1};
        memcpy(w->table + q * pages, w->pages + q * pages, (size_t)pages * sizeof *w->table);
        for (int32_t i = 0; i < n_rows; i++) {
            int32_t row = q * n_rows + i;
            w->token[row] = (int32_t)(random_at(SEED, w->n_drawn + (uint64_t)row) % vocab);
            w->position[row] = context - n_rows + i;
            w->seq[row] = q;
        }
    }
    w->seq_row[n_seqs] = rows;
    routes_draw(w, rows);
    w->step = (struct step){.n_rows = rows,
                            .n_seqs = n_seqs,
                            .n_outs = with_outs ? n_seqs : 0,
                            .token = w->token,
                            .position = w->position,
                            .seq = w->seq,
                            .seq_row = w->seq_row,
                            .kv_len = w->kv_len,
                            .page_table = w->table,
                            .pages_max = pages,
                            .out_row = w->out_row,
                            .sample = w->sample,
                            .routes_forced = w->routes,
                            .kv = w->kv};
    return true;
}

static void operation_run(struct synthetic_world *w, enum world_operation only, int32_t layer)
{
    const struct layer_weights *l = &w->layers[layer];
    switch (only) {
    case WORLD_ALL: break;
    case WORLD_ATTN_IN: w->k->attn_in(w->d, layer, l); break;
    case WORLD_ATTENTION: w->k->attention(w->d, layer); break;
    case WORLD_ATTN_OUT: w->k->attn_out(w->d, layer, l); break;
    case WORLD_EXPERTS: w->k->experts(w->d, layer, l); break;
    }
}

status bench_world_step_run(struct synthetic_world *w, enum world_operation only, bool repeat,
                            double *took_us, error *err)
{
    const model m = {.config.shape = w->model->shape,
                     .kernels = w->k,
                     .wte = w->wte,
                     .norm_f = w->norm_f,
                     .lm_head = w->lm_head,
                     .layers = w->layers};
    struct step_result result;
    cuda_launch_singly(w->d, only != WORLD_ALL);
    int64_t begun_us = clock_us();
    if (only == WORLD_ALL) {
        forward(&m, w->d, &w->step);
    } else if (w->k->step_begin(w->d, &w->step, 0, 1)) {
        w->k->embed(w->d, w->wte);
        for (int op = WORLD_ATTN_IN; op <= WORLD_EXPERTS; op++)
            operation_run(w, (enum world_operation)op, 0);
        for (int32_t i = 0; i < m.config.shape.n_layers && repeat; i++) operation_run(w, only, i);
        w->k->step_end(w->d);
    }
    status s = w->k->collect(w->d, &result, err);
    *took_us = (double)(clock_us() - begun_us);
    return s;
}
