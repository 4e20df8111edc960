/* From the names of imports to the files of the tree that they may mean. Internal to retrieval. */
#ifndef CONTEXT_IMPORTS_H
#define CONTEXT_IMPORTS_H

#include "context/index_query.h"
#include "context/tags.h"

/* Files of `tree` that `module`, imported by the file at `from`, may mean, the likeliest first: at
 * most n_max. None for what comes from elsewhere. */
status import_resolve(struct index_files *out, arena *a, code_index *x, int64_t tree, text from,
                      const struct tag_import *import, size_t n_max, error *err);

#endif
