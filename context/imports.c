/* Every language spells modules otherwise, but all spell paths: "a/b.h", "./b", "a.b", "a::b",
 * "A\B", "example.com/m/a/b". The parts are taken apart, the last ones are looked up by the stem of
 * a file and by the name of a folder, and the more parts of the path agree, the likelier it is. One
 * part alone must be a neighbour, or be alone of its name. */
#include "context/imports.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "context/path_text.h"
#include "context/syntax.h"

enum { PARTS_MAX = 12, CANDIDATES_MAX = 64 };

struct candidates {
    struct index_file files[CANDIDATES_MAX];
    size_t n;
};

static void candidate_add(struct candidates *c, const struct index_file *f, double score)
{
    for (size_t i = 0; i < c->n; i++)
        if (text_equal(c->files[i].path, f->path)) {
            if (score > c->files[i].score) c->files[i].score = score;
            return;
        }
    if (c->n < CANDIDATES_MAX) c->files[c->n++] = (struct index_file){f->path, f->blob, score};
}

/* Languages whose modules are names with dots between their parts; elsewhere a dot is an ending's. */
static bool has_dotted_modules(text from)
{
    static const char *const names[] = {"Python", "Java", "C#", "Lua", "Kotlin"};
    const struct language *l = language_find(TEXT(""), from);
    for (size_t i = 0; l && i < sizeof names / sizeof *names; i++)
        if (strcmp(l->name, names[i]) == 0) return true;
    return false;
}

/* The module's parts with "/" between them; what stands in braces is left out. */
static void parts_put(buffer *out, text from, text module)
{
    bool dotted = has_dotted_modules(from);
    for (size_t i = 0; i < module.size; i++) {
        char c = module.bytes[i];
        bool separator = c == '/' || c == '\\' || c == ':' || (dotted && c == '.');
        if (c == '{' || c == '*' || c == ' ') break;
        if (!separator)
            buffer_put_char(out, c);
        else if (out->size && out->bytes[out->size - 1] != '/')
            buffer_put_char(out, '/');
    }
    while (out->size && out->bytes[out->size - 1] == '/') out->size--;
}

/* Python's leading dots, as a path: "." is here, ".." the folder above. */
static bool dots_put(buffer *out, text *module)
{
    size_t n = 0;
    while (n < module->size && module->bytes[n] == '.') n++;
    if (n == 0 || memchr(module->bytes, '/', module->size)) return false;
    for (size_t i = 1; i < n; i++) buffer_put_text(out, TEXT("../"));
    *module = text_slice(*module, n, module->size);
    return true;
}

/* Without an ending that a compiler made: "a.js" stands for a.ts. */
static text path_of_source(text path)
{
    static const char *const compiled[] = {".js", ".jsx", ".mjs", ".cjs"};
    for (size_t i = 0; i < sizeof compiled / sizeof *compiled; i++)
        if (text_ends(path, text_of(compiled[i])))
            return text_slice(path, 0, path.size - strlen(compiled[i]));
    return path;
}

/* "a" means a.ts and a.d.ts, and "a.b" means a.b.ts, but "a" does not. */
static bool is_one_ending(text ending)
{
    if (text_starts(ending, TEXT(".d."))) ending = text_slice(ending, 2, ending.size);
    return ending.size > 1 && !memchr(ending.bytes + 1, '.', ending.size - 1);
}

/* Files at this path, with any ending. */
static status with_ending(struct candidates *c, arena *a, code_index *x, int64_t tree, text path,
                          double score, error *err)
{
    struct index_files files;
    status code = index_files_at(&files, a, x, tree, path, err);
    for (size_t i = 0; code == OK && i < files.n; i++)
        if (is_one_ending(text_slice(files.files[i].path, path.size, files.files[i].path.size)))
            candidate_add(c, &files.files[i], score);
    return code;
}

/* The name, without its ending, of a file that stands for its folder; NULL: none does. Settings of
 * projects (JSON, or no file at all) speak for JavaScript and its kin. */
static const char *stands_for_folder(text from)
{
    static const char *const names[][2] = {
        {"Python", "__init__"},  {"Rust", "mod"},  {"Lua", "init"},  {"JavaScript", "index"},
        {"TypeScript", "index"}, {"TSX", "index"}, {"JSON", "index"}};
    const struct language *l = language_find(TEXT(""), from);
    if (!from.size) return "index";
    for (size_t i = 0; l && i < sizeof names / sizeof *names; i++)
        if (strcmp(l->name, names[i][0]) == 0) return names[i][1];
    return NULL;
}

/* Files at exactly this path, with any ending, or that stand for the folder of this name. */
static status at_path(struct candidates *c, arena *a, code_index *x, int64_t tree, text from,
                      text path, double score, error *err)
{
    const char *front = stands_for_folder(from);
    struct index_file exact;
    bool found;
    if (c->n) return OK; /* nearer ones */
    status code = index_file_at(&exact, &found, a, x, tree, path, err);
    if (code == OK && found) candidate_add(c, &exact, score + 1);
    if (found) return code; /* the very file: others of its stem are something else */
    if (code == OK) code = with_ending(c, a, x, tree, path_of_source(path), score, err);
    if (code != OK || !front) return code;
    const char *at = arena_print(a, "%.*s/%s", (int)path.size, path.bytes, front);
    return at ? with_ending(c, a, x, tree, text_of(at), score, err)
              : fail(err, ERR_MEMORY, "no memory for a path");
}

/* Without its last ending, so that "a/b.h" and "a/b" end alike. */
static text path_without_ending(text path)
{
    text name = path_name(path), stem = path_stem(path);
    return text_slice(path, 0, path.size - name.size + stem.size);
}

/* Files anywhere whose path ends in the parts, and folders that do. */
static status at_end(struct candidates *c, arena *a, code_index *x, int64_t tree, text from,
                     text parts, size_t n_parts, double score, error *err)
{
    struct index_files files;
    status code = index_files_by_stem(&files, a, x, tree, parts, err);
    size_t n_files = code == OK ? files.n : 0;
    for (size_t i = 0; i < n_files; i++) {
        text path = files.files[i].path;
        size_t n = path_parts_at_end(path_without_ending(path), path_without_ending(parts));
        bool near = text_equal(path_folder(path), path_folder(from)) || n_files == 1;
        if (n >= 2 || (n == n_parts && near)) candidate_add(c, &files.files[i], score + (double)n);
    }
    if (code == OK) code = index_files_by_folder(&files, a, x, tree, parts, err);
    for (size_t i = 0; code == OK && i < files.n; i++) {
        size_t n = path_parts_at_end(path_folder(files.files[i].path), parts);
        if (n >= 2 || n == n_parts) candidate_add(c, &files.files[i], score + (double)n - 0.5);
    }
    return code;
}

static size_t parts_count(text parts)
{
    size_t n = parts.size > 0;
    for (size_t i = 0; i < parts.size; i++) n += parts.bytes[i] == '/';
    return n;
}

static int compare_files(const void *a, const void *b)
{
    const struct index_file *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return text_compare(x->path, y->path);
}

/* "crate", "self" and "super" are Rust's words for places, not names. */
static text without_places(text parts)
{
    static const char *const places[] = {"crate/", "self/", "super/", "@/", "~/"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (text_starts(parts, text_of(places[i]))) {
            parts = text_slice(parts, strlen(places[i]), parts.size);
            i = (size_t)-1;
        }
    return parts;
}

static status resolve(struct candidates *c, arena *a, code_index *x, int64_t tree, text from,
                      text module, error *err)
{
    buffer relative = {0}, path = {0}, joined = {0};
    bool dots = dots_put(&relative, &module);
    parts_put(&path, from, module);
    buffer_put_text(&relative, buffer_text(&path));
    text parts = without_places(buffer_text(&path));
    bool explicitly = dots || text_starts(module, TEXT("./")) || text_starts(module, TEXT("../"));
    status code = OK;
    if (path_join_put(&joined, path_folder(from), buffer_text(&relative)) && joined.size)
        code = at_path(c, a, x, tree, from, buffer_text(&joined), 40, err);
    if (code == OK && !explicitly && parts.size) {
        code = at_path(c, a, x, tree, from, parts, 30, err);
        size_t n = parts_count(parts);
        if (code == OK && c->n == 0 && n <= PARTS_MAX)
            code = at_end(c, a, x, tree, from, parts, n, 10, err);
        /* The last part may be a name in the module before it. */
        text before = path_folder(parts);
        if (code == OK && c->n == 0 && n > 2)
            code = at_end(c, a, x, tree, from, before, n - 1, 5, err);
    }
    if (path.failed || relative.failed || joined.failed)
        code = fail(err, ERR_MEMORY, "no memory for an import");
    buffer_free(&path);
    buffer_free(&relative);
    buffer_free(&joined);
    return code;
}

status import_resolve(struct index_files *out, arena *a, code_index *x, int64_t tree, text from,
                      const struct tag_import *import, size_t n_max, error *err)
{
    struct candidates c = {.n = 0};
    *out = (struct index_files){0};
    status code = resolve(&c, a, x, tree, from, import->module, err);
    if (code != OK) return code;
    qsort(c.files, c.n, sizeof *c.files, compare_files);
    /* Much less agreement than the best is another module of the same name. */
    size_t n = 0;
    while (n < c.n && n < n_max && c.files[n].score > c.files[0].score - 2) n++;
    out->files = arena_take(a, n ? n : 1, sizeof *out->files);
    if (!out->files) return fail(err, ERR_MEMORY, "no memory for imports");
    memcpy(out->files, c.files, n * sizeof *c.files);
    out->n = n;
    return OK;
}
