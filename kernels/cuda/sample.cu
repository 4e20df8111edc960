/* From one row of logits to one id, by the meaning of kernels/sampling.c; a block owns a row.
 *
 * Nothing is sorted: the id up to which top-k or top-p keep is found digit by digit in the order
 * (weight descending, id ascending), with counts or weights as integers, whose sums are the same in
 * any order. Bound: 4 bytes per id and pass, from the second-level cache. */
#include "kernels/cuda/number.cuh"

enum { SAMPLE_THREADS = 512, BINS = 256 };

/* What the threads of a block agree on. */
struct sample_shared {
    float value[SAMPLE_THREADS / WARP];
    double wide[SAMPLE_THREADS / WARP];
    int32_t id[SAMPLE_THREADS / WARP];
    unsigned long long bin[BINS];
    uint64_t prefix, target;
};

/* The largest value and the lowest id that has it; -1 when every value is -infinity. */
struct best {
    float value;
    int32_t id;
};

DEVICE struct best best_of(struct best a, struct best b)
{
    if (b.id < 0) return a;
    if (a.id < 0 || b.value > a.value || (b.value == a.value && b.id < a.id)) return b;
    return a;
}

DEVICE struct best block_best(struct best mine, struct sample_shared *s)
{
    for (int m = WARP / 2; m > 0; m /= 2) {
        struct best other = {warp_shuffle_xor(mine.value, m),
                             (int32_t)float_bits(warp_shuffle_xor(bits_float((uint32_t)mine.id), m))};
        mine = best_of(mine, other);
    }
    block_sync();
    if (lane_index() == 0) s->value[warp_index()] = mine.value;
    if (lane_index() == 0) s->id[warp_index()] = mine.id;
    block_sync();
    mine = {s->value[0], s->id[0]};
    for (int w = 1; w < SAMPLE_THREADS / WARP; w++) mine = best_of(mine, {s->value[w], s->id[w]});
    return mine;
}

DEVICE double block_sum_double(double v, struct sample_shared *s)
{
    v = warp_sum_double(v);
    block_sync();
    if (lane_index() == 0) s->wide[warp_index()] = v;
    block_sync();
    v = 0;
    for (int w = 0; w < SAMPLE_THREADS / WARP; w++) v += s->wide[w];
    return v;
}

/* The best id whose (value, id) comes after `last` in the order of block_best; all with last.id -1. */
DEVICE struct best best_after(const float *p, int n, struct best last, struct sample_shared *s)
{
    struct best mine = {-INFINITY, -1};
    for (int i = thread_index(); i < n; i += SAMPLE_THREADS) {
        bool after = last.id < 0 || p[i] < last.value || (p[i] == last.value && i > last.id);
        if (after && p[i] > -INFINITY) mine = best_of(mine, {p[i], i});
    }
    return block_best(mine, s);
}

DEVICE bool bit_of(const uint32_t *bits, int i) { return bits[i / 32] >> (i % 32) & 1u; }

/* Penalised logits, -infinity where the mask forbids. */
DEVICE void adjust(float *p, const float *logit, const struct cuda_sample &a,
                   const struct cuda_sample_row &row)
{
    const uint32_t *mask = row.mask < 0 ? NULL : a.live->mask + (int64_t)row.mask * a.words;
    const uint32_t *penalised =
        row.penalised < 0 ? NULL : a.live->penalised + (int64_t)row.penalised * a.words;
    for (int i = thread_index(); i < a.n_vocab; i += SAMPLE_THREADS) {
        float v = logit[i];
        if (penalised && bit_of(penalised, i))
            v = v > 0 ? v / row.repetition_penalty : v * row.repetition_penalty;
        p[i] = mask && !bit_of(mask, i) ? -INFINITY : v;
    }
    block_sync();
}

/* Ascending in the order (weight descending, id ascending). */
DEVICE uint64_t sample_key(float weight, int id)
{
    return (uint64_t)~float_bits(weight) << 32 | (uint32_t)id;
}

DEVICE unsigned long long sample_amount(float weight, bool by_count)
{
    return by_count ? 1 : (unsigned long long)((double)weight * 1099511627776.0); /* 2^40 */
}

/* The first key at which the running sum, of ids or of their weights, reaches `target`; the largest
 * key there is when none does. Only ids with weight above 0 and key up to `most` count. */
DEVICE uint64_t key_reaching(const float *weight, int n, uint64_t most, uint64_t target,
                             bool by_count, struct sample_shared *s)
{
    block_sync();
    if (thread_index() == 0) s->prefix = 0;
    if (thread_index() == 0) s->target = target;
    for (int shift = 56; shift >= 0; shift -= 8) {
        for (int b = thread_index(); b < BINS; b += SAMPLE_THREADS) s->bin[b] = 0;
        block_sync();
        uint64_t prefix = s->prefix;
        for (int i = thread_index(); i < n; i += SAMPLE_THREADS) {
            uint64_t key = sample_key(weight[i], i);
            if (!(weight[i] > 0) || key > most) continue;
            if (shift < 56 && key >> (shift + 8) != prefix) continue;
            shared_add(&s->bin[key >> shift & 255], sample_amount(weight[i], by_count));
        }
        block_sync();
        if (thread_index() == 0) {
            int b = 0;
            while (b < BINS - 1 && s->bin[b] < s->target) s->target -= s->bin[b++];
            s->prefix = s->prefix << 8 | (uint64_t)b;
        }
        block_sync();
    }
    return s->prefix;
}

/* Zeroes the weight of every id that min-p, top-k and top-p drop. */
DEVICE void filter(float *weight, int n, const struct cuda_sample_row &row, struct sample_shared *s)
{
    uint64_t most = ~(uint64_t)0;
    for (int i = thread_index(); i < n; i += SAMPLE_THREADS)
        if (weight[i] < row.min_p) weight[i] = 0;
    block_sync();
    if (row.top_k > 0 && row.top_k < n)
        most = key_reaching(weight, n, most, (uint64_t)row.top_k, true, s);
    if (row.top_p > 0 && row.top_p < 1) {
        double total = 0;
        for (int i = thread_index(); i < n; i += SAMPLE_THREADS)
            if (sample_key(weight[i], i) <= most) total += (double)weight[i];
        total = block_sum_double(total, s) * (double)row.top_p;
        uint64_t target = (uint64_t)ceil(total * 1099511627776.0);
        uint64_t reached = key_reaching(weight, n, most, target, false, s);
        if (reached < most) most = reached;
    }
    for (int i = thread_index(); i < n; i += SAMPLE_THREADS)
        if (sample_key(weight[i], i) > most) weight[i] = 0;
    block_sync();
}

DEVICE uint64_t random_mix(uint64_t z)
{
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

/* base/random.h: 64 bits that depend on (seed, index) alone, and a double in (0, 1) of them. */
DEVICE uint64_t random_at(uint64_t seed, uint64_t index)
{
    return random_mix(random_mix(seed) + index * 0x9E3779B97F4A7C15u);
}

/* argmin of -log(u) / weight; an id whose (1 - u) / weight already loses needs no logarithm. */
DEVICE int32_t draw(const float *weight, int n, const struct cuda_sample_row &row,
                    struct sample_shared *s)
{
    uint64_t key = random_at(row.seed, row.index);
    double best = INFINITY;
    int32_t chosen = -1;
    for (int i = thread_index(); i < n; i += SAMPLE_THREADS) {
        if (!(weight[i] > 0)) continue;
        double u = ((double)(random_at(key, (uint64_t)i) >> 12) + 0.5) * (1.0 / 4503599627370496.0);
        if (1 - u >= best * (double)weight[i]) continue;
        double time = -log(u) / (double)weight[i];
        if (time >= best) continue;
        best = time;
        chosen = i;
    }
    for (int m = WARP / 2; m > 0; m /= 2) {
        double other = warp_shuffle_xor_double(best, m);
        int32_t id = (int32_t)float_bits(warp_shuffle_xor(bits_float((uint32_t)chosen), m));
        bool takes = id >= 0 && (chosen < 0 || other < best || (other == best && id < chosen));
        if (takes) best = other;
        if (takes) chosen = id;
    }
    block_sync();
    if (lane_index() == 0) s->wide[warp_index()] = best;
    if (lane_index() == 0) s->id[warp_index()] = chosen;
    block_sync();
    for (int w = 0; w < SAMPLE_THREADS / WARP; w++) {
        int32_t id = s->id[w];
        if (id < 0 || (chosen >= 0 && s->wide[w] > best)) continue;
        if (chosen >= 0 && s->wide[w] == best && id >= chosen) continue;
        best = s->wide[w];
        chosen = id;
    }
    return chosen;
}

/* The best n_logprobs ids with their natural logarithms. */
DEVICE void top_logprobs(struct sample_result *out, const float *logit, int n, int wanted,
                         double normaliser, struct sample_shared *s)
{
    struct best last = {0, -1};
    int held = 0;
    for (; held < wanted && held < LOGPROBS_MAX; held++) {
        struct best next = best_after(logit, n, last, s);
        if (next.id < 0) break;
        if (thread_index() == 0) out->top_id[held] = next.id;
        if (thread_index() == 0) out->top_logprob[held] = (float)((double)next.value - normaliser);
        last = next;
    }
    for (int i = held + thread_index(); i < LOGPROBS_MAX; i += SAMPLE_THREADS) {
        out->top_id[i] = -1;
        out->top_logprob[i] = -INFINITY;
    }
}

KERNEL(SAMPLE_THREADS) sample_kernel(struct cuda_sample a)
{
    SHARED(struct sample_shared, s, 1);
    grid_begin();
    if (block_x() >= a.live->n_outs) return;
    const float *logit = a.logits + block_x() * a.stride;
    float *weight = a.weight + block_x() * a.stride;
    struct sample_result *out = &a.out[block_x()];
    struct cuda_sample_row row = a.live->sample[block_x()];
    float unfit = 0;
    double sum = 0;
    for (int i = thread_index(); i < a.n_vocab; i += SAMPLE_THREADS)
        if (!(fabsf(logit[i]) <= 3.402823466e38f)) unfit = 1;
    bool nan = block_max(unfit, s->value) > 0;
    if (thread_index() == 0) out->nan = nan;
    if (thread_index() == 0 && nan) out->id = -1;
    if (nan) return;
    struct best largest = best_after(logit, a.n_vocab, {0, -1}, s);
    for (int i = thread_index(); i < a.n_vocab; i += SAMPLE_THREADS)
        sum += (double)expf(logit[i] - largest.value);
    double normaliser = (double)largest.value + log(block_sum_double(sum, s));
    top_logprobs(out, logit, a.n_vocab, row.n_logprobs, normaliser, s);
    adjust(weight, logit, a, row);
    struct best best = best_after(weight, a.n_vocab, {0, -1}, s);
    int32_t id = best.id;
    if (id >= 0 && row.temperature > 0) {
        float scale = 1 / row.temperature;
        for (int i = thread_index(); i < a.n_vocab; i += SAMPLE_THREADS)
            weight[i] = expf((weight[i] - best.value) * scale);
        block_sync();
        if (row.top_k > 0 || (row.top_p > 0 && row.top_p < 1) || row.min_p > 0)
            filter(weight, a.n_vocab, row, s);
        id = draw(weight, a.n_vocab, row, s);
    }
    if (thread_index() != 0) return;
    out->id = id;
    out->logprob = id < 0 ? 0.0f : (float)((double)logit[id] - normaliser);
}

void EXPORT(launch_sample)(const struct cuda_sample *a, void *stream)
{
    struct grid g = {a->outs_bound, 1, 1};
    LAUNCH_EARLY(sample_kernel, g, SAMPLE_THREADS, stream, *a);
}
