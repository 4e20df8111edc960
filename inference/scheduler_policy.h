/* Which rows the next launch computes: a pure function of sequences, costs and accounts of time.
 *
 * A row joins a step only when the reads it needs are already paid: a lone decode step reads four
 * experts, one with foreign rows reads all, at three times the price. So the cost of every choice is
 * asked of the device before it is made. The accounts:
 *
 *   slack    of each decoding sequence: half of what its own steps took, less what others took since.
 *            Others run while it is not spent, so a stream keeps two thirds of its lone rate.
 *   credit   of each class of priority: a share of the device's time while the class waits. Once it
 *            pays for a launch, the class goes first. Warm work needs it to run beside real work.
 *
 * It knows no pages, tokens, owners' names or clocks; times come in. After Agrawal et al. 2024
 * (prefill in chunks beside decoding) and Sheng et al. 2024 (fairness by tokens served). */
#ifndef INFERENCE_SCHEDULER_POLICY_H
#define INFERENCE_SCHEDULER_POLICY_H

#include "inference/engine.h"

/* How many steps may stand between two groups of layers at once; the device keeps the residual of
 * each. One stays free for a step that goes through. */
enum { SLICES_MAX = 4 };

/* A running sequence as policy sees it. */
struct policy_sequence {
    enum priority priority;
    bool decodes;   /* its one row gives the next token */
    bool waits;     /* for rows that another sequence computes */
    int32_t slice;  /* in flight there, or -1 */
    int32_t n_rows; /* up to its next output */
    int32_t n_kv;   /* tokens its last row sees */
    int64_t served; /* tokens its owner got */
    double slack_us;
};

/* A step that stands between two groups of layers. */
struct policy_slice {
    bool active, decodes;   /* decodes: with rows that give the next token of a stream */
    enum priority priority; /* of the strictest who waits for it */
    int64_t served;         /* least, of the owners in it */
    int32_t layer;          /* the next one */
    struct step_shape shape;
};

struct policy {
    double (*cost)(const void *context, const struct step_shape *shape); /* us of a whole step */
    const void *context;
    int32_t rows_max, n_layers;
    int32_t slice_rows_min, slice_rows_max; /* of a prompt, in one slice */
    int64_t slice_target_us, group_target_us;

    double credit_us[N_PRIORITIES];
    double used_us[N_PRIORITIES]; /* of the device, since the start; shared steps are divided */
    int64_t warm_begun_us;        /* the last step of warm rows */
};

struct policy_plan {
    int32_t slice;  /* go on with this one; -1: a new step of rows[] */
    int32_t drop;   /* give this slice up first, its place is needed; -1: none */
    int32_t layers; /* of this launch */
    int32_t n_rows; /* in all */
};

/* Chooses the next launch. rows [n] is filled when a new step begins. `queued`: some request of that
 * class waits for a place. Nothing to do only when nothing runs: then n_rows is 0. */
struct policy_plan policy_choose(const struct policy *p, const struct policy_sequence *q, int32_t n,
                                 const struct policy_slice slices[SLICES_MAX],
                                 const bool queued[N_PRIORITIES], int64_t now_us, int32_t *rows);

/* What a launch was, for the accounts: who was in it (q[i].slice == slice) and how long it took. */
struct policy_launch {
    int32_t slice;
    double us;
    bool warm_began; /* its first layers, and it has warm rows */
    int64_t now_us;
};

/* Writes slack_us of the decoding sequences, and the credits. */
void policy_account(struct policy *p, struct policy_sequence *q, int32_t n,
                    const bool queued[N_PRIORITIES], const struct policy_launch *launch);

/* Layers of one launch of such a step, from `layer` on. */
int32_t policy_layers(const struct policy *p, const struct step_shape *shape, int32_t layer);

#endif
