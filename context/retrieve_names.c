/* Names are found by their characters, not by a parse: half-typed code parses badly. Comments and
 * strings count too; what they name is often what comes. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "context/retrieve_private.h"

enum {
    NAME_MIN = 3,
    NAME_MAX_BYTES = 80,
    PART_MIN = 3,
    PARTS_MAX = 12,
    NAMED_LINES_ABOVE = 800,
    NAMED_LINES_BELOW = 400,
    NAMES_KEPT_MAX = NAME_SLOTS - NAME_SLOTS / 4,
    COUNTED_BYTES = 256 * 1024, /* of what lies above those lines, and below */
    UNUSED_FEW = 4
};

/* A name imported counts as if it stood a few lines away; one that nothing uses yet was imported to
 * be used, more than what stands on the line, but not when there are many of them. */
#define IMPORTED      0.3
#define UNUSED_IMPORT 3.0

static bool is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

/* Where the name is, or a free one. */
static struct near_name *name_slot(struct name_table *f, text name)
{
    const size_t n_slots = sizeof f->slots / sizeof *f->slots;
    size_t i = text_hash(name) % n_slots;
    while (f->slots[i].name.size && !text_equal(f->slots[i].name, name)) i = (i + 1) % n_slots;
    return &f->slots[i];
}

static void name_add(struct name_table *f, text name, double weight)
{
    struct near_name *slot = name_slot(f, name);
    if (!slot->name.size && f->n >= NAMES_KEPT_MAX) return;
    f->n += !slot->name.size;
    slot->name = name;
    slot->weight += weight;
    slot->count++;
}

static bool is_unused_import(const struct near_name *n) { return n->is_imported && n->count <= 1; }

static bool next_name(text line, size_t *at, text *name)
{
    while (*at < line.size) {
        size_t from = *at;
        while (*at < line.size && is_name_byte(line.bytes[*at])) (*at)++;
        *name = text_slice(line, from, *at);
        *at += *at == from;
        if (name->size >= NAME_MIN && name->size <= NAME_MAX_BYTES &&
            !isdigit((unsigned char)name->bytes[0]))
            return true;
    }
    return false;
}

void line_names_put(struct name_table *f, text line, double weight)
{
    text name;
    for (size_t at = 0; next_name(line, &at, &name);) name_add(f, name, weight);
}

/* Counts of the names that are in the table already. */
static void names_count(struct name_table *f, text lines)
{
    text name;
    for (size_t at = 0; next_name(lines, &at, &name);) {
        struct near_name *known = name_slot(f, name);
        known->count += known->name.size > 0;
    }
}

/* Lines count less the farther they are, those below half as much; of what lies still farther, only
 * whether it has the names that are known. */
static void names_around(struct name_table *f, text content, size_t cursor)
{
    size_t end = cursor;
    for (int d = 0; end > 0 && d <= NAMED_LINES_ABOVE; d++) {
        size_t from = end;
        while (from > 0 && content.bytes[from - 1] != '\n') from--;
        line_names_put(f, text_slice(content, from, end), 1.0 / (1.0 + d / 5.0));
        end = from ? from - 1 : 0;
    }
    size_t first = end > COUNTED_BYTES ? end - COUNTED_BYTES : 0;
    names_count(f, text_slice(content, first, end));
    text rest = text_slice(content, cursor, content.size), line;
    for (int d = 0; d <= NAMED_LINES_BELOW && text_next_line(&rest, &line); d++)
        line_names_put(f, line, 0.5 / (1.0 + d / 5.0));
    names_count(f, text_slice(rest, 0, COUNTED_BYTES));
}

/* The names that an import takes, where the language writes them into the module: "a::{b, c}", "a.b.C". */
static text names_in_module(const struct retrieval *t, text module)
{
    static const char *const names[] = {"Rust", "Java", "C#", "PHP"};
    bool written = false;
    size_t from = module.size;
    for (size_t i = 0; t->language && i < sizeof names / sizeof *names; i++)
        written = written || strcmp(t->language->name, names[i]) == 0;
    if (!written) return TEXT("");
    size_t brace = text_find(module, TEXT("{"), 0);
    if (brace != SIZE_MAX) return text_slice(module, brace, module.size);
    while (from > 0 && is_name_byte(module.bytes[from - 1])) from--;
    return text_slice(module, from, module.size);
}

/* What is imported by name will be used, wherever the import stands. */
static void imported_names_put(struct name_table *f, const struct retrieval *t)
{
    const struct document_tags *d = &t->r->document;
    for (size_t i = 0; d->there && i < d->tags.n_imports; i++) {
        text names = d->tags.imports[i].name, name;
        if (!names.size) names = names_in_module(t, d->tags.imports[i].module);
        for (size_t at = 0; next_name(names, &at, &name);) {
            name_add(f, name, IMPORTED);
            struct near_name *slot = name_slot(f, name);
            slot->is_imported = slot->name.size > 0;
            slot->count = 0;
        }
    }
}

/* Most of all what no line uses yet but the import itself. */
static void unused_imports_lift(struct name_table *f)
{
    const size_t n_slots = sizeof f->slots / sizeof *f->slots;
    size_t n = 0;
    for (size_t i = 0; i < n_slots; i++) n += is_unused_import(&f->slots[i]);
    double many = n > UNUSED_FEW ? (double)UNUSED_FEW / (double)n : 1;
    for (size_t i = 0; i < n_slots; i++)
        if (is_unused_import(&f->slots[i])) f->slots[i].weight += UNUSED_IMPORT * many;
}

static int compare_names(const void *a, const void *b)
{
    const struct near_name *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    return text_compare(x->name, y->name);
}

size_t names_take(struct near_name *out, size_t n_max, struct name_table *f,
                  const struct language *language)
{
    size_t n = 0, n_taken = 0;
    for (size_t i = 0; i < sizeof f->slots / sizeof *f->slots; i++)
        if (f->slots[i].name.size) f->slots[n++] = f->slots[i];
    qsort(f->slots, n, sizeof *f->slots, compare_names);
    for (size_t i = 0; i < n && n_taken < n_max; i++)
        if (!tagger_is_keyword(language, f->slots[i].name)) out[n_taken++] = f->slots[i];
    return n_taken;
}

/* The next part of a name: at underscores, and where a capital follows a small letter. */
static bool next_part(text name, size_t *at, text *part)
{
    while (*at < name.size && !isalnum((unsigned char)name.bytes[*at])) (*at)++;
    size_t from = *at;
    while (*at < name.size && isalnum((unsigned char)name.bytes[*at])) {
        bool hump = *at > from && isupper((unsigned char)name.bytes[*at]) &&
                    !isupper((unsigned char)name.bytes[*at - 1]);
        if (hump) break;
        (*at)++;
    }
    *part = text_slice(name, from, *at);
    return part->size > 0;
}

static uint64_t part_hash(text part)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < part.size; i++)
        h = (h ^ (uint64_t)tolower((unsigned char)part.bytes[i])) * 0x100000001b3u;
    return h ? h : 1;
}

const uint64_t *name_parts(arena *a, text name)
{
    uint64_t parts[PARTS_MAX + 1];
    size_t n = 0;
    text part;
    for (size_t at = 0; n < PARTS_MAX && next_part(name, &at, &part);)
        if (part.size >= PART_MIN) parts[n++] = part_hash(part);
    parts[n++] = 0;
    uint64_t *copy = arena_take(a, n, sizeof *copy);
    if (copy) memcpy(copy, parts, n * sizeof *copy);
    return copy;
}

static int compare_parts(const void *a, const void *b)
{
    const struct near_part *x = a, *y = b;
    if (x->hash != y->hash) return x->hash < y->hash ? -1 : 1;
    return (x->weight < y->weight) - (x->weight > y->weight);
}

/* Names come heaviest first, so of equal parts the first one counts. */
static status near_parts_find(struct retrieval *t)
{
    size_t n = 0, kept = 0;
    t->parts = arena_take(t->memory, NEAR_NAMES_MAX * PARTS_MAX, sizeof *t->parts);
    for (size_t i = 0; t->parts && i < t->n_near; i++) {
        const uint64_t *parts = name_parts(t->memory, t->names[i].name);
        for (; parts && *parts; parts++)
            t->parts[n++] = (struct near_part){*parts, t->names[i].weight};
    }
    if (!t->parts || t->memory->failed) return fail(t->err, ERR_MEMORY, "no memory for names");
    qsort(t->parts, n, sizeof *t->parts, compare_parts);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || t->parts[kept - 1].hash != t->parts[i].hash)
            t->parts[kept++] = t->parts[i];
    t->n_parts = kept;
    return OK;
}

static double part_weight(const struct retrieval *t, uint64_t hash)
{
    size_t from = 0, to = t->n_parts;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (t->parts[middle].hash == hash) return t->parts[middle].weight;
        if (t->parts[middle].hash < hash)
            from = middle + 1;
        else
            to = middle;
    }
    return 0;
}

double name_nearness(const struct retrieval *t, text name, const uint64_t *parts)
{
    double sum = 0;
    size_t n = 0;
    for (; parts[n]; n++) {
        double w = part_weight(t, parts[n]);
        sum += w < 1 ? w : 1;
    }
    if (sum == 0) return 0;
    sum /= (double)n;
    for (size_t i = 0; i < t->n_near; i++)
        if (text_equal(t->names[i].name, name)) return sum + 2 * t->names[i].weight;
    return sum;
}

status names_find(struct retrieval *t)
{
    struct name_table *f = arena_take(t->memory, 1, sizeof *f);
    if (!f) return fail(t->err, ERR_MEMORY, "no memory for names");
    text content = t->q->document.content;
    size_t cursor = t->q->cursor_byte < content.size ? t->q->cursor_byte : content.size;
    imported_names_put(f, t);
    names_around(f, content, cursor);
    unused_imports_lift(f);
    t->n_names = names_take(t->names, NAMES_MAX, f, t->language);
    t->n_near = t->n_names < NEAR_NAMES_MAX ? t->n_names : NEAR_NAMES_MAX;
    return near_parts_find(t);
}
