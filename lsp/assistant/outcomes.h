/* What became of accepted suggestions: whether their text still stands after 30, 120 and 600 seconds.
 *
 * Each is followed through the changes of its document; it counts as kept while it reads as it did
 * when it was taken over, wherever it stands. One document, one thread. */
#ifndef LSP_ASSISTANT_OUTCOMES_H
#define LSP_ASSISTANT_OUTCOMES_H

#include "base/text.h"
#include "lsp/assistant/counters.h"

enum { OUTCOMES_MAX = 32, OUTCOME_STAGES = 3 };

struct accepted_text {
    buffer inserted; /* empty: none */
    size_t at_byte;
    int64_t accepted_us;
    int stage; /* how often it was looked at */
};

struct outcomes {
    struct accepted_text texts[OUTCOMES_MAX]; /* a ring */
    size_t n_put;
};

void outcomes_free(struct outcomes *o);

void outcomes_accept(struct outcomes *o, size_t at_byte, text inserted, int64_t now_us);

/* Bytes [from, from + n_removed) of the document became n_inserted others. */
void outcomes_edit(struct outcomes *o, size_t from, size_t n_removed, size_t n_inserted);

/* Looks at those whose time has come. */
void outcomes_check(struct outcomes *o, text content, int64_t now_us, struct assistant_counters *n);

/* When the next one's time comes; INT64_MAX: none. */
int64_t outcomes_next_us(const struct outcomes *o);

#endif
