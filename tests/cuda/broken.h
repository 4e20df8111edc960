/* See broken.cu. */
#ifndef TESTS_CUDA_BROKEN_H
#define TESTS_CUDA_BROKEN_H

enum broken_fault {
    BROKEN_NONE,
    BROKEN_NO_BARRIER,
    BROKEN_NO_LATER_BARRIER, /* none between two that are there */
    BROKEN_LANES,            /* a collective without all lanes */
    BROKEN_BARRIER,          /* a barrier without all threads */
    BROKEN_ALIGNMENT,        /* 16 bytes at an address that is no multiple */
    BROKEN_SHARED,           /* more than 48 KiB */
    BROKEN_COPY,             /* an asynchronous copy that nobody waits for */
    /* Of a kernel that begins before the one before it has ended: */
    BROKEN_EARLY,       /* nothing */
    BROKEN_EARLY_TOUCH, /* memory before the wait */
    BROKEN_EARLY_END,   /* a block ends without one */
    BROKEN_EARLY_HALF,  /* a warp of two waits */
    /* Of compute capability 9.0: */
    BROKEN_WARPGROUP,     /* nothing */
    BROKEN_PARITY,        /* a wait for a phase that does not end */
    BROKEN_BARRIER_FENCE, /* a barrier used before its fence */
    BROKEN_PRODUCT_FENCE, /* a product without its fence */
    BROKEN_PRODUCT_WAIT,  /* one that nobody waits for */
    BROKEN_SUMS,          /* sums touched before their wait */
    BROKEN_PROXY,         /* stores that no fence showed: NaN comes out */
    BROKEN_DESCRIPTOR,    /* a matrix in the middle of its swizzle pattern */
    BROKEN_WARPS_DIFFER,  /* warps of a warpgroup issue different products */
    BROKEN_REGISTERS,     /* no multiple of 8 */
    BROKEN_HALF_WARPGROUP /* registers of two warps of four */
};

#ifdef __cplusplus
extern "C"
#endif
    void
    broken_launch(int fault, float *out);

#endif
