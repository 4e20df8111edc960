/* Opening asks three questions before libgit2 may look: are git's own files regular ones (a FIFO
 * would hang it), does the working tree it names contain the path we were asked about (a config file
 * may name any directory), and is the owner ours (libgit2's own check). A "no" makes the folder a
 * plain one, with the reason. */
#include "context/repository.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "context/repository_private.h"
#include "context/secrets.h"

struct blob_id blob_id_of(text content)
{
    git_oid oid = {{0}};
    struct blob_id id;
    git_libgit2_init();
    git_odb_hash(&oid, content.bytes ? content.bytes : "", content.size, GIT_OBJECT_BLOB);
    git_libgit2_shutdown();
    memcpy(id.bytes, oid.id, sizeof id.bytes);
    return id;
}

const char *git_reason(void)
{
    const git_error *e = git_error_last();
    return e && e->message ? e->message : "no reason given";
}

/* What libgit2 opens while it opens a repository, lists files and asks for ignore rules. */
static bool git_files_regular(const char *git_dir, char *name, size_t size)
{
    static const char *const names[] = {"HEAD",         "config",      "config.worktree",
                                        "commondir",    "gitdir",      "index",
                                        "info/exclude", "packed-refs", "info/sparse-checkout"};
    struct stat st;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(name, size, "%s/%s", git_dir, names[i]);
        if (stat(name, &st) == 0 && !S_ISREG(st.st_mode)) return false;
    }
    return true;
}

/* True when `inner` is `outer` or lies in it; both canonical. */
static bool path_within(const char *inner, const char *outer)
{
    size_t n = strlen(outer);
    while (n > 0 && outer[n - 1] == '/') n--;
    return strncmp(inner, outer, n) == 0 && (inner[n] == 0 || inner[n] == '/');
}

/* HEAD as text: a commit, a branch, both or neither. */
static void read_head(repository *r)
{
    git_reference *head = NULL, *symbolic = NULL;
    if (git_repository_head(&head, r->git) == 0)
        git_oid_tostr(r->head, sizeof r->head, git_reference_target(head));
    if (git_reference_lookup(&symbolic, r->git, "HEAD") == 0 &&
        git_reference_type(symbolic) == GIT_REFERENCE_SYMBOLIC) {
        const char *name = git_reference_symbolic_target(symbolic);
        if (strncmp(name, "refs/heads/", 11) == 0)
            snprintf(r->branch, sizeof r->branch, "%s", name + 11);
        secrets_mask(r->branch, strlen(r->branch));
    }
    git_reference_free(head);
    git_reference_free(symbolic);
}

static char *canonical(const char *path)
{
    char found[PATH_MAX];
    return path && realpath(path, found) ? memory_copy(found, strlen(found)) : NULL;
}

/* Gives up on git's files: `why` becomes the notice. */
static bool git_refuse(repository *r, const char *why)
{
    snprintf(r->notice, sizeof r->notice, "git's files are not used: %s", why);
    git_index_free(r->index);
    git_repository_free(r->git);
    r->git = NULL;
    r->index = NULL;
    return false;
}

/* A folder inside a repository that ignores it is looked at for itself. */
static bool path_ignored(repository *r, const char *path)
{
    char relative[PATH_MAX];
    int ignored = 0;
    size_t root_size = strlen(r->root);
    if (strlen(path) <= root_size + 1) return false;
    snprintf(relative, sizeof relative, "%s/", path + root_size + 1);
    return git_ignore_path_is_ignored(&ignored, r->git, relative) == 0 && ignored &&
           git_index_find_prefix(NULL, r->index, relative) != 0;
}

/* What a hook's environment says beside the path; all NULL otherwise. */
struct environment {
    const char *git_dir, *work_tree, *index_file;
};

static bool index_open_at(repository *r, const char *index_file)
{
    struct stat st;
    if (!index_file) return git_repository_index(&r->index, r->git) == 0;
    if (stat(index_file, &st) == 0 && !S_ISREG(st.st_mode)) return false;
    return git_index_open(&r->index, index_file) == 0;
}

static bool tree_open(repository *r, const char *path, const struct environment *e)
{
    struct stat st;
    const char *index_path;
    if (e->work_tree && git_repository_set_workdir(r->git, e->work_tree, 0) != 0)
        return git_refuse(r, git_reason());
    r->root = canonical(git_repository_workdir(r->git));
    if (!r->root || !path_within(path, r->root))
        return git_refuse(r, "their working tree is elsewhere");
    if (!index_open_at(r, e->index_file)) return git_refuse(r, git_reason());
    index_path = git_index_path(r->index);
    if (index_path && stat(index_path, &st) == 0) r->index_written = st.st_mtim;
    r->kind = REPOSITORY_GIT;
    if (!path_ignored(r, path)) return true;
    git_refuse(r, "");
    r->notice[0] = 0;
    return false;
}

static bool git_open(repository *r, const char *path, const struct environment *e)
{
    const char *start = e->git_dir ? e->git_dir : path;
    git_buf found = {0};
    char name[PATH_MAX + 64];
    bool regular = false, is_ours = false;
    struct stat st;
    if (git_repository_discover(&found, start, 0, NULL) == 0) {
        regular = git_files_regular(found.ptr, name, sizeof name);
        is_ours = stat(found.ptr, &st) == 0 && st.st_uid == geteuid();
        if (!regular) snprintf(r->notice, sizeof r->notice, "%.230s is no regular file", name);
    } else if (git_error_last() && git_error_last()->klass != GIT_ERROR_REPOSITORY) {
        snprintf(r->notice, sizeof r->notice, "%.255s", git_reason());
    }
    git_buf_dispose(&found);
    if (!regular) return false;
    if (git_repository_open_ext(&r->git, start, 0, NULL) != 0)
        return git_refuse(r, is_ours ? git_reason() : "they belong to another user");
    r->common = canonical(git_repository_commondir(r->git));
    if (!r->common) return git_refuse(r, "their common directory is missing");
    if (!git_files_regular(r->common, name, sizeof name))
        return git_refuse(r, "one of them is no regular file");
    if (git_repository_is_bare(r->git) && !e->work_tree) {
        r->kind = REPOSITORY_BARE;
        r->root = canonical(git_repository_path(r->git));
        if (!r->root) return git_refuse(r, "their directory is missing");
    } else if (!tree_open(r, path, e)) {
        return false;
    }
    read_head(r);
    return true;
}

/* The folder itself, or the one a file lies in. */
static status folder_open(repository *r, const char *path, error *err)
{
    memory_free(r->root);
    memory_free(r->common);
    r->kind = REPOSITORY_FOLDER;
    r->root = memory_copy(path, strlen(path));
    if (r->root && !directory_exists(path)) {
        char *slash = strrchr(r->root, '/');
        slash[slash == r->root] = 0;
    }
    r->common = r->root ? memory_copy(r->root, strlen(r->root)) : NULL;
    return r->common ? OK : fail(err, ERR_MEMORY, "%s: out of memory", path);
}

static status open_with(repository **out, const char *path, const struct environment *e, error *err)
{
    static const char *extensions[] = {"worktreeconfig"};
    char found[PATH_MAX];
    *out = NULL;
    if (!realpath(path, found)) return fail(err, ERR_IO, "%s: %s", path, strerror(errno));
    repository *r = memory_take(1, sizeof *r);
    if (!r) return fail(err, ERR_MEMORY, "%s: out of memory", path);
    git_libgit2_init();
    git_libgit2_opts(GIT_OPT_SET_EXTENSIONS, extensions, (size_t)1);
    status code = git_open(r, found, e) ? OK : folder_open(r, found, err);
    if (code == OK)
        *out = r;
    else
        repository_close(r);
    return code;
}

status repository_open(repository **out, const char *path, error *err)
{
    return open_with(out, path, &(struct environment){0}, err);
}

status repository_open_environment(repository **out, error *err)
{
    struct environment e = {getenv("GIT_DIR"), getenv("GIT_WORK_TREE"), getenv("GIT_INDEX_FILE")};
    return open_with(out, ".", &e, err);
}

void repository_close(repository *r)
{
    if (!r) return;
    git_index_free(r->index);
    git_repository_free(r->git);
    git_libgit2_shutdown();
    memory_free(r->root);
    memory_free(r->common);
    memory_free(r);
}

enum repository_kind repository_kind(const repository *r) { return r->kind; }
const char *repository_root(const repository *r) { return r->root; }
const char *repository_common(const repository *r) { return r->common; }

const char *repository_own(const repository *r)
{
    return r->git ? git_repository_path(r->git) : r->common;
}
const char *repository_notice(const repository *r) { return r->notice[0] ? r->notice : NULL; }
const char *repository_head(const repository *r) { return r->head; }
const char *repository_branch(const repository *r) { return r->branch; }

/* The object's header tells its size before anything is unpacked. */
static status read_object(buffer *out, repository *r, const struct repository_file *file,
                          size_t max_bytes, error *err)
{
    git_oid oid;
    git_odb *objects = NULL;
    git_blob *blob = NULL;
    git_object_t type;
    size_t size = 0;
    status code = OK;
    memcpy(oid.id, file->id.bytes, sizeof oid.id);
    if (git_repository_odb(&objects, r->git) != 0 ||
        git_odb_read_header(&size, &type, objects, &oid) != 0)
        code = fail(err, ERR_IO, "a blob cannot be read: %s", git_reason());
    else if (size > max_bytes)
        code = fail(err, ERR_LIMIT, "a blob of %zu bytes, at most %zu", size, max_bytes);
    else if (git_blob_lookup(&blob, r->git, &oid) != 0)
        code = fail(err, ERR_IO, "a blob cannot be read: %s", git_reason());
    else
        buffer_put(out, git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob));
    git_blob_free(blob);
    git_odb_free(objects);
    return code == OK && out->failed ? fail(err, ERR_MEMORY, "no memory for a blob") : code;
}

status repository_read(buffer *out, struct file_stamp *stamp, repository *r,
                       const struct repository_file *file, size_t max_bytes, error *err)
{
    *stamp = file->stamp;
    return r->kind == REPOSITORY_BARE
               ? read_object(out, r, file, max_bytes, err)
               : tree_file_read(out, stamp, r->root, file->path, max_bytes, err);
}
