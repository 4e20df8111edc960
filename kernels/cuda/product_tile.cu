/* Products of many rows: tiles of 64 outputs by 64 entries, k in steps of 64, on tensor cores.
 *
 * Codes and activations come to shared memory by asynchronous copies, one step ahead; codes widen to
 * bf16 on their way to the tensor cores. Four warps own 32 by 32 each. A gated tile is 32 outputs of
 * w above the same 32 of `up`, which meet in shared memory at the end. Rows in shared memory are 16
 * bytes longer than their step, so eight rows read at once fall into different banks. Where x has a
 * second half, k is walked twice. Bound: matrix rate; each code is read once per 64 entries. */
#include "kernels/cuda/product.cuh"

enum { TILE_THREADS = 128, TILE_ROWS = 64, TILE_K = 64, X_STRIDE = TILE_K * 2 + 16 };

template <int FORMAT> struct tile_shape {
    static constexpr int bytes = TILE_K * 16 / format_traits<FORMAT>::chunk; /* of codes a row */
    static constexpr int stride = bytes + 16;
};

/* Shared memory of a block, and what it works on. */
struct tile_place {
    unsigned char *w, *x; /* [2 stages][TILE_ROWS][stride] */
    const int64_t *x_at;  /* [TILE_ROWS] element where an entry's row begins */
    struct entries entries;
    int64_t base; /* row of w of the group's first output */
    int first;    /* output */
};

/* Row of the weight matrix for tile row r; beyond the last output the last one again. */
template <bool GATED>
DEVICE int64_t tile_weight_row(const struct cuda_product &p, const struct tile_place &b, int r)
{
    int i = b.first + (GATED ? r % (TILE_ROWS / 2) : r);
    return b.base + (i < p.n ? i : p.n - 1);
}

/* The matrix of a tile row: the lower half of a gated tile is of `up`, which has the same layout. */
DEVICE struct cuda_matrix tile_matrix(const struct cuda_product &p, bool of_up)
{
    struct cuda_matrix m = p.w;
    m.codes = of_up ? p.up.codes : p.w.codes;
    m.scales = of_up ? p.up.scales : p.w.scales;
    return m;
}

template <int FORMAT, bool GATED>
DEVICE void tile_fetch(const struct cuda_product &p, const struct tile_place &b, int stage, int k,
                       const uint16_t *x)
{
    constexpr int BYTES = tile_shape<FORMAT>::bytes, STRIDE = tile_shape<FORMAT>::stride;
    for (int j = thread_index(); j < TILE_ROWS * (BYTES / 16); j += TILE_THREADS) {
        int r = j / (BYTES / 16), piece = j % (BYTES / 16) * 16;
        struct cuda_matrix m = tile_matrix(p, GATED && r >= TILE_ROWS / 2);
        cp_async(b.w + (stage * TILE_ROWS + r) * STRIDE + piece,
                 m.codes + tile_weight_row<GATED>(p, b, r) * m.row_bytes +
                     (int64_t)k / TILE_K * BYTES + piece);
    }
    for (int j = thread_index(); j < TILE_ROWS * (TILE_K / 8); j += TILE_THREADS) {
        int r = j / (TILE_K / 8), piece = j % (TILE_K / 8);
        cp_async(b.x + (stage * TILE_ROWS + r) * X_STRIDE + piece * 16, x + b.x_at[r] + k + piece * 8);
    }
    cp_async_commit();
}

/* Values 16t .. 16t + 15 of one row of a step, as they are stored. */
struct tile_codes {
    struct quad part[2];
};

template <int FORMAT> DEVICE struct tile_codes tile_codes_load(const unsigned char *row, int t)
{
    struct tile_codes c = {};
    if (FORMAT == WEIGHT_INT4_G128) {
        c.part[0].word[0] = ((const uint32_t *)row)[2 * t];
        c.part[0].word[1] = ((const uint32_t *)row)[2 * t + 1];
    } else if (FORMAT == WEIGHT_BF16) {
        c.part[0] = load_quad(row + 32 * t);
        c.part[1] = load_quad(row + 32 * t + 16);
    } else {
        c.part[0] = load_quad(row + 16 * t);
    }
    return c;
}

/* Pair i of 8. */
template <int FORMAT> DEVICE uint32_t tile_pair(const struct tile_codes &c, int i)
{
    if (FORMAT == WEIGHT_BF16) return c.part[i / 4].word[i % 4];
    return chunk_pair<FORMAT>(c.part[0], i);
}

/* One step of k: c[m][n][4] of this warp's 2 by 4 tiles of mma. */
template <int FORMAT>
DEVICE void tile_multiply(float c[2][4][4], const struct tile_place &b, int stage)
{
    constexpr int STRIDE = tile_shape<FORMAT>::stride;
    int g = lane_index() / 4, t = lane_index() % 4;
    const unsigned char *w = b.w + (stage * TILE_ROWS + warp_index() / 2 * 32) * STRIDE;
    const unsigned char *x = b.x + (stage * TILE_ROWS + warp_index() % 2 * 32) * X_STRIDE;
    struct tile_codes columns[4];
    UNROLL for (int n = 0; n < 4; n++)
        columns[n] = tile_codes_load<WEIGHT_BF16>(x + (n * 8 + g) * X_STRIDE, t);
    UNROLL for (int m = 0; m < 2; m++)
    {
        struct tile_codes low = tile_codes_load<FORMAT>(w + (m * 16 + g) * STRIDE, t);
        struct tile_codes high = tile_codes_load<FORMAT>(w + (m * 16 + g + 8) * STRIDE, t);
        UNROLL for (int i = 0; i < 8; i += 2)
        {
            uint32_t a0 = tile_pair<FORMAT>(low, i), a2 = tile_pair<FORMAT>(low, i + 1);
            uint32_t a1 = tile_pair<FORMAT>(high, i), a3 = tile_pair<FORMAT>(high, i + 1);
            UNROLL for (int n = 0; n < 4; n++)
                mma_bf16(c[m][n], a0, a1, a2, a3, tile_pair<WEIGHT_BF16>(columns[n], i),
                         tile_pair<WEIGHT_BF16>(columns[n], i + 1));
        }
    }
}

/* INT4: what a group of 128 gave, with its scale, into acc; part begins again at 0. */
template <bool GATED>
DEVICE void tile_promote(float acc[2][4][4], float part[2][4][4], const struct cuda_product &p,
                         const struct tile_place &b, int k)
{
    struct cuda_matrix m = tile_matrix(p, GATED && warp_index() >= 2);
    int r = warp_index() / 2 * 32 + lane_index() / 4;
    UNROLL for (int i = 0; i < 4; i++)
    {
        float scale = matrix_scale<WEIGHT_INT4_G128>(m, tile_weight_row<GATED>(p, b, r + i * 8), k);
        UNROLL for (int j = 0; j < 8; j++)
        {
            int n = j / 2, at = i % 2 * 2 + j % 2;
            acc[i / 2][n][at] += part[i / 2][n][at] * scale;
            part[i / 2][n][at] = 0;
        }
    }
}

/* All of k, once per half of x. */
template <int FORMAT, bool GATED>
DEVICE void tile_sum(float acc[2][4][4], const struct cuda_product &p, const struct tile_place &b)
{
    float part[2][4][4] = {};
    int steps = p.w.k / TILE_K, n = p.x.lo ? 2 * steps : steps;
    tile_fetch<FORMAT, GATED>(p, b, 0, 0, p.x.hi);
    for (int i = 0; i < n; i++) {
        int next = i + 1;
        if (next < n)
            tile_fetch<FORMAT, GATED>(p, b, next % 2, next % steps * TILE_K,
                                      next < steps ? p.x.hi : p.x.lo);
        else
            cp_async_commit(); /* an empty group: what is waited for stays one behind */
        cp_async_wait<1>();
        block_sync();
        if (FORMAT != WEIGHT_INT4_G128) {
            tile_multiply<FORMAT>(acc, b, i % 2);
        } else {
            tile_multiply<FORMAT>(part, b, i % 2);
            if (i % 2 == 1) tile_promote<GATED>(acc, part, p, b, i % steps * TILE_K);
        }
        block_sync();
    }
}

/* Scales, the gate, and out to memory. The sums meet where x was staged, so that a thread finds gate
 * and up together and neighbours write neighbouring outputs. */
template <int FORMAT, bool GATED>
DEVICE void tile_store(const float acc[2][4][4], const struct cuda_product &p,
                       const struct tile_place &b)
{
    constexpr int OUTPUTS = GATED ? TILE_ROWS / 2 : TILE_ROWS, STRIDE = TILE_ROWS + 1;
    static_assert(TILE_ROWS * STRIDE * 4 <= 2 * TILE_ROWS * X_STRIDE, "the sums fit");
    bool per_row = FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW;
    float *sum = (float *)b.x;
    UNROLL for (int j = 0; j < 32; j++)
    {
        int m = j / 16, n = j / 4 % 4, i = j % 4;
        int r = warp_index() / 2 * 32 + m * 16 + lane_index() / 4 + i / 2 * 8;
        int column = warp_index() % 2 * 32 + n * 8 + lane_index() % 4 * 2 + i % 2;
        sum[r * STRIDE + column] = acc[m][n][i];
    }
    block_sync();
    for (int j = thread_index(); j < OUTPUTS * TILE_ROWS; j += TILE_THREADS) {
        int i = j % OUTPUTS, entry = b.entries.from + j / OUTPUTS;
        if (entry >= b.entries.to || b.first + i >= p.n) continue;
        float x = p.x.scale ? p.x.scale[product_row(p, entry)] : 1;
        float v = sum[i * STRIDE + j / OUTPUTS] * x;
        if (per_row) v *= matrix_scale<FORMAT>(p.w, b.base + b.first + i, 0);
        if (GATED) {
            float up = sum[(i + TILE_ROWS / 2) * STRIDE + j / OUTPUTS] * x;
            if (per_row) up *= matrix_scale<FORMAT>(p.up, b.base + b.first + i, 0);
            v = gated(v, up);
        }
        operand_store(p.out, entry, b.first + i, v);
    }
}

template <int FORMAT, bool GATED>
KERNEL(TILE_THREADS) product_tile_kernel(struct cuda_product p)
{
    SHARED(unsigned char, w, 2 * TILE_ROWS * tile_shape<FORMAT>::stride);
    SHARED(unsigned char, x, 2 * TILE_ROWS * X_STRIDE);
    SHARED(int64_t, x_at, TILE_ROWS);
    struct tile_place b = {w, x, x_at, product_entries(p, block_y(), block_z(), TILE_ROWS),
                           (int64_t)block_y() * p.n, block_x() * (GATED ? TILE_ROWS / 2 : TILE_ROWS)};
    if (b.entries.from >= b.entries.to) return;
    for (int r = thread_index(); r < TILE_ROWS; r += TILE_THREADS) {
        int entry = b.entries.from + r < b.entries.to ? b.entries.from + r : b.entries.to - 1;
        x_at[r] = product_row(p, entry) * p.x.stride;
    }
    block_sync();
    float acc[2][4][4] = {};
    tile_sum<FORMAT, GATED>(acc, p, b);
    tile_store<FORMAT, GATED>(acc, p, b);
}

template <int FORMAT, bool GATED>
static void tile_launch(const struct cuda_product *p, void *stream)
{
    int outputs = GATED ? TILE_ROWS / 2 : TILE_ROWS;
    struct grid g = {(p->n + outputs - 1) / outputs, p->n_groups,
                     (p->rows_bound + TILE_ROWS - 1) / TILE_ROWS};
    auto kernel = &product_tile_kernel<FORMAT, GATED>;
    LAUNCH(kernel, g, TILE_THREADS, stream, *p);
}

template <int FORMAT> static void tile(const struct cuda_product *p, void *stream)
{
    if (p->up.codes)
        tile_launch<FORMAT, true>(p, stream);
    else
        tile_launch<FORMAT, false>(p, stream);
}

void EXPORT(launch_product_tile)(const struct cuda_product *p, void *stream)
{
    PRODUCT_BY_FORMAT(p->w.format, tile, p, stream)
}
