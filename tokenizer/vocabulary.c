/* Checks run over what was collected, not while it comes in: files may name the same special twice,
 * and a gap in the ranks is filled by a special that another file names. */
#include "tokenizer/vocabulary.h"

#include <stddef.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"

enum { DBRX_RANKS = 100256, DBRX_VOCABULARY_SIZE = 100352 };

#define SPECIAL(name, id)                                                                          \
    {                                                                                              \
        {"<|" #name "|>", sizeof("<|" #name "|>") - 1}, #name, id,                                 \
            offsetof(struct special_ids, name)                                                     \
    }
const struct special_name special_names[N_SPECIALS] = {
    SPECIAL(endoftext, 100257),  SPECIAL(fim_prefix, 100258),  SPECIAL(fim_middle, 100259),
    SPECIAL(fim_suffix, 100260), SPECIAL(endofprompt, 100276), SPECIAL(pad, 100277),
    SPECIAL(im_start, 100278),   SPECIAL(im_end, 100279),
};
#undef SPECIAL

int32_t *special_member(struct special_ids *specials, size_t i)
{
    return (int32_t *)(void *)((char *)specials + special_names[i].member);
}

int32_t special_id(const struct special_ids *specials, size_t i)
{
    int32_t id;
    memcpy(&id, (const char *)specials + special_names[i].member, sizeof id);
    return id;
}

void vocabulary_begin(struct vocabulary *v)
{
    *v = (struct vocabulary){0};
    for (size_t i = 0; i < N_SPECIALS; i++) *special_member(&v->specials, i) = -1;
}

void vocabulary_close(struct vocabulary *v)
{
    for (size_t i = 0; i < v->n_added; i++) memory_free(v->added[i].spelling);
    memory_free(v->added);
    rank_table_close(&v->ranks);
    vocabulary_begin(v);
}

const struct added_token *vocabulary_added(const struct vocabulary *v, int64_t id)
{
    for (size_t i = 0; i < v->n_added; i++)
        if (v->added[i].id == id) return &v->added[i];
    return NULL;
}

/* *known: another source has said the same. */
static status added_check(const struct vocabulary *v, int64_t id, text spelling, const char *source,
                          bool *known, error *err)
{
    *known = false;
    if (id < 0 || id >= VOCABULARY_MAX)
        return fail(err, ERR_FORMAT, "special token id %lld, expected 0 to %d", (long long)id,
                    VOCABULARY_MAX - 1);
    if (spelling.size == 0 || spelling.size > TOKEN_BYTES_MAX)
        return fail(err, ERR_FORMAT, "special token of id %lld has %zu bytes, expected 1 to %d",
                    (long long)id, spelling.size, TOKEN_BYTES_MAX);
    for (size_t i = 0; i < v->n_added; i++) {
        const struct added_token *other = &v->added[i];
        bool same_id = other->id == id, same_text = text_is(spelling, other->spelling);
        if (!same_id && !same_text) continue;
        if (same_id != same_text || other->source == source)
            return fail(err, ERR_FORMAT,
                        "special token \"%.*s\" with id %lld: \"%s\" with id %d stands there "
                        "already, expected each once",
                        (int)spelling.size, spelling.bytes, (long long)id, other->spelling,
                        other->id);
        *known = true;
    }
    return OK;
}

status vocabulary_add_special(struct vocabulary *v, int64_t id, text spelling, const char *source,
                              error *err)
{
    bool known;
    status s = added_check(v, id, spelling, source, &known, err);
    if (s != OK || known) return s;
    if (v->n_added == ADDED_TOKENS_MAX)
        return fail(err, ERR_LIMIT, "more than %d special tokens", ADDED_TOKENS_MAX);
    struct added_token *added = memory_resize(v->added, v->n_added + 1, sizeof *added);
    if (!added) return fail(err, ERR_MEMORY, "out of memory for special tokens");
    v->added = added;
    char *copy = memory_copy(spelling.bytes, spelling.size);
    if (!copy) return fail(err, ERR_MEMORY, "out of memory for special tokens");
    v->added[v->n_added++] = (struct added_token){(int32_t)id, copy, source};
    for (size_t i = 0; i < N_SPECIALS; i++)
        if (text_equal(spelling, special_names[i].spelling))
            *special_member(&v->specials, i) = (int32_t)id;
    return OK;
}

void vocabulary_set_dbrx(struct vocabulary *v)
{
    for (size_t i = 0; i < N_SPECIALS; i++)
        *special_member(&v->specials, i) = special_names[i].dbrx_id;
    if (v->size == 0) v->size = DBRX_VOCABULARY_SIZE;
}

static status gaps_check(const struct vocabulary *v, error *err)
{
    for (size_t id = 0; id < v->ranks.n_ids; id++)
        if (v->ranks.size[id] == 0 && !vocabulary_added(v, (int64_t)id))
            return fail(err, ERR_FORMAT, "no token has id %zu, expected all from 0 to %zu", id,
                        v->ranks.n_ids - 1);
    return OK;
}

static status specials_check(const struct vocabulary *v, int32_t *highest, error *err)
{
    *highest = (int32_t)v->ranks.n_ids - 1;
    for (size_t i = 0; i < v->n_added; i++) {
        int32_t id = v->added[i].id;
        if (id > *highest) *highest = id;
        if (rank_table_bytes(&v->ranks, id).size)
            return fail(err, ERR_FORMAT, "id %d is both rank and special token \"%s\"", id,
                        v->added[i].spelling);
    }
    for (size_t i = 0; i < N_SPECIALS; i++)
        if (special_id(&v->specials, i) > *highest) *highest = special_id(&v->specials, i);
    return OK;
}

status vocabulary_finish(struct vocabulary *v, error *err)
{
    int32_t highest;
    if (v->n_added == 0 && v->ranks.n_ids == DBRX_RANKS && v->specials.endoftext < 0)
        vocabulary_set_dbrx(v);
    status s = gaps_check(v, err);
    if (s == OK) s = specials_check(v, &highest, err);
    if (s != OK) return s;
    if (v->size == 0) v->size = highest + 1;
    if (v->size <= highest)
        return fail(err, ERR_FORMAT, "vocab_size: found %d, expected at least %d (highest id + 1)",
                    v->size, highest + 1);
    return OK;
}
