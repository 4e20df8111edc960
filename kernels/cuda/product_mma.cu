/* Products of 1 to 64 rows on tensor cores: weights are M, tokens are N, so few tokens waste little.
 *
 * A block owns 16 outputs (of w, and of `up` when the unit is gated, both in one pass over x) and TILES * 8
 * entries; its four warps take every fourth stretch of k. A stretch is what four lanes hold in 16 bytes
 * each: 32 values of bf16, 64 of 8 bits, 128 of 4. Lane 4g + t reads 16 bytes of rows g and g + 8 and the
 * same values of x: mma sums over k in any order, so both operands may take k as it lies in memory, and
 * neither needs shared memory; the two values of a register are those that cost least to take out of a
 * word (chunk_pair_apart). Weights of the next stretches are on their way while one is multiplied: with one
 * tile of entries 128 bytes a lane and matrix. The four sums are added in the order of the warps. The order
 * of the sums depends on k alone, never on the number of entries: a row of a step of one gives the bits of the
 * same row among 64. Per KiB of weights a warp has some 100 instructions of 8 bits and 120 of 4, of 220
 * that fit into the time in which an H200's processor gets that KiB. Bound: the bytes of w, each read once
 * for up to TILES * 8 entries. */
#include "kernels/cuda/product.cuh"

enum { MMA_THREADS = 128, MMA_WARPS = MMA_THREADS / WARP, MMA_OUTPUTS = 16 };

/* What a lane multiplies: its chunk of weight rows g and g + 8 of w, and of `up`. */
template <int MATRICES> struct mma_weights {
    struct quad low[MATRICES], high[MATRICES];
};

/* Where a lane reads: its rows of weights, and the rows of x of its entries. */
template <int TILES> struct mma_place {
    int64_t low, high;
    int64_t at[TILES]; /* element */
};

/* One stretch for all matrices and tiles of entries; `x`: this lane's chunk of k. */
template <int FORMAT, int MATRICES, int TILES>
DEVICE void mma_stretch(float c[MATRICES][TILES][4], const struct mma_weights<MATRICES> &w,
                        const uint16_t *x, const struct mma_place<TILES> &b)
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk;
    UNROLL for (int i = 0; i < CHUNK / 8; i++)
    {
        struct quad q[TILES];
        UNROLL for (int tile = 0; tile < TILES; tile++) q[tile] =
            pairs_apart<FORMAT>(load_quad(x + b.at[tile] + 8 * i));
        UNROLL for (int m = 0; m < MATRICES; m++)
        UNROLL for (int j = 4 * i; j < 4 * i + 4; j += 2)
        {
            uint32_t a0 = chunk_pair_apart<FORMAT>(w.low[m], j);
            uint32_t a1 = chunk_pair_apart<FORMAT>(w.high[m], j);
            uint32_t a2 = chunk_pair_apart<FORMAT>(w.low[m], j + 1);
            uint32_t a3 = chunk_pair_apart<FORMAT>(w.high[m], j + 1);
            UNROLL for (int tile = 0; tile < TILES; tile++)
                mma_bf16(c[m][tile], a0, a1, a2, a3, q[tile].word[j % 4], q[tile].word[j % 4 + 1]);
        }
    }
}

/* This lane's chunk of a row in the stretch that begins at k. */
template <int FORMAT>
DEVICE const unsigned char *mma_at(const struct cuda_matrix &w, int64_t row, int k)
{
    return w.codes + row * w.row_bytes +
           16 * (int64_t)(k / format_traits<FORMAT>::chunk + lane_index() % 4);
}

/* Number m of the product's matrices: `up` has the same layout as w. */
DEVICE struct cuda_matrix mma_matrix(const struct cuda_product &p, int m)
{
    struct cuda_matrix w = p.w;
    w.codes = m ? p.up.codes : p.w.codes;
    w.scales = m ? p.up.scales : p.w.scales;
    return w;
}

/* The stretch of a warp that begins at k; nothing beyond the last. */
template <int FORMAT, int MATRICES, int TILES>
DEVICE void mma_load(struct mma_weights<MATRICES> *to, const struct cuda_product &p,
                     const struct mma_place<TILES> &b, int k)
{
    if (k >= p.w.k) return;
    UNROLL for (int m = 0; m < MATRICES; m++)
    {
        to->low[m] = load_quad_once(mma_at<FORMAT>(mma_matrix(p, m), b.low, k));
        to->high[m] = load_quad_once(mma_at<FORMAT>(mma_matrix(p, m), b.high, k));
    }
}

/* What the block reads of a dense matrix, while the kernels before still run: weights are as they were
 * loaded. Whose expert a block is of is known only then. Of the whole matrix no more than a part of the
 * second-level cache. */
DEVICE void mma_prefetch(const struct cuda_product &p)
{
    int row = block_x() * MMA_OUTPUTS + thread_index();
    int64_t bytes = CUDA_PREFETCH_BYTES / p.n / 16 * 16;
    if (thread_index() >= MMA_OUTPUTS || row >= p.n || bytes == 0) return;
    prefetch(p.w.codes + row * p.w.row_bytes,
             (int)(bytes < p.w.row_bytes ? bytes : p.w.row_bytes));
}

/* What a stretch gave, with its scales. */
template <int FORMAT, int MATRICES, int TILES>
DEVICE void mma_add(float acc[MATRICES][TILES][4], const float c[MATRICES][TILES][4],
                    const struct cuda_product &p, const struct mma_place<TILES> &b, int k)
{
    UNROLL for (int m = 0; m < MATRICES; m++)
    {
        float low = 1, high = 1;
        if (FORMAT == WEIGHT_INT4_G128) {
            low = matrix_scale<FORMAT>(mma_matrix(p, m), b.low, k);
            high = matrix_scale<FORMAT>(mma_matrix(p, m), b.high, k);
        }
        UNROLL for (int tile = 0; tile < TILES; tile++)
        UNROLL for (int i = 0; i < 4; i++) acc[m][tile][i] += c[m][tile][i] * (i < 2 ? low : high);
    }
}

/* This warp's stretches, in acc[matrix][tile][4]. */
template <int FORMAT, int MATRICES, int TILES>
DEVICE void mma_sum(float acc[MATRICES][TILES][4], const struct cuda_product &p,
                    const struct mma_place<TILES> &b)
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk, STEP = MMA_WARPS * 4 * CHUNK;
    constexpr int AHEAD = TILES == 1 ? 4 : 2 / MATRICES;
    struct mma_weights<MATRICES> q[AHEAD];
    int from = warp_index() * 4 * CHUNK;
    UNROLL for (int i = 0; i < AHEAD; i++) mma_load<FORMAT>(&q[i], p, b, from + i * STEP);
    for (; from < p.w.k; from += AHEAD * STEP)
        UNROLL for (int i = 0; i < AHEAD; i++)
        {
            int k = from + i * STEP;
            if (k >= p.w.k) continue;
            struct mma_weights<MATRICES> now = q[i];
            float c[MATRICES][TILES][4] = {};
            mma_load<FORMAT>(&q[i], p, b, k + AHEAD * STEP);
            mma_stretch<FORMAT, MATRICES, TILES>(c, now, p.x.bf16 + k + lane_index() % 4 * CHUNK, b);
            mma_add<FORMAT, MATRICES, TILES>(acc, c, p, b, k);
        }
}

/* The block's sum for one (output, entry) of the tile: warps in their order. */
template <int TILES> DEVICE float mma_part_sum(const float *part, int output, int entry)
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

/* grid: tiles of outputs, groups that have entries, tiles of entries. */
template <int FORMAT, int TILES, bool GATED>
KERNEL(MMA_THREADS) product_mma_kernel(struct cuda_product p)
{
    constexpr int SIZE = MMA_WARPS * MMA_OUTPUTS * TILES * 8, MATRICES = GATED ? 2 : 1;
    constexpr bool PER_ROW = FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW;
    SHARED(float, part, MATRICES *SIZE);
    int g = lane_index() / 4, i0 = block_x() * MMA_OUTPUTS;
    int low = i0 + g < p.n ? i0 + g : p.n - 1, high = i0 + g + 8 < p.n ? i0 + g + 8 : p.n - 1;
    grid_next();
    if (!p.first) mma_prefetch(p);
    grid_wait();
    int group = product_group(p, block_y());
    if (group < 0) return;
    struct entries e = product_entries(p, group, block_z(), TILES * 8);
    if (e.from >= e.to) return;
    int64_t base = (int64_t)group * p.n;
    struct mma_place<TILES> b = {base + low, base + high, {}};
    UNROLL for (int tile = 0; tile < TILES; tile++)
    {
        int entry = e.from + tile * 8 + g;
        b.at[tile] = product_row(p, entry < e.to ? entry : e.to - 1) * p.x.stride;
    }
    float acc[MATRICES][TILES][4] = {};
    mma_sum<FORMAT, MATRICES, TILES>(acc, p, b);
    UNROLL for (int m = 0; m < MATRICES; m++) mma_part_store<TILES>(part + m * SIZE, acc[m]);
    block_sync();
    for (int j = thread_index(); j < MMA_OUTPUTS * TILES * 8; j += MMA_THREADS) {
        int entry = e.from + j / MMA_OUTPUTS, i = i0 + j % MMA_OUTPUTS;
        if (entry >= e.to || i >= p.n) continue;
        float x = p.x.scale ? p.x.scale[product_row(p, entry)] : 1, v[MATRICES];
        for (int m = 0; m < MATRICES; m++) {
            v[m] = mma_part_sum<TILES>(part + m * SIZE, j % MMA_OUTPUTS, j / MMA_OUTPUTS) * x;
            if (PER_ROW) v[m] *= matrix_scale<FORMAT>(mma_matrix(p, m), base + i, 0);
        }
        operand_store(p.out, entry, i, GATED ? gated(v[0], v[MATRICES - 1]) : v[0]);
    }
}

template <int FORMAT, int TILES, bool GATED>
static void mma_launch(const struct cuda_product *p, void *stream)
{
    struct grid g = {(p->n + MMA_OUTPUTS - 1) / MMA_OUTPUTS, p->groups_bound,
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
