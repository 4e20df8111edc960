/* The safetensors reader: what it reads, and what it refuses with which words. Files are written here
 * byte by byte from the format's description. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inference/safetensors.h"

#include "tests/unit/model_dir.h"

enum { NAME = 32 };

/* Header length, header, `data_bytes` bytes 0, 1, 2, ... */
static void tensors_put(const char *directory, const char *file, const char *header,
                        size_t header_bytes, uint64_t claimed_bytes, size_t data_bytes)
{
    buffer b = {0};
    for (int i = 0; i < 8; i++) buffer_put_char(&b, (char)(claimed_bytes >> 8 * i & 0xff));
    buffer_put(&b, header, header_bytes);
    for (size_t i = 0; i < data_bytes; i++) buffer_put_char(&b, (char)i);
    file_put(directory, file, buffer_text(&b));
    buffer_free(&b);
}

static const char *directory_new(void)
{
    static int n;
    static char name[NAME];
    snprintf(name, sizeof name, "dir%d", n++);
    const char *path = model_path(name);
    assert_int_equal(mkdir(path, 0700), 0);
    return path;
}

static void file_expect(const char *header, size_t data_bytes, const char *fragment)
{
    const char *dir = directory_new();
    safetensors *s = NULL;
    error err = {0};
    tensors_put(dir, "model.safetensors", header, strlen(header), strlen(header), data_bytes);
    status rc = safetensors_open(&s, dir, &err);
    if (!fragment && rc != OK) fail_msg("%s: %s", header, err.message);
    if (fragment && (rc == OK || !strstr(err.message, fragment) || !strstr(err.message, dir)))
        fail_msg("%s: found \"%s\", expected \"%s\"", header, err.message, fragment);
    safetensors_close(s);
}

#define A "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}"

static const struct {
    const char *header;
    size_t data_bytes;
    const char *fragment;
} headers[] = {
    {"{" A "}", 8, NULL},
    {"{" A "}    ", 8, NULL}, /* padded with spaces, as writers do */
    {"{}", 0, NULL},
    {"{\"__metadata__\":{\"format\":\"pt\"}," A "}", 8, NULL},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,2]}}", 2, NULL},
    {"{\"z\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[8,8]}," A "}", 8, NULL},
    {"{\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}," A "}", 8, NULL},

    {"{" A "}", 7, "a: ends at byte 8, but only 7 bytes follow"},
    {"{" A "}", 9, "1 bytes behind the last tensor"},
    {"{" A "," A "}", 8, "duplicate"},
    {"{" A "} {}", 8, "expected"},
    {"{" A, 8, "line 1"},
    {"[1]", 0, "does not begin with '{'"},
    {" {" A "}", 8, "does not begin with '{'"},
    {"{\"\xff\":{}}", 0, "unable to decode byte 0xff"},
    {"{\"a\":[]}", 0, "a: expected an object"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "a: dtype missing"},
    {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "a: dtype missing"},
    {"{\"a\":{\"dtype\":\"F7\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "unknown dtype \"F7\""},
    {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, "a: shape is no array"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, "a: shape is no array"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
     "at most 8 dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, "shape[0]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, "shape[0]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
     "overflows"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8,
     "too big integer"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8,
     "hold 8 bytes, expected 12"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "data_offsets is not [begin, end]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,9]}}", 8, "not [begin, end]"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, "0 <= begin <= end"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, "0 <= begin <= end"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
     "unknown key \"x\""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "a hole before it"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}", 16,
     "b: begins at byte 12, expected 8 (a hole"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12,
     "it overlaps another tensor"},
    {"{" A ",\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "overlaps"},
    {"{\"z\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}," A "}", 8, "overlaps"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__.a is no string"},
    {"{\"__metadata__\":[]}", 0, "__metadata__ is no object"},
};

static void headers_are_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        file_expect(headers[i].header, headers[i].data_bytes, headers[i].fragment);
}

static void header_length_is_checked(void **state)
{
    (void)state;
    static const struct {
        uint64_t claimed;
        const char *fragment;
    } lengths[] = {
        {100000001, "header length 100000001"},
        {UINT64_MAX, "header length 18446744073709551615"},
        {1000, "header length 1000"},
        {0, "does not begin with '{'"},
        {5, "line 1"},
    };
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const char *dir = directory_new();
        safetensors *s;
        error err = {0};
        tensors_put(dir, "model.safetensors", "{" A "}", strlen("{" A "}"), lengths[i].claimed, 8);
        assert_int_not_equal(safetensors_open(&s, dir, &err), OK);
        if (!strstr(err.message, lengths[i].fragment)) fail_msg("%s", err.message);
    }
    for (size_t size = 0; size < 8; size++) {
        const char *dir = directory_new();
        safetensors *s;
        error err = {0};
        file_put(dir, "model.safetensors", (text){"\2\0\0\0\0\0\0\0", size});
        assert_int_equal(safetensors_open(&s, dir, &err), ERR_FORMAT);
        assert_non_null(strstr(err.message, "too short"));
    }
}

static void nesting_and_count_are_bounded(void **state)
{
    (void)state;
    buffer deep = {0}, many = {0};
    buffer_put_text(&deep, TEXT("{\"a\":"));
    for (int i = 0; i < 100000; i++) buffer_put_char(&deep, '[');
    file_expect(deep.bytes, 0, "nested deeper than 128");
    buffer_put_text(&many, TEXT("{\"a\":["));
    for (int i = 0; i < 1000001; i++) buffer_put_text(&many, TEXT("{},"));
    buffer_put_text(&many, TEXT("{}]}"));
    file_expect(many.bytes, 0, "JSON objects and arrays, at most 1000000");
    buffer_free(&deep);
    buffer_free(&many);
}

static void single_file_is_read(void **state)
{
    (void)state;
    const char *dir = directory_new();
    static const char header[] =
        "{\"b\":{\"dtype\":\"BF16\",\"shape\":[3,2],\"data_offsets\":[8,20]}," A "}";
    safetensors *s = NULL;
    error err;
    tensors_put(dir, "model.safetensors", header, strlen(header), strlen(header), 20);
    if (safetensors_open(&s, dir, &err) != OK) fail_msg("%s", err.message);
    assert_int_equal(safetensors_count(s), 2);
    assert_string_equal(safetensors_at(s, 0)->name, "a");
    const struct tensor *b = safetensors_find(s, "b");
    assert_non_null(b);
    assert_int_equal(b->dtype, DTYPE_BF16);
    assert_int_equal(b->n_dimensions, 2);
    assert_int_equal(b->shape[0], 3);
    assert_int_equal(b->shape[1], 2);
    assert_int_equal(b->size_bytes, 12);
    for (int i = 0; i < 12; i++) assert_int_equal(b->bytes[i], 8 + i);
    assert_null(safetensors_find(s, "c"));
    assert_int_equal(safetensors_check_files(s, &err), OK);
    shell("truncate -s 30 %s/model.safetensors", dir);
    assert_int_equal(safetensors_check_files(s, &err), ERR_IO);
    assert_non_null(strstr(err.message, "cut to 30 bytes while in use"));
    safetensors_close(s);
}

/* Two shards: a in one.safetensors, b in two.safetensors; the index as given. */
static void index_expect(const char *map, const char *fragment)
{
    static const char b[] = "{\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}";
    const char *dir = directory_new();
    safetensors *s = NULL;
    error err = {0};
    tensors_put(dir, "one.safetensors", "{" A "}", strlen("{" A "}"), strlen("{" A "}"), 8);
    tensors_put(dir, "two.safetensors", b, strlen(b), strlen(b), 4);
    tensors_put(dir, "again.safetensors", "{" A "}", strlen("{" A "}"), strlen("{" A "}"), 8);
    file_put(dir, "model.safetensors.index.json", text_of(map));
    status rc = safetensors_open(&s, dir, &err);
    if (!fragment) {
        if (rc != OK) fail_msg("%s: %s", map, err.message);
        assert_int_equal(safetensors_count(s), 2);
        assert_int_equal(safetensors_find(s, "b")->bytes[3], 3);
        assert_non_null(strstr(safetensors_find(s, "b")->file, "/two.safetensors"));
    } else if (rc == OK || !strstr(err.message, fragment)) {
        fail_msg("%s: found \"%s\", expected \"%s\"", map, err.message, fragment);
    }
    safetensors_close(s);
}

static void index_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *map, *fragment;
    } table[] = {
        {"{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}", NULL},
        {"{}", "weight_map"},
        {"[]", "weight_map"},
        {"{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}", "b: not in one.safetensors"},
        {"{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}", "not in"},
        {"{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":\"two.safetensors\"}",
         "c: not in two.safetensors"},
        {"{\"b\":\"two.safetensors\",\"x\":\"one.safetensors\"}", "x: not in one.safetensors"},
        {"{\"a\":\"one.safetensors\",\"b\":\"again.safetensors\"}", "a: also in"},
        {"{\"a\":\"none.safetensors\"}", "none.safetensors: No such file"},
        {"{\"a\":\"../one.safetensors\"}", "file \"../one.safetensors\", expected a plain"},
        {"{\"a\":\"/etc/passwd\"}", "expected a plain file name"},
        {"{\"a\":\"..\"}", "expected a plain file name"},
        {"{\"a\":\"\"}", "expected a plain file name"},
        {"{\"a\":5}", "expected a plain file name"},
        {"{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        buffer b = {0};
        buffer_print(&b, "{\"metadata\":{\"total_size\":12},\"weight_map\":%s}", table[i].map);
        index_expect(b.bytes, table[i].fragment);
        buffer_free(&b);
    }
    index_expect("{\"weight_map\":", "line 1");
    index_expect("{}", "weight_map");
}

static void absent_files_are_named(void **state)
{
    (void)state;
    safetensors *s;
    error err;
    assert_int_equal(safetensors_open(&s, model_path("nowhere"), &err), ERR_IO);
    assert_non_null(strstr(err.message, "nowhere: no such directory"));
    assert_int_equal(safetensors_open(&s, directory_new(), &err), ERR_IO);
    assert_non_null(strstr(err.message, "neither model.safetensors nor"));
    const char *fifo = directory_new();
    shell("mkfifo %s/model.safetensors", fifo);
    assert_int_equal(safetensors_open(&s, fifo, &err), ERR_FORMAT);
    assert_non_null(strstr(err.message, "not a regular file"));
    const char *dangling = directory_new();
    shell("ln -s gone %s/model.safetensors", dangling);
    assert_int_equal(safetensors_open(&s, dangling, &err), ERR_IO);
    assert_non_null(strstr(err.message, "model.safetensors: No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_are_checked),
        cmocka_unit_test(header_length_is_checked),
        cmocka_unit_test(nesting_and_count_are_bounded),
        cmocka_unit_test(single_file_is_read),
        cmocka_unit_test(index_is_checked),
        cmocka_unit_test(absent_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, model_root_remove);
}
