/* Repositories made by the git program, read by us: which files, which blobs, which HEAD. Blob ids
 * are compared with what `git hash-object` says. */
#include "tests/unit/workspace.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "context/repository.h"

static repository *open_at(const char *name)
{
    repository *r;
    error err = {0};
    status code = repository_open(&r, workspace_path(name), &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    return r;
}

/* Paths by lines, "?" before what is not tracked. */
static void check_list(repository *r, const char *expected)
{
    struct repository_files list;
    buffer found = {0};
    buffer_put(&found, "", 0);
    assert_int_equal(repository_list(&list, r, NULL), OK);
    for (size_t i = 0; i < list.n; i++) {
        if (!list.files[i].tracked) buffer_put_char(&found, '?');
        buffer_put_text(&found, list.files[i].path);
        buffer_put_char(&found, '\n');
    }
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    repository_files_free(&list);
}

static void check_tree(const char *name, enum repository_kind kind, const char *expected)
{
    repository *r = open_at(name);
    assert_int_equal(repository_kind(r), kind);
    check_list(r, expected);
    repository_close(r);
}

static void hex_of(char out[41], const struct blob_id *id)
{
    for (size_t i = 0; i < sizeof id->bytes; i++) sprintf(out + 2 * i, "%02x", id->bytes[i]);
}

/* The first line a command prints. */
static void output_of(char out[128], const char *command)
{
    buffer b = {0};
    shell("{ %s; } > output", command);
    assert_int_equal(file_read(&b, workspace_path("output"), MIB, NULL), OK);
    snprintf(out, 128, "%.*s", (int)strcspn(b.bytes, "\n"), b.bytes);
    buffer_free(&b);
}

static void test_files_and_ignores(void **state)
{
    (void)state;
    shell(
        "git init -q plain && cd plain && mkdir -p src/deep build forced empty && echo a > src/a.c"
        " && echo b > src/deep/b.c && echo x > build/x.o && echo '*.o\nbuild/\n/top.txt' >"
        " .gitignore && echo f > forced/keep.o && git add -f . && git rm -rq --cached build &&"
        " git commit -qm one && echo n > new.c && echo t > top.txt && echo y > src/top.txt &&"
        " echo '*.x\n!b.x' > src/deep/.gitignore && echo d > src/deep/a.x && echo d > src/deep/b.x "
        "&& echo e > src/e.o");
    check_tree("plain", REPOSITORY_GIT,
               ".gitignore\nforced/keep.o\n?new.c\nsrc/a.c\n?src/deep/.gitignore\nsrc/deep/b.c\n"
               "?src/deep/b.x\n?src/top.txt\n");
    check_tree("plain/src/a.c", REPOSITORY_GIT,
               ".gitignore\nforced/keep.o\n?new.c\nsrc/a.c\n?src/deep/.gitignore\nsrc/deep/b.c\n"
               "?src/deep/b.x\n?src/top.txt\n");
    /* a folder that the repository ignores is looked at for itself */
    check_tree("plain/build", REPOSITORY_FOLDER, "?x.o\n");
    /* but what is tracked in an ignored folder belongs to the repository; other programs' data do not */
    shell("git init -q kept && cd kept && mkdir -p out/in .hg .svn && echo a > out/in/a && echo b >"
          " out/b && echo x > .hg/x && echo x > .svn/x && git add out/in/a && echo out/ > "
          ".gitignore");
    check_tree("kept", REPOSITORY_GIT, "?.gitignore\nout/in/a\n");
}

static void test_ids_are_gits(void **state)
{
    (void)state;
    char expected[128], hex[41], line[128];
    struct repository_files list;
    struct file_stamp stamp;
    buffer b = {0};
    shell("git init -q ids && cd ids && printf 'one\\n' > a && printf 'two' > b && git add . &&"
          " git commit -qm x && touch -d '1 hour ago' a b && git status && sleep 0.02 &&"
          " touch -d '1 minute ago' .git/index && printf 'six\\n' > b");
    repository *r = open_at("ids");
    assert_int_equal(repository_list(&list, r, NULL), OK);
    assert_int_equal(list.n, 2);
    for (size_t i = 0; i < 2; i++) {
        buffer_clear(&b);
        assert_int_equal(repository_read(&b, &stamp, r, &list.files[i], MIB, NULL), OK);
        struct blob_id id = blob_id_of(buffer_text(&b));
        hex_of(hex, &id);
        snprintf(line, sizeof line, "git hash-object --no-filters ids/%s", i ? "b" : "a");
        output_of(expected, line);
        assert_string_equal(hex, expected);
        assert_int_equal(stamp.size_bytes, b.size);
    }
    assert_true(list.files[0].identified);
    assert_false(list.files[1].identified);
    hex_of(hex, &list.files[0].id);
    output_of(expected, "git hash-object ids/a");
    assert_string_equal(hex, expected);
    assert_int_equal(repository_read(&b, &stamp, r, &list.files[0], 2, NULL), ERR_LIMIT);
    /* an index as old as the file could have missed a change of the same moment */
    shell("touch -d '2 hours ago' ids/.git/index");
    repository *older = open_at("ids");
    struct repository_files doubted;
    assert_int_equal(repository_list(&doubted, older, NULL), OK);
    assert_false(doubted.files[0].identified);
    repository_files_free(&doubted);
    repository_close(older);
    shell("rm ids/a && ln -s b ids/a");
    assert_int_equal(repository_read(&b, &stamp, r, &list.files[0], MIB, NULL), ERR_IO);
    repository_files_free(&list);
    buffer_free(&b);
    repository_close(r);
}

static void check_head(const char *name, const char *branch, const char *command)
{
    char head[128] = "";
    repository *r = open_at(name);
    assert_string_equal(repository_branch(r), branch);
    if (command) output_of(head, command);
    assert_string_equal(repository_head(r), head);
    assert_null(repository_notice(r));
    repository_close(r);
}

static void test_heads(void **state)
{
    (void)state;
    shell("git init -q heads && cd heads && echo new > a");
    check_head("heads", "main", NULL);
    check_tree("heads", REPOSITORY_GIT, "?a\n");
    shell("cd heads && git add a && git commit -qm one && git checkout -qb topic/x");
    check_head("heads", "topic/x", "git -C heads rev-parse HEAD");
    shell("cd heads && echo b > a && git commit -qam two && git checkout -q HEAD~1");
    check_head("heads", "", "git -C heads rev-parse HEAD");
}

static void test_bare_and_shallow(void **state)
{
    (void)state;
    shell("git init -q origin && cd origin && mkdir d && echo a > a && echo b > d/b && ln -s a l &&"
          " git add . && git commit -qm one && echo c > a && git commit -qam two && cd .. &&"
          " git clone -q --bare origin bare.git && git init -q --bare empty.git &&"
          " git clone -q --depth 1 file://$PWD/origin shallow");
    check_tree("bare.git", REPOSITORY_BARE, "a\nd/b\n");
    check_tree("empty.git", REPOSITORY_BARE, "");
    check_tree("shallow", REPOSITORY_GIT, "a\nd/b\n");
    check_head("shallow", "main", "git -C origin rev-parse HEAD");
    struct repository_files list;
    struct file_stamp stamp;
    buffer b = {0};
    repository *r = open_at("bare.git");
    assert_int_equal(repository_list(&list, r, NULL), OK);
    assert_int_equal(repository_read(&b, &stamp, r, &list.files[0], MIB, NULL), OK);
    assert_string_equal(b.bytes, "c\n");
    assert_int_equal(repository_read(&b, &stamp, r, &list.files[0], 1, NULL), ERR_LIMIT);
    buffer_free(&b);
    repository_files_free(&list);
    repository_close(r);
}

static void test_worktrees_and_units(void **state)
{
    (void)state;
    shell("git init -q main && cd main && echo a > a.c && git add . && git commit -qm one &&"
          " git worktree add -q ../linked -b other && git worktree add -q inside -b third &&"
          " git submodule -q add file://%s/main sub && git commit -qm sub && mkdir nested &&"
          " git init -q nested && echo n > nested/n.c && mkdir gone && echo a > gone/a &&"
          " git add gone && rm -r gone && ln -s /etc gone",
          workspace);
    check_tree("main", REPOSITORY_GIT, ".gitmodules\na.c\n");
    check_tree("linked", REPOSITORY_GIT, "a.c\n");
    check_tree("main/inside", REPOSITORY_GIT, "a.c\n");
    check_tree("main/sub", REPOSITORY_GIT, "a.c\n");
    check_tree("main/nested", REPOSITORY_GIT, "?n.c\n");
    check_head("linked", "other", "git -C main rev-parse other");
    repository *a = open_at("main"), *b = open_at("linked"), *c = open_at("main/sub");
    assert_string_equal(repository_common(a), repository_common(b));
    assert_string_not_equal(repository_root(a), repository_root(b));
    assert_string_not_equal(repository_common(a), repository_common(c));
    repository_close(a);
    repository_close(b);
    repository_close(c);
}

/* What libgit2 may not or cannot read makes a plain folder, and says why. */
static void check_plain(const char *name, const char *why, const char *expected)
{
    repository *r = open_at(name);
    assert_int_equal(repository_kind(r), REPOSITORY_FOLDER);
    assert_string_equal(repository_head(r), "");
    if (!why) assert_null(repository_notice(r));
    if (why) assert_non_null(repository_notice(r));
    if (why && !strstr(repository_notice(r), why))
        fail_msg("\"%s\" says nothing of \"%s\"", repository_notice(r), why);
    check_list(r, expected);
    repository_close(r);
}

static void test_formats(void **state)
{
    (void)state;
    shell("mkdir folder && echo a > folder/a && mkdir folder/node_modules && echo b >"
          " folder/node_modules/b");
    check_plain("folder", NULL, "?a\n");
    shell("git init -q --object-format=sha256 sha && echo a > sha/a && git -C sha add a &&"
          " git -C sha commit -qm x");
    check_plain("sha", "objectformat", "?a\n");
    shell("git init -q reftable && cd reftable && echo a > a && git config"
          " core.repositoryformatversion 1 && git config extensions.refstorage reftable");
    check_plain("reftable", "refstorage", "?a\n");
    shell("git init -q broken && cd broken && echo a > a && git add a && printf XXXX > .git/index");
    check_plain("broken", "index", "?a\n");
    shell("git init -q lost && cd lost && echo a > a && mkdir ../elsewhere &&"
          " git config core.worktree %s/elsewhere",
          workspace);
    check_plain("lost", "elsewhere", "?a\n");
    shell("git init -q fifo && cd fifo && echo a > a && rm .git/config && mkfifo .git/config");
    check_plain("fifo", "config", "?a\n");
    shell("git init -q split && cd split && echo a > a && git add a && git commit -qm x &&"
          " git update-index --split-index");
    check_plain("split", "link", "?a\n");
    shell("git init -q folded && cd folded && mkdir in out && echo a > in/a && echo b > out/b &&"
          " git add . && git commit -qm x && git sparse-checkout init --cone --sparse-index &&"
          " git sparse-checkout set in");
    check_plain("folded", "sdir", "?in/a\n");
    shell("git init -q sparse && cd sparse && mkdir in out && echo a > in/a && echo b > out/b &&"
          " git add . && git commit -qm x && git config core.repositoryformatversion 1 &&"
          " git config extensions.worktreeConfig true && git sparse-checkout set --no-cone /in/");
    check_tree("sparse", REPOSITORY_GIT, "in/a\n");
}

/* Paths by lines, "-" before what the attribute -dbrx excludes. */
static void check_excluded(const char *name, const char *expected)
{
    struct repository_files list;
    buffer found = {0};
    repository *r = open_at(name);
    assert_int_equal(repository_list(&list, r, NULL), OK);
    for (size_t i = 0; i < list.n; i++)
        buffer_print(&found, "%s%.*s\n", list.files[i].excluded ? "-" : "",
                     (int)list.files[i].path.size, list.files[i].path.bytes);
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    repository_files_free(&list);
    repository_close(r);
}

static void test_attribute(void **state)
{
    (void)state;
    shell(
        "git init -q attr && cd attr && mkdir -p legal/deep src && echo a > legal/deep/a && echo b"
        " > src/b.c && echo c > src/c.key.c && echo d > d && echo '*.c text' > src/.gitattributes"
        " && git add . && git commit -qm x");
    check_excluded("attr", "d\nlegal/deep/a\nsrc/.gitattributes\nsrc/b.c\nsrc/c.key.c\n");
    shell("cd attr && printf 'legal/** -dbrx\nd dbrx\n' > .gitattributes &&"
          " echo '*.key.c -dbrx' >> src/.gitattributes && git add . && git commit -qm y &&"
          " git clone -q --bare . ../attr.git");
    static const char expected[] = ".gitattributes\nd\n-legal/deep/a\nsrc/.gitattributes\n"
                                   "src/b.c\n-src/c.key.c\n";
    check_excluded("attr", expected);
    check_excluded("attr.git", expected);
    shell("cd attr && rm .gitattributes && git add . && echo 'd -dbrx' > .git/info/attributes");
    check_excluded("attr", "-d\nlegal/deep/a\nsrc/.gitattributes\nsrc/b.c\n-src/c.key.c\n");
    shell("cd attr && : > .git/info/attributes && rm src/.gitattributes &&"
          " mkfifo src/.gitattributes");
    check_excluded("attr", "d\nlegal/deep/a\n-src/b.c\n-src/c.key.c\n");
    /* a rule at the end of more than anybody would read */
    shell("cd attr && rm src/.gitattributes && { yes '# nothing' | head -c 1100000;"
          " printf '\\nb.c -dbrx\\n'; } > src/.gitattributes");
    check_excluded("attr", "d\nlegal/deep/a\nsrc/.gitattributes\n-src/b.c\n-src/c.key.c\n");
}

static void test_another_owner(void **state)
{
    (void)state;
    if (geteuid() != 0) skip(); /* only root can give a file away */
    shell("git init -q theirs && echo a > theirs/a && chown -R 12345 theirs");
    check_plain("theirs", "another user", "?a\n");
}

/* Another number when a link leads elsewhere, or an attribute file was changed. */
static void test_rules(void **state)
{
    (void)state;
    static const char *const changes[] = {
        "ln -sfn b link",           "ln -sfn a link",
        "ln -s a sub/other",        "echo '*.c text' > .gitattributes",
        "mv sub/other sub/another", "rm sub/another"};
    uint64_t before = 0;
    shell("git init -q rules && cd rules && mkdir sub && echo a > a && ln -s x link");
    for (size_t i = 0; i <= sizeof changes / sizeof *changes; i++) {
        struct repository_files list;
        repository *r = open_at("rules");
        for (int again = 0; again < 2; again++) {
            assert_int_equal(repository_list(&list, r, NULL), OK);
            assert_int_equal(list.rules == before, again);
            before = list.rules;
            repository_files_free(&list);
        }
        repository_close(r);
        if (i < sizeof changes / sizeof *changes) shell("cd rules && %s", changes[i]);
    }
}

static void test_hostile_trees(void **state)
{
    (void)state;
    shell("git init -q hostile && cd hostile && mkdir a && ln -s .. a/up && ln -s /etc/passwd p &&"
          " ln -s loop loop && mkfifo pipe && printf 'x' > 'new\nline' && printf y > '\377' &&"
          " mkdir closed && echo x > closed/x && echo t > closed/t &&"
          " git add closed/t && mkfifo closed/.gitignore && mkdir -p $(yes d | head -200 | tr "
          "'\\n' '/') && echo z > d/z");
    check_tree("hostile", REPOSITORY_GIT, "closed/t\n?d/z\n?new\nline\n?\377\n");
    shell("mkdir loops && cd loops && ln -s . self && mkfifo pipe && echo a > a && chmod 000 a &&"
          " mkdir .git && echo x > .git/config");
    check_plain("loops", NULL, "?a\n");
    /* folders within each other, 100 and 150 deep */
    shell(
        "mkdir deep && cd deep && for i in $(seq 150); do mkdir d && cd d && { [ $i != 100 -a $i !="
        " 150 ] || echo $i > f$i; }; done");
    repository *r = open_at("deep");
    struct repository_files list;
    assert_int_equal(repository_list(&list, r, NULL), OK);
    assert_int_equal(list.n, 1);
    assert_int_equal(list.n_refused, 1);
    repository_files_free(&list);
    repository_close(r);
    error err;
    assert_int_equal(repository_open(&r, workspace_path("nothing"), &err), ERR_IO);
    assert_null(r);
    repository_close(NULL);
}

static void list_of(struct repository_files *out, const char *name)
{
    repository *r = open_at(name);
    assert_int_equal(repository_list(out, r, NULL), OK);
    repository_close(r);
}

/* A folder in which it stands itself, without any link. */
static void test_a_folder_within_itself(void **state)
{
    (void)state;
    struct repository_files list;
    shell("mkdir -p round/a/b && echo x > round/f && echo y > round/a/g");
    const char *from = workspace_path("round"), *to = workspace_path("round/a/b");
    if (mount(from, to, "", MS_BIND, NULL) != 0) skip(); /* only root can */
    list_of(&list, "round");
    assert_int_equal(umount(to), 0);
    assert_int_equal(list.n, 2);
    assert_int_equal(list.n_refused, 1);
    repository_files_free(&list);
}

/* One file, 999 times in a folder, that folder 999 times, and 2,000 more behind them: one too many. */
static void test_files_without_end(void **state)
{
    (void)state;
    struct repository_files list;
    shell("git init -q --bare million.git && cd million.git && export GIT_DIR=$PWD &&"
          " blob=$(echo 'int a;' | git hash-object -w --stdin) &&"
          " files() { for i in $(seq $1); do printf \"100644 blob $blob\\tf$i\\n\"; done; } &&"
          " inner=$(files 999 | git mktree) && last=$(files 2000 | git mktree) &&"
          " link=$(printf x | git hash-object -w --stdin) &&"
          " root=$( { for i in $(seq 100 1098); do printf \"040000 tree $inner\\td$i\\n\"; done;"
          " printf \"040000 tree $last\\te\\n120000 blob $link\\tz\\n\"; } | git mktree) &&"
          " git update-ref refs/heads/main $(git commit-tree -m x $root)");
    list_of(&list, "million.git");
    assert_int_equal(list.n, 1000000);
    assert_true(list.truncated);
    assert_int_equal(list.n_special, 0); /* nobody went on to the link behind them */
    repository_files_free(&list);
    shell("cd million.git && export GIT_DIR=$PWD && printf '100644 blob %%s\\tf\\n'"
          " $(echo 'int a;' | git hash-object -w --stdin) > file && tree=$(git mktree < file) &&"
          " for i in $(seq 140); do tree=$(printf \"040000 tree $tree\\td\\n\" | cat file - |"
          " git mktree); done && git update-ref refs/heads/main $(git commit-tree -m x $tree)");
    list_of(&list, "million.git");
    assert_int_equal(list.n, 128); /* the root and 127 folders, as deep as on a disk */
    assert_int_equal(list.n_refused, 1);
    assert_false(list.truncated);
    repository_files_free(&list);
}

static bool until_the_third(void *payload) { return ++*(int *)payload < 3; }

/* Of 300 files whoever does not wait any more is asked; of one, 70 folders deep, nobody is. */
static void test_a_list_may_be_ended(void **state)
{
    (void)state;
    static const char *const names[] = {"many", "many.git"};
    char deep[256] = "";
    for (int i = 0; i < 70; i++) strcat(deep, "d/");
    strcat(deep, "f");
    shell("git init -q many && cd many && for i in $(seq 300); do echo $i > f$i; done && git add ."
          " && git commit -qm x && git clone -q --bare . ../many.git && mkdir -p $(dirname %s) &&"
          " echo x > %s",
          deep, deep);
    for (size_t i = 0; i < 2; i++) {
        struct repository_files list;
        error err;
        int n_asked = 0;
        repository *r = open_at(names[i]);
        repository_set_go_on(r, until_the_third, &n_asked);
        assert_int_equal(repository_list(&list, r, &err), ERR_CANCELLED);
        assert_int_equal(err.code, ERR_CANCELLED);
        assert_int_equal(n_asked, 3);
        assert_in_range(list.n, 150, 200);
        repository_files_free(&list);
        assert_int_equal(repository_list_one(&list, r, text_of(deep), NULL), OK);
        assert_int_equal(list.n, i == 0);
        repository_files_free(&list);
        assert_int_equal(n_asked, 3);
        repository_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_and_ignores),
        cmocka_unit_test(test_ids_are_gits),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_bare_and_shallow),
        cmocka_unit_test(test_worktrees_and_units),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_attribute),
        cmocka_unit_test(test_another_owner),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_hostile_trees),
        cmocka_unit_test(test_a_folder_within_itself),
        cmocka_unit_test(test_files_without_end),
        cmocka_unit_test(test_a_list_may_be_ended),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
