/* Barriers live in a table beside the block, known by their address; the copy engine's work in a list;
 * each warp has a queue of products and a copy of the sums that they work on. The async proxy's view
 * of shared memory is a second array: copies write both, a fence brings it up to date.
 *
 * ThreadSanitizer is told of a copy as the asking thread's, that ends before whoever waits for its barrier
 * goes on, and of what tensor cores read as the first lane's; of this file's own doing it hears nothing. */
#include "tests/cuda/emulator_hopper.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/launch.h"
#include "tests/cuda/emulator_block.h"
#include "tests/cuda/fiber.h"

enum {
    BARRIERS_MAX = 64,
    TILES_MAX = 256,
    PRODUCTS_MAX = 64,
    SUMS_MAX = 4,
    D_MAX = 64,
    WARPS_MAX = EMULATOR_THREADS_MAX / 32,
    LOG_MAX = 256,
    REGISTERS_MIN = 24,
    REGISTERS_MAX = 256,
    REGISTERS_ALL = 65536
};

struct barrier {
    uint64_t *at;
    int count, pending, phase, init_by;
    int64_t bytes; /* still to come */
    bool known;    /* to the copy engine and to others */
};

/* What a map says; it lies in struct cuda_map. */
struct map {
    uint64_t magic;
    const unsigned char *at;
    int64_t row_bytes, n_rows;
    int32_t box_bytes, box_rows;
};

struct tile {
    unsigned char *to;
    struct map map;
    int x, y;
    uint64_t *barrier;
    int thread; /* that asked for it */
};

struct product {
    struct emulator_wgmma ask;
    const uint32_t *a[32];
    int sums, group;
};

struct sums {
    float *d[32]; /* of the lanes; NULL: free */
    float value[32][D_MAX];
    int n, last_group;
};

struct warp {
    struct product products[PRODUCTS_MAX];
    int n_products, n_made, group, n_issued, registers;
    bool fenced;
    struct sums sums[SUMS_MAX];
    float *fence_d; /* of lane 0 */
    float fence_value[32][D_MAX];
};

/* What the first warp of a warpgroup issued. */
struct issued {
    int number;
    struct emulator_wgmma ask;
};

static struct {
    bool used; /* by the block that runs */
    struct barrier barriers[BARRIERS_MAX];
    int n_barriers;
    struct tile tiles[TILES_MAX];
    int n_tiles;
    _Alignas(16) unsigned char seen[EMULATOR_SHARED_MAX]; /* by the async proxy */
    struct warp warps[WARPS_MAX];
    struct issued issued[WARPS_MAX / 4][LOG_MAX];
} h;

/* A NaN that becomes another by any arithmetic. */
static const uint32_t under_way_word = 0xFFBFFFFF;
static const uint64_t map_magic = 0x6D61702D64627278;

void hopper_block_begin(void) { h.used = false; }

/* At the block's first use of any of this. */
static void use(void)
{
    if (h.used) return;
    h.used = true;
    h.n_barriers = h.n_tiles = 0;
    emulator_poison(h.seen, sizeof h.seen);
    for (int i = 0; i < WARPS_MAX; i++) {
        struct warp *w = &h.warps[i];
        w->n_products = w->n_made = w->group = w->n_issued = w->registers = 0;
        w->fenced = false;
        w->fence_d = NULL;
        for (int j = 0; j < SUMS_MAX; j++) w->sums[j].d[0] = NULL;
    }
    for (int i = 0; i < WARPS_MAX / 4; i++)
        for (int j = 0; j < LOG_MAX; j++) h.issued[i][j].number = -1;
}

uint32_t emulator_shared_address(const void *at)
{
    emulator_within_shared(at, 1);
    return (uint32_t)((const unsigned char *)at - emulator_shared_base());
}

static struct barrier *barrier_at(const uint64_t *at)
{
    use();
    for (int i = 0; i < h.n_barriers; i++)
        if (h.barriers[i].at == at) return &h.barriers[i];
    emulator_broken("a barrier that nobody initialised");
}

void emulator_barrier_init(uint64_t *at, int count)
{
    use();
    emulator_aligned(at, 8);
    emulator_within_shared(at, 8);
    if (h.n_barriers == BARRIERS_MAX || count < 1)
        emulator_broken("barriers: too many, or of none");
    for (int i = 0; i < h.n_barriers; i++)
        if (h.barriers[i].at == at) emulator_broken("a barrier is initialised twice");
    h.barriers[h.n_barriers++] = (struct barrier){
        .at = at, .count = count, .pending = count, .init_by = emulator_now.thread};
}

void emulator_barrier_init_fence(void)
{
    use();
    for (int i = 0; i < h.n_barriers; i++)
        if (h.barriers[i].init_by == emulator_now.thread) h.barriers[i].known = true;
}

static void phase_ends(struct barrier *b)
{
    if (b->pending > 0 || b->bytes != 0) return;
    b->phase++;
    b->pending = b->count;
}

void emulator_barrier_arrive(uint64_t *at, int bytes)
{
    struct barrier *b = barrier_at(at);
    if (!b->known) emulator_broken("a barrier is used before its fence");
    if (b->pending == 0) emulator_broken("a barrier has more arrivals than it was made for");
    fiber_release(at);
    b->bytes += bytes;
    b->pending--;
    phase_ends(b);
}

struct wait {
    uint64_t *barrier;
    int parity;
};

void emulator_barrier_wait(uint64_t *at, int parity)
{
    struct wait ask = {at, parity};
    if (!barrier_at(at)->known) emulator_broken("a barrier is used before its fence");
    emulator_await(EMULATOR_BARRIER_WAIT, &ask);
    fiber_acquire(at);
}

bool hopper_barrier_open(const void *const asks[32])
{
    const struct wait *ask = asks[0];
    for (int lane = 1; lane < 32; lane++) {
        const struct wait *other = asks[lane];
        if (other->barrier != ask->barrier || other->parity != ask->parity)
            emulator_broken("lanes of a warp wait for different phases");
    }
    return (barrier_at(ask->barrier)->phase & 1) != (ask->parity & 1);
}

/* The conditions of cuTensorMapEncodeTiled for bytes, with the swizzle of the box's width. */
bool emulator_map_make(struct cuda_map *out, const void *at, int64_t row_bytes, int64_t n_rows,
                       int32_t box_bytes, int32_t box_rows)
{
    struct map m = {map_magic, at, row_bytes, n_rows, box_bytes, box_rows};
    if ((uintptr_t)at % 16 != 0 || row_bytes % 16 != 0 || row_bytes < 16) return false;
    if (n_rows < 1 || n_rows > UINT32_MAX || row_bytes > UINT32_MAX) return false;
    if ((box_bytes != 32 && box_bytes != 64 && box_bytes != 128) || box_rows < 1 || box_rows > 256)
        return false;
    memset(out, 0, sizeof *out);
    memcpy(out->words, &m, sizeof m);
    return true;
}

static void shared_put(unsigned char *base, size_t at, const unsigned char *from, bool copied)
{
    if (copied)
        memcpy(base + at, from, 16);
    else
        memset(base + at, 0, 16);
}

/* PTX ISA, swizzle modes of tensor copies: of the address in shared memory, bits 4 to 6 (64 bytes wide:
 * 4 and 5; 32: 4) are combined with bits 7 to 9 (7 and 8; 7). */
static void tile_make(const struct tile *t)
{
    const struct map *m = &t->map;
    void *before = fiber_as(emulator_fiber(t->thread));
    size_t base = emulator_shared_address(t->to), mask = (size_t)m->box_bytes / 16 - 1;
    for (int row = 0; row < m->box_rows; row++)
        for (int c = 0; c < m->box_bytes; c += 16) {
            size_t to = base + (size_t)row * (size_t)m->box_bytes + (size_t)c;
            int64_t y = (int64_t)t->y + row, x = (int64_t)t->x + c;
            bool inside = y >= 0 && y < m->n_rows && x >= 0 && x < m->row_bytes;
            const unsigned char *from = inside ? m->at + y * m->row_bytes + x : NULL;
            to ^= (to >> 7 & mask) << 4;
            if (inside) fiber_reads(from, 16);
            fiber_writes(emulator_shared_base() + to, 16);
            shared_put(emulator_shared_base(), to, from, inside);
            shared_put(h.seen, to, from, inside);
        }
    struct barrier *b = barrier_at(t->barrier);
    b->bytes -= (int64_t)m->box_bytes * m->box_rows;
    fiber_release(t->barrier);
    fiber_as_end(before);
    phase_ends(b);
}

void emulator_tile_fetch(void *shared, const struct cuda_map *map, int x, int y, uint64_t *barrier)
{
    struct tile t = {shared, {0}, x, y, barrier, emulator_now.thread};
    memcpy(&t.map, map->words, sizeof t.map);
    emulator_aligned(map, 64);
    if (t.map.magic != map_magic) emulator_broken("a copy by what is no map");
    if (!barrier_at(barrier)->known) emulator_broken("a barrier is used before its fence");
    emulator_within_shared(shared, (size_t)t.map.box_bytes * (size_t)t.map.box_rows);
    if (emulator_shared_address(shared) % 128 != 0 || x % 16 != 0)
        emulator_broken("a tile begins where the copy engine cannot write or read it");
    if (!emulator_options_now()->copy_late) {
        tile_make(&t);
        return;
    }
    if (h.n_tiles == TILES_MAX) emulator_broken("too many copies under way");
    fiber_copy_unseen(&h.tiles[h.n_tiles++], &t, sizeof t);
}

bool hopper_copy_one(void)
{
    if (!h.used || h.n_tiles == 0) return false;
    bool any = emulator_options_now()->order == EMULATOR_RANDOM;
    int which = any ? (int)(emulator_random() % (uint64_t)h.n_tiles) : 0;
    struct tile t;
    fiber_copy_unseen(&t, &h.tiles[which], sizeof t);
    fiber_copy_unseen(&h.tiles[which], &h.tiles[which + 1],
                      (size_t)(h.n_tiles - which - 1) * sizeof t);
    h.n_tiles--;
    tile_make(&t);
    return true;
}

/* Of all threads: which of them stored what is not known here. */
void emulator_async_fence(void)
{
    use();
    fiber_copy_unseen(h.seen, emulator_shared_base(), emulator_shared_used());
}

void emulator_registers(int n, bool more)
{
    use();
    struct warp *w = &h.warps[emulator_now.thread / 32];
    if (n % 8 != 0 || n < REGISTERS_MIN || n > REGISTERS_MAX)
        emulator_broken("registers of a thread: no multiple of 8, or too few or many");
    int held = REGISTERS_ALL / emulator_now.threads / 8 * 8;
    if (w->registers == 0 && (more ? n < held : n > held))
        emulator_broken("registers: fewer are taken than held, or more handed back");
    w->registers = n;
}

/* Where byte `byte` along k of row `row` lies: PTX ISA, matrix descriptor format and canonical layouts
 * of matrices that lie along k. */
static size_t matrix_at(uint64_t descriptor, int row, int byte)
{
    size_t start = (size_t)(descriptor & 0x3FFF) << 4;
    size_t leading = (size_t)(descriptor >> 16 & 0x3FFF) << 4;
    size_t stride = (size_t)(descriptor >> 32 & 0x3FFF) << 4;
    int mode = (int)(descriptor >> 62), bits = mode == 0 ? 0 : 4 - mode;
    size_t mask = ((size_t)1 << bits) - 1, group = (size_t)row / 8 * stride;
    if (mode == 0)
        return start + group + (size_t)row % 8 * 16 + (size_t)byte / 16 * leading +
               (size_t)byte % 16;
    size_t at = start + group + (size_t)row % 8 * ((size_t)16 << bits) + (size_t)byte;
    return at ^ (at >> 7 & mask) << 4;
}

/* The same of a matrix of 16 bits that lies across k: canonical layouts of matrices along M or N. Rows of
 * one k hold as many columns as the swizzle is wide, eight of them are a pattern; the next k are a stride
 * on, the next columns a leading dimension. */
static size_t across_at(uint64_t descriptor, int column, int k)
{
    size_t start = (size_t)(descriptor & 0x3FFF) << 4;
    size_t leading = (size_t)(descriptor >> 16 & 0x3FFF) << 4;
    size_t stride = (size_t)(descriptor >> 32 & 0x3FFF) << 4;
    int bits = 4 - (int)(descriptor >> 62), width = 8 << bits;
    size_t at = start + (size_t)(column / width) * leading + (size_t)(k / 8) * stride +
                (size_t)(k % 8 * width + column % width) * 2;
    return at ^ (at >> 7 & (((size_t)1 << bits) - 1)) << 4;
}

/* 16 of k. */
static void across_check(uint64_t descriptor, int columns)
{
    if (descriptor >> 62 == 0) emulator_broken("a matrix across k without a swizzle is not known");
    if ((size_t)(descriptor & 0x3FFF) << 4 >> 7 & 7)
        emulator_broken("a matrix begins in the middle of its swizzle pattern");
    for (int column = 0; column < columns; column++)
        if (across_at(descriptor, column, 15) + 2 > emulator_shared_used())
            emulator_broken("a matrix reaches beyond shared memory");
}

static void descriptor_check(uint64_t descriptor, int rows, int bytes)
{
    int mode = (int)(descriptor >> 62), bits = mode == 0 ? 0 : 4 - mode;
    size_t start = (size_t)(descriptor & 0x3FFF) << 4, span = (size_t)16 << bits;
    if (descriptor & 0x3FF1C000C000C000u)
        emulator_broken("a descriptor with bits that mean nothing");
    if (descriptor >> 49 & 7) emulator_broken("a descriptor with a base offset");
    if (mode != 0 && (start >> 7 & (((size_t)1 << bits) - 1)))
        emulator_broken("a matrix begins in the middle of its swizzle pattern");
    if (mode != 0 && start % span + (size_t)bytes > span)
        emulator_broken("a product reaches beyond its swizzled row");
    for (int row = 0; row < rows; row++)
        if (matrix_at(descriptor, row, bytes - 1) >= emulator_shared_used())
            emulator_broken("a matrix reaches beyond shared memory");
}

static float e4m3_value(unsigned code)
{
    int exponent = (int)(code >> 3 & 15), mantissa = (int)(code & 7);
    float v = exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
    if ((code & 0x7F) == 0x7F) v = NAN;
    return code & 0x80 ? -v : v;
}

static float bf16_value_of(unsigned half)
{
    uint32_t u = half << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static float f16_value_of(unsigned half)
{
    int exponent = (int)(half >> 10 & 31), mantissa = (int)(half & 1023);
    float v =
        exponent ? ldexpf((float)(1024 + mantissa), exponent - 25) : ldexpf((float)mantissa, -24);
    if (exponent == 31) v = mantissa ? NAN : INFINITY;
    return half & 0x8000 ? -v : v;
}

static int bytes_of(enum emulator_wgmma_kind kind) { return kind == EMULATOR_WGMMA_E4M3 ? 1 : 2; }

/* One operand's value. */
static float value_of(const unsigned char *at, enum emulator_wgmma_kind kind)
{
    static float e4m3[256], f16[65536];
    if (e4m3[0x38] == 0) {
        for (unsigned i = 0; i < 65536; i++) f16[i] = f16_value_of(i);
        for (unsigned i = 0; i < 256; i++) e4m3[i] = e4m3_value(i);
    }
    if (kind == EMULATOR_WGMMA_E4M3) return e4m3[*at];
    unsigned half = at[0] | (unsigned)at[1] << 8;
    return kind == EMULATOR_WGMMA_BF16 ? bf16_value_of(half) : f16[half];
}

/* The 16 rows of this warp: PTX ISA, register fragments of wgmma's A for 8 and 16 bit. */
static void a_take(float a[16][32], const struct product *p, int warp)
{
    int bytes = bytes_of(p->ask.kind), n = 32 / bytes;
    for (int row = 0; row < 16 && !p->ask.a; row++)
        for (int k = 0; k < n; k++)
            a[row][k] =
                value_of(h.seen + matrix_at(p->ask.a_descriptor, warp % 4 * 16 + row, k * bytes),
                         p->ask.kind);
    for (int lane = 0; lane < 32 && p->ask.a; lane++)
        for (int i = 0; i < 16 / bytes; i++) {
            int word = i * bytes / 4, in = i % (4 / bytes);
            int row = lane / 4 + word % 2 * 8, k = lane % 4 * (4 / bytes) + in + word / 2 * (n / 2);
            a[row][k] = value_of((const unsigned char *)p->a[lane] + i * bytes, p->ask.kind);
        }
}

static void b_take(float b[128][32], const struct product *p, int columns)
{
    int bytes = bytes_of(p->ask.kind);
    bool across = p->ask.kind == EMULATOR_WGMMA_F16_ACROSS;
    for (int column = 0; column < columns; column++)
        for (int k = 0; k < 32 / bytes; k++) {
            size_t at = across ? across_at(p->ask.b_descriptor, column, k)
                               : matrix_at(p->ask.b_descriptor, column, k * bytes);
            b[column][k] = value_of(h.seen + at, p->ask.kind);
        }
}

/* As tensor cores add products of E4M3: all are shifted to the largest exponent, of 14 bits what lies
 * below is cut off, the sum before them as well (DeepSeek-V3, section 3.5.2). */
static float sum_of_14_bits(float before, const float *a, const float *b)
{
    float product[33], largest = 0;
    int exponent;
    for (int k = 0; k < 32; k++) product[k] = a[k] * b[k];
    product[32] = before;
    for (int k = 0; k < 33; k++) {
        if (!isfinite(product[k])) return NAN;
        largest = fmaxf(largest, fabsf(product[k]));
    }
    if (largest == 0) return 0;
    frexpf(largest, &exponent);
    float unit = ldexpf(1, exponent - 14), one = 1 / unit;
    int64_t sum = 0;
    for (int k = 0; k < 33; k++) sum += (int64_t)(product[k] * one);
    return (float)sum * unit;
}

static float sum_of_16(float before, const float *a, const float *b)
{
    double sum = (double)before;
    for (int k = 0; k < 16; k++) sum += (double)a[k] * (double)b[k];
    return (float)sum;
}

static void across_reads(int warp, uint64_t descriptor, int columns)
{
    void *before = fiber_as(emulator_fiber(32 * warp));
    for (int column = 0; column < columns; column += 8)
        for (int k = 0; k < 16; k++)
            fiber_reads(emulator_shared_base() + across_at(descriptor, column, k), 16);
    fiber_as_end(before);
}

/* 32 bytes of each row. */
static void matrix_reads(int warp, uint64_t descriptor, int row, int n_rows)
{
    void *before = fiber_as(emulator_fiber(32 * warp));
    for (int i = row; i < row + n_rows; i++)
        for (int byte = 0; byte < 32; byte += 16)
            fiber_reads(emulator_shared_base() + matrix_at(descriptor, i, byte), 16);
    fiber_as_end(before);
}

static void product_make(struct warp *w, int warp, const struct product *p)
{
    static float a[16][32], b[128][32];
    int columns = 2 * p->ask.n_d, bytes = bytes_of(p->ask.kind);
    struct sums *s = &w->sums[p->sums];
    if (!p->ask.a) matrix_reads(warp, p->ask.a_descriptor, warp % 4 * 16, 16);
    if (p->ask.kind == EMULATOR_WGMMA_F16_ACROSS)
        across_reads(warp, p->ask.b_descriptor, columns);
    else
        matrix_reads(warp, p->ask.b_descriptor, 0, columns);
    a_take(a, p, warp);
    b_take(b, p, columns);
    for (int lane = 0; lane < 32; lane++)
        for (int i = 0; i < p->ask.n_d; i++) {
            int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
            float before = p->ask.add ? s->value[lane][i] : 0;
            s->value[lane][i] = bytes == 1 ? sum_of_14_bits(before, a[row], b[column])
                                           : sum_of_16(before, a[row], b[column]);
        }
}

static uint32_t bits_of(float v)
{
    uint32_t word;
    memcpy(&word, &v, sizeof word);
    return word;
}

static bool under_way(const float *d, int n)
{
    for (int i = 0; i < n; i++)
        if (bits_of(d[i]) != under_way_word) return false;
    return true;
}

static bool same(const float *a, const float *b, int n)
{
    for (int i = 0; i < n; i++)
        if (bits_of(a[i]) != bits_of(b[i])) return false;
    return true;
}

/* The sums that a product adds to: those under way in the same registers, or what lies there. */
static int sums_take(struct warp *w, const struct emulator_wgmma *const asks[32])
{
    int n = asks[0]->n_d, empty = -1;
    for (int i = 0; i < SUMS_MAX; i++) {
        struct sums *s = &w->sums[i];
        if (!s->d[0]) empty = i;
        if (s->d[0] != asks[0]->d) continue;
        for (int lane = 0; lane < 32; lane++)
            if (!under_way(s->d[lane], n)) emulator_broken("sums were touched before their wait");
        return i;
    }
    if (empty < 0 || n > D_MAX) emulator_broken("too many sums under way");
    struct sums *s = &w->sums[empty];
    s->n = n;
    for (int lane = 0; lane < 32; lane++) {
        size_t bytes = (size_t)n * sizeof(float);
        if (w->fence_d == asks[0]->d && !same(w->fence_value[lane], asks[lane]->d, n))
            emulator_broken("sums were touched between their fence and the product");
        s->d[lane] = asks[lane]->d;
        fiber_copy_unseen(s->value[lane], asks[lane]->d, bytes);
        for (int i = 0; i < n; i++) memcpy(asks[lane]->d + i, &under_way_word, sizeof(float));
    }
    return empty;
}

/* All warps of a group issue the same. */
static void issued_check(struct warp *w, int warp, const struct emulator_wgmma *ask)
{
    struct issued *log = &h.issued[warp / 4][w->n_issued % LOG_MAX];
    if (log->number == w->n_issued &&
        (log->ask.kind != ask->kind || log->ask.a_descriptor != ask->a_descriptor ||
         log->ask.b_descriptor != ask->b_descriptor || log->ask.add != ask->add))
        emulator_broken("warps of a warpgroup issue different products");
    *log = (struct issued){w->n_issued++, *ask};
}

static void product_issue(struct warp *w, int warp, const struct emulator_wgmma *const asks[32])
{
    const struct emulator_wgmma *ask = asks[0];
    struct product p = {.ask = *ask, .group = w->group};
    if (!w->fenced) emulator_broken("a product without its fence");
    if (ask->kind == EMULATOR_WGMMA_F16_ACROSS)
        across_check(ask->b_descriptor, 2 * ask->n_d);
    else
        descriptor_check(ask->b_descriptor, 2 * ask->n_d, 32);
    if (!ask->a) descriptor_check(ask->a_descriptor, 64, 32);
    for (int lane = 0; lane < 32; lane++) {
        if (asks[lane]->b_descriptor != ask->b_descriptor || asks[lane]->add != ask->add ||
            asks[lane]->a_descriptor != ask->a_descriptor)
            emulator_broken("lanes of a warp issue different products");
        p.a[lane] = asks[lane]->a;
    }
    issued_check(w, warp, ask);
    p.sums = sums_take(w, asks);
    w->sums[p.sums].last_group = w->group;
    if (w->n_products == PRODUCTS_MAX) emulator_broken("too many products under way");
    w->products[w->n_products++] = p;
    if (emulator_options_now()->copy_late) return;
    product_make(w, warp, &p);
    w->n_made = w->n_products;
}

/* Products of groups before `end` are made, and the sums that no other adds to handed out. */
static void products_end(struct warp *w, int warp, int end)
{
    int n = 0;
    for (; n < w->n_products && w->products[n].group < end; n++)
        if (n >= w->n_made) product_make(w, warp, &w->products[n]);
    w->n_products -= n;
    w->n_made = w->n_made > n ? w->n_made - n : 0;
    memmove(w->products, w->products + n, (size_t)w->n_products * sizeof *w->products);
    for (int i = 0; i < SUMS_MAX; i++) {
        struct sums *s = &w->sums[i];
        if (!s->d[0] || s->last_group >= end) continue;
        for (int lane = 0; lane < 32; lane++) {
            if (!under_way(s->d[lane], s->n))
                emulator_broken("sums were touched before their wait");
            fiber_copy_unseen(s->d[lane], s->value[lane], (size_t)s->n * sizeof(float));
        }
        s->d[0] = NULL;
    }
}

static void fence_make(struct warp *w, const struct emulator_wgmma *const asks[32])
{
    w->fenced = true;
    w->fence_d = asks[0]->d;
    for (int lane = 0; lane < 32; lane++)
        fiber_copy_unseen(w->fence_value[lane], asks[lane]->d,
                          (size_t)asks[lane]->n_d * sizeof(float));
}

void hopper_wgmma(int warp, const void *const raw[32])
{
    const struct emulator_wgmma *asks[32];
    struct warp *w = &h.warps[warp];
    use();
    for (int lane = 0; lane < 32; lane++) asks[lane] = raw[lane];
    for (int lane = 1; lane < 32; lane++)
        if (asks[lane]->kind != asks[0]->kind)
            emulator_broken("lanes of a warp issue different products");
    switch (asks[0]->kind) {
    case EMULATOR_WGMMA_FENCE: fence_make(w, asks); break;
    case EMULATOR_WGMMA_COMMIT: w->group++; break;
    case EMULATOR_WGMMA_WAIT:
        products_end(w, warp, w->group - asks[0]->add);
        w->fenced = false;
        break;
    case EMULATOR_WGMMA_E4M3:
    case EMULATOR_WGMMA_F16:
    case EMULATOR_WGMMA_F16_ACROSS:
    case EMULATOR_WGMMA_BF16: product_issue(w, warp, asks); break;
    }
}

/* A wait brings the lanes of a warp together: what they read before it is read. */
void emulator_wgmma(const struct emulator_wgmma *ask)
{
    use();
    void *word = ask->kind == EMULATOR_WGMMA_WAIT ? emulator_warp_reached() : NULL;
    emulator_await(EMULATOR_WGMMA, ask);
    if (word) emulator_warp_left(word);
}

void hopper_block_end(int threads)
{
    int registers = 0;
    if (!h.used) return;
    if (h.n_tiles > 0) emulator_broken("a copy was never waited for");
    for (int i = 0; i < h.n_barriers; i++)
        if (h.barriers[i].bytes != 0) emulator_broken("a barrier still expects bytes");
    for (int i = 0; i < threads / 32; i++) {
        if (h.warps[i].n_products > 0) emulator_broken("a product was never waited for");
        if (h.warps[i].registers != h.warps[i / 4 * 4].registers)
            emulator_broken("registers were not changed by a whole warpgroup");
        registers += 32 * h.warps[i].registers;
    }
    if (registers > REGISTERS_ALL) emulator_broken("more registers than there are");
}
