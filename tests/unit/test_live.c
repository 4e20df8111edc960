/* A parse that follows edits: it says what a fresh parse of the same text says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/utf.h"
#include "context/syntax_live.h"
#include "context/tags.h"
#include "lsp/server/documents.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

enum { PATIENCE = 100000, STEP_US = 100 };

static const char *const sources[] = {"tests/fixtures/shelf.py",  "tests/fixtures/queue.js",
                                      "tests/fixtures/matrix.go", "tests/fixtures/words.rs",
                                      "tests/fixtures/shapes.ts", "tests/fixtures/stack.lua",
                                      "tests/fixtures/backup.sh", "base/utf.c"};
enum { SOURCES = sizeof sources / sizeof *sources };

static const struct language *language_at_path(const char *path)
{
    return language_find(TEXT(""), text_of(path));
}

static syntax *fresh_parse(const char *path, text content)
{
    syntax *s = NULL;
    for (int tries = 0; !s && tries < 50; tries++)
        if (syntax_parse(&s, language_at_path(path), content, NULL) != OK) s = NULL;
    assert_non_null(s);
    return s;
}

static const syntax *finish(live_syntax *l, text content)
{
    int steps = 0;
    while (!live_syntax_go_on(l, content, STEP_US) && steps < PATIENCE) steps++;
    assert_true(steps < PATIENCE);
    return live_syntax_tree(l);
}

static void splice(live_syntax *l, buffer *content, size_t from, size_t to, text with)
{
    buffer next = {0};
    text all = buffer_text(content);
    live_syntax_edit(l, all, from, to, with);
    assert_null(live_syntax_tree(l));
    buffer_put_text(&next, text_slice(all, 0, from));
    buffer_put_text(&next, with);
    buffer_put_text(&next, text_slice(all, to, all.size));
    buffer_free(content);
    *content = next;
}

/* The lines on which definitions stand. */
static void lines_put(buffer *out, const char *path, const syntax *s, text content)
{
    tagger *t;
    struct tags tags;
    const struct language *l = language_at_path(path);
    if (!tagger_knows(l)) return;
    assert_int_equal(tagger_open(&t, NULL), OK);
    assert_int_equal(tags_read_outline(&tags, t, l, content, s, 0, content.size, NULL), OK);
    for (size_t i = 0; i < tags.n_definitions; i++)
        buffer_print(out, "%u %u\n", tags.definitions[i].line, tags.definitions[i].from);
    tags_free(&tags);
    tagger_close(t);
}

static void assert_same(const char *path, const syntax *live, text content)
{
    syntax *fresh = fresh_parse(path, content);
    buffer lines = {0}, expected = {0};
    size_t n = syntax_error_count(fresh, 0, SIZE_MAX);
    /* Where a text has errors, what is kept of the tree before may repair it in another way. */
    assert_int_equal(syntax_error_count(live, 0, SIZE_MAX) == 0, n == 0);
    for (size_t at = 0; n == 0 && at <= content.size; at += 7) {
        size_t a[3] = {0}, b[3] = {0};
        assert_int_equal(syntax_enclosing_block(live, at, &a[0], &a[1]),
                         syntax_enclosing_block(fresh, at, &b[0], &b[1]));
        assert_int_equal(syntax_statement_end(live, at, &a[2]),
                         syntax_statement_end(fresh, at, &b[2]));
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(syntax_in_string(live, at), syntax_in_string(fresh, at));
    }
    if (n == 0) {
        lines_put(&lines, path, live, content);
        lines_put(&expected, path, fresh, content);
        assert_true(text_equal(buffer_text(&lines), buffer_text(&expected)));
    }
    buffer_free(&lines);
    buffer_free(&expected);
    syntax_free(fresh);
}

/* A piece is taken out and put back: in between the text is broken, and then it is whole again. */
static void test_edits_are_followed(void **state)
{
    (void)state;
    size_t n_whole = 0;
    for (size_t i = 0; i < SOURCES; i++) {
        buffer content = {0};
        error err;
        assert_int_equal(file_read(&content, sources[i], MIB, &err), OK);
        live_syntax *l = live_syntax_open(language_at_path(sources[i]));
        assert_null(live_syntax_tree(l));
        n_whole += syntax_error_count(finish(l, buffer_text(&content)), 0, SIZE_MAX) == 0;
        for (uint64_t k = 0; k < 25; k++) {
            text all = buffer_text(&content);
            size_t from = utf8_floor(all, random_at(i, k) % all.size);
            size_t to = utf8_floor(all, from + random_at(i + 50, k) % 200);
            if (to < from || to > all.size) to = all.size;
            buffer taken = {0};
            buffer_put_text(&taken, text_slice(all, from, to));
            splice(l, &content, from, to, TEXT(""));
            if (k % 3 == 0)
                assert_same(sources[i], finish(l, buffer_text(&content)), buffer_text(&content));
            if (k % 3 == 1) live_syntax_go_on(l, buffer_text(&content), 0); /* and is interrupted */
            splice(l, &content, from, from, buffer_text(&taken));
            assert_same(sources[i], finish(l, buffer_text(&content)), buffer_text(&content));
            buffer_free(&taken);
        }
        live_syntax_close(l);
        buffer_free(&content);
    }
    assert_int_equal(n_whole, SOURCES);
}

static void test_a_shared_tree_stays(void **state)
{
    (void)state;
    buffer content = {0};
    char copy[] = "int f(void) { return 1; }\n";
    buffer_put_text(&content, text_of(copy));
    live_syntax *l = live_syntax_open(language_at_path("a.c"));
    syntax *kept = syntax_share(finish(l, buffer_text(&content)), text_of(copy));
    splice(l, &content, 4, 5, TEXT("("));
    assert_true(syntax_error_count(finish(l, buffer_text(&content)), 0, SIZE_MAX) > 0);
    live_syntax_close(l);
    buffer_free(&content);
    assert_int_equal(syntax_error_count(kept, 0, SIZE_MAX), 0);
    assert_int_equal(syntax_errors_with(kept, 4, 5, TEXT("g")), 0);
    assert_true(syntax_errors_with(kept, 12, 25, TEXT("{")) > 0);
    syntax_free(kept);
    assert_null(syntax_share(NULL, TEXT("")));
}

static void test_what_is_not_parsed(void **state)
{
    (void)state;
    assert_null(live_syntax_open(NULL));
    assert_null(live_syntax_open(language_at_path("Makefile")));
    live_syntax_edit(NULL, TEXT("x"), 0, 1, TEXT(""));
    live_syntax_reset(NULL);
    live_syntax_close(NULL);
    assert_true(live_syntax_go_on(NULL, TEXT("x"), 1));
    assert_null(live_syntax_tree(NULL));
    buffer large = {0};
    while (large.size <= DOCUMENT_PARSE_MAX) buffer_put_text(&large, TEXT("int x;\n"));
    live_syntax *l = live_syntax_open(language_at_path("a.c"));
    assert_true(live_syntax_go_on(l, buffer_text(&large), STEP_US));
    assert_null(live_syntax_tree(l));
    /* It shrinks: then it has a tree. */
    splice(l, &large, 7, large.size, TEXT(""));
    assert_non_null(finish(l, buffer_text(&large)));
    live_syntax_close(l);
    buffer_free(&large);
}

/* A step ends soon, and so do all of them together, whatever the text is. */
static void test_steps_are_bounded(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{", "a[", "f(){", "\"", "if(x)"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        buffer b = {0};
        while (b.size < MIB / 8) buffer_put_text(&b, text_of(pieces[i]));
        live_syntax *l = live_syntax_open(language_at_path("a.c"));
        /* So much is not parsed within no time at all. */
        assert_false(live_syntax_go_on(l, buffer_text(&b), 0));
        finish(l, buffer_text(&b));
        live_syntax_close(l);
        buffer_free(&b);
    }
}

static document *open_one(documents *all, size_t i, text language_id, text content)
{
    char uri[40];
    document *d;
    snprintf(uri, sizeof uri, "file:///%zu", i);
    assert_int_equal(documents_add(all, &d, text_of(uri), language_id, 1, content, NULL), OK);
    return d;
}

static size_t n_trees(const documents *all)
{
    size_t n = 0;
    const document *d;
    for (size_t i = 0; (d = documents_at(all, i)); i++) n += document_tree_now(d) != NULL;
    return n;
}

/* A megabyte and a half each: five of them fit, and the one looked at last is there. */
static void test_documents_keep_trees_of_the_latest(void **state)
{
    (void)state;
    enum { DOCUMENTS = 7 };
    documents *all;
    document *d[DOCUMENTS];
    buffer b = {0};
    assert_int_equal(documents_open(&all, NULL), OK);
    buffer_put_text(&b, TEXT("[\""));
    while (b.size < 3 * MIB / 2) buffer_put_text(&b, TEXT("one long string "));
    buffer_put_text(&b, TEXT("\"]\n"));
    for (size_t i = 0; i < DOCUMENTS; i++) d[i] = open_one(all, i, TEXT("json"), buffer_text(&b));
    while (documents_parse(all)) {}
    assert_int_equal(n_trees(all), 5);
    for (size_t i = 0; i < DOCUMENTS; i++) {
        document_tree(d[i]);
        while (documents_parse(all)) {}
        assert_non_null(document_tree(d[i]));
        assert_int_equal(n_trees(all), 5);
    }
    document_put_out_of_step(d[0], "test");
    assert_null(document_tree(d[0]));
    assert_false(documents_parse(all));
    documents_close(all);
    buffer_free(&b);
}

static void test_documents_follow_changes(void **state)
{
    (void)state;
    documents *all;
    const struct range range = {{0, 4}, {0, 5}};
    assert_int_equal(documents_open(&all, NULL), OK);
    document *d = open_one(all, 0, TEXT("c"), TEXT("int f(void);\n"));
    while (documents_parse(all)) {}
    assert_int_equal(syntax_error_count(document_tree(d), 0, SIZE_MAX), 0);
    assert_int_equal(document_change(d, &range, TEXT("(("), ENCODING_UTF16, NULL), OK);
    assert_null(document_tree_now(d));
    while (documents_parse(all)) {}
    assert_true(syntax_error_count(document_tree_now(d), 0, SIZE_MAX) > 0);
    assert_int_equal(document_change(d, NULL, TEXT("int g;\n"), ENCODING_UTF16, NULL), OK);
    while (documents_parse(all)) {}
    assert_int_equal(syntax_error_count(document_tree_now(d), 0, SIZE_MAX), 0);
    documents_close(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edits_are_followed),
        cmocka_unit_test(test_a_shared_tree_stays),
        cmocka_unit_test(test_what_is_not_parsed),
        cmocka_unit_test(test_steps_are_bounded),
        cmocka_unit_test(test_documents_keep_trees_of_the_latest),
        cmocka_unit_test(test_documents_follow_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
