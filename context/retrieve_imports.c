/* The files that the document sees: those it imports, where an import hands on what it imports itself
 * (headers) those one step farther, and where a folder is one package those beside it. And what the
 * files beside it use, whatever they are. Kept from question to question. */
#include <stdlib.h>
#include <string.h>

#include "context/exclude.h"
#include "context/path_text.h"
#include "context/retrieve_private.h"

enum {
    FILES_EACH_MAX = 3, /* of one import */
    FILES_MAX = 96,
    SYMBOLS_MAX = 2000, /* of one file */
    TOGETHER_MAX = 8,
    PACKAGES_MAX = 64,
    KIN_FILES_MAX = 24,
    KIN_NAMES_MAX = 160
};

#define HANDED_ON    0.6
#define SAME_PACKAGE 0.8

bool is_private(const struct index_symbol *s)
{
    return text_starts(s->signature, TEXT("static ")) && text_ends(s->path, TEXT(".c"));
}

/* The symbols of a content as those of the file at `path`, without what nobody else can use. */
static status symbols_read(struct retrieval *t, struct imported_file *f, int64_t blob)
{
    struct document_tags *d = &t->r->document;
    struct index_symbols *s = &f->symbols;
    size_t n = 0;
    status code = index_symbols_of(s, &d->memory, t->r->index, blob, SYMBOLS_MAX, t->err);
    for (size_t i = 0; code == OK && i < s->n; i++) {
        s->symbols[i].path = f->path;
        if (!is_private(&s->symbols[i])) s->symbols[n++] = s->symbols[i];
    }
    s->n = n;
    f->parts = arena_take(&d->memory, n + 1, sizeof *f->parts);
    for (size_t i = 0; code == OK && f->parts && i < n; i++)
        f->parts[i] = name_parts(&d->memory, s->symbols[i].name);
    if (code == OK && d->memory.failed) code = fail(t->err, ERR_MEMORY, "no memory for imports");
    return code;
}

static status file_add(struct retrieval *t, const struct index_file *file, double score)
{
    struct document_tags *d = &t->r->document;
    if (is_document(t, file->path) || !is_kindred(t, file->path) || exclude_reason(file->path) ||
        d->n_imported == FILES_MAX)
        return OK;
    for (size_t i = 0; i < d->n_imported; i++)
        if (text_equal(d->imported[i].path, file->path)) return OK;
    struct imported_file *f = &d->imported[d->n_imported++];
    *f = (struct imported_file){.path = file->path, .score = score};
    return symbols_read(t, f, file->blob);
}

static bool language_is(const struct language *l, const char *const *names)
{
    for (; l && *names; names++)
        if (strcmp(l->name, *names) == 0) return true;
    return false;
}

/* A package of the same repository, named as its package.json does: "name" or "name/path". The files
 * that stand for it are where its folder has them by custom. */
static status package_import(struct index_files *out, struct retrieval *t, text module)
{
    static const char *const fronts[] = {"./src/index", "./src/main", "./index",         "./main",
                                         "./lib/index", "./src/api",  "./src/common/api"};
    struct document_tags *d = &t->r->document;
    struct tag_import sub = {.name = TEXT("")};
    status code = OK;
    *out = (struct index_files){0};
    for (size_t i = 0; code == OK && i < d->n_packages; i++) {
        const struct package *p = &d->packages[i];
        text rest = text_slice(module, p->name.size, module.size);
        if (!text_starts(module, p->name) || (rest.size && rest.bytes[0] != '/')) continue;
        for (size_t k = 0; code == OK && out->n == 0 && k < sizeof fronts / sizeof *fronts; k++) {
            sub.module = text_of(fronts[k]);
            code = import_resolve(out, &d->memory, t->r->index, t->r->tree, p->path, &sub,
                                  FILES_EACH_MAX, t->err);
        }
        break;
    }
    return code;
}

/* The text behind `"name":` of a package.json. */
static text package_name(text content)
{
    size_t at = text_find(content, TEXT("\"name\""), 0);
    size_t from = at == SIZE_MAX ? at : text_find(content, TEXT("\""), at + 6);
    size_t to = from == SIZE_MAX ? from : text_find(content, TEXT("\""), from + 1);
    return to == SIZE_MAX ? TEXT("") : text_slice(content, from + 1, to);
}

static status packages_find(struct retrieval *t)
{
    static const char *const names[] = {"JavaScript", "TypeScript", "TSX", NULL};
    struct document_tags *d = &t->r->document;
    struct index_files files;
    if (!language_is(t->language, names)) return OK;
    d->packages = arena_take(&d->memory, PACKAGES_MAX, sizeof *d->packages);
    if (!d->packages) return fail(t->err, ERR_MEMORY, "no memory for packages");
    status code =
        index_files_by_stem(&files, t->memory, t->r->index, t->r->tree, TEXT("package"), t->err);
    for (size_t i = 0; code == OK && i < files.n && d->n_packages < PACKAGES_MAX; i++) {
        text path = files.files[i].path;
        if (!text_is(path_name(path), "package.json") || retrieval_late(t)) continue;
        text name = package_name(retrieval_content(t, path));
        if (!name.size) continue;
        d->packages[d->n_packages++] =
            (struct package){{arena_copy(&d->memory, name.bytes, name.size), name.size},
                             {arena_copy(&d->memory, path.bytes, path.size), path.size}};
    }
    return code;
}

static status imports_add(struct retrieval *t, text from, const struct tag_import *imports,
                          size_t n, double score)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < n; i++) {
        struct index_files files;
        if (i && text_equal(imports[i].module, imports[i - 1].module)) continue;
        code = import_resolve(&files, &t->r->document.memory, t->r->index, t->r->tree, from,
                              &imports[i], FILES_EACH_MAX, t->err);
        if (code == OK && files.n == 0) code = package_import(&files, t, imports[i].module);
        for (size_t k = 0; code == OK && k < files.n; k++)
            code = file_add(t, &files.files[k], score);
    }
    return code;
}

/* Headers, and the files that stand for a folder or a package, offer what they import themselves. */
static bool hands_on(text path)
{
    static const char *const names[] = {"C", "C++", "CUDA", NULL};
    static const char *const fronts[] = {"index", "main", "api", "mod", "lib", "__init__"};
    bool front = false;
    for (size_t i = 0; i < sizeof fronts / sizeof *fronts; i++)
        front = front || text_is(path_stem(path), fronts[i]);
    return front || language_is(language_find(TEXT(""), path), names);
}

/* Languages in which the files of a folder see each other unasked. */
static status package_add(struct retrieval *t)
{
    static const char *const names[] = {"Go", "Java", "C#", NULL};
    struct index_files files = {0};
    text folder = path_folder(t->q->document.path);
    status code = OK;
    if (!language_is(t->language, names)) return OK;
    code = index_files_by_folder(&files, &t->r->document.memory, t->r->index, t->r->tree,
                                 path_name(folder), t->err);
    for (size_t i = 0; code == OK && i < files.n; i++)
        if (text_equal(path_folder(files.files[i].path), folder))
            code = file_add(t, &files.files[i], SAME_PACKAGE);
    return code;
}

/* What the imports of the document's imports hand on. */
static status handed_on_add(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    size_t n_direct = d->n_imported;
    status code = OK;
    for (size_t i = 0; code == OK && i < n_direct; i++) {
        struct index_file file;
        struct tag_import *imports;
        size_t n;
        bool found;
        if (!hands_on(d->imported[i].path)) continue;
        code = index_file_at(&file, &found, &d->memory, t->r->index, t->r->tree,
                             d->imported[i].path, t->err);
        if (code != OK || !found) continue;
        code = index_imports_of(&imports, &n, &d->memory, t->r->index, file.blob, t->err);
        if (code == OK) code = imports_add(t, d->imported[i].path, imports, n, HANDED_ON);
    }
    return code;
}

status imported_find(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    int64_t version;
    status code = index_version(&version, t->r->index, t->err);
    if (code != OK || (d->imports_there && version == d->index_version)) return code;
    arena_reset(&d->memory);
    d->n_imported = d->n_kin = d->n_together = 0;
    d->kin = NULL;
    d->together = NULL;
    d->packages = NULL;
    d->n_packages = 0;
    d->imports_there = false;
    d->imported = arena_take(&d->memory, FILES_MAX, sizeof *d->imported);
    if (!d->imported) return fail(t->err, ERR_MEMORY, "no memory for imports");
    if (d->there) code = packages_find(t);
    if (code == OK && d->there)
        code = imports_add(t, t->q->document.path, d->tags.imports, d->tags.n_imports, 1);
    if (code == OK) code = handed_on_add(t);
    if (code == OK) code = package_add(t);
    d->index_version = version;
    d->imports_there = code == OK;
    if (code != OK) d->n_imported = 0;
    return code;
}

status together_files_find(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    struct index_files files;
    if (d->together) return OK;
    d->together = arena_take(&d->memory, TOGETHER_MAX, sizeof *d->together);
    if (!d->together) return fail(t->err, ERR_MEMORY, "no memory for files");
    status code = index_files_together(&files, &d->memory, t->r->index, t->r->tree,
                                       t->q->document.path, TOGETHER_MAX, t->err);
    for (size_t i = 0; code == OK && i < files.n; i++) {
        const struct index_file *file = &files.files[i];
        if (!is_kindred(t, file->path) || exclude_reason(file->path)) continue;
        struct imported_file *f = &d->together[d->n_together++];
        *f = (struct imported_file){.path = file->path, .score = file->score};
        code = symbols_read(t, f, file->blob);
    }
    return code;
}

/* Files beside the document count by how much their names begin alike. */
static status kin_add(struct name_table *f, struct retrieval *t, const struct index_file *file)
{
    text own = path_stem(t->q->document.path), stem = path_stem(file->path), names, name;
    size_t longest = own.size > stem.size ? own.size : stem.size;
    double alike = longest ? (double)text_common(own, stem) / (double)longest : 0;
    status code = index_names_used(&names, t->memory, t->r->index, file->blob, t->err);
    while (code == OK && text_next_line(&names, &name)) line_names_put(f, name, 1 + 2 * alike);
    return code;
}

status kin_names_find(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    struct index_files files;
    text folder = path_folder(t->q->document.path);
    size_t n = 0;
    if (d->kin) return OK;
    struct name_table *f = arena_take(t->memory, 1, sizeof *f);
    d->kin = arena_take(&d->memory, KIN_NAMES_MAX, sizeof *d->kin);
    if (!f || !d->kin) return fail(t->err, ERR_MEMORY, "no memory for names");
    status code = index_files_by_folder(&files, &d->memory, t->r->index, t->r->tree,
                                        path_name(folder), t->err);
    for (size_t i = 0; code == OK && i < files.n && n < KIN_FILES_MAX && !retrieval_late(t); i++) {
        const struct index_file *file = &files.files[i];
        if (!text_equal(path_folder(file->path), folder) || is_document(t, file->path) ||
            !is_kindred(t, file->path) || exclude_reason(file->path))
            continue;
        n++;
        code = kin_add(f, t, file);
    }
    if (code == OK) d->n_kin = names_take(d->kin, KIN_NAMES_MAX, f);
    for (size_t i = 0; i < d->n_kin; i++) {
        text *name = &d->kin[i].name;
        name->bytes = arena_copy(&d->memory, name->bytes, name->size);
    }
    return code == OK && d->memory.failed ? fail(t->err, ERR_MEMORY, "no memory for names") : code;
}
