/* What a bench asks of a GPU besides the operations of the table: numbers made on the device, and the
 * device's own limits, beside which every figure stands.
 *
 * It knows no model. The thread that owns the device calls; everything is done on return. A rate that
 * was not measured is NAN. */
#ifndef KERNELS_CUDA_PROBE_H
#define KERNELS_CUDA_PROBE_H

#include "kernels/kernels.h"

/* All rows of a weight that was begun, instead of weight_put: values of a normal distribution with
 * this standard deviation, as its format would hold them after quantising, each a function of seed
 * and place. Seal it afterwards. */
status cuda_weight_random(weight *w, uint64_t seed, double deviation, error *err);

/* Every page of a pool: K and V as they are after a norm, of deviation 1. */
status cuda_pages_random(kv_pool *kv, uint64_t seed, error *err);

struct cuda_read_rate {
    double bytes_per_s; /* of the best kernel */
    size_t bytes;       /* read per pass */
    int32_t loads;      /* 16-byte loads under way per thread, of the best */
    int32_t blocks;     /* per multiprocessor, of the best */
};

/* Reads `bytes` of random data by several kernels, `passes` times each after one to warm up. */
status cuda_read_measure(device *d, size_t bytes, int32_t passes, struct cuda_read_rate *out,
                         error *err);

struct cuda_matrix_rates {
    double mma_flop_per_s; /* bf16 from registers by the instruction that our kernels use */
    /* [n][n] by [n][n] by cuBLASLt, which is looked for when the program runs; NAN without it. */
    double bf16_flop_per_s, e4m3_flop_per_s;
    char without[128]; /* why the two are missing, or "" */
};

status cuda_matrix_measure(device *d, int32_t n, int32_t passes, struct cuda_matrix_rates *out,
                           error *err);

/* With `singly` every operation is launched by itself, also where captured graphs would serve: for
 * steps whose operations are not a layer's own. */
void cuda_launch_singly(device *d, bool singly);

/* Bytes the device says are free. */
status cuda_free_bytes(device *d, size_t *out, error *err);

/* Name, processors, compute capability (90 for 9.0) and memory. */
struct cuda_device_info;
const struct cuda_device_info *cuda_info(const device *d);

#endif
