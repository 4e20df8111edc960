/* Allocation: the one seam between the program and malloc, and arithmetic that cannot wrap.
 *
 * Three lifetimes exist: process, request (an arena) and document. Every allocation that is not an
 * arena's goes through memory_take, so that a test can make the n-th one fail. Thread-safe. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n * size zeroed bytes, or NULL when the product wraps or memory is short. Freed by memory_free. */
void *memory_take(size_t n, size_t size);

/* Like realloc to n * size bytes; the new part is not cleared. On NULL the old block stays valid. */
void *memory_resize(void *block, size_t n, size_t size);

/* A NUL-terminated copy of size bytes, or NULL. */
char *memory_copy(const char *bytes, size_t size);

void memory_free(void *block);

/* Test seam: the n-th allocation from now (1-based) and all after it fail; 0 turns it off. Returns
 * whether the n of the call before was reached: then an allocation has failed, or the next would. */
bool memory_fail_at(int64_t n);

/* *out = a + b, *out = a * b; false when the result does not fit. For all sizes that come from
 * files or peers. */
static inline bool size_add(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

static inline bool size_mul(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

#endif
