/* base/: expected values are from the standards named, or computed by hand beside them. */
#include "base/arena.h"
#include "base/base64.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "base/paths.h"
#include "base/sha256.h"
#include "base/utf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka's fail would hide ours. */
#include <cmocka.h>
#undef fail

static void errors_are_one_line(void **state)
{
    (void)state;
    error err;
    assert_int_equal(fail(&err, ERR_IO, "%s\n%d", "a\tb", 7), ERR_IO);
    assert_string_equal(err.message, "a?b?7");
    assert_int_equal(fail_in(&err, err.code, "%s", "file"), ERR_IO);
    assert_string_equal(err.message, "file: a?b?7");
    char longest[2000];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    fail(&err, ERR_IO, "%s", longest);
    fail_in(&err, ERR_IO, "%s", longest);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_int_equal(fail(NULL, ERR_LIMIT, "unheard"), ERR_LIMIT);
    assert_string_equal(status_name(ERR_DEVICE), "device");
}

/* FIPS 180-4 examples (NIST "SHA_All"), and one million letters a. */
static void sha256_of_the_standard(void **state)
{
    (void)state;
    char hex[65];
    sha256_hex("abc", 3, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_hex("", 0, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    sha256_hex(two, strlen(two), hex);
    assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    struct sha256 h;
    unsigned char digest[32];
    sha256_begin(&h);
    for (int i = 0; i < 10000; i++) {
        char piece[100];
        memset(piece, 'a', sizeof piece);
        sha256_put(&h, piece, sizeof piece);
    }
    sha256_end(&h, digest);
    assert_int_equal(digest[0], 0xcd);
    assert_int_equal(digest[1], 0xc7);
    assert_int_equal(digest[31], 0xd0);
}

/* RFC 4648, section 10; and what is not strict base64. */
static void base64_of_the_standard(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        buffer encoded = {0}, decoded = {0};
        base64_encode(&encoded, text_of(pairs[i][0]));
        assert_true(text_is(buffer_text(&encoded), pairs[i][1]));
        assert_true(base64_decode(&decoded, text_of(pairs[i][1])));
        assert_true(text_is(buffer_text(&decoded), pairs[i][0]));
        buffer_free(&encoded);
        buffer_free(&decoded);
    }
    static const char *const bad[] = {
        "Z", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm 9", "=g==", "Zg==Zg=="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        buffer out = {0};
        buffer_put_char(&out, '!');
        assert_false(base64_decode(&out, text_of(bad[i])));
        assert_true(text_is(buffer_text(&out), "!"));
        buffer_free(&out);
    }
}

/* Unicode 15, table 3-7: each row's edges, and what lies beside them. */
static void utf8_well_formed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        uint32_t code;
        size_t size;
    } rows[] = {{"\x7F", 0x7F, 1},
                {"\xC2\x80", 0x80, 2},
                {"\xDF\xBF", 0x7FF, 2},
                {"\xE0\xA0\x80", 0x800, 3},
                {"\xED\x9F\xBF", 0xD7FF, 3},
                {"\xEE\x80\x80", 0xE000, 3},
                {"\xF0\x90\x80\x80", 0x10000, 4},
                {"\xF4\x8F\xBF\xBF", 0x10FFFF, 4}};
    static const char *const bad[] = {"\x80",
                                      "\xC0\xAF",
                                      "\xC1\xBF",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xE2\x82",
                                      "\xFF"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size;
        char again[4];
        assert_int_equal(utf8_decode(text_of(rows[i].bytes), 0, &size), rows[i].code);
        assert_int_equal(size, rows[i].size);
        assert_int_equal(utf8_encode(rows[i].code, again), size);
        assert_memory_equal(again, rows[i].bytes, size);
        assert_true(utf8_valid(text_of(rows[i].bytes)));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t size;
        assert_int_equal(utf8_decode(text_of(bad[i]), 0, &size), 0xFFFD);
        assert_int_equal(size, 1);
        assert_false(utf8_valid(text_of(bad[i])));
    }
    assert_true(utf8_valid(TEXT("\xEF\xBF\xBD"))); /* U+FFFD itself is a character */
}

/* "aé😀b": bytes 0, 1..2, 3..6, 7; UTF-16 columns 0, 1, 2..3, 4; UTF-32 0, 1, 2, 3. */
static void columns(void **state)
{
    (void)state;
    text line = TEXT("a\xC3\xA9\xF0\x9F\x98\x80"
                     "b");
    assert_int_equal(column_to_byte(line, 2, ENCODING_UTF16), 3);
    assert_int_equal(column_to_byte(line, 3, ENCODING_UTF16), 3); /* inside a surrogate pair */
    assert_int_equal(column_to_byte(line, 4, ENCODING_UTF16), 7);
    assert_int_equal(column_to_byte(line, 99, ENCODING_UTF16), 8);
    assert_int_equal(column_to_byte(line, 2, ENCODING_UTF8), 1); /* inside é */
    assert_int_equal(column_to_byte(line, 3, ENCODING_UTF32), 7);
    assert_int_equal(byte_to_column(line, 7, ENCODING_UTF16), 4);
    assert_int_equal(byte_to_column(line, 8, ENCODING_UTF32), 4);
    assert_int_equal(utf8_floor(line, 5), 3);
    assert_int_equal(utf8_floor(line, 3), 3);
    assert_int_equal(utf8_floor(TEXT("\x80\x80\x80"), 2), 2);
}

static void texts_and_buffers(void **state)
{
    (void)state;
    text rest = TEXT("one\r\ntwo\n\nlast"), line;
    static const char *const lines[] = {"one", "two", "", "last"};
    for (size_t i = 0; i < 4; i++) {
        assert_true(text_next_line(&rest, &line));
        assert_true(text_is(line, lines[i]));
    }
    assert_false(text_next_line(&rest, &line));
    assert_true(text_is(text_slice(TEXT("abc"), 2, 99), "c"));
    assert_int_equal(text_slice(TEXT("abc"), 5, 1).size, 0);
    assert_int_equal(text_find(TEXT("abcabc"), TEXT("ca"), 0), 2);
    assert_int_equal(text_find(TEXT("abc"), TEXT("d"), 0), SIZE_MAX);
    assert_int_equal(text_common(TEXT("abcd"), TEXT("abX")), 2);
    assert_true(text_is(text_trim(TEXT(" \t x y\r\n")), "x y"));
    buffer b = {0};
    for (int i = 0; i < 1000; i++) buffer_print(&b, "%d,", i);
    assert_int_equal(b.size, 10 * 2 + 90 * 3 + 900 * 4);
    buffer_drop_front(&b, b.size - 4);
    assert_true(text_is(buffer_text(&b), "999,"));
    memory_fail_at(1);
    for (int i = 0; i < 5000; i++) buffer_print(&b, "%d,", i);
    memory_fail_at(0);
    assert_true(b.failed);
    buffer_clear(&b);
    assert_false(b.failed);
    buffer_free(&b);
    assert_true(hash_text(TEXT("12345678")) != hash_text(TEXT("12345678\0")));
}

static void memory_that_runs_out(void **state)
{
    (void)state;
    assert_null(memory_take(SIZE_MAX, 2));
    assert_null(memory_resize(NULL, SIZE_MAX / 2, 3));
    arena a = {0};
    char *first = arena_print(&a, "%s-%d", "x", 5);
    assert_string_equal(first, "x-5");
    assert_non_null(arena_take(&a, 1, 1 << 20));
    assert_string_equal(first, "x-5");
    assert_null(arena_take(&a, SIZE_MAX, 2));
    assert_true(a.failed);
    arena_reset(&a);
    assert_false(a.failed);
    memory_fail_at(2);
    void *one = memory_take(1, 1);
    assert_non_null(one);
    assert_null(memory_take(1, 1));
    assert_null(memory_take(1, 1));
    memory_fail_at(0);
    memory_free(one);
}

static void files(void **state)
{
    (void)state;
    char directory[] = "/tmp/dbrx-ls-base-XXXXXX", path[128], fifo[128], deep[160];
    error err;
    buffer content = {0};
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    snprintf(fifo, sizeof fifo, "%s/fifo", directory);
    snprintf(deep, sizeof deep, "%s/a/b/c", directory);
    assert_int_equal(file_write(path, TEXT("first"), 0600, &err), OK);
    assert_int_equal(file_write(path, TEXT("second"), 0600, &err), OK);
    assert_int_equal(file_read(&content, path, 6, &err), OK);
    assert_true(text_is(buffer_text(&content), "second"));
    assert_int_equal(file_read(&content, path, 5, &err), ERR_LIMIT);
    assert_non_null(strstr(err.message, "6 bytes, at most 5"));
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_int_equal(file_read(&content, fifo, 100, &err), ERR_FORMAT); /* and does not wait */
    assert_int_equal(file_read(&content, deep, 100, &err), ERR_IO);
    assert_int_equal(directory_make_private(deep, &err), OK);
    struct stat st;
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(directory_make_private(path, &err), ERR_IO);
    assert_int_equal(file_write("/proc/no/such", TEXT("x"), 0600, &err), ERR_IO);
    buffer_free(&content);
    char command[200];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

static void paths_of_the_user(void **state)
{
    (void)state;
    char directory[] = "/tmp/dbrx-ls-base-XXXXXX", expected[128], command[64];
    buffer path = {0};
    error err;
    assert_non_null(mkdtemp(directory));
    setenv("XDG_RUNTIME_DIR", directory, 1);
    assert_int_equal(path_runtime(&path, "engine.sock", &err), OK);
    snprintf(expected, sizeof expected, "%s/dbrx-ls/engine.sock", directory);
    assert_string_equal(path.bytes, expected);
    /* A relative directory is to be ignored: XDG base directory specification 0.8. */
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", directory, 1);
    assert_int_equal(path_cache(&path, "", &err), OK);
    snprintf(expected, sizeof expected, "%s/.cache/dbrx-ls", directory);
    assert_string_equal(path.bytes, expected);
    buffer_free(&path);
    snprintf(command, sizeof command, "rm -rf %s", directory);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_one_line),
        cmocka_unit_test(sha256_of_the_standard),
        cmocka_unit_test(base64_of_the_standard),
        cmocka_unit_test(utf8_well_formed),
        cmocka_unit_test(columns),
        cmocka_unit_test(texts_and_buffers),
        cmocka_unit_test(memory_that_runs_out),
        cmocka_unit_test(files),
        cmocka_unit_test(paths_of_the_user),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
