/* Accepted texts followed through changes: each row's edits are applied to the text and told, and
 * whether the accepted word still stands is read off the text by the reader of this table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lsp/assistant/outcomes.h"
#include "lsp/assistant/statistics.h"

#include <cmocka.h>

enum { SECOND = 1000000 };

struct edit {
    size_t from, n_removed;
    const char *by; /* NULL: none */
};

/* "one accepted two": the accepted text is at 4. */
static const struct {
    const char *rule;
    struct edit edits[3];
    bool kept;
} rows[] = {
    {"nothing happens", {{0, 0, NULL}}, true},
    {"typed before it", {{0, 0, "zero "}}, true},
    {"removed before it", {{0, 4, ""}}, true},
    {"typed behind it", {{16, 0, " three"}}, true},
    {"typed right behind it", {{12, 0, "!"}}, true},
    {"typed within it", {{8, 0, "x"}}, false},
    {"removed", {{4, 9, ""}}, false},
    {"its end removed", {{10, 4, ""}}, false},
    {"its beginning removed", {{2, 4, ""}}, false},
    {"changed and changed back", {{8, 0, "x"}, {8, 1, ""}}, true},
    {"all replaced by the same", {{0, 16, "ONE accepted TWO"}}, true},
    {"all replaced by something else", {{0, 16, "other"}}, false},
    {"the same word elsewhere before it is not it", {{4, 9, ""}, {0, 0, "accepted"}}, false},
};

static void edit_apply(char *content, const struct edit *e)
{
    char out[256];
    snprintf(out, sizeof out, "%.*s%s%s", (int)e->from, content, e->by,
             content + e->from + e->n_removed);
    strcpy(content, out);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcomes o = {0};
        struct assistant_counters n = {0};
        char content[256] = "one accepted two";
        outcomes_accept(&o, 3, TEXT(" accepted"), SECOND);
        for (int k = 0; k < 3 && rows[i].edits[k].by; k++) {
            const struct edit *e = &rows[i].edits[k];
            outcomes_edit(&o, e->from, e->n_removed, strlen(e->by));
            edit_apply(content, e);
        }
        outcomes_check(&o, text_of(content), 31 * SECOND + SECOND / 2, &n);
        if (n.kept_30_s != rows[i].kept || n.lost_30_s != !rows[i].kept)
            fail_msg("%s: kept %lld, lost %lld", rows[i].rule, (long long)n.kept_30_s,
                     (long long)n.lost_30_s);
        outcomes_free(&o);
    }
}

static void test_times(void **state)
{
    (void)state;
    struct outcomes o = {0};
    struct assistant_counters n = {0};
    text content = TEXT("accepted");
    assert_true(outcomes_next_us(&o) == INT64_MAX);
    outcomes_accept(&o, 0, content, 0);
    assert_int_equal(outcomes_next_us(&o), 30 * SECOND);
    outcomes_check(&o, content, 29 * SECOND, &n);
    assert_int_equal(n.kept_30_s, 0);
    outcomes_check(&o, content, 30 * SECOND, &n);
    assert_int_equal(n.kept_30_s, 1);
    assert_int_equal(outcomes_next_us(&o), 120 * SECOND);
    outcomes_check(&o, TEXT("changed"), 130 * SECOND, &n);
    assert_int_equal(outcomes_next_us(&o), 600 * SECOND);
    assert_int_equal(n.lost_600_s, 0);
    outcomes_check(&o, TEXT("changed"), 700 * SECOND, &n);
    outcomes_check(&o, content, 900 * SECOND, &n);
    assert_int_equal(n.lost_120_s, 1);
    assert_int_equal(n.lost_600_s, 1);
    assert_int_equal(n.kept_120_s + n.kept_600_s, 0);
    assert_true(outcomes_next_us(&o) == INT64_MAX);
    outcomes_free(&o);
}

static void test_lines(void **state)
{
    (void)state;
    struct assistant_counters now = {.shown = 7, .accepted = 2}, before = {.shown = 4};
    buffer line = {0};
    statistics_line(&line, &now, &before, 1764000000);
    assert_string_equal(line.bytes,
                        "{\"time\":1764000000,\"counters\":{\"shown\":3,\"accepted\":2}}\n");
    buffer_clear(&line);
    statistics_line(&line, &now, &now, 1764000000);
    assert_int_equal(line.size, 0);
    buffer_free(&line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows), cmocka_unit_test(test_times),
                                       cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
