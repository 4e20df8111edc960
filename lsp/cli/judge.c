/* A harmless name may be a link to a secret, and "config" is one where it lies in ~/.ssh: a path is
 * judged where it seems to lie and where it does. */
#include "lsp/cli/judge.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "context/exclude.h"
#include "context/repository.h"
#include "lsp/server/uri.h"

static status names_check(const char *path, const char *real, error *err)
{
    const char *reason = exclude_reason(text_of(path));
    if (!reason && real) reason = exclude_reason(text_of(real));
    if (!reason) return OK;
    return fail(err, ERR_UNSUPPORTED, "%s never reaches a model: %s", path, reason);
}

/* `folder` has no links in it, and the path lies below. */
static status attributes_check(const char *path, const char *folder, error *err)
{
    repository *r = NULL;
    status code = repository_open(&r, folder, err);
    if (code != OK) return code;
    text below = path_below(text_of(path), text_of(repository_root(r)));
    if (below.size && repository_excludes(r, below))
        code = fail(err, ERR_UNSUPPORTED,
                    "%s never reaches a model: the git attribute -dbrx excludes it", path);
    repository_close(r);
    return code;
}

static status absolute_put(char out[2 * PATH_MAX], const char *path, error *err)
{
    char here[PATH_MAX] = "";
    if (strlen(path) >= PATH_MAX) return fail(err, ERR_UNSUPPORTED, "%.40s...: too long", path);
    if (path[0] != '/' && !getcwd(here, sizeof here))
        return fail(err, ERR_IO, "the current directory cannot be told: %s", strerror(errno));
    snprintf(out, 2 * (size_t)PATH_MAX, "%s%s%s", here, path[0] == '/' ? "" : "/", path);
    return OK;
}

/* A file that is not there yet is judged in the nearest folder that is. */
static status seeming_judge(char *absolute, error *err)
{
    char seeming[3 * PATH_MAX];
    char *folder = NULL;
    size_t n = strlen(absolute);
    while (!folder && n > 0) {
        while (absolute[--n] != '/') continue;
        absolute[n] = 0;
        folder = realpath(n ? absolute : "/", NULL);
        absolute[n] = '/';
    }
    if (!folder) return fail(err, ERR_IO, "%s: its folder cannot be found", absolute);
    snprintf(seeming, sizeof seeming, "%s%s", folder[1] ? folder : "", absolute + n);
    status code = attributes_check(seeming, folder, err);
    free(folder);
    return code;
}

static status real_judge(const char *real, error *err)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", real);
    *strrchr(folder, '/') = 0;
    return attributes_check(real, folder[0] ? folder : "/", err);
}

status path_judge(const char *path, bool *linked, error *err)
{
    char absolute[2 * PATH_MAX];
    char *real = realpath(path, NULL);
    status code = names_check(path, real, err);
    if (code == OK) code = absolute_put(absolute, path, err);
    if (code == OK && linked) *linked = real && strcmp(real, absolute) != 0;
    if (code == OK) code = seeming_judge(absolute, err);
    if (code == OK && real) code = real_judge(real, err);
    free(real);
    return code;
}
