/* A CUDA runtime made of host memory: what the backend's host side calls when kernels are emulated.
 *
 * Device memory is filled with NaN when it is taken, so is what steps write before each step. The
 * n-th call can be made to fail, as the real ones do: once, or for good as a lost device does. What
 * was taken and not given back is counted. */
#ifndef TESTS_CUDA_HOST_RUNTIME_H
#define TESTS_CUDA_HOST_RUNTIME_H

#include "kernels/cuda/launch.h"

/* The emulated backend; cuda_backend_use takes it. */
extern const struct cuda_backend host_backend;

/* The n-th call from now (1-based) fails, and with `lost` all after it; 0: none. Returns the number
 * of calls made since the last time. */
int64_t host_runtime_fail_at(int64_t n, bool lost);

/* For programs that are started by others: while this file exists, the fault that it names happens,
 * "lost" (every call from now on), "launch" (the next launch, once), "memory" (all taking) or "hang"
 * (a wait that never returns). */
void host_runtime_fault_file(const char *path);

/* Blocks, streams and events taken and not given back. */
int64_t host_runtime_held(void);

/* Memory the device says is free, and beyond which taking fails. */
void host_runtime_memory(size_t bytes);

/* What a captured step takes of it, from now until all are closed. */
void host_runtime_graph_bytes(size_t each);

/* What is taken from now on is not filled with NaN but zero, and takes no memory until it is written. */
void host_runtime_sparse(bool sparse);

/* Whether kernels were last said to overlap. */
bool host_runtime_overlaps(void);

/* How many GPUs there are; the last that was opened is the one that streams belong to. */
void host_runtime_devices(int32_t n);

/* Capability 0: no GPU answers. */
void host_runtime_capability(int32_t capability);

#endif
