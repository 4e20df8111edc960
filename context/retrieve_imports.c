/* The files that the document sees: those it imports, where an import hands on what it imports itself
 * (headers) those one step farther, and where a folder is one package those beside it. And what the
 * files beside it use, whatever they are. Kept from question to question. */
#include <stdlib.h>
#include <string.h>

#include "context/path_text.h"
#include "context/retrieve_private.h"

enum {
    FILES_MAX = 96,
    HANDED_MAX = 4,     /* steps from the document to what is handed on to it */
    SYMBOLS_MAX = 2000, /* of one file */
    KIN_FILES_MAX = 24,
    KIN_NAMES_MAX = 160,
    CACHED_BYTES = 8 * 1024 * 1024
};

#define HANDED_ON     0.6
#define HANDED_ONWARD 0.9 /* by a file that says so */
#define SAME_PACKAGE  0.8

/* What a test runner alone calls. */
static bool is_test(const struct index_symbol *s)
{
    if (text_ends(s->path, TEXT("_test.go")))
        return text_find(s->signature, TEXT("(t *testing.T)"), 0) != SIZE_MAX ||
               text_find(s->signature, TEXT("(b *testing.B)"), 0) != SIZE_MAX;
    return text_ends(s->path, TEXT(".py")) && text_starts(s->signature, TEXT("def test_"));
}

bool is_private(const struct index_symbol *s)
{
    bool in_c = text_ends(s->path, TEXT(".c"));
    return (in_c && text_starts(s->signature, TEXT("static "))) || is_test(s) ||
           text_starts(s->signature, TEXT("private ")) || text_is(s->kind, TAG_LOCAL);
}

/* Forgets all when there is much; nothing that is imported may be in use. */
static void symbols_begin(struct symbol_cache *c)
{
    if (c->n < SYMBOLS_CACHED_MAX && c->memory.used_bytes < CACHED_BYTES && !c->memory.failed)
        return;
    arena_reset(&c->memory);
    memset(c->slots, 0, sizeof c->slots);
    c->n = 0;
}

/* Where the file's symbols are kept, or are to be. */
static struct known_symbols *symbols_slot(struct retrieval *t, text path, int64_t blob,
                                          uint64_t mark)
{
    struct symbol_cache *c = &t->r->symbols;
    const size_t n_slots = sizeof c->slots / sizeof *c->slots;
    size_t i = (text_hash(path) ^ mark) % n_slots;
    for (; c->slots[i].parts; i = (i + 1) % n_slots) {
        const struct known_symbols *k = &c->slots[i];
        if (k->blob == blob && k->mark == mark && k->language == t->language &&
            text_equal(k->path, path))
            break;
    }
    return &c->slots[i];
}

/* The symbols of a content as those of the file at k->path, without what nobody else can use. */
static status symbols_read(struct known_symbols *k, struct retrieval *t)
{
    arena *a = &t->r->symbols.memory;
    struct index_symbols *s = &k->symbols;
    size_t n = 0;
    status code = index_symbols_of(s, a, t->r->index, k->blob, SYMBOLS_MAX, t->err);
    for (size_t i = 0; code == OK && i < s->n; i++) {
        s->symbols[i].path = k->path;
        bool word = tagger_is_keyword(t->language, s->symbols[i].name);
        if (!word && !is_private(&s->symbols[i])) s->symbols[n++] = s->symbols[i];
    }
    s->n = n;
    k->parts = code == OK ? arena_take(a, n + 1, sizeof *k->parts) : NULL;
    for (size_t i = 0; k->parts && i < n; i++) k->parts[i] = name_parts(a, s->symbols[i].name);
    if (code == OK && a->failed) code = fail(t->err, ERR_MEMORY, "no memory for imports");
    if (code != OK) k->parts = NULL;
    return code;
}

static status symbols_find(struct retrieval *t, struct imported_file *f, int64_t blob)
{
    struct symbol_cache *c = &t->r->symbols;
    uint64_t mark;
    status code = index_blob_mark(&mark, t->r->index, blob, t->err);
    if (code != OK || c->n >= SYMBOLS_CACHED_MAX + SYMBOLS_CACHED_MAX / 2) return code;
    struct known_symbols *k = symbols_slot(t, f->path, blob, mark);
    if (!k->parts) {
        const char *path = arena_copy(&c->memory, f->path.bytes, f->path.size);
        if (!path) return fail(t->err, ERR_MEMORY, "no memory for imports");
        *k = (struct known_symbols){{path, f->path.size}, blob, mark, t->language, {0}, NULL};
        code = symbols_read(k, t);
        c->n += code == OK;
    }
    f->symbols = k->symbols;
    f->parts = k->parts;
    return code;
}

static status file_add(struct retrieval *t, const struct index_file *file, double score,
                       int n_steps)
{
    struct document_tags *d = &t->r->document;
    if (is_document(t, file->path) || !is_kindred(t, file->path) || is_excluded(t, file->path) ||
        d->n_imported == FILES_MAX)
        return OK;
    for (size_t i = 0; i < d->n_imported; i++)
        if (text_equal(d->imported[i].path, file->path)) return OK;
    struct imported_file *f = &d->imported[d->n_imported++];
    *f = (struct imported_file){.path = file->path, .score = score, .n_steps = n_steps};
    return symbols_find(t, f, file->blob);
}

static bool language_is(const struct language *l, const char *const *names)
{
    for (; l && *names; names++)
        if (strcmp(l->name, *names) == 0) return true;
    return false;
}

static bool is_of_projects(const struct language *l)
{
    static const char *const names[] = {"JavaScript", "TypeScript", "TSX", NULL};
    return language_is(l, names);
}

/* By its path, else by what the projects of this tree call it. */
static status import_find(struct index_files *out, struct retrieval *t, text from,
                          const struct tag_import *import)
{
    bool project = is_of_projects(t->language) && import->module.size > 0,
         named = project && import->module.bytes[0] != '.';
    status code = OK;
    *out = (struct index_files){0};
    if (named) code = project_import(out, t, from, import->module);
    if (code != OK || out->n) return code;
    code = import_resolve(out, &t->r->document.memory, t->r->index, t->r->tree, from, import,
                          IMPORT_FILES_MAX, t->err);
    if (code == OK && out->n == 0 && project && !named)
        code = built_import(out, t, from, import->module);
    return code;
}

/* `all`: not only what is handed onward. */
static status imports_add(struct retrieval *t, text from, const struct tag_import *imports,
                          size_t n, bool all, double score, int n_steps)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < n; i++) {
        struct index_files files;
        if (i && text_equal(imports[i].module, imports[i - 1].module)) continue;
        if (!all && !imports[i].onward) continue;
        code = import_find(&files, t, from, &imports[i]);
        double own = n_steps == 0 ? 1 : imports[i].onward ? HANDED_ONWARD : HANDED_ON;
        for (size_t k = 0; code == OK && k < files.n; k++)
            code = file_add(t, &files.files[k], own * score, n_steps);
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
    code = index_files_by_folder(&files, &t->r->document.memory, t->r->index, t->r->tree, folder,
                                 t->err);
    for (size_t i = 0; code == OK && i < files.n; i++)
        if (text_equal(path_folder(files.files[i].path), folder))
            code = file_add(t, &files.files[i], SAME_PACKAGE, HANDED_MAX);
    return code;
}

/* What imported files hand on: all that they import where that is their purpose, and where they define
 * nothing themselves, else what they say; and so on, a few steps. */
static status handed_on_add(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    status code = OK;
    for (size_t i = 0; code == OK && i < d->n_imported && !retrieval_late(t); i++) {
        const struct imported_file from = d->imported[i];
        struct index_file file;
        struct tag_import *imports;
        size_t n;
        bool found, all = from.symbols.n == 0 || (from.n_steps == 0 && hands_on(from.path));
        if (from.n_steps == HANDED_MAX) continue;
        code = index_file_at(&file, &found, &d->memory, t->r->index, t->r->tree, from.path, t->err);
        if (code != OK || !found) continue;
        code = index_imports_of(&imports, &n, &d->memory, t->r->index, file.blob, t->err);
        if (code == OK)
            code = imports_add(t, from.path, imports, n, all, from.score, from.n_steps + 1);
    }
    return code;
}

status imported_find(struct retrieval *t)
{
    struct document_tags *d = &t->r->document;
    int64_t version;
    status code = index_version(&version, t->r->index, t->err);
    if (code != OK || (d->imports_there && version == d->index_version && !d->memory.failed))
        return code;
    arena_reset(&d->memory);
    symbols_begin(&t->r->symbols);
    d->n_imported = d->n_kin = 0;
    d->kin = NULL;
    d->together_there = false;
    d->imports_there = false;
    d->imported = arena_take(&d->memory, FILES_MAX, sizeof *d->imported);
    if (!d->imported) return fail(t->err, ERR_MEMORY, "no memory for imports");
    if (d->there && is_of_projects(t->language)) code = projects_find(t);
    if (code == OK && d->there)
        code = imports_add(t, t->q->document.path, d->tags.imports, d->tags.n_imports, true, 1, 0);
    if (code == OK) code = handed_on_add(t);
    if (code == OK) code = package_add(t);
    d->index_version = version;
    d->imports_there = code == OK;
    if (code != OK) d->n_imported = 0;
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
    status code =
        index_files_by_folder(&files, &d->memory, t->r->index, t->r->tree, folder, t->err);
    for (size_t i = 0; code == OK && i < files.n && n < KIN_FILES_MAX && !retrieval_late(t); i++) {
        const struct index_file *file = &files.files[i];
        if (!text_equal(path_folder(file->path), folder) || is_document(t, file->path) ||
            !is_kindred(t, file->path) || is_excluded(t, file->path))
            continue;
        n++;
        code = kin_add(f, t, file);
    }
    if (code == OK) d->n_kin = names_take(d->kin, KIN_NAMES_MAX, f, t->language);
    for (size_t i = 0; i < d->n_kin; i++) {
        text *name = &d->kin[i].name;
        name->bytes = arena_copy(&d->memory, name->bytes, name->size);
    }
    return code == OK && d->memory.failed ? fail(t->err, ERR_MEMORY, "no memory for names") : code;
}
