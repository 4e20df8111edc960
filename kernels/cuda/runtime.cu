/* The CUDA runtime behind the seam of launch.h: the only file that calls it. */
#include <cuda.h>
#include <cuda_runtime.h>
#include <stdio.h>

#include "kernels/cuda/launch.h"

static int open_device(int32_t index, struct cuda_device_info *out)
{
    int count = 0;
    cudaError_t code = cudaGetDeviceCount(&count);
    if (code != cudaSuccess) return code;
    if (index >= count) return cudaErrorNoDevice;
    struct cudaDeviceProp properties;
    code = cudaSetDevice(index);
    if (code == cudaSuccess) code = cudaGetDeviceProperties(&properties, index);
    if (code != cudaSuccess) return code;
    snprintf(out->name, sizeof out->name, "%.63s", properties.name);
    out->n_processors = properties.multiProcessorCount;
    out->capability = properties.major * 10 + properties.minor;
    out->total_bytes = properties.totalGlobalMem;
    return cudaSuccess;
}

static int enter(int32_t index) { return cudaSetDevice(index); }

static int memory(size_t *free_bytes)
{
    size_t total;
    return cudaMemGetInfo(free_bytes, &total);
}

/* A failed allocation leaves its code behind for the next launch to be blamed with: taken off. */
static int take(void **out, size_t bytes)
{
    cudaError_t code = cudaMalloc(out, bytes);
    if (code == cudaErrorMemoryAllocation) cudaGetLastError();
    return code;
}

static int give(void *device) { return cudaFree(device); }

static int host_take(void **out, size_t bytes)
{
    cudaError_t code = cudaHostAlloc(out, bytes, cudaHostAllocDefault);
    if (code == cudaErrorMemoryAllocation) cudaGetLastError();
    return code;
}

static int host_give(void *pinned) { return cudaFreeHost(pinned); }

static int stream_open(void **out)
{
    return cudaStreamCreateWithFlags((cudaStream_t *)out, cudaStreamNonBlocking);
}

static int stream_close(void *stream) { return cudaStreamDestroy((cudaStream_t)stream); }

static int copy(void *to, const void *from, size_t bytes, void *stream)
{
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, (cudaStream_t)stream);
}

static int fill(void *device, int byte, size_t bytes, void *stream)
{
    return cudaMemsetAsync(device, byte, bytes, (cudaStream_t)stream);
}

/* The driver's own function, found at run time: a binary without a driver still starts. */
static CUresult (*encode_find(void))(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                     const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                     const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                     CUtensorMapL2promotion, CUtensorMapFloatOOBfill)
{
    void *found = NULL;
    cudaDriverEntryPointQueryResult result;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault,
                                         &result) != cudaSuccess ||
        result != cudaDriverEntryPointSuccess)
        return NULL;
    return (decltype(encode_find()))found;
}

static int map(struct cuda_map *out, const void *at, int64_t row_bytes, int64_t n_rows,
               int32_t box_bytes, int32_t box_rows)
{
    static auto encode = encode_find();
    const cuuint64_t size[2] = {(cuuint64_t)row_bytes, (cuuint64_t)n_rows};
    const cuuint64_t stride[1] = {(cuuint64_t)row_bytes};
    const cuuint32_t box[2] = {(cuuint32_t)box_bytes, (cuuint32_t)box_rows}, every[2] = {1, 1};
    CUtensorMapSwizzle swizzle = box_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                 : box_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                   : CU_TENSOR_MAP_SWIZZLE_32B;
    static_assert(sizeof(CUtensorMap) == sizeof *out && alignof(CUtensorMap) <= alignof(cuda_map), "one map");
    if (!encode) return cudaErrorNotSupported;
    CUresult code =
        encode((CUtensorMap *)out, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, (void *)at, size, stride, box,
               every, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return code == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

static int launched(void) { return cudaGetLastError(); }

static int mark_open(void **out)
{
    return cudaEventCreateWithFlags((cudaEvent_t *)out, cudaEventDisableTiming);
}

static int mark_close(void *mark) { return cudaEventDestroy((cudaEvent_t)mark); }
static int mark(void *at, void *stream)
{
    return cudaEventRecord((cudaEvent_t)at, (cudaStream_t)stream);
}
static int mark_wait(void *at) { return cudaEventSynchronize((cudaEvent_t)at); }
static int wait_stream(void *stream) { return cudaStreamSynchronize((cudaStream_t)stream); }

static int capture_begin(void *stream)
{
    return cudaStreamBeginCapture((cudaStream_t)stream, cudaStreamCaptureModeThreadLocal);
}

/* The graph itself is only the plan of what is launched, the executable. */
static int capture_end(void *stream, void **out)
{
    cudaGraph_t graph = NULL;
    *out = NULL;
    cudaError_t code = cudaStreamEndCapture((cudaStream_t)stream, &graph);
    if (code == cudaSuccess) code = cudaGraphInstantiate((cudaGraphExec_t *)out, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    return code;
}

static int graph_launch(void *graph, void *stream)
{
    return cudaGraphLaunch((cudaGraphExec_t)graph, (cudaStream_t)stream);
}

static int graph_close(void *graph) { return cudaGraphExecDestroy((cudaGraphExec_t)graph); }
extern "C" int cuda_overlaps;
int cuda_overlaps = 0;
static void overlap(bool on) { cuda_overlaps = on; }
static const char *error_text(int code) { return cudaGetErrorString((cudaError_t)code); }

extern "C" {
extern const struct cuda_runtime cuda_runtime_nvidia;
const struct cuda_runtime cuda_runtime_nvidia = {
    open_device, enter, memory, take,      give,       host_take,   host_give, stream_open, stream_close,
    copy,        fill,   map,     launched,  mark_open,  mark_close,  mark,      mark_wait,   wait_stream,
    capture_begin, capture_end, graph_launch, graph_close,
    overlap, error_text,  false,
};
}
