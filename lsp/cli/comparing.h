/* Runs a comparison with a progress line and prints what it found: for `compare`, and for
 * `quantize --report`. */
#ifndef LSP_CLI_COMPARING_H
#define LSP_CLI_COMPARING_H

#include <jansson.h>

#include "inference/comparison.h"
#include "tokenizer/tokenizer.h"

/* comparison_make with progress on stderr. */
status comparing_run(struct comparison *out, struct comparison_options options,
                     const token_list *tokens, error *err);

/* A table for people, on stdout. */
status comparing_print(const struct comparison *c, error *err);

/* The same as an object; NULL when memory is short. */
json_t *comparing_json(const struct comparison *c);

#endif
