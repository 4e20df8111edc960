/* The emulated device's memory: a range of addresses that the host cannot touch, as it cannot a GPU's.
 * Kernels and copies open it while they run; anything else that follows a pointer into it dies of
 * SIGSEGV, here as there. Pages are the kernel's, so what is never touched takes no memory.
 *
 * Under AddressSanitizer and ThreadSanitizer blocks come from malloc instead: there their bounds are
 * watched, which one range cannot do. One thread at a time. */
#ifndef TESTS_CUDA_DEVICE_MEMORY_H
#define TESTS_CUDA_DEVICE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Whether anybody is kept out: not under a sanitizer. */
bool device_memory_guarded(void);

/* On 256 bytes, as cudaMalloc aligns; NULL when there is none. */
void *device_memory_take(size_t bytes);

/* Returns the bytes of the block, 0 when it is none. */
size_t device_memory_give(void *block);

/* Closed to the kernel itself, however large it is, and open to it again. `large`: that costs some ten
 * microseconds. */
void device_memory_bar(bool closed);
bool device_memory_large(void);

/* May be nested. A large memory stays open behind the last close until the host waits and settles. */
void device_memory_open(void);
void device_memory_close(void);
void device_memory_settle(void);

#endif
