/* See broken.cu. */
#ifndef TESTS_CUDA_BROKEN_H
#define TESTS_CUDA_BROKEN_H

enum broken_fault {
    BROKEN_NONE,
    BROKEN_NO_BARRIER,
    BROKEN_LANES,     /* a collective without all lanes */
    BROKEN_BARRIER,   /* a barrier without all threads */
    BROKEN_ALIGNMENT, /* 16 bytes at an address that is no multiple */
    BROKEN_SHARED,    /* more than 48 KiB */
    BROKEN_COPY       /* an asynchronous copy that nobody waits for */
};

#ifdef __cplusplus
extern "C"
#endif
    void
    broken_launch(int fault, float *out);

#endif
