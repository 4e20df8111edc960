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
    uint32_t *masks; /* [masks of the sampler + outs_max][n_words] what a step's outputs may be */
    int32_t n_decoding;      /* sequences whose one row the step under way still has to get */
    int32_t n_spare;         /* outputs it may have beyond one per sequence */
    double outputs_expected; /* tokens it is expected to yield */
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

/* The output is complete: ends the sequence, or lets it go on to score what its owner asks for. */
void output_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why);

/* What a running sequence has computed of tokens[0, wanted) behind the pages of *m, in a page of its
 * own that nobody else may write: becomes the partial page of *m, held once more. */
void running_match(scheduler *s, const struct sequence *q, int32_t wanted, const int32_t *pages,
                   struct prefix_match *m);

/* Goes on behind a partial match in a page of its own. */
void partial_adopt(scheduler *s, struct sequence *q, const struct prefix_match *m);

/* scheduler_rows.c: fills s->b and each running sequence's n_rows and outputs. */
void choose_rows(scheduler *s);

/* scheduler_outputs.c: what a step samples. Before a step: */
void outputs_begin(scheduler *s);
/* How many tokens of a draft follow the next n rows of a sequence, which end in its last known token;
 * they stand behind its tokens already. */
int32_t draft_choose(scheduler *s, struct sequence *q, int32_t n);
/* How many of the next n rows have room for the outputs they want. */
int32_t outputs_fit(const scheduler *s, const struct sequence *q, int32_t n);
/* Asks for the outputs of a sequence whose n_rows rows, and n_drafts of a draft, were just added. */
void outputs_add(scheduler *s, struct sequence *q, int32_t n_drafts);
/* After it: hands tokens out. The sequence may have ended, and be gone. */
void outputs_take(scheduler *s, struct sequence *q, const struct step_result *result);

/* scheduler_results.c */
void results_take(scheduler *s, const struct step_result *result);
void time_record(scheduler *s, int64_t us);

/* Warm sequences whose whole prompt was found have nothing to compute. */
void computed_end(scheduler *s);

#endif
