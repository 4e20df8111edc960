/* What compute capability 9.0 adds, emulated: barriers that count bytes, the copy engine, products of a
 * warpgroup. Rules and layouts are read from the PTX ISA here, not from the kernels.
 *
 * Copies are made when they are asked for, or, with copy_late, only when no thread could go on
 * without one; products when they are issued, or at the wait for them. Both read shared memory as the
 * async proxy sees it: what a thread stored there is in it only after async_fence. Sums under way are
 * NaN in their registers. What the rules forbid ends the process with a message: a barrier used before
 * its fence, a phase that never ends (all wait and nothing is under way), a descriptor that does not
 * fit, a product without its fence, sums touched before their wait, registers not given by a whole
 * warpgroup.
 *
 * A warpgroup's four warps run one by one, each for its own 16 rows of the product: nothing orders
 * them, as on the device. */
#ifndef TESTS_CUDA_EMULATOR_HOPPER_H
#define TESTS_CUDA_EMULATOR_HOPPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cuda_map;

void *emulator_shared_large(void);
void emulator_shared_large_set(size_t bytes); /* of the next launch */
uint32_t emulator_shared_address(const void *at);

void emulator_barrier_init(uint64_t *barrier, int count);
void emulator_barrier_init_fence(void);
void emulator_barrier_arrive(uint64_t *barrier, int bytes); /* bytes: expected besides */
void emulator_barrier_wait(uint64_t *barrier, int parity);
void emulator_warps_sync(int id, int threads);

/* What the runtime is asked for a map, and whether the driver would make it. */
bool emulator_map_make(struct cuda_map *out, const void *at, int64_t row_bytes, int64_t n_rows,
                       int32_t box_bytes, int32_t box_rows);
void emulator_tile_fetch(void *shared, const struct cuda_map *map, int x, int y, uint64_t *barrier);
void emulator_async_fence(void);
void emulator_registers(int n, bool more);

enum emulator_wgmma_kind {
    EMULATOR_WGMMA_FENCE,
    EMULATOR_WGMMA_COMMIT,
    EMULATOR_WGMMA_WAIT,
    EMULATOR_WGMMA_E4M3,
    EMULATOR_WGMMA_BF16,
    EMULATOR_WGMMA_F16,       /* b lies along k ... */
    EMULATOR_WGMMA_F16_ACROSS /* ... or across it */
};

struct emulator_wgmma {
    enum emulator_wgmma_kind kind;
    float *d;
    int n_d;
    const uint32_t *a; /* [4] or NULL: a_descriptor */
    uint64_t a_descriptor, b_descriptor;
    int add; /* of a wait: groups that may be under way */
};

void emulator_wgmma(const struct emulator_wgmma *ask);

#ifdef __cplusplus
}
#endif

#endif
