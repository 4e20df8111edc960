/* Style is what most of the last subjects have in common; merges say nothing about it. */
#include "context/commit_facts.h"

#include <ctype.h>
#include <fnmatch.h>
#include <string.h>

#include "base/memory.h"
#include "context/human_language.h"
#include "context/path_text.h"

enum { SUBJECTS = 30, OWN_SUBJECTS = 10, PATTERN_PATH_MAX = 1024, SHARE_MOST = 60 /* percent */ };

static const struct {
    const char *pattern; /* of the name, or with "/" of the whole path */
    const char *reason;
} by_name[] = {
    {"*.lock", "a lock file"},
    {"package-lock.json", "a lock file"},
    {"npm-shrinkwrap.json", "a lock file"},
    {"pnpm-lock.yaml", "a lock file"},
    {"bun.lockb", "a lock file"},
    {"go.sum", "a lock file"},
    {"*.min.js", "a generated file"},
    {"*.min.css", "a generated file"},
    {"*.js.map", "a generated file"},
    {"*.css.map", "a generated file"},
    {"*.pb.go", "a generated file"},
    {"*.pb.cc", "a generated file"},
    {"*.pb.h", "a generated file"},
    {"*_pb2.py", "a generated file"},
    {"*.g.dart", "a generated file"},
    {"*.designer.cs", "a generated file"},
    {"*.snap", "a generated file"},
    {"*/generated/*", "a generated file"},
    {"*/dist/*", "a generated file"},
    {"*/node_modules/*", "a generated file"},
    {"*/vendor/*", "a vendored file"},
};

const char *commit_file_by_name(text path)
{
    char whole[PATTERN_PATH_MAX], name[PATTERN_PATH_MAX];
    text last = path_name(path);
    if (path.size + 2 > sizeof whole) return "a path too long to judge";
    whole[0] = '/'; /* so that a folder at the top has one before it */
    memcpy(whole + 1, path.bytes, path.size);
    whole[path.size + 1] = 0;
    memcpy(name, last.bytes, last.size);
    name[last.size] = 0;
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++) {
        const char *pattern = by_name[i].pattern;
        if (fnmatch(pattern, strchr(pattern, '/') ? whole : name, 0) == 0) return by_name[i].reason;
    }
    return NULL;
}

bool commit_subject_is_conventional(text s)
{
    static const char *const types[] = {"feat", "fix",   "docs", "style", "refactor", "perf",
                                        "test", "build", "ci",   "chore", "revert"};
    size_t n = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types && !n; i++) {
        size_t size = strlen(types[i]);
        bool ends = s.size > size && strchr("(:!", s.bytes[size]) && s.bytes[size];
        if (text_starts(s, text_of(types[i])) && ends) n = size;
    }
    if (n && s.bytes[n] == '(') {
        size_t close = text_find(s, TEXT(")"), n);
        if (close == SIZE_MAX || close == n + 1) return false;
        n = close + 1;
    }
    if (n && n < s.size && s.bytes[n] == '!') n++;
    return n && s.size > n + 2 && s.bytes[n] == ':' && s.bytes[n + 1] == ' ';
}

void commit_style_judge(struct commit_facts *f)
{
    size_t n = 0, conventional = 0, lower = 0;
    buffer all = {0};
    for (size_t i = 0; i < f->recent.n; i++) {
        const struct commit *c = &f->recent.commits[i];
        if (c->n_parents > 1 || c->subject.size == 0) continue;
        n++;
        conventional += commit_subject_is_conventional(c->subject);
        lower += islower((unsigned char)c->subject.bytes[0]) != 0;
        buffer_put_text(&all, c->subject);
        buffer_put_char(&all, '\n');
    }
    f->conventional = n && conventional * 100 >= n * SHARE_MOST;
    f->lower_case = n && lower * 100 >= n * SHARE_MOST;
    f->human_language = all.failed ? TEXT("") : human_language_of(buffer_text(&all));
    buffer_free(&all);
}

/* git takes "#" lines out of what the user saves, so the model need not see them. */
static void template_keep(struct commit_facts *f, text raw)
{
    text line;
    while (text_next_line(&raw, &line)) {
        if (text_starts(line, TEXT("#"))) continue;
        buffer_put_text(&f->template, line);
        buffer_put_char(&f->template, '\n');
    }
    if (text_trim(buffer_text(&f->template)).size == 0) buffer_clear(&f->template);
}

status commit_facts_read(struct commit_facts *out, repository *r, error *err)
{
    const struct diff_options options = {.side = DIFF_STAGED, .patches = true, .n_lines_near = 3};
    buffer raw = {0};
    *out = (struct commit_facts){.branch = repository_branch(r)};
    if (repository_kind(r) != REPOSITORY_GIT) {
        const char *notice = repository_notice(r);
        return fail(err, ERR_UNSUPPORTED, "%s: %s", repository_root(r),
                    notice ? notice : "no working tree of a git repository");
    }
    status code = repository_diff(&out->diff, r, &options, err);
    if (code == OK && out->diff.n == 0)
        return fail(err, ERR_UNSUPPORTED, "nothing is staged: there is nothing to describe");
    if (code == OK) code = repository_commits(&out->recent, r, SUBJECTS, false, err);
    if (code == OK) code = repository_commits(&out->own, r, OWN_SUBJECTS, true, err);
    if (code == OK) code = repository_commit_template(&raw, r, err);
    if (code == OK) template_keep(out, buffer_text(&raw));
    buffer_free(&raw);
    for (size_t i = 0; i < out->diff.n; i++) {
        out->n_added += out->diff.files[i].n_added;
        out->n_removed += out->diff.files[i].n_removed;
    }
    if (code == OK) commit_style_judge(out);
    return code;
}

void commit_facts_free(struct commit_facts *f)
{
    diff_free(&f->diff);
    commits_free(&f->recent);
    commits_free(&f->own);
    buffer_free(&f->template);
}
