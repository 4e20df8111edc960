/* One function per family of alternatives, chosen by the class of the first character. Beyond ASCII
 * a character costs a decode and a look into the two-stage table; ASCII costs one load.
 *
 * Classes here tell line ends from other white space, and the end of the text is a class of its own:
 * a piece whose scan met it might have gone on, which is all that the stable boundary must know. */
#include "tokenizer/scanner.h"

#include "base/utf.h"
#include "tokenizer/generated/unicode_classes.h"

enum piece_class {
    PIECE_OTHER = CLASS_OTHER,
    PIECE_LETTER = CLASS_LETTER,
    PIECE_NUMBER = CLASS_NUMBER,
    PIECE_SPACE = CLASS_SPACE,
    PIECE_LINE_END, /* CR and LF alone */
    PIECE_END,      /* of the text */
};

struct scanner {
    text bytes;
    bool met_end;    /* the piece was decided by the text's ending, so more text may change it */
    bool left_space; /* a run of spaces left its last one to what follows */
    bool lone_space; /* which did not take it: the piece is that space */
};

#define O PIECE_OTHER
#define L PIECE_LETTER
#define N PIECE_NUMBER
#define S PIECE_SPACE
#define E PIECE_LINE_END
static const uint8_t ascii_class[128] = {
    O, O, O, O, O, O, O, O, O, S, E, S, S, E, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef O
#undef L
#undef N
#undef S
#undef E

/* Class of the character at `at`; *size is its length, 0 at the end. */
static inline enum piece_class class_at(struct scanner *s, size_t at, size_t *size)
{
    if (at >= s->bytes.size) {
        s->met_end = true;
        *size = 0;
        return PIECE_END;
    }
    unsigned char byte = (unsigned char)s->bytes.bytes[at];
    *size = 1;
    if (byte < 0x80) return (enum piece_class)ascii_class[byte];
    return (enum piece_class)unicode_class_of(utf8_decode(s->bytes, at, size));
}

/* End of the run of `wanted` from `at` on. */
static inline size_t run_end(struct scanner *s, size_t at, enum piece_class wanted)
{
    for (size_t size; class_at(s, at, &size) == wanted; at += size) {}
    return at;
}

/* The ASCII letter at `at` in lower case, 's' for U+017F, which folds to it; 0 for anything else. */
static char contraction_letter(struct scanner *s, size_t at, size_t *size)
{
    if (class_at(s, at, size) != PIECE_LETTER) return 0;
    if (*size == 1) return (char)(s->bytes.bytes[at] | 0x20);
    return utf8_decode(s->bytes, at, size) == 0x17F ? 's' : 0;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d) after its apostrophe: the end, or 0 where it does not match. */
static size_t contraction_end(struct scanner *s, size_t at)
{
    size_t first_size, second_size;
    char first = contraction_letter(s, at, &first_size), wanted;
    switch (first) {
    case 's':
    case 't':
    case 'm':
    case 'd': return at + first_size;
    case 'r':
    case 'v': wanted = 'e'; break;
    case 'l': wanted = 'l'; break;
    default: return 0;
    }
    at += first_size;
    return contraction_letter(s, at, &second_size) == wanted ? at + second_size : 0;
}

/* [^\s\p{L}\p{N}]+[\r\n]* from a character of it on. */
static size_t punctuation_end(struct scanner *s, size_t at)
{
    return run_end(s, run_end(s, at, PIECE_OTHER), PIECE_LINE_END);
}

static size_t number_end(struct scanner *s, size_t at, size_t size)
{
    at += size;
    for (int more = 2; more > 0 && class_at(s, at, &size) == PIECE_NUMBER; more--) at += size;
    return at;
}

/* \s*[\r\n]+ ends behind the run's last line end. Without one, \s+(?!\S) leaves the last character
 * of a run to what follows it, unless the run is that character or nothing follows. */
static size_t space_end(struct scanner *s, size_t from)
{
    size_t at = from, size, last = from, line_end = 0;
    enum piece_class class;
    while ((class = class_at(s, at, &size)) == PIECE_SPACE || class == PIECE_LINE_END) {
        last = at;
        at += size;
        if (class == PIECE_LINE_END) line_end = at;
    }
    if (line_end) return line_end;
    s->left_space = class != PIECE_END && last != from;
    s->lone_space = class != PIECE_END && last == from;
    return s->left_space ? last : at;
}

static inline size_t piece_end(struct scanner *s, size_t at)
{
    size_t size, next_size;
    enum piece_class class = class_at(s, at, &size), next;
    if (class == PIECE_LETTER) return run_end(s, at + size, PIECE_LETTER);
    if (class == PIECE_NUMBER) return number_end(s, at, size);
    if (class == PIECE_LINE_END) return space_end(s, at);
    if (s->bytes.bytes[at] == '\'') {
        size_t end = contraction_end(s, at + 1);
        if (end) return end;
    }
    next = class_at(s, at + size, &next_size);
    if (next == PIECE_LETTER) return run_end(s, at + size + next_size, PIECE_LETTER);
    if (class == PIECE_OTHER) return punctuation_end(s, at);
    if (next == PIECE_OTHER && s->bytes.bytes[at] == ' ') return punctuation_end(s, at + size);
    return space_end(s, at);
}

size_t scanner_piece_end(text bytes, size_t at)
{
    struct scanner s = {.bytes = bytes};
    return piece_end(&s, at);
}

/* Bytes at the end that begin a well-formed sequence and lack its rest: 0 to 3. Such a beginning
 * becomes well-formed with some continuation, so trying the ends of the allowed ranges decides. */
static size_t cut_off_size(text bytes)
{
    for (size_t back = 1; back <= 3 && back <= bytes.size; back++) {
        unsigned char lead = (unsigned char)bytes.bytes[bytes.size - back];
        if (lead < 0x80) return 0;
        if (lead < 0xC0) continue;
        static const char rest[2][4] = {"\x80\x80\x80", "\xBF\xBF\xBF"};
        for (int i = 0; i < 2; i++) {
            char whole[4];
            size_t size, n = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
            for (size_t k = 0; k < n; k++)
                whole[k] = k < back ? bytes.bytes[bytes.size - back + k] : rest[i][k - back];
            utf8_decode((text){whole, n}, 0, &size);
            if (size > back) return back;
        }
        return 0;
    }
    return 0;
}

/* Behind "  " before a digit is a boundary too, and a fixed one, but no place to cut: the run is
 * "one space, one space" only as long as the digit is seen. */
size_t scanner_stable_boundary(text bytes)
{
    struct scanner s = {.bytes = text_slice(bytes, 0, bytes.size - cut_off_size(bytes))};
    size_t boundary = 0;
    for (size_t at = 0, end; at < s.bytes.size; at = end) {
        bool after_left = s.left_space;
        s.left_space = s.lone_space = false;
        end = piece_end(&s, at);
        if (s.met_end) break;
        if (!(after_left && s.lone_space)) boundary = end;
    }
    return boundary;
}
