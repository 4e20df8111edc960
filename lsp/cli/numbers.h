/* Options of the commands that work on numbers, not on text for people: ids, types, formats. */
#ifndef LSP_CLI_NUMBERS_H
#define LSP_CLI_NUMBERS_H

#include "base/error.h"
#include "kernels/kernels.h"
#include "tokenizer/tokenizer.h"

/* Ids such as "1,2,3", or from stdin when `given` is "-". ERR_USAGE names `option`. */
status ids_given(token_list *out, const char *given, const char *option, error *err);

/* The ids of a text file ("-": stdin) by the tokenizer of `model_dir`; at most n_max of them unless
 * that is 0. ERR_USAGE when there are none. `sha256` (NULL or 65 bytes) gets the digest of the whole
 * file. */
status ids_of_file(token_list *out, char *sha256, const char *path, const char *model_dir,
                   size_t n_max, error *err);

/* "fp8", "int8" or "int4". */
status weights_parse(enum weight_format *out, const char *name, const char *option, error *err);

#endif
