/* The handler may run at any moment on any thread, so it takes no lock: it reads a table of atomics
 * in which a slot counts once its first byte is set, and is written before that and after it. */
#include "inference/mapping_guard.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"

enum { SLOTS = 2 * SHARDS_MAX, EXIT_CODE_DEVICE = 3 };

/* `begin` is 0 while the slot is free, and 1 (no address of a mapping) while it is being filled. */
static struct slot {
    _Atomic uintptr_t begin;
    _Atomic size_t size;
    const char *_Atomic path;
} slots[SLOTS];

void mapping_guard_add(const void *bytes, size_t size, const char *path)
{
    for (int i = 0; size > 0 && i < SLOTS; i++) {
        uintptr_t free = 0;
        if (!atomic_compare_exchange_strong(&slots[i].begin, &free, 1)) continue;
        atomic_store(&slots[i].size, size);
        atomic_store(&slots[i].path, path);
        atomic_store(&slots[i].begin, (uintptr_t)bytes);
        return;
    }
}

void mapping_guard_remove(const void *bytes)
{
    for (int i = 0; bytes && i < SLOTS; i++) {
        uintptr_t begin = (uintptr_t)bytes;
        if (atomic_compare_exchange_strong(&slots[i].begin, &begin, 0)) return;
    }
}

static const char *path_at(uintptr_t address)
{
    for (int i = 0; i < SLOTS; i++) {
        uintptr_t begin = atomic_load(&slots[i].begin);
        if (begin > 1 && address >= begin && address - begin < atomic_load(&slots[i].size))
            return atomic_load(&slots[i].path);
    }
    return NULL;
}

static void line_put(char *line, size_t room, size_t *size, const char *words)
{
    for (; *words && *size < room; words++) line[(*size)++] = *words;
}

/* Only async-signal-safe calls from here on: memory of our own, write, _exit, sigaction. */
static void on_sigbus(int signal_number, siginfo_t *info, void *context)
{
    const char *path = path_at((uintptr_t)info->si_addr);
    char line[4096 + 128];
    size_t size = 0;
    (void)context;
    if (!path) { /* not ours: the faulting instruction runs again and gets the default */
        const struct sigaction crash = {.sa_handler = SIG_DFL};
        sigaction(signal_number, &crash, NULL);
        return;
    }
    line_put(line, sizeof line - 1, &size, "dbrx-ls serve: ");
    line_put(line, sizeof line - 1, &size, path);
    line_put(line, sizeof line - 1, &size, ": cannot be read any more (cut short while in use?)");
    line[size++] = '\n';
    for (size_t at = 0; at < size;) {
        ssize_t n = write(STDERR_FILENO, line + at, size - at);
        if (n <= 0) break;
        at += (size_t)n;
    }
    _exit(EXIT_CODE_DEVICE);
}

status mapping_guard_install(error *err)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGBUS, &action, NULL) == 0) return OK;
    return fail(err, ERR_IO, "cannot handle SIGBUS: %s", strerror(errno));
}
