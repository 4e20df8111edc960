/* Products of many rows: tiles of 128 rows of weights by 64 or 128 entries, k in steps of 32, on tensor
 * cores.
 *
 * A thread has its codes of the next step in registers, widens them to bf16 once for the block on their
 * way to shared memory, and x comes there by asynchronous copies; two buffers of each, so one barrier a
 * step. Eight warps own 64 by 32 (of 64 entries 32 by 32). When the unit is gated the upper half of a
 * warp's rows are of w and the lower half the same outputs of `up`: gate and up meet in one thread.
 * Rows in shared memory are 16 bytes longer than their step, so the eight rows of a matrix fall into
 * different banks. INT4 sums 128 values before its scale.
 * Entries are the fastest index of the grid: blocks that share weights run together, and weights come
 * from memory once. Bound: matrix rate; per 16 mma of a warp 3 KiB from shared memory. */
#include "kernels/cuda/product.cuh"

enum {
    TILE_THREADS = 256,
    TILE_WARPS = TILE_THREADS / WARP,
    TILE_M = 128,
    TILE_K = 32,
    TILE_STRIDE = TILE_K + 8, /* halves */
    WARP_N = 32
};

/* How the warps lie over ENTRIES columns. */
template <int ENTRIES> struct tile_shape {
    static constexpr int warps_n = ENTRIES / WARP_N, warps_m = TILE_WARPS / warps_n;
    static constexpr int rows = TILE_M / warps_m, tiles = rows / 16; /* of one warp */
};

/* Shared memory of a block, and what it works on. */
struct tile_place {
    uint16_t *w, *x;     /* [2 buffers][TILE_M or entries][TILE_STRIDE] */
    const int64_t *x_at; /* [entries] element where an entry's row begins */
    struct entries entries;
    int64_t base; /* row of w of the group's first output */
    int first;    /* output */
};

/* What tile row r stands for: a row of the weight matrix, beyond the last output the last one again, and
 * whether it is one of `up`. */
template <bool GATED, int ENTRIES>
DEVICE int tile_output(const struct tile_place &b, int r, bool *of_up)
{
    constexpr int ROWS = tile_shape<ENTRIES>::rows;
    *of_up = GATED && r % ROWS >= ROWS / 2;
    return b.first + (GATED ? r / ROWS * (ROWS / 2) + r % (ROWS / 2) : r);
}

DEVICE int64_t tile_weight_row(const struct cuda_product &p, const struct tile_place &b, int output)
{
    return b.base + (output < p.n ? output : p.n - 1);
}

/* The matrix of a tile row: `up` has the same layout as w. */
DEVICE struct cuda_matrix tile_matrix(const struct cuda_product &p, bool of_up)
{
    struct cuda_matrix m = p.w;
    m.codes = of_up ? p.up.codes : p.w.codes;
    m.scales = of_up ? p.up.scales : p.w.scales;
    return m;
}

/* This thread's codes of one step. */
template <int FORMAT> struct tile_codes {
    static constexpr int row_quads = TILE_K / format_traits<FORMAT>::chunk;
    static constexpr int n = (TILE_M * row_quads + TILE_THREADS - 1) / TILE_THREADS;
    struct quad part[n];
};

template <int FORMAT, bool GATED, int ENTRIES>
DEVICE void tile_load(struct tile_codes<FORMAT> *to, const struct cuda_product &p,
                      const struct tile_place &b, int k)
{
    constexpr int QUADS = tile_codes<FORMAT>::row_quads;
    UNROLL for (int i = 0; i < tile_codes<FORMAT>::n; i++)
    {
        int j = thread_index() + i * TILE_THREADS;
        bool of_up;
        if (j >= TILE_M * QUADS) continue;
        int output = tile_output<GATED, ENTRIES>(b, j / QUADS, &of_up);
        struct cuda_matrix m = tile_matrix(p, of_up);
        to->part[i] = load_quad(m.codes + tile_weight_row(p, b, output) * m.row_bytes +
                                ((int64_t)k / TILE_K * QUADS + j % QUADS) * 16);
    }
}

/* Codes to bf16 in shared memory. */
template <int FORMAT>
DEVICE void tile_widen(const struct tile_codes<FORMAT> &from, const struct tile_place &b, int buffer)
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk, QUADS = tile_codes<FORMAT>::row_quads;
    UNROLL for (int i = 0; i < tile_codes<FORMAT>::n; i++)
    {
        int j = thread_index() + i * TILE_THREADS;
        if (j >= TILE_M * QUADS) continue;
        uint16_t *to = b.w + (buffer * TILE_M + j / QUADS) * TILE_STRIDE + j % QUADS * CHUNK;
        UNROLL for (int part = 0; part < CHUNK / 8; part++)
        {
            struct quad q;
            UNROLL for (int pair = 0; pair < 4; pair++)
                q.word[pair] = chunk_pair<FORMAT>(from.part[i], 4 * part + pair);
            store_quad(to + 8 * part, q);
        }
    }
}

template <int ENTRIES>
DEVICE void tile_fetch_x(const struct tile_place &b, int buffer, const uint16_t *x, int k)
{
    for (int j = thread_index(); j < ENTRIES * (TILE_K / 8); j += TILE_THREADS) {
        int r = j / (TILE_K / 8), piece = j % (TILE_K / 8) * 8;
        cp_async(b.x + (buffer * ENTRIES + r) * TILE_STRIDE + piece, x + b.x_at[r] + k + piece);
    }
    cp_async_commit();
}

/* One step of k: c[m][n][4] of this warp. */
template <int ENTRIES>
DEVICE void tile_multiply(float c[][4][4], const struct tile_place &b, int buffer)
{
    constexpr int TILES = tile_shape<ENTRIES>::tiles;
    int lane = lane_index(), warp_m = warp_index() / tile_shape<ENTRIES>::warps_n;
    int warp_n = warp_index() % tile_shape<ENTRIES>::warps_n;
    if (b.entries.from + warp_n * WARP_N >= b.entries.to) return;
    const uint16_t *w = b.w + (buffer * TILE_M + warp_m * TILES * 16 + lane % 16) * TILE_STRIDE;
    const uint16_t *x = b.x + (buffer * ENTRIES + warp_n * WARP_N + lane % 8 + lane / 16 * 8) * TILE_STRIDE;
    UNROLL for (int k = 0; k < TILE_K; k += 16)
    {
        uint32_t columns[2][4], rows[4];
        UNROLL for (int n = 0; n < 2; n++)
            load_matrices(columns[n], x + n * 16 * TILE_STRIDE + k + lane / 8 % 2 * 8);
        UNROLL for (int m = 0; m < TILES; m++)
        {
            load_matrices(rows, w + m * 16 * TILE_STRIDE + k + lane / 16 * 8);
            UNROLL for (int n = 0; n < 4; n++)
                mma_bf16(c[m][n], rows[0], rows[1], rows[2], rows[3], columns[n / 2][n % 2 * 2],
                         columns[n / 2][n % 2 * 2 + 1]);
        }
    }
}

/* INT4: what a group of 128 gave, with its scale, into acc; part begins again at 0. */
template <bool GATED, int ENTRIES>
DEVICE void tile_promote(float acc[][4][4], float part[][4][4], const struct cuda_product &p,
                         const struct tile_place &b, int k)
{
    constexpr int TILES = tile_shape<ENTRIES>::tiles;
    int first = warp_index() / tile_shape<ENTRIES>::warps_n * TILES * 16 + lane_index() / 4;
    UNROLL for (int i = 0; i < 2 * TILES; i++)
    {
        bool of_up;
        int output = tile_output<GATED, ENTRIES>(b, first + i * 8, &of_up);
        float scale = matrix_scale<WEIGHT_INT4_G128>(tile_matrix(p, of_up),
                                                     tile_weight_row(p, b, output), k);
        UNROLL for (int j = 0; j < 8; j++)
        {
            int n = j / 2, at = i % 2 * 2 + j % 2;
            acc[i / 2][n][at] += part[i / 2][n][at] * scale;
            part[i / 2][n][at] = 0;
        }
    }
}

/* All of k. */
template <int FORMAT, bool GATED, int ENTRIES>
DEVICE void tile_sum(float acc[][4][4], const struct cuda_product &p, const struct tile_place &b)
{
    constexpr bool GROUPS = FORMAT == WEIGHT_INT4_G128;
    float part[GROUPS ? tile_shape<ENTRIES>::tiles : 1][4][4] = {};
    int n = p.w.k / TILE_K;
    struct tile_codes<FORMAT> codes;
    tile_fetch_x<ENTRIES>(b, 0, p.x.bf16, 0);
    tile_load<FORMAT, GATED, ENTRIES>(&codes, p, b, 0);
    for (int i = 0; i < n; i++) {
        int next = i + 1 < n ? i + 1 : i;
        tile_widen<FORMAT>(codes, b, i % 2);
        cp_async_wait<0>();
        block_sync(); /* this step is there, and the one before is done with its buffers */
        tile_load<FORMAT, GATED, ENTRIES>(&codes, p, b, next * TILE_K);
        if (i + 1 < n) tile_fetch_x<ENTRIES>(b, next % 2, p.x.bf16, next * TILE_K);
        if (!GROUPS) {
            tile_multiply<ENTRIES>(acc, b, i % 2);
            continue;
        }
        tile_multiply<ENTRIES>(part, b, i % 2);
        if (i % 4 == 3) tile_promote<GATED, ENTRIES>(acc, part, p, b, i * TILE_K);
    }
}

/* Scales, the gate, and out to memory: eight lanes write eight neighbouring outputs. */
template <int FORMAT, bool GATED, int ENTRIES>
DEVICE void tile_store(const float acc[][4][4], const struct cuda_product &p,
                       const struct tile_place &b)
{
    constexpr int TILES = tile_shape<ENTRIES>::tiles, HALF = TILES / 2;
    constexpr bool PER_ROW = FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW;
    int first = warp_index() / tile_shape<ENTRIES>::warps_n * TILES * 16 + lane_index() / 4;
    int column = warp_index() % tile_shape<ENTRIES>::warps_n * WARP_N + lane_index() % 4 * 2;
    UNROLL for (int j = 0; j < 8; j++)
    {
        int n = j / 2, entry = b.entries.from + column + n * 8 + j % 2;
        if (entry >= b.entries.to) continue;
        float x = p.x.scale ? p.x.scale[product_row(p, entry)] : 1;
        UNROLL for (int i = 0; i < (GATED ? TILES : 2 * TILES); i++)
        {
            int m = i / 2, at = i % 2 * 2 + j % 2;
            bool of_up;
            int output = tile_output<GATED, ENTRIES>(b, first + i * 8, &of_up);
            if (output >= p.n) continue;
            float v = acc[m][n][at] * x;
            if (PER_ROW) v *= matrix_scale<FORMAT>(p.w, b.base + output, 0);
            if (GATED) {
                float up = acc[m + HALF][n][at] * x;
                if (PER_ROW) up *= matrix_scale<FORMAT>(p.up, b.base + output, 0);
                v = gated(v, up);
            }
            operand_store(p.out, entry, output, v);
        }
    }
}

/* grid: tiles of entries, tiles of outputs, groups. */
template <int FORMAT, bool GATED, int ENTRIES>
KERNEL_TOGETHER(TILE_THREADS, (FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW ? 2 : 1))
product_tile_kernel(struct cuda_product p)
{
    SHARED(uint16_t, w, 2 * TILE_M * TILE_STRIDE);
    SHARED(uint16_t, x, 2 * ENTRIES * TILE_STRIDE);
    SHARED(int64_t, x_at, ENTRIES);
    struct tile_place b = {w, x, x_at, product_entries(p, block_z(), block_x(), ENTRIES),
                           (int64_t)block_z() * p.n, block_y() * (GATED ? TILE_M / 2 : TILE_M)};
    if (b.entries.from >= b.entries.to) return;
    for (int r = thread_index(); r < ENTRIES; r += TILE_THREADS) {
        int entry = b.entries.from + r < b.entries.to ? b.entries.from + r : b.entries.to - 1;
        x_at[r] = product_row(p, entry) * p.x.stride;
    }
    block_sync();
    float acc[tile_shape<ENTRIES>::tiles][4][4] = {};
    tile_sum<FORMAT, GATED, ENTRIES>(acc, p, b);
    tile_store<FORMAT, GATED, ENTRIES>(acc, p, b);
}

template <int FORMAT, bool GATED, int ENTRIES>
static void tile_launch(const struct cuda_product *p, void *stream)
{
    int outputs = GATED ? TILE_M / 2 : TILE_M;
    struct grid g = {(p->rows_bound + ENTRIES - 1) / ENTRIES, (p->n + outputs - 1) / outputs,
                     p->n_groups};
    auto kernel = &product_tile_kernel<FORMAT, GATED, ENTRIES>;
    LAUNCH(kernel, g, TILE_THREADS, stream, *p);
}

template <int FORMAT, bool GATED> static void tile_width(const struct cuda_product *p, void *stream)
{
    if (p->rows_bound <= 128)
        tile_launch<FORMAT, GATED, 64>(p, stream);
    else
        tile_launch<FORMAT, GATED, 128>(p, stream);
}

template <int FORMAT> static void tile(const struct cuda_product *p, void *stream)
{
    if (p->up.codes)
        tile_width<FORMAT, true>(p, stream);
    else
        tile_width<FORMAT, false>(p, stream);
}

void EXPORT(launch_product_tile)(const struct cuda_product *p, void *stream)
{
    PRODUCT_BY_FORMAT(p->w.format, tile, p, stream)
}
