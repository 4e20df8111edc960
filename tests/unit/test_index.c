/* The index over repositories made by the git program: what is parsed, reused and skipped, what a
 * name finds, and what becomes of a database that is damaged or foreign. */
#include "tests/unit/support/index_rig.h"

#include <limits.h>
#include <sys/inotify.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"

/* By path, whichever file the index met first. */
static void test_definitions_by_path(void **state)
{
    (void)state;
    shell("git init -q order && cd order && printf '\n\nint twice(void);\nint once;\n' > z.c");
    check_update("order", 1, 0, 0);
    shell("cd order && printf 'int twice(int);\n' > a.c && "
          "printf 'void f(void)\n{\n}\nint twice(char);\nint twice(long);\n' > b.c");
    check_update("order", 2, 1, 0);
    check_find("order", "twice",
               "a.c:1: int twice(int)\nb.c:4: int twice(char)\nb.c:5: int twice(long)\n"
               "z.c:3: int twice(void)\n");
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
    char database[512];
    database_of(database, "once");
    assert_int_equal(ask(database, "SELECT count(*) FROM trees"), 2);
    shell("rm -rf second");
    check_update("once", 0, 4, 0);
    assert_int_equal(ask(database, "SELECT count(*) FROM trees"), 1);
    assert_int_equal(ask(database, "SELECT count(*) FROM files"), 4);
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
    /* the bytes that git means are a content of the index, too: another one */
    shell("cd crlf && rm .gitattributes && printf '/* c */\\nint a;\\n' > lf.c");
    check_update("crlf", 1, 1, 1);
    shell("cd crlf && touch -d '1 hour ago' a.c && git -c core.autocrlf=true -c core.fsmonitor= add"
          " a.c && touch .git/index");
    check_update("crlf", 0, 2, 0);
    assert_int_equal(ask(database, "SELECT sum(from_byte) FROM symbols s JOIN files f"
                                   " ON f.blob = s.blob"),
                     9 + 8);
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
          " printf 'token: AKIAcanarysecret77\\n' > t.yaml && echo x > 'new\nline.txt' && printf"
          " 'export K=AKIAcanarysecret77\\nAKIAcanarysecret78 -x\\n' > s.sh && seq -s ' ' 9000 > "
          "prose.md");
    struct index_report n = update("skips");
    assert_int_equal(n.n_files, 15);
    assert_int_equal(n.n_skipped[SKIP_EXCLUDED], 2);
    assert_int_equal(n.n_skipped[SKIP_LARGE], 2);
    assert_int_equal(n.n_skipped[SKIP_BINARY], 2);
    assert_int_equal(n.n_skipped[SKIP_MINIFIED], 3);
    assert_int_equal(n.n_skipped[SKIP_SLOW], 0);
    assert_int_equal(n.n_parsed, 6);
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
    check_update("skips", 0, 6, 0);
}

/* An attribute excludes like a name; what the same content says under another name stays. */
static void test_excluded_later(void **state)
{
    (void)state;
    shell("git init -q later && cd later && echo 'int shared;' > a.c && cp a.c b.c &&"
          " echo 'int alone;' > c.c && git add . && git commit -qm x");
    check_update("later", 2, 1, 0);
    shell("cd later && printf 'a.c -dbrx\\nc.c -dbrx\\n' > .gitattributes");
    struct index_report n = update("later");
    assert_int_equal(n.n_skipped[SKIP_EXCLUDED], 2);
    check_find("later", "shared", "b.c:1: int shared\n");
    char database[512];
    database_of(database, "later");
    assert_int_equal(ask(database, "SELECT count(*) FROM symbols WHERE name = 'alone'"), 0);
    assert_int_equal(ask(database, "SELECT count(*) FROM words('alone')"), 0);
}

/* A row is believed when all of the stamp is the same, the language is, and the file was not changed
 * just before it was looked at. What the row says here is wrong, so that belief shows. */
static void test_stamps(void **state)
{
    (void)state;
    static const struct {
        const char *change;
        bool believed;
    } rows[] = {
        {"seen = ctime + 20000001", true},
        {"seen = ctime + 20000000", false},
        {"size = size + 1", false},
        {"inode = inode + 1", false},
        {"mtime = mtime + 1", false},
        {"ctime = ctime + 1", false},
        {"seen = seen", true},
    };
    char database[512], sql[256];
    shell("mkdir stamps && cd stamps && echo 'int a;' > a.c && echo 'int b;' > b.c && sleep 0.03");
    check_update("stamps", 2, 0, 0);
    database_of(database, "stamps");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(sql, sizeof sql,
                 "UPDATE files SET %s, blob = (SELECT blob FROM symbols WHERE name = 'b')"
                 " WHERE path = CAST('a.c' AS BLOB)",
                 rows[i].change);
        change(database, sql);
        check_update("stamps", 0, 2, 0);
        check_find("stamps", "a", rows[i].believed ? "" : "a.c:1: int a\n");
    }
    change(database, "UPDATE blobs SET language = 'Lua' WHERE id = (SELECT blob FROM files"
                     " WHERE path = CAST('a.c' AS BLOB))");
    check_update("stamps", 1, 1, 0);
}

/* Lines no person wrote: one of 40,000 bytes among short ones; long ones on average, in source and not
 * in prose, and not in a file so small that it does not matter. */
static void test_minified_lines(void **state)
{
    (void)state;
    shell("mkdir lines && cd lines && w() { head -c $1 /dev/zero | tr '\\0' 'a'; echo; } &&"
          " { w 40000; for i in $(seq 300); do echo 'var a;'; done; } > one.js &&"
          " { w 30000; for i in $(seq 300); do echo 'var a;'; done; } > short_of_it.js &&"
          " for i in $(seq 12); do w 500; done | tee mean.js > mean.md &&"
          " w 1000 > small.js");
    struct index_report n = update("lines");
    assert_int_equal(n.n_files, 5);
    assert_int_equal(n.n_skipped[SKIP_MINIFIED], 2);
    assert_int_equal(n.n_parsed, 3);
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
    shell("mkdir headers && printf '#include <map>\\nclass shape : public base {};\\n' > "
          "headers/a.h");
    check_update("headers", 1, 0, 0);
    check_find("headers", "shape", "a.h:2: class shape : public base\n");
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
    /* a byte counts up to 255 */
    shell("cd words && { echo 'int many(int v) {'; yes 'v;' | head -300; echo '}'; } > c.c");
    update("words");
    assert_int_equal(ask(database, "SELECT hex(counts) = 'FF00' FROM uses"
                                   " WHERE names = 'v' || char(10) || 'many' || char(10)"),
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
        {"printf XX | dd of=$D bs=1 seek=68 conv=notrunc", true}, /* another program's */
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
    /* a page that an update does not need */
    int page = (int)ask(database, "SELECT rootpage FROM sqlite_master WHERE name = 'uses'");
    shell("dd if=/dev/zero of=%s bs=4096 seek=%d conv=notrunc count=1", database, page - 1);
    assert_true(update("damage").rebuilt);
}

/* Well-formed rows that no program of ours writes: mended, or as good as none. */
static void test_damaged_rows(void **state)
{
    (void)state;
    static const char *const damages[] = {
        "UPDATE blobs SET state = 77",
        "UPDATE blobs SET state = -1",
        "UPDATE uses SET counts = zeroblob(4000)",
        "UPDATE uses SET names = x'00ff'",
        "UPDATE symbols SET to_byte = -1, line = -5",
        "UPDATE trees SET map_head = x'ff'",
        "DELETE FROM blobs",
    };
    char database[512];
    shell("mkdir rows && cd rows && for i in $(seq 9); do echo \"int f$i(int a$i) { return g(); }\""
          " > $i.c; done");
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        update("rows");
        database_of(database, "rows");
        change(database, damages[i]);
        update("rows");
        change(database, "DELETE FROM files; UPDATE trees SET map_head = ''");
        update("rows");
        shell("rm -f %s*", database);
    }
}

/* A database that is a link to somewhere else is not followed, and not taken away. */
static void test_a_link_is_no_database(void **state)
{
    (void)state;
    repository *r;
    code_index *x;
    char database[512];
    shell("mkdir linked && cd linked && echo 'int a;' > a.c");
    update("linked");
    database_of(database, "linked");
    shell("D=%s; mv $D %s/elsewhere.db && ln -s %s/elsewhere.db $D", database, workspace,
          workspace);
    assert_int_equal(repository_open(&r, workspace_path("linked"), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), ERR_IO);
    repository_close(r);
    assert_true(file_exists(workspace_path("elsewhere.db")));
}

/* A lock that is a link would make a file wherever it leads. */
static void test_a_link_is_no_lock(void **state)
{
    (void)state;
    repository *r;
    code_index *x;
    struct index_report report;
    char database[512];
    shell("mkdir locked && cd locked && echo 'int a;' > a.c");
    update("locked");
    database_of(database, "locked");
    shell("L=%.*s.lock; rm $L && ln -s %s/made $L", (int)strlen(database) - 3, database, workspace);
    assert_int_equal(repository_open(&r, workspace_path("locked"), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    assert_int_equal(index_update(&report, x, r, NULL, NULL, NULL), ERR_IO);
    assert_false(file_exists(workspace_path("made")));
    index_close(x);
    repository_close(r);
}

/* Names of files that were deleted in the watched folder, in this order, a space behind each. */
static void names_deleted(buffer *out, int watch)
{
    _Alignas(struct inotify_event) char events[8192];
    ssize_t n = read(watch, events, sizeof events);
    assert_true(n > 0);
    for (ssize_t at = 0; at < n;) {
        const struct inotify_event *e = (const void *)(events + at);
        buffer_print(out, "%s ", e->name);
        at += (ssize_t)(sizeof *e + e->len);
    }
}

/* Killed in between, it must not leave a journal beside a database that it does not speak of. */
static void a_journal_goes_before_its_database(void **state)
{
    (void)state;
    char database[512], folder[512], expected[256];
    buffer names = {0};
    shell("mkdir journal && cd journal && echo 'int a;' > a.c");
    update("journal");
    database_of(database, "journal");
    sqlite3 *reader; /* of whoever has it open the journal is left by SQLite's own closing */
    assert_int_equal(sqlite3_open(database, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "SELECT 1 FROM trees", NULL, NULL, NULL), SQLITE_OK);
    change(database, "PRAGMA user_version = 99");
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(database, '/') - database), database);
    int watch = inotify_init1(IN_NONBLOCK);
    assert_true(inotify_add_watch(watch, folder, IN_DELETE) >= 0);
    assert_true(update("journal").rebuilt);
    sqlite3_close(reader);
    names_deleted(&names, watch);
    close(watch);
    const char *name = strrchr(database, '/') + 1;
    snprintf(expected, sizeof expected, "%s-wal %s-shm %s ", name, name, name);
    assert_int_equal(strncmp(names.bytes, expected, strlen(expected)), 0);
    buffer_free(&names);
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

/* Ends an update at its n-th question of those before any file is done. */
struct ending {
    int n_asked, last;
};

static bool end_at(void *payload, size_t n_done, size_t n_files)
{
    struct ending *e = payload;
    bool listing = n_done == 0 && n_files == 1;
    e->n_asked += listing;
    clock_sleep_us(11000); /* longer than it is not asked again */
    return !listing || e->n_asked < e->last;
}

static void an_update_ends_while_it_lists(void **state)
{
    (void)state;
    repository *r;
    code_index *x;
    struct index_report report;
    shell("mkdir listed && cd listed && for i in $(seq 4200); do : > $i.c; done");
    assert_int_equal(repository_open(&r, workspace_path("listed"), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    struct ending early = {0, 2};
    assert_int_equal(index_update(&report, x, r, end_at, &early, NULL), ERR_CANCELLED);
    assert_in_range(report.n_files, 125, 127);
    struct ending never = {0, INT_MAX};
    assert_int_equal(index_update(&report, x, r, end_at, &never, NULL), OK);
    assert_int_equal(report.n_files, 4200);
    /* known files are loaded once all of them are listed, which was asked for as often before */
    struct ending late = {0, never.n_asked + 1};
    assert_int_equal(index_update(&report, x, r, end_at, &late, NULL), ERR_CANCELLED);
    assert_int_equal(report.n_files, 4200);
    assert_int_equal(report.n_parsed + report.n_reused, 0);
    index_close(x);
    repository_close(r);
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
        {"echo 'int fourth(void) { return 4; }' > a.c", "a.c/b", "fourth", "", false},
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

/* What the progress of one update does through another handle, or through its own. */
struct meanwhile {
    repository *r;
    code_index *x;
    text path;
    int n_calls, only_call; /* 0: at each */
    status code;
};

/* At the first call a file is being read; 150 ms later, at the second, it is being parsed. */
static bool add_meanwhile(void *payload, size_t n_done, size_t n_files)
{
    struct meanwhile *m = payload;
    bool changed;
    (void)n_done, (void)n_files;
    if (m->only_call && ++m->n_calls != m->only_call) {
        clock_sleep_us(150000);
        return true;
    }
    status code = index_update_file(&changed, m->x, m->r, m->path, NULL);
    if (m->only_call && code == ERR_BUSY)
        m->n_calls--; /* the update writes already: it is tried again when it does not */
    else if (code != OK)
        m->code = code;
    return true;
}

static void update_meanwhile(const char *name, bool own_handle)
{
    repository *r;
    code_index *x, *other;
    struct index_report report;
    error err = {0};
    shell("mkdir %s && cd %s && for i in 1 2 3 4; do { seq 9000 | sed 's/.*/int v&;/'; echo \"int"
          " f$i;\"; } > $i.c; done",
          name, name);
    assert_int_equal(repository_open(&r, workspace_path(name), NULL), OK);
    assert_int_equal(index_open(&x, r, NULL), OK);
    assert_int_equal(index_open(&other, r, NULL), OK);
    /* another handle can write while the update does not, which is so at its second call */
    struct meanwhile m = {r, own_handle ? x : other, TEXT("1.c"), 0, own_handle ? 0 : 2, OK};
    status code = index_update(&report, x, r, add_meanwhile, &m, &err);
    if (code != OK) fail_msg("%s", err.message);
    assert_int_equal(m.code, OK);
    assert_false(report.rebuilt);
    assert_int_equal(report.n_parsed + report.n_reused, 4);
    index_close(other);
    index_close(x);
    repository_close(r);
    check_update(name, 0, 4, 0);
    for (int i = 1; i <= 4; i++) {
        char word[8], expected[32];
        snprintf(word, sizeof word, "f%d", i);
        snprintf(expected, sizeof expected, "%d.c:9001: int f%d\n", i, i);
        check_find(name, word, expected);
    }
}

static void two_add_the_same_content(void **state)
{
    (void)state;
    update_meanwhile("both", false);
}

static void files_are_updated_within_an_update(void **state)
{
    (void)state;
    update_meanwhile("within", true);
}

struct opened {
    int n_asked;
    char database[512];
    int64_t n_files, n_wanted;
};

/* The second question comes when the surroundings of the file are committed. */
static bool one_opened(void *payload, buffer *path)
{
    struct opened *o = payload;
    if (o->n_asked++ == 0) {
        buffer_put_text(path, TEXT("zoo/open.c"));
        return true;
    }
    if (o->n_asked == 2) {
        o->n_files = ask(o->database, "SELECT count(*) FROM files");
        o->n_wanted = ask(o->database, "SELECT count(*) FROM files WHERE path IN (CAST("
                                       "'far/wanted.h' AS BLOB), CAST('zoo/beside.c' AS BLOB))");
    }
    return false;
}

static void what_is_opened_comes_first(void **state)
{
    (void)state;
    repository *r;
    code_index *x;
    struct index_report report;
    struct opened o = {0};
    shell("mkdir -p first/far first/zoo first/a && cd first && echo 'int w;' > far/wanted.h &&"
          " echo 'int b;' > zoo/beside.c && echo '#include \"wanted.h\"' > zoo/open.c && touch -d"
          " '1 hour ago' far/* zoo/* && for i in $(seq 600); do echo \"int f$i;\" > a/$i.c; done");
    database_of(o.database, "first");
    for (int round = 0; round < 2; round++) {
        assert_int_equal(repository_open(&r, workspace_path("first"), NULL), OK);
        assert_int_equal(index_open(&x, r, NULL), OK);
        o.n_asked = 0;
        index_ask_opened(x, one_opened, &o);
        assert_int_equal(index_update(&report, x, r, NULL, NULL, NULL), OK);
        assert_int_equal(report.n_files, 603);
        assert_int_equal(report.n_parsed, round ? 0 : 603);
        assert_int_equal(report.n_reused, round ? 603 : 0);
        assert_int_equal(o.n_wanted, 2);
        if (!round) assert_int_equal(o.n_files, 400);
        index_close(x);
        repository_close(r);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents_are_parsed_once),
        cmocka_unit_test(test_filters_change_nothing),
        cmocka_unit_test(test_what_is_skipped),
        cmocka_unit_test(test_definitions_by_path),
        cmocka_unit_test(test_excluded_later),
        cmocka_unit_test(test_stamps),
        cmocka_unit_test(test_minified_lines),
        cmocka_unit_test(test_hostile_contents),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_search_over_words),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_damaged_rows),
        cmocka_unit_test(test_a_link_is_no_database),
        cmocka_unit_test(test_a_link_is_no_lock),
        cmocka_unit_test(a_journal_goes_before_its_database),
        cmocka_unit_test(test_cancelled_and_resumed),
        cmocka_unit_test(an_update_ends_while_it_lists),
        cmocka_unit_test(single_files_are_updated),
        cmocka_unit_test(two_add_the_same_content),
        cmocka_unit_test(files_are_updated_within_an_update),
        cmocka_unit_test(what_is_opened_comes_first),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
