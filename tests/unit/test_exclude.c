/* Files that may hold secrets, by name; expectations written by hand from the names tools use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "context/exclude.h"

#include <cmocka.h> /* last: it has a macro named fail */

static const char *const secret_names[] = {".env",
                                           "a/.env.local",
                                           ".envrc",
                                           "prod.env",
                                           "/w/server.PEM",
                                           "tls.key",
                                           "putty.ppk",
                                           "mail.asc",
                                           "notes.txt.gpg",
                                           "AuthKey_1.p8",
                                           "sign.pk8",
                                           "x.pgp",
                                           "sign.pvk",
                                           "secring.skr",
                                           "config/initializers/secret_token.rb",
                                           "id_rsa",
                                           "id_rsa.bak",
                                           "id_dsa",
                                           "keys/id_ecdsa",
                                           "keys/id_ed25519",
                                           "ssh_host_rsa_key",
                                           "a.p12",
                                           "b.pfx",
                                           "c.jks",
                                           "d.keystore",
                                           "login.keychain-db",
                                           "e.jceks",
                                           "f.bks",
                                           "g.pkcs12",
                                           "wallet.dat",
                                           "old.kdb",
                                           "vault.kdbx",
                                           ".netrc",
                                           "_netrc",
                                           "x/.npmrc",
                                           ".pypirc",
                                           ".pgpass",
                                           ".my.cnf",
                                           ".htpasswd",
                                           ".git-credentials",
                                           ".dockercfg",
                                           ".dockerconfigjson",
                                           ".s3cfg",
                                           ".boto",
                                           ".terraformrc",
                                           ".vault-token",
                                           "ansible/.vault_pass.txt",
                                           "htpasswd",
                                           ".ftpconfig",
                                           ".vscode/sftp-config.json",
                                           ".bash_history",
                                           ".docker/config.json",
                                           "h/.kube/config",
                                           ".aws/credentials",
                                           ".aws/config",
                                           "kubeconfig-prod",
                                           "prod.kubeconfig",
                                           "credentials",
                                           "credentials.toml",
                                           "gcp.credentials",
                                           "my-credentials.json",
                                           "my_credentials.json",
                                           "client_secret_1.json",
                                           "service-account-1.json",
                                           "secrets.yaml",
                                           "api.secret",
                                           "api.secrets",
                                           "terraform.tfstate",
                                           "prod.tfvars",
                                           "work.ovpn",
                                           "etc/passwd",
                                           "etc/shadow",
                                           "/h/.ssh/known",
                                           "/h/.gnupg/x/y",
                                           "h/.password-store/a",
                                           "h/.azure/x",
                                           ".ENV",
                                           ".ssh/id.pub",
                                           "h/.SSH/other",
                                           "/h/.Aws/x/y"};

static void test_excluded(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof secret_names / sizeof *secret_names; i++)
        if (!exclude_reason(text_of(secret_names[i])))
            fail_msg("%s is not excluded", secret_names[i]);
}

static void test_not_excluded(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "main.c", "environment.ts", "key.c", "docker/config.json", "config", "keyboard.rs",
        "env.py", ".env.example", "a/.env.sample", ".env.template", "id_rsa.pub", "history.c",
        "a_history", "a/credentials_test.go", "monkey.py", "my.ssh/readme.md", ".sshx/readme.md",
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
