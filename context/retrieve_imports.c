/* The files that the document sees: those it imports, and, where an import hands on what it imports
 * itself (headers), those one step farther. Kept with their symbols from question to question. */
#include <string.h>

#include "context/exclude.h"
#include "context/retrieve_private.h"

enum {
    FILES_EACH_MAX = 3, /* of one import */
    FILES_MAX = 96,
    SYMBOLS_MAX = 600 /* of one file */
};

#define HANDED_ON 0.6

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

static status imports_add(struct retrieval *t, text from, const struct tag_import *imports,
                          size_t n, double score)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < n; i++) {
        struct index_files files;
        if (i && text_equal(imports[i].module, imports[i - 1].module)) continue;
        code = import_resolve(&files, &t->r->document.memory, t->r->index, t->r->tree, from,
                              &imports[i], FILES_EACH_MAX, t->err);
        for (size_t k = 0; code == OK && k < files.n; k++)
            code = file_add(t, &files.files[k], score);
    }
    return code;
}

static bool hands_on(text path)
{
    const struct language *l = language_find(TEXT(""), path);
    return l && (strcmp(l->name, "C") == 0 || strcmp(l->name, "C++") == 0 ||
                 strcmp(l->name, "CUDA") == 0);
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
    d->n_imported = 0;
    d->imports_there = false;
    d->imported = arena_take(&d->memory, FILES_MAX, sizeof *d->imported);
    if (!d->imported) return fail(t->err, ERR_MEMORY, "no memory for imports");
    if (d->there) code = imports_add(t, t->q->document.path, d->tags.imports, d->tags.n_imports, 1);
    if (code == OK) code = handed_on_add(t);
    d->index_version = version;
    d->imports_there = code == OK;
    if (code != OK) d->n_imported = 0;
    return code;
}
