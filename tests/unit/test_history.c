/* Diffs and the past of repositories made by the git program, against what the git program says. */
#include "tests/unit/workspace.h"

#include "base/file.h"
#include "base/limits.h"
#include "context/diff.h"
#include "context/history.h"

static repository *open_at(const char *name)
{
    repository *r;
    error err = {0};
    status code = repository_open(&r, workspace_path(name), &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    return r;
}

/* What a command prints, all of it. */
static char *output_of(const char *command)
{
    static buffer b;
    buffer_clear(&b);
    shell("{ %s; } > output", command);
    assert_int_equal(file_read(&b, workspace_path("output"), MIB, NULL), OK);
    buffer_put(&b, "", 0);
    return b.bytes;
}

/* "M path +1 -2", "R old -> new +0 -0", "A path (reason)" by lines. */
static void check_diff(const char *name, const struct diff_options *options, const char *expected)
{
    struct diff d;
    buffer found = {0};
    error err = {0};
    repository *r = open_at(name);
    status code = repository_diff(&d, r, options, &err);
    if (code != OK) print_error("%s\n", err.message);
    assert_int_equal(code, OK);
    buffer_put(&found, "", 0);
    for (size_t i = 0; i < d.n; i++) {
        const struct diff_file *f = &d.files[i];
        buffer_print(&found, "%c ", f->change);
        if (!text_equal(f->old_path, f->path))
            buffer_print(&found, "%.*s -> ", (int)f->old_path.size, f->old_path.bytes);
        buffer_put_text(&found, f->path);
        if (f->omitted) buffer_print(&found, " (%s)", f->omitted);
        if (options->patches && !f->omitted && f->change != '?')
            buffer_print(&found, " +%zu -%zu", f->n_added, f->n_removed);
        buffer_put_char(&found, '\n');
    }
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    diff_free(&d);
    repository_close(r);
}

static const struct diff_options staged = {.side = DIFF_STAGED, .patches = true, .n_lines_near = 3};
static const struct diff_options unstaged = {
    .side = DIFF_UNSTAGED, .patches = true, .untracked = true, .n_lines_near = 3};

static void test_staged_and_unstaged(void **state)
{
    (void)state;
    shell("git init -q d && cd d && printf '1\\n2\\n3\\n4\\n5\\n' > a && echo gone > b &&"
          " seq 50 > long && printf 'x\\0y' > bin && echo '*.o' > .gitignore && ln -s a link &&"
          " echo K=1 > .env && git add -f . && git commit -qm one && printf "
          "'1\\nII\\n3\\n4\\n5\\n6\\n'"
          " > a && git rm -q b && git mv long longer && printf 'x\\0z' > bin && echo K=2 > .env &&"
          " ln -sf b link && echo n > new && git add . && echo late >> new && echo u > free &&"
          " echo o > x.o && rm bin");
    check_diff("d", &staged,
               "M .env (an environment file may hold secrets)\nM a +2 -1\nD b +0 -1\n"
               "M bin (binary or too large)\nM link (a symbolic link)\nR long -> longer +0 -0\n"
               "A new +1 -0\n");
    check_diff("d", &unstaged, "D bin (binary or too large)\n? free\nM new +1 -0\n");
    struct diff_options status_only = {.side = DIFF_STAGED};
    check_diff("d", &status_only, "M .env\nM a\nD b\nM bin\nM link\nR long -> longer\nA new\n");
}

/* The hunks of one file as git itself prints them. */
static void test_patches_are_gits(void **state)
{
    (void)state;
    struct diff d;
    shell(
        "git init -q p && cd p && { seq 40; printf end; } > s && git add . && git commit -qm x &&"
        " sed -i 's/^7$/seven/; /^20$/d; 33a new' s && printf '\\r\\n\\377\\n' >> s && git add .");
    const char *expected = output_of("git -C p diff --cached --no-color | sed 1,4d");
    repository *r = open_at("p");
    assert_int_equal(repository_diff(&d, r, &staged, NULL), OK);
    assert_int_equal(d.n, 1);
    assert_int_equal(d.files[0].patch.size, strlen(expected));
    assert_memory_equal(d.files[0].patch.bytes, expected, strlen(expected));
    diff_free(&d);
    struct diff_options small = {.side = DIFF_STAGED, .patches = true, .patch_max = 100};
    assert_int_equal(repository_diff(&d, r, &small, NULL), OK);
    assert_true(d.files[0].cut);
    assert_true(d.files[0].patch.size <= 100);
    assert_int_equal(d.files[0].patch.bytes[d.files[0].patch.size - 1], '\n');
    diff_free(&d);
    repository_close(r);
}

static void test_kinds_of_repositories(void **state)
{
    (void)state;
    struct diff d;
    error err;
    shell(
        "git init -q unborn && echo a > unborn/a && git -C unborn add a && git init -q --bare"
        " bare.git && mkdir folder && git init -q top && cd top && echo a > a && git add a &&"
        " git commit -qm one && git -c protocol.file.allow=always submodule -q add"
        " file://%s/top sub && git commit -qm sub && git worktree add -q ../linked &&"
        " echo b >> ../linked/a && git -C sub commit -q --allow-empty -m more && echo z > sub/z &&"
        " git add sub && mkdir in out && echo i > in/i && echo o > out/o && git add in out &&"
        " git commit -qm dirs && git config core.repositoryformatversion 1 &&"
        " git config extensions.worktreeConfig true &&"
        " git sparse-checkout set --no-cone /in/ /a /sub",
        workspace);
    check_diff("unborn", &staged, "A a +1 -0\n");
    check_diff("linked", &unstaged, "M a +1 -0\n");
    check_diff("top", &unstaged, "");
    shell("cd top && git -C sub commit -q --allow-empty -m yet && git add sub");
    check_diff("top", &staged, "M sub (a submodule)\n");
    static const char *const none[] = {"bare.git", "folder"};
    for (size_t i = 0; i < 2; i++) {
        repository *r = open_at(none[i]);
        assert_int_equal(repository_diff(&d, r, &staged, &err), ERR_UNSUPPORTED);
        diff_free(&d);
        repository_close(r);
    }
}

/* Rule files that would hang whoever opens them; programs that a repository names. */
static void test_hostile(void **state)
{
    (void)state;
    struct diff d;
    error err;
    shell("git init -q h && cd h && mkdir s && echo a > s/a && echo b > b && git add . &&"
          " git commit -qm x && printf '* filter=f diff=d\\n' > .git/info/attributes &&"
          " git config filter.f.clean 'touch %s/ran; cat' && git config filter.f.required true &&"
          " git config diff.d.textconv 'touch %s/ran; cat' && git config diff.external"
          " 'touch %s/ran' && echo c >> b && echo c >> s/a",
          workspace, workspace, workspace);
    check_diff("h", &unstaged, "M b +1 -0\nM s/a +1 -0\n");
    assert_false(file_exists(workspace_path("ran")));
    shell("cd h && git -c filter.f.clean=cat -c filter.f.required=false add . &&"
          " mkfifo s/.gitattributes && rm b && mkfifo b");
    check_diff("h", &staged, "M b +1 -0\nM s/a (its attributes are no regular file)\n");
    repository *r = open_at("h");
    assert_int_equal(repository_diff(&d, r, &unstaged, &err), ERR_UNSUPPORTED);
    diff_free(&d);
    repository_close(r);
    shell("rm h/s/.gitattributes");
    check_diff("h", &unstaged, "D b +0 -2\n");
}

static void check_log(const char *name, const char *command)
{
    struct commits c;
    buffer found = {0};
    repository *r = open_at(name);
    assert_int_equal(repository_commits(&c, r, 100, false, NULL), OK);
    buffer_put(&found, "", 0);
    for (size_t i = 0; i < c.n; i++) {
        buffer_print(&found, "%s %lld %s ", c.commits[i].id, (long long)c.commits[i].time_s,
                     c.commits[i].is_own ? "own" : "other");
        buffer_put_text(&found, c.commits[i].subject);
        buffer_put_char(&found, '\n');
    }
    assert_string_equal(found.bytes, output_of(command));
    buffer_free(&found);
    commits_free(&c);
    repository_close(r);
}

static void test_commits(void **state)
{
    (void)state;
    struct commits c;
    shell("git init -q l && cd l && for i in 1 2 3 4; do GIT_COMMITTER_DATE=\"$((1600000000 + i)) "
          "+0000\" git commit"
          " -q --allow-empty -m \"commit $i\" -m body; done && git checkout -qb side HEAD~2 &&"
          " GIT_COMMITTER_DATE='1600000010 +0000' git commit -q --allow-empty -m side &&"
          " git checkout -q main && GIT_COMMITTER_DATE='1600000020 +0000' git merge -q --no-ff -m "
          "merge side &&"
          " GIT_COMMITTER_DATE='1600000030 +0000' git commit -q --allow-empty --author='b <b@c>' "
          "-m other &&"
          " git clone -q --depth 2 file://%s/l ../cut",
          workspace);
    static const char command[] = "git -C %s log --format='%%H %%ct %%ae %%s' | sed"
                                  " 's/ a@b / own /; s/ b@c / other /'";
    char line[256];
    snprintf(line, sizeof line, command, "l");
    check_log("l", line);
    snprintf(line, sizeof line, command, "cut");
    check_log("cut", line);
    repository *r = open_at("l");
    assert_int_equal(repository_commits(&c, r, 2, true, NULL), OK);
    assert_int_equal(c.n, 2);
    assert_true(text_is(c.commits[0].subject, "merge"));
    assert_int_equal(c.commits[0].n_parents, 2);
    assert_true(text_is(c.commits[1].subject, "side"));
    commits_free(&c);
    repository_close(r);
    shell("git init -q none");
    check_log("none", "true");
    shell(
        "git -C l log -1 --format='%%H %%ct other %%s' > first && head=$(git -C l rev-parse HEAD~1)"
        " && rm -f l/.git/objects/$(echo $head | cut -c1-2)/$(echo $head | cut -c3-)");
    check_log("l", "cat first");
}

static void test_touched(void **state)
{
    (void)state;
    text paths[3];
    size_t n;
    arena a = {0};
    struct commits c;
    shell("git init -q t && cd t && mkdir d && echo 1 > a && echo 1 > d/b && git add . &&"
          " git commit -qm one && echo 2 > d/b && git rm -q a && echo 2 > c && git add . &&"
          " git commit -qm two && echo 3 > 1 && echo 3 > 2 && echo 3 > 3 && echo 3 > 4 &&"
          " git add . && git commit -qm many");
    repository *r = open_at("t");
    assert_int_equal(repository_commits(&c, r, 9, false, NULL), OK);
    static const char *const expected[] = {"", "a c d/b ", "a d/b "};
    for (size_t i = 0; i < c.n; i++) {
        unsigned char oid[20];
        buffer found = {0};
        for (size_t k = 0; k < 20; k++) {
            unsigned byte;
            assert_int_equal(sscanf(c.commits[i].id + 2 * k, "%2x", &byte), 1);
            oid[k] = (unsigned char)byte;
        }
        assert_int_equal(repository_touched(paths, &n, 3, &a, r, oid, NULL), OK);
        buffer_put(&found, "", 0);
        for (size_t k = 0; k < n; k++)
            buffer_print(&found, "%.*s ", (int)paths[k].size, paths[k].bytes);
        assert_string_equal(found.bytes, expected[i]);
        buffer_free(&found);
    }
    assert_int_equal(c.n, 3);
    commits_free(&c);
    arena_reset(&a);
    repository_close(r);
}

static void check_blame(repository *r, const char *content, uint32_t line, const char *subject)
{
    arena a = {0};
    struct commit c;
    bool found;
    assert_int_equal(repository_blame(&c, &found, &a, r, TEXT("f"), text_of(content), line, NULL),
                     OK);
    assert_int_equal(found, subject != NULL);
    if (subject) assert_true(text_is(c.subject, subject));
    arena_reset(&a);
}

static void test_blame(void **state)
{
    (void)state;
    shell(
        "git init -q w && cd w && printf 'a\\nb\\nc\\n' > f && git add . && git commit -qm first &&"
        " printf 'a\\nB\\nc\\n' > f && git commit -qam second");
    repository *r = open_at("w");
    check_blame(r, "a\nB\nc\n", 1, "first");
    check_blame(r, "a\nB\nc\n", 2, "second");
    check_blame(r, "new\na\nB\nc\n", 1, NULL);
    check_blame(r, "new\na\nB\nc\n", 3, "second");
    check_blame(r, "a\nB\nc\n", 9, NULL);
    repository_close(r);
}

static void check_template(const char *name, const char *expected)
{
    buffer b = {0};
    repository *r = open_at(name);
    assert_int_equal(repository_commit_template(&b, r, NULL), OK);
    buffer_put(&b, "", 0);
    assert_string_equal(b.bytes, expected);
    buffer_free(&b);
    repository_close(r);
}

static void test_template(void **state)
{
    (void)state;
    shell("git init -q m && cd m && echo inside > in && echo outside > ../outside &&"
          " echo mine > ../home/mine && git config commit.template in");
    check_template("m", "inside\n");
    shell("git -C m config commit.template ../outside");
    check_template("m", "");
    shell("cd m && ln -s ../outside link && git config commit.template link");
    check_template("m", "");
    shell("cd m && mkfifo pipe && git config commit.template pipe");
    check_template("m", "");
    shell("cd m && head -c 70000 /dev/zero > big && git config commit.template big");
    check_template("m", "");
    shell(
        "git -C m config --unset commit.template && git config --global commit.template '~/mine'");
    check_template("m", "mine\n");
    shell("git config --global --unset commit.template");
    check_template("m", "");
}

/* As git calls prepare-commit-msg: under `commit PATH` and `commit -a` the index is another file. */
static void check_hook(const char *folder, const char *arguments, const char *expected)
{
    char *lines[3] = {0};
    char cwd[512];
    struct diff d;
    repository *r;
    shell("printf '#!/bin/sh\npwd >%s/hook; echo \"$GIT_DIR\" >>%s/hook; echo"
          " \"$GIT_INDEX_FILE\" >>%s/hook; cp \"$GIT_INDEX_FILE\" %s/kept-index; exit 1\n' >"
          " top2/.git/hooks/prepare-commit-msg && chmod +x top2/.git/hooks/prepare-commit-msg &&"
          " cd %s && ! git commit -m x %s",
          workspace, workspace, workspace, workspace, folder, arguments);
    char *all = output_of("cat hook");
    for (int i = 0; i < 3; i++) lines[i] = strsep(&all, "\n");
    assert_non_null(getcwd(cwd, sizeof cwd));
    assert_int_equal(chdir(lines[0]), 0);
    if (lines[1][0]) setenv("GIT_DIR", lines[1], 1);
    setenv("GIT_INDEX_FILE", workspace_path("kept-index"), 1);
    assert_int_equal(repository_open_environment(&r, NULL), OK);
    unsetenv("GIT_DIR");
    unsetenv("GIT_INDEX_FILE");
    assert_int_equal(chdir(cwd), 0);
    assert_int_equal(repository_diff(&d, r, &staged, NULL), OK);
    buffer found = {0};
    for (size_t i = 0; i < d.n; i++)
        buffer_print(&found, "%c %.*s\n", d.files[i].change, (int)d.files[i].path.size,
                     d.files[i].path.bytes);
    assert_string_equal(found.bytes, expected);
    buffer_free(&found);
    diff_free(&d);
    repository_close(r);
}

static void test_hooks_index(void **state)
{
    (void)state;
    shell("git init -q top2 && cd top2 && echo 1 > a && echo 1 > b && git add . && git commit -qm x"
          " && git worktree add -q ../linked2 && echo 2 > a && git add a && echo 2 > b &&"
          " echo 3 > ../linked2/a && echo 3 > ../linked2/b");
    check_hook("top2", "", "M a\n");
    check_hook("top2", "b", "M b\n");
    check_hook("top2", "-a", "M a\nM b\n");
    check_hook("linked2", "b", "M b\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_staged_and_unstaged),
        cmocka_unit_test(test_patches_are_gits),
        cmocka_unit_test(test_kinds_of_repositories),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_commits),
        cmocka_unit_test(test_touched),
        cmocka_unit_test(test_blame),
        cmocka_unit_test(test_template),
        cmocka_unit_test(test_hooks_index),
    };
    return cmocka_run_group_tests(tests, workspace_make, workspace_remove);
}
