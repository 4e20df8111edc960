/* Which files the user needs first. The names of modules that the open file imports are compared with
 * the stems and folders of all paths, as the map does: looking them up properly takes an index. */
#include <stdlib.h>

#include "base/limits.h"
#include "base/memory.h"
#include "context/exclude.h"
#include "context/index_workers.h"
#include "context/module_parts.h"
#include "context/path_text.h"

/* About a second of one core; an open file imports some dozens. */
enum { NEAR_MAX = 400 };
/* An imported file, one of an imported folder, one of the same folder; to which parts in common are
 * added, up to the least of them. */
enum { OF_STEM = 64, OF_FOLDER = 32, BESIDE = 16 };

struct near_file {
    size_t at, score;
    int64_t mtime_ns;
};

static void imports_read(struct module_parts *out, repository *r, const struct repository_file *f)
{
    tagger *t = NULL;
    struct index_job j = {.file = f, .language = language_find(TEXT(""), f->path)};
    if (f->excluded || exclude_reason(f->path)) return;
    index_job_read(&j, r);
    if (j.code == OK && tagger_open(&t, NULL) == OK) {
        index_job_parse(&j, t);
        for (size_t i = 0; i < j.tags.n_imports; i++) {
            module_parts_see(out, j.tags.imports[i].module);
            module_parts_add(out, j.tags.imports[i].name);
        }
    }
    tagger_close(t);
    index_job_clear(&j);
}

static size_t score_of(const struct module_parts *imported, text path, text other)
{
    size_t common = path_parts_at_start(path_folder(path), path_folder(other));
    size_t score = common < BESIDE ? common : BESIDE - 1;
    if (module_parts_have(imported, module_part_hash(path_stem(other))))
        score += OF_STEM;
    else if (module_parts_have(imported, module_part_hash(path_folder_name(other))))
        score += OF_FOLDER;
    if (text_equal(path_folder(path), path_folder(other))) score += BESIDE;
    return score;
}

static int compare_near(const void *a, const void *b)
{
    const struct near_file *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->mtime_ns != y->mtime_ns) return x->mtime_ns > y->mtime_ns ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

status index_near(size_t **out, size_t *n, const struct repository_files *list, repository *r,
                  text path, error *err)
{
    struct module_parts imported = {.n = 0};
    const struct repository_file *file = repository_files_find(list, path);
    struct near_file *all = memory_take(list->n + 1, sizeof *all);
    *n = list->n < NEAR_MAX ? list->n : NEAR_MAX;
    *out = memory_take(NEAR_MAX, sizeof **out);
    if (!all || !*out) {
        memory_free(all);
        return fail(err, ERR_MEMORY, "no memory for an order of %zu files", list->n);
    }
    if (file) imports_read(&imported, r, file);
    for (size_t i = 0; i < list->n; i++)
        all[i] = (struct near_file){i, score_of(&imported, path, list->files[i].path),
                                    list->files[i].stamp.mtime_ns};
    qsort(all, list->n, sizeof *all, compare_near);
    for (size_t i = 0; i < *n; i++) (*out)[i] = all[i].at;
    memory_free(all);
    return OK;
}
