/* Units: the pieces of a text that can be encoded one by one with the same ids as the whole.
 *
 * A unit is a line together with the blank lines below it. The pre-tokenizer lets a token cross a
 * line end only into further line ends, so a place behind "\n" is a boundary of every encoding when
 * the white space that follows holds no further line end. A cache keeps the ids of units by their
 * content: a keystroke encodes the line it changed and nothing else. Internal to the prompt; not
 * thread-safe. */
#ifndef CONTEXT_PROMPT_UNITS_H
#define CONTEXT_PROMPT_UNITS_H

#include "tokenizer/tokenizer.h"

struct unit;

struct unit_cache {
    const tokenizer *tokenizer; /* whose ids these are */
    struct unit **slots;        /* open addressing, n_slots a power of two */
    size_t n_slots, n_units, size_bytes;
    uint32_t generation;
    token_list counting; /* reused by unit_cache_count */
    buffer unix_lines;   /* reused where "\r\n" becomes "\n" */
};

void unit_cache_free(struct unit_cache *c);

/* Call before each prompt: forgets all when the tokenizer is another one, and what the last prompts
 * did not use when the cache is full. */
void unit_cache_begin(struct unit_cache *c, const tokenizer *t);

/* True when t may be encoded in two halves that meet at `at`, a place behind "\n". */
bool unit_boundary(text t, size_t at);

/* Largest boundary before `end`, or 0; SIZE_MAX when the unit is longer than UNIT_BYTES_MAX. */
size_t unit_start_before(text t, size_t end);

/* The end of the unit that begins at `from`. */
size_t unit_end_after(text t, size_t from);

/* Appends the bytes with "\n" for every "\r\n". */
void unix_lines_put(buffer *out, text bytes);

/* Appends the ids of `bytes`, equal to tokenizer_encode of it with every "\r\n" made "\n". */
void unit_cache_encode(struct unit_cache *c, token_list *out, text bytes);
size_t unit_cache_count(struct unit_cache *c, text bytes);

#endif
