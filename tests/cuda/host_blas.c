/* Everything at once, in double. What the library would refuse is refused with its code. */
#include "tests/cuda/host_blas.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/format.h"
#include "tests/cuda/device_memory.h"

enum { NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };

static struct {
    enum host_blas what;
    int64_t n_calls, fail_at, held, n_products;
} h;

struct desc {
    int32_t transposed, scales[2];
    const float *scale[2];
};

struct layout {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};

void host_blas_use(enum host_blas what) { h.what = what; }

int64_t host_blas_fail_at(int64_t n)
{
    int64_t made = h.n_calls;
    h.n_calls = 0;
    h.fail_at = n;
    return made;
}

int64_t host_blas_products(void)
{
    int64_t made = h.n_products;
    h.n_products = 0;
    return made;
}

int64_t host_blas_held(void) { return h.held; }

static bool fails(void) { return ++h.n_calls == h.fail_at; }

static int object_make(void **out, const void *from, size_t size)
{
    *out = NULL;
    if (fails()) return EXECUTION_FAILED;
    *out = malloc(size);
    if (!*out) return EXECUTION_FAILED;
    memcpy(*out, from, size);
    h.held++;
    return 0;
}

static int object_free(void *object)
{
    free(object);
    h.held--;
    return 0;
}

static int create(void **handle)
{
    if (h.what == HOST_BLAS_NONE) return NOT_INITIALIZED;
    return object_make(handle, &h.what, sizeof h.what);
}

static int desc_create(void **desc, int compute, int scale)
{
    const struct desc d = {0};
    if (compute != CUDA_BLAS_COMPUTE_F32 || scale != CUDA_BLAS_TYPE_F32) return INVALID_VALUE;
    return object_make(desc, &d, sizeof d);
}

static int desc_set(void *desc, int attribute, const void *value, size_t size)
{
    struct desc *d = desc;
    void *to = attribute == CUDA_BLAS_ATTRIBUTE_TRANSA     ? (void *)&d->transposed
               : attribute == CUDA_BLAS_ATTRIBUTE_A_SCALES ? (void *)&d->scales[0]
               : attribute == CUDA_BLAS_ATTRIBUTE_B_SCALES ? (void *)&d->scales[1]
               : attribute == CUDA_BLAS_ATTRIBUTE_A_SCALE  ? (void *)&d->scale[0]
               : attribute == CUDA_BLAS_ATTRIBUTE_B_SCALE  ? (void *)&d->scale[1]
                                                           : NULL;
    bool pointer =
        attribute == CUDA_BLAS_ATTRIBUTE_A_SCALE || attribute == CUDA_BLAS_ATTRIBUTE_B_SCALE;
    if (fails() || !to || size != (pointer ? sizeof(void *) : sizeof(int32_t)))
        return INVALID_VALUE;
    memcpy(to, value, size);
    return 0;
}

static int layout_create(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride)
{
    const struct layout l = {type, rows, columns, stride};
    if (stride < (int64_t)rows) return INVALID_VALUE;
    return object_make(layout, &l, sizeof l);
}

static double element(const void *at, int type, int64_t i)
{
    float v;
    if (type == CUDA_BLAS_TYPE_BF16) return (double)bf16_value(((const uint16_t *)at)[i]);
    format_decode(&v, WEIGHT_FP8_ROW, (const unsigned char *)at + i, &(const float){1}, 1);
    return (double)v;
}

static bool aligned(const void *at) { return (uintptr_t)at % 16 == 0; }

/* The conditions under which tensor cores take a problem at all; of E4M3 those of the manual. */
static int refused(const struct desc *d, const struct layout *a, const struct layout *b,
                   const struct layout *c)
{
    bool e4m3 = a->type == CUDA_BLAS_TYPE_E4M3;
    if (d->transposed != CUDA_BLAS_TRANSPOSED || a->type != b->type || a->rows != b->rows ||
        a->columns != c->rows || b->columns != c->columns)
        return INVALID_VALUE;
    if ((d->scale[0] && d->scales[0] != CUDA_BLAS_SCALES_BY_ROW) || (d->scale[0] && !e4m3))
        return INVALID_VALUE;
    if (!e4m3) return 0;
    return h.what != HOST_BLAS_E4M3 || a->rows % 16 != 0 || a->columns % 16 != 0 ? NOT_SUPPORTED
                                                                                 : 0;
}

static void product(const struct desc *d, const void *a, const struct layout *la, const void *b,
                    const struct layout *lb, void *out, const struct layout *lc)
{
    for (int64_t row = 0; row < (int64_t)lc->columns; row++)
        for (int64_t i = 0; i < (int64_t)lc->rows; i++) {
            int64_t at = row * lc->stride + i;
            double sum = 0;
            for (int64_t k = 0; k < (int64_t)la->rows; k++)
                sum += element(a, la->type, i * la->stride + k) *
                       element(b, lb->type, row * lb->stride + k);
            if (d->scale[0]) sum *= (double)d->scale[0][i] * (double)d->scale[1][row];
            if (lc->type == CUDA_BLAS_TYPE_BF16)
                ((uint16_t *)out)[at] = bf16_from((float)sum);
            else
                ((float *)out)[at] = (float)sum;
        }
}

static int matmul(void *handle, void *desc, const void *alpha, const void *a, void *layout_a,
                  const void *b, void *layout_b, const void *beta, const void *c, void *layout_c,
                  void *d, void *layout_d, const void *algo, void *workspace, size_t size,
                  void *stream)
{
    const struct layout *l = layout_d;
    float one, was;
    (void)stream;
    memcpy(&one, alpha, sizeof one);
    memcpy(&was, beta, sizeof was);
    if (fails()) return EXECUTION_FAILED;
    if (!handle || !(one == 1) || !(was == 0) || c != d || layout_c != layout_d || algo ||
        !workspace || size == 0)
        return INVALID_VALUE;
    if (!aligned(a) || !aligned(b) || !aligned(d) || !aligned(workspace)) return NOT_SUPPORTED;
    int code = refused(desc, layout_a, layout_b, l);
    if (code != 0) return code;
    device_memory_open();
    product(desc, a, layout_a, b, layout_b, d, l);
    device_memory_close();
    h.n_products++;
    return 0;
}

const struct cuda_blas_functions host_blas = {
    .create = create,
    .destroy = object_free,
    .desc_create = desc_create,
    .desc_destroy = object_free,
    .desc_set = desc_set,
    .layout_create = layout_create,
    .layout_destroy = object_free,
    .matmul = matmul,
};
