/* Part by part from the root, so that no part of a path can lead elsewhere. */
#include "context/tree_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

struct file_stamp stamp_of(const struct stat *st)
{
    return (struct file_stamp){
        .size_bytes = (uint64_t)st->st_size,
        .inode = (uint64_t)st->st_ino,
        .mtime_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec,
        .ctime_ns = (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec,
    };
}

/* Opens root/path for reading, part by part, so that no part can be a symbolic link. */
static int open_beneath(const char *root, text path)
{
    char part[NAME_MAX + 1];
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (size_t from = 0, to; fd >= 0 && from <= path.size; from = to + 1) {
        to = text_find(path, TEXT("/"), from);
        bool last = to == SIZE_MAX;
        if (last) to = path.size;
        int next = -1;
        if (to - from > NAME_MAX) {
            errno = ENAMETOOLONG;
        } else {
            memcpy(part, path.bytes + from, to - from);
            part[to - from] = 0;
            next = openat(fd, part,
                          O_NOFOLLOW | O_CLOEXEC |
                              (last ? O_RDONLY | O_NONBLOCK : O_PATH | O_DIRECTORY));
        }
        int reason = errno;
        close(fd);
        errno = reason;
        fd = next;
    }
    return fd;
}

status tree_file_read(buffer *out, struct file_stamp *stamp, const char *root, text path,
                      size_t max_bytes, error *err)
{
    struct stat st;
    int n = path.size > 300 ? 300 : (int)path.size, fd = open_beneath(root, path);
    if (fd < 0) return fail(err, ERR_IO, "%.*s: %s", n, path.bytes, strerror(errno));
    status code = OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        code = fail(err, ERR_FORMAT, "%.*s: not a regular file", n, path.bytes);
    else if ((uint64_t)st.st_size > max_bytes)
        code = fail(err, ERR_LIMIT, "%.*s: %lld bytes, at most %zu", n, path.bytes,
                    (long long)st.st_size, max_bytes);
    else if ((code = stream_read(out, fd, max_bytes, err)) != OK)
        code = fail_in(err, code, "%.*s", n, path.bytes);
    else
        *stamp = stamp_of(&st);
    close(fd);
    return code;
}
