/* Documents against a naive model: the client's text as code points, changed by counting units one
 * by one. Random edits in all three encodings, with astral characters and every kind of line end;
 * after each the text, the line count and random positions must agree. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "lsp/server/documents.h"
#include "lsp/server/uri.h"

#include <cmocka.h> /* last: it has a macro named fail */

enum { MODEL_MAX = 4096, EDITS = 4000 };

struct model {
    uint32_t points[MODEL_MAX];
    size_t n;
};

struct dice {
    uint64_t seed, index;
};

static uint32_t roll(struct dice *d, uint32_t below)
{
    return (uint32_t)(random_at(d->seed, d->index++) % below);
}

static uint32_t point_units(uint32_t c, enum position_encoding e)
{
    if (e == ENCODING_UTF32) return 1;
    if (e == ENCODING_UTF16) return c >= 0x10000 ? 2 : 1;
    return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* Index behind the line end that starts at i, or i when there is none. */
static size_t past_line_end(const struct model *m, size_t i)
{
    if (i >= m->n) return i;
    if (m->points[i] == '\r' && i + 1 < m->n && m->points[i + 1] == '\n') return i + 2;
    return m->points[i] == '\n' || m->points[i] == '\r' ? i + 1 : i;
}

static uint32_t model_lines(const struct model *m)
{
    uint32_t lines = 1;
    for (size_t i = 0; i < m->n;) {
        size_t next = past_line_end(m, i);
        lines += next > i;
        i = next > i ? next : i + 1;
    }
    return lines;
}

/* Index of a position; *exact is false when it lies inside a character. */
static size_t model_index(const struct model *m, struct position p, enum position_encoding e,
                          bool *exact)
{
    size_t i = 0;
    *exact = true;
    for (uint32_t line = 0; line < p.line;) {
        if (i >= m->n) return m->n;
        size_t next = past_line_end(m, i);
        line += next > i;
        i = next > i ? next : i + 1;
    }
    for (uint32_t left = p.character; i < m->n && past_line_end(m, i) == i && left > 0; i++) {
        uint32_t units = point_units(m->points[i], e);
        if (units > left) {
            *exact = false;
            return i;
        }
        left -= units;
    }
    return i;
}

static void model_splice(struct model *m, size_t from, size_t to, const uint32_t *put, size_t n)
{
    memmove(m->points + from + n, m->points + to, (m->n - to) * sizeof *put);
    if (n) memcpy(m->points + from, put, n * sizeof *put);
    m->n = m->n - (to - from) + n;
}

static void points_encode(buffer *out, const uint32_t *points, size_t n)
{
    buffer_clear(out);
    for (size_t i = 0; i < n; i++) {
        char bytes[4];
        buffer_put(out, bytes, utf8_encode(points[i], bytes));
    }
}

static size_t random_points(struct dice *d, uint32_t *out, uint32_t n_max)
{
    static const uint32_t alphabet[] = {'a',  'b',    ' ',     '\n',     '\r', '\n',   '\r',
                                        0xE9, 0x4E2D, 0x1F600, 0x10FFFF, 0,    0xFFFD, 0x301};
    size_t n = roll(d, n_max + 1);
    for (size_t i = 0; i < n; i++)
        out[i] = alphabet[roll(d, (uint32_t)(sizeof alphabet / sizeof *alphabet))];
    return n;
}

static struct position random_position(struct dice *d, const struct model *m)
{
    struct position p = {roll(d, model_lines(m) + 2), roll(d, 24)};
    if (roll(d, 40) == 0) p.character = UINT32_MAX;
    if (roll(d, 40) == 0) p.line = UINT32_MAX;
    return p;
}

static size_t points_bytes(const struct model *m, size_t index)
{
    size_t bytes = 0;
    for (size_t i = 0; i < index; i++) bytes += point_units(m->points[i], ENCODING_UTF8);
    return bytes;
}

static void assert_same(const document *d, const struct model *m, struct dice *dice,
                        enum position_encoding e)
{
    buffer expected = {0};
    points_encode(&expected, m->points, m->n);
    assert_int_equal(document_text(d).size, expected.size);
    if (expected.size) assert_memory_equal(d->content.bytes, expected.bytes, expected.size);
    assert_int_equal(line_index_count(&d->lines), model_lines(m));
    for (int i = 0; i < 4; i++) {
        bool exact;
        struct position p = random_position(dice, m);
        size_t index = model_index(m, p, e, &exact), byte = document_byte(d, p, e);
        assert_int_equal(byte, points_bytes(m, index));
        assert_int_equal(document_byte(d, document_position(d, byte, e), e), byte);
    }
    buffer_free(&expected);
}

/* One random change to both; true when the document must be out of step after it. */
static bool change_both(document *d, struct model *m, struct dice *dice, enum position_encoding e)
{
    uint32_t put[8];
    size_t n = random_points(dice, put, m->n > MODEL_MAX - 64 ? 0 : 7);
    buffer replacement = {0};
    error err;
    bool exact_a, exact_b, whole = roll(dice, 200) == 0;
    struct range r = {random_position(dice, m), random_position(dice, m)};
    if (roll(dice, 2) == 0) r.end = r.start;
    bool backwards = r.start.line > r.end.line ||
                     (r.start.line == r.end.line && r.start.character > r.end.character);
    if (backwards && roll(dice, 50) > 0) {
        struct position swap = r.start;
        r.start = r.end;
        r.end = swap;
        backwards = false;
    }
    size_t a = model_index(m, r.start, e, &exact_a), b = model_index(m, r.end, e, &exact_b);
    bool refused = !whole && (backwards || !exact_a || !exact_b);
    points_encode(&replacement, put, n);
    status code = document_change(d, whole ? NULL : &r, buffer_text(&replacement), e, &err);
    assert_int_equal(code, refused ? ERR_FORMAT : OK);
    if (whole)
        model_splice(m, 0, m->n, put, n);
    else if (!refused)
        model_splice(m, a, b, put, n);
    buffer_free(&replacement);
    return refused;
}

static document *model_open(documents *all, const struct model *m)
{
    buffer content = {0};
    document *d;
    points_encode(&content, m->points, m->n);
    assert_int_equal(
        documents_add(all, &d, TEXT("file:///a"), TEXT("c"), 1, buffer_text(&content), NULL), OK);
    buffer_free(&content);
    return d;
}

static void random_edits(enum position_encoding e)
{
    documents *all;
    static struct model m;
    struct dice dice = {41 + (uint64_t)e, 0};
    int n_refused = 0;
    m.n = 0;
    assert_int_equal(documents_open(&all, NULL), OK);
    document *d = model_open(all, &m);
    for (int i = 0; i < EDITS; i++) {
        if (change_both(d, &m, &dice, e)) {
            assert_false(document_in_step(d));
            assert_int_equal(document_text(d).size, 0);
            d = model_open(all, &m);
            n_refused++;
        }
        assert_same(d, &m, &dice, e);
    }
    assert_true(n_refused > 5);
    documents_close(all);
}

static void test_utf16(void **state)
{
    (void)state;
    random_edits(ENCODING_UTF16);
}

static void test_utf8(void **state)
{
    (void)state;
    random_edits(ENCODING_UTF8);
}

static void test_utf32(void **state)
{
    (void)state;
    random_edits(ENCODING_UTF32);
}

/* Lines end in LF, CRLF and CR; a CR and an LF that come together are one end. */
static void test_line_ends(void **state)
{
    (void)state;
    documents *all;
    document *d;
    error err;
    assert_int_equal(documents_open(&all, NULL), OK);
    documents_add(all, &d, TEXT("u"), TEXT(""), 1, TEXT("a\rb\r\nc\nd"), &err);
    assert_int_equal(line_index_count(&d->lines), 4);
    struct range behind_cr = {{1, 0}, {1, 0}};
    assert_int_equal(document_change(d, &behind_cr, TEXT("\n"), ENCODING_UTF16, &err), OK);
    assert_int_equal(line_index_count(&d->lines), 4);
    assert_true(text_is(document_text(d), "a\r\nb\r\nc\nd"));
    assert_int_equal(document_byte(d, (struct position){1, 99}, ENCODING_UTF16), 4);
    assert_int_equal(document_byte(d, (struct position){99, 0}, ENCODING_UTF16), 9);
    documents_close(all);
}

/* "a", U+1F600, "b": UTF-16 columns 0 1 3 4, bytes 0 1 5 6. */
static void test_surrogates(void **state)
{
    (void)state;
    documents *all;
    document *d;
    error err;
    assert_int_equal(documents_open(&all, NULL), OK);
    documents_add(all, &d, TEXT("u"), TEXT(""), 1, TEXT("a\xF0\x9F\x98\x80\x62"), &err);
    assert_int_equal(document_byte(d, (struct position){0, 2}, ENCODING_UTF16), 1);
    assert_int_equal(document_byte(d, (struct position){0, 3}, ENCODING_UTF16), 5);
    assert_int_equal(document_byte(d, (struct position){0, 2}, ENCODING_UTF32), 5);
    assert_int_equal(document_byte(d, (struct position){0, 3}, ENCODING_UTF8), 1);
    assert_int_equal(document_position(d, 5, ENCODING_UTF16).character, 3);
    struct range half = {{0, 1}, {0, 2}};
    assert_int_equal(document_change(d, &half, TEXT("x"), ENCODING_UTF16, &err), ERR_FORMAT);
    assert_false(document_in_step(d));
    assert_non_null(strstr(d->out_of_step, "character"));
    documents_close(all);
}

static void test_opened_again(void **state)
{
    (void)state;
    documents *all;
    document *d, *again;
    error err;
    const text uri = TEXT("file:///w/%C3%A9.c");
    assert_int_equal(documents_open(&all, NULL), OK);
    documents_add(all, &d, uri, TEXT("c"), 1, TEXT("x"), &err);
    assert_true(text_is(d->path, "/w/\xC3\xA9.c"));
    uint64_t key = d->key;
    document_put_out_of_step(d, "reason");
    assert_int_equal(document_change(d, NULL, TEXT("y"), ENCODING_UTF16, &err), ERR_FORMAT);
    documents_add(all, &again, uri, TEXT("c"), 1, TEXT("z"), &err);
    assert_true(document_in_step(again));
    assert_int_not_equal(again->key, key);
    assert_ptr_equal(documents_find(all, uri), again);
    assert_null(documents_find_key(all, key));
    documents_remove(again);
    assert_null(documents_at(all, 0));
    documents_close(all);
}

/* A 1 MB line of two-byte characters: every column is found, and an edit at its end holds. */
static void test_long_line(void **state)
{
    (void)state;
    documents *all;
    document *d;
    error err;
    buffer line = {0};
    for (int i = 0; i < 500000; i++) buffer_put(&line, "\xC3\xA9", 2);
    assert_int_equal(documents_open(&all, NULL), OK);
    documents_add(all, &d, TEXT("u"), TEXT(""), 1, buffer_text(&line), &err);
    for (uint32_t column = 0; column <= 500000; column += 12345) {
        size_t byte = document_byte(d, (struct position){0, column}, ENCODING_UTF16);
        assert_int_equal(byte, 2 * (size_t)column);
        assert_int_equal(document_position(d, byte, ENCODING_UTF16).character, column);
    }
    struct range end = {{0, 500000}, {0, 500000}};
    assert_int_equal(document_change(d, &end, TEXT("\nx"), ENCODING_UTF16, &err), OK);
    assert_int_equal(line_index_start(&d->lines, 1), 1000001);
    buffer_free(&line);
    documents_close(all);
}

static void test_too_large(void **state)
{
    (void)state;
    documents *all;
    document *d;
    error err;
    buffer big = {0};
    static char block[MIB];
    memset(block, 'a', sizeof block);
    for (size_t i = 0; i < 65; i++) buffer_put(&big, block, sizeof block);
    assert_int_equal(documents_open(&all, NULL), OK);
    documents_add(all, &d, TEXT("u"), TEXT(""), 1, buffer_text(&big), &err);
    struct range start = {{0, 0}, {0, 0}};
    for (int i = 0; i < 2; i++)
        assert_int_equal(document_change(d, &start, buffer_text(&big), ENCODING_UTF16, &err), OK);
    assert_int_equal(document_change(d, &start, buffer_text(&big), ENCODING_UTF16, &err),
                     ERR_LIMIT);
    assert_false(document_in_step(d));
    buffer_free(&big);
    documents_close(all);
}

/* Out of memory at the n-th allocation: never a crash, never a wrong text. */
static void test_memory(void **state)
{
    (void)state;
    for (int n = 1; n < 40; n++) {
        documents *all;
        document *d = NULL;
        error err;
        struct range r = {{0, 1}, {0, 1}};
        assert_int_equal(documents_open(&all, NULL), OK);
        memory_fail_at(n);
        if (documents_add(all, &d, TEXT("u"), TEXT("c"), 1, TEXT("ab\ncd"), &err) != OK) d = NULL;
        for (int i = 0; d && i < 60 && document_in_step(d); i++)
            document_change(d, &r, TEXT("x\ny"), ENCODING_UTF16, &err);
        memory_fail_at(0);
        if (d) assert_int_equal(document_text(d).size, document_in_step(d) ? 5 + 60 * 3 : 0);
        documents_close(all);
    }
}

static void test_paths(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"file:///a%20b/c.c", "/a b/c.c"},
                                           {"file://host/x", "/x"},
                                           {"untitled:Untitled-1", "Untitled-1"},
                                           {"git:/r/a.c?x=1#y", "/r/a.c"},
                                           {"file:///100%", "/100%"},
                                           {"file:///%zz%4", "/%zz%4"},
                                           {"file:///a%00b", "/a%00b"},
                                           {"", ""}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        buffer path = {0};
        uri_to_path(&path, text_of(pairs[i][0]));
        assert_true(text_is(buffer_text(&path), pairs[i][1]));
        buffer_free(&path);
    }
    assert_true(text_is(path_below(TEXT("/w/a/b.c"), TEXT("/w/")), "a/b.c"));
    assert_int_equal(path_below(TEXT("/words/b.c"), TEXT("/w")).size, 0);
    assert_int_equal(path_below(TEXT("/w"), TEXT("/w")).size, 0);
    assert_true(text_is(path_file_name(TEXT("/w/a.c")), "a.c"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf16),      cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_utf32),      cmocka_unit_test(test_line_ends),
        cmocka_unit_test(test_surrogates), cmocka_unit_test(test_opened_again),
        cmocka_unit_test(test_long_line),  cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_memory),     cmocka_unit_test(test_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
