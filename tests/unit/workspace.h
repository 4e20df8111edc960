/* A temporary directory for tests of repositories, with a home and caches of its own. Tests may run
 * the git program; what they test may not. */
#ifndef TESTS_UNIT_WORKSPACE_H
#define TESTS_UNIT_WORKSPACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/text.h"

/* cmocka has a macro of the name of our `fail`: its header comes last. */
#include <cmocka.h>

/* libgit2 1.5 leaks PCRE2's match data for every config entry that a pattern does not match. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libpcre2-8\n"; }

static char workspace[] = "/tmp/dbrx-ls-repo-XXXXXX";

/* Runs a shell command in the workspace; it must succeed. */
static inline void __attribute__((format(printf, 1, 2))) shell(const char *format, ...)
{
    char command[4096];
    int at = snprintf(command, sizeof command, "cd %s && { ", workspace);
    va_list args;
    va_start(args, format);
    at += vsnprintf(command + at, sizeof command - (size_t)at, format, args);
    va_end(args);
    snprintf(command + at, sizeof command - (size_t)at, "\n} >/dev/null 2>%s/log", workspace);
    if (system(command) != 0) fail_msg("failed: %s", command);
}

/* Lives until the fourth call from now. */
static inline const char *workspace_path(const char *name)
{
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", workspace, name);
    return path;
}

static inline int workspace_make(void **state)
{
    (void)state;
    if (!mkdtemp(workspace)) return 1;
    setenv("HOME", workspace_path("home"), 1);
    setenv("XDG_CACHE_HOME", workspace_path("cache"), 1);
    setenv("XDG_CONFIG_HOME", workspace_path("config"), 1);
    setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
    setenv("GIT_CEILING_DIRECTORIES", workspace, 1);
    shell("mkdir home cache config && printf '[user]\\nname=a\\nemail=a@b\\n[init]\\n"
          "defaultBranch=main\\n[protocol \"file\"]\\nallow=always\\n[gc]\\nauto=0\\n' "
          "> home/.gitconfig");
    return 0;
}

static inline int workspace_remove(void **state)
{
    (void)state;
    shell("chmod -R u+rwX . && rm -rf %s", workspace);
    return 0;
}

#endif
