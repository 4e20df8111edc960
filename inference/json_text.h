/* JSON from outside, parsed strictly: bounded size, depth and number of containers, valid UTF-8, no
 * duplicate keys, nothing behind the value. Any thread. */
#ifndef INFERENCE_JSON_TEXT_H
#define INFERENCE_JSON_TEXT_H

#include <jansson.h>

#include "base/error.h"
#include "base/text.h"

/* Parses one JSON object. `name` (a path) stands before every message: ERR_FORMAT with the line, or
 * ERR_LIMIT. The caller owns *out (json_decref). */
status json_text_parse(json_t **out, text t, const char *name, error *err);

/* The same for the body of a peer's request: every value is counted (at most HTTP_JSON_VALUES_MAX),
 * not only objects and arrays, and strings may hold NUL, because text may. */
status json_body_parse(json_t **out, text t, const char *name, error *err);

/* The same for a file of at most MODEL_JSON_MAX bytes. */
status json_file_parse(json_t **out, const char *path, error *err);

#endif
