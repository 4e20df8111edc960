#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* 0: off. Otherwise counts down to 1, and stays there: from then on every allocation fails. */
static _Atomic int64_t fail_countdown;

bool memory_fail_at(int64_t n) { return atomic_exchange(&fail_countdown, n) == 1; }

static bool allocation_allowed(void)
{
    int64_t n = atomic_load(&fail_countdown);
    while (n > 1 && !atomic_compare_exchange_weak(&fail_countdown, &n, n - 1)) {}
    return n != 1;
}

void *memory_take(size_t n, size_t size)
{
    if (!allocation_allowed()) return NULL;
    return calloc(n ? n : 1, size ? size : 1);
}

void *memory_resize(void *block, size_t n, size_t size)
{
    size_t bytes;
    if (!allocation_allowed() || !size_mul(n, size, &bytes)) return NULL;
    return realloc(block, bytes ? bytes : 1);
}

char *memory_copy(const char *bytes, size_t size)
{
    size_t room;
    if (!size_add(size, 1, &room)) return NULL;
    char *copy = memory_take(room, 1);
    if (copy && size) memcpy(copy, bytes, size);
    return copy;
}

void memory_free(void *block) { free(block); }
