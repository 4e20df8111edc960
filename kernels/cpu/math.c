/* Chooses the inner loops: what the caller asks for, then what the environment asks for (valgrind
 * and tests need a simpler one than the machine has), then the best. */
#include "kernels/cpu/math.h"

#include <stdlib.h>
#include <string.h>

static bool machine_has_avx2(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#else
    return false;
#endif
}

status cpu_math_find(const struct cpu_math **out, const char *variant, error *err)
{
    if (!variant) variant = getenv("DBRX_CPU");
    if (!variant || !*variant) variant = machine_has_avx2() ? "avx2" : "portable";
    *out = NULL;
    if (strcmp(variant, "portable") == 0) *out = &cpu_math_portable;
#if defined(__x86_64__)
    if (strcmp(variant, "avx2") == 0 && machine_has_avx2()) *out = &cpu_math_avx2;
#endif
    if (*out) return OK;
    return fail(err, ERR_UNSUPPORTED, "CPU kernels \"%s\": this machine has portable%s", variant,
                machine_has_avx2() ? " and avx2" : "");
}
