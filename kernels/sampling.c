/* Nothing is sorted that need not be: greedy and plain temperature are one pass; the filters take
 * ids off a heap, best first, until they have enough. */
#include "kernels/sampling.h"

#include <math.h>

#include "base/random.h"

static bool is_allowed(const uint32_t *mask, int32_t id)
{
    return !mask || (mask[id / 32] >> (id % 32) & 1u);
}

bool sample_normaliser(double *out, const float *logits, int32_t n)
{
    float largest = -INFINITY;
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        if (!isfinite(logits[i])) return false;
        if (logits[i] > largest) largest = logits[i];
    }
    for (int32_t i = 0; i < n; i++) sum += (double)expf(logits[i] - largest);
    *out = (double)largest + log(sum);
    return true;
}

/* The n best ids by insertion; ties go to the lower id because ids come in ascending order. */
static void top_logprobs(struct sample_result *out, const float *logits, int32_t n_vocab, int32_t n,
                         double normaliser)
{
    int32_t held = 0;
    for (int32_t id = 0; id < n_vocab && n > 0; id++) {
        if (held == n && logits[id] <= logits[out->top_id[n - 1]]) continue;
        int32_t at = held < n ? held++ : n - 1;
        for (; at > 0 && logits[out->top_id[at - 1]] < logits[id]; at--)
            out->top_id[at] = out->top_id[at - 1];
        out->top_id[at] = id;
    }
    for (int32_t i = 0; i < held; i++)
        out->top_logprob[i] = (float)((double)logits[out->top_id[i]] - normaliser);
    for (int32_t i = held; i < LOGPROBS_MAX; i++) {
        out->top_id[i] = -1;
        out->top_logprob[i] = -INFINITY;
    }
}

/* Penalised logits, -inf where the mask forbids. From the raw logit each time, so an id
 * that stands twice in the history is penalised once. */
static void adjust(float *p, const float *logits, int32_t n, const struct sample_row *row,
                   const uint32_t *mask)
{
    for (int32_t i = 0; i < n; i++) p[i] = logits[i];
    float penalty = row->repetition_penalty;
    for (int32_t i = 0; penalty > 0 && penalty != 1 && i < row->n_history; i++) {
        int32_t id = row->history[i];
        if (id < 0 || id >= n) continue;
        p[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
    for (int32_t i = 0; mask && i < n; i++)
        if (!is_allowed(mask, i)) p[i] = -INFINITY;
}

static int32_t best_id(const float *p, int32_t n)
{
    int32_t best = -1;
    for (int32_t i = 0; i < n; i++)
        if (p[i] > -INFINITY && (best < 0 || p[i] > p[best])) best = i;
    return best;
}

/* The heap's order: larger weight first, then the lower id. */
static bool comes_before(const float *p, int32_t a, int32_t b)
{
    if (p[a] != p[b]) return p[a] > p[b];
    return a < b;
}

static void heap_sift(int32_t *heap, int32_t n, int32_t at, const float *p)
{
    for (;;) {
        int32_t first = at, left = 2 * at + 1, right = left + 1;
        if (left < n && comes_before(p, heap[left], heap[first])) first = left;
        if (right < n && comes_before(p, heap[right], heap[first])) first = right;
        if (first == at) return;
        int32_t id = heap[at];
        heap[at] = heap[first];
        heap[first] = id;
        at = first;
    }
}

/* Moves the best ids to the end of scratch->id (the heap shrinks from there) and returns how many:
 * at most `most`, stopping once their sum reaches `enough` or weights fall under `least`. */
static int32_t heap_take(const struct sample_scratch *s, int32_t n, int32_t most, double enough,
                         float least)
{
    int32_t taken = 0;
    double sum = 0;
    while (taken < most && sum < enough && s->weight[s->id[0]] >= least) {
        int32_t last = n - 1 - taken, id = s->id[0];
        sum += (double)s->weight[id];
        s->id[0] = s->id[last];
        s->id[last] = id;
        taken++;
        heap_sift(s->id, last, 0, s->weight);
        if (last == 0) break;
    }
    return taken;
}

/* Zeroes the weight of every id that the filters drop. */
static void filter(const struct sample_scratch *s, int32_t n_vocab, const struct sample_row *row)
{
    int32_t n = 0, most = 0;
    double total = 0, kept = 0;
    for (int32_t i = 0; i < n_vocab; i++)
        if (s->weight[i] > 0 && s->weight[i] >= row->min_p) s->id[n++] = i;
    for (int32_t i = n / 2 - 1; i >= 0; i--) heap_sift(s->id, n, i, s->weight);
    most = row->top_k > 0 && row->top_k < n ? row->top_k : n;
    bool nucleus = row->top_p > 0 && row->top_p < 1;
    if (!nucleus || most < n) {
        int32_t taken = heap_take(s, n, most, INFINITY, 0);
        for (int32_t i = 0; i < n - taken; i++) s->weight[s->id[i]] = 0;
        for (int32_t i = 0; i < taken; i++) total += (double)s->weight[s->id[n - 1 - i]];
        for (int32_t i = 0; nucleus && i < taken; i++) {
            int32_t id = s->id[n - 1 - i];
            double share = (double)s->weight[id];
            if (kept >= (double)row->top_p * total) s->weight[id] = 0;
            kept += share;
        }
    } else {
        for (int32_t i = 0; i < n; i++) total += (double)s->weight[s->id[i]];
        int32_t taken = heap_take(s, n, n, (double)row->top_p * total, 0);
        for (int32_t i = 0; i < n - taken; i++) s->weight[s->id[i]] = 0;
    }
    for (int32_t i = 0; i < n_vocab; i++)
        if (s->weight[i] < row->min_p) s->weight[i] = 0;
}

/* argmin of E / p. Since -log(u) >= 1 - u, an id whose (1 - u) / p already loses needs no log. */
static int32_t draw(const float *p, int32_t n, uint64_t seed, uint64_t index)
{
    uint64_t key = random_at(seed, index);
    double best = INFINITY;
    int32_t chosen = -1;
    for (int32_t i = 0; i < n; i++) {
        if (!(p[i] > 0)) continue;
        double u = random_unit(key, (uint64_t)i), share = (double)p[i];
        if (1 - u >= best * share) continue;
        double time = -log(u) / share;
        if (time >= best) continue;
        best = time;
        chosen = i;
    }
    return chosen;
}

void sample_logits(struct sample_result *out, const float *logits, int32_t n_vocab,
                   const struct sample_row *row, const uint32_t *mask,
                   const struct sample_scratch *scratch)
{
    double normaliser = NAN;
    if (!sample_normaliser(&normaliser, logits, n_vocab)) normaliser = NAN;
    sample_normalised(out, logits, normaliser, n_vocab, row, mask, scratch);
}

void sample_normalised(struct sample_result *out, const float *logits, double normaliser,
                       int32_t n_vocab, const struct sample_row *row, const uint32_t *mask,
                       const struct sample_scratch *scratch)
{
    int32_t n_top = row->n_logprobs < LOGPROBS_MAX ? row->n_logprobs : LOGPROBS_MAX;
    *out = (struct sample_result){.id = -1};
    if (isnan(normaliser)) {
        out->nan = true;
        return;
    }
    top_logprobs(out, logits, n_vocab, n_top < n_vocab ? n_top : n_vocab, normaliser);
    adjust(scratch->weight, logits, n_vocab, row, mask);
    int32_t best = best_id(scratch->weight, n_vocab);
    out->id = best;
    if (best >= 0 && row->temperature > 0) {
        float largest = scratch->weight[best], scale = 1 / row->temperature;
        for (int32_t i = 0; i < n_vocab; i++)
            scratch->weight[i] = expf((scratch->weight[i] - largest) * scale);
        if (row->top_k > 0 || (row->top_p > 0 && row->top_p < 1) || row->min_p > 0)
            filter(scratch, n_vocab, row);
        out->id = draw(scratch->weight, n_vocab, row->seed, row->index);
    }
    if (out->id >= 0) out->logprob = (float)((double)logits[out->id] - normaliser);
}
