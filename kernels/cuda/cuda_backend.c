/* Which GPU the table runs on: the one nvcc compiled for, where this build has it. */
#include "kernels/cuda/cuda.h"

#ifdef DBRX_CUDA
extern const struct cuda_launch cuda_launch_nvidia;
extern const struct cuda_runtime cuda_runtime_nvidia;
extern const struct cuda_probe cuda_probe_nvidia;
static const struct cuda_backend nvidia = {&cuda_runtime_nvidia, &cuda_launch_nvidia,
                                           &cuda_probe_nvidia, NULL};
static const struct cuda_backend *in_use = &nvidia;
#else
static const struct cuda_backend *in_use;
#endif

const struct cuda_backend *cuda_backend_get(void) { return in_use; }

void cuda_backend_use(const struct cuda_backend *backend) { in_use = backend; }

status cuda_available(int32_t index, struct cuda_device_info *out, error *err)
{
    enum { CAPABILITY_LEAST = 80 };
    *out = (struct cuda_device_info){0};
    if (!in_use)
        return fail(err, ERR_UNSUPPORTED, "backend \"cuda\" is not in this build: nvcc made none");
    int code = in_use->runtime->open(index, out);
    if (code != 0 && index > 0)
        return fail(err, ERR_UNSUPPORTED, "backend \"cuda\": GPU %d does not answer: %s", index,
                    in_use->runtime->error_text(code));
    if (code != 0)
        return fail(err, ERR_UNSUPPORTED, "backend \"cuda\": no GPU answers: %s",
                    in_use->runtime->error_text(code));
    if (out->capability < CAPABILITY_LEAST)
        return fail(err, ERR_UNSUPPORTED,
                    "backend \"cuda\": %s has compute capability %d.%d, "
                    "expected 8.0 or later",
                    out->name, out->capability / 10, out->capability % 10);
    return OK;
}
