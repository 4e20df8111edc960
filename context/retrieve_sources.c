/* Four ways to find what the next lines may need.
 *
 * Signatures say in one line what a body says in thirty, so functions are shown by their heads, all
 * of one file together; a type is shown whole, because its fields are what is typed next. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "context/exclude.h"
#include "context/path_text.h"
#include "context/retrieve_private.h"

enum {
    DEFINITIONS_MAX = 24, /* of one name */
    TYPE_LINES_MAX = 40,
    IMPORT_HEADS_MAX = 24, /* of one file */
    RECENT_LINES = 8,      /* above and below */
    RECENT_MAX = 8,
    SIMILAR_WORDS_MAX = 16,
    SIMILAR_FILES_MAX = 8,
    SIMILAR_LINES = 16
};

/* One word that three files have is not yet likeness. */
#define SIMILAR_LEAST 0.5

static bool is_one_of(text kind, const char *const *kinds)
{
    for (; *kinds; kinds++)
        if (text_is(kind, *kinds)) return true;
    return false;
}

static bool is_type(text kind)
{
    static const char *const kinds[] = {"struct",    "class", "enum", "union",
                                        "interface", "type",  NULL};
    return is_one_of(kind, kinds);
}

/* How much a definition of this kind helps whoever does not see it. */
static double kind_weight(text kind)
{
    static const char *const low[] = {"field", "variable", "module", NULL};
    static const char *const middle[] = {"constant", "macro", "property", "prototype", NULL};
    return is_one_of(kind, low) ? 0.3 : is_one_of(kind, middle) ? 0.8 : 1.0;
}

/* Heads of one file's definitions, gathered for one excerpt. */
struct heads {
    text path;
    const struct index_symbol *symbols[IMPORT_HEADS_MAX];
    size_t n;
    double score;
};

static int compare_places(const void *a, const void *b)
{
    const struct index_symbol *x = *(const struct index_symbol *const *)a,
                              *y = *(const struct index_symbol *const *)b;
    return (x->from > y->from) - (x->from < y->from);
}

static void heads_put(struct retrieval *t, struct heads *h, enum retrieve_source source,
                      const char *reason)
{
    buffer lines = {0};
    qsort(h->symbols, h->n, sizeof *h->symbols, compare_places);
    for (size_t i = 0; i < h->n; i++) {
        if (i && text_equal(h->symbols[i]->signature, h->symbols[i - 1]->signature)) continue;
        buffer_put_text(&lines, h->symbols[i]->signature);
        buffer_put_char(&lines, '\n');
    }
    const char *copy = lines.failed ? NULL : arena_copy(t->memory, lines.bytes, lines.size);
    struct excerpt e = {.path = h->path, .reason = reason, .score = h->score};
    e.content = (text){copy, copy ? lines.size : 0};
    e.n_lines = (uint32_t)h->n;
    candidate_put(t, source, &e);
    buffer_free(&lines);
}

/* A type with its body, as far as TYPE_LINES_MAX; the head alone when the file has changed since. */
static bool type_put(struct retrieval *t, const struct index_symbol *s, double score,
                     enum retrieve_source source, const char *reason)
{
    text content = retrieval_content(t, s->path);
    text whole = text_slice(content, s->from, s->to);
    if (s->to > content.size || text_find(whole, s->name, 0) == SIZE_MAX) return false;
    struct excerpt e = {.path = s->path, .reason = reason, .score = score, .line = 1};
    for (size_t i = 0; i < s->from; i++) e.line += content.bytes[i] == '\n';
    e.n_lines = 1;
    for (size_t i = 0; i + 1 < whole.size; i++) e.n_lines += whole.bytes[i] == '\n';
    if (e.n_lines > TYPE_LINES_MAX) return false;
    e.content = lines_of(content, &e.line, &e.n_lines);
    candidate_put(t, source, &e);
    return true;
}

static bool is_defined_here(const struct retrieval *t, text name)
{
    const struct tags *tags = &t->r->document.tags;
    for (size_t i = 0; t->r->document.there && i < tags->n_definitions; i++)
        if (text_equal(tags->definitions[i].name, name)) return true;
    return false;
}

/* Through imports first, then by nearness in the tree, then by the name alone. */
static double place_weight(const struct retrieval *t, text path)
{
    text own = t->q->document.path;
    const struct document_tags *d = &t->r->document;
    for (size_t i = 0; i < d->n_imported; i++)
        if (text_equal(d->imported[i].path, path)) return 3 * d->imported[i].score;
    if (text_equal(path_folder(path), path_folder(own))) return 1;
    return 0.4 + 0.1 * (double)path_parts_at_start(path, own);
}

static bool is_wanted(const struct retrieval *t, const struct index_symbol *s)
{
    return !is_document(t, s->path) && is_kindred(t, s->path) && !is_private(s) &&
           !exclude_reason(s->path);
}

static struct heads *heads_of(struct heads *all, size_t *n, size_t n_max, text path)
{
    for (size_t i = 0; i < *n; i++)
        if (text_equal(all[i].path, path)) return &all[i];
    if (*n == n_max) return NULL;
    all[*n] = (struct heads){.path = path};
    return &all[(*n)++];
}

static void head_add(struct heads *h, const struct index_symbol *s, double score)
{
    if (!h || h->n == IMPORT_HEADS_MAX) return;
    h->symbols[h->n++] = s;
    h->score = score > h->score ? score + 0.1 * h->score : h->score + 0.1 * score;
}

/* A name of many definitions is a common word; those of the likeliest place are taken, three at most. */
static status name_definitions(struct retrieval *t, const struct near_name *name,
                               struct heads *heads, size_t *n_heads)
{
    static const char reason[] = "defines a name used near the gap";
    struct index_symbols found;
    double best = 0;
    size_t n_kept = 0, n_wanted = 0;
    status code = index_definitions(&found, t->memory, t->r->index, text_of(t->r->root), name->name,
                                    DEFINITIONS_MAX, t->err);
    for (size_t i = 0; code == OK && i < found.n; i++) {
        double w = place_weight(t, found.symbols[i].path);
        if (!is_wanted(t, &found.symbols[i])) continue;
        n_wanted++;
        if (w > best) best = w;
    }
    for (size_t i = 0; code == OK && i < found.n && n_kept < 3; i++) {
        const struct index_symbol *s = &found.symbols[i];
        if (!is_wanted(t, s) || place_weight(t, s->path) < best) continue;
        double score = name->weight * best * kind_weight(s->kind) / sqrt((double)n_wanted);
        n_kept++;
        if (is_type(s->kind) && type_put(t, s, score, SOURCE_DEFINITION, reason)) continue;
        head_add(heads_of(heads, n_heads, CANDIDATES_EACH_MAX, s->path), s, score);
    }
    return code;
}

status definitions_find(struct retrieval *t)
{
    struct heads *heads = arena_take(t->memory, CANDIDATES_EACH_MAX, sizeof *heads);
    size_t n_heads = 0;
    status code = heads ? OK : fail(t->err, ERR_MEMORY, "no memory for definitions");
    for (size_t i = 0; code == OK && i < t->n_names && !retrieval_late(t); i++)
        if (!is_defined_here(t, t->names[i].name))
            code = name_definitions(t, &t->names[i], heads, &n_heads);
    for (size_t i = 0; code == OK && i < n_heads; i++)
        heads_put(t, &heads[i], SOURCE_DEFINITION, "defines names used near the gap");
    return code;
}

static bool is_used(const struct retrieval *t, text name)
{
    const struct tags *tags = &t->r->document.tags;
    size_t from = 0, to = t->r->document.there ? tags->n_references : 0;
    while (from < to) { /* references are in the order of their bytes */
        size_t middle = from + (to - from) / 2;
        text m = tags->references[middle].name;
        int order = memcmp(m.bytes, name.bytes, m.size < name.size ? m.size : name.size);
        if (order == 0) order = (m.size > name.size) - (m.size < name.size);
        if (order == 0) return true;
        *(order < 0 ? &from : &to) = order < 0 ? middle + 1 : middle;
    }
    return false;
}

struct ranked {
    const struct index_symbol *symbol;
    double score;
};

static int compare_ranked(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return (x->symbol->from > y->symbol->from) - (x->symbol->from < y->symbol->from);
}

/* What an imported file offers: names like those near the cursor first, then those the document
 * uses elsewhere, then the rest in order. */
static status import_offer(struct retrieval *t, const struct imported_file *f)
{
    struct ranked *ranked = arena_take(t->memory, f->symbols.n + 1, sizeof *ranked);
    size_t n = 0;
    if (!ranked) return fail(t->err, ERR_MEMORY, "no memory for imports");
    for (size_t i = 0; i < f->symbols.n; i++) {
        const struct index_symbol *s = &f->symbols.symbols[i];
        double near = name_nearness(t, s->name, f->parts[i]), used = is_used(t, s->name) ? 0.3 : 0;
        double score = f->score * kind_weight(s->kind) * (0.05 + near + used);
        ranked[n++] = (struct ranked){s, score};
    }
    qsort(ranked, n, sizeof *ranked, compare_ranked);
    struct heads h = {.path = f->path};
    for (size_t i = 0; i < n && h.n < IMPORT_HEADS_MAX; i++) {
        bool whole = is_type(ranked[i].symbol->kind) && ranked[i].score > 0.5 &&
                     type_put(t, ranked[i].symbol, ranked[i].score, SOURCE_IMPORT,
                              "a type of an imported file");
        if (!whole) head_add(&h, ranked[i].symbol, ranked[i].score);
    }
    if (h.n) heads_put(t, &h, SOURCE_IMPORT, "what an imported file offers");
    return OK;
}

status imports_find(struct retrieval *t)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < t->r->document.n_imported && !retrieval_late(t); i++)
        code = import_offer(t, &t->r->document.imported[i]);
    return code;
}

status recent_find(struct retrieval *t)
{
    for (size_t i = 0; i < t->q->n_recent && i < RECENT_MAX && !retrieval_late(t); i++) {
        const struct recent_place *p = &t->q->recent[i];
        if (is_document(t, p->path)) continue;
        struct excerpt e = {.path = p->path, .reason = "was edited or visited recently"};
        e.line = p->line > RECENT_LINES ? p->line - RECENT_LINES : 1;
        e.n_lines = p->line + RECENT_LINES - e.line + 1;
        e.score = 1.0 / (double)(i + 1);
        e.content = lines_of(retrieval_content(t, p->path), &e.line, &e.n_lines);
        candidate_put(t, SOURCE_RECENT, &e);
    }
    return OK;
}

/* Words worth looking for: near, and in few files. */
static status rare_words(struct retrieval *t, struct near_name *words, size_t *n)
{
    status code = OK;
    *n = 0;
    for (size_t i = 0; code == OK && i < t->n_names && *n < SIMILAR_WORDS_MAX; i++) {
        int64_t count = 0;
        if (t->names[i].name.size < 4) continue;
        code = index_word_count(&count, t->r->index, t->names[i].name, t->err);
        if (count >= 2 && count < 300)
            words[(*n)++] = (struct near_name){t->names[i].name, 1.0 / log2(1.0 + (double)count)};
    }
    return code;
}

static double line_weight(text line, const struct near_name *words, size_t n, bool *seen)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        if (!seen[i] && text_find(line, words[i].name, 0) != SIZE_MAX) {
            seen[i] = true;
            sum += words[i].weight;
        }
    return sum;
}

/* The SIMILAR_LINES lines in which the most, and the rarest, of the words stand. */
static void similar_window(struct retrieval *t, text path, const struct near_name *words, size_t n)
{
    text content = retrieval_content(t, path), rest = content, line;
    struct excerpt best = {.path = path, .reason = "uses the same rare words"};
    for (uint32_t at = 1; text_next_line(&rest, &line); at++) {
        bool seen[SIMILAR_WORDS_MAX] = {false};
        double sum = line_weight(line, words, n, seen);
        if (sum == 0) continue;
        text ahead = rest, next;
        for (int k = 1; k < SIMILAR_LINES && text_next_line(&ahead, &next); k++)
            sum += line_weight(next, words, n, seen);
        if (sum > best.score) best.score = sum, best.line = at;
    }
    if (best.score <= SIMILAR_LEAST) return;
    best.line = best.line > 2 ? best.line - 2 : 1;
    best.n_lines = SIMILAR_LINES;
    best.content = lines_of(content, &best.line, &best.n_lines);
    candidate_put(t, SOURCE_SIMILAR, &best);
}

status similar_find(struct retrieval *t)
{
    struct near_name words[SIMILAR_WORDS_MAX];
    text names[SIMILAR_WORDS_MAX];
    size_t n;
    struct index_files files = {0};
    status code = rare_words(t, words, &n);
    for (size_t i = 0; i < n; i++) names[i] = words[i].name;
    if (code == OK && n)
        code = index_files_like(&files, t->memory, t->r->index, t->r->tree, names, n,
                                SIMILAR_FILES_MAX, t->err);
    for (size_t i = 0; code == OK && i < files.n && !retrieval_late(t); i++)
        if (!is_document(t, files.files[i].path) && is_kindred(t, files.files[i].path))
            similar_window(t, files.files[i].path, words, n);
    return code;
}
