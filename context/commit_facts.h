/* What a commit message is made from: the staged change, and how this repository's messages look.
 *
 * Read from git's files (repository.h), so by a short-lived process and never on a loop. Texts of
 * commits and files are data of others. */
#ifndef CONTEXT_COMMIT_FACTS_H
#define CONTEXT_COMMIT_FACTS_H

#include "context/diff.h"
#include "context/history.h"

struct commit_facts {
    struct diff diff;
    struct commits recent, own; /* newest first; own: the user's */
    buffer template;            /* of commit.template, without its comment lines */
    const char *branch;         /* "" when detached; lives with the repository */
    text human_language;        /* of the history, "German"; "" when that does not tell */
    bool conventional;          /* most subjects read "type(scope): words" */
    bool lower_case;            /* most subjects begin with a small letter */
    size_t n_added, n_removed;  /* lines, of all files */
};

/* ERR_UNSUPPORTED when nothing is staged, or where there is no working tree. Freed by
 * commit_facts_free, also after an error. */
status commit_facts_read(struct commit_facts *out, repository *r, error *err);
void commit_facts_free(struct commit_facts *f);

/* Why a file is named but its change not shown ("a lock file", "a generated file"), or NULL. Static. */
const char *commit_file_by_name(text path);

/* "feat(parser)!: words" of Conventional Commits 1.0; *words is where they begin. */
bool commit_subject_is_conventional(text subject);

/* Style judged from subjects: for tests as for the rest. */
void commit_style_judge(struct commit_facts *f);

#endif
