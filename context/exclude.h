/* Files whose text never reaches a model: secrets, by name. Fail closed: when in doubt, excluded.
 * Any thread; knows no file system. */
#ifndef CONTEXT_EXCLUDE_H
#define CONTEXT_EXCLUDE_H

#include <stddef.h>

#include "base/text.h"

/* Why `path` (relative or absolute, "/" between parts) is excluded, in words (static), or NULL. */
const char *exclude_reason(text path);

/* The user's own shell patterns, separated by line ends: over the file name or, where one holds a
 * "/", over the whole path or its end; "DIR/" is everything below. They come on top of the table;
 * until the first call the environment's DBRX_EXCLUDE has them. Too long a list (GLOBS_MAX bytes)
 * excludes everything. */
void exclude_set_globs(text lines);

/* Appends the patterns as they are now, for a process that is to leave out the same: what
 * exclude_set_globs takes, or what excludes everything. */
void exclude_put_globs(buffer *out);

/* One row of the table: a shell pattern without regard to case, over the file name or, where it
 * holds a "/", over any run of whole parts that ends the path. */
struct exclude_rule {
    const char *pattern;
    const char *reason;
};

const struct exclude_rule *exclude_rule_at(size_t i); /* NULL past the end: for tables and tests */

#endif
