/* Languages and what tree-sitter says about them. Offsets are found by searching the source text, so
 * that the expected value stands beside it in words. */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "context/document.h"
#include "context/syntax.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

static syntax *parse(const char *path, text content)
{
    syntax *s;
    error err = {0};
    status code = ERR_LIMIT;
    /* On a busy machine a parse may lose its time to others. */
    for (int tries = 0; code == ERR_LIMIT && tries < 50; tries++)
        code = syntax_parse(&s, language_find(TEXT(""), text_of(path)), content, &err);
    if (code != OK) print_error("%s: %s\n", path, err.message);
    assert_int_equal(code, OK);
    return s;
}

static void test_languages_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *id, *path, *name;
    } rows[] = {{"", "a/b.c", "C"},
                {"", "X.H", "C"},
                {"python", "x", "Python"},
                {"", "a.tsx", "TSX"},
                {"", "dir.c/Makefile", "Makefile"},
                {"", "a.mk", "Makefile"},
                {"shellscript", "x.c", "Bash"},
                {"", "a.json", "JSON"},
                {"", "README.md", "Markdown"},
                {"nonsense", "a.rs", "Rust"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct language *l = language_find(text_of(rows[i].id), text_of(rows[i].path));
        assert_non_null(l);
        assert_string_equal(l->name, rows[i].name);
    }
    assert_null(language_find(TEXT(""), TEXT("noextension")));
    assert_null(language_find(TEXT(""), TEXT("a.unknown")));
    assert_null(language_find(TEXT(""), TEXT("")));
}

/* Ids as VS Code documents them ("Known language identifiers"; CUDA's is that of its C/C++ extension), then
 * filetypes of Neovim's runtime/lua/vim/filetype.lua, for the twenty languages that have a grammar. */
static void test_editors_ids(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        {"c", "c", "C"},
        {"cpp", "cpp", "C++"},
        {"cuda-cpp", "cuda", "CUDA"},
        {"python", "python", "Python"},
        {"javascript", "javascript", "JavaScript"},
        {"javascriptreact", "javascriptreact", "JavaScript"},
        {"typescript", "typescript", "TypeScript"},
        {"typescriptreact", "typescriptreact", "TSX"},
        {"go", "go", "Go"},
        {"rust", "rust", "Rust"},
        {"java", "java", "Java"},
        {"csharp", "cs", "C#"},
        {"ruby", "ruby", "Ruby"},
        {"php", "php", "PHP"},
        {"lua", "lua", "Lua"},
        {"shellscript", "sh", "Bash"},
        {"shellscript", "bash", "Bash"},
        {"json", "json", "JSON"},
        {"jsonc", "jsonc", "JSON"},
        {"yaml", "yaml", "YAML"},
        {"dockercompose", "yaml.docker-compose", "YAML"},
        {"toml", "toml", "TOML"},
        {"html", "html", "HTML"},
        {"css", "css", "CSS"},
        {"markdown", "markdown", "Markdown"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int editor = 0; editor < 2; editor++) {
            const struct language *l = language_find(text_of(rows[i][editor]), TEXT("x"));
            if (!l || strcmp(l->name, rows[i][2]) != 0 || !l->grammar)
                fail_msg("\"%s\" is not %s", rows[i][editor], rows[i][2]);
        }
    }
}

static void test_first_lines_name_a_program(void **state)
{
    (void)state;
    static const struct {
        const char *content, *name;
    } rows[] = {{"#!/bin/sh\necho", "Bash"},
                {"#! /usr/bin/env python3\n", "Python"},
                {"#!/usr/bin/env -S node --test\n", "JavaScript"},
                {"#!/usr/local/bin/lua5.4", "Lua"},
                {"#!/usr/bin/ruby -w\r\n", "Ruby"},
                {"#!/usr/bin/perl\n", NULL},
                {"#!\n", NULL},
                {"#!/usr/bin/env\n", NULL},
                {"# !/bin/sh\n", NULL},
                {"", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct document_view d = {TEXT("bin/run"), TEXT("plaintext"), text_of(rows[i].content),
                                  NULL};
        const struct language *l = language_find_shebang(d.content);
        assert_ptr_equal(language_of_document(&d), l);
        assert_int_equal(l != NULL, rows[i].name != NULL);
        if (l) assert_string_equal(l->name, rows[i].name);
        d.path = TEXT("a.c"), d.language_id = TEXT("");
        assert_string_equal(language_of_document(&d)->name, "C");
    }
}

/* Headers by what stands in them; an editor that says which language it is has the last word. */
static void test_headers_are_c_or_cpp(void **state)
{
    (void)state;
    static const struct {
        const char *content, *name;
    } rows[] = {
        {"#include <stdio.h>\nint f(void);\n", "C"},
        {"#include <vector>\n", "C++"},
        {"# include <sys/types.h>\n#include \"vector\"\n#include <sys/cdefs>\n", "C"},
        {"#ifdef __cplusplus\nextern \"C\" {\n#endif\nstruct s *f(struct s *class);\n", "C"},
        {"  template <class T>\n  T f(T);\n", "C++"},
        {"template<class T> T f(T);\n", "C++"},
        {"namespace a::b {\r\n}\r\n", "C++"},
        {"namespace {\nint a;\n}\n", "C++"},
        {"class shape;\n", "C++"},
        {"class shape : public base {\n", "C++"},
        {"class shape\n{\n", "C++"},
        {"struct s {\npublic:\n  int a;\n};\n", "C++"},
        {"/* what is there in each\nclass of functions, and in its\nnamespace or template of names "
         "*/\n",
         "C"},
        {"int classes; int class_of(int template);\n", "C"},
        {"", "C"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct document_view d = {TEXT("a/b.h"), TEXT(""), text_of(rows[i].content), NULL};
        const char *name = language_of_document(&d)->name;
        if (strcmp(name, rows[i].name) != 0) fail_msg("row %zu is %s", i, name);
        d.language_id = TEXT("c");
        assert_string_equal(language_of_document(&d)->name, "C");
        d.language_id = TEXT(""), d.path = TEXT("b.c");
        assert_string_equal(language_of_document(&d)->name, "C");
    }
}

static void test_rows_are_distinct_and_whole(void **state)
{
    (void)state;
    const struct language *a, *b;
    size_t n_grammars = 0;
    for (size_t i = 0; (a = language_at(i)); i++) {
        assert_true(a->name[0] && a->fence[0] && a->quotes);
        assert_true(!a->comment_open == !a->comment_close);
        n_grammars += a->grammar != NULL;
        for (size_t k = 0; a->extensions[k]; k++) {
            char path[32];
            snprintf(path, sizeof path, "x.%s", a->extensions[k]);
            assert_ptr_equal(language_find(TEXT(""), text_of(path)), a);
        }
        for (size_t j = 0; (b = language_at(j)) && j < i; j++)
            assert_string_not_equal(a->name, b->name);
    }
    assert_int_equal(n_grammars, 21);
}

static void test_unknown_languages_have_no_tree(void **state)
{
    (void)state;
    assert_null(parse("a.unknown", TEXT("x")));
    assert_null(parse("a.kt", TEXT("val x = 1"))); /* known, but without a grammar */
    size_t from, to;
    assert_int_equal(syntax_error_count(NULL, 0, 10), 0);
    assert_false(syntax_enclosing_block(NULL, 0, &from, &to));
    assert_false(syntax_statement_end(NULL, 0, &to));
    assert_false(syntax_in_comment(NULL, 0));
    syntax_free(NULL);
}

static void test_real_files_have_no_errors(void **state)
{
    (void)state;
    static const char *const paths[] = {"tests/fixtures/shelf.py",
                                        "tests/fixtures/queue.js",
                                        "tests/fixtures/matrix.go",
                                        "tests/fixtures/words.rs",
                                        "tests/fixtures/Account.java",
                                        "tests/fixtures/stack.lua",
                                        "tests/fixtures/backup.sh",
                                        "tests/fixtures/shapes.ts",
                                        "tests/package.json",
                                        "context/syntax.c",
                                        "context/trim.c"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        buffer content = {0};
        error err;
        assert_int_equal(file_read(&content, paths[i], MIB, &err), OK);
        syntax *s = parse(paths[i], buffer_text(&content));
        assert_non_null(s);
        assert_int_equal(syntax_error_count(s, 0, content.size), 0);
        syntax_free(s);
        buffer_free(&content);
    }
}

static void test_errors_are_counted_where_they_are(void **state)
{
    (void)state;
    text t = TEXT("int a;\nint f(void) { return (1; }\nint b;\nint c = ;\n");
    syntax *s = parse("a.c", t);
    size_t second = text_find(t, TEXT("int f"), 0), third = text_find(t, TEXT("int b"), 0);
    size_t fourth = text_find(t, TEXT("int c"), 0);
    assert_int_equal(syntax_error_count(s, 0, second), 0);
    assert_int_equal(syntax_error_count(s, second, third), 1); /* the missing ")" */
    assert_int_equal(syntax_error_count(s, third, fourth), 0);
    assert_true(syntax_error_count(s, fourth, t.size) > 0);
    assert_true(syntax_error_count(s, 0, t.size) >= 2);
    syntax_free(s);
}

static const text program = {
    "#include <x.h>\n"
    "/* a comment */\n"
    "int f(int n)\n"
    "{\n"
    "    if (n) {\n"
    "        g(\"a string\", 'c'); // end\n"
    "        h();\n"
    "    }\n"
    "    return n;\n"
    "}\n",
    sizeof "#include <x.h>\n/* a comment */\nint f(int n)\n{\n    if (n) {\n"
           "        g(\"a string\", 'c'); // end\n        h();\n    }\n    return n;\n}\n" -
        1};

static size_t at(const char *word, size_t more)
{
    size_t found = text_find(program, text_of(word), 0);
    assert_true(found != SIZE_MAX);
    return found + more;
}

static void test_blocks_and_statements(void **state)
{
    (void)state;
    syntax *s = parse("a.c", program);
    size_t from, to, end;
    assert_true(syntax_enclosing_block(s, at("h();", 0), &from, &to));
    assert_int_equal(from, at("{\n        g", 0));
    assert_int_equal(to, at("    }\n    return", 5));
    assert_true(syntax_enclosing_block(s, at("return", 0), &from, &to));
    assert_int_equal(from, at("{\n    if", 0));
    assert_int_equal(to, program.size - 1);
    assert_false(syntax_enclosing_block(s, 2, &from, &to));
    assert_true(syntax_statement_end(s, at("h();", 1), &end));
    assert_int_equal(end, at("h();", 4));
    assert_true(syntax_statement_end(s, at("return", 2), &end));
    assert_int_equal(end, at("return n;", 9));
    assert_true(syntax_statement_end(s, at("if (n)", 4), &end));
    assert_int_equal(end, at("    }\n    return", 5));
    assert_true(syntax_statement_end(s, at("int f", 2), &end));
    assert_int_equal(end, program.size - 1);
    syntax_free(s);
}

/* After any edit the tree answers as that of a fresh parse does. */
static void check_edit(const char *path, text content, size_t from, size_t to, const char *with)
{
    buffer whole = {0};
    syntax *old = parse(path, content), *edited = NULL;
    buffer_put_text(&whole, text_slice(content, 0, from));
    buffer_put_text(&whole, text_of(with));
    buffer_put_text(&whole, text_slice(content, to, content.size));
    status code = ERR_LIMIT;
    for (int tries = 0; code == ERR_LIMIT && tries < 50; tries++)
        code = syntax_edit(&edited, old, from, to, text_of(with), NULL);
    assert_int_equal(code, OK);
    syntax *fresh = parse(path, buffer_text(&whole));
    assert_int_equal(syntax_error_count(edited, 0, SIZE_MAX),
                     syntax_error_count(fresh, 0, SIZE_MAX));
    for (size_t at_byte = 0; at_byte <= whole.size; at_byte += 3) {
        size_t a[3] = {0}, b[3] = {0};
        bool in_a = syntax_enclosing_block(edited, at_byte, &a[0], &a[1]);
        bool in_b = syntax_enclosing_block(fresh, at_byte, &b[0], &b[1]);
        assert_int_equal(in_a, in_b);
        assert_int_equal(syntax_statement_end(edited, at_byte, &a[2]),
                         syntax_statement_end(fresh, at_byte, &b[2]));
        assert_memory_equal(a, b, sizeof a);
        assert_int_equal(syntax_in_comment(edited, at_byte), syntax_in_comment(fresh, at_byte));
        assert_int_equal(syntax_in_string(edited, at_byte), syntax_in_string(fresh, at_byte));
    }
    syntax_free(fresh);
    syntax_free(edited);
    syntax_free(old);
    buffer_free(&whole);
}

static void test_edits_are_like_fresh_parses(void **state)
{
    (void)state;
    size_t call = at("h();", 0);
    check_edit("a.c", program, call, call, "if (n) { g(\"}\"); }\n        ");
    check_edit("a.c", program, call, call + 4, "");
    check_edit("a.c", program, call, call, "/* ");
    check_edit("a.c", program, 0, program.size, "int x;\n");
    check_edit("a.c", program, 0, 0, "\n\nstruct s { int a; };\n");
    check_edit("a.c", program, program.size, program.size, "int z(void) { return 1; }\n");
    check_edit("a.py", TEXT("def f(a):\n    return a\n\n\nx = f(1)\n"), 10, 10,
               "    if a:\n        return \"b\"\n");
    check_edit("a.c", TEXT(""), 0, 9, "int a;\n");
    syntax *none;
    assert_int_equal(syntax_edit(&none, NULL, 0, 0, TEXT("x"), NULL), OK);
    assert_null(none);
}

static void test_comments_and_strings(void **state)
{
    (void)state;
    syntax *s = parse("a.c", program);
    assert_true(syntax_in_comment(s, at("a comment", 3)));
    assert_false(syntax_in_comment(s, at("*/", 2)));
    assert_true(syntax_in_comment(s, at("// end", 3)));
    assert_true(syntax_in_comment(s, at("// end", 6)));
    assert_false(syntax_in_comment(s, at("// end", 7)));
    assert_false(syntax_in_comment(s, at("h();", 1)));
    assert_true(syntax_in_string(s, at("a string", 1)));
    assert_true(syntax_in_string(s, at("'c'", 1)));
    assert_false(syntax_in_string(s, at("'c'", 3)));
    assert_false(syntax_in_string(s, at("g(", 2)));
    syntax_free(s);
    text python = TEXT("x = f\"a {name} b\"  # why\n");
    s = parse("a.py", python);
    assert_true(syntax_in_string(s, text_find(python, TEXT("a {"), 0) + 1));
    assert_false(syntax_in_string(s, text_find(python, TEXT("name"), 0) + 2));
    assert_true(syntax_in_string(s, text_find(python, TEXT(" b\""), 0) + 1));
    assert_true(syntax_in_comment(s, python.size - 1));
    syntax_free(s);
}

/* "C" stands in a comment, "S" in a string, "B" in a block of several lines, "N" in neither. */
static void test_every_grammar_knows_comments_and_strings(void **state)
{
    (void)state;
    static const struct {
        const char *path, *source;
    } rows[] = {
        {"a.cpp", "// C\nauto x = \"S\";\nclass A {\n  int B;\n};\nint N;\n"},
        {"a.cu", "/* C */\n__global__ void f() {\n  B();\n}\nint x = N + sizeof \"S\";\n"},
        {"a.cs", "// C\nclass K {\n  string s = $\"S {N}\";\n  int B;\n}\n"},
        {"a.rb", "# C\ndef f\n  B()\n  g \"S #{N}\"\nend\n"},
        {"a.php", "<?php\n// C\nfunction f() {\n  B();\n}\n$x = 'S' . N;\n"},
        {"a.yaml", "# C\na:\n  - \"S\"\n  - B\nb: N\n"},
        {"a.toml", "# C\na = \"S\"\nb = [N, 1]\n"},
        {"a.html", "<!-- C -->\n<p class=\"S\">N</p>\n"},
        {"a.css", "/* C */\na {\n  content: \"S\";\n  color: B;\n}\nN { }\n"},
        {"a.md", "# N\n\n- one\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text t = text_of(rows[i].source);
        syntax *s = parse(rows[i].path, t);
        assert_non_null(s);
        for (size_t k = 0; k < t.size; k++) {
            size_t from, to;
            if (!strchr("CSBN", t.bytes[k]) || (k && isalnum((unsigned char)t.bytes[k - 1])) ||
                isalnum((unsigned char)t.bytes[k + 1]))
                continue;
            bool block = syntax_enclosing_block(s, k, &from, &to);
            if (syntax_in_comment(s, k) != (t.bytes[k] == 'C') ||
                syntax_in_string(s, k) != (t.bytes[k] == 'S') || (t.bytes[k] == 'B' && !block))
                fail_msg("%s: %c at byte %zu: comment %d, string %d, block %d", rows[i].path,
                         t.bytes[k], k, syntax_in_comment(s, k), syntax_in_string(s, k), block);
        }
        syntax_free(s);
    }
}

static void test_hostile_texts_are_bounded(void **state)
{
    (void)state;
    static const char *const pieces[] = {"{", "((", "a[", "if(x)", "\"", "/*", "\xff", "f(){", "}"};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        buffer b = {0};
        while (b.size < MIB) buffer_put_text(&b, text_of(pieces[i]));
        syntax *s;
        error err;
        size_t from, to;
        status code = syntax_parse(&s, language_find(TEXT("c"), TEXT("")), buffer_text(&b), &err);
        assert_true(code == OK || code == ERR_LIMIT);
        if (s) {
            syntax_error_count(s, 0, b.size);
            syntax_enclosing_block(s, b.size / 2, &from, &to);
            syntax_in_string(s, b.size);
        }
        syntax_free(s);
        buffer_free(&b);
    }
    buffer large = {0};
    syntax *s;
    error err;
    while (large.size <= DOCUMENT_PARSE_MAX) buffer_put_text(&large, TEXT("int x;\n"));
    assert_int_equal(
        syntax_parse(&s, language_find(TEXT("c"), TEXT("")), buffer_text(&large), &err), ERR_LIMIT);
    assert_null(s);
    buffer_free(&large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_languages_are_found),
        cmocka_unit_test(test_editors_ids),
        cmocka_unit_test(test_first_lines_name_a_program),
        cmocka_unit_test(test_headers_are_c_or_cpp),
        cmocka_unit_test(test_rows_are_distinct_and_whole),
        cmocka_unit_test(test_unknown_languages_have_no_tree),
        cmocka_unit_test(test_real_files_have_no_errors),
        cmocka_unit_test(test_errors_are_counted_where_they_are),
        cmocka_unit_test(test_blocks_and_statements),
        cmocka_unit_test(test_edits_are_like_fresh_parses),
        cmocka_unit_test(test_comments_and_strings),
        cmocka_unit_test(test_every_grammar_knows_comments_and_strings),
        cmocka_unit_test(test_hostile_texts_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
