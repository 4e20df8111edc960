/* `dbrx-ls key`: who may use an engine that listens on a TCP port. A running engine sees a change
 * within a second. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "inference/service/keys.h"
#include "lsp/cli/command.h"

static const char usage[] =
    "usage: dbrx-ls key add NAME [--admin] | list | revoke NAME  [--keys FILE]\n\n"
    "Access keys for `dbrx-ls serve --port`. `add` prints a new key, once; only a hash of it is "
    "kept.\n"
    "`revoke` also cuts what its bearer is doing. A running engine follows within a second.";

static status key_add(const char *path, const char *name, bool admin, error *err)
{
    buffer key = {0};
    status s = keys_add(&key, path, name, admin, err);
    buffer_put_char(&key, '\n');
    if (s == OK && key.failed) s = fail(err, ERR_MEMORY, "out of memory for a key");
    if (s == OK) s = command_write(buffer_text(&key), err);
    if (s == OK)
        fprintf(stderr, "key of %s, in %s as a hash: what is printed above is not kept anywhere\n",
                name, path);
    if (key.bytes) explicit_bzero(key.bytes, key.size);
    buffer_free(&key);
    return s;
}

static status key_list(const char *path, error *err)
{
    struct access_keys keys;
    buffer out = {0};
    status s = keys_read(&keys, path, err);
    if (s != OK) return s;
    for (size_t i = 0; i < keys.n; i++)
        buffer_print(&out, "%-20s  %-5s  %s\n", keys.rows[i].name,
                     keys.rows[i].admin ? "admin" : "user", keys.rows[i].created);
    keys_free(&keys);
    s = out.failed ? fail(err, ERR_MEMORY, "out of memory for the list")
                   : command_write(buffer_text(&out), err);
    buffer_free(&out);
    return s;
}

/* Who adds the first key has no directory for it yet. */
static status directory_of_keys(const char *path, error *err)
{
    char *directory = memory_copy(path, (size_t)(strrchr(path, '/') - path));
    if (!directory) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    status s = directory_exists(directory) ? OK : directory_make_private(directory, err);
    memory_free(directory);
    return s;
}

static status key_run(const char *path, int n_words, char **words, bool admin, error *err)
{
    const char *verb = n_words > 0 ? words[0] : "";
    bool list = strcmp(verb, "list") == 0;
    bool add = strcmp(verb, "add") == 0, revoke = strcmp(verb, "revoke") == 0;
    if (!list && !add && !revoke)
        return fail(err, ERR_USAGE, "found \"%s\", expected add, list or revoke (see --help)",
                    verb);
    if (n_words != (list ? 1 : 2))
        return fail(err, ERR_USAGE, "%s: expected %s", verb, list ? "no name" : "one NAME");
    if (admin && !add) return fail(err, ERR_USAGE, "--admin belongs to add");
    if (add) return key_add(path, words[1], admin, err);
    return list ? key_list(path, err) : keys_revoke(path, words[1], err);
}

int command_key(int argc, char **argv)
{
    const char *path = NULL;
    bool admin = false;
    const struct command_option options[] = {
        {"keys", OPTION_TEXT, &path, "FILE", "the engine's --keys (default: see serve --help)", 0,
         0},
        {"admin", OPTION_FLAG, &admin, NULL, "this key sees whose the requests are", 0, 0},
        {0}};
    int n_rest, exit_code;
    buffer found = {0};
    error err;
    if (!command_parse(argc, argv, options, usage, &n_rest, &exit_code)) return exit_code;
    status s = path ? OK : keys_path(&found, &err);
    if (s == OK && !path && n_rest == 2 && strcmp(argv[1], "add") == 0)
        s = directory_of_keys(found.bytes, &err);
    if (s == OK) s = key_run(path ? path : found.bytes, n_rest, argv + 1, admin, &err);
    exit_code = s == OK ? EXIT_DONE : command_fail(argv[0], &err);
    buffer_free(&found);
    return exit_code;
}
