/* Order is everything here. Shards are synced before the journal names them; config.json, which makes
 * a directory a model, comes last but for the rename that makes it the destination. */
#include "inference/quantize.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "inference/calibration.h"
#include "inference/json_text.h"
#include "inference/quantize_journal.h"
#include "inference/quantize_plan.h"
#include "inference/quantize_shard.h"
#include "kernels/format.h"

struct work {
    struct quantize_options options; /* with defaults filled in */
    model *source;
    struct quantize_plan plan;
    calibration statistics;
    json_t *head;
    buffer destination, directory; /* the latter is where the work is done: DESTINATION.partial */
    int lock;
    bool locked;
    struct quantize_progress progress;
    size_t before_bytes; /* source bytes of shards that are done */
};

/* What goes with the weights; config.json and the index are written anew. */
static const char *const companions[] = {"tokenizer.json",
                                         "tokenizer_config.json",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "*.tiktoken",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "generation_config.json",
                                         "LICENSE*",
                                         "NOTICE*"};

int32_t quantize_threads(int32_t given)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    long wanted = given > 0 ? given : n > 0 ? n : 1;
    return wanted < QUANTIZE_THREADS_MAX ? (int32_t)wanted : QUANTIZE_THREADS_MAX;
}

static status options_fill(struct work *w, const struct quantize_options *given, error *err)
{
    struct quantize_options *o = &w->options;
    enum activation_type type;
    *o = *given;
    if (o->format != WEIGHT_FP8_ROW && o->format != WEIGHT_INT8_ROW &&
        o->format != WEIGHT_INT4_G128)
        return fail(err, ERR_USAGE, "format %d: expected fp8, int8 or int4", (int)o->format);
    o->n_threads = quantize_threads(o->n_threads);
    if (o->shard_bytes == 0) o->shard_bytes = QUANTIZE_SHARD_BYTES;
    if (o->activations && activation_parse(&type, o->activations, err) != OK) {
        if (err) err->code = ERR_USAGE;
        return ERR_USAGE;
    }
    text destination = text_of(o->destination_dir);
    while (destination.size > 1 && text_ends(destination, TEXT("/"))) destination.size--;
    if (destination.size == 0) return fail(err, ERR_USAGE, "the destination has no name");
    buffer_put_text(&w->destination, destination);
    buffer_put_text(&w->directory, destination);
    buffer_put_text(&w->directory, TEXT(".partial"));
    return w->destination.failed || w->directory.failed ? fail(err, ERR_MEMORY, "out of memory")
                                                        : OK;
}

static status source_open(struct work *w, error *err)
{
    status s = model_open(&w->source, w->options.source_dir, err);
    if (s != OK) return s;
    if (w->source->config.weights != WEIGHT_BF16)
        return fail(err, ERR_USAGE, "%s: weights are %s already, expected 16 bits or more",
                    w->options.source_dir, format_name(w->source->config.weights));
    if (!w->options.activations)
        w->options.activations = activation_name(w->source->config.shape.activations);
    return quantize_plan_make(&w->plan, w->source, w->options.format, w->options.shard_bytes, err);
}

/* An empty directory is as good as none: rename replaces it. */
static status destination_check(const struct work *w, error *err)
{
    struct stat st;
    const char *path = w->destination.bytes;
    bool empty = true;
    if (lstat(path, &st) != 0)
        return errno == ENOENT ? OK : fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    DIR *d = S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (!d) return fail(err, ERR_USAGE, "%s: exists already", path);
    for (const struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) empty = false;
    closedir(d);
    return empty ? OK : fail(err, ERR_USAGE, "%s: exists already and is not empty", path);
}

static bool directory_finished(const struct work *w)
{
    buffer path = {0};
    buffer_print(&path, "%s/config.json", w->destination.bytes);
    bool finished = !path.failed && file_exists(path.bytes);
    buffer_free(&path);
    return finished;
}

/* The directory itself is what is locked: nothing remains of it, however the process ends. It may
 * have become the destination between opening and locking. */
static status directory_lock(struct work *w, error *err)
{
    struct stat here, there;
    const char *path = w->directory.bytes;
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return fail(err, ERR_IO, "%s: cannot create directory: %s", path, strerror(errno));
    w->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (w->lock < 0) return fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    if (flock(w->lock, LOCK_EX | LOCK_NB) != 0)
        return errno == EWOULDBLOCK
                   ? fail(err, ERR_BUSY, "%s: another quantize is writing it", path)
                   : fail(err, ERR_IO, "%s: cannot lock: %s", path, strerror(errno));
    if (fstat(w->lock, &here) != 0 || stat(path, &there) != 0 || here.st_ino != there.st_ino ||
        here.st_dev != there.st_dev)
        return fail(err, ERR_BUSY, "%s: another quantize has just ended", path);
    w->locked = true;
    return OK;
}

/* What is there of unfinished shards is given back first. */
static status space_check(const struct work *w, error *err)
{
    struct statvfs fs;
    size_t needed = 0;
    for (int32_t i = 0; i < w->plan.n_shards; i++) {
        if (w->plan.shards[i].done) continue;
        unlinkat(w->lock, w->plan.shards[i].name, 0);
        needed += w->plan.shards[i].file_bytes;
    }
    if (fstatvfs(w->lock, &fs) != 0)
        return fail(err, ERR_IO, "%s: %s", w->directory.bytes, strerror(errno));
    size_t free_bytes = (size_t)fs.f_bavail * (size_t)fs.f_frsize;
    if (needed <= free_bytes) return OK;
    return fail(err, ERR_LIMIT,
                "%s: not enough space: %zu bytes (%zu MiB) are free, expected %zu bytes (%zu MiB)",
                w->directory.bytes, free_bytes, free_bytes / MIB, needed, needed / MIB);
}

static void progress_tell(void *context, size_t shard_done_bytes)
{
    struct work *w = context;
    w->progress.done_bytes = w->before_bytes + shard_done_bytes;
    if (w->options.progress) w->options.progress(w->options.context, &w->progress);
}

static void calibration_tell(void *context, double fraction)
{
    struct work *w = context;
    w->progress.calibrated = fraction;
    if (w->options.progress) w->options.progress(w->options.context, &w->progress);
}

/* What an earlier process saw is taken up; a file that is not whole is made again. */
static status statistics_take(struct work *w, const char *path, error *err)
{
    const struct quantize_text *given = w->options.calibrate;
    const struct calibration_options options = {.model_dir = w->options.source_dir,
                                                .tokens = given->tokens,
                                                .n_tokens = given->n_tokens,
                                                .text_sha256 = given->sha256,
                                                .n_threads = w->options.n_threads,
                                                .progress = calibration_tell,
                                                .context = w};
    status s =
        calibration_read(&w->statistics, path, &w->source->config.shape, given->sha256, NULL);
    if (s == OK && w->statistics.n_tokens == (int64_t)given->n_tokens) return OK;
    calibration_free(&w->statistics);
    s = calibration_make(&w->statistics, &options, err);
    return s == OK ? calibration_write(&w->statistics, path, err) : s;
}

static status calibrate(struct work *w, error *err)
{
    buffer path = {0};
    if (!w->options.calibrate) return OK;
    buffer_print(&path, "%s/" CALIBRATION_FILE, w->directory.bytes);
    status s =
        path.failed ? fail(err, ERR_MEMORY, "out of memory") : statistics_take(w, path.bytes, err);
    buffer_free(&path);
    w->progress.calibrated = 1;
    return s == OK ? journal_statistics(w->head, &w->plan, w->statistics.sha256, err) : s;
}

static status shards_make(struct work *w, error *err)
{
    struct quantize_workers workers = {.n_threads = w->options.n_threads,
                                       .statistics = w->options.calibrate ? &w->statistics : NULL,
                                       .progress = progress_tell,
                                       .context = w};
    for (int32_t i = 0; i < w->plan.n_shards; i++) {
        struct quantize_shard *shard = &w->plan.shards[i];
        buffer path = {0};
        if (shard->done) continue;
        buffer_print(&path, "%s/%s", w->directory.bytes, shard->name);
        status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                               : safetensors_check_files(w->source->files, err);
        if (s == OK) s = quantize_shard_write(&w->plan, i, path.bytes, &workers, err);
        buffer_free(&path);
        if (s == OK && fsync(w->lock) != 0)
            s = fail(err, ERR_IO, "%s: cannot sync: %s", w->directory.bytes, strerror(errno));
        shard->done = s == OK;
        if (s == OK) s = journal_write(&w->plan, w->head, w->directory.bytes, err);
        if (s != OK) return s;
        w->before_bytes += shard->source_bytes;
        progress_tell(w, 0);
    }
    return OK;
}

static status file_put(const struct work *w, const char *name, text content, error *err)
{
    buffer path = {0};
    buffer_print(&path, "%s/%s", w->directory.bytes, name);
    status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                           : file_write(path.bytes, content, 0644, err);
    buffer_free(&path);
    return s;
}

static status companion_copy(const struct work *w, const char *name, error *err)
{
    buffer path = {0}, content = {0};
    buffer_print(&path, "%s/%s", w->options.source_dir, name);
    status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                           : file_read(&content, path.bytes, TOKENIZER_FILE_MAX, err);
    if (s == OK) s = file_put(w, name, buffer_text(&content), err);
    buffer_free(&path);
    buffer_free(&content);
    return s;
}

static bool name_companion(const char *name)
{
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++)
        if (fnmatch(companions[i], name, FNM_PERIOD) == 0) return true;
    return false;
}

static status companions_copy(const struct work *w, error *err)
{
    status s = OK;
    DIR *d = opendir(w->options.source_dir);
    if (!d) return fail(err, ERR_IO, "%s: %s", w->options.source_dir, strerror(errno));
    for (const struct dirent *e; s == OK && (e = readdir(d));)
        if (name_companion(e->d_name)) s = companion_copy(w, e->d_name, err);
    closedir(d);
    return s;
}

static status index_write(const struct work *w, error *err)
{
    buffer json = {0};
    size_t total = 0;
    for (int32_t i = 0; i < w->plan.n_items; i++)
        total += w->plan.items[i].data.size_bytes + w->plan.items[i].scales.size_bytes;
    buffer_print(&json, "{\n \"metadata\": {\"total_size\": %zu},\n \"weight_map\": {", total);
    for (int32_t n = 0; n < w->plan.n_shards; n++) {
        const struct quantize_shard *shard = &w->plan.shards[n];
        for (int32_t i = shard->first; i < shard->first + shard->n; i++) {
            const struct quantize_item *item = &w->plan.items[i];
            buffer_print(&json, "%s\n  \"%s\": \"%s\"", i ? "," : "", item->data.name, shard->name);
            if (item->scales.size_bytes)
                buffer_print(&json, ",\n  \"%s\": \"%s\"", item->scales.name, shard->name);
        }
    }
    buffer_put_text(&json, TEXT("\n }\n}\n"));
    status s = json.failed ? fail(err, ERR_MEMORY, "out of memory for the index")
                           : file_put(w, "model.safetensors.index.json", buffer_text(&json), err);
    buffer_free(&json);
    return s;
}

/* The source's own, with our object in it. */
static status config_write(const struct work *w, error *err)
{
    buffer path = {0};
    json_t *config = NULL;
    buffer_print(&path, "%s/config.json", w->options.source_dir);
    status s = path.failed ? fail(err, ERR_MEMORY, "out of memory")
                           : json_file_parse(&config, path.bytes, err);
    buffer_free(&path);
    if (s != OK) return s;
    json_t *own = json_object_get(config, "dbrx_ls");
    if (!json_is_object(own)) {
        json_object_set_new(config, "dbrx_ls", json_object());
        own = json_object_get(config, "dbrx_ls");
    }
    json_object_set_new(own, "weights", json_string(format_name(w->options.format)));
    json_object_set_new(own, "activations", json_string(w->options.activations));
    json_object_del(own, "group_size");
    if (w->options.format == WEIGHT_INT4_G128)
        json_object_set_new(own, "group_size", json_integer(INT4_GROUP));
    char *dumped = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
    s = dumped ? file_put(w, "config.json", text_of(dumped), err)
               : fail(err, ERR_MEMORY, "out of memory for config.json");
    free(dumped);
    json_decref(config);
    return s;
}

static status directory_publish(const struct work *w, error *err)
{
    const char *from = w->directory.bytes, *to = w->destination.bytes;
    buffer parent = {0};
    if (rename(from, to) != 0)
        return fail(err, ERR_IO, "%s: cannot rename to %s: %s", from, to, strerror(errno));
    buffer_print(&parent, "%s/..", to);
    int fd = parent.failed ? -1 : open(parent.bytes, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    buffer_free(&parent);
    return OK;
}

static status report_fill(struct quantize_report *out, const struct work *w, int32_t n_resumed,
                          error *err)
{
    if (!out) return OK;
    out->results = memory_take((size_t)w->plan.n_items, sizeof *out->results);
    if (!out->results) return fail(err, ERR_MEMORY, "out of memory for the report");
    out->n_results = w->plan.n_items;
    out->n_shards = w->plan.n_shards;
    out->n_shards_resumed = n_resumed;
    out->source_bytes = w->plan.source_bytes;
    for (int32_t i = 0; i < w->plan.n_items; i++) {
        out->results[i] = w->plan.items[i].result;
        out->written_bytes += w->plan.items[i].data.size_bytes + w->plan.items[i].scales.size_bytes;
    }
    return OK;
}

static status work_run(struct work *w, struct quantize_report *out, error *err)
{
    int32_t n_resumed = 0;
    status s = journal_resume(&w->plan, w->head, w->directory.bytes, err);
    if (s == OK) s = space_check(w, err);
    if (s == OK) s = journal_write(&w->plan, w->head, w->directory.bytes, err);
    if (s != OK) return s;
    for (int32_t i = 0; i < w->plan.n_shards; i++) {
        if (!w->plan.shards[i].done) continue;
        n_resumed++;
        w->before_bytes += w->plan.shards[i].source_bytes;
    }
    w->progress.resumed_bytes = w->before_bytes;
    w->progress.all_bytes = w->plan.source_bytes;
    s = calibrate(w, err);
    if (s != OK) return s;
    progress_tell(w, 0);
    s = shards_make(w, err);
    if (s == OK) s = companions_copy(w, err);
    if (s == OK) s = index_write(w, err);
    if (s == OK) s = config_write(w, err);
    if (s == OK) s = report_fill(out, w, n_resumed, err);
    return s == OK ? directory_publish(w, err) : s;
}

static void work_close(struct work *w)
{
    if (w->locked) rmdir(w->directory.bytes); /* succeeds when nothing was begun */
    if (w->lock >= 0) close(w->lock);
    json_decref(w->head);
    calibration_free(&w->statistics);
    quantize_plan_free(&w->plan);
    model_close(w->source);
    buffer_free(&w->destination);
    buffer_free(&w->directory);
}

status quantize(struct quantize_report *out, const struct quantize_options *options, error *err)
{
    struct work w = {.lock = -1};
    if (out) *out = (struct quantize_report){0};
    status s = options_fill(&w, options, err);
    if (s == OK) s = source_open(&w, err);
    if (s == OK) s = journal_head(&w.head, &w.plan, &w.options, w.options.shard_bytes, err);
    if (s == OK && w.options.take_existing && directory_finished(&w)) {
        s = journal_same_result(w.head, w.destination.bytes, err);
        goto done;
    }
    if (s == OK) s = destination_check(&w, err);
    if (s == OK) s = directory_lock(&w, err);
    if (s == OK) s = work_run(&w, out, err);
done:
    if (s != OK && out) quantize_report_free(out);
    work_close(&w);
    return s;
}

void quantize_report_free(struct quantize_report *r)
{
    memory_free(r->results);
    *r = (struct quantize_report){0};
}
