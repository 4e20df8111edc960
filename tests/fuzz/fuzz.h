/* What the fuzz targets share. A target is a file with libFuzzer's LLVMFuzzerTestOneInput: it feeds
 * the input to one parser and aborts where an answer breaks what the header promises; the sanitizers
 * watch the rest. The first bytes of an input choose, what follows is the material. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(what)                                                                              \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #what);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* Takes the first byte off *rest; 0 when there is none. */
static inline uint8_t fuzz_byte(text *rest)
{
    if (rest->size == 0) return 0;
    uint8_t byte = (uint8_t)rest->bytes[0];
    *rest = text_slice(*rest, 1, rest->size);
    return byte;
}

/* Takes up to n bytes off *rest. */
static inline text fuzz_take(text *rest, size_t n)
{
    text taken = text_slice(*rest, 0, n);
    *rest = text_slice(*rest, n, rest->size);
    return taken;
}

/* Takes what stands before the next byte 0xff (which no UTF-8 has) off *rest, and that byte. */
static inline text fuzz_part(text *rest)
{
    size_t end = text_find(*rest, TEXT("\xff"), 0);
    text part = fuzz_take(rest, end == SIZE_MAX ? rest->size : end);
    fuzz_byte(rest);
    return part;
}

#endif
