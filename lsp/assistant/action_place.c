/* Paths are compared after realpath, the file's and the folders' alike; of a file that does not exist
 * yet its folder's. */
#include "lsp/assistant/action_place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "context/exclude.h"
#include "lsp/assistant/action_table.h"

enum { COPIES_MAX = 99 };

static bool copy_path(char out[PATH_MAX], text path)
{
    if (path.size == 0 || path.size >= PATH_MAX || memchr(path.bytes, 0, path.size)) return false;
    memcpy(out, path.bytes, path.size);
    out[path.size] = 0;
    return true;
}

/* The path without links; of a file that is not there yet, its folder's and its name. */
static bool real_path(char out[PATH_MAX], text path)
{
    char copy[PATH_MAX], folder[PATH_MAX];
    struct stat there;
    if (!copy_path(copy, path) || copy[0] != '/') return false;
    if (realpath(copy, out)) return true;
    if (lstat(copy, &there) == 0) return false; /* a link that leads nowhere */
    char *slash = strrchr(copy, '/');
    if (!slash[1]) return false;
    *slash = 0;
    if (!realpath(copy[0] ? copy : "/", folder)) return false;
    return snprintf(out, PATH_MAX, "%s/%s", folder, slash + 1) < PATH_MAX;
}

/* What of `path` lies below one of the folders, or NULL. */
static const char *below_folders(const char *path, const text *folders, size_t n_folders)
{
    const char *found = NULL;
    for (size_t i = 0; i < n_folders; i++) {
        char real[PATH_MAX];
        if (!real_path(real, folders[i])) continue;
        size_t n = strlen(real);
        while (n > 0 && real[n - 1] == '/') n--;
        if (strncmp(path, real, n) == 0 && path[n] == '/' && path[n + 1]) found = path + n + 1;
    }
    return found;
}

/* Names by which editors, git and build tools find what they run. */
static const char *confirm_reason(const char *relative)
{
    static const char *const settings[] = {"settings.json", "tasks.json", "launch.json"};
    for (const char *at = relative; at;) {
        const char *slash = strchr(at, '/');
        text part = {at, slash ? (size_t)(slash - at) : strlen(at)};
        if (part.size && part.bytes[0] == '.') return "a dotfile, or inside a hidden folder";
        if (text_is(part, "hooks") && slash) return "inside a folder of hooks";
        for (size_t i = 0; !slash && i < sizeof settings / sizeof *settings; i++)
            if (text_is(part, settings[i])) return "a file of settings";
        if (!slash && text_ends(part, TEXT(".code-workspace"))) return "a file of settings";
        at = slash ? slash + 1 : NULL;
    }
    return NULL;
}

status action_place_check(struct action_place *out, text path, const text *folders,
                          size_t n_folders, bool edits, error *err)
{
    char real[PATH_MAX];
    *out = (struct action_place){0};
    if (path.size == 0) return OK; /* a document that is no file: its text is the editor's alone */
    if (!real_path(real, path)) {
        if (!edits) return OK;
        return fail(err, ERR_UNSUPPORTED,
                    "the file's place cannot be found out: it stays as it is");
    }
    const char *secret = exclude_reason(text_of(real));
    if (secret) return fail(err, ERR_UNSUPPORTED, "it never reaches a model: %s", secret);
    if (!edits) return OK;
    const char *relative = below_folders(real, folders, n_folders);
    if (!relative)
        return fail(err, ERR_UNSUPPORTED, "the file lies outside the workspace: it stays as it is");
    out->confirm = confirm_reason(relative);
    /* What the editor calls it may be a link with another name. */
    char named[PATH_MAX];
    const char *shown = copy_path(named, path) ? below_folders(named, folders, n_folders) : NULL;
    if (!out->confirm && shown) out->confirm = confirm_reason(shown);
    return OK;
}

/* Folders for tests, tried in this order when they exist: "%" is the file's folder. */
static const char *const test_folders[] = {"%/tests", "%/test", "%/spec",
                                           "/tests",  "/test",  "/spec"};

/* Appends the folder that the tests go into: one for tests where there is one, else the file's. */
static void test_folder_put(buffer *out, text folder, text root, bool beside)
{
    for (size_t i = 0; !beside && i < sizeof test_folders / sizeof *test_folders; i++) {
        const char *pattern = test_folders[i];
        text base = pattern[0] == '%' ? folder : root;
        buffer_clear(out);
        buffer_put_text(out, base);
        buffer_put_text(out, text_of(pattern[0] == '%' ? pattern + 1 : pattern));
        if (!out->failed && directory_exists(out->bytes)) return;
    }
    buffer_clear(out);
    buffer_put_text(out, folder);
}

static text folder_of(text path)
{
    size_t end = path.size;
    while (end > 0 && path.bytes[end - 1] != '/') end--;
    return text_slice(path, 0, end ? end - 1 : 0);
}

static text root_of(text path, const text *folders, size_t n_folders)
{
    text root = folder_of(path);
    for (size_t i = 0; i < n_folders; i++)
        if (text_starts(path, folders[i]) && folders[i].size < root.size) root = folders[i];
    return root;
}

/* In these languages tests stand beside what they test, or are not found. */
static bool tests_stand_beside(const struct language *l)
{
    static const char *const fences[] = {"go", "javascript", "typescript", "tsx"};
    for (size_t i = 0; i < sizeof fences / sizeof *fences; i++)
        if (strcmp(l->fence, fences[i]) == 0) return true;
    return false;
}

status action_place_tests(struct action_place *out, text path, const struct language *language,
                          const text *folders, size_t n_folders, error *err)
{
    *out = (struct action_place){0};
    text folder = folder_of(path), name = text_slice(path, folder.size + 1, path.size);
    buffer into = {0}, file = {0};
    status code = OK;
    bool free_name = false;
    if (!language || path.size == 0)
        return fail(err, ERR_UNSUPPORTED, "there is no habit of where tests of this file go");
    test_folder_put(&into, folder, root_of(path, folders, n_folders), tests_stand_beside(language));
    for (unsigned copy = 1; copy <= COPIES_MAX && !free_name; copy++) {
        struct stat there;
        buffer_clear(&file);
        buffer_print(&file, "%s/", into.bytes ? into.bytes : "");
        if (!action_test_name(&file, language, name, copy)) break;
        free_name = !file.failed && lstat(file.bytes, &there) != 0;
    }
    if (into.failed || file.failed)
        code = fail(err, ERR_MEMORY, "out of memory for a path");
    else if (!free_name)
        code = fail(err, ERR_UNSUPPORTED, "there is no habit of where tests of this file go");
    if (code == OK)
        code = action_place_check(out, buffer_text(&file), folders, n_folders, true, err);
    buffer_free(&into);
    if (code == OK)
        out->new_file = file;
    else
        buffer_free(&file);
    return code;
}

void action_place_free(struct action_place *p) { buffer_free(&p->new_file); }
