/* What a model's files say about its tokens, collected and then checked as a whole.
 *
 * Loaders (ranks.c, tokenizer_json.c) put ranks and special tokens in, in any order;
 * vocabulary_finish refuses what does not fit together. One thread; the tokenizer takes it over. */
#ifndef TOKENIZER_VOCABULARY_H
#define TOKENIZER_VOCABULARY_H

#include "tokenizer/rank_table.h"
#include "tokenizer/tokenizer.h"

/* The special tokens this program knows by name, in the order of struct special_ids. */
enum { N_SPECIALS = 8 };

struct special_name {
    text spelling;     /* "<|im_end|>" */
    const char *field; /* "im_end" */
    int32_t dbrx_id;
    size_t member; /* offset in struct special_ids */
};
extern const struct special_name special_names[N_SPECIALS];

/* Where specials holds the id of special_names[i]. */
int32_t *special_member(struct special_ids *specials, size_t i);
int32_t special_id(const struct special_ids *specials, size_t i);

/* A token outside the rank list: a special known by name, or one that only takes an id away. */
struct added_token {
    int32_t id;
    char *spelling;
    const char *source; /* the file that named it; compared by address */
};

struct vocabulary {
    struct rank_table ranks;
    struct special_ids specials;
    struct added_token *added;
    size_t n_added;
    int32_t size; /* rows; 0 until a file says it or vocabulary_finish sets it */
};

void vocabulary_begin(struct vocabulary *v);
void vocabulary_close(struct vocabulary *v);

/* A special token named by `source`. Two sources may agree; anything else double is refused. */
status vocabulary_add_special(struct vocabulary *v, int64_t id, text spelling, const char *source,
                              error *err);

/* The added token of this id, or NULL. */
const struct added_token *vocabulary_added(const struct vocabulary *v, int64_t id);

/* DBRX's ids and rows, for its rank list. */
void vocabulary_set_dbrx(struct vocabulary *v);

/* Checks that ids are unique and without gaps below the highest rank, sets `size` where nobody did,
 * and checks it. */
status vocabulary_finish(struct vocabulary *v, error *err);

#endif
