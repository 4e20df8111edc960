/* What warm work cost and what of it was of use.
 *
 * A warm prompt's tokens that the engine had to compute are spent; those of them that a later request
 * begins with were useful, each counted once; what is left when a record leaves the ledger was
 * wasted. By kind of prediction that gives how often it comes true, which ranks what to warm next, and
 * whether it is worth it at all. Pure but for memory; one thread. */
#ifndef LSP_ASSISTANT_WARM_LEDGER_H
#define LSP_ASSISTANT_WARM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum warm_kind {
    WARM_OPEN,     /* a document that was opened */
    WARM_CHANGE,   /* the text as it is after a change */
    WARM_REST,     /* the same a moment later, with what was gathered since */
    WARM_ACCEPTED, /* a shown suggestion taken over */
    WARM_NEWLINE,  /* and a new line behind it */
    WARM_PLAN,     /* a better choice of excerpts, which every question would begin with */
    N_WARM_KINDS
};

const char *warm_kind_name(enum warm_kind kind); /* for the log */

struct warm_record {
    int32_t *ids; /* [n_ids] owned */
    size_t n_ids;
    size_t useful_from; /* tokens before it were found, or are counted */
    enum warm_kind kind;
    bool hit;
};

struct warm_kind_counts {
    int64_t n_sent, n_hits, n_spent, n_useful, n_tries;
};

enum { WARM_RECORDS_MAX = 64 };

struct warm_ledger {
    struct warm_record records[WARM_RECORDS_MAX]; /* a ring */
    size_t n_put;                                 /* ever */
    struct warm_kind_counts kinds[N_WARM_KINDS];
    int64_t n_spent, n_useful, n_wasted;
    int64_t n_asked; /* real requests so far */
};

void warm_ledger_free(struct warm_ledger *l);

/* A warm prompt is in the engine's cache now; n_cached of its tokens were there before. */
void warm_ledger_put(struct warm_ledger *l, enum warm_kind kind, const int32_t *ids, size_t n_ids,
                     size_t n_cached);

/* A warm request ended before its prompt was complete; about n_tokens were computed for nothing. */
void warm_ledger_lose(struct warm_ledger *l, enum warm_kind kind, size_t n_tokens);

/* A real request was sent. */
void warm_ledger_ask(struct warm_ledger *l);

/* A request begins with these. */
void warm_ledger_use(struct warm_ledger *l, const int32_t *ids, size_t n_ids);

/* How many of the first tokens some record has too. */
size_t warm_ledger_known(const struct warm_ledger *l, const int32_t *ids, size_t n_ids);

/* Of what was sent of this kind, how much came true; from a guess, until there is more. */
double warm_ledger_hit_rate(const struct warm_ledger *l, enum warm_kind kind);

/* Whether n_tokens more may be spent though none of them should be useful: what was useful of all kinds
 * must bear it. Before the first question the beginning of a prompt and its excerpts are free, once: every
 * question finds them. */
bool warm_ledger_bears(const struct warm_ledger *l, enum warm_kind kind, size_t n_tokens);

/* And whether its kind is worth it: what is likely to be useful of them, and what was of those before,
 * must bear what they cost. */
bool warm_ledger_affords(const struct warm_ledger *l, enum warm_kind kind, size_t n_tokens);

/* A kind that is not worth it is tried now and then with a few tokens that the ledger bears, because
 * people change: true for one of many calls. */
bool warm_ledger_tries(struct warm_ledger *l, enum warm_kind kind);
enum { WARM_TRY_TOKENS_MAX = 64 };

/* Nothing that is not counted yet will be of use: it is wasted. */
void warm_ledger_end(struct warm_ledger *l);

#endif
