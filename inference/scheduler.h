/* Who computes what in the next step: admission, priorities, pages, and one step at a time.
 *
 * Several sequences share a step: one row of each that decodes, and slices of prompts
 * (scheduler_policy.h says which). A long step runs in groups of layers and may stand between two
 * while others run. A sequence is admitted when all pages it may ever need can be had, so nothing
 * runs out in mid-request; it may be put back for others, and keeps what it computed. It knows
 * tokens, not their text; no threads, no locks: whoever calls owns device, KV pages and prefix cache
 * for that time. Only sequence.cancelled may be set from elsewhere. */
#ifndef INFERENCE_SCHEDULER_H
#define INFERENCE_SCHEDULER_H

#include <stdatomic.h>

#include "inference/engine.h"
#include "inference/host_pages.h"
#include "inference/model.h"
#include "inference/sampler.h"
#include "inference/scheduler_policy.h"

typedef struct scheduler scheduler;

/* One request as the scheduler sees it. The upper part is the owner's, filled before scheduler_add;
 * tokens and pages must be there until the end is reported. */
struct sequence {
    int32_t *tokens; /* [n_tokens_max] the prompt, then what was sampled, then a draft */
    int32_t *pages;  /* [2 * kv_pages_for_tokens(n_tokens_max + n_extra)]; second half: scratch */
    int32_t n_prompt, n_tokens_max; /* n_tokens_max == n_prompt: prefill only */
    enum priority priority;
    uint64_t owner;
    struct sample_row sample;
    int32_t n_extra;        /* tokens that may be computed behind the output, to score them */
    int32_t score_from;     /* ids scored begin here, see below; 0: none, or not yet */
    _Atomic bool cancelled; /* any thread: ends at the next step boundary */

    int32_t n_tokens;   /* known: prompt and sampled */
    int32_t n_computed; /* tokens whose KV lies in pages */
    int32_t n_pages;    /* held; each page behind the first n_shared is ours alone to write */
    int32_t n_cached;   /* tokens of the prompt that were found, not computed */
    int32_t n_far;      /* the farthest it had come when it was put back: no token counts twice */
    int32_t n_inserted; /* tokens of whole pages that the prefix cache was told of */
    bool admitted;      /* once before: it was put back */
    bool follows;       /* another sequence computed what it needs next: worth another look */
    bool keeps_place;   /* waited for it too long to give it up again */
    int32_t slice;      /* the step its rows are in, or -1 */
    int32_t n_rows;     /* its rows of known tokens there */
    int32_t n_drafts;   /* and of a draft behind them */
    int32_t out;        /* its first output there, or -1 */
    int32_t n_outs;     /* its outputs there: one, and one behind each token of a draft */
    int64_t n_drafted, n_accepted; /* tokens of drafts verified, and kept, so far */
    /* Once the output is complete and ids are scored behind it, and from the start where there is no
     * output: tokens[score_from, n_prompt] are those ids, the last of them not to be computed. */
    double score_logprob;      /* their sum so far */
    bool scored;               /* it is complete */
    enum finish_reason finish; /* how the output ended */
    bool started;              /* has had rows: its turn lasts until it is through */
    int32_t owner_slot;
    int64_t tag;       /* tokens served to its owner when it started (start-time fair queueing) */
    double slack_us;   /* while it decodes: scheduler_policy.h */
    uint64_t id;       /* by arrival, from 1 */
    int64_t queued_us; /* when it last began to wait */
    int64_t submitted_us, admitted_us, first_token_us, finished_us; /* 0: not yet */
    struct sequence *next;
};

/* A context, and ids whose probability behind it is asked for. */
struct score_run {
    int32_t *tokens; /* [n_tokens] lives as long as the sequence */
    int32_t n_context,
        n_tokens; /* tokens[n_context, n_tokens) are scored; 1 <= n_context < n_tokens */
};

/* Called from inside scheduler_step. */
struct scheduler_events {
    void *context;
    void (*admitted)(void *context, struct sequence *s);
    /* Fills the mask of allowed ids for the output behind tokens[n_tokens - 1 + n_ahead], where the
     * last n_ahead are a draft's, and returns true; false: only dead ids are forbidden. May be NULL. */
    bool (*mask)(void *context, const struct sequence *s, int32_t n_ahead, uint32_t *mask);
    /* Writes at most n_max guesses behind the known tokens, and how likely each is to be right when
     * those before it were. Their number. May be NULL. */
    int32_t (*draft)(void *context, struct sequence *s, int32_t n_max, double *agreement);
    /* A token was appended. FINISH_NONE: go on; FINISH_ERROR fills *why. */
    enum finish_reason (*token)(void *context, struct sequence *s,
                                const struct sample_result *result, const char **why);
    /* The output is complete (FINISH_STOP, FINISH_LENGTH). True: ids are to be scored behind it, and
     * *run says which; the sequence then ends when they are. May be NULL. */
    bool (*complete)(void *context, struct sequence *s, struct score_run *run);
    /* The scheduler has let go of it. `why` is NULL or one line for FINISH_ERROR. */
    void (*finished)(void *context, struct sequence *s, enum finish_reason reason, const char *why);
};

struct scheduler_options {
    const model *model;
    device *device;
    kv_pool *kv; /* of n_pages; only this scheduler uses it */
    int32_t n_pages;
    host_pages *host;           /* KV behind the pool, only this scheduler's; NULL: none */
    int32_t spill_tokens_min;   /* as in prefix_cache_options; 0: the default */
    int32_t rows_max, seqs_max; /* as the device was opened, with SLICES_MAX slices */
    int32_t outs_max;           /* too; 0: seqs_max. What is above seqs_max is for drafts, scores */
    bool draft_always;          /* verify whatever is guessed, also where it does not pay */
    const sampler *sampler;
    struct scheduler_events events;
    int64_t (*now_us)(void *context); /* NULL: clock_us; otherwise with events.context */
    /* How long things may take; 0: the default. A slice of a prompt takes slice_target_us, within
     * slice_rows_min and _max rows; others join between two groups of its layers, four at most, of
     * group_target_us. */
    int64_t slice_target_us, group_target_us;
    int32_t slice_rows_min, slice_rows_max;
};

/* Copies the options; what they point to must outlive the scheduler. */
status scheduler_open(scheduler **out, const struct scheduler_options *options, error *err);

/* No sequence may be left (scheduler_end_all). */
void scheduler_close(scheduler *s);

/* Queues a sequence. A warm one of the same owner that it makes needless ends. */
void scheduler_add(scheduler *s, struct sequence *q);

/* Ends what was cancelled, admits what fits, computes one group of layers of one step (or all, if that
 * is short). False: there was nothing to do. */
bool scheduler_step(scheduler *s);

/* Ends everything that waits or runs. */
void scheduler_end_all(scheduler *s, enum finish_reason reason, const char *why);

/* The device has failed, or the weights were cut off: nothing can be computed any more. */
bool scheduler_failed(const scheduler *s);

/* Who runs and who waits for what, running first; at most n_max, returns how many. */
size_t scheduler_requests(const scheduler *s, struct engine_request_info *out, size_t n_max);

/* Adds what the scheduler knows: running, queued, tokens, pages, rate. */
void scheduler_stats(const scheduler *s, struct engine_stats *out);

/* prefix_cache_check, and that every page is held by exactly those who should. For tests. */
bool scheduler_check(const scheduler *s, error *err);

#endif
