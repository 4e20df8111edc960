#include "base/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

enum { ARENA_BLOCK_BYTES = 64 * 1024, ARENA_ALIGN = 16 };

struct arena_block {
    struct arena_block *older;
    size_t used, room;
    _Alignas(ARENA_ALIGN) char bytes[];
};

static struct arena_block *arena_grow(arena *a, size_t bytes)
{
    size_t room = bytes > ARENA_BLOCK_BYTES ? bytes : ARENA_BLOCK_BYTES;
    size_t whole;
    struct arena_block *block = NULL;
    if (size_add(room, sizeof *block, &whole)) block = memory_take(whole, 1);
    if (!block) {
        a->failed = true;
        return NULL;
    }
    block->older = a->newest;
    block->room = room;
    a->newest = block;
    return block;
}

void *arena_take(arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!size_mul(n, size, &bytes) || !size_add(bytes, ARENA_ALIGN - 1, &bytes)) {
        a->failed = true;
        return NULL;
    }
    bytes -= bytes % ARENA_ALIGN;
    struct arena_block *block = a->newest;
    if (!block || block->room - block->used < bytes) block = arena_grow(a, bytes);
    if (!block) return NULL;
    void *out = block->bytes + block->used;
    block->used += bytes;
    a->used_bytes += bytes;
    return out;
}

char *arena_copy(arena *a, const char *bytes, size_t size)
{
    size_t room;
    char *copy = size_add(size, 1, &room) ? arena_take(a, room, 1) : NULL;
    if (copy && size) memcpy(copy, bytes, size);
    return copy;
}

char *arena_print(arena *a, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *out = n < 0 ? NULL : arena_take(a, (size_t)n + 1, 1);
    if (out) vsnprintf(out, (size_t)n + 1, format, again);
    va_end(again);
    return out;
}

void arena_reset(arena *a)
{
    while (a->newest) {
        struct arena_block *older = a->newest->older;
        memory_free(a->newest);
        a->newest = older;
    }
    a->used_bytes = 0;
    a->failed = false;
}
