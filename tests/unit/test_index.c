/* The index over repositories made by the git program: what is parsed, reused and skipped, what a
 * name finds, and what becomes of a database that is damaged, foreign, or over its bound. */
#include "tests/unit/workspace.h"

#include <sqlite3.h>

#include "base/file.h"
#include "base/limits.h"
#include "context/index_query.h"

/* Updates the index of `name` and gives the report. */
static struct index_report update(const char *name)
{
    repository *r;
    code_index *x;
    struct index_report report;
    error err = {0};
    assert_int_equal(repository_open(&r, workspace_path(name), &err), OK);
    assert_int_equal(index_open(&x, r, &err), OK);
    status code = index_update(&report, x, r, NULL, NULL, &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    size_t sum = report.n_parsed + report.n_reused;
    for (size_t i = 0; i < N_INDEX_SKIPS; i++) sum += report.n_skipped[i];
    assert_int_equal(sum, report.n_files);
    index_close(x);
    repository_close(r);
    return report;
}

static void check_update(const char *name, size_t n_parsed, size_t n_reused, size_t n_removed)
{
    struct index_report n = update(name);
    assert_int_equal(n.n_parsed, n_parsed);
    assert_int_equal(n.n_reused, n_reused);
    assert_int_equal(n.n_removed, n_removed);
}

/* The definitions of a word as "PATH:LINE: SIGNATURE" lines. */
static void check_find(const char *name, const char *word, const char *expected)
{
    repository *r;
    code_index *x;
    struct index_symbols places;
    arena memory = {0};
    buffer found = {0};
    buffer_put(&found, "", 0);
    assert_int_equal(repository_open(&r, workspace_path(name), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    text root = text_of(repository_root(r));
    assert_int_equal(index_definitions(&places, &memory, x, root, text_of(word), 10, NULL), OK);
    for (size_t i = 0; i < places.n; i++) {
        buffer_put_text(&found, places.symbols[i].path);
        buffer_print(&found, ":%u: ", places.symbols[i].line);
        buffer_put_text(&found, places.symbols[i].signature);
        buffer_put_char(&found, '\n');
    }
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    arena_reset(&memory);
    index_close(x);
    repository_close(r);
}

static void database_of(char out[512], const char *name)
{
    repository *r;
    code_index *x;
    assert_int_equal(repository_open(&r, workspace_path(name), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    snprintf(out, 512, "%s", index_database_path(x));
    index_close(x);
    repository_close(r);
}

/* One number out of a database. */
static int64_t ask(const char *database, const char *sql)
{
    sqlite3 *db;
    sqlite3_stmt *s;
    assert_int_equal(sqlite3_open(database, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    int64_t n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

static void test_contents_are_parsed_once(void **state)
{
    (void)state;
    shell("git init -q once && cd once && echo 'int a(void);' > a.c && echo 'int b;' > b.c &&"
          " cp b.c same.c && echo 'hello world' > r.md && git add . && git commit -qm one");
    check_update("once", 3, 1, 0);
    check_update("once", 0, 4, 0);
    shell("cd once && git mv a.c moved.c");
    check_update("once", 0, 4, 1);
    check_find("once", "a", "moved.c:1: int a(void)\n");
    shell("cd once && git commit -qam two && git checkout -qb topic && echo 'int c;' > c.c &&"
          " echo 'int a(int);' > moved.c && git rm -q b.c && git add . && git commit -qm three");
    check_update("once", 2, 2, 1);
    check_find("once", "a", "moved.c:1: int a(int)\n");
    shell("cd once && git checkout -q main");
    check_update("once", 0, 4, 1);
    check_find("once", "a", "moved.c:1: int a(void)\n");
    check_find("once", "c", "");
    shell("cd once && git checkout -q topic");
    check_update("once", 0, 4, 1);
    shell("cd once && git worktree add -q ../second main");
    check_update("second", 0, 4, 0);
    check_find("second", "a", "moved.c:1: int a(void)\n");
    check_find("once", "a", "moved.c:1: int a(int)\n");
    /* same length, same second: only the bytes tell */
    shell("cd once && printf 'int C;\\n' > c.c");
    check_update("once", 1, 3, 0);
    check_find("once", "C", "c.c:1: int C\n");
    /* the same bytes in another language are another content */
    shell("cd once && cp c.c c.js");
    check_update("once", 1, 4, 0);
}

static void test_filters_change_nothing(void **state)
{
    (void)state;
    shell("git init -q crlf && cd crlf && printf '* text eol=crlf\\n*.c filter=run\\n' >"
          " .gitattributes && git config filter.run.clean 'touch %s/ran; cat' &&"
          " git config core.fsmonitor 'touch %s/ran' && printf '/* c */\\r\\nint a;\\r\\n' > a.c &&"
          " git -c core.fsmonitor= add . && git -c core.fsmonitor= commit -qm x && rm -f ../ran &&"
          " touch .git/index",
          workspace, workspace);
    check_update("crlf", 2, 0, 0);
    check_update("crlf", 0, 2, 0);
    check_find("crlf", "a", "a.c:2: int a\n");
    assert_false(file_exists(workspace_path("ran")));
    char database[512];
    database_of(database, "crlf");
    /* 9 bytes of comment line with CR and LF: the offsets are those of the file on disk */
    assert_int_equal(ask(database, "SELECT from_byte FROM symbols"), 9);
}

static void test_what_is_skipped(void **state)
{
    (void)state;
    shell("mkdir skips && cd skips && printf 'KEY=canary_secret\\n' > .env && cp .env id_rsa &&"
          " head -c 3000000 /dev/zero | tr '\\0' 'a' > large.c && printf 'int n;\\0' > nul.c &&"
          " printf '\\377\\376i\\000n\\000' > utf16.c && head -c 9000 /dev/zero | tr '\\0' 'b' >"
          " line.js && echo 'var m;' > x.min.js && printf 'int \\377; int good;\\n' > bad.c &&"
          " head -c 50000000 /dev/zero | tr '\\0' 'c' > huge.json && mkfifo pipe && : > empty.c &&"
          " printf 'PASSWORD = \"canary_secret\"\\ndef f(a=\"canary_secret\"): pass\\n' > p.py &&"
          " printf 'token: AKIAcanarysecret77\\n' > t.yaml && echo x > 'new\nline.txt'");
    struct index_report n = update("skips");
    assert_int_equal(n.n_files, 13);
    assert_int_equal(n.n_skipped[SKIP_EXCLUDED], 2);
    assert_int_equal(n.n_skipped[SKIP_LARGE], 2);
    assert_int_equal(n.n_skipped[SKIP_BINARY], 2);
    assert_int_equal(n.n_skipped[SKIP_MINIFIED], 2);
    assert_int_equal(n.n_skipped[SKIP_SLOW], 0);
    assert_int_equal(n.n_parsed, 5);
    check_find("skips", "good", "bad.c:1: int good\n");
    check_find("skips", "f", "p.py:2: def f(a=\"\")\n");
    check_find("skips", "n", "");
    char database[512];
    buffer bytes = {0};
    database_of(database, "skips");
    assert_int_equal(file_read(&bytes, database, GIB, NULL), OK);
    assert_int_equal(text_find(buffer_text(&bytes), TEXT("canary"), 0), SIZE_MAX);
    assert_int_equal(text_find(buffer_text(&bytes), TEXT("id_rsa"), 0), SIZE_MAX);
    buffer_free(&bytes);
    check_update("skips", 0, 5, 0);
}

/* What would hang, overflow or fill memory if it were taken at its word. */
static void test_hostile_contents(void **state)
{
    (void)state;
    shell(
        "git init -q hostile && cd hostile && truncate -s 1G huge.c && head -c 1000000 /dev/zero |"
        " tr '\\0' '{' > braces.c && head -c 1000000 /dev/zero | tr '\\0' '(' > parens.py &&"
        " yes '[' | head -900000 | tr -d '\\n' > arrays.json && yes '\"' | head -400000 > quotes.js"
        " && yes '<<A' | head -200000 > heredocs.sh && head -c 2000000 /dev/urandom > noise.go &&"
        " mkfifo pipe.c && ln -s loop loop && ln -s . self && mkdir deep && ln -s ../deep deep/er "
        "&&"
        " echo 'int good(void) { return 1; }' > good.c && git add good.c && git commit -qm one &&"
        " git commit -q --allow-empty -m two && git commit -q --allow-empty -m three");
    struct index_report n = update("hostile");
    assert_int_equal(n.n_files, 8);
    check_find("hostile", "good", "good.c:1: int good(void)\n");
    size_t n_known = n.n_parsed;
    check_update("hostile", 0, n_known, 0);
    /* every object but HEAD's commit is broken: files are read from disk, the past is what is left */
    shell("cd hostile && head=$(git rev-parse HEAD) && for f in .git/objects/*/*; do case"
          " $(echo $f | cut -d/ -f3,4 | tr -d /) in $head) ;; *) chmod u+w $f; echo x > $f;; esac; "
          "done"
          " && echo 'int more(void) { return 2; }' >> good.c");
    n = update("hostile");
    assert_int_equal(n.n_parsed, 1);
    check_find("hostile", "more", "good.c:2: int more(void)\n");
}

static void test_other_kinds(void **state)
{
    (void)state;
    shell("git init -q kinds && cd kinds && echo 'int a;' > a.c && git add . && git commit -qm x &&"
          " cd .. && git clone -q --bare kinds kinds.git && git init -q unborn &&"
          " echo 'int u;' > unborn/u.c && git init -q --object-format=sha256 long &&"
          " echo 'int l;' > long/l.c && git -C long add . && git -C long commit -qm x");
    check_update("kinds.git", 1, 0, 0);
    check_update("kinds.git", 0, 1, 0);
    check_find("kinds.git", "a", "a.c:1: int a\n");
    check_update("unborn", 1, 0, 0);
    check_find("unborn", "u", "u.c:1: int u\n");
    check_update("long", 1, 0, 0);
    check_find("long", "l", "l.c:1: int l\n");
}

static void test_search_over_words(void **state)
{
    (void)state;
    char database[512];
    shell("mkdir words && cd words && echo 'int read_file(int fd) { return $x + fd; }' > a.c &&"
          " echo 'Read_File is described' > b.md");
    update("words");
    database_of(database, "words");
    assert_int_equal(ask(database, "SELECT count(*) FROM words('read_file')"), 2);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('fd')"), 1);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('read')"), 0);
    /* names by bytes: $x, fd (twice), int is a keyword; read_file is only defined */
    assert_int_equal(ask(database, "SELECT names = '$x' || char(10) || 'fd' || char(10) ||"
                                   " 'read_file' || char(10) AND hex(counts) = '010200' FROM uses"
                                   " JOIN blobs ON id = blob WHERE language = 'C'"),
                     1);
}

static void test_damage(void **state)
{
    (void)state;
    static const struct {
        const char *damage; /* of the database $D */
        bool noticed;       /* by the next update, which builds anew */
    } rows[] = {
        {"printf 'this is no database at all, but a text' > $D", true},
        {"dd if=/dev/urandom of=$D bs=512 seek=1 count=60 conv=notrunc", true},
        {"truncate -s 4096 $D", true},
        {"truncate -s 0 $D", false}, /* an empty file is a new database */
        {"rm $D", false},
        {"printf XX | dd of=$D bs=1 seek=60 conv=notrunc", true}, /* another version */
        {"head -c 40000 /dev/urandom > $D-wal", false},           /* no frame of ours: ignored */
    };
    char database[512];
    shell("mkdir damage && cd damage && for i in $(seq 40); do echo \"int f$i(int a$i);\" > $i.c;"
          " done");
    update("damage");
    database_of(database, "damage");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        shell("D=%s; %s", database, rows[i].damage);
        struct index_report n = update("damage");
        bool kept = i + 1 == sizeof rows / sizeof *rows;
        assert_int_equal(n.n_parsed, kept ? 0 : 40);
        assert_int_equal(n.rebuilt, rows[i].noticed);
        check_find("damage", "f7", "7.c:1: int f7(int a7)\n");
    }
}

static bool stop_after(void *payload, size_t n_done, size_t n_files)
{
    (void)n_files;
    return n_done < *(const size_t *)payload;
}

static void test_cancelled_and_resumed(void **state)
{
    (void)state;
    size_t one = 1;
    repository *r;
    code_index *x;
    struct index_report report;
    shell("mkdir resume && cd resume && for i in $(seq 300); do echo \"int f$i;\" > $i.c; done");
    assert_int_equal(repository_open(&r, workspace_path("resume"), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    assert_int_equal(index_update(&report, x, r, stop_after, &one, NULL), ERR_CANCELLED);
    assert_true(report.n_parsed > 0);
    size_t n_before = report.n_parsed;
    assert_int_equal(index_update(&report, x, r, NULL, NULL, NULL), OK);
    assert_int_equal(report.n_parsed, 300 - n_before);
    index_close(x);
    repository_close(r);
}

/* Contents that no tree has are kept, until the database is over its bound. */
static void test_bound(void **state)
{
    (void)state;
    char database[512];
    shell("mkdir bound && cd bound && echo 'int kept;' > kept.c");
    for (int round = 0; round < 8; round++) {
        shell("cd bound && seq %d %d | sed 's/.*/name_&_of_some_length/' > big.txt", round * 100000,
              round * 100000 + 12000);
        struct index_report n = update("bound");
        assert_int_equal(n.n_files, 2);
        assert_true(n.database_bytes <= INDEX_DATABASE_FLOOR);
    }
    database_of(database, "bound");
    assert_int_equal(ask(database, "SELECT count(*) FROM words('name_700007_of_some_length')"), 1);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('name_7_of_some_length')"), 0);
    assert_int_equal(ask(database, "SELECT count(*) FROM uses WHERE names LIKE '%name_7_of%'"), 0);
    assert_true(ask(database, "SELECT count(*) FROM blobs") < 9);
    check_find("bound", "kept", "kept.c:1: int kept\n");
    assert_true(ask(database, "SELECT count(*) FROM pragma_integrity_check"
                              " WHERE integrity_check = 'ok'") == 1);
}

/* One file at a time: new, changed, gone, ignored, elsewhere. */
static void single_files_are_updated(void **state)
{
    (void)state;
    static const struct {
        const char *command, *path, *word, *expected;
        bool changed;
    } steps[] = {
        {"true", "a.c", "first", "a.c:1: int first(void)\n", false},
        {"echo 'int second(void) { return 1; }' > sub/b.c", "sub/b.c", "second",
         "sub/b.c:1: int second(void)\n", true},
        {"echo 'int third(void) { return 12; }' > sub/b.c", "sub/b.c", "second", "", true},
        {"true", "sub/b.c", "third", "sub/b.c:1: int third(void)\n", false},
        {"rm sub/b.c", "sub/b.c", "third", "", true},
        {"echo 'int hidden(void) { return 1; }' > ignored.c", "ignored.c", "hidden", "", false},
        {"echo 'int hidden(void) { return 1; }' > sub/.env", "sub/.env", "hidden", "", false},
        {"ln -s /etc/passwd link.c", "link.c", "root", "", false},
        {"true", "../one/a.c", "hidden", "", false},
        {"true", "sub", "hidden", "", false},
        {"true", "a.c/b", "hidden", "", false},
        {"true", "", "hidden", "", false},
    };
    shell("mkdir -p one/sub && cd one && git init -q && echo ignored.c > .gitignore && "
          "echo 'int first(void) { return 1; }' > a.c && git add . && git commit -qm x");
    check_update("one", 2, 0, 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        repository *r;
        code_index *x;
        error err = {0};
        bool changed;
        shell("cd one && %s", steps[i].command);
        assert_int_equal(repository_open(&r, workspace_path("one"), NULL), OK);
        assert_int_equal(index_open(&x, r, NULL), OK);
        if (index_update_file(&changed, x, r, text_of(steps[i].path), &err) != OK)
            fail_msg("step %zu: %s", i, err.message);
        if (changed != steps[i].changed) fail_msg("step %zu: changed is %d", i, changed);
        index_close(x);
        repository_close(r);
        check_find("one", steps[i].word, steps[i].expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents_are_parsed_once),
        cmocka_unit_test(test_filters_change_nothing),
        cmocka_unit_test(test_what_is_skipped),
        cmocka_unit_test(test_hostile_contents),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_search_over_words),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_cancelled_and_resumed),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(single_files_are_updated),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
