#include "context/loops.h"

#include <string.h>

enum { PERIOD_MAX = 32, REPEATS = 8, BYTES_MIN = 64, RULER_MIN = 200 };
enum { PROSE_PERIOD_MAX = 512, PROSE_REPEATS = 4 };

/* The last n bytes are those that stand `period` bytes before them. */
static bool repeats(text t, size_t period, size_t n)
{
    if (t.size < n + period) return false;
    const char *end = t.bytes + t.size - n;
    return memcmp(end, end - period, n) == 0;
}

bool loops_in_line(text line)
{
    if (repeats(line, 1, BYTES_MIN)) return repeats(line, 1, RULER_MIN);
    for (size_t period = 2; period <= PERIOD_MAX; period++) {
        size_t n = period * REPEATS > BYTES_MIN ? period * REPEATS : BYTES_MIN;
        if (repeats(line, period, n)) return true;
    }
    return false;
}

bool loops_in_prose(text said)
{
    for (size_t period = PERIOD_MAX + 1; period <= PROSE_PERIOD_MAX; period++)
        if (repeats(said, period, period * (PROSE_REPEATS - 1))) return true;
    return loops_in_line(said);
}
