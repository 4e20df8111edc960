/* A table of name patterns; what a file contains is looked at elsewhere. */
#include "context/exclude.h"

#include <fnmatch.h>
#include <limits.h>
#include <string.h>

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
    {".envrc", environment},
    {"*.pem", key},
    {"*.key", key},
    {"*.ppk", key},
    {"*.asc", key},
    {"*.gpg", key},
    {"*.p8", key},
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
    {".docker/config.json", credentials},
    {".kube/config", credentials},
    {".aws/config", credentials},
    {"kubeconfig*", credentials},
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

static bool rule_matches(const struct exclude_rule *rule, const char *path)
{
    int n_parts = 1;
    for (const char *c = rule->pattern; *c; c++) n_parts += *c == '/';
    return fnmatch(rule->pattern, path_end(path, n_parts), FNM_CASEFOLD) == 0;
}

static bool has_part(text path, text part)
{
    for (size_t at = 0; (at = text_find(path, part, at)) != SIZE_MAX; at++) {
        bool begins = at == 0 || path.bytes[at - 1] == '/';
        bool ends = at + part.size < path.size && path.bytes[at + part.size] == '/';
        if (begins && ends) return true;
    }
    return false;
}

const char *exclude_reason(text path)
{
    char copy[PATH_MAX];
    if (path.size >= sizeof copy) return "its path is too long to be judged";
    if (path.size) memcpy(copy, path.bytes, path.size);
    copy[path.size] = 0;
    if (strlen(copy) != path.size) return "its path holds a NUL";
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (has_part(path, text_of(folders[i]))) return store;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rule_matches(&rules[i], copy)) return rules[i].reason;
    return NULL;
}
