/* Chains are walked a bounded way and matches compared a bounded way, so a token costs the same
 * whatever the text: also one that repeats a single token a thousand times. */
#include "inference/draft.h"

#include <string.h>

#include "base/memory.h"
#include "base/random.h"

enum {
    NGRAM = 3,           /* shorter matches agree by chance */
    CANDIDATES_MAX = 16, /* places of a chain that are looked at */
    MATCH_MAX = 32,      /* beyond it a longer match says no more */
    MATCH_LONG = 8,
    BITS_MIN = 6,
    BITS_MAX = 16
};

/* Before anything was observed: what a ground's guesses are worth, as that many observations. */
static const double prior[DRAFT_GROUNDS] = {0.4, 0.6, 0.85, 0.85};
static const double prior_weight = 4, memory_of_one = 0.95;

/* A gain within the noise of the costs is none. */
static const double gain_least = 1.03;

static status index_open(struct ngram_index *x, const int32_t *tokens, int32_t n_max, error *err)
{
    *x = (struct ngram_index){.tokens = tokens, .n_indexed = NGRAM, .bits = BITS_MIN};
    while (x->bits < BITS_MAX && n_max >> x->bits) x->bits++;
    x->newest = memory_take((size_t)1 << x->bits, sizeof *x->newest);
    x->previous = memory_take((size_t)n_max + 1, sizeof *x->previous);
    if (x->newest && x->previous) return OK;
    return fail(err, ERR_MEMORY, "out of memory for drafts of %d tokens", n_max);
}

static void index_close(struct ngram_index *x)
{
    memory_free(x->newest);
    memory_free(x->previous);
}

/* The chain of the three tokens before `end`. */
static int32_t *chain_of(const struct ngram_index *x, const int32_t *end)
{
    uint64_t pair = (uint64_t)(uint32_t)end[-3] << 32 | (uint32_t)end[-2];
    return &x->newest[random_at(pair, (uint32_t)end[-1]) >> (64 - x->bits)];
}

/* Places below `to` become findable. */
static void index_until(struct ngram_index *x, int32_t to)
{
    for (; x->n_indexed < to; x->n_indexed++) {
        int32_t *chain = chain_of(x, x->tokens + x->n_indexed);
        x->previous[x->n_indexed] = *chain;
        *chain = x->n_indexed;
    }
}

/* How many tokens before a[n_a] and b[n_b] are the same. */
static int32_t match_of(const int32_t *a, int32_t n_a, const int32_t *b, int32_t n_b)
{
    int32_t most = n_a < n_b ? n_a : n_b, n = 0;
    if (most > MATCH_MAX) most = MATCH_MAX;
    while (n < most && a[n_a - 1 - n] == b[n_b - 1 - n]) n++;
    return n;
}

/* Follows the place whose past agrees longest with the end of tokens[0, n); of equals the one
 * nearest to `wanted`. */
static void source_find(struct draft_source *s, const int32_t *tokens, int32_t n, int32_t wanted)
{
    int32_t place, looked = 0, nearest = INT32_MAX;
    s->at = -1;
    s->match = NGRAM - 1;
    if (n < NGRAM) return;
    for (place = *chain_of(&s->index, tokens + n); place > 0 && looked < CANDIDATES_MAX;
         place = s->index.previous[place], looked++) {
        int32_t match = match_of(s->index.tokens, place, tokens, n);
        int32_t far = place > wanted ? place - wanted : wanted - place;
        if (match < NGRAM || match < s->match) continue;
        if (match == s->match && far >= nearest) continue;
        s->at = place;
        s->match = match;
        nearest = far;
    }
}

status draft_open(draft *out, const int32_t *tokens, int32_t n_tokens, int32_t n_tokens_max,
                  const int32_t *predicted, int32_t n_predicted, error *err)
{
    *out = (draft){.seen.at = -1, .predicted.at = -1};
    status s = index_open(&out->seen.index, tokens, n_tokens_max, err);
    if (s == OK && n_predicted > 0) {
        out->predicted_tokens = memory_take((size_t)n_predicted, sizeof *predicted);
        s = index_open(&out->predicted.index, out->predicted_tokens, n_predicted, err);
        if (!out->predicted_tokens)
            s = fail(err, ERR_MEMORY, "out of memory for a prediction of %d tokens", n_predicted);
    }
    if (s != OK) {
        draft_close(out);
        return s;
    }
    out->seen.index.n = n_tokens;
    index_until(&out->seen.index, n_tokens);
    source_find(&out->seen, tokens, n_tokens, n_tokens);
    if (n_predicted <= 0) return OK;
    memcpy(out->predicted_tokens, predicted, (size_t)n_predicted * sizeof *predicted);
    out->predicted.index.n = n_predicted;
    index_until(&out->predicted.index, n_predicted);
    out->predicted.at = 0;
    out->predicted.match = MATCH_LONG; /* the caller's word */
    return OK;
}

void draft_close(draft *d)
{
    index_close(&d->seen.index);
    index_close(&d->predicted.index);
    memory_free(d->predicted_tokens);
    *d = (draft){.seen.at = -1, .predicted.at = -1};
}

/* The one whose guess counts: the longer match, the prediction when they are alike. */
static const struct draft_source *source_best(const draft *d)
{
    const struct draft_source *p = &d->predicted, *s = &d->seen;
    if (p->at >= 0 && (s->at < 0 || p->match >= s->match || p->match >= MATCH_LONG)) return p;
    return s->at >= 0 ? s : NULL;
}

static enum draft_ground ground_of(const draft *d, const struct draft_source *s)
{
    if (s == &d->predicted) return DRAFT_PREDICTED;
    if (s->match >= MATCH_LONG) return DRAFT_MATCH_8;
    return s->match >= 5 ? DRAFT_MATCH_5 : DRAFT_MATCH_3;
}

static void observe(draft *d, enum draft_ground ground, bool agrees)
{
    d->agreed[ground] = memory_of_one * d->agreed[ground] + agrees;
    d->failed[ground] = memory_of_one * d->failed[ground] + !agrees;
}

/* One token further if it is the guessed one, else at another place. */
static void source_advance(struct draft_source *s, const int32_t *tokens, int32_t n)
{
    int32_t lost_at = s->at;
    if (s->at >= 0 && s->index.tokens[s->at] == tokens[n - 1]) {
        s->at = s->at + 1 < s->index.n ? s->at + 1 : -1;
        s->match++;
        return;
    }
    if (s->index.newest) source_find(s, tokens, n, lost_at >= 0 ? lost_at : n);
}

void draft_put(draft *d)
{
    struct ngram_index *seen = &d->seen.index;
    const struct draft_source *best = source_best(d);
    int32_t id = seen->tokens[seen->n];
    if (best) observe(d, ground_of(d, best), best->index.tokens[best->at] == id);
    seen->n++;
    index_until(seen, seen->n);
    source_advance(&d->seen, seen->tokens, seen->n);
    source_advance(&d->predicted, seen->tokens, seen->n);
}

int32_t draft_fill(const draft *d, int32_t *out, int32_t n_max, double *agreement)
{
    const struct draft_source *s = source_best(d);
    *agreement = 0;
    if (!s || n_max <= 0) return 0;
    enum draft_ground g = ground_of(d, s);
    *agreement =
        (d->agreed[g] + prior[g] * prior_weight) / (d->agreed[g] + d->failed[g] + prior_weight);
    int32_t known = s->index.n - s->at, n = 0;
    for (; n < n_max && n < known; n++) out[n] = s->index.tokens[s->at + n];
    /* What follows itself repeats itself. */
    for (; s == &d->seen && n < n_max; n++) out[n] = out[n - known];
    return n;
}

double draft_expected(double agreement, int32_t n)
{
    double sum = 0, all = 1;
    for (int32_t i = 0; i < n; i++) sum += all *= agreement;
    return sum;
}

int32_t draft_length(double agreement, int32_t n_max, const struct draft_price *price)
{
    static const int32_t lengths[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48};
    double best = price->n_outputs / price->cost(price->context, 0) * gain_least;
    int32_t chosen = 0;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        int32_t n = lengths[i] < n_max ? lengths[i] : n_max;
        double rate =
            (price->n_outputs + draft_expected(agreement, n)) / price->cost(price->context, n);
        if (rate > best) {
            best = rate;
            chosen = n;
        }
        if (n == n_max) break;
    }
    return chosen;
}
