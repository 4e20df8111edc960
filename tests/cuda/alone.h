/* One kernel of the CUDA backend alone: where it runs, and the device's memory for its operands. For one
 * file of a program, behind cmocka.h: a failed assertion ends the test of the file that it stands in. */
#ifndef TESTS_CUDA_ALONE_H
#define TESTS_CUDA_ALONE_H

#include "tests/cuda/backend_choice.h"

static struct alone {
    const struct cuda_runtime *run;
    const struct cuda_launch *launch;
    void *stream;
    bool hopper; /* kernels of compute capability 9.0 can run here */
} alone;

/* Why the program should end, or 0. */
static inline int alone_open(void)
{
    const struct cuda_backend *backend = backend_choose();
    struct cuda_device_info info;
    alone.run = backend->runtime;
    alone.launch = backend->launch;
    if (alone.run->open(0, &info) != 0) return 1;
    alone.hopper = backend == &host_backend || info.capability == 90;
    return alone.run->stream_open(&alone.stream);
}

static inline int alone_close(int failed)
{
    alone.run->stream_close(alone.stream);
    return failed;
}

/* A copy on the device, given back by the caller. */
static inline void *alone_there(const void *host, size_t bytes)
{
    void *at = NULL;
    assert_int_equal(alone.run->take(&at, bytes), 0);
    assert_int_equal(alone.run->copy(at, host, bytes, alone.stream), 0);
    assert_int_equal(alone.run->wait(alone.stream), 0);
    return at;
}

/* What a kernel that was just launched left on the device. */
static inline void alone_result(void *host, const void *there, size_t bytes)
{
    assert_int_equal(alone.run->launched(), 0);
    assert_int_equal(alone.run->copy(host, there, bytes, alone.stream), 0);
    assert_int_equal(alone.run->wait(alone.stream), 0);
}

#endif
