/* Costs of one H200: 4.3 TB/s measured copy bandwidth at the shares of it that decoding is to reach
 * (87 % FP8, 80 % INT4), prefill of 32,768 tokens in 4.0 and 5.0 seconds; four of sixteen experts for
 * one row, all from about sixteen rows on. The CPU is a small model on two cores: 2.2 billion
 * parameters in 16 bits at 25 GB/s and 150 GFLOP/s. */
#include "inference/simulate/table_device.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "inference/scheduler_policy.h"

enum { TABLE_VOCAB = 64, TABLE_OUTS_MAX = 1024 };

#define DBRX_SHAPE                                                                                 \
    {                                                                                              \
        .d_model = 6144, .n_heads = 48, .kv_n_heads = 8, .head_dim = 128, .n_layers = 40,          \
        .ffn_hidden_size = 10752, .moe_num_experts = 16, .moe_top_k = 4,                           \
        .vocab_size = TABLE_VOCAB, .max_seq_len = 32768, .rope_theta = 500000, .clip_qkv = 8       \
    }

static const struct table_costs tables[] = {
    {"h200-int4", 4.1e9, 65.6e9, 81920, 4.3e6 * 0.80, 70.5e9, 462e6, DBRX_SHAPE, 905000, 2048},
    {"h200-fp8", 4.2e9, 126.8e9, 81920, 4.3e6 * 0.87, 70.5e9, 577e6, DBRX_SHAPE, 155000, 2048},
    {"cpu",
     0.66e9,
     3.32e9,
     24576,
     25e3,
     1.08e9,
     150e3,
     {.d_model = 2048,
      .n_heads = 16,
      .kv_n_heads = 4,
      .head_dim = 128,
      .n_layers = 12,
      .ffn_hidden_size = 1408,
      .moe_num_experts = 16,
      .moe_top_k = 4,
      .vocab_size = TABLE_VOCAB,
      .max_seq_len = 32768,
      .rope_theta = 500000,
      .clip_qkv = 8},
     131072,
     512},
};

struct device {
    const struct table_costs *costs;
    double clock_us;
    double launch_us;
    const struct step *step;
    int64_t row_layers;
    struct {
        int32_t layer, n_rows;
        int32_t first_position;
    } slices[SLICES_MAX];
    error failure;
    struct sample_result sampled[TABLE_OUTS_MAX];
};

const struct table_costs *table_costs_find(const char *name)
{
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        if (strcmp(tables[i].name, name) == 0) return &tables[i];
    return NULL;
}

const char *table_costs_names(void) { return "h200-int4, h200-fp8, cpu"; }

status table_device_open(device **out, const struct table_costs *costs, error *err)
{
    device *d = *out = memory_take(1, sizeof *d);
    if (!d) return fail(err, ERR_MEMORY, "out of memory for a simulated device");
    d->costs = costs;
    return OK;
}

void table_device_close(device *d) { memory_free(d); }

int64_t table_device_now_us(const device *d) { return (int64_t)d->clock_us; }

void table_device_wait(device *d, int64_t until_us)
{
    if ((double)until_us > d->clock_us) d->clock_us = (double)until_us;
}

int64_t table_device_row_layers(const device *d) { return d->row_layers; }

static double table_step_cost(const device *d, const struct step_shape *shape)
{
    const struct table_costs *c = d->costs;
    const struct model_shape *m = &c->shape;
    double missed = 1 - (double)m->moe_top_k / m->moe_num_experts, rows = shape->n_rows;
    double bytes = c->dense_bytes + c->experts_bytes * (1 - pow(missed, rows)) +
                   c->kv_bytes * (double)shape->n_kv_tokens;
    double rows_per_seq = shape->n_seqs ? rows / shape->n_seqs : 0;
    double attention =
        4.0 * m->n_layers * m->n_heads * m->head_dim * rows_per_seq * (double)shape->n_kv_tokens;
    return fmax(bytes / c->bytes_per_us, (rows * c->row_flops + attention) / c->flops_per_us);
}

/* A slice goes on where it stands, with the rows it began with. */
static void slice_follow(device *d, const struct step *s, int32_t from, int32_t to)
{
    int32_t position = s->n_rows ? s->position[0] : 0;
    if (from > 0 && (d->slices[s->slice].layer != from || d->slices[s->slice].n_rows != s->n_rows ||
                     d->slices[s->slice].first_position != position))
        fail(&d->failure, ERR_DEVICE,
             "slice %d goes on at layer %d with %d rows, stands at %d of %d", s->slice, from,
             s->n_rows, d->slices[s->slice].layer, d->slices[s->slice].n_rows);
    d->slices[s->slice].layer = to;
    d->slices[s->slice].n_rows = s->n_rows;
    d->slices[s->slice].first_position = position;
}

/* Nothing is left to call: the step has been replayed. */
static bool table_step_begin(device *d, const struct step *s, int32_t from, int32_t to)
{
    struct step_shape shape = {.n_rows = s->n_rows, .n_seqs = s->n_seqs, .n_outs = s->n_outs};
    for (int32_t i = 0; i < s->n_seqs; i++) shape.n_kv_tokens += s->kv_len[i];
    d->step = s;
    if (s->n_outs > TABLE_OUTS_MAX || s->slice < 0 || s->slice >= SLICES_MAX)
        fail(&d->failure, ERR_DEVICE, "%d outputs in slice %d", s->n_outs, s->slice);
    else
        slice_follow(d, s, from, to);
    d->launch_us = table_step_cost(d, &shape) * (to - from) / d->costs->shape.n_layers;
    d->row_layers += (int64_t)s->n_rows * (to - from);
    return false;
}

static void table_step_end(device *d) { d->clock_us += d->launch_us; }

static status table_collect(device *d, struct step_result *out, error *err)
{
    *out = (struct step_result){.sampled = d->sampled};
    if (d->failure.code != OK) return fail(err, d->failure.code, "%s", d->failure.message);
    return OK;
}

static void table_pages_copy(kv_pool *kv, const int32_t *to, const int32_t *from, int32_t n)
{
    (void)kv, (void)to, (void)from, (void)n;
}

const struct kernels kernels_table = {
    .name = "table",
    .pages_copy = table_pages_copy,
    .step_begin = table_step_begin,
    .step_end = table_step_end,
    .collect = table_collect,
    .step_cost = table_step_cost,
};
