/* Where hooks lie. Nothing here runs one. */
#include <string.h>

#include "context/repository_private.h"

static bool lies_in(text path, const char *folder)
{
    text f = text_of(folder);
    while (f.size && f.bytes[f.size - 1] == '/') f.size--;
    return f.size && text_starts(path, f) && (path.size == f.size || path.bytes[f.size] == '/');
}

status repository_hooks_path(buffer *out, bool *outside, repository *r, error *err)
{
    git_config *config = NULL;
    git_buf named = {0};
    buffer_clear(out);
    if (r->kind != REPOSITORY_GIT)
        return fail(err, ERR_UNSUPPORTED, "%s: no working tree of a git repository", r->root);
    bool set = git_repository_config_snapshot(&config, r->git) == 0 &&
               git_config_get_path(&named, config, "core.hooksPath") == 0 && named.size > 0;
    if (!set)
        buffer_print(out, "%s/hooks", r->common);
    else if (named.ptr[0] == '/')
        buffer_print(out, "%s", named.ptr);
    else
        buffer_print(out, "%s/%s", r->root, named.ptr);
    git_buf_dispose(&named);
    git_config_free(config);
    if (out->failed) return fail(err, ERR_MEMORY, "out of memory for a path");
    text path = buffer_text(out);
    bool climbs = text_find(path, TEXT("/../"), 0) != SIZE_MAX || text_ends(path, TEXT("/.."));
    *outside = climbs || (!lies_in(path, r->root) && !lies_in(path, r->common));
    return OK;
}
