#include "base/utf.h"

static const uint32_t REPLACEMENT = 0xFFFD;

/* Length and allowed range of the second byte by first byte: Unicode 15, table 3-7. */
static size_t sequence_shape(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    if (first < 0xE0) return 2;
    if (first == 0xE0) *low = 0xA0;
    if (first == 0xED) *high = 0x9F;
    if (first < 0xF0) return 3;
    if (first == 0xF0) *low = 0x90;
    if (first == 0xF4) *high = 0x8F;
    return 4;
}

uint32_t utf8_decode(text t, size_t at, size_t *size)
{
    const unsigned char *s = (const unsigned char *)t.bytes + at;
    unsigned char low, high;
    size_t n = sequence_shape(s[0], &low, &high);
    *size = 1;
    if (n == 1) return s[0];
    if (n == 0 || t.size - at < n || s[1] < low || s[1] > high) return REPLACEMENT;
    uint32_t code = s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) return REPLACEMENT;
        code = code << 6 | (s[i] & 0x3F);
    }
    *size = n;
    return code;
}

size_t utf8_encode(uint32_t c, char out[4])
{
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) c = REPLACEMENT;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6) out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)(((0xF00u >> n) & 0xFF) | c);
    return n;
}

bool utf8_valid(text t)
{
    for (size_t at = 0, size; at < t.size; at += size)
        if (utf8_decode(t, at, &size) == REPLACEMENT && size == 1) return false;
    return true;
}

size_t utf8_floor(text t, size_t at)
{
    if (at >= t.size) return t.size;
    for (size_t back = 1; back <= 3 && back <= at; back++) {
        size_t size;
        utf8_decode(t, at - back, &size);
        if (size > back) return at - back;
    }
    return at;
}

static uint32_t units(uint32_t code_point, size_t size, enum position_encoding encoding)
{
    switch (encoding) {
    case ENCODING_UTF8: return (uint32_t)size;
    case ENCODING_UTF16: return code_point > 0xFFFF ? 2 : 1;
    case ENCODING_UTF32: break;
    }
    return 1;
}

size_t column_to_byte(text line, uint32_t column, enum position_encoding encoding)
{
    size_t at = 0, size;
    while (at < line.size) {
        uint32_t c = utf8_decode(line, at, &size), n = units(c, size, encoding);
        if (n > column) break;
        column -= n;
        at += size;
    }
    return at;
}

uint32_t byte_to_column(text line, size_t byte, enum position_encoding encoding)
{
    uint32_t column = 0;
    size_t at = 0, size;
    while (at < line.size && at < byte) {
        uint32_t c = utf8_decode(line, at, &size);
        column += units(c, size, encoding);
        at += size;
    }
    return column;
}
