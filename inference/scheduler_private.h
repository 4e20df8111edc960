/* What the scheduler's own files share: its state, and the verbs between its rooms. Not for others;
 * the door is scheduler.h. The worker thread only. */
#ifndef INFERENCE_SCHEDULER_PRIVATE_H
#define INFERENCE_SCHEDULER_PRIVATE_H

#include "inference/batch.h"
#include "inference/prefix_cache.h"
#include "inference/scheduler.h"

enum {
    SLICE_TARGET_US = 250000, /* others join at a step boundary: at least this often */
    SLICE_ROWS_MIN = 128,     /* fewer read all experts for little work, at half the speed */
    SLICE_ROWS_TIMED = 16,    /* fewer rows say little about the cost of one; they go at once */
    GROUP_TARGET_US = 50000,  /* a slice can be given up between two groups of layers */
    RATE_WINDOW_US = 1000000  /* of decoding */
};

struct sequence_list {
    struct sequence *first, *last;
    int32_t n;
};

struct scheduler {
    struct scheduler_options o;
    const struct kernels *kernels;
    kv_pages *pages;
    prefix_cache *cache;
    batch b;
    struct sequence_list queued[N_PRIORITIES];
    struct sequence **running; /* [seqs_max] strictest priority first, then by admission */
    uint32_t *masks; /* [masks of the sampler + seqs_max][n_words] what a step's outputs may be */
    int32_t n_running;
    int32_t n_promised; /* pages that running sequences may still take */
    double row_us;      /* of prefill, smoothed; 0: not measured */
    struct engine_stats total;
    int64_t window_us, window_tokens; /* decoding since the rate was last computed */
    bool failed;
    error failure;
};

/* scheduler_admit.c: queues, pages, places. */
void list_put_last(struct sequence_list *list, struct sequence *q);
void list_remove(struct sequence_list *list, struct sequence *q);

/* All pages a sequence may ever hold; the last token that is sampled is never computed. */
int32_t pages_needed(const struct sequence *q);

/* A free page, from eviction if need be. Promises guarantee it. */
int32_t page_take(scheduler *s);

/* Tokens worth looking for: one at least must be computed to sample behind it. */
int32_t match_wanted(const struct sequence *q);

/* From which token on a match counts as found by a real request: none for warm work, and not what
 * the sequence has computed itself. */
int32_t real_from(const struct sequence *q, int32_t n_own);

/* Lets go of everything a match holds. */
void match_release(scheduler *s, const struct prefix_match *m, const int32_t *pages);

/* Whole pages become findable while the sequence runs; `all` adds the partial last page, for a
 * sequence that will not write into it any more. */
void computed_insert(scheduler *s, struct sequence *q, bool all);

/* Takes a running, or an already unlinked queued, sequence out and tells its owner. */
void running_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why);
void report_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why);

/* Ends what was cancelled, wherever it is. */
void cancelled_end(scheduler *s);

/* In order of priority; within one, first come first served. What does not fit waits, and everybody
 * behind it too: otherwise small requests would starve a large one. */
void admit_all(scheduler *s);

/* scheduler_rows.c: fills s->b and each running sequence's n_rows and out. */
void choose_rows(scheduler *s);

/* scheduler_results.c */
void results_take(scheduler *s, const struct step_result *result);
void time_record(scheduler *s, int64_t us);

/* Warm sequences whose whole prompt was found have nothing to compute. */
void computed_end(scheduler *s);

#endif
