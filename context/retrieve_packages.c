/* What the projects of a tree say of the names of modules: package.json what a package is called and
 * where it begins, tsconfig.json which names stand for which folders. Files are read again only when
 * another content is there, because every question of a new file asks for all of them. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "context/path_text.h"
#include "context/retrieve_private.h"

enum { PACKAGES_MAX = 64, ALIASES_MAX = 128, SETTINGS_BYTES_MAX = 256 * 1024, ENTRIES_MAX = 24 };

/* Comments and commas before a closing bracket become blanks: tsconfig.json may have both. */
static void plain_json(char *bytes, size_t size)
{
    size_t comma = SIZE_MAX;
    for (size_t i = 0; i < size; i++) {
        bool pair = bytes[i] == '/' && i + 1 < size;
        if (bytes[i] == '"') {
            for (i++; i < size && bytes[i] != '"'; i++) i += bytes[i] == '\\';
            comma = SIZE_MAX;
        } else if (pair && bytes[i + 1] == '/') {
            while (i < size && bytes[i] != '\n') bytes[i++] = ' ';
        } else if (pair && bytes[i + 1] == '*') {
            for (; i < size && !(bytes[i] == '*' && i + 1 < size && bytes[i + 1] == '/'); i++)
                bytes[i] = ' ';
            for (size_t end = i + 2; i < size && i < end; i++) bytes[i] = ' ';
            i--;
        } else if (bytes[i] == ',') {
            comma = i;
        } else if ((bytes[i] == '}' || bytes[i] == ']') && comma != SIZE_MAX) {
            bytes[comma] = ' ';
            comma = SIZE_MAX;
        } else if (!strchr(" \t\r\n", bytes[i])) {
            comma = SIZE_MAX;
        }
    }
}

/* NULL: it is no JSON. */
static json_t *settings_read(struct retrieval *t, text path)
{
    text content = retrieval_content(t, path);
    char *copy = content.size && content.size <= SETTINGS_BYTES_MAX
                     ? arena_copy(t->memory, content.bytes, content.size)
                     : NULL;
    if (!copy) return NULL;
    plain_json(copy, content.size);
    return json_loadb(copy, content.size, 0, NULL);
}

static text kept(struct projects *p, const char *bytes)
{
    char *copy = bytes ? arena_copy(&p->memory, bytes, strlen(bytes)) : NULL;
    return (text){copy, copy ? strlen(bytes) : 0};
}

static void entry_add(struct projects *p, struct package *to, const char *path)
{
    if (path && to->n_entries < ENTRIES_MAX && strchr(path, '.'))
        to->entries[to->n_entries++] = kept(p, path);
}

/* Paths below "exports": conditions within conditions, a few levels of them. */
static void exports_add(struct projects *p, struct package *to, const json_t *value, int depth)
{
    const char *key;
    json_t *inner;
    entry_add(p, to, json_string_value(value));
    if (depth == 0) return;
    json_object_foreach((json_t *)(uintptr_t)value, key,
                        inner) if (key[0] != '.' || strcmp(key, ".") == 0)
        exports_add(p, to, inner, depth - 1);
}

static void package_read(struct projects *p, struct retrieval *t, text path)
{
    static const char *const keys[] = {"source", "types", "typings", "module", "main"};
    json_t *root = settings_read(t, path);
    const char *name = json_string_value(json_object_get(root, "name"));
    struct package *to = &p->packages[p->n_packages];
    if (name && name[0]) {
        *to = (struct package){.name = kept(p, name)};
        to->path = (text){arena_copy(&p->memory, path.bytes, path.size), path.size};
        to->entries = arena_take(&p->memory, ENTRIES_MAX, sizeof *to->entries);
        for (size_t i = 0; to->entries && i < sizeof keys / sizeof *keys; i++)
            entry_add(p, to, json_string_value(json_object_get(root, keys[i])));
        if (to->entries) exports_add(p, to, json_object_get(root, "exports"), 3);
        p->n_packages++;
    }
    json_decref(root);
}

/* Names in `pattern` stand for files below `folder`/`target`, both up to their "*". */
static void alias_add(struct projects *p, text from, text folder, const char *pattern,
                      const char *target)
{
    buffer path = {0};
    if (p->n_aliases == ALIASES_MAX || !target) return;
    struct alias *a = &p->aliases[p->n_aliases];
    *a = (struct alias){.folder = from};
    a->prefix = kept(p, pattern);
    a->open = text_ends(a->prefix, TEXT("*"));
    if (a->open) a->prefix.size--;
    text below = text_of(target);
    if (text_ends(below, TEXT("*"))) below.size--;
    if (path_join_put(&path, folder, below) && !path.failed) {
        if (path.size && (!below.size || text_ends(below, TEXT("/")))) buffer_put_char(&path, '/');
        buffer_put_char(&path, 0);
        a->target = path.failed ? TEXT("") : kept(p, path.bytes);
        p->n_aliases++;
    }
    buffer_free(&path);
}

static void config_read(struct projects *p, struct retrieval *t, text path)
{
    json_t *root = settings_read(t, path), *targets;
    const json_t *options = json_object_get(root, "compilerOptions");
    json_t *paths = json_object_get(options, "paths");
    const char *base = json_string_value(json_object_get(options, "baseUrl")), *pattern;
    text from = path_folder(path);
    buffer folder = {0};
    from = (text){arena_copy(&p->memory, from.bytes ? from.bytes : "", from.size), from.size};
    if (path_join_put(&folder, from, text_of(base ? base : ".")) && !folder.failed) {
        json_object_foreach(paths, pattern, targets)
        {
            alias_add(p, from, buffer_text(&folder), pattern,
                      json_string_value(json_array_get(targets, 0)));
        }
        if (base) alias_add(p, from, buffer_text(&folder), "*", "*");
    }
    buffer_free(&folder);
    json_decref(root);
}

/* Which settings there are, in which contents. */
static status settings_list(struct index_files out[3], buffer *marks, struct retrieval *t)
{
    static const char *const stems[] = {"package", "tsconfig", "jsconfig"};
    status code = OK;
    for (size_t i = 0; code == OK && i < 3; i++) {
        code = index_files_by_stem(&out[i], t->memory, t->r->index, t->r->tree, text_of(stems[i]),
                                   t->err);
        for (size_t k = 0; code == OK && k < out[i].n; k++) {
            text path = out[i].files[k].path;
            if (text_ends(path, TEXT(".json")))
                buffer_print(marks, "%.*s %lld\n", (int)path.size, path.bytes,
                             (long long)out[i].files[k].blob);
        }
    }
    return code == OK && marks->failed ? fail(t->err, ERR_MEMORY, "no memory for packages") : code;
}

/* The deepest folders first: what is nearest to a file speaks for it. */
static int compare_aliases(const void *a, const void *b)
{
    const struct alias *x = a, *y = b;
    if (x->folder.size != y->folder.size) return x->folder.size > y->folder.size ? -1 : 1;
    return (x->prefix.size < y->prefix.size) - (x->prefix.size > y->prefix.size);
}

static status settings_read_all(struct projects *p, struct retrieval *t,
                                const struct index_files files[3])
{
    p->packages = arena_take(&p->memory, PACKAGES_MAX, sizeof *p->packages);
    p->aliases = arena_take(&p->memory, ALIASES_MAX, sizeof *p->aliases);
    if (p->memory.failed) return fail(t->err, ERR_MEMORY, "no memory for packages");
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < files[i].n && !retrieval_late(t); k++) {
            text path = files[i].files[k].path;
            if (!text_ends(path, TEXT(".json"))) continue;
            if (i > 0)
                config_read(p, t, path);
            else if (p->n_packages < PACKAGES_MAX && text_is(path_name(path), "package.json"))
                package_read(p, t, path);
        }
    if (p->n_aliases) qsort(p->aliases, p->n_aliases, sizeof *p->aliases, compare_aliases);
    return p->memory.failed ? fail(t->err, ERR_MEMORY, "no memory for packages") : OK;
}

void projects_free(struct projects *p)
{
    arena_reset(&p->memory);
    buffer_free(&p->marks);
    *p = (struct projects){0};
}

status projects_find(struct retrieval *t)
{
    struct projects *p = &t->r->projects;
    struct index_files files[3] = {{0}, {0}, {0}};
    buffer marks = {0};
    status code = settings_list(files, &marks, t);
    if (code == OK && !text_equal(buffer_text(&marks), buffer_text(&p->marks))) {
        projects_free(p);
        code = settings_read_all(p, t, files);
        if (code == OK && !t->cut) {
            p->marks = marks;
            marks = (buffer){0};
        }
    }
    buffer_free(&marks);
    return code;
}

static status resolve_path(struct index_files *out, struct retrieval *t, text from, text folder,
                           text path)
{
    buffer module = {0};
    buffer_put_text(&module, TEXT("./"));
    if (folder.size) buffer_put_text(&module, folder);
    buffer_put_text(&module, path);
    struct tag_import import = {.module = buffer_text(&module)};
    status code = module.failed
                      ? fail(t->err, ERR_MEMORY, "no memory for an import")
                      : import_resolve(out, &t->r->document.memory, t->r->index, t->r->tree, from,
                                       &import, IMPORT_FILES_MAX, t->err);
    buffer_free(&module);
    return code;
}

/* What a package was built into stands for what it was built from: lib/a.js for src/a.ts. */
static status resolve_entry(struct index_files *out, struct retrieval *t, const struct package *p,
                            text entry)
{
    while (text_starts(entry, TEXT("./"))) entry = text_slice(entry, 2, entry.size);
    status code = resolve_path(out, t, p->path, TEXT(""), entry);
    size_t slash = text_find(entry, TEXT("/"), 0);
    if (code != OK || out->n || slash == SIZE_MAX) return code;
    text below = text_slice(entry, slash, entry.size);
    below = text_slice(below, 0, below.size - path_name(below).size + path_stem(below).size);
    code = resolve_path(out, t, p->path, TEXT("src"), below);
    if (code == OK && out->n == 0) code = resolve_path(out, t, p->path, TEXT("."), below);
    return code;
}

/* Of "name/deep/er": what stands there in the sources. Else where the package says that it begins,
 * else where packages begin by custom. */
static status resolve_package(struct index_files *out, struct retrieval *t, const struct package *p,
                              text rest)
{
    static const char *const folders[] = {"src", ".", "lib"};
    static const char *const fronts[] = {"src/index", "src/main", "index",         "main",
                                         "lib/index", "src/api",  "src/common/api"};
    status code = OK;
    for (size_t i = 0; rest.size && code == OK && out->n == 0 && i < 3; i++)
        code = resolve_path(out, t, p->path, text_of(folders[i]), rest);
    for (size_t i = 0; code == OK && out->n == 0 && i < p->n_entries; i++)
        code = resolve_entry(out, t, p, p->entries[i]);
    for (size_t i = 0; code == OK && out->n == 0 && i < sizeof fronts / sizeof *fronts; i++)
        code = resolve_path(out, t, p->path, TEXT(""), text_of(fronts[i]));
    return code;
}

/* What a file imports from where the sources are built to, it has from the sources. */
status built_import(struct index_files *out, struct retrieval *t, text from, text module)
{
    static const char *const folders[] = {"lib", "dist", "out", "build"};
    status code = OK;
    *out = (struct index_files){0};
    if (text_starts(module, TEXT("./"))) module = text_slice(module, 2, module.size);
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        text folder = text_of(folders[i]), below = text_slice(module, folder.size, module.size);
        if (!text_starts(module, folder) || !text_starts(below, TEXT("/"))) continue;
        code = resolve_path(out, t, from, TEXT("src"), below);
    }
    return code;
}

static bool is_below(text path, text folder)
{
    return !folder.size ||
           (text_starts(path, folder) && path.size > folder.size && path.bytes[folder.size] == '/');
}

status project_import(struct index_files *out, struct retrieval *t, text from, text module)
{
    const struct projects *p = &t->r->projects;
    status code = OK;
    *out = (struct index_files){0};
    for (size_t i = 0; code == OK && out->n == 0 && i < p->n_aliases; i++) {
        const struct alias *a = &p->aliases[i];
        text rest = text_slice(module, a->prefix.size, module.size);
        if (!is_below(from, a->folder) || !text_starts(module, a->prefix)) continue;
        if (a->open || !rest.size) code = resolve_path(out, t, TEXT(""), a->target, rest);
    }
    for (size_t i = 0; code == OK && out->n == 0 && i < p->n_packages; i++) {
        const struct package *k = &p->packages[i];
        text rest = text_slice(module, k->name.size, module.size);
        if (text_starts(module, k->name) && (!rest.size || rest.bytes[0] == '/'))
            code = resolve_package(out, t, k, rest);
    }
    return code;
}
