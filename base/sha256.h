/* SHA-256 (FIPS 180-4). Any thread; the state is the caller's. */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct sha256 {
    uint32_t state[8];
    uint64_t size_bytes;
    unsigned char block[64];
};

void sha256_begin(struct sha256 *h);
void sha256_put(struct sha256 *h, const void *bytes, size_t size);
void sha256_end(struct sha256 *h, unsigned char digest[32]);

/* 64 lower-case hex digits and a NUL of the digest of one piece. */
void sha256_hex(const void *bytes, size_t size, char out[65]);

#endif
