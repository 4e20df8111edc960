/* Fibers: stacks that one host thread runs by turns, known to the sanitizers that are compiled in. */
#ifndef TESTS_CUDA_FIBER_H
#define TESTS_CUDA_FIBER_H

#include <stddef.h>

#include "tests/cuda/sanitizer.h"

struct fiber {
    void *stack_pointer;
    void *stack;
    size_t stack_bytes;
    void *sanitizer; /* ThreadSanitizer's fiber */
    void *fake;      /* AddressSanitizer's stack of the fiber that is left */
};

/* The running thread's own stack as a fiber. */
void fiber_adopt(struct fiber *f);

/* `body` runs at the first switch and must never return. */
void fiber_make(struct fiber *f, void *stack, size_t bytes, void (*body)(void *), void *context);

/* Leaves `from`, which runs, for `to`; returns when something switches back. No order is implied. */
void fiber_switch(struct fiber *from, struct fiber *to);

/* Memory that no earlier access counts for; under ThreadSanitizer a new block each time. `ended`: what
 * the users of the old one released when they were done. */
void *fiber_shared_renew(void *old, void *ended, size_t bytes);

/* Order for ThreadSanitizer: what was done before a release is seen after an acquire. */
static inline void fiber_release(void *at)
{
    (void)at;
    SANITIZER_RELEASE(at);
}

static inline void fiber_acquire(void *at)
{
    (void)at;
    SANITIZER_ACQUIRE(at);
}

/* Between the two all counts as done by this fiber, whichever runs; `as` returns what `end` takes. */
static inline void *fiber_as(const struct fiber *f) { return SANITIZER_AS(f->sanitizer); }
static inline void fiber_as_end(void *before) { (void)SANITIZER_AS(before); }

/* Accesses that stand for another's: of a copy engine, of tensor cores. */
static inline void fiber_reads(const void *at, size_t bytes)
{
    (void)at, (void)bytes;
    SANITIZER_READS(at, bytes);
}

static inline void fiber_writes(void *at, size_t bytes)
{
    (void)at, (void)bytes;
    SANITIZER_WRITES(at, bytes);
}

/* A copy, perhaps to lower addresses of the same, that no sanitizer of races hears of. */
void fiber_copy_unseen(void *to, const void *from, size_t bytes);

#endif
