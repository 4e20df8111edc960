#include "lsp/cli/configuration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/paths.h"
#include "lsp/server/settings.h"

static const char system_path[] = "/etc/dbrx-ls/config.json";

enum { FILE_BYTES_MAX = 65536 };

/* Who may write the file chooses where code goes. */
static status owner_check(struct stat *st, const char *path, error *err)
{
    if (stat(path, st) != 0) return fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return fail(err, ERR_IO, "%s: owned by uid %ld, expected %ld or root", path,
                    (long)st->st_uid, (long)geteuid());
    if (st->st_mode & S_IWOTH)
        return fail(err, ERR_IO, "%s: everybody may write it: chmod o-w", path);
    return OK;
}

static status paths_check(const json_t *settings, const char *path, error *err)
{
    static const char *const names[] = {"model", "caFile"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = json_string_value(json_object_get(settings, names[i]));
        if (value && value[0] && value[0] != '/')
            return fail(err, ERR_FORMAT, "%s: %s: found \"%.80s\", expected an absolute path", path,
                        names[i], value);
    }
    return OK;
}

static status file_parse(json_t **out, const struct stat *st, text content, const char *path,
                         error *err)
{
    json_error_t where;
    *out = json_loadb(content.bytes, content.size, JSON_REJECT_DUPLICATES, &where);
    if (!*out) return fail(err, ERR_FORMAT, "%s: line %d: %s", path, where.line, where.text);
    if (!json_is_object(*out)) return fail(err, ERR_FORMAT, "%s: expected an object", path);
    status s = settings_check(*out, SETTING_FROM_FILE, err);
    if (s != OK) return fail_in(err, s, "%s", path);
    if (json_object_get(*out, "apiKey") && st->st_mode & S_IROTH)
        return fail(err, ERR_IO, "%s: apiKey: everybody may read it: chmod o-r", path);
    return paths_check(*out, path, err);
}

static status file_open(struct configuration_file *f, const char *path, error *err)
{
    buffer content = {0};
    struct stat st;
    buffer_print(&f->path, "%s", path);
    if (f->path.failed) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) return OK;
    status s = owner_check(&st, path, err);
    if (s == OK) s = file_read(&content, path, FILE_BYTES_MAX, err);
    if (s == OK) s = file_parse(&f->settings, &st, buffer_text(&content), path, err);
    buffer_free(&content);
    return s;
}

status configuration_read_files(struct configuration *out, const char *user, const char *system,
                                error *err)
{
    *out = (struct configuration){0};
    status s = user ? file_open(&out->user, user, err) : OK;
    if (s == OK) s = file_open(&out->system, system, err);
    if (s != OK) configuration_free(out);
    return s;
}

static void patterns_put(buffer *lines, const struct configuration_file *f)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(f->settings, "exclude"), i, item)
    {
        buffer_put_char(lines, '\n');
        buffer_put(lines, json_string_value(item), json_string_length(item));
    }
}

/* What a machine leaves out, nobody lets in again: patterns of all levels hold together. */
static status exclude_add(const struct configuration *c, error *err)
{
    buffer lines = {0};
    buffer_put_text(&lines, text_of(getenv("DBRX_EXCLUDE")));
    patterns_put(&lines, &c->user);
    patterns_put(&lines, &c->system);
    buffer_put_char(&lines, 0);
    bool ok = !lines.failed && (!lines.bytes[0] || setenv("DBRX_EXCLUDE", lines.bytes, 1) == 0);
    buffer_free(&lines);
    return ok ? OK : fail(err, ERR_MEMORY, "out of memory for patterns to exclude");
}

status configuration_read(struct configuration *out, error *err)
{
    buffer user = {0};
    bool has_home = path_config(&user, "config.json", NULL) == OK;
    status s = configuration_read_files(out, has_home ? user.bytes : NULL, system_path, err);
    buffer_free(&user);
    if (s == OK && exclude_add(out, err) != OK) {
        configuration_free(out);
        s = ERR_MEMORY;
    }
    return s;
}

static void file_free(struct configuration_file *f)
{
    buffer_free(&f->path);
    json_decref(f->settings);
    f->settings = NULL;
}

void configuration_free(struct configuration *c)
{
    file_free(&c->user);
    file_free(&c->system);
}

const char *configuration_text(const struct configuration_file *f, const char *name)
{
    const char *value = json_string_value(json_object_get(f->settings, name));
    return value && value[0] ? value : NULL;
}

const char *configuration_nearest(const struct configuration *c, const char *name)
{
    const char *value = configuration_text(&c->user, name);
    return value ? value : configuration_text(&c->system, name);
}

int64_t configuration_integer(const struct configuration_file *f, const char *name)
{
    return json_integer_value(json_object_get(f->settings, name));
}
