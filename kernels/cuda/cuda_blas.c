/* The library's C interface as its manual has it (cuBLASLt 12 and 13): handles are opaque, constants
 * are part of its binary interface. No header of it is needed to build. */
#include "kernels/cuda/cuda_blas.h"

#include <dlfcn.h>
#include <string.h>

#include "base/memory.h"

enum {
    OPERATION_TRANSPOSED = 1, /* CUBLAS_OP_T */
    COMPUTE_F32 = 68,         /* CUBLAS_COMPUTE_32F */
    TYPE_F32 = 0,             /* CUDA_R_32F, CUDA_R_16BF, CUDA_R_8F_E4M3 */
    TYPE_BF16 = 14,
    TYPE_E4M3 = 28,
    ATTRIBUTE_TRANSA = 3 /* CUBLASLT_MATMUL_DESC_TRANSA */
};

/* In the order of `names`. */
struct functions {
    int (*create)(void **handle);
    int (*destroy)(void *handle);
    int (*desc_create)(void **desc, int compute, int scale);
    int (*desc_destroy)(void *desc);
    int (*desc_set)(void *desc, int attribute, const void *value, size_t size);
    int (*layout_create)(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride);
    int (*layout_destroy)(void *layout);
    int (*matmul)(void *handle, void *desc, const void *alpha, const void *a, void *layout_a,
                  const void *b, void *layout_b, const void *beta, const void *c, void *layout_c,
                  void *d, void *layout_d, const void *algo, void *workspace, size_t size,
                  void *stream);
};

static const char *const names[] = {
    "cublasLtCreate",
    "cublasLtDestroy",
    "cublasLtMatmulDescCreate",
    "cublasLtMatmulDescDestroy",
    "cublasLtMatmulDescSetAttribute",
    "cublasLtMatrixLayoutCreate",
    "cublasLtMatrixLayoutDestroy",
    "cublasLtMatmul",
};

enum { N_FUNCTIONS = sizeof names / sizeof *names };

struct cuda_blas {
    void *library, *handle;
    struct functions f;
};

static status functions_find(cuda_blas *b, error *err)
{
    void *found[N_FUNCTIONS];
    _Static_assert(sizeof found == sizeof b->f, "a name for each function");
    for (int i = 0; i < N_FUNCTIONS; i++) {
        found[i] = dlsym(b->library, names[i]);
        if (!found[i]) return fail(err, ERR_UNSUPPORTED, "cuBLASLt has no %s", names[i]);
    }
    memcpy(&b->f, found, sizeof found); /* POSIX: an object pointer may hold a function's */
    return OK;
}

status cuda_blas_open(cuda_blas **out, error *err)
{
    static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    *out = NULL;
    cuda_blas *b = memory_take(1, sizeof *b);
    if (!b) return fail(err, ERR_MEMORY, "out of memory for cuBLASLt");
    for (size_t i = 0; i < sizeof files / sizeof *files && !b->library; i++)
        b->library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    status s = b->library ? functions_find(b, err)
                          : fail(err, ERR_UNSUPPORTED, "libcublasLt.so.13 and .12 are not found");
    int code = s == OK ? b->f.create(&b->handle) : 0;
    if (code != 0) s = fail(err, ERR_UNSUPPORTED, "cuBLASLt does not open: code %d", code);
    if (s != OK) {
        cuda_blas_close(b);
        return s;
    }
    *out = b;
    return OK;
}

void cuda_blas_close(cuda_blas *b)
{
    if (!b) return;
    if (b->handle) b->f.destroy(b->handle);
    if (b->library) dlclose(b->library);
    memory_free(b);
}

/* Column-major: a^T b, both stored with k first, which is the one arrangement that E4M3 has. */
status cuda_blas_multiply(cuda_blas *b, const struct cuda_blas_product *p, void *stream, error *err)
{
    const float one = 1, zero = 0;
    const int32_t transposed = OPERATION_TRANSPOSED;
    const uint64_t n = (uint64_t)p->n;
    void *desc = NULL, *operand = NULL, *result = NULL;
    int code = b->f.desc_create(&desc, COMPUTE_F32, TYPE_F32);
    if (code == 0) code = b->f.desc_set(desc, ATTRIBUTE_TRANSA, &transposed, sizeof transposed);
    if (code == 0) code = b->f.layout_create(&operand, p->e4m3 ? TYPE_E4M3 : TYPE_BF16, n, n, p->n);
    if (code == 0) code = b->f.layout_create(&result, TYPE_BF16, n, n, p->n);
    if (code == 0)
        code = b->f.matmul(b->handle, desc, &one, p->a, operand, p->b, operand, &zero, p->c, result,
                           p->c, result, NULL, p->workspace, p->workspace_bytes, stream);
    if (result) b->f.layout_destroy(result);
    if (operand) b->f.layout_destroy(operand);
    if (desc) b->f.desc_destroy(desc);
    return code == 0 ? OK
                     : fail(err, ERR_UNSUPPORTED, "cuBLASLt refuses %d x %d of %s: code %d", p->n,
                            p->n, p->e4m3 ? "e4m3" : "bf16", code);
}
