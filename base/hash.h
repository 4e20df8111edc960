/* A fast 64-bit hash for comparing texts we hold ourselves; not against an adversary's collisions
 * where those would do harm, and never written to disk. Any thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stdint.h>
#include <string.h>

#include "base/random.h"
#include "base/text.h"

/* Eight bytes at a time through random_mix; the length is part of it. */
static inline uint64_t hash_text(text t)
{
    uint64_t h = random_mix(t.size), word;
    size_t at = 0;
    for (; at + 8 <= t.size; at += 8) {
        memcpy(&word, t.bytes + at, 8);
        h = random_mix(h ^ word);
    }
    word = 0;
    if (at < t.size) memcpy(&word, t.bytes + at, t.size - at);
    return random_mix(h ^ word);
}

#endif
