/* Linked into a program, it makes the emulated GPU the one that the program finds. What stands in the
 * file emulated-gpu of the runtime directory is what befalls it (host_runtime.h). */
#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/cuda.h"
#include "tests/cuda/host_runtime.h"

extern const struct cuda_probe cuda_probe_host;

__attribute__((constructor)) static void emulated_backend_use(void)
{
    static struct cuda_backend backend;
    char path[400];
    backend = host_backend;
    backend.probe = &cuda_probe_host;
    cuda_backend_use(&backend);
    const char *directory = getenv("XDG_RUNTIME_DIR");
    if (!directory) return;
    snprintf(path, sizeof path, "%s/emulated-gpu", directory);
    host_runtime_fault_file(path);
}
