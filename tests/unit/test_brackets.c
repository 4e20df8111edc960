/* Which closers a document lacks at a place, and whether the place lies in words: by hand, beside each
 * text. The gap is at "^". What only the grammar can know is asked of the tree alone; what a lexer can,
 * of both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "context/brackets.h"
#include "context/trim.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

static const struct {
    const char *path, *document, *lacking; /* closers, each as often as it is lacking */
    bool in_words, by_tree_only;
} rows[] = {
    {"a.c", "void f(void)\n{\n    g(^\n}\n", ")", false, false},
    {"a.c", "void f(void)\n{\n    g(^);\n}\n", "", false, false},
    {"a.c", "void f(void)\n{\n    g(\"(((\", ')', /* { */ ^);\n}\n", "", false, false},
    {"a.c", "int x[] = {1, 2, ^\n", "}", false, false},
    {"a.c", "// ( [ {\nint f(void)\n{\n    return '{' + ^;\n", "}", false, false},
    {"a.c", "char *s = \"a \\\" ( \";\nint x = (^;\n", ")", false, false},
    {"a.c", "#define OPEN (\nint f(void)\n{\n    ^\n}\n", "", false, true},
    {"a.c", "#define F(x) g(x, (^\nint y;\n", "))", false, false},
    {"a.c", "/* a ( b\n   c ^ d */\nint x;\n", "", true, false},
    {"a.c", "int x; // it's (^\n", "", true, false},
    {"a.py", "x = '''\n( [ {\n'''\ny = f(^)\n", "", false, true},
    {"a.py", "def f():\n    '''Words ( and\n    more ^ words\n    '''\n    return 1\n", "", true,
     true},
    {"a.py", "s = r'\\d'\nt = r'['\nx = [^\n", "]", false, false},
    {"a.py", "x = f'{a[\"(\"]} ^'\n", "", true, false},
    {"a.py", "d = {'a': (1, 2), 'b': [^\n}\n", "]", false, false},
    {"a.js", "const a = /[({]/;\nf(^);\n", "", false, true},
    {"a.js", "const a = /\\(/g.test(b) && f(^\n", ")", false, true},
    {"a.js", "const a = `x ( ${b(1)} [`;\nf([^);\n", "]", false, false},
    {"a.js", "const a = `x (\n { [\n`;\nconst b = {^};\n", "", false, true},
    {"a.js", "const a = `x (\n ^ words\n`;\n", "", true, true},
    {"a.ts", "const m = new Map<string, Array<number>>();\nf({ a: [^] });\n", "", false, false},
    {"a.rs", "fn f<'a>(x: &'a str) -> &'a str {\n    g(^)\n}\n", "", false, false},
    {"a.rs", "fn f() {\n    let s = r#\"( \" {\"#;\n    g(^\n}\n", ")", false, true},
    {"a.rs", "fn f() {\n    let c = '(';\n    g(&[^\n}\n", ")]", false, false},
    {"a.go", "func f() {\n\ts := `(\n{ [`\n\tg(^)\n}\n", "", false, true},
    {"a.go", "func f() {\n\tg(map[string][]int{^\n}\n", ")}", false, true},
    {"a.java", "class A {\n    char c = '{';\n    void f() {\n        g(\"}\"^\n    }\n}\n", ")",
     false, false},
    {"a.sh", "case $x in\na) echo 1;;\nb) f \"$(g ^)\";;\nesac\n", "", false, true},
    {"a.sh", "f() {\n    case $1 in\n    a) g;;\n    esac\n    if [[ $x ^ ]]; then :; fi\n}\n", "",
     false, true},
    {"a.cpp", "auto s = R\"x( ) \" { )x\";\nvoid f() { g(^); }\n", "", false, true},
};

static void check(size_t i, const struct language *l, const syntax *tree, text content, size_t at)
{
    struct bracket_balance b;
    char found[16] = "", expected[16] = "";
    size_t n = 0;
    bracket_balance_make(&b, l, content, at, tree);
    const char *start = memrchr(content.bytes, '\n', at);
    size_t line = start ? (size_t)(start - content.bytes) + 1 : 0;
    bool in_words = bracket_place_in_words(&b, l, text_slice(content, line, at));
    for (const char *c = ")]}"; *c; c++) {
        for (size_t k = 0; k < b.lacking[(unsigned char)*c] && n + 1 < sizeof found; k++)
            found[n++] = *c;
    }
    n = 0;
    for (const char *c = ")]}"; *c; c++)
        for (const char *e = rows[i].lacking; *e; e++)
            if (*e == *c) expected[n++] = *c;
    if (in_words != rows[i].in_words)
        fail_msg("%s %s: in words: %d", rows[i].document, tree ? "by tree" : "by lexer", in_words);
    if (!in_words && strcmp(found, expected) != 0)
        fail_msg("%s %s: lacking \"%s\", expected \"%s\"", rows[i].document,
                 tree ? "by tree" : "by lexer", found, expected);
}

static void what_is_lacking(void **state)
{
    (void)state;
    size_t n_lexer_wrong = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *gap = strchr(rows[i].document, '^');
        size_t at = (size_t)(gap - rows[i].document);
        const struct language *l = language_find(TEXT(""), text_of(rows[i].path));
        buffer content = {0};
        syntax *tree = NULL;
        buffer_put(&content, rows[i].document, at);
        buffer_put_text(&content, text_of(gap + 1));
        for (int tries = 0; !tree && tries < 50; tries++)
            if (syntax_parse(&tree, l, buffer_text(&content), NULL) != OK) tree = NULL;
        assert_non_null(tree);
        check(i, l, tree, buffer_text(&content), at);
        if (!rows[i].by_tree_only) check(i, l, NULL, buffer_text(&content), at);
        n_lexer_wrong += rows[i].by_tree_only;
        syntax_free(tree);
        buffer_free(&content);
    }
    assert_true(n_lexer_wrong > 5);
}

static size_t opened(buffer *content, syntax **tree, const char *document)
{
    size_t at = (size_t)(strchr(document, '^') - document);
    buffer_put(content, document, at);
    buffer_put_text(content, text_of(document + at + 1));
    *tree = NULL;
    for (int tries = 0; !*tree && tries < 50; tries++) {
        const struct language *l = language_find(TEXT(""), TEXT("a.js"));
        if (syntax_parse(tree, l, buffer_text(content), NULL) != OK) *tree = NULL;
    }
    return at;
}

/* What is said in a string closes nothing; the quote of a regular expression begins no string. */
static void answers_by_the_tree(void **state)
{
    (void)state;
    static const struct {
        const char *document, *answer, *by_tree, *by_lexer;
    } said[] = {{"const a = `x\n^\n`;\n", "bc) d", "bc) d", "bc"},
                {"a = b /* ( */ + /[\"]/.test(^\n", "c) && \")\"", "c) && \")\"", "c) && \")\""},
                {"a = /[\"]/.test(\"b\") + ^\n", "cd) + e", "cd", "cd"}};
    for (size_t i = 0; i < 2 * sizeof said / sizeof *said; i++) {
        buffer content = {0};
        syntax *tree;
        struct trim_result r;
        error err;
        trim *t;
        bool by_tree = i % 2;
        size_t at = opened(&content, &tree, said[i / 2].document);
        const char *expected = by_tree ? said[i / 2].by_tree : said[i / 2].by_lexer;
        const struct trim_options options = {
            .document = {TEXT("a.js"), TEXT(""), buffer_text(&content), by_tree ? tree : NULL},
            .cursor_byte = at,
            .fence = TEXT("```")};
        assert_int_equal(trim_open(&t, &options, &err), OK);
        trim_put(t, text_of(said[i / 2].answer));
        trim_finish(t, true, &r);
        if (!text_is(r.insert, expected))
            fail_msg("%s: found \"%.*s\", expected \"%s\"", said[i / 2].document,
                     (int)r.insert.size, r.insert.bytes ? r.insert.bytes : "", expected);
        trim_close(t);
        syntax_free(tree);
        buffer_free(&content);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_lacking),
                                       cmocka_unit_test(answers_by_the_tree)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
