/* A pass is cut into as many pieces as keep all threads busy to the end; each piece is added up by a
 * loop with eight independent sums, so that loads never wait for an addition. Prefetching further
 * ahead than the hardware does helps on some machines and hurts on others: each distance is tried. */
#include "inference/bench/read_loop.h"

#include <stdint.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"
#include "base/memory.h"
#include "base/random.h"
#include "kernels/cpu/pool.h"

enum {
    BLOCK_BYTES = 256, /* of one round of the inner loop */
    LINE_BYTES = 64,
    PIECE_BYTES = 256 * 1024,
    PASS_MIN = 64 * 1024,
    ROUND_BYTES = 4 * 1024 * 1024, /* timed at once at least: the clock counts microseconds */
    MEASURE_US = 100000,
    PASSES_MIN = 3
};

#define WORK 1e12 /* enough for a pool to wake its threads */

typedef uint64_t read_sum(const unsigned char *bytes, size_t n_blocks, size_t ahead_bytes);

struct read_loop {
    pool *threads;
    void *block;
    unsigned char *bytes; /* the block from its first cache line on */
    size_t bytes_max;
    read_sum *sum;
    uint64_t *results; /* [threads] kept, so that no compiler drops the reading */
    size_t pass_bytes, piece_bytes, ahead_bytes, n_rounds;
};

static uint64_t sum_portable(const unsigned char *bytes, size_t n_blocks, size_t ahead_bytes)
{
    const uint64_t *at = (const void *)bytes;
    uint64_t sums[8] = {0};
    for (size_t i = 0; i < n_blocks; i++, at += BLOCK_BYTES / sizeof *at) {
        for (size_t line = 0; ahead_bytes && line < BLOCK_BYTES; line += 64)
            __builtin_prefetch((const char *)at + ahead_bytes + line, 0, 0);
        for (int j = 0; j < BLOCK_BYTES / 8; j++) sums[j % 8] += at[j];
    }
    for (int j = 1; j < 8; j++) sums[0] += sums[j];
    return sums[0];
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static uint64_t sum_avx2(const unsigned char *bytes,
                                                         size_t n_blocks, size_t ahead_bytes)
{
    const __m256i *at = (const void *)bytes;
    __m256i sums[8];
    for (int j = 0; j < 8; j++) sums[j] = _mm256_setzero_si256();
    for (size_t i = 0; i < n_blocks; i++, at += 8) {
        for (size_t line = 0; ahead_bytes && line < BLOCK_BYTES; line += 64)
            _mm_prefetch((const char *)at + ahead_bytes + line, _MM_HINT_T0);
        for (int j = 0; j < 8; j++) sums[j] = _mm256_add_epi64(sums[j], _mm256_load_si256(at + j));
    }
    for (int j = 1; j < 8; j++) sums[0] = _mm256_add_epi64(sums[0], sums[j]);
    return (uint64_t)_mm256_extract_epi64(sums[0], 0) + (uint64_t)_mm256_extract_epi64(sums[0], 3);
}
#endif

static read_sum *sum_find(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) return sum_avx2;
#endif
    return sum_portable;
}

static void piece_run(void *context, int64_t task, int thread)
{
    struct read_loop *r = context;
    size_t from = (size_t)task * r->piece_bytes, left = r->pass_bytes - from;
    size_t size = left < r->piece_bytes ? left : r->piece_bytes;
    r->results[thread * 8] += r->sum(r->bytes + from, size / BLOCK_BYTES, r->ahead_bytes);
}

static void piece_fill(void *context, int64_t task, int thread)
{
    const struct read_loop *r = context;
    uint64_t *words = (void *)r->bytes;
    size_t from = (size_t)task * (PIECE_BYTES / 8), to = from + PIECE_BYTES / 8;
    (void)thread;
    if (to > r->bytes_max / 8) to = r->bytes_max / 8;
    for (size_t i = from; i < to; i++) words[i] = random_mix(i);
}

static int64_t pieces_of(size_t bytes, size_t piece_bytes)
{
    return (int64_t)((bytes + piece_bytes - 1) / piece_bytes);
}

static status memory_open(read_loop *r, int n_threads, error *err)
{
    r->results = memory_take((size_t)n_threads * 8, sizeof *r->results);
    r->block = memory_take(r->bytes_max + LINE_BYTES, 1);
    if (!r->results || !r->block)
        return fail(err, ERR_MEMORY, "out of memory for a read loop over %zu bytes", r->bytes_max);
    r->bytes = (unsigned char *)r->block + LINE_BYTES - (uintptr_t)r->block % LINE_BYTES;
    pool_run(r->threads, piece_fill, r, pieces_of(r->bytes_max, PIECE_BYTES), WORK);
    return OK;
}

status read_loop_open(read_loop **out, size_t bytes_max, int n_threads, error *err)
{
    read_loop *r = memory_take(1, sizeof *r);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    *out = NULL;
    if (!r) return fail(err, ERR_MEMORY, "out of memory for the read loop");
    r->bytes_max = (bytes_max + PIECE_BYTES - 1) / PIECE_BYTES * PIECE_BYTES;
    if (n_threads <= 0) n_threads = cores > 0 ? (int)cores : 1;
    r->sum = sum_find();
    status s = pool_open(&r->threads, n_threads, err);
    if (s == OK) s = memory_open(r, n_threads, err);
    if (s != OK) {
        read_loop_close(r);
        return s;
    }
    *out = r;
    return OK;
}

void read_loop_close(read_loop *r)
{
    if (!r) return;
    pool_close(r->threads);
    memory_free(r->results);
    memory_free(r->block);
    memory_free(r);
}

/* Passes of one kind until their share of the time is over; the best one's bytes per second. */
static double kind_measure(read_loop *r, size_t ahead_bytes, int64_t us)
{
    int64_t begun = clock_us(), best = INT64_MAX;
    r->ahead_bytes = ahead_bytes;
    for (int i = 0; i < PASSES_MIN || clock_us() - begun < us; i++) {
        int64_t from = clock_us();
        for (size_t j = 0; j < r->n_rounds; j++)
            pool_run(r->threads, piece_run, r, pieces_of(r->pass_bytes, r->piece_bytes), WORK);
        int64_t took = clock_us() - from;
        if (took > 0 && took < best) best = took;
    }
    return (double)r->pass_bytes * (double)r->n_rounds * 1e6 / (double)best;
}

double read_loop_measure(read_loop *r, size_t size_bytes)
{
    static const size_t ahead[] = {0, 512, 2048};
    double best = 0;
    if (size_bytes > r->bytes_max) size_bytes = r->bytes_max;
    r->pass_bytes = size_bytes < PASS_MIN ? PASS_MIN : size_bytes / BLOCK_BYTES * BLOCK_BYTES;
    r->piece_bytes = r->pass_bytes / (size_t)pool_threads(r->threads) / 4;
    r->piece_bytes = r->piece_bytes < PIECE_BYTES ? r->piece_bytes : PIECE_BYTES;
    r->piece_bytes = (r->piece_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    r->n_rounds = ROUND_BYTES / r->pass_bytes + 1;
    for (size_t i = 0; i < sizeof ahead / sizeof *ahead; i++) {
        double rate = kind_measure(r, ahead[i], MEASURE_US / 3);
        if (rate > best) best = rate;
    }
    return best;
}
