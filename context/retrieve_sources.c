/* Which definitions the next lines may need, looked for in several ways.
 *
 * Signatures say in one line what a body says in thirty, so every definition is one candidate of its
 * own; whether a type is shown whole is decided when all are ranked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "context/retrieve_private.h"

enum {
    SAME_NAME_MAX = 3, /* of one name */
    USED_WINDOWS_MAX = 24,
    USED_NAMES_MAX = 80 /* of similar lines and visited places */
};

static bool is_one_of(text kind, const char *const *kinds)
{
    for (; *kinds; kinds++)
        if (text_is(kind, *kinds)) return true;
    return false;
}

bool is_type(text kind)
{
    static const char *const kinds[] = {"struct",    "class", "enum",      "union",
                                        "interface", "type",  "namespace", NULL};
    return is_one_of(kind, kinds);
}

double kind_weight(text kind)
{
    static const char *const low[] = {"field", "variable", "module", NULL};
    static const char *const middle[] = {"constant", "macro", "property", "prototype", NULL};
    return is_one_of(kind, low) ? 0.3 : is_one_of(kind, middle) ? 0.8 : 1.0;
}

/* What is nobody's who does not see its file or its type. */
static bool is_of_its_place(text kind)
{
    static const char *const kinds[] = {"field", "property", "variable", NULL};
    return is_one_of(kind, kinds);
}

/* What says little without the type it belongs to. */
static bool is_member(text kind)
{
    static const char *const kinds[] = {"field", "property", NULL};
    return is_one_of(kind, kinds);
}

static bool is_defined_here(const struct retrieval *t, text name)
{
    const struct tags *tags = &t->r->document.tags;
    for (size_t i = 0; t->r->document.there && i < tags->n_definitions; i++)
        if (text_equal(tags->definitions[i].name, name)) return true;
    return false;
}

bool is_wanted(struct retrieval *t, const struct index_symbol *s)
{
    return !is_document(t, s->path) && is_kindred(t, s->path) && !is_private(s);
}

/* A name of many definitions is a common word; those of the likeliest place are taken, a few at most. */
status name_put(struct retrieval *t, enum retrieve_source source, const struct near_name *name,
                const char *reason)
{
    struct index_symbols found;
    double best = 0;
    size_t n_kept = 0, n_wanted = 0;
    if (is_defined_here(t, name->name)) return OK;
    status code = definitions_of(&found, t, name->name);
    double *weights = code == OK ? arena_take(t->memory, found.n + 1, sizeof *weights) : NULL;
    if (!weights) return code != OK ? code : fail(t->err, ERR_MEMORY, "no memory for definitions");
    for (size_t i = 0; i < found.n; i++) {
        if (!is_wanted(t, &found.symbols[i])) continue;
        double weight = place_weight(t, found.symbols[i].path);
        if (weight < 1 && is_of_its_place(found.symbols[i].kind)) continue;
        weights[i] = weight;
        n_wanted++;
        if (weights[i] > best) best = weights[i];
    }
    for (size_t i = 0; i < found.n && n_kept < SAME_NAME_MAX; i++) {
        const struct index_symbol *s = &found.symbols[i];
        if (weights[i] == 0 || weights[i] < best) continue;
        n_kept++;
        symbol_put(t, source, s,
                   name->weight * best * kind_weight(s->kind) / sqrt((double)n_wanted), reason);
    }
    return OK;
}

status definitions_find(struct retrieval *t)
{
    status code = OK;
    for (size_t i = 0; code == OK && i < t->n_names && !retrieval_late(t); i++)
        code = name_put(t, SOURCE_DEFINITION, &t->names[i],
                        i < t->n_near ? "defines a name used near the gap"
                                      : "defines a name used in this file");
    return code;
}

static void file_offer(struct retrieval *t, enum retrieve_source source,
                       const struct imported_file *f, const char *reason)
{
    for (size_t i = 0; i < f->symbols.n; i++) {
        const struct index_symbol *s = &f->symbols.symbols[i];
        double near = name_nearness(t, s->name, f->parts[i]);
        if (near == 0 && is_member(s->kind)) continue;
        symbol_put(t, source, s, f->score * kind_weight(s->kind) * (0.05 + near), reason);
    }
}

status imports_find(struct retrieval *t)
{
    for (size_t i = 0; i < t->r->document.n_imported && !retrieval_late(t); i++)
        file_offer(t, SOURCE_IMPORT, &t->r->document.imported[i],
                   "offered by a file that this one sees");
    return OK;
}

status kin_find(struct retrieval *t)
{
    status code = kin_names_find(t);
    const struct document_tags *d = &t->r->document;
    for (size_t i = 0; code == OK && i < d->n_kin && !retrieval_late(t); i++)
        code = name_put(t, SOURCE_KIN, &d->kin[i], "used by the files beside this one");
    return code;
}

/* What stands in lines like these, and not here, may be what comes next. */
status usage_find(struct retrieval *t)
{
    struct name_table *f = arena_take(t->memory, 1, sizeof *f);
    struct near_name *names = arena_take(t->memory, USED_NAMES_MAX, sizeof *names);
    status code = windows_find(t);
    if (code != OK) return code;
    if (!f || !names) return fail(t->err, ERR_MEMORY, "no memory for names");
    for (size_t i = 0; i < t->n_windows && i < USED_WINDOWS_MAX; i++)
        line_names_put(f, t->windows[i].content, 1.0 / (1.0 + (double)i));
    size_t n = names_take(names, USED_NAMES_MAX, f, t->language);
    for (size_t i = 0; code == OK && i < n && !retrieval_late(t); i++)
        code = name_put(t, SOURCE_USAGE, &names[i], "used by similar lines");
    return code;
}
