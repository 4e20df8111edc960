/* What changed in a working tree: HEAD against git's index (staged), or git's index against the files
 * on disk (unstaged). With `patches` off it is the status alone.
 *
 * Nothing of the workspace is executed: no filter, no text conversion, no external diff. Reads the
 * disk and may take long in a huge tree: for the indexer or a short-lived process, never for a loop.
 * Submodules are units of their own: staged, their change of commit is listed; what is dirty inside
 * them is not looked at. Not thread-safe, like the repository it reads. */
#ifndef CONTEXT_DIFF_H
#define CONTEXT_DIFF_H

#include "context/repository.h"

enum diff_side { DIFF_STAGED, DIFF_UNSTAGED };

struct diff_file {
    text path, old_path; /* the same but for renames; of a deleted file both are its path */
    char change;         /* 'A'dded, 'M'odified, 'D'eleted, 'R'enamed, 'T'ype, '?' untracked */
    size_t n_added, n_removed; /* lines; 0 where there is no patch */
    text patch;                /* hunks of a unified diff: "@@ -1,2 +1,3 @@...", lines, ... */
    const char *omitted; /* why there is no patch, in words; NULL: there is one, or none wanted */
    bool cut;            /* the patch ends early, at a whole line */
};

struct diff {
    struct diff_file *files; /* by path */
    size_t n, n_left_out;    /* beyond DIFF_FILES_MAX */
    arena memory;
};

struct diff_options {
    enum diff_side side;
    bool patches;
    bool untracked;      /* unstaged: new files that are not ignored, too, without a patch */
    size_t patch_max;    /* bytes of one file's patch; 0: DIFF_PATCH_MAX */
    size_t n_lines_near; /* unchanged lines around a change: 3 is git's habit */
};

/* Fills *out, freed by diff_free also after an error. ERR_UNSUPPORTED where there is no working tree
 * under git. Files that exclude.h names are listed without their patch, and with the reason; secrets in
 * patches are masked (secrets.h). */
status repository_diff(struct diff *out, repository *r, const struct diff_options *options,
                       error *err);
void diff_free(struct diff *d);

/* *out names what is staged: another number for other paths or other contents, 0 when nothing is or
 * where there is no working tree under git. No file is read. */
status repository_staged(uint64_t *out, repository *r, error *err);

#endif
