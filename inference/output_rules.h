/* Which tokens an output may go on with: what it must begin with, what may not come first, and
 * brackets it may not close before it opened them.
 *
 * A vocabulary's part (rule_book) is immutable, made once; a request's rules and the state of its
 * output are plain values, so that rows of a draft ask about a state a few tokens ahead.
 *
 * Brackets are counted by kind, ( [ { <, over the bytes of the output alone: neither the prompt nor
 * strings and comments in code are known here, and "(]" is no fault. What the output must begin
 * with wins over forbidden brackets: its bytes are counted, never refused. It knows no device and no
 * queue. Any thread that owns the state and the mask. */
#ifndef INFERENCE_OUTPUT_RULES_H
#define INFERENCE_OUTPUT_RULES_H

#include "inference/constraint.h"

enum { BRACKET_KINDS = 4 };

/* A token that closes a bracket: how far its bytes bring each kind's count down at most. */
struct closing_token {
    int32_t id;
    int16_t least[BRACKET_KINDS]; /* 0 or below, counted from where the token begins */
};

typedef struct rule_book {
    token_order order;
    struct closing_token *closing; /* [n_closing] by id */
    size_t n_closing;
    const uint32_t *alive; /* [n_words] mask of the ids that may be sampled at all; borrowed */
    size_t n_words;
} rule_book;

/* For ids below vocab_size. `alive` and the tokenizer must outlive the book. */
status rule_book_open(rule_book *out, const tokenizer *t, int32_t vocab_size, const uint32_t *alive,
                      error *err);
void rule_book_close(rule_book *b);

/* One request's. Zeroed: none. The arrays are the owner's. */
struct output_rules {
    text must_start;
    const int32_t *forbid_first; /* [n_forbid_first] ids below vocab_size */
    size_t n_forbid_first;
    unsigned unopened; /* bit per kind of bracket that closes only what was opened */
};

/* Reads closing brackets, as ")]}". ERR_USAGE for any other byte. */
status closing_brackets_parse(unsigned *kinds, text brackets, error *err);

struct output_state {
    size_t n_bytes;
    int32_t n_tokens, depth[BRACKET_KINDS]; /* opened and not closed, by kind; never below 0 */
};

/* The output has grown by a token of these bytes (none for control tokens). */
void output_state_put(struct output_state *s, text bytes);

/* Fills mask[n_words] with what may come next and returns true; false: everything alive may. No bit
 * is set when nothing may. */
bool output_rules_mask(const rule_book *b, const struct output_rules *r,
                       const struct output_state *s, uint32_t *mask);

#endif
