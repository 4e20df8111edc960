/* git waits for this hook and shows its failures, so it is quick, quiet and never fails: whatever happens,
 * the editor opens with the file as git made it. */
#include "lsp/cli/commit_hook.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "context/repository.h"

enum { HOOK_SECONDS = 8, HOOK_FILE_MAX = 1024 * 1024 };

static const char MARK[] = "# Written by `dbrx-ls commit-message --install-hook`.";

bool commit_hook_wants(const char *source)
{
    return !source || !source[0] || strcmp(source, "template") == 0;
}

status commit_hook_write(const char *file, text message, error *err)
{
    buffer whole = {0}, stands = {0};
    status code = file_read(&stands, file, HOOK_FILE_MAX, err);
    buffer_put_text(&whole, message);
    if (!text_starts(buffer_text(&stands), TEXT("\n"))) buffer_put_char(&whole, '\n');
    buffer_put_text(&whole, buffer_text(&stands));
    if (stands.failed) whole.failed = true;
    buffer_free(&stands);
    if (code == OK && whole.failed) code = fail(err, ERR_MEMORY, "%s: out of memory", file);
    if (code == OK) code = file_write(file, buffer_text(&whole), 0644, err);
    buffer_free(&whole);
    return code;
}

/* Whatever waits, be it inside a system call: the file stands as git made it. */
static void on_alarm(int number)
{
    static const char words[] = "dbrx-ls: no message: nothing was ready in time\n";
    (void)number;
    ssize_t n = write(STDERR_FILENO, words, sizeof words - 1);
    (void)n;
    _exit(0);
}

void commit_hook_watch(void)
{
    signal(SIGALRM, on_alarm);
    alarm(HOOK_SECONDS);
}

/* In single quotes, whatever is in it. */
static void quoted_put(buffer *out, const char *word)
{
    buffer_put_char(out, '\'');
    for (; *word; word++) {
        if (*word == '\'')
            buffer_put_text(out, TEXT("'\\''"));
        else
            buffer_put_char(out, *word);
    }
    buffer_put_char(out, '\'');
}

static status script_make(buffer *out, error *err)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) return fail(err, ERR_IO, "/proc/self/exe: %s", strerror(errno));
    program[n] = 0;
    buffer_print(out, "#!/bin/sh\n%s\n[ ! -x ", MARK);
    quoted_put(out, program);
    buffer_put_text(out, TEXT(" ] || "));
    quoted_put(out, program);
    buffer_put_text(out, TEXT(" commit-message --hook \"$@\"\nexit 0\n"));
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for the hook") : OK;
}

/* The answer of a person at a terminal; nobody there is no. */
static bool user_says_yes(const char *question)
{
    char answer[16] = "";
    if (!isatty(STDIN_FILENO)) return false;
    fprintf(stderr, "%s [y/N] ", question);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static status other_confirm(const char *file, bool yes, error *err)
{
    char question[PATH_MAX + 64];
    buffer kept = {0};
    snprintf(question, sizeof question, "%s is another hook. Replace it?", file);
    if (!yes && !user_says_yes(question))
        return fail(err, ERR_CANCELLED, "%s is another hook and stays as it is (--yes replaces it)",
                    file);
    buffer_print(&kept, "%s.before-dbrx-ls", file);
    status code = OK;
    if (kept.failed || rename(file, kept.bytes) != 0)
        code = fail(err, ERR_IO, "%s: %s", file, strerror(errno));
    else
        fprintf(stderr, "kept the other one as %s\n", kept.bytes);
    buffer_free(&kept);
    return code;
}

/* What stands where the hook goes: nothing, ours (*same: as it would be written), or another's. */
static status existing_look(const char *file, text script, bool yes, bool *same, error *err)
{
    struct stat there;
    buffer content = {0};
    *same = false;
    if (lstat(file, &there) != 0) return OK;
    bool readable = S_ISREG(there.st_mode) && file_read(&content, file, HOOK_FILE_MAX, NULL) == OK;
    *same = readable && text_equal(buffer_text(&content), script);
    bool ours = readable && text_find(buffer_text(&content), text_of(MARK), 0) != SIZE_MAX;
    buffer_free(&content);
    return *same || ours ? OK : other_confirm(file, yes, err);
}

static status hook_put(const char *folder, bool yes, error *err)
{
    buffer file = {0}, script = {0};
    bool same = false;
    buffer_print(&file, "%s/prepare-commit-msg", folder);
    status code = script_make(&script, err);
    if (code == OK && file.failed) code = fail(err, ERR_MEMORY, "out of memory for a path");
    if (code == OK) code = existing_look(file.bytes, buffer_text(&script), yes, &same, err);
    if (code == OK && !same) code = directory_make(folder, 0755, err);
    if (code == OK && !same) code = file_write(file.bytes, buffer_text(&script), 0755, err);
    if (code == OK && chmod(file.bytes, 0755) != 0)
        code = fail(err, ERR_IO, "%s: %s", file.bytes, strerror(errno));
    if (code == OK) printf("%s%s\n", same ? "already there: " : "", file.bytes);
    buffer_free(&file);
    buffer_free(&script);
    return code;
}

status commit_hook_install(bool yes, error *err)
{
    repository *r = NULL;
    buffer folder = {0};
    bool outside;
    char question[PATH_MAX + 128];
    status code = repository_open(&r, ".", err);
    if (code == OK) code = repository_hooks_path(&folder, &outside, r, err);
    if (code == OK && outside) {
        snprintf(question, sizeof question,
                 "core.hooksPath is %s, outside this repository. Write the hook there?",
                 folder.bytes);
        if (!yes && !user_says_yes(question))
            code = fail(err, ERR_CANCELLED,
                        "core.hooksPath is %s, outside this repository (--yes writes there)",
                        folder.bytes);
    }
    if (code == OK) code = hook_put(folder.bytes, yes, err);
    buffer_free(&folder);
    repository_close(r);
    return code;
}
