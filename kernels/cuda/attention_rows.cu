/* a = softmax(q K / sqrt(n)) V, causal, for few rows on tensor cores: positions are M, queries are N.
 *
 * Work is cut into items: a tile of rows of one sequence, a KV head with its packed query heads, and a
 * chunk of 256 positions. Up to 24 queries (four rows of six heads) share every byte of K and V; blocks
 * take items by turns, so the grid knows neither contexts nor counts. In a chunk warps take pages by
 * turns: scores of 16 positions are one row of mma, K in the order in which it lies in memory, straight
 * from there; sums of values pair four positions of one lane, so V needs no turning either. Tensor cores
 * wait for memory here, so q and the weights of positions are the sum of two fp16 each, 22 bits. The four
 * warps' sums are added in their order, chunks are folded in ascending order by a second kernel. A query
 * is a column of its own: what shares its tile does not change a bit of its result. Bytes: K and V once
 * per tile. Bound: reading them. */
#include "kernels/cuda/attention.cuh"

enum {
    ROWS_THREADS = 128,
    ROWS_WARPS = ROWS_THREADS / WARP,
    HEAD_DIM_MAX = 128,
    Q_STRIDE = HEAD_DIM_MAX + 8,     /* halves; rows end 16 bytes later, so columns meet other banks */
    SCORE_STRIDE = ATTENTION_CHUNK + 4, /* words */
    SUM_STRIDE = HEAD_DIM_MAX + 4,
    CHUNK_PAGES = ATTENTION_CHUNK / KV_PAGE_TOKENS,
    FOLD_THREADS = 128
};

/* Shared memory of a block and the item it works on. */
struct rows_item {
    uint16_t *q, *q_low; /* [columns][Q_STRIDE]: queries as the sum of two fp16 */
    /* [columns][SCORE_STRIDE] scores, then in their place exp2(score - largest) as two fp16 a word;
     * then [warps][8][SUM_STRIDE], sums of eight columns. */
    float *score;
    float *largest, *total; /* [columns] */
    int32_t *page;          /* [CHUNK_PAGES] of the chunk */
    struct attention_tile tile;
    int from, n_pages, n_columns; /* first position, pages of the chunk, rows times heads */
};

DEVICE int rows_of_column(const struct rows_item &b, int column)
{
    return b.tile.first_row + column / b.tile.n_heads;
}

/* Queries in fp16 and the chunk's pages to shared memory. */
template <int COLUMNS>
DEVICE void rows_queries(const struct cuda_attention &a, const struct rows_item &b)
{
    int hd = a.pool.head_dim;
    if (thread_index() < b.n_pages)
        b.page[thread_index()] = b.tile.pages[b.from / KV_PAGE_TOKENS + thread_index()];
    for (int i = thread_index(); i < COLUMNS * HEAD_DIM_MAX / 2; i += ROWS_THREADS) {
        int column = i / (HEAD_DIM_MAX / 2), d = i % (HEAD_DIM_MAX / 2) * 2;
        float low = 0, high = 0;
        if (column < b.n_columns && d < hd) {
            int64_t head = b.tile.first_head + column % b.tile.n_heads;
            const float *from = a.q + ((int64_t)rows_of_column(b, column) * a.heads + head) * hd + d;
            low = from[0];
            high = from[1];
        }
        uint32_t rounded = floats_to_f16x2(low, high);
        float low_left = low - f16_to_float(rounded), high_left = high - f16_to_float(rounded >> 16);
        *(uint32_t *)(b.q + column * Q_STRIDE + d) = rounded;
        *(uint32_t *)(b.q_low + column * Q_STRIDE + d) = floats_to_f16x2(low_left, high_left);
    }
}

/* What a lane reads of a page of K or V, on its way while the page before is worked on. */
template <int TYPE> struct rows_page {
    static constexpr int n = 2 * HEAD_DIM_MAX / 4 / kv_traits<TYPE>::chunk;
    struct quad part[n];
};

/* K: chunks t, t + 4, ... of positions g and g + 8. V: chunks g, g + 8, ... of positions 4t to 4t + 3.
 * Nothing is read that was not written. */
template <int TYPE>
DEVICE void rows_load(struct rows_page<TYPE> *to, const struct cuda_attention &a,
                      const struct rows_item &b, int page, int which)
{
    constexpr int CHUNK = kv_traits<TYPE>::chunk;
    int g = lane_index() / 4, t = lane_index() % 4, chunks = a.pool.head_dim / CHUNK;
    int positions = b.tile.last + 1 - b.from - page * KV_PAGE_TOKENS;
    if (page >= b.n_pages) return;
    const unsigned char *at = kv_vector(a, b.page, b.tile.kv_head, page * KV_PAGE_TOKENS, which);
    UNROLL for (int i = 0; i < rows_page<TYPE>::n; i++)
    {
        int position = which ? 4 * t + i % 4 : g + i % 2 * 8;
        int chunk = which ? g + i / 4 * 8 : t + i / 2 * 4;
        to->part[i] = quad_zero();
        if (position < positions && chunk < chunks)
            to->part[i] = load_quad_once(at + (position * chunks + chunk) * 16);
    }
}

/* Scores of this warp's pages, in units of log 2: a lane holds positions g and g + 8 of a page. */
template <int TYPE, int TILES>
DEVICE void rows_scores(const struct cuda_attention &a, const struct rows_item &b)
{
    constexpr int CHUNK = kv_traits<TYPE>::chunk, WORDS = kv_traits<TYPE>::words;
    int g = lane_index() / 4, t = lane_index() % 4;
    float factor = a.factor * 1.44269504f * kv_traits<TYPE>::scale;
    struct rows_page<TYPE> next, k;
    rows_load<TYPE>(&next, a, b, warp_index(), 0);
    for (int page = warp_index(); page < b.n_pages; page += ROWS_WARPS) {
        float c[TILES][4] = {{0}};
        k = next;
        rows_load<TYPE>(&next, a, b, page + ROWS_WARPS, 0);
        UNROLL for (int step = 0; step < rows_page<TYPE>::n / 2; step++)
        {
            uint32_t low[WORDS], high[WORDS];
            if (step * 4 * CHUNK >= a.pool.head_dim) continue;
            kv_widen<TYPE>(low, k.part[2 * step]);
            kv_widen<TYPE>(high, k.part[2 * step + 1]);
            UNROLL for (int tile = 0; tile < TILES; tile++)
            UNROLL for (int i = 0; i < WORDS; i += 4)
            {
                if (tile * 8 >= b.n_columns) continue;
                int at = (tile * 8 + g) * Q_STRIDE + (step * 4 + t) * CHUNK + 2 * i;
                UNROLL for (int half = 0; half < 2; half++)
                {
                    struct quad q = load_quad((half ? b.q_low : b.q) + at);
                    mma_f16(c[tile], low[i], high[i], low[i + 1], high[i + 1], q.word[0], q.word[1]);
                    mma_f16(c[tile], low[i + 2], high[i + 2], low[i + 3], high[i + 3], q.word[2],
                            q.word[3]);
                }
            }
        }
        UNROLL for (int tile = 0; tile < TILES; tile++)
        UNROLL for (int i = 0; i < 4; i++)
            b.score[(tile * 8 + 2 * t + i % 2) * SCORE_STRIDE + page * KV_PAGE_TOKENS + g + i / 2 * 8] =
                c[tile][i] * factor;
    }
}

/* A warp owns every fourth column: exp2(score - largest), 0 beyond the row's own position. */
DEVICE void rows_softmax(const struct cuda_attention &a, const struct rows_item &b)
{
    for (int column = warp_index(); column < b.n_columns; column += ROWS_WARPS) {
        float *score = b.score + column * SCORE_STRIDE;
        int n = a.live->position[rows_of_column(b, column)] + 1 - b.from;
        float most = -INFINITY, sum = 0;
        for (int j = lane_index(); j < b.n_pages * KV_PAGE_TOKENS && j < n; j += WARP)
            most = fmaxf(most, score[j]);
        most = warp_max(most);
        for (int j = lane_index(); j < b.n_pages * KV_PAGE_TOKENS; j += WARP) {
            float e = j < n ? exp2_near(score[j] - most) : 0.0f;
            float rounded = f16_to_float(floats_to_f16x2(e, 0));
            score[j] = bits_float(floats_to_f16x2(e, e - rounded));
            sum += e;
        }
        sum = warp_sum(sum);
        if (lane_index() == 0) b.largest[column] = most;
        if (lane_index() == 0) b.total[column] = sum;
    }
}

/* acc[pair][tile][4]: rows of mma are two elements of the head, columns queries, k four positions of
 * each of four lanes. Pair m: elements 64 (m/4) + 8g + 2 (m%4) and the next; of E4M3 16g + 2m. `next`:
 * the warp's first page, already on its way. */
template <int TYPE, int TILES>
DEVICE void rows_values(float acc[8][TILES][4], const struct cuda_attention &a,
                        const struct rows_item &b, struct rows_page<TYPE> *next)
{
    constexpr int WORDS = kv_traits<TYPE>::words, PASSES = 8 / WORDS;
    int g = lane_index() / 4, t = lane_index() % 4;
    for (int page = warp_index(); page < b.n_pages; page += ROWS_WARPS) {
        struct rows_page<TYPE> v = *next;
        rows_load<TYPE>(next, a, b, page + ROWS_WARPS, 1);
        UNROLL for (int pass = 0; pass < PASSES; pass++)
        {
            uint32_t w[4][WORDS];
            UNROLL for (int i = 0; i < 4; i++) kv_widen<TYPE>(w[i], v.part[pass * 4 + i]);
            UNROLL for (int tile = 0; tile < TILES; tile++)
            {
                if (tile * 8 >= b.n_columns) continue;
                struct quad p = load_quad(b.score + (tile * 8 + g) * SCORE_STRIDE +
                                          page * KV_PAGE_TOKENS + 4 * t);
                uint32_t p0 = bytes_pick(p.word[0], p.word[1], 0x5410);
                uint32_t p1 = bytes_pick(p.word[2], p.word[3], 0x5410);
                uint32_t p0_low = bytes_pick(p.word[0], p.word[1], 0x7632);
                uint32_t p1_low = bytes_pick(p.word[2], p.word[3], 0x7632);
                UNROLL for (int j = 0; j < WORDS; j++)
                {
                    uint32_t a0 = bytes_pick(w[0][j], w[1][j], 0x5410);
                    uint32_t a1 = bytes_pick(w[0][j], w[1][j], 0x7632);
                    uint32_t a2 = bytes_pick(w[2][j], w[3][j], 0x5410);
                    uint32_t a3 = bytes_pick(w[2][j], w[3][j], 0x7632);
                    mma_f16(acc[pass * WORDS + j][tile], a0, a1, a2, a3, p0, p1);
                    mma_f16(acc[pass * WORDS + j][tile], a0, a1, a2, a3, p0_low, p1_low);
                }
            }
        }
    }
}

/* The four warps' sums of eight columns, added in their order, to `part`. */
template <int TYPE, int TILES>
DEVICE void rows_store(const float acc[8][TILES][4], int tile, const struct cuda_attention &a,
                       const struct rows_item &b)
{
    constexpr int WORDS = kv_traits<TYPE>::words;
    int g = lane_index() / 4, t = lane_index() % 4, hd = a.pool.head_dim;
    block_sync();
    UNROLL for (int m = 0; m < 8; m++)
    UNROLL for (int i = 0; i < 4; i++)
    {
        int d = m / WORDS * 64 + g * kv_traits<TYPE>::chunk + m % WORDS * 2 + i / 2;
        b.score[(warp_index() * 8 + 2 * t + i % 2) * SUM_STRIDE + d] = acc[m][tile][i];
    }
    block_sync();
    for (int j = thread_index(); j < 8 * (hd + 2); j += ROWS_THREADS) {
        int column = tile * 8 + j / (hd + 2), d = j % (hd + 2);
        if (column >= b.n_columns) continue;
        int64_t head = b.tile.first_head + column % b.tile.n_heads;
        int64_t row = rows_of_column(b, column) - a.first_row;
        int64_t at = (row * a.heads + head) * a.chunks_max + b.from / ATTENTION_CHUNK;
        float v = d == hd ? b.largest[column] : b.total[column];
        if (d < hd) {
            v = 0;
            for (int w = 0; w < ROWS_WARPS; w++)
                v += b.score[(w * 8 + j / (hd + 2)) * SUM_STRIDE + d];
        }
        a.part[at * (hd + 2) + d] = v;
    }
}

/* grid: any number of blocks. TILES: of eight queries. */
template <int TYPE, int TILES> KERNEL(ROWS_THREADS) attention_rows_kernel(struct cuda_attention a)
{
    constexpr int COLUMNS = TILES * 8, SUMS = ROWS_WARPS * 8 * SUM_STRIDE;
    constexpr int SCORES = COLUMNS * SCORE_STRIDE > SUMS ? COLUMNS * SCORE_STRIDE : SUMS;
    SHARED(uint16_t, q, COLUMNS * Q_STRIDE);
    SHARED(uint16_t, q_low, COLUMNS * Q_STRIDE);
    SHARED(float, score, SCORES);
    SHARED(float, largest, COLUMNS);
    SHARED(float, total, COLUMNS);
    SHARED(int32_t, page, CHUNK_PAGES);
    grid_begin();
    int n_tiles = a.n_tiles > 0 ? a.n_tiles : a.live->n_tiles;
    int packs = attention_packs(a), n_items = n_tiles * packs * a.live->chunks;
    for (int item = block_x(); item < n_items; item += grid_x()) {
        int chunk = item % a.live->chunks, pack = item / a.live->chunks % packs;
        struct rows_item b = {q, q_low, score, largest, total, page, {}, chunk * ATTENTION_CHUNK, 0, 0};
        b.tile = attention_tile_at(a, a.first_tile + item / a.live->chunks / packs, pack);
        b.n_columns = b.tile.n_rows * b.tile.n_heads;
        if (b.from > b.tile.last) continue;
        b.n_pages = (b.tile.last - b.from) / KV_PAGE_TOKENS + 1;
        if (b.n_pages > CHUNK_PAGES) b.n_pages = CHUNK_PAGES;
        rows_queries<COLUMNS>(a, b); /* the item before has read its own for the last time */
        block_sync();
        rows_scores<TYPE, TILES>(a, b);
        struct rows_page<TYPE> v;
        rows_load<TYPE>(&v, a, b, warp_index(), 1);
        block_sync();
        rows_softmax(a, b);
        block_sync();
        float acc[8][TILES][4] = {{{0}}};
        rows_values<TYPE, TILES>(acc, a, b, &v);
        UNROLL for (int tile = 0; tile < TILES; tile++)
            if (tile * 8 < b.n_columns) rows_store<TYPE, TILES>(acc, tile, a, b);
    }
}

/* Folds the chunks of one row and head in ascending order. grid: rows, heads. */
template <int TYPE> KERNEL(FOLD_THREADS) attention_fold_kernel(struct cuda_attention a)
{
    int row = a.first_row + block_x(), head = block_y(), i = thread_index(), hd = a.pool.head_dim;
    grid_begin();
    if (row >= a.live->n_rows || a.live->seq[row] < 0 || i >= hd) return;
    float largest = -INFINITY, total = 0, sum = 0;
    int64_t at = (int64_t)block_x() * a.heads + head;
    const float *part = a.part + at * a.chunks_max * (hd + 2);
    for (int chunk = 0; chunk <= a.live->position[row] / ATTENTION_CHUNK; chunk++, part += hd + 2) {
        float most = fmaxf(largest, part[hd]);
        float old = exp2_near(largest - most), now = exp2_near(part[hd] - most);
        largest = most;
        total = total * old + part[hd + 1] * now;
        sum = sum * old + part[i] * now;
    }
    operand_store(a.out, row, head * hd + i, divide(sum, total) * kv_traits<TYPE>::scale);
}

template <int TYPE> static void attention_rows(const struct cuda_attention *a, void *stream)
{
    int packs = attention_packs(*a);
    int most = a->rows_bound * packs * a->chunks_max;
    struct grid g = {most < a->blocks ? most : a->blocks, 1, 1}, fold = {a->rows_bound, a->heads, 1};
    auto one = &attention_rows_kernel<TYPE, 1>, several = &attention_rows_kernel<TYPE, 3>;
    if (a->rows_bound == 1)
        LAUNCH_EARLY(one, g, ROWS_THREADS, stream, *a);
    else
        LAUNCH_EARLY(several, g, ROWS_THREADS, stream, *a);
    LAUNCH_EARLY(attention_fold_kernel<TYPE>, fold, FOLD_THREADS, stream, *a);
}

void EXPORT(launch_attention_rows)(const struct cuda_attention *a, void *stream)
{
    if (a->pool.type == KV_BF16)
        attention_rows<KV_BF16>(a, stream);
    else
        attention_rows<KV_E4M3>(a, stream);
}
