/* Once per load: a matrix stored [in][out] turned, so that every product runs along k, and the search
 * for NaN among E4M3 codes. */
#include "kernels/cuda/number.cuh"

enum { TURN = 32, TURN_THREADS = 256, SCAN_THREADS = 256, SCAN_BLOCKS_MAX = 512 };

/* to[expert * n_columns + column][row] = from[row][column], by squares of 32 through shared memory
 * so that both sides are read and written along their rows. */
template <typename ELEMENT> KERNEL(TURN_THREADS) transpose_kernel(struct cuda_transpose a)
{
    SHARED(ELEMENT, square, TURN * (TURN + 1));
    int column = block_x() * TURN, first = block_y() * TURN;
    int along = thread_index() % TURN, across = thread_index() / TURN;
    for (int i = across; i < TURN; i += TURN_THREADS / TURN)
        if (first + i < a.n && column + along < a.n_columns)
            square[i * (TURN + 1) + along] =
                ((const ELEMENT *)a.from)[(int64_t)(first + i) * a.n_columns + column + along];
    block_sync();
    for (int i = across; i < TURN; i += TURN_THREADS / TURN) {
        if (first + along >= a.n || column + i >= a.n_columns) continue;
        int64_t row = a.row + first + along, expert = row / a.rows_per_expert;
        unsigned char *to = a.to + (expert * a.n_columns + column + i) * a.to_row_bytes;
        ((ELEMENT *)to)[row % a.rows_per_expert] = square[along * (TURN + 1) + i];
    }
}

void EXPORT(launch_transpose)(const struct cuda_transpose *a, void *stream)
{
    struct grid g = {(a->n_columns + TURN - 1) / TURN, (a->n + TURN - 1) / TURN, 1};
    if (a->element_bytes == 4)
        LAUNCH(transpose_kernel<float>, g, TURN_THREADS, stream, *a);
    else
        LAUNCH(transpose_kernel<uint16_t>, g, TURN_THREADS, stream, *a);
}

KERNEL(SCAN_THREADS) nan_scan_kernel(struct cuda_nan_scan a)
{
    bool found = false;
    int64_t stride = (int64_t)grid_x() * SCAN_THREADS * 16;
    for (int64_t i = ((int64_t)block_x() * SCAN_THREADS + thread_index()) * 16; i < a.n_bytes;
         i += stride) {
        struct quad q = load_quad_once(a.codes + i);
        for (int j = 0; j < 4; j++) /* a byte's low seven bits are all set: one more carries */
            found = found || (((q.word[j] & 0x7F7F7F7Fu) + 0x01010101u) & 0x80808080u);
    }
    if (found) global_or(a.found, 1);
}

void EXPORT(launch_nan_scan)(const struct cuda_nan_scan *a, void *stream)
{
    int64_t blocks = (a->n_bytes + SCAN_THREADS * 16 - 1) / (SCAN_THREADS * 16);
    struct grid g = {blocks < SCAN_BLOCKS_MAX ? (int32_t)blocks : SCAN_BLOCKS_MAX, 1, 1};
    LAUNCH(nan_scan_kernel, g, SCAN_THREADS, stream, *a);
}
