/* A file of a working tree, read so that a link cannot lead out of it. No git, no database. */
#ifndef CONTEXT_TREE_FILE_H
#define CONTEXT_TREE_FILE_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/text.h"

/* What tells that a file has changed without reading it. */
struct file_stamp {
    uint64_t size_bytes, inode;
    int64_t mtime_ns, ctime_ns;
};

struct file_stamp stamp_of(const struct stat *st);

/* Appends the bytes of root/path, a regular file that no link leads to, and what its stamp was.
 * ERR_LIMIT over max_bytes, ERR_FORMAT when it is no regular file, ERR_IO. */
status tree_file_read(buffer *out, struct file_stamp *stamp, const char *root, text path,
                      size_t max_bytes, error *err);

#endif
