/* What the scheduler's own files share: its state, and the verbs between its rooms. Not for others;
 * the door is scheduler.h. The worker thread only. */
#ifndef INFERENCE_SCHEDULER_PRIVATE_H
#define INFERENCE_SCHEDULER_PRIVATE_H

#include "inference/batch.h"
#include "inference/owners.h"
#include "inference/prefix_cache.h"
#include "inference/scheduler.h"

enum {
    SLICE_TARGET_US = 250000, /* of prompt rows: larger gains nothing, smaller reads weights anew */
    SLICE_ROWS_MIN = 256,     /* fewer read all experts for little work, at half the speed */
    SLICE_ROWS_MAX = 2048,    /* all that a cancelled slice can lose */
    SLICE_ROWS_TIMED = 16,    /* from here on a step costs by its rows, below by its reads */
    GROUP_TARGET_US = 50000,  /* between two looks at who has come */
    RATE_WINDOW_US = 1000000, /* of decoding */
    PLACE_OWED_US = 5000000,  /* a class that waits so long gets one place before stricter ones */
    ROUTES_EVERY = 16         /* one step in so many reports which experts it used */
};

struct sequence_list {
    struct sequence *first, *last;
    int32_t n;
};

/* A step under way. It may stand between two groups of layers while others run: its residual rows
 * lie in the device under its number. A part without a sequence was computed for one that has ended
 * or was put back: its rows still write, so the slice holds their pages itself. */
struct slice {
    bool active;
    batch b;
    struct sequence **part; /* [seqs_max] whose rows sequence i of the step are; NULL: nobody's */
    int32_t layer;          /* the next one */
    enum priority wanted;   /* by the strictest of those in it and those that wait for it */
    int64_t spent_us;
};

struct scheduler {
    struct scheduler_options o;
    const struct kernels *kernels;
    kv_pages *pages;
    prefix_cache *cache;
    owners *owners;
    struct policy policy;
    struct slice slices[SLICES_MAX];
    batch b; /* of the slice being filled or run: a copy of its pointers */
    struct sequence_list queued[N_PRIORITIES];
    struct sequence **running;    /* [seqs_max] strictest priority first, then by admission */
    struct policy_sequence *seen; /* [seqs_max] running, as policy sees it */
    int32_t *chosen;              /* [seqs_max] rows of each in the next step */
    uint32_t *masks; /* [masks of the sampler + outs_max][n_words] what a step's outputs may be */
    int32_t n_decoding;      /* sequences whose one row the step being filled still has to get */
    int32_t n_spare;         /* outputs it may have beyond one per sequence */
    double outputs_expected; /* tokens it is expected to yield */
    int32_t n_running;
    int32_t n_promised;   /* pages that running sequences may still take */
    double cost_ratio[2]; /* what steps of few and of many rows took, over what the device said */
    struct engine_stats total;
    int64_t window_us, window_tokens; /* decoding since the rate was last computed */
    uint64_t n_added;
    bool failed;
    error failure;
};

int64_t now_us(const scheduler *s);

/* scheduler_admit.c: queues, pages, places. */
void list_put_last(struct sequence_list *list, struct sequence *q);
void list_put_first(struct sequence_list *list, struct sequence *q);
void list_remove(struct sequence_list *list, struct sequence *q);

/* All pages a sequence may ever hold; the last token that is sampled is never computed. */
int32_t pages_needed(const struct sequence *q);

/* True when n more pages can be promised. */
bool pages_available(const scheduler *s, int32_t n);

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

/* The running list. */
void running_insert(scheduler *s, struct sequence *q);
void running_remove(scheduler *s, const struct sequence *q);

/* Takes a running, or an already unlinked queued, sequence out and tells its owner. */
void running_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why);
void report_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why);

/* Ends what was cancelled, wherever it is. */
void cancelled_end(scheduler *s);

/* By priority, within one the owner first that was served least, and one owner's in order. What does
 * not fit waits, and everybody behind it too: otherwise small requests would starve a large one. */
void admit_all(scheduler *s);

/* Takes a running sequence off the device and back into its queue; what it computed stays findable. */
void sequence_put_back(scheduler *s, struct sequence *q);

/* Gives a place to a sequence whose pages are settled. */
void admission_record(scheduler *s, struct sequence *q);

/* scheduler_order.c: the running sequence that makes room for q; NULL: q must wait. */
struct sequence *victim_find(const scheduler *s, const struct sequence *q);

/* The queued sequence that is next in its class; NULL: none. */
struct sequence *queued_next(const scheduler *s, int priority);

/* A class that has waited for a place too long, or -1. */
int priority_owed(const scheduler *s);

/* scheduler_warm.c: queued sequences go on where a running one of their owner stands that computes
 * the same prefix and is warm or cancelled: in its place and with its pages, also in the middle of a
 * slice. It ends: what it was for happens. */
void successors_admit(scheduler *s);

/* Ends queued warm sequences that q, just queued, makes needless. */
void warm_coalesce(scheduler *s, const struct sequence *q);

/* Is what a warm sequence wants computed by a running one? */
bool warm_is_covered(const scheduler *s, const struct sequence *q);

/* scheduler_rows.c: the slice to launch next, filled if it is new, and how many layers of it; NULL:
 * look again. */
struct slice *slice_choose(scheduler *s, int32_t *layers);
bool sequence_decodes(const struct sequence *q);

/* scheduler_slice.c */
struct step_shape slice_shape(const struct slice *slice);
bool slice_is_warm(const struct slice *slice);

/* Asks for the outputs of those whose last known token is in it; before its last layers. */
void slice_outputs_add(scheduler *s, struct slice *slice);

/* Lets a sequence go whose rows stand in a slice; the last one gives the slice up. */
void slice_leave(scheduler *s, struct sequence *q);

/* Gives a slice up: its rows count as never computed. */
void slice_close(scheduler *s, struct slice *slice);

/* Lets go of the pages that a slice holds for nobody. */
void slice_nobodys_release(scheduler *s, const struct slice *slice);

/* Pages that slices hold for nobody. */
int32_t slices_pages_held(const scheduler *s);

/* Microseconds of a whole step: what the device says, corrected by how steps went. */
double step_us(const void *scheduler_, const struct step_shape *shape);
void cost_learn(scheduler *s, const struct step_shape *shape, double share, int64_t us);
/* The output is complete: ends the sequence, or lets it go on to score what its owner asks for. */
void output_end(scheduler *s, struct sequence *q, enum finish_reason reason, const char *why);

/* What a running sequence has computed of tokens[0, wanted) behind the pages of *m, in a page of its
 * own that nobody else may write: becomes the partial page of *m, held once more. */
void running_match(scheduler *s, const struct sequence *q, int32_t wanted, const int32_t *pages,
                   struct prefix_match *m);

/* Goes on behind a partial match in a page of its own. */
void partial_adopt(scheduler *s, struct sequence *q, const struct prefix_match *m);

/* scheduler_outputs.c: what a step samples. Before its rows are chosen: */
void outputs_begin(scheduler *s);
/* How many tokens of a draft follow the next n rows of a sequence, which end in its last known token;
 * they stand behind its tokens already. */
int32_t draft_choose(scheduler *s, struct sequence *q, int32_t n);
/* How many of the next n rows have room for the outputs they want; and takes that room. */
int32_t outputs_fit(const scheduler *s, const struct sequence *q, int32_t n);
void outputs_reserve(scheduler *s, const struct sequence *q);
/* Asks for the outputs of a sequence whose rows begin at first_row, before the step's last layers. */
void outputs_add(scheduler *s, struct sequence *q, int32_t first_row);
/* After it: hands tokens out. The sequence may have ended, and be gone. */
void outputs_take(scheduler *s, struct sequence *q, const struct step_result *result);

/* scheduler_results.c */
void results_take(scheduler *s, struct slice *slice, const struct step_result *result);
void launch_record(scheduler *s, struct slice *slice, int32_t layers, int64_t us);
void routes_count(scheduler *s, const struct step_result *result, int32_t from, int32_t to);

/* Warm sequences whose whole prompt was found have nothing to compute. */
void computed_end(scheduler *s);

#endif
