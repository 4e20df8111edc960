/* A file is: header size (u64, little-endian), a JSON header, the tensors' bytes without a gap.
 * Offsets in the header count from the end of the header. Every file is mapped whole and checked by
 * itself; only then are the tensors of all files ordered by name. */
#include "inference/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"
#include "inference/json_text.h"
#include "inference/mapping_guard.h"

struct shard {
    char *name; /* as the index spells it; NULL for a single file */
    char *path;
    struct file_map map;
    struct stat identity; /* of the mapped file: a renamed or deleted one keeps its mapping */
};

struct safetensors {
    struct shard *shards;
    size_t n_shards;
    struct tensor *tensors;
    size_t n_tensors, room;
};

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DTYPE_COUNT] = {
    [DTYPE_BOOL] = {"BOOL", 1},       [DTYPE_U8] = {"U8", 1},           [DTYPE_I8] = {"I8", 1},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1}, [DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [DTYPE_I16] = {"I16", 2},
    [DTYPE_U16] = {"U16", 2},         [DTYPE_F16] = {"F16", 2},         [DTYPE_BF16] = {"BF16", 2},
    [DTYPE_I32] = {"I32", 4},         [DTYPE_U32] = {"U32", 4},         [DTYPE_F32] = {"F32", 4},
    [DTYPE_I64] = {"I64", 8},         [DTYPE_U64] = {"U64", 8},         [DTYPE_F64] = {"F64", 8},
};

const char *tensor_dtype_name(enum tensor_dtype dtype) { return dtypes[dtype].name; }
size_t tensor_dtype_bytes(enum tensor_dtype dtype) { return dtypes[dtype].bytes; }

static status dtype_read(struct tensor *t, const json_t *value, error *err)
{
    const char *word = json_string_value(value);
    if (!word)
        return fail(err, ERR_FORMAT, "%s: tensor %s: dtype missing, expected a name such as BF16",
                    t->file, t->name);
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, word) != 0) continue;
        t->dtype = (enum tensor_dtype)i;
        return OK;
    }
    return fail(err, ERR_FORMAT, "%s: tensor %s: unknown dtype \"%s\"", t->file, t->name, word);
}

/* *size_bytes becomes the product of the shape times the dtype's size. */
static status shape_read(struct tensor *t, const json_t *value, size_t *size_bytes, error *err)
{
    size_t n = json_array_size(value);
    *size_bytes = dtypes[t->dtype].bytes;
    if (!json_is_array(value) || n > TENSOR_DIMENSIONS_MAX)
        return fail(err, ERR_FORMAT, "%s: tensor %s: shape is no array of at most %d dimensions",
                    t->file, t->name, TENSOR_DIMENSIONS_MAX);
    t->n_dimensions = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *dimension = json_array_get(value, i);
        int64_t extent = json_integer_value(dimension);
        if (!json_is_integer(dimension) || extent < 0)
            return fail(err, ERR_FORMAT,
                        "%s: tensor %s: shape[%zu] is no whole number of at least 0", t->file,
                        t->name, i);
        t->shape[i] = extent;
        if (!size_mul(*size_bytes, (size_t)extent, size_bytes))
            return fail(err, ERR_FORMAT, "%s: tensor %s: size of the shape overflows", t->file,
                        t->name);
    }
    return OK;
}

/* *begin and *end count from the first byte behind the header; data_bytes is what lies there. */
static status offsets_read(const struct tensor *t, const json_t *value, size_t data_bytes,
                           size_t *begin, size_t *end, error *err)
{
    const json_t *first = json_array_get(value, 0), *second = json_array_get(value, 1);
    int64_t from = json_integer_value(first), to = json_integer_value(second);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(second))
        return fail(err, ERR_FORMAT, "%s: tensor %s: data_offsets is not [begin, end]", t->file,
                    t->name);
    if (from < 0 || from > to)
        return fail(err, ERR_FORMAT,
                    "%s: tensor %s: data_offsets [%" PRId64 ", %" PRId64
                    "], expected 0 <= begin <= end",
                    t->file, t->name, from, to);
    if ((uint64_t)to > data_bytes)
        return fail(err, ERR_FORMAT,
                    "%s: tensor %s: ends at byte %" PRId64 ", but only %zu bytes follow the header "
                    "(file cut short?)",
                    t->file, t->name, to, data_bytes);
    *begin = (size_t)from;
    *end = (size_t)to;
    return OK;
}

static status keys_check(const struct tensor *t, json_t *entry, error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(entry))
        return fail(err, ERR_FORMAT, "%s: tensor %s: expected an object", t->file, t->name);
    json_object_foreach(entry, key, value)
    {
        if (strcmp(key, "dtype") == 0 || strcmp(key, "shape") == 0) continue;
        if (strcmp(key, "data_offsets") != 0)
            return fail(err, ERR_FORMAT, "%s: tensor %s: unknown key \"%s\"", t->file, t->name,
                        key);
    }
    return OK;
}

static status tensor_read(struct tensor *t, json_t *entry, const unsigned char *data,
                          size_t data_bytes, error *err)
{
    size_t begin = 0, end = 0, size_bytes = 0;
    status s = keys_check(t, entry, err);
    if (s == OK) s = dtype_read(t, json_object_get(entry, "dtype"), err);
    if (s == OK) s = shape_read(t, json_object_get(entry, "shape"), &size_bytes, err);
    if (s == OK)
        s = offsets_read(t, json_object_get(entry, "data_offsets"), data_bytes, &begin, &end, err);
    if (s != OK) return s;
    if (end - begin != size_bytes)
        return fail(err, ERR_FORMAT,
                    "%s: tensor %s: data_offsets hold %zu bytes, expected %zu for its shape and "
                    "dtype",
                    t->file, t->name, end - begin, size_bytes);
    t->bytes = data + begin;
    t->size_bytes = size_bytes;
    return OK;
}

static status tensor_append(safetensors *s, const struct shard *shard, const char *name,
                            json_t *entry, size_t header_bytes, error *err)
{
    if (s->n_tensors == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        struct tensor *grown = memory_resize(s->tensors, room, sizeof *grown);
        if (!grown) return fail(err, ERR_MEMORY, "%s: out of memory", shard->path);
        s->tensors = grown;
        s->room = room;
    }
    struct tensor *t = &s->tensors[s->n_tensors];
    *t = (struct tensor){.file = shard->path};
    t->name = memory_copy(name, strlen(name));
    if (!t->name) return fail(err, ERR_MEMORY, "%s: out of memory", shard->path);
    s->n_tensors++;
    return tensor_read(t, entry, shard->map.bytes + 8 + header_bytes,
                       shard->map.size - 8 - header_bytes, err);
}

/* By place; an empty tensor stands before the one that begins there. */
static int tensor_compare_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return (x->size_bytes > y->size_bytes) - (x->size_bytes < y->size_bytes);
}

/* The tensors of one file, from `first` on, must follow each other without hole or overlap to its
 * very end. An empty tensor may stand on a border only: inside another it would be a second name for
 * its bytes. */
static status layout_check(safetensors *s, size_t first, const struct shard *shard,
                           size_t header_bytes, error *err)
{
    const unsigned char *data = shard->map.bytes + 8 + header_bytes, *at = data;
    size_t n = s->n_tensors - first;
    if (n) qsort(s->tensors + first, n, sizeof *s->tensors, tensor_compare_place);
    for (size_t i = first; i < s->n_tensors; i++) {
        const struct tensor *t = &s->tensors[i];
        if (t->bytes != at)
            return fail(err, ERR_FORMAT, "%s: tensor %s: begins at byte %zu, expected %zu (%s)",
                        shard->path, t->name, (size_t)(t->bytes - data), (size_t)(at - data),
                        t->bytes > at ? "a hole before it" : "it overlaps another tensor");
        at += t->size_bytes;
    }
    size_t rest = (size_t)(shard->map.bytes + shard->map.size - at);
    if (rest)
        return fail(err, ERR_FORMAT, "%s: %zu bytes behind the last tensor, expected none",
                    shard->path, rest);
    return OK;
}

static status header_size_read(const struct shard *shard, size_t *header_bytes, error *err)
{
    uint64_t size = 0;
    if (shard->map.size < 8)
        return fail(err, ERR_FORMAT, "%s: %zu bytes, too short for a safetensors file", shard->path,
                    shard->map.size);
    for (int i = 7; i >= 0; i--) size = size << 8 | shard->map.bytes[i];
    if (size > SAFETENSORS_HEADER_MAX || size > shard->map.size - 8)
        return fail(err, ERR_FORMAT,
                    "%s: header length %" PRIu64 ", expected at most %zu in a file of %zu bytes",
                    shard->path, size, SAFETENSORS_HEADER_MAX, shard->map.size);
    *header_bytes = (size_t)size;
    if (size == 0 || shard->map.bytes[8] != '{')
        return fail(err, ERR_FORMAT, "%s: header does not begin with '{'", shard->path);
    return OK;
}

static status metadata_check(const struct shard *shard, json_t *metadata, error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return fail(err, ERR_FORMAT, "%s: __metadata__ is no object", shard->path);
    json_object_foreach(metadata, key, value) if (!json_is_string(value)) return fail(
        err, ERR_FORMAT, "%s: __metadata__.%s is no string", shard->path, key);
    return OK;
}

static status shard_read(safetensors *s, const struct shard *shard, error *err)
{
    size_t header_bytes = 0, first = s->n_tensors;
    json_t *header = NULL, *entry;
    const char *name;
    status result = header_size_read(shard, &header_bytes, err);
    if (result != OK) return result;
    text json = {(const char *)shard->map.bytes + 8, header_bytes};
    result = json_text_parse(&header, json, shard->path, err);
    if (result != OK) return result;
    json_object_foreach(header, name, entry)
    {
        result = strcmp(name, "__metadata__") == 0
                     ? metadata_check(shard, entry, err)
                     : tensor_append(s, shard, name, entry, header_bytes, err);
        if (result != OK) break;
    }
    if (result == OK) result = layout_check(s, first, shard, header_bytes, err);
    json_decref(header);
    return result;
}

/* Weights are read whole, again and again: large pages spare a walk through page tables for every 4
 * KiB, worth a seventh of a decoding step. Only file systems with large folios give them, and only for
 * what is not cached in small ones yet; so it is a wish. */
static void large_pages_wish(const struct file_map *map)
{
    if (map->bytes) (void)madvise((void *)(uintptr_t)map->bytes, map->size, MADV_HUGEPAGE);
}

/* Maps and reads one more file; room for it in s->shards is there. */
static status shard_open(safetensors *s, const char *dir, const char *name, error *err)
{
    struct shard *shard = &s->shards[s->n_shards++];
    buffer path = {0};
    buffer_print(&path, "%s/%s", dir, name);
    shard->path = path.bytes;
    shard->name = memory_copy(name, strlen(name));
    if (path.failed || !shard->name) return fail(err, ERR_MEMORY, "%s: out of memory", dir);
    status result = file_map_open(&shard->map, shard->path, err);
    large_pages_wish(&shard->map);
    mapping_guard_add(shard->map.bytes, shard->map.size, shard->path);
    if (result == OK && stat(shard->path, &shard->identity) != 0)
        result = fail(err, ERR_IO, "%s: %s", shard->path, strerror(errno));
    return result == OK ? shard_read(s, shard, err) : result;
}

static int tensor_compare_name(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static status names_order(safetensors *s, error *err)
{
    if (s->n_tensors) qsort(s->tensors, s->n_tensors, sizeof *s->tensors, tensor_compare_name);
    for (size_t i = 1; i < s->n_tensors; i++) {
        const struct tensor *a = &s->tensors[i - 1], *b = &s->tensors[i];
        if (strcmp(a->name, b->name) == 0)
            return fail(err, ERR_FORMAT, "%s: tensor %s: also in %s", b->file, b->name, a->file);
    }
    return OK;
}

/* A plain file name: a shard never lies outside the model directory. */
static bool shard_name_plain(const char *name)
{
    return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static const struct shard *shard_find(const safetensors *s, const char *name)
{
    for (size_t i = 0; i < s->n_shards; i++)
        if (s->shards[i].name && strcmp(s->shards[i].name, name) == 0) return &s->shards[i];
    return NULL;
}

static status shards_open(safetensors *s, const char *dir, const char *index_path, json_t *map,
                          error *err)
{
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!shard_name_plain(name))
            return fail(err, ERR_FORMAT,
                        "%s: weight_map: tensor %s: file \"%s\", expected a plain file name",
                        index_path, tensor, name ? name : "(no string)");
        if (shard_find(s, name)) continue;
        if (s->n_shards == SHARDS_MAX)
            return fail(err, ERR_LIMIT, "%s: more than %d shards", index_path, SHARDS_MAX);
        status result = shard_open(s, dir, name, err);
        if (result != OK) return result;
    }
    return OK;
}

/* What the index says and what the shards hold must be the same. */
static status index_compare(const safetensors *s, const char *index_path, json_t *map, error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(map, name, value)
    {
        const struct tensor *t = safetensors_find(s, name);
        const struct shard *shard = shard_find(s, json_string_value(value));
        if (!t || !shard || t->file != shard->path)
            return fail(err, ERR_FORMAT, "%s: tensor %s: not in %s, where the index says it is",
                        index_path, name, json_string_value(value));
    }
    for (size_t i = 0; i < s->n_tensors; i++)
        if (!json_object_get(map, s->tensors[i].name))
            return fail(err, ERR_FORMAT, "%s: tensor %s: not named in %s", s->tensors[i].file,
                        s->tensors[i].name, index_path);
    return OK;
}

static status index_open(safetensors *s, const char *dir, const char *index_path, error *err)
{
    json_t *index = NULL, *map;
    status result = json_file_parse(&index, index_path, err);
    if (result != OK) return result;
    map = json_object_get(index, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        result = fail(err, ERR_FORMAT, "%s: weight_map: expected an object that names tensors",
                      index_path);
    if (result == OK) result = shards_open(s, dir, index_path, map, err);
    if (result == OK) result = names_order(s, err);
    if (result == OK) result = index_compare(s, index_path, map, err);
    json_decref(index);
    return result;
}

static status single_open(safetensors *s, const char *dir, error *err)
{
    status result = shard_open(s, dir, "model.safetensors", err);
    return result == OK ? names_order(s, err) : result;
}

/* A path that does not exist, or something else than "there is none" went wrong: let open say it. */
static bool path_absent(const char *path)
{
    struct stat st;
    return lstat(path, &st) != 0;
}

status safetensors_open(safetensors **out, const char *model_dir, error *err)
{
    buffer single = {0}, index = {0};
    status result = OK;
    safetensors *s = memory_take(1, sizeof *s);
    *out = NULL;
    buffer_print(&single, "%s/model.safetensors", model_dir);
    buffer_print(&index, "%s/model.safetensors.index.json", model_dir);
    if (s) s->shards = memory_take(SHARDS_MAX, sizeof *s->shards);
    if (!s || !s->shards || single.failed || index.failed) {
        result = fail(err, ERR_MEMORY, "%s: out of memory", model_dir);
        goto out;
    }
    if (!directory_exists(model_dir))
        result = fail(err, ERR_IO, "%s: no such directory", model_dir);
    else if (!path_absent(single.bytes))
        result = single_open(s, model_dir, err);
    else if (!path_absent(index.bytes))
        result = index_open(s, model_dir, index.bytes, err);
    else
        result = fail(err, ERR_IO,
                      "%s: neither model.safetensors nor model.safetensors.index.json is there",
                      model_dir);
out:
    buffer_free(&single);
    buffer_free(&index);
    if (result != OK) {
        safetensors_close(s);
        return result;
    }
    *out = s;
    return OK;
}

void safetensors_close(safetensors *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->n_tensors; i++) memory_free((void *)(uintptr_t)s->tensors[i].name);
    for (size_t i = 0; i < s->n_shards; i++) {
        mapping_guard_remove(s->shards[i].map.bytes);
        file_map_close(&s->shards[i].map);
        memory_free(s->shards[i].name);
        memory_free(s->shards[i].path);
    }
    memory_free(s->tensors);
    memory_free(s->shards);
    memory_free(s);
}

size_t safetensors_count(const safetensors *s) { return s->n_tensors; }
const struct tensor *safetensors_at(const safetensors *s, size_t i) { return &s->tensors[i]; }

const struct tensor *safetensors_find(const safetensors *s, const char *name)
{
    struct tensor key = {.name = name};
    if (s->n_tensors == 0) return NULL;
    return bsearch(&key, s->tensors, s->n_tensors, sizeof key, tensor_compare_name);
}

status safetensors_check_files(const safetensors *s, error *err)
{
    for (size_t i = 0; i < s->n_shards; i++) {
        struct stat st;
        const struct shard *shard = &s->shards[i];
        if (stat(shard->path, &st) != 0 || st.st_dev != shard->identity.st_dev ||
            st.st_ino != shard->identity.st_ino)
            continue;
        if ((uint64_t)st.st_size < shard->map.size)
            return fail(err, ERR_IO, "%s: cut to %lld bytes while in use, expected %zu",
                        shard->path, (long long)st.st_size, shard->map.size);
    }
    return OK;
}

/* IEEE 754 binary16 to binary32, exact. */
static float half_to_float(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31;
    uint32_t mantissa = half & 0x3ffu;
    union {
        uint32_t bits;
        float value;
    } out;
    if (exponent == 0) { /* zero or subnormal: mantissa * 2^-24 */
        out.value = (float)mantissa * 0x1p-24f;
        out.bits |= sign;
    } else {
        out.bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | mantissa << 13;
    }
    return out.value;
}

void tensor_widen(float *out, const struct tensor *t, size_t first, size_t n)
{
    const unsigned char *from = t->bytes + first * tensor_dtype_bytes(t->dtype);
    if (t->dtype == DTYPE_F32) memcpy(out, from, n * sizeof *out);
    if (t->dtype == DTYPE_BF16)
        for (size_t i = 0; i < n; i++) {
            uint32_t bits = (uint32_t)from[2 * i] << 16 | (uint32_t)from[2 * i + 1] << 24;
            memcpy(out + i, &bits, sizeof bits);
        }
    if (t->dtype == DTYPE_F16)
        for (size_t i = 0; i < n; i++) {
            uint16_t value;
            memcpy(&value, from + 2 * i, sizeof value);
            out[i] = half_to_float(value);
        }
}
