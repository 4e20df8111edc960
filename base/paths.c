#include "base/paths.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

/* Appends the home directory: $HOME, else the password database's (services have no HOME). */
static bool home_put(buffer *out)
{
    const char *path = getenv("HOME");
    char room[4096]; /* an entry is a line of /etc/passwd */
    struct passwd entry, *found = NULL;
    if (!path || path[0] != '/') {
        if (getpwuid_r(geteuid(), &entry, room, sizeof room, &found) != 0 || !found) return false;
        path = found->pw_dir;
    }
    buffer_print(out, "%s", path);
    return true;
}

/* XDG base directories must be absolute; a relative one is to be ignored (XDG specification 0.8). */
static const char *xdg(const char *variable)
{
    const char *path = getenv(variable);
    return path && path[0] == '/' ? path : NULL;
}

static status path_finish(buffer *out, const char *name, bool make, error *err)
{
    if (out->failed) return fail(err, ERR_MEMORY, "out of memory for a path");
    if (make) {
        status s = directory_make_private(out->bytes, err);
        if (s != OK) return s;
    }
    if (*name) buffer_print(out, "/%s", name);
    return out->failed ? fail(err, ERR_MEMORY, "out of memory for a path") : OK;
}

static status path_user(buffer *out, const char *variable, const char *below_home, const char *name,
                        bool make, error *err)
{
    const char *base = xdg(variable);
    buffer_clear(out);
    if (base)
        buffer_print(out, "%s/dbrx-ls", base);
    else if (home_put(out))
        buffer_print(out, "/%s/dbrx-ls", below_home);
    else
        return fail(err, ERR_IO, "neither %s nor HOME is set", variable);
    return path_finish(out, name, make, err);
}

status path_runtime(buffer *out, const char *name, error *err)
{
    const char *base = xdg("XDG_RUNTIME_DIR");
    buffer_clear(out);
    if (base)
        buffer_print(out, "%s/dbrx-ls", base);
    else
        buffer_print(out, "/tmp/dbrx-ls-%ld", (long)geteuid());
    return path_finish(out, name, true, err);
}

status path_cache(buffer *out, const char *name, error *err)
{
    return path_user(out, "XDG_CACHE_HOME", ".cache", name, true, err);
}

status path_state(buffer *out, const char *name, error *err)
{
    return path_user(out, "XDG_STATE_HOME", ".local/state", name, true, err);
}

status path_config(buffer *out, const char *name, error *err)
{
    return path_user(out, "XDG_CONFIG_HOME", ".config", name, false, err);
}

status path_beside_program(buffer *out, const char *name, error *err)
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0) return fail(err, ERR_IO, "/proc/self/exe: %s", strerror(errno));
    program[n] = 0;
    char *slash = strrchr(program, '/');
    if (slash) *slash = 0;
    buffer_clear(out);
    buffer_print(out, "%s", program);
    return path_finish(out, name, false, err);
}
