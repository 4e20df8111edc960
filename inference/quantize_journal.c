/* A shard counts as done when the journal says so and its file has the size and the header that the
 * plan gives it: the journal is written only after the shard was synced. */
#include "inference/quantize_journal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"
#include "inference/json_text.h"
#include "kernels/format.h"

/* Rises when the same source and options would give other bytes. */
enum { JOURNAL_VERSION = 1 };

#define STATISTICS "statistics_sha256"

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Tensors of one file share the pointer to its path. */
static bool source_seen(const struct quantize_plan *plan, int32_t n, const char *file)
{
    for (int32_t i = 0; i < n; i++)
        if (plan->items[i].from->file == file) return true;
    return false;
}

static status sources_add(json_t *head, const struct quantize_plan *plan, error *err)
{
    json_t *sources = json_array();
    json_object_set_new(head, "source", sources);
    for (int32_t i = 0; i < plan->n_items; i++) {
        const char *file = plan->items[i].from->file;
        struct stat st;
        if (source_seen(plan, i, file)) continue;
        if (stat(file, &st) != 0) return fail(err, ERR_IO, "%s: %s", file, strerror(errno));
        json_int_t changed =
            (json_int_t)st.st_mtim.tv_sec * 1000000000 + (json_int_t)st.st_mtim.tv_nsec;
        json_array_append_new(sources,
                              json_pack("{s:s, s:I, s:I}", "file", base_name(file), "bytes",
                                        (json_int_t)st.st_size, "changed_ns", changed));
    }
    return OK;
}

status journal_head(json_t **out, const struct quantize_plan *plan,
                    const struct quantize_options *options, size_t shard_bytes, error *err)
{
    buffer path = {0}, config = {0};
    char digest[65];
    *out = NULL;
    buffer_print(&path, "%s/config.json", options->source_dir);
    status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                           : file_read(&config, path.bytes, MODEL_JSON_MAX, err);
    if (s == OK) {
        sha256_hex(config.bytes, config.size, digest);
        *out = json_pack("{s:i, s:s, s:s, s:I, s:s}", "version", JOURNAL_VERSION, "weights",
                         format_name(options->format), "activations", options->activations,
                         "shard_bytes", (json_int_t)shard_bytes, "config_sha256", digest);
        s = *out ? sources_add(*out, plan, err) : fail(err, ERR_MEMORY, "out of memory");
        if (s == OK && options->calibrate)
            json_object_set_new(*out, "calibration",
                                json_pack("{s:s, s:I}", "text_sha256", options->calibrate->sha256,
                                          "tokens", (json_int_t)options->calibrate->n_tokens));
    }
    buffer_free(&path);
    buffer_free(&config);
    return s;
}

static const char *result_format(const struct quantize_result *r)
{
    return r->format == WEIGHT_BF16 ? "copied" : format_name(r->format);
}

static json_t *shard_json(const struct quantize_plan *plan, const struct quantize_shard *shard)
{
    json_t *tensors = json_array();
    for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
        const struct quantize_result *r = &plan->items[i].result;
        json_array_append_new(tensors, json_pack("{s:s, s:s, s:f, s:f}", "name", r->name, "format",
                                                 result_format(r), "error_max", r->error_max,
                                                 "error_relative", r->error_relative));
    }
    return json_pack("{s:s, s:o}", "file", shard->name, "tensors", tensors);
}

status journal_write(const struct quantize_plan *plan, json_t *head, const char *directory,
                     error *err)
{
    buffer path = {0};
    json_t *shards = json_array(), *all = json_copy(head);
    size_t n_done = 0;
    json_object_set_new(all, "shards", shards);
    for (int32_t i = 0; i < plan->n_shards; i++)
        if (plan->shards[i].done && ++n_done)
            json_array_append_new(shards, shard_json(plan, &plan->shards[i]));
    bool complete = json_array_size(json_object_get(all, "shards")) == n_done;
    char *dumped = complete ? json_dumps(all, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) : NULL;
    buffer_print(&path, "%s/" QUANTIZE_JOURNAL, directory);
    status s = dumped && !path.failed
                   ? file_write(path.bytes, text_of(dumped), 0644, err)
                   : fail(err, ERR_MEMORY, "out of memory for " QUANTIZE_JOURNAL);
    free(dumped);
    json_decref(all);
    buffer_free(&path);
    return s;
}

status journal_statistics(json_t *head, const struct quantize_plan *plan, const char *sha256,
                          error *err)
{
    const char *before = json_string_value(json_object_get(head, STATISTICS));
    for (int32_t i = 0; before && strcmp(before, sha256) != 0 && i < plan->n_shards; i++)
        if (plan->shards[i].done)
            return fail(err, ERR_FORMAT,
                        "%s was made with other statistics (%.12s..., now %.12s...): remove the "
                        "directory to begin anew",
                        plan->shards[i].name, before, sha256);
    json_object_set_new(head, STATISTICS, json_string(sha256));
    return OK;
}

/* Names the first difference. */
static status head_compare(json_t *old, json_t *head, const char *path, error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach(head, key, value)
    {
        if (!json_equal(json_object_get(old, key), value))
            return fail(err, ERR_USAGE,
                        "%s: begun with another \"%s\"; go on with the same source and options, or "
                        "remove the directory",
                        path, key);
    }
    if (!json_object_get(head, "calibration") && json_object_get(old, "calibration"))
        return fail(err, ERR_USAGE, "%s: begun with a calibration; go on with the same text", path);
    if (json_object_get(old, STATISTICS))
        json_object_set(head, STATISTICS, json_object_get(old, STATISTICS));
    return OK;
}

status journal_same_result(json_t *head, const char *directory, error *err)
{
    static const char *const keys[] = {"version", "weights", "activations", "config_sha256",
                                       "source"};
    buffer path = {0};
    json_t *made = NULL;
    buffer_print(&path, "%s/" QUANTIZE_JOURNAL, directory);
    status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                           : json_file_parse(&made, path.bytes, err);
    for (size_t i = 0; s == OK && i < sizeof keys / sizeof *keys; i++)
        if (!json_equal(json_object_get(made, keys[i]), json_object_get(head, keys[i])))
            s = fail(err, ERR_USAGE, "%s: made with another \"%s\"; remove %s, or name another one",
                     path.bytes, keys[i], directory);
    json_decref(made);
    buffer_free(&path);
    return s;
}

/* Whether the file is there, as large as planned, and begins with the planned header. */
static bool shard_whole(const struct quantize_shard *shard, const char *directory)
{
    buffer path = {0};
    struct file_map map = {0};
    buffer_print(&path, "%s/%s", directory, shard->name);
    bool whole = !path.failed && file_map_open(&map, path.bytes, NULL) == OK &&
                 map.size == shard->file_bytes &&
                 memcmp(map.bytes, shard->header.bytes, shard->header.size) == 0;
    file_map_close(&map);
    buffer_free(&path);
    return whole;
}

static bool results_take(struct quantize_plan *plan, const struct quantize_shard *shard,
                         const json_t *entry)
{
    const json_t *tensors = json_object_get(entry, "tensors");
    if (json_array_size(tensors) != (size_t)shard->n) return false;
    for (int32_t i = 0; i < shard->n; i++) {
        struct quantize_result *r = &plan->items[shard->first + i].result;
        const json_t *t = json_array_get(tensors, (size_t)i);
        const char *name = json_string_value(json_object_get(t, "name"));
        if (!name || strcmp(name, r->name) != 0) return false;
        r->error_max = json_number_value(json_object_get(t, "error_max"));
        r->error_relative = json_number_value(json_object_get(t, "error_relative"));
    }
    return true;
}

static void shards_resume(struct quantize_plan *plan, const json_t *old, const char *directory)
{
    size_t at;
    json_t *entry;
    json_array_foreach(json_object_get(old, "shards"), at, entry)
    {
        const char *file = json_string_value(json_object_get(entry, "file"));
        for (int32_t i = 0; file && i < plan->n_shards; i++) {
            struct quantize_shard *shard = &plan->shards[i];
            if (strcmp(shard->name, file) == 0)
                shard->done = shard_whole(shard, directory) && results_take(plan, shard, entry);
        }
    }
}

/* A file_write that was killed leaves its temporary file. */
static bool name_temporary(const char *name) { return text_ends(text_of(name), TEXT(".tmp")); }

/* Removes temporary files; `stranger` gets the name of a file that is none, or stays empty. */
static status leftovers_remove(char *stranger, size_t size, const char *directory, error *err)
{
    DIR *d = opendir(directory);
    stranger[0] = 0;
    if (!d) return fail(err, ERR_IO, "%s: %s", directory, strerror(errno));
    for (const struct dirent *e; (e = readdir(d));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (name_temporary(e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
        else
            snprintf(stranger, size, "%s", e->d_name);
    }
    closedir(d);
    return OK;
}

status journal_resume(struct quantize_plan *plan, json_t *head, const char *directory, error *err)
{
    buffer path = {0};
    json_t *old = NULL;
    char stranger[256] = "";
    buffer_print(&path, "%s/" QUANTIZE_JOURNAL, directory);
    status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                           : leftovers_remove(stranger, sizeof stranger, directory, err);
    if (s == OK && file_exists(path.bytes)) {
        s = json_file_parse(&old, path.bytes, err);
        if (s == OK) s = head_compare(old, head, path.bytes, err);
        if (s == OK) shards_resume(plan, old, directory);
    } else if (s == OK && stranger[0]) {
        s = fail(err, ERR_USAGE,
                 "%s: holds \"%s\" but no " QUANTIZE_JOURNAL ": not begun by quantize", directory,
                 stranger);
    }
    json_decref(old);
    buffer_free(&path);
    return s;
}
