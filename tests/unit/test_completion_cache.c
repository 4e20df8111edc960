/* The completion cache against tables, and by random edits against one that keeps whole texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/random.h"
#include "lsp/assistant/completion_cache.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

/* `asked` and `now` have the cursor at "|"; `rest` NULL: the answer does not fit. */
struct example {
    const char *rule, *asked, *insert;
    size_t replace_bytes;
    const char *now, *rest;
    size_t replaces;
};

static const struct example examples[] = {
    {"the same place", "int x|\n", " = 1;", 0, "int x|\n", " = 1;", 0},
    {"typed along", "int x|\n", " = 1;", 0, "int x =|\n", " 1;", 0},
    {"typed to its last character", "int x|\n", " = 1;", 0, "int x = 1|\n", ";", 0},
    {"typed to its end", "int x|\n", " = 1;", 0, "int x = 1;|\n", NULL, 0},
    {"typed past its end", "int x|\n", " = 1;", 0, "int x = 1;;|\n", NULL, 0},
    {"typed something else", "int x|\n", " = 1;", 0, "int x +|\n", NULL, 0},
    {"taken back again", "int x|\n", " = 1;", 0, "int |\n", NULL, 0},
    {"the text above changed", "a\nint x|\n", " = 1;", 0, "b\nint x =|\n", NULL, 0},
    {"the text above grew", "a\nint x|\n", " = 1;", 0, "a\n\nint x =|\n", NULL, 0},
    {"the text below changed", "int x|\ny", " = 1;", 0, "int x =|\nz", NULL, 0},
    {"the text below grew", "int x|\ny", " = 1;", 0, "int x =|\nyy", NULL, 0},
    {"the text below shrank", "int x|\nyy", " = 1;", 0, "int x =|\ny", NULL, 0},
    {"what is replaced stays replaced", "f(|);\n", "a, b);", 2, "f(a|);\n", ", b);", 2},
    {"lines typed along", "{|\n}", "\n    a;\n    b;", 0, "{\n    a;\n|\n}", "    b;", 0},
    {"the editor indents", "{|\n}", "\n    a;", 0, "{\n    |\n}", "a;", 0},
    {"two bytes of one character", "x|\n", "\xC3\xA9t", 0, "x\xC3\xA9|\n", "t", 0},
    {"at the end of the text", "x|", "yz", 0, "xy|", "z", 0},
    {"in an empty text", "|", "yz", 0, "y|", "z", 0},
    /* Brackets the editor closes. */
    {"a bracket closed by the editor", "f|\n", "(a, b);", 0, "f(|)\n", "a, b);", 1},
    {"and typed on", "f|\n", "(a, b);", 0, "f(a, |)\n", "b);", 1},
    {"and its closer typed over", "f|\n", "(a, b);", 0, "f(a, b)|\n", ";", 0},
    {"two of them", "x|\n", " = f(g(1));", 0, "x = f(g(|))\n", "1));", 2},
    {"of two the outer one closed by hand", "x|\n", " = f(g(1));", 0, "x = f(g(1|)\n", "));", 1},
    {"one within what is replaced", "f(|);\n", "g[1]);", 2, "f(g[|]);\n", "1]);", 3},
    {"quotes", "s|\n", " = \"ab\";", 0, "s = \"|\"\n", "ab\";", 1},
    {"brackets within quotes", "s|\n", "(\"(\", x)", 0, "s(\"(|\")\n", "\", x)", 2},
    {"a closer that nothing opened", "f|\n", "(a, b);", 0, "f(|]\n", NULL, 0},
    {"a closer before anything opened", "f|\n", " (a);", 0, "f |)\n", NULL, 0},
    {"a closer the rest does not bring", "f|\n", "(a,\n  b);", 0, "f(|)\n", NULL, 0},
    {"a closer that was closed already", "f|\n", "(a) + (b);", 0, "f(a)|)\n", NULL, 0},
    {"more than a closer", "f|\n", "(a);", 0, "f(|) \n", NULL, 0},
    {"closers in the wrong order", "x|\n", "([1]);", 0, "x([|)]\n", NULL, 0},
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

static void example_check(const struct example *e)
{
    struct completion_cache cache = {0};
    char asked[256], now[256];
    size_t asked_at = gap_cut(asked, e->asked), now_at = gap_cut(now, e->now);
    struct completion_place place = completion_place_of(text_of(asked), asked_at);
    completion_cache_put(&cache, &place, text_of(e->insert), e->replace_bytes);
    text rest = {0};
    size_t replaces = 99;
    bool fits = completion_cache_get(&cache, text_of(now), now_at, &rest, &replaces);
    bool good = fits == (e->rest != NULL);
    if (good && fits) good = text_is(rest, e->rest) && replaces == e->replaces;
    if (!good)
        fail_msg("%s: \"%s\": found %d \"%.*s\" replacing %zu", e->rule, e->now, fits,
                 (int)rest.size, rest.bytes ? rest.bytes : "", replaces);
    completion_cache_free(&cache);
}

static void test_examples(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) example_check(&examples[i]);
}

static void test_nothing_kept(void **state)
{
    (void)state;
    struct completion_cache cache = {0};
    text rest;
    size_t replaces;
    assert_false(completion_cache_get(&cache, TEXT("ab"), 1, &rest, &replaces));
    struct completion_place place = completion_place_of(TEXT("ab"), 1);
    completion_cache_put(&cache, &place, TEXT("x"), 0);
    assert_false(completion_cache_get(&cache, TEXT("ab"), 3, &rest, &replaces)); /* no such place */
    completion_cache_put(&cache, &place, TEXT(""), 0);
    assert_false(completion_cache_get(&cache, TEXT("ab"), 1, &rest, &replaces));
    completion_cache_free(&cache);
}

static void test_no_memory(void **state)
{
    (void)state;
    struct completion_cache cache = {0};
    struct completion_place place = completion_place_of(TEXT("ab"), 1);
    text rest;
    size_t replaces;
    memory_fail_at(1);
    completion_cache_put(&cache, &place, TEXT("long"), 0);
    memory_fail_at(0);
    assert_false(completion_cache_get(&cache, TEXT("ab"), 1, &rest, &replaces));
    completion_cache_put(&cache, &place, TEXT("long"), 0);
    assert_true(completion_cache_get(&cache, TEXT("ab"), 1, &rest, &replaces));
    completion_cache_free(&cache);
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
    struct completion_cache cache = {0};
    for (int round = 0; round < ROUNDS; round++) {
        char content[512] = "abba\nab", insert[32] = "", behind[512];
        size_t cursor = below(&seed, 8), size = below(&seed, 8);
        for (size_t i = 0; i < size; i++) insert[i] = (char)('a' + (char)below(&seed, 2));
        size_t replace = below(&seed, 8 - cursor);
        struct naive naive;
        strcpy(behind, content + cursor);
        naive_put(&naive, text_of(content), cursor, text_of(insert), replace);
        struct completion_place place = completion_place_of(text_of(content), cursor);
        completion_cache_put(&cache, &place, text_of(insert), replace);
        for (int i = 0; i < EDITS; i++) {
            char expected[512] = "";
            text rest = {0};
            size_t replaces = 0;
            bool fits = naive_get(&naive, text_of(content), cursor, behind, expected);
            assert_int_equal(
                completion_cache_get(&cache, text_of(content), cursor, &rest, &replaces), fits);
            if (fits) assert_true(text_is(rest, expected) && replaces == replace);
            n_hits += fits;
            n_misses += !fits;
            random_edit(&seed, content, &cursor, fits ? expected : "");
        }
    }
    assert_true(n_hits > 5000 && n_misses > 10000);
    completion_cache_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples),     cmocka_unit_test(test_nothing_kept),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_places),
        cmocka_unit_test(test_random_edits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
