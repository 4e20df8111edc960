/* The completion cache: the last answer of a document, reused while the user types along it.
 *
 *     before | typed ....... rest | closers | replaced | after
 *            ^ where it was asked  ^ what is offered now
 *
 * An answer fits again where the text before its place and behind it are the same as then (compared
 * by length and hash) and what was typed in between is how its insertion begins. Editors close
 * brackets and quotes by themselves: closers that stand behind the cursor now and not then are part
 * of what is replaced, if what was typed opened them and the rest brings them itself. One document,
 * one thread. */
#ifndef LSP_ASSISTANT_COMPLETION_CACHE_H
#define LSP_ASSISTANT_COMPLETION_CACHE_H

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

struct completion_cache {
    buffer insert; /* empty: nothing is kept */
    size_t replace_bytes;
    struct completion_place place;
};

/* Keeps a copy of `insert`, which replaces replace_bytes behind the cursor; nothing is kept when
 * there is no memory for it. */
void completion_cache_put(struct completion_cache *c, const struct completion_place *place,
                          text insert, size_t replace_bytes);

/* What is left of the kept insertion at this place, and how many bytes behind the cursor it
 * replaces; false: it does not fit here. *rest lives until the next put. */
bool completion_cache_get(const struct completion_cache *c, text content, size_t cursor_byte,
                          text *rest, size_t *replace_bytes);

void completion_cache_free(struct completion_cache *c);

#endif
