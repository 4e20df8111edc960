/* One suggestion: what may stand at a place, and whether it still may while the user types.
 *
 *     before | typed ........ rest | extra | replaced | tail
 *            ^ where it was made   ^ where the cursor is now
 *
 * It agrees with a text where what stands before its place and the tail are the same as then
 * (compared by length and hash) and what was typed in between is how it begins. What editors do by
 * themselves agrees too: brackets and quotes they close (`extra`, which the suggestion brings itself
 * further on), and indentation after Enter, whether it is the suggestion's or not. Pure; one thread
 * per suggestion. */
#ifndef LSP_ASSISTANT_SUGGESTION_H
#define LSP_ASSISTANT_SUGGESTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

/* A place in a text; taken when the question is put, for the text may change. */
struct completion_place {
    size_t cursor_byte, behind_bytes;
    uint64_t before_hash, behind_hash;
};

struct completion_place completion_place_of(text content, size_t cursor_byte);
bool completion_place_equal(const struct completion_place *a, const struct completion_place *b);

struct suggestion {
    buffer insert;   /* empty: there is none */
    buffer replaced; /* of the line behind the place: what `insert` stands for */
    size_t cursor_byte, tail_bytes;
    uint64_t before_hash, tail_hash;
};

/* Keeps a copy of `insert`, which replaces replace_bytes behind the cursor; empty when there is no
 * memory for it. */
void suggestion_put(struct suggestion *s, text content, size_t cursor_byte, text insert,
                    size_t replace_bytes);
void suggestion_copy(struct suggestion *out, const struct suggestion *s);
void suggestion_clear(struct suggestion *s);
void suggestion_free(struct suggestion *s);

/* What is left of one: `rest` (a view of it) in place of so many bytes around the cursor. */
struct suggestion_left {
    text rest;
    size_t before_bytes; /* indentation of the editor's own, on the cursor's line */
    size_t behind_bytes;
    size_t typed_bytes; /* of the insertion, that stand already */
};

/* False where it does not agree, or where nothing of it is left. */
bool suggestion_left(const struct suggestion *s, text content, size_t cursor_byte,
                     struct suggestion_left *out);

/* How a text relates to a suggestion, whoever's cursor it is. */
enum suggestion_fate {
    SUGGESTION_HOLDS,        /* it agrees */
    SUGGESTION_DONE,         /* all of it stands there, or all but closing brackets */
    SUGGESTION_CONTRADICTED, /* at its place something else was typed */
    SUGGESTION_ELSEWHERE     /* the text changed before its place or in the tail */
};

enum suggestion_fate suggestion_fate(const struct suggestion *s, text content, size_t cursor_byte);

/* The same for an insertion of which only the beginning is known: false as soon as nothing that may
 * still come can agree. */
bool suggestion_may_hold(const struct completion_place *place, text beginning, text content,
                         size_t cursor_byte);

#endif
