/* libgit2 finds what differs; texts are asked for one file at a time, and only where that is allowed
 * and bounded. Before it may read rules (.gitattributes, .gitignore) of a directory they are looked
 * at: it opens them plainly, and a FIFO would hang it. */
#include "context/diff.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/memory.h"
#include "context/exclude.h"
#include "context/repository_private.h"
#include "context/secrets.h"

struct diffing {
    struct diff *out;
    repository *r;
    const struct diff_options *options;
    size_t room;
    buffer patch;
    size_t patch_max;
    struct diff_file *file; /* the one whose patch is read */
    error *err;
};

/* True when no rule file from the root down to `path`'s folder is anything but a regular file. */
static bool rules_regular(const repository *r, const char *path)
{
    static const char *const names[] = {".gitattributes", ".gitignore"};
    char name[PATH_MAX + 32];
    struct stat st;
    for (size_t from = 0;;) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            snprintf(name, sizeof name, "%s/%.*s%s", r->root, (int)from, path, names[i]);
            if (stat(name, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return false;
        }
        const char *slash = strchr(path + from, '/');
        if (!slash) return true;
        from = (size_t)(slash - path) + 1;
    }
}

/* The same for all folders that hold tracked files; entries are sorted, so each is asked once. */
static bool all_rules_regular(const repository *r)
{
    size_t n_before = SIZE_MAX;
    const char *before = "";
    for (size_t i = 0; i < git_index_entrycount(r->index); i++) {
        const char *path = git_index_get_byindex(r->index, i)->path;
        const char *slash = strrchr(path, '/');
        size_t n = slash ? (size_t)(slash - path) : 0;
        if (n == n_before && memcmp(path, before, n) == 0) continue;
        n_before = n;
        before = path;
        if (!rules_regular(r, path)) return false;
    }
    return true;
}

static struct diff_file *file_add(struct diffing *d, const char *path, char change)
{
    struct diff *out = d->out;
    if (out->n == DIFF_FILES_MAX) {
        out->n_left_out++;
        return NULL;
    }
    if (out->n == d->room) {
        size_t room = d->room ? 2 * d->room : 64;
        void *grown = memory_resize(out->files, room, sizeof *out->files);
        if (!grown) {
            out->memory.failed = true;
            return NULL;
        }
        out->files = grown;
        d->room = room;
    }
    size_t size = strlen(path);
    const char *copy = arena_copy(&out->memory, path, size);
    struct diff_file *f = &out->files[out->n++];
    *f = (struct diff_file){.path = {copy, copy ? size : 0}, .change = change};
    f->old_path = f->path;
    return f;
}

/* Of one line with its sign; stops the file's patch where it is full. */
static int see_line(const git_diff_delta *delta, const git_diff_hunk *hunk,
                    const git_diff_line *line, void *payload)
{
    struct diffing *d = payload;
    (void)delta, (void)hunk;
    if (line->origin == GIT_DIFF_LINE_FILE_HDR || d->file->cut) return 0;
    bool signed_line = line->origin == ' ' || line->origin == '+' || line->origin == '-';
    if (d->patch.size + line->content_len + 1 > d->patch_max) {
        d->file->cut = true;
        return 0;
    }
    if (signed_line) buffer_put_char(&d->patch, line->origin);
    buffer_put(&d->patch, line->content, line->content_len);
    return 0;
}

static const char *why_no_patch(const struct diffing *d, const git_diff_delta *delta)
{
    const char *reason = exclude_reason(text_of(delta->new_file.path));
    if (!reason) reason = exclude_reason(text_of(delta->old_file.path));
    if (reason) return reason;
    if (delta->new_file.mode == GIT_FILEMODE_COMMIT || delta->old_file.mode == GIT_FILEMODE_COMMIT)
        return "a submodule";
    if (delta->new_file.mode == GIT_FILEMODE_LINK || delta->old_file.mode == GIT_FILEMODE_LINK)
        return "a symbolic link";
    if (delta->new_file.size > INDEX_FILE_MAX || delta->old_file.size > INDEX_FILE_MAX)
        return "too large";
    if (d->out->memory.used_bytes > DIFF_BYTES_MAX) return "the diff is too large";
    if (!rules_regular(d->r, delta->new_file.path)) return "its attributes are no regular file";
    bool excluded = repository_excludes(d->r, text_of(delta->new_file.path)) ||
                    repository_excludes(d->r, text_of(delta->old_file.path));
    return excluded ? "the git attribute -dbrx excludes it" : NULL;
}

static void patch_read(struct diffing *d, git_diff *diff, size_t i, struct diff_file *f)
{
    git_patch *patch = NULL;
    const git_diff_delta *delta = git_diff_get_delta(diff, i);
    f->omitted = why_no_patch(d, delta);
    if (f->omitted) return;
    d->file = f;
    buffer_clear(&d->patch);
    buffer_put(&d->patch, "", 0);
    if (git_patch_from_diff(&patch, diff, i) != 0) {
        f->omitted = "it cannot be read";
    } else if (!patch || (git_patch_get_delta(patch)->flags & GIT_DIFF_FLAG_BINARY)) {
        f->omitted = "binary or too large";
    } else {
        git_patch_line_stats(NULL, &f->n_added, &f->n_removed, patch);
        git_patch_print(patch, see_line, d);
        while (f->cut && d->patch.size && d->patch.bytes[d->patch.size - 1] != '\n')
            d->patch.size--;
        secrets_mask(d->patch.bytes, d->patch.size);
        const char *copy = arena_copy(&d->out->memory, d->patch.bytes, d->patch.size);
        f->patch = (text){copy, copy ? d->patch.size : 0};
        d->out->memory.failed |= d->patch.failed;
    }
    git_patch_free(patch);
}

/* What a sparse checkout leaves out is not deleted. */
static bool is_absent_by_choice(const struct diffing *d, const git_diff_delta *delta)
{
    if (d->options->side != DIFF_UNSTAGED || delta->status != GIT_DELTA_DELETED) return false;
    const git_index_entry *e = git_index_get_bypath(d->r->index, delta->old_file.path, 0);
    return e && (e->flags_extended & GIT_INDEX_ENTRY_SKIP_WORKTREE);
}

static void deltas_read(struct diffing *d, git_diff *diff)
{
    for (size_t i = 0; i < git_diff_num_deltas(diff); i++) {
        const git_diff_delta *delta = git_diff_get_delta(diff, i);
        char change = git_diff_status_char(delta->status);
        if (is_absent_by_choice(d, delta) || change == ' ') continue;
        struct diff_file *f = file_add(d, delta->new_file.path, change);
        if (!f) continue;
        if (change == 'R') {
            size_t size = strlen(delta->old_file.path);
            const char *copy = arena_copy(&d->out->memory, delta->old_file.path, size);
            f->old_path = (text){copy, copy ? size : 0};
        }
        if (d->options->patches) patch_read(d, diff, i, f);
    }
}

/* Renames are looked for by content only among few files: the cost is their product. */
static void find_renames(git_diff *diff)
{
    git_diff_find_options options;
    git_diff_find_options_init(&options, GIT_DIFF_FIND_OPTIONS_VERSION);
    options.flags = GIT_DIFF_FIND_RENAMES;
    options.rename_limit = DIFF_RENAMES_MAX;
    if (git_diff_num_deltas(diff) > DIFF_RENAMES_MAX)
        options.flags |= GIT_DIFF_FIND_EXACT_MATCH_ONLY;
    git_diff_find_similar(diff, &options);
}

static int staged_open(git_diff **diff, repository *r, const git_diff_options *options)
{
    git_object *tree = NULL;
    int rc = r->head[0] ? git_revparse_single(&tree, r->git, "HEAD^{tree}") : 0;
    if (rc == 0) rc = git_diff_tree_to_index(diff, r->git, (git_tree *)tree, r->index, options);
    git_object_free(tree);
    return rc;
}

static int diff_open(git_diff **diff, struct diffing *d)
{
    git_diff_options options;
    git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
    options.flags = GIT_DIFF_INCLUDE_TYPECHANGE | GIT_DIFF_INDENT_HEURISTIC;
    options.context_lines = (uint32_t)d->options->n_lines_near;
    options.max_size = INDEX_FILE_MAX;
    if (d->options->side == DIFF_STAGED) return staged_open(diff, d->r, &options);
    options.flags |= GIT_DIFF_IGNORE_SUBMODULES;
    return git_diff_index_to_workdir(diff, d->r->git, d->r->index, &options);
}

static status untracked_read(struct diffing *d)
{
    struct repository_files list;
    status code = repository_list(&list, d->r, d->err);
    for (size_t i = 0; code == OK && i < list.n; i++)
        if (!list.files[i].tracked) file_add(d, list.files[i].path.bytes, '?');
    repository_files_free(&list);
    return code;
}

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct diff_file *)a)->path.bytes,
                  ((const struct diff_file *)b)->path.bytes);
}

status repository_diff(struct diff *out, repository *r, const struct diff_options *options,
                       error *err)
{
    git_diff *diff = NULL;
    struct diffing d = {.out = out, .r = r, .options = options, .err = err};
    d.patch_max = options->patch_max ? options->patch_max : DIFF_PATCH_MAX;
    *out = (struct diff){0};
    if (r->kind != REPOSITORY_GIT)
        return fail(err, ERR_UNSUPPORTED, "%s: no git working tree%s%s", r->root,
                    r->notice[0] ? ": " : "", r->notice);
    if (options->side == DIFF_UNSTAGED && !all_rules_regular(r))
        return fail(err, ERR_UNSUPPORTED, "%s: a .gitattributes or .gitignore is no regular file",
                    r->root);
    status code = OK;
    if (diff_open(&diff, &d) != 0) {
        code = fail(err, ERR_IO, "%s: no diff: %s", r->root, git_reason());
    } else {
        if (options->side == DIFF_STAGED) find_renames(diff);
        deltas_read(&d, diff);
        if (options->side == DIFF_UNSTAGED && options->untracked) code = untracked_read(&d);
    }
    if (code == OK && out->memory.failed) code = fail(err, ERR_MEMORY, "no memory for a diff");
    if (code == OK && out->n) qsort(out->files, out->n, sizeof *out->files, compare_files);
    git_diff_free(diff);
    buffer_free(&d.patch);
    return code;
}

void diff_free(struct diff *d)
{
    memory_free(d->files);
    arena_reset(&d->memory);
    *d = (struct diff){0};
}

status repository_staged(uint64_t *out, repository *r, error *err)
{
    git_diff *diff = NULL;
    git_diff_options options;
    *out = 0;
    if (r->kind != REPOSITORY_GIT) return OK;
    git_diff_options_init(&options, GIT_DIFF_OPTIONS_VERSION);
    options.flags = GIT_DIFF_INCLUDE_TYPECHANGE;
    if (staged_open(&diff, r, &options) != 0)
        return fail(err, ERR_IO, "%s: no diff: %s", r->root, git_reason());
    size_t n = git_diff_num_deltas(diff);
    uint64_t hash = 1;
    for (size_t i = 0; i < n; i++) {
        const git_diff_delta *delta = git_diff_get_delta(diff, i);
        const git_oid *id = &delta->new_file.id;
        hash = hash * 31 + hash_text(text_of(delta->new_file.path));
        hash = hash * 31 + hash_text((text){(const char *)id->id, sizeof id->id});
    }
    git_diff_free(diff);
    if (n) *out = hash ? hash : 1;
    return OK;
}
