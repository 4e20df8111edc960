/* One walk serves repositories and plain folders: directories are opened relative to their parent,
 * never through a link; a file that git's index knows is tracked, any other is asked for in the
 * ignore rules. A directory is entered when it is not ignored or when something in it is tracked. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/repository_private.h"

/* Names between two questions whether to go on: 2 ms. */
enum { SEEN_BETWEEN = 64 };

/* One open directory on the way down. */
struct level {
    const struct level *outer;
    dev_t device;
    ino_t inode;
    int depth;
    bool attributed; /* attribute files here or above speak of "dbrx" */
    bool closed;     /* one of them cannot be read: everything is excluded */
    bool unruled; /* an ignore file here or above cannot be read: only what is tracked is listed */
};

struct walk {
    struct repository_files *out;
    repository *r;
    buffer path;         /* of the current directory, with a "/" behind it; empty at the root */
    text only;           /* this one file, or empty: all */
    bool has_attributes; /* a commit's tree holds attribute files */
    size_t n_seen;
    bool cancelled;
    error *err;
};

/* Of one file nobody asks; a walk of a million takes a while. */
static status walk_go_on(struct walk *w)
{
    bool asks = w->r->go_on && w->only.size == 0 && ++w->n_seen % SEEN_BETWEEN == 0;
    if (!asks || w->r->go_on(w->r->go_on_payload)) return OK;
    w->cancelled = true;
    return fail(w->err, ERR_CANCELLED, "cancelled at %zu files", w->out->n);
}

static status add_file(struct walk *w, const struct repository_file *f)
{
    struct repository_files *out = w->out;
    if (out->n == REPOSITORY_FILES_MAX) {
        out->truncated = true;
        return OK;
    }
    if (out->n == out->room) {
        size_t room = out->room ? 2 * out->room : 256;
        void *grown = memory_resize(out->files, room, sizeof *out->files);
        if (!grown) return fail(w->err, ERR_MEMORY, "no memory for a list of %zu files", room);
        out->files = grown;
        out->room = room;
    }
    char *copy = arena_copy(&out->memory, f->path.bytes, f->path.size);
    if (!copy) return fail(w->err, ERR_MEMORY, "no memory for a list of %zu files", out->n);
    out->files[out->n] = *f;
    out->files[out->n++].path.bytes = copy;
    return OK;
}

static const git_index_entry *entry_find(const repository *r, const char *path)
{
    return r->index ? git_index_get_bypath(r->index, path, 0) : NULL;
}

/* Git's own rule: the entry's stat data are the file's, and older than the index, so that a change
 * within the clock's resolution cannot hide. */
static bool entry_vouches(const repository *r, const git_index_entry *e, const struct stat *st)
{
    bool older = e->mtime.seconds < r->index_written.tv_sec ||
                 (e->mtime.seconds == r->index_written.tv_sec &&
                  (long)e->mtime.nanoseconds < r->index_written.tv_nsec);
    return older && S_ISREG(e->mode) && e->file_size == (uint32_t)st->st_size &&
           e->mtime.seconds == (int32_t)st->st_mtim.tv_sec &&
           e->mtime.nanoseconds == (uint32_t)st->st_mtim.tv_nsec &&
           e->ctime.seconds == (int32_t)st->st_ctim.tv_sec &&
           e->ctime.nanoseconds == (uint32_t)st->st_ctim.tv_nsec && e->ino == (uint32_t)st->st_ino;
}

/* Both kinds of path: a directory's ends in "/". Fails closed: what cannot be told is ignored. */
static bool is_ignored(const struct walk *w, const struct level *here)
{
    int ignored = 1;
    if (!w->r->git) return false;
    return here->unruled || git_ignore_path_is_ignored(&ignored, w->r->git, w->path.bytes) != 0 ||
           ignored;
}

bool repository_excludes(repository *r, text path)
{
    const char *value = NULL;
    char copy[PATH_MAX];
    uint32_t flags = r->kind == REPOSITORY_BARE
                         ? GIT_ATTR_CHECK_INDEX_ONLY | GIT_ATTR_CHECK_INCLUDE_HEAD
                         : GIT_ATTR_CHECK_FILE_THEN_INDEX;
    if (!r->git) return false;
    if (path.size >= sizeof copy) return true;
    if (path.size) memcpy(copy, path.bytes, path.size);
    copy[path.size] = 0;
    return git_attr_get(&value, r->git, flags, copy, "dbrx") != 0 || GIT_ATTR_IS_FALSE(value);
}

static bool mentions(int folder, const char *name)
{
    buffer content = {0};
    int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return false;
    bool found = stream_read(&content, fd, ATTRIBUTES_READ_MAX, NULL) != OK ||
                 text_find(buffer_text(&content), TEXT("dbrx"), 0) != SIZE_MAX;
    close(fd);
    buffer_free(&content);
    return found;
}

/* A sum, as directories are read in any order. */
static void rules_add(struct repository_files *out, text folder, int fd, const char *name)
{
    struct stat st;
    if (fstatat(fd, name, &st, 0) != 0) return;
    uint64_t parts[] = {text_hash(folder),           text_hash(text_of(name)),
                        (uint64_t)st.st_ino,         (uint64_t)st.st_size,
                        (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec,
                        (uint64_t)st.st_ctim.tv_nsec};
    out->rules += text_hash((text){(const char *)parts, sizeof parts});
}

/* Where a link leads decides whether its text may be seen, too. */
static void link_add(struct repository_files *out, text path, int folder, const char *name)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(folder, name, target, sizeof target);
    uint64_t parts[] = {text_hash(path), text_hash((text){target, n > 0 ? (size_t)n : 0})};
    out->rules += text_hash((text){(const char *)parts, sizeof parts});
}

/* Attribute files outside the tree: of the repository, of the user, of the machine. */
static bool mentioned_elsewhere(const repository *r, struct repository_files *out)
{
    char path[PATH_MAX + 32];
    git_config *config = NULL;
    git_buf named = {0};
    const char *home = getenv("HOME"), *set = getenv("XDG_CONFIG_HOME");
    snprintf(path, sizeof path, "%s/info/attributes", r->common);
    bool found = mentions(AT_FDCWD, path) || mentions(AT_FDCWD, "/etc/gitattributes");
    rules_add(out, TEXT(""), AT_FDCWD, path);
    rules_add(out, TEXT(""), AT_FDCWD, "/etc/gitattributes");
    snprintf(path, sizeof path, "%s%s/git/attributes",
             set && *set ? set
             : home      ? home
                         : "",
             set && *set ? "" : "/.config");
    found = found || mentions(AT_FDCWD, path);
    rules_add(out, TEXT(""), AT_FDCWD, path);
    if (git_repository_config_snapshot(&config, r->git) == 0)
        if (git_config_get_path(&named, config, "core.attributesfile") == 0) {
            found = true;
            rules_add(out, TEXT("core.attributesfile"), AT_FDCWD, named.ptr);
        }
    git_buf_dispose(&named);
    git_config_free(config);
    return found;
}

/* Attributes are asked for, file by file, only where some rule speaks of ours: that is slow. */
static void level_attributes(struct level *here, const struct walk *w, int fd)
{
    struct stat st;
    here->attributed =
        here->outer ? here->outer->attributed : w->r->git && mentioned_elsewhere(w->r, w->out);
    here->closed = here->outer && here->outer->closed;
    if (!w->r->git || fstatat(fd, ".gitattributes", &st, 0) != 0 || S_ISDIR(st.st_mode)) return;
    rules_add(w->out, buffer_text(&w->path), fd, ".gitattributes");
    if (!S_ISREG(st.st_mode))
        here->closed = true;
    else if (mentions(fd, ".gitattributes"))
        here->attributed = true;
}

static status see_file(struct walk *w, const struct level *here, const struct stat *st)
{
    const git_index_entry *entry = entry_find(w->r, w->path.bytes);
    struct repository_file f = {
        .path = buffer_text(&w->path),
        .mode = st->st_mode & 0100 ? 0100755 : 0100644,
        .tracked = entry != NULL,
        .stamp = stamp_of(st),
    };
    f.excluded = here->closed || (here->attributed && repository_excludes(w->r, f.path));
    if (!entry && is_ignored(w, here)) return OK;
    if (entry && entry_vouches(w->r, entry, st)) {
        f.identified = true;
        memcpy(f.id.bytes, entry->id.id, sizeof f.id.bytes);
    }
    return add_file(w, &f);
}

/* Folders that hold other programs' data or other people's code, whatever rules there are. */
static bool is_foreign_folder(const repository *r, const char *name)
{
    static const char *const always[] = {".git", ".hg", ".svn"};
    static const char *const plain[] = {"node_modules", "__pycache__", ".venv", ".tox"};
    for (size_t i = 0; i < sizeof always / sizeof *always; i++)
        if (strcmp(name, always[i]) == 0) return true;
    for (size_t i = 0; !r->git && i < sizeof plain / sizeof *plain; i++)
        if (strcmp(name, plain[i]) == 0) return true;
    return false;
}

static bool level_repeats(const struct level *outer, const struct stat *st)
{
    for (; outer; outer = outer->outer)
        if (outer->device == st->st_dev && outer->inode == st->st_ino) return true;
    return false;
}

/* libgit2 reads a directory's .gitignore with a plain open, which a FIFO would block for ever. */
static bool ignore_file_usable(int fd)
{
    struct stat st;
    return fstatat(fd, ".gitignore", &st, 0) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
}

static status walk_directory(struct walk *w, int fd, const struct level *outer);

static bool is_unit(const struct walk *w, int fd, const git_index_entry *entry)
{
    struct stat st;
    return w->r->git && ((entry && entry->mode == GIT_FILEMODE_COMMIT) ||
                         fstatat(fd, ".git", &st, AT_SYMLINK_NOFOLLOW) == 0);
}

/* w->path names the directory, with "/" behind it. */
static status see_directory(struct walk *w, int parent, const char *name, const struct level *outer)
{
    if (is_foreign_folder(w->r, name)) return OK;
    bool tracked = w->r->index && git_index_find_prefix(NULL, w->r->index, w->path.bytes) == 0;
    if (!tracked && is_ignored(w, outer)) return OK;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        w->out->n_refused++;
        return OK;
    }
    w->path.bytes[--w->path.size] = 0;
    bool unit = is_unit(w, fd, entry_find(w->r, w->path.bytes));
    buffer_put_char(&w->path, '/');
    if (!unit) return walk_directory(w, fd, outer);
    w->out->n_units++;
    close(fd);
    return OK;
}

static status see_name(struct walk *w, int fd, const char *name, const struct level *here)
{
    struct stat st;
    size_t kept = w->path.size;
    status code = walk_go_on(w);
    if (code != OK || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) return code;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return OK; /* gone meanwhile */
    buffer_put(&w->path, name, strlen(name));
    if (S_ISDIR(st.st_mode)) buffer_put_char(&w->path, '/');
    if (w->path.failed)
        code = fail(w->err, ERR_MEMORY, "no memory for a path");
    else if (S_ISDIR(st.st_mode))
        code = see_directory(w, fd, name, here);
    else if (S_ISREG(st.st_mode))
        code = see_file(w, here, &st);
    else
        w->out->n_special++;
    if (code == OK && S_ISLNK(st.st_mode)) link_add(w->out, buffer_text(&w->path), fd, name);
    w->path.bytes[w->path.size = kept] = 0;
    return code;
}

/* The part of the one wanted path that stands behind the current directory. */
static status see_wanted(struct walk *w, int fd, const struct level *here)
{
    char name[NAME_MAX + 1];
    text rest = text_slice(w->only, w->path.size, w->only.size);
    size_t end = text_find(rest, TEXT("/"), 0);
    text part = text_slice(rest, 0, end == SIZE_MAX ? rest.size : end);
    if (part.size == 0 || part.size > NAME_MAX || memchr(part.bytes, 0, part.size)) return OK;
    memcpy(name, part.bytes, part.size);
    name[part.size] = 0;
    bool is_last = part.size == rest.size;
    struct stat st;
    if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode) == is_last)
        return OK;
    return see_name(w, fd, name, here);
}

/* Takes fd. What cannot be read is counted, not an error: the rest is still worth having. */
static status walk_directory(struct walk *w, int fd, const struct level *outer)
{
    struct stat st;
    status code = OK;
    struct level here = {.outer = outer, .depth = outer ? outer->depth + 1 : 0};
    bool entered =
        fstat(fd, &st) == 0 && here.depth < REPOSITORY_DEPTH_MAX && !level_repeats(outer, &st);
    DIR *dir = entered ? fdopendir(fd) : NULL;
    if (!dir) {
        w->out->n_refused++;
        close(fd);
        return OK;
    }
    here.device = st.st_dev;
    here.inode = st.st_ino;
    level_attributes(&here, w, fd);
    here.unruled = (outer && outer->unruled) || !ignore_file_usable(fd);
    if (w->only.size) code = see_wanted(w, fd, &here);
    /* cppcheck-suppress readdirCalled ; a DIR of our own: readdir is thread-safe */
    for (struct dirent *d; !w->only.size && code == OK && !w->out->truncated && (d = readdir(dir));)
        code = see_name(w, fd, d->d_name, &here);
    closedir(dir);
    return code;
}

static int compare_files(const void *a, const void *b)
{
    text x = ((const struct repository_file *)a)->path,
         y = ((const struct repository_file *)b)->path;
    int order = memcmp(x.bytes, y.bytes, x.size < y.size ? x.size : y.size);
    return order ? order : (x.size > y.size) - (x.size < y.size);
}

static status list_tree(struct walk *w)
{
    int fd = open(w->r->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail(w->err, ERR_IO, "%s: %s", w->r->root, strerror(errno));
    buffer_put(&w->path, "", 0);
    return w->path.failed ? fail(w->err, ERR_MEMORY, "no memory for a path")
                          : walk_directory(w, fd, NULL);
}

static size_t depth_of(const char *folder)
{
    size_t n = 0;
    for (; *folder; folder++) n += *folder == '/';
    return n;
}

/* A few objects can name a tree without end, or one deeper than the stack of whoever descends it. */
static int see_tree_entry(const char *folder, const git_tree_entry *entry, void *payload)
{
    struct walk *w = payload;
    git_filemode_t mode = git_tree_entry_filemode(entry);
    if (w->out->truncated || walk_go_on(w) != OK) return -1;
    if (mode == GIT_FILEMODE_TREE && depth_of(folder) + 1 >= REPOSITORY_DEPTH_MAX) {
        w->out->n_refused++;
        return 1;
    }
    if (mode == GIT_FILEMODE_COMMIT) w->out->n_units++;
    if (mode == GIT_FILEMODE_LINK) w->out->n_special++;
    if (mode != GIT_FILEMODE_BLOB && mode != GIT_FILEMODE_BLOB_EXECUTABLE) return 0;
    buffer_clear(&w->path);
    buffer_put_text(&w->path, text_of(folder));
    buffer_put_text(&w->path, text_of(git_tree_entry_name(entry)));
    if (strcmp(git_tree_entry_name(entry), ".gitattributes") == 0) w->has_attributes = true;
    struct repository_file f = {
        .path = buffer_text(&w->path), .mode = (uint32_t)mode, .identified = true, .tracked = true};
    memcpy(f.id.bytes, git_tree_entry_id(entry)->id, sizeof f.id.bytes);
    return add_file(w, &f) == OK ? 0 : -1;
}

static status list_commit(struct walk *w)
{
    git_object *tree = NULL;
    status code = OK;
    if (!w->r->head[0]) return OK;
    bool walked = git_revparse_single(&tree, w->r->git, "HEAD^{tree}") == 0 &&
                  git_tree_walk((const git_tree *)tree, GIT_TREEWALK_PRE, see_tree_entry, w) == 0;
    if (w->cancelled)
        code = ERR_CANCELLED;
    else if (!walked && !w->out->truncated)
        code = fail(w->err, ERR_IO, "%s: HEAD's tree cannot be read: %s", w->r->root, git_reason());
    git_object_free(tree);
    for (size_t i = 0; w->has_attributes && i < w->out->n; i++)
        w->out->files[i].excluded = repository_excludes(w->r, w->out->files[i].path);
    return code;
}

void repository_set_go_on(repository *r, repository_go_on *go_on, void *payload)
{
    r->go_on = go_on;
    r->go_on_payload = payload;
}

status repository_list(struct repository_files *out, repository *r, error *err)
{
    *out = (struct repository_files){0};
    struct walk w = {.out = out, .r = r, .err = err};
    status code = r->kind == REPOSITORY_BARE ? list_commit(&w) : list_tree(&w);
    buffer_free(&w.path);
    if (out->n) qsort(out->files, out->n, sizeof *out->files, compare_files);
    return code;
}

status repository_list_one(struct repository_files *out, repository *r, text path, error *err)
{
    *out = (struct repository_files){0};
    struct walk w = {.out = out, .r = r, .only = path, .err = err};
    status code = r->kind == REPOSITORY_BARE || path.size == 0 ? OK : list_tree(&w);
    buffer_free(&w.path);
    return code;
}

const struct repository_file *repository_files_find(const struct repository_files *files, text path)
{
    const struct repository_file key = {.path = path};
    return files->n ? bsearch(&key, files->files, files->n, sizeof key, compare_files) : NULL;
}

void repository_files_free(struct repository_files *files)
{
    memory_free(files->files);
    arena_reset(&files->memory);
    *files = (struct repository_files){0};
}
