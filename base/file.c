#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/memory.h"

/* Opens a regular file for reading without ever waiting for a FIFO's writer. */
static status regular_open(int *fd, size_t *size, const char *path, error *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) return fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode)) {
        *size = (size_t)st.st_size;
        return OK;
    }
    close(*fd);
    *fd = -1;
    return fail(err, ERR_FORMAT, "%s: not a regular file", path);
}

status stream_read(buffer *out, int fd, size_t max_bytes, error *err)
{
    char chunk[65536];
    size_t total = 0;
    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(err, ERR_IO, "cannot read: %s", strerror(errno));
        if (n == 0) break;
        total += (size_t)n;
        if (total > max_bytes) return fail(err, ERR_LIMIT, "more than %zu bytes", max_bytes);
        buffer_put(out, chunk, (size_t)n);
        if (out->failed) break;
    }
    return out->failed ? fail(err, ERR_MEMORY, "out of memory after %zu bytes", total) : OK;
}

status file_read(buffer *out, const char *path, size_t max_bytes, error *err)
{
    int fd;
    size_t size;
    status s = regular_open(&fd, &size, path, err);
    if (s != OK) return s;
    if (size > max_bytes)
        s = fail(err, ERR_LIMIT, "%s: %zu bytes, at most %zu allowed", path, size, max_bytes);
    else if ((s = stream_read(out, fd, max_bytes, err)) != OK)
        s = fail_in(err, s, "%s", path);
    close(fd);
    return s;
}

static bool write_all(int fd, text t)
{
    while (t.size) {
        ssize_t n = write(fd, t.bytes, t.size);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        t = text_slice(t, (size_t)n, t.size);
    }
    return true;
}

static void directory_sync(const char *path)
{
    char *copy = memory_copy(path, strlen(path));
    char *slash = copy ? strrchr(copy, '/') : NULL;
    if (slash) *slash = 0;
    int fd = open(slash ? (slash == copy ? "/" : copy) : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    memory_free(copy);
}

status file_write(const char *path, text content, unsigned mode, error *err)
{
    buffer beside = {0};
    status s = OK;
    buffer_print(&beside, "%s.%ld.tmp", path, (long)getpid());
    if (beside.failed) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    unlink(beside.bytes);
    int fd = open(beside.bytes, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) {
        s = fail(err, ERR_IO, "%s: cannot create: %s", beside.bytes, strerror(errno));
        goto out;
    }
    bool written = write_all(fd, content) && fsync(fd) == 0;
    int reason = errno;
    close(fd);
    if (!written || rename(beside.bytes, path) != 0) {
        if (written) reason = errno;
        unlink(beside.bytes);
        s = fail(err, ERR_IO, "%s: cannot write: %s", path, strerror(reason));
        goto out;
    }
    directory_sync(path);
out:
    buffer_free(&beside);
    return s;
}

bool file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

bool directory_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

status directory_make(const char *path, unsigned mode, error *err)
{
    status s = OK;
    char *copy = memory_copy(path, strlen(path));
    if (!copy) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    for (char *c = copy + 1; s == OK && c[-1]; c++) {
        if (*c != '/' && *c != 0) continue;
        char kept = *c;
        *c = 0;
        if (mkdir(copy, mode) != 0 && errno != EEXIST)
            s = fail(err, ERR_IO, "%s: cannot create directory: %s", copy, strerror(errno));
        *c = kept;
    }
    if (s == OK && !directory_exists(path)) s = fail(err, ERR_IO, "%s: not a directory", path);
    memory_free(copy);
    return s;
}

status directory_make_private(const char *path, error *err)
{
    struct stat st;
    status s = directory_make(path, 0700, err);
    if (s != OK) return s;
    if (lstat(path, &st) != 0) return fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (!S_ISDIR(st.st_mode)) return fail(err, ERR_IO, "%s: not a directory of its own", path);
    if (st.st_uid != geteuid())
        return fail(err, ERR_IO, "%s: owned by uid %ld, expected %ld", path, (long)st.st_uid,
                    (long)geteuid());
    if ((st.st_mode & 077) != 0 && chmod(path, 0700) != 0)
        return fail(err, ERR_IO, "%s: open to others: %s", path, strerror(errno));
    return OK;
}

void directory_prune(const char *path, int n_max)
{
    DIR *d = opendir(path);
    if (!d) return;
    char oldest[256] = "";
    struct timespec oldest_time = {0};
    int n_files = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        struct stat st;
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (!S_ISREG(st.st_mode)) continue;
        n_files++;
        bool older = st.st_mtim.tv_sec != oldest_time.tv_sec
                         ? st.st_mtim.tv_sec < oldest_time.tv_sec
                         : st.st_mtim.tv_nsec < oldest_time.tv_nsec;
        if (oldest[0] && !older) continue;
        oldest_time = st.st_mtim;
        snprintf(oldest, sizeof oldest, "%s", entry->d_name);
    }
    if (n_files >= n_max) unlinkat(dirfd(d), oldest, 0);
    closedir(d);
}

status file_map_open(struct file_map *out, const char *path, error *err)
{
    int fd;
    *out = (struct file_map){0};
    status s = regular_open(&fd, &out->size, path, err);
    if (s != OK) return s;
    if (out->size) {
        void *bytes = mmap(NULL, out->size, PROT_READ, MAP_SHARED, fd, 0);
        if (bytes == MAP_FAILED)
            s = fail(err, ERR_IO, "%s: cannot map: %s", path, strerror(errno));
        else
            out->bytes = bytes;
    }
    close(fd);
    return s;
}

void file_map_close(struct file_map *map)
{
    if (map->bytes) munmap((void *)(uintptr_t)map->bytes, map->size);
    *map = (struct file_map){0};
}
