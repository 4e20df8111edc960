/* A table of name patterns; what a file contains is looked at elsewhere. */
#include "context/exclude.h"

#include <ctype.h>
#include <fnmatch.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "context/secrets.h"

static const char environment[] = "an environment file may hold secrets";
static const char key[] = "a key file holds secrets";
static const char store[] = "a key or password store holds secrets";
static const char credentials[] = "a credentials file holds secrets";

/* Exceptions stand first: NULL as reason ends the search. */
static const struct exclude_rule rules[] = {
    {".env.example", NULL},
    {".env.sample", NULL},
    {".env.template", NULL},
    {"id_*.pub", NULL},
    {".env*", environment},
    {"*.env", environment},
    {"*.pem", key},
    {"*.key", key},
    {"*.ppk", key},
    {"*.asc", key},
    {"*.gpg", key},
    {"*.p8", key},
    {"*.pk8", key},
    {"*.pgp", key},
    {"*.pvk", key},
    {"secring.*", key},
    {"secret_token.rb", key},
    {"id_rsa*", key},
    {"id_dsa*", key},
    {"id_ecdsa*", key},
    {"id_ed25519*", key},
    {"ssh_host_*_key", key},
    {"*.p12", store},
    {"*.pfx", store},
    {"*.jks", store},
    {"*.keystore", store},
    {"*.keychain*", store},
    {"*.jceks", store},
    {"*.bks", store},
    {"*.pkcs12", store},
    {"wallet.dat", store},
    {"*.kdb", store},
    {"*.kdbx", store},
    {".netrc", credentials},
    {"_netrc", credentials},
    {".npmrc", credentials},
    {".pypirc", credentials},
    {".pgpass", credentials},
    {".my.cnf", credentials},
    {".htpasswd", credentials},
    {".git-credentials", credentials},
    {".dockercfg", credentials},
    {".dockerconfigjson", credentials},
    {".s3cfg", credentials},
    {".boto", credentials},
    {".terraformrc", credentials},
    {".vault-token", credentials},
    {"*vault_pass*", credentials},
    {"htpasswd", credentials},
    {".ftpconfig", credentials},
    {"sftp-config.json", credentials},
    {".*_history", credentials},
    {".docker/config.json", credentials},
    {".kube/config", credentials},
    {"kubeconfig*", credentials},
    {"*.kubeconfig", credentials},
    {"credentials", credentials},
    {"credentials.*", credentials},
    {"*.credentials", credentials},
    {"*-credentials.json", credentials},
    {"*_credentials.json", credentials},
    {"client_secret*.json", credentials},
    {"service*account*.json", credentials},
    {"secrets.*", credentials},
    {"*.secret", credentials},
    {"*.secrets", credentials},
    {"*.tfstate*", credentials},
    {"*.tfvars", credentials},
    {"*.ovpn", credentials},
    {"passwd", credentials},
    {"shadow", credentials},
};

/* Everything below these folders. */
static const char *const folders[] = {".ssh", ".gnupg", ".password-store", ".aws", ".azure"};

const struct exclude_rule *exclude_rule_at(size_t i)
{
    return i < sizeof rules / sizeof *rules ? &rules[i] : NULL;
}

/* The last `n_parts` parts of a path. */
static const char *path_end(const char *path, int n_parts)
{
    const char *at = path + strlen(path);
    for (; at > path; at--)
        if (at[-1] == '/' && --n_parts == 0) break;
    return at;
}

/* Whether what stands in the pattern behind its last special character ends the path: most do not, and
 * that is seen a hundred times sooner than fnmatch sees it. */
static bool may_match(const char *pattern, size_t n_pattern, const char *path, size_t n_path)
{
    for (size_t i = 1; i <= n_pattern && !strchr("*?]", pattern[n_pattern - i]); i++)
        if (i > n_path || tolower((unsigned char)pattern[n_pattern - i]) !=
                              tolower((unsigned char)path[n_path - i]))
            return false;
    return true;
}

static bool rule_matches(const struct exclude_rule *rule, const char *path, size_t n_path)
{
    int n_parts = 1;
    size_t n_pattern = strlen(rule->pattern);
    if (!may_match(rule->pattern, n_pattern, path, n_path)) return false;
    for (const char *c = rule->pattern; *c; c++) n_parts += *c == '/';
    return fnmatch(rule->pattern, path_end(path, n_parts), FNM_CASEFOLD) == 0;
}

/* Whatever the case: there are file systems where ".SSH" is ".ssh". */
static bool has_folder(const char *path, const char *name)
{
    size_t n = strlen(name);
    for (const char *end; (end = strchr(path, '/')); path = end + 1)
        if ((size_t)(end - path) == n && strncasecmp(path, name, n) == 0) return true;
    return false;
}

/* The user's patterns: set seldom, asked by any thread. */
static pthread_mutex_t globs_lock = PTHREAD_MUTEX_INITIALIZER;
static char globs[GLOBS_MAX];
static bool globs_known, globs_too_long;

static void globs_store(text lines)
{
    globs_known = true;
    globs_too_long = lines.size >= sizeof globs;
    if (globs_too_long) lines.size = 0;
    if (lines.size) memcpy(globs, lines.bytes, lines.size);
    globs[lines.size] = 0;
}

void exclude_set_globs(text lines)
{
    pthread_mutex_lock(&globs_lock);
    globs_store(lines);
    pthread_mutex_unlock(&globs_lock);
}

void exclude_put_globs(buffer *out)
{
    pthread_mutex_lock(&globs_lock);
    if (!globs_known) globs_store(text_of(getenv("DBRX_EXCLUDE")));
    buffer_put_text(out, globs_too_long ? TEXT("*") : text_of(globs));
    pthread_mutex_unlock(&globs_lock);
}

/* `path` and what stands behind each of its slashes, against the pattern. */
static bool glob_matches(const char *pattern, const char *path)
{
    char below[PATH_MAX];
    size_t n = strlen(pattern);
    if (n == 0 || n + 2 >= sizeof below) return n != 0;
    memcpy(below, pattern, n);
    below[n] = pattern[n - 1] == '/' ? '*' : 0;
    below[n + 1] = 0;
    for (const char *at = path; at; at = strchr(at, '/'), at = at ? at + 1 : NULL)
        if (fnmatch(below, at, 0) == 0) return true;
    return false;
}

static bool globs_match(const char *path)
{
    char pattern[PATH_MAX];
    bool matched = globs_too_long;
    text rest = text_of(globs), line;
    while (!matched && text_next_line(&rest, &line)) {
        if (line.size >= sizeof pattern) return true;
        memcpy(pattern, line.bytes, line.size);
        pattern[line.size] = 0;
        matched = glob_matches(pattern, path);
    }
    return matched;
}

static bool user_excludes(const char *path)
{
    pthread_mutex_lock(&globs_lock);
    if (!globs_known) globs_store(text_of(getenv("DBRX_EXCLUDE")));
    bool matched = globs_match(path);
    pthread_mutex_unlock(&globs_lock);
    return matched;
}

const char *exclude_reason(text path)
{
    char copy[PATH_MAX];
    if (path.size >= sizeof copy) return "its path is too long to be judged";
    if (path.size) memcpy(copy, path.bytes, path.size);
    copy[path.size] = 0;
    if (strlen(copy) != path.size) return "its path holds a NUL";
    size_t at, end;
    if (secret_key_find(path, 0, &at, &end)) return "its name holds a key";
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (has_folder(copy, folders[i])) return store;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rule_matches(&rules[i], copy, path.size)) {
            if (rules[i].reason) return rules[i].reason;
            break;
        }
    return user_excludes(copy) ? "the user excludes it" : NULL;
}
