/* What the emulator's scheduler and its part for compute capability 9.0 know of each other. */
#ifndef TESTS_CUDA_EMULATOR_BLOCK_H
#define TESTS_CUDA_EMULATOR_BLOCK_H

#include "tests/cuda/emulator.h"

struct fiber;

enum { EMULATOR_SHARED_MAX = 227 * 1024, EMULATOR_THREADS_MAX = 1024 };

/* The block that runs. */
_Noreturn void emulator_broken(const char *what);
/* Bytes that nobody wrote, and that nobody is seen to write. */
void emulator_poison(unsigned char *at, size_t bytes);
const struct fiber *emulator_fiber(int thread);
/* The running thread comes to where its warp comes together, and goes on. */
void *emulator_warp_reached(void);
void emulator_warp_left(void *word);
unsigned char *emulator_shared_base(void);
size_t emulator_shared_used(void);
const struct emulator_options *emulator_options_now(void);
uint64_t emulator_random(void);
/* The running thread waits until the scheduler has done this for all lanes of its warp. */
void emulator_await(enum emulator_operation operation, const void *ask);

/* Called by the scheduler; asks: of the lanes of a warp. */
void hopper_block_begin(void);
void hopper_block_end(int threads);
bool hopper_barrier_open(const void *const asks[32]);
void hopper_wgmma(int warp, const void *const asks[32]);
/* Makes one copy that was put off; false: none is under way. */
bool hopper_copy_one(void);
/* How many threads a named barrier is for, and its number. */
struct hopper_sync {
    int id, threads;
};

#endif
