/* One scheduler: it runs the lanes of a warp until all wait for the same thing, does that thing, and
 * goes on; a block barrier opens when all warps wait at it. This file itself is never instrumented
 * by ThreadSanitizer: what it orders is said to it in words. */
#include "tests/cuda/emulator.h"
#include "tests/cuda/device_memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/random.h"
#include "tests/cuda/emulator_block.h"
#include "tests/cuda/emulator_hopper.h"
#include "tests/cuda/fiber.h"

enum {
    THREADS_MAX = EMULATOR_THREADS_MAX,
    STACK_BYTES = 256 * 1024,
    SHARED_MAX = 48 * 1024, /* of arrays with names */
    LARGE_AT = 528, /* where memory of the launch's size begins: at no more than a multiple of 16 */
    /* Behind shared memory: words that stand for what orders the threads of a block. Of a barrier two, by
     * turns: whoever goes on late must not be thought to come after those who have reached the next one. */
    BLOCK_SYNC = EMULATOR_SHARED_MAX,
    BLOCK_BEGUN = BLOCK_SYNC + 16,
    BLOCK_ENDED = BLOCK_SYNC + 24,
    WARPS_SYNC = BLOCK_SYNC + 32,
    NAMED_SYNCS = 16,
    WARP_SYNC = WARPS_SYNC + NAMED_SYNCS * 16,
    SHARED_BYTES = WARP_SYNC + THREADS_MAX / 32 * 16,
    SYNCS =
        2 +
        NAMED_SYNCS, /* kinds of barriers that a thread comes to: of the block, its warp, some warps */
    ARRAYS_MAX = 16,
    COPIES_MAX = 256,
    KERNELS_MAX = 256,
    GROUPS_MAX = 8
};

struct copy {
    void *to;
    const void *from;
    int group;
};

struct thread {
    struct fiber fiber;
    enum emulator_operation waits;
    bool done;
    const uint32_t *in;
    uint32_t *out;
    const void *ask;     /* of what emulator_block.h names */
    struct copy *copies; /* [COPIES_MAX], apart: what is scanned at every turn stays small */
    int n_copies, group, next_due;
    unsigned char turn[SYNCS]; /* which word of a barrier is the next one's */
};

struct captured {
    struct emulator_kernel *kernel;
    int grid[3], threads;
    size_t shared_large;
    bool early;
    void (*run)(const void *);
    void *context;
};

struct emulator_graph {
    struct captured *launches;
    size_t n, room;
};

static struct {
    struct emulator_options options;
    struct emulator_kernel kernels[KERNELS_MAX];
    size_t n_kernels;
    struct emulator_kernel *running;
    struct emulator_graph *capturing;
    struct fiber main;
    struct thread *threads; /* [THREADS_MAX] */
    int n_made;
    void (*run)(const void *);
    const void *context;
    unsigned char *shared;
    struct {
        const char *name;
        int line;
        size_t at, bytes;
    } arrays[ARRAYS_MAX];
    int n_arrays;
    size_t shared_used, shared_large, large_next; /* of the block, and of the next launch */
    bool early, early_next;                       /* of the launch, of the next one */
    bool waited, guarded;                         /* of the block */
    uint64_t n_choices;
    char kernel_begun, kernel_ended; /* addresses that ThreadSanitizer orders by */
} e;

struct emulator_place emulator_now;

_Noreturn void emulator_broken(const char *what)
{
    fprintf(stderr, "emulator: %s: block %d %d %d, thread %d: %s\n",
            e.running ? e.running->place : "", emulator_now.block[0], emulator_now.block[1],
            emulator_now.block[2], emulator_now.thread, what);
    abort();
}

static _Noreturn void broken(const char *what) { emulator_broken(what); }

/* Of EMULATOR_ORDER, "forward", "reverse" or "random-SEED", with "-late" behind it. */
static struct emulator_options order_of(const char *words)
{
    struct emulator_options o = {.copy_late = strstr(words, "-late") != NULL};
    if (strncmp(words, "reverse", 7) == 0)
        o.order = EMULATOR_REVERSE;
    else if (sscanf(words, "random-%" SCNu64, &o.seed) == 1)
        o.order = EMULATOR_RANDOM;
    else if (strncmp(words, "forward", 7) != 0)
        broken("EMULATOR_ORDER: expected forward, reverse or random-SEED");
    return o;
}

void emulator_set(struct emulator_options options)
{
    const char *words = getenv("EMULATOR_ORDER");
    e.options = words ? order_of(words) : options;
}

__attribute__((constructor)) static void order_begin(void)
{
    emulator_set((struct emulator_options){EMULATOR_FORWARD, 0, false});
}

struct emulator_kernel *emulator_register(const char *place)
{
    if (e.n_kernels == KERNELS_MAX) broken("too many kernels");
    e.kernels[e.n_kernels] = (struct emulator_kernel){.place = place};
    return &e.kernels[e.n_kernels++];
}

size_t emulator_kernels(const struct emulator_kernel **out)
{
    *out = e.kernels;
    return e.n_kernels;
}

/* A fiber lives on between blocks and runs one thread of each. */
static void thread_body(void *context)
{
    struct thread *t = context;
    for (;;) {
        fiber_acquire(&e.kernel_begun);
        fiber_acquire(e.shared + BLOCK_BEGUN);
        e.run(e.context);
        if (t->next_due < t->n_copies) broken("an asynchronous copy was never waited for");
        fiber_release(&e.kernel_ended);
        fiber_release(e.shared + BLOCK_ENDED);
        t->done = true;
        fiber_switch(&t->fiber, &e.main);
    }
}

static void threads_make(int n)
{
    if (n > THREADS_MAX || n % 32 != 0) broken("threads of a block: not whole warps, or too many");
    if (!e.threads) e.threads = calloc(THREADS_MAX, sizeof *e.threads);
    if (!e.threads) broken("out of memory");
    fiber_adopt(&e.main); /* whichever thread launches */
    for (; e.n_made < n; e.n_made++) {
        struct thread *t = &e.threads[e.n_made];
        void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        t->copies = calloc(COPIES_MAX, sizeof *t->copies);
        if (stack == MAP_FAILED || !t->copies) broken("no memory for a stack");
        fiber_make(&t->fiber, stack, STACK_BYTES, thread_body, t);
    }
}

static struct thread *self(void) { return &e.threads[emulator_now.thread]; }

static void wait_for(enum emulator_operation operation)
{
    struct thread *t = self();
    t->waits = operation;
    fiber_switch(&t->fiber, &e.main);
}

/* Before the running thread comes to a barrier; sync_left with what this gives when it may go on. */
static void *sync_reached(int kind, size_t at)
{
    void *word = e.shared + at + 8 * self()->turn[kind];
    self()->turn[kind] ^= 1;
    fiber_release(word);
    return word;
}

static void sync_left(void *word) { fiber_acquire(word); }

static void barrier(enum emulator_operation operation, int kind, size_t at)
{
    void *word = sync_reached(kind, at);
    wait_for(operation);
    sync_left(word);
}

void emulator_block_sync(void) { barrier(EMULATOR_BLOCK_SYNC, 0, BLOCK_SYNC); }

static size_t warp_sync_at(void) { return WARP_SYNC + 16 * (size_t)(emulator_now.thread / 32); }

void *emulator_warp_reached(void) { return sync_reached(1, warp_sync_at()); }
void emulator_warp_left(void *word) { sync_left(word); }

void emulator_early_set(void) { e.early_next = true; }

/* Orders nothing among the threads of a block. */
void emulator_grid_wait(void)
{
    if (e.early && e.waited) broken("a second wait for the kernel before");
    if (e.early) wait_for(EMULATOR_GRID_WAIT);
}

void emulator_warp_sync(void) { barrier(EMULATOR_WARP_SYNC, 1, warp_sync_at()); }

void emulator_collective(enum emulator_operation operation, const uint32_t *in, uint32_t *out)
{
    struct thread *t = self();
    t->in = in;
    t->out = out;
    wait_for(operation);
}

/* Not by memset, which ThreadSanitizer sees wherever it is called: it is nobody's write. */
void emulator_poison(unsigned char *at, size_t bytes)
{
    volatile uint64_t *word = (volatile uint64_t *)(void *)at;
    for (size_t i = 0; i < (bytes + 7) / 8; i++) word[i] = UINT64_MAX;
}

void *emulator_shared(const char *name, int line, size_t bytes)
{
    for (int i = 0; i < e.n_arrays; i++)
        if (e.arrays[i].line == line && strcmp(e.arrays[i].name, name) == 0) {
            if (e.arrays[i].bytes != bytes) broken("one shared array of two sizes");
            return e.shared + e.arrays[i].at;
        }
    size_t at = (e.shared_used + 15) / 16 * 16;
    if (e.n_arrays == ARRAYS_MAX || at + bytes - LARGE_AT - e.shared_large > SHARED_MAX ||
        at + bytes > EMULATOR_SHARED_MAX)
        broken("more than 48 KiB shared");
    e.arrays[e.n_arrays].name = name;
    e.arrays[e.n_arrays].line = line;
    e.arrays[e.n_arrays].at = at;
    e.arrays[e.n_arrays++].bytes = bytes;
    e.shared_used = at + bytes;
    emulator_poison(e.shared + at, bytes);
    return e.shared + at;
}

void emulator_aligned(const void *at, size_t bytes)
{
    if ((uintptr_t)at % bytes != 0) broken("an address is not aligned");
}

/* Nothing comes of it but what the instruction demands. */
void emulator_prefetch(const void *at, int bytes)
{
    emulator_aligned(at, 16);
    if (bytes <= 0 || bytes % 16 != 0) broken("a prefetch of a size that is no multiple of 16");
}

void emulator_within_shared(const void *at, size_t bytes)
{
    const unsigned char *from = at;
    if (from < e.shared || from + bytes > e.shared + e.shared_used)
        broken("an address that should be in shared memory is not");
}

bool emulator_copy(void *to, const void *from)
{
    struct thread *t = self();
    if (!e.options.copy_late) return true;
    if (t->n_copies == COPIES_MAX) {
        memmove(t->copies, t->copies + t->next_due,
                (size_t)(t->n_copies - t->next_due) * sizeof *t->copies);
        t->n_copies -= t->next_due;
        t->next_due = 0;
        if (t->n_copies == COPIES_MAX) broken("too many asynchronous copies");
    }
    t->copies[t->n_copies++] = (struct copy){to, from, t->group};
    return false;
}

void emulator_copy_commit(void) { self()->group++; }

bool emulator_copy_due(int pending, void **to, const void **from)
{
    struct thread *t = self();
    if (t->next_due == t->n_copies || t->copies[t->next_due].group >= t->group - pending)
        return false;
    *to = t->copies[t->next_due].to;
    *from = t->copies[t->next_due++].from;
    return true;
}

unsigned char *emulator_shared_base(void) { return e.shared; }
const struct fiber *emulator_fiber(int thread) { return &e.threads[thread].fiber; }
size_t emulator_shared_used(void) { return e.shared_used; }
const struct emulator_options *emulator_options_now(void) { return &e.options; }
uint64_t emulator_random(void) { return random_at(e.options.seed, e.n_choices++); }
void emulator_shared_large_set(size_t bytes) { e.large_next = bytes; }

void *emulator_shared_large(void)
{
    if (e.shared_large == 0) broken("the launch asked for no more than 48 KiB");
    return e.shared + LARGE_AT;
}

void emulator_await(enum emulator_operation operation, const void *ask)
{
    self()->ask = ask;
    wait_for(operation);
}

void emulator_warps_sync(int id, int threads)
{
    struct hopper_sync ask = {id, threads};
    if (id < 1 || id >= NAMED_SYNCS || threads % 32 != 0)
        broken("a barrier of some warps: its number or its threads");
    void *word = sync_reached(2 + id, WARPS_SYNC + 16 * (size_t)id);
    emulator_await(EMULATOR_WARPS_SYNC, &ask);
    sync_left(word);
}

static float word_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t float_word(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float half_value(uint32_t word, int upper)
{
    return word_float(upper ? word & 0xFFFF0000u : word << 16);
}

uint32_t emulator_bf16x2_multiply_add(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t out = 0;
    for (int i = 0; i < 2; i++) {
        uint32_t u = float_word(fmaf(half_value(a, i), half_value(b, i), half_value(c, i)));
        u = (u & 0x7FFFFFFFu) > 0x7F800000u ? u >> 16 | 0x40u : (u + 0x7FFFu + (u >> 16 & 1)) >> 16;
        out |= u << (16 * i);
    }
    return out;
}

/* To nearest even; from half of the least subnormal on, 0. */
uint32_t emulator_f16_from(float f)
{
    uint32_t sign = float_word(f) >> 16 & 0x8000u;
    float a = fabsf(f);
    if (isnan(f)) return 0x7FFFu; /* as PTX has it */
    if (a >= 65520) return sign | 0x7C00u;
    if (a < 0x1p-14f) return sign | (uint32_t)rintf(a * 0x1p24f);
    uint32_t u = float_word(a);
    u += 0xFFFu + (u >> 13 & 1);
    return sign | ((u >> 13) - (112u << 10));
}

float emulator_f16_value(uint32_t half)
{
    uint32_t exponent = half >> 10 & 31, mantissa = half & 1023;
    float a = exponent ? ldexpf((float)(1024 + mantissa), (int)exponent - 25)
                       : ldexpf((float)mantissa, -24);
    if (exponent == 31) a = mantissa ? NAN : INFINITY;
    return half & 0x8000u ? -a : a;
}

static float f16_half(uint32_t word, int upper) { return emulator_f16_value(word >> (16 * upper)); }

/* PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type". */
static void mma(struct thread *warp, float (*value)(uint32_t, int))
{
    float a[16][16], b[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const uint32_t *in = warp[lane].in;
        int group = lane / 4, pair = lane % 4 * 2;
        for (int i = 0; i < 8; i++)
            a[group + i / 2 % 2 * 8][pair + i % 2 + i / 4 * 8] = value(in[i / 2], i % 2);
        for (int i = 0; i < 4; i++)
            b[pair + i % 2 + i / 2 * 8][group] = value(in[4 + i / 2], i % 2);
    }
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = 0;
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[k][column];
            warp[lane].out[i] = float_word(word_float(warp[lane].in[6 + i]) + sum);
        }
}

/* Five exchanges with the lane whose number differs in one bit, the highest first. */
static void fold(struct thread *warp, bool sum)
{
    float v[32], next[32];
    for (int lane = 0; lane < 32; lane++) v[lane] = word_float(warp[lane].in[0]);
    for (int m = 16; m > 0; m /= 2) {
        for (int lane = 0; lane < 32; lane++)
            next[lane] = sum ? v[lane] + v[lane ^ m] : fmaxf(v[lane], v[lane ^ m]);
        memcpy(v, next, sizeof v);
    }
    for (int lane = 0; lane < 32; lane++) warp[lane].out[0] = float_word(v[lane]);
}

static void asks_of(const struct thread *warp, const void *asks[32])
{
    for (int lane = 0; lane < 32; lane++) asks[lane] = warp[lane].ask;
}

static void collective(struct thread *warp)
{
    uint32_t ballot = 0, word[32];
    for (int lane = 0; lane < 32; lane++)
        if (warp[lane].waits > EMULATOR_WARP_SYNC) word[lane] = warp[lane].in[0];
    switch (warp[0].waits) {
    case EMULATOR_SHUFFLE_XOR:
        for (int lane = 0; lane < 32; lane++)
            warp[lane].out[0] = word[lane ^ (int)(warp[lane].in[1] & 31u)];
        break;
    case EMULATOR_BALLOT:
        for (int lane = 0; lane < 32; lane++) ballot |= (uint32_t)(word[lane] != 0) << lane;
        for (int lane = 0; lane < 32; lane++) warp[lane].out[0] = ballot;
        break;
    case EMULATOR_SUM:
    case EMULATOR_MAX: fold(warp, warp[0].waits == EMULATOR_SUM); break;
    case EMULATOR_ADDRESSES:
        for (int lane = 0; lane < 32; lane++)
            for (int i = 0; i < 32; i++) memcpy(warp[lane].out + 2 * i, warp[i].in, 8);
        break;
    case EMULATOR_MMA_BF16: mma(warp, half_value); break;
    case EMULATOR_MMA_F16: mma(warp, f16_half); break;
    case EMULATOR_WGMMA: {
        const void *asks[32];
        asks_of(warp, asks);
        hopper_wgmma((int)(warp - e.threads) / 32, asks);
        break;
    }
    case EMULATOR_NONE:
    case EMULATOR_BLOCK_SYNC:
    case EMULATOR_GRID_WAIT:
    case EMULATOR_WARPS_SYNC:
    case EMULATOR_BARRIER_WAIT:
    case EMULATOR_WARP_SYNC: break;
    }
    for (int lane = 0; lane < 32; lane++) warp[lane].waits = EMULATOR_NONE;
}

/* 0..n-1 in the order wanted: place i of this round. */
static void order_make(int *out, int n)
{
    for (int i = 0; i < n; i++) out[i] = e.options.order == EMULATOR_REVERSE ? n - 1 - i : i;
    for (int i = n - 1; i > 0 && e.options.order == EMULATOR_RANDOM; i--) {
        int j = (int)(random_at(e.options.seed, e.n_choices++) % (uint64_t)(i + 1)), held = out[i];
        out[i] = out[j];
        out[j] = held;
    }
}

static void resume(struct thread *warp)
{
    for (int lane = 0; lane < 32; lane++) warp[lane].waits = EMULATOR_NONE;
}

/* Whether a warp need not wait any longer: then it no longer does. */
static bool warp_freed(struct thread *warp)
{
    const void *asks[32];
    if (warp[0].waits != EMULATOR_BARRIER_WAIT) return false;
    asks_of(warp, asks);
    if (!hopper_barrier_open(asks)) return false;
    resume(warp);
    return true;
}

/* Runs one warp until its lanes wait for others or have ended. */
static void warp_run(int first)
{
    struct thread *warp = e.threads + first;
    int order[32];
    order_make(order, 32);
    for (;;) {
        for (int i = 0; i < 32; i++) {
            struct thread *t = &warp[order[i]];
            if (t->done || t->waits != EMULATOR_NONE) continue;
            emulator_now.thread = first + order[i];
            fiber_switch(&e.main, &t->fiber);
        }
        for (int lane = 0; lane < 32; lane++)
            if (warp[lane].done != warp[0].done || warp[lane].waits != warp[0].waits)
                broken("lanes of a warp reach different collectives");
        if (warp[0].done || (!warp_freed(warp) && warp[0].waits >= EMULATOR_BLOCK_SYNC &&
                             warp[0].waits <= EMULATOR_BARRIER_WAIT))
            return;
        if (warp[0].waits != EMULATOR_NONE) collective(warp);
    }
}

static void block_begin(int n)
{
    e.n_arrays = 0;
    e.shared_used = LARGE_AT + e.shared_large;
    e.waited = false;
    if (e.guarded) device_memory_bar(true);
    e.shared = fiber_shared_renew(e.shared, e.shared ? e.shared + BLOCK_ENDED : NULL, SHARED_BYTES);
    if (!e.shared) broken("out of memory");
    emulator_poison(e.shared, e.shared_used);
    hopper_block_begin();
    fiber_release(e.shared + BLOCK_BEGUN);
    for (int i = 0; i < n; i++) {
        struct thread *t = &e.threads[i];
        t->done = false;
        t->waits = EMULATOR_NONE;
        t->n_copies = t->group = t->next_due = 0;
        memset(t->turn, 0, sizeof t->turn);
    }
}

/* Opens the barrier of some warps that all of them have reached. */
static bool some_warps_meet(int n)
{
    for (int id = 1; id < NAMED_SYNCS; id++) {
        int threads = 0, n_there = 0;
        for (int i = 0; i < n; i++) {
            const struct hopper_sync *ask = e.threads[i].ask;
            if (e.threads[i].done || e.threads[i].waits != EMULATOR_WARPS_SYNC || ask->id != id)
                continue;
            if (threads != 0 && ask->threads != threads) broken("a barrier of two sizes");
            threads = ask->threads;
            n_there++;
        }
        if (n_there == 0 || n_there < threads) continue;
        for (int i = 0; i < n; i++) {
            const struct hopper_sync *ask = e.threads[i].ask;
            if (e.threads[i].waits == EMULATOR_WARPS_SYNC && ask->id == id)
                e.threads[i].waits = EMULATOR_NONE;
        }
        return true;
    }
    return false;
}

/* Whether all threads wait for this: then they no longer do. */
static bool all_meet(int n, enum emulator_operation operation)
{
    for (int i = 0; i < n; i++)
        if (e.threads[i].waits != operation) return false;
    for (int i = 0; i < n; i++) e.threads[i].waits = EMULATOR_NONE;
    return true;
}

/* What lets some warp go on when all wait. */
static void block_unlock(int n)
{
    if (all_meet(n, EMULATOR_GRID_WAIT)) {
        e.waited = true;
        if (e.guarded) device_memory_bar(false);
        return;
    }
    if (all_meet(n, EMULATOR_BLOCK_SYNC) || some_warps_meet(n) || hopper_copy_one()) return;
    for (int i = 0; i < n; i++) {
        if (e.threads[i].waits == EMULATOR_BLOCK_SYNC)
            broken("a barrier is not reached by all threads");
        if (e.threads[i].waits == EMULATOR_GRID_WAIT)
            broken("not all threads wait for the kernel before");
    }
    broken("all wait for each other, and nothing is under way");
}

static void block_run(int n)
{
    int order[THREADS_MAX / 32], n_warps = n / 32;
    block_begin(n);
    for (bool ended = false; !ended;) {
        bool went_on = false;
        ended = true;
        order_make(order, n_warps);
        for (int i = 0; i < n_warps; i++) {
            struct thread *warp = e.threads + 32 * order[i];
            if (!warp->done && (warp->waits == EMULATOR_NONE || warp_freed(warp))) {
                warp_run(32 * order[i]);
                went_on = true;
            }
            ended = ended && warp->done;
        }
        if (!ended && !went_on) block_unlock(n);
    }
    hopper_block_end(n);
    if (e.early && !e.waited) broken("a block ended before the kernel before it had");
}

static void launch(const struct captured *l)
{
    int x = l->grid[0], y = l->grid[1], z = l->grid[2];
    e.running = l->kernel;
    if (x < 1 || y < 1 || z < 1 || y > 65535 || z > 65535) broken("a grid that CUDA refuses");
    threads_make(l->threads);
    e.run = l->run;
    e.context = l->context;
    e.shared_large = (l->shared_large + 15) / 16 * 16;
    if (LARGE_AT + e.shared_large > EMULATOR_SHARED_MAX) broken("more than 227 KiB shared");
    emulator_now = (struct emulator_place){.threads = l->threads, .grid = {x, y, z}};
    l->kernel->n_launches++;
    l->kernel->n_blocks += (int64_t)x * y * z;
    e.early = l->early;
    device_memory_open();
    fiber_release(&e.kernel_begun);
    for (int64_t i = 0; i < (int64_t)x * y * z; i++) {
        int64_t at = e.options.order == EMULATOR_REVERSE ? (int64_t)x * y * z - 1 - i : i;
        emulator_now.block[0] = (int)(at % x);
        emulator_now.block[1] = (int)(at / x % y);
        emulator_now.block[2] = (int)(at / x / y);
        /* To close memory costs as much as to run a block. */
        e.guarded = e.early && (device_memory_large() ? i == 0 : i % 16 < 2);
        block_run(l->threads);
    }
    fiber_acquire(&e.kernel_ended);
    device_memory_close();
    e.running = NULL;
}

static void capture(const struct captured *l, size_t context_bytes)
{
    struct emulator_graph *g = e.capturing;
    if (g->n == g->room) {
        g->room = g->room ? 2 * g->room : 64;
        g->launches = realloc(g->launches, g->room * sizeof *g->launches);
        if (!g->launches) broken("out of memory");
    }
    void *held = malloc(context_bytes);
    if (!held) broken("out of memory");
    memcpy(held, l->context, context_bytes);
    g->launches[g->n] = *l;
    g->launches[g->n++].context = held;
}

void emulator_launch(struct emulator_kernel *kernel, int x, int y, int z, int threads,
                     void (*run)(const void *), const void *context, size_t context_bytes)
{
    void *arguments;
    memcpy(&arguments, &context, sizeof arguments);
    struct captured l = {kernel, {x, y, z}, threads, e.large_next, e.early_next, run, arguments};
    e.large_next = 0;
    e.early_next = false;
    if (e.capturing)
        capture(&l, context_bytes);
    else
        launch(&l);
}

void emulator_capture_begin(void)
{
    e.capturing = calloc(1, sizeof *e.capturing);
    if (!e.capturing) broken("out of memory");
}

struct emulator_graph *emulator_capture_end(void)
{
    struct emulator_graph *g = e.capturing;
    e.capturing = NULL;
    return g;
}

void emulator_graph_run(const struct emulator_graph *graph)
{
    for (size_t i = 0; i < graph->n; i++) launch(&graph->launches[i]);
}

void emulator_graph_free(struct emulator_graph *graph)
{
    for (size_t i = 0; i < graph->n; i++) free(graph->launches[i].context);
    free(graph->launches);
    free(graph);
}
