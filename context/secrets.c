/* One pass by runs of key characters. A run is judged three times: by its own format (a prefix that
 * some service gives its keys), by what stands before it (the name it is assigned to, the scheme of an
 * address), and by itself (long, in quotes, of all kinds of characters). */
#include "context/secrets.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* A prefix of keys, and how many key characters must follow. */
static const struct key_format {
    const char *prefix;
    size_t n_min;
} formats[] = {
    {"AKIA", 12},
    {"ASIA", 12},
    {"ABIA", 12},
    {"ghp_", 20},
    {"gho_", 20},
    {"ghu_", 20},
    {"ghs_", 20},
    {"ghr_", 20},
    {"github_pat_", 20},
    {"glpat-", 16},
    {"gldt-", 16},
    {"xoxa-", 10},
    {"xoxb-", 10},
    {"xoxp-", 10},
    {"xoxr-", 10},
    {"xoxs-", 10},
    {"xapp-", 10},
    {"sk_live_", 10},
    {"rk_live_", 10},
    {"sk_test_", 10},
    {"whsec_", 16},
    {"AIza", 30},
    {"ya29.", 20},
    {"GOCSPX-", 16},
    {"sk-", 20},
    {"npm_", 30},
    {"pypi-", 16},
    {"SG.", 20},
    {"hf_", 20},
    {"dop_v1_", 20},
    {"doo_v1_", 20},
    {"shpat_", 20},
    {"shpss_", 20},
    {"eyJ", 30},
    {"AGE-SECRET-KEY-", 16},
    {"dbrx-", 32},
    {"dckr_pat_", 16},
    {"dapi", 30},
    {"glsa_", 20},
    {"lin_api_", 20},
    {"rubygems_", 20},
    {"hvs.", 20},
    {"PMAK-", 20},
    {"sq0atp-", 16},
    {"NRAK-", 16},
    {"key-", 30},
    {"pk_live_", 10},
    {"figd_", 20},
    {"A3T", 17},
    {"LTAI", 16},
    {"AKID", 16},
    {"ABSK", 60},
    {"glptt-", 16},
    {"glrt-", 16},
    {"glcbt-", 16},
    {"glimt-", 16},
    {"glagent-", 16},
    {"gloas-", 16},
    {"glsoat-", 16},
    {"glft-", 16},
    {"glc_", 24},
    {"xoxe-", 20},
    {"xoxe.xox", 20},
    {"rk_test_", 10},
    {"sq0csp-", 20},
    {"EAAA", 56},
    {"shpca_", 20},
    {"shppa_", 20},
    {"CLOJARS_", 30},
    {"dckr_oat_", 16},
    {"dor_v1_", 20},
    {"dp.pt.", 30},
    {"dp.st.", 30},
    {"hvb.", 20},
    {"HRKU-", 20},
    {"fm2_", 30},
    {"pplx-", 30},
    {"gsk_", 30},
    {"xai-", 40},
    {"r8_", 30},
    {"api_org_", 20},
    {"ntn_", 30},
    {"ATATT3x", 40},
    {"ATCTT3x", 40},
    {"ATBB", 28},
    {"NRII-", 20},
    {"NRJS-", 16},
    {"NRRA-", 20},
    {"sntrys_", 30},
    {"sntryu_", 30},
    {"phx_", 30},
    {"dt0c01.", 30},
    {"pnu_", 30},
    {"rdme_", 40},
    {"sgp_", 30},
    {"sbp_", 30},
    {"tfp_", 30},
    {"tskey-", 20},
    {"shippo_live_", 30},
    {"EZAK", 40},
    {"duffel_live_", 30},
    {"FLWSECK-", 20},
    {"fio-u-", 40},
    {"pscale_tkn_", 30},
    {"pscale_pw_", 30},
    {"pscale_oauth_", 30},
    {"xkeysib-", 40},
    {"xsmtpsib-", 40},
    {"AKCp", 60},
    {"cmVmdGtuO", 40},
    {"p8e-", 30},
    {"ops_", 60},
    {"v1.0-", 60},
    {"dnkey-", 30},
    {"pat-na1-", 30},
    {"packagist_", 30},
    {"sm_pat_", 16},
    {"AQVN", 30},
    {"figo_", 20},
    {"bkua_", 30},
    {"CCIPAT_", 30},
    {"nfp_", 30},
    {"rzp_live_", 12},
    {"sk.eyJ", 40},
    {"sl.", 60},
    {"oy2", 40},
};

/* Parts of names whose values are secret; `sure`: even a short one. */
static const struct secret_name {
    const char *part;
    bool sure;
} names[] = {
    {"password", true},       {"passwd", true},        {"passphrase", true},
    {"passcode", true},       {"pwd", true},           {"secret", true},
    {"credential", true},     {"private_key", true},   {"privatekey", true},
    {"priv_key", true},       {"api_key", true},       {"apikey", true},
    {"access_key", true},     {"accesskey", true},     {"account_key", true},
    {"accountkey", true},     {"auth_key", true},      {"authkey", true},
    {"signing_key", true},    {"signingkey", true},    {"service_key", true},
    {"servicekey", true},     {"client_key", true},    {"clientkey", true},
    {"consumer_key", true},   {"consumerkey", true},   {"database_key", true},
    {"encryption_key", true}, {"encryptionkey", true}, {"master_key", true},
    {"masterkey", true},      {"license_key", true},   {"licensekey", true},
    {"deploy_key", true},     {"db_pass", true},       {"dbpass", true},
    {"database_pass", true},  {"user_pass", true},     {"userpass", true},
    {"root_pass", true},      {"smtp_pass", true},     {"mail_pass", true},
    {"ftp_pass", true},       {"key_pass", true},      {"keypass", true},
    {"store_pass", true},     {"storepass", true},     {"token", false},
    {"auth", false},          {"bearer", false},       {"session_key", false},
    {"webhook", false},
};

/* What is judged of one run or value: a line of megabytes must not be looked at from every byte. */
enum {
    NAME_ROOM = 80,
    APART_MAX = 32,  /* blanks, quotes or signs between a name and its value */
    FORMAT_MIN = 13, /* the shortest key with its prefix */
    LONE_MIN = 32,
    BASE64_LINE_MIN = 60,
    SURE_MIN = 6,
    SURE_LETTERS_MIN = 10,
    UNSURE_MIN = 12,
    RUN_MAX = 512,
    VALUE_MAX = 4096,
    LINE_ROOM = 128, /* lines of a key's block have 64 to 76 */
    BLOCK_LINES_MAX = 128
};

static bool is_key_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("_-+/=.", c));
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

struct kinds {
    size_t n_digits, n_upper, n_lower, n_other, n_changes; /* from one kind to another */
    double bits; /* per byte, by the counts of its own bytes */
};

static struct kinds kinds_of(text t)
{
    size_t counts[256] = {0}, n[4] = {0};
    int before = -1;
    struct kinds k = {0};
    for (size_t i = 0; i < t.size; i++) {
        char c = t.bytes[i];
        int kind = c >= '0' && c <= '9'   ? 0
                   : c >= 'A' && c <= 'Z' ? 1
                   : c >= 'a' && c <= 'z' ? 2
                                          : 3;
        counts[(unsigned char)c]++;
        n[kind]++;
        k.n_changes += kind != before;
        before = kind;
    }
    for (size_t i = 0; i < 256; i++)
        if (counts[i]) {
            double p = (double)counts[i] / (double)t.size;
            k.bits -= p * log2(p);
        }
    k.n_digits = n[0], k.n_upper = n[1], k.n_lower = n[2], k.n_other = n[3];
    return k;
}

/* No format of the table has a '/' in it: what follows one is the rest of a path. */
static bool has_format(text run)
{
    const char *slash = run.size ? memchr(run.bytes, '/', run.size) : NULL;
    if (slash) run.size = (size_t)(slash - run.bytes);
    if (run.size < FORMAT_MIN) return false;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (formats[i].prefix[0] != run.bytes[0]) continue;
        size_t n = strlen(formats[i].prefix);
        if (run.size >= n + formats[i].n_min && memcmp(run.bytes, formats[i].prefix, n) == 0) {
            struct kinds k = kinds_of(text_slice(run, n, run.size));
            if (k.n_digits > 0 || (k.n_upper > 0 && k.n_lower > 0)) return true;
        }
    }
    return false;
}

/* A bot's key is its number and, behind a colon, 35 characters of which the first is an A. */
static bool is_bot_key(text t, size_t at, text run)
{
    size_t from = at - (at > 0);
    if (at == 0 || t.bytes[at - 1] != ':' || run.size != 35 || run.bytes[0] != 'A') return false;
    while (from > 0 && t.bytes[from - 1] >= '0' && t.bytes[from - 1] <= '9') from--;
    return at - 1 - from >= 8 && at - 1 - from <= 10;
}

/* Whoever knows such an address may write there: what stands behind these is a key. */
static bool in_webhook(text t, size_t at)
{
    static const char *const places[] = {"hooks.slack.com/services/", "hooks.slack.com/workflows/",
                                         "discord.com/api/webhooks/",
                                         "discordapp.com/api/webhooks/", "webhook.office.com/"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t n = strlen(places[i]);
        if (at >= n && memcmp(t.bytes + at - n, places[i], n) == 0) return true;
    }
    return false;
}

/* Long, of all kinds, as even as encoded random bytes are, and changing as often (words joined by
 * capitals do not): a key, or the digest of a file. */
static bool is_random(text run)
{
    if (run.size < LONE_MIN) return false;
    struct kinds k = kinds_of(run);
    return k.n_digits > 1 && k.n_upper > 1 && k.n_lower > 1 && k.bits > 4.2 &&
           5 * k.n_changes > 2 * run.size;
}

/* What could be typed as a value of a secret, rather than the name of one. */
static bool is_secret_value(text value, bool sure)
{
    static const char *const harmless[] = {"true", "false", "null", "none", "nil", "undefined"};
    if (value.size < (sure ? SURE_MIN : UNSURE_MIN)) return false;
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (text_is(value, harmless[i])) return false;
    struct kinds k = kinds_of(value);
    bool mixed = k.n_digits > 0 && k.n_lower + k.n_upper > 0;
    return sure ? k.n_digits > 0 || k.n_other > 0 || value.size >= SURE_LETTERS_MIN
                : mixed && k.bits > 2.8;
}

/* Back over a few of these characters. */
static size_t before_these(text t, size_t to, const char *these)
{
    for (int n = 0; n < APART_MAX && to > 0 && t.bytes[to - 1] && strchr(these, t.bytes[to - 1]);
         n++)
        to--;
    return to;
}

/* The name that the value at `at` is assigned to, with its own bytes lower-cased into `name`; 0 when
 * it is no assignment. Quotes, blanks and one of ":", "=", ":=", "=>", "(" stand between. */
static size_t name_before(char name[NAME_ROOM], text t, size_t at, bool *quoted)
{
    size_t to = at, sign;
    *quoted = to > 0 && strchr("\"'`", t.bytes[to - 1]);
    to = before_these(t, to - *quoted, " \t");
    sign = to;
    to = before_these(t, to, "=:>(");
    if (to == sign) return 0;
    to = before_these(t, to, " \t\"'`])");
    size_t from = to;
    while (from > 0 && to - from < NAME_ROOM - 1 &&
           (is_key_byte(t.bytes[from - 1]) && !strchr("=/+", t.bytes[from - 1])))
        from--;
    for (size_t i = from; i < to; i++)
        name[i - from] = t.bytes[i] == '-' || t.bytes[i] == '.' ? '_' : lower(t.bytes[i]);
    name[to - from] = 0;
    return to - from;
}

static const struct secret_name *name_find(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strstr(name, names[i].part)) return &names[i];
    return NULL;
}

/* Up to the closing quote, or to the end of a value without quotes. */
static size_t value_end(text t, size_t at, char quote)
{
    size_t end = at, last = t.size - at > VALUE_MAX ? at + VALUE_MAX : t.size;
    for (; end < last && t.bytes[end] != '\n' && t.bytes[end] != '\r'; end++) {
        if (quote && t.bytes[end] == '\\' && end + 1 < t.size)
            end++;
        else if (quote ? t.bytes[end] == quote : strchr(" \t,;\"'`)}]#&", t.bytes[end]) != NULL)
            break;
    }
    return end < last ? end : last;
}

/* "Authorization: Bearer KEY", "Basic KEY". */
static bool in_header(text t, size_t at, size_t *end)
{
    static const char *const schemes[] = {"bearer ", "basic "};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        size_t n = strlen(schemes[i]);
        if (at < n || strncasecmp(t.bytes + at - n, schemes[i], n) != 0) continue;
        *end = value_end(t, at, 0);
        return is_secret_value(text_slice(t, at, *end), false);
    }
    return false;
}

/* A value behind a name that says it is secret. References to something else are none. */
static bool assigned(text t, size_t at, size_t *end)
{
    char name[NAME_ROOM];
    bool quoted;
    if (!name_before(name, t, at, &quoted)) return false;
    const struct secret_name *n = name_find(name);
    if (!n) return false;
    *end = value_end(t, at, quoted ? t.bytes[at - 1] : 0);
    text value = text_slice(t, at, *end);
    if (value.size && strchr("$<{%&*", value.bytes[0])) return false;
    if (!quoted) { /* code: an expression; a configuration: a value */
        struct kinds k = kinds_of(value);
        if (k.n_digits == 0 || memchr(value.bytes, '(', value.size) ||
            memchr(value.bytes, '[', value.size) || memchr(value.bytes, '>', value.size))
            return false;
    }
    return is_secret_value(value, n->sure);
}

/* "scheme://user:password@host": all between "//" and "@". */
static bool in_address(text t, size_t at, size_t *end)
{
    if (at < 3 || memcmp(t.bytes + at - 3, "://", 3) != 0) return false;
    size_t to = at;
    while (to < t.size && (unsigned char)t.bytes[to] > ' ' && !strchr("/\"'<>@?#", t.bytes[to]))
        to++;
    if (to >= t.size || t.bytes[to] != '@' || to == at) return false;
    text user = text_slice(t, at, to);
    struct kinds k = kinds_of(user);
    *end = to;
    return memchr(user.bytes, ':', user.size) || (k.n_digits > 0 && user.size >= 12);
}

/* A line of nothing but base64: a piece of a PEM block, whether its beginning is seen or not. */
static bool is_base64_line(text t, size_t at, size_t end)
{
    bool alone = (at == 0 || strchr("\n\"' \t>|", t.bytes[at - 1])) &&
                 (end == t.size || strchr("\r\n\\\"'", t.bytes[end]));
    if (!alone || end - at < BASE64_LINE_MIN) return false;
    struct kinds k = kinds_of(text_slice(t, at, end));
    return k.n_upper > 1 && k.n_lower > 1 && k.bits > 4.2;
}

/* "-----BEGIN ... PRIVATE KEY-----" up to its end, or to the end of what there is. */
static bool private_block(text t, size_t at, size_t *end)
{
    if (!text_starts(text_slice(t, at, t.size), TEXT("-----BEGIN "))) return false;
    text line = text_slice(t, at, at + 80);
    size_t word = text_find(line, TEXT("PRIVATE KEY"), 0);
    if (word == SIZE_MAX || memchr(line.bytes, '\n', word)) return false;
    size_t stop = text_find(t, TEXT("-----END "), at + word);
    *end = stop == SIZE_MAX ? t.size : stop;
    return true;
}

static size_t run_end(text t, size_t at, size_t last)
{
    while (at < last && is_key_byte(t.bytes[at])) at++;
    return at;
}

/* The lower lines of a private key's block, whose beginning is out of sight: lines of key characters
 * alone down to the one that ends it. */
static bool private_rest(text t, size_t at, size_t *end)
{
    size_t to = at;
    if (at > 0 && t.bytes[at - 1] != '\n') return false;
    for (int n = 0; n < BLOCK_LINES_MAX; n++) {
        text line = text_slice(t, to, to + LINE_ROOM), rest = line;
        if (text_starts(line, TEXT("-----END "))) {
            *end = to;
            return to > at && text_next_line(&rest, &line) &&
                   text_find(line, TEXT("PRIVATE KEY"), 0) != SIZE_MAX;
        }
        size_t next = run_end(t, to, to + line.size);
        if (next == to || next == t.size) return false;
        to = next + (t.bytes[next] == '\r');
        if (to >= t.size || t.bytes[to] != '\n') return false;
        to++;
    }
    return false;
}

static bool judge(text t, size_t at, size_t *end, bool keys_only)
{
    size_t to = run_end(t, at, t.size - at > RUN_MAX ? at + RUN_MAX : t.size);
    text run = text_slice(t, at, to);
    bool quoted = at > 0 && strchr("\"'`", t.bytes[at - 1]) != NULL;
    bool is_key = has_format(run) || is_bot_key(t, at, run) || (run.size > 16 && in_webhook(t, at));
    if (!is_key && keys_only) return false;
    if (!is_key && (private_block(t, at, end) || private_rest(t, at, end) ||
                    in_address(t, at, end) || in_header(t, at, end) || assigned(t, at, end)))
        return true;
    if (!is_key && !(quoted && is_random(run)) && !is_base64_line(t, at, to)) return false;
    *end = run_end(t, to, t.size);
    return true;
}

/* Where a key, a value or a private key's block may begin. */
static bool may_begin(text t, size_t at)
{
    char c = t.bytes[at], before = at > 0 ? t.bytes[at - 1] : ' ';
    if ((unsigned char)c <= ' ' || strchr("=/.+", c)) return false;
    if (c == '-' && before != '-') return true;
    if (is_key_byte(c) && (!is_key_byte(before) || strchr("=/.-", before))) return true;
    return strchr("\"'`=: (", before) != NULL;
}

static bool find(text t, size_t from, size_t *at, size_t *end, bool keys_only)
{
    for (size_t i = from; i < t.size; i++) {
        if (!may_begin(t, i) || !judge(t, i, end, keys_only)) continue;
        *at = i;
        return true;
    }
    return false;
}

bool secret_find(text t, size_t from, size_t *at, size_t *end)
{
    return find(t, from, at, end, false);
}

bool secret_key_find(text t, size_t from, size_t *at, size_t *end)
{
    return find(t, from, at, end, true);
}

bool secrets_mask(char *bytes, size_t size)
{
    text t = {bytes, size};
    size_t from = 0, at, end;
    bool any = false;
    while (secret_find(t, from, &at, &end)) {
        any = true;
        for (size_t i = at; i < end; i++)
            if (bytes[i] != '\n' && bytes[i] != '\r') bytes[i] = '*';
        from = end > at ? end : at + 1;
    }
    return any;
}
