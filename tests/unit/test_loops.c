/* Models in loops: what counts as one, and what is only regular. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include "context/loops.h"

#include <cmocka.h>

static bool said(bool (*loops)(text), const char *before, const char *circle, int n)
{
    buffer all = {0};
    buffer_put_text(&all, text_of(before));
    for (int i = 0; i < n; i++) buffer_put_text(&all, text_of(circle));
    bool found = loops(buffer_text(&all));
    buffer_free(&all);
    return found;
}

static void test_in_line(void **state)
{
    (void)state;
    assert_true(said(loops_in_line, "x = ", "(*", 40));
    assert_true(said(loops_in_line, "x = ", "abcdefghijklmnopqrstuvwxyz012345", 10));
    assert_false(said(loops_in_line, "x = ", "(*", 20)); /* 40 bytes */
    assert_false(said(loops_in_line, "x = ", "abcdefghijklmnopqrstuvwxyz0123456", 10));
    assert_false(said(loops_in_line, "# ", "-", 100));
    assert_true(said(loops_in_line, "# ", "-", 300));
    assert_false(loops_in_line(TEXT("")));
    assert_false(
        loops_in_line(TEXT("int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t;")));
}

static void test_in_prose(void **state)
{
    static const char sentence[] = "It adds the values of the list, one after the other.\n";
    (void)state;
    assert_false(said(loops_in_prose, "Well. ", sentence, 3));
    assert_true(said(loops_in_prose, "Well. ", sentence, 4));
    assert_true(said(loops_in_prose, "", "(*", 40));
    assert_false(
        loops_in_prose(TEXT("- one thing\n- another thing\n- one more thing\n- and one thing\n")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_line),
                                       cmocka_unit_test(test_in_prose)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
