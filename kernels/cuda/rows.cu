/* The steps between products: embedding, norm, choice of experts, angles, RoPE with the KV write. One block
 * owns one row; bytes are those of the row, read and written once. Where there are few rows it is latency
 * that counts: a block has a thread for every four or eight values of the row, so a pass is two loads. */
#include "kernels/cuda/experts.cuh"
#include "kernels/cuda/product.cuh"

enum { ROW_THREADS = 256, NORM_THREADS = 768, ROPE_THREADS = 512, EXPERTS_AT_MOST = 64 };

/* As many as have `each` values of n, up to `most`. */
static int row_threads(int n, int each, int most)
{
    int threads = (n / each + WARP - 1) / WARP * WARP;
    return threads < WARP ? (int)WARP : threads < most ? threads : most;
}

/* x[row] = wte[token], or wte of what the step before sampled in slot ~token; padding is 0. */
template <int FORMAT> KERNEL(ROW_THREADS) embed_kernel(struct cuda_embed a)
{
    constexpr int CHUNK = format_traits<FORMAT>::chunk;
    int row = block_x();
    if (row >= a.live->n_rows) return;
    int token = a.live->token[row];
    bool padding = a.live->seq[row] < 0;
    if (padding) token = 0;
    if (token < 0) token = a.slot[~token].id < 0 ? 0 : a.slot[~token].id;
    const unsigned char *codes = a.wte.codes + token * a.wte.row_bytes;
    for (int c = thread_index(); c * CHUNK < a.d; c += ROW_THREADS) {
        struct quad q = load_quad(codes + 16 * (int64_t)c);
        float scale = matrix_scale<FORMAT>(a.wte, token, c * CHUNK);
        for (int i = 0; i < CHUNK; i++)
            a.x[(int64_t)row * a.d + c * CHUNK + i] =
                padding ? 0.0f : chunk_value<FORMAT>(q, i) * scale;
    }
}

template <int FORMAT> static void embed(const struct cuda_embed *a, void *stream)
{
    struct grid g = {a->rows_bound, 1, 1};
    LAUNCH(embed_kernel<FORMAT>, g, ROW_THREADS, stream, *a);
}

void EXPORT(launch_embed)(const struct cuda_embed *a, void *stream)
{
    switch (a->wte.format) {
    case WEIGHT_F32: embed<WEIGHT_F32>(a, stream); break;
    case WEIGHT_BF16: embed<WEIGHT_BF16>(a, stream); break;
    case WEIGHT_FP8_ROW: embed<WEIGHT_FP8_ROW>(a, stream); break;
    case WEIGHT_INT8_ROW: embed<WEIGHT_INT8_ROW>(a, stream); break;
    case WEIGHT_INT4_G128: embed<WEIGHT_INT4_G128>(a, stream); break;
    }
}

/* cos and sin of position * theta^(-2i / head_dim), in double: positions reach 131072. */
KERNEL(WARP) turns_kernel(struct cuda_turns a)
{
    int row = block_x();
    if (row >= a.live->n_rows) return;
    for (int i = thread_index(); i < a.half; i += WARP) {
        double angle = a.live->position[row] * a.inverse_wave[i];
        float *turn = a.turn + ((int64_t)row * a.half + i) * 2;
        turn[0] = (float)cos(angle);
        turn[1] = (float)sin(angle);
    }
}

void EXPORT(launch_turns)(const struct cuda_turns *a, void *stream)
{
    struct grid g = {a->rows_bound, 1, 1};
    LAUNCH(turns_kernel, g, WARP, stream, *a);
}

/* Four values of the normed row. */
DEVICE struct four norm_four(const struct cuda_norm &a, const float *x, int i, float mean,
                             float inverse)
{
    struct four v = load_four(x + i), gain = load_four(a.gain + i);
    for (int j = 0; j < 4; j++) v.f[j] = (v.f[j] - mean) * inverse * gain.f[j];
    return v;
}

/* y = (x - mean) / sqrt(variance + 1e-5) * gain of x with what is added to it, which stays in x. By a
 * whole block; `held` has room for one value a warp. */
DEVICE void norm_row(const struct cuda_norm &a, int out, float *held)
{
    int row = a.of_outs ? a.live->out_row[out] : out, first = 4 * thread_index();
    int step = 4 * thread_count();
    float *x = a.x + (int64_t)row * a.d;
    float sum = 0, squares = 0, largest = 0;
    bool gathers = a.experts.down && a.live->seq[row] >= 0;
    for (int i = first; i < a.d; i += step) {
        struct four v = load_four(x + i);
        if (a.add) v = four_add(v, load_four(a.add + (int64_t)row * a.d + i));
        if (gathers) v = experts_added(a.experts, row, i, v);
        if (a.add || gathers) store_four(x + i, v);
        sum += v.f[0] + v.f[1] + (v.f[2] + v.f[3]);
    }
    float mean = block_sum(sum, held) / (float)a.d;
    for (int i = first; i < a.d; i += step) {
        struct four v = load_four(x + i);
        for (int j = 0; j < 4; j++) squares += (v.f[j] - mean) * (v.f[j] - mean);
    }
    float inverse = 1.0f / sqrtf(block_sum(squares, held) / (float)a.d + 1e-5f);
    bool scaled = a.activations == ACTIVATION_E4M3;
    for (int i = first; scaled && i < a.d; i += step) {
        struct four v = norm_four(a, x, i, mean, inverse);
        for (int j = 0; j < 4; j++) largest = fmaxf(largest, fabsf(v.f[j]));
    }
    float scale = 1;
    if (scaled) scale = block_max(largest, held) / 448.0f;
    for (int i = first; i < a.d; i += step)
        activations_store(a.y, a.activations, out, i, norm_four(a, x, i, mean, inverse), scale);
    if (a.y.scale && thread_index() == 0) a.y.scale[out] = scale;
}

/* What the row's own kernels read of weights, while the kernel before still runs. */
DEVICE void norm_prefetch(const struct cuda_norm &a)
{
    if (thread_index() == 0) prefetch(a.gain, a.d * (int)sizeof(float));
}

KERNEL(NORM_THREADS) norm_kernel(struct cuda_norm a)
{
    SHARED(float, held, NORM_THREADS / WARP);
    int out = block_x();
    grid_next();
    norm_prefetch(a);
    grid_wait();
    if (out >= (a.of_outs ? a.live->n_outs : a.live->n_rows)) return;
    norm_row(a, out, held);
}

void EXPORT(launch_norm)(const struct cuda_norm *a, void *stream)
{
    struct grid g = {a->rows_bound, 1, 1};
    LAUNCH_EARLY(norm_kernel, g, row_threads(a->d, 4, NORM_THREADS), stream, *a);
}

/* The k largest logits, largest first, ties to the lower expert, or the forced ones, and a softmax
 * over these. One thread owns a row. Padding gets expert -1. */
DEVICE void route_row(const struct cuda_route &a, int row, const float *logit)
{
    const struct cuda_live *live = a.norm.live;
    int64_t at = (int64_t)row * a.top_k;
    int64_t all = (int64_t)a.layer * live->n_rows * a.top_k + at; /* of all layers */
    float largest = -INFINITY, sum = 0;
    uint64_t taken = 0;
    for (int j = 0; j < a.top_k; j++) {
        int best = -1;
        for (int e = 0; e < a.n_experts && live->seq[row] >= 0; e++)
            if (!(taken >> e & 1) && (best < 0 || logit[e] > logit[best])) best = e;
        if (live->seq[row] >= 0 && live->forced) best = live->forced[all + j];
        a.route[at + j] = a.routes[all + j] = best;
        a.gate[at + j] = best < 0 ? 0.0f : logit[best];
        if (best >= 0) taken |= (uint64_t)1 << best;
        largest = fmaxf(largest, a.gate[at + j]);
    }
    for (int j = 0; j < a.top_k; j++) {
        a.gate[at + j] = expf(a.gate[at + j] - largest);
        sum += a.gate[at + j];
    }
    for (int j = 0; j < a.top_k; j++) a.gate[at + j] /= sum;
}

/* The experts of a step's only row in their order: how many are lower is an entry's place. */
DEVICE void route_sort(const struct cuda_route &a)
{
    for (int e = thread_index(); e <= a.n_experts; e += thread_count()) {
        int lower = 0;
        for (int j = 0; j < a.top_k; j++) lower += a.route[j] >= 0 && a.route[j] < e;
        a.sort.first[e] = lower;
        for (int j = 0; j < a.top_k; j++) {
            if (a.route[j] != e) continue;
            a.sort.slot[j] = lower;
            a.sort.entry_row[lower] = 0;
        }
    }
}

/* The norm before the experts, the router's logits in fp32 whatever the regime, for a choice must not
 * turn on rounding, and the choice. A warp owns an expert after the other; the router is read from the
 * second-level cache once per row, where it is on its way before the row is. */
template <int FORMAT> KERNEL(NORM_THREADS) norm_route_kernel(struct cuda_route a)
{
    SHARED(float, held, NORM_THREADS / WARP);
    SHARED(float, logit, EXPERTS_AT_MOST);
    int row = block_x();
    grid_next();
    norm_prefetch(a.norm);
    for (int e = thread_index(); e < a.n_experts; e += thread_count())
        prefetch(a.router.codes + e * a.router.row_bytes, (int)a.router.row_bytes);
    grid_wait();
    if (row >= a.norm.live->n_rows) return;
    norm_row(a.norm, row, held);
    block_sync();
    const float *const y[1] = {a.norm.y.f32 + row * a.norm.y.stride};
    for (int e = warp_index(); e < a.n_experts; e += thread_count() / WARP) {
        float sum[1];
        vector_dots<FORMAT, 1>(sum, a.router, e, y);
        if (lane_index() == 0) logit[e] = sum[0];
    }
    block_sync();
    if (thread_index() == 0) route_row(a, row, logit);
    if (a.norm.rows_bound > 1) return;
    block_sync();
    route_sort(a);
}

template <int FORMAT> static void norm_route(const struct cuda_route *a, void *stream)
{
    struct grid g = {a->norm.rows_bound, 1, 1};
    LAUNCH_EARLY(norm_route_kernel<FORMAT>, g, row_threads(a->norm.d, 4, NORM_THREADS), stream, *a);
}

void EXPORT(launch_norm_route)(const struct cuda_route *a, void *stream)
{
    if (a->router.format == WEIGHT_F32)
        norm_route<WEIGHT_F32>(a, stream);
    else
        PRODUCT_BY_FORMAT(a->router.format, norm_route, a, stream)
}

DEVICE float clipped(float v, float clip)
{
    if (!(clip > 0)) return v;
    v = v < -clip ? -clip : v; /* as written NaN stays NaN */
    return v > clip ? clip : v;
}

DEVICE void kv_store(const struct cuda_pool &pool, unsigned char *head, int i, float v)
{
    if (pool.type == KV_BF16) ((uint16_t *)head)[i] = (uint16_t)float_to_bf16(v);
    if (pool.type == KV_E4M3) head[i] = (unsigned char)float_to_e4m3(v * 32.0f);
}

/* Clip, then pairs (i, i + n/2) of q and k turned; q to its buffer, k and v into the row's page. */
KERNEL(ROPE_THREADS) rope_kernel(struct cuda_rope a)
{
    int row = block_x(), n = a.pool.head_dim, half = n / 2;
    grid_begin();
    if (row >= a.live->n_rows || a.live->seq[row] < 0) return;
    int position = a.live->position[row], kv_heads = a.pool.kv_heads;
    const int32_t *pages = a.live->page_table + (int64_t)a.live->seq[row] * a.live->pages_max;
    int page = pages[position / KV_PAGE_TOKENS];
    int element = a.pool.type == KV_BF16 ? 2 : 1;
    int64_t head_bytes = (int64_t)KV_PAGE_TOKENS * n * element;
    const float *qkv = a.qkv + (int64_t)row * (a.heads + 2 * kv_heads) * n;
    for (int j = thread_index(); j < (a.heads + 2 * kv_heads) * half; j += thread_count()) {
        int head = j / half, i = j % half;
        float first = clipped(qkv[head * n + i], a.clip);
        float second = clipped(qkv[head * n + i + half], a.clip);
        if (head < a.heads + kv_heads) {
            const float *turn = a.turn + ((int64_t)row * half + i) * 2;
            float turned = first * turn[0] - second * turn[1];
            second = second * turn[0] + first * turn[1];
            first = turned;
        }
        if (head < a.heads) {
            a.q[((int64_t)row * a.heads + head) * n + i] = first;
            a.q[((int64_t)row * a.heads + head) * n + i + half] = second;
            continue;
        }
        unsigned char *to = a.pool.bytes + page * a.pool.page_bytes +
                            ((int64_t)a.layer * 2 * kv_heads + (head - a.heads)) * head_bytes +
                            (int64_t)(position % KV_PAGE_TOKENS) * n * element;
        kv_store(a.pool, to, i, first);
        kv_store(a.pool, to, i + half, second);
    }
}

void EXPORT(launch_rope)(const struct cuda_rope *a, void *stream)
{
    struct grid g = {a->rows_bound, 1, 1};
    int pairs = (a->heads + 2 * a->pool.kv_heads) * a->pool.head_dim / 2;
    LAUNCH_EARLY(rope_kernel, g, row_threads(pairs, 4, ROPE_THREADS), stream, *a);
}
