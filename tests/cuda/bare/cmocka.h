/* What the tests of the CUDA backend use of cmocka, for a GPU machine that has no such package: the
 * same names, the same words on stdout. A failed assertion ends its test by longjmp; an error of the
 * processor ends the program, as a real fault should. "--list" for a filter prints the tests' names. */
#ifndef TESTS_CUDA_BARE_CMOCKA_H
#define TESTS_CUDA_BARE_CMOCKA_H

#include <fnmatch.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

enum bare_end { BARE_RUNS, BARE_FAILED, BARE_SKIPPED };

static jmp_buf bare_out;
static const char *bare_filter;

static inline void bare_end(enum bare_end end, const char *file, int line, const char *what)
{
    printf("%s:%d: %s: %s\n", file, line, end == BARE_FAILED ? "failure" : "skipped", what);
    longjmp(bare_out, end);
}

static inline void bare_equal(intmax_t a, intmax_t b, const char *file, int line)
{
    char what[80];
    if (a == b) return;
    snprintf(what, sizeof what, "%" PRIdMAX " != %" PRIdMAX, a, b);
    bare_end(BARE_FAILED, file, line, what);
}

static inline void bare_true(int holds, const char *what, const char *file, int line)
{
    if (!holds) bare_end(BARE_FAILED, file, line, what);
}

static inline int bare_run(const struct CMUnitTest *tests, size_t n)
{
    int n_failed = 0;
    for (size_t i = 0; i < n; i++) {
        void *state = NULL;
        if (bare_filter && strcmp(bare_filter, "--list") == 0) {
            printf("%s\n", tests[i].name);
            continue;
        }
        if (bare_filter && fnmatch(bare_filter, tests[i].name, 0) != 0) continue;
        printf("[ RUN      ] %s\n", tests[i].name);
        fflush(stdout);
        int end = setjmp(bare_out);
        if (end == BARE_RUNS) tests[i].run(&state);
        n_failed += end == BARE_FAILED;
        printf("[ %s ] %s\n",
               end == BARE_FAILED    ? " FAILED "
               : end == BARE_SKIPPED ? "SKIPPED "
                                     : "      OK",
               tests[i].name);
        fflush(stdout);
    }
    return n_failed;
}

#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f                                                                                      \
    }
#define cmocka_set_test_filter(f) ((void)(bare_filter = (f)))
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    bare_run(tests, sizeof(tests) / sizeof(tests)[0])

#define skip()                 bare_end(BARE_SKIPPED, __FILE__, __LINE__, "as the test wishes")
#define assert_true(c)         bare_true(!!(c), #c, __FILE__, __LINE__)
#define assert_false(c)        bare_true(!(c), "not " #c, __FILE__, __LINE__)
#define assert_non_null(p)     bare_true((p) != NULL, #p " is NULL", __FILE__, __LINE__)
#define assert_null(p)         bare_true((p) == NULL, #p " is not NULL", __FILE__, __LINE__)
#define assert_ptr_equal(a, b) bare_true((a) == (b), #a " is not " #b, __FILE__, __LINE__)
#define assert_int_equal(a, b) bare_equal((intmax_t)(a), (intmax_t)(b), __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                 \
    bare_true((intmax_t)(a) != (intmax_t)(b), #a " is " #b, __FILE__, __LINE__)
#define assert_string_equal(a, b) bare_true(strcmp(a, b) == 0, #a " is not " #b, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n)                                                               \
    bare_true(memcmp(a, b, n) == 0, #a " is not " #b, __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, n)                                                           \
    bare_true(memcmp(a, b, n) != 0, #a " is " #b, __FILE__, __LINE__)
#define fail_msg(...)                                                                              \
    do {                                                                                           \
        char bare_what[256];                                                                       \
        snprintf(bare_what, sizeof bare_what, __VA_ARGS__);                                        \
        bare_end(BARE_FAILED, __FILE__, __LINE__, bare_what);                                      \
    } while (0)

#endif
