/* What warpgroups do of steps of many rows on compute capability 9.0: attention, and products, for which
 * activations are laid down in the entries' order where they are not, and maps made of what the copy engine
 * fetches.
 *
 * Maps are made with each launch: that is arithmetic of the host, and steps of so many rows are launched
 * one by one. Packed activations lie in the buffer of what w2 hands on, which is free until w2 runs. */
#include "kernels/cuda/cuda.h"

static bool is_here(const device *d) { return d->info.capability == 90 && !d->tiles_only; }

bool cuda_wide_e4m3(const device *d, enum weight_format format)
{
    return is_here(d) && d->s.activations == ACTIVATION_E4M3 &&
           (format == WEIGHT_FP8_ROW || format == WEIGHT_INT4_G128);
}

/* E4M3 by E4M3 where both are exact in it, else bf16. Attention's result has no E4M3. */
static int32_t x_bytes_of(const device *d, const struct cuda_product *p)
{
    return cuda_wide_e4m3(d, p->w.format) && p->x.e4m3 ? 1 : 2;
}

bool cuda_wide_attends(const device *d) { return is_here(d) && d->s.head_dim == 128; }

bool cuda_wide_can(const device *d, const struct cuda_product *p)
{
    if (!is_here(d)) return false;
    return !p->x_row ||
           (size_t)p->w.k * (size_t)x_bytes_of(d, p) <= (size_t)d->s.d_model * sizeof(float);
}

static void pack(device *d, const struct cuda_product *p, const void *from, int32_t row_bytes,
                 int32_t entries)
{
    struct cuda_pack a = {.from = from,
                          .to = (unsigned char *)d->down,
                          .x_row = p->x_row,
                          .first = p->first,
                          .n_groups = p->n_groups,
                          .row_bytes = row_bytes,
                          .entries_bound = entries};
    d->launch->pack(&a, d->stream);
    cuda_launched(d, "pack");
}

static bool map(device *d, struct cuda_map *out, const void *at, int64_t row_bytes, int64_t n_rows,
                int32_t box_bytes, int32_t box_rows)
{
    return cuda_ok(d, d->run->map(out, at, row_bytes, n_rows, box_bytes, box_rows), "a tensor map");
}

void cuda_product_wide(device *d, const struct cuda_product *p)
{
    struct cuda_wide a = {.p = *p, .x_bytes = x_bytes_of(d, p), .blocks = d->info.n_processors};
    int32_t entries = p->first ? p->rows_bound * d->s.moe_top_k : p->rows_bound;
    int64_t rows = (int64_t)p->n_groups * p->n;
    int32_t box = (int32_t)(CUDA_WIDE_BYTES / a.x_bytes * p->w.row_bytes / p->w.k);
    int32_t x_row = p->w.k * a.x_bytes;
    const void *x = a.x_bytes == 1 ? (const void *)p->x.e4m3 : p->x.bf16;
    if (p->x_row) {
        pack(d, p, x, x_row, entries);
        x = d->down;
    }
    if (map(d, &a.w, p->w.codes, p->w.row_bytes, rows, box, CUDA_WIDE_M) &&
        (!p->up.codes || map(d, &a.up, p->up.codes, p->up.row_bytes, rows, box, CUDA_WIDE_M)) &&
        map(d, &a.x, x, x_row, entries, CUDA_WIDE_BYTES, CUDA_WIDE_N))
        d->launch->product_wide(&a, d->stream);
}
