/* Attention over pages, in chunks of 256 positions that always begin at a multiple of 256.
 *
 * Each chunk is a softmax of its own (maximum, sum, weighted values); chunks are folded in ascending
 * order. So a row's result depends on its position and keys alone: not on the rows beside it, nor
 * on where a prefix was cut. A task is one KV head for a block of neighbouring rows: K and V of a
 * chunk are widened once and used by all query heads of the group and all rows of the block.
 * Sources: Milakov and Gimelshein 2018 (online softmax); Dao et al. 2022 (folding by chunks). */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

struct attention_job {
    const device *d;
    int32_t layer;
};

/* One task's view: `group` query heads of one KV head for the rows of a block. */
struct attention_view {
    const device *d;
    const struct cpu_scratch *scratch;
    struct attention_block block;
    int32_t layer, kv_head, group, head_dim;
};

void cpu_attention_plan(device *d)
{
    const struct step *s = d->step;
    int32_t group = d->s.n_heads / d->s.kv_n_heads;
    int32_t most = ATTENTION_ROWS / group > 0 ? ATTENTION_ROWS / group : 1;
    d->n_blocks = 0;
    for (int32_t r = 0; r < s->n_rows; r++) {
        struct attention_block *last = d->n_blocks ? &d->blocks[d->n_blocks - 1] : NULL;
        if (s->seq[r] < 0) continue;
        if (last && last->n_rows < most && last->row + last->n_rows == r &&
            s->seq[last->row] == s->seq[r])
            last->n_rows++;
        else
            d->blocks[d->n_blocks++] = (struct attention_block){r, 1};
    }
}

/* K or V of positions [from, from + n) of one head, in fp32. */
static void chunk_load(const struct attention_view *v, float *to, int which, int32_t from,
                       int32_t n)
{
    const struct step *s = v->d->step;
    const int32_t *pages =
        s->page_table + (size_t)s->seq[v->block.row] * (size_t)s->pages_max + from / KV_PAGE_TOKENS;
    for (int32_t p = 0; p * KV_PAGE_TOKENS < n; p++) {
        int32_t left = n - p * KV_PAGE_TOKENS;
        int32_t vectors = left < KV_PAGE_TOKENS ? left : KV_PAGE_TOKENS;
        v->d->math->decode_kv(to + (size_t)(p * KV_PAGE_TOKENS * v->head_dim), s->kv->type,
                              pages_head(s->kv, pages[p], v->layer, which, v->kv_head),
                              vectors * v->head_dim);
    }
}

/* How many positions of the chunk at `from` the block's row i sees. */
static int32_t visible(const struct attention_view *v, int32_t i, int32_t from)
{
    int32_t n = v->d->step->position[v->block.row + i] + 1 - from;
    return n < 0 ? 0 : n > ATTENTION_CHUNK ? ATTENTION_CHUNK : n;
}

/* The row's own maximum and exponentials in this chunk, and the factors by which what earlier chunks
 * gave and what this one gives come together. */
static void row_soften(const struct attention_view *v, int32_t i, int32_t n, float scale)
{
    const struct cpu_scratch *c = v->scratch;
    const struct cpu_math *math = v->d->math;
    size_t first = (size_t)i * (size_t)v->group;
    for (size_t j = first; j < first + (size_t)v->group; j++) {
        float *score = c->score + j * ATTENTION_CHUNK;
        float largest = math->scale_largest(score, scale, n);
        float sum = math->exp_sum(score, largest, n);
        float merged = largest > c->largest[j] ? largest : c->largest[j];
        float old = expf(c->largest[j] - merged), fresh = expf(largest - merged);
        c->total[j] = c->total[j] * old + sum * fresh;
        c->largest[j] = merged;
        c->chunk[2 * j] = old;
        c->chunk[2 * j + 1] = fresh;
    }
}

/* Weighted values of n positions for n_rows rows from the block's row i. */
static void rows_weigh(const struct attention_view *v, int32_t i, int32_t n_rows, int32_t n)
{
    const struct cpu_scratch *c = v->scratch;
    size_t first = (size_t)i * (size_t)v->group, hd = (size_t)v->head_dim;
    int vectors = n_rows * v->group;
    memset(c->part + first * hd, 0, (size_t)vectors * hd * sizeof(float));
    v->d->math->accumulate(
        (struct rows){c->part + first * hd, hd, vectors},
        (struct panel){.bytes = c->values, .stride = hd, .n_rows = n},
        (struct rows){c->score + first * ATTENTION_CHUNK, ATTENTION_CHUNK, vectors}, v->head_dim);
}

static float *row_out(const struct attention_view *v, int32_t i)
{
    return v->d->attended + (size_t)(v->block.row + i) * (size_t)v->d->heads_width +
           (size_t)(v->kv_head * v->group * v->head_dim);
}

/* What this chunk gave to the row, folded into what earlier chunks gave. */
static void row_fold(const struct attention_view *v, int32_t i)
{
    const struct cpu_scratch *c = v->scratch;
    float *out = row_out(v, i);
    size_t hd = (size_t)v->head_dim, first = (size_t)i * (size_t)v->group;
    for (size_t j = first; j < first + (size_t)v->group; j++, out += hd) {
        const float *part = c->part + j * hd;
        float old = c->chunk[2 * j], fresh = c->chunk[2 * j + 1];
        for (size_t t = 0; t < hd; t++) out[t] = out[t] * old + part[t] * fresh;
    }
}

/* Rows that all see the whole chunk share one pass over its values. */
static void chunk_fold(const struct attention_view *v, int32_t from, int32_t n, float scale)
{
    bool whole = visible(v, 0, from) == n;
    for (int32_t i = 0; i < v->block.n_rows; i++)
        if (visible(v, i, from) > 0) row_soften(v, i, visible(v, i, from), scale);
    if (whole) rows_weigh(v, 0, v->block.n_rows, n);
    for (int32_t i = 0; i < v->block.n_rows; i++) {
        if (visible(v, i, from) == 0) continue;
        if (!whole) rows_weigh(v, i, 1, visible(v, i, from));
        row_fold(v, i);
    }
}

static void block_attend(const struct attention_view *v)
{
    const struct cpu_scratch *c = v->scratch;
    const device *d = v->d;
    int32_t last = d->step->position[v->block.row + v->block.n_rows - 1], hd = v->head_dim;
    int vectors = v->block.n_rows * v->group;
    float scale = (float)(1 / sqrt((double)hd));
    for (int32_t from = 0; from <= last; from += ATTENTION_CHUNK) {
        int32_t n = last + 1 - from < ATTENTION_CHUNK ? last + 1 - from : ATTENTION_CHUNK;
        chunk_load(v, c->keys, 0, from, n);
        chunk_load(v, c->values, 1, from, n);
        d->math->dot((struct rows){c->score, ATTENTION_CHUNK, vectors},
                     (struct panel){.bytes = c->keys, .stride = (size_t)hd, .n_rows = n},
                     (struct rows){c->query, (size_t)hd, vectors}, (size_t)hd);
        chunk_fold(v, from, n, scale);
    }
}

static void attention_task(void *context, int64_t task, int thread)
{
    const struct attention_job *job = context;
    const device *d = job->d;
    int32_t group = d->s.n_heads / d->s.kv_n_heads, hd = d->s.head_dim, width = group * hd;
    struct attention_view v = {.d = d,
                               .scratch = &d->scratch[thread],
                               .block = d->blocks[task / d->s.kv_n_heads],
                               .layer = job->layer,
                               .kv_head = (int32_t)(task % d->s.kv_n_heads),
                               .group = group,
                               .head_dim = hd};
    const struct cpu_scratch *c = v.scratch;
    for (int32_t i = 0; i < v.block.n_rows; i++) {
        size_t row = (size_t)v.block.row + (size_t)i;
        size_t column = (size_t)v.kv_head * (size_t)width;
        memcpy(c->query + (size_t)i * (size_t)width, d->qkv + row * (size_t)d->qkv_width + column,
               (size_t)width * sizeof(float));
        memset(d->attended + row * (size_t)d->heads_width + column, 0,
               (size_t)width * sizeof(float));
    }
    for (int32_t j = 0; j < v.block.n_rows * group; j++) {
        c->largest[j] = -INFINITY;
        c->total[j] = 0;
    }
    block_attend(&v);
    for (int32_t i = 0; i < v.block.n_rows; i++) {
        float *out = row_out(&v, i);
        for (int32_t j = i * group; j < (i + 1) * group; j++, out += hd)
            for (int32_t t = 0; t < hd; t++) out[t] /= c->total[j];
    }
}

void cpu_attention(device *d, int32_t layer)
{
    struct attention_job job = {d, layer};
    double work = 0;
    if (!d->step) return;
    for (int32_t b = 0; b < d->n_blocks; b++)
        work += 2.0 * d->blocks[b].n_rows * d->step->position[d->blocks[b].row] * d->heads_width;
    pool_run(d->threads, attention_task, &job, (int64_t)d->n_blocks * d->s.kv_n_heads, work);
}
