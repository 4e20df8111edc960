/* A state machine over one character: the bytes held are always a proper prefix of a well-formed
 * sequence, so the next byte either fits, completes it, or proves that it never was one. */
#include "inference/service/utf8_hold.h"

static const text REPLACEMENT = {"\xEF\xBF\xBD", 3};

static size_t sequence_size(unsigned char first)
{
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Unicode 15, table 3-7: the second byte's range depends on the first. */
static bool fits(const struct utf8_hold *h, unsigned char next)
{
    unsigned char low = 0x80, high = 0xBF;
    if (h->n == 1 && h->bytes[0] == 0xE0) low = 0xA0;
    if (h->n == 1 && h->bytes[0] == 0xED) high = 0x9F;
    if (h->n == 1 && h->bytes[0] == 0xF0) low = 0x90;
    if (h->n == 1 && h->bytes[0] == 0xF4) high = 0x8F;
    return next >= low && next <= high;
}

static void byte_put(struct utf8_hold *h, buffer *out, unsigned char byte)
{
    if (h->n && !fits(h, byte)) utf8_hold_end(h, out);
    if (h->n == 0 && sequence_size(byte) == 0) {
        buffer_put_text(out, REPLACEMENT);
        return;
    }
    h->bytes[h->n++] = byte;
    if (h->n < sequence_size(h->bytes[0])) return;
    buffer_put(out, h->bytes, h->n);
    h->n = 0;
}

void utf8_hold_put(struct utf8_hold *h, buffer *out, text piece)
{
    size_t at = 0;
    while (at < piece.size) {
        size_t run = at;
        while (h->n == 0 && run < piece.size && (unsigned char)piece.bytes[run] < 0x80) run++;
        buffer_put(out, piece.bytes + at, run - at);
        if (run < piece.size) byte_put(h, out, (unsigned char)piece.bytes[run++]);
        at = run;
    }
}

void utf8_hold_end(struct utf8_hold *h, buffer *out)
{
    if (h->n) buffer_put_text(out, REPLACEMENT);
    h->n = 0;
}
