/* Products of many rows on compute capability 9.0: which activations tensor cores read, laid down in the
 * entries' order where they are not, and the maps of what the copy engine fetches.
 *
 * Maps are made with each launch: that is arithmetic of the host, and steps of so many rows are launched
 * one by one. Packed activations lie in the buffer of what w2 hands on, which is free until w2 runs. */
#include "kernels/cuda/cuda.h"

/* E4M3 by E4M3 where both are exact in it, else bf16. */
static int32_t x_bytes_of(const device *d, const struct cuda_product *p)
{
    bool e4m3 = d->s.activations == ACTIVATION_E4M3 && !p->x.lo;
    return e4m3 && (p->w.format == WEIGHT_FP8_ROW || p->w.format == WEIGHT_INT4_G128) ? 1 : 2;
}

static bool packs(const struct cuda_product *p, int32_t x_bytes)
{
    return x_bytes == 1 || p->x_row;
}

bool cuda_wide_can(const device *d, const struct cuda_product *p)
{
    int32_t x_bytes = x_bytes_of(d, p);
    if (d->info.capability != 90 || d->tiles_only) return false;
    return !packs(p, x_bytes) ||
           (size_t)p->w.k * (size_t)x_bytes <= (size_t)d->s.d_model * sizeof(float);
}

static void pack(device *d, const struct cuda_product *p, int32_t x_bytes, int32_t entries)
{
    struct cuda_pack a = {.x = p->x,
                          .to = (unsigned char *)d->down,
                          .x_row = p->x_row,
                          .first = p->first,
                          .n_live = p->n_live,
                          .n_groups = p->n_groups,
                          .k = p->w.k,
                          .element_bytes = x_bytes,
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
    int64_t rows = (int64_t)p->n_groups * p->n, x_row = (int64_t)p->x.stride * a.x_bytes;
    int32_t box = (int32_t)(CUDA_WIDE_BYTES / a.x_bytes * p->w.row_bytes / p->w.k);
    const void *x = p->x.hi;
    if (packs(p, a.x_bytes)) {
        pack(d, p, a.x_bytes, entries);
        x = d->down;
        x_row = (int64_t)p->w.k * a.x_bytes;
    }
    if (map(d, &a.w, p->w.codes, p->w.row_bytes, rows, box, CUDA_WIDE_M) &&
        (!p->up.codes || map(d, &a.up, p->up.codes, p->up.row_bytes, rows, box, CUDA_WIDE_M)) &&
        map(d, &a.x, x, x_row, entries, CUDA_WIDE_BYTES, CUDA_WIDE_N) &&
        (!p->x.lo || map(d, &a.x_lo, p->x.lo, x_row, entries, CUDA_WIDE_BYTES, CUDA_WIDE_N)))
        d->launch->product_wide(&a, d->stream);
}
