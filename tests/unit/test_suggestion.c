/* Suggestions against tables, and by random edits against one that keeps whole texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lsp/assistant/suggestion.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

/* `asked` and `now` have the cursor at "|"; `rest` NULL: the answer does not fit. */
struct example {
    const char *rule, *asked, *insert;
    size_t replace_bytes;
    const char *now, *rest;
    size_t replaces, indentation; /* bytes behind and before the cursor that it stands for */
};

static const struct example examples[] = {
    {"the same place", "int x|\n", " = 1;", 0, "int x|\n", " = 1;", 0, 0},
    {"typed along", "int x|\n", " = 1;", 0, "int x =|\n", " 1;", 0, 0},
    {"typed to its last character", "int x|\n", " = 1;", 0, "int x = 1|\n", ";", 0, 0},
    {"typed to its end", "int x|\n", " = 1;", 0, "int x = 1;|\n", NULL, 0, 0},
    {"typed past its end", "int x|\n", " = 1;", 0, "int x = 1;;|\n", NULL, 0, 0},
    {"typed something else", "int x|\n", " = 1;", 0, "int x +|\n", NULL, 0, 0},
    {"taken back again", "int x|\n", " = 1;", 0, "int |\n", NULL, 0, 0},
    {"the text above changed", "a\nint x|\n", " = 1;", 0, "b\nint x =|\n", NULL, 0, 0},
    {"the text above grew", "a\nint x|\n", " = 1;", 0, "a\n\nint x =|\n", NULL, 0, 0},
    {"the text below changed", "int x|\ny", " = 1;", 0, "int x =|\nz", NULL, 0, 0},
    {"the text below grew", "int x|\ny", " = 1;", 0, "int x =|\nyy", NULL, 0, 0},
    {"the text below shrank", "int x|\nyy", " = 1;", 0, "int x =|\ny", NULL, 0, 0},
    {"what is replaced stays replaced", "f(|);\n", "a, b);", 2, "f(a|);\n", ", b);", 2, 0},
    {"lines typed along", "{|\n}", "\n    a;\n    b;", 0, "{\n    a;\n|\n}", "    b;", 0, 0},
    {"the editor indents", "{|\n}", "\n    a;", 0, "{\n    |\n}", "a;", 0, 0},
    {"two bytes of one character", "x|\n", "\xC3\xA9t", 0, "x\xC3\xA9|\n", "t", 0, 0},
    {"at the end of the text", "x|", "yz", 0, "xy|", "z", 0, 0},
    {"in an empty text", "|", "yz", 0, "y|", "z", 0, 0},
    /* Brackets the editor closes. */
    {"a bracket closed by the editor", "f|\n", "(a, b);", 0, "f(|)\n", "a, b);", 1, 0},
    {"and typed on", "f|\n", "(a, b);", 0, "f(a, |)\n", "b);", 1, 0},
    {"and its closer typed over", "f|\n", "(a, b);", 0, "f(a, b)|\n", ";", 0, 0},
    {"two of them", "x|\n", " = f(g(1));", 0, "x = f(g(|))\n", "1));", 2, 0},
    {"of two the outer one closed by hand", "x|\n", " = f(g(1));", 0, "x = f(g(1|)\n", "));", 1, 0},
    {"one within what is replaced", "f(|);\n", "g[1]);", 2, "f(g[|]);\n", "1]);", 3, 0},
    {"quotes", "s|\n", " = \"ab\";", 0, "s = \"|\"\n", "ab\";", 1, 0},
    {"brackets within quotes", "s|\n", "(\"(\", x)", 0, "s(\"(|\")\n", "\", x)", 2, 0},
    {"brackets the editor closes within quotes", "s|\n", "(f\"{a}b\")", 0, "s(f\"{|}\")\n",
     "a}b\")", 3, 0},
    {"and typed over", "s|\n", "(f\"{a}b\")", 0, "s(f\"{a}|\")\n", "b\")", 2, 0},
    {"an apostrophe in words", "x|\n", " /* don't (a) */", 0, "x /* don't (|)\n", "a) */", 1, 0},
    {"a closer that nothing opened", "f|\n", "(a, b);", 0, "f(|]\n", NULL, 0, 0},
    {"a closer before anything opened", "f|\n", " (a);", 0, "f |)\n", NULL, 0, 0},
    {"a closer the rest does not bring", "f|\n", "(a, b", 0, "f(|)\n", "a, b", 1, 0},
    {"a closer further down", "f|\n", "(a,\n  b);", 0, "f(|)\n", "a,\n  b);", 1, 0},
    {"not the closer of an inner one", "f|\n", "((a)", 0, "f(|)\n", "(a)", 1, 0},
    {"a line below that says something", "f|\n", "(a)", 0, "f(|\nx)\n", NULL, 0, 0},
    {"a block goes on", "f()|\n", " {\n    a;", 0, "f() {\n    |\n}\n", "a;", 0, 0},
    {"over a closer that stays", "f(|'];", "'a", 0, "f('|];", "a", 0, 0},
    {"over a word that stays", "f(|x];", "xa", 0, "f(x|];", NULL, 0, 0},
    {"a block's brace", "f()|\n", " {\n    a;\n}", 0, "f() {|}\n", "\n    a;\n}", 1, 0},
    {"Enter within braces", "f()|\n", " {\n    a;\n}", 0, "f() {\n    |\n}\n", "a;", 0, 0},
    {"and typed on", "f()|\n", " {\n    a;\n}", 0, "f() {\n    a|\n}\n", ";", 0, 0},
    {"and to the end", "f()|\n", " {\n    a;\n}", 0, "f() {\n    a;|\n}\n", NULL, 0, 0},
    {"Enter within two brackets", "f|\n", "({\n    a\n});", 0, "f({\n    |\n})\n", "a", 0, 0},
    {"a closer on its line and one below", "f|\n", "({\n    g(1)\n})", 0, "f({\n    g(|)\n})\n",
     "1)", 1, 0},

    {"Enter without a closer", "f|\n", "(\n    a)", 0, "f(\n    |\n\n", NULL, 0, 0},
    {"a closer typed over that stood there", "f(|);\n", "a, b);", 2, "f(a, b)|;\n", ";", 1, 0},
    {"a word behind is not typed over", "f(| x);\n", "a, b x);", 4, "f(a, b|x);\n", NULL, 0, 0},
    {"the editor indents deeper", "if (a)|\n", "\n  b;\nc;", 0, "if (a)\n  b;\n  |\n", "c;", 0, 2},
    {"and by tabs", "if (a)|\n", "\n  b;", 0, "if (a)\n\t|\n", "  b;", 0, 1},
    {"the editor indents less", "if (a)|\n", "\n    b;", 0, "if (a)\n  |\n", "  b;", 0, 0},
    {"typed with another indentation", "if (a)|\n", "\n    b;", 0, "if (a)\n  b|\n", NULL, 0, 0},
    {"a blank line keeps its indentation", "{|\n", "\n\n  b;", 0, "{\n  \n  |\n", "b;", 0, 0},
    {"a blank line loses it", "{|\n", "\n  \n  b;", 0, "{\n\n  |\n", "b;", 0, 0},
    {"deeper only after Enter", "x|\n", "y", 0, "x  |\n", NULL, 0, 0},
    {"line ends of Windows", "{|\r\n}", "\r\n  a;", 0, "{\r\n  |\r\n}", "a;", 0, 0},
    {"a closer that was closed already", "f|\n", "(a) + (b);", 0, "f(a)|)\n", NULL, 0, 0},
    {"more than a closer", "f|\n", "(a);", 0, "f(|) \n", NULL, 0, 0},
    {"closers in the wrong order", "x|\n", "([1]);", 0, "x([|)]\n", NULL, 0, 0},
};

static size_t gap_cut(char *out, const char *with_gap)
{
    const char *gap = strchr(with_gap, '|');
    assert_non_null(gap);
    size_t at = (size_t)(gap - with_gap);
    memcpy(out, with_gap, at);
    strcpy(out + at, gap + 1);
    return at;
}

static bool left_of(const struct suggestion *s, text content, size_t cursor, text *rest,
                    size_t *replaces)
{
    struct suggestion_left left;
    if (!suggestion_left(s, content, cursor, &left)) return false;
    *rest = left.rest;
    *replaces = left.behind_bytes;
    return true;
}

static void example_check(const struct example *e)
{
    struct suggestion cache = {0};
    struct suggestion_left left;
    char asked[256], now[256];
    size_t asked_at = gap_cut(asked, e->asked), now_at = gap_cut(now, e->now);
    suggestion_put(&cache, text_of(asked), asked_at, text_of(e->insert), e->replace_bytes);
    bool fits = suggestion_left(&cache, text_of(now), now_at, &left);
    bool good = fits == (e->rest != NULL);
    if (!fits) left = (struct suggestion_left){0};
    if (good && fits)
        good = text_is(left.rest, e->rest) && left.behind_bytes == e->replaces &&
               left.before_bytes == e->indentation;
    if (!good)
        fail_msg("%s: \"%s\": found %d \"%.*s\" for %zu and %zu", e->rule, e->now, fits,
                 (int)left.rest.size, left.rest.bytes ? left.rest.bytes : "", left.before_bytes,
                 left.behind_bytes);
    suggestion_free(&cache);
}

static void test_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) example_check(&examples[i]);
}

static void test_nothing_kept(void **state)
{
    (void)state;
    struct suggestion cache = {0};
    text rest;
    size_t replaces;
    assert_false(left_of(&cache, TEXT("ab"), 1, &rest, &replaces));
    suggestion_put(&cache, TEXT("ab"), 1, TEXT("x"), 0);
    assert_false(left_of(&cache, TEXT("ab"), 3, &rest, &replaces)); /* no such place */
    suggestion_put(&cache, TEXT("ab"), 1, TEXT(""), 0);
    assert_false(left_of(&cache, TEXT("ab"), 1, &rest, &replaces));
    suggestion_free(&cache);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct suggestion cache = {0};
    text rest;
    size_t replaces;
    memory_fail_at(1);
    suggestion_put(&cache, TEXT("ab"), 1, TEXT("long"), 0);
    memory_fail_at(0);
    assert_false(left_of(&cache, TEXT("ab"), 1, &rest, &replaces));
    suggestion_put(&cache, TEXT("ab"), 1, TEXT("long"), 0);
    assert_true(left_of(&cache, TEXT("ab"), 1, &rest, &replaces));
    suggestion_free(&cache);
}

static void test_places(void **state)
{
    (void)state;
    struct completion_place a = completion_place_of(TEXT("ab\nc"), 2);
    static const struct {
        const char *content;
        size_t cursor;
        bool equal;
    } others[] = {
        {"ab\nc", 2, true},  {"ab\nc", 3, false}, {"aB\nc", 2, false},
        {"ab\nC", 2, false}, {"ab\n", 2, false},  {"ab\ncc", 2, false},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct completion_place b =
            completion_place_of(text_of(others[i].content), others[i].cursor);
        assert_int_equal(completion_place_equal(&a, &b), others[i].equal);
    }
}

/* What became of a suggestion, from the text alone. */
static void test_fates(void **state)
{
    (void)state;
    static const struct {
        const char *asked, *insert, *now;
        enum suggestion_fate fate;
    } rows[] = {
        {"int x|\n", " = 1;", "int x|\n", SUGGESTION_HOLDS},
        {"int x|\n", " = 1;", "int x =|\n", SUGGESTION_HOLDS},
        {"int x|\n", " = 1;", "int x = 1;|\n", SUGGESTION_DONE},
        {"int x|\n", " = 1;", "int x = 1;\ny|\n", SUGGESTION_DONE},
        {"int x|\n", " = 1;", "int x +|\n", SUGGESTION_CONTRADICTED},
        {"int x|\n", " = 1;", "int x = 2|\n", SUGGESTION_CONTRADICTED},
        {"int x|\n", " = 1;", "int |\n", SUGGESTION_ELSEWHERE},
        {"int x|\n", " = 1;", "imt x|\n", SUGGESTION_ELSEWHERE},
        {"int x|\n", " = 1;", "int x|\n\n", SUGGESTION_ELSEWHERE},
        {"f()|\n", " {\n  a;\n}", "f() {\n  a;|\n}\n", SUGGESTION_DONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct suggestion s = {0};
        char asked[256], now[256];
        size_t asked_at = gap_cut(asked, rows[i].asked), now_at = gap_cut(now, rows[i].now);
        suggestion_put(&s, text_of(asked), asked_at, text_of(rows[i].insert), 0);
        if (suggestion_fate(&s, text_of(now), now_at) != rows[i].fate)
            fail_msg("\"%s\" after \"%s\": not fate %d", rows[i].now, rows[i].insert,
                     (int)rows[i].fate);
        suggestion_free(&s);
    }
}

/* While only a beginning is known. */
static void test_may_hold(void **state)
{
    (void)state;
    static const struct {
        const char *asked, *beginning, *now;
        bool may;
    } rows[] = {
        {"int x|\n", "", "int x|\n", true},       {"int x|\n", "", "int x = 1|\n", true},
        {"int x|\n", " =", "int x = 1|\n", true}, {"int x|\n", " = 2", "int x = 1|\n", false},
        {"int x|\n", " = 2", "int x|\n", true},   {"int x|\n", "", "int |\n", false},
        {"int x|\n", "", "int x|;\n", false},     {"f|\n", "", "f(|)\n", true},
        {"f|\n", "(a", "f(|)\n", true},           {"f|\n", "[a", "f(|)\n", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char asked[256], now[256];
        size_t asked_at = gap_cut(asked, rows[i].asked), now_at = gap_cut(now, rows[i].now);
        struct completion_place place = completion_place_of(text_of(asked), asked_at);
        if (suggestion_may_hold(&place, text_of(rows[i].beginning), text_of(now), now_at) !=
            rows[i].may)
            fail_msg("\"%s\" after \"%s\": not %d", rows[i].now, rows[i].beginning, rows[i].may);
    }
}

static size_t below(uint64_t *seed, size_t n) { return (size_t)(random_mix(++*seed) % n); }

/* The naive cache: the whole text as it was, and what it would be with the answer in it. It fits
 * where putting the rest into the text as it is now gives exactly that. */
struct naive {
    char accepted[512];
    size_t from, insert_size, replace_bytes, behind_bytes;
    bool kept;
};

static void naive_put(struct naive *n, text content, size_t cursor, text insert, size_t replace)
{
    *n = (struct naive){.from = cursor,
                        .insert_size = insert.size,
                        .replace_bytes = replace,
                        .behind_bytes = content.size - cursor,
                        .kept = insert.size > 0};
    snprintf(n->accepted, sizeof n->accepted, "%.*s%.*s%.*s", (int)cursor, content.bytes,
             (int)insert.size, insert.bytes, (int)(content.size - cursor - replace),
             content.bytes + cursor + replace);
}

/* Without closers of the editor: whether the answer fits, by trying it. `behind` is what stood
 * behind the place, which acceptance alone does not show where it replaces. */
static bool naive_get(const struct naive *n, text content, size_t cursor, const char *behind,
                      char *rest)
{
    if (!n->kept || cursor < n->from || cursor >= n->from + n->insert_size) return false;
    if (strcmp(content.bytes + cursor, behind) != 0) return false;
    size_t left = n->insert_size - (cursor - n->from);
    snprintf(rest, 512, "%.*s", (int)left, n->accepted + cursor);
    char now[512];
    snprintf(now, sizeof now, "%.*s%s%s", (int)cursor, content.bytes, rest,
             content.bytes + cursor + n->replace_bytes);
    return strcmp(now, n->accepted) == 0;
}

static void text_edit(char *content, size_t from, size_t to, const char *by)
{
    char out[512];
    snprintf(out, sizeof out, "%.*s%s%s", (int)from, content, by, content + to);
    strcpy(content, out);
}

/* Mostly what the answer says next, so that there are hits; few letters, so that there are
 * coincidences. No brackets: their rule stands in the table. */
static void random_edit(uint64_t *seed, char *content, size_t *cursor, const char *next)
{
    size_t size = strlen(content), at = below(seed, size + 1);
    char letter[2] = {(char)('a' + (char)below(seed, 2)), 0};
    switch (below(seed, 40)) {
    case 0: /* elsewhere */
        if (size < 40) text_edit(content, at, at, letter);
        if (at < *cursor) ++*cursor;
        break;
    case 1:
        if (at < size) text_edit(content, at, at + 1, letter);
        break;
    case 2: *cursor = at; break;
    case 3:
    case 4: /* back */
        if (*cursor == 0) break;
        text_edit(content, *cursor - 1, *cursor, "");
        --*cursor;
        break;
    default:
        if (size >= 60) break;
        if (*next && below(seed, 4)) letter[0] = *next;
        text_edit(content, *cursor, *cursor, letter);
        ++*cursor;
    }
    if (*cursor > strlen(content)) *cursor = strlen(content);
}

static void test_random_edits(void **state)
{
    (void)state;
    enum { ROUNDS = 4000, EDITS = 40 };
    uint64_t seed = 20;
    size_t n_hits = 0, n_misses = 0;
    struct suggestion cache = {0};
    for (int round = 0; round < ROUNDS; round++) {
        char content[512] = "abba\nab", insert[32] = "", behind[512];
        size_t cursor = below(&seed, 8), size = below(&seed, 8);
        for (size_t i = 0; i < size; i++) insert[i] = (char)('a' + (char)below(&seed, 2));
        size_t replace = below(&seed, 8 - cursor);
        struct naive naive;
        strcpy(behind, content + cursor);
        naive_put(&naive, text_of(content), cursor, text_of(insert), replace);
        suggestion_put(&cache, text_of(content), cursor, text_of(insert), replace);
        for (int i = 0; i < EDITS; i++) {
            char expected[512] = "";
            text rest = {0};
            size_t replaces = 0;
            bool fits = naive_get(&naive, text_of(content), cursor, behind, expected);
            assert_int_equal(left_of(&cache, text_of(content), cursor, &rest, &replaces), fits);
            if (fits) assert_true(text_is(rest, expected) && replaces == replace);
            n_hits += fits;
            n_misses += !fits;
            random_edit(&seed, content, &cursor, fits ? expected : "");
        }
    }
    assert_true(n_hits > 5000 && n_misses > 10000);
    suggestion_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),     cmocka_unit_test(test_nothing_kept),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_places),
        cmocka_unit_test(test_random_edits), cmocka_unit_test(test_fates),
        cmocka_unit_test(test_may_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
