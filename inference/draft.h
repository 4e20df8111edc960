/* Drafts: guesses at the tokens to come, copied from what stands in the prompt, in the output so far,
 * or in a text the caller expects ("predicted output").
 *
 * What a draft says is verified by the model in one step, so a wrong one costs time and never an
 * answer. Two places are followed at once, each a pointer into a list of known tokens:
 *
 *   sequence   ... i f ( x < 0 ) return  ...  i f ( y < 0 ) |          the same three tokens ended
 *                                ^ follows here                        there: their match is 4
 *   predicted  follows token by token from its beginning; when the output differs, it goes on where
 *              the last three tokens of the output are found again
 *
 * Every token that was guessed, drafted or not, is an observation of how often such guesses agree,
 * so a request whose drafts were not worth their rows gets them again as soon as they are. It knows
 * no model, no device and no text. After Saxena 2023 (prompt lookup decoding) and Leviathan et al.
 * 2023 (expected length of an accepted draft). One thread at a time. */
#ifndef INFERENCE_DRAFT_H
#define INFERENCE_DRAFT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Guesses are kept apart by what speaks for them: tokens that match, or the caller's word. */
enum draft_ground { DRAFT_MATCH_3, DRAFT_MATCH_5, DRAFT_MATCH_8, DRAFT_PREDICTED, DRAFT_GROUNDS };

/* Where the last three tokens of a list stood before: chains of equal hashes, newest first. */
struct ngram_index {
    const int32_t *tokens;
    int32_t n;         /* tokens[0, n) are known */
    int32_t n_indexed; /* places below it are in the chains */
    int32_t bits;
    int32_t *newest;   /* [1 << bits] a place, or 0: none. tokens[place - 3, place) hash to it */
    int32_t *previous; /* [n_max + 1] by place: the next older place of its chain, or 0 */
};

struct draft_source {
    struct ngram_index index;
    int32_t at;    /* the guess is tokens[at]; -1: nothing to follow */
    int32_t match; /* tokens before `at` that agree with the end of the sequence */
};

typedef struct draft {
    struct draft_source seen, predicted;
    int32_t *predicted_tokens;                           /* owned */
    double agreed[DRAFT_GROUNDS], failed[DRAFT_GROUNDS]; /* observations, old ones count less */
} draft;

/* For a sequence that begins with tokens[0, n_tokens) and may grow, in place, to n_tokens_max. The
 * predicted output is copied; it may be empty. ERR_MEMORY; nothing is allocated after it. */
status draft_open(draft *out, const int32_t *tokens, int32_t n_tokens, int32_t n_tokens_max,
                  const int32_t *predicted, int32_t n_predicted, error *err);
void draft_close(draft *d);

/* The sequence has grown by one token. Constant time. */
void draft_put(draft *d);

/* Writes at most n_max guesses to out[], which may be the place behind the sequence's tokens, and
 * how likely each is to agree when all before it did. Their number; 0: nothing is known. */
int32_t draft_fill(const draft *d, int32_t *out, int32_t n_max, double *agreement);

/* Expected number of accepted tokens of a draft of n: a + a^2 + ... + a^n. */
double draft_expected(double agreement, int32_t n);

/* What steps cost, in any unit: one that carries n rows of a draft besides the rows it has anyway. */
struct draft_price {
    double (*cost)(const void *context, int32_t n_rows);
    const void *context;
    double n_outputs; /* tokens the step yields without this draft */
};

/* How many of at most n_max guesses to verify, so that tokens per time are most; 0 when none pays. */
int32_t draft_length(double agreement, int32_t n_max, const struct draft_price *price);

#endif
