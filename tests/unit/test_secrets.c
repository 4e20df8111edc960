/* Secrets in text. What is one was written by hand from the formats that services publish; the keys
 * are made up. In each line \x01 and \x02 stand around what must be masked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
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
        "https://hooks.slack.com/services/\x01T02AB3CD4/B05EF6GH7/q9Zr7Tq1LmPz4Vw8Xk2Nf6Hb\x02",
        "post to https://discord.com/api/webhooks/\x01"
        "812345678901234567/q9Zr7Tq1-LmPz4_Vw8Xk2\x02 now",
        "bot 110201543:\x01"
        "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1\x02",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) check(lines[i]);
}

/* How keys begin, and how many characters follow. */
static const struct {
    const char *prefix;
    size_t n;
} keys[] = {{"AKIA", 16},
            {"ASIA", 16},
            {"ABIA", 16},
            {"ghp_", 24},
            {"gho_", 24},
            {"ghu_", 24},
            {"ghs_", 24},
            {"ghr_", 24},
            {"github_pat_", 24},
            {"glpat-", 20},
            {"gldt-", 20},
            {"xoxa-", 14},
            {"xoxb-", 14},
            {"xoxp-", 14},
            {"xoxr-", 14},
            {"xoxs-", 14},
            {"xapp-", 14},
            {"sk_live_", 14},
            {"rk_live_", 14},
            {"sk_test_", 14},
            {"whsec_", 20},
            {"AIza", 34},
            {"ya29.", 24},
            {"GOCSPX-", 20},
            {"sk-", 24},
            {"npm_", 34},
            {"pypi-", 20},
            {"SG.", 24},
            {"hf_", 24},
            {"dop_v1_", 24},
            {"doo_v1_", 24},
            {"shpat_", 24},
            {"shpss_", 24},
            {"eyJ", 34},
            {"AGE-SECRET-KEY-", 20},
            {"dbrx-", 36},
            {"dckr_pat_", 20},
            {"dapi", 34},
            {"glsa_", 24},
            {"lin_api_", 24},
            {"rubygems_", 24},
            {"hvs.", 24},
            {"PMAK-", 24},
            {"sq0atp-", 20},
            {"NRAK-", 20},
            {"key-", 34},
            {"pk_live_", 14},
            {"figd_", 24},
            {"A3T", 21},
            {"LTAI", 20},
            {"AKID", 20},
            {"ABSK", 64},
            {"glptt-", 20},
            {"glrt-", 20},
            {"glcbt-", 20},
            {"glimt-", 20},
            {"glagent-", 20},
            {"gloas-", 20},
            {"glsoat-", 20},
            {"glft-", 20},
            {"glc_", 28},
            {"xoxe-", 24},
            {"xoxe.xox", 24},
            {"rk_test_", 14},
            {"sq0csp-", 24},
            {"EAAA", 60},
            {"shpca_", 24},
            {"shppa_", 24},
            {"CLOJARS_", 34},
            {"dckr_oat_", 20},
            {"dor_v1_", 24},
            {"dp.pt.", 34},
            {"dp.st.", 34},
            {"hvb.", 24},
            {"HRKU-", 24},
            {"fm2_", 34},
            {"pplx-", 34},
            {"gsk_", 34},
            {"xai-", 44},
            {"r8_", 34},
            {"api_org_", 24},
            {"ntn_", 34},
            {"ATATT3x", 44},
            {"ATCTT3x", 44},
            {"ATBB", 32},
            {"NRII-", 24},
            {"NRJS-", 20},
            {"NRRA-", 24},
            {"sntrys_", 34},
            {"sntryu_", 34},
            {"phx_", 34},
            {"dt0c01.", 34},
            {"pnu_", 34},
            {"rdme_", 44},
            {"sgp_", 34},
            {"sbp_", 34},
            {"tfp_", 34},
            {"tskey-", 24},
            {"shippo_live_", 34},
            {"EZAK", 44},
            {"duffel_live_", 34},
            {"FLWSECK-", 24},
            {"fio-u-", 44},
            {"pscale_tkn_", 34},
            {"pscale_pw_", 34},
            {"pscale_oauth_", 34},
            {"xkeysib-", 44},
            {"xsmtpsib-", 44},
            {"AKCp", 64},
            {"cmVmdGtuO", 44},
            {"p8e-", 34},
            {"ops_", 64},
            {"v1.0-", 64},
            {"dnkey-", 34},
            {"pat-na1-", 34},
            {"packagist_", 34},
            {"sm_pat_", 20},
            {"AQVN", 34},
            {"figo_", 24},
            {"bkua_", 34},
            {"CCIPAT_", 34},
            {"nfp_", 34},
            {"rzp_live_", 16},
            {"sk.eyJ", 44},
            {"sl.", 64},
            {"oy2", 44}};

/* Alone in prose: nothing but the format tells. One character short of half, it is a word. */
static void test_formats(void **state)
{
    (void)state;
    static const char body[] = "q9Zr7Tq1LmPz4Vw8Xk2Nf6Hb3Yd5Cj0SaQ9zR7tQ1lMpZ4vW8xK2nF6hB3yD5cJ0";
    char line[256];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        snprintf(line, sizeof line, "see \x01%s%.*s\x02 there", keys[i].prefix, (int)keys[i].n,
                 body);
        check(line);
        snprintf(line, sizeof line, "see %s%.*s there", keys[i].prefix, (int)keys[i].n / 3, body);
        check(line);
    }
}

/* Names of all kinds of spelling that values are assigned to. */
static void test_names(void **state)
{
    (void)state;
    static const char *const sure[] = {
        "password",     "my.passwd",      "PASSPHRASE",     "thePasscode",   "pwd",
        "clientSecret", "aws-credential", "private_key",    "privateKey",    "priv-key",
        "api.key",      "apiKey",         "access-key",     "AccessKey",     "account_key",
        "AccountKey",   "auth-key",       "authKey",        "signing_key",   "signingKey",
        "service_key",  "serviceKey",     "client_key",     "clientKey",     "consumer-key",
        "consumerKey",  "DATABASE_KEY",   "encryption_key", "encryptionKey", "master_key",
        "masterKey",    "license_key",    "licenseKey",     "deploy-key",    "DB_PASS",
        "dbPass",       "DATABASE_PASS",  "user_pass",      "userPass",      "ROOT_PASS",
        "SMTP_PASS",    "MAIL_PASS",      "FTP_PASS",       "key_pass",      "keyPass",
        "store_pass",   "storePass",
    };
    static const char *const unsure[] = {"access_token", "x-auth", "bearer", "session_key",
                                         "webhook"};
    char line[256];
    for (size_t i = 0; i < sizeof sure / sizeof *sure; i++) {
        snprintf(line, sizeof line, "%s: '%cab-cd1%c'", sure[i], 1, 2);
        check(line);
    }
    for (size_t i = 0; i < sizeof unsure / sizeof *unsure; i++) {
        snprintf(line, sizeof line, "%s: 'ab-cd1'", unsure[i]);
        check(line);
        snprintf(line, sizeof line, "%s: '\x01r4nd0m-v4lu3-x9\x02'", unsure[i]);
        check(line);
    }
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
        "see https://discord.com/api/webhooks/ID/TOKEN and hooks.slack.com/services/T00/B00",
        "at 12:AAHdqTcvCHAvGWJxfSeofSAsKKLPALDsaww",
        "token = \"next_of_the_line\"; secret: 'none'; password = \"\", password: 'null'",
        "password = read_line(3)[0]",
        "password: '${DB_PASSWORD_2}', secret = \"<changeme1>\", pwd: '%s_of_1', "
        "token='{{t0ken_of_yours}}'",
        "name = \"getUserAccountsettingsfromDatabase22\"",
        "return "
        "dapi_of_some_program_that_has_no_numbers(key-of-nothing-but-small-letters-and-dashes);",
        "password = settings_of_the_caller;",
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
        cmocka_unit_test(test_what_is_secret), cmocka_unit_test(test_formats),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_what_is_not),
        cmocka_unit_test(test_keys_in_names),  cmocka_unit_test(test_long_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
