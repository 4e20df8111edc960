/* libgit2's own line differ, over buffers: no repository is opened. */
#include "context/patch_text.h"

#include <git2.h>

#include "base/memory.h"

status patch_text_put(buffer *out, text path, text before, text after, error *err)
{
    git_patch *patch = NULL;
    git_buf printed = {0};
    git_diff_options options;
    git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
    options.flags = GIT_DIFF_FORCE_TEXT;
    char *name = memory_copy(path.bytes, path.size);
    if (!name) return fail(err, ERR_MEMORY, "out of memory for a diff");
    git_libgit2_init();
    int rc = git_patch_from_buffers(&patch, before.bytes, before.size, name, after.bytes,
                                    after.size, name, &options);
    if (rc == 0) rc = git_patch_to_buf(&printed, patch);
    if (rc == 0) buffer_put(out, printed.ptr ? printed.ptr : "", printed.size);
    git_buf_dispose(&printed);
    git_patch_free(patch);
    git_libgit2_shutdown();
    memory_free(name);
    if (rc != 0) return fail(err, ERR_MEMORY, "the difference of two texts could not be made");
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for a diff") : OK;
}
