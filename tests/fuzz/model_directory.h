/* A directory of the process's own, in the working directory, whose files change from input to
 * input. */
#ifndef TESTS_FUZZ_MODEL_DIRECTORY_H
#define TESTS_FUZZ_MODEL_DIRECTORY_H

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

static char model_directory[] = "model-XXXXXX";

static inline void model_file_path(char *path, size_t room, const char *name)
{
    snprintf(path, room, "%s/%s", model_directory, name);
}

static inline void model_directory_remove(void) { rmdir(model_directory); }

static inline void model_file_remove(const char *name)
{
    char path[128];
    model_file_path(path, sizeof path, name);
    unlink(path);
}

static inline void model_file_put(const char *name, text bytes)
{
    char path[128];
    if (strstr(model_directory, "XXXXXX")) {
        REQUIRE(mkdtemp(model_directory));
        REQUIRE(atexit(model_directory_remove) == 0);
    }
    model_file_path(path, sizeof path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    REQUIRE(bytes.size == 0 || write(fd, bytes.bytes, bytes.size) == (ssize_t)bytes.size);
    REQUIRE(close(fd) == 0);
}

#endif
