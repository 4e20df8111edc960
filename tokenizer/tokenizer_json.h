/* The JSON files of a model directory, as far as they speak of tokens. Any thread. */
#ifndef TOKENIZER_TOKENIZER_JSON_H
#define TOKENIZER_TOKENIZER_JSON_H

#include "tokenizer/vocabulary.h"

/* Reads tokenizer.json: a GPT2-style vocabulary (each byte of a token spelt as one character),
 * merges as "a b" or ["a", "b"], added_tokens. Ids must be the order of merging, since ranks are all
 * that is kept: another order, normaliser or pre-tokenizer is ERR_UNSUPPORTED. Seals the ranks.
 * Format: the tokenizers library's serialised form; the byte alphabet: GPT-2's encoder. */
status tokenizer_json_load(struct vocabulary *v, const char *path, error *err);

/* Reads added_tokens_decoder of tokenizer_config.json, where it has one. */
status tokenizer_config_load(struct vocabulary *v, const char *path, error *err);

/* Reads vocab_size of config.json, where it has one. */
status model_config_load(struct vocabulary *v, const char *path, error *err);

#endif
