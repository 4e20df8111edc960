/* What the pre-tokenizer must know of Unicode: is a code point a letter (L), a number (N) or white
 * space (White_Space)? A two-stage table, 2 bits per code point: code points in blocks of 128,
 * equal blocks stored once. Read-only; any thread. Source: the Unicode Character Database in the
 * version of unicode_version, through make_unicode_classes.mjs. */
#ifndef TOKENIZER_GENERATED_UNICODE_CLASSES_H
#define TOKENIZER_GENERATED_UNICODE_CLASSES_H

#include <stdint.h>

/* Behind the last block of the index every code point is CLASS_OTHER. */
enum { UNICODE_BLOCK_SIZE = 128, UNICODE_INDEX_SIZE = 1608 };

enum unicode_class { CLASS_OTHER, CLASS_LETTER, CLASS_NUMBER, CLASS_SPACE };

extern const char unicode_version[];
extern const uint8_t unicode_block_of[UNICODE_INDEX_SIZE];
extern const uint8_t unicode_blocks[][UNICODE_BLOCK_SIZE / 4];

static inline enum unicode_class unicode_class_of(uint32_t code_point)
{
    uint32_t block = code_point / UNICODE_BLOCK_SIZE, at = code_point % UNICODE_BLOCK_SIZE;
    if (block >= UNICODE_INDEX_SIZE) return CLASS_OTHER;
    return (enum unicode_class)(unicode_blocks[unicode_block_of[block]][at / 4] >> at % 4 * 2 & 3);
}

#endif
