/* What retrieval finds in small repositories written here, where it is plain what belongs into the
 * prompt, and what never may come. */
#include <sqlite3.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/index.h"
#include "context/syntax.h"
#include "tests/unit/support/place.h"

#include "tests/unit/workspace.h"

struct opened {
    repository *r;
    code_index *x;
    retriever *retriever;
};

static void open_all(struct opened *o, const char *name)
{
    struct index_report report;
    error err = {0};
    if (repository_open(&o->r, workspace_path(name), &err) != OK ||
        index_open(&o->x, o->r, &err) != OK ||
        index_update(&report, o->x, o->r, NULL, NULL, &err) != OK ||
        retriever_open(&o->retriever, index_database_path(o->x), repository_root(o->r), &err) != OK)
        fail_msg("%s", err.message);
}

static void close_all(struct opened *o)
{
    retriever_close(o->retriever);
    index_close(o->x);
    repository_close(o->r);
}

static void find(struct excerpts *out, const struct opened *o, const struct place *p)
{
    error err = {0};
    if (retrieve(out, o->retriever, &p->q, &err) != OK) fail_msg("%s", err.message);
}

/* The first excerpt of this file that has these words; NULL: none. */
static const struct excerpt *excerpt_with(const struct excerpts *e, const char *path,
                                          const char *words)
{
    for (size_t i = 0; i < e->n; i++)
        if (text_is(e->items[i].path, path) &&
            text_find(e->items[i].content, text_of(words), 0) != SIZE_MAX)
            return &e->items[i];
    return NULL;
}

static const char c_place[] = "#include \"lib/list.h\"\n"
                              "\n"
                              "static int sum(const struct list *l)\n"
                              "{\n"
                              "    int total = list_length(l);\n"
                              "    |\n"
                              "}\n";

static void make_c(const char *name)
{
    shell(
        "mkdir -p %s/lib %s/other && cd %s && git init -q && "
        "printf '#ifndef LIST_H\\n#define LIST_H\\n#include \"node.h\"\\n"
        "struct list {\\n    struct node *first;\\n    int n;\\n};\\n"
        "int list_length(const struct list *l);\\n"
        "void list_free(struct list *l);\\n#endif\\n' > lib/list.h && "
        "printf 'struct node {\\n    struct node *next;\\n    int value;\\n};\\n' > lib/node.h && "
        "printf '#include \"list.h\"\\nstatic int hidden(void) { return 1; }\\n"
        "int list_length(const struct list *l)\\n{\\n    return l->n;\\n}\\n' > lib/list.c && "
        "printf 'struct list {\\n    char *wrong;\\n};\\n' > other/list.h && "
        "printf 'function list_length(a) { return a.length; }\\n' > other/list.js && "
        "printf 'int list_length(int password);\\n' > .env.h && mkdir .ssh && "
        "printf 'list_length total\\n' > .env && "
        "printf 'int total_of(void)\\n{\\n    int unusual_word = 1;\\n    return "
        "unusual_word;\\n}\\n'"
        " > far.c && "
        "printf 'int another(void)\\n{\\n    return unusual_word;\\n}\\n' > near.c",
        name, name, name);
}

static bool overlap(const struct excerpt *a, const struct excerpt *b)
{
    return a->line && b->line && text_equal(a->path, b->path) && a->line < b->line + b->n_lines &&
           b->line < a->line + a->n_lines;
}

static void definitions_come_through_imports(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    make_c("c");
    open_all(&o, "c");
    static const struct recent_place inside[] = {
        {{"lib/list.h", 10}, 6}}; /* of what is shown whole */
    place_make(&p, "main.c", c_place);
    p.q.recent = inside, p.q.n_recent = 1;
    find(&e, &o, &p);
    const struct excerpt *type = excerpt_with(&e, "lib/list.h", "struct node *first;");
    assert_non_null(type);
    assert_int_equal(type->line, 4);
    assert_int_equal(type->n_lines, 4);
    assert_true(text_is(type->content, "struct list {\n    struct node *first;\n    int n;\n};\n"));
    assert_non_null(excerpt_with(&e, "lib/list.h", "int list_length(const struct list *l)"));
    /* What an imported header hands on is an offer. */
    assert_non_null(excerpt_with(&e, "lib/node.h", "struct node"));
    /* Not the type of the same name elsewhere, another language, a private function, or secrets. */
    const struct excerpt *wrong = excerpt_with(&e, "other/list.h", "wrong"),
                         *body = excerpt_with(&e, "lib/list.c", "hidden");
    assert_null(excerpt_with(&e, "other/list.js", ""));
    assert_true(!wrong || wrong->source == SOURCE_SIMILAR);
    assert_true(!body || body->source == SOURCE_SIMILAR);
    for (size_t i = 0; i < e.n; i++) {
        assert_false(text_starts(e.items[i].path, TEXT(".env")));
        assert_false(text_is(e.items[i].path, "main.c"));
        assert_true(e.items[i].content.size > 0 && e.items[i].reason[0]);
        assert_int_equal(e.items[i].content.bytes[e.items[i].content.size - 1], '\n');
        if (i) assert_true(e.items[i - 1].score >= e.items[i].score);
        for (size_t k = 0; k < i; k++) assert_false(overlap(&e.items[i], &e.items[k]));
    }
    excerpts_free(&e);
    close_all(&o);
}

static void similar_lines_and_recent_places(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    static const struct recent_place recent[] = {{{"lib/list.c", 10}, 4}};
    static const struct open_text open[] = {
        {{"far.c", 5}, {"int total_of(void)\n{\n    return unusual_word + 41;\n}\n", 51}}};
    open_all(&o, "c");
    place_make(&p, "main.c", "int f(void)\n{\n    int unusual_word = |\n}\n");
    find(&e, &o, &p);
    assert_non_null(excerpt_with(&e, "far.c", "int unusual_word = 1;"));
    assert_non_null(excerpt_with(&e, "near.c", "return unusual_word;"));
    assert_null(excerpt_with(&e, "lib/list.c", "return l->n;"));
    excerpts_free(&e);
    /* As the editor has it, not as the disk does. */
    p.q.open = open, p.q.n_open = 1, p.q.recent = recent, p.q.n_recent = 1;
    find(&e, &o, &p);
    assert_non_null(excerpt_with(&e, "far.c", "unusual_word + 41"));
    assert_null(excerpt_with(&e, "far.c", "int unusual_word = 1;"));
    const struct excerpt *visited = excerpt_with(&e, "lib/list.c", "return l->n;");
    assert_non_null(visited);
    assert_int_equal(visited->source, SOURCE_RECENT);
    excerpts_free(&e);
    /* A visited place that speaks of the same things ranks as the first visited one: the weight. */
    const struct recent_place near = {TEXT("near.c"), 1};
    p.q.recent = &near;
    find(&e, &o, &p);
    visited = excerpt_with(&e, "near.c", "return unusual_word;");
    assert_non_null(visited);
    assert_true(visited->score == 0.6);
    excerpts_free(&e);
    p.q.recent = recent;
    p.q.without = 1u << SOURCE_SIMILAR | 1u << SOURCE_RECENT | 1u << SOURCE_USAGE;
    find(&e, &o, &p);
    assert_null(excerpt_with(&e, "near.c", "return unusual_word;"));
    assert_null(excerpt_with(&e, "lib/list.c", "return l->n;"));
    excerpts_free(&e);
    close_all(&o);
}

/* Definitions whose names stand nowhere in the document yet, and which way each comes. */
static const struct {
    const char *path, *document, *file, *words;
    enum retrieve_source source;
} unnamed[] = {
    {"app/main.ts", "import {} from '@pk/types';\nconst s = |;\n", "types/src/index.ts",
     "interface Shape", SOURCE_IMPORT},
    {"app/main.ts", "import {} from '@pk/types/deep';\nconst s = |;\n", "types/src/index.ts",
     "interface Shape", SOURCE_IMPORT},
    /* By package.json's "main", built from the sources, and two files that hand it on. */
    {"app/main.ts", "import {} from '@pk/core';\nconst s = |;\n", "core/src/inner.shape.ts",
     "interface Deep", SOURCE_IMPORT},
    {"app/main.ts", "import {} from '@pk/stub';\nconst s = |;\n", "stub/src/all.ts",
     "interface Built", SOURCE_IMPORT},
    /* What a file imports that defines nothing. */
    {"app/main.ts", "import {} from '../relay/bridge';\nconst s = |;\n", "relay/relayed.ts",
     "interface Relayed", SOURCE_IMPORT},
    {"app/main.ts", "import {} from '@lib/tool';\nconst s = |;\n", "app/library/tool.ts",
     "interface Tool", SOURCE_IMPORT},
    {"go/two.go", "package a\n\nfunc main() {\n\t|\n}\n", "go/one.go", "func Helper(n int) int",
     SOURCE_IMPORT},
    {"py/main.py", "import pkg\n\ny = |\n", "py/pkg/__init__.py", "def package_opens(name)",
     SOURCE_IMPORT},
    {"rs/src/a.rs", "use crate::deep::*;\n\nfn f() {\n    |\n}\n", "rs/src/deep.rs",
     "pub fn dig_down(n: u32)", SOURCE_IMPORT},
    {"t/test_b.py", "def test_b():\n    |\n", "lib/client.py", "def make_client(name)", SOURCE_KIN},
};

static void what_is_not_named_yet(void **state)
{
    (void)state;
    struct opened o;
    shell("mkdir -p many/app many/types/src many/go many/t many/lib && cd many && "
          "git init -q && git config user.email a@b && git config user.name n && "
          "printf '{\"version\": 1, \"name\": \"@pk/types\"}\n' > types/package.json && "
          "printf 'export interface Shape { sides: number }\n' > types/src/index.ts && "
          "mkdir -p core/src/node stub/src app/library && "
          "printf '{\"name\": \"@pk/core\", \"main\": \"./lib/node/main.js\"}' > core/package.json "
          "&& "
          "printf \"export * from '../api';\n\" > core/src/node/main.ts && "
          "printf \"export { Deep } from './inner.shape';\n\" > core/src/api.ts && "
          "printf 'export interface Deep { a: 1 }\n' > core/src/inner.shape.ts && "
          "printf 'export interface Wrong { a: 1 }\n' > core/src/inner.ts && "
          "printf '{\"name\": \"@pk/stub\", \"main\": \"./entry\", \"types\": \"./entry.js\"}' "
          "> stub/package.json && "
          "printf \"module.exports = require('./lib/all');\n\" > stub/entry.js && "
          "printf 'export interface Built { a: 1 }\n' > stub/src/all.ts && "
          "printf '// names\n{\"compilerOptions\": {\"baseUrl\": \"./\", /* of folders */ "
          "\"paths\": {\"@lib/*\": [\"library/*\",],}}}\n' > app/tsconfig.json && "
          "printf 'export interface Tool { a: 1 }\n' > app/library/tool.ts && mkdir relay && "
          "printf \"export * from './relay';\n\" > relay/bridge.ts && "
          "printf \"import { Relayed } from './relayed';\nexport { Relayed };\n\" > relay/relay.ts "
          "&& "
          "printf 'export interface Relayed { a: 1 }\n' > relay/relayed.ts && "
          "printf 'package a\n\nfunc Helper(n int) int { return n }\n' > go/one.go && "
          "mkdir -p py/pkg rs/src && "
          "printf 'def package_opens(name):\n    return name\n' > py/pkg/__init__.py && "
          "printf 'pub fn dig_down(n: u32) -> u32 {\n    n\n}\n' > rs/src/deep.rs && "
          "printf 'def make_client(name):\n    return name\n' > lib/client.py && "
          "printf 'def test_a():\n    c = make_client(1)\n' > t/test_a.py");
    open_all(&o, "many");
    for (size_t i = 0; i < sizeof unnamed / sizeof *unnamed; i++) {
        struct place p;
        struct excerpts e;
        place_make(&p, unnamed[i].path, unnamed[i].document);
        find(&e, &o, &p);
        const struct excerpt *found = excerpt_with(&e, unnamed[i].file, unnamed[i].words);
        if (!found || found->source != unnamed[i].source)
            fail_msg("%s: \"%s\" of %s: %s", unnamed[i].path, unnamed[i].words, unnamed[i].file,
                     found ? retrieve_source_name(found->source) : "not found");
        excerpts_free(&e);
        p.q.without = 1u << unnamed[i].source | 1u << SOURCE_SIMILAR | 1u << SOURCE_USAGE;
        find(&e, &o, &p);
        assert_null(excerpt_with(&e, unnamed[i].file, unnamed[i].words));
        excerpts_free(&e);
    }
    close_all(&o);
}

/* Prose and data that have the words, too, are not what is looked for. */
static void similar_lines_are_of_the_same_language(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    shell("mkdir -p prose && cd prose && git init -q && for i in 1 2 3 4 5 6 7 8 9 10 11 12; do "
          "echo \"unusual_word second_word third_word $i\" > $i.md; done && "
          "printf 'int a(void)\n{\n    int n = unusual_word + second_word * third_word;\n"
          "    return n + other_words_that_make_it_longer;\n}\n' > a.c");
    open_all(&o, "prose");
    place_make(&p, "main.c",
               "int f(void)\n{\n    return unusual_word + second_word - third_word|;\n}\n");
    find(&e, &o, &p);
    const struct excerpt *similar = excerpt_with(&e, "a.c", "unusual_word + second_word");
    assert_non_null(similar);
    assert_int_equal(similar->source, SOURCE_SIMILAR);
    assert_null(excerpt_with(&e, "1.md", ""));
    excerpts_free(&e);
    close_all(&o);
}

/* Contents that a file had before are still in the database; they take nobody's place. */
static void similar_lines_among_old_contents(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    bool changed;
    shell("mkdir -p old && cd old && git init -q && "
          "printf 'unusual_word = 1\nsecond_word = 2\n' > often.py && "
          "{ printf 'unusual_word = far\n'; seq -f 'filler_%%g = 1' 200; } > far.py");
    open_all(&o, "old");
    for (int i = 0; i < 70; i++) {
        shell("printf 'unusual_word = 1\nsecond_word = 2\nversion = %d\n' > old/often.py", i);
        assert_int_equal(index_update_file(&changed, o.x, o.r, TEXT("often.py"), NULL), OK);
    }
    place_make(&p, "main.py", "unusual_word = 3\nsecond_word = |\n");
    p.q.without = ~(1u << SOURCE_SIMILAR);
    find(&e, &o, &p);
    assert_non_null(excerpt_with(&e, "often.py", "version = 69"));
    assert_non_null(excerpt_with(&e, "far.py", "unusual_word = far"));
    excerpts_free(&e);
    close_all(&o);
}

/* Words of three letters lead to no file; that its file changes in the same commits does. */
static void similar_lines_of_files_that_change_together(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    shell("mkdir -p pair/x pair/y && cd pair && git init -q && git config user.email a@b && "
          "git config user.name n && "
          "printf 'void c(void)\n{\n    qux = zap + fob;\n}\n' > y/c.c && git add y && "
          "git commit -qm c && "
          "for i in 1 2 3; do printf 'int a(void) { return '$i'; }\n' > x/a.c && "
          "printf 'void b(void)\n{\n    qux = zap + fob; /* '$i' */\n}\n' > y/b.c && "
          "git add x y && git commit -qm $i; done");
    open_all(&o, "pair");
    place_make(&p, "x/a.c", "int a(void)\n{\n    qux = zap + |\n}\n");
    p.q.without = ~(1u << SOURCE_SIMILAR);
    find(&e, &o, &p);
    assert_non_null(excerpt_with(&e, "y/b.c", "qux = zap + fob; /* 3 */"));
    assert_null(excerpt_with(&e, "y/c.c", "qux"));
    excerpts_free(&e);
    close_all(&o);
}

/* A name is like another one that has some of its parts, however they are joined; of windows that
 * overlap the better one comes, and none from the document. */
static void windows_speak_of_the_same_things(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    shell("mkdir -p parts && cd parts && git init -q && "
          "{ printf 'rare_harvest_size = 1\n'; for i in $(seq 60); do echo \"x$i = $i\"; done; "
          "printf 'def harvestWheat(fieldSize):\n    return rare_harvest_size * fieldSize\n'; "
          "for i in $(seq 60); do echo \"y$i = $i\"; done; } > far.py && "
          "printf 'from far import rare_harvest_size\nprint(rare_harvest_size)\n' > other.py && "
          "printf 'wheat_field = rare_harvest_size\n' > main.py");
    open_all(&o, "parts");
    place_make(&p, "main.py", "wheat_field = rare_harvest_size\nharvest_wheat(field_size=|\n");
    find(&e, &o, &p);
    const struct excerpt *window = excerpt_with(&e, "far.py", "return rare_harvest_size");
    assert_non_null(window);
    assert_int_equal(window->source, SOURCE_SIMILAR);
    const struct excerpt *whole_only = excerpt_with(&e, "far.py", "rare_harvest_size = 1");
    assert_true(!whole_only || whole_only->score < window->score);
    assert_true(window->line > 40 && window->line <= 62 && window->line + window->n_lines > 63);
    for (size_t i = 0; i < e.n; i++) {
        assert_false(text_is(e.items[i].path, "main.py"));
        for (size_t k = 0; k < i; k++) assert_false(overlap(&e.items[i], &e.items[k]));
    }
    excerpts_free(&e);
    close_all(&o);
}

/* What the index says of the file on disk, and what the document has otherwise. */
static void documents_that_differ_from_their_files(void **state)
{
    (void)state;
    static const struct {
        const char *document, *path, *words; /* words: "" for none of the file */
    } rows[] = {
        {"import pkg_one\nx = |\n", "pkg_one.py", "def one_opens(a)"},
        {"import pkg_one\nimport pkg_two\nx = |\n", "pkg_two.py", "def two_opens(a)"},
        {"import pkg_one\nx = |\n", "pkg_two.py", ""},
        /* Two places of changed lines, with what the file has between them. */
        {"import pkg_two\na = 1\nb = 2\nc = 3\nd = 4\nimport pkg_six\nx = |\n", "pkg_two.py",
         "def two_opens(a)"},
        {"import pkg_two\na = 1\nb = 2\nc = 3\nd = 4\nimport pkg_six\nx = |\n", "pkg_six.py",
         "def six_opens(a)"},
    };
    struct opened o;
    shell("mkdir -p differ && cd differ && git init -q && "
          "printf 'def one_opens(a):\n    return a\n' > pkg_one.py && "
          "printf 'def two_opens(a):\n    return a\n' > pkg_two.py && "
          "printf 'def six_opens(a):\n    return a\n' > pkg_six.py && "
          "printf 'import pkg_one\na = 1\nb = 2\nc = 3\nd = 4\nx = \n' > main.py");
    open_all(&o, "differ");
    for (size_t i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        struct place p;
        struct excerpts e;
        syntax *tree = NULL;
        place_make(&p, "main.py", rows[i / 2].document);
        const struct language *l = language_find(TEXT(""), TEXT("main.py"));
        if (i % 2) assert_int_equal(syntax_parse(&tree, l, p.q.document.content, NULL), OK);
        p.q.document.tree = tree;
        p.q.without = 1u << SOURCE_KIN | 1u << SOURCE_SIMILAR | 1u << SOURCE_USAGE;
        find(&e, &o, &p);
        bool found = excerpt_with(&e, rows[i / 2].path, rows[i / 2].words) != NULL;
        assert_int_equal(found, rows[i / 2].words[0] != 0);
        excerpts_free(&e);
        syntax_free(tree);
    }
    close_all(&o);
}

/* What another file keeps to itself is not shown, whoever writes its name. */
static void what_nobody_else_can_name(void **state)
{
    (void)state;
    static const struct {
        const char *path, *document, *file, *words;
        bool shown;
    } rows[] = {
        {"app/main.py", "outer_tool(|\n", "lib/tools.py", "def outer_tool(a)", true},
        {"app/main.py", "inner_tool(|\n", "lib/tools.py", "def inner_tool(a)", false},
        {"app/main.py", "test_tool(|\n", "lib/tools.py", "def test_tool(a)", false},
        {"app/main.py", "tool_value(|\n", "lib/tools.py", "tool_value", false},
        {"lib/main.py", "tool_value(|\n", "lib/tools.py", "tool_value", true},
        {"app/M.java", "openPart(|\n", "lib/T.java", "void openPart()", true},
        {"app/M.java", "hiddenPart(|\n", "lib/T.java", "void hiddenPart()", false},
        {"lib/b.go", "package lib\nvar x = Part|\n", "lib/a_test.go", "func PartOf", true},
        {"lib/b.go", "package lib\nvar x = TestPart|\n", "lib/a_test.go", "func TestPart", false},
    };
    struct opened o;
    shell("mkdir -p nobody/lib && cd nobody && git init -q && "
          "printf 'tool_value = 1\n\ndef outer_tool(a):\n    def inner_tool(a):\n        return a\n"
          "    return inner_tool\n\ndef test_tool(a):\n    return a\n' > lib/tools.py && "
          "printf 'class T {\n  void openPart() {}\n  private void hiddenPart() {}\n}\n' > "
          "lib/T.java && "
          "printf 'package lib\n\nimport \"testing\"\n\nfunc TestPart(t *testing.T) {}\n\n"
          "func PartOf(n int) int { return n }\n' > lib/a_test.go");
    open_all(&o, "nobody");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct place p;
        struct excerpts e;
        place_make(&p, rows[i].path, rows[i].document);
        p.q.without = 1u << SOURCE_SIMILAR | 1u << SOURCE_USAGE;
        find(&e, &o, &p);
        if ((excerpt_with(&e, rows[i].file, rows[i].words) != NULL) != rows[i].shown)
            fail_msg("row %zu: %s", i, rows[i].words);
        excerpts_free(&e);
    }
    close_all(&o);
}

/* By rank 0 in two sources the best has 1.8; 0.4 of that is more than what rank 3 of imports gives. */
static void only_types_near_the_best_are_whole(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    shell("mkdir -p whole && cd whole && git init -q && { printf 'export interface Near {\n  a: "
          "1;\n}\n'; "
          "for i in 1 2 3 4 5 6 7 8; do printf \"export interface Other$i {\n  b: 1;\n}\n\"; done; "
          "printf \"export type Words =\n  | 'a'\n  | 'b'\n  | 'c'\n\"; } "
          "> near.ts");
    open_all(&o, "whole");
    place_make(&p, "main.ts", "import { Near } from './near';\nconst n: Near = |\n");
    p.q.without = 1u << SOURCE_SIMILAR | 1u << SOURCE_USAGE;
    find(&e, &o, &p);
    const struct excerpt *words = excerpt_with(&e, "near.ts", "type Words");
    assert_non_null(words);
    assert_string_equal(words->content.bytes, "type Words = ...\n");
    const struct excerpt *near = excerpt_with(&e, "near.ts", "interface Near"),
                         *other = excerpt_with(&e, "near.ts", "interface Other8");
    assert_non_null(near);
    assert_non_null(other);
    assert_int_equal(near->n_lines, 3);
    assert_string_equal(other->content.bytes, "interface Other8\n");
    excerpts_free(&e);
    close_all(&o);
}

/* What was read for an earlier question is not what another content says, not even one that has the
 * number of the first in the database. */
static void files_that_change_between_questions(void **state)
{
    (void)state;
    static const char *const steps[] = {
        "printf 'def first_tool(a):\n    return a\n' > turn.py",
        "printf 'def other_tool(a):\n    return a\n' > turn.py",
        "printf 'def third_tool(a):\n    return a\n' > turn.py",
    };
    static const char *const shown[] = {"def first_tool(a)", "def other_tool(a)",
                                        "def third_tool(a)"};
    static const char forget_newest[] =
        "DELETE FROM files WHERE blob = (SELECT max(id) FROM blobs);"
        "DELETE FROM symbols WHERE blob = (SELECT max(id) FROM blobs);"
        "DELETE FROM uses WHERE blob = (SELECT max(id) FROM blobs);"
        "DELETE FROM blobs WHERE id = (SELECT max(id) FROM blobs);";
    struct opened o;
    struct place p;
    struct excerpts e;
    bool changed;
    shell("mkdir -p turn && cd turn && git init -q && %s", steps[0]);
    open_all(&o, "turn");
    place_make(&p, "main.py", "import turn\nx = |\n");
    p.q.without = 1u << SOURCE_SIMILAR | 1u << SOURCE_USAGE;
    for (size_t i = 0; i < 3; i++) {
        shell("cd turn && %s", steps[i]);
        if (i == 2) { /* the newest row goes, so that the next one has its number */
            sqlite3 *db;
            assert_int_equal(sqlite3_open(index_database_path(o.x), &db), SQLITE_OK);
            assert_int_equal(sqlite3_exec(db, forget_newest, NULL, NULL, NULL), SQLITE_OK);
            sqlite3_close(db);
        }
        assert_int_equal(index_update_file(&changed, o.x, o.r, TEXT("turn.py"), NULL), OK);
        find(&e, &o, &p);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(excerpt_with(&e, "turn.py", shown[k]) != NULL, k == i);
        excerpts_free(&e);
    }
    close_all(&o);
}

/* Of ten imported names, all but the last used far above: the one that is not comes first. */
static void a_name_that_no_line_uses_comes_first(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    buffer document = {0};
    shell("mkdir -p unused && cd unused && git init -q && for i in 1 2 3 4 5 6 7 8 9 10; do "
          "printf \"def name_$i(a):\n    return a\n\"; done > names.py");
    buffer_print(&document, "from names import ");
    for (int i = 1; i <= 10; i++) buffer_print(&document, "name_%d%s", i, i < 10 ? ", " : "\n");
    for (int i = 1; i < 10; i++) buffer_print(&document, "name_%d(1)\n", i);
    for (int i = 0; i < 900; i++) buffer_put_char(&document, '\n');
    buffer_print(&document, "x = |\n");
    open_all(&o, "unused");
    place_make(&p, "main.py", document.bytes);
    find(&e, &o, &p);
    assert_true(e.n > 0 && text_is(e.items[0].content, "def name_10(a)\n"));
    excerpts_free(&e);
    buffer_free(&document);
    close_all(&o);
}

/* The index lags behind the disk: what it says of another content is not believed. */
static void an_index_of_another_content(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    shell("cp -r differ lags");
    open_all(&o, "lags");
    shell("printf 'import pkg_two\nx = \n' > lags/main.py");
    place_make(&p, "main.py", "import pkg_two\nx = |\n");
    p.q.without = 1u << SOURCE_KIN | 1u << SOURCE_SIMILAR | 1u << SOURCE_USAGE;
    find(&e, &o, &p);
    assert_non_null(excerpt_with(&e, "pkg_two.py", "def two_opens(a)"));
    assert_null(excerpt_with(&e, "pkg_one.py", ""));
    excerpts_free(&e);
    close_all(&o);
}

/* What a diagnostic near the gap names, and where it points; one far away, and one that points to what
 * is excluded, bring nothing. */
static void diagnostics_bring_what_they_name(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    struct reported reported[] = {
        {TEXT("call to undeclared function 'total_of'"), 3, {"near.c", 6}, 3},
        {TEXT("implicit declaration"), 3, {".env.h", 6}, 1},
    };
    open_all(&o, "c");
    place_make(&p, "main.c", "int f(void)\n{\n    return |\n}\n");
    p.q.reported = reported;
    find(&e, &o, &p);
    assert_null(excerpt_with(&e, "far.c", "int total_of(void)"));
    excerpts_free(&e);
    p.q.n_reported = 2;
    find(&e, &o, &p);
    const struct excerpt *named = excerpt_with(&e, "far.c", "int total_of(void)"),
                         *pointed = excerpt_with(&e, "near.c", "return unusual_word;");
    assert_non_null(named);
    assert_non_null(pointed);
    assert_int_equal(named->source, SOURCE_REPORTED);
    assert_int_equal(pointed->source, SOURCE_REPORTED);
    assert_null(excerpt_with(&e, ".env.h", ""));
    excerpts_free(&e);
    reported[0].line = 300;
    find(&e, &o, &p);
    assert_null(excerpt_with(&e, "far.c", "int total_of(void)"));
    excerpts_free(&e);
    close_all(&o);
}

/* What was imported and is not used yet comes before what is used; words of the language are nobody's
 * names; a type that is made of strings is shown with them, though it has one line. */
static void names_say_what_comes(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    shell(
        "mkdir -p names && cd names && git init -q && "
        "printf 'export function used(a: number) {}\nexport function fresh(a: number) {}\n"
        "export type Mode = \"on\" | \"off\";\n"
        "export const limit = 3;\nexport interface Far { distant: number }\n' > m.ts && "
        "printf 'export interface Odd { function: string }\n' > odd.ts && mkdir far && "
        "printf 'export interface Deep {\n    remote_part: number\n}\n' > far/deep.ts && "
        "{ printf 'export function wide('; for i in $(seq 40); do printf \"a_$i: number, \"; done; "
        "printf 'last: number) {}\n'; } > wide.ts");
    open_all(&o, "names");
    /* A head of 600 bytes ends at a word. */
    place_make(&p, "main.ts", "wide(|;\n");
    p.q.without = 1u << SOURCE_SIMILAR;
    find(&e, &o, &p);
    const struct excerpt *wide = excerpt_with(&e, "wide.ts", "function wide(a_1: number");
    assert_non_null(wide);
    assert_true(text_ends(wide->content, TEXT(": number, ...\n")) ||
                text_ends(wide->content, TEXT(": ...\n")));
    excerpts_free(&e);
    /* A member of some type elsewhere is none of the names here; of one that is imported it is. */
    for (int imported = 0; imported < 2; imported++) {
        place_make(&p, "main.ts",
                   imported ? "import { Deep } from './far/deep';\nx.remote_part = |;\n"
                            : "x.remote_part = |;\n");
        p.q.without = 1u << SOURCE_SIMILAR;
        find(&e, &o, &p);
        assert_int_equal(excerpt_with(&e, "far/deep.ts", "remote_part: number") != NULL, imported);
        excerpts_free(&e);
    }
    place_make(&p, "main.ts",
               "import { used, fresh, Mode, limit } from './m';\n"
               "function f(m: Mode, n = limit) {\n    used(1);\n    |\n}\n");
    find(&e, &o, &p);
    const struct excerpt *fresh = excerpt_with(&e, "m.ts", "function fresh"),
                         *used = excerpt_with(&e, "m.ts", "function used"),
                         *mode = excerpt_with(&e, "m.ts", "type Mode");
    assert_non_null(fresh);
    assert_non_null(used);
    assert_non_null(mode);
    assert_true(fresh->score > used->score);
    assert_true(text_is(mode->content, "export type Mode = \"on\" | \"off\";\n"));
    assert_non_null(excerpt_with(&e, "m.ts", "const limit"));
    assert_null(excerpt_with(&e, "odd.ts", "function: string"));
    assert_non_null(excerpt_with(&e, "m.ts", "interface Far"));
    assert_null(excerpt_with(&e, "m.ts", "distant: number")); /* a member alone says nothing */
    excerpts_free(&e);
    close_all(&o);
}

static void no_index_and_no_time(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    retriever *r;
    error err;
    atomic_bool cancelled;
    assert_int_equal(retriever_open(&r, workspace_path("nothing.db"), "/", &err), ERR_IO);
    assert_null(r);
    shell("printf 'no database' > broken.db");
    assert_int_equal(retriever_open(&r, workspace_path("broken.db"), "/", &err), ERR_FORMAT);
    open_all(&o, "c");
    assert_int_equal(retriever_open(&r, index_database_path(o.x), "/elsewhere", &err), ERR_IO);
    place_make(&p, "main.c", c_place);
    atomic_init(&cancelled, true);
    p.q.cancel = &cancelled;
    find(&e, &o, &p);
    assert_true(e.cut);
    assert_int_equal(e.n, 0);
    excerpts_free(&e);
    close_all(&o);
}

/* Every allocation fails once: an error, or the right answer. */
static void no_memory(void **state)
{
    (void)state;
    struct opened o;
    struct place p;
    struct excerpts e;
    error err;
    open_all(&o, "c");
    place_make(&p, "main.c", c_place);
    int n = 0;
    bool failed;
    do {
        memory_fail_at(++n);
        status code = retrieve(&e, o.retriever, &p.q, &err);
        failed = memory_fail_at(0);
        assert_true(code == OK || (failed && code == ERR_MEMORY));
        excerpts_free(&e);
    } while (failed && n < 5000);
    assert_true(n > 10 && !failed);
    find(&e, &o, &p);
    assert_non_null(excerpt_with(&e, "lib/list.h", "struct node *first;"));
    excerpts_free(&e);
    close_all(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(definitions_come_through_imports),
        cmocka_unit_test(similar_lines_and_recent_places),
        cmocka_unit_test(what_is_not_named_yet),
        cmocka_unit_test(similar_lines_are_of_the_same_language),
        cmocka_unit_test(windows_speak_of_the_same_things),
        cmocka_unit_test(similar_lines_among_old_contents),
        cmocka_unit_test(similar_lines_of_files_that_change_together),
        cmocka_unit_test(documents_that_differ_from_their_files),
        cmocka_unit_test(what_nobody_else_can_name),
        cmocka_unit_test(only_types_near_the_best_are_whole),
        cmocka_unit_test(files_that_change_between_questions),
        cmocka_unit_test(a_name_that_no_line_uses_comes_first),
        cmocka_unit_test(an_index_of_another_content),
        cmocka_unit_test(diagnostics_bring_what_they_name),
        cmocka_unit_test(names_say_what_comes),
        cmocka_unit_test(no_index_and_no_time),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
