/* Blocks of GPU threads run as fibers on one host thread, so that every kernel is executed by the
 * tests of a machine without a GPU.
 *
 * A fiber runs until it reaches a barrier or a collective; the order in which fibers go on is
 * forward, reverse or random, so a kernel that lacks a barrier gives other numbers in one of them.
 * Shared memory is filled with NaN before each block. What CUDA forbids ends the process with a
 * message: a collective without all lanes, a barrier without all threads, shared memory beyond 48
 * KiB (227 where the launch asks for it), an address that is not aligned. Under ThreadSanitizer every
 * GPU thread is a fiber of its own and only barriers order them, so a race is reported even when the
 * numbers are right. */
#ifndef TESTS_CUDA_EMULATOR_H
#define TESTS_CUDA_EMULATOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum emulator_order { EMULATOR_FORWARD, EMULATOR_REVERSE, EMULATOR_RANDOM };

struct emulator_options {
    enum emulator_order order;
    uint64_t seed;
    bool copy_late; /* asynchronous copies at the last moment allowed, else at once */
};

/* EMULATOR_ORDER of the environment wins: so that all kernels are executed in an order of its own. */
void emulator_set(struct emulator_options options);

/* Kernels by the place that launches them, and how often each was executed. */
struct emulator_kernel {
    const char *place;
    int64_t n_launches, n_blocks;
};
size_t emulator_kernels(const struct emulator_kernel **out);
struct emulator_kernel *emulator_register(const char *place);

/* The thread that runs now. */
struct emulator_place {
    int thread, threads, block[3], grid[3];
};
extern struct emulator_place emulator_now;

void emulator_launch(struct emulator_kernel *kernel, int x, int y, int z, int threads,
                     void (*run)(const void *), const void *context, size_t context_bytes);

/* Launches between begin and end are kept with a copy of their arguments, and made only by _run; as
 * what a captured graph holds, the copy does not change with what the host thinks later. */
struct emulator_graph;
void emulator_capture_begin(void);
struct emulator_graph *emulator_capture_end(void);
void emulator_graph_run(const struct emulator_graph *graph);
void emulator_graph_free(struct emulator_graph *graph);

/* Of the next launch: it may begin before the one before it has ended, so till all threads of a block
 * have come to emulator_grid_wait the device's memory is closed (in the first blocks, and some more), and
 * every block must come there. */
void emulator_early_set(void);
void emulator_grid_wait(void);

void *emulator_shared(const char *name, int line, size_t bytes);
void emulator_block_sync(void);
void emulator_warp_sync(void);

enum emulator_operation {
    EMULATOR_NONE,
    EMULATOR_BLOCK_SYNC,
    EMULATOR_GRID_WAIT,
    EMULATOR_WARPS_SYNC,   /* of some warps of the block */
    EMULATOR_BARRIER_WAIT, /* this and the next: emulator_hopper.h */
    EMULATOR_WGMMA,
    EMULATOR_WARP_SYNC,
    EMULATOR_SHUFFLE_XOR,
    EMULATOR_SUM,
    EMULATOR_MAX,
    EMULATOR_BALLOT,
    EMULATOR_ADDRESSES, /* every lane gets the two words of all lanes */
    EMULATOR_MMA_BF16,
    EMULATOR_MMA_F16
};
/* Of all 32 lanes: words in, words out. */
void emulator_collective(enum emulator_operation operation, const uint32_t *in, uint32_t *out);
uint32_t emulator_bf16x2_multiply_add(uint32_t a, uint32_t b, uint32_t c);

/* IEEE half precision in the lower 16 bits. */
uint32_t emulator_f16_from(float f);
float emulator_f16_value(uint32_t half);

void emulator_aligned(const void *at, size_t bytes);
void emulator_prefetch(const void *at, int bytes);
void emulator_within_shared(const void *at, size_t bytes);

/* True: the caller copies now. Else it is kept until emulator_copy_due hands it out. */
bool emulator_copy(void *to, const void *from);
void emulator_copy_commit(void);
bool emulator_copy_due(int pending, void **to, const void **from);

#ifdef __cplusplus
}
#endif

#endif
