/* What a step costs: bytes to read over a rate measured at open, or multiply-adds over a share of it,
 * whichever is more; and each whole step moves the ratio kept for its power of two of rows, so that
 * the table learns what the roof does not know. */
#include <math.h>

#include "base/clock.h"
#include "kernels/cuda/cuda.h"

enum {
    COPY_BYTES_MAX = 64 * 1024 * 1024,
    COPY_SHARE = 512,            /* of the device's memory, at most, to measure with */
    MULTIPLY_ADDS_PER_BYTE = 50, /* where the roof begins to bend; measured steps correct it */
    REPEATS = 3
};

/* A copy inside the device reads and writes every byte; its best time of three. */
void cuda_cost_measure(device *d)
{
    size_t bytes = d->info.total_bytes / COPY_SHARE;
    void *from = NULL, *to = NULL;
    int64_t best = INT64_MAX;
    d->cost.bytes_per_us = 1e6;
    d->cost.weight_bytes_per_element = 1;
    if (bytes > COPY_BYTES_MAX) bytes = COPY_BYTES_MAX;
    if (bytes == 0 || d->run->take(&from, bytes) != 0) return;
    if (d->run->take(&to, bytes) == 0) {
        for (int i = 0; i <= REPEATS && d->run->wait(d->stream) == 0; i++) {
            int64_t begun = clock_us();
            if (d->run->copy(to, from, bytes, d->stream) != 0 || d->run->wait(d->stream) != 0)
                break;
            int64_t took = clock_us() - begun;
            if (i > 0 && took < best) best = took;
        }
        d->run->give(to);
    }
    d->run->give(from);
    if (best < INT64_MAX)
        d->cost.bytes_per_us = 2.0 * (double)bytes / (double)(best > 0 ? best : 1);
}

static int bucket(int32_t n_rows)
{
    int b = 0;
    while (b < CUDA_BUCKETS - 1 && n_rows >> (b + 1)) b++;
    return b;
}

static double roof_us(const device *d, const struct step_shape *shape)
{
    const struct model_shape *s = &d->s;
    double model = s->d_model, rows = shape->n_rows, experts = s->moe_num_experts, k = s->moe_top_k;
    double dense = s->n_layers * model * (double)(d->qkv_width + d->heads_width);
    double expert = s->n_layers * 3.0 * model * s->ffn_hidden_size;
    double head = shape->n_outs ? model * s->vocab_size : 0;
    double read = experts * (1 - pow(1 - k / experts, rows));
    double kv = (double)shape->n_kv_tokens * s->n_layers * 2 * s->kv_n_heads * s->head_dim;
    double bytes = (dense + head + read * expert) * d->cost.weight_bytes_per_element + 2 * kv;
    double rows_per_seq = rows / (shape->n_seqs > 0 ? shape->n_seqs : 1);
    double attention = kv * rows_per_seq * s->n_heads / s->kv_n_heads;
    double multiply_adds = rows * (dense + k * expert) + shape->n_outs * head + attention;
    return fmax(bytes, multiply_adds / MULTIPLY_ADDS_PER_BYTE) / d->cost.bytes_per_us;
}

void cuda_cost_begin(device *d, bool whole)
{
    d->cost.begun_us = clock_us();
    d->cost.whole = whole;
}

void cuda_cost_end(device *d)
{
    const struct step *s = d->step;
    if (!s || !d->cost.whole || s->n_rows == 0) return;
    struct step_shape shape = {.n_rows = s->n_rows, .n_seqs = s->n_seqs, .n_outs = s->n_outs};
    for (int32_t i = 0; i < s->n_seqs; i++) shape.n_kv_tokens += s->kv_len[i];
    double ratio = (double)(clock_us() - d->cost.begun_us) / roof_us(d, &shape);
    double *known = &d->cost.ratio[bucket(shape.n_rows)];
    *known = *known > 0 ? 0.8 * *known + 0.2 * ratio : ratio;
    d->cost.whole = false;
}

double cuda_step_cost(const device *d, const struct step_shape *shape)
{
    int wanted = bucket(shape->n_rows);
    double ratio = 1;
    for (int distance = CUDA_BUCKETS - 1; distance >= 0; distance--) {
        if (wanted >= distance && d->cost.ratio[wanted - distance] > 0)
            ratio = d->cost.ratio[wanted - distance];
        if (wanted + distance < CUDA_BUCKETS && d->cost.ratio[wanted + distance] > 0)
            ratio = d->cost.ratio[wanted + distance];
    }
    return roof_us(d, shape) * ratio;
}
