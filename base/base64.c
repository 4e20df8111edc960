#include "base/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(buffer *out, text t)
{
    const unsigned char *p = (const unsigned char *)t.bytes;
    for (size_t i = 0; i < t.size; i += 3) {
        size_t n = t.size - i < 3 ? t.size - i : 3;
        unsigned v = (unsigned)p[i] << 16;
        if (n > 1) v |= (unsigned)p[i + 1] << 8;
        if (n > 2) v |= p[i + 2];
        char group[4] = {alphabet[v >> 18], alphabet[v >> 12 & 63],
                         n > 1 ? alphabet[v >> 6 & 63] : '=', n > 2 ? alphabet[v & 63] : '='};
        buffer_put(out, group, 4);
    }
}

/* Value + 1 of every digit; 0 for all other bytes. */
/* clang-format off */
static const signed char digit_plus_1[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0, 63,  0,  0,  0, 64,
    53, 54, 55, 56, 57, 58, 59, 60, 61, 62,  0,  0,  0,  0,  0,  0,
     0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14, 15,
    16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,  0,  0,  0,  0,  0,
     0, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41,
    42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,  0,  0,  0,  0,  0,
};
/* clang-format on */

/* 0..63, or -1. */
static int digit(char c) { return digit_plus_1[(unsigned char)c] - 1; }

/* Decodes one group of four into v; returns the number of bytes in it, 0 when it is malformed. */
static size_t group_decode(const char *g, bool last, unsigned char v[3])
{
    size_t pad = last && g[3] == '=' ? (g[2] == '=' ? 2 : 1) : 0;
    int d[4] = {0};
    for (size_t i = 0; i < 4 - pad; i++)
        if ((d[i] = digit(g[i])) < 0) return 0;
    v[0] = (unsigned char)(d[0] << 2 | d[1] >> 4);
    v[1] = (unsigned char)(d[1] << 4 | d[2] >> 2);
    v[2] = (unsigned char)(d[2] << 6 | d[3]);
    bool leftover = (pad == 1 && (d[2] & 3) != 0) || (pad == 2 && (d[1] & 15) != 0);
    return leftover ? 0 : 3 - pad;
}

bool base64_decode(buffer *out, text t)
{
    size_t before = out->size;
    if (t.size % 4 != 0) return false;
    for (size_t i = 0; i < t.size; i += 4) {
        unsigned char v[3];
        size_t n = group_decode(t.bytes + i, i + 4 == t.size, v);
        if (n == 0) {
            out->size = before;
            return false;
        }
        buffer_put(out, v, n);
    }
    return !out->failed;
}
