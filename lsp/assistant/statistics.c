#include "lsp/assistant/statistics.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/paths.h"

static const char file_name[] = "stats.jsonl", old_name[] = "stats.old.jsonl";

static const int64_t *counter_at(const struct assistant_counters *n, size_t i)
{
    return (const int64_t *)(const void *)n + i;
}

void statistics_line(buffer *out, const struct assistant_counters *now,
                     const struct assistant_counters *before, int64_t time_s)
{
    size_t n = 0;
    for (size_t i = 0; i < N_COUNTERS; i++) {
        int64_t since = *counter_at(now, i) - *counter_at(before, i);
        if (since == 0) continue;
        if (n++ == 0) buffer_print(out, "{\"time\":%lld,\"counters\":{", (long long)time_s);
        buffer_print(out, "%s\"%s\":%lld", n > 1 ? "," : "", counter_rows[i].name,
                     (long long)since);
    }
    if (n) buffer_print(out, "}}\n");
}

/* A full file makes room; readers know both. */
static void file_rotate(int fd, const char *path)
{
    struct stat now;
    buffer old = {0};
    if (fstat(fd, &now) != 0 || (size_t)now.st_size < STATISTICS_FILE_MAX) return;
    if (path_state(&old, old_name, NULL) == OK) rename(path, old.bytes);
    buffer_free(&old);
}

status statistics_append(text line, error *err)
{
    buffer path = {0};
    if (line.size == 0) return OK;
    status s = path_state(&path, file_name, err);
    int fd = s == OK
                 ? open(path.bytes, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)
                 : -1;
    /* One write: lines of several fronts stand one behind the other. */
    if (s == OK && (fd < 0 || write(fd, line.bytes, line.size) != (ssize_t)line.size))
        s = fail(err, ERR_IO, "%s: %s", path.bytes, strerror(errno));
    if (s == OK) file_rotate(fd, path.bytes);
    if (fd >= 0) close(fd);
    buffer_free(&path);
    return s;
}

static void line_take(struct statistics *out, text line)
{
    json_t *root = json_loadb(line.bytes, line.size, 0, NULL);
    const json_t *counters = json_object_get(root, "counters");
    int64_t time_s = json_integer_value(json_object_get(root, "time"));
    if (json_is_object(counters) && time_s > 0) {
        out->n_lines++;
        if (!out->since_s || time_s < out->since_s) out->since_s = time_s;
        for (size_t i = 0; i < N_COUNTERS; i++)
            ((int64_t *)(void *)&out->sum)[i] +=
                json_integer_value(json_object_get(counters, counter_rows[i].name));
    } else {
        out->n_broken++;
    }
    json_decref(root);
}

static status file_take(struct statistics *out, const char *name, error *err)
{
    buffer path = {0}, all = {0};
    status s = path_state(&path, name, err);
    if (s == OK && file_exists(path.bytes))
        s = file_read(&all, path.bytes, 2 * STATISTICS_FILE_MAX, err);
    text rest = buffer_text(&all), line;
    while (s == OK && text_next_line(&rest, &line))
        if (line.size) line_take(out, line);
    buffer_free(&path);
    buffer_free(&all);
    return s;
}

status statistics_read(struct statistics *out, error *err)
{
    *out = (struct statistics){0};
    status s = file_take(out, old_name, err);
    return s == OK ? file_take(out, file_name, err) : s;
}
