/* Operations on a prefix cache of two tiers: matches, restores, inserts, evictions, pins. The first
 * byte is the size of the host tier; every further choice takes one byte, or two where there are more
 * than 256. After each operation the cache is checked against itself and the naive model. */
#include "tests/fuzz/fuzz.h"

#define WORLD_FAIL(...) (fprintf(stderr, __VA_ARGS__), fputc('\n', stderr), abort())
#include "tests/unit/support/prefix_world.h"

static uint32_t draw_bytes(void *context, uint32_t below)
{
    text *rest = context;
    uint32_t n = fuzz_byte(rest);
    if (below > 256) n = n << 8 | fuzz_byte(rest);
    return n % below;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int32_t sizes[] = {0, 1, 5, 40, SLOTS};
    static struct world w;
    text rest = {(const char *)data, size};
    int32_t n_slots = sizes[fuzz_byte(&rest) % (sizeof sizes / sizeof *sizes)];
    world_open(&w, draw_bytes, &rest, n_slots);
    while (rest.size > 0) {
        world_operate(&w);
        world_check(&w);
    }
    world_empty(&w);
    world_close(&w);
    return 0;
}
