/* One reserved range, filled from the front; when the last block is given back it begins anew. */
#include "tests/cuda/device_memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "tests/cuda/sanitizer.h"

#if defined(EMULATOR_ASAN) || defined(EMULATOR_TSAN)
enum { REACHABLE = true };
#else
enum { REACHABLE = false };
#endif

enum { BLOCKS_MAX = 16384, ALIGNMENT = 256, PAGE = 4096 };

#define RANGE_BYTES ((size_t)1 << 40)
/* A larger range is closed only when the host waits: the kernel walks all its pages each time. */
#define STRICT_BYTES ((size_t)8 << 20)

static struct {
    unsigned char *range;
    size_t end; /* of what was ever handed out since the range was empty */
    struct block {
        void *at; /* NULL: given back */
        size_t bytes;
    } blocks[BLOCKS_MAX];
    int n_blocks, n_held, depth;
    bool stays_open; /* until device_memory_settle */
} m;

static void protect(int how)
{
    if (m.end > 0 && mprotect(m.range, m.end, how) != 0) {
        perror("emulator: mprotect");
        abort();
    }
}

bool device_memory_guarded(void) { return !REACHABLE; }

static void *range_take(size_t bytes)
{
    if (!m.range) {
        m.range =
            mmap(NULL, RANGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (m.range == MAP_FAILED) {
            perror("emulator: no addresses for the device");
            abort();
        }
    }
    size_t size = (bytes + PAGE - 1) / PAGE * PAGE;
    if (size > RANGE_BYTES - m.end) return NULL;
    unsigned char *at = m.range + m.end;
    m.end += size;
    if (m.depth > 0 || m.stays_open) protect(PROT_READ | PROT_WRITE);
    return at;
}

void *device_memory_take(size_t bytes)
{
    if (m.n_blocks == BLOCKS_MAX) return NULL;
    size_t room = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    void *at = REACHABLE ? aligned_alloc(ALIGNMENT, room) : range_take(room);
    if (!at) return NULL;
    m.blocks[m.n_blocks++] = (struct block){at, bytes};
    m.n_held++;
    return at;
}

static void block_drop(const struct block *b)
{
    if (REACHABLE)
        free(b->at);
    else
        madvise(b->at, (b->bytes + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
}

size_t device_memory_give(void *block)
{
    for (int i = m.n_blocks - 1; i >= 0; i--) {
        struct block *b = &m.blocks[i];
        if (b->at != block) continue;
        size_t bytes = b->bytes;
        block_drop(b);
        b->at = NULL;
        m.n_held--;
        while (m.n_blocks > 0 && !m.blocks[m.n_blocks - 1].at) m.n_blocks--;
        if (m.n_held == 0 && m.depth == 0) {
            protect(PROT_NONE);
            m.end = 0;
            m.stays_open = false;
        }
        return bytes;
    }
    return 0;
}

void device_memory_open(void)
{
    if (m.depth++ > 0 || REACHABLE || m.stays_open) return;
    protect(PROT_READ | PROT_WRITE);
    m.stays_open = m.end > STRICT_BYTES;
}

void device_memory_close(void)
{
    if (--m.depth == 0 && !REACHABLE && !m.stays_open) protect(PROT_NONE);
}

bool device_memory_large(void) { return m.end > STRICT_BYTES; }

void device_memory_bar(bool closed)
{
    if (!REACHABLE) protect(closed ? PROT_NONE : PROT_READ | PROT_WRITE);
}

void device_memory_settle(void)
{
    if (!m.stays_open || m.depth > 0) return;
    m.stays_open = false;
    protect(PROT_NONE);
}
