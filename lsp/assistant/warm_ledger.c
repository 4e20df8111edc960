#include "lsp/assistant/warm_ledger.h"

#include <string.h>

#include "base/memory.h"

enum {
    KIND_CREDIT = 64, /* tokens that may be lost before a kind has shown anything */
    ALL_CREDIT = 160, /* of all kinds; and as many again with so many questions, as people change */
    CREDIT_QUESTIONS = 1024,
    FREE_REQUESTS = 2, /* before the first question: how its prompt begins, and its excerpts */
    TRY_EVERY = 32,
    PRIOR_WEIGHT = 4, /* places, and tokens, that the first belief counts for */
    PRIOR_TOKENS = 64
};

/* What is believed before anything is known: how often such a place is asked about next. */
static const double prior[N_WARM_KINDS] = {
    [WARM_OPEN] = 0.5,     [WARM_CHANGE] = 0.5,   [WARM_REST] = 0.4,
    [WARM_ACCEPTED] = 0.4, [WARM_NEWLINE] = 0.25, [WARM_PLAN] = 0.6,
};

const char *warm_kind_name(enum warm_kind kind)
{
    static const char *const names[N_WARM_KINDS] = {
        [WARM_OPEN] = "a document opened",
        [WARM_CHANGE] = "a change",
        [WARM_REST] = "a rest",
        [WARM_ACCEPTED] = "the suggestion taken over",
        [WARM_NEWLINE] = "the line behind it",
        [WARM_PLAN] = "other excerpts",
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

void warm_ledger_lose(struct warm_ledger *l, enum warm_kind kind, size_t n_tokens)
{
    l->n_spent += (int64_t)n_tokens;
    l->n_wasted += (int64_t)n_tokens;
    l->kinds[kind].n_spent += (int64_t)n_tokens;
    l->kinds[kind].n_sent++;
}

void warm_ledger_ask(struct warm_ledger *l) { l->n_asked++; }

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

/* Three is the limit of what one useful token may cost; credits and what is under way come on top. */
static const double spent_per_useful = 2.0;

/* Of a kind's tokens, the share that is likely to be found. */
static double useful_share(const struct warm_kind_counts *c, enum warm_kind kind)
{
    return ((double)c->n_useful + PRIOR_TOKENS * prior[kind]) / ((double)c->n_spent + PRIOR_TOKENS);
}

static bool is_before_text(enum warm_kind kind) { return kind == WARM_OPEN || kind == WARM_PLAN; }

/* What the first document's prompt begins with, and its excerpts, are found by the first question;
 * until there was one they are no loss. */
static int64_t opened_pending(const struct warm_ledger *l)
{
    int64_t n = 0;
    for (size_t i = 0; i < WARM_RECORDS_MAX && l->n_asked == 0; i++) {
        const struct warm_record *r = &l->records[i];
        if (is_before_text(r->kind)) n += (int64_t)(r->n_ids - r->useful_from);
    }
    return n;
}

static bool is_free(const struct warm_ledger *l, enum warm_kind kind)
{
    return l->n_asked == 0 && is_before_text(kind) &&
           l->kinds[WARM_OPEN].n_sent + l->kinds[WARM_PLAN].n_sent < FREE_REQUESTS;
}

bool warm_ledger_bears(const struct warm_ledger *l, enum warm_kind kind, size_t n_tokens)
{
    if (is_free(l, kind)) return true;
    int64_t credit = ALL_CREDIT * (1 + l->n_asked / CREDIT_QUESTIONS);
    double spent = (double)(l->n_spent - opened_pending(l)) + (double)n_tokens;
    return spent <= spent_per_useful * (double)l->n_useful + (double)credit;
}

bool warm_ledger_affords(const struct warm_ledger *l, enum warm_kind kind, size_t n_tokens)
{
    const struct warm_kind_counts *c = &l->kinds[kind];
    double loss = (double)n_tokens * (1 - spent_per_useful * useful_share(c, kind));
    if (is_free(l, kind)) return true;
    return warm_ledger_bears(l, kind, n_tokens) &&
           (double)c->n_spent + (loss > 0 ? loss : 0) <=
               spent_per_useful * (double)c->n_useful + KIND_CREDIT;
}

bool warm_ledger_tries(struct warm_ledger *l, enum warm_kind kind)
{
    return ++l->kinds[kind].n_tries % TRY_EVERY == 0;
}
