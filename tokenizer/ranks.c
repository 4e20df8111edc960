/* The two carriers of bare ranks: tiktoken's text, line by line, and the packed list in the program,
 * whose bytes are used where they lie. */
#include "tokenizer/ranks.h"

#include <string.h>

#include "base/base64.h"
#include "base/limits.h"

/* Decimal digits only, up to VOCABULARY_MAX; -1 for anything else. */
static int64_t rank_number(text digits)
{
    int64_t n = 0;
    if (digits.size == 0 || digits.size > 7) return -1;
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.bytes[i] < '0' || digits.bytes[i] > '9') return -1;
        n = n * 10 + (digits.bytes[i] - '0');
    }
    return n;
}

/* What of a bad line is worth showing. */
static int shown_size(text t) { return t.size < 40 ? (int)t.size : 40; }

static status line_parse(struct rank_table *table, text line, buffer *token, error *err)
{
    size_t space = text_find(line, TEXT(" "), 0);
    if (space == SIZE_MAX)
        return fail(err, ERR_FORMAT, "found \"%.*s\", expected \"BASE64 RANK\"", shown_size(line),
                    line.bytes);
    text digits = text_slice(line, space + 1, line.size);
    int64_t rank = rank_number(digits);
    if (rank < 0)
        return fail(err, ERR_FORMAT, "rank: found \"%.*s\", expected a number below %d",
                    shown_size(digits), digits.bytes, VOCABULARY_MAX);
    buffer_clear(token);
    if (!base64_decode(token, text_slice(line, 0, space))) {
        if (token->failed) return fail(err, ERR_MEMORY, "out of memory for a token");
        return fail(err, ERR_FORMAT, "token: found \"%.*s\", expected base64",
                    shown_size(text_slice(line, 0, space)), line.bytes);
    }
    return rank_table_add(table, rank, buffer_text(token), err);
}

status ranks_parse(struct vocabulary *v, text list, error *err)
{
    status s = OK;
    buffer token = {0};
    text line;
    for (size_t n = 1; s == OK && text_next_line(&list, &line); n++) {
        if (line.size == 0) continue;
        s = line_parse(&v->ranks, line, &token, err);
        if (s != OK) s = fail_in(err, s, "line %zu", n);
    }
    buffer_free(&token);
    return s == OK ? rank_table_seal(&v->ranks, err) : s;
}

/* " ID\n", by hand: the list has a hundred thousand of them and is hashed when a tokenizer opens. */
static void rank_put(buffer *out, size_t id)
{
    char line[24];
    size_t at = sizeof line;
    line[--at] = '\n';
    do {
        line[--at] = (char)('0' + id % 10);
    } while (id /= 10);
    line[--at] = ' ';
    buffer_put(out, line + at, sizeof line - at);
}

void ranks_write(const struct rank_table *table, buffer *out)
{
    for (size_t id = 0; id < table->n_ids; id++) {
        text token = rank_table_bytes(table, (int64_t)id);
        if (token.size == 0) continue;
        base64_encode(out, token);
        rank_put(out, id);
    }
}

/* tokenizer/data/cl100k.bin as embedded.S puts it into the program. */
extern const unsigned char tokenizer_cl100k[];
extern const uint64_t tokenizer_cl100k_bytes;

/* The file's head: magic, number of ranks, digest of the text form. */
enum { HEAD_MAGIC = 8, HEAD_COUNT = 4, HEAD_SHA256 = 32, HEAD = 44 };

status ranks_open_embedded(struct vocabulary *v, const unsigned char **sha256, error *err)
{
    const unsigned char *at = tokenizer_cl100k, *count = at + HEAD_MAGIC;
    size_t size = (size_t)tokenizer_cl100k_bytes;
    if (size < HEAD || memcmp(at, "dbrxbpe1", HEAD_MAGIC) != 0)
        return fail(err, ERR_FORMAT, "the embedded rank list is damaged");
    size_t n = count[0] | (size_t)count[1] << 8 | (size_t)count[2] << 16 | (size_t)count[3] << 24;
    if (n > VOCABULARY_MAX || size - HEAD < n)
        return fail(err, ERR_FORMAT, "the embedded rank list is cut off");
    *sha256 = count + HEAD_COUNT;
    text pool = {(const char *)at + HEAD + n, size - HEAD - n};
    status s = rank_table_open_packed(&v->ranks, n, at + HEAD, pool, err);
    if (s == OK) vocabulary_set_dbrx(v);
    return s;
}
