/* Access keys: the file, who is let in by it, and what a running service makes of changes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/sha256.h"
#include "inference/service/connections.h"
#include "inference/service/key_ring.h"
#include "inference/service/keys.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Behind our headers: it has a macro named fail. */
#include <cmocka.h>

static char directory[64], path[80];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/dbrx-keys-XXXXXX");
    if (!mkdtemp(directory)) return -1;
    snprintf(path, sizeof path, "%s/keys", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void put_file(const char *content, unsigned mode)
{
    error err;
    assert_int_equal(file_write(path, text_of(content), 0600, &err), OK);
    assert_int_equal(chmod(path, mode), 0);
}

/* "saltsaltsaltsalt" in hex, and something of the size of a hash. */
#define SALT "73616c7473616c7473616c7473616c74"
#define HASH "eb5ef0e82e5aeb0a6d2b5d2a2ddd9a1a1a0a0b0b0c0c0d0d0e0e0f0f10101111"

static const struct {
    const char *file, *message; /* NULL: good */
} files[] = {
    {"", NULL},
    {"# a word\n\n   \n", NULL},
    {"alice user 2026-11-23T16:00:00Z " SALT " " HASH "\n", NULL},
    {"alice\tadmin  2026 " SALT " " HASH "\r\n", NULL},
    {"alice user 2026 " SALT " " HASH, NULL},
    {"alice root 2026 " SALT " " HASH "\n", "line 1"},
    {"\nalice user 2026 " SALT "\n", "line 2"},
    {"alice user 2026 " SALT " " HASH " more\n", "line 1"},
    {"alice user 2026 " SALT "0 " HASH "\n", "line 1"},
    {"alice user 2026 " SALT " x" HASH "\n", "line 1"},
    {"a,b user 2026 " SALT " " HASH "\n", "line 1"},
    {"-a user 2026 " SALT " " HASH "\n", "line 1"},
    {"alice user 20261123T160000000000000000000Z " SALT " " HASH "\n", "line 1"},
    {"a user 2026 " SALT " " HASH "\nb user 2026 " SALT " " HASH "\na user 2026 " SALT " " HASH,
     "line 3"},
};

static void test_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct access_keys keys;
        error err = {0};
        status s = keys_parse(&keys, text_of(files[i].file), "FILE", &err);
        assert_int_equal(s, files[i].message ? ERR_FORMAT : OK);
        if (files[i].message) assert_non_null(strstr(err.message, files[i].message));
        keys_free(&keys);
    }
}

static void test_hash_is_of_salt_and_key(void **state)
{
    (void)state;
    char hash[65], line[256];
    struct access_keys keys;
    error err;
    sha256_hex("saltsaltsaltsaltdbrx-one", 24, hash);
    /* printf saltsaltsaltsaltdbrx-one | sha256sum */
    assert_string_equal(hash, "3062fafb3e68d56e55c8fde9cb61604b974c1c90dbe53215bce2ccfcc6762ceb");
    snprintf(line, sizeof line, "alice user 2026 %s %s\n", SALT, hash);
    assert_int_equal(keys_parse(&keys, text_of(line), "FILE", &err), OK);
    const struct access_key *found = keys_find(&keys, TEXT("dbrx-one"));
    assert_non_null(found);
    assert_string_equal(found->name, "alice");
    assert_null(keys_find(&keys, TEXT("dbrx-on")));
    assert_null(keys_find(&keys, TEXT("dbrx-one ")));
    assert_null(keys_find(&keys, TEXT("")));
    keys_free(&keys);
}

/* 43 digits of base64url carry 256 bits, and two bits that are zero. */
static void key_check(text key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    assert_int_equal(key.size, 5 + 43);
    assert_memory_equal(key.bytes, "dbrx-", 5);
    for (size_t i = 5; i < key.size; i++) assert_non_null(memchr(digits, key.bytes[i], 64));
}

static void test_add_find_revoke(void **state)
{
    (void)state;
    buffer alice = {0}, bob = {0}, content = {0};
    struct access_keys keys;
    struct stat st;
    error err;
    assert_int_equal(keys_add(&alice, path, "alice", false, &err), OK);
    assert_int_equal(keys_add(&bob, path, "bob@example.com", true, &err), OK);
    key_check(buffer_text(&alice));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(keys_add(&alice, path, "alice", false, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "alice"));
    assert_int_equal(keys_add(&alice, path, "no space", false, &err), ERR_USAGE);
    assert_int_equal(keys_add(&alice, path, "", false, &err), ERR_USAGE);
    assert_int_equal(alice.size, 5 + 43);
    assert_int_equal(file_read(&content, path, 65536, &err), OK);
    assert_int_equal(text_find(buffer_text(&content), buffer_text(&alice), 0), SIZE_MAX);
    assert_int_equal(keys_read(&keys, path, &err), OK);
    assert_int_equal(keys.n, 2);
    assert_string_equal(keys_find(&keys, buffer_text(&alice))->name, "alice");
    assert_true(keys_find(&keys, buffer_text(&bob))->admin);
    keys_free(&keys);
    assert_int_equal(keys_revoke(path, "carol", &err), ERR_USAGE);
    assert_int_equal(keys_revoke(path, "alice", &err), OK);
    assert_int_equal(keys_read(&keys, path, &err), OK);
    assert_int_equal(keys.n, 1);
    assert_null(keys_find(&keys, buffer_text(&alice)));
    assert_non_null(keys_find(&keys, buffer_text(&bob)));
    keys_free(&keys);
    buffer_free(&alice);
    buffer_free(&bob);
    buffer_free(&content);
}

static void test_who_may_read_it(void **state)
{
    (void)state;
    struct access_keys keys;
    error err;
    assert_int_equal(keys_read(&keys, path, &err), OK); /* none yet */
    assert_int_equal(keys.n, 0);
    keys_free(&keys);
    static const unsigned refused[] = {0640, 0604, 0620, 0602, 0666};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        put_file("", refused[i]);
        assert_int_equal(keys_read(&keys, path, &err), ERR_IO);
        assert_non_null(strstr(err.message, "expected 0600"));
    }
    put_file("", 0400);
    assert_int_equal(keys_read(&keys, path, &err), OK);
    keys_free(&keys);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(keys_read(&keys, path, &err), ERR_IO);
    assert_non_null(strstr(err.message, "regular"));
}

/* Writers that come together lose nothing of each other. */
static void test_many_writers(void **state)
{
    (void)state;
    enum { WRITERS = 4, EACH = 8 };
    struct access_keys keys;
    error err;
    for (int w = 0; w < WRITERS; w++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child) continue;
        for (int i = 0; i < EACH; i++) {
            char name[16];
            buffer key = {0};
            snprintf(name, sizeof name, "w%d-%d", w, i);
            if (keys_add(&key, path, name, false, NULL) != OK) _exit(1);
            buffer_free(&key);
        }
        _exit(0);
    }
    for (int w = 0; w < WRITERS; w++) {
        int how;
        assert_true(wait(&how) > 0);
        assert_int_equal(how, 0);
    }
    assert_int_equal(keys_read(&keys, path, &err), OK);
    assert_int_equal(keys.n, WRITERS * EACH);
    keys_free(&keys);
}

static void test_ring_follows_the_file(void **state)
{
    (void)state;
    buffer alice = {0}, again = {0};
    struct key_ring ring;
    struct caller first = {0}, second = {0};
    error err;
    assert_int_equal(key_ring_open(&ring, path, "single", &err), OK);
    uint64_t version = key_ring_version(&ring);
    assert_int_equal(key_ring_count(&ring), 1);
    assert_false(key_ring_find(&ring, TEXT("single"), &first)); /* it is no key of the file */
    assert_true(key_ring_is_single(&ring, TEXT("single"), &first));
    assert_false(key_ring_is_single(&ring, TEXT("singl"), &first));
    assert_int_equal(keys_add(&alice, path, "alice", false, &err), OK);
    assert_true(key_ring_find(&ring, buffer_text(&alice), &first)); /* without waiting */
    assert_string_equal(first.name, "alice");
    assert_false(first.admin);
    assert_true(key_ring_holds(&ring, first.key_id));
    assert_true(key_ring_version(&ring) > version);
    assert_int_equal(keys_revoke(path, "alice", &err), OK);
    version = key_ring_version(&ring);
    assert_false(key_ring_holds(&ring, first.key_id));
    assert_true(key_ring_holds(&ring, CALLER_SINGLE));
    assert_false(key_ring_find(&ring, buffer_text(&alice), &second));
    assert_int_equal(key_ring_version(&ring), version);
    /* The same name again is another key, with a cache of its own. */
    assert_int_equal(keys_add(&again, path, "alice", true, &err), OK);
    assert_true(key_ring_find(&ring, buffer_text(&again), &second));
    assert_true(second.admin);
    assert_true(second.owner != first.owner && second.key_id != first.key_id);
    key_ring_close(&ring);
    buffer_free(&alice);
    buffer_free(&again);
}

/* A file with a fault, or readable by others, or away: nobody comes in by it. */
static void test_ring_fails_closed(void **state)
{
    (void)state;
    buffer alice = {0}, good = {0};
    struct key_ring ring;
    struct caller caller;
    error err;
    assert_int_equal(keys_add(&alice, path, "alice", false, &err), OK);
    assert_int_equal(file_read(&good, path, 65536, &err), OK);
    assert_int_equal(key_ring_open(&ring, path, NULL, &err), OK);
    assert_true(key_ring_find(&ring, buffer_text(&alice), &caller));
    put_file("alice user\n", 0600);
    assert_false(key_ring_find(&ring, buffer_text(&alice), &caller));
    put_file(good.bytes, 0600);
    assert_true(key_ring_find(&ring, buffer_text(&alice), &caller));
    assert_int_equal(chmod(path, 0644), 0);
    assert_false(key_ring_find(&ring, buffer_text(&alice), &caller));
    assert_int_equal(chmod(path, 0600), 0);
    assert_true(key_ring_find(&ring, buffer_text(&alice), &caller));
    unlink(path);
    assert_false(key_ring_find(&ring, buffer_text(&alice), &caller));
    put_file(good.bytes, 0600);
    assert_true(key_ring_find(&ring, buffer_text(&alice), &caller));
    put_file("alice user\n", 0600);
    key_ring_close(&ring);
    assert_int_equal(key_ring_open(&ring, path, NULL, &err), ERR_FORMAT);
    key_ring_close(&ring);
    buffer_free(&alice);
    buffer_free(&good);
}

static struct sockaddr_storage address(const char *words)
{
    struct sockaddr_storage out = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, words, &v4.sin_addr) == 1)
        memcpy(&out, &v4, sizeof v4);
    else if (inet_pton(AF_INET6, words, &v6.sin6_addr) == 1)
        memcpy(&out, &v6, sizeof v6);
    return out;
}

/* 20 wrong keys are free; another address is another matter, the rest of a /64 is not. */
static void test_attempts(void **state)
{
    (void)state;
    struct connections all;
    struct sockaddr_storage one = address("2001:db8::1"), near = address("2001:db8::2:3"),
                            far = address("2001:db8:1::1");
    connections_open(&all);
    const struct sockaddr *from = (const struct sockaddr *)&one;
    struct connection *a = connection_begin(&all, -1, from);
    struct connection *b = connection_begin(&all, -1, (const struct sockaddr *)&near);
    struct connection *c = connection_begin(&all, -1, (const struct sockaddr *)&far);
    for (int i = 0; i < 20; i++) {
        assert_true(attempt_allowed(&all, a));
        attempt_failed(&all, a);
    }
    assert_false(attempt_allowed(&all, a));
    assert_false(attempt_allowed(&all, b));
    assert_true(attempt_allowed(&all, c));
    char words[64];
    peer_address_print(words, sizeof words, &b->address);
    assert_string_equal(words, "2001:db8::");
    connection_end(&all, a);
    connection_end(&all, b);
    connection_end(&all, c);
    assert_int_equal(connections_count(&all), 0);
}

static void test_strangers(void **state)
{
    (void)state;
    enum { N = HTTP_CONNECTIONS_STRANGE_MAX };
    struct connections all;
    struct connection *held[N];
    struct sockaddr_storage one = address("192.0.2.1"), other = address("192.0.2.2");
    struct sockaddr unix_socket = {.sa_family = AF_UNIX};
    const struct sockaddr *from = (const struct sockaddr *)&one;
    connections_open(&all);
    for (int i = 0; i < N; i++) {
        assert_true(connection_welcome(&all, from));
        held[i] = connection_begin(&all, -1, from);
    }
    assert_false(connection_welcome(&all, from));
    assert_true(connection_welcome(&all, (const struct sockaddr *)&other));
    assert_true(connection_welcome(&all, &unix_socket));
    /* One of them shows a key: no stranger any more. */
    assert_int_equal(connection_name(&all, held[3], CALLER_KEYS + 7), 1);
    assert_int_equal(connection_name(&all, held[4], CALLER_KEYS + 7), 2);
    assert_true(connection_welcome(&all, from));
    for (int i = 0; i < N; i++) connection_end(&all, held[i]);
}

static bool is_seven(void *context, uint64_t key_id)
{
    (void)context;
    return key_id == 7;
}

/* Shut down are those that are late, and those whose key has gone; nobody else. */
static void test_check(void **state)
{
    (void)state;
    struct connections all;
    struct connection *c[3];
    int pair[3][2];
    char byte;
    connections_open(&all);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair[i]), 0);
        c[i] = connection_begin(&all, pair[i][0], NULL);
        connection_name(&all, c[i], i == 2 ? 8 : 7);
        connection_allow(&all, c[i], i == 1 ? 0 : 60000000);
    }
    connections_check(&all, NULL, NULL);
    assert_int_equal(read(pair[0][1], &byte, 1), -1);
    assert_int_equal(read(pair[1][1], &byte, 1), 0); /* late: at its end */
    assert_int_equal(read(pair[2][1], &byte, 1), -1);
    connections_check(&all, is_seven, NULL);
    assert_int_equal(read(pair[0][1], &byte, 1), -1);
    assert_int_equal(read(pair[2][1], &byte, 1), 0);
    for (int i = 0; i < 3; i++) {
        connection_end(&all, c[i]);
        close(pair[i][0]);
        close(pair[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_hash_is_of_salt_and_key),
        cmocka_unit_test_setup_teardown(test_add_find_revoke, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_who_may_read_it, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_many_writers, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_ring_follows_the_file, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_ring_fails_closed, make_directory, remove_directory),
        cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
