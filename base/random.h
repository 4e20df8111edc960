/* Counter-based randomness: the n-th number of a seed, without state, so that order, threads and
 * batching never change it. Any thread. */
#ifndef BASE_RANDOM_H
#define BASE_RANDOM_H

#include <stdint.h>

/* 64 bits that depend on (seed, index) alone: SplitMix64's output function (Steele, Lea, Flood
 * 2014) applied twice, to the seed and to seed + index. */
static inline uint64_t random_mix(uint64_t z)
{
    z += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static inline uint64_t random_at(uint64_t seed, uint64_t index)
{
    return random_mix(random_mix(seed) + index * 0x9E3779B97F4A7C15u);
}

/* Uniform in (0, 1), never 0 or 1: 52 bits and a half, exact in a double. */
static inline double random_unit(uint64_t seed, uint64_t index)
{
    return ((double)(random_at(seed, index) >> 12) + 0.5) * (1.0 / 4503599627370496.0);
}

#endif
