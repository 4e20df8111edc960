/* Secrets in text. What is one was written by hand from the formats that services publish; the keys
 * are made up. In each line \x01 and \x02 stand around what must be masked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "context/secrets.h"

#include <cmocka.h> /* last: it has a macro named fail */

/* Takes the brackets out: `plain` without them, `masked` with stars between them. */
static void marks_read(const char *line, buffer *plain, buffer *masked)
{
    bool inside = false;
    for (const char *c = line; *c; c++) {
        if (*c == '\x01' || *c == '\x02') {
            inside = *c == '\x01';
            continue;
        }
        buffer_put_char(plain, *c);
        buffer_put_char(masked, inside && *c != '\n' ? '*' : *c);
    }
}

static void check(const char *line)
{
    buffer plain = {0}, masked = {0};
    buffer_put(&plain, "", 0);
    buffer_put(&masked, "", 0);
    marks_read(line, &plain, &masked);
    bool any = strchr(line, '\x01') != NULL;
    assert_int_equal(secrets_mask(plain.bytes, plain.size), any);
    assert_string_equal(plain.bytes, masked.bytes);
    buffer_free(&plain);
    buffer_free(&masked);
}

static void test_what_is_secret(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "key = \x01"
        "AKIAQ3EGRI7XKJ2PLM4Z\x02;",
        "# \x01ghp_16C7e42F292c6912E7710c838347Ae178B4a\x02 is mine",
        "curl -H \"Authorization: Bearer \x01"
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN\x02\"",
        "slack('\x01xoxb-2345678901-AbCdEfGhIj\x02')",
        "stripe: \x01sk_live_4eC39HqLyjWDarjtT1zdp7dc\x02",
        "git clone https://\x01me:hunter2\x02@host/x.git",
        "url = \"https://\x01x0f93kd83jf9a2b\x02@host/x\"",
        "postgres://\x01"
        "app:pw\x02@db:5432/app",
        "PASSWORD = \"\x01hunter2\x02\"",
        "  password: \x01s3cr3tvalue\x02",
        "DB_PASSWORD=\x01hunter22\x02",
        "{\"client_secret\": \"\x01"
        "correcthorsebattery\x02\"}",
        "setToken(\"\x01"
        "a8f5f167f44f4964e6c998dee827110c\x02\")",
        "api_key => '\x01"
        "12345-abcde\x02'",
        "const k = \"\x01Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5MGFiY2RlRkdI\x02\";",
        "-----BEGIN",
        "\x01-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc\n\x02-----END RSA PRIVATE "
        "KEY-----\n",
        "key: \"\x01-----BEGIN PRIVATE KEY-----\\nMIIE\\n\x02-----END PRIVATE KEY-----\"",
        "x\n\x01MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\x02\ny",
        "\x01MIIEowIBAA\nq9\n\x02-----END RSA PRIVATE KEY-----\n",
        "h = 'authorization: bearer \x01"
        "bb989cee353cb2a7a09e939fd1794a30\x02'",
        "GET /a?access_token=\x01"
        "9f86d081884c7d659a2f\x02&b=1",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) check(lines[i]);
}

static void test_what_is_not(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "password = os.environ[\"DB_PASSWORD\"]",
        "password = getpass()",
        "password: ${DB_PASSWORD}",
        "token = next(lexer)",
        "enum token { TOKEN_IDENTIFIER, TOKEN_NUMBER };",
        "if (token == TOKEN_END_OF_FILE) return parse_token_list(token);",
        "const char *password = NULL; bool has_secret = false;",
        "https://example.com/a/b?c=d user@example.com git@github.com:a/b.git",
        "commit 1f90bbb55e65e7de68921bc3f1a2d94492fdf689",
        "sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
        "import com.example.very.long.package.name.Some_Class_Name_With_Digits_123;",
        "static const char name[] = \"a_long_identifier_in_a_string_of_our_own\";",
        "if (starts(line, \"x\"))\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "skip-the-next-twenty-characters-please sk-not-a-key",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) check(lines[i]);
}

static void test_keys_in_names(void **state)
{
    (void)state;
    size_t at, end;
    text branch = TEXT("fix/ghp_16C7e42F292c6912E7710c838347Ae178B4a-x");
    assert_true(secret_key_find(branch, 0, &at, &end));
    assert_int_equal(at, 4);
    assert_false(secret_key_find(TEXT("password: hunter22"), 0, &at, &end));
    assert_false(secret_key_find(TEXT("src/tokens/password_reset.py"), 0, &at, &end));
    assert_false(secret_key_find(TEXT("/tmp/dbrx-w8JW3I/tree/lsp/assistant/run.c"), 0, &at, &end));
    assert_true(
        secret_key_find(TEXT("keys/dbrx-Zk3vQ9pLwX7cB2nM5tR8yU1iO4aS6dF0/a.c"), 0, &at, &end));
}

/* Megabytes on one line cost one pass. */
static void test_long_lines(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    static const char *const repeated[] = {
        "A/b1", "token=\"", "a.b=", "password: '", "=", "-----BEGIN "};
    char *bytes = malloc(SIZE);
    assert_non_null(bytes);
    for (size_t k = 0; k < sizeof repeated / sizeof *repeated; k++) {
        size_t n = strlen(repeated[k]);
        for (size_t i = 0; i < SIZE; i++) bytes[i] = repeated[k][i % n];
        secrets_mask(bytes, SIZE);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_secret),
        cmocka_unit_test(test_what_is_not),
        cmocka_unit_test(test_keys_in_names),
        cmocka_unit_test(test_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
