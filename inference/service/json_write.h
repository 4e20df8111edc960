/* JSON (RFC 8259) written into a buffer that is used again and again: a stream of a thousand tokens
 * allocates nothing. Reading is jansson's. Any thread; one buffer, one owner. */
#ifndef INFERENCE_SERVICE_JSON_WRITE_H
#define INFERENCE_SERVICE_JSON_WRITE_H

#include "base/text.h"

/* Appends `value` as a JSON string with its quotes; ill-formed UTF-8 becomes U+FFFD. */
void json_put_string(buffer *out, text value);

/* The same for a NUL-terminated string; NULL gives null. */
void json_put_chars(buffer *out, const char *value);

/* Appends a number; NaN gives null and infinities the largest and smallest double. */
void json_put_number(buffer *out, double value);

#endif
