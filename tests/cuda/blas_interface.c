/* Compiled, never linked: cuda_blas.h holds what the library's own header says. */
#include <cublasLt.h>

#include "kernels/cuda/cuda_blas.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #theirs)

SAME(CUDA_BLAS_TRANSPOSED, CUBLAS_OP_T);
SAME(CUDA_BLAS_COMPUTE_F32, CUBLAS_COMPUTE_32F);
SAME(CUDA_BLAS_TYPE_F32, CUDA_R_32F);
SAME(CUDA_BLAS_TYPE_BF16, CUDA_R_16BF);
SAME(CUDA_BLAS_TYPE_E4M3, CUDA_R_8F_E4M3);
SAME(CUDA_BLAS_ATTRIBUTE_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(CUDA_BLAS_ATTRIBUTE_A_SCALE, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(CUDA_BLAS_ATTRIBUTE_B_SCALE, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
SAME(CUDA_BLAS_ATTRIBUTE_A_SCALES, CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
SAME(CUDA_BLAS_ATTRIBUTE_B_SCALES, CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
SAME(CUDA_BLAS_SCALES_BY_ROW, CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
SAME(0, CUBLAS_STATUS_SUCCESS);

/* Handles are pointers and enumerations are ints, which the two lists of arguments then agree in. */
#define SAME_SIZE(ours, theirs) _Static_assert(sizeof(ours) == sizeof(theirs), #theirs)
SAME_SIZE(void *, cublasLtHandle_t);
SAME_SIZE(void *, cublasLtMatmulDesc_t);
SAME_SIZE(void *, cublasLtMatrixLayout_t);
SAME_SIZE(void *, cudaStream_t);
SAME_SIZE(int, cublasStatus_t);
SAME_SIZE(int, cublasComputeType_t);
SAME_SIZE(int, cudaDataType);
SAME_SIZE(int, cublasLtMatmulDescAttributes_t);

static cublasStatus_t (*const create)(cublasLtHandle_t *) = cublasLtCreate;
static cublasStatus_t (*const destroy)(cublasLtHandle_t) = cublasLtDestroy;
static cublasStatus_t (*const desc_create)(cublasLtMatmulDesc_t *, cublasComputeType_t,
                                           cudaDataType_t) = cublasLtMatmulDescCreate;
static cublasStatus_t (*const desc_destroy)(cublasLtMatmulDesc_t) = cublasLtMatmulDescDestroy;
static cublasStatus_t (*const desc_set)(cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t,
                                        const void *, size_t) = cublasLtMatmulDescSetAttribute;
static cublasStatus_t (*const layout_create)(cublasLtMatrixLayout_t *, cudaDataType, uint64_t,
                                             uint64_t, int64_t) = cublasLtMatrixLayoutCreate;
static cublasStatus_t (*const layout_destroy)(cublasLtMatrixLayout_t) = cublasLtMatrixLayoutDestroy;
static cublasStatus_t (*const matmul)(cublasLtHandle_t, cublasLtMatmulDesc_t, const void *,
                                      const void *, cublasLtMatrixLayout_t, const void *,
                                      cublasLtMatrixLayout_t, const void *, const void *,
                                      cublasLtMatrixLayout_t, void *, cublasLtMatrixLayout_t,
                                      const cublasLtMatmulAlgo_t *, void *, size_t,
                                      cudaStream_t) = cublasLtMatmul;

const void *blas_interface(int i)
{
    const void *const all[] = {&create,   &destroy,       &desc_create,    &desc_destroy,
                               &desc_set, &layout_create, &layout_destroy, &matmul};
    return all[i];
}
