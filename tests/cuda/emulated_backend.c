/* Linked into a program, it makes the emulated GPU the one that the program finds. */
#include "kernels/cuda/cuda.h"
#include "tests/cuda/host_runtime.h"

extern const struct cuda_probe cuda_probe_host;

__attribute__((constructor)) static void emulated_backend_use(void)
{
    static struct cuda_backend backend;
    backend = host_backend;
    backend.probe = &cuda_probe_host;
    cuda_backend_use(&backend);
}
