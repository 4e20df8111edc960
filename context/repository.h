/* A repository as a list of files: what is tracked or new and not ignored, and which blob each is.
 * The only files that see libgit2 are repository*.c.
 *
 * Nothing of the workspace is executed: no git program, no hook, no filter, no command of a config
 * file. Contents are taken as they lie on disk, so that offsets are those an editor sees; their id
 * is git's (SHA-1 over "blob SIZE\0" and the bytes), which for most files the git index vouches for
 * without reading them. No symbolic link is followed: what it means inside the workspace is listed
 * under its own name. Submodules and nested repositories are units of their own: open them.
 *
 * Where git's own files cannot be used (no repository, another owner, a format libgit2 does not
 * know, damage) the folder is walked plainly: every file, no ignore rules. Not thread-safe. */
#ifndef CONTEXT_REPOSITORY_H
#define CONTEXT_REPOSITORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/text.h"
#include "context/tree_file.h"

typedef struct repository repository;

struct blob_id {
    unsigned char bytes[20];
};

/* git's id of a blob with these bytes. */
struct blob_id blob_id_of(text content);

enum repository_kind {
    REPOSITORY_GIT,    /* a working tree: the main one, a linked one, or a submodule's */
    REPOSITORY_BARE,   /* no working tree: the files of HEAD's commit */
    REPOSITORY_FOLDER, /* a plain folder */
};

/* Opens the repository that `path` (an existing file or directory) lies in, or its folder plainly.
 * ERR_IO when there is no such path. */
status repository_open(repository **out, const char *path, error *err);
/* As git calls a hook: from the current directory, with GIT_DIR, GIT_WORK_TREE and GIT_INDEX_FILE
 * of the environment obeyed (under `git commit -a` and `git commit PATH` the index is another file). */
status repository_open_environment(repository **out, error *err);
void repository_close(repository *r); /* NULL is fine */

enum repository_kind repository_kind(const repository *r);
/* Absolute, symbolic links resolved: the working tree, the bare directory, or the folder. */
const char *repository_root(const repository *r);
/* What all working trees of a repository share: its common git directory; a folder's own path. */
const char *repository_common(const repository *r);
/* Where this working tree's own HEAD and index are: the common directory but for linked trees and
 * submodules. A folder's own path. */
const char *repository_own(const repository *r);
/* Why git's files are not used although there are some, in one line; NULL when they are. */
const char *repository_notice(const repository *r);
/* 40 hex digits of HEAD's commit; "" when there is none (unborn, plain). */
const char *repository_head(const repository *r);
/* "main"; "" when HEAD is detached or the folder plain. Known for an unborn branch too.
 * A key in its name is masked (secrets.h). */
const char *repository_branch(const repository *r);

struct repository_file {
    text path;         /* from the root, "/" between parts; any bytes but NUL, newlines included */
    struct blob_id id; /* when `identified` */
    bool identified;   /* git vouches for the id: the file has not changed since it was recorded */
    bool tracked;      /* in git's index (or tree), rather than new */
    bool excluded;     /* by the git attribute -dbrx, or attributes here cannot be read */
    uint32_t mode;     /* 0100644 or 0100755 */
    struct file_stamp stamp; /* of the bytes on disk; of a bare repository's files all zero */
};

struct repository_files {
    struct repository_file *files; /* by bytes of their paths */
    size_t n, room;
    size_t n_units;   /* submodules and nested repositories, left out */
    size_t n_special; /* links, FIFOs, sockets, devices, left out */
    size_t n_refused; /* directories that cannot be read, are too deep, or repeat an outer one */
    bool truncated;   /* REPOSITORY_FILES_MAX was reached: the rest is left out */
    uint64_t rules;   /* another number when an attribute file or where a link leads has changed */
    arena memory;
};

/* Asked now and then while a list of files is made: false ends that with ERR_CANCELLED. */
typedef bool repository_go_on(void *payload);
void repository_set_go_on(repository *r, repository_go_on *go_on, void *payload);

/* Fills *out, which belongs to the caller; freed by repository_files_free also after an error. */
status repository_list(struct repository_files *out, repository *r, error *err);
/* The same of one path: one file, or none when the list would not have it. */
status repository_list_one(struct repository_files *out, repository *r, text path, error *err);
/* The one at this path, or NULL. */
const struct repository_file *repository_files_find(const struct repository_files *files,
                                                    text path);
void repository_files_free(struct repository_files *files);

/* Whether git attributes say -dbrx of the path; true also where they cannot be told. */
bool repository_excludes(repository *r, text path);

/* Appends the content of a listed file and sets *stamp to that of the very bytes read. No part of
 * the path may be a symbolic link. ERR_LIMIT when it is larger than max_bytes, ERR_FORMAT when it
 * is no regular file any more, ERR_IO when it is gone. */
status repository_read(buffer *out, struct file_stamp *stamp, repository *r,
                       const struct repository_file *file, size_t max_bytes, error *err);

/* Appends the absolute path of the folder that git runs hooks from: core.hooksPath, else "hooks" of the
 * common git directory. *outside: it lies neither in that directory nor in the working tree. */
status repository_hooks_path(buffer *out, bool *outside, repository *r, error *err);

#endif
