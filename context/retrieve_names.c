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
    NAMED_LINES_BELOW = 400
};

static bool is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '$' || (unsigned char)c >= 0x80;
}

static void name_add(struct name_table *f, text name, double weight)
{
    const size_t n_slots = sizeof f->slots / sizeof *f->slots;
    size_t i = text_hash(name) % n_slots;
    for (; f->slots[i].name.size; i = (i + 1) % n_slots)
        if (text_equal(f->slots[i].name, name)) {
            f->slots[i].weight += weight;
            return;
        }
    if (f->n < n_slots - n_slots / 4) {
        f->slots[i] = (struct near_name){name, weight};
        f->n++;
    }
}

void line_names_put(struct name_table *f, text line, double weight)
{
    for (size_t at = 0; at < line.size;) {
        size_t from = at;
        while (at < line.size && is_name_byte(line.bytes[at])) at++;
        text name = text_slice(line, from, at);
        if (name.size >= NAME_MIN && name.size <= NAME_MAX_BYTES &&
            !isdigit((unsigned char)name.bytes[0]))
            name_add(f, name, weight);
        at += at == from;
    }
}

/* Lines count less the farther they are, those below half as much. */
static void names_around(struct name_table *f, text content, size_t cursor)
{
    size_t end = cursor;
    for (int d = 0; d <= NAMED_LINES_ABOVE; d++) {
        size_t from = end;
        while (from > 0 && content.bytes[from - 1] != '\n') from--;
        line_names_put(f, text_slice(content, from, end), 1.0 / (1.0 + d / 5.0));
        if (from == 0) break;
        end = from - 1;
    }
    text rest = text_slice(content, cursor, content.size), line;
    for (int d = 0; d <= NAMED_LINES_BELOW && text_next_line(&rest, &line); d++)
        line_names_put(f, line, 0.5 / (1.0 + d / 5.0));
}

static int compare_names(const void *a, const void *b)
{
    const struct near_name *x = a, *y = b;
    if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
    size_t n = x->name.size < y->name.size ? x->name.size : y->name.size;
    int order = n ? memcmp(x->name.bytes, y->name.bytes, n) : 0;
    return order ? order : (x->name.size > y->name.size) - (x->name.size < y->name.size);
}

size_t names_take(struct near_name *out, size_t n_max, struct name_table *f)
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof f->slots / sizeof *f->slots; i++)
        if (f->slots[i].name.size) f->slots[n++] = f->slots[i];
    qsort(f->slots, n, sizeof *f->slots, compare_names);
    if (n > n_max) n = n_max;
    memcpy(out, f->slots, n * sizeof *out);
    return n;
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
    names_around(f, content, cursor);
    /* What is imported by name will be used, wherever the import stands. */
    for (size_t i = 0; t->r->document.there && i < t->r->document.tags.n_imports; i++)
        line_names_put(f, t->r->document.tags.imports[i].name, 0.3);
    t->n_names = names_take(t->names, NAMES_MAX, f);
    t->n_near = t->n_names < NEAR_NAMES_MAX ? t->n_names : NEAR_NAMES_MAX;
    return near_parts_find(t);
}
