/* Products of 1 to 64 rows on tensor cores: weights are M, tokens are N, so few tokens waste little.
 *
 * A block owns 16 outputs (of w, and of `up` when the unit is gated) and TILES * 8 entries; its four
 * warps take every fourth stretch of k. A stretch is what four lanes hold in 16 bytes each: 32 values
 * of bf16, 64 of 8 bits, 128 of 4. Lane 4g + t reads 16 bytes of rows g and g + 8 and the same
 * values of x: mma sums over k in any order, so both operands may take k as it lies in memory, and
 * neither needs shared memory. Weights of the next AHEAD stretches are on their way while one is
 * multiplied: with one tile of entries 128 bytes a lane. The four sums are added in the order of the
 * warps. The order of the sums depends on k alone, never on the number of entries: a row of a step of
 * one gives the bits of the same row among 64. Widening costs 2 to 2.5 integer operations a code, which
 * 32 lanes a clock and scheduler keep up with at the memory's rate; in fp32 they do not. Bound: the
 * bytes of w, each read once for up to TILES * 8 entries. */
#include "kernels/cuda/product.cuh"

enum { MMA_THREADS = 128, MMA_WARPS = MMA_THREADS / WARP, MMA_OUTPUTS = 16 };

/* What a lane multiplies: its chunk of weight rows g and g + 8. */
struct mma_weights {
    struct quad low, high;
};

/* One stretch for one matrix and one tile of entries: x is this lane's chunk of its entry. */
template <int FORMAT>
DEVICE void mma_stretch(float c[4], const struct mma_weights &w, const uint16_t *x)
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk;
    UNROLL for (int i = 0; i < CHUNK / 8; i++)
    {
        struct quad q = load_quad(x + 8 * i);
        UNROLL for (int j = 0; j < 4; j += 2)
            mma_bf16(c, chunk_pair<FORMAT>(w.low, 4 * i + j), chunk_pair<FORMAT>(w.high, 4 * i + j),
                     chunk_pair<FORMAT>(w.low, 4 * i + j + 1),
                     chunk_pair<FORMAT>(w.high, 4 * i + j + 1), q.word[j], q.word[j + 1]);
    }
}

/* This lane's chunk of a row in the stretch that begins at k. */
template <int FORMAT>
DEVICE const unsigned char *mma_at(const struct cuda_matrix &w, int64_t row, int k)
{
    return w.codes + row * w.row_bytes +
           16 * (int64_t)(k / format_traits<FORMAT>::chunk + lane_index() % 4);
}

/* The stretch of a warp that begins at k; nothing beyond the last. */
template <int FORMAT>
DEVICE void mma_load(struct mma_weights *to, const struct cuda_matrix &w, int64_t row_low,
                     int64_t row_high, int k)
{
    if (k >= w.k) return;
    to->low = load_quad_once(mma_at<FORMAT>(w, row_low, k));
    to->high = load_quad_once(mma_at<FORMAT>(w, row_high, k));
}

/* What a warp reads first of a dense matrix, while the kernel before still runs: weights are as they
 * were loaded. Whose expert a block is of is known only then. */
template <int FORMAT>
DEVICE void mma_prefetch(const struct cuda_matrix &w, int64_t row_low, int64_t row_high)
{
    enum { STEP = 4 * format_traits<FORMAT>::chunk };
    for (int i = 0; i < 4; i++) {
        int k = (warp_index() + i * MMA_WARPS) * STEP;
        if (k >= w.k) return;
        prefetch(mma_at<FORMAT>(w, row_low, k));
        prefetch(mma_at<FORMAT>(w, row_high, k));
    }
}

/* Adds this warp's stretches of one matrix to acc[tile][4]. `at`: rows of this lane's entries. */
template <int FORMAT, int TILES>
DEVICE void mma_matrix(float acc[TILES][4], const struct cuda_matrix &w, int64_t row_low,
                       int64_t row_high, const struct cuda_operand &x, const int64_t at[TILES])
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk, STEP = MMA_WARPS * 4 * CHUNK;
    constexpr int AHEAD = TILES == 1 ? 4 : 2;
    struct mma_weights q[AHEAD];
    int from = warp_index() * 4 * CHUNK;
    UNROLL for (int i = 0; i < AHEAD; i++)
        mma_load<FORMAT>(&q[i], w, row_low, row_high, from + i * STEP);
    for (; from < w.k; from += AHEAD * STEP)
        UNROLL for (int i = 0; i < AHEAD; i++)
        {
            int k = from + i * STEP;
            if (k >= w.k) continue;
            struct mma_weights now = q[i];
            mma_load<FORMAT>(&q[i], w, row_low, row_high, k + AHEAD * STEP);
            float low = 1, high = 1;
            if (FORMAT == WEIGHT_INT4_G128) {
                low = matrix_scale<FORMAT>(w, row_low, k);
                high = matrix_scale<FORMAT>(w, row_high, k);
            }
            int column = k + lane_index() % 4 * CHUNK;
            UNROLL for (int tile = 0; tile < TILES; tile++)
            {
                float c[4] = {0, 0, 0, 0};
                mma_stretch<FORMAT>(c, now, x.hi + at[tile] + column);
                if (x.lo) mma_stretch<FORMAT>(c, now, x.lo + at[tile] + column);
                acc[tile][0] += c[0] * low;
                acc[tile][1] += c[1] * low;
                acc[tile][2] += c[2] * high;
                acc[tile][3] += c[3] * high;
            }
        }
}

/* The block's sum for one (output, entry) of the tile: warps in their order. */
template <int TILES> DEVICE float mma_sum(const float *part, int output, int entry)
{
    float sum = 0;
    for (int w = 0; w < MMA_WARPS; w++)
        sum += part[(w * MMA_OUTPUTS + output) * (TILES * 8) + entry];
    return sum;
}

template <int TILES> DEVICE void mma_part_store(float *part, const float acc[TILES][4])
{
    int g = lane_index() / 4, t = lane_index() % 4;
    UNROLL for (int tile = 0; tile < TILES; tile++)
    UNROLL for (int i = 0; i < 4; i++)
        part[(warp_index() * MMA_OUTPUTS + g + i / 2 * 8) * (TILES * 8) + tile * 8 + 2 * t + i % 2] =
            acc[tile][i];
}

template <int FORMAT, int TILES, bool GATED>
KERNEL(MMA_THREADS) product_mma_kernel(struct cuda_product p)
{
    constexpr int SIZE = MMA_WARPS * MMA_OUTPUTS * TILES * 8;
    SHARED(float, part, SIZE);
    SHARED(float, part_up, GATED ? SIZE : 4);
    int g = lane_index() / 4, i0 = block_x() * MMA_OUTPUTS;
    int64_t base = (int64_t)block_y() * p.n;
    int64_t low = base + (i0 + g < p.n ? i0 + g : p.n - 1);
    int64_t high = base + (i0 + g + 8 < p.n ? i0 + g + 8 : p.n - 1);
    grid_next();
    if (!p.first) mma_prefetch<FORMAT>(p.w, low, high);
    grid_wait();
    struct entries e = product_entries(p, block_y(), block_z(), TILES * 8);
    if (e.from >= e.to) return;
    int64_t at[TILES];
    UNROLL for (int tile = 0; tile < TILES; tile++)
    {
        int entry = e.from + tile * 8 + g;
        at[tile] = product_row(p, entry < e.to ? entry : e.to - 1) * p.x.stride;
    }
    float acc[TILES][4] = {{0}};
    mma_matrix<FORMAT, TILES>(acc, p.w, low, high, p.x, at);
    mma_part_store<TILES>(part, acc);
    if (GATED) {
        UNROLL for (int j = 0; j < TILES * 4; j++) acc[j / 4][j % 4] = 0;
        mma_matrix<FORMAT, TILES>(acc, p.up, low, high, p.x, at);
        mma_part_store<TILES>(part_up, acc);
    }
    block_sync();
    for (int j = thread_index(); j < MMA_OUTPUTS * TILES * 8; j += MMA_THREADS) {
        int entry = e.from + j / MMA_OUTPUTS, i = i0 + j % MMA_OUTPUTS;
        if (entry >= e.to || i >= p.n) continue;
        float x = p.x.scale ? p.x.scale[product_row(p, entry)] : 1;
        bool per_row = FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW;
        float v = mma_sum<TILES>(part, j % MMA_OUTPUTS, j / MMA_OUTPUTS) * x;
        if (per_row) v *= matrix_scale<FORMAT>(p.w, base + i, 0);
        if (GATED) {
            float up = mma_sum<TILES>(part_up, j % MMA_OUTPUTS, j / MMA_OUTPUTS) * x;
            if (per_row) up *= matrix_scale<FORMAT>(p.up, base + i, 0);
            v = gated(v, up);
        }
        operand_store(p.out, entry, i, v);
    }
}

template <int FORMAT, int TILES, bool GATED>
static void mma_launch(const struct cuda_product *p, void *stream)
{
    struct grid g = {(p->n + MMA_OUTPUTS - 1) / MMA_OUTPUTS, p->n_groups,
                     (p->rows_bound + TILES * 8 - 1) / (TILES * 8)};
    auto kernel = &product_mma_kernel<FORMAT, TILES, GATED>;
    LAUNCH_EARLY(kernel, g, MMA_THREADS, stream, *p);
}

template <int FORMAT, bool GATED> static void mma_tiles(const struct cuda_product *p, void *stream)
{
    if (p->rows_bound <= 8)
        mma_launch<FORMAT, 1, GATED>(p, stream);
    else if (p->rows_bound <= 16)
        mma_launch<FORMAT, 2, GATED>(p, stream);
    else
        mma_launch<FORMAT, 4, GATED>(p, stream);
}

template <int FORMAT> static void mma(const struct cuda_product *p, void *stream)
{
    if (p->up.codes)
        mma_tiles<FORMAT, true>(p, stream);
    else
        mma_tiles<FORMAT, false>(p, stream);
}

void EXPORT(launch_product_mma)(const struct cuda_product *p, void *stream)
{
    PRODUCT_BY_FORMAT(p->w.format, mma, p, stream)
}
