/* UTF-8, and the column arithmetic of editors. Any thread; nothing is shared. */
#ifndef BASE_UTF_H
#define BASE_UTF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

enum position_encoding { ENCODING_UTF16, ENCODING_UTF8, ENCODING_UTF32 };

/* Decodes the code point at t.bytes[at] (at < t.size) and sets *size to its length in bytes. A byte
 * that begins no well-formed sequence (RFC 3629: no surrogates, no overlong forms) gives U+FFFD
 * with *size 1. */
uint32_t utf8_decode(text t, size_t at, size_t *size);

/* Appends 1 to 4 bytes to out and returns how many; U+FFFD for what is no code point. */
size_t utf8_encode(uint32_t code_point, char out[4]);

bool utf8_valid(text t);

/* The largest offset <= at that does not split a well-formed sequence. */
size_t utf8_floor(text t, size_t at);

/* Byte offset in `line` (without its line end) of `column` counted in code units of `encoding`.
 * Past the end clamps to the end; inside a character clamps to its beginning. An ill-formed byte
 * counts as one unit in every encoding. */
size_t column_to_byte(text line, uint32_t column, enum position_encoding encoding);

/* The inverse: code units of `encoding` in line[0, byte). */
uint32_t byte_to_column(text line, size_t byte, enum position_encoding encoding);

#endif
