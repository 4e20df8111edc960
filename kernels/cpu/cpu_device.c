/* Memory of a CPU device, the frame of a step, and the table. All buffers are taken at open for the
 * largest step, so a step cannot run out of memory. */
#include <math.h>
#include <stdio.h>
#include <unistd.h>

#include "base/memory.h"
#include "kernels/cpu/cpu.h"
#include "kernels/host.h"

static void cpu_close(device *d)
{
    if (!d) return;
    pool_close(d->threads);
    arena_reset(&d->memory);
    memory_free(d);
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

static size_t groups_of(size_t k) { return (k + INT4_GROUP - 1) / INT4_GROUP; }

static size_t columns_max(const device *d)
{
    return larger(larger((size_t)d->s.d_model, (size_t)d->s.ffn_hidden_size),
                  (size_t)d->heads_width);
}

/* Vectors in it are loaded whole. */
static void *aligned_take(arena *m, size_t n)
{
    unsigned char *block = arena_take(m, n + 64, 1);
    return block ? block + (64 - (uintptr_t)block % 64) : NULL;
}

/* Whether products with some format want activations in a form of their own. */
static bool has_forms(const device *d)
{
    bool has = false;
    for (int f = 0; f <= WEIGHT_INT4_G128; f++)
        has |= d->math->forms[d->s.activations][f] != CODES_NONE;
    return has;
}

/* Room for `rows` rows of k values; none where activations have no codes. */
static struct codes codes_take(device *d, size_t rows, size_t k)
{
    arena *m = &d->memory;
    /* Rows a power of two apart would meet in one set of the cache. */
    struct codes c = {.n_groups = groups_of(k), .stride = groups_of(k) * INT4_GROUP + 64};
    if (!has_forms(d)) return (struct codes){.form = CODES_NONE};
    c.bytes = aligned_take(m, rows * c.stride * sizeof(int16_t));
    c.scales = arena_take(m, rows * c.n_groups, sizeof *c.scales);
    c.sums = arena_take(m, rows * c.n_groups, sizeof *c.sums);
    return c;
}

static void scratch_take(device *d, struct cpu_scratch *c)
{
    arena *m = &d->memory;
    size_t hd = (size_t)d->s.head_dim, vectors = (size_t)d->vectors_max;
    size_t k = columns_max(d), tile = (size_t)d->o.rows_max * WEIGHT_TILE;
    bool codes = has_forms(d);
    c->panel = arena_take(m, larger(4 * COLUMN_BLOCK, TERM_BLOCK * COLUMN_TILE), sizeof(float));
    c->lanes =
        arena_take(m, (size_t)WEIGHT_TILE * ROW_BLOCK * (size_t)d->math->lanes, sizeof(float));
    c->tile = arena_take(m, larger(ROW_TILE * COLUMN_TILE, tile), sizeof(float));
    c->pack = aligned_take(m, codes ? groups_of(k) * INT4_GROUP * PACK_BYTES : 0);
    c->keys = arena_take(m, ATTENTION_CHUNK * hd, sizeof(float));
    c->values = arena_take(m, ATTENTION_CHUNK * hd, sizeof(float));
    c->query = arena_take(m, vectors * hd, sizeof(float));
    c->part = arena_take(m, vectors * hd, sizeof(float));
    c->score = arena_take(m, vectors * ATTENTION_CHUNK, sizeof(float));
    c->largest = arena_take(m, vectors, sizeof(float));
    c->total = arena_take(m, vectors, sizeof(float));
    c->chunk = arena_take(m, 2 * vectors, sizeof(float));
    c->sampling.weight = arena_take(m, (size_t)d->s.vocab_size + LANES_MAX, sizeof(float));
    c->sampling.id = arena_take(m, (size_t)d->s.vocab_size, sizeof(int32_t));
}

static void buffers_take(device *d)
{
    arena *m = &d->memory;
    size_t rows = (size_t)d->o.rows_max, model = (size_t)d->s.d_model;
    size_t outs = (size_t)d->o.outs_max, ffn = (size_t)d->s.ffn_hidden_size;
    size_t k = (size_t)d->s.moe_top_k, entries = rows * k;
    size_t blocks = (ffn + TERM_BLOCK - 1) / TERM_BLOCK;
    d->x = arena_take(m, (size_t)d->slices * rows * model, sizeof(float));
    d->y = arena_take(m, larger(rows, outs) * model, sizeof(float));
    d->qkv = arena_take(m, rows * (size_t)d->qkv_width, sizeof(float));
    d->attended = arena_take(m, rows * (size_t)d->heads_width, sizeof(float));
    d->projected = arena_take(m, rows * model, sizeof(float));
    d->turn = arena_take(m, rows * (size_t)d->s.head_dim, sizeof(float));
    d->inverse_wave = arena_take(m, (size_t)d->s.head_dim / 2, sizeof(double));
    d->blocks = arena_take(m, rows, sizeof *d->blocks);
    d->route = arena_take(m, entries, sizeof *d->route);
    d->slot = arena_take(m, entries, sizeof *d->slot);
    d->gate = arena_take(m, entries, sizeof(float));
    d->entry_y = arena_take(m, entries * model, sizeof(float));
    d->hidden = arena_take(m, entries * ffn, sizeof(float));
    d->down = arena_take(m, entries * model, sizeof(float));
    d->y_codes = codes_take(d, larger(rows, outs), model);
    d->attended_codes = codes_take(d, rows, (size_t)d->heads_width);
    d->entry_codes = codes_take(d, entries, model);
    d->hidden_codes = codes_take(d, entries, ffn);
    d->partial = arena_take(m, PARTIAL_ROWS_MAX * k * blocks * model, sizeof(float));
    d->routes = arena_take(m, (size_t)d->s.n_layers * entries, sizeof *d->routes);
    d->logits = arena_take(m, outs * (size_t)d->s.vocab_size, sizeof(float));
    d->out = arena_take(m, outs, sizeof *d->out);
    d->scratch = arena_take(m, (size_t)pool_threads(d->threads), sizeof *d->scratch);
    for (int t = 0; d->scratch && t < pool_threads(d->threads); t++)
        scratch_take(d, &d->scratch[t]);
}

static int threads_wanted(const struct device_options *o)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long n = o->n_threads > 0 ? o->n_threads : cores;
    return n < 1 ? 1 : n > 256 ? 256 : (int)n;
}

static void shape_take(device *d, const struct device_options *o)
{
    d->o = *o;
    d->s = o->shape;
    d->slices = o->slices_max > 0 ? o->slices_max : 1;
    d->heads_width = d->s.n_heads * d->s.head_dim;
    d->qkv_width = d->heads_width + 2 * d->s.kv_n_heads * d->s.head_dim;
    int32_t group = d->s.n_heads / d->s.kv_n_heads;
    d->vectors_max = group > ATTENTION_ROWS ? group : ATTENTION_ROWS;
    snprintf(d->description, sizeof d->description, "cpu %s", d->math->name);
}

static status cpu_open(device **out, const struct device_options *o, error *err)
{
    *out = NULL;
    status rc = device_options_check(o, err);
    if (rc != OK) return rc;
    device *d = memory_take(1, sizeof *d);
    if (!d) return fail(err, ERR_MEMORY, "cpu: out of memory");
    rc = cpu_math_find(&d->math, o->variant, err);
    if (rc == OK) rc = pool_open(&d->threads, threads_wanted(o), err);
    if (rc != OK) goto out;
    shape_take(d, o);
    buffers_take(d);
    if (d->memory.failed) {
        rc = fail(err, ERR_MEMORY, "cpu: no memory for steps of %d rows and %d outputs",
                  o->rows_max, o->outs_max);
        goto out;
    }
    for (int32_t i = 0; i < d->s.head_dim / 2; i++)
        d->inverse_wave[i] = pow(d->s.rope_theta, -2.0 * i / d->s.head_dim);
    cpu_cost_measure(d);
    *out = d;
    d = NULL;
out:
    cpu_close(d);
    return rc;
}

static status cpu_plan(device *d, enum kv_type kv, struct memory_plan *out, error *err)
{
    (void)err;
    *out = (struct memory_plan){
        .workspace_bytes = d->memory.used_bytes,
        .kv_bytes_per_page = pages_bytes(&d->s, kv),
        .free_bytes = host_memory_available(),
    };
    return OK;
}

static status cpu_kv_open(kv_pool **out, device *d, enum kv_type type, int32_t n, error *err)
{
    return pages_open(out, &d->s, type, n, err);
}

/* cos and sin of every row's angles, once per step, in double: positions reach 32768. */
static void turns_compute(device *d)
{
    int32_t half = d->s.head_dim / 2;
    for (int32_t r = 0; r < d->step->n_rows; r++)
        for (int32_t i = 0; cpu_is_row(d, r) && i < half; i++) {
            double angle = d->step->position[r] * d->inverse_wave[i];
            float *turn = d->turn + ((size_t)r * (size_t)half + (size_t)i) * 2;
            turn[0] = (float)cos(angle);
            turn[1] = (float)sin(angle);
        }
}

static bool cpu_step_begin(device *d, const struct step *s, int32_t from, int32_t to)
{
    d->step = NULL;
    if (d->failure.code != OK || step_check(s, &d->o, d->n_slots, &d->failure) != OK) return false;
    d->step = s;
    cpu_cost_begin(d, s, from == 0 && to == d->s.n_layers);
    cpu_attention_plan(d);
    turns_compute(d);
    return true;
}

static void cpu_step_end(device *d) { cpu_cost_end(d); }

static status cpu_collect(device *d, struct step_result *out, error *err)
{
    *out = (struct step_result){0};
    if (d->failure.code != OK) return fail(err, d->failure.code, "%s", d->failure.message);
    out->sampled = d->out;
    if (d->step && d->step->want_logits) out->logits = d->logits;
    if (d->step && d->step->want_routes) out->routes = d->routes;
    return OK;
}

static const char *cpu_describe(const device *d) { return d->description; }

const struct kernels kernels_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .plan = cpu_plan,
    .weight_begin = cpu_weight_begin,
    .weight_put = cpu_weight_put,
    .weight_seal = cpu_weight_seal,
    .weight_free = cpu_weight_free,
    .kv_open = cpu_kv_open,
    .kv_close = pages_close,
    .pages_copy = pages_copy,
    .pages_save = pages_save,
    .pages_load = pages_load,
    .step_begin = cpu_step_begin,
    .embed = cpu_embed,
    .attn_in = cpu_attn_in,
    .attention = cpu_attention,
    .attn_out = cpu_attn_out,
    .experts = cpu_experts,
    .head = cpu_head,
    .sample = cpu_sample,
    .step_end = cpu_step_end,
    .collect = cpu_collect,
    .step_cost = cpu_step_cost,
    .describe = cpu_describe,
};
