/* The past of a repository: recent commits, what they touched, who wrote a line last, and what git's
 * configuration says about the next commit. Read from HEAD backwards.
 *
 * Texts of commits are data of others: any bytes. What cannot be read (a shallow clone's missing
 * parents, damaged objects) is left out, never an error. Plain folders and unborn branches have no
 * past: zero commits. Same rules of threads and time as diff.h. */
#ifndef CONTEXT_HISTORY_H
#define CONTEXT_HISTORY_H

#include "context/repository.h"

struct commit {
    char id[41];
    text subject; /* first paragraph on one line, secrets masked (secrets.h) */
    text author, email;
    int64_t time_s; /* of the commit, since 1970 */
    size_t n_parents;
    bool is_own; /* the author's address is the user's own (user.email) */
};

struct commits {
    struct commit *commits; /* newest first */
    size_t n;
    arena memory;
};

/* The last n_max commits (at most HISTORY_COMMITS_MAX), merges included; `own_only`: those of the
 * user. Freed by commits_free also after an error. */
status repository_commits(struct commits *out, repository *r, size_t n_max, bool own_only,
                          error *err);
void commits_free(struct commits *c);

/* Called for each commit, newest first; false ends the walk. `oid` has 20 bytes. */
typedef bool commit_see(void *payload, const unsigned char *oid, int64_t time_s, size_t n_parents);

/* Walks back from HEAD by time, at most n_max commits. */
status repository_walk(repository *r, size_t n_max, commit_see *see, void *payload, error *err);

/* Paths that the commit changed against its first parent, each once; *n is 0 also when there are
 * more than n_max, or when they cannot be read. */
status repository_touched(text *paths, size_t *n, size_t n_max, arena *a, repository *r,
                          const unsigned char *oid, error *err);

/* Who changed line `line` (from 1) of the file last, as HEAD knows it: `content` is the file as it
 * is now. *found is false for a line that is not committed yet. Slow on a long past. */
status repository_blame(struct commit *out, bool *found, arena *a, repository *r, text path,
                        text content, uint32_t line, error *err);

/* user.name and user.email; empty where they are not set. */
status repository_user(text *name, text *email, arena *a, repository *r, error *err);

/* The text of commit.template, "" when there is none: from the user's or the machine's
 * configuration, or from the repository's own when the file lies in the working tree. A regular file
 * of at most COMMIT_TEMPLATE_MAX bytes; another one is as good as none. */
status repository_commit_template(buffer *out, repository *r, error *err);

#endif
