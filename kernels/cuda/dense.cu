/* Around a library's products in bf16: weights widened before, sums scaled behind. Bound: the bytes, each
 * read and written once. */
#include "kernels/cuda/number.cuh"

enum { DENSE_THREADS = 256 };

/* A thread owns 16 bytes of codes; what they hold is exact in bf16. */
template <int FORMAT> KERNEL(DENSE_THREADS) widen_kernel(struct cuda_widen a)
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk;
    int64_t at = (int64_t)block_x() * DENSE_THREADS + thread_index();
    if (at >= a.n * (a.from.row_bytes / 16)) return;
    struct quad q = load_quad_once(a.from.codes + a.row * a.from.row_bytes + 16 * at);
    UNROLL for (int i = 0; i < CHUNK / 8; i++)
    {
        struct quad wide;
        UNROLL for (int j = 0; j < 4; j++) wide.word[j] = chunk_pair<FORMAT>(q, 4 * i + j);
        store_quad(a.to + CHUNK * at + 8 * i, wide);
    }
}

template <int FORMAT> static void widen(const struct cuda_widen *a, void *stream)
{
    int64_t chunks = a->n * (a->from.row_bytes / 16);
    struct grid g = {(int32_t)((chunks + DENSE_THREADS - 1) / DENSE_THREADS), 1, 1};
    LAUNCH(widen_kernel<FORMAT>, g, DENSE_THREADS, stream, *a);
}

void EXPORT(launch_widen)(const struct cuda_widen *a, void *stream)
{
    if (a->from.format == WEIGHT_FP8_ROW)
        widen<WEIGHT_FP8_ROW>(a, stream);
    else
        widen<WEIGHT_INT8_ROW>(a, stream);
}

/* A block owns a row. */
KERNEL(DENSE_THREADS) scale_kernel(struct cuda_scale a)
{
    float by = a.x_scale ? a.x_scale[block_x()] : 1;
    float *row = a.out + (int64_t)block_x() * a.stride;
    for (int i = thread_index(); i < a.n; i += DENSE_THREADS)
        row[i] *= (a.w_scale ? a.w_scale[i] : 1) * by;
}

void EXPORT(launch_scale)(const struct cuda_scale *a, void *stream)
{
    struct grid g = {a->rows, 1, 1};
    LAUNCH(scale_kernel, g, DENSE_THREADS, stream, *a);
}
