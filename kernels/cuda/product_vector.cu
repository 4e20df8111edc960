/* Products in fp32, for what must be exact to it: fp32 activations or weights, and the router.
 *
 * out[r][i] = sum_k w[i][k] x[r][k]. A warp owns output i, for up to R rows; lane l owns chunks of 16
 * bytes l, l + 32, ... of the weight row, so a warp reads 512 consecutive bytes at a time and every
 * weight once. Lanes are folded by one tree: the sum does not depend on R. Bound: the bytes of w. */
#include "kernels/cuda/product.cuh"

enum { VECTOR_THREADS = 128, VECTOR_OUTPUTS = VECTOR_THREADS / WARP };

template <int FORMAT, int R> KERNEL(VECTOR_THREADS) product_vector_kernel(struct cuda_product p)
{
    int group = block_y(), i = block_x() * VECTOR_OUTPUTS + warp_index();
    struct entries e = product_entries(p, group, block_z(), R);
    if (e.from >= e.to) return;
    const float *x[R];
    float sum[R], up[R];
    UNROLL for (int r = 0; r < R; r++)
        x[r] = p.x.f32 + product_row(p, e.from + r < e.to ? e.from + r : e.from) * p.x.stride;
    int64_t at = (int64_t)group * p.n + (i < p.n ? i : p.n - 1); /* all warps go on together */
    vector_dots<FORMAT, R>(sum, p.w, at, x);
    if (p.up.codes) vector_dots<FORMAT, R>(up, p.up, at, x);
    UNROLL for (int r = 0; r < R; r++)
    {
        if (lane_index() != 0 || i >= p.n || e.from + r >= e.to) continue;
        operand_store(p.out, e.from + r, i, p.up.codes ? gated(sum[r], up[r]) : sum[r]);
    }
}

template <int FORMAT, int R> static void vector_rows(const struct cuda_product *p, void *stream)
{
    struct grid g = {(p->n + VECTOR_OUTPUTS - 1) / VECTOR_OUTPUTS, p->n_groups,
                     (p->rows_bound + R - 1) / R};
    auto kernel = &product_vector_kernel<FORMAT, R>;
    LAUNCH(kernel, g, VECTOR_THREADS, stream, *p);
}

template <int FORMAT> static void vector(const struct cuda_product *p, void *stream)
{
    if (p->rows_bound <= CUDA_VECTOR_ROWS)
        vector_rows<FORMAT, CUDA_VECTOR_ROWS>(p, stream);
    else
        vector_rows<FORMAT, 4>(p, stream);
}

void EXPORT(launch_product_vector)(const struct cuda_product *p, void *stream)
{
    if (p->w.format == WEIGHT_F32)
        vector<WEIGHT_F32>(p, stream);
    else
        PRODUCT_BY_FORMAT(p->w.format, vector, p, stream)
}
