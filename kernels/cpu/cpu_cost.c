/* What a step costs: the roof of two measured rates, corrected by how steps really went.
 *
 * At open two loops of a few milliseconds measure how fast this machine streams weights and how fast
 * it multiplies what lies in cache, with the device's own inner loops and threads. A step takes at
 * least the larger of bytes and multiply-adds over these. Each whole step then moves the ratio kept
 * for its power of two of rows, so the table learns what the roof does not know. */
#include <math.h>

#include "base/clock.h"
#include "base/memory.h"
#include "kernels/cpu/cpu.h"

enum { STREAM_BYTES = 32 * 1024 * 1024, STREAM_ROW = 2048, CACHE_ROWS = 32, REPEATS = 64 };

struct measure_job {
    const device *d;
    float *weights, *x, *out; /* out: one strip per thread */
    int64_t rows_per_task, n_x, repeats;
};

static void measure_task(void *context, int64_t task, int thread)
{
    const struct measure_job *job = context;
    struct rows out = {job->out + (int64_t)thread * STREAM_ROW * 4, CACHE_ROWS, (int)job->n_x};
    struct rows x = {job->x, STREAM_ROW, (int)job->n_x};
    for (int64_t i = 0; i < job->repeats; i++) {
        const float *w = job->weights + (task * job->rows_per_task) * STREAM_ROW;
        job->d->math->dot(
            out,
            (struct panel){.bytes = w, .stride = STREAM_ROW, .n_rows = (int)job->rows_per_task}, x,
            STREAM_ROW);
    }
}

static double measure_us(struct measure_job *job, int64_t n_tasks)
{
    int64_t best = INT64_MAX;
    for (int i = 0; i < 3; i++) {
        int64_t begun = clock_us();
        pool_run(job->d->threads, measure_task, job, n_tasks, 1e9);
        int64_t took = clock_us() - begun;
        if (took < best) best = took;
    }
    return best > 0 ? (double)best : 1;
}

void cpu_cost_measure(device *d)
{
    int n_threads = pool_threads(d->threads);
    struct measure_job job = {.d = d, .rows_per_task = CACHE_ROWS, .n_x = 1, .repeats = 1};
    d->cost.bytes_per_us = 1e4;
    d->cost.multiply_adds_per_us = 1e4;
    d->cost.weight_bytes_per_element = 2;
    job.weights = memory_take(STREAM_BYTES, 1);
    job.x = memory_take((size_t)CACHE_ROWS * STREAM_ROW, sizeof *job.x);
    job.out = memory_take((size_t)n_threads * STREAM_ROW * 4, sizeof *job.out);
    if (job.weights && job.x && job.out) {
        for (size_t i = 0; i < STREAM_BYTES / sizeof(float); i += 1024) job.weights[i] = 1;
        int64_t row_bytes = (int64_t)STREAM_ROW * 4, rows = STREAM_BYTES / row_bytes;
        d->cost.bytes_per_us = STREAM_BYTES / measure_us(&job, rows / CACHE_ROWS);
        job.n_x = CACHE_ROWS;
        job.repeats = 2;
        double multiply_adds = 2.0 * n_threads * CACHE_ROWS * CACHE_ROWS * STREAM_ROW;
        d->cost.multiply_adds_per_us = multiply_adds / measure_us(&job, n_threads);
    }
    memory_free(job.weights);
    memory_free(job.x);
    memory_free(job.out);
}

static int bucket(int32_t n_rows)
{
    int b = 0;
    while (b < 15 && n_rows >> (b + 1)) b++;
    return b;
}

/* The larger of reading and computing, in microseconds. */
static double roof_us(const device *d, const struct step_shape *shape)
{
    const struct model_shape *s = &d->s;
    double model = s->d_model, rows = shape->n_rows, experts = s->moe_num_experts, k = s->moe_top_k;
    double dense = s->n_layers * model * (double)(d->qkv_width + d->heads_width);
    double expert = s->n_layers * 3.0 * model * s->ffn_hidden_size;
    double head = shape->n_outs ? model * s->vocab_size : 0;
    double read_experts = experts * (1 - pow(1 - k / experts, rows));
    double kv = (double)shape->n_kv_tokens * s->n_layers * 2 * s->kv_n_heads * s->head_dim;
    double bytes =
        (dense + head + read_experts * expert) * d->cost.weight_bytes_per_element + 2 * kv;
    double rows_per_seq = rows / (shape->n_seqs > 0 ? shape->n_seqs : 1);
    double attention = kv * rows_per_seq * s->n_heads / s->kv_n_heads;
    double multiply_adds = rows * (dense + k * expert) + shape->n_outs * head + attention;
    return fmax(bytes / d->cost.bytes_per_us, multiply_adds / d->cost.multiply_adds_per_us);
}

void cpu_cost_begin(device *d, const struct step *s, bool whole)
{
    (void)s;
    d->cost.begun_us = clock_us();
    d->cost.whole = whole;
}

static struct step_shape shape_of(const struct step *s)
{
    struct step_shape shape = {.n_rows = s->n_rows, .n_seqs = s->n_seqs, .n_outs = s->n_outs};
    for (int32_t i = 0; i < s->n_seqs; i++) shape.n_kv_tokens += s->kv_len[i];
    return shape;
}

void cpu_cost_end(device *d)
{
    if (!d->step || !d->cost.whole || d->step->n_rows == 0) return;
    struct step_shape shape = shape_of(d->step);
    double ratio = (double)(clock_us() - d->cost.begun_us) / roof_us(d, &shape);
    double *known = &d->cost.ratio[bucket(shape.n_rows)];
    *known = *known > 0 ? 0.8 * *known + 0.2 * ratio : ratio;
}

double cpu_step_cost(const device *d, const struct step_shape *shape)
{
    int wanted = bucket(shape->n_rows);
    double ratio = 1;
    for (int distance = 15; distance >= 0; distance--) {
        if (wanted >= distance && d->cost.ratio[wanted - distance] > 0)
            ratio = d->cost.ratio[wanted - distance];
        if (wanted + distance < 16 && d->cost.ratio[wanted + distance] > 0)
            ratio = d->cost.ratio[wanted + distance];
    }
    return roof_us(d, shape) * ratio;
}
