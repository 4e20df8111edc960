/* The tokenizer: text to token ids and back, exactly as the model was trained.
 *
 * Byte-level BPE over a rank list (lowest rank merges first; a piece that is itself a rank is
 * emitted directly) behind cl100k's pre-tokenizer; ranks, special ids and vocabulary size come from
 * the model directory, never from constants. Any prefix of a rank list is a valid tokenizer. It
 * knows no model, no prompt layout beyond ChatML (chatml.h) and no network.
 *
 * A tokenizer is immutable after it was opened: any number of threads may use one. Text from users
 * and repositories is always encoded with specials as plain bytes; control ids are put by id.
 * Source: tiktoken's cl100k_base; DBRX-Instruct's tokenizer files. */
#ifndef TOKENIZER_TOKENIZER_H
#define TOKENIZER_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"

typedef struct tokenizer tokenizer;

/* Ids that grow; zeroed is empty, freed by token_list_free; `failed` is sticky as in buffer. */
typedef struct token_list {
    int32_t *ids;
    size_t n, room;
    bool failed;
} token_list;

void token_list_put(token_list *list, int32_t id);
void token_list_put_all(token_list *list, const int32_t *ids, size_t n);
void token_list_free(token_list *list);

/* Control ids of the chat format and fill-in-the-middle; -1 where the model has none. */
struct special_ids {
    int32_t endoftext, fim_prefix, fim_middle, fim_suffix, endofprompt, pad, im_start, im_end;
};

/* Opens the tokenizer of a model directory (first found: tokenizer.json; the one *.tiktoken; specials'
 * ids also from tokenizer_config.json, rows from config.json's vocab_size), or the embedded cl100k
 * with DBRX's specials when model_dir is NULL. Ranks of cl100k's number and no word about specials:
 * DBRX's. ERR_FORMAT names file, field, value found and value expected; ERR_UNSUPPORTED what a file
 * asks for that is not cl100k's way (another pre-tokenizer, merges out of the order of ids). Freed
 * by tokenizer_close. */
status tokenizer_open(tokenizer **out, const char *model_dir, error *err);

/* Opens one from a rank list in tiktoken's text form ("BASE64 RANK" by lines), as an engine's
 * handshake and GET /v1/dbrx/tokenizer give it. specials may be NULL: none. ERR_FORMAT when
 * vocabulary_size is not above the highest id, or ids or bytes are double. */
status tokenizer_open_ranks(tokenizer **out, text ranks, const struct special_ids *specials,
                            int32_t vocabulary_size, error *err);

void tokenizer_close(tokenizer *t); /* NULL is fine */

/* Rows the vocabulary has at least: highest id + 1, or what the model directory says (DBRX: 100352). */
int32_t tokenizer_vocabulary_size(const tokenizer *t);
const struct special_ids *tokenizer_specials(const tokenizer *t);

/* Appends the ids of `bytes` (any bytes; invalid UTF-8 goes through byte tokens and comes back the
 * same). Specials in it are plain bytes. Never fails but for memory (out->failed). */
void tokenizer_encode(const tokenizer *t, token_list *out, text bytes);

/* The same, but where the text spells a special ("<|im_end|>") its id is put. For the operator's
 * own text only, never for text from files. */
void tokenizer_encode_specials(const tokenizer *t, token_list *out, text bytes);

/* How many ids tokenizer_encode would append; an upper bound when memory is short. */
size_t tokenizer_count(const tokenizer *t, text bytes);

/* The bytes of one id: empty for ids that decode to nothing (dead ids, out of range), "<|im_end|>"
 * and so on for specials. The view lives as long as the tokenizer. */
text tokenizer_token_bytes(const tokenizer *t, int32_t id);

/* True for ids that must never be sampled: padding rows, unused ids, out of range. */
bool tokenizer_is_dead(const tokenizer *t, int32_t id);
bool tokenizer_is_special(const tokenizer *t, int32_t id);

/* Generation ends at these: endoftext and im_end. */
bool tokenizer_is_stop(const tokenizer *t, int32_t id);

/* Appends the bytes of all ids; specials are spelt out only if with_specials. */
void tokenizer_decode(const tokenizer *t, buffer *out, const int32_t *ids, size_t n,
                      bool with_specials);

/* Largest offset <= at where bytes[0, at) may be cut so that, whatever is appended to it, the ids of
 * both halves are the ids of the whole. An unfinished UTF-8 sequence before `at` counts as not there
 * yet. 0 at worst. One pass over bytes[0, at). */
size_t tokenizer_stable_boundary(const tokenizer *t, text bytes, size_t at);

/* Appends the rank list in tiktoken's text form; tokenizer_sha256 is the digest of exactly that. */
void tokenizer_write_ranks(const tokenizer *t, buffer *out);
const char *tokenizer_sha256(const tokenizer *t); /* 64 hex digits, computed at open */

#endif
