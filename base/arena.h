/* A request's memory: taken piece by piece, given back all at once.
 *
 * `arena *` in a signature says "allocates, and the result lives as long as the arena". Not
 * thread-safe: one arena belongs to one request on one thread. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

struct arena_block;

typedef struct arena {
    struct arena_block *newest;
    size_t used_bytes; /* over all blocks */
    bool failed;       /* sticky: an allocation failed since the last reset */
} arena;

/* n * size zeroed bytes aligned for any type, or NULL with `failed` set. */
void *arena_take(arena *a, size_t n, size_t size);

/* A NUL-terminated copy of size bytes, or NULL with `failed` set. */
char *arena_copy(arena *a, const char *bytes, size_t size);

/* "printf" into the arena, or NULL with `failed` set. */
char *arena_print(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Frees everything; the arena is empty and usable. A zeroed struct is an empty arena. */
void arena_reset(arena *a);

#endif
