/* Slots are plain memory behind a stack of free numbers. Neighbouring slots go in one copy: the stack
 * hands out ascending numbers at first, so that what is spilled together mostly lies together. */
#include "inference/host_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/memory.h"
#include "base/text.h"
#include "inference/mapping_guard.h"

/* Of pinned memory at once: a system refuses much in one piece before it has none at all. */
#define SLAB_BYTES (256 * MIB)

struct host_pages {
    const struct kernels *kernels;
    kv_pool *kv;
    size_t page_bytes, size_bytes;
    /* [n_slots][page_bytes], cut into slabs of slots_slab: one, but where the device wants memory of
     * its own kind, which systems give in pieces rather than as a whole. */
    unsigned char **slab;
    int32_t n_slabs, slots_slab;
    device *pinned_by; /* NULL: plain memory */
    char *mapped_in;   /* the directory, for messages; NULL: bytes are ours to free */
    int32_t n_slots, n_free;
    int32_t *free; /* [n_free] */
    bool *taken;   /* [n_slots] */
};

/* A file without a name, also where the filesystem has no O_TMPFILE. */
static int file_make(const char *directory)
{
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
    buffer path = {0};
    buffer_print(&path, "%s/kv-XXXXXX", directory);
    errno = ENOMEM;
    fd = path.failed ? -1 : mkostemp(path.bytes, O_CLOEXEC);
    if (fd >= 0) unlink(path.bytes);
    buffer_free(&path);
    return fd;
}

/* All blocks now; 0 or an errno. Beyond the limit on file sizes the kernel would send a signal. */
static int blocks_allocate(int fd, size_t size)
{
    struct rlimit limit;
    int code;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < size)
        return EFBIG;
    do code = posix_fallocate(fd, 0, (off_t)size);
    while (code == EINTR);
    return code;
}

static status file_map_make(host_pages *h, const char *directory, error *err)
{
    int fd = file_make(directory), code = fd < 0 ? errno : blocks_allocate(fd, h->size_bytes);
    void *bytes = MAP_FAILED;
    if (code == 0) {
        bytes = mmap(NULL, h->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED) code = errno;
    }
    if (fd >= 0) close(fd);
    if (code != 0) /* then nothing is mapped */
        /* cppcheck-suppress memleak */
        return fail(err, ERR_IO, "%s: no file of %zu MiB for KV pages: %s", directory,
                    h->size_bytes / MIB, strerror(code));
    h->slab[h->n_slabs++] = bytes;
    h->mapped_in = memory_copy(directory, strlen(directory));
    if (!h->mapped_in) {
        munmap(bytes, h->size_bytes);
        h->n_slabs = 0;
        return fail(err, ERR_MEMORY, "out of memory for the KV pages of the host");
    }
    /* A failing disk still shows as SIGBUS: then the process ends with a line that says where. */
    mapping_guard_add(bytes, h->size_bytes, h->mapped_in);
    return OK;
}

static status plain_take(host_pages *h, error *err)
{
    h->slab[0] = memory_take(h->size_bytes, 1);
    if (!h->slab[0])
        return fail(err, ERR_MEMORY, "no memory for %zu MiB of KV pages in host memory",
                    h->size_bytes / MIB);
    h->n_slabs = 1;
    return OK;
}

static status slabs_pin(host_pages *h, error *err)
{
    for (int32_t first = 0; first < h->n_slots; first += h->slots_slab) {
        int32_t left = h->n_slots - first, n = left < h->slots_slab ? left : h->slots_slab;
        void *slab;
        status s = h->kernels->host_take(&slab, h->pinned_by, (size_t)n * h->page_bytes, err);
        if (s != OK)
            return fail_in(err, s, "KV pages in host memory, %zu of %zu MiB there",
                           (size_t)first * h->page_bytes / MIB, h->size_bytes / MIB);
        h->slab[h->n_slabs++] = slab;
    }
    return OK;
}

static status bytes_open(host_pages *h, const char *directory, error *err)
{
    if (!size_mul((size_t)h->n_slots, h->page_bytes, &h->size_bytes) ||
        h->size_bytes > (size_t)INT64_MAX)
        return fail(err, ERR_LIMIT, "%d KV pages of %zu bytes in host memory: too many", h->n_slots,
                    h->page_bytes);
    bool pinned = !directory && h->kernels->host_take;
    size_t slots = (size_t)h->n_slots, per_slab = slots;
    if (pinned && h->size_bytes > SLAB_BYTES)
        per_slab = h->page_bytes < SLAB_BYTES ? SLAB_BYTES / h->page_bytes : 1;
    h->slots_slab = (int32_t)per_slab;
    h->slab = memory_take((slots + per_slab - 1) / per_slab, sizeof *h->slab);
    if (!h->slab) return fail(err, ERR_MEMORY, "out of memory for the KV pages of the host");
    if (directory) return file_map_make(h, directory, err);
    return pinned ? slabs_pin(h, err) : plain_take(h, err);
}

status host_pages_open(host_pages **out, const struct host_pages_options *o, error *err)
{
    *out = NULL;
    if (o->n_slots < 1 || o->page_bytes < 1)
        return fail(err, ERR_USAGE, "KV pages in host memory: found %d, expected at least 1",
                    o->n_slots);
    host_pages *h = memory_take(1, sizeof *h);
    if (!h) return fail(err, ERR_MEMORY, "out of memory for the KV pages of the host");
    *h = (host_pages){.kernels = o->kernels,
                      .kv = o->kv,
                      .pinned_by = o->device,
                      .page_bytes = o->page_bytes,
                      .n_slots = o->n_slots,
                      .n_free = o->n_slots};
    h->free = memory_take((size_t)o->n_slots, sizeof *h->free);
    h->taken = memory_take((size_t)o->n_slots, sizeof *h->taken);
    status s = h->free && h->taken
                   ? bytes_open(h, o->directory, err)
                   : fail(err, ERR_MEMORY, "out of memory for a list of %d KV pages", o->n_slots);
    if (s != OK) {
        host_pages_close(h);
        return s;
    }
    for (int32_t i = 0; i < o->n_slots; i++) h->free[i] = o->n_slots - 1 - i;
    *out = h;
    return OK;
}

void host_pages_close(host_pages *h)
{
    if (!h) return;
    for (int32_t i = 0; i < h->n_slabs; i++)
        if (h->mapped_in) {
            mapping_guard_remove(h->slab[i]);
            munmap(h->slab[i], h->size_bytes);
        } else if (h->kernels->host_give) {
            h->kernels->host_give(h->pinned_by, h->slab[i]);
        } else {
            memory_free(h->slab[i]);
        }
    memory_free(h->slab);
    memory_free(h->mapped_in);
    memory_free(h->free);
    memory_free(h->taken);
    memory_free(h);
}

int32_t host_pages_take(host_pages *h)
{
    if (h->n_free == 0) return -1;
    int32_t slot = h->free[--h->n_free];
    h->taken[slot] = true;
    return slot;
}

void host_pages_release(host_pages *h, int32_t slot)
{
    h->taken[slot] = false;
    h->free[h->n_free++] = slot;
}

static unsigned char *slot_at(const host_pages *h, int32_t slot)
{
    return h->slab[slot / h->slots_slab] + (size_t)(slot % h->slots_slab) * h->page_bytes;
}

/* How many of slots[0, n) are neighbours in one slab, ascending. */
static int32_t run_of(const host_pages *h, const int32_t *slots, int32_t n)
{
    int32_t run = 1;
    while (run < n && slots[run] == slots[0] + run && slots[run] % h->slots_slab != 0) run++;
    return run;
}

void host_pages_save(host_pages *h, const int32_t *slots, const int32_t *pages, int32_t n)
{
    for (int32_t i = 0, run; i < n; i += run) {
        run = run_of(h, slots + i, n - i);
        h->kernels->pages_save(h->kv, slot_at(h, slots[i]), pages + i, run);
    }
}

void host_pages_load(host_pages *h, const int32_t *pages, const int32_t *slots, int32_t n)
{
    for (int32_t i = 0, run; i < n; i += run) {
        run = run_of(h, slots + i, n - i);
        h->kernels->pages_load(h->kv, pages + i, slot_at(h, slots[i]), run);
    }
}

int32_t host_pages_count(const host_pages *h) { return h->n_slots; }
int32_t host_pages_free_count(const host_pages *h) { return h->n_free; }
bool host_pages_is_taken(const host_pages *h, int32_t slot) { return h->taken[slot]; }
