/* Which sanitizer this is compiled with, and its words for what fibers do. Files that ThreadSanitizer
 * must not look into are compiled without it and with EMULATOR_TSAN instead. */
#ifndef TESTS_CUDA_SANITIZER_H
#define TESTS_CUDA_SANITIZER_H

#include <stdint.h>

#if defined(EMULATOR_TSAN)
#include <sanitizer/tsan_interface.h>
#define SANITIZER_RELEASE(at)       __tsan_release(at)
#define SANITIZER_ACQUIRE(at)       __tsan_acquire(at)
#define SANITIZER_AS(fiber)         sanitizer_as(fiber)
#define SANITIZER_READS(at, bytes)  __tsan_read_range((void *)(uintptr_t)(at), bytes)
#define SANITIZER_WRITES(at, bytes) __tsan_write_range(at, bytes)

/* What the compiler puts before accesses: no header names them. */
void __tsan_read_range(void *at, unsigned long bytes);
void __tsan_write_range(void *at, unsigned long bytes);

static inline void *sanitizer_as(void *fiber)
{
    void *before = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync);
    return before;
}
#else
#define SANITIZER_AS(fiber)         (fiber)
#define SANITIZER_READS(at, bytes)  ((void)0)
#define SANITIZER_WRITES(at, bytes) ((void)0)
#define SANITIZER_RELEASE(at)       ((void)0)
#define SANITIZER_ACQUIRE(at)       ((void)0)
#endif

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif
#ifdef EMULATOR_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#endif
