/* Post-processing: one table row per rule, then the oracle model (support/trim_oracle.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/random.h"
#include "base/utf.h"
#include "context/syntax.h"
#include "context/trim.h"
#include "tests/unit/support/trim_oracle.h"
#include "tokenizer/tokenizer.h"

/* Last: it has a macro named fail. */
#include <cmocka.h>

/* `document` has its gap at "|"; the answer is put in pieces of `piece` bytes. */
struct example {
    const char *rule, *path, *document, *answer, *expected;
    bool many;
    const char *must;
    size_t replaced;
    bool cut;   /* the answer was cut off */
    bool asked; /* by the user */
};

static const struct example examples[] = {
    {.rule = "one line ends at the line's end", "a.c", "int x|\n", " = 1;\nint y;\n", " = 1;"},
    {.rule = "an answer that ends is a line", "a.c", "int x|\n", " = 1;", " = 1;"},
    {.rule = "a line that was cut off is not shown", "a.c", "int x|\n", " = 1", "", .cut = true},
    {.rule = "the closing fence ends it", "a.py", "x = |\n", "12\n```\nmore", "12", true},
    {.rule = "the end of the turn, spelt out, ends it",
     "a.py",
     "x = |\n",
     "12<|im_end|>\n34",
     "12",
     true},
    {.rule = "the end of a turn that the file spells out itself",
     "a.py",
     "x = |\nEND = '<|im_end|>'\n",
     "'<|im_end|>' + END",
     "'<|im_end|>' + END"},
    {.rule = "one character is not shown unasked", "a.c", "f()|\n", ";\n", ""},
    {.rule = "one letter of another alphabet is one character", "a.md", "|\n", "\xC3\xA9\n", ""},
    {.rule = "one character is shown to who asks", "a.c", "f()|\n", ";\n", ";", .asked = true},
    {.rule = "an immediate fence means nothing", "a.c", "f();\n|\n", "```", ""},
    {.rule = "must-start bytes are dropped",
     "a.c",
     "int val|\n",
     " value = 1;",
     "ue = 1;",
     .must = " val"},
    {.rule = "must-start bytes that differ refuse it",
     "a.c",
     "int val|\n",
     " other = 1;\nb\nc\n",
     "",
     .must = " val"},
    {.rule = "must-start bytes cut off refuse it", "a.c", "int val|\n", " v", "", .must = " val"},
    {.rule = "prose before a fence is dropped",
     "a.c",
     "|\n",
     "Sure, here is:\n```c\nint x;\n```\nBye.",
     "int x;"},
    {.rule = "prose before a bare fence",
     "a.c",
     "|\n",
     "Here is the code:\n\n```\nint x;\n```",
     "int x;"},
    {.rule = "a comment may sound like chatter",
     "a.c",
     "// |\n",
     "The following:\n",
     "The following:"},
    {.rule = "chatter before a fence, in a comment",
     "a.c",
     "// |\n",
     "Sure, here is:\n```c\n// so it is\n```",
     "so it is"},
    {.rule = "a block that was cut off parses worse",
     "a.c",
     "void f(void)\n{\n    |\n}\n",
     "if (x) {\n        y();\n",
     "",
     true,
     .cut = true},
    {.rule = "prose without code is nothing", "a.c", "|\n", "Sure, here is the code:", ""},
    {.rule = "a reopened fence repeats the line",
     "a.c",
     "a();\nint val|\n",
     "```c\nint value;\n```",
     "ue;",
     .must = " val"},
    {.rule = "a reopened fence repeats lines",
     "a.c",
     "a();\nint val|\n",
     "Sure:\n```c\na();\nint value;\n```",
     "ue;",
     .must = " val"},
    {.rule = "a reopened fence behind a backtick that had to come first",
     "a.c",
     "/* Of `path| */\n",
     "```c\n`. It is\n```",
     ". It is",
     .must = "`"},
    {.rule = "a fence of Markdown's own",
     "a.md",
     "|\n",
     "```python\nx = 1\n",
     "``python\nx = 1",
     true,
     .must = "`"},
    {.rule = "a closer behind the gap is not doubled", "a.c", "f(|)\n", "a, b)", "a, b"},
    {.rule = "one closer too many", "a.c", "f(|);\n", "a));\n", "a", .asked = true},
    {.rule = "a closer where only a grammar knows that the file lacks it",
     "a.py",
     "def f(room):\n    print(f\"{ro|\n",
     "om}: at the top\")\n",
     "om}: at the top\")"},
    {.rule = "punctuation behind the gap is not doubled", "a.c", "x = a|;\n", " + b;\n", " + b"},
    {.rule = "a closer behind the gap is replaced when more follows",
     "a.c",
     "f(|)\n",
     "a, b);\n",
     "a, b);",
     .replaced = 1},
    {.rule = "two closers behind the gap", "a.c", "if (f(|))\n", "a)) {\n", "a)) {", .replaced = 2},
    {.rule = "a closer below is not doubled",
     "a.c",
     "void f(void)\n{\n    |\n}\n",
     "a();\n}\n",
     "a();",
     true},
    {.rule = "a closer the file lacks is allowed",
     "a.c",
     "void f(void)\n{\n    |\n",
     "a();\n}\nint x;\n",
     "a();\n}",
     true},
    {.rule = "a bracket in a string is no bracket",
     "a.c",
     "void f(void)\n{\n    |\n}\n",
     "a(\")}\");\n    b();\n}\n",
     "a(\")}\");\n    b();",
     true},
    {.rule = "a bracket in a comment is no bracket",
     "a.c",
     "void f(void)\n{\n    |\n}\n",
     "a(); // :)\n    b();\n}\n",
     "a(); // :)\n    b();",
     true},
    {.rule = "the rest of the line is said once",
     "a.py",
     "x = [|, 3]\n",
     "1, 2, 3]",
     "1, 2",
     .many = false},
    {.rule = "the line below is not repeated",
     "a.c",
     "a();\n|\nreturn total;\n",
     "b();\nreturn total;\n",
     "b();",
     true},
    {.rule = "a short line below is not repeated where it stands",
     "a.c",
     "a();\n|\ngo();\n",
     "b();\ngo();\nc();\n",
     "b();",
     true},
    {.rule = "lines further below are not repeated",
     "a.c",
     "a();\n|\ngo();\nreturn total;\n",
     "b();\nreturn total;\nc();\n",
     "b();",
     true},
    {.rule = "the line below instead of an answer",
     "a.c",
     "a();\n|\nreturn total;\n",
     "return total;\n",
     ""},
    {.rule = "dedent ends a block",
     "a.py",
     "def f():\n    |\n\nx = 1\n",
     "a()\n    b()\ndef g():\n    c()\n",
     "a()\n    b()",
     true},
    {.rule = "a block opened on the gap's line",
     "a.py",
     "if x|\n",
     ":\n    a()\n    b()\nc()\n",
     ":\n    a()\n    b()",
     true},
    {.rule = "a definition at the top ends before the next",
     "a.c",
     "|\n",
     "int f(void)\n{\n    return 1;\n}\n\nint g(void)\n{\n    return 2;\n}\n",
     "int f(void)\n{\n    return 1;\n}",
     true},
    {.rule = "an open bracket at the cut goes back",
     "a.c",
     "void f(void)\n{\n    |\n}\n",
     "a();\n    if (x) {\n        b();\n    c",
     "a();",
     true,
     .cut = true},
    {.rule = "a block without brackets that was cut off goes back",
     "a.lua",
     "function f(x)\n  |\nend\n",
     "a()\n  for i = 1, 2 do\n    b()\n",
     "a()",
     true,
     .cut = true},
    {.rule = "a block without brackets that is complete stays",
     "a.lua",
     "function f(x)\n  |\nend\n",
     "a()\n  for i = 1, 2 do\n    b()\n  end\nend\n",
     "a()\n  for i = 1, 2 do\n    b()\n  end",
     true},
    {.rule = "a line loop is cut",
     "a.py",
     "|\n",
     "a = 1\nb = 2\nb = 2\nb = 2\nb = 2\n",
     "a = 1\nb = 2",
     true},
    {.rule = "a token loop is refused",
     "a.py",
     "x = |\n",
     "no no no no no no no no no no no no no no no no no no no no no no no no no no no no\n",
     ""},
    {.rule = "only white space is nothing", "a.c", "x|\n", "   \n", ""},
    {.rule = "CRLF as in the file",
     "a.c",
     "a();\r\n|\r\n",
     "b();\nc();\n```",
     "b();\r\nc();",
     true},
    {.rule = "CRLF in the answer", "a.c", "a();\n|\n", "b();\r\nc();\r\n```", "b();\nc();", true},
    {.rule = "tabs as in the file",
     "a.go",
     "func f() {\n\ta()\n\t|\n}\n",
     "if x {\n        b()\n    }\n```",
     "if x {\n\t\tb()\n\t}",
     true},
    {.rule = "a block's first line deeper than the gap",
     "a.c",
     "int f(int a)\n{\n    |\n}\n",
     "    if (a)\n            return a;\n        return 1;\n```",
     "if (a)\n        return a;\n    return 1;",
     true},
    {.rule = "and of a language without brackets",
     "a.py",
     "def f(a):\n    |\n",
     "    return a\n```",
     "return a"},
    {.rule = "but not where the gap stands too far out",
     "a.py",
     "class A:\n    def f(a):\n    |\n",
     "    return a\n```",
     "    return a"},
    {.rule = "nor inside an argument list",
     "a.c",
     "void g(void)\n{\n    call(a,\n    |\n",
     "     b);\n```",
     "     b);"},
    {.rule = "a line that goes on is no end",
     "a.sh",
     "f() {\n    |\n}\n",
     "one\n    two \\\n  three\n    four \\\n",
     "one\n    two \\\n  three",
     true,
     .cut = true},
    {.rule = "escape sequences end it", "a.c", "|\n", "a();\nb(\x1b[31m);\n", "a();", true},
    {.rule = "direction marks end it", "a.c", "|\n", "a();\nb(\xE2\x80\xAE);\n", "a();", true},
    {.rule = "escape sequences in words", "a.md", "|\n", "one\x1b[31m two\n", ""},
    {.rule = "direction marks in words", "a.md", "|\n", "one\xE2\x80\xAE two\n", ""},
    {.rule = "ill-formed UTF-8 ends it", "a.c", "|\n", "a();\nb(\xC3\x28);\n", "a();", true},
    {.rule = "other alphabets stay", "a.py", "|\n", "x = \"漢字 é\"\n", "x = \"漢字 é\""},
};

static text document_of(const struct example *e, buffer *content, size_t *cursor)
{
    const char *gap = strchr(e->document, '|');
    *cursor = (size_t)(gap - e->document);
    buffer_put(content, e->document, *cursor);
    buffer_put_text(content, text_of(gap + 1));
    return buffer_text(content);
}

static void check(const struct example *e, size_t piece)
{
    buffer content = {0};
    error err;
    struct trim_options options = {.fence = TEXT("```"), .many_lines = e->many};
    options.document = (struct document_view){text_of(e->path), TEXT(""),
                                              document_of(e, &content, &options.cursor_byte), NULL};
    options.must_start_with = text_of(e->must);
    options.asked = e->asked;
    trim *t;
    assert_int_equal(trim_open(&t, &options, &err), OK);
    text answer = text_of(e->answer);
    for (size_t at = 0; at < answer.size; at += piece)
        if (trim_put(t, text_slice(answer, at, at + piece)) == TRIM_DONE) break;
    struct trim_result result;
    trim_finish(t, !e->cut, &result);
    if (!text_is(result.insert, e->expected) || result.replace_bytes != e->replaced ||
        !result.reason)
        fail_msg("%s: found \"%.*s\" (replaces %zu, %s), expected \"%s\"", e->rule,
                 (int)result.insert.size, result.insert.bytes ? result.insert.bytes : "",
                 result.replace_bytes, result.reason, e->expected);
    trim_close(t);
    buffer_free(&content);
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
        for (size_t piece = 1; piece < 9; piece += 1 + piece / 3) check(&examples[i], piece);
}

/* Where an answer may stop: each text at which it may, joined by "|". */
static const struct {
    const char *path, *document, *answer, *ends;
    bool one_line;
} stops[] = {
    {"a.c", "void f(void)\n{\n|\n    z();\n}\n", "    a();\n    b();\n    c();\n```",
     "    a();|    a();\n    b();|    a();\n    b();\n    c();", false},
    /* not within what it opened, nor behind a blank line twice */
    {"a.c", "void f(void)\n{\n|\n    z();\n}\n",
     "    a();\n\n    if (b) {\n        c();\n    }\n```",
     "    a();|    a();\n\n    if (b) {\n        c();\n    }", false},
    /* "do" alone parses worse */
    {"a.c", "void f(void)\n{\n|\n    z();\n}\n",
     "    a();\n    do\n        b();\n    while (c);\n```",
     "    a();|    a();\n    do\n        b();\n    while (c);", false},
    /* the first three and the last */
    {"a.txt", "|\nend\n", "one\ntwo\nthree\nfour\nfive\n```",
     "one|one\ntwo|one\ntwo\nthree|one\ntwo\nthree\nfour\nfive", false},
    {"a.c", "int a;\r\n|\r\nint z;\r\n", "int b;\nint c;\n```", "int b;|int b;\r\nint c;", false},
    {"a.c", "int a;\n|\nint z;\n", "int b;\nint c;\n```", "int b;", true},
    {"a.c", "int a;\n|\nint z;\n", "```", "", false},
};

static void test_stops(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        const struct example e = {.path = stops[i].path, .document = stops[i].document};
        buffer content = {0}, found = {0};
        error err;
        trim *t;
        struct trim_options options = {.fence = TEXT("```"), .many_lines = !stops[i].one_line};
        struct trim_result r;
        options.document.path = text_of(e.path);
        options.document.content = document_of(&e, &content, &options.cursor_byte);
        assert_int_equal(trim_open(&t, &options, &err), OK);
        trim_put(t, text_of(stops[i].answer));
        trim_finish(t, true, &r);
        for (size_t k = 0; k < r.n_ends; k++) {
            if (k) buffer_put_char(&found, '|');
            buffer_put_text(&found, text_slice(r.insert, 0, r.ends[k]));
        }
        assert_int_equal(r.n_ends ? r.ends[r.n_ends - 1] : 0, r.insert.size);
        if (!text_is(buffer_text(&found), stops[i].ends))
            fail_msg("%zu: found \"%.*s\", expected \"%s\"", i, (int)found.size,
                     found.bytes ? found.bytes : "", stops[i].ends);
        trim_close(t);
        buffer_free(&content);
        buffer_free(&found);
    }
}

static tokenizer *cl100k;

static const char *const sources[] = {"tests/fixtures/shelf.py",
                                      "tests/fixtures/queue.js",
                                      "tests/fixtures/matrix.go",
                                      "tests/fixtures/words.rs",
                                      "tests/fixtures/Account.java",
                                      "tests/fixtures/stack.lua",
                                      "tests/fixtures/backup.sh",
                                      "tests/fixtures/shapes.ts",
                                      "context/prompt_window.c",
                                      "base/utf.c",
                                      "context/trim.c"};
enum { SOURCES = sizeof sources / sizeof *sources };

static size_t line_end_after(text whole, size_t at, size_t n_lines)
{
    size_t end = text_find(whole, TEXT("\n"), at);
    for (; n_lines > 0 && end != SIZE_MAX; n_lines--) end = text_find(whole, TEXT("\n"), end + 1);
    return end == SIZE_MAX ? whole.size : end;
}

static void oracle_place_check(size_t *n, size_t *shown, const struct oracle *o, uint64_t seed)
{
    for (int w = 0; w < WRAPPINGS; w++) {
        struct oracle_result r;
        oracle_run(&r, o, (enum wrapping)w, cl100k, seed);
        if (r.fault[0]) fail_msg("%s", r.fault);
        if (r.worse) fail_msg("%s", r.worse_words);
        n[w] += r.said;
        shown[w] += r.shown;
    }
}

static void test_oracle(void **state)
{
    (void)state;
    size_t n[WRAPPINGS] = {0}, shown[WRAPPINGS] = {0};
    for (size_t i = 0; i < SOURCES; i++) {
        buffer content = {0};
        error err;
        assert_int_equal(file_read(&content, sources[i], MIB, &err), OK);
        for (uint64_t k = 0; k < 120; k++) {
            struct oracle o;
            if (oracle_place(&o, sources[i], buffer_text(&content), i, k))
                oracle_place_check(n, shown, &o, k);
        }
        buffer_free(&content);
    }
    for (int w = 0; w < WRAPPINGS; w++) {
        print_message("oracle, %s: %zu of %zu shown\n", wrapping_names[w], shown[w], n[w]);
        if (w != CUT) assert_true(n[w] > 200 && shown[w] * 10 >= n[w] * 9);
    }
}

/* At this place an edit of the tree has two errors after the answer, and a parse from the beginning three. */
static void test_a_fresh_parse_has_the_last_word(void **state)
{
    (void)state;
    enum { AT = 851, LINES_MAX = 12 };
    const char *path = "tests/fixtures/Account.java";
    buffer content = {0};
    assert_int_equal(file_read(&content, path, MIB, NULL), OK);
    for (size_t n = 0; n < LINES_MAX; n++) {
        struct oracle o = {.path = path, .whole = buffer_text(&content), .at = AT, .many = true};
        o.to = line_end_after(o.whole, AT, n);
        for (int with_tree = 0; with_tree < 2; with_tree++) {
            size_t asked[WRAPPINGS] = {0}, shown[WRAPPINGS] = {0};
            o.with_tree = with_tree;
            oracle_place_check(asked, shown, &o, n);
        }
    }
    buffer_free(&content);
}

/* Where the run of closers and punctuation at the end of the line [at, end) begins. */
static size_t closers_of(text whole, size_t at, size_t end)
{
    while (end > at && strchr(")]};,:", whole.bytes[end - 1])) end--;
    return end;
}

/* The editor closed the brackets of a line already; the answer says the whole line. Nothing is said
 * twice: the line becomes what it is in the file, or a beginning of that before the closers. */
static bool closers_check(const char *path, text whole, size_t at, size_t closers, size_t end)
{
    buffer content = {0}, line = {0};
    buffer_put_text(&content, text_slice(whole, 0, at));
    buffer_put_text(&content, text_slice(whole, closers, whole.size));
    struct trim_options options = {.cursor_byte = at, .fence = TEXT("```")};
    options.document = (struct document_view){text_of(path), TEXT(""), buffer_text(&content), NULL};
    trim *t;
    error err;
    assert_int_equal(trim_open(&t, &options, &err), OK);
    trim_put(t, text_slice(whole, at, end + 1));
    struct trim_result r;
    trim_finish(t, true, &r);
    buffer_put_text(&line, r.insert);
    buffer_put_text(&line, text_slice(whole, closers + r.replace_bytes, end));
    text news = text_slice(whole, at, closers);
    bool same = text_equal(buffer_text(&line), text_slice(whole, at, end));
    if (!same && (r.replace_bytes || !text_starts(news, r.insert)))
        fail_msg("%s at byte %zu: the line ends in \"%.*s\" (%s), in the file in \"%.*s\"", path,
                 at, (int)line.size, line.bytes, r.reason, (int)(end - at), whole.bytes + at);
    trim_close(t);
    buffer_free(&content);
    buffer_free(&line);
    return same;
}

static void test_oracle_before_closers(void **state)
{
    (void)state;
    size_t n = 0, n_same = 0;
    for (size_t i = 0; i < SOURCES; i++) {
        buffer content = {0};
        error err;
        assert_int_equal(file_read(&content, sources[i], MIB, &err), OK);
        text whole = buffer_text(&content);
        for (uint64_t k = 0; k < 300; k++) {
            size_t at = utf8_floor(whole, random_at(i + 7, k) % content.size);
            size_t end = line_end_after(whole, at, 0), closers = closers_of(whole, at, end);
            if (closers == end || closers == at || whole.bytes[closers] != ')') continue;
            n++;
            n_same += closers_check(sources[i], whole, at, closers, end);
        }
        buffer_free(&content);
    }
    print_message("before closers: %zu of %zu lines as in the file\n", n_same, n);
    assert_true(n > 300 && n_same * 10 >= n * 9);
}

static void test_hostile_answers(void **state)
{
    (void)state;
    static const char *const pieces[] = {"\0",      "{",    "}",  "((((",    "\"",
                                         "`",       "\n",   "x",  "\xff",    "```\n",
                                         "Sure:\n", "    ", "\r", "\xF0\x9F"};
    for (uint64_t round = 0; round < 400; round++) {
        struct trim_options options = {.document = {TEXT("a.c"), TEXT(""), TEXT("f(\n\n)\n"), NULL},
                                       .cursor_byte = 3,
                                       .fence = TEXT("```"),
                                       .many_lines = round % 2};
        trim *t;
        error err;
        struct trim_result r;
        assert_int_equal(trim_open(&t, &options, &err), OK);
        for (uint64_t i = 0; i < 300; i++) {
            size_t which = random_at(round, i) % (sizeof pieces / sizeof *pieces);
            text piece = which ? text_of(pieces[which]) : (text){"\0", 1};
            if (trim_put(t, piece) == TRIM_DONE) break;
        }
        trim_finish(t, round % 3, &r);
        assert_true(utf8_valid(r.insert));
        assert_null(r.insert.size ? memchr(r.insert.bytes, 0, r.insert.size) : NULL);
        trim_close(t);
    }
}

/* Ten megabytes: bounded, and over long before. */
static void test_endless_answers(void **state)
{
    (void)state;
    static const char *const loops[] = {
        "x",     "a b\n", "if (x) {\n", "\"\\", "`", "{", "\n", "é", "Sure, here is the code:\n",
        "```c\n"};
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++) {
        struct trim_options options = {.document = {TEXT("a.c"), TEXT(""), TEXT("\n"), NULL},
                                       .fence = TEXT("```"),
                                       .many_lines = true};
        trim *t;
        error err;
        struct trim_result r;
        assert_int_equal(trim_open(&t, &options, &err), OK);
        size_t n = 0, max = 10 * MIB / strlen(loops[i]);
        while (n < max && trim_put(t, text_of(loops[i])) == TRIM_MORE) n++;
        assert_true(n < max);
        trim_finish(t, true, &r);
        assert_true(r.insert.size <= TRIM_ANSWER_MAX);
        trim_close(t);
    }
}

static void check_place(const char *path, const char *marked, bool fit, bool many)
{
    struct example e = {.document = marked};
    buffer content = {0};
    size_t cursor;
    const char *reason;
    struct document_view d = {text_of(path), TEXT(""), document_of(&e, &content, &cursor), NULL};
    assert_int_equal(trim_place_is_fit(&d, cursor, false, &reason), fit);
    assert_true((reason[0] == 0) == fit);
    assert_int_equal(trim_wants_many_lines(&d, cursor, false), many);
    buffer_free(&content);
}

static void test_places(void **state)
{
    (void)state;
    check_place("a.c", "int x = |", true, false);
    check_place("a.c", "f(|);\n", true, false);
    check_place("a.c", "f(|, y);\n", false, false);
    check_place("a.c", "in|t x;\n", false, false);
    check_place("a.c", "void f(void)\n{\n    |\n}\n", true, true);
    check_place("a.c", "void f(void)\n{\n    |\n    a();\n}\n", true, false);
    check_place("a.c", "a();\n|\nb();\n", true, false);
    check_place("a.py", "def f():|\n", true, true);
    check_place("a.py", "def f():\n    |", true, true);
    check_place("a.py", "x = {\n    |\n}\n", true, true);
    check_place("a.lua", "function f(a)\n  |\nend\n", true, true);
    check_place("a.sh", "if true; then\n    |\nfi\n", true, true);
    check_place("a.md", "Note:\n|\n", true, false);
    check_place("", "|", true, false);
}

static int open_tokenizer(void **state)
{
    (void)state;
    error err;
    return tokenizer_open(&cl100k, NULL, &err) == OK ? 0 : -1;
}

static int close_tokenizer(void **state)
{
    (void)state;
    tokenizer_close(cl100k);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_a_fresh_parse_has_the_last_word),
        cmocka_unit_test(test_oracle_before_closers),
        cmocka_unit_test(test_hostile_answers),
        cmocka_unit_test(test_endless_answers),
        cmocka_unit_test(test_places),
    };
    return cmocka_run_group_tests(tests, open_tokenizer, close_tokenizer);
}
