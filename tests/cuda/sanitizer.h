/* Which sanitizer this is compiled with, and its words for what fibers do. Files that ThreadSanitizer
 * must not look into are compiled without it and with EMULATOR_TSAN instead. */
#ifndef TESTS_CUDA_SANITIZER_H
#define TESTS_CUDA_SANITIZER_H

#if defined(EMULATOR_TSAN)
#include <sanitizer/tsan_interface.h>
#define SANITIZER_RELEASE(at) __tsan_release(at)
#define SANITIZER_ACQUIRE(at) __tsan_acquire(at)
#else
#define SANITIZER_RELEASE(at) ((void)0)
#define SANITIZER_ACQUIRE(at) ((void)0)
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
