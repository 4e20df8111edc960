/* What the tokenizer's tests share. */
#ifndef TESTS_UNIT_TOKENIZER_SUPPORT_H
#define TESTS_UNIT_TOKENIZER_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/tokenizer.h"

#include <cmocka.h> /* last: it has a macro named like base/error.h's fail */

static tokenizer *embedded;

static const struct special_ids NO_SPECIALS = {-1, -1, -1, -1, -1, -1, -1, -1};

static void assert_ids(const token_list *found, const int32_t *expected, size_t n)
{
    assert_false(found->failed);
    assert_int_equal(found->n, n);
    for (size_t i = 0; i < n; i++) assert_int_equal(found->ids[i], expected[i]);
}

static void assert_encodes(const tokenizer *t, text bytes, const int32_t *expected, size_t n)
{
    token_list ids = {0};
    tokenizer_encode(t, &ids, bytes);
    assert_ids(&ids, expected, n);
    assert_int_equal(tokenizer_count(t, bytes), n);
    token_list_free(&ids);
}

/* The first n lines of cl100k's rank list. */
static void ranks_prefix(buffer *out, size_t n)
{
    buffer whole = {0};
    tokenizer_write_ranks(embedded, &whole);
    text rest = buffer_text(&whole), line;
    while (n-- > 0 && text_next_line(&rest, &line)) {
        buffer_put_text(out, line);
        buffer_put_char(out, '\n');
    }
    assert_false(out->failed);
    buffer_free(&whole);
}

#endif
