/* Where tests of the CUDA backend run: emulated, or with DBRX_CUDA_TEST=gpu on the machine's GPU. */
#ifndef TESTS_CUDA_BACKEND_CHOICE_H
#define TESTS_CUDA_BACKEND_CHOICE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/cuda.h"
#include "tests/cuda/host_runtime.h"

static inline const struct cuda_backend *backend_choose(void)
{
    const char *where = getenv("DBRX_CUDA_TEST");
    struct cuda_device_info info;
    error err;
    if (!where || strcmp(where, "gpu") != 0) {
        cuda_backend_use(&host_backend);
    } else if (cuda_available(0, &info, &err) != OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(1);
    }
    return cuda_backend_get();
}

#endif
