/* Git's own files, damaged: a repository is read as far as it goes, or as a plain folder. The first
 * byte chooses the file, the second where it is hit; what follows stands there instead, or, with the
 * second byte's top bit, is all of the file. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "context/diff.h"
#include "context/history.h"
#include "tests/fuzz/fuzz.h"

enum { FILES_MAX = 64 };

/* What libgit2 1.5 loses of damaged files is not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libgit2\nleak:libpcre2-8\n"; }

static char home[] = "/tmp/dbrx-fuzz-git-XXXXXX";
static char names[FILES_MAX][256];
static buffer contents[FILES_MAX];
static size_t n_files;

static const char script[] =
    "cd %s && export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 && git init -q r && cd r &&"
    " git config user.name a && git config user.email a@b && mkdir d &&"
    " printf 'int a;\\n' > a.c && printf '*.o\\n!b.o\\n' > .gitignore && printf '*.h -dbrx\\n' >"
    " .gitattributes && printf 'int b;\\n' > d/b.c && printf 'h' > d/h.h && git add . &&"
    " git commit -qm one && printf 'int a;\\nint c;\\n' > a.c && git commit -qam two &&"
    " git pack-refs --all && git repack -qad && printf 'int d;\\n' >> a.c && git add a.c &&"
    " printf 'int e;\\n' >> d/b.c && find .git -name '*.sample' -delete &&"
    " chmod -R u+w . && find . -type f > ../list";

static void prepare(void)
{
    char command[2048], line[300];
    REQUIRE(mkdtemp(home));
    setenv("HOME", home, 1);
    snprintf(command, sizeof command, script, home);
    REQUIRE(system(command) == 0);
    snprintf(command, sizeof command, "%s/list", home);
    FILE *list = fopen(command, "re");
    REQUIRE(list);
    while (n_files < FILES_MAX && fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = 0;
        snprintf(names[n_files], sizeof names[0], "%s/r/%s", home, line);
        REQUIRE(file_read(&contents[n_files], names[n_files], MIB, NULL) == OK);
        n_files++;
    }
    fclose(list);
    REQUIRE(n_files > 8);
}

static void put(const char *path, text content)
{
    FILE *f = fopen(path, "we");
    REQUIRE(f && fwrite(content.bytes ? content.bytes : "", 1, content.size, f) == content.size);
    fclose(f);
}

static bool see(void *payload, const unsigned char *oid, int64_t time_s, size_t n_parents)
{
    text paths[8];
    size_t n = 0;
    arena a = {0};
    (void)time_s, (void)n_parents;
    repository_touched(paths, &n, 8, &a, payload, oid, NULL);
    REQUIRE(n <= 8);
    arena_reset(&a);
    return true;
}

static void history_read(repository *r)
{
    bool found;
    struct commits commits;
    struct commit commit;
    arena a = {0};
    buffer template = {0};
    repository_walk(r, 10, see, r, NULL);
    repository_commits(&commits, r, 10, false, NULL);
    commits_free(&commits);
    repository_blame(&commit, &found, &a, r, TEXT("a.c"), TEXT("int a;\nint c;\n"), 2, NULL);
    repository_commit_template(&template, r, NULL);
    buffer_free(&template);
    arena_reset(&a);
}

static void repository_read_all(void)
{
    char path[64];
    uint64_t staged;
    repository *r = NULL;
    struct repository_files list;
    struct diff diff;
    struct diff_options options = {.patches = true};
    buffer content = {0};
    struct file_stamp stamp;
    snprintf(path, sizeof path, "%s/r", home);
    REQUIRE(repository_open(&r, path, NULL) == OK);
    status code = repository_list(&list, r, NULL);
    for (size_t i = 0; code == OK && i < list.n; i++) {
        buffer_clear(&content);
        repository_read(&content, &stamp, r, &list.files[i], MIB, NULL);
    }
    repository_files_free(&list);
    repository_staged(&staged, r, NULL);
    for (int side = 0; side < 2; side++) {
        options.side = side ? DIFF_UNSTAGED : DIFF_STAGED;
        repository_diff(&diff, r, &options, NULL);
        diff_free(&diff);
    }
    history_read(r);
    repository_close(r);
    buffer_free(&content);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text rest = {(const char *)data, size};
    buffer damaged = {0};
    if (!n_files) prepare();
    size_t which = fuzz_byte(&rest) % n_files;
    uint8_t where = fuzz_byte(&rest);
    text whole = buffer_text(&contents[which]);
    size_t at = whole.size * (where & 127) / 128;
    if (where & 128) at = whole.size = 0;
    buffer_put_text(&damaged, text_slice(whole, 0, at));
    buffer_put_text(&damaged, rest);
    buffer_put_text(&damaged, text_slice(whole, at + rest.size, whole.size));
    put(names[which], buffer_text(&damaged));
    repository_read_all();
    put(names[which], buffer_text(&contents[which]));
    buffer_free(&damaged);
    return 0;
}
