/* Few tokens close a bracket, so a mask is a copy of the alive ids with those taken out that would.
 * While bytes are left to say, few tokens are allowed at all, and each is looked at byte by byte. */
#include "inference/output_rules.h"

#include <string.h>

#include "base/memory.h"

static const char opening[] = "([{<", closing[] = ")]}>";

static int kind_in(const char *brackets, char c)
{
    const char *at = memchr(brackets, c, BRACKET_KINDS);
    return at ? (int)(at - brackets) : -1;
}

status closing_brackets_parse(unsigned *kinds, text brackets, error *err)
{
    *kinds = 0;
    for (size_t i = 0; i < brackets.size; i++) {
        int kind = kind_in(closing, brackets.bytes[i]);
        if (kind < 0)
            return fail(err, ERR_USAGE, "forbid_unopened: byte %zu is no closing bracket of %s", i,
                        closing);
        *kinds |= 1U << kind;
    }
    return OK;
}

/* Adds what the token's bytes bring each kind's count down to; false: it closes nothing. */
static bool profile_make(struct closing_token *out, text bytes)
{
    int32_t depth[BRACKET_KINDS] = {0};
    bool closes = false;
    for (size_t i = 0; i < bytes.size; i++) {
        int open = kind_in(opening, bytes.bytes[i]), close = kind_in(closing, bytes.bytes[i]);
        if (open >= 0) depth[open]++;
        if (close < 0) continue;
        if (--depth[close] < out->least[close]) out->least[close] = (int16_t)depth[close];
        closes = closes || out->least[close] < 0;
    }
    return closes;
}

status rule_book_open(rule_book *out, const tokenizer *t, int32_t vocab_size, const uint32_t *alive,
                      error *err)
{
    *out = (rule_book){.alive = alive, .n_words = (size_t)(vocab_size + 31) / 32};
    status s = token_order_open(&out->order, t, vocab_size, err);
    if (s != OK) return s;
    out->closing = memory_take((size_t)vocab_size, sizeof *out->closing);
    if (!out->closing) return fail(err, ERR_MEMORY, "out of memory for the brackets of tokens");
    for (int32_t id = 0; id < vocab_size; id++) {
        struct closing_token token = {.id = id};
        if (tokenizer_is_dead(t, id) || tokenizer_is_special(t, id)) continue;
        if (profile_make(&token, tokenizer_token_bytes(t, id)))
            out->closing[out->n_closing++] = token;
    }
    struct closing_token *fitted =
        memory_resize(out->closing, out->n_closing + 1, sizeof *out->closing);
    if (fitted) out->closing = fitted;
    return OK;
}

void rule_book_close(rule_book *b)
{
    token_order_close(&b->order);
    memory_free(b->closing);
    *b = (rule_book){0};
}

/* Counts one byte; false when it closes what is not open. */
static bool byte_put(int32_t depth[BRACKET_KINDS], char c, unsigned *kind)
{
    int open = kind_in(opening, c), close = kind_in(closing, c);
    if (open >= 0) depth[open]++;
    if (close < 0) return true;
    *kind = 1U << close;
    if (depth[close] == 0) return false;
    depth[close]--;
    return true;
}

void output_state_put(struct output_state *s, text bytes)
{
    unsigned kind;
    for (size_t i = 0; i < bytes.size; i++) byte_put(s->depth, bytes.bytes[i], &kind);
    s->n_bytes += bytes.size;
    s->n_tokens++;
}

/* Whether the bytes from `free` on close a bracket of these kinds that is not open. */
static bool closes_unopened(const struct output_state *s, text bytes, size_t free, unsigned kinds)
{
    int32_t depth[BRACKET_KINDS];
    memcpy(depth, s->depth, sizeof depth);
    for (size_t i = 0; i < bytes.size; i++) {
        unsigned kind = 0;
        if (!byte_put(depth, bytes.bytes[i], &kind) && i >= free && (kinds & kind)) return true;
    }
    return false;
}

static void forbid(uint32_t *mask, int32_t id) { mask[id / 32] &= ~(UINT32_C(1) << id % 32); }

/* Tokens that say the last of the beginning and go on: their rest must close nothing. */
static void must_start_mask(const rule_book *b, const struct output_rules *r,
                            const struct output_state *s, text rest, uint32_t *mask)
{
    for (size_t word = 0; r->unopened && word < b->n_words; word++)
        for (uint32_t bits = mask[word]; bits; bits &= bits - 1) {
            int32_t id = (int32_t)(32 * word) + __builtin_ctz(bits);
            text bytes = tokenizer_token_bytes(b->order.tokenizer, id);
            if (closes_unopened(s, bytes, rest.size, r->unopened)) forbid(mask, id);
        }
}

static void unopened_mask(const rule_book *b, const struct output_rules *r,
                          const struct output_state *s, uint32_t *mask)
{
    for (size_t i = 0; r->unopened && i < b->n_closing; i++)
        for (int kind = 0; kind < BRACKET_KINDS; kind++)
            if ((r->unopened >> kind & 1) && s->depth[kind] + b->closing[i].least[kind] < 0)
                forbid(mask, b->closing[i].id);
}

bool output_rules_mask(const rule_book *b, const struct output_rules *r,
                       const struct output_state *s, uint32_t *mask)
{
    text rest = text_slice(r->must_start, s->n_bytes, r->must_start.size);
    bool first = s->n_tokens == 0 && r->n_forbid_first > 0;
    bool saying = rest.size > 0 && token_order_allow(&b->order, rest, mask, b->n_words) > 0;
    if (!saying && !first && !r->unopened) return false;
    if (!saying) memcpy(mask, b->alive, b->n_words * sizeof *mask);
    if (saying)
        must_start_mask(b, r, s, rest, mask);
    else
        unopened_mask(b, r, s, mask);
    for (size_t i = 0; first && i < r->n_forbid_first; i++) forbid(mask, r->forbid_first[i]);
    return true;
}
