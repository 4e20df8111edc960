/* Handles of a product live for one call: they are small memory of the host, and which kernel a problem
 * gets is kept by the library itself. */
#include "kernels/cuda/cuda_blas.h"

#include <dlfcn.h>
#include <string.h>

#include "base/memory.h"

/* In the order of struct cuda_blas_functions. */
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
    struct cuda_blas_functions f;
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

static status library_find(cuda_blas *b, error *err)
{
    static const char *const files[] = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"};
    for (size_t i = 0; i < sizeof files / sizeof *files && !b->library; i++)
        b->library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    return b->library ? functions_find(b, err)
                      : fail(err, ERR_UNSUPPORTED, "libcublasLt.so.13 and .12 are not found");
}

status cuda_blas_open(cuda_blas **out, const struct cuda_blas_functions *functions, error *err)
{
    *out = NULL;
    cuda_blas *b = memory_take(1, sizeof *b);
    if (!b) return fail(err, ERR_MEMORY, "out of memory for cuBLASLt");
    if (functions) b->f = *functions;
    status s = functions ? OK : library_find(b, err);
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

/* The four descriptions of a product, each NULL until it is made. */
struct described {
    void *desc, *w, *x, *out;
};

static int desc_make(const cuda_blas *b, const struct cuda_blas_product *p, void *desc)
{
    const int32_t transposed = CUDA_BLAS_TRANSPOSED, by_row = CUDA_BLAS_SCALES_BY_ROW;
    const struct {
        int attribute;
        const void *value;
        size_t size;
    } all[] = {{CUDA_BLAS_ATTRIBUTE_TRANSA, &transposed, sizeof transposed},
               {CUDA_BLAS_ATTRIBUTE_A_SCALES, &by_row, sizeof by_row},
               {CUDA_BLAS_ATTRIBUTE_B_SCALES, &by_row, sizeof by_row},
               {CUDA_BLAS_ATTRIBUTE_A_SCALE, &p->w_scale, sizeof(void *)},
               {CUDA_BLAS_ATTRIBUTE_B_SCALE, &p->x_scale, sizeof(void *)}};
    size_t n = p->w_scale ? sizeof all / sizeof *all : 1;
    int code = 0;
    for (size_t i = 0; i < n && code == 0; i++)
        code = b->f.desc_set(desc, all[i].attribute, all[i].value, all[i].size);
    return code;
}

/* As the library sees it, column by column: w^T x, both stored with k first, which is the one
 * arrangement that E4M3 has. */
static int describe(const cuda_blas *b, const struct cuda_blas_product *p, struct described *d)
{
    int type = p->e4m3 ? CUDA_BLAS_TYPE_E4M3 : CUDA_BLAS_TYPE_BF16;
    int out = p->out_bf16 ? CUDA_BLAS_TYPE_BF16 : CUDA_BLAS_TYPE_F32;
    uint64_t n = (uint64_t)p->n, k = (uint64_t)p->k, rows = (uint64_t)p->rows;
    int code = b->f.desc_create(&d->desc, CUDA_BLAS_COMPUTE_F32, CUDA_BLAS_TYPE_F32);
    if (code == 0) code = desc_make(b, p, d->desc);
    if (code == 0) code = b->f.layout_create(&d->w, type, k, n, p->w_stride);
    if (code == 0) code = b->f.layout_create(&d->x, type, k, rows, p->x_stride);
    if (code == 0) code = b->f.layout_create(&d->out, out, n, rows, p->out_stride);
    return code;
}

status cuda_blas_multiply(cuda_blas *b, const struct cuda_blas_product *p, void *stream, error *err)
{
    const float one = 1, none = 0;
    struct described d = {0};
    int code = describe(b, p, &d);
    if (code == 0)
        code = b->f.matmul(b->handle, d.desc, &one, p->w, d.w, p->x, d.x, &none, p->out, d.out,
                           p->out, d.out, NULL, p->workspace, p->workspace_bytes, stream);
    if (d.out) b->f.layout_destroy(d.out);
    if (d.x) b->f.layout_destroy(d.x);
    if (d.w) b->f.layout_destroy(d.w);
    if (d.desc) b->f.desc_destroy(d.desc);
    return code == 0 ? OK
                     : fail(err, ERR_UNSUPPORTED, "cuBLASLt refuses %d x %d x %d of %s: code %d",
                            p->n, p->k, p->rows, p->e4m3 ? "e4m3" : "bf16", code);
}
