/* What tasks and commit messages are made of: pieces, names, prose, languages, messages. Expected values
 * are written by hand beside what they come from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "context/commit_text.h"
#include "context/prose.h"
#include "context/syntax_item.h"
#include "context/syntax_live.h"
#include "context/task_answer.h"
#include "lsp/assistant/action.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

static syntax *parse(const char *path, text content)
{
    syntax *s = NULL;
    status code = ERR_LIMIT;
    /* On a busy machine a parse may lose its time to others. */
    for (int tries = 0; code == ERR_LIMIT && tries < 50; tries++)
        code = syntax_parse(&s, language_find(TEXT(""), text_of(path)), content, NULL);
    assert_int_equal(code, OK);
    return s;
}

static void assert_text(text found, const char *expected)
{
    if (!text_is(found, expected))
        print_error("found    \"%.*s\"\nexpected \"%s\"\n", (int)found.size, found.bytes, expected);
    assert_true(text_is(found, expected));
}

/* A and B in the source stand around what is selected, P and Q around the piece that is expected. None of
 * them is part of the document. */
struct marked {
    buffer content;
    size_t from, to, low, high;
};

static void marked_read(struct marked *m, const char *source)
{
    *m = (struct marked){0};
    for (; *source; source++) {
        switch (*source) {
        case '\x01': m->from = m->content.size; break;
        case '\x02': m->to = m->content.size; break;
        case '\x03': m->low = m->content.size; break;
        case '\x04': m->high = m->content.size; break;
        default: buffer_put_char(&m->content, *source);
        }
    }
}

#define A "\x01" /* the selection */
#define B "\x02"
#define P "\x03" /* the piece */
#define Q "\x04"

static void test_selections_become_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        enum action_piece piece;
        const char *source, *name; /* NULL: there is no piece */
    } rows[] = {
        {"a.c", PIECE_DEFINITION,
         "int a;\n\n" P "/* f */\nint f(void)\n{\n    return " A B "1;\n}" Q "\n", "f"},
        {"a.c", PIECE_DEFINITION, "/* far */\n\n" P "int f(void) { re" A B "turn 1; }" Q "\n", "f"},
        {"a.c", PIECE_STATEMENTS,
         "int f(int a)\n{\n    g();\n" P "    if (a" A ") {\n        h();\n " B "   }" Q "\n}\n",
         ""},
        {"a.c", PIECE_STATEMENTS,
         "int f(int a)\n{\n    if (a) {\n" P "        " A "h();" B Q "\n    }\n}\n", ""},
        {"a.c", PIECE_STATEMENTS,
         "int f(int a)\n{\n" P "    int b = " A "a;\n    b" B "++;" Q "\n    return b;\n}\n", ""},
        {"a.c", PIECE_LINES, "int f(void)\n{\n" P "    r" A "eturn" B " 1;" Q "\n}\n", ""},
        {"a.c", PIECE_FUNCTION, "int " A B "a;\n", NULL},
        {"a.c", PIECE_COMMENTS, "int a; \n" P "// o" A B "ne\n// two" Q "\n\n// three\n", ""},
        {"a.c", PIECE_COMMENTS, "int " A B "a;\n// one\n", NULL},
        {"a.c", PIECE_DEFINITION, P "struct s {\n    int " A B "a;\n};" Q "\n", "s"},
        {"a.py", PIECE_DEFINITION,
         "import x\n\n" P "@one\n@two\ndef f(a):\n    return " A B "a" Q "\n", "f"},
        {"a.py", PIECE_DEFINITION, "class C:\n" P "    def g(self):\n        pa" A B "ss" Q "\n",
         "g"},
        {"a.py", PIECE_FUNCTION,
         P "def f():\n    def g():\n        return " A B "1\n    return g" Q "\n", "f"},
        {"a.js", PIECE_DEFINITION, P "export function f() {\n  return " A B "1;\n}" Q "\n", "f"},
        {"a.rs", PIECE_DEFINITION, P "/// Doc.\n#[test]\nfn f() {\n    " A B "g();\n}" Q "\n", "f"},
        {"a.go", PIECE_DEFINITION,
         "package p\n\n" P "// F does.\nfunc F() {\n\t" A B "g()\n}" Q "\n", "F"},
        {"a.java", PIECE_DEFINITION,
         "class C {\n" P "    int f() {\n        return " A B "1;\n    }" Q "\n}\n", "f"},
        {"a.rb", PIECE_DEFINITION, P "def f\n  " A B "1\nend" Q "\n", "f"},
        {"a.txt", PIECE_DEFINITION, "one\n\n" P "t" A B "wo\nthree" Q "\n\nfour\n", ""},
        {"a.txt", PIECE_LINES, "one\n" A "  \n" B "two\n", NULL},
        {"a.c", PIECE_LINES, P "int " A "a" B ";" Q "\r\nint b;\r\n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct marked m;
        text name;
        marked_read(&m, rows[i].source);
        text content = buffer_text(&m.content);
        syntax *s = parse(rows[i].path, content);
        size_t from = m.from, to = m.to;
        status code = action_piece_find(rows[i].piece, s, content, &from, &to, &name, NULL);
        bool expected = m.high > m.low;
        if (code != (expected ? OK : ERR_UNSUPPORTED) ||
            (expected && (from != m.low || to != m.high)))
            print_error("row %zu: %zu to %zu, expected %zu to %zu\n", i, from, to, m.low, m.high);
        assert_int_equal(code, expected ? OK : ERR_UNSUPPORTED);
        if (expected) {
            assert_int_equal(from, m.low);
            assert_int_equal(to, m.high);
            if (rows[i].name) assert_text(name, rows[i].name);
        }
        syntax_free(s);
        buffer_free(&m.content);
    }
}

static void test_code_without_documentation(void **state)
{
    (void)state;
    static const struct {
        const char *path, *content, *code;
    } rows[] = {
        {"a.c", "/* x */ int a; // y\n\n   \nint b; /* z */\n", " int a;\nint b;\n"},
        {"a.c", "char *s = \"/* no */ // no\"; // yes\n", "char *s = \"/* no */ // no\";\n"},
        {"a.py", "def f():\n    \"\"\"Doc.\"\"\"\n    # why\n    return \"x\"  # y\n",
         "def f():\n    return \"x\"\n"},
        {"a.rs", "/// Doc.\nfn f() {} // x\n", "fn f() {}\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer out = {0};
        text content = text_of(rows[i].content);
        syntax *s = parse(rows[i].path, content);
        syntax_code_put(s, 0, content.size, &out);
        assert_text(buffer_text(&out), rows[i].code);
        buffer_free(&out);
        syntax_free(s);
    }
}

static void test_names_that_a_function_binds(void **state)
{
    (void)state;
    static const struct {
        const char *path, *content, *names;
    } rows[] = {
        {"a.c",
         "int f(int n, char *s, int v[])\n{\n    int a = g(b), *c;\n    for (int i = 0;;) x = i;\n"
         "    p->q = a;\n}\n",
         "n s v a c i"},
        {"a.go",
         "package p\nfunc f(n int) {\n\ta, b := g(c)\n\tfor i, v := range x {\n\t}\n\tvar w "
         "int\n}\n",
         "n a b i v w"},
        {"a.js",
         "function f(n, {k}) {\n  const a = b.c;\n  let d;\n  for (const e of g) h(e);\n}\n",
         "n a d e"},
        {"a.py", "def f(n, m=1):\n    a, b = g(k=2)\n    for i in x:\n        c.d = i\n",
         "n m a b i"},
        {"a.rs", "fn f(n: u8) {\n    let a = b;\n    let (c, d) = e;\n    for i in x {}\n}\n",
         "n a c d i"},
        {"A.java", "class A { int f(int n) { int a = b, c; for (int i : x) {} return a; } }\n",
         "n a c i"},
        {"a.php",
         "<?php\nfunction f($n) {\n  $a = \"$b\";\n  foreach ($x as $i => $v) { g($v); }\n}\n",
         "n a b x i v"},
        /* The same words elsewhere are others' names. */
        {"a.c", "int f(int n)\n{\n    int a = p->n, size = 0;\n    goto a;\n}\n", "size"},
        {"a.go", "package p\nfunc f(n int) T {\n\ta := T{n: n}\n\treturn a\n}\n", "a"},
        {"a.js", "function f(n) {\n  const a = {n}, b = c.a;\n}\n", "b"},
        {"a.py", "def f(n):\n    global g\n    g = a = h(n=n)\n    b = x.a\n", "b"},
        {"a.py", "def f(n):\n    a = locals()\n", ""},
        {"a.rs", "fn f(n: u8) -> T {\n    let a = b.c;\n    T { n, d: a }\n}\n", "a"},
        {"A.java", "class A { int f(int n) { int a = n(), c = this.a; return c; } }\n", "c"},
        {"a.php",
         "<?php\nclass A { function f($n) {\n  global $g;\n  $g = $this->a;\n  $a = $_GET;\n"
         "  $b = A::$c; $c = g(d: 1); $d = $e;\n} }\n",
         "n b e"},
        {"a.php", "<?php\nfunction f() {\n  $a = 1;\n  return compact('a');\n}\n", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text names[64], content = text_of(rows[i].content);
        buffer all = {0};
        syntax *s = parse(rows[i].path, content);
        size_t n = syntax_bound_names(s, 0, content.size, true, names, 64);
        for (size_t k = 0; k < n; k++) {
            if (k) buffer_put_char(&all, ' ');
            buffer_put_text(&all, names[k]);
        }
        assert_text(buffer_text(&all), rows[i].names);
        buffer_free(&all);
        syntax_free(s);
    }
}

/* Callers may name it, so it stays even where it is assigned again. */
static void test_parameters_that_are_assigned(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a.py", "def f(n):\n    n = a = n + 1\n"},
        {"a.php", "<?php\nfunction f($n) {\n  $n = $a = $n + 1;\n}\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        text names[8], content = text_of(rows[i][1]);
        syntax *s = parse(rows[i][0], content);
        assert_int_equal(syntax_bound_names(s, 0, content.size, false, names, 8), 1);
        assert_text(names[0], "a");
        syntax_free(s);
    }
}

/* Fed in pieces of every size: what comes out may not depend on the cut. */
static void assert_prose(const char *said, const char *shown)
{
    size_t size = strlen(said);
    for (size_t step = 1; step <= size && step < 12; step++) {
        struct prose p = {0};
        buffer out = {0};
        for (size_t at = 0; at < size; at += step)
            prose_put(&p, text_slice(text_of(said), at, at + step), &out);
        prose_finish(&p, &out);
        assert_text(buffer_text(&out), shown);
        prose_free(&p);
        buffer_free(&out);
    }
}

/* A file that takes longer to parse than there is time for is judged by the tree its document has. */
static void test_large_files_are_judged_by_their_tree(void **state)
{
    (void)state;
    static const char piece[] = "int last(int a)\n{\n    int b = a;\n    return b;\n}";
    static const struct {
        enum task task;
        const char *replacement;
        status with_tree, without;
    } rows[] = {
        {TASK_DOCUMENT, "/* Adds. */\nint last(int a)\n{\n    int b = a;\n    return b;\n}", OK,
         ERR_UNSUPPORTED},
        {TASK_DOCUMENT, "int last(int a)\n{\n    int b = 2;\n    return b;\n}", ERR_FORMAT,
         ERR_UNSUPPORTED},
        {TASK_RENAME, "int last(int a)\n{\n    int c = a;\n    return c;\n}", OK, ERR_UNSUPPORTED},
        {TASK_SIMPLIFY, "int last(int a)\n{\n    return a;\n}", OK, OK},
        {TASK_SIMPLIFY, "int last(int a)\n{\n    return (a;\n}", ERR_FORMAT, OK},
    };
    buffer all = {0};
    for (int i = 0; i < 12000; i++) buffer_print(&all, "int f%d(int n) { return n * %d; }\n", i, i);
    size_t from = all.size;
    buffer_put_text(&all, text_of(piece));
    size_t to = all.size;
    buffer_put_char(&all, '\n');
    const struct language *l = language_find(TEXT(""), TEXT("a.c"));
    live_syntax *live = live_syntax_open(l);
    while (!live_syntax_go_on(live, buffer_text(&all), 100000)) continue;
    assert_non_null(live_syntax_tree(live));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct task_request q = {.task = rows[i].task,
                                 .document = {TEXT("a.c"), TEXT(""), buffer_text(&all), NULL},
                                 .from_byte = from,
                                 .to_byte = to};
        text replacement = text_of(rows[i].replacement);
        assert_int_equal(task_check(&q, replacement, NULL), rows[i].without);
        q.document.tree = live_syntax_tree(live);
        assert_int_equal(task_check(&q, replacement, NULL), rows[i].with_tree);
        buffer names = {0};
        task_free_names_put(&names, &q);
        assert_text(buffer_text(&names), "a, b");
        buffer_free(&names);
    }
    live_syntax_close(live);
    buffer_free(&all);
}

static void test_prose_can_do_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *said, *shown;
    } rows[] = {
        {"plain *words*, a < b\n", "plain *words*, a &lt; b\n"},
        {"[a](http://x) ![b](y) [c][d]\n[d]: z", "[a] (http://x) ![b] (y) [c] [d]\n[d] : z"},
        {"`v<int>` and ``a`[b](c)``", "`v<int>` and ``a`[b](c)``"},
        {"a ` b <i>\n` [x](y)", "a ` b &lt;i>\n` [x] (y)"},
        {"\\`[x](y)`", "\\`[x] (y)`"},
        {"```c\na[i](b) < c\n```\n[x](y)\n", "```c\na[i](b) < c\n```\n[x] (y)\n"},
        {"  ```\n  <a>\n[x](y)\n", "  ```\n  <a>\n[x] (y)\n"}, /* the list that held it has ended */
        {"```a`b\n<i>\n", "```a`b\n&lt;i>\n"},                 /* no fence, by its info string */
        {"~~~\n<i>\n~~~\n", "~~~\n&lt;i>\n~~~\n"},
        {"- ```\n```\n[x](y)",
         "- ```\n```\n[x](y)"}, /* the second opens a block: renderers agree */
        {"<script>alert(1)</script>", "&lt;script>alert(1)&lt;/script>"},
        {"a\x1b[31mb\x07 \xe2\x80\xae"
         "c\xef\xbb\xbf"
         "d\xf3\xa0\x81\x81"
         "e\xff"
         "f",
         "a[31mb cdef"},
        {"one\r\ntwo", "one\ntwo"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_prose(rows[i].said, rows[i].shown);
}

static void test_a_fence_line_without_end_is_cut(void **state)
{
    (void)state;
    struct prose p = {0};
    buffer said = {0}, out = {0};
    buffer_put_text(&said, TEXT("```"));
    for (int i = 0; i < 1000; i++) buffer_put_char(&said, 'x');
    buffer_put_text(&said, TEXT("\n```\n[x](y)\n"));
    prose_put(&p, buffer_text(&said), &out);
    prose_finish(&p, &out);
    assert_true(text_ends(buffer_text(&out), TEXT("```\n[x] (y)\n")));
    prose_free(&p);
    buffer_free(&said);
    buffer_free(&out);
}

static void test_languages_of_prose(void **state)
{
    (void)state;
    static const struct {
        const char *prose, *language;
    } rows[] = {
        {"Fix the order of jobs when the queue is full", "English"},
        {"Reihenfolge der Jobs bei voller Warteschlange und nicht danach", "German"},
        {"Corrige l'ordre des travaux dans la file pour les tests", "French"},
        {"Corregir el orden de las tareas cuando la cola se llena para los tests", "Spanish"},
        {"\xd0\x98\xd1\x81\xd0\xbf\xd1\x80\xd0\xb0\xd0\xb2\xd0\xb8\xd1\x82\xd1\x8c queue.c",
         "Russian"},
        {"\xe4\xbf\xae\xe5\xa4\x8d\xe9\x98\x9f\xe5\x88\x97 queue", "Chinese"},
        {"queue \xe3\x82\x92\xe7\x9b\xb4\xe3\x81\x99", "Japanese"},
        {"\xed\x81\x90 \xec\x88\x98\xec\xa0\x95", "Korean"},
        {"context: trim.c", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_text(human_language_of(text_of(rows[i].prose)), rows[i].language);
    assert_text(human_language_name(TEXT("de_AT.UTF-8")), "German");
    assert_text(human_language_name(TEXT("pt-BR")), "Portuguese");
    assert_text(human_language_name(TEXT("C")), "");
    assert_text(human_language_name(TEXT("dexter")), "");
}

static void test_conventional_subjects(void **state)
{
    (void)state;
    static const char *const good[] = {"feat: a", "fix(x): a", "chore!: a", "refactor(a/b)!: c d"};
    static const char *const bad[] = {"feature: a", "feat a",  "feat:a", "feat(): a", "fix(x: a",
                                      "Feat: a",    "room: a", "feat: ", "fix",       ""};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(commit_subject_is_conventional(text_of(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(commit_subject_is_conventional(text_of(bad[i])));
}

static void test_files_that_are_only_named(void **state)
{
    (void)state;
    static const char *const named[] = {"package-lock.json", "a/Cargo.lock",    "go.sum",
                                        "dist/a.js",         "x/generated/y.c", "a.min.css",
                                        "vendor/a/b.go"};
    static const char *const shown[] = {"a.c", "lock.c", "package.json", "distance/a.js", "lock"};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        assert_non_null(commit_file_by_name(text_of(named[i])));
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++)
        assert_null(commit_file_by_name(text_of(shown[i])));
}

static void test_messages_take_shape(void **state)
{
    (void)state;
    static const struct {
        const char *said, *message; /* NULL: none */
    } rows[] = {
        {"Add a\n", "Add a\n"},
        {"  Add   a  \n\n\n\nWhy.\n", "Add a\n\nWhy.\n"},
        {"Add a\nWhy.\n", "Add a\n\nWhy.\n"},
        {"Add a\n\none\ntwo\n\nthree\n", "Add a\n\none two\n\nthree\n"},
        {"Add a\n\n- one\n- two\n  more\n", "Add a\n\n- one\n- two more\n"},
        {"Add a\n\nsee\n#12 for\n", "Add a\n\nsee #12 for\n"},
        {"Add a\n\n#12 first\n", "Add a\n\n #12 first\n"},
        {"Add a\n\n12345678901234567890123456789012345678901234567890123456789012345678 #12 b\n",
         "Add a\n\n12345678901234567890123456789012345678901234567890123456789012345678 #12\nb\n"},
        {"Add a\n\n123456789012345678901234567890123456789012345678901234567890123456789 #12\n",
         "Add a\n\n123456789012345678901234567890123456789012345678901234567890123456789\n #12\n"},
        {"```text\nAdd a\n\nWhy.\n```\n", "Add a\n\nWhy.\n"},
        {"Sure, here is the message:\n\nAdd a", "Add a\n"},
        {"\n \n```\n```\n", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer out = {0};
        status code = commit_text_shape(&out, text_of(rows[i].said), NULL);
        assert_int_equal(code, rows[i].message ? OK : ERR_FORMAT);
        if (rows[i].message) assert_text(buffer_text(&out), rows[i].message);
        buffer_free(&out);
    }
}

static void test_pieces_follow_changes(void **state)
{
    (void)state;
    static const struct {
        size_t from, to;
        const char *inserted;
        bool outside;
        size_t low, high; /* of [10, 20) afterwards */
    } rows[] = {
        {0, 0, "xx", true, 12, 22},
        {2, 6, "", true, 6, 16},
        {10, 10, "a\n", true, 12, 22},
        {10, 10, "a", false, 0, 0},
        {9, 10, "", false, 0, 0},
        {9, 11, "x", false, 0, 0},
        {15, 15, "x", false, 0, 0},
        {20, 20, "x", false, 0, 0},
        {20, 20, "\nx", true, 10, 20},
        {20, 20, "\r\nx", true, 10, 20},
        {21, 30, "", true, 10, 20},
        {0, 40, "x", false, 0, 0},
        {SIZE_MAX, SIZE_MAX, "", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t low = 10, high = 20;
        bool outside =
            action_piece_follow(&low, &high, rows[i].from, rows[i].to, text_of(rows[i].inserted));
        assert_int_equal(outside, rows[i].outside);
        if (!outside) continue;
        assert_int_equal(low, rows[i].low);
        assert_int_equal(high, rows[i].high);
    }
}

static void test_names_of_test_files(void **state)
{
    (void)state;
    static const struct {
        const char *file, *expected;
        unsigned copy;
    } rows[] = {{"list.c", "test_list.c", 1},
                {"list.h", "test_list.c", 1},
                {"a.b.py", "test_a.b.py", 1},
                {"x.go", "x_test.go", 1},
                {"Account.java", "AccountTest.java", 1},
                {"a.ts", "a.test.ts", 1},
                {"a.tsx", "a.test.tsx", 1},
                {"a.js", "a_3.test.js", 3},
                {"a.sh", "a.bats", 1},
                {"a.md", NULL, 1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer out = {0};
        const struct language *l = language_find(TEXT(""), text_of(rows[i].file));
        bool known = action_test_name(&out, l, text_of(rows[i].file), rows[i].copy);
        assert_int_equal(known, rows[i].expected != NULL);
        if (known) assert_text(buffer_text(&out), rows[i].expected);
        buffer_free(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_selections_become_pieces),
        cmocka_unit_test(test_code_without_documentation),
        cmocka_unit_test(test_names_that_a_function_binds),
        cmocka_unit_test(test_parameters_that_are_assigned),
        cmocka_unit_test(test_large_files_are_judged_by_their_tree),
        cmocka_unit_test(test_prose_can_do_nothing),
        cmocka_unit_test(test_a_fence_line_without_end_is_cut),
        cmocka_unit_test(test_languages_of_prose),
        cmocka_unit_test(test_conventional_subjects),
        cmocka_unit_test(test_files_that_are_only_named),
        cmocka_unit_test(test_messages_take_shape),
        cmocka_unit_test(test_pieces_follow_changes),
        cmocka_unit_test(test_names_of_test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
