/* Chooses the inner loops: what the caller asks for, then what the environment asks for (valgrind
 * and tests need a simpler one than the machine has), then the best. */
#include "kernels/cpu/math.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool has_anything(void) { return true; }

#if defined(__x86_64__)
static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16") &&
           __builtin_cpu_supports("avx512vbmi");
}
#endif

/* Best last. */
static const struct {
    const struct cpu_math *math;
    bool (*is_here)(void);
} tables[] = {
    {&cpu_math_portable, has_anything},
#if defined(__x86_64__)
    {&cpu_math_avx2, has_avx2},
    {&cpu_math_avx512, has_avx512},
    {&cpu_math_avx512bf16, has_avx512bf16},
#endif
};

const char *const cpu_math_names[] = {
    "portable",
#if defined(__x86_64__)
    "avx2",     "avx512", "avx512bf16",
#endif
    NULL,
};

status cpu_math_find(const struct cpu_math **out, const char *variant, error *err)
{
    char here[64] = "";
    if (!variant) variant = getenv("DBRX_CPU");
    bool any = !variant || !*variant;
    *out = NULL;
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
        if (!tables[i].is_here()) continue;
        const char *name = tables[i].math->name;
        if (any || strcmp(variant, name) == 0) *out = tables[i].math;
        size_t used = strlen(here);
        snprintf(here + used, sizeof here - used, "%s%s", used ? ", " : "", name);
    }
    if (*out) return OK;
    return fail(err, ERR_UNSUPPORTED, "CPU kernels \"%s\": this machine has %s", variant, here);
}
