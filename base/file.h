/* Files: read whole, mapped read-only, written so that nobody sees half of one. Any thread. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

/* Appends the whole of a regular file to *out. ERR_IO names path and reason; ERR_LIMIT when it is
 * larger than max_bytes; ERR_FORMAT when it is no regular file (FIFOs never block us). */
status file_read(buffer *out, const char *path, size_t max_bytes, error *err);

/* The same for an open stream such as stdin, to its end. */
status stream_read(buffer *out, int fd, size_t max_bytes, error *err);

/* Writes beside `path`, syncs, renames: at every moment the old or the new file is there, whole.
 * `mode` as in open(2). */
status file_write(const char *path, text content, unsigned mode, error *err);

bool file_exists(const char *path);
bool directory_exists(const char *path);

/* mkdir -p. Existing directories are fine. */
status directory_make(const char *path, unsigned mode, error *err);

/* Makes `path` (parents as needed) a directory of ours alone: 0700, owned by us, no symlink;
 * ERR_IO with the reason when somebody else's directory stands there. */
status directory_make_private(const char *path, error *err);

/* Removes the oldest file of a directory that has n_max or more: called before each file that is added, it
 * keeps a cache from growing. */
void directory_prune(const char *path, int n_max);

/* A file mapped for reading. `bytes` is NULL for an empty file. */
struct file_map {
    const unsigned char *bytes;
    size_t size;
};

status file_map_open(struct file_map *out, const char *path, error *err);
void file_map_close(struct file_map *map);

#endif
