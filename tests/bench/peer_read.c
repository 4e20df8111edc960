/* What reading costs and nothing else: threads sum 32-byte words of their share of a buffer that no
 * cache holds. A loop reads along 1, 4 or 8 places at once, with or without asking ahead; what this
 * machine does best is what reading weights is measured by. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/bench/peer.h"

enum { READ_MIB = 1024, THREADS_MAX = 64, LINE_WORDS = 8, AHEAD_LINES = 16 };

typedef uint64_t vector __attribute__((vector_size(32), may_alias));

struct peer_read {
    unsigned char *bytes, *mapped; /* memory in large pages; the model's file */
    size_t size, mapped_size;
    int n_threads;
};

struct part {
    const unsigned char *bytes;
    size_t size;
    int n_places;
    int asks_ahead;
    vector sum;
};

#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
static void
part_read(struct part *p)
{
    vector sum[8] = {{0}};
    size_t stride = p->size / (size_t)p->n_places;
    for (size_t at = 0; at + 64 <= stride; at += 64)
        for (int i = 0; i < p->n_places; i++) {
            const unsigned char *from = p->bytes + (size_t)i * stride + at;
            if (p->asks_ahead) __builtin_prefetch(from + (size_t)AHEAD_LINES * 64, 0, 0);
            const vector *line = (const vector *)(const void *)from;
            sum[i] += line[0] ^ line[1];
        }
    for (int i = 1; i < 8; i++) sum[0] += sum[i];
    p->sum = sum[0];
}

static void *part_thread(void *argument)
{
    part_read(argument);
    return NULL;
}

static double loop_rate(const struct peer_read *r, const unsigned char *bytes, size_t size,
                        int n_places, int asks_ahead)
{
    struct part parts[THREADS_MAX];
    pthread_t threads[THREADS_MAX];
    size_t share = size / (size_t)r->n_threads / 4096 * 4096;
    double begun = peer_clock_s(r->n_threads);
    int n = 0;
    for (int t = 0; t < r->n_threads; t++)
        parts[t] = (struct part){.bytes = bytes + (size_t)t * share,
                                 .size = share,
                                 .n_places = n_places,
                                 .asks_ahead = asks_ahead};
    while (n < r->n_threads - 1 && !pthread_create(&threads[n], NULL, part_thread, &parts[n + 1]))
        n++;
    part_read(&parts[0]);
    for (int t = 0; t < n; t++) pthread_join(threads[t], NULL);
    double took = peer_clock_s(r->n_threads) - begun;
    volatile uint64_t seen = parts[0].sum[0]; /* so that reading is not left out */
    (void)seen;
    return (double)share * (n + 1) / took;
}

static double best_rate(const struct peer_read *r, const unsigned char *bytes, size_t size)
{
    static const int places[] = {1, 4, 8};
    double best = 0;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        for (int asks_ahead = 0; asks_ahead < 2; asks_ahead++) {
            double rate = loop_rate(r, bytes, size, places[i], asks_ahead);
            if (rate > best) best = rate;
        }
    return best;
}

double peer_read_rate(const struct peer_read *r) { return best_rate(r, r->bytes, r->size); }

double peer_read_mapped_rate(const struct peer_read *r)
{
    return r->mapped ? best_rate(r, r->mapped, r->mapped_size) : 0;
}

/* The first shard of the model, at most as much as is read of the memory. */
static void file_map(struct peer_read *r, const char *model_dir)
{
    static const char *const names[] = {"model.safetensors", "model-00001-of-00001.safetensors",
                                        "model-00001-of-00002.safetensors"};
    char path[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names && !r->mapped; i++) {
        struct stat info;
        snprintf(path, sizeof path, "%s/%s", model_dir, names[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        if (fstat(fd, &info) == 0 && info.st_size > 0) {
            r->mapped_size = (size_t)info.st_size < r->size ? (size_t)info.st_size : r->size;
            void *at = mmap(NULL, r->mapped_size, PROT_READ, MAP_SHARED, fd, 0);
            if (at != MAP_FAILED) r->mapped = at;
        }
        close(fd);
    }
}

struct peer_read *peer_read_open(int n_threads, const char *model_dir)
{
    struct peer_read *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    r->n_threads = n_threads < THREADS_MAX ? n_threads : THREADS_MAX;
    r->size = (size_t)READ_MIB << 20;
    r->bytes = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (r->bytes == MAP_FAILED) {
        free(r);
        return NULL;
    }
    madvise(r->bytes, r->size, MADV_HUGEPAGE);
    uint64_t state = 1;
    for (size_t i = 0; i < r->size; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        *(uint64_t *)(void *)(r->bytes + i) = state;
    }
    file_map(r, model_dir);
    return r;
}

void peer_read_close(struct peer_read *r)
{
    if (!r) return;
    munmap(r->bytes, r->size);
    if (r->mapped) munmap(r->mapped, r->mapped_size);
    free(r);
}
