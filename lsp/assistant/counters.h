/* What the assistant counts: plain numbers, kept on this machine and sent nowhere. */
#ifndef LSP_ASSISTANT_COUNTERS_H
#define LSP_ASSISTANT_COUNTERS_H

#include <stdint.h>

/* name, what it says in `dbrx-ls stats`. Add a row here and it is counted, kept and printed. */
#define ASSISTANT_COUNTERS(ROW)                                                                    \
    ROW(asked_automatic, "completions asked for by typing")                                        \
    ROW(asked_invoked, "completions asked for by a key")                                           \
    ROW(from_cache, "of them answered from the cache")                                             \
    ROW(from_running, "of them by a generation under way")                                         \
    ROW(requests, "requests sent to the engine")                                                   \
    ROW(prompt_tokens, "tokens of their prompts")                                                  \
    ROW(cached_tokens, "of them found in the engine's cache")                                      \
    ROW(measured, "requests by typing of which that is known")                                     \
    ROW(measured_warm, "of them found all but 64 tokens")                                          \
    ROW(shown, "suggestions shown")                                                                \
    ROW(typed, "of them typed to the end")                                                         \
    ROW(accepted, "accepted")                                                                      \
    ROW(accepted_partly, "accepted in part")                                                       \
    ROW(rejected, "rejected: dismissed, or something else was typed")                              \
    ROW(accepted_bytes, "bytes that did not have to be typed")                                     \
    ROW(kept_30_s, "accepted ones that stood after 30 s")                                          \
    ROW(lost_30_s, "and those that were changed by then")                                          \
    ROW(kept_120_s, "stood after 120 s")                                                           \
    ROW(lost_120_s, "changed by then")                                                             \
    ROW(kept_600_s, "stood after 600 s")                                                           \
    ROW(lost_600_s, "changed by then")                                                             \
    ROW(suppressed, "answers not shown because the model was unsure")                              \
    ROW(refused, "answers not shown because they were rejected there before")                      \
    ROW(fitted, "answers of several lines whose end was chosen by the line below")                 \
    ROW(fitted_shorter, "of them cut where that line fits better")                                 \
    ROW(warm_requests, "warm requests")                                                            \
    ROW(warm_tokens, "tokens computed for them")                                                   \
    ROW(warm_useful, "of them found by a later request")                                           \
    ROW(warm_wasted, "of them not")                                                                \
    ROW(stage_requests, "commit messages made ready when something was staged")                    \
    ROW(stage_tokens, "tokens computed for them")                                                  \
    ROW(message_requests, "commit messages asked for")                                             \
    ROW(message_tokens, "tokens of their prompts")                                                 \
    ROW(message_cached, "of them found in the engine's cache")

struct assistant_counters {
#define ROW(name, words) int64_t name;
    ASSISTANT_COUNTERS(ROW)
#undef ROW
};

struct counter_row {
    const char *name, *words;
};

/* Rows in the order of the struct's fields, which are all int64_t. */
extern const struct counter_row counter_rows[];
enum { N_COUNTERS = sizeof(struct assistant_counters) / sizeof(int64_t) };

#endif
