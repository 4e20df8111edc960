/* Whole characters out of pieces, and JSON strings. */
#include <math.h>
#include <string.h>

#include "base/utf.h"
#include "inference/service/json_write.h"
#include "inference/service/utf8_hold.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Behind our headers: it has a macro named fail. */
#include <cmocka.h>

#define R "\xEF\xBF\xBD"

/* Expected by Unicode 15, tables 3-8 to 3-11 (U+FFFD for each maximal ill-formed part). */
static const struct {
    const char *bytes, *expected;
} cases[] = {
    {"plain", "plain"},
    {"\xE2\x82\xAC", "\xE2\x82\xAC"},
    {"a\xF0\x9F\x98\x80z", "a\xF0\x9F\x98\x80z"},
    {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", R R R R R R R R "A"},   /* table 3-8 */
    {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", R R R R R R R R "A"},   /* table 3-9 */
    {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", R R R R R "A" R R "B"}, /* table 3-10 */
    {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", R R R R "A"},           /* table 3-11 */
    {"\xE2\x82", R},
    {"\xE2\x82(", R "("},
    {"\xF0\x9F\x98", R},
};

static void put_in_steps(const char *bytes, size_t step, buffer *out)
{
    struct utf8_hold hold = {0};
    for (size_t at = 0; at < strlen(bytes); at += step) {
        utf8_hold_put(&hold, out, text_slice(text_of(bytes), at, at + step));
        assert_true(utf8_valid(buffer_text(out)) || strstr(out->bytes, R));
    }
    utf8_hold_end(&hold, out);
}

static void test_hold_any_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= 5; step++) {
            buffer out = {0};
            put_in_steps(cases[i].bytes, step, &out);
            assert_string_equal(out.bytes, cases[i].expected);
            buffer_free(&out);
        }
}

/* Nothing whole is held back: a character leaves with its last byte. */
static void test_hold_is_prompt(void **state)
{
    (void)state;
    struct utf8_hold hold = {0};
    buffer out = {0};
    utf8_hold_put(&hold, &out, TEXT("ab\xE2"));
    assert_int_equal(out.size, 2);
    utf8_hold_put(&hold, &out, TEXT("\x82"));
    assert_int_equal(out.size, 2);
    utf8_hold_put(&hold, &out, TEXT("\xAC"));
    assert_int_equal(out.size, 5);
    buffer_free(&out);
}

static void test_json_string(void **state)
{
    (void)state;
    static const struct {
        text value;
        const char *expected;
    } rows[] = {
        {{"", 0}, "\"\""},
        {{"a\"b\\c", 5}, "\"a\\\"b\\\\c\""},
        {{"\n\r\t", 3}, "\"\\n\\r\\t\""},
        {{"\0\x1f\x7f", 3}, "\"\\u0000\\u001f\x7f\""},
        {{"\xE2\x82\n\xAC", 4}, "\"" R "\\n" R "\""},
        {{"\xC3\xA9", 2}, "\"\xC3\xA9\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer out = {0};
        json_put_string(&out, rows[i].value);
        assert_string_equal(out.bytes, rows[i].expected);
        buffer_free(&out);
    }
}

static void test_json_number(void **state)
{
    (void)state;
    buffer out = {0};
    json_put_number(&out, -0.25);
    buffer_put_char(&out, ' ');
    json_put_number(&out, (double)NAN);
    buffer_put_char(&out, ' ');
    json_put_number(&out, -(double)INFINITY);
    assert_string_equal(out.bytes, "-0.25 null -1.79769313e+308");
    buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hold_any_cut),
        cmocka_unit_test(test_hold_is_prompt),
        cmocka_unit_test(test_json_string),
        cmocka_unit_test(test_json_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
