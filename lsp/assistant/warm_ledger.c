#include "lsp/assistant/warm_ledger.h"

#include <string.h>

#include "base/memory.h"

enum {
    KIND_CREDIT = 96, /* tokens that may be lost before a kind has shown anything */
    ALL_CREDIT = 160, /* of all kinds */
    TRY_EVERY = 32,
    PRIOR_WEIGHT = 4, /* places, and tokens, that the first belief counts for */
    PRIOR_TOKENS = 64
};

/* What is believed before anything is known: how often such a place is asked about next. */
static const double prior[N_WARM_KINDS] = {
    [WARM_OPEN] = 0.5,     [WARM_CHANGE] = 0.5,   [WARM_REST] = 0.4,
    [WARM_ACCEPTED] = 0.4, [WARM_NEWLINE] = 0.25, [WARM_SWITCH] = 0.1,
};

const char *warm_kind_name(enum warm_kind kind)
{
    static const char *const names[N_WARM_KINDS] = {
        [WARM_OPEN] = "a document opened",
        [WARM_CHANGE] = "a change",
        [WARM_REST] = "a rest",
        [WARM_ACCEPTED] = "the suggestion taken over",
        [WARM_NEWLINE] = "the line behind it",
        [WARM_SWITCH] = "a document left",
    };
    return names[kind];
}

static void record_end(struct warm_ledger *l, struct warm_record *r)
{
    l->n_wasted += (int64_t)(r->n_ids - r->useful_from);
    memory_free(r->ids);
    *r = (struct warm_record){0};
}

void warm_ledger_end(struct warm_ledger *l)
{
    for (size_t i = 0; i < WARM_RECORDS_MAX; i++) record_end(l, &l->records[i]);
}

void warm_ledger_free(struct warm_ledger *l)
{
    warm_ledger_end(l);
    *l = (struct warm_ledger){0};
}

void warm_ledger_put(struct warm_ledger *l, enum warm_kind kind, const int32_t *ids, size_t n_ids,
                     size_t n_cached)
{
    struct warm_record *r = &l->records[l->n_put % WARM_RECORDS_MAX];
    size_t n_spent = n_cached < n_ids ? n_ids - n_cached : 0;
    l->n_spent += (int64_t)n_spent;
    l->kinds[kind].n_sent++;
    l->kinds[kind].n_spent += (int64_t)n_spent;
    int32_t *copy = memory_take(n_ids ? n_ids : 1, sizeof *copy);
    if (!copy) {
        l->n_wasted += (int64_t)n_spent; /* nobody will know */
        return;
    }
    record_end(l, r);
    l->n_put++;
    memcpy(copy, ids, n_ids * sizeof *copy);
    *r = (struct warm_record){copy, n_ids, n_ids - n_spent, kind, false};
}

static size_t common(const int32_t *a, size_t n_a, const int32_t *b, size_t n_b)
{
    size_t n = 0;
    while (n < n_a && n < n_b && a[n] == b[n]) n++;
    return n;
}

void warm_ledger_use(struct warm_ledger *l, const int32_t *ids, size_t n_ids)
{
    for (size_t i = 0; i < WARM_RECORDS_MAX; i++) {
        struct warm_record *r = &l->records[i];
        struct warm_kind_counts *counts = &l->kinds[r->kind];
        size_t n = common(r->ids, r->n_ids, ids, n_ids);
        if (n <= r->useful_from) continue;
        int64_t n_useful = (int64_t)(n - r->useful_from);
        r->useful_from = n;
        counts->n_useful += n_useful;
        l->n_useful += n_useful;
        if (!r->hit) counts->n_hits++;
        r->hit = true;
    }
}

size_t warm_ledger_known(const struct warm_ledger *l, const int32_t *ids, size_t n_ids)
{
    size_t longest = 0;
    for (size_t i = 0; i < WARM_RECORDS_MAX; i++) {
        size_t n = common(l->records[i].ids, l->records[i].n_ids, ids, n_ids);
        if (n > longest) longest = n;
    }
    return longest;
}

double warm_ledger_hit_rate(const struct warm_ledger *l, enum warm_kind kind)
{
    const struct warm_kind_counts *c = &l->kinds[kind];
    return ((double)c->n_hits + PRIOR_WEIGHT * prior[kind]) / (double)(c->n_sent + PRIOR_WEIGHT);
}

/* Three is the limit of what one useful token may cost; what is under way is not counted yet. */
static const double spent_per_useful = 2.5;

/* Of a kind's tokens, the share that is likely to be found. */
static double useful_share(const struct warm_kind_counts *c, enum warm_kind kind)
{
    return ((double)c->n_useful + PRIOR_TOKENS * prior[kind]) / ((double)c->n_spent + PRIOR_TOKENS);
}

static bool bears(int64_t n_spent, int64_t n_useful, double credit, double loss)
{
    return (double)n_spent + loss <= spent_per_useful * (double)n_useful + credit;
}

/* What an opened document's prompt begins with is found by the first question about it, or about
 * another one; until there was one it is no loss. */
static int64_t opened_pending(const struct warm_ledger *l)
{
    int64_t n = 0;
    for (size_t i = 0; i < WARM_RECORDS_MAX; i++) {
        const struct warm_record *r = &l->records[i];
        if (r->kind == WARM_OPEN && !r->hit) n += (int64_t)(r->n_ids - r->useful_from);
    }
    return n;
}

bool warm_ledger_affords(const struct warm_ledger *l, enum warm_kind kind, size_t n_tokens)
{
    const struct warm_kind_counts *c = &l->kinds[kind];
    double loss = (double)n_tokens * (1 - spent_per_useful * useful_share(c, kind));
    if (loss < 0) loss = 0;
    double worst = kind == WARM_OPEN ? loss : (double)n_tokens;
    return bears(c->n_spent, c->n_useful, KIND_CREDIT, loss) &&
           bears(l->n_spent - opened_pending(l), l->n_useful, ALL_CREDIT, worst);
}

bool warm_ledger_tries(struct warm_ledger *l, enum warm_kind kind)
{
    return ++l->kinds[kind].n_tries % TRY_EVERY == 0;
}
