/* Bytes that vanish under a mapping, in a child process: what it says and how it ends. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "inference/mapping_guard.h"

#include <cmocka.h>

enum { SIZE = 64 * 1024, CUT_AT = 8192 };

static char *file_make(char *path)
{
    char *bytes;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    bytes = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(bytes != MAP_FAILED);
    close(fd);
    return bytes;
}

/* Reads one byte in a child with the handler installed. Returns its wait status; `said` is what it
 * wrote to stderr. */
static int child_read(const volatile char *byte, char *said, size_t room)
{
    int ends[2], result = 0;
    size_t size = 0;
    ssize_t n;
    error err;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        signal(SIGBUS, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        if (mapping_guard_install(&err) != OK) _exit(99);
        _exit(*byte);
    }
    close(ends[1]);
    while (size < room - 1 && (n = read(ends[0], said + size, room - 1 - size)) > 0)
        size += (size_t)n;
    said[size] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &result, 0), child);
    return result;
}

static void the_file_is_named(void **state)
{
    (void)state;
    char kept[] = "/tmp/dbrx-ls-kept-XXXXXX", cut[] = "/tmp/dbrx-ls-cut-XXXXXX", said[512];
    char *a = file_make(kept), *b = file_make(cut), expected[512];
    mapping_guard_add(NULL, 0, "an empty file");
    mapping_guard_add(a, SIZE, kept);
    mapping_guard_add(b, SIZE, cut);
    assert_int_equal(truncate(cut, CUT_AT), 0);
    assert_int_equal(child_read(b + CUT_AT - 1, said, sizeof said), 0);
    assert_string_equal(said, "");
    snprintf(expected, sizeof expected,
             "dbrx-ls serve: %s: cannot be read any more (cut short while in use?)\n", cut);
    const size_t places[] = {CUT_AT, SIZE / 2, SIZE - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        int result = child_read(b + places[i], said, sizeof said);
        assert_true(WIFEXITED(result));
        assert_int_equal(WEXITSTATUS(result), 3);
        assert_string_equal(said, expected);
    }
    /* Not announced, or no more: a crash as ever. */
    mapping_guard_remove(b);
    mapping_guard_remove(b);
    mapping_guard_remove(NULL);
    int result = child_read(b + CUT_AT, said, sizeof said);
    assert_true(WIFSIGNALED(result));
    assert_int_equal(WTERMSIG(result), SIGBUS);
    assert_string_equal(said, "");
    mapping_guard_remove(a);
    munmap(a, SIZE);
    munmap(b, SIZE);
    unlink(kept);
    unlink(cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_file_is_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
