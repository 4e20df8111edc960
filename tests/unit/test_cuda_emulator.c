/* The layer that executes kernels without a GPU: what CUDA forbids ends the process, and a missing
 * barrier shows in one of the orders. */
#include "base/error.h"

/* cmocka needs these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/cuda/broken.h"
#include "tests/cuda/device_memory.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/host_runtime.h"

/* out[i] = i + 1, around. Returns whether it is. */
static bool neighbours_right(enum broken_fault fault, struct emulator_options order)
{
    _Alignas(16) float out[64];
    emulator_set(order);
    broken_launch((int)fault, out);
    for (int i = 0; i < 64; i++)
        if (!(out[i] == (float)((i + 1) % 64))) return false;
    return true;
}

static void barriers_hold_in_every_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++)
        for (int order = EMULATOR_FORWARD; order <= EMULATOR_RANDOM; order++)
            assert_true(neighbours_right(
                BROKEN_NONE, (struct emulator_options){(enum emulator_order)order, seed, false}));
}

static void a_missing_barrier_shows(void **state)
{
    (void)state;
    for (int order = EMULATOR_FORWARD; order <= EMULATOR_RANDOM; order++) {
        struct emulator_options o = {(enum emulator_order)order, 1, false};
        assert_false(neighbours_right(BROKEN_NO_BARRIER, o));
        assert_false(neighbours_right(BROKEN_NO_LATER_BARRIER, o));
    }
}

/* What a process of its own says before it ends; NULL when it ends well. */
static const char *said(enum broken_fault fault)
{
    static char words[1 << 16]; /* a sanitizer may have much to say before */
    int ends[2], code;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        _Alignas(16) float out[128] = {0};
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, true});
        broken_launch((int)fault, out);
        _exit(0);
    }
    close(ends[1]);
    ssize_t n = 0, got;
    while ((got = read(ends[0], words + n, sizeof words - 1 - (size_t)n)) > 0) n += got;
    words[n] = 0;
    close(ends[0]);
    waitpid(child, &code, 0);
    return WIFEXITED(code) && WEXITSTATUS(code) == 0 ? NULL : words;
}

static void what_cuda_forbids_is_said(void **state)
{
    static const struct {
        enum broken_fault fault;
        const char *words;
    } cases[] = {
        {BROKEN_LANES, "different collectives"},
        {BROKEN_BARRIER, "not reached by all"},
        {BROKEN_ALIGNMENT, "not aligned"},
        {BROKEN_SHARED, "48 KiB"},
        {BROKEN_EARLY_END, "before the kernel before"},
        {BROKEN_EARLY_HALF, "not all threads wait"},
        {BROKEN_COPY, "never waited for"},
        {BROKEN_PARITY, "nothing is under way"},
        {BROKEN_BARRIER_FENCE, "before its fence"},
        {BROKEN_PRODUCT_FENCE, "without its fence"},
        {BROKEN_PRODUCT_WAIT, "never waited for"},
        {BROKEN_SUMS, "touched before their wait"},
        {BROKEN_DESCRIPTOR, "swizzle pattern"},
        {BROKEN_WARPS_DIFFER, "different products"},
        {BROKEN_REGISTERS, "multiple of 8"},
        {BROKEN_HALF_WARPGROUP, "whole warpgroup"},
    };
    (void)state;
    assert_null(said(BROKEN_NONE));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *words = said(cases[i].fault);
        assert_non_null(words);
        assert_non_null(strstr(words, cases[i].words));
    }
}

/* Before its wait a kernel that begins early has no memory: it dies as the host does. */
static void early_kernels_wait(void **state)
{
    (void)state;
    void *there;
    float out[64];
    if (!device_memory_guarded()) skip();
    assert_int_equal(host_backend.runtime->take(&there, sizeof out), 0);
    emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, false});
    broken_launch(BROKEN_EARLY, there);
    assert_int_equal(host_backend.runtime->copy(out, there, sizeof out, NULL), 0);
    for (int i = 0; i < 64; i++) assert_true(out[i] == (float)i);
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGSEGV, SIG_DFL);
        broken_launch(BROKEN_EARLY_TOUCH, there);
        _exit(0);
    }
    int code;
    waitpid(child, &code, 0);
    assert_true(WIFSIGNALED(code) && WTERMSIG(code) == SIGSEGV);
    host_backend.runtime->give(there);
}

/* 32 ones times ones; without the fence tensor cores see what shared memory held before: NaN. */
static void tensor_cores_see_what_a_fence_showed(void **state)
{
    (void)state;
    for (int late = 0; late < 2; late++) {
        _Alignas(16) float out[128];
        emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, late});
        broken_launch(BROKEN_WARPGROUP, out);
        for (int i = 0; i < 128; i++) assert_true(out[i] == 32);
        broken_launch(BROKEN_PROXY, out);
        for (int i = 0; i < 128; i++) assert_false(out[i] == out[i]);
    }
}

/* 1.5 * 2 + 1 = 4, and the smallest subnormal, 2^-133, times 2^120: 2^-13. */
static void bf16_pairs_multiply(void **state)
{
    (void)state;
    assert_int_equal(emulator_bf16x2_multiply_add(0x3FC03FC0, 0x40004000, 0x3F803F80), 0x40804080);
    assert_int_equal(emulator_bf16x2_multiply_add(0x00010001, 0x7B807B80, 0x80008000), 0x39003900);
}

int main(int argc, char **argv)
{
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(barriers_hold_in_every_order),
        cmocka_unit_test(a_missing_barrier_shows),
        cmocka_unit_test(what_cuda_forbids_is_said),
        cmocka_unit_test(early_kernels_wait),
        cmocka_unit_test(tensor_cores_see_what_a_fence_showed),
        cmocka_unit_test(bf16_pairs_multiply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
