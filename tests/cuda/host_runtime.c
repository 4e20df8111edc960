/* Everything happens at once, in the order of the calls: what one stream would do. */
#include "tests/cuda/host_runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/cuda/device_memory.h"
#include "tests/cuda/emulator.h"
#include "tests/cuda/emulator_hopper.h"
#include "tests/cuda/host_blas.h"

extern const struct cuda_launch cuda_launch_host;

enum { FAILED = 999, NO_MEMORY = 2, NO_DEVICE = 100, ELSEWHERE = 400, IN_CAPTURE = 900 };

static struct {
    int64_t n_calls, fail_at, held;
    bool lost, capturing, sparse, overlaps;
    size_t bytes_free, graph_bytes;
    int32_t capability, devices, opened;
} r = {.bytes_free = (size_t)1 << 30, .capability = 80, .devices = 1};

/* Of the calling thread: that of a new one is the first. */
static _Thread_local int32_t current;

int64_t host_runtime_fail_at(int64_t n, bool lost)
{
    int64_t made = r.n_calls;
    r.n_calls = 0;
    r.fail_at = n;
    r.lost = lost;
    return made;
}

static char fault_path[512];

void host_runtime_fault_file(const char *path)
{
    snprintf(fault_path, sizeof fault_path, "%s", path);
}

/* Whether the file asks for this fault; a device that is lost stays so. */
static bool fault_asked(const char *fault)
{
    char word[16] = "";
    FILE *f = fault_path[0] ? fopen(fault_path, "re") : NULL;
    if (!f) return false;
    size_t n = fread(word, 1, sizeof word - 1, f);
    fclose(f);
    word[n] = 0;
    if (strcmp(word, "lost") == 0) host_runtime_fail_at(1, true);
    return strcmp(word, fault) == 0;
}

int64_t host_runtime_held(void) { return r.held; }
void host_runtime_memory(size_t bytes) { r.bytes_free = bytes; }
void host_runtime_graph_bytes(size_t each) { r.graph_bytes = each; }
void host_runtime_sparse(bool sparse) { r.sparse = sparse; }
void host_runtime_capability(int32_t capability) { r.capability = capability; }
void host_runtime_devices(int32_t n) { r.devices = n; }

static bool fails(void)
{
    r.n_calls++;
    return r.fail_at > 0 && (r.lost ? r.n_calls >= r.fail_at : r.n_calls == r.fail_at);
}

/* What a capturing stream refuses: everything but launches; and any, of a thread that works on another device.
 * (Copies would go through there, and memory be taken from the other.) */
static int refused(void)
{
    if (fails()) return FAILED;
    if (current != r.opened) return ELSEWHERE;
    return r.capturing ? IN_CAPTURE : 0;
}

static int open_device(int32_t index, struct cuda_device_info *out)
{
    if (fails()) return FAILED;
    if (r.capability == 0 || index >= r.devices) return NO_DEVICE;
    r.opened = current = index;
    snprintf(out->name, sizeof out->name, "emulated");
    out->n_processors = 1;
    out->capability = r.capability;
    out->total_bytes = (size_t)1 << 28;
    return 0;
}

static int enter(int32_t index)
{
    if (fails()) return FAILED;
    current = index;
    return 0;
}

static int memory(size_t *free_bytes)
{
    *free_bytes = r.bytes_free;
    return refused();
}

static int take(void **out, size_t bytes)
{
    int code = fault_asked("memory") ? NO_MEMORY : refused();
    if (code) return code;
    if (bytes > r.bytes_free) return NO_MEMORY;
    *out = device_memory_take(bytes);
    if (!*out) return NO_MEMORY;
    device_memory_open();
    if (!r.sparse) memset(*out, 0xFF, bytes);
    device_memory_close();
    r.bytes_free -= bytes;
    r.held++;
    return 0;
}

/* Giving back works even on a lost device; that it is called is what counts. */
static int give(void *at)
{
    if (!at) return 0;
    r.bytes_free += device_memory_give(at);
    r.held--;
    return fails() ? FAILED : 0;
}

/* Pinned memory is the host's; the size lies in front of what is handed out. */
enum { HEAD = 256 };

static int host_take(void **out, size_t bytes)
{
    int code = refused();
    if (code) return code;
    if (bytes > r.bytes_free) return NO_MEMORY;
    unsigned char *block = aligned_alloc(HEAD, (bytes + HEAD + HEAD - 1) / HEAD * HEAD);
    if (!block) return NO_MEMORY;
    memcpy(block, &bytes, sizeof bytes);
    r.bytes_free -= bytes;
    r.held++;
    *out = block + HEAD;
    return 0;
}

static int host_give(void *at)
{
    size_t bytes;
    if (!at) return 0;
    unsigned char *block = (unsigned char *)at - HEAD;
    memcpy(&bytes, block, sizeof bytes);
    r.bytes_free += bytes;
    r.held--;
    free(block);
    return fails() ? FAILED : 0;
}

static int object_open(void **out)
{
    if (fails()) return FAILED;
    if (current != r.opened) return ELSEWHERE;
    *out = malloc(1);
    r.held += *out != NULL;
    return *out ? 0 : NO_MEMORY;
}

static int object_close(void *object)
{
    free(object);
    r.held--;
    return fails() ? FAILED : 0;
}

static int copy(void *to, const void *from, size_t bytes, void *stream)
{
    int code = refused();
    (void)stream;
    if (code) return code;
    device_memory_open();
    memcpy(to, from, bytes);
    device_memory_close();
    return 0;
}

static int fill(void *at, int byte, size_t bytes, void *stream)
{
    int code = refused();
    (void)stream;
    if (code) return code;
    device_memory_open();
    memset(at, byte, bytes);
    device_memory_close();
    return 0;
}

/* Makes nothing on the device, so a capture does not mind. */
static int map(struct cuda_map *out, const void *at, int64_t row_bytes, int64_t n_rows,
               int32_t box_bytes, int32_t box_rows)
{
    bool makes = emulator_map_make(out, at, row_bytes, n_rows, box_bytes, box_rows);
    return !fails() && makes ? 0 : FAILED;
}

static int launched(void)
{
    if (fault_asked("launch") || fails()) return FAILED;
    return current != r.opened ? ELSEWHERE : 0;
}

static int mark(void *at, void *stream)
{
    (void)at, (void)stream;
    return refused();
}

static int wait_for(void *what)
{
    (void)what;
    while (fault_asked("hang")) pause(); /* as a driver whose device is gone may */
    device_memory_settle();
    return refused();
}

static int capture_begin(void *stream)
{
    int code = refused();
    (void)stream;
    if (code) return code;
    r.capturing = true;
    emulator_capture_begin();
    return 0;
}

/* The capture ends even where that fails, as on a stream whose capture was broken. */
static int capture_end(void *stream, void **graph)
{
    (void)stream;
    *graph = NULL;
    if (!r.capturing) return IN_CAPTURE;
    r.capturing = false;
    *graph = emulator_capture_end();
    if (!fails()) {
        r.bytes_free -= r.graph_bytes;
        r.held++;
        return 0;
    }
    emulator_graph_free(*graph);
    *graph = NULL;
    return FAILED;
}

static int graph_launch(void *graph, void *stream)
{
    int code = fault_asked("launch") ? FAILED : refused();
    (void)stream;
    if (code == 0) emulator_graph_run(graph);
    return code;
}

static int graph_close(void *graph)
{
    emulator_graph_free(graph);
    r.bytes_free += r.graph_bytes;
    r.held--;
    return fails() ? FAILED : 0;
}

/* The emulator holds kernels to the rules of it always. */
static void overlap(bool on) { r.overlaps = on; }
bool host_runtime_overlaps(void) { return r.overlaps; }

static const char *error_text(int code)
{
    return code == NO_MEMORY    ? "out of memory"
           : code == NO_DEVICE  ? "no device"
           : code == ELSEWHERE  ? "another device's"
           : code == IN_CAPTURE ? "in a capture"
                                : "failed";
}

static const struct cuda_runtime runtime = {
    .open = open_device,
    .enter = enter,
    .memory = memory,
    .take = take,
    .give = give,
    .host_take = host_take,
    .host_give = host_give,
    .stream_open = object_open,
    .stream_close = object_close,
    .copy = copy,
    .fill = fill,
    .map = map,
    .launched = launched,
    .mark_open = object_open,
    .mark_close = object_close,
    .mark = mark,
    .mark_wait = wait_for,
    .wait = wait_for,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .graph_launch = graph_launch,
    .graph_close = graph_close,
    .overlap = overlap,
    .error_text = error_text,
    .poisons = true,
};

const struct cuda_backend host_backend = {&runtime, &cuda_launch_host, NULL, &host_blas};
