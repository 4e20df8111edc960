/* What happens when a mapped file is cut short while its bytes are read: the kernel sends SIGBUS, and
 * the process ends with one line on stderr that names the file, and exit code 3.
 *
 * Weights are used where the file is mapped, so no check before a step can rule this out. Mappings are
 * announced by whoever makes them; the handler is installed by a process that wants it (`serve`), and
 * a SIGBUS elsewhere stays what it is, a crash. Any thread. */
#ifndef INFERENCE_MAPPING_GUARD_H
#define INFERENCE_MAPPING_GUARD_H

#include <stddef.h>

#include "base/error.h"

/* Once per process, before there are threads. ERR_IO. */
status mapping_guard_install(error *err);

/* Announces a mapping; bytes and path must stay until mapping_guard_remove. An empty one is fine;
 * beyond the table's room (two models of SHARDS_MAX files) a mapping is not guarded. */
void mapping_guard_add(const void *bytes, size_t size, const char *path);
void mapping_guard_remove(const void *bytes);

#endif
