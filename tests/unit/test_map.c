/* The repository map and files that change together, on repositories small enough to work out by
 * hand. */
#include "tests/unit/workspace.h"

#include <sqlite3.h>

#include "base/limits.h"
#include "context/index_query.h"
#include "context/map.h"

/* An updated index, open. */
struct opened {
    repository *r;
    code_index *x;
    int64_t tree;
    arena memory;
};

static struct opened open_updated(const char *name)
{
    struct opened o = {0};
    struct index_report report;
    error err = {0};
    assert_int_equal(repository_open(&o.r, workspace_path(name), &err), OK);
    assert_int_equal(index_open(&o.x, o.r, &err), OK);
    status code = index_update(&report, o.x, o.r, NULL, NULL, &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    assert_int_equal(index_tree(&o.tree, o.x, text_of(repository_root(o.r)), NULL), OK);
    return o;
}

static void close_opened(struct opened *o)
{
    arena_reset(&o->memory);
    index_close(o->x);
    repository_close(o->r);
}

static int64_t number(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

/* The whole map as text, and without a limit. */
static void check_map(const char *name, const char *expected)
{
    struct opened o = open_updated(name);
    struct repository_map map;
    buffer found = {0};
    buffer_put(&found, "", 0);
    assert_int_equal(repository_map_read(&map, &o.memory, o.x, o.tree, NULL), OK);
    assert_int_equal(repository_map_text(&found, &map, NULL, 0, NULL), OK);
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    close_opened(&o);
}

/* Three leaves use hub_run, two of them leaf_log, the hub core_step alone. Every leaf has the rank b;
 * the hub b + 0.85 (b/2 + b/2 + b) = 2.7 b. So 2.7 b flows through core_step, which one file uses,
 * 2 b through hub_run and b through leaf_log, which two files use. */
static void test_ranks_count_not_uses(void **state)
{
    (void)state;
    shell("git init -q rank && cd rank && echo 'void core_step(void) {}' > core.c &&"
          " echo 'void hub_run(void) { core_step(); }' > hub.c &&"
          " echo 'void leaf_log(void) {}' > log.c &&"
          " echo 'static int x1(void) { hub_run(); leaf_log(); }' > l1.c &&"
          " echo 'static int x2(void) { hub_run(); leaf_log(); }' > l2.c &&"
          " echo 'static int x3(void) { hub_run(); }' > l3.c && git add . && git commit -qm x");
    check_map("rank", "core.c:\nvoid core_step(void)\nhub.c:\nvoid hub_run(void)\n"
                      "log.c:\nvoid leaf_log(void)\n");
}

/* Of two definitions of a name the one that is imported gets the votes, a declaration stands for its
 * body, and names of other languages are other names. */
static void test_what_a_name_means(void **state)
{
    (void)state;
    shell(
        "mkdir sees && cd sees && mkdir a b app && echo 'def read_all(path): pass' > a/files.py &&"
        " echo 'def read_all(stream, size): pass' > b/streams.py &&"
        " printf 'from b.streams import read_all\\nread_all(1, 2)\\n' > app/one.py &&"
        " printf 'from b.streams import read_all\\nread_all(3, 4)\\n' > app/two.py &&"
        " echo 'int page_count(int n);' > a/page.h &&"
        " echo 'int page_count(int n) { return n; }' > a/page.c &&"
        " echo 'def only_in_python(a): pass' > a/only.py &&"
        " echo 'int z(void) { return only_in_python(1); }' > app/z.c &&"
        " printf '#include \"../a/page.h\"\\nint m(void) { return page_count(read_all()); }\\n'"
        " > app/main.c");
    check_map("sees",
              "b/streams.py:\ndef read_all(stream, size)\na/page.h:\nint page_count(int n)\n");
}

/* Two files use both names. One is defined beside them and gets 10 parts of 11 of their votes, the
 * other cannot be seen from there and gets one; were votes equal, paths would decide, and "a" is first. */
static void test_what_can_be_seen(void **state)
{
    (void)state;
    shell("mkdir -p unseen/a unseen/app && cd unseen && echo 'void far_work(void) {}' > a/far.c &&"
          " echo 'void near_work(void) {}' > app/near.c &&"
          " for i in 1 2; do echo 'static void x'$i'(void) { far_work(); near_work(); }' > "
          "app/$i.c; done");
    check_map("unseen", "app/near.c:\nvoid near_work(void)\na/far.c:\nvoid far_work(void)\n");
}

/* The same where an import shows the one, from another folder. */
static void test_what_imports_show(void **state)
{
    (void)state;
    shell("mkdir -p imported/a imported/b imported/app && cd imported &&"
          " echo 'def far_work(x): pass' > a/far.py && echo 'def near_work(x): pass' > b/near.py &&"
          " for i in 1 2; do printf 'import b.near\\nfar_work(1)\\nnear_work(1)\\n' > app/$i.py; "
          "done");
    check_map("imported", "b/near.py:\ndef near_work(x)\na/far.py:\ndef far_work(x)\n");
}

/* What only its own file uses is nobody's; and where the votes go to a body, as they do here where it
 * stands beside who calls it, the declaration elsewhere is shown. */
static void test_own_uses_and_bodies(void **state)
{
    (void)state;
    shell("mkdir -p own/a own/app && cd own && echo 'void own_work(void) { own_work(); }' > "
          "app/o.c &&"
          " echo 'int page_count(int n);' > a/page.h &&"
          " echo 'int page_count(int n) { return n; }' > app/page.c &&"
          " echo 'static int z(void) { return page_count(1); }' > app/use.c");
    check_map("own", "a/page.h:\nint page_count(int n)\n");
}

/* Of one file so many lines are shown that others have room. */
static void test_lines_of_one_file(void **state)
{
    (void)state;
    buffer expected = {0};
    shell("mkdir many_lines && cd many_lines && for i in $(seq 10 24); do"
          " echo \"void work_of_$i(void) {}\" >> all.c; echo \"work_of_$i();\" >> uses; done &&"
          " for i in 1 2; do { echo \"static void x$i(void) {\"; cat uses; echo '}'; } > $i.c; done"
          " && rm uses");
    buffer_put_text(&expected, TEXT("all.c:\n"));
    for (int i = 10; i < 20; i++) buffer_print(&expected, "void work_of_%d(void)\n", i);
    check_map("many_lines", expected.bytes);
    buffer_free(&expected);
}

static void test_frozen_until_head_moves(void **state)
{
    (void)state;
    static const char first[] = "base.c:\nint base_of(int a)\n";
    shell("git init -q frozen && cd frozen && echo 'int base_of(int a) { return a; }' > base.c &&"
          " for i in $(seq 300); do echo \"static int u$i(void) { return base_of($i); }\" > $i.c; "
          "done"
          " && git add . && git commit -qm one");
    check_map("frozen", first);
    shell("echo 'int base_of(long a, int b) { return a; }' > frozen/base.c");
    check_map("frozen", first);
    shell("git -C frozen commit -qam two");
    check_map("frozen", "base.c:\nint base_of(long a, int b)\n");
    /* a few files: their new names are not ranked yet */
    shell("cd frozen && echo 'static int u7(void) { return more_of(1); }' > 7.c &&"
          " echo 'int more_of(int a) { return a; }' > more.c && git add . && git commit -qm three");
    check_map("frozen", "base.c:\nint base_of(long a, int b)\n");
    /* what is gone is not shown */
    shell("cd frozen && echo 'int other(int a) { return a; }' > base.c && git commit -qam four");
    check_map("frozen", "");
    /* many files: who counts is found out again */
    shell(
        "cd frozen && for i in $(seq 300); do echo \"static int u$i(void) { return other($i); }\" "
        "> $i.c; done && git commit -qam five");
    check_map("frozen", "base.c:\nint other(int a)\n");
}

/* What is counted line by line is what the tokenizer counts in the whole. */
static void test_budget(void **state)
{
    (void)state;
    tokenizer *t;
    struct repository_map map;
    shell(
        "mkdir budget && cd budget && for i in $(seq 40); do echo \"int value_$((i %% "
        "7))_of_$i(const"
        " char *name, int *out) { return 0; }\" > f$i.c; done && for i in $(seq 40); do echo \"int"
        " use_$i(void) { return value_$((i %% 7))_of_$i(0, 0); }\"; done > all.c");
    struct opened o = open_updated("budget");
    assert_int_equal(tokenizer_open(&t, NULL, NULL), OK);
    assert_int_equal(repository_map_read(&map, &o.memory, o.x, o.tree, NULL), OK);
    assert_int_equal(map.n, 40);
    size_t before = 0;
    for (size_t budget = 0; budget < 1200; budget += 37) {
        buffer all = {0};
        buffer_put(&all, "", 0);
        assert_int_equal(repository_map_text(&all, &map, t, budget, NULL), OK);
        size_t n = tokenizer_count(t, buffer_text(&all));
        assert_true(n <= budget);
        assert_true(budget < 40 || n + 40 > budget || n == before);
        assert_true(all.size == 0 || all.bytes[all.size - 1] == '\n');
        before = n;
        buffer_free(&all);
    }
    tokenizer_close(t);
    close_opened(&o);
}

static void check_together(const char *name, const char *path, const char *expected)
{
    struct opened o = open_updated(name);
    struct index_files files;
    buffer found = {0};
    buffer_put(&found, "", 0);
    assert_int_equal(index_files_together(&files, &o.memory, o.x, o.tree, text_of(path), 9, NULL),
                     OK);
    for (size_t i = 0; i < files.n; i++)
        buffer_print(&found, "%.*s %.3f\n", (int)files.files[i].path.size,
                     files.files[i].path.bytes, files.files[i].score);
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    close_opened(&o);
}

/* a in 4 commits, b in 3 of them and 2 more, c in 2 of them: 9 / (4 * 5), 4 / (4 * 2). */
static void test_files_that_change_together(void **state)
{
    (void)state;
    shell(
        "git init -q pairs && cd pairs && say() { for f in $1; do echo $2 >> $f; done; git add . &&"
        " git commit -qm $2; } && say 'a b .env' 1 && say 'a b c .env' 2 && say 'a b c' 3 &&"
        " say 'a once' 4 && say b 5 && say b 6 && for i in $(seq 40); do echo $i > m$i; done &&"
        " echo 7 >> many && git add . && git commit -qm many && git rm -q c && git commit -qm rm &&"
        " git checkout -q HEAD~1");
    check_together("pairs", "a", "c 0.500\nb 0.450\n");
    check_together("pairs", "m1", "");
    check_together("pairs", "nothing", "");
    shell("cd pairs && git checkout -q main");
    check_together("pairs", "a", "b 0.450\n");
    shell("mkdir plain && echo a > plain/a");
    check_together("plain", "a", "");
}

/* What a merge brings says nothing; names of secrets are not kept; the oldest commits go. */
static void test_what_of_the_past_is_kept(void **state)
{
    (void)state;
    struct opened o;
    shell(
        "git init -q past && cd past && echo 1 > a && echo 1 > .env && git add -f . && git commit"
        " -qm 1 && git checkout -qb topic && echo 1 > x && echo 1 > y && git add . && git commit "
        "-qm"
        " 2 && git checkout -q main && echo 2 > a && git commit -qam 3 && git merge -q topic -m 4");
    o = open_updated("past");
    sqlite3 *db;
    assert_int_equal(sqlite3_open(index_database_path(o.x), &db), SQLITE_OK);
    assert_int_equal(number(db, "SELECT count(*) FROM commits"), 4);
    assert_int_equal(number(db, "SELECT count(*) FROM touched t JOIN paths p ON p.id = t.path"
                                " WHERE p.path = CAST('x' AS BLOB)"),
                     1);
    assert_int_equal(number(db, "SELECT count(*) FROM paths WHERE path = CAST('.env' AS BLOB)"), 0);
    assert_int_equal(sqlite3_exec(db,
                                  "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                                  " WHERE i < 4100) INSERT INTO commits(oid, time)"
                                  " SELECT CAST(i AS TEXT), i FROM n;"
                                  "INSERT INTO paths(path) VALUES('old');"
                                  "INSERT INTO touched SELECT max(id), 5 FROM paths",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    close_opened(&o);
    shell("cd past && git commit -q --allow-empty -m 5");
    o = open_updated("past");
    assert_int_equal(number(db, "SELECT count(*) FROM commits"), 4000);
    assert_int_equal(number(db, "SELECT count(*) FROM commits WHERE time > 4100"), 5);
    assert_int_equal(number(db, "SELECT count(*) FROM touched WHERE commit_id = 5"), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM paths WHERE path = 'old'"), 0);
    close_opened(&o);
    sqlite3_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_count_not_uses),
        cmocka_unit_test(test_what_a_name_means),
        cmocka_unit_test(test_what_can_be_seen),
        cmocka_unit_test(test_what_imports_show),
        cmocka_unit_test(test_own_uses_and_bodies),
        cmocka_unit_test(test_lines_of_one_file),
        cmocka_unit_test(test_frozen_until_head_moves),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_files_that_change_together),
        cmocka_unit_test(test_what_of_the_past_is_kept),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
