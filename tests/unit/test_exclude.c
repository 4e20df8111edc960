/* Files that may hold secrets, by name; expectations written by hand from the names tools use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "context/exclude.h"

#include <cmocka.h> /* last: it has a macro named fail */

static void test_excluded(void **state)
{
    (void)state;
    static const char *const paths[] = {".env",
                                        "a/.env.local",
                                        "prod.env",
                                        "/w/server.PEM",
                                        "id_rsa",
                                        "/h/.ssh/config",
                                        "keys/id_ed25519",
                                        ".netrc",
                                        "x/.npmrc",
                                        "vault.kdbx",
                                        "a.p12",
                                        "tls.key",
                                        "credentials",
                                        ".aws/credentials",
                                        ".docker/config.json",
                                        "h/.kube/config",
                                        "secrets.yaml",
                                        "terraform.tfstate",
                                        "my-credentials.json",
                                        "/h/.gnupg/x/y",
                                        ".ENV",
                                        "id_rsa.bak",
                                        "service-account-1.json",
                                        ".ssh/id.pub"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (!exclude_reason(text_of(paths[i]))) fail_msg("%s is not excluded", paths[i]);
}

static void test_not_excluded(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "main.c", "environment.ts", "key.c", "docker/config.json", "config", "keyboard.rs",
        "env.py", ".env.example", "id_rsa.pub", "a/credentials_test.go", "monkey.py",
        "my.ssh/readme.md",
        /* folders whose names begin as some keys do */
        "/home/k/dbrx-ls/lsp/assistant/completion_Cache2.c",
        "/srv/key-2/inference/service/README.md", "/tmp/dbrx-w8JW3I/tree/.vscode/settings.json",
        "a/npm_1/packages/editor/src/index.test.js"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        if (exclude_reason(text_of(paths[i]))) fail_msg("%s is excluded", paths[i]);
}

static void test_fail_closed(void **state)
{
    (void)state;
    static char longest[8192];
    memset(longest, 'a', sizeof longest);
    assert_non_null(exclude_reason((text){longest, sizeof longest}));
    assert_non_null(exclude_reason((text){"a.c\0.env", 8}));
    assert_null(exclude_reason((text){NULL, 0}));
}

static void check_globs(const char *lines, const char *path, bool excluded)
{
    exclude_set_globs(text_of(lines));
    assert_int_equal(exclude_reason(text_of(path)) != NULL, excluded);
    exclude_set_globs(TEXT(""));
}

static void test_users_patterns(void **state)
{
    (void)state;
    check_globs("*.sql", "a/b/dump.sql", true);
    check_globs("*.sql", "a/b/dump.sqlx", false);
    check_globs("*.sql\nlegal/", "x/legal/deep/a.txt", true);
    check_globs("legal/", "x/illegal/a.txt", false);
    check_globs("src/*.gen.c", "/w/src/a.gen.c", true);
    check_globs("src/*.gen.c", "lib/a.gen.c", false);
    check_globs("", "a.c", false);
    char many[20000];
    memset(many, 'x', sizeof many - 1);
    many[sizeof many - 1] = 0;
    check_globs(many, "a.c", true); /* too long to be kept: fail closed */
    assert_non_null(exclude_reason(TEXT("notes-ghp_16C7e42F292c6912E7710c838347Ae178B4a.md")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_excluded), cmocka_unit_test(test_users_patterns),
        cmocka_unit_test(test_not_excluded), cmocka_unit_test(test_fail_closed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
