/* Products of many rows on compute capability 9.0: weights are M, entries are N, sums in the registers of
 * warpgroups.
 *
 * A block owns a processor: two warpgroups multiply, a third one's first warp asks the copy engine for
 * what they read, STAGES steps of k ahead. A step is 128 bytes of 128 entries, and the same values of k
 * of 64 weight rows for each warpgroup, all swizzled as wide as they are so that neither tensor cores nor
 * the reading of codes meets a bank twice. Warpgroup 0 has outputs 0 to 63 of the tile and warpgroup 1
 * the next 64; when the unit is gated, 0 has 64 outputs of w, 1 the same of `up`, and hands its sums over
 * through shared memory, each thread to the one with the same place.
 *
 * Activations in E4M3: FP8 weights go to tensor cores as they lie; INT4 is widened to E4M3, exactly, in
 * registers. These tensor cores keep some 14 bits, so sums go to fp32 registers every 128 of k, where
 * INT4's scale meets them. Activations in bf16: codes are widened to bf16 in registers.
 *
 * Blocks take tiles by turns from a list that follows from the counts of the groups: entries fastest,
 * so that blocks that share weights run together and weights come from memory once. The order of a sum
 * depends on k alone. Bound: matrix rate from some 300 entries a group on, below it the reading of
 * weights. */
#include "kernels/cuda/product.cuh"

enum {
    GROUP = 128,   /* threads of a warpgroup */
    CONSUMERS = 2, /* warpgroups that multiply */
    WIDE_THREADS = (CONSUMERS + 1) * GROUP,
    STAGES = 4,
    SUMS = CUDA_WIDE_M * CUDA_WIDE_N / GROUP,
    STEPS = 4,     /* products of 32 bytes of k in a row of CUDA_WIDE_BYTES */
    K_GROUP = 128, /* of k between two promotions */
    REGISTERS_COPY = 40,
    REGISTERS_MULTIPLY = 232,
    X_TILE = CUDA_WIDE_N * CUDA_WIDE_BYTES,
    PACK_THREADS = 128
};

/* What follows from the formats. */
template <int FORMAT, int X_BYTES> struct wide_shape {
    static constexpr int k = CUDA_WIDE_BYTES / X_BYTES;               /* of a stage */
    static constexpr int row = k * 16 / format_traits<FORMAT>::chunk; /* bytes of its codes */
    static constexpr int codes = CUDA_WIDE_M * row;
    static constexpr int stage = CONSUMERS * codes + X_TILE;
    static constexpr bool held = !(FORMAT == WEIGHT_FP8_ROW && X_BYTES == 1); /* widened */
    static constexpr bool promoted = X_BYTES == 1 || FORMAT == WEIGHT_INT4_G128;
    static constexpr int shared = STAGES * stage + SUMS * GROUP * (int)sizeof(float);
};

/* One tile of the list. */
struct wide_tile {
    struct entries entries;
    int group, first; /* output of the block */
};

/* Tile `index`; false beyond the last. */
template <bool GATED>
DEVICE bool wide_tile_find(const struct cuda_product &p, int index, struct wide_tile *t)
{
    constexpr int OUTPUTS = GATED ? CUDA_WIDE_M : CONSUMERS * CUDA_WIDE_M;
    int columns = (p.n + OUTPUTS - 1) / OUTPUTS;
    for (int g = 0; g < p.n_groups; g++) {
        struct entries all = product_entries(p, g, 0, 1 << 30);
        int n = (all.to - all.from + CUDA_WIDE_N - 1) / CUDA_WIDE_N;
        if (index < n * columns) {
            t->entries = product_entries(p, g, index % n, CUDA_WIDE_N);
            t->group = g;
            t->first = index / n * OUTPUTS;
            return true;
        }
        index -= n * columns;
    }
    return false;
}

/* Where the block's pipeline is: step by step through STAGES buffers, again and again. */
struct wide_pipe {
    unsigned char *shared;
    uint64_t *full, *empty;
    int stage, parity;
};

DEVICE void wide_next(struct wide_pipe *pipe)
{
    if (++pipe->stage < STAGES) return;
    pipe->stage = 0;
    pipe->parity ^= 1;
}

/* By the one warp that copies: what each stage needs, as soon as its readers are done with it. */
template <int FORMAT, int X_BYTES, bool GATED>
DEVICE void wide_copy(const struct cuda_wide &a, struct wide_pipe pipe)
{
    using shape = wide_shape<FORMAT, X_BYTES>;
    struct wide_tile t;
    for (int i = block_x(); wide_tile_find<GATED>(a.p, i, &t); i += grid_x())
        for (int k = 0; k < a.p.w.k; k += shape::k) {
            barrier_wait(&pipe.empty[pipe.stage], pipe.parity ^ 1);
            if (lane_index() == 0) {
                unsigned char *to = pipe.shared + pipe.stage * shape::stage;
                uint64_t *full = &pipe.full[pipe.stage];
                int row = t.group * a.p.n + t.first, code = k / shape::k * shape::row;
                barrier_expect(full, shape::stage);
                tile_fetch(to, &a.w, code, row, full);
                tile_fetch(to + shape::codes, GATED ? &a.up : &a.w, code,
                           GATED ? row : row + CUDA_WIDE_M, full);
                to += CONSUMERS * shape::codes;
                tile_fetch(to, &a.x, k * X_BYTES, t.entries.from, full);
            }
            warp_sync();
            wide_next(&pipe);
        }
}

/* A matrix along k in rows of 128 swizzled bytes: eight rows are 1024 bytes. */
DEVICE uint64_t wide_descriptor(const void *shared)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 16 |
           (shared_address(shared) & 0x3FFFF) >> 4;
}

/* Codes at byte `at` of weight row `row`, where the copy engine's swizzle has put them. */
template <int ROW>
DEVICE const unsigned char *wide_code(const unsigned char *codes, int row, int at)
{
    int place = row * ROW + at;
    return codes + (place ^ (place >> 7 & (ROW / 16 - 1)) << 4);
}

/* One register of A: the codes of 4 bytes of k, widened. */
template <int FORMAT, int X_BYTES> DEVICE uint32_t wide_widen(const unsigned char *codes)
{
    constexpr int BYTES = 4 / X_BYTES * 16 / format_traits<FORMAT>::chunk;
    struct quad q;
    if (BYTES == 4)
        q.word[0] = *(const uint32_t *)codes;
    else
        q.word[0] = BYTES == 2 ? *(const uint16_t *)codes : *codes;
    return X_BYTES == 1 ? int4_to_e4m3(q.word[0]) : chunk_pair<FORMAT>(q, 0);
}

/* A of all products of a stage: rows 16w + g and 16w + g + 8, four bytes of k at 4t and 16 on. */
template <int FORMAT, int X_BYTES>
DEVICE void wide_hold(uint32_t (&a)[STEPS][4], const unsigned char *codes)
{
    constexpr int ROW = wide_shape<FORMAT, X_BYTES>::row;
    int row = warp_index() % 4 * 16 + lane_index() / 4;
    UNROLL for (int step = 0; step < STEPS; step++) UNROLL for (int i = 0; i < 4; i++)
    {
        int at = (step * 32 + i / 2 * 16 + lane_index() % 4 * 4) * ROW / CUDA_WIDE_BYTES;
        a[step][i] = wide_widen<FORMAT, X_BYTES>(wide_code<ROW>(codes, row + i % 2 * 8, at));
    }
}

/* One stage into sums, which begin at 0 unless `add`; ends when tensor cores are done. */
template <int FORMAT, int X_BYTES>
DEVICE void wide_multiply(float (&sums)[SUMS], const unsigned char *codes, const unsigned char *x,
                          bool add)
{
    using shape = wide_shape<FORMAT, X_BYTES>;
    uint64_t b = wide_descriptor(x);
    uint32_t a[STEPS][4];
    if constexpr (shape::held) {
        wide_hold<FORMAT, X_BYTES>(a, codes);
        wgmma_fence(sums, a);
    } else
        wgmma_fence(sums);
    UNROLL for (int step = 0; step < STEPS; step++)
    {
        int on = step * (32 >> 4);
        bool more = add || step > 0;
        if (!shape::held)
            wgmma_e4m3(sums, wide_descriptor(codes) + on, b + on, more);
        else if (X_BYTES == 1)
            wgmma_e4m3_held(sums, a[step], b + on, more);
        else
            wgmma_bf16_held(sums, a[step], b + on, more);
    }
    wgmma_commit();
    wgmma_wait<0>(sums);
}

/* This thread's two weight rows of the tile, g and g + 8, and the matrix they are of. */
struct wide_rows {
    struct cuda_matrix w;
    int64_t row[2];
    int output[2];
};

template <bool GATED>
DEVICE struct wide_rows wide_rows_of(const struct cuda_product &p, const struct wide_tile &t)
{
    int warpgroup = warp_index() / 4, first = t.first + (GATED ? 0 : warpgroup * CUDA_WIDE_M);
    struct wide_rows r;
    r.w = p.w;
    if (GATED && warpgroup == 1) {
        r.w.codes = p.up.codes;
        r.w.scales = p.up.scales;
    }
    for (int h = 0; h < 2; h++) {
        r.output[h] = first + warp_index() % 4 * 16 + lane_index() / 4 + 8 * h;
        r.row[h] = (int64_t)t.group * p.n + (r.output[h] < p.n ? r.output[h] : p.n - 1);
    }
    return r;
}

/* All of k of one tile, in this warpgroup's sums. */
template <int FORMAT, int X_BYTES>
DEVICE void wide_sum(float (&acc)[SUMS], const struct cuda_product &p, const struct wide_rows &r,
                     struct wide_pipe *pipe)
{
    using shape = wide_shape<FORMAT, X_BYTES>;
    float part[shape::promoted ? SUMS : 1];
    for (int i = 0; i < SUMS; i++) acc[i] = 0;
    for (int k = 0; k < p.w.k; k += shape::k) {
        float scale[2] = {1, 1};
        if (FORMAT == WEIGHT_INT4_G128)
            for (int h = 0; h < 2; h++) scale[h] = matrix_scale<FORMAT>(r.w, r.row[h], k);
        const unsigned char *codes = pipe->shared + pipe->stage * shape::stage;
        const unsigned char *x = codes + CONSUMERS * shape::codes;
        codes += warp_index() / 4 * shape::codes;
        barrier_wait(&pipe->full[pipe->stage], pipe->parity);
        if constexpr (shape::promoted)
            wide_multiply<FORMAT, X_BYTES>(part, codes, x, k % K_GROUP != 0);
        else
            wide_multiply<FORMAT, X_BYTES>(acc, codes, x, k > 0);
        if (lane_index() == 0) barrier_arrive(&pipe->empty[pipe->stage]);
        warp_sync();
        wide_next(pipe);
        if (shape::promoted && (k + shape::k) % K_GROUP == 0)
            UNROLL for (int i = 0; i < SUMS; i++) acc[i] +=
                part[shape::promoted ? i : 0] * scale[i / 2 % 2];
    }
}

/* Scales, the gate, and out to memory: eight lanes write eight neighbouring outputs. */
template <int FORMAT, bool GATED>
DEVICE void wide_store(float (&acc)[SUMS], const struct cuda_product &p, const struct wide_tile &t,
                       const struct wide_rows &r, float *handed)
{
    constexpr bool PER_ROW = FORMAT == WEIGHT_FP8_ROW || FORMAT == WEIGHT_INT8_ROW;
    int warpgroup = warp_index() / 4, place = thread_index() % GROUP;
    float scale[2] = {1, 1};
    for (int h = 0; PER_ROW && h < 2; h++) scale[h] = matrix_scale<FORMAT>(r.w, r.row[h], 0);
    UNROLL for (int i = 0; i < SUMS; i++)
    {
        int entry = t.entries.from + i / 4 * 8 + lane_index() % 4 * 2 + i % 2;
        int live = entry < t.entries.to ? entry : t.entries.to - 1;
        acc[i] *= scale[i / 2 % 2] * (p.x.scale ? p.x.scale[product_row(p, live)] : 1);
        if (GATED && warpgroup == 1) handed[i * GROUP + place] = acc[i];
    }
    if (GATED) warps_sync(1, CONSUMERS * GROUP);
    UNROLL for (int i = 0; i < SUMS; i++)
    {
        int entry = t.entries.from + i / 4 * 8 + lane_index() % 4 * 2 + i % 2;
        int output = r.output[i / 2 % 2];
        if ((GATED && warpgroup == 1) || entry >= t.entries.to || output >= p.n) continue;
        operand_store(p.out, entry, output,
                      GATED ? gated(acc[i], handed[i * GROUP + place]) : acc[i]);
    }
    if (GATED) warps_sync(1, CONSUMERS * GROUP); /* before the next tile is handed over */
}

/* grid: as many blocks as work at once. */
template <int FORMAT, int X_BYTES, bool GATED>
KERNEL(WIDE_THREADS)
product_wide_kernel(CONSTANT struct cuda_wide a)
{
    using shape = wide_shape<FORMAT, X_BYTES>;
    SHARED_LARGE(shared);
    SHARED(uint64_t, full, STAGES);
    SHARED(uint64_t, empty, STAGES);
    if (thread_index() == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], CONSUMERS * GROUP / WARP);
        }
        barrier_init_fence();
    }
    block_sync();
    struct wide_pipe pipe = {shared, full, empty, 0, 0};
    if (warp_index() / 4 == CONSUMERS) {
        registers_fewer<REGISTERS_COPY>();
        if (warp_index() % 4 == 0) wide_copy<FORMAT, X_BYTES, GATED>(a, pipe);
    } else {
        registers_more<REGISTERS_MULTIPLY>();
        struct wide_tile t;
        float *handed = (float *)(shared + STAGES * shape::stage);
        for (int i = block_x(); wide_tile_find<GATED>(a.p, i, &t); i += grid_x()) {
            float acc[SUMS];
            struct wide_rows r = wide_rows_of<GATED>(a.p, t);
            wide_sum<FORMAT, X_BYTES>(acc, a.p, r, &pipe);
            wide_store<FORMAT, GATED>(acc, a.p, t, r, handed);
        }
    }
}

template <int FORMAT, int X_BYTES, bool GATED>
static void wide_launch(const struct cuda_wide *a, void *stream)
{
    struct grid g = {a->blocks, 1, 1};
    auto kernel = &product_wide_kernel<FORMAT, X_BYTES, GATED>;
    LAUNCH_LARGE(kernel, g, WIDE_THREADS, (wide_shape<FORMAT, X_BYTES>::shared), stream,
                 *a);
}

template <int FORMAT, int X_BYTES> static void wide(const struct cuda_wide *a, void *stream)
{
    if (a->p.up.codes)
        wide_launch<FORMAT, X_BYTES, true>(a, stream);
    else
        wide_launch<FORMAT, X_BYTES, false>(a, stream);
}

template <int FORMAT> static void wide_bf16(const struct cuda_wide *a, void *stream)
{
    wide<FORMAT, 2>(a, stream);
}

void EXPORT(launch_product_wide)(const struct cuda_wide *a, void *stream)
{
    if (a->x_bytes == 1 && a->p.w.format == WEIGHT_FP8_ROW)
        wide<WEIGHT_FP8_ROW, 1>(a, stream);
    else if (a->x_bytes == 1)
        wide<WEIGHT_INT4_G128, 1>(a, stream);
    else
        PRODUCT_BY_FORMAT(a->p.w.format, wide_bf16, a, stream)
}

/* to[entry] = from[row of entry]. A block owns an entry; bytes: each read once, written once. */
KERNEL(PACK_THREADS) pack_kernel(struct cuda_pack a)
{
    int entry = block_x();
    if (entry >= a.first[a.n_groups]) return;
    const unsigned char *from = a.from + (int64_t)a.x_row[entry] * a.row_bytes;
    unsigned char *to = a.to + (int64_t)entry * a.row_bytes;
    for (int at = thread_index() * 16; at < a.row_bytes; at += PACK_THREADS * 16)
        store_quad(to + at, load_quad(from + at));
}

void EXPORT(launch_pack)(const struct cuda_pack *a, void *stream)
{
    struct grid g = {a->entries_bound, 1, 1};
    LAUNCH(pack_kernel, g, PACK_THREADS, stream, *a);
}
