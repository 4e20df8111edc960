/* Base64 (RFC 4648, section 4, with padding). Any thread. */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stdbool.h>

#include "base/text.h"

void base64_encode(buffer *out, text bytes);

/* Appends the decoded bytes; false (and nothing appended) when `encoded` is not strict base64. */
bool base64_decode(buffer *out, text encoded);

#endif
